//! `anycast lab`: starting a lab, running scenarios, and talking to a lab that runs.

mod start;
mod talk;

use std::process::ExitCode;

use crate::cli::{LabArguments, LabCommand, LabStartArguments};

pub(crate) fn lab(arguments: LabArguments) -> Result<ExitCode, String> {
    match arguments.command {
        None => start::start(&arguments.start),
        Some(LabCommand::Run { scenario, fleet, world, json }) => {
            let files = LabStartArguments { fleet, world, json, once: false };
            start::run_scenario(&scenario, &files)
        }
        Some(LabCommand::Exec { node, command }) => talk::exec(&node, &command),
        Some(other) => talk::ask(other),
    }
}
