//! Each feature of BGP beside each other implementation that has it: BIRD, FRR, GoBGP, ExaBGP and
//! OpenBGPD. docs/interop.md is the result as a table, with what each of them lacks.
//!
//! Every test starts itself again in a network namespace of its own, runs the daemon there, and
//! each implementation in a namespace of its own behind a link ([`stand`]).

mod drains;
mod endings;
mod paths;
mod peers;
mod restarts;
mod routes;
mod sessions;
pub(crate) mod stand;

/// Makes of each function a test, and one that runs inside, by it.
macro_rules! inside {
    ($($part:ident: $($case:ident)*;)*) => {
        $($(
            #[test]
            fn $case() {
                stand::run_in_namespace(concat!("matrix::inside::", stringify!($case)));
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
        sessions_over_link_local_addresses_exchange_routes
        the_same_md5_password_meets_and_another_does_not
        with_ttl_security_at_both_ends_they_meet
        what_comes_from_too_far_is_not_heard_and_we_say_so
        dials_that_cross_leave_one_session_each_time
        roles_that_fit_are_told_and_others_are_a_role_mismatch;
    routes:
        communities_of_all_kinds_arrive_at_both_ends
        a_route_that_is_leaving_is_our_last_choice_and_is_marked_for_them
        routes_are_sent_again_when_either_end_asks
        an_update_of_more_than_4096_octets_passes_both_ways;
    paths:
        several_paths_to_a_prefix_go_both_ways;
    restarts:
        who_restarts_is_waited_for_and_we_never_are
        an_end_for_good_is_a_hard_reset_and_its_message_is_read;
    drains:
        a_drained_neighbor_hears_the_last_choice_then_nothing_then_all_again;
    endings:
        a_shutdown_message_is_read_at_both_ends
        a_frozen_peer_is_dropped_at_the_hold_time_and_comes_back
        a_cleared_session_comes_back
        a_peer_with_too_many_of_our_prefixes_says_so
        a_peer_that_sends_too_many_prefixes_rests_and_comes_back
        bfd_notices_a_frozen_peer_long_before_the_hold_time;
}
