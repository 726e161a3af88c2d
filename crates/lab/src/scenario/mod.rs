//! Scenarios: what to do to a lab, and what must be true then. docs/scenarios.md is the
//! reference of the format.

mod download;
mod report;
mod run;
mod schemes;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

pub use report::{Outcome, Report, StepReport};
pub use run::{Narration, run};

/// The tour that is built in.
pub const TOUR: &str = include_str!("../../../../examples/tour.toml");

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows.
    pub name: String,
    /// The fleet file, relative to the scenario's; `None`: the built-in one.
    pub fleet: Option<PathBuf>,
    /// The world file, relative to the scenario's; `None`: the built-in one.
    pub world: Option<PathBuf>,
    /// What is done, in order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// One step: a table with one key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Prints a heading.
    Chapter(String),
    /// Prints text.
    Say(String),
    /// Prints who reaches which site.
    ShowClients(ShowClients),
    /// Prints every candidate route of a router, and why the best is best.
    Explain(Explain),
    /// Does nothing for a while.
    Wait(Span),
    /// Stops a site's daemon or a router.
    Stop(String),
    /// Starts it again.
    Start(String),
    /// Freezes a node without a word.
    Freeze(String),
    /// Thaws it.
    Thaw(String),
    /// Kills the built-in services of a site.
    Kill(String),
    /// Cuts a link.
    Cut(String),
    /// Mends it.
    Mend(String),
    /// Makes a site prepend.
    Prepend(Prepend),
    /// Makes a client's router prefer one of its links.
    Reroute(Reroute),
    /// Drains a site.
    Drain(String),
    /// Ends that.
    Undrain(String),
    /// Has a site read a changed fleet file.
    Reload(Reload),
    /// Confirms that.
    Confirm(String),
    /// Takes it back.
    Rollback(String),
    /// Has every site keep connections, or not.
    Affinity(Switch),
    /// Remembers who reaches which site, for `expect-moved`.
    Remember(Empty),
    /// Starts asking from clients again and again.
    Probe(Probe),
    /// Every client is answered.
    ExpectAnswered(Within),
    /// So many different sites answer.
    ExpectSites(ExpectSites),
    /// A client is answered by a site.
    ExpectSite(ExpectSite),
    /// A client is answered by another site than this.
    ExpectNotSite(ExpectSite),
    /// No client is answered by a site.
    ExpectEmpty(ExpectEmpty),
    /// The drain of a site is over: nothing is announced there.
    ExpectDrained(ExpectEmpty),
    /// Since `remember`, clients moved away from a site.
    ExpectMoved(ExpectMoved),
    /// Everybody reaches the same site as at `remember`.
    ExpectAsRemembered(Within),
    /// Ends the probing and counts what was lost.
    ExpectLoss(ExpectLoss),
    /// DNS, NSID and HTTP tell a client the same site.
    ExpectSameAnswer(String),
    /// One message by unicast, broadcast, multicast and anycast; each reaches whom it should.
    ExpectSchemes(Schemes),
    /// Starts a long TCP download from the service address.
    Download(Download),
    /// The download breaks, or goes on.
    ExpectDownload(ExpectDownload),
}

/// A table without keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// See [`Step::ShowClients`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ShowClients {
    /// Only these.
    pub only: Option<Vec<String>>,
}

/// See [`Step::Explain`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// A router, a site, or a client: then the router that serves it.
    pub node: String,
    /// The step of the decision process at which at least one other route must have lost.
    pub because: Option<String>,
}

/// See [`Step::Prepend`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepend {
    /// The site.
    pub site: String,
    /// Times beyond what its file says.
    pub count: u8,
}

/// See [`Step::Affinity`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// See [`Step::Reload`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reload {
    /// The site.
    pub site: String,
    /// What becomes other in the lab's fleet file; nothing: the file as it is.
    #[serde(default)]
    pub edit: Vec<Edit>,
    /// Undone by itself after so long, unless a step confirms it.
    pub confirm_within: Option<Span>,
}

/// Text of a file, and what stands in its place.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// It must be there once.
    pub replace: String,
    /// Instead.
    pub with: String,
}

/// See [`Step::Reroute`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reroute {
    /// The client.
    pub client: String,
    /// The link; `None`: as its router would choose by itself.
    pub via: Option<String>,
}

/// See [`Step::Probe`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// From these clients.
    #[serde(default)]
    pub clients: Vec<String>,
    /// From all clients of this site, too.
    pub of: Option<String>,
    /// The time between questions; not zero.
    #[serde(deserialize_with = "some_time")]
    pub every: Span,
}

