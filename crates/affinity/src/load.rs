//! Loads the programs, attaches them and keeps them attached: maps and links are pinned, so that
//! neither a crash of this process nor its restart is felt by a single packet.
//!
//! | module | what it is |
//! |---|---|
//! | `attach` | where the programs hang |
//! | `error` | what can hinder them |

mod attach;
mod error;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use nix::sys::statfs::{FsType, statfs};
use nix::time::{ClockId, clock_gettime};

use crate::config::{Config, Mode, SiteId};
use crate::counters::{Counters, Reason, SiteCounters};
use crate::layout;
use crate::tables::{Tables, tables};

pub use error::LoadError;
use error::{chain, of_ebpf, of_io, of_program, trouble};

/// Empty without a clang at build time; then the other file says what it said.
const PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/anycast.o"));
const PASS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pass.o"));
const FAILURE: &str = include_str!(concat!(env!("OUT_DIR"), "/failure.txt"));

const MAPS: [&str; 11] = [
    "CONFIG",
    "SERVICES",
    "AES",
    "PEERS",
    "NEXT_HOPS",
    "COUNTERS",
    "SITE_COUNTERS",
    "SITE_BUDGET",
    "RING_BUDGET",
    "PEER_BUDGET",
    "SOURCE_BUDGET",
];

/// Where one program hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The interface.
    pub interface: String,
    /// How packets that come in are seen: never [`Mode::Auto`].
    pub mode: Mode,
    /// The interface's index when it was attached: another of the same name has another.
    index: u32,
}

/// The loaded programs. Dropping it leaves them in place; [`Affinity::unload`] takes them away.
pub struct Affinity {
    directory: PathBuf,
    ebpf: Ebpf,
    config: Config,
    seed: u64,
    hooks: Vec<Hook>,
    exits: BTreeMap<SiteId, u32>,
}

impl std::fmt::Debug for Affinity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Affinity")
            .field("directory", &self.directory)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}

impl Affinity {
    /// Whether this build has the programs at all.
    pub const fn is_built_in() -> bool {
        !PROGRAMS.is_empty()
    }

    /// Loads and attaches the programs, with maps and links pinned under `directory`, which must lie
    /// on a BPF file system and is made if need be. What an earlier process pinned there is taken
    /// over: counters go on, and each link's program is replaced between two packets. If that process
    /// had maps of another layout, its links are taken over all the same and its maps are removed, so
    /// that counters and budgets begin anew.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]. What this call attached newly is detached again; what was pinned before
    /// stays attached and goes on forwarding, with the new programs where they had been put in already.
    /// An interface that takes no programs is no error if another does; [`update`](Self::update) tells of
    /// it.
    pub fn load(config: &Config, directory: &Path) -> Result<Self, LoadError> {
        config.check()?;
        if PROGRAMS.is_empty() {
            return Err(LoadError::NotBuilt {
                why: FAILURE.lines().next().unwrap_or_default().to_owned(),
            });
        }
        kernel_is_new_enough()?;
        if is_in_user_namespace() {
            return Err(LoadError::Privilege { doing: "in a user namespace".to_owned() });
        }
        let base = directory.join(format!("v{}", layout::VERSION));
        make_directories(directory, &base)?;
        let mut loader = EbpfLoader::new();
        for map in MAPS {
            loader.map_pin_path(map, base.join("maps").join(map));
        }
        let ebpf = loader.load(PROGRAMS).map_err(|error| of_ebpf("loading the maps", &error))?;
        let (config_now, hooks) = (config.clone(), Vec::new());
        let exits = BTreeMap::new();
        let mut affinity =
            Self { directory: base, ebpf, config: config_now, seed: seed(), hooks, exits };
        affinity.check_interfaces()?;
        affinity.take_exits()?;
        affinity.fill(config)?;
        affinity.set("AES", 0, *crate::aes_tables::tables())?;
        affinity.load_programs()?;
        let before = affinity.pinned_links()?;
        if let Err(error) = affinity.attach()
            && affinity.hooks.is_empty()
        {
            affinity.detach_all_but(&before)?;
            return Err(error);
        }
        // The programs run by now, so what is left over is no error; the next loader tries again.
        let others = layouts(directory).unwrap_or_default();
        for other in others.iter().filter(|it| **it != affinity.directory) {
            let _ = remove_layout(other);
        }
        Ok(affinity)
    }

    /// Takes a changed configuration into the running programs. New interfaces are attached and those
    /// that are gone are detached; no packet is dropped for it.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]; on an error of the configuration nothing was changed. If an interface takes no
    /// programs, all else is as the configuration says.
    pub fn update(&mut self, config: &Config) -> Result<(), LoadError> {
        config.check()?;
        self.fill(config)?;
        self.config = config.clone();
        self.check_interfaces()?;
        self.attach()
    }

