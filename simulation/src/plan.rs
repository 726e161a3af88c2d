//! What a seed stands for: a fleet, its rules, and what befalls it.

use std::time::Duration;

use anycast_steer::{
    Bound, CheckSpec, Damping, Effect, FloorSpec, Leaving, Manner, Member, PrefixSpec, Require,
    Response, ServiceSpec, ShedSpec, ShedStep, Spec, Target, Thresholds, WhenAlone,
};
use ipnet::IpNet;

use crate::random::Dice;

const PREFIXES: [&str; 4] =
    ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8:ac::/48"];
/// How many files a fleet has had.
const VARIANTS: usize = 4;
/// In this one the sites with several neighbors are without their first.
const WITHOUT_A_NEIGHBOR: usize = 3;
const REGIONS: [&str; 3] = ["eu", "us", "ap"];

/// What may be chosen of a run besides its seed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// So many sites; else by chance, few more often than many.
    pub sites: Option<usize>,
    /// So many hours; else by chance.
    pub hours: Option<u32>,
}

/// A fleet and what befalls it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// What happens when; to be thinned out in the search for what matters.
    pub faults: Vec<(Duration, Fault)>,
    /// What is wrong with the daemons, in tests of the judge.
    pub sabotage: Option<Sabotage>,
    /// From here on nothing new happens, and what is broken stays so.
    pub(crate) rest_at: Duration,
    /// Here everything is mended.
    pub(crate) heal_at: Duration,
    pub(crate) end_at: Duration,
    /// Neighbors are whole sessions, octet by octet; else tables that hand each other UPDATEs.
    pub(crate) sessions: bool,
    pub(crate) sites: Vec<SitePlan>,
    pub(crate) checks: Vec<Vec<CheckPlan>>,
    pub(crate) watched: Vec<bool>,
    /// What the file may say, one after the other.
    pub(crate) specs: Vec<Spec>,
}

#[derive(Clone, Debug)]
pub(crate) struct SitePlan {
    pub(crate) name: String,
    /// How fast its clock goes; 1: right.
    pub(crate) rate: f64,
    /// Latency to each neighbor.
    pub(crate) neighbors: Vec<Duration>,
    /// One way to the fleet's store.
    pub(crate) to_store: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckPlan {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) latency: Duration,
}

/// How things follow each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pace {
    /// Many at once, then long nothing.
    Storms,
    /// One every few minutes.
    Steady,
    /// A few a day, for days.
    Calm,
}

/// What is wrong with a site's daemon, so that tests see whether it is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sabotage {
    /// Withdrawals do not reach the tables.
    ForgetsToWithdraw,
    /// Every question is answered with yes, and nothing is written down.
    GrantsEverything,
    /// A name that it finds in the ledger is a permit.
    TrustsTheLedger,
    /// Permits are never given back.
    KeepsPermits,
    /// Results of checks that fail are not handed on.
    HidesFailures,
    /// It does not wait for what was told to arrive before it stops.
    StopsAtOnce,
}

/// How a service is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// It answers.
    Well,
    /// Its connections are refused.
    Dead,
    /// It takes connections and says nothing.
    Frozen,
    /// It answers, but later than it is waited for.
    TooSlow,
}

/// Which way to the store is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// What the site says.
    There,
    /// What the store says.
    Back,
    /// Both.
    Both,
}

/// What may befall a fleet.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it; places are indices")]
pub enum Fault {
    Service {
        site: usize,
        service: usize,
        health: Health,
    },
    /// Something that every site's service needs.
    Shared {
        service: usize,
        health: Health,
    },
    Kill {
        site: usize,
        back_after: Duration,
    },
    Stop {
        site: usize,
        back_after: Duration,
    },
    /// SIGSTOP, and SIGCONT later.
    Freeze {
        site: usize,
        lasts: Duration,
    },
    /// The clock that tells the time of day jumps; not the one that steering goes by.
    WallClock {
        site: usize,
        by_seconds: i64,
    },
    Link {
        site: usize,
        neighbor: usize,
        back_after: Duration,
    },
    Partition {
        site: usize,
        way: Way,
        back_after: Duration,
    },
    StoreGone {
        back_after: Duration,
    },
    Drain {
        site: usize,
        target: Target,
        lasts: Option<Duration>,
        now: bool,
        force: bool,
    },
    Undrain {
        site: usize,
        target: Target,
    },
    TrafficGone {
        site: usize,
        target: Target,
    },
    ClearDamping {
        site: usize,
    },
    Reload {
        site: usize,
        spec: usize,
    },
    Load {
        site: usize,
        reading: f64,
    },
}

