//! What one configuration comes to: where each AS lands, and what that means for users.

use anycast_catchment::learn::Model;
use anycast_catchment::{
    Announced, AsId, Configuration, ConfigurationError, Propagator, Resolved, Routes, Shares,
    SiteSet,
};
use serde::Serialize;

use crate::geography::tilt;
use crate::scene::Scene;

/// Works out configurations of one scene; its memory is reused.
#[derive(Debug)]
pub struct Planner<'s> {
    scene: &'s Scene,
    propagator: Propagator<'s>,
    /// By relations alone, which is much sooner done: where shares follow the model, routes only
    /// say who is reached.
    plain: Propagator<'s>,
    learnt: bool,
    routes: Routes,
    shares: Shares,
}

/// Where each AS lands.
#[derive(Clone, Debug)]
pub struct Outcome {
    sites: usize,
    shares: Vec<f32>,
    /// The sites to which the tied best routes of each AS lead; with a model all that are possible.
    pub tied: Vec<SiteSet>,
    /// ASes whose routes did not settle.
    pub unsettled: usize,
}

impl<'s> Planner<'s> {
    /// A planner for this scene.
    pub fn new(scene: &'s Scene) -> Self {
        let resolved = scene.overrides.resolve(&scene.graph, &scene.configuration);
        Self {
            scene,
            propagator: Propagator::new(&scene.graph, resolved),
            plain: Propagator::new(&scene.graph, Resolved::default()),
            learnt: false,
            routes: Routes::new(scene.graph.len()),
            shares: Shares::new(),
        }
    }

    /// What a configuration comes to; its sites must be those of the scene.
    ///
    /// # Errors
    /// Neighbors that the graph does not have, too much that is special, a path too long.
    pub fn run(&mut self, configuration: &Configuration) -> Result<Outcome, ConfigurationError> {
        let announced = configuration.resolve(&self.scene.graph)?;
        let model = self.scene.model.as_ref().filter(|model| model.knows(configuration));
        self.learnt = model.is_some();
        let outcome = self.run_announced(&announced);
        Ok(match model {
            Some(model) => learnt(self.scene, model, configuration, outcome),
            None => outcome,
        })
    }

    fn run_announced(&mut self, announced: &Announced) -> Outcome {
        let propagator = if self.learnt { &mut self.plain } else { &mut self.propagator };
        propagator.run(announced, &mut self.routes);
        self.shares.run(&self.scene.graph, announced, propagator.overrides(), &self.routes);
        let sites = self.scene.sites.len();
        let mut shares = Vec::with_capacity(self.scene.graph.len() * sites);
        let mut tied = Vec::with_capacity(self.scene.graph.len());
        for id in self.scene.graph.ids() {
            let start = shares.len();
            shares.extend_from_slice(self.shares.of(id));
            tilt(&mut shares[start..], self.scene.km(id), self.scene.geography.nearness_km);
            tied.push(self.routes.sites(id));
        }
        Outcome { sites, shares, tied, unsettled: self.routes.unsettled().len() }
    }

    /// The last configuration's routes.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What was learnt, resolved, as far as the last configuration's routes follow it.
    pub fn overrides(&self) -> &Resolved {
        if self.learnt { self.plain.overrides() } else { self.propagator.overrides() }
    }
}

/// What the model says of all that the routes reach, in place of what propagation says.
fn learnt(
    scene: &Scene,
    model: &Model,
    configuration: &Configuration,
    mut outcome: Outcome,
) -> Outcome {
    let rows = model.land(&scene.graph, configuration);
    for (id, row) in scene.graph.ids().zip(rows) {
        if outcome.tied[id.index()].is_empty() {
            continue;
        }
        let begin = id.index() * outcome.sites;
        for (share, learnt) in outcome.shares[begin..begin + outcome.sites].iter_mut().zip(&row) {
            #[expect(clippy::cast_possible_truncation, reason = "a share")]
            let learnt = *learnt as f32;
            *share = learnt;
        }
        let possible = row.iter().enumerate().filter(|(_, share)| **share > 0.0);
        outcome.tied[id.index()] = possible.map(|(site, _)| site).collect();
    }
    outcome.unsettled = 0;
    outcome
}

impl Outcome {
    /// How likely each site is for an AS; all 0 if it has no route.
    pub fn shares(&self, id: AsId) -> &[f32] {
        &self.shares[id.index() * self.sites..(id.index() + 1) * self.sites]
    }

