//! Clerks and real steering around a shared table, in virtual time, with lost and late messages.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Action, Bound, PrefixSpec, Require, ServiceSpec, Steer, WhenAlone};

const LEASE: Duration = Duration::from_secs(4);
const NAMES: [&str; 4] = ["ams", "fra", "lon", "nyc"];

fn net() -> IpNet {
    "192.0.2.0/24".parse().unwrap()
}

fn ms(millis: u64) -> Instant {
    Instant(Duration::from_millis(millis))
}

fn spec(site: &str, min_sites: u32) -> Spec {
    let fleet = Bound { min_sites, max_withdrawn: None };
    let floor = FloorSpec { fleet, region: None, when_alone: WhenAlone::Hold };
    let service = ServiceSpec { name: "dns".to_owned(), checks: Vec::new(), damping: None };
    let prefix = PrefixSpec {
        services: vec!["dns".to_owned()],
        require: Require::All,
        floor: Some(floor),
        ..PrefixSpec::new(net())
    };
    let member = |name: &str| Member { name: name.to_owned(), region: None };
    Spec {
        services: vec![service],
        prefixes: vec![prefix],
        neighbors: vec!["one".to_owned()],
        members: NAMES.map(member).to_vec(),
        site: site.to_owned(),
        lease: Some(LEASE),
        ..Spec::default()
    }
}

/// What is under way between a site and the table.
#[derive(Clone, Debug)]
enum Message {
    Connect,
    Write(Write),
    Connecting,
    Entry(Revision, Entry),
    Connected,
    Written(u64, Result<Revision, WriteError>),
}

struct Node {
    steer: Steer,
    clerk: Clerk,
    /// Which of its connections is in use.
    connection: u32,
    cut: bool,
    /// When the last message of either direction arrives: messages of one connection keep their
    /// order.
    last: [u64; 2],
    /// What cannot get through, with its direction: it comes once it can, however late.
    stuck: Vec<(bool, u32, Message)>,
    retry: Option<u64>,
    held: usize,
}

/// Sites around a table.
struct World {
    now: u64,
    random: u64,
    count: u64,
    revision: Revision,
    table: BTreeMap<String, (Revision, Entry)>,
    nodes: Vec<Node>,
    /// By time and number: site, whether to the table, connection, what.
    under_way: BTreeMap<(u64, u64), (usize, bool, u32, Message)>,
    watching: BTreeMap<usize, u32>,
    grants: usize,
}

fn key(entry: &Entry) -> String {
    match entry {
        Entry::Record { site, .. } => format!("record.{site}"),
        Entry::Ledger { prefix, .. } => format!("ledger.{prefix}"),
    }
}

impl World {
    fn new(seed: u64, min_sites: u32) -> Self {
        let node = |name: &&str| {
            let spec = spec(name, min_sites);
            Node {
                clerk: Clerk::new(&spec).unwrap(),
                steer: Steer::new(spec).unwrap(),
                connection: 0,
                cut: false,
                last: [0; 2],
                stuck: Vec::new(),
                retry: Some(0),
                held: 0,
            }
        };
        Self {
            now: 0,
            random: seed | 1,
            count: 0,
            revision: 0,
            table: BTreeMap::new(),
            nodes: NAMES.iter().map(node).collect(),
            under_way: BTreeMap::new(),
            watching: BTreeMap::new(),
            grants: 0,
        }
    }

    /// Some milliseconds of delay (xorshift).
    fn delay(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        1 + self.random % 40
    }

    fn send(&mut self, site: usize, to_table: bool, connection: u32, message: Message) {
        let delay = self.delay();
        let node = &mut self.nodes[site];
        if node.cut {
            node.stuck.push((to_table, connection, message));
            return;
        }
        let last = &mut node.last[usize::from(to_table)];
        *last = (self.now + delay).max(*last);
        let at = *last;
        self.count += 1;
        self.under_way.insert((at, self.count), (site, to_table, connection, message));
    }

