//! `anycast run` and the service that it starts by itself.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Runs one site: announces its prefixes by BGP while their services are healthy.
///
/// On SIGTERM or SIGINT it withdraws first, waits (`stop-wait`), then stops serving. On SIGHUP it
/// reads the fleet file again, as by `anycast reload`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast run fleet.toml --site fra
  anycast run fleet.toml --site fra --drained      maintenance: announce nothing yet
  ANYCAST_LOG=debug anycast run fleet.toml --site fra
  anycast run fleet.toml --site fra --log-format json

It needs CAP_NET_ADMIN (addresses and routes) and CAP_NET_BIND_SERVICE (port 179).")]
pub(crate) struct RunArguments {
    /// The fleet file.
    pub(crate) fleet: PathBuf,
    /// Which of its sites this is.
    #[arg(long)]
    pub(crate) site: String,
    /// Where the control socket goes [default: SITE.sock in /run/anycast; if not root, in
    /// $XDG_RUNTIME_DIR/anycast].
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Where it keeps what outlives it [default: the file's `state-dir`, else what systemd gives,
    /// else /var/lib/anycast; if not root, $XDG_STATE_HOME/anycast].
    #[arg(long, value_name = "PATH", env = "ANYCAST_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The descriptor with what the program before has left: see `anycast upgrade`.
    #[arg(long, value_name = "DESCRIPTOR", hide = true)]
    pub(crate) take_over: Option<i32>,
    /// Start drained: announce nothing until `anycast undrain`.
    #[arg(long)]
    pub(crate) drained: bool,
    /// How logs are written [default: to journald if systemd has led standard error there, else
    /// text on standard error].
    #[arg(long, value_name = "FORMAT", env = "ANYCAST_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people, on standard error.
    Text,
    /// A JSON object a line, on standard error.
    Json,
    /// journald's own protocol, with fields.
    Journald,
}

/// Serves `whoami` on addresses: DNS and HTTP that tell who answers, HTTP/3 too if asked for.
///
/// `anycast run` starts this by itself for services with `builtin = "whoami"`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  anycast whoami --fleet example --site fra --dns-port 5300 --http-port 8080 127.0.0.1

HTTP/3 over QUIC wants a certificate: --quic-certificate site.pem --quic-key site.key.")]
pub(crate) struct WhoamiArguments {
    /// The fleet's name.
    #[arg(long)]
    pub(crate) fleet: String,
    /// The site's name.
    #[arg(long)]
    pub(crate) site: String,
    /// Port of DNS over UDP and TCP; 0: none.
    #[arg(long, default_value_t = 53)]
    pub(crate) dns_port: u16,
    /// Port of HTTP; 0: none.
    #[arg(long, default_value_t = 80)]
    pub(crate) http_port: u16,
    /// UDP port of HTTP/3, which needs --quic-certificate.
    #[arg(long, default_value_t = 443)]
    pub(crate) quic_port: u16,
    /// Serve HTTP/3 too, with this certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "quic_key")]
    pub(crate) quic_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "quic_certificate")]
    pub(crate) quic_key: Option<PathBuf>,
    /// Tell clients of HTTP/3 to go on at this address of the machine; one for each family.
    #[arg(long, value_name = "ADDRESS", requires = "quic_certificate")]
    pub(crate) preferred_address: Vec<IpAddr>,
    /// End when standard input closes, and take from it how connection ids are made; say `ready` on
    /// standard output once the sockets are open, or why they are not.
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
    /// The addresses to answer at.
    #[arg(required = true)]
    pub(crate) addresses: Vec<IpAddr>,
}
