//! What was learnt, and its file (TOML).

use anycast_bgp::Asn;
use serde::{Deserialize, Serialize};

use crate::configuration::{Announcement, NeighborKind, Site};
use crate::overrides::Overrides;

/// The version of the model file that is written and read here.
pub const MODEL_VERSION: u32 = 1;

/// Why a model file cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// It is no TOML of the right shape; the text names the line.
    #[error("not a model: {0}")]
    Shape(String),
    /// It is of another version.
    #[error(
        "version {0} of the model is not known here; this program reads version {MODEL_VERSION}: learn again"
    )]
    Version(u32),
}

/// What single-site announcements revealed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Of the format.
    pub version: u32,
    /// Whom each site told, as inferred.
    #[serde(default)]
    pub neighbors: Vec<LearntNeighbor>,
    /// Third parties that prepend.
    #[serde(default)]
    pub prepends: Vec<LearntPrepend>,
    /// The route to a site of each AS on a path.
    #[serde(default)]
    pub routes: Vec<SeenRoute>,
    /// Which of two sites networks were measured to prefer.
    #[serde(default)]
    pub orders: Vec<LearntOrder>,
}

/// Networks that landed at one of two sites while both announced.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LearntOrder {
    /// The name of the site at which they landed.
    pub better: String,
    /// The name of the other.
    pub worse: String,
    /// The networks.
    pub asns: Vec<u32>,
}

/// What an AS is to another one; the better liked is the lesser.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// It pays.
    Customer,
    /// Neither pays.
    Peer,
    /// It is paid.
    Provider,
}

/// The inferred role of a neighbor.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It tells its providers or peers too, those in `not_to` excepted.
    Transit,
    /// It tells its customers only.
    Peer,
}

/// A neighbor of a site.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LearntNeighbor {
    /// The site's name.
    pub site: String,
    /// The neighbor.
    pub asn: u32,
    /// Its role.
    pub role: Role,
    /// How often the origin stands on the path more than once.
    pub prepend: u32,
    /// Its providers and peers that it does not seem to tell.
    #[serde(default)]
    pub not_to: Vec<u32>,
}

/// `from` puts its number in front `times` more often than once towards `to`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LearntPrepend {
    /// Who prepends.
    pub from: u32,
    /// Towards whom.
    pub to: u32,
    /// How often.
    pub times: u32,
}

/// The route of an AS while one site announced alone.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SeenRoute {
    /// The AS.
    pub asn: u32,
    /// The site's name.
    pub site: String,
    /// From whom it took the route; none if from the site itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
    /// What the next hop is to it.
    pub from: Side,
    /// The length of the path that it was told, prepends counted.
    pub length: u32,
    /// Whether it told a collector itself.
    pub monitor: bool,
}

impl Model {
    /// Reads a model file.
    ///
    /// # Errors
    /// Another shape or version.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let model: Self =
            toml::from_str(text).map_err(|error| ModelError::Shape(error.to_string()))?;
        if model.version != MODEL_VERSION {
            return Err(ModelError::Version(model.version));
        }
        Ok(model)
    }

    /// The model file: [`Model::parse`] of it is the same model.
    ///
    /// # Errors
    /// None that is known; a number that TOML cannot hold.
    pub fn emit(&self) -> Result<String, ModelError> {
        toml::to_string(self).map_err(|error| ModelError::Shape(error.to_string()))
    }

    /// Pins and prepends for the planner.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        let times = |times: u32| u8::try_from(times).unwrap_or(u8::MAX);
        let via = |it: &SeenRoute| Some(((Asn(it.asn), it.site.clone()), Asn(it.next?)));
        Overrides {
            prepend: self
                .prepends
                .iter()
                .map(|it| ((Asn(it.from), Asn(it.to)), times(it.times)))
                .collect(),
            via: self.routes.iter().filter_map(via).collect(),
            ..Overrides::default()
        }
    }

    /// The site with the neighbors that were inferred for it.
    #[must_use]
    pub fn site(&self, name: &str, origin: Asn) -> Site {
        let announce = |it: &LearntNeighbor| {
            let kind = match it.role {
                Role::Transit => NeighborKind::Transit,
                Role::Peer => NeighborKind::Peer,
            };
            Announcement {
                prepend: u8::try_from(it.prepend).unwrap_or(u8::MAX),
                not_to: it.not_to.iter().copied().map(Asn).collect(),
                ..Announcement::new(Asn(it.asn), kind)
            }
        };
        Site {
            name: name.to_owned(),
            origin,
            up: true,
            announcements: self
                .neighbors
                .iter()
                .filter(|it| it.site == name)
                .map(announce)
                .collect(),
        }
    }
}
