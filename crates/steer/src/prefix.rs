//! One prefix: what its neighbors were told, and what may change that.

use std::collections::BTreeMap;

use crate::penalty::Penalty;
use crate::shed::Shedding;
use crate::status::{PrefixStatus, Reason, ReasonKind};
use crate::{Instant, Manner, PrefixSpec, Response, SpecError};

#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    pub(crate) spec: PrefixSpec,
    /// Indices of its services, and what each weighs.
    pub(crate) services: Vec<(usize, u64)>,
    /// For each response to degradation, and for each step of shedding: which neighbors it is
    /// about.
    pub(crate) degraded_to: Vec<Vec<bool>>,
    pub(crate) shed_to: Vec<Vec<bool>>,
    /// By neighbor.
    pub(crate) told: Vec<Option<Manner>>,
    /// Whether any neighbor is told.
    announced: bool,
    pub(crate) since: Instant,
    pub(crate) penalty: Penalty,
    pub(crate) shedding: Shedding,
    pub(crate) permit: Permit,
    /// Why it is announced against its will.
    pub(crate) held: Option<String>,
}

/// Whether the fleet lets a prefix be withdrawn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Permit {
    /// Not asked.
    None,
    /// Asked, not answered.
    Asking,
    /// No; asked again at `retry`.
    Refused { retry: Instant },
    /// Yes, until it is announced again.
    Granted,
}

/// What is wanted of a prefix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// By neighbor.
    pub(crate) told: Vec<Option<Manner>>,
    pub(crate) reasons: Vec<Reason>,
    /// Whether the floor has no say.
    pub(crate) forced: bool,
}

impl Prefix {
    /// `services` gives the index of each service by name.
    pub(crate) fn new(
        spec: PrefixSpec,
        services: &BTreeMap<&str, usize>,
        neighbors: &[String],
    ) -> Result<Self, SpecError> {
        let whom = |response: &Response| match &response.neighbors {
            None => vec![true; neighbors.len()],
            Some(names) => neighbors.iter().map(|it| names.contains(it)).collect(),
        };
        let steps = spec.shed.iter().flat_map(|shed| &shed.steps);
        let weights = spec.weights.iter().copied().chain(std::iter::repeat(1));
        let services = spec.services.iter().zip(weights).map(|(name, weight)| {
            let index = services.get(name.as_str()).copied();
            let unknown =
                || SpecError::UnknownService { prefix: spec.prefix, service: name.clone() };
            Ok((index.ok_or_else(unknown)?, u64::from(weight)))
        });
        Ok(Self {
            services: services.collect::<Result<_, _>>()?,
            // Not announced, and whether its ledger says so is not known, floor or not: it is
            // released once it is announced.
            permit: Permit::Granted,
            degraded_to: spec.degraded.iter().map(whom).collect(),
            shed_to: steps.map(|step| whom(&step.response)).collect(),
            spec,
            told: vec![None; neighbors.len()],
            announced: false,
            since: Instant::START,
            penalty: Penalty::default(),
            shedding: Shedding::default(),
            held: None,
        })
    }

    /// Takes over what was told of the same prefix before its specification changed; `neighbors`
    /// gives for each neighbor of now its index then.
    pub(crate) fn continue_from(&mut self, old: &Self, neighbors: &[Option<usize>]) {
        let told = neighbors.iter().map(|then| then.and_then(|index| old.told[index].clone()));
        self.tell(&told.collect());
        self.since = old.since;
        self.penalty = old.penalty;
        self.penalty.suppressed &= self.spec.damping.is_some();
        if self.spec.shed == old.spec.shed {
            self.shedding = old.shedding.clone();
        }
        if self.announced() {
            self.permit = old.permit.clone();
        }
        self.held.clone_from(&old.held);
    }

    pub(crate) fn announced(&self) -> bool {
        self.announced
    }

    pub(crate) fn tell(&mut self, told: &Vec<Option<Manner>>) {
        self.told.clone_from(told);
        self.announced = told.iter().any(Option::is_some);
    }

    pub(crate) fn total_weight(&self) -> u64 {
        self.services.iter().map(|(_, weight)| weight).sum()
    }

    pub(crate) fn status(
        &self,
        services: Vec<String>,
        neighbors: &[String],
        wish: Wish,
        now: Instant,
    ) -> PrefixStatus {
        let damping = self.spec.damping.as_ref();
        let mut reasons = wish.reasons;
        if let Some(text) = self.held.clone() {
            reasons.push(Reason { kind: ReasonKind::Floor, text });
        } else if self.permit == Permit::Asking {
            let text = "the fleet is asked whether it may be withdrawn".to_owned();
            reasons.push(Reason { kind: ReasonKind::Floor, text });
        }
        PrefixStatus {
            prefix: self.spec.prefix,
            services,
            require: self.spec.require,
            announced: self.announced(),
            since: self.since,
            why: join(&reasons),
            told: neighbors.iter().cloned().zip(self.told.iter().cloned()).collect(),
            reasons,
            held: self.held.clone(),
            penalty: damping.map_or(0.0, |damping| self.penalty.value(damping, now)),
            damped_until: damping.and_then(|damping| self.penalty.free_at(damping)),
            shed_level: self.shedding.level,
        }
    }
}

impl Wish {
    /// All neighbors are told plainly.
    pub(crate) fn plain(neighbors: usize) -> Self {
        Self { told: vec![Some(Manner::default()); neighbors], ..Self::default() }
    }

    /// Nobody is told.
    pub(crate) fn nothing(neighbors: usize, kind: ReasonKind, text: String) -> Self {
        Self { told: vec![None; neighbors], reasons: vec![Reason { kind, text }], forced: false }
    }

    pub(crate) fn announces(&self) -> bool {
        self.told.iter().any(Option::is_some)
    }

    /// Adds `manner` towards the neighbors that `whom` picks.
    pub(crate) fn add(&mut self, manner: &Manner, whom: impl Fn(usize) -> bool) {
        for (index, told) in self.told.iter_mut().enumerate() {
            if whom(index)
                && let Some(told) = told
            {
                *told = told.and(manner);
            }
        }
    }

    /// Tells the neighbors that `whom` picks no more.
    pub(crate) fn withdraw(&mut self, whom: impl Fn(usize) -> bool) {
        for (index, told) in self.told.iter_mut().enumerate() {
            if whom(index) {
                *told = None;
            }
        }
    }

    pub(crate) fn because(&mut self, kind: ReasonKind, text: String) {
        self.reasons.push(Reason { kind, text });
    }
}

/// The reasons in one line; `None`: there are none.
pub(crate) fn join(reasons: &[Reason]) -> Option<String> {
    let texts: Vec<&str> = reasons.iter().map(|reason| reason.text.as_str()).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
