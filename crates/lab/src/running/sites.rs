//! What the sites' daemons are asked and told, and what becomes of their services.

use std::path::Path;
use std::time::Duration;

use anycast_site::affinity::AffinityReport;
use anycast_site::client::Client as SiteClient;
use anycast_site::reload::{ReloadOrder, ReloadOutcome, ReloadReport};
use anycast_site::status::{DrainOrder, DrainRow, PrependOrder, ServicesReport, UndrainOrder};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Lab, LabError, process};
use crate::plan::NodeKind;
use crate::sandbox::RUN_DIR;
use crate::scenario::Edit;

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
        let order = PrependOrder { count, neighbor: None };
        self.order(site, "/v1/prepend", &order).await.map(drop)
    }

    /// Drains a site, for a scenario's reason.
    ///
    /// # Errors
    /// No such site, or it does not answer.
    pub async fn drain(&self, site: &str) -> Result<(), LabError> {
        let order = DrainOrder { reason: "a scenario".to_owned(), ..DrainOrder::default() };
        self.order(site, "/v1/drain", &order).await.map(drop)
    }

    /// Ends the drain of a site.
    ///
    /// # Errors
    /// No such site, it does not answer, or it is not drained.
    pub async fn undrain(&self, site: &str) -> Result<(), LabError> {
        self.order(site, "/v1/undrain", &UndrainOrder::default()).await.map(drop)
    }

    /// What is drained at a site.
    ///
    /// # Errors
    /// No such site, or it does not answer.
    pub async fn drains(&self, site: &str) -> Result<Vec<DrainRow>, LabError> {
        self.ask_site(site, "/v1/drains").await
    }

    /// Has a site's daemon read the lab's fleet file with these edits, which no other site sees;
    /// what changes, in words. `within`: it is undone by itself unless it is confirmed before.
    ///
    /// # Errors
    /// No such site, an edit that does not fit, or the site does not take the file.
    pub async fn reload(
        &self,
        site: &str,
        edits: &[Edit],
        within: Option<Duration>,
    ) -> Result<String, LabError> {
        self.site_node(site)?;
        let failed = |why: String| LabError::Site { site: site.to_owned(), why };
        let shown = self.fleet_file.display();
        let text = std::fs::read_to_string(&self.fleet_file)
            .map_err(|error| failed(format!("cannot read {shown}: {error}")))?;
        let text = edited(text, edits).map_err(failed)?;
        let other = Path::new(RUN_DIR).join(format!("{site}-reload.toml"));
        std::fs::write(&other, text)
            .map_err(|error| failed(format!("cannot write {}: {error}", other.display())))?;
        // The daemon reads the name that it was started with. Mounts are the lab's own.
        let nothing = None::<&str>;
        mount(Some(&other), &self.fleet_file, nothing, MsFlags::MS_BIND, nothing)
            .map_err(|errno| failed(format!("cannot mount a file over {shown}: {errno}")))?;
        let order = ReloadOrder {
            confirm_within_seconds: within.map(|time| time.as_secs_f64()),
            ..ReloadOrder::default()
        };
        let report = Self::site_client(site).post_for("/v1/reload", &order).await;
        umount2(&self.fleet_file, MntFlags::MNT_DETACH)
            .map_err(|errno| failed(format!("cannot take the file from {shown}: {errno}")))?;
        let report: ReloadReport = report.map_err(|error| failed(error.to_string()))?;
        let sentences = report.changes.iter().map(|change| change.sentence.clone());
        match report.outcome {
            ReloadOutcome::Changed => Ok(sentences.collect::<Vec<_>>().join("\n")),
            ReloadOutcome::Same => Ok("nothing changes".to_owned()),
            ReloadOutcome::Unsound
            | ReloadOutcome::Refused
            | ReloadOutcome::Failed
            | ReloadOutcome::WouldChange => {
                Err(failed(format!("{}\n{}", report.why.join("\n"), report.rendered)))
            }
        }
    }

    /// Confirms a site's reload; what it says.
    ///
    /// # Errors
    /// No such site, it does not answer, or no reload waits for that.
    pub async fn confirm(&self, site: &str) -> Result<String, LabError> {
        self.order(site, "/v1/reload/confirm", &()).await
    }

    /// Takes a site's last reload back; what it says.
    ///
    /// # Errors
    /// No such site, it does not answer, or there was no reload.
    pub async fn roll_back(&self, site: &str) -> Result<String, LabError> {
        self.order(site, "/v1/reload/rollback", &()).await
    }

    async fn order(
        &self,
        site: &str,
        target: &str,
        order: &impl Serialize,
    ) -> Result<String, LabError> {
        self.site_node(site)?;
        Self::site_client(site)
            .post_for_text(target, order)
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
        self.ask_site(site, "/v1/services").await
    }

    async fn ask_site<T: DeserializeOwned>(&self, site: &str, target: &str) -> Result<T, LabError> {
        self.site_node(site)?;
        Self::site_client(site)
            .get(target)
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

/// The text with every edit made, in order.
fn edited(mut text: String, edits: &[Edit]) -> Result<String, String> {
    for Edit { replace, with } in edits {
        match text.matches(replace.as_str()).count() {
            1 => text = text.replacen(replace, with, 1),
            0 => return Err(format!("the fleet file has no {replace:?} to replace")),
            n => return Err(format!("{replace:?} is {n} times in the fleet file: replace more")),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_fits_one_place() {
        let edit = |replace: &str| Edit { replace: replace.to_owned(), with: "X".to_owned() };
        for (edits, want) in [
            (vec![], Ok("a b b c")),
            (vec![edit("a"), edit("X b b")], Ok("X c")),
            (vec![edit("b")], Err("is 2 times")),
            (vec![edit("a"), edit("a")], Err("has no \"a\"")),
            (vec![edit("")], Err("is 8 times")),
        ] {
            let got = edited("a b b c".to_owned(), &edits);
            match want {
                Ok(text) => assert_eq!(got.as_deref(), Ok(text)),
                Err(words) => assert!(got.as_ref().is_err_and(|it| it.contains(words)), "{got:?}"),
            }
        }
    }
}
