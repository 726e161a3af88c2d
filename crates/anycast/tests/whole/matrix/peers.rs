//! The other implementations: how each is configured and asked.

mod bird;
mod exabgp;
mod frr;
mod gobgp;
mod openbgpd;

use anycast_lab::peers::{Command, Run};

use super::stand::{Peer, Session};

/// All of them.
pub(super) const ALL: &[&dyn Program] =
    &[&bird::Bird, &frr::Frr, &gobgp::GoBgp, &exabgp::ExaBgp, &openbgpd::OpenBgpd];

/// Those of these names.
pub(super) fn only(names: &[&str]) -> Vec<&'static dyn Program> {
    let found: Vec<_> = ALL.iter().copied().filter(|it| names.contains(&it.name())).collect();
    assert_eq!(found.len(), names.len(), "{names:?}");
    found
}

/// A community of ours, as [`super`]'s tests use it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Community {
    /// 64500:120
    Standard,
    /// 64500:1:2
    Large,
    /// rt:64500:7
    RouteTarget,
    /// RFC 8326
    GracefulShutdown,
}

/// One implementation. What it cannot do has a test that leaves it out, and a row in
/// docs/interop.md.
pub(super) trait Program: Sync {
    /// Its name in files and words.
    fn name(&self) -> &'static str;

    /// The programs that must be there.
    fn tools(&self) -> &'static [&'static str];

    /// Writes its files; what is to be started.
    fn configure(&self, peer: &Peer<'_>) -> Vec<Command>;

    /// All that it says of its route to a prefix, if it has one by the session.
    fn route(&self, peer: &Peer<'_>, session: &Session, prefix: &str) -> Option<String>;

    /// How it writes a community of ours.
    fn words(&self, community: Community) -> &'static str;

    /// Asks the daemon for its routes again.
    fn asks_again(&self, peer: &Peer<'_>, session: &Session);

    /// Ends the session with a message for the daemon's operator (RFC 9003).
    fn shuts_down(&self, peer: &Peer<'_>, session: &Session, message: &str);

    /// Its words, in small letters, for a Cease of subcode 1.
    fn too_many_prefixes(&self) -> &'static str {
        "maximum number of prefixes reached"
    }

    /// All that it says of the session: its state, capabilities, why it last ended.
    fn tells(&self, peer: &Peer<'_>, session: &Session) -> String;
}

/// A process that stays; `ready` is a file that is there once it can be told something.
fn daemon(argv: &[&str], ready: Option<std::path::PathBuf>) -> Command {
    let argv = argv.iter().map(|&arg| arg.to_owned()).collect();
    Command { argv, env: Vec::new(), keep_user: false, run: Run::Daemon { ready } }
}

/// A process that ends, and is tried again until it succeeds.
fn once(argv: &[&str]) -> Command {
    Command { run: Run::Once, ..daemon(argv, None) }
}

fn shown(path: &std::path::Path) -> &str {
    path.to_str().expect("a path of letters")
}