    fn cut(&mut self, site: usize) {
        self.nodes[site].cut = true;
        let caught = self.under_way.iter().filter(|(_, it)| it.0 == site);
        for key in caught.map(|(key, _)| *key).collect::<Vec<_>>() {
            let (_, to_table, connection, message) = self.under_way.remove(&key).unwrap();
            self.nodes[site].stuck.push((to_table, connection, message));
        }
    }

    fn heal(&mut self, site: usize) {
        self.nodes[site].cut = false;
        for (to_table, connection, message) in std::mem::take(&mut self.nodes[site].stuck) {
            self.send(site, to_table, connection, message);
        }
    }

    fn at_table(&mut self, site: usize, connection: u32, message: Message) {
        match message {
            Message::Connect => {
                self.watching.insert(site, connection);
                self.send(site, false, connection, Message::Connecting);
                for (revision, entry) in self.table.values().cloned().collect::<Vec<_>>() {
                    self.send(site, false, connection, Message::Entry(revision, entry));
                }
                self.send(site, false, connection, Message::Connected);
            }
            Message::Write(Write { number, entry, expected }) => {
                let before = self.table.get(&key(&entry)).map_or(0, |(revision, _)| *revision);
                if expected.is_some_and(|expected| expected != before) {
                    let result = Err(WriteError::Conflict);
                    self.send(site, false, connection, Message::Written(number, result));
                    return;
                }
                self.revision += 1;
                self.table.insert(key(&entry), (self.revision, entry.clone()));
                let written = Message::Written(number, Ok(self.revision));
                self.send(site, false, connection, written);
                for (site, connection) in self.watching.clone() {
                    let entry = Message::Entry(self.revision, entry.clone());
                    self.send(site, false, connection, entry);
                }
            }
            other => panic!("{other:?} is not for the table"),
        }
    }

    fn at_site(&mut self, site: usize, message: Message) {
        let now = ms(self.now);
        let clerk = &mut self.nodes[site].clerk;
        match message {
            Message::Connecting => clerk.handle_connecting(),
            Message::Entry(revision, entry) => clerk.handle_entry(now, revision, &entry),
            Message::Connected => clerk.handle_connected(now),
            Message::Written(number, result) => clerk.handle_written(now, number, result),
            other => panic!("{other:?} is not for a site"),
        }
        self.settle(site);
    }

    /// Carries out what steering and clerk want.
    fn settle(&mut self, site: usize) {
        let now = ms(self.now);
        loop {
            let node = &mut self.nodes[site];
            if let Some(action) = node.steer.poll_action() {
                match action {
                    Action::Ask { prefix } => node.clerk.ask(now, prefix),
                    Action::Release { prefix } => node.clerk.release(now, prefix),
                    Action::Held { .. } => node.held += 1,
                    _ => {}
                }
                continue;
            }
            let record = node.steer.record();
            node.clerk.handle_record(now, &record);
            let Some(output) = node.clerk.poll_output() else { return };
            match output {
                Output::Compose => {
                    if node.clerk.compose(now, record) {
                        node.steer.handle_fleet_alive(now);
                    }
                }
                Output::Write(write) => {
                    let connection = node.connection;
                    self.send(site, true, connection, Message::Write(write));
                }
                Output::Answer { prefix, answer } => {
                    self.grants += usize::from(answer == Answer::Granted);
                    node.steer.handle_permit(now, &prefix, answer);
                }
                Output::View(view) => node.steer.handle_fleet(now, view),
                Output::Reached => {}
                Output::Lost(_) => node.retry = Some(self.now + 200),
            }
        }
    }

