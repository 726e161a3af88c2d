//! What this process may do: where it may load packet programs, a case that cannot be played has failed.

/// Of linux/capability.h, with their names: namespaces, devices, and packet programs.
const NEEDED: [(u32, &str); 4] =
    [(21, "CAP_SYS_ADMIN"), (12, "CAP_NET_ADMIN"), (39, "CAP_BPF"), (38, "CAP_PERFMON")];

/// Whether this process is root of the machine with all that the cases need, or what it lacks.
pub(crate) fn has_all() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("the packet programs need root".to_owned());
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    // user_namespaces(7): only the machine's own has all numbers.
    if map.split_whitespace().ne(["0", "0", "4294967295"]) {
        return Err("this root is one of a user namespace".to_owned());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(0);
    match NEEDED.iter().find(|(number, _)| effective & (1 << number) == 0) {
        Some((_, name)) => Err(format!("this root has no {name}")),
        None => Ok(()),
    }
}
