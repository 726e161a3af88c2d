//! Connections kept at the site that they began at: at the start, when the fleet file changes,
//! and as operators order it.

use tokio::sync::oneshot;

use super::Daemon;
use crate::affinity::{AffinityReport, Loaded, News};
use crate::control::Caller;
use crate::events::Happening;

/// Who waits for the end of a loading.
pub(super) type Answer = oneshot::Sender<Result<AffinityReport, String>>;

impl Daemon {
    /// Does what the fleet file says of it. Nothing else waits for it or falls with it.
    pub(super) fn keep_connections(&mut self, cause: Option<u64>) {
        let news = self.keeper.follow(&self.fleet, &self.site);
        self.tell_of_keeping(news, cause, None);
    }

    /// Loads the packet programs or takes them out; tells how it stands then.
    pub(super) fn order_keeping(&mut self, load: bool, caller: &Caller, answer: Answer) {
        let file_asks = self.fleet.affinity.is_some() && self.site.affinity.is_some();
        if load && (!file_asks || self.site.router) {
            let why = "the fleet file asks for no affinity here: add `[affinity]`";
            drop(answer.send(Err(why.to_owned())));
        } else if load {
            self.keeper.load(&self.fleet, &self.site);
            if self.keeper.is_loaded() {
                drop(answer.send(Ok(self.affinity())));
            } else {
                self.waiting.push(answer);
            }
        } else {
            let done = self.keeper.unload();
            let done = done.map(|news| {
                self.tell_of_keeping(news, None, caller.name());
                self.affinity()
            });
            drop(answer.send(done));
        }
    }

    /// The loading has ended, well or badly.
    pub(super) fn handle_loaded(&mut self, loaded: Loaded) {
        let news = self.keeper.handle_loaded(loaded, &self.site);
        self.tell_of_keeping(news, None, None);
        if self.keeper.is_loaded() {
            // The file may have changed meanwhile.
            self.keep_connections(None);
        }
        let report = self.affinity();
        for answer in std::mem::take(&mut self.waiting) {
            // Whoever asked may have gone.
            drop(answer.send(match &report.why {
                Some(why) => Err(why.clone()),
                None => Ok(report.clone()),
            }));
        }
    }

    /// To be called once a second.
    pub(super) fn tell_programs(&mut self) {
        let news = self.keeper.keep_told();
        self.tell_of_keeping(news.into_iter().collect(), None, None);
        if self.keeper.is_to_look_again() {
            let news = self.keeper.follow_interfaces(&self.fleet, &self.site);
            self.tell_of_keeping(news, None, None);
        }
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
