//! `[looking-glass]`, for all sites, and `[site.NAME.looking-glass]`, for one.

use std::net::SocketAddr;

use super::Placed;
use crate::section::Section;
use crate::value;

/// The table of that name in `parent`, if it is there and says where.
pub(super) fn read(parent: &mut Section<'_>) -> Option<Placed<SocketAddr>> {
    let mut section = parent.table("looking-glass")?;
    let address = value::parsed("an address with a port", "127.0.0.1:29184");
    let listen = section.require("listen", "\"127.0.0.1:29184\"", address);
    let at = section.finish();
    listen.map(|value| Placed { value, at })
}
