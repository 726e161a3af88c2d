//! The checked types of `[fleet-state]`: where the sites of a fleet share who announces what.

use std::path::PathBuf;
use std::time::Duration;

/// The bucket of a JetStream key-value store that all sites of the fleet share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FleetState {
    /// URLs of NATS servers, `nats://` or `tls://`; at least one, none with a secret in it.
    pub servers: Vec<String>,
    /// How the site shows who it is; `None`: not at all.
    pub credentials: Option<Credentials>,
    /// Whether nothing is said before TLS is up.
    pub tls: bool,
    /// Whom to trust in TLS, resolved against the fleet file's folder; `None`: whom the system
    /// trusts.
    pub ca_file: Option<PathBuf>,
    /// How long a site that says nothing still counts; at least a second.
    pub lease: Duration,
    /// The bucket's name.
    pub bucket: String,
    /// How many servers keep a copy, if this site is the one that makes the bucket.
    pub replicas: u8,
}

/// How a site shows NATS who it is. Paths are resolved against the fleet file's folder; what the
/// files hold is never kept here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credentials {
    /// A file with a user's JWT and seed, as `nsc` writes it.
    File(PathBuf),
    /// A name and the file of its password.
    Password {
        /// The name.
        user: String,
        /// The file.
        password_file: PathBuf,
    },
    /// The file of a token.
    Token(PathBuf),
    /// The file of an NKey's seed.
    NkeySeed(PathBuf),
}

impl Credentials {
    /// The file that holds the secret.
    pub const fn file(&self) -> &PathBuf {
        match self {
            Self::File(file) | Self::Token(file) | Self::NkeySeed(file) => file,
            Self::Password { password_file, .. } => password_file,
        }
    }

    /// The key of the file.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::File(_) => "credentials-file",
            Self::Password { .. } => "password-file",
            Self::Token(_) => "token-file",
            Self::NkeySeed(_) => "nkey-seed-file",
        }
    }

    pub(crate) fn file_mut(&mut self) -> &mut PathBuf {
        match self {
            Self::File(file) | Self::Token(file) | Self::NkeySeed(file) => file,
            Self::Password { password_file, .. } => password_file,
        }
    }
}
