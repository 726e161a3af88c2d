//! Monitoring stations, files of what comes in, and the whole table for a file.

use crate::bmp::{Station, StationStatus};
use crate::handle::Handle;
use crate::mrt::{TableDump, Updates};

impl Handle {
    /// Replaces the monitoring stations. Those that stay the same notice nothing; they all are
    /// told that they speak with `name`.
    pub fn set_stations(&self, name: &str, stations: Vec<Station>) {
        let name = name.to_owned();
        self.tell(move |driver| driver.set_stations(name, stations));
    }

    /// Every monitoring station, in no order.
    pub async fn stations(&self) -> Vec<StationStatus> {
        self.ask(|driver| driver.stations.status()).await.unwrap_or_default()
    }

    /// From now on what comes in is written there, or nowhere.
    pub fn set_updates(&self, updates: Option<Updates>) {
        self.tell(move |driver| driver.set_updates(updates));
    }

    /// All routes that may become best as MRT's TABLE_DUMP_V2, our own too; with `received`,
    /// instead all that neighbors sent, before import policy.
    #[must_use]
    pub fn table_dump(&self, received: bool) -> TableDump {
        TableDump::new(self.clone(), received)
    }
}
