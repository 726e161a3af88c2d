//! Who may ask and order a site over TCP.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A site's API over TCP: always with TLS, and for known callers alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Api {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its certificate and those up to the root, in PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, in PEM.
    pub key: PathBuf,
    /// The authorities that vouch for clients' certificates, in PEM.
    pub client_ca: Option<PathBuf>,
    /// Callers that show a secret.
    pub tokens: Vec<ApiToken>,
    /// Callers that show a certificate; none without `client_ca`.
    pub clients: Vec<ApiClient>,
}

/// A caller that shows a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiToken {
    /// What events call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Holds the secret.
    pub file: PathBuf,
}

/// A caller that shows a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiClient {
    /// The DNS name that the certificate is for, and what events call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Role {
    /// Look.
    #[default]
    Read,
    /// Look, and give orders.
    Operate,
}
