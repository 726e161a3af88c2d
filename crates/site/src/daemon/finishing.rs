//! What is drained and withdrawn, and still has connections that run on here: they are counted
//! until they have ended, or for as long as the fleet file says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use anycast_steer::{Instant, Stage, Target};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::Daemon;
use crate::traffic::{self, OPEN};

/// The stage between withdrawn and drained.
pub(super) const FINISHING: &str = "finishing";

/// So long after the withdrawal routers elsewhere may still bring connections that begin: that there
/// are none says something only if it was counted later.
const SETTLES: Duration = Duration::from_secs(5);

/// By drain.
#[derive(Default)]
pub(super) struct Finishing(BTreeMap<Target, Run>);

#[derive(Default)]
struct Run {
    /// The counting that is under way, if any, and when it began.
    counting: Option<(Instant, JoinHandle<io::Result<u64>>)>,
    wait: Wait,
}

/// How long the connections of one drain are waited for.
#[derive(Debug, Default)]
struct Wait {
    /// When the last counting began, and what was counted or why nothing was.
    counted: Option<(Instant, Result<u64, String>)>,
    /// Since when nothing is announced.
    withdrawn: Option<Instant>,
    /// How long was waited before `withdrawn`, by the program before this one.
    before: Duration,
    is_over: bool,
}

/// One drain's waiting, as one program leaves it to the next.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct HandedWait {
    target: Target,
    waited_seconds: f64,
    is_over: bool,
}

impl Daemon {
    /// Counts the connections of what is drained, and says when they have ended or are waited for
    /// no longer.
    pub(super) fn count_connections(&mut self) {
        let now = self.now();
        let drains = self.steer.status(now).drains;
        let targets: BTreeSet<Target> = drains.iter().map(|it| it.drain.target.clone()).collect();
        self.finishing.0.retain(|target, _| targets.contains(target));
        for drain in drains {
            let target = drain.drain.target;
            let addresses = self.kept_addresses(&target);
            if addresses.is_empty() {
                self.finishing.0.remove(&target);
                continue;
            }
            let run = self.finishing.0.entry(target.clone()).or_default();
            if let Some(why) = run.count(now, addresses) {
                let words = format!("its connections cannot be counted: {why}");
                self.events.warn("drain-not-counted", &target.to_string(), &words);
            }
            let is_withdrawn = drain.stage == Stage::Drained;
            let end = run.wait.handle_stage(now, is_withdrawn, self.fleet.finishing);
            if let Some(words) = end {
                self.events.add("drain-finished", &target.to_string(), &words);
            }
        }
    }

    /// The addresses of what is drained whose connections are kept here.
    fn kept_addresses(&self, target: &Target) -> BTreeSet<IpAddr> {
        if !self.keeper.is_keeping() {
            return BTreeSet::new();
        }
        let services = self.fleet.services.iter().filter(|service| match target {
            Target::Site => true,
            Target::Service(name) => service.name == *name,
            // Connections do not tell which neighbor brought them.
            Target::Neighbor(_) => false,
        });
        let kept = services.filter(|service| service.affinity.tcp);
        kept.flat_map(|service| service.addresses.clone()).collect()
    }

    /// How far a drain is, its connections considered.
    pub(super) fn stage_word(&self, target: &Target, stage: Stage) -> &'static str {
        let runs_on = || match self.finishing.0.get(target) {
            Some(run) => !run.wait.is_over,
            // It has just been withdrawn.
            None => !self.kept_addresses(target).is_empty(),
        };
        if stage == Stage::Drained && runs_on() { FINISHING } else { stage.word() }
    }

    /// How many connections run on, and for how many seconds they are waited for.
    pub(super) fn connections_of(&self, target: &Target) -> (Option<u64>, Option<f64>) {
        let Some(Run { wait, .. }) = self.finishing.0.get(target) else { return (None, None) };
        let waited = wait.waited(self.now()).filter(|_| !wait.is_over);
        let left = waited.map(|waited| self.fleet.finishing.saturating_sub(waited));
        (wait.connections(), left.map(|left| left.as_secs_f64()))
    }

    /// How long was waited, for the next program.
    pub(super) fn hand_over_waits(&self) -> Vec<HandedWait> {
        let each = self.finishing.0.iter();
        let each = each.filter_map(|(target, run)| {
            let waited_seconds = run.wait.waited(self.now())?.as_secs_f64();
            Some(HandedWait { target: target.clone(), waited_seconds, is_over: run.wait.is_over })
        });
        each.collect()
    }

    /// Goes on with the waiting of the program before.
    pub(super) fn inherit_waits(&mut self, waits: &[HandedWait]) {
        for HandedWait { target, waited_seconds, is_over } in waits {
            let before = Duration::try_from_secs_f64(*waited_seconds).unwrap_or_default();
            let wait = Wait { before, is_over: *is_over, ..Wait::default() };
            self.finishing.0.insert(target.clone(), Run { wait, ..Run::default() });
        }
    }
}

