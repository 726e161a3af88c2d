//! What the kernel shows of interfaces under `/sys/class/net`: which of them are devices, and which lie
//! on top of others.

use std::fs;
use std::path::Path;

/// Where the kernel shows what interfaces there are.
pub(crate) const INTERFACES: &str = "/sys/class/net";

/// Some interfaces without those that lie below another of them, at which packets come in that are seen
/// above as well.
#[must_use]
pub fn uppermost(interfaces: Vec<String>) -> Vec<String> {
    let is_lower = |name| above(Path::new(INTERFACES), name, &interfaces, false).is_some();
    let lower: Vec<bool> = interfaces.iter().map(|name| is_lower(name)).collect();
    let each = interfaces.into_iter().zip(lower);
    each.filter_map(|(name, is_lower)| (!is_lower).then_some(name)).collect()
}

/// Whether there is a device behind an interface, of the machine or of a virtual one. Others may take
/// native programs and yet lose what these send: a veth does unless its other end has one too.
pub(crate) fn is_device(shown: &Path, interface: &str) -> bool {
    shown.join(interface).join("device").exists()
}

/// Whether an interface is one of a VLAN (IEEE 802.1Q) on another.
pub(crate) fn is_vlan(shown: &Path, interface: &str) -> bool {
    let told = fs::read_to_string(shown.join(interface).join("uevent")).unwrap_or_default();
    told.lines().any(|line| line == "DEVTYPE=vlan")
}

/// Those that lie directly on an interface, or of which it is a part: VLANs, bonds, bridges, macvlans.
pub(crate) fn uppers(shown: &Path, interface: &str) -> Vec<String> {
    let entries = fs::read_dir(shown.join(interface)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<String> =
        names.filter_map(|name| Some(name.strip_prefix("upper_")?.to_owned())).collect();
    found.sort();
    found
}

/// Which of some interfaces lies above `lower`: it would see packets a second time, and what it passes on
/// then is not known to have gone around.
///
/// A VLAN's counts only if what hangs at `lower` looks into tags. At tc it does not: what has a tag is left
/// to the interface of its VLAN.
pub(crate) fn above<'a>(
    shown: &Path,
    lower: &str,
    interfaces: &'a [String],
    looks_into_tags: bool,
) -> Option<&'a String> {
    // Those above the ones above, too: a VLAN on a bond of devices.
    let mut all = vec![lower.to_owned()];
    let mut at = 0;
    while let Some(below) = all.get(at).cloned() {
        for upper in uppers(shown, &below) {
            if is_vlan(shown, &upper) && !looks_into_tags || all.contains(&upper) {
                continue;
            }
            if let Some(found) = interfaces.iter().find(|it| **it == upper) {
                return Some(found);
            }
            all.push(upper);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `eth0` and `eth1` in `bond0`, `bond0.7` on it; `eth2` with `eth2.8` and `macvlan0`; `veth0`.
    fn machine(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("anycast-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        for path in [
            "eth0/device",
            "eth0/upper_bond0",
            "eth1/device",
            "eth1/upper_bond0",
            "bond0/upper_bond0.7",
            "bond0.7",
            "eth2/device",
            "eth2/upper_eth2.8",
            "eth2/upper_macvlan0",
            "eth2.8",
            "macvlan0",
            "veth0",
        ] {
            fs::create_dir_all(folder.join(path)).expect("a folder");
        }
        for vlan in ["bond0.7", "eth2.8"] {
            let told = format!("DEVTYPE=vlan\nINTERFACE={vlan}\n");
            fs::write(folder.join(vlan).join("uevent"), told).expect("a file");
        }
        folder
    }

    #[test]
    fn an_interface_is_a_device_if_there_is_one_behind_it() {
        let folder = machine("devices");
        let found = ["eth0", "veth0", "none"].map(|name| is_device(&folder, name));
        assert_eq!(found, [true, false, false]);
        assert_eq!(
            ["eth2", "eth2.8", "none"].map(|name| is_vlan(&folder, name)),
            [false, true, false]
        );
        assert_eq!(uppers(&folder, "eth2"), ["eth2.8", "macvlan0"]);
        fs::remove_dir_all(&folder).expect("it is ours");
    }

    #[test]
    fn no_packet_is_looked_at_twice() {
        let folder = machine("stacked");
        for (listed, at_tc, at_xdp) in [
            ("eth0", None, None),
            ("eth0 eth1 eth2 veth0", None, None),
            ("eth0 bond0", Some("eth0 bond0"), Some("eth0 bond0")),
            ("bond0 eth1", Some("eth1 bond0"), Some("eth1 bond0")),
            ("bond0 bond0.7", None, Some("bond0 bond0.7")),
            ("eth0 bond0.7", None, Some("eth0 bond0.7")),
            ("eth2 eth2.8", None, Some("eth2 eth2.8")),
            ("macvlan0 eth2", Some("eth2 macvlan0"), Some("eth2 macvlan0")),
            ("eth2.8 macvlan0", None, None),
        ] {
            let listed: Vec<String> = listed.split(' ').map(str::to_owned).collect();
            for (looks, wanted) in [(false, at_tc), (true, at_xdp)] {
                let pairs = listed.iter().filter_map(|lower| {
                    Some(format!("{lower} {}", above(&folder, lower, &listed, looks)?))
                });
                let found: Vec<String> = pairs.collect();
                assert_eq!(found.first().map(String::as_str), wanted, "{listed:?} {looks}");
            }
        }
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
