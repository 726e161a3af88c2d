//! A network and a mount namespace of the test's own, with a BPF file system in it. They go with the
//! thread that entered them.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

pub(crate) struct Arena {
    directory: PathBuf,
}

impl Arena {
    /// Enters one, or says why that cannot be here.
    pub(crate) fn enter(name: &str) -> Option<Self> {
        match Self::try_enter(name) {
            Ok(arena) => Some(arena),
            Err(why) => {
                println!("skipped: {why}");
                eprintln!("skipped: {why}");
                None
            }
        }
    }

    fn try_enter(name: &str) -> Result<Self, String> {
        if !anycast_affinity::Affinity::is_built_in() {
            return Err("this build has no packet programs (no clang)".to_owned());
        }
        if !nix::unistd::Uid::effective().is_root() {
            return Err("packet programs need root".to_owned());
        }
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .map_err(|errno| format!("no namespaces: {errno}"))?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .map_err(|errno| format!("no private mounts: {errno}"))?;
        let directory =
            std::env::temp_dir().join(format!("anycast-affinity-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        mount(Some("bpf"), &directory, Some("bpf"), MsFlags::empty(), none)
            .map_err(|errno| format!("no BPF file system: {errno}"))?;
        let arena = Self { directory };
        arena.run("ip link set lo up");
        Ok(arena)
    }

    /// Where pins may go.
    #[allow(dead_code, reason = "not every test pins")]
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a command in it.
    pub(crate) fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let output = Command::new(words.next().expect("a command")).args(words).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.directory, nix::mount::MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.directory);
    }
}
