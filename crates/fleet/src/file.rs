//! The fleet file on disk, and the files of secrets that it refers to. This is all of the disk
//! that this crate ever looks at; of a secret it looks at no more than whether it could be used.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anycast_bgp::rov::VrpTable;

use crate::Service;
use crate::affinity::{AffinityKey, Secret};
use crate::problem::{Problem, Span};
use crate::read::{Draft, Placed, RpkiDraft};
use crate::report::{Report, parse_with};
use crate::section::Places;

/// The kernel's limit for a TCP MD5 key (`TCP_MD5SIG_MAXKEYLEN`).
const LONGEST_SECRET: usize = 80;
/// More than any fleet needs, and little enough to read by mistake.
const LARGEST_FILE: u64 = 16 << 20;

/// Why a fleet file could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system said no.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not text.
    #[error("{path} is not a text file: byte {offset} is not UTF-8")]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that fits in no character.
        offset: usize,
    },
    /// It is far larger than a fleet file could be.
    #[error("{path} is too large for a fleet file: more than 16 MiB")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a fleet file and looks at the secrets that it refers to.
///
/// # Errors
/// If there is no text to be had; what is wrong with the text is in the report.
pub fn read(path: &Path) -> Result<Report, ReadError> {
    read_and(path, |_| Vec::new())
}

/// The same of a text that the file once had.
#[must_use]
pub fn read_text(path: &Path, source: &str) -> Report {
    look_at(path, source, |_| Vec::new())
}

/// As [`read`], and warns of what the fleet announces and the RPKI calls invalid.
///
/// # Errors
/// As [`read`].
pub fn read_with_vrps(path: &Path, vrps: &VrpTable) -> Result<Report, ReadError> {
    read_and(path, |draft| crate::lint::rpki::own_prefixes(draft, vrps))
}

fn read_and(
    path: &Path,
    further: impl FnOnce(&Draft) -> Vec<Problem>,
) -> Result<Report, ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    let mut octets = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut octets).map_err(failed)?;
    if octets.len() as u64 > LARGEST_FILE {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    let source = String::from_utf8(octets).map_err(|error| ReadError::NotText {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    Ok(look_at(path, &source, further))
}

fn look_at(path: &Path, source: &str, further: impl FnOnce(&Draft) -> Vec<Problem>) -> Report {
    let folder = path.parent().unwrap_or(Path::new(""));
    parse_with(&path.display().to_string(), source, |draft| {
        let mut problems = secrets(draft, folder);
        problems.extend(state_files(draft, folder));
        problems.extend(affinity_keys(draft, folder));
        problems.extend(vrp_files(draft, folder));
        problems.extend(ca_files(draft, folder));
        problems.extend(quic_files(draft, folder));
        problems.extend(further(draft));
        problems
    })
}

/// What is wrong with the files of secrets. They are often absent where a file is only checked,
/// so nothing here is an error.
fn secrets(draft: &Draft, folder: &Path) -> Vec<Problem> {
    let neighbors = draft.sites.iter().flat_map(|site| &site.neighbors);
    neighbors
        .flat_map(|neighbor| {
            let ao = neighbor.value.tcp_ao.as_ref().map(|ao| &ao.key_file);
            [("password-file", neighbor.value.password_file.as_ref()), ("tcp-ao", ao)]
                .into_iter()
                .filter_map(|(key, file)| Some((folder.join(file?), neighbor.at.of(key))))
        })
        .filter_map(|(path, span)| look_at_secret(&path, span))
        .collect()
}

/// What is wrong with the files that `[fleet-state]` names.
fn state_files(draft: &Draft, folder: &Path) -> Vec<Problem> {
    let Some(state) = &draft.fleet_state else { return Vec::new() };
    let secret = state.value.credentials.as_ref().map(|it| (it.key(), it.file(), true));
    let ca = state.value.ca_file.as_ref().map(|file| ("ca-file", file, false));
    let look = |(key, file, secret): (&str, &PathBuf, bool)| {
        let path = folder.join(file);
        let (shown, span) = (path.display(), state.at.of(key));
        let help = "Put it there, or the shared state cannot be reached.";
        let mode = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata.permissions().mode(),
            Ok(_) => {
                let message = format!("{shown} is not a file");
                return Some(Problem::warning("fleet-state-file", span, message).help(help));
            }
            Err(error) => {
                let message = format!("{shown} cannot be used here: {error}");
                return Some(Problem::warning("fleet-state-file", span, message).help(help));
            }
        };
        (secret && mode & 0o007 != 0).then(|| {
            let message = format!("{shown} is open to every user (mode {:o})", mode & 0o777);
            Problem::warning("password-exposed", span, message)
                .label("a secret")
                .help(format!("Run `chmod 600 {shown}`."))
        })
    };
    secret.into_iter().chain(ca).filter_map(look).collect()
}

/// Keys that are not there or too short, or that every user could read.
fn affinity_keys(draft: &Draft, folder: &Path) -> Vec<Problem> {
    let keys = draft.affinity.iter().flat_map(|it| &it.keys);
    let look = |(key, at): &(AffinityKey, Places)| {
        let path = folder.join(&key.file);
        let problem = |what: &str| {
            let message = format!("{} {what}", path.display());
            let problem = Problem::warning("affinity-key", at.of("file"), message);
            problem.help(
                "The site cannot keep connections without it. Make one with \
                 `openssl rand -hex 32`, the same for all sites.",
            )
        };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Some(problem("is not a file")),
            Err(error) => return Some(problem(&format!("cannot be used here: {error}"))),
        };
        let mode = metadata.permissions().mode();
        if mode & 0o007 != 0 {
            let shown = path.display();
            let message = format!("{shown} is open to every user (mode {:o})", mode & 0o777);
            return Some(
                Problem::warning("password-exposed", at.of("file"), message)
                    .label("a secret")
                    .help(format!("Run `chmod 600 {shown}`.")),
            );
        }
        match Secret::read(&path) {
            Ok(_) => None,
            Err(error) => Some(problem(&error.to_string())),
        }
    };
    keys.filter_map(look).collect()
}