/// How long an expectation may take to come true.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// The time.
    pub within: Span,
}

/// See [`Step::ExpectSites`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExpectSites {
    /// Different sites among the answers.
    pub at_least: usize,
    /// The time.
    pub within: Span,
}

/// See [`Step::ExpectSite`] and [`Step::ExpectNotSite`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectSite {
    /// The client.
    pub client: String,
    /// The site.
    pub site: String,
    /// The time.
    pub within: Span,
}

/// See [`Step::ExpectEmpty`] and [`Step::ExpectDrained`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectEmpty {
    /// The site.
    pub site: String,
    /// The time.
    pub within: Span,
}

/// See [`Step::ExpectMoved`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExpectMoved {
    /// The site that they leave.
    pub from: String,
    /// At least so many.
    pub at_least: usize,
    /// The time.
    pub within: Span,
}

/// See [`Step::ExpectLoss`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExpectLoss {
    /// The probing goes on until so many questions have been asked, by all clients together.
    pub asked: Option<usize>,
    /// Every client lost fewer probes than this.
    pub fewer_than: Option<usize>,
    /// Some client lost at least so many.
    pub at_least: Option<usize>,
    /// No client was without answers for longer.
    pub gap_below: Option<Span>,
}

/// See [`Step::ExpectSchemes`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schemes {
    /// The client that sends.
    pub from: String,
    /// The client that it sends to by unicast.
    pub unicast: String,
    /// The clients that subscribe to the multicast group.
    pub subscribers: Vec<String>,
}

/// See [`Step::Download`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// The client that downloads.
    pub client: String,
}

/// See [`Step::ExpectDownload`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectDownload {
    /// What becomes of it.
    pub outcome: DownloadOutcome,
    /// Broken: the time it may take. Otherwise: the time for which it is watched.
    pub within: Span,
}

/// What becomes of a download.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum DownloadOutcome {
    /// Its connection is reset or stalls.
    Broken,
    /// Octets keep coming.
    Alive,
    /// They do, although another site answers the client by now.
    Survived,
}

/// A duration with a unit: `"250ms"`, `"5s"`, `"1m"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        span(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is not a duration: write a number and a unit, such as \"250ms\" or \"5s\""
            ))
        })
    }
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    let span = Span::deserialize(deserializer)?;
    if span.0.is_zero() {
        return Err(serde::de::Error::custom("must be longer than zero"));
    }
    Ok(span)
}

fn span(text: &str) -> Option<Span> {
    let (unit, milliseconds) = [("ms", 1), ("s", 1000), ("m", 60_000)]
        .into_iter()
        .find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    Some(Span(Duration::from_millis(number.checked_mul(milliseconds)?)))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            whole if whole.is_multiple_of(1000) => write!(f, "{} s", whole / 1000),
            millis => write!(f, "{millis} ms"),
        }
    }
}

impl Scenario {
    /// Reads the text of a scenario file.
    ///
    /// # Errors
    /// What is wrong, with its line, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let words = error.to_string();
            let words = words.replace(
                "wanted exactly 1 element, more than 1 element",
                "a step has one key: make two steps of it",
            );
            words.trim_end().to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tour_is_sound() {
        let tour = Scenario::parse(TOUR).expect("the built-in tour");
        assert!(tour.steps.iter().any(|step| matches!(step, Step::ExpectSchemes(_))));
    }

    #[test]
    fn faults_name_the_line_and_the_word() {
        for (name, text, want) in [
            ("unknown step", "name = 'x'\n[[step]]\nexplode = 'fra'", "explode"),
            ("unknown key", "name = 'x'\n[[step]]\nprobe = { evry = '1s' }", "evry"),
            ("no unit", "name = 'x'\n[[step]]\nwait = '5'", "a number and a unit"),
            ("no time", "name = 'x'\n[[step]]\nprobe = { every = '0ms' }", "longer than zero"),
            (
                "two keys in one step",
                "name = 'x'\n[[step]]\nwait = '5s'\nstop = 'fra'",
                "a step has one key",
            ),
            ("no name", "[[step]]\nwait = '5s'", "name"),
        ] {
            let error = Scenario::parse(text).expect_err(name);
            assert!(error.contains(want) && error.contains("line"), "{name}: {error}");
        }
    }

    #[test]
    fn spans_have_units() {
        for (text, want) in [
            ("250ms", Some(250)),
            ("5s", Some(5000)),
            ("2m", Some(120_000)),
            ("5", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615m", None),
        ] {
            assert_eq!(span(text).map(|Span(span)| span.as_millis()), want, "{text}");
        }
    }
}
