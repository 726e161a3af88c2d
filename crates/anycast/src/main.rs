//! The `anycast` program: reads arguments and calls one crate.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "floor 4: the program reads files and the clock, and waits for its children"
)]

mod affinity;
mod check;
mod cli;
mod drain;
mod lab;
mod logging;
mod mrt;
mod plan;
mod reload;
mod run;
mod show;
mod table;
mod upgrade;
mod whoami;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    end_quietly_when_nobody_reads();
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Check(arguments) => check::check(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Status(arguments) => show::status::status(&arguments),
        Command::Why(arguments) => show::status::why(&arguments),
        Command::Reload(arguments) => reload::reload(&arguments),
        Command::Confirm(arguments) => reload::confirm(&arguments.target),
        Command::Rollback(arguments) => reload::rollback(&arguments.target),
        Command::Upgrade(arguments) => upgrade::upgrade(&arguments),
        Command::HandoverVersion => Ok(upgrade::version()),
        Command::Show(arguments) => show::show(&arguments),
        Command::Neighbor(arguments) => show::neighbors::order(arguments),
        Command::Prepend(arguments) => show::prepend(&arguments),
        Command::Drain(arguments) => drain::drain(&arguments),
        Command::Affinity(arguments) => affinity::order(&arguments),
        Command::Clear(arguments) => drain::clear(&arguments),
        Command::Undrain(arguments) => drain::undrain(&arguments),
        Command::Mrt(arguments) => mrt::mrt(&arguments),
        Command::Plan(arguments) => plan::plan(&arguments),
        Command::Lab(arguments) => lab::lab(arguments),
        Command::Whoami(arguments) => whoami::whoami(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(words) => {
            eprintln!("anycast: {words}");
            ExitCode::from(2)
        }
    }
}

/// A reader that has seen enough (`| head`) ends us without a word, as SIGPIPE does others.
fn end_quietly_when_nobody_reads() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload().downcast_ref::<String>();
        if words.is_some_and(|words| words.starts_with("failed printing to stdout")) {
            // 128 + SIGPIPE, as a shell would give it.
            std::process::exit(141);
        }
        report(panic);
    }));
}
