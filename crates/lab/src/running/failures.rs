//! What is broken and mended: links cut, frozen and impaired, nodes stopped and started.

use std::collections::HashSet;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::router::{self, Router};
use super::{Lab, LabError, STOP_PATIENCE, process};
use crate::plan::{self, Link, NodeKind};
use crate::wire::State;

impl Lab {
    /// Cuts a link: both ends lose their carrier.
    ///
    /// # Errors
    /// No such link.
    pub async fn cut(&mut self, name: &str) -> Result<(), LabError> {
        let link = self.link(name)?;
        self.cut.insert(link);
        self.set_link(link, State::Cut).await
    }

    /// Mends a cut link.
    ///
    /// # Errors
    /// No such link.
    pub async fn mend(&mut self, name: &str) -> Result<(), LabError> {
        let link = self.link(name)?;
        self.cut.remove(&link);
        self.set_link(link, State::Up).await
    }

    /// Lets a link take this long one way and lose a share of its frames (0 to 1), which ones
    /// depends on the seed alone.
    ///
    /// # Errors
    /// No such link.
    pub fn impair(
        &self,
        name: &str,
        latency: Duration,
        loss: f64,
        seed: u64,
    ) -> Result<(), LabError> {
        let link = self.links[self.link(name)?];
        let done = self.wire.set_latency(link, latency);
        done.and_then(|()| self.wire.set_loss(link, loss, seed))
            .map_err(|error| LabError::Failed { node: name.to_owned(), why: error.to_string() })
    }

    async fn set_link(&mut self, link: usize, state: State) -> Result<(), LabError> {
        self.wire.set(self.links[link], state).map_err(|error| LabError::Failed {
            node: self.plan.links[link].name.clone(),
            why: error.to_string(),
        })?;
        let ends: Vec<usize> = self.plan.links[link].ends.iter().map(|end| end.node).collect();
        self.spread_igp(&ends).await;
        Ok(())
    }

    /// Within an AS the lab is the IGP: tells the routers of the ASes of `nodes` the ways that
    /// there are now.
    async fn spread_igp(&self, nodes: &[usize]) {
        let systems: HashSet<&str> = nodes
            .iter()
            .filter_map(|node| match &self.plan.nodes[*node].kind {
                NodeKind::Router(router) => Some(router.as_name.as_str()),
                NodeKind::Site(_) | NodeKind::Client(_) => None,
            })
            .collect();
        let down = self.igp_down();
        for system in systems {
            for (node, routes) in plan::igp(&self.plan, system, &down) {
                if let Some(router) = self.routers.get(&node) {
                    router.handle.set_igp(router::igp(&routes));
                    router.handle.settled().await;
                }
            }
        }
    }

    /// Links over which no router's IGP speaks: cut, or towards a router that is stopped.
    fn igp_down(&self) -> HashSet<usize> {
        let stopped = |link: &&Link| link.ends.iter().any(|end| self.stopped.contains(&end.node));
        let links = self.plan.links.iter().enumerate();
        let silent = links.filter(|(_, link)| stopped(link)).map(|(index, _)| index);
        self.cut.iter().copied().chain(silent).collect()
    }

    /// Daemons that have ended by themselves count as stopped from now on.
    pub fn notice_the_dead(&mut self) {
        let dead = self
            .processes
            .iter_mut()
            .filter_map(|(node, process)| process.obituary().map(|why| (*node, why)));
        for (node, why) in dead.collect::<Vec<_>>() {
            tracing::error!("{}: {why}", self.plan.nodes[node].name);
            self.processes.remove(&node);
            self.stopped.insert(node);
        }
    }

    /// The index of a node that is not frozen.
    pub(super) fn awake(&self, name: &str) -> Result<usize, LabError> {
        let node = self.node(name)?;
        if self.frozen.contains(&node) {
            return Err(LabError::Frozen(name.to_owned()));
        }
        Ok(node)
    }

