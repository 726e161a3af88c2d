//! Configurations as short lists of choices, and steps between them.

use anycast_catchment::{Configuration, NeighborKind};
use serde::{Deserialize, Serialize};

/// What must be little.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// The median round trip of users.
    Median,
    /// The 95th percentile of it.
    P95,
    /// The highest load of a site over the mean of those that announce.
    LoadImbalance,
}

impl Goal {
    /// How much worse a step may be at first: what one would not call a difference.
    pub(super) fn heat(self) -> f64 {
        match self {
            Self::Median => 1.0,
            Self::P95 => 4.0,
            Self::LoadImbalance => 0.1,
        }
    }
}

/// Which transit neighbors of a site that announces are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transits {
    /// Any of its neighbors, of whatever kind, at least one.
    Any,
    /// Those that the fleet file tells.
    All,
    /// One transit neighbor, and all others that are no transit.
    One,
}

/// What is allowed.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sites that announce, at most.
    pub sites: usize,
    /// Prepends of a site, from and to.
    pub prepend: (u8, u8),
    /// Which neighbors.
    pub transits: Transits,
}

/// The choice of one site: the mask of its neighbors that are told (0: it does not announce), and
/// its prepends.
pub(super) type Gene = (u32, u8);
/// A configuration: a choice for each site.
pub(super) type Genes = Vec<Gene>;

/// All that may be chosen.
#[derive(Debug)]
pub(super) struct Space {
    /// For each site the masks that are allowed; none if it has no neighbor.
    masks: Vec<Vec<u32>>,
    prepend: (u8, u8),
    pub(super) budget: usize,
}

/// So many masks are listed for a site; with more neighbors only some of all.
const MOST_MASKS: u32 = 1 << 10;

impl Space {
    pub(super) fn new(base: &Configuration, limits: &Limits) -> Self {
        let masks = base.sites.iter().map(|site| {
            let told = &site.announcements[..site.announcements.len().min(32)];
            let bits = |wanted: &dyn Fn(usize) -> bool| {
                (0..told.len()).filter(|at| wanted(*at)).fold(0_u32, |mask, at| mask | 1 << at)
            };
            let transit = |at: usize| told[at].kind == NeighborKind::Transit;
            let mut masks = match limits.transits {
                Transits::All => vec![bits(&|at| told[at].announced)],
                Transits::One => {
                    let others = bits(&|at| !transit(at));
                    let one = (0..told.len()).filter(|at| transit(*at)).map(|at| others | 1 << at);
                    let one: Vec<u32> = one.collect();
                    if one.is_empty() { vec![others] } else { one }
                }
                Transits::Any if told.len() < 11 => (1..1_u32 << told.len()).collect(),
                Transits::Any => {
                    // Each alone, each left out, and all.
                    let all = bits(&|_| true);
                    let alone = (0..told.len()).map(|at| 1 << at);
                    alone.chain((0..told.len()).map(|at| all & !(1 << at))).chain([all]).collect()
                }
            };
            masks.retain(|mask| *mask != 0);
            debug_assert!(masks.len() <= MOST_MASKS as usize);
            masks
        });
        let masks: Vec<Vec<u32>> = masks.collect();
        let usable = masks.iter().filter(|masks| !masks.is_empty()).count();
        Self { masks, prepend: limits.prepend, budget: limits.sites.min(usable) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.budget == 0
    }

    /// Some configuration with so many sites.
    pub(super) fn any(&self, budget: usize, random: &mut Random) -> Genes {
        let mut genes: Genes = vec![(0, 0); self.masks.len()];
        for _ in 0..budget {
            self.turn_on(&mut genes, random);
        }
        genes
    }

    /// A configuration that is one step away, or a few.
    pub(super) fn step(&self, from: &Genes, budget: usize, random: &mut Random) -> Genes {
        let mut genes = from.clone();
        let steps = 1 + usize::from(random.below(4) == 0);
        for _ in 0..steps {
            let up: Vec<usize> = (0..genes.len()).filter(|at| genes[*at].0 != 0).collect();
            let one = up[random.below(up.len())];
            match random.below(6) {
                // Another site in its place.
                0 | 1 => {
                    genes[one] = (0, 0);
                    self.turn_on(&mut genes, random);
                }
                2 if up.len() < budget => self.turn_on(&mut genes, random),
                3 if up.len() > 1 && random.below(3) == 0 => genes[one] = (0, 0),
                4 => genes[one].0 = self.masks[one][random.below(self.masks[one].len())],
                _ => genes[one].1 = self.prepends(random),
            }
        }
        genes
    }

    fn prepends(&self, random: &mut Random) -> u8 {
        let (from, to) = self.prepend;
        let more = random.below(usize::from(to - from) + 1);
        from + u8::try_from(more).expect("below 256")
    }

    fn turn_on(&self, genes: &mut Genes, random: &mut Random) {
        let free = |at: &usize| genes[*at].0 == 0 && !self.masks[*at].is_empty();
        let down: Vec<usize> = (0..genes.len()).filter(free).collect();
        if down.is_empty() {
            return;
        }
        let at = down[random.below(down.len())];
        // All neighbors is the usual start.
        let masks = &self.masks[at];
        let most = masks.iter().copied().max_by_key(|mask| mask.count_ones());
        let mask = if random.below(2) == 0 { most } else { None };
        genes[at] = (mask.unwrap_or_else(|| masks[random.below(masks.len())]), self.prepend.0);
    }
}

/// Writes the choices into a configuration of the same sites.
pub(super) fn apply(genes: &Genes, configuration: &mut Configuration) {
    for (site, (mask, prepend)) in configuration.sites.iter_mut().zip(genes) {
        site.up = *mask != 0;
        for (at, told) in site.announcements.iter_mut().enumerate() {
            told.announced = at < 32 && mask >> at & 1 == 1;
            told.prepend = *prepend;
        }
    }
}

/// Random numbers that are the same each time (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `n`, which is not 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("below n")
    }

    /// From 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }
}
