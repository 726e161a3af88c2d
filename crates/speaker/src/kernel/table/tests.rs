use super::*;

const A: &str = "192.0.2.0/24";
const B: &str = "2001:db8::/32";

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn via(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn changes(table: &mut Table) -> Vec<Change> {
    let mut changes = table.take_changes(usize::MAX);
    changes.sort();
    changes
}

fn change(prefix: &str, gateways: &[IpAddr], present: bool) -> Change {
    Change { prefix: net(prefix), gateways: gateways.to_vec(), present }
}

/// Both wanted and there, A over two gateways.
fn settled() -> Table {
    let mut table = Table::new();
    table.want(net(A), &[via(1), via(2)]);
    table.want(net(B), &[via(3)]);
    table.take_changes(usize::MAX);
    table.handle_outcome(net(A), true, true);
    table.handle_outcome(net(B), true, true);
    table
}

#[test]
fn a_resync_puts_right_what_is_not_as_it_should_be_and_nothing_else() {
    const C: &str = "203.0.113.0/24";
    let there = |prefix, gateways: &[u8]| {
        (net(prefix), gateways.iter().map(|last| via(*last)).collect::<Vec<_>>())
    };
    let (a, b) = (there(A, &[2, 1]), there(B, &[3]));
    let set = |prefix, gateways: &[IpAddr], present| vec![change(prefix, gateways, present)];
    // (what is there, what is done)
    for (found, done) in [
        (vec![a.clone(), b.clone()], vec![]),
        (vec![b.clone()], set(A, &[via(1), via(2)], false)),
        (vec![there(A, &[1]), b.clone()], set(A, &[via(1), via(2)], true)),
        (vec![there(A, &[1, 2, 3]), b.clone()], set(A, &[via(1), via(2)], true)),
        (vec![a.clone(), there(B, &[4])], set(B, &[via(3)], true)),
        (vec![a.clone(), b.clone(), there(C, &[1])], set(C, &[], true)),
    ] {
        let mut table = settled();
        table.begin_resync();
        let wrong = found.iter().filter(|(prefix, via)| table.found(*prefix, via)).count();
        assert_eq!(wrong + table.end_resync(), done.len(), "{found:?}");
        table.drop_leftovers();
        assert_eq!(changes(&mut table), done, "{found:?}");
    }
}

#[test]
fn what_an_earlier_run_left_stays_for_a_while_and_is_not_touched_if_it_is_right() {
    const C: &str = "203.0.113.0/24";
    let mut table = Table::new();
    table.begin_resync();
    for (prefix, last) in [(A, 1), (B, 3), (C, 5)] {
        assert!(table.found(net(prefix), &[via(last)]));
    }
    assert_eq!((table.end_resync(), table.is_settled()), (0, true));
    table.want(net(A), &[via(1)]);
    table.want(net(B), &[via(4)]);
    assert_eq!(changes(&mut table), [change(B, &[via(4)], true)]);
    table.handle_outcome(net(B), true, true);
    table.drop_leftovers();
    assert_eq!(changes(&mut table), [change(C, &[], true)]);
    table.handle_outcome(net(C), false, true);
    table.drop_leftovers();
    table.refresh();
    assert_eq!(changes(&mut table), [change(A, &[via(1)], true), change(B, &[via(4)], true)]);
    assert_eq!(table.v4.len() + table.v6.len(), 2, "the one that went is forgotten");
}

/// A table that has found A over one gateway, which nobody has asked for.
fn leftover() -> Table {
    let mut table = Table::new();
    table.begin_resync();
    assert!(table.found(net(A), &[via(1)]));
    assert_eq!(table.end_resync(), 0);
    table
}

#[test]
fn what_an_earlier_run_left_and_the_kernel_may_have_dropped_since_is_put_there_once_asked_for() {
    let mut table = leftover();
    table.refresh();
    assert_eq!(changes(&mut table), []);
    table.want(net(A), &[via(1)]);
    assert_eq!(changes(&mut table), [change(A, &[via(1)], true)]);

    let mut table = leftover();
    table.refresh();
    table.drop_leftovers();
    assert_eq!(changes(&mut table), [change(A, &[], true)], "it may be there still");

    let mut table = leftover();
    table.begin_resync();
    assert_eq!((table.end_resync(), table.v4.len()), (0, 0), "it is gone, and nobody's worry");
    table.want(net(A), &[via(1)]);
    assert_eq!(changes(&mut table), [change(A, &[via(1)], false)]);

    let mut table = leftover();
    table.begin_resync();
    assert!(!table.found(net(A), &[via(1)]), "no news");
}

#[test]
fn what_is_asked_for_while_a_resync_looks_is_not_put_where_it_is_already() {
    let mut table = Table::new();
    table.begin_resync();
    assert!(table.found(net(B), &[via(3)]));
    table.want(net(A), &[via(1)]);
    table.want(net(B), &[via(3)]);
    assert!(!table.found(net(A), &[via(1)]));
    assert_eq!((table.end_resync(), changes(&mut table)), (0, vec![]));
    assert_eq!(table.v4.len() + table.v6.len(), 2);

    let mut table = Table::new();
    table.begin_resync();
    table.want(net(A), &[via(1)]);
    assert!(!table.found(net(A), &[via(2)]), "it will be as it should be");
    assert_eq!(table.end_resync(), 0);
    assert_eq!(changes(&mut table), [change(A, &[via(1)], true)]);

    // What waits no more may be asked for otherwise before its place in the queue comes.
    let mut table = Table::new();
    table.begin_resync();
    table.want(net(A), &[via(1)]);
    assert!(!table.found(net(A), &[via(1)]));
    assert_eq!(table.end_resync(), 0);
    table.want(net(A), &[via(2)]);
    assert_eq!(changes(&mut table), [change(A, &[via(2)], true)]);
}

#[test]
fn what_is_asked_for_while_the_kernel_is_at_the_one_before_comes_next() {
    let set = |gateway, present| vec![change(A, &[via(gateway)], present)];
    // (what came of the one before: whether it is there, and as asked; what is done next)
    for (present, done) in [(true, true), (false, false), (true, false)] {
        for gateways in [vec![via(2)], vec![]] {
            let mut table = Table::new();
            table.want(net(A), &[via(1)]);
            assert_eq!(changes(&mut table), set(1, false));
            table.want(net(A), &gateways);
            assert!(!table.handle_outcome(net(A), present, done), "it is not asked for any more");
            assert_eq!(table.retry_after(), None);
            let next = match gateways.as_slice() {
                [] if !present => vec![],
                [] => vec![change(A, &[], true)],
                _ => set(2, present),
            };
            assert_eq!(changes(&mut table), next, "{present} {done} {gateways:?}");
            let is_there = !gateways.is_empty();
            assert!(!is_there || table.handle_outcome(net(A), false, false), "it is news");
            table.handle_outcome(net(A), is_there, true);
            assert_eq!((changes(&mut table), table.retry_after()), (vec![], None));
        }
    }
}

#[test]
fn neither_family_waits_for_all_of_the_other() {
    let mut table = Table::new();
    for last in 0..9 {
        table.want(net(&format!("203.0.113.{last}/32")), &[via(1)]);
    }
    table.want(net(B), &[via(3)]);
    assert!(table.take_changes(2).contains(&change(B, &[via(3)], false)));
    assert_eq!(table.take_changes(usize::MAX).len(), 8);
    assert!(table.is_settled());
}

#[test]
fn a_resync_that_breaks_off_forgets_nothing() {
    let mut table = settled();
    table.want(net(A), &[]);
    table.begin_resync();
    assert_eq!(changes(&mut table), [change(A, &[], true)]);
    let mut table = settled();
    table.begin_resync();
    table.want_nothing();
    assert_eq!(changes(&mut table), [change(A, &[], true), change(B, &[], true)]);
}

#[test]
fn what_is_there_and_wrong_goes_before_what_is_new_however_much_waits() {
    let mut table = settled();
    for last in 0..10 {
        table.want(net(&format!("203.0.113.{last}/32")), &[via(1)]);
    }
    assert_eq!(table.take_changes(4).len(), 4);
    table.want(net(A), &[]);
    table.want(net(B), &[via(4)]);
    let mut first = table.take_changes(2);
    first.sort();
    assert_eq!(first, [change(A, &[], true), change(B, &[via(4)], true)]);
    assert!(!table.is_settled());
    assert_eq!((table.take_changes(4).len(), table.take_changes(4).len()), (4, 2));
    assert!(table.is_settled());
}

#[test]
fn a_route_that_is_refused_is_news_once_until_another_is_asked_for() {
    let mut table = Table::new();
    for (gateway, news) in [(1, true), (2, true)] {
        table.want(net(A), &[via(gateway)]);
        for news in [news, false, false] {
            assert_eq!(changes(&mut table), [change(A, &[via(gateway)], false)]);
            assert_eq!(table.handle_outcome(net(A), false, false), news);
            table.retry();
        }
    }
}

#[test]
fn equal_gateways_are_kept_once_and_go_with_the_last_route_over_them() {
    let mut table = settled();
    for (prefix, gateway) in [(A, 5), (B, 5), (A, 6), (B, 6), (A, 5)] {
        table.want(net(prefix), &[via(gateway)]);
    }
    assert_eq!((table.gateways.index.len(), table.gateways.sets.len()), (2, 3));
    table.want_nothing();
    assert_eq!((table.gateways.index.len(), table.gateways.free.len()), (0, 3));
}

#[test]
fn gateways_come_and_go_together() {
    let mut table = settled();
    table.want(net(A), &[via(2)]);
    assert_eq!(changes(&mut table), [change(A, &[via(2)], true)]);
    table.want(net(A), &[via(2), via(4)]);
    table.want(net(B), &[via(3), via(4)]);
    let both = [change(A, &[via(2), via(4)], true), change(B, &[via(3), via(4)], true)];
    assert_eq!(changes(&mut table), both);
    table.want(net(A), &[]);
    assert_eq!(changes(&mut table), [change(A, &[], true)]);
}

#[test]
fn only_the_last_order_for_a_prefix_is_carried_out() {
    let mut table = Table::new();
    table.want(net(A), &[via(1)]);
    table.want(net(A), &[via(2)]);
    table.want(net(B), &[via(1)]);
    table.want(net(B), &[]);
    assert_eq!(changes(&mut table), [change(A, &[via(2)], false)]);
    table.handle_outcome(net(A), true, true);
    table.want(net(A), &[via(3)]);
    table.want(net(A), &[]);
    assert_eq!(changes(&mut table), [change(A, &[], true)]);
    table.handle_outcome(net(A), false, true);
    assert_eq!(changes(&mut table), []);
}

#[test]
fn a_refused_route_is_tried_again_ever_more_rarely_until_it_is_there_or_not_wanted() {
    let mut table = Table::new();
    table.want(net(A), &[via(1)]);
    for wait in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(changes(&mut table), [change(A, &[via(1)], false)]);
        table.handle_outcome(net(A), false, false);
        assert_eq!(table.retry_after(), Some(Duration::from_secs(wait)));
        table.retry();
    }
    assert_eq!(changes(&mut table), [change(A, &[via(1)], false)]);
    table.handle_outcome(net(A), true, true);
    assert_eq!(table.retry_after(), None);

    table.want(net(B), &[via(1)]);
    table.take_changes(usize::MAX);
    table.handle_outcome(net(B), false, false);
    assert_eq!(table.retry_after(), Some(Duration::from_secs(1)), "the wait begins anew");
    table.want(net(B), &[]);
    assert_eq!(changes(&mut table), []);
    assert_eq!(table.retry_after(), None);
}

#[test]
fn after_a_refresh_all_wanted_routes_are_put_there_once_more() {
    let mut table = Table::new();
    table.want(net(A), &[via(1)]);
    table.want(net(B), &[via(2)]);
    table.take_changes(usize::MAX);
    table.handle_outcome(net(A), true, true);
    table.handle_outcome(net(B), true, true);
    table.refresh();
    assert_eq!(changes(&mut table), [change(A, &[via(1)], true), change(B, &[via(2)], true)]);
}

#[test]
fn at_the_end_nothing_stays_whether_or_not_it_could_be_changed() {
    let mut table = Table::new();
    table.want(net(A), &[via(1)]);
    table.want(net(B), &[via(2)]);
    table.take_changes(usize::MAX);
    table.handle_outcome(net(A), true, true);
    table.handle_outcome(net(B), true, false);
    table.want_nothing();
    assert_eq!(changes(&mut table), [change(A, &[], true), change(B, &[], true)]);
}