impl Run {
    /// Takes what was counted, and counts again. Why not, if that is new.
    fn count(&mut self, now: Instant, addresses: BTreeSet<IpAddr>) -> Option<String> {
        let done = self.counting.take_if(|(_, counting)| counting.is_finished());
        let trouble = done.and_then(|(began, counting)| {
            let counted = counting.now_or_never()?;
            let counted = counted.unwrap_or_else(|error| Err(io::Error::other(error)));
            self.wait.handle_count(began, counted.map_err(|error| error.to_string()))
        });
        if self.counting.is_none() {
            // With a million connections it takes longer than the loop may stand still.
            let count = move || traffic::connections(&addresses, OPEN);
            self.counting = Some((now, tokio::task::spawn_blocking(count)));
        }
        trouble
    }
}

impl Wait {
    fn connections(&self) -> Option<u64> {
        self.counted.as_ref().and_then(|(_, counted)| counted.as_ref().ok().copied())
    }

    /// How long it has been waited for, from the withdrawal on.
    fn waited(&self, now: Instant) -> Option<Duration> {
        let here = self.withdrawn.map(|since| now - since);
        // This program may not have seen yet that it is withdrawn.
        let goes_on = self.is_over || !self.before.is_zero();
        Some(self.before + here.or(goes_on.then_some(Duration::ZERO))?)
    }

    /// Takes in what was counted from `began` on. Why nothing was, if the time before it was not so.
    fn handle_count(&mut self, began: Instant, counted: Result<u64, String>) -> Option<String> {
        let was_known = !matches!(self.counted, Some((_, Err(_))));
        let trouble = counted.as_ref().err().filter(|_| was_known).cloned();
        self.counted = Some((began, counted));
        trouble
    }

