//! Talking to a lab that runs, from another terminal.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use anycast_lab::control::{self, Change, Reply, Request, Topology};
use anycast_lab::running::ClientRow;
use anycast_lab::sandbox;

use crate::cli::LabCommand;
use crate::table;

/// Asks a question and prints the answer.
pub(crate) fn ask(command: LabCommand, name: Option<&str>) -> Result<ExitCode, String> {
    let done = done(&command);
    let wide = matches!(command, LabCommand::Topology { wide: true, .. });
    let (request, json) = request(command)?;
    let stream = sandbox::connect(None, name).map_err(|error| error.to_string())?;
    let watching = matches!(request, Request::Watch);
    let mut failure = None;
    let mut answered = false;
    if watching && !json {
        println!("Who is answered by whom now, then each change as it happens:");
    }
    control::ask(&stream, &request, |reply| {
        answered = true;
        match reply {
            Reply::Error(words) => failure = Some(words),
            Reply::Done => println!("{done}"),
            Reply::Clients(rows) if json => print_json(&rows),
            Reply::Clients(rows) => println!("{}", clients(&rows)),
            Reply::Topology(topology) if json => print_json(&topology),
            Reply::Topology(topology) => print_topology(&topology, wide),
            Reply::Routes(explained) if json => print_json(&explained),
            Reply::Routes(explained) => println!("{explained}"),
            Reply::Change(change) if json => {
                println!("{}", serde_json::to_string(&change).unwrap_or_default());
            }
            Reply::Change(change) => println!("{}", describe(&change)),
        }
        watching && failure.is_none()
    })
    .map_err(|error| format!("the lab ended: {error}"))?;
    match failure {
        Some(words) => Err(words),
        None if !answered => Err("the lab ended before it answered".into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn request(command: LabCommand) -> Result<(Request, bool), String> {
    Ok(match command {
        LabCommand::Status { json } => (Request::Status, json),
        LabCommand::Topology { json, .. } => (Request::Topology, json),
        LabCommand::Watch { json } => (Request::Watch, json),
        LabCommand::Routes { node, prefix, json } => (Request::Routes { node, prefix }, json),
        LabCommand::Stop { node } => (Request::Stop { node }, false),
        LabCommand::Start { node } => (Request::Start { node }, false),
        LabCommand::Freeze { node } => (Request::Freeze { node }, false),
        LabCommand::Thaw { node } => (Request::Thaw { node }, false),
        LabCommand::Kill { site, service } => (Request::Kill { site, service }, false),
        LabCommand::Cut { link } => (Request::Cut { link }, false),
        LabCommand::Mend { link } => (Request::Mend { link }, false),
        LabCommand::Prepend { site, count } => (Request::Prepend { site, count }, false),
        LabCommand::Run { .. } | LabCommand::Exec { .. } => {
            return Err("this command does not talk to a running lab".into());
        }
    })
}

/// What to say when it is done.
fn done(command: &LabCommand) -> String {
    match command {
        LabCommand::Stop { node } => format!("{node} is stopped"),
        LabCommand::Start { node } => format!("{node} is started"),
        LabCommand::Freeze { node } => format!("{node} is frozen; thaw it to undo this"),
        LabCommand::Thaw { node } => format!("{node} is thawed"),
        LabCommand::Kill { site, service: None } => {
            format!("the built-in services at {site} are killed; the site starts them again")
        }
        LabCommand::Kill { site, service: Some(service) } => {
            format!("{service} at {site} is killed; the site starts it again")
        }
        LabCommand::Cut { link } => format!("{link} is cut; mend it to undo this"),
        LabCommand::Mend { link } => format!("{link} is mended"),
        LabCommand::Prepend { site, count: 0 } => format!("{site} takes its prepends back"),
        LabCommand::Prepend { site, count } => {
            format!("{site} prepends {count} times more than its file says")
        }
        _ => String::new(),
    }
}

fn print_json(value: &impl serde::Serialize) {
    println!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}

/// The table of clients.
pub(crate) fn clients(rows: &[ClientRow]) -> String {
    let cells = rows.iter().map(|row| {
        vec![
            row.client.clone(),
            row.network.clone(),
            row.site.clone().unwrap_or_else(|| "nobody answers".into()),
            row.rtt_ms.map(|rtt| format!("{rtt:.1} ms")).unwrap_or_default(),
            row.distance_km.map(|km| format!("{km:.0} km")).unwrap_or_default(),
            row.as_path.clone().unwrap_or_default(),
        ]
    });
    let headings = ["CLIENT", "NETWORK", "SITE", "ROUND TRIP", "DISTANCE", "AS PATH"];
    table::render(&headings, cells.collect())
}

fn print_topology(topology: &Topology, wide: bool) {
    let rows = topology.nodes.iter().map(|node| {
        vec![
            node.name.clone(),
            node.kind.clone(),
            node.city.clone(),
            node.asn.map(|asn| asn.to_string()).unwrap_or_default(),
            node.runs.clone().unwrap_or_default(),
            node.state.clone(),
            if wide { node.addresses.join(" ") } else { String::new() },
        ]
    });
    let headings = ["NODE", "KIND", "CITY", "ASN", "RUNS", "STATE", "ADDRESSES"];
    let shown = headings.len() - usize::from(!wide);
    table::print(&headings[..shown], rows.collect());
    println!();
    let rows = topology.links.iter().map(|link| {
        vec![
            link.name.clone(),
            format!("{:.2} ms", link.latency_ms),
            if link.cut { "cut" } else { "up" }.to_owned(),
        ]
    });
    table::print(&["LINK", "ONE WAY", "STATE"], rows.collect());
}

fn describe(change: &Change) -> String {
    let time = crate::show::utc(change.unix_time);
    let name = |site: &Option<String>| site.clone().unwrap_or_else(|| "nobody".into());
    match (&change.from, &change.to) {
        (None, Some(site)) => format!("{time}  {}: answered by {site}", change.client),
        (from, to) => format!("{time}  {}: {} → {}", change.client, name(from), name(to)),
    }
}

/// Runs a command in a node, on this terminal; its exit code is ours.
pub(crate) fn exec(node: &str, command: &[String], name: Option<&str>) -> Result<ExitCode, String> {
    let stream = sandbox::connect(None, name).map_err(|error| error.to_string())?;
    let pid = sandbox::peer_pid(&stream).map_err(|error| error.to_string())?;
    let mut failure = None;
    control::ask(&stream, &Request::Node { node: node.to_owned() }, |reply| {
        if let Reply::Error(words) = reply {
            failure = Some(words);
        }
        false
    })
    .map_err(|error| format!("the lab ended: {error}"))?;
    if let Some(words) = failure {
        return Err(words);
    }
    drop(stream);
    // In a site's node `anycast show` finds its site, and this program is on the path.
    let socket = format!("{}/{node}.sock", sandbox::RUN_DIR);
    let mut env = vec![
        ("ANYCAST_SOCKET".to_owned(), socket),
        ("ANYCAST_STATE_DIR".to_owned(), sandbox::STATE_DIR.to_owned()),
    ];
    if let (Ok(program), Ok(path)) = (std::env::current_exe(), std::env::var("PATH"))
        && let Some(folder) = program.parent()
    {
        env.push(("PATH".to_owned(), format!("{}:{path}", folder.display())));
    }
    let status = sandbox::exec_in(pid, node, command, &env).map_err(|error| error.to_string())?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
