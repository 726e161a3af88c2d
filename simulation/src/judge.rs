//! What must always be true, looked at after each step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anycast_steer::manner::GRACEFUL_SHUTDOWN;
use anycast_steer::{
    Action, Answer, Bound, Change, FloorSpec, Instant, Manner, ReasonKind, Stage, Target,
};
use ipnet::IpNet;

use crate::store::PATIENCE;
use crate::wire::{CONVERGED, HOLD_TIME};
use crate::world::World;

/// After the last change from outside, everything has come to rest within this time: the longest
/// repair, the longest drain, the longest damping.
pub(crate) const AT_REST: Duration = Duration::from_secs(2_400);

/// What was not true.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// When, by a right clock.
    pub at: Duration,
    /// Where.
    pub site: String,
    /// What, in words.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.6} s, {}: {}", self.at.as_secs_f64(), self.site, self.what)
    }
}

/// What is remembered in order to judge.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    pub(crate) failure: Option<Failure>,
    sites: BTreeMap<usize, Memory>,
    /// Who announced a prefix and stopped without a permit, and when: others may count on it yet.
    lost: BTreeMap<(usize, IpNet), Duration>,
    /// By which floor each site's name has come into a ledger last.
    entered: BTreeMap<(usize, IpNet), FloorSpec>,
    /// Whose name came into a ledger by a write of a connection that the site had given up.
    strays: BTreeSet<(usize, IpNet)>,
    /// Who has gone with a permit, and when.
    gone: BTreeMap<(usize, IpNet), Duration>,
}

/// Who is counted among those that announce a prefix.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Count {
    /// Who announces it and has no permit.
    Announcing,
    /// And who has stopped without a permit so recently that it could not be known.
    AndLost,
    /// And who has got a permit by another floor, as long.
    AndByAnotherFloor,
}

/// What a site has done since its daemon began.
#[derive(Debug, Default)]
struct Memory {
    alive: bool,
    /// When its daemon began, ended, or took up another file.
    since: Duration,
    told: BTreeMap<IpNet, Vec<Option<Manner>>>,
    told_at: BTreeMap<IpNet, Duration>,
    asking: BTreeMap<IpNet, Duration>,
    unreachable: BTreeSet<IpNet>,
    held: BTreeSet<IpNet>,
    damped: BTreeSet<String>,
    up: BTreeSet<usize>,
}

impl Judge {
    fn memory(&mut self, site: usize) -> &mut Memory {
        self.sites.entry(site).or_default()
    }

    pub(crate) fn site_boots(&mut self, site: usize, now: Duration) {
        *self.memory(site) = Memory { alive: true, since: now, ..Memory::default() };
    }

    pub(crate) fn site_ends(&mut self, site: usize, now: Duration) {
        *self.memory(site) = Memory { since: now, ..Memory::default() };
    }

    /// Indices of services and the names of what is damped may mean something else now.
    pub(crate) fn site_reloads(&mut self, site: usize, now: Duration) {
        let memory = self.memory(site);
        memory.since = now;
        memory.damped.clear();
        memory.held.clear();
    }

    /// What neighbors were told is now at other places.
    pub(crate) fn neighbors_move(
        &mut self,
        site: usize,
        moved: impl Fn(&[Option<Manner>]) -> Vec<Option<Manner>>,
    ) {
        for told in self.memory(site).told.values_mut() {
            *told = moved(told);
        }
    }

    /// It announced the prefix, and does so no more without having asked.
    pub(crate) fn lost(&mut self, site: usize, prefix: IpNet, now: Duration) {
        self.lost.insert((site, prefix), now);
    }

    pub(crate) fn told(&mut self, site: usize, prefix: IpNet, now: Duration) {
        self.memory(site).told_at.insert(prefix, now);
    }

    pub(crate) fn answered(&mut self, site: usize, prefix: IpNet, answer: &Answer) {
        let memory = self.memory(site);
        memory.asking.remove(&prefix);
        match answer {
            Answer::Unreachable => memory.unreachable.insert(prefix),
            Answer::Granted | Answer::Refused(_) => memory.unreachable.remove(&prefix),
        };
    }
}

