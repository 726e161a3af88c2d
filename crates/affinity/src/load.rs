//! Loads the programs, attaches them and keeps them attached: maps and links are pinned, so that
//! neither a crash of this process nor its restart is felt by a single packet.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader};
use nix::net::if_::if_nametoindex;
use nix::sys::statfs::{FsType, statfs};
use nix::time::{ClockId, clock_gettime};
use thiserror::Error;

use crate::config::{Config, ConfigError, Mode, SiteId};
use crate::counters::{Counters, Reason, SiteCounters};
use crate::interfaces::{self, INTERFACES};
use crate::layout;
use crate::tables::{Tables, tables};

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

/// Why the programs do not run. A site goes on without them: connections then break when routes
/// change, as they do elsewhere.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The program was built without them.
    #[error(
        "this build has no packet programs: {why}. Build it where clang and libbpf-dev are installed"
    )]
    NotBuilt {
        /// What the build said.
        why: String,
    },
    /// The configuration does not hold together.
    #[error("the configuration of affinity does not hold together: {0}")]
    Config(#[from] ConfigError),
    /// The kernel lacks pinned links at tc.
    #[error("the kernel is Linux {found}, and affinity needs 6.6 or later")]
    Kernel {
        /// Its release.
        found: String,
    },
    /// Not root, or in a user namespace.
    #[error(
        "the kernel does not allow it ({doing}): packet programs need CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON in the first user namespace. Run as root, or give the unit these"
    )]
    Privilege {
        /// What was being done.
        doing: String,
    },
    /// The directory for pins is not on a BPF file system.
    #[error("{} is not on a BPF file system, which keeps the programs over a restart. Mount one: mount -t bpf bpf /sys/fs/bpf", path.display())]
    NoBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// The verifier refused a program.
    #[error("the kernel's verifier refuses the program {program}: {log}")]
    Verifier {
        /// Which.
        program: String,
        /// The end of its log.
        log: String,
    },
    /// No interface of that name, or it takes no program.
    #[error("{interface}: the programs cannot be attached ({mode}): {why}")]
    Attach {
        /// The interface.
        interface: String,
        /// How it was tried.
        mode: Mode,
        /// What the kernel said.
        why: String,
    },
    /// Two of the interfaces would both see the same packets.
    #[error(
        "{lower} lies below {upper}, and packets would be looked at twice: name one of them in `interfaces`, or take tc at {lower} if {upper} is a VLAN"
    )]
    Stacked {
        /// The one below.
        lower: String,
        /// The one above it.
        upper: String,
    },
    /// Anything else that the kernel refused.
    #[error("{doing}: {why}")]
    Refused {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        why: String,
    },
}

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

    /// No packet may be seen at two interfaces, and one at least must be there.
    fn check_interfaces(&self) -> Result<(), LoadError> {
        let names = &self.config.interfaces;
        let looks_into_tags = matches!(self.config.mode, Mode::XdpNative | Mode::XdpGeneric);
        for lower in names {
            let shown = Path::new(INTERFACES);
            if let Some(upper) = interfaces::above(shown, lower, names, looks_into_tags) {
                let (lower, upper) = (lower.clone(), upper.clone());
                return Err(LoadError::Stacked { lower, upper });
            }
        }
        let mut first = Ok(());
        for interface in names {
            let Err(errno) = if_nametoindex(interface.as_str()) else { return Ok(()) };
            let (interface, mode, why) = (interface.clone(), self.config.mode, errno.to_string());
            first = first.and(Err(LoadError::Attach { interface, mode, why }));
        }
        first
    }

    /// Attaches what is not yet attached, and detaches what is no longer wanted. An interface that fails
    /// keeps no other from its programs; the first error is returned. If all fail, nothing is detached.
    fn attach(&mut self) -> Result<(), LoadError> {
        let mut hooks = Vec::new();
        let mut wanted = Vec::new();
        let mut first = Ok(());
        for interface in self.config.interfaces.clone() {
            let index = if_nametoindex(interface.as_str()).unwrap_or(0);
            let is_right = |hook: &&Hook| {
                let stays = hook.mode != Mode::XdpNative
                    || self.config.mode != Mode::Auto
                    || self.can_take_xdp(&interface);
                hook.interface == interface && hook.index == index && stays
            };
            let there = self.hooks.iter().find(is_right).map(|hook| hook.mode);
            let mode = match there {
                Some(mode) => Ok(mode),
                None => self.attach_interface(&interface),
            };
            match mode {
                Ok(mode) => {
                    wanted.push(link_name(&interface, "egress"));
                    wanted.push(link_name(&interface, hook_name(mode)));
                    hooks.push(Hook { interface, mode, index });
                }
                Err(error) => first = first.and(Err(error)),
            }
        }
        if hooks.is_empty() {
            return first;
        }
        self.hooks = hooks;
        self.tell_ways()?;
        self.detach_all_but(&wanted)?;
        first
    }

    /// Tells the programs by which interfaces what XDP passes on can leave.
    fn tell_ways(&mut self) -> Result<(), LoadError> {
        let refused = |error| trouble("writing WAYS", &error);
        let map = self.ebpf.map_mut("WAYS").expect("the object has it");
        let mut ways: HashMap<_, u32, u32> = map.try_into().map_err(refused)?;
        let before: Vec<u32> = ways.keys().collect::<Result<_, _>>().map_err(refused)?;
        for index in before.iter().filter(|it| self.hooks.iter().all(|hook| hook.index != **it)) {
            ways.remove(index).map_err(refused)?;
        }
        for hook in &self.hooks {
            let way = match hook.mode {
                Mode::XdpNative => layout::WAY_NATIVE,
                Mode::XdpGeneric => layout::WAY_GENERIC,
                Mode::Tc | Mode::Auto => continue,
            };
            ways.insert(hook.index, way, 0).map_err(refused)?;
        }
        Ok(())
    }

    /// The names of the links that are pinned.
    fn pinned_links(&self) -> Result<Vec<String>, LoadError> {
        let listed = fs::read_dir(self.directory.join("links"))
            .map_err(|error| of_io("reading what is pinned", &error))?;
        Ok(listed.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn detach_all_but(&self, wanted: &[String]) -> Result<(), LoadError> {
        for name in self.pinned_links()? {
            if !wanted.contains(&name) {
                fs::remove_file(self.directory.join("links").join(name))
                    .map_err(|error| of_io("detaching", &error))?;
            }
        }
        Ok(())
    }

    fn attach_interface(&mut self, interface: &str) -> Result<Mode, LoadError> {
        let refused = |mode: Mode, why: String| LoadError::Attach {
            interface: interface.to_owned(),
            mode,
            why,
        };
        self.attach_tc(interface, "anycast_egress", "egress", TcAttachType::Egress)
            .map_err(|why| refused(Mode::Tc, why))?;
        let mode = match self.config.mode {
            Mode::Auto if !self.can_take_xdp(interface) => Mode::Tc,
            Mode::Auto => match self.attach_xdp(interface, Mode::XdpNative) {
                Ok(()) => return Ok(Mode::XdpNative),
                Err(_) => Mode::Tc,
            },
            mode => mode,
        };
        let result = match mode {
            Mode::Tc | Mode::Auto => {
                self.attach_tc(interface, "anycast_ingress", "ingress", TcAttachType::Ingress)
            }
            Mode::XdpNative | Mode::XdpGeneric => self.attach_xdp(interface, mode),
        };
        result.map_err(|why| refused(mode, why))?;
        Ok(mode)
    }

    /// Whether XDP is worth a trial: there is a device, and no tags are in it that another of our
    /// interfaces is for.
    fn can_take_xdp(&self, interface: &str) -> bool {
        let shown = Path::new(INTERFACES);
        interfaces::is_device(shown, interface)
            && interfaces::above(shown, interface, &self.config.interfaces, true).is_none()
    }

    fn attach_xdp(&mut self, interface: &str, mode: Mode) -> Result<(), String> {
        let name = link_name(interface, hook_name(mode));
        let other = if mode == Mode::XdpNative { Mode::XdpGeneric } else { Mode::XdpNative };
        let others = self.pins_of(&link_name(interface, hook_name(other)));
        let (pin, pins) = (self.pin_of(&name), self.pins_of(&name));
        let program = self.xdp();
        // A device takes one XDP program, so a link of the other kind goes first.
        for other in others {
            let _ = fs::remove_file(other);
        }
        let put = |link: FdLink| {
            let id = program.attach_to_link(link.try_into()?)?;
            Ok(program.take_link(id)?.try_into()?)
        };
        if take_over(pins, &pin, put)? {
            return Ok(());
        }
        let flags = if mode == Mode::XdpGeneric { XdpMode::Skb } else { XdpMode::Driver };
        let id = program.attach(interface, flags).map_err(|error| chain(&error))?;
        let link = program.take_link(id).map_err(|error| chain(&error))?;
        keep_link(link.try_into().map_err(|error| chain(&error))?, &pin)
    }

    fn attach_tc(
        &mut self,
        interface: &str,
        program: &str,
        hook: &str,
        at: TcAttachType,
    ) -> Result<(), String> {
        let name = link_name(interface, hook);
        let (pin, pins) = (self.pin_of(&name), self.pins_of(&name));
        let program = self.tc(program);
        let put = |link: FdLink| {
            let id = program.attach_to_link(link.try_into()?)?;
            Ok(program.take_link(id)?.try_into()?)
        };
        if take_over(pins, &pin, put)? {
            return Ok(());
        }
        let id = program.attach(interface, at).map_err(|error| chain(&error))?;
        let link = program.take_link(id).map_err(|error| chain(&error))?;
        keep_link(link.try_into().map_err(|error| chain(&error))?, &pin)
    }

    /// Where a link is to be pinned.
    fn pin_of(&self, name: &str) -> PathBuf {
        self.directory.join("links").join(name)
    }

    /// Where a link of that name is pinned, the own layout first. The kernel puts another program
    /// into a link whoever made it, so the links of other layouts are as good.
    fn pins_of(&self, name: &str) -> Vec<PathBuf> {
        let all = layouts(self.directory.parent().unwrap_or(&self.directory)).unwrap_or_default();
        let others = all.into_iter().filter(|layout| *layout != self.directory);
        let others = others.map(|layout| layout.join("links").join(name));
        std::iter::once(self.pin_of(name)).chain(others).filter(|pin| pin.exists()).collect()
    }
}

/// Puts our program into a link that is pinned already, by `put`, and has it pinned at `pin`. Whether
/// there was any; one whose interface is gone (another of the same name may have come) goes.
fn take_over(
    pins: Vec<PathBuf>,
    pin: &Path,
    mut put: impl FnMut(FdLink) -> Result<FdLink, Box<dyn std::error::Error>>,
) -> Result<bool, String> {
    for there in pins {
        let Ok(pinned) = PinnedLink::from_pin(&there) else { continue };
        match put(FdLink::from(pinned)) {
            Ok(_) if there == pin => return Ok(true),
            Ok(link) => return keep_link(link, pin).map(|()| true),
            Err(_) => drop(fs::remove_file(&there)),
        }
    }
    Ok(false)
}

/// Pins a link, which then outlives this process.
fn keep_link(link: FdLink, pin: &Path) -> Result<(), String> {
    link.pin(pin).map(drop).map_err(|error| chain(&error))
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

fn hook_name(mode: Mode) -> &'static str {
    match mode {
        Mode::XdpNative => "xdp-native",
        Mode::XdpGeneric => "xdp-generic",
        Mode::Tc | Mode::Auto => "ingress",
    }
}

/// The BPF file system takes no dots in names, and interfaces of VLANs have them. Slashes are in none.
fn link_name(interface: &str, hook: &str) -> String {
    let mut name = String::new();
    for character in interface.chars() {
        match character {
            '.' => name.push_str("%2e"),
            '%' => name.push_str("%25"),
            other => name.push(other),
        }
    }
    format!("{name}:{hook}")
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

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

fn is_privilege(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.raw_os_error() == Some(nix::libc::EPERM)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn trouble(doing: &str, error: &(dyn std::error::Error + 'static)) -> LoadError {
    if is_privilege(error) {
        return LoadError::Privilege { doing: doing.to_owned() };
    }
    LoadError::Refused { doing: doing.to_owned(), why: chain(error) }
}

fn of_io(doing: &str, error: &io::Error) -> LoadError {
    if matches!(error.kind(), io::ErrorKind::PermissionDenied) {
        return LoadError::Privilege { doing: doing.to_owned() };
    }
    LoadError::Refused { doing: doing.to_owned(), why: error.to_string() }
}

fn of_ebpf(doing: &str, error: &EbpfError) -> LoadError {
    trouble(doing, error)
}

fn of_program(name: &str, error: &ProgramError) -> LoadError {
    match error {
        ProgramError::LoadError { verifier_log, .. } if !is_privilege(error) => {
            LoadError::Verifier {
                program: name.to_owned(),
                log: tail(&verifier_log.to_string(), 20),
            }
        }
        other => trouble(&format!("loading {name}"), other),
    }
}

/// The last lines of a log.
fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
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

    #[test]
    fn a_link_is_named_without_dots_and_without_doubt() {
        assert_eq!(link_name("eth0", "egress"), "eth0:egress");
        assert_eq!(link_name("eth0.100", "ingress"), "eth0%2e100:ingress");
        assert_ne!(link_name("a.b", "egress"), link_name("a%2eb", "egress"));
    }

    #[test]
    fn a_log_is_cut_to_its_end() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }
}
