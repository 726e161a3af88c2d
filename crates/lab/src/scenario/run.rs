//! Runs a scenario's steps on a lab.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::download::{Standing, Transfer};
use super::{
    DownloadOutcome, ExpectLoss, Outcome, Probe, Report, Reroute, Scenario, Span, Step, StepReport,
    Switch, schemes,
};
use crate::ask;
use crate::plan::NodeKind;
use crate::probe::{Answer, Loss, Streams};
use crate::running::{ClientRow, Lab};

/// How long a client may take to answer one question of an expectation.
const PATIENCE: Duration = Duration::from_millis(800);
/// The pause before a question is asked again.
const PAUSE: Duration = Duration::from_millis(20);
/// How long late answers of a probing are waited for.
const LATE: Duration = Duration::from_millis(500);

/// What a scenario tells while it runs.
pub enum Narration<'a> {
    /// A heading.
    Chapter(&'a str),
    /// Text.
    Say(&'a str),
    /// Who reaches which site.
    Clients(Vec<ClientRow>),
    /// Text with its own layout.
    Block(String),
    /// A step is over.
    Step(&'a StepReport),
}

/// Runs all steps, whatever becomes of each; stops at one that cannot be done. The lab is free
/// for others between steps, and while one only waits.
pub async fn run(
    lab: &Mutex<Lab>,
    scenario: &Scenario,
    tell: &mut (dyn FnMut(Narration<'_>) + Send),
) -> Report {
    let mut report = Report { scenario: scenario.name.clone(), steps: Vec::new() };
    let mut stage = Stage::default();
    for (index, step) in scenario.steps.iter().enumerate() {
        let started = Instant::now();
        let result = match step {
            Step::Wait(Span(time)) => {
                tokio::time::sleep(*time).await;
                continue;
            }
            _ => stage.perform(&mut *lab.lock().await, step, tell).await,
        };
        let impossible = result.is_err();
        let outcome = match result {
            Ok(Some(outcome)) => outcome,
            Ok(None) => continue,
            Err(why) => Outcome::Failed(format!("cannot be done: {why}")),
        };
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let step = StepReport { number: index + 1, step: describe(step), outcome, took_ms };
        tell(Narration::Step(&step));
        report.steps.push(step);
        if impossible {
            break;
        }
    }
    report
}

/// What steps leave for later ones.
#[derive(Default)]
struct Stage {
    remembered: BTreeMap<usize, Option<String>>,
    probing: Option<Streams>,
    download: Option<Transfer>,
    /// The client that downloads, and the site that answered it then.
    downloads_at: Option<(usize, String)>,
}

type StepResult = Result<Option<Outcome>, String>;

#[expect(clippy::unnecessary_wraps, reason = "what a step returns")]
fn held(words: impl Into<String>) -> StepResult {
    Ok(Some(Outcome::Held(words.into())))
}

#[expect(clippy::unnecessary_wraps, reason = "what a step returns")]
fn failed(words: impl Into<String>) -> StepResult {
    Ok(Some(Outcome::Failed(words.into())))
}

#[expect(clippy::unnecessary_wraps, reason = "what a step returns")]
fn done(words: impl Into<String>) -> StepResult {
    Ok(Some(Outcome::Done(words.into())))
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err passes")]
fn words(error: impl ToString) -> String {
    error.to_string()
}

impl Stage {
    async fn perform(
        &mut self,
        lab: &mut Lab,
        step: &Step,
        tell: &mut (dyn FnMut(Narration<'_>) + Send),
    ) -> StepResult {
        match step {
            Step::Chapter(text) => tell(Narration::Chapter(text)),
            Step::Say(text) => tell(Narration::Say(text)),
            Step::ShowClients(show) => {
                let mut rows = lab.status(PATIENCE).await;
                if let Some(only) = &show.only {
                    rows.retain(|row| only.contains(&row.client));
                }
                tell(Narration::Clients(rows));
            }
            Step::Explain(explain) => {
                let explained = lab.explain(&explain.node, None).await.map_err(words)?;
                tell(Narration::Block(explained.to_string()));
                let Some(because) = &explain.because else { return Ok(None) };
                let by = format!(" by {because}: ");
                let losers = explained.report.routes.iter().filter(|row| row.outcome.contains(&by));
                return match losers.count() {
                    0 => failed(format!("no route lost by {because}")),
                    n => held(format!("{n} of {} lost by it", explained.report.routes.len())),
                };
            }
            Step::Wait(_) => {}
            Step::Stop(node) => {
                lab.stop(node).await.map_err(words)?;
                return done("");
            }
            Step::Start(node) => {
                lab.start(node).await.map_err(words)?;
                return done("");
            }
            Step::Freeze(node) => {
                lab.freeze(node).map_err(words)?;
                return done("");
            }
            Step::Thaw(node) => {
                lab.thaw(node).map_err(words)?;
                return done("");
            }
            Step::Kill(site) => {
                let pids = lab.service_pids(site, None).await.map_err(words)?;
                Lab::kill_pids(site, &pids).map_err(words)?;
                let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
                return done(format!("SIGKILL to process {}", pids.join(", ")));
            }
            Step::Cut(link) => {
                lab.cut(link).await.map_err(words)?;
                return done("");
            }
            Step::Mend(link) => {
                lab.mend(link).await.map_err(words)?;
                return done("");
            }
            Step::Prepend(prepend) => {
                lab.prepend(&prepend.site, prepend.count).await.map_err(words)?;
                return done("");
            }
            Step::Reroute(reroute) => {
                lab.reroute(&reroute.client, reroute.via.as_deref()).await.map_err(words)?;
                return done("");
            }
            Step::Affinity(switch) => {
                let kept = lab.keep_connections(*switch == Switch::On).await.map_err(words)?;
                return done(kept);
            }
            Step::Drain(site) => {
                lab.drain(site).await.map_err(words)?;
                return done("");
            }
            Step::Undrain(site) => {
                lab.undrain(site).await.map_err(words)?;
                return done("");
            }
            Step::Reload(order) => {
                let within = order.confirm_within.map(|Span(time)| time);
                let changes = lab.reload(&order.site, &order.edit, within).await.map_err(words)?;
                return done(changes);
            }
            Step::Confirm(site) => return done(lab.confirm(site).await.map_err(words)?),
            Step::Rollback(site) => return done(lab.roll_back(site).await.map_err(words)?),
            Step::Remember(_) => {
                self.remembered = catchment(lab).await;
                let answered = self.remembered.values().flatten().count();
                return done(format!("{answered} clients and their sites"));
            }
            Step::Probe(probe) => return self.start_probing(lab, probe).await,
            Step::ExpectLoss(expect) => return self.expect_loss(lab, expect).await,
            Step::ExpectSchemes(schemes) => {
                let (table, result) = schemes::show(lab, schemes).await?;
                tell(Narration::Block(table));
                return match result {
                    Ok(words) => held(words),
                    Err(words) => failed(words),
                };
            }
            Step::Download(download) => {
                if let Some(earlier) = self.download.take() {
                    earlier.end().await;
                }
                let client = lab.node(&download.client).map_err(words)?;
                let sites: Vec<_> =
                    lab.plan.sites().map(|(node, _, _)| lab.namespace(node).clone()).collect();
                let transfer =
                    Transfer::start(lab.prober.target(), &sites, lab.namespace(client)).await;
                self.download = Some(transfer.map_err(|e| format!("the download: {e}"))?);
                let answer = lab.prober.ask(client, PATIENCE).await;
                let from = answer.map_or_else(|| "?".to_owned(), |answer| answer.site);
                let words = format!("{} downloads over TCP from {from}", download.client);
                self.downloads_at = Some((client, from));
                return done(words);
            }
            Step::ExpectDownload(expect) => {
                return self.expect_download(lab, expect.outcome, expect.within.0).await;
            }
            Step::ExpectDrained(expect) => {
                return expect_drained(lab, &expect.site, expect.within).await;
            }
            Step::ExpectSameAnswer(client) => return same_answer(lab, client).await,
            Step::ExpectAnswered(_)
            | Step::ExpectSites(_)
            | Step::ExpectSite(_)
            | Step::ExpectNotSite(_)
            | Step::ExpectEmpty(_)
            | Step::ExpectMoved(_)
            | Step::ExpectAsRemembered(_) => return self.expect_catchment(lab, step).await,
        }
        Ok(None)
    }

    async fn start_probing(&mut self, lab: &Lab, probe: &Probe) -> StepResult {
        let mut clients = Vec::new();
        for name in &probe.clients {
            clients.push(lab.node(name).map_err(words)?);
        }
        if let Some(site) = &probe.of {
            let now = catchment(lab).await;
            let of = now.into_iter().filter(|(_, at)| at.as_ref() == Some(site));
            clients.extend(of.map(|(client, _)| client));
        }
        if clients.is_empty() {
            return Err("no client to probe from".into());
        }
        let streams = lab.prober.stream(&clients, probe.every.0).map_err(words)?;
        // So that the first answers are there before anything is done to the lab.
        tokio::time::sleep(LATE).await;
        self.probing = Some(streams);
        done(match clients.len() {
            1 => format!("one question every {}", probe.every),
            n => format!("one question every {} from each of {n} clients", probe.every),
        })
    }

    async fn expect_loss(&mut self, lab: &Lab, expect: &ExpectLoss) -> StepResult {
        let streams = self.probing.take().ok_or("no probing is under way: `probe` comes first")?;
        while expect.asked.is_some_and(|wanted| streams.asked() < wanted) {
            tokio::time::sleep(PAUSE).await;
        }
        let losses: HashMap<usize, Loss> = streams.finish(LATE).await;
        let mut rows: Vec<(&str, &Loss)> = losses
            .iter()
            .map(|(client, loss)| (lab.plan.nodes[*client].name.as_str(), loss))
            .collect();
        rows.sort_by(|a, b| b.1.lost.cmp(&a.1.lost).then(a.0.cmp(b.0)));
        let lines = rows.iter().map(|(client, loss)| {
            format!(
                "{client}: {} of {} lost, longest gap {:.0} ms, answered by {}",
                loss.lost,
                loss.asked,
                loss.longest_gap_ms,
                loss.sites.join(", then "),
            )
        });
        let mut text = lines.collect::<Vec<_>>().join("\n");
        if rows.len() > 1 {
            let sum = |of: fn(&Loss) -> usize| rows.iter().map(|(_, loss)| of(loss)).sum::<usize>();
            let (lost, asked) = (sum(|it| it.lost), sum(|it| it.asked));
            text = format!("{lost} of {asked} lost in all\n{text}");
        }
        let most = rows.iter().map(|(_, loss)| loss.lost).max().unwrap_or_default();
        let longest = rows.iter().map(|(_, loss)| loss.longest_gap_ms).fold(0.0, f64::max);
        if rows.iter().any(|(_, loss)| loss.asked == 0) {
            return failed(format!("nothing was asked yet: probe for longer\n{text}"));
        }
        if expect.fewer_than.is_none() && expect.at_least.is_none() && expect.gap_below.is_none() {
            return done(text);
        }
        let holds = expect.fewer_than.is_none_or(|limit| most < limit)
            && expect.at_least.is_none_or(|least| most >= least)
            && expect.gap_below.is_none_or(|Span(limit)| longest < limit.as_secs_f64() * 1e3);
        if holds { held(text) } else { failed(text) }
    }

    async fn expect_download(
        &mut self,
        lab: &Lab,
        outcome: DownloadOutcome,
        within: Duration,
    ) -> StepResult {
        let transfer = self.download.as_mut().ok_or("no download: `download` comes first")?;
        let standing = transfer.watch(within).await;
        let so_far = format!(
            "after {:.1} s and {:.1} MB",
            transfer.age().as_secs_f64(),
            Megabytes(transfer.received()).value()
        );
        let (got, words) = match standing {
            Standing::Alive => (DownloadOutcome::Alive, format!("alive {so_far}")),
            Standing::Broken(why) => {
                self.download = None;
                (DownloadOutcome::Broken, format!("broken {so_far}: {why}"))
            }
        };
        if outcome != DownloadOutcome::Survived {
            return if got == outcome { held(words) } else { failed(words) };
        }
        let (client, from) = self.downloads_at.clone().ok_or("no download is under way")?;
        let now = lab.prober.ask(client, PATIENCE).await.map(|answer| answer.site);
        match now {
            _ if got == DownloadOutcome::Broken => failed(words),
            Some(now) if now != from => {
                held(format!("{words}; it is {from}'s, and {now} answers by now"))
            }
            Some(_) => failed(format!("{words}, but {from} answers as before: no route changed")),
            None => failed(format!("{words}, but nobody answers the client")),
        }
    }

    /// Asks all clients again and again until what is expected is true, or the time is over.
    async fn expect_catchment(&self, lab: &Lab, step: &Step) -> StepResult {
        let within = match step {
            Step::ExpectAnswered(expect) | Step::ExpectAsRemembered(expect) => expect.within,
            Step::ExpectSites(expect) => expect.within,
            Step::ExpectSite(expect) | Step::ExpectNotSite(expect) => expect.within,
            Step::ExpectEmpty(expect) => expect.within,
            Step::ExpectMoved(expect) => expect.within,
            _ => return Ok(None),
        };
        for name in names(step) {
            lab.node(name).map_err(words)?;
        }
        if matches!(step, Step::ExpectMoved(_) | Step::ExpectAsRemembered(_))
            && self.remembered.is_empty()
        {
            return Err("nothing is remembered: `remember` comes first".into());
        }
        let deadline = Instant::now() + within.0;
        loop {
            let now = match step {
                Step::ExpectSite(expect) | Step::ExpectNotSite(expect) => {
                    let client = lab.node(&expect.client).map_err(words)?;
                    let answer = lab.prober.ask(client, PATIENCE).await;
                    BTreeMap::from([(client, answer.map(|answer| answer.site))])
                }
                _ => catchment(lab).await,
            };
            match self.judge(lab, step, &now) {
                Ok(words) => return held(words),
                Err(words) if Instant::now() >= deadline => {
                    return failed(format!("{words} (waited {within})"));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn judge(
        &self,
        lab: &Lab,
        step: &Step,
        now: &BTreeMap<usize, Option<String>>,
    ) -> Result<String, String> {
        let name = |client: &usize| lab.plan.nodes[*client].name.clone();
        let verdict = |holds: bool, words: String| if holds { Ok(words) } else { Err(words) };
        match step {
            Step::ExpectAnswered(_) => {
                let silent: Vec<String> =
                    now.iter().filter(|(_, site)| site.is_none()).map(|(c, _)| name(c)).collect();
                if silent.is_empty() {
                    Ok(format!("all {} clients are answered", now.len()))
                } else {
                    Err(format!("nobody answers {}", silent.join(", ")))
                }
            }
            Step::ExpectSites(expect) => {
                let sites: BTreeSet<&str> = now.values().flatten().map(String::as_str).collect();
                let list = sites.iter().copied().collect::<Vec<_>>().join(", ");
                verdict(
                    sites.len() >= expect.at_least,
                    format!("{} sites answer: {list}", sites.len()),
                )
            }
            Step::ExpectSite(expect) | Step::ExpectNotSite(expect) => {
                let site = now.values().next().cloned().flatten();
                let wants_it = matches!(step, Step::ExpectSite(_));
                match site {
                    Some(site) => verdict(
                        (site == expect.site) == wants_it,
                        format!("{} is answered by {site}", expect.client),
                    ),
                    None => Err(format!("nobody answers {}", expect.client)),
                }
            }
            Step::ExpectEmpty(expect) => {
                let left: Vec<String> = now
                    .iter()
                    .filter(|(_, site)| site.as_ref() == Some(&expect.site))
                    .map(|(client, _)| name(client))
                    .collect();
                verdict(
                    left.is_empty(),
                    format!("{} still answers {}", expect.site, left.join(", ")),
                )
                .map(|_| format!("{} answers nobody", expect.site))
            }
            Step::ExpectMoved(expect) => {
                let moved: Vec<String> = now
                    .iter()
                    .filter(|(client, site)| {
                        self.remembered.get(client).cloned().flatten().as_ref()
                            == Some(&expect.from)
                            && site.as_ref().is_some_and(|site| *site != expect.from)
                    })
                    .map(|(client, site)| {
                        format!("{} → {}", name(client), site.clone().unwrap_or_default())
                    })
                    .collect();
                let list = if moved.is_empty() { "nobody".to_owned() } else { moved.join(", ") };
                verdict(
                    moved.len() >= expect.at_least,
                    format!("{} of {}'s clients moved: {list}", moved.len(), expect.from),
                )
            }
            _ => {
                let other: Vec<String> = now
                    .iter()
                    .filter(|(client, site)| self.remembered.get(client) != Some(site))
                    .map(|(client, site)| {
                        format!("{} at {}", name(client), site.as_deref().unwrap_or("nobody's"))
                    })
                    .collect();
                verdict(other.is_empty(), format!("not back yet: {}", other.join(", ")))
                    .map(|_| "every client is back at its site".to_owned())
            }
        }
    }
}

/// Octets as megabytes, for words.
struct Megabytes(u64);

impl Megabytes {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    fn value(&self) -> f64 {
        self.0 as f64 / 1e6
    }
}

/// The nodes that a step names.
fn names(step: &Step) -> Vec<&str> {
    match step {
        Step::ExpectSite(expect) | Step::ExpectNotSite(expect) => {
            vec![&expect.client, &expect.site]
        }
        Step::ExpectEmpty(expect) => vec![&expect.site],
        Step::ExpectMoved(expect) => vec![&expect.from],
        _ => Vec::new(),
    }
}

/// Who reaches which site now.
async fn catchment(lab: &Lab) -> BTreeMap<usize, Option<String>> {
    let site = |answer: Option<Answer>| answer.map(|answer| answer.site);
    let answers = lab.prober.ask_all(PATIENCE).await;
    answers.into_iter().map(|(client, answer)| (client, site(answer))).collect()
}

/// Asks a site again and again until its drain is over.
async fn expect_drained(lab: &Lab, site: &str, within: Span) -> StepResult {
    let deadline = Instant::now() + within.0;
    loop {
        let rows = lab.drains(site).await.map_err(words)?;
        let stage = rows.iter().find(|it| it.target == "site").map(|it| it.stage.as_str());
        let announced = lab.services(site).await.map_err(words)?.prefixes;
        let announced: Vec<String> =
            announced.into_iter().filter(|it| it.announced).map(|it| it.prefix).collect();
        match stage {
            Some("drained") if announced.is_empty() => {
                return held(format!("{site} is drained and announces nothing"));
            }
            _ if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Some(stage) => {
                let still = match announced.as_slice() {
                    [] => String::new(),
                    some => format!("; it announces {}", some.join(", ")),
                };
                return failed(format!("{site} is {stage}{still} (waited {within})"));
            }
            None => return failed(format!("nobody drains {site} (waited {within})")),
        }
    }
}

/// DNS CHAOS, NSID and HTTP tell the same client the same site.
async fn same_answer(lab: &Lab, client: &str) -> StepResult {
    let node = lab.node(client).map_err(words)?;
    if !matches!(lab.plan.nodes[node].kind, NodeKind::Client(_)) {
        return Err(format!("{client} is not a client"));
    }
    let namespace = lab.namespace(node);
    let target = lab.prober.target();
    let dns = ask::dns(namespace, target, PATIENCE).await.map_err(|e| format!("DNS: {e}"))?;
    let http = ask::http(namespace, target, PATIENCE).await.map_err(|e| format!("HTTP: {e}"))?;
    let words = format!(
        "{client} asks {target}: DNS CHAOS TXT id.server says {}, NSID says {}, HTTP says {}",
        dns.id_server, dns.nsid, http
    );
    if dns.id_server == dns.nsid && dns.nsid == http { held(words) } else { failed(words) }
}

fn describe(step: &Step) -> String {
    match step {
        Step::Chapter(text) | Step::Say(text) => text.clone(),
        Step::ShowClients(_) => "who reaches which site".into(),
        Step::Explain(explain) => match &explain.because {
            Some(because) => format!("at {} {because} decides", explain.node),
            None => format!("how {} chose", explain.node),
        },
        Step::Wait(span) => format!("wait {span}"),
        Step::Stop(node) => format!("stop {node}"),
        Step::Start(node) => format!("start {node}"),
        Step::Freeze(node) => format!("freeze {node}"),
        Step::Thaw(node) => format!("thaw {node}"),
        Step::Kill(site) => format!("kill the service at {site}"),
        Step::Cut(link) => format!("cut {link}"),
        Step::Mend(link) => format!("mend {link}"),
        Step::Prepend(prepend) => match prepend.count {
            0 => format!("{} takes its prepends back", prepend.site),
            1 => format!("{} prepends once", prepend.site),
            n => format!("{} prepends {n} times", prepend.site),
        },
        Step::Reroute(Reroute { client, via: Some(link) }) => {
            format!("the router of {client} prefers {link}")
        }
        Step::Reroute(Reroute { client, via: None }) => {
            format!("the router of {client} chooses by itself again")
        }
        Step::Affinity(Switch::On) => "every site keeps connections".into(),
        Step::Affinity(Switch::Off) => "no site keeps connections".into(),
        Step::Drain(site) => format!("drain {site}"),
        Step::Undrain(site) => format!("undrain {site}"),
        Step::Reload(order) => match order.confirm_within {
            Some(within) => format!("{} reloads, to be confirmed within {within}", order.site),
            None => format!("{} reloads", order.site),
        },
        Step::Confirm(site) => format!("{site}'s reload is confirmed"),
        Step::Rollback(site) => format!("{site}'s reload is taken back"),
        Step::Remember(_) => "remember who reaches which site".into(),
        Step::Probe(_) => "probe".into(),
        Step::ExpectAnswered(expect) => {
            format!("every client is answered within {}", expect.within)
        }
        Step::ExpectSites(expect) => {
            format!("at least {} sites answer within {}", expect.at_least, expect.within)
        }
        Step::ExpectSite(expect) => {
            format!("{} is answered by {} within {}", expect.client, expect.site, expect.within)
        }
        Step::ExpectNotSite(expect) => format!(
            "{} is answered by another site than {} within {}",
            expect.client, expect.site, expect.within
        ),
        Step::ExpectEmpty(expect) => {
            format!("{} answers nobody within {}", expect.site, expect.within)
        }
        Step::ExpectDrained(expect) => {
            format!("{} is drained within {}", expect.site, expect.within)
        }
        Step::ExpectMoved(expect) => format!(
            "at least {} of {}'s clients move within {}",
            expect.at_least, expect.from, expect.within
        ),
        Step::ExpectAsRemembered(expect) => {
            format!("every client is back at its site within {}", expect.within)
        }
        Step::ExpectLoss(expect) => {
            let mut parts = Vec::new();
            if let Some(limit) = expect.fewer_than {
                parts.push(format!("each client lost fewer than {limit} probes"));
            }
            if let Some(least) = expect.at_least {
                parts.push(format!("some client lost at least {least} probes"));
            }
            if let Some(wanted) = expect.asked {
                parts.push(format!("of at least {wanted} in all"));
            }
            if let Some(limit) = expect.gap_below {
                parts.push(format!("nobody waited {limit} for an answer"));
            }
            if parts.is_empty() { "the loss".into() } else { parts.join(", ") }
        }
        Step::ExpectSameAnswer(client) => {
            format!("DNS, NSID and HTTP tell {client} the same site")
        }
        Step::ExpectSchemes(_) => "each scheme reaches whom it should".into(),
        Step::Download(download) => format!("{} starts a long download", download.client),
        Step::ExpectDownload(expect) => match expect.outcome {
            DownloadOutcome::Broken => format!("the download breaks within {}", expect.within),
            DownloadOutcome::Alive => format!("the download lives on for {}", expect.within),
            DownloadOutcome::Survived => {
                format!("the connection survived, and lives on for {}", expect.within)
            }
        },
    }
}