impl Memory {
    /// What is wrong with an action after those before it. `idle`: a cause may be without effect,
    /// since what it changes is told to a neighbor that the site does not have.
    fn take(&mut self, action: &Action, now: Duration, idle: bool) -> Result<(), String> {
        let first = |new: bool, what: &str| new.then_some(()).ok_or_else(|| what.to_owned());
        match action {
            Action::Tell { prefix, told, change, why } => {
                self.take_tell(*prefix, told, *change, (why, idle))
            }
            Action::ServiceUp { service } => first(self.up.insert(*service), "up twice"),
            Action::ServiceDown { service, why } => {
                if why.is_empty() {
                    return Err("a service is down without a cause".to_owned());
                }
                first(self.up.remove(service), "down twice")
            }
            Action::Ask { prefix } => {
                let before = self.asking.insert(*prefix, now);
                first(before.is_none(), "asks again before it was answered")
            }
            Action::Held { prefix, .. } => first(self.held.insert(*prefix), "held twice"),
            Action::Freed { prefix } => {
                // After a reload it is not known what was held.
                self.held.remove(prefix);
                Ok(())
            }
            Action::Damped { what, .. } => first(self.damped.insert(what.clone()), "damped twice"),
            Action::Undamped { what } => {
                self.damped.remove(what);
                Ok(())
            }
            Action::Drain { why, .. }
            | Action::Undrain { why, .. }
            | Action::Shed { why, .. }
            | Action::ShedRefused { why, .. } => {
                first(!why.is_empty(), "a drain or shedding moves without a cause")
            }
            Action::Release { .. } => Ok(()),
        }
    }

    fn take_tell(
        &mut self,
        prefix: IpNet,
        told: &[Option<Manner>],
        change: Change,
        (why, idle): (&str, bool),
    ) -> Result<(), String> {
        let before = self.told.insert(prefix, told.to_vec()).unwrap_or(vec![None; told.len()]);
        if before == told {
            return Err(format!("{prefix} is told twice in the same way"));
        }
        let plain = told.iter().all(|it| it.as_ref().is_some_and(Manner::is_plain));
        if why.is_empty() != plain && !(plain && idle) {
            return Err(format!("{prefix} is told {told:?} because {why:?}"));
        }
        let any = |told: &[Option<Manner>]| told.iter().any(Option::is_some);
        let is = match (any(&before), any(told)) {
            (false, true) => Change::Announce,
            (true, false) => Change::Withdraw,
            _ => Change::Adjust,
        };
        if is != change {
            return Err(format!("{prefix}: {change:?} is said of what is {is:?}"));
        }
        Ok(())
    }
}

