//! What is kept in a file between runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Search;
use super::judge::Judged;
use super::space::{Genes, Random, Space};
use crate::scene::Scene;

/// All of a search.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct State {
    /// Of what it is: see [`fingerprint`].
    fingerprint: String,
    pub(super) evaluated: u64,
    pub(super) chains: Vec<Chain>,
    pub(super) best: Best,
}

/// For each number of sites the best few, the best first: which of them is best is for the whole
/// graph to say.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Best(BTreeMap<usize, Vec<Kept>>);

/// How many are kept for each number of sites.
const FEW: usize = 4;

/// One walk.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Chain {
    pub(super) genes: Genes,
    #[serde(with = "number")]
    pub(super) score: f64,
    pub(super) random: Random,
    /// Sites that it may use.
    pub(super) budget: usize,
    /// Since results were gathered.
    #[serde(skip)]
    found: Best,
}

/// A configuration that was the best of its kind.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Kept {
    pub(super) genes: Genes,
    #[serde(with = "number")]
    pub(super) value: f64,
    #[serde(with = "number")]
    score: f64,
}

/// Why the file of an earlier run is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("cannot keep the search in {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is not what this program writes.
    #[error("{} is no file of a search: {why}; remove it, or name another", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is of another search.
    #[error(
        "{} is of another search (fleet, topology, networks, model, goal, limits or seed differ); remove it, or name another",
        .0.display()
    )]
    Other(PathBuf),
}

impl State {
    pub(super) fn new(fingerprint: String, space: &Space, seed: u64, chains: usize) -> Self {
        let chains = (0..chains).map(|at| {
            // Budgets from few sites to all.
            let budget = (space.budget * (at + 1)).div_ceil(chains).max(1);
            let mut random = Random(seed.wrapping_add((at as u64 + 1) << 32));
            let genes = space.any(budget, &mut random);
            Chain { genes, score: f64::INFINITY, random, budget, found: Best::default() }
        });
        Self { fingerprint, evaluated: 0, chains: chains.collect(), best: Best::default() }
    }

    pub(super) fn read(path: &Path, fingerprint: &str) -> Result<Self, StateError> {
        let text = fs::read(path).map_err(|why| StateError::File { path: path.to_owned(), why })?;
        let state: Self = serde_json::from_slice(&text)
            .map_err(|why| StateError::Format { path: path.to_owned(), why: why.to_string() })?;
        if state.fingerprint == fingerprint {
            Ok(state)
        } else {
            Err(StateError::Other(path.to_owned()))
        }
    }

    /// Whoever is stopped while it writes leaves the file as it was.
    pub(super) fn write(&self, path: &Path) -> Result<(), StateError> {
        let wrong = |why| StateError::File { path: path.to_owned(), why };
        let mut draft = path.as_os_str().to_owned();
        draft.push(".part");
        let text = serde_json::to_vec(self).map_err(|why| wrong(why.into()))?;
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, path)).map_err(wrong)
    }

    /// Takes what the chains found, in their order.
    pub(super) fn gather(&mut self, evaluated: u64) {
        self.evaluated += evaluated;
        for chain in &mut self.chains {
            for (sites, few) in std::mem::take(&mut chain.found).0 {
                for kept in few {
                    self.best.take(sites, kept);
                }
            }
        }
    }
}

impl Best {
    /// All that are kept, fewer sites first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Kept> {
        self.0.values().flatten()
    }

    fn take(&mut self, sites: usize, kept: Kept) {
        let few = self.0.entry(sites).or_default();
        let at = few.partition_point(|it| it.score <= kept.score);
        if at >= FEW || few.iter().any(|it| it.genes == kept.genes) {
            return;
        }
        few.insert(at, kept);
        few.truncate(FEW);
    }

    /// Whether it would be kept.
    fn wants(&self, sites: usize, score: f64) -> bool {
        self.0.get(&sites).and_then(|few| few.get(FEW - 1)).is_none_or(|last| score < last.score)
    }
}

impl Chain {
    pub(super) fn keep(&mut self, genes: &Genes, judged: Judged) {
        let sites = genes.iter().filter(|(mask, _)| *mask != 0).count();
        if self.found.wants(sites, judged.score) {
            let kept = Kept { genes: genes.clone(), value: judged.value, score: judged.score };
            self.found.take(sites, kept);
        }
    }
}

/// A word for all that a search depends on (FNV-1a).
pub(super) fn fingerprint(scene: &Scene, search: &Search) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |text: &str| {
        for octet in text.bytes() {
            hash = (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    take(env!("CARGO_PKG_VERSION"));
    take(&format!("{search:?} {:?} {:?}", scene.configuration, scene.geography));
    take(&format!("{} {:?} {:?}", scene.graph.len(), scene.sites, scene.overrides));
    for id in scene.graph.ids() {
        let links = scene.graph.providers(id).len() + scene.graph.peers(id).len();
        take(&format!("{} {links} {}", scene.graph.asn(id), scene.network(id).weight));
    }
    format!("{hash:016x}")
}

/// Numbers by their bits: what is read is what was written, to the last digit and for infinity.
mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(value.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}
