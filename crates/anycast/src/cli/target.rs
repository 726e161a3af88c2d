//! Which running site is meant, and which prefix.

use std::net::IpAddr;
use std::path::PathBuf;

use anycast_bgp::IpNet;
use clap::Args;

/// Which running site is meant.
#[derive(Args, Debug)]
pub(crate) struct TargetArguments {
    /// The site, if several run on this machine; goes before --socket.
    #[arg(long, global = true)]
    pub(crate) site: Option<String>,
    /// Its control socket.
    #[arg(long, value_name = "PATH", env = "ANYCAST_SOCKET", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// Its API over TCP, like https://fra.example.net:8443; goes before --site and --socket.
    #[arg(long, value_name = "URL", env = "ANYCAST_API", global = true)]
    pub(crate) api: Option<String>,
    /// With --api: holds the token that is shown.
    #[arg(long, value_name = "FILE", env = "ANYCAST_TOKEN_FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// With --api: the authorities that may vouch for the site, in PEM [default: the system's].
    #[arg(long, value_name = "FILE", env = "ANYCAST_CA", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// With --api: the certificate that is shown, in PEM; with --certificate-key.
    #[arg(long, value_name = "FILE", env = "ANYCAST_CERTIFICATE", global = true)]
    pub(crate) certificate: Option<PathBuf>,
    /// With --api: the certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", env = "ANYCAST_CERTIFICATE_KEY", global = true)]
    pub(crate) certificate_key: Option<PathBuf>,
}

/// Where a route leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Destination {
    Prefix(IpNet),
    Address(IpAddr),
}

/// Reads a prefix or an address.
pub(super) fn destination(text: &str) -> Result<Destination, String> {
    match text.parse() {
        Ok(address) => Ok(Destination::Address(address)),
        Err(_) => prefix(text).map(Destination::Prefix),
    }
}

/// Reads a prefix as it stands in a routing table.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text.parse().map_err(|_| match text.parse::<IpAddr>() {
        Ok(address) => format!("an address without a length; write {}", IpNet::from(address)),
        Err(_) => "not a prefix; for example 192.0.2.0/24".to_owned(),
    })?;
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(format!("has host bits set; write {}", net.trunc()))
    }
}