impl Fault {
    /// The site whose daemon must run to take it in.
    pub(crate) const fn order_to(&self) -> Option<usize> {
        match self {
            Self::Stop { site, .. }
            | Self::Drain { site, .. }
            | Self::Undrain { site, .. }
            | Self::TrafficGone { site, .. }
            | Self::ClearDamping { site }
            | Self::Reload { site, .. }
            | Self::Load { site, .. } => Some(*site),
            _ => None,
        }
    }
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64, options: Options) -> Self {
        let mut dice = Dice::new(seed);
        let count = match dice.below(100) {
            0..8 => 1,
            8..60 => dice.count(2, 5),
            60..92 => dice.count(6, 12),
            _ => dice.count(13, 50),
        };
        let count = options.sites.unwrap_or(count).max(1);
        let pace = *dice.pick(&[
            Pace::Storms,
            Pace::Storms,
            Pace::Storms,
            Pace::Steady,
            Pace::Steady,
            Pace::Calm,
            Pace::Calm,
        ]);
        let hours = if pace == Pace::Calm { dice.count(48, 240) } else { dice.count(3, 12) };
        let hours = options.hours.map_or(hours, |it| it.max(3) as usize);
        let specs = Specs::roll(&mut dice);
        let checks = specs.checks.clone();
        let watched = specs.checks.iter().map(|_| dice.chance(50)).collect();
        let bad_clocks = dice.chance(20);
        let sites: Vec<SitePlan> =
            (0..count).map(|index| SitePlan::roll(&mut dice, index, bad_clocks)).collect();
        let members = specs.members(&sites);
        let sessions = dice.chance(12);
        let end_at = Duration::from_secs(3600) * u32::try_from(hours).unwrap_or(u32::MAX);
        let mut plan = Self {
            seed,
            faults: Vec::new(),
            sabotage: None,
            rest_at: end_at.saturating_sub(Duration::from_secs(6_000)),
            heal_at: end_at.saturating_sub(Duration::from_secs(3_000)),
            end_at,
            sessions,
            sites,
            checks,
            watched,
            specs: (0..VARIANTS).map(|variant| specs.spec(variant, &members)).collect(),
        };
        plan.roll_faults(&mut dice, pace);
        plan
    }

    /// How many sites it has.
    #[must_use]
    pub fn sites(&self) -> usize {
        self.sites.len()
    }

    /// How long it goes on.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.end_at
    }

    /// What a site's file says.
    pub(crate) fn spec(&self, site: usize, variant: usize) -> Spec {
        let mut spec = self.specs[variant].clone();
        let plan = &self.sites[site];
        spec.site.clone_from(&plan.name);
        let all = plan.neighbors.len();
        let first = usize::from(variant == WITHOUT_A_NEIGHBOR && all > 1);
        spec.neighbors = (first..all).map(|it| format!("n{it}")).collect();
        spec
    }

    fn roll_faults(&mut self, dice: &mut Dice, pace: Pace) {
        let mut at = Duration::from_secs(20);
        while at < self.rest_at {
            for fault in self.roll_fault(dice) {
                let (after, fault) = fault;
                if at + after < self.rest_at {
                    self.faults.push((at + after, fault));
                }
            }
            at += match (pace, dice.below(10)) {
                (Pace::Storms, 0..8) => dice.millis(0, 8_000),
                (Pace::Storms, _) => dice.millis(60_000, 3_600_000),
                (Pace::Steady, _) => dice.millis(1_000, 400_000),
                (Pace::Calm, 0..3) => dice.millis(0, 60_000),
                (Pace::Calm, _) => dice.millis(600_000, 7_200_000),
            };
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// One fault, and what belongs to it later.
    fn roll_fault(&self, dice: &mut Dice) -> Vec<(Duration, Fault)> {
        let site = dice.below(self.sites.len());
        let service = dice.below(self.checks.len());
        let health = *dice.pick(&[Health::Dead, Health::Dead, Health::Frozen, Health::TooSlow]);
        let long = |dice: &mut Dice| match dice.below(3) {
            0 => dice.millis(10, 3_000),
            1 => dice.millis(3_000, 60_000),
            _ => dice.millis(60_000, 900_000),
        };
        let soon = Duration::ZERO;
        let well = Health::Well;
        match dice.below(27) {
            0..5 => {
                let back = Fault::Service { site, service, health: well };
                vec![(soon, Fault::Service { site, service, health }), (long(dice), back)]
            }
            5..7 => Self::roll_flaps(dice, site, service, health),
            7..9 => vec![
                (soon, Fault::Shared { service, health }),
                (long(dice), Fault::Shared { service, health: well }),
            ],
            9..11 => vec![(soon, Fault::Kill { site, back_after: long(dice) })],
            11 => vec![(soon, Fault::Stop { site, back_after: long(dice) })],
            12..14 => {
                let neighbor = dice.below(self.sites[site].neighbors.len());
                vec![(soon, Fault::Link { site, neighbor, back_after: long(dice) })]
            }
            14..16 => {
                let way = *dice.pick(&[Way::There, Way::Back, Way::Both]);
                vec![(soon, Fault::Partition { site, way, back_after: long(dice) })]
            }
            16 => vec![(soon, Fault::StoreGone { back_after: long(dice) })],
            17..20 => self.roll_drains(dice),
            20 => vec![(soon, Fault::ClearDamping { site })],
            24..26 => vec![(soon, Fault::Freeze { site, lasts: long(dice) })],
            26 => {
                let by_seconds = *dice.pick(&[-86_400, -3_600, -30, 30, 3_600, 86_400]);
                let mut faults = vec![(soon, Fault::WallClock { site, by_seconds })];
                if dice.chance(50) {
                    faults.push((long(dice), Fault::Kill { site, back_after: long(dice) }));
                }
                faults
            }
            21 => {
                let spec = dice.below(self.specs.len());
                let all = dice.chance(40);
                let reload = |site| (Duration::ZERO, Fault::Reload { site, spec });
                if all { (0..self.sites.len()).map(reload).collect() } else { vec![reload(site)] }
            }
            _ => {
                let reading = *dice.pick(&[70.0, 85.0, 95.0]);
                let mut faults = vec![
                    (soon, Fault::Load { site, reading }),
                    (long(dice), Fault::Load { site, reading: 10.0 }),
                ];
                if dice.chance(50) {
                    let other = dice.below(self.sites.len());
                    faults.push((soon, Fault::Load { site: other, reading }));
                    faults.push((long(dice), Fault::Load { site: other, reading: 10.0 }));
                }
                faults
            }
        }
    }

    fn roll_flaps(
        dice: &mut Dice,
        site: usize,
        service: usize,
        health: Health,
    ) -> Vec<(Duration, Fault)> {
        let mut after = Duration::ZERO;
        let slowest = if dice.chance(50) { 2_000 } else { 20_000 };
        let mut faults = Vec::new();
        for _ in 0..dice.count(2, 9) {
            faults.push((after, Fault::Service { site, service, health }));
            after += dice.millis(1, slowest);
            faults.push((after, Fault::Service { site, service, health: Health::Well }));
            after += dice.millis(1, slowest);
        }
        faults
    }

    /// Operators at one or several sites at the same time.
    fn roll_drains(&self, dice: &mut Dice) -> Vec<(Duration, Fault)> {
        let target = match dice.below(4) {
            0 | 1 => Target::Site,
            2 => Target::Service(format!("s{}", dice.below(self.checks.len()))),
            _ => Target::Neighbor(format!("n{}", dice.below(3))),
        };
        let (now, force) = (dice.chance(30), dice.chance(10));
        let lasts = dice.chance(50).then(|| dice.millis(1_000, 900_000));
        let mut faults = Vec::new();
        for _ in 0..dice.count(1, 3) {
            let site = dice.below(self.sites.len());
            let target = target.clone();
            let after = dice.millis(0, 100);
            let drain = Fault::Drain { site, target: target.clone(), lasts, now, force };
            faults.push((after, drain));
            if dice.chance(30) {
                let gone = Fault::TrafficGone { site, target: target.clone() };
                faults.push((after + dice.millis(500, 20_000), gone));
            }
            if lasts.is_none() || dice.chance(20) {
                let after = after + dice.millis(500, 600_000);
                faults.push((after, Fault::Undrain { site, target }));
            }
        }
        faults
    }
}

impl SitePlan {
    fn roll(dice: &mut Dice, index: usize, bad_clocks: bool) -> Self {
        // A crystal is wrong by up to 100 in a million; one that is broken, by a hundredth.
        let most = if bad_clocks { 0.01 } else { 0.0001 };
        let steps = f64::from(u32::try_from(dice.below(201)).unwrap_or_default()) / 100.0 - 1.0;
        let neighbors = dice.count(1, 3);
        Self {
            name: format!("site{index}"),
            rate: 1.0 + most * steps,
            neighbors: (0..neighbors).map(|_| dice.millis(1, 40)).collect(),
            to_store: dice.millis(1, 120),
        }
    }
}

/// The rules of a fleet, before it is known which of them stand in which file.
struct Specs {
    checks: Vec<Vec<CheckPlan>>,
    services: Vec<ServiceSpec>,
    prefixes: Vec<PrefixSpec>,
    leaving: Leaving,
    lease: Option<Duration>,
    regions: usize,
}

impl Specs {
    fn roll(dice: &mut Dice) -> Self {
        let count = dice.count(1, 3);
        let mut checks = Vec::new();
        let services = (0..count)
            .map(|index| {
                let plans: Vec<CheckPlan> =
                    (0..dice.count(1, 2)).map(|_| CheckPlan::roll(dice)).collect();
                let specs = (0..plans.len()).map(|check| CheckSpec {
                    name: format!("c{check}"),
                    thresholds: Thresholds {
                        rise: *dice.pick(&[1, 2, 3]),
                        fall: *dice.pick(&[1, 2, 3]),
                        rise_for: Duration::from_secs(*dice.pick(&[0, 0, 5])),
                    },
                });
                let specs = specs.collect();
                checks.push(plans);
                let damping = dice.chance(30).then(|| roll_damping(dice));
                ServiceSpec { name: format!("s{index}"), checks: specs, damping }
            })
            .collect::<Vec<_>>();
        let regions = *dice.pick(&[0, 0, 2, 3]);
        let prefixes = (0..dice.count(1, 3))
            .map(|index| roll_prefix(dice, PREFIXES[index], count, regions))
            .collect();
        let wait = dice.millis(2_000, 60_000);
        let lease = dice.chance(85).then(|| Duration::from_secs(*dice.pick(&[6, 10, 15])));
        let leaving = Leaving { wait, ..Leaving::default() };
        Self { checks, services, prefixes, leaving, lease, regions }
    }

    fn members(&self, sites: &[SitePlan]) -> Vec<Member> {
        let region =
            |index: usize| (self.regions > 0).then(|| REGIONS[index % self.regions].to_owned());
        let sites = sites.iter().enumerate();
        sites.map(|(index, it)| Member { name: it.name.clone(), region: region(index) }).collect()
    }

    /// The file as it is at first, and two that differ from it.
    fn spec(&self, variant: usize, members: &[Member]) -> Spec {
        let mut spec = Spec {
            services: self.services.clone(),
            prefixes: self.prefixes.clone(),
            neighbors: Vec::new(),
            leaving: self.leaving.clone(),
            loads: vec!["cpu".to_owned()],
            members: members.to_vec(),
            site: String::new(),
            lease: self.lease,
        };
        match variant {
            1 => {
                for service in &mut spec.services {
                    for check in &mut service.checks {
                        check.thresholds.fall += 1;
                    }
                    service.damping = None;
                }
                for prefix in &mut spec.prefixes {
                    if let Some(floor) = &mut prefix.floor {
                        floor.fleet.min_sites += 1;
                    }
                }
                if spec.prefixes.len() > 1 {
                    spec.prefixes.pop();
                }
            }
            2 => {
                for service in &mut spec.services {
                    service.damping = Some(Damping::default());
                    service.checks.truncate(1);
                }
                for prefix in &mut spec.prefixes {
                    prefix.floor = match prefix.floor.take() {
                        Some(_) => None,
                        None => Some(floor(1, WhenAlone::Hold)),
                    };
                    prefix.shed = None;
                }
            }
            _ => {}
        }
        spec
    }
}

fn floor(min_sites: u32, when_alone: WhenAlone) -> FloorSpec {
    FloorSpec { fleet: Bound { min_sites, max_withdrawn: None }, region: None, when_alone }
}

impl CheckPlan {
    fn roll(dice: &mut Dice) -> Self {
        Self {
            interval: Duration::from_millis(*dice.pick(&[200, 500, 1_000, 2_000, 5_000])),
            timeout: Duration::from_millis(*dice.pick(&[200, 500, 1_000, 3_000])),
            latency: dice.millis(0, 90),
        }
    }
}

fn roll_damping(dice: &mut Dice) -> Damping {
    Damping {
        half_life: dice.millis(10_000, 60_000),
        suppress: *dice.pick(&[1_500, 2_500, 4_500]),
        reuse: *dice.pick(&[500, 1_000, 1_400]),
        max: dice.millis(60_000, 600_000),
    }
}

fn roll_prefix(dice: &mut Dice, net: &str, services: usize, regions: usize) -> PrefixSpec {
    let net: IpNet = net.parse().expect("one of ours");
    let mut names: Vec<String> = (0..services).map(|it| format!("s{it}")).collect();
    if dice.chance(30) && names.len() > 1 {
        names.remove(dice.below(names.len()));
    }
    let two = u32::try_from(names.len().min(2)).unwrap_or(1);
    let require = *dice.pick(&[
        Require::All,
        Require::All,
        Require::Any,
        Require::AtLeast(two),
        Require::Percent(50),
    ]);
    let weights = if dice.chance(20) {
        names.iter().map(|_| *dice.pick(&[1, 2, 3])).collect()
    } else {
        vec![]
    };
    let tell = |prepend| Effect::Tell(Manner { prepend, ..Manner::default() });
    let to = |dice: &mut Dice| dice.chance(40).then(|| vec!["n0".to_owned()]);
    let degraded = match dice.below(4) {
        0 => vec![Response { neighbors: to(dice), effect: tell(2) }],
        1 => vec![Response { neighbors: to(dice), effect: Effect::Withdraw }],
        _ => vec![],
    };
    let shed = dice.chance(40).then(|| ShedSpec {
        load: "cpu".to_owned(),
        steps: vec![
            ShedStep {
                above: 80.0,
                below: 60.0,
                response: Response { neighbors: None, effect: tell(1) },
            },
            ShedStep {
                above: 90.0,
                below: 70.0,
                response: Response { neighbors: to(dice), effect: Effect::Withdraw },
            },
        ],
        pause: Duration::from_secs(*dice.pick(&[5, 20])),
    });
    let damping = dice.chance(30).then(|| roll_damping(dice));
    let when_alone = *dice.pick(&[WhenAlone::Hold, WhenAlone::Hold, WhenAlone::Withdraw]);
    let region =
        (regions > 0 && dice.chance(50)).then_some(Bound { min_sites: 1, max_withdrawn: None });
    let max_withdrawn = *dice.pick(&[None, None, Some(50), Some(34)]);
    let min_sites = *dice.pick(&[1, 1, 2, 3]);
    let floor = dice.chance(75).then_some(FloorSpec {
        fleet: Bound { min_sites, max_withdrawn },
        region,
        when_alone,
    });
    PrefixSpec {
        services: names,
        weights,
        require,
        degraded,
        shed,
        damping,
        floor,
        ..PrefixSpec::new(net)
    }
}
