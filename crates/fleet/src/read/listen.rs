//! `[looking-glass]` and `[metrics]`, for all sites, and as tables of a site, for one.

use std::net::SocketAddr;

use super::Placed;
use crate::section::Section;
use crate::value;

/// Where the site's servers listen, if they do.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) looking_glass: Option<Placed<SocketAddr>>,
    pub(crate) metrics: Option<Placed<SocketAddr>>,
}

/// The tables of these names in `parent`.
pub(super) fn read(parent: &mut Section<'_>) -> Listeners {
    Listeners {
        looking_glass: read_one(parent, "looking-glass", "127.0.0.1:29184"),
        metrics: read_one(parent, "metrics", "127.0.0.1:9179"),
    }
}

fn read_one(
    parent: &mut Section<'_>,
    key: &'static str,
    example: &'static str,
) -> Option<Placed<SocketAddr>> {
    let mut section = parent.table(key)?;
    let address = value::parsed("an address with a port", example);
    let listen = section.require("listen", &format!("{example:?}"), address);
    let at = section.finish();
    listen.map(|value| Placed { value, at })
}

impl Listeners {
    /// Those of a site, and the fleet's where it says nothing.
    pub(super) fn or<'a>(
        &'a self,
        fleet: &'a Self,
    ) -> (Option<&'a Placed<SocketAddr>>, Option<&'a Placed<SocketAddr>>) {
        (
            self.looking_glass.as_ref().or(fleet.looking_glass.as_ref()),
            self.metrics.as_ref().or(fleet.metrics.as_ref()),
        )
    }
}
