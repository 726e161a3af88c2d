//! `anycast whoami`.

use std::io::{Read, Write};
use std::process::ExitCode;

use anycast_site::builtin::READY;
use anycast_site::whoami::{self, Config, Identity};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::WhoamiArguments;
use crate::run::runtime;

pub(crate) fn whoami(arguments: &WhoamiArguments) -> Result<ExitCode, String> {
    let port = |port: u16| (port != 0).then_some(port);
    let config = Config {
        identity: Identity {
            site: arguments.site.clone(),
            fleet: arguments.fleet.clone(),
            version: format!("anycast {}", env!("CARGO_PKG_VERSION")),
        },
        addresses: arguments.addresses.clone(),
        dns_port: port(arguments.dns_port),
        http_port: port(arguments.http_port),
    };
    if config.dns_port.is_none() && config.http_port.is_none() {
        return Err("--dns-port and --http-port are both 0: nothing to serve".into());
    }
    let with_parent = arguments.until_stdin_closes;
    if with_parent {
        // A plain thread: a blocking read would keep the runtime from ending.
        std::thread::spawn(|| {
            let mut nothing = [0];
            while !matches!(std::io::stdin().read(&mut nothing), Ok(0) | Err(_)) {}
            std::process::exit(0);
        });
    }
    let ready = move |_: &whoami::Bound| {
        if with_parent {
            let mut out = std::io::stdout();
            // A parent that is gone is noticed by the thread above.
            let _ = writeln!(out, "{READY}").and_then(|()| out.flush());
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
        whoami::serve(config, ready).await
    };
    let served = runtime()?.block_on(serve).map_err(|error| error.to_string());
    if let (Err(why), true) = (&served, with_parent) {
        let _ = writeln!(std::io::stdout(), "{why}");
    }
    served.map(|()| ExitCode::SUCCESS)
}
