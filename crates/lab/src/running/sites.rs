//! What the sites' daemons are asked and told, and what becomes of their services.

use std::time::Duration;

use anycast_site::affinity::AffinityReport;
use anycast_site::client::Client as SiteClient;
use anycast_site::status::{DrainOrder, PrependOrder, ServicesReport, UndrainOrder};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Lab, LabError, process};
use crate::plan::NodeKind;

/// How often to look whether packet programs are loaded.
const LOADING: Duration = Duration::from_millis(20);

impl Lab {
    /// Has the packet programs loaded or taken out at every site; in words how they run then. Where
    /// the kernel does not have them, the lab's links stand in for them.
    ///
    /// # Errors
    /// A site does not answer, its fleet file asks for no affinity, or a key cannot be read.
    pub async fn keep_connections(&self, keep: bool) -> Result<String, LabError> {
        let mut at = Vec::new();
        for (_, _, site) in self.plan.sites() {
            let client = Self::site_client(&site.site);
            let failed = |why: String| LabError::Site { site: site.site.clone(), why };
            let mut now: AffinityReport =
                client.get("/v1/affinity").await.map_err(|it| failed(it.to_string()))?;
            while now.state == "loading" {
                tokio::time::sleep(LOADING).await;
                now = client.get("/v1/affinity").await.map_err(|it| failed(it.to_string()))?;
            }
            let report = match (now.state.as_str(), keep) {
                ("off", _) => return Err(failed("its fleet file asks for no affinity".to_owned())),
                ("unavailable", _) => return self.stand_in(keep, &now.why.unwrap_or_default()),
                ("loaded", true) | ("unloaded", false) => now,
                (_, keep) => {
                    let order = if keep { "/v1/affinity/load" } else { "/v1/affinity/unload" };
                    let told = client.post_for(order, &()).await;
                    told.map_err(|it| failed(it.to_string()))?
                }
            };
            at.extend(report.interfaces.first().map(|it| format!("{} by {}", site.site, it.mode)));
        }
        let words = if keep {
            format!("the kernel's programs run: {}", at.join(", "))
        } else {
            String::new()
        };
        Ok(words)
    }

    fn stand_in(&self, keep: bool, why: &str) -> Result<String, LabError> {
        let mut sites = Vec::new();
        if keep {
            for (node, _, plan) in self.plan.sites() {
                let failed = |why| LabError::Site { site: plan.site.clone(), why };
                let site = self.fleet.sites.iter().find(|it| it.name == plan.site);
                let site = site.ok_or_else(|| failed("the fleet has no such site".to_owned()))?;
                let config =
                    anycast_site::affinity::decisions(&self.fleet, site).map_err(failed)?;
                sites.push((self.namespace(node).clone(), config));
            }
        }
        self.wire.stand_in(&sites);
        Ok(if keep {
            format!("a stand-in: the lab's links decide, as the programs cannot be loaded ({why})")
        } else {
            String::new()
        })
    }

    pub(super) fn site_client(site: &str) -> SiteClient {
        SiteClient::new(process::site_socket(site))
    }

    /// Makes a site prepend so many times more than its file says.
    ///
    /// # Errors
    /// No such site, or it does not answer.
    pub async fn prepend(&self, site: &str, count: u8) -> Result<(), LabError> {
        self.site_node(site)?;
        let order = PrependOrder { count, neighbor: None };
        Self::site_client(site)
            .post("/v1/prepend", &order)
            .await
            .map_err(|error| LabError::Site { site: site.to_owned(), why: error.to_string() })
    }

    /// Drains a site, for a scenario's reason.
    ///
    /// # Errors
    /// No such site, or it does not answer.
    pub async fn drain(&self, site: &str) -> Result<(), LabError> {
        self.site_node(site)?;
        let order = DrainOrder { reason: "a scenario".to_owned(), ..DrainOrder::default() };
        Self::site_client(site)
            .post("/v1/drain", &order)
            .await
            .map_err(|error| LabError::Site { site: site.to_owned(), why: error.to_string() })
    }

    /// Ends the drain of a site.
    ///
    /// # Errors
    /// No such site, it does not answer, or it is not drained.
    pub async fn undrain(&self, site: &str) -> Result<(), LabError> {
        self.site_node(site)?;
        Self::site_client(site)
            .post("/v1/undrain", &UndrainOrder::default())
            .await
            .map_err(|error| LabError::Site { site: site.to_owned(), why: error.to_string() })
    }

    fn site_node(&self, name: &str) -> Result<usize, LabError> {
        let node = self.awake(name)?;
        match self.plan.nodes[node].kind {
            NodeKind::Site(_) => Ok(node),
            NodeKind::Router(_) | NodeKind::Client(_) => Err(LabError::NotASite(name.to_owned())),
        }
    }

    /// What a site says of its services.
    ///
    /// # Errors
    /// No such site, or it does not answer.
    pub async fn services(&self, site: &str) -> Result<ServicesReport, LabError> {
        self.site_node(site)?;
        Self::site_client(site)
            .get("/v1/services")
            .await
            .map_err(|error| LabError::Site { site: site.to_owned(), why: error.to_string() })
    }

    /// Kills the processes of a site's built-in services, or of one of them, with SIGKILL.
    ///
    /// # Errors
    /// No such site or service.
    pub async fn kill_service(&self, site: &str, service: Option<&str>) -> Result<(), LabError> {
        let pids = self.service_pids(site, service).await?;
        Self::kill_pids(site, &pids)
    }

    /// The processes that [`kill_service`](Self::kill_service) would kill.
    ///
    /// # Errors
    /// No such site or service.
    pub async fn service_pids(
        &self,
        site: &str,
        service: Option<&str>,
    ) -> Result<Vec<u32>, LabError> {
        let report = self.services(site).await?;
        let wanted =
            report.services.iter().filter(|row| service.is_none_or(|name| row.name == name));
        let pids: Vec<u32> = wanted.filter_map(|row| row.pid).collect();
        if pids.is_empty() {
            return Err(LabError::NoService {
                site: site.to_owned(),
                service: service.map(ToOwned::to_owned),
            });
        }
        Ok(pids)
    }

    /// Sends SIGKILL to processes of a node.
    ///
    /// # Errors
    /// A process that is gone.
    pub fn kill_pids(node: &str, pids: &[u32]) -> Result<(), LabError> {
        for pid in pids {
            let raw = i32::try_from(*pid).map_err(|error| LabError::Failed {
                node: node.to_owned(),
                why: error.to_string(),
            })?;
            kill(Pid::from_raw(raw), Signal::SIGKILL).map_err(|errno| LabError::Failed {
                node: node.to_owned(),
                why: format!("cannot kill process {pid}: {errno}"),
            })?;
        }
        Ok(())
    }
}
