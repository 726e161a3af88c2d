//! Where the programs hang: attached, taken over from an earlier process, detached.

use std::fs;
use std::path::{Path, PathBuf};

use aya::maps::HashMap;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{TcAttachType, XdpMode};
use nix::net::if_::if_nametoindex;

use super::error::{LoadError, chain, of_io, trouble};
use super::{Affinity, Hook, layouts};
use crate::config::Mode;
use crate::interfaces::{self, INTERFACES};
use crate::layout;

impl Affinity {
    /// No packet may be seen at two interfaces, and one at least must be there.
    pub(super) fn check_interfaces(&self) -> Result<(), LoadError> {
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
    pub(super) fn attach(&mut self) -> Result<(), LoadError> {
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
    pub(super) fn pinned_links(&self) -> Result<Vec<String>, LoadError> {
        let listed = fs::read_dir(self.directory.join("links"))
            .map_err(|error| of_io("reading what is pinned", &error))?;
        Ok(listed.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    pub(super) fn detach_all_but(&self, wanted: &[String]) -> Result<(), LoadError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_named_without_dots_and_without_doubt() {
        assert_eq!(link_name("eth0", "egress"), "eth0:egress");
        assert_eq!(link_name("eth0.100", "ingress"), "eth0%2e100:ingress");
        assert_ne!(link_name("a.b", "egress"), link_name("a%2eb", "egress"));
    }
}
