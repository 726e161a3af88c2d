//! `anycast whoami`.

use std::io::{BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anycast_site::builtin::{NO_QUIC, QUIC, READY};
use anycast_site::whoami::quic::{News, Orders, Quic};
use anycast_site::whoami::{self, Config, Identity};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::cli::WhoamiArguments;
use crate::run::runtime;

pub(crate) fn whoami(arguments: &WhoamiArguments) -> Result<ExitCode, String> {
    let port = |port: u16| (port != 0).then_some(port);
    let with_parent = arguments.until_stdin_closes;
    // A parent says how connection ids are made; nobody else does.
    let (order, orders) = watch::channel((!with_parent).then(Orders::default));
    let (quic, news) = quic(arguments, orders)?;
    let config = Config {
        identity: Identity {
            site: arguments.site.clone(),
            fleet: arguments.fleet.clone(),
            version: format!("anycast {}", env!("CARGO_PKG_VERSION")),
        },
        addresses: arguments.addresses.clone(),
        dns_port: port(arguments.dns_port),
        http_port: port(arguments.http_port),
        quic,
    };
    if config.dns_port.is_none() && config.http_port.is_none() && config.quic.is_none() {
        return Err("--dns-port and --http-port are both 0: nothing to serve".into());
    }
    if with_parent {
        yield_memory();
        // A plain thread: a blocking read would keep the runtime from ending.
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                // A parent of another version may have other words, too.
                if let Ok(orders) = serde_json::from_str(&line) {
                    order.send_replace(Some(orders));
                }
            }
            std::process::exit(0);
        });
    }
    let ready = move |_: &whoami::Bound| {
        if with_parent {
            say(READY);
        }
    };
    let serve = async {
        // Ctrl-C and some service managers signal every process of a group at once. The daemon
        // withdraws first and lets its services end afterwards, by closing their standard input.
        let _ignored = if with_parent {
            [SignalKind::terminate(), SignalKind::interrupt()].map(signal).map(Result::ok)
        } else {
            [None, None]
        };
        tokio::spawn(tell(news));
        whoami::serve(config, ready).await
    };
    let served = runtime()?.block_on(serve).map_err(|error| error.to_string());
    if let (Err(why), true) = (&served, with_parent) {
        let _ = writeln!(std::io::stdout(), "{why}");
    }
    served.map(|()| ExitCode::SUCCESS)
}

/// If memory runs out this process ends before its parent, which speaks BGP.
fn yield_memory() {
    const SCORE: &str = "/proc/self/oom_score_adj";
    const HIGHEST: i32 = 1000;
    let parent = std::fs::read_to_string(SCORE).ok().and_then(|it| it.trim().parse::<i32>().ok());
    if let Some(parent) = parent {
        // It matters only then, and there may be no way to write it.
        let _ = std::fs::write(SCORE, (parent + 500).min(HIGHEST).to_string());
    }
}

/// What is asked for over QUIC, if anything is, and what becomes of it.
fn quic(
    arguments: &WhoamiArguments,
    orders: watch::Receiver<Option<Orders>>,
) -> Result<(Option<Quic>, mpsc::UnboundedReceiver<News>), String> {
    let (send, news) = mpsc::unbounded_channel();
    let (Some(certificate), Some(key)) = (&arguments.quic_certificate, &arguments.quic_key) else {
        return Ok((None, news));
    };
    let preferred = arguments.preferred_address.clone();
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        if preferred.iter().filter(|it| family(it)).count() > 1 {
            return Err("--preferred-address can be given once for each family".to_owned());
        }
    }
    let quic = Quic {
        port: arguments.quic_port,
        certificate: certificate.clone(),
        key: key.clone(),
        preferred,
        orders,
        news: send,
    };
    Ok((Some(quic), news))
}

/// Tells what becomes of QUIC.
async fn tell(mut news: mpsc::UnboundedReceiver<News>) {
    let list =
        |all: Vec<SocketAddr>| all.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    while let Some(news) = news.recv().await {
        match news {
            News::Served { addresses, preferred } if preferred.is_empty() => {
                say(&format!("{QUIC}HTTP/3 at {}", list(addresses)));
            }
            News::Served { addresses, preferred } => say(&format!(
                "{QUIC}HTTP/3 at {}; clients are told {}",
                list(addresses),
                list(preferred)
            )),
            News::Unavailable(why) => say(&format!("{NO_QUIC}{why}")),
        }
    }
}

/// Says it to the parent. After an upgrade it does not listen any more, but shares its log.
fn say(line: &str) {
    let mut out = std::io::stdout();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        let _ = writeln!(std::io::stderr(), "whoami: {line}");
    }
}
