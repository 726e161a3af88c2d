//! Routes with GRACEFUL_SHUTDOWN: they have local preference 0 at every AS, whoever sends them,
//! so only ASes without any other route take them, and only their length ranks them. They are
//! dealt out in the order of their length: each hop makes a path longer, so an AS is final at
//! the first length that reaches it.

use crate::candidates::{Sides, View};
use crate::configuration::Announced;
use crate::graph::{AsId, Graph};
use crate::overrides::Resolved;
use crate::routes::{Deviation, NONE, Routes, from};

/// ASes to look at, by the length at which something may reach them.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    waiting: Vec<Vec<AsId>>,
}

impl Scratch {
    pub(super) fn run(
        &mut self,
        graph: &Graph,
        announced: &Announced,
        overrides: &Resolved,
        routes: &mut Routes,
    ) {
        self.waiting.resize(usize::from(NONE), Vec::new());
        for seed in announced.seeds.iter().filter(|seed| seed.last_resort) {
            self.waiting[usize::from(seed.length)].push(seed.at);
        }
        for length in 0..NONE {
            let mut these = std::mem::take(&mut self.waiting[usize::from(length)]);
            for id in these.drain(..) {
                if routes.from[id.index()] != from::NOTHING {
                    continue;
                }
                let view = View { graph, announced, overrides, routes };
                let decision = view.decide(id, Sides::All);
                let Some(decision) = decision.filter(|decision| decision.length == length) else {
                    continue;
                };
                routes.from[id.index()] = decision.side.code() | from::LAST_RESORT | from::DEVIATES;
                routes.length[id.index()] = length;
                routes.sites[id.index()] = decision.sites.0;
                let told = Deviation { at: id, down: decision.down, up: decision.up };
                let at = routes.deviations.partition_point(|other| other.at < id);
                routes.deviations.insert(at, told);
                self.tell(graph, overrides, id, length, routes);
            }
            self.waiting[usize::from(length)] = these;
        }
    }

    fn tell(&mut self, graph: &Graph, overrides: &Resolved, id: AsId, length: u8, routes: &Routes) {
        let (down, up) = routes.told(id);
        let mut wait = |to: AsId| {
            let then = length.saturating_add(1).saturating_add(overrides.prepend(id, to));
            if then < NONE && routes.from[to.index()] == from::NOTHING {
                self.waiting[usize::from(then)].push(to);
            }
        };
        if !down.is_empty() {
            graph.customers(id).iter().chain(graph.siblings(id)).for_each(|to| wait(*to));
        }
        if !up.is_empty() {
            graph.providers(id).iter().chain(graph.peers(id)).for_each(|to| wait(*to));
            for server in graph.memberships.of(id) {
                graph.route_servers[server.index()].members.iter().for_each(|to| wait(*to));
            }
        }
    }
}