    /// Takes in how far the drain is. Words for the end of the waiting, once: either there are no
    /// connections, or `limit` is over, whatever is known of them.
    fn handle_stage(
        &mut self,
        now: Instant,
        is_withdrawn: bool,
        limit: Duration,
    ) -> Option<String> {
        if !is_withdrawn {
            // What the program before has waited is kept until the drain goes on here.
            if self.withdrawn.take().is_some() {
                (self.before, self.is_over) = (Duration::ZERO, false);
            }
            return None;
        }
        let since = *self.withdrawn.get_or_insert(now);
        if self.is_over {
            return None;
        }
        let has_settled = |began: &Instant| *began >= since + SETTLES;
        let none_left = matches!(&self.counted, Some((began, Ok(0))) if has_settled(began));
        if !none_left && self.before + (now - since) < limit {
            return None;
        }
        self.is_over = true;
        Some(match &self.counted {
            Some((_, Ok(0))) if none_left => "all connections have ended".to_owned(),
            Some((_, Ok(0))) => "connections are waited for no longer; there was none when they \
                                 were counted last, too early to tell"
                .to_owned(),
            Some((_, Ok(left))) => {
                format!("{left} connections run on and are waited for no longer")
            }
            Some((_, Err(why))) => {
                format!("connections are waited for no longer; how many run on is not known: {why}")
            }
            None => {
                "connections are waited for no longer; they were not counted in time".to_owned()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    type Counted = Box<dyn Fn(u64) -> Result<u64, String>>;

    const fn at(seconds: u64) -> Instant {
        Instant(Duration::from_secs(seconds))
    }

    /// Steps once a second from the withdrawal at 100 s on, with a counting that takes a second;
    /// when the waiting ends, and with which words.
    fn end(counted: impl Fn(u64) -> Result<u64, String>, limit: Duration) -> (u64, String) {
        let mut wait = Wait::default();
        for second in 90..1_000 {
            wait.handle_count(at(second - 1), counted(second - 1));
            let words = wait.handle_stage(at(second), second >= 100, limit);
            if let Some(words) = words {
                let again = wait.handle_stage(at(second + 1), true, limit);
                assert_eq!(again, None, "it ends once");
                return (second - 100, words);
            }
        }
        panic!("it does not end: {wait:?}");
    }

    #[test]
    fn the_waiting_ends_with_the_last_connection_or_at_the_limit_and_not_before() {
        let refused = || Err("no memory".to_owned());
        let (gone, early, unknown) = (
            "all connections have ended",
            "connections are waited for no longer; there was none when they were counted last, \
             too early to tell",
            "connections are waited for no longer; how many run on is not known: no memory",
        );
        let cases: [(&str, Counted, Duration, (u64, &str)); 8] = [
            ("none, ever", Box::new(|_| Ok(0)), LIMIT, (6, gone)),
            (
                "none at the withdrawal, one that came late",
                Box::new(|second| Ok(u64::from((102..120).contains(&second)))),
                LIMIT,
                (21, gone),
            ),
            ("they end", Box::new(|second| Ok(130_u64.saturating_sub(second))), LIMIT, (31, gone)),
            (
                "they do not end",
                Box::new(|_| Ok(7)),
                LIMIT,
                (60, "7 connections run on and are waited for no longer"),
            ),
            ("counting always fails", Box::new(move |_| refused()), LIMIT, (60, unknown)),
            (
                "counting fails after it said none",
                Box::new(move |second| if second < 101 { Ok(0) } else { refused() }),
                LIMIT,
                (60, unknown),
            ),
            (
                "counting fails for a while",
                Box::new(move |second| if second < 140 { refused() } else { Ok(0) }),
                LIMIT,
                (41, gone),
            ),
            ("no time at all", Box::new(|_| Ok(0)), Duration::ZERO, (0, early)),
        ];
        for (name, counted, limit, expected) in cases {
            let found = end(counted, limit);
            assert_eq!((found.0, found.1.as_str()), expected, "{name}");
        }
    }

    #[test]
    fn a_counting_that_never_returns_ends_at_the_limit_too() {
        let mut wait = Wait::default();
        assert_eq!(wait.handle_stage(at(100), true, LIMIT), None);
        assert_eq!(wait.handle_stage(at(159), true, LIMIT), None);
        let words = wait.handle_stage(at(160), true, LIMIT).unwrap();
        assert!(words.ends_with("not counted in time"), "{words}");
    }

    #[test]
    fn trouble_with_counting_is_told_once_until_it_is_over() {
        let mut wait = Wait::default();
        let mut told = |second, counted: Result<u64, &str>| {
            wait.handle_count(at(second), counted.map_err(str::to_owned))
        };
        assert_eq!(told(1, Ok(3)), None);
        assert_eq!(told(2, Err("no memory")).as_deref(), Some("no memory"));
        assert_eq!(told(3, Err("no memory")), None);
        assert_eq!(told(4, Ok(2)), None);
        assert_eq!(told(5, Err("no memory")).as_deref(), Some("no memory"));
        assert_eq!(
            wait.connections(),
            None,
            "what was counted before is not shown as if it were so"
        );
    }

    #[test]
    fn what_the_program_before_has_waited_counts() {
        let mut wait = Wait { before: Duration::from_secs(45), ..Wait::default() };
        wait.handle_count(at(9), Ok(7));
        // It starts, and finds the drain as it was; the next program would, too.
        assert_eq!(wait.handle_stage(at(9), false, LIMIT), None);
        assert_eq!(wait.waited(at(9)), Some(Duration::from_secs(45)));
        assert_eq!(wait.handle_stage(at(10), true, LIMIT), None);
        assert_eq!(wait.waited(at(20)), Some(Duration::from_secs(55)));
        assert_eq!(wait.handle_stage(at(24), true, LIMIT), None);
        assert!(wait.handle_stage(at(25), true, LIMIT).is_some());
        // Announced again and withdrawn again, it is waited for anew.
        assert_eq!(wait.handle_stage(at(30), false, LIMIT), None);
        assert_eq!(wait.handle_stage(at(40), true, LIMIT), None);
        assert_eq!(wait.handle_stage(at(99), true, LIMIT), None);
        assert!(wait.handle_stage(at(100), true, LIMIT).is_some());

        // What was over says so once.
        let mut wait = Wait { is_over: true, ..Wait::default() };
        assert_eq!(wait.handle_stage(at(1), false, LIMIT), None);
        assert_eq!(wait.handle_stage(at(99), true, LIMIT), None);
        assert!(wait.is_over);
    }

    #[test]
    fn a_drain_that_announces_again_is_waited_for_anew() {
        let mut wait = Wait::default();
        wait.handle_count(at(100), Ok(7));
        wait.handle_stage(at(100), true, LIMIT);
        assert!(wait.handle_stage(at(160), true, LIMIT).is_some());
        assert_eq!(wait.handle_stage(at(161), false, LIMIT), None);
        assert!(!wait.is_over);
        assert_eq!(wait.handle_stage(at(170), true, LIMIT), None);
        assert_eq!(wait.handle_stage(at(229), true, LIMIT), None);
        assert!(wait.handle_stage(at(230), true, LIMIT).is_some());
    }
}
