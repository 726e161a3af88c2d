//! `anycast lab`: starting a lab, running scenarios, and talking to a lab that runs.

mod start;
mod talk;

use std::process::ExitCode;

use crate::cli::{LabArguments, LabCommand, LabStartArguments};

pub(crate) fn lab(arguments: LabArguments) -> Result<ExitCode, String> {
    let name = arguments.name.as_deref();
    if arguments.command.is_some() && arguments.start != LabStartArguments::default() {
        return Err(
            "FLEET, --world, --json and --once before a subcommand mean nothing: they are \
                    for the lab that starts"
                .into(),
        );
    }
    match arguments.command {
        None => start::start(&arguments.start, name),
        Some(LabCommand::Run { scenario, fleet, world, json }) => {
            let files = LabStartArguments { fleet, world, json, once: false };
            start::run_scenario(&scenario, &files, name)
        }
        Some(LabCommand::Exec { node, command }) => talk::exec(&node, &command, name),
        Some(other) => talk::ask(other, name),
    }
}
