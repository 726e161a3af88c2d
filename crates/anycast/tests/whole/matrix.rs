//! Each feature of BGP beside each other implementation that has it: BIRD, FRR, GoBGP, ExaBGP and
//! OpenBGPD. docs/interop.md is the result as a table, with what each of them lacks.
//!
//! Every test starts itself again in a network namespace of its own, runs the daemon there, and
//! each implementation in a namespace of its own behind a link ([`stand`]).

mod endings;
mod peers;
mod routes;
mod sessions;
mod stand;

/// Makes of each function a test, and one that runs inside, by it.
macro_rules! inside {
    ($($part:ident: $($case:ident)*;)*) => {
        $($(
            #[test]
            fn $case() {
                stand::run_in_namespace(stringify!($case));
            }
        )*)*
        mod inside {
            $($(
                #[test]
                #[ignore = "runs in a namespace, by the test of the same name"]
                fn $case() {
                    super::$part::$case();
                }
            )*)*
        }
    };
}

inside! {
    sessions:
        sessions_over_ipv4_and_ipv6_exchange_routes
        the_same_md5_password_meets_and_another_does_not
        with_ttl_security_at_both_ends_they_meet
        dials_that_cross_leave_one_session_each_time
        roles_that_fit_are_told_and_others_are_a_role_mismatch;
    routes:
        communities_of_all_kinds_arrive_at_both_ends
        a_route_that_is_leaving_is_our_last_choice_and_is_marked_for_them
        routes_are_sent_again_when_either_end_asks;
    endings:
        a_shutdown_message_is_read_at_both_ends
        a_frozen_peer_is_dropped_at_the_hold_time_and_comes_back
        a_cleared_session_comes_back
        a_peer_with_too_many_of_our_prefixes_says_so;
}
