//! Connections kept at the site that they began at: at the start, when the fleet file changes,
//! and as operators order it.

use super::Daemon;
use crate::affinity::{AffinityReport, News};
use crate::control::Caller;
use crate::events::Happening;

impl Daemon {
    /// Does what the fleet file says of it. Nothing else waits for it or falls with it.
    pub(super) fn keep_connections(&mut self, cause: Option<u64>) {
        let news = self.keeper.follow(&self.fleet, &self.site);
        self.tell_of_keeping(news, cause, None);
    }

    /// Loads the packet programs or takes them out; how it stands then.
    pub(super) fn order_keeping(
        &mut self,
        load: bool,
        caller: &Caller,
    ) -> Result<AffinityReport, String> {
        let news = if load {
            if self.fleet.affinity.is_none() || self.site.affinity.is_none() || self.site.router {
                return Err("the fleet file asks for no affinity here: add `[affinity]`".to_owned());
            }
            self.keeper.load(&self.fleet, &self.site)
        } else {
            self.keeper.unload()?
        };
        self.tell_of_keeping(news, None, caller.name());
        let report = self.affinity();
        match (&report.why, load && report.state != "loaded") {
            (Some(why), true) => Err(why.clone()),
            _ => Ok(report),
        }
    }

    /// To be called once a second.
    pub(super) fn tell_time(&mut self) {
        let news = self.keeper.keep_time();
        self.tell_of_keeping(news.into_iter().collect(), None, None);
    }

    fn tell_of_keeping(&mut self, news: Vec<News>, cause: Option<u64>, by: Option<&str>) {
        for News { kind, detail, loud } in news {
            self.events.record(Happening {
                kind,
                subject: &self.site.name,
                detail: &detail,
                by,
                loud,
                cause,
            });
        }
    }

    pub(super) fn affinity(&self) -> AffinityReport {
        self.keeper.report(&self.fleet, &self.site)
    }
}