impl World<'_> {
    /// The first thing that is wrong is kept.
    pub(crate) fn fail(&mut self, site: usize, what: String) {
        self.tell(site, || format!("WRONG   {what}"));
        let name = self.sites[site].name.clone();
        self.judge.failure.get_or_insert(Failure { at: self.now, site: name, what });
    }

    pub(crate) fn judge_action(&mut self, site: usize, action: &Action) {
        let idle = self.sites[site].first_link() > 0;
        if let Err(what) = self.judge.memory(site).take(action, self.now, idle) {
            self.fail(site, what);
        }
        let Action::Tell { prefix, change, why, .. } = action else { return };
        self.report.tells += 1;
        if self.sites[site].stopping && *change != Change::Withdraw {
            self.fail(site, format!("{prefix} is told of although the site stops"));
        }
        let quiet_from = [self.plan.rest_at, self.plan.heal_at].map(|it| it + AT_REST);
        if self.now > quiet_from[1] || (quiet_from[0]..self.plan.heal_at).contains(&self.now) {
            self.fail(
                site,
                format!("{prefix} is told otherwise long after anything happened: {why}"),
            );
        }
        if *change == Change::Withdraw {
            self.judge_withdrawal(site, *prefix);
        }
    }

    /// Whoever withdraws what has a floor has a permit, or cannot ask.
    fn judge_withdrawal(&mut self, site: usize, prefix: IpNet) {
        let it = &self.sites[site];
        let rules = it.spec.prefixes.iter().find(|it| it.prefix == prefix);
        let floor = rules.and_then(|it| it.floor.clone());
        let forced = it.drains.iter().any(|it| it.drain.force);
        let Some(floor) = floor.filter(|_| !it.stopping && !forced && it.spec.lease.is_some())
        else {
            self.judge.lost(site, prefix, self.now);
            return;
        };
        let is_stray = self.judge.strays.contains(&(site, prefix));
        if self.store.has_permit(&prefix, &it.name) && !is_stray {
            self.judge.gone.insert((site, prefix), self.now);
            return;
        }
        if !self.judge.memory(site).unreachable.contains(&prefix) {
            self.fail(site, format!("{prefix} is withdrawn without a permit"));
            return;
        }
        self.judge.lost(site, prefix, self.now);
        self.report.alone += 1;
        if self.below(site, &prefix, &floor, Count::Announcing).is_some() {
            self.report.alone_below += 1;
            self.tell(site, || format!("{prefix} falls below its floor: it could not ask"));
        }
    }

    /// At the moment in which a site's name comes into a ledger, enough others announce, or have
    /// stopped so recently without a word that it could not be known. A write that was stuck until
    /// its site had given the connection up is judged by nobody's view of now, and no permit comes
    /// of it: the name must be written again over the connection in use.
    pub(crate) fn judge_entry(&mut self, site: usize, prefix: IpNet, is_new: bool, in_use: bool) {
        if in_use {
            self.judge.strays.remove(&(site, prefix));
        } else if is_new {
            self.judge.strays.insert((site, prefix));
        }
        let rules = self.sites[site].spec.prefixes.iter().find(|it| it.prefix == prefix);
        let Some(floor) = rules.and_then(|it| it.floor.clone()) else { return };
        self.judge.entered.insert((site, prefix), floor.clone());
        if !is_new || !in_use {
            return;
        }
        if let Some((count, needed)) = self.below(site, &prefix, &floor, Count::AndLost) {
            self.fail(
                site,
                format!(
                    "enters the ledger of {prefix} although only {count} others announce it; \
                     {needed} must"
                ),
            );
        }
    }

    /// And still do when it gets the permit, but for those who have gone by another floor meanwhile.
    pub(crate) fn judge_permit(&mut self, site: usize, prefix: IpNet) {
        let rules = self.sites[site].spec.prefixes.iter().find(|it| it.prefix == prefix);
        let Some(floor) = rules.and_then(|it| it.floor.clone()) else { return };
        self.report.permits += 1;
        if self.judge.strays.contains(&(site, prefix)) {
            self.fail(site, format!("takes a permit for {prefix} by a name that came late"));
        }
        if let Some((count, needed)) = self.below(site, &prefix, &floor, Count::AndByAnotherFloor) {
            let what = format!(
                "takes a permit for {prefix} although only {count} others announce it; {needed} must"
            );
            self.fail(site, what);
        } else if self.below(site, &prefix, &floor, Count::Announcing).is_some() {
            self.report.unknown_below += 1;
        }
    }

    /// If too few sites besides this one announce: how many do, and how many must.
    fn below(
        &self,
        site: usize,
        prefix: &IpNet,
        floor: &FloorSpec,
        count: Count,
    ) -> Option<(usize, usize)> {
        let spec = &self.sites[site].spec;
        let region = spec.members[site].region.as_ref();
        let lease = spec.lease.unwrap_or_default();
        let unknown = lease + lease / 20 + PATIENCE * 2;
        let stands = |other: usize| {
            let it = &self.sites[other];
            let recent = |at: Option<&Duration>| at.is_some_and(|at| self.now < *at + unknown);
            let key = (other, *prefix);
            // Whoever has another floor at the same moment cannot know of this one.
            let differs = count == Count::AndByAnotherFloor
                && self.judge.entered.get(&key).is_some_and(|by| by != floor);
            let permitted = self.store.has_permit(prefix, &it.name) && !differs;
            let is_heard = it.is_heard() || count >= Count::AndLost && it.comes_up(self.now);
            it.tells(prefix) && is_heard && !permitted
                || count >= Count::AndLost && recent(self.judge.lost.get(&key))
                || differs && recent(self.judge.gone.get(&key))
        };
        let bounds: [(Option<Bound>, bool); 2] =
            [(Some(floor.fleet), false), (floor.region.filter(|_| region.is_some()), true)];
        bounds.into_iter().find_map(|(bound, regional)| {
            let among = |other: &usize| !regional || spec.members[*other].region.as_ref() == region;
            let among: Vec<usize> = (0..self.sites.len()).filter(among).collect();
            let needed = bound?.needed(among.len());
            let standing = among.iter().filter(|it| **it != site && stands(**it)).count();
            (standing < needed).then_some((standing, needed))
        })
    }

    /// What a site announces, as its neighbors see it.
    pub(crate) fn judge_site(&mut self, site: usize) {
        self.report.judged += 1;
        if let Some(what) = self.wrong_at(site) {
            self.fail(site, what);
        }
    }

    fn wrong_at(&self, site: usize) -> Option<String> {
        let it = &self.sites[site];
        let memory = self.judge.sites.get(&site)?;
        if !memory.alive {
            let gone = self.now > memory.since + CONVERGED;
            let holds = |prefix: &IpNet| it.links.iter().any(|link| link.holds(prefix).is_some());
            let left = self.plan.specs[0].prefixes.iter().find(|it| gone && holds(&it.prefix));
            return left
                .map(|it| format!("a neighbor holds {} of a daemon that is dead", it.prefix));
        }
        if let Some(since) = it.frozen {
            let holds = |prefix: &IpNet| it.links.iter().any(|link| link.holds(prefix).is_some());
            let gone = self.now > since + HOLD_TIME + CONVERGED * 4;
            let left = self.plan.specs[0].prefixes.iter().find(|it| gone && holds(&it.prefix));
            return left
                .map(|it| format!("a neighbor holds {} of a daemon long frozen", it.prefix));
        }
        let asked_for = |at: Duration| self.now.saturating_sub(at.max(it.thawed_at));
        let stuck = memory.asking.iter().find(|(_, at)| asked_for(**at) > PATIENCE * 20);
        if let Some((prefix, _)) = stuck {
            return Some(format!("asks about {prefix} and is not answered"));
        }
        let prefixes = self.plan.specs[0].prefixes.iter().map(|it| it.prefix);
        for prefix in prefixes {
            if let Some(what) = self.unlike_told(site, &prefix, memory) {
                return Some(what);
            }
        }
        for prefix in &it.spec.prefixes {
            let total: u64 = (0..prefix.services.len()).map(|it| weight(prefix, it)).sum();
            let able = |(index, name): (usize, &String)| {
                self.may_be_up(site, name, memory).then(|| weight(prefix, index))
            };
            let able: u64 = prefix.services.iter().enumerate().filter_map(able).sum();
            if able < prefix.require.needed(total)
                && let Some(what) = self.too_long(site, &prefix.prefix)
            {
                return Some(what);
            }
        }
        self.drained_and_told(site)
    }

    /// Neighbors hold what they were told, once it has had the time to arrive.
    fn unlike_told(&self, site: usize, prefix: &IpNet, memory: &Memory) -> Option<String> {
        let told_at = memory.told_at.get(prefix).copied().unwrap_or_default();
        if self.now < told_at.max(self.sites[site].thawed_at) + CONVERGED {
            return None;
        }
        let first = self.sites[site].first_link();
        let told = self.sites[site].announced.get(prefix);
        self.sites[site].links.iter().enumerate().find_map(|(index, link)| {
            let settled = link.up_since.is_some_and(|at| self.now >= at + CONVERGED);
            let place = index.checked_sub(first);
            let told = place.and_then(|place| told.and_then(|it| it[place].clone()));
            let holds = link.holds(prefix);
            (settled && holds != told).then(|| {
                format!("neighbor n{index} holds {prefix} {holds:?} and was told {told:?}")
            })
        })
    }

    /// Whether a service can be up in the eyes of its site.
    fn may_be_up(&self, site: usize, name: &str, memory: &Memory) -> bool {
        let Some(index) = self.sites[site].spec.services.iter().position(|it| it.name == *name)
        else {
            return false;
        };
        let Some(since) = self.sites[site].services[index].unable_since else { return true };
        let since = since.max(memory.since).max(self.sites[site].thawed_at);
        self.now < since + self.latest_fall(site, index) + CONVERGED
    }

    /// It stands for too few services that could be up, for longer than that takes to be seen.
    fn too_long(&self, site: usize, prefix: &IpNet) -> Option<String> {
        let it = &self.sites[site];
        let plainly = |manner: Manner| !manner.communities.contains(&GRACEFUL_SHUTDOWN);
        if it.links.iter().any(|link| link.holds(prefix).is_some_and(plainly)) {
            return Some(format!(
                "a neighbor holds {prefix} plainly; its services are dead for long"
            ));
        }
        if !it.tells(prefix) {
            return None;
        }
        let status = it.steer.as_ref()?.status(it.clock(self.now));
        let status = status.prefixes.into_iter().find(|it| it.prefix == *prefix)?;
        let held = status.reasons.iter().any(|it| it.kind == ReasonKind::Floor);
        (!held).then(|| format!("announces {prefix}, whose services are dead, and is not held"))
    }

    /// A drain that is said to be done has nothing announced that it is about.
    fn drained_and_told(&self, site: usize) -> Option<String> {
        let it = &self.sites[site];
        if it.drains.is_empty() {
            return None;
        }
        let status = it.steer.as_ref()?.status(it.clock(self.now));
        let leaving = status.drains.iter().any(|it| matches!(it.stage, Stage::Leaving { .. }));
        // Who was frozen hears of all that has waited, its own timers too, in one moment: this one.
        let is_thawing = self.now == it.thawed_at;
        for drain in status.drains {
            let over = |at: Instant| at.0 + Duration::from_secs(1) < it.clock(self.now).0;
            if drain.drain.until.is_some_and(over) && !is_thawing {
                return Some(format!("the drain of {} does not end", drain.drain.target));
            }
            let target = drain.drain.target;
            let told = status.prefixes.iter().find(|prefix| match &target {
                Target::Neighbor(name) => {
                    prefix.told.iter().any(|(of, manner)| of == name && manner.is_some())
                }
                Target::Site => prefix.announced,
                Target::Service(name) => {
                    let about = prefix.services.contains(name);
                    let drained = |it: &anycast_steer::Reason| {
                        it.kind == ReasonKind::Drain && it.text.contains(&target.to_string())
                    };
                    // What is still being left serves in its place.
                    !leaving && about && prefix.announced && prefix.reasons.iter().any(drained)
                }
            });
            if let (Stage::Drained, Some(told)) = (drain.stage, told) {
                return Some(format!(
                    "{target} is said to be drained, but {} is announced",
                    told.prefix
                ));
            }
        }
        None
    }

    /// A daemon that was told to stop has withdrawn, and its neighbors have heard of it.
    pub(crate) fn judge_stopped(&mut self, site: usize) {
        let it = &self.sites[site];
        let holds = |prefix: &IpNet| it.links.iter().any(|link| link.holds(prefix).is_some());
        let left = self.plan.specs[0].prefixes.iter().find(|it| holds(&it.prefix));
        if let Some(what) = left.map(|it| format!("stops while a neighbor holds {}", it.prefix)) {
            self.fail(site, what);
        }
        if !self.sites[site].announced.is_empty() {
            self.fail(site, "stops and announces".to_owned());
        }
    }

    /// Everything was mended long ago: all is announced plainly, and nobody has a permit.
    pub(crate) fn judge_the_end(&mut self) {
        for site in 0..self.sites.len() {
            if let Some(what) = self.not_whole(site) {
                self.fail(site, format!("long after everything was mended: {what}"));
            }
        }
    }

    fn not_whole(&self, site: usize) -> Option<String> {
        let it = &self.sites[site];
        let Some(steer) = &it.steer else { return Some("the daemon does not run".to_owned()) };
        let status = steer.status(it.clock(self.now));
        if !status.drains.is_empty() {
            return Some(format!("drains are left: {:?}", status.drains));
        }
        for prefix in &status.prefixes {
            if let Some(why) = &prefix.why {
                return Some(format!("{}: {why}", prefix.prefix));
            }
            for (index, link) in it.links.iter().enumerate() {
                if link.holds(&prefix.prefix) != Some(Manner::default()) {
                    return Some(format!(
                        "neighbor n{index} does not hold {} plainly",
                        prefix.prefix
                    ));
                }
            }
            if self.store.has_permit(&prefix.prefix, &it.name) {
                return Some(format!("its name is in the ledger of {}", prefix.prefix));
            }
        }
        None
    }
}

fn weight(prefix: &anycast_steer::PrefixSpec, index: usize) -> u64 {
    prefix.weights.get(index).copied().unwrap_or(1).into()
}