    /// Lets time pass, one event after the other, and looks at each.
    fn run_until(&mut self, end: u64, look: impl Fn(&Self)) {
        loop {
            let due = |node: &Node| {
                let own = [node.clerk.poll_timeout(), node.steer.poll_timeout()];
                let own =
                    own.into_iter().flatten().map(|at| u64::try_from(at.0.as_millis()).unwrap());
                own.chain(node.retry).min()
            };
            let timer = (0..NAMES.len()).filter_map(|it| Some((due(&self.nodes[it])?, it))).min();
            let message = self.under_way.first_key_value().map(|(key, _)| key.0);
            let next = timer.map(|it| it.0).into_iter().chain(message).min();
            let Some(next) = next.filter(|next| *next < end) else { break };
            self.now = next.max(self.now);
            if message.is_some_and(|at| at <= self.now) {
                let (_, (site, to_table, connection, message)) =
                    self.under_way.pop_first().unwrap();
                if to_table {
                    self.at_table(site, connection, message);
                } else if self.nodes[site].connection == connection {
                    self.at_site(site, message);
                }
            } else if let Some((_, site)) = timer {
                self.tick(site);
            }
            look(self);
        }
        self.now = end;
    }

    fn tick(&mut self, site: usize) {
        let now = ms(self.now);
        let node = &mut self.nodes[site];
        if node.retry.is_some_and(|at| at <= self.now) {
            node.retry = None;
            node.connection += 1;
            if node.cut {
                // No answer: tried again.
                node.retry = Some(self.now + 200);
            } else {
                let connection = node.connection;
                self.send(site, true, connection, Message::Connect);
            }
        }
        let node = &mut self.nodes[site];
        node.clerk.handle_timeout(now);
        node.steer.handle_timeout(now);
        self.settle(site);
    }

    fn fail(&mut self, site: usize) {
        self.nodes[site].steer.handle_gone(ms(self.now), 0, "dead".to_owned());
        self.settle(site);
    }

    fn recover(&mut self, site: usize) {
        self.nodes[site].steer.handle_back(ms(self.now), 0);
        self.settle(site);
    }

    fn announcing(&self) -> Vec<&'static str> {
        let announces = |it: &&usize| !self.nodes[**it].steer.record().announces.is_empty();
        let indices: Vec<usize> = (0..NAMES.len()).collect();
        indices.iter().filter(announces).map(|it| NAMES[*it]).collect()
    }
}

#[test]
fn when_all_fail_at_once_just_enough_stay_and_all_come_back() {
    for seed in 1..50 {
        let mut world = World::new(seed, 2);
        world.run_until(6_000, |_| {});
        assert_eq!(world.announcing(), NAMES);
        for site in 0..NAMES.len() {
            world.fail(site);
        }
        let enough = |world: &World| assert!(world.announcing().len() >= 2, "at {}", world.now);
        world.run_until(12_000, enough);
        assert_eq!(world.announcing().len(), 2, "seed {seed}");
        assert_eq!(world.grants, 2);
        assert_eq!(world.nodes.iter().filter(|it| it.held > 0).count(), 2);
        for site in 0..NAMES.len() {
            world.recover(site);
        }
        world.run_until(16_000, enough);
        assert_eq!(world.announcing(), NAMES);
        let ledger = &world.table[&format!("ledger.{}", net())].1;
        assert_eq!(*ledger, Entry::Ledger { prefix: net(), ledger: Ledger::default() });
    }
}

#[test]
fn a_held_site_goes_when_another_comes_back() {
    let mut world = World::new(7, 1);
    world.run_until(6_000, |_| {});
    for site in 0..NAMES.len() {
        world.fail(site);
    }
    world.run_until(12_000, |_| {});
    let held = world.announcing();
    assert_eq!(held.len(), 1);
    let back = if held == ["nyc"] { 0 } else { 3 };
    world.recover(back);
    world.run_until(16_000, |world| assert!(!world.announcing().is_empty()));
    assert_eq!(world.announcing(), [NAMES[back]]);
}