    /// The likeliest site of an AS.
    pub fn likeliest(&self, id: AsId) -> Option<(usize, f32)> {
        let shares = self.shares(id).iter().copied().enumerate().filter(|(_, share)| *share > 0.0);
        shares.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// Its distance in the mean over its sites, in kilometres; `None` if not known.
    pub fn mean_km(&self, scene: &Scene, id: AsId) -> Option<f64> {
        let shares = self.shares(id).iter().zip(scene.km(id)).filter(|(share, _)| **share > 0.0);
        let (sum, total) = shares.fold((0.0, 0.0), |(sum, total), (share, km)| {
            (sum + f64::from(*share) * f64::from(*km), total + f64::from(*share))
        });
        (total > 0.0 && !sum.is_nan()).then(|| sum / total)
    }

    /// The share of the whole weight that lands at each site.
    pub fn loads(&self, scene: &Scene) -> Vec<f64> {
        self.loads_of(scene, |id| scene.network(id).weight)
    }

    /// The share of what `weight` says that lands at each site.
    pub fn loads_of(&self, scene: &Scene, weight: impl Fn(AsId) -> f64) -> Vec<f64> {
        let mut loads = vec![0.0; self.sites];
        let mut total = 0.0;
        for id in scene.graph.ids() {
            let weight = weight(id);
            if weight > 0.0 {
                total += weight;
                for (load, share) in loads.iter_mut().zip(self.shares(id)) {
                    *load += weight * f64::from(*share);
                }
            }
        }
        loads.iter().map(|load| if total > 0.0 { load / total } else { 0.0 }).collect()
    }

    /// Distances of users to their sites.
    pub fn distribution(&self, scene: &Scene) -> Distribution {
        Distribution::of(scene.graph.ids().flat_map(|id| {
            let weight = scene.network(id).weight;
            let each = self.shares(id).iter().zip(scene.km(id));
            each.map(move |(share, km)| (*km, weight * f64::from(*share)))
        }))
    }

    /// The same for those who land at one site.
    pub fn distribution_at(&self, scene: &Scene, site: usize) -> Distribution {
        Distribution::of(scene.graph.ids().map(|id| {
            let weight = scene.network(id).weight * f64::from(self.shares(id)[site]);
            (scene.km(id)[site], weight)
        }))
    }
}

/// Weighted distances, in order.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    /// Kilometres and the weight up to and with them.
    steps: Vec<(f32, f64)>,
}

impl Distribution {
    fn of(each: impl Iterator<Item = (f32, f64)>) -> Self {
        let mut steps: Vec<(f32, f64)> =
            each.filter(|(km, weight)| *weight > 0.0 && !km.is_nan()).collect();
        steps.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut sum = 0.0;
        for step in &mut steps {
            sum += step.1;
            step.1 = sum;
        }
        Self { steps }
    }

    /// The weight whose distance is known.
    pub fn weight(&self) -> f64 {
        self.steps.last().map_or(0.0, |step| step.1)
    }

    /// The distance within which `share` of the weight is, in kilometres.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = share * self.weight();
        let at = self.steps.partition_point(|step| step.1 < wanted);
        self.steps.get(at.min(self.steps.len().checked_sub(1)?)).map(|step| f64::from(step.0))
    }

    /// The share of the weight within a distance.
    pub fn within(&self, km: f64) -> f64 {
        let at = self.steps.partition_point(|step| f64::from(step.0) <= km);
        let below = at.checked_sub(1).map_or(0.0, |at| self.steps[at].1);
        if self.weight() > 0.0 { below / self.weight() } else { 0.0 }
    }
}

/// Round trips and distances of users, where places are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the weight is nearer, in kilometres.
    pub median_km: Option<f64>,
    /// 95% of it are nearer.
    pub p95_km: Option<f64>,
    /// The estimated round trip over the median distance, in milliseconds.
    pub median_ms: Option<f64>,
    /// And over that of the 95th percentile.
    pub p95_ms: Option<f64>,
}

impl Latency {
    pub(crate) fn of(scene: &Scene, distribution: &Distribution) -> Self {
        let (median_km, p95_km) = (distribution.quantile(0.5), distribution.quantile(0.95));
        Self {
            median_km,
            p95_km,
            median_ms: median_km.map(|km| scene.ms(km)),
            p95_ms: p95_km.map(|km| scene.ms(km)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_weight_and_not_of_rows() {
        let steps = [(10.0, 1.0), (1000.0, 8.0), (f32::NAN, 50.0), (5000.0, 1.0), (1.0, 0.0)];
        let distribution = Distribution::of(steps.into_iter());
        assert!((distribution.weight() - 10.0).abs() < 1e-9);
        for (share, km) in
            [(0.05, 10.0), (0.5, 1000.0), (0.9, 1000.0), (0.95, 5000.0), (1.0, 5000.0)]
        {
            assert_eq!(distribution.quantile(share), Some(km), "{share}");
        }
        assert!((distribution.within(1000.0) - 0.9).abs() < 1e-9);
        assert!(Distribution::default().quantile(0.5).is_none());
    }
}
