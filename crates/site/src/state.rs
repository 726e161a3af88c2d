//! Where a site keeps what must outlive its daemon.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The folder of `site`. In this order: what the command line says, what the fleet file says, what
/// systemd gives (`StateDirectory=`), `/var/lib/anycast` for root, else where the user keeps state
/// (XDG Base Directory). Each site has a folder of its own in it.
#[must_use]
pub fn folder(asked: Option<&Path>, in_file: Option<&Path>, site: &str) -> PathBuf {
    let root = crate::control::is_root();
    asked
        .or(in_file)
        .map_or_else(|| default_folder(root, |name| std::env::var_os(name)), Path::to_owned)
        .join(site)
}

fn default_folder(is_root: bool, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    // systemd.exec(5): several are separated by colons.
    let systemd = variable("STATE_DIRECTORY")
        .and_then(|folders| std::env::split_paths(&folders).find(|folder| folder.is_absolute()));
    if let Some(folder) = systemd {
        return folder;
    }
    if is_root {
        return "/var/lib/anycast".into();
    }
    let absolute = |folder: OsString| Some(PathBuf::from(folder)).filter(|it| it.is_absolute());
    variable("XDG_STATE_HOME")
        .and_then(absolute)
        .or_else(|| Some(absolute(variable("HOME")?)?.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir)
        .join("anycast")
}

/// Makes the folder, for its owner alone, if it is not there.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a file of the folder, or another in its place, so that there is always a whole one.
///
/// # Errors
/// It could not be written; what was there is as it was.
pub(crate) fn replace(folder: &Path, name: &str, contents: &impl Serialize) -> io::Result<()> {
    make(folder)?;
    let new = folder.join(format!("{name}.new"));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let mut text = serde_json::to_string_pretty(contents)?;
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, folder.join(name))?;
    std::fs::File::open(folder)?.sync_all()
}

/// Removes a file of the folder, if it is there.
///
/// # Errors
/// It could not be removed.
pub(crate) fn remove(folder: &Path, name: &str) -> io::Result<()> {
    match std::fs::remove_file(folder.join(name)) {
        Ok(()) => std::fs::File::open(folder)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_where_the_nearest_word_says() {
        type Case<'a> = (&'a str, bool, &'a [(&'a str, &'a str)], &'a str);
        let cases: &[Case<'_>] = &[
            ("root", true, &[("HOME", "/root")], "/var/lib/anycast"),
            ("systemd", true, &[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")], "/var/lib/a"),
            ("a user", false, &[("HOME", "/home/u")], "/home/u/.local/state/anycast"),
            ("XDG", false, &[("HOME", "/home/u"), ("XDG_STATE_HOME", "/state")], "/state/anycast"),
            (
                "XDG says that relative paths are not used",
                false,
                &[("HOME", "/home/u"), ("XDG_STATE_HOME", "state")],
                "/home/u/.local/state/anycast",
            ),
        ];
        for (name, is_root, variables, folder) in cases {
            let variable = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| OsString::from(value))
            };
            assert_eq!(default_folder(*is_root, variable), Path::new(folder), "{name}");
        }
        let (asked, file) = (Path::new("/asked"), Path::new("/file"));
        assert_eq!(super::folder(Some(asked), Some(file), "fra"), Path::new("/asked/fra"));
        assert_eq!(super::folder(None, Some(file), "fra"), Path::new("/file/fra"));
    }
}