#[test]
fn a_site_that_is_cut_off_goes_after_its_lease_if_others_were_there() {
    let mut world = World::new(3, 2);
    world.run_until(6_000, |_| {});
    world.cut(3);
    world.run_until(6_100, |_| {});
    world.fail(3);
    world.run_until(6_000 + 3_900, |world| assert_eq!(world.announcing().len(), 4));
    world.run_until(6_000 + 8_000, |_| {});
    assert_eq!(world.announcing(), ["ams", "fra", "lon"]);
    world.heal(3);
    world.recover(3);
    world.run_until(20_000, |_| {});
    assert_eq!(world.announcing(), NAMES);
    assert_eq!(world.nodes[0].clerk.view().sites.len(), 4);
}

#[test]
fn a_record_that_comes_late_is_not_counted() {
    let mut world = World::new(3, 1);
    world.run_until(6_000, |_| {});
    let mut late = world.nodes[3].clerk.last.clone();
    assert!(late.seen > 0 && !late.announces.is_empty());
    world.cut(3);
    world.run_until(14_000, |_| {});
    assert!(!world.nodes[0].clerk.view().sites.contains_key("nyc"));
    let record = |record| Entry::Record { site: "nyc".to_owned(), record };
    let write = |entry| Message::Write(Write { number: 0, entry, expected: None });
    world.at_table(3, 0, write(record(late.clone())));
    world.run_until(14_200, |_| {});
    assert!(!world.nodes[0].clerk.view().sites.contains_key("nyc"));
    // What shows that it was written now is.
    late.seen = world.revision;
    world.at_table(3, 0, write(record(late)));
    world.run_until(14_300, |_| {});
    assert!(world.nodes[0].clerk.view().sites.contains_key("nyc"));
}

#[test]
fn a_permit_that_nobody_heard_of_is_given_back() {
    let mut world = World::new(3, 1);
    world.run_until(6_000, |_| {});
    let ledger = Ledger { withdrawn: ["fra".to_owned()].into() };
    let entry = Entry::Ledger { prefix: net(), ledger };
    world.at_table(1, 0, Message::Write(Write { number: 0, entry, expected: None }));
    world.run_until(9_000, |_| {});
    let ledger = &world.table[&format!("ledger.{}", net())].1;
    assert_eq!(*ledger, Entry::Ledger { prefix: net(), ledger: Ledger::default() });
    assert_eq!(world.announcing(), NAMES);
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Fail,
    Recover,
    Cut,
    Heal,
}

fn faults() -> impl Strategy<Value = Vec<(u64, usize, Fault)>> {
    let fault = prop_oneof![
        3 => Just(Fault::Fail),
        2 => Just(Fault::Recover),
        1 => Just(Fault::Cut),
        1 => Just(Fault::Heal),
    ];
    prop::collection::vec((0..1_500_u64, 0..NAMES.len(), fault), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever fails, whoever is cut off and however late messages come: who announced the
    /// prefix together goes on, down to the floor.
    #[test]
    fn the_floor_holds(seed in any::<u64>(), min in 1..=3_u32, faults in faults()) {
        let mut world = World::new(seed, min);
        world.run_until(6_000, |_| {});
        prop_assert_eq!(world.announcing(), NAMES);
        let floor = usize::try_from(min).unwrap();
        for (after, site, fault) in faults {
            let look = |world: &World| {
                let announcing = world.announcing();
                assert!(announcing.len() >= floor, "at {}: only {announcing:?}", world.now);
            };
            world.run_until(world.now + after, look);
            match fault {
                Fault::Fail => world.fail(site),
                Fault::Recover => world.recover(site),
                Fault::Cut => world.cut(site),
                Fault::Heal => world.heal(site),
            }
            look(&world);
        }
        for site in 0..NAMES.len() {
            world.heal(site);
            world.recover(site);
        }
        world.run_until(world.now + 10_000, |_| {});
        prop_assert_eq!(world.announcing(), NAMES);
        let ledger = world.table.get(&format!("ledger.{}", net()));
        let withdrawn = ledger.map(|(_, entry)| match entry {
            Entry::Ledger { ledger, .. } => ledger.withdrawn.len(),
            Entry::Record { .. } => panic!("a record in a ledger's place"),
        });
        prop_assert_eq!(withdrawn.unwrap_or_default(), 0);
    }
}
