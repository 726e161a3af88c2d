//! Rules about servers for operators.

use std::net::SocketAddr;

use crate::problem::{Problem, Problems};
use crate::read::{Draft, Placed};

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    let all = || draft.sites.iter().map(|site| &site.listeners).chain([&draft.listeners]);
    for listen in all().filter_map(|some| some.looking_glass.as_ref()) {
        it_stays_out_of_anycast("looking-glass-in-anycast", listen, draft, problems);
    }
    for listen in all().filter_map(|some| some.metrics.as_ref()) {
        it_stays_out_of_anycast("metrics-in-anycast", listen, draft, problems);
    }
}

/// What clients of the services reach must not show what is inside of whichever site they land at.
/// The service addresses are the host's own, so a wildcard takes them in.
pub(super) fn it_stays_out_of_anycast(
    code: &'static str,
    listen: &Placed<SocketAddr>,
    draft: &Draft,
    problems: &Problems,
) {
    let address = listen.value.ip().to_canonical();
    let span = listen.at.of("listen");
    let help = "Listen on 127.0.0.1, or on an address of the site for management.";
    if address.is_unspecified() {
        let message = format!("{address} is every address of the host, the anycast ones too");
        problems
            .add(Problem::error(code, span, message).label("would answer every client").help(help));
        return;
    }
    let inside = draft.prefixes.iter().find(|prefix| {
        // The default route holds everything, and is refused for that already.
        let net = prefix.value.prefix;
        net.prefix_len() > 0 && net.contains(&address)
    });
    if let Some(prefix) = inside {
        let message = format!("{address} is in the anycast prefix {}", prefix.value.prefix);
        problems.add(
            Problem::error(code, span, message)
                .label("is reached at any site")
                .also(prefix.at.name(), "announced everywhere")
                .help(help),
        );
    }
}