/// VRP files that are not there. They may be absent where a fleet file is only checked.
fn vrp_files(draft: &Draft, folder: &Path) -> Vec<Problem> {
    let of_sites = draft.sites.iter().filter_map(|site| site.rpki.as_ref());
    let missing = |rpki: &RpkiDraft| {
        let path = folder.join(rpki.vrp_file.as_ref()?);
        let why = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => return None,
            Ok(_) => "is not a file".to_owned(),
            Err(error) => format!("cannot be used here: {error}"),
        };
        let message = format!("{} {why}", path.display());
        let problem = Problem::warning("vrp-file", rpki.at.of("vrp-file"), message);
        Some(problem.help("Have a validator write its VRPs there as JSON."))
    };
    draft.rpki.iter().chain(of_sites).filter_map(missing).collect()
}

/// Files of certificate authorities that are not there. They too may be absent.
fn ca_files(draft: &Draft, folder: &Path) -> Vec<Problem> {
    let missing = |service: &Placed<Service>| {
        let mut files: Vec<_> =
            service.value.checks.iter().filter_map(|check| check.probe.ca_file()).collect();
        files.dedup();
        let problems = files.into_iter().filter_map(|file| {
            let path = folder.join(file);
            let error = fs::File::open(&path).err()?;
            let message = format!("`ca-file` {} cannot be used here: {error}", path.display());
            let problem = Problem::warning("ca-file", service.at.name(), message);
            Some(problem.help("Until it is there, the check fails."))
        });
        problems.collect::<Vec<_>>()
    };
    draft.services.iter().flat_map(missing).collect()
}

/// What is wrong with the certificates and keys of services over QUIC. They too may be absent.
fn quic_files(draft: &Draft, folder: &Path) -> Vec<Problem> {
    let look = |service: &Placed<Service>| {
        let quic = service.value.quic()?;
        let files = [("quic-certificate", &quic.certificate, false), ("quic-key", &quic.key, true)];
        let problems = files.into_iter().filter_map(|(key, file, secret)| {
            let (path, span) = (folder.join(file), service.at.of(key));
            let shown = path.display();
            let mode = match fs::File::open(&path).and_then(|file| file.metadata()) {
                Ok(metadata) => metadata.permissions().mode(),
                Err(error) => {
                    let message = format!("{shown} cannot be used here: {error}");
                    let problem = Problem::warning("quic-file", span, message);
                    return Some(problem.help("Until it is there, a site serves no QUIC."));
                }
            };
            (secret && mode & 0o007 != 0).then(|| {
                let message = format!("{shown} is open to every user (mode {:o})", mode & 0o777);
                Problem::warning("password-exposed", span, message)
                    .label("a secret")
                    .help(format!("Run `chmod 600 {shown}`."))
            })
        });
        Some(problems.collect::<Vec<_>>())
    };
    draft.services.iter().filter_map(look).flatten().collect()
}

fn look_at_secret(path: &Path, span: Span) -> Option<Problem> {
    let shown = path.display();
    let useless = |what: String| {
        Problem::warning("password-file", span.clone(), what)
            .help("The session needs it: put the shared secret alone in this file, on one line.")
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Some(useless(format!("{shown} is not a file"))),
        Err(error) => return Some(useless(format!("{shown} cannot be used here: {error}"))),
    };
    let mode = metadata.permissions().mode();
    if mode & 0o007 != 0 {
        return Some(
            Problem::warning(
                "password-exposed",
                span,
                format!("{shown} is open to every user (mode {:o})", mode & 0o777),
            )
            .label("a secret")
            .help(format!("Run `chmod 600 {shown}`.")),
        );
    }
    let mut secret = Vec::new();
    let opened = fs::File::open(path).and_then(|file| file.take(4096).read_to_end(&mut secret));
    if let Err(error) = opened {
        return Some(useless(format!("{shown} cannot be read: {error}")));
    }
    match secret.trim_ascii_end().len() {
        0 => Some(useless(format!("{shown} is empty"))),
        1..=LONGEST_SECRET => None,
        _ => Some(useless(format!("{shown} holds more than {LONGEST_SECRET} octets"))),
    }
}
