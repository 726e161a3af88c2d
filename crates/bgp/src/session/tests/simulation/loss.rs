//! Two speakers whose network loses things: SYNs, what is under way, whole connections, on one side
//! or on both, at any moment.

use super::*;

impl Simulation {
    /// What is under way on a connection is lost, and those of its `ends` that have it hear that it
    /// is no more. An end that does not hear has a connection that leads nowhere.
    fn reset(&mut self, id: u64, ends: [bool; 2]) {
        self.events.retain(|_, (_, event)| match event {
            Event::Octets(of, _) | Event::Closed(of) | Event::Accept(of) => *of != id,
            Event::Start | Event::SynAck(_) => true,
        });
        for who in [0, 1] {
            if ends[who] && self.speakers[who].connection(id).is_some() {
                self.transmit(id, who, Event::Closed(id));
            }
        }
    }

    /// Any of the connections that a speaker has.
    fn some_connection(&mut self) -> Option<u64> {
        let ids: Vec<u64> =
            self.speakers.iter().flat_map(|it| [it.dialled, it.accepted]).flatten().collect();
        let lot = usize::try_from(self.roll()).unwrap();
        ids.get(lot % ids.len().max(1)).copied()
    }
}

/// For a minute everything breaks; then nothing does.
fn after_a_storm(dice: u64, delay: u64, coalesce: bool) -> Simulation {
    let mut net = Simulation::pair(Duration::from_millis(delay));
    net.jitter = Duration::from_millis(delay * 5);
    net.coalesce = coalesce;
    net.dice = dice << 32;
    net.lossy = true;
    net.start(0, at(0));
    net.start(1, at(dice % 1000));
    let mut now = 0;
    while now < 60_000 {
        // Sometimes in the middle of a handshake, sometimes long after.
        now += match net.roll() % 3 {
            0 => u64::from(net.roll()) % (8 * delay + 1),
            1 => u64::from(net.roll()) % 1000,
            _ => u64::from(net.roll()) % 8000,
        };
        net.run(at(now));
        if let Some(id) = net.some_connection() {
            let ends = [[true, true], [true, false], [false, true], [true, true]];
            let lot = usize::try_from(net.roll()).unwrap();
            net.reset(id, ends[lot % ends.len()]);
        }
    }
    net.lossy = false;
    net
}

#[test]
fn after_any_loss_there_is_one_connection_again_and_it_stays() {
    let mut dropped = 0;
    for dice in 0..600u64 {
        let mut net =
            after_a_storm(dice, [0, 1, 20, 150][usize::try_from(dice).unwrap() % 4], dice % 3 == 0);
        let what = format!("dice {dice}");
        // A side that heard nothing finds out at its hold time of 90 s; the longest back-off is
        // two minutes.
        net.run(at(60_000 + 90_000 + 2 * 120_000));
        net.assert_one_connection(&what);
        let before = net.speakers.each_ref().map(|speaker| speaker.log.len());
        net.run(at(60_000 + 90_000 + 2 * 120_000 + 600_000));
        net.assert_one_connection(&what);
        assert_eq!(net.speakers.each_ref().map(|speaker| speaker.log.len()), before, "{what}");
        for speaker in &net.speakers {
            let ups: Vec<bool> = speaker.log.iter().map(|(_, link)| link.is_some()).collect();
            assert!(ups.chunks(2).all(|pair| pair[0]), "{what}: up, then down: {ups:?}");
            assert!(ups.windows(2).all(|pair| pair[0] != pair[1]), "{what}: by turns: {ups:?}");
            let counters = speaker.session.counters();
            let downs = ups.iter().filter(|up| !**up).count() as u64;
            assert_eq!((counters.established, counters.dropped), (downs + 1, downs), "{what}");
            dropped += downs;
        }
    }
    assert!(dropped > 600, "the storms broke something: {dropped}");
}

/// Both sides of the hold timer, for an end that does not hear of its connection's end.
#[test]
fn a_connection_that_leads_nowhere_ends_at_the_hold_time_and_not_before() {
    let mut net = Simulation::pair(Duration::from_millis(10));
    net.start(0, at(0));
    net.start(1, at(500));
    net.run(at(5000));
    net.assert_one_connection("before");
    let id = net.some_connection().unwrap();
    let deaf = usize::from(
        net.speakers[1].session.poll_timeout() < net.speakers[0].session.poll_timeout(),
    );
    let Some(heard) = net.speakers[deaf].session.due().hold else { panic!("a hold timer runs") };
    net.speakers[1 - deaf].frozen = true;
    net.reset(id, [false, false]);
    let before = heard.since_start().checked_sub(Duration::from_millis(1)).unwrap();
    net.run(Instant::from_start(before));
    assert_eq!(net.speakers[deaf].session.state(), StateName::Established);
    net.run(heard);
    assert_ne!(net.speakers[deaf].session.state(), StateName::Established);
}