    /// Tells the programs what time it is: frames carry the wall clock. To be called now and then
    /// (each minute will do), and after the clock was set; a step of some seconds would otherwise make
    /// other sites refuse this one's frames.
    ///
    /// # Errors
    ///
    /// When the map cannot be written, which the kernel has no reason for.
    pub fn keep_time(&mut self) -> Result<(), LoadError> {
        let config = self.config.clone();
        self.fill(&config)
    }

    /// Tells the programs by which interface (its index) packets of this host leave for each other site. At tc
    /// they go by it where the host does not forward; without, frames go back to the router that the
    /// packet came from.
    ///
    /// # Errors
    ///
    /// When a map cannot be written, which the kernel has no reason for.
    pub fn set_exits(&mut self, exits: BTreeMap<SiteId, u32>) -> Result<(), LoadError> {
        if exits == self.exits {
            return Ok(());
        }
        self.exits = exits;
        let config = self.config.clone();
        self.fill(&config)
    }

    /// What was counted.
    ///
    /// # Errors
    ///
    /// When a map cannot be read, which the kernel has no reason for.
    pub fn counters(&self) -> Result<Counters, LoadError> {
        let all: PerCpuArray<&MapData, layout::Counters> = self.per_cpu("COUNTERS")?;
        let each = all.get(&0, 0).map_err(|error| trouble("reading counters", &error))?;
        let of = Reason::ALL
            .iter()
            .enumerate()
            .map(|(index, reason)| (*reason, each.iter().map(|cpu| cpu.of[index]).sum()))
            .collect();
        let sites: PerCpuArray<&MapData, layout::SiteCounters> = self.per_cpu("SITE_COUNTERS")?;
        let mut counters = Counters { of, ..Counters::default() };
        for peer in &self.config.peers {
            let each = sites
                .get(&u32::from(peer.id.get()), 0)
                .map_err(|error| trouble("reading counters", &error))?;
            let sum = |what: fn(&layout::SiteCounters) -> u64| each.iter().map(what).sum();
            counters.sites.insert(
                peer.id,
                SiteCounters {
                    hint: sum(|site| site.hint),
                    ring: sum(|site| site.ring),
                    received: sum(|site| site.received),
                    limited: sum(|site| site.limited),
                },
            );
        }
        Ok(counters)
    }

    /// Where the programs hang.
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// How they are attached, in the first interface's words.
    pub fn mode(&self) -> Mode {
        self.hooks.first().map_or(Mode::Auto, |hook| hook.mode)
    }

    /// What the programs were told last.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Detaches the programs and removes all that was pinned. Connections that live at this site go on;
    /// from now on a route change breaks them.
    ///
    /// # Errors
    ///
    /// When a pin cannot be removed.
    pub fn unload(self) -> Result<(), LoadError> {
        Self::unload_pinned(self.directory.parent().unwrap_or(&self.directory))
    }

    /// The same for what earlier processes left under `directory`, of whatever layout, without loading
    /// anything.
    ///
    /// # Errors
    ///
    /// When a pin cannot be removed.
    pub fn unload_pinned(directory: &Path) -> Result<(), LoadError> {
        layouts(directory)?.iter().try_for_each(|layout| remove_layout(layout))
    }

    fn fill(&mut self, config: &Config) -> Result<(), LoadError> {
        let Tables { config: value, services, mut peers } =
            tables(config, wall_offset()?, self.seed)?;
        for peer in &config.peers {
            let exit = self.exits.get(&peer.id).copied();
            peers[usize::from(peer.id.get())].exit = exit.unwrap_or(0);
        }
        for (index, peer) in (0..).zip(&peers) {
            self.set("PEERS", index, *peer)?;
        }
        self.set("SERVICES", 0, *services)?;
        self.set("CONFIG", 0, value)
    }

    fn set<V: aya::Pod>(&mut self, map: &str, index: u32, value: V) -> Result<(), LoadError> {
        let found = self.ebpf.map_mut(map).expect("the object has it");
        let mut array: Array<_, V> = found.try_into().map_err(|error| trouble(map, &error))?;
        array.set(index, value, 0).map_err(|error| trouble(&format!("writing {map}"), &error))
    }

    fn per_cpu<V: aya::Pod>(&self, map: &str) -> Result<PerCpuArray<&MapData, V>, LoadError> {
        self.ebpf
            .map(map)
            .expect("the object has it")
            .try_into()
            .map_err(|error| trouble(map, &error))
    }

    fn load_programs(&mut self) -> Result<(), LoadError> {
        let wanted: &[&str] = match self.config.mode {
            Mode::Auto => &["anycast_xdp", "anycast_ingress", "anycast_egress"],
            Mode::XdpNative | Mode::XdpGeneric => &["anycast_xdp", "anycast_egress"],
            Mode::Tc => &["anycast_ingress", "anycast_egress"],
        };
        for name in wanted {
            let result =
                if *name == "anycast_xdp" { self.xdp().load() } else { self.tc(name).load() };
            result.map_err(|error| of_program(name, &error))?;
        }
        Ok(())
    }

