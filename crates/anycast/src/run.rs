//! `anycast run`.

use std::process::ExitCode;

use anycast_site::daemon::{self, Options};
use anycast_site::handover::TakenOver;

use crate::check::read_fleet_and_text;
use crate::cli::RunArguments;
use crate::logging;

pub(crate) fn run(arguments: &RunArguments) -> Result<ExitCode, String> {
    logging::start("info", arguments.log_format)?;
    let Some((fleet, source)) = read_fleet_and_text(&arguments.fleet)? else {
        return Ok(ExitCode::from(2));
    };
    // This very file, even if another has taken its name since: built-in services match the daemon.
    let program = "/proc/self/exe".into();
    let taken_over = match arguments.take_over {
        Some(descriptor) => Some(TakenOver::read(descriptor).map_err(|error| {
            format!("--take-over {descriptor}: the program before has left nothing there: {error}")
        })?),
        None => None,
    };
    // The name, whatever file has it by then.
    let successor = std::env::current_exe()
        .map_err(|error| format!("cannot find the file of this program: {error}"))?;
    // However the working directory changes, and in messages to whoever is elsewhere.
    let file = std::path::absolute(&arguments.fleet)
        .map_err(|error| format!("cannot find {}: {error}", arguments.fleet.display()))?;
    let options = Options {
        fleet,
        source,
        file,
        site: arguments.site.clone(),
        control: arguments.socket.clone(),
        state_dir: arguments.state_dir.clone(),
        drained: arguments.drained,
        program,
        successor,
        taken_over,
    };
    runtime()?.block_on(daemon::run(options)).map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The runtime of a daemon: what it does is little, so one thread is enough and starts fastest.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))
}
