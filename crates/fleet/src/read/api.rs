//! `[api]` with its callers, and `[site.NAME.api]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::api::{Api, ApiClient, ApiToken, Role};
use crate::section::{Places, Section};
use crate::value;

const ROLES: &[(&str, Role)] = &[("read", Role::Read), ("operate", Role::Operate)];

/// What a table says of the API, with its places.
#[derive(Debug, Default)]
pub(crate) struct ApiDraft {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) tokens: Vec<ApiToken>,
    pub(crate) clients: Vec<ApiClient>,
    pub(crate) at: Places,
}

pub(super) fn read(mut section: Section<'_>) -> ApiDraft {
    let tokens = section.tables("token").into_iter().filter_map(|(name, mut section)| {
        let role = section.get("role", value::word(ROLES)).unwrap_or_default();
        let file = section.require("file", "\"secrets/monitoring.token\"", value::text);
        section.finish();
        Some(ApiToken { name, role, file: PathBuf::from(file?) })
    });
    let tokens = tokens.collect();
    let clients = section.tables("client").into_iter().map(|(name, mut section)| {
        let role = section.get("role", value::word(ROLES)).unwrap_or_default();
        section.finish();
        ApiClient { name, role }
    });
    let clients = clients.collect();
    ApiDraft { tokens, clients, ..read_listener(section) }
}

pub(super) fn read_of_site(mut section: Section<'_>) -> ApiDraft {
    for key in ["token", "client"] {
        let place = format!("Callers are for the whole fleet: write `[api.{key}.NAME]`.");
        section.belongs_elsewhere(key, place);
    }
    read_listener(section)
}

fn read_listener(mut section: Section<'_>) -> ApiDraft {
    let address = value::parsed("an address with a port", "198.51.100.67:8443");
    let listen = section.get("listen", address);
    let mut path = |key| section.get(key, value::text).map(PathBuf::from);
    let (certificate, key, client_ca) = (path("certificate"), path("key"), path("client-ca"));
    ApiDraft { listen, certificate, key, client_ca, at: section.finish(), ..ApiDraft::default() }
}

/// The API of a site: what it says itself, else what the fleet says. Paths are resolved against
/// `folder`.
pub(super) fn of_site(
    site: Option<&ApiDraft>,
    fleet: Option<&ApiDraft>,
    folder: &Path,
) -> Option<Api> {
    let nothing = ApiDraft::default();
    let (site, fleet) = (site.unwrap_or(&nothing), fleet.unwrap_or(&nothing));
    let path = |own: &Option<PathBuf>, all: &Option<PathBuf>| {
        own.as_ref().or(all.as_ref()).map(|path| folder.join(path))
    };
    let token = |token: &ApiToken| ApiToken { file: folder.join(&token.file), ..token.clone() };
    Some(Api {
        listen: site.listen.or(fleet.listen)?,
        certificate: path(&site.certificate, &fleet.certificate)?,
        key: path(&site.key, &fleet.key)?,
        client_ca: path(&site.client_ca, &fleet.client_ca),
        tokens: fleet.tokens.iter().map(token).collect(),
        clients: fleet.clients.clone(),
    })
}