    fn xdp(&mut self) -> &mut Xdp {
        self.ebpf
            .program_mut("anycast_xdp")
            .and_then(|program| program.try_into().ok())
            .expect("the object has it")
    }

    fn tc(&mut self, name: &str) -> &mut SchedClassifier {
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .expect("the object has it")
    }

    /// Goes on with what an earlier process has told of ways to sites that are where they were.
    fn take_exits(&mut self) -> Result<(), LoadError> {
        let map = self.ebpf.map("PEERS").expect("the object has it");
        let there: Array<_, layout::Peer> =
            map.try_into().map_err(|error| trouble("PEERS", &error))?;
        for peer in &self.config.peers {
            let before = there.get(&u32::from(peer.id.get()), 0);
            let before = before.map_err(|error| trouble("reading PEERS", &error))?;
            let v4 = peer.v4.map_or([0; 4], |address| address.octets());
            let v6 = peer.v6.map_or([0; 16], |address| address.octets());
            if before.exit != 0 && (before.v4, before.v6) == (v4, v6) {
                self.exits.insert(peer.id, before.exit);
            }
        }
        Ok(())
    }
}

/// Attaches a program that passes everything, in native XDP, for as long as the value lives. The
/// other end of a veth pair needs one for `XDP_TX` to reach it.
///
/// # Errors
///
/// See [`LoadError`].
pub fn pass_program(interface: &str) -> Result<Ebpf, LoadError> {
    if PASS.is_empty() {
        return Err(LoadError::NotBuilt {
            why: FAILURE.lines().next().unwrap_or_default().to_owned(),
        });
    }
    let mut ebpf = Ebpf::load(PASS).map_err(|error| of_ebpf("loading", &error))?;
    let program: &mut Xdp = ebpf
        .program_mut("anycast_pass")
        .and_then(|program| program.try_into().ok())
        .expect("the object has it");
    program.load().map_err(|error| of_program("anycast_pass", &error))?;
    program.attach(interface, XdpMode::Driver).map_err(|error| LoadError::Attach {
        interface: interface.to_owned(),
        mode: Mode::XdpNative,
        why: chain(&error),
    })?;
    Ok(ebpf)
}

fn make_directories(directory: &Path, base: &Path) -> Result<(), LoadError> {
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let kind = statfs(there)
        .map_err(|errno| of_io("looking for the BPF file system", &errno.into()))?
        .filesystem_type();
    // BPF_FS_MAGIC of linux/magic.h.
    if kind != FsType(0xcafe_4a11) {
        return Err(LoadError::NoBpffs { path: directory.to_owned() });
    }
    for part in ["maps", "links"] {
        fs::create_dir_all(base.join(part))
            .map_err(|error| of_io("making the directory for pins", &error))?;
    }
    Ok(())
}

/// The folders of all layouts that anything is pinned of.
fn layouts(directory: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| of_io("reading what is pinned", &error))?,
    };
    let is_layout = |name: &str| name.strip_prefix('v').is_some_and(|it| it.parse::<u32>().is_ok());
    let named = entries.flatten().filter(|it| it.file_name().to_str().is_some_and(is_layout));
    Ok(named.map(|entry| entry.path()).collect())
}

/// Detaches what still hangs by the links of a layout, and removes its maps.
fn remove_layout(layout: &Path) -> Result<(), LoadError> {
    // Links first: a program without its maps' names would only be harder to find.
    for part in ["links", "maps"] {
        let part = layout.join(part);
        match fs::remove_dir_all(&part) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(of_io(&format!("removing {}", part.display()), &error)),
        }
    }
    let _ = fs::remove_dir(layout);
    Ok(())
}

/// Whether user ids are not those of the machine (user_namespaces(7)): the kernel takes no packet programs
/// from there, whatever the rights.
fn is_in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && map.split_whitespace().ne(["0", "0", "4294967295"])
}

fn kernel_is_new_enough() -> Result<(), LoadError> {
    let found = nix::sys::utsname::uname()
        .map(|names| names.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    if release(&found).is_some_and(|release| release >= (6, 6)) {
        return Ok(());
    }
    Err(LoadError::Kernel { found })
}

/// The first two numbers of a kernel's release.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// From the clock that the programs have to the one that sites share, in ns.
fn wall_offset() -> Result<u64, LoadError> {
    let read = |clock: ClockId| {
        let time = clock_gettime(clock).map_err(|errno| of_io("reading a clock", &errno.into()))?;
        Ok::<i64, LoadError>(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
    };
    let offset = read(ClockId::CLOCK_REALTIME)? - read(ClockId::CLOCK_MONOTONIC)?;
    Ok(offset.cast_unsigned())
}

/// Hard to guess from outside; the standard library's hash keys are that.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_by_its_first_two_numbers() {
        for (text, expected) in [
            ("6.18.44-fc-v782", Some((6, 18))),
            ("6.6.0", Some((6, 6))),
            ("5.10.0-32-amd64", Some((5, 10))),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(release(text), expected, "{text}");
        }
    }
}