    /// Freezes a node without a word: its processes stop, and no packet passes its interfaces,
    /// which keep their carrier.
    ///
    /// # Errors
    /// No such node.
    pub fn freeze(&mut self, name: &str) -> Result<(), LabError> {
        let node = self.node(name)?;
        self.frozen.insert(node);
        // The packets first: a process that still runs can say nothing then.
        self.hold_ends(node, true)?;
        process::signal_namespace(&self.namespaces[node], Signal::SIGSTOP)
            .map_err(|error| LabError::Failed { node: name.to_owned(), why: error.to_string() })
    }

    /// Thaws a frozen node.
    ///
    /// # Errors
    /// No such node.
    pub fn thaw(&mut self, name: &str) -> Result<(), LabError> {
        let node = self.node(name)?;
        self.frozen.remove(&node);
        self.hold_ends(node, false)?;
        process::signal_namespace(&self.namespaces[node], Signal::SIGCONT)
            .map_err(|error| LabError::Failed { node: name.to_owned(), why: error.to_string() })
    }

    fn hold_ends(&self, node: usize, frozen: bool) -> Result<(), LabError> {
        for (index, link) in self.plan.links.iter().enumerate() {
            for (end, at) in link.ends.iter().enumerate() {
                if at.node == node {
                    self.wire.freeze_end(self.links[index], end, frozen).map_err(|error| {
                        LabError::Failed { node: link.name.clone(), why: error.to_string() }
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Stops a site's daemon (SIGTERM) or a router (its sessions end with a Cease).
    ///
    /// # Errors
    /// No such node, a client, or a node that does not run.
    pub async fn stop(&mut self, name: &str) -> Result<(), LabError> {
        self.notice_the_dead();
        let node = self.awake(name)?;
        if matches!(self.plan.nodes[node].kind, NodeKind::Client(_)) {
            return Err(LabError::NothingToStop(name.to_owned()));
        }
        if let Some(router) = self.routers.remove(&node) {
            router.stop().await;
        } else if let Some(process) = self.processes.remove(&node) {
            process.stop(STOP_PATIENCE).await;
        } else {
            return Err(LabError::NotRunning(name.to_owned()));
        }
        self.stopped.insert(node);
        self.spread_igp(&[node]).await;
        Ok(())
    }

    /// Starts a stopped node.
    ///
    /// # Errors
    /// No such node, or it runs.
    pub async fn start(&mut self, name: &str) -> Result<(), LabError> {
        self.notice_the_dead();
        let node = self.awake(name)?;
        if !self.stopped.remove(&node) {
            return Err(LabError::Running(name.to_owned()));
        }
        let result = self.start_node(node, name).await;
        if result.is_err() {
            self.stopped.insert(node);
        }
        self.spread_igp(&[node]).await;
        result
    }

    async fn start_node(&mut self, node: usize, name: &str) -> Result<(), LabError> {
        let failed = |why: String| LabError::Failed { node: name.to_owned(), why };
        let namespace = &self.namespaces[node];
        match &self.plan.nodes[node].kind {
            NodeKind::Site(site) => {
                let site = (site.site.as_str(), self.affinity_mode);
                let started = process::start_site(&self.program, &self.fleet_file, site, namespace);
                self.processes.insert(node, started.map_err(|e| failed(e.to_string()))?);
            }
            NodeKind::Router(plan) if process::is_foreign(plan) => {
                let started = process::start_foreign(&self.plan, node, namespace).await;
                self.processes.insert(node, started.map_err(failed)?);
            }
            NodeKind::Router(plan) => {
                let router = Router::bind(&self.plan, node, namespace);
                let mut router = router.map_err(|error| failed(error.to_string()))?;
                if let Some(routes) =
                    plan::igp(&self.plan, &plan.as_name, &self.igp_down()).get(&node)
                {
                    router.prepare(routes).await;
                }
                router.start();
                self.routers.insert(node, router);
            }
            NodeKind::Client(_) => return Err(LabError::NothingToStop(name.to_owned())),
        }
        Ok(())
    }
}
