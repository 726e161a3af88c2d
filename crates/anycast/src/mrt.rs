//! `anycast mrt`: the table of a running site in a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::{MrtArguments, MrtCommand};
use crate::run::runtime;
use crate::show::client;

pub(crate) fn mrt(arguments: &MrtArguments) -> Result<ExitCode, String> {
    let MrtCommand::Dump { file, received, target } = &arguments.command;
    let client = client(target).map_err(|error| error.to_string())?;
    let target = format!("/v1/mrt/table?received={received}");
    let to_terminal = file.as_os_str() == "-";
    // A file that is there stays as it is until the new one is whole.
    let draft = if to_terminal { None } else { Some(draft_of(file)) };
    let cannot = |error: std::io::Error| format!("cannot write {}: {error}", file.display());
    let mut out: Box<dyn Write> = match &draft {
        Some(draft) => Box::new(BufWriter::new(File::create(draft).map_err(cannot)?)),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut octets = 0;
    let written = runtime()?
        .block_on(client.get_octets(&target, |part| {
            octets += part.len();
            out.write_all(part)
        }))
        .map_err(|error| error.to_string())
        .and_then(|()| out.flush().map_err(cannot));
    drop(out);
    if let Some(draft) = draft {
        let done = written.and_then(|()| std::fs::rename(&draft, file).map_err(cannot));
        if done.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        done?;
        println!("{octets} octets in {}", file.display());
    } else {
        written?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The file that is written first, in the same folder.
fn draft_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    file.with_file_name(name)
}
