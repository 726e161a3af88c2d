//! Programs that announce a service only while it is healthy, each as the same site: ours,
//! `ExaBGP` with its `healthcheck`, and anycast-healthchecker with BIRD. Beside them BIRD and FRR,
//! which announce it always: for what becomes of the route when the speaker itself is killed.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::User;

use crate::Failure;

/// The service address, and what is announced for it: host routes, as one of the peers has it.
pub const ADDRESS: &str = "192.0.2.53";
/// Where the service listens, on TCP and UDP.
pub const PORT: u16 = 5353;
/// The link between the router (even) and the site under test.
pub const LINK: [&str; 2] = ["10.1.0.0", "10.1.0.1"];
/// The same of the next site.
pub const NEXT: [&str; 2] = ["10.1.1.0", "10.1.1.1"];
/// The ASNs of the router and of both sites.
pub const ASNS: [u32; 2] = [64_501, 64_500];

/// One contender with one set of timers.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    /// Which program.
    pub program: Program,
    /// As it comes, or as fast as it can.
    pub timers: Timers,
    /// What becomes of its service.
    pub end: End,
    /// How often.
    pub kills: usize,
}

/// How a service ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// By SIGKILL.
    Killed,
    /// By SIGSTOP: it is there, but does not answer.
    Frozen,
    /// It does not: the program that announces it gets SIGKILL.
    SpeakerKilled,
}

/// The programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say all")]
pub enum Program {
    Ours,
    ExaBgp,
    Healthchecker,
    Bird,
    Frr,
}

/// FRR's BGP daemon.
const BGPD: &str = "/usr/lib/frr/bgpd";

/// How often a program looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timers {
    /// As the program comes.
    Default,
    /// Ten checks a second, and one failure is enough.
    Fast,
}

impl Program {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "anycast",
            Self::ExaBgp => "ExaBGP healthcheck",
            Self::Healthchecker => "anycast-healthchecker + BIRD",
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
        }
    }

    /// Why it cannot be measured here.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Self::ExaBgp if !Path::new("/usr/sbin/exabgp").exists() => {
                Some("not installed (apt install exabgp)")
            }
            Self::Frr if !Path::new(BGPD).exists() => Some("not installed (apt install frr)"),
            Self::Healthchecker if healthchecker().is_none() => Some(
                "not installed (python3 -m venv DIR; DIR/bin/pip install anycast-healthchecker; \
                 ANYCAST_HEALTHCHECKER=DIR/bin/anycast-healthchecker)",
            ),
            _ => None,
        }
    }
}

/// Where anycast-healthchecker is.
fn healthchecker() -> Option<PathBuf> {
    let named = std::env::var_os("ANYCAST_HEALTHCHECKER").map(PathBuf::from);
    named.filter(|path| path.exists())
}

/// Processes of a contender, ended with it.
pub struct Running(Vec<Child>);

impl Running {
    /// SIGKILL for the processes themselves, with nothing else done.
    pub fn kill(&self) {
        for child in &self.0 {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Its own process group: what it has started goes with it.
            let group = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}

impl Contender {
    /// Starts it in the namespace `site`.
    ///
    /// # Errors
    /// If a file cannot be written or a program not be started.
    pub fn start(self, site: &str, folder: &Path) -> Result<Running, Failure> {
        let folder = folder.join(format!("{:?}-{:?}", self.program, self.timers));
        fs::create_dir_all(&folder)?;
        match self.program {
            Program::Ours => self.ours(site, &folder),
            Program::ExaBgp => self.exabgp(site, &folder),
            Program::Healthchecker => self.healthchecker(site, &folder),
            Program::Bird => bird(site, &folder),
            Program::Frr => frr(site, &folder),
        }
    }

    fn ours(self, site: &str, folder: &Path) -> Result<Running, Failure> {
        let timers = match self.timers {
            Timers::Default => "",
            Timers::Fast => "interval = \"100ms\"\ntimeout = \"100ms\"\nfall = 1\nrise = 1\n",
        };
        // The kernel takes connections for a frozen process too.
        let check = match self.end {
            End::Killed | End::SpeakerKilled => "\"tcp\"",
            End::Frozen => "\"udp\"\nsend = \"?\"\nexpect = \"a\"",
        };
        let fleet = format!(
            "[fleet]\nname = \"bench\"\nasn = {}\n\
             [prefix.\"{ADDRESS}/32\"]\nservices = [\"it\"]\n\
             [service.it]\naddresses = [\"{ADDRESS}\"]\ndamping = false\n\
             [[service.it.check]]\ntype = {check}\nport = {PORT}\n{timers}\
             [site.a]\nrouter-id = \"{}\"\nlisten = false\nkernel-routes = false\n\
             [site.a.neighbor.router]\naddress = \"{}\"\nlocal-address = \"{}\"\nasn = {}\n\
             export = \"fleet\"\n",
            ASNS[1], LINK[1], LINK[0], LINK[1], ASNS[0],
        );
        fs::write(folder.join("fleet.toml"), fleet)?;
        let program = std::env::current_exe()?.with_file_name("anycast");
        let mut command = inside(site, &program.to_string_lossy());
        command.arg("run").arg(folder.join("fleet.toml")).args(["--site", "a"]);
        command.arg("--socket").arg(folder.join("a.sock")).env("STATE_DIRECTORY", folder);
        Ok(Running(vec![spawn(&mut command, folder, "anycast")?]))
    }

    fn exabgp(self, site: &str, folder: &Path) -> Result<Running, Failure> {
        let timers = match self.timers {
            Timers::Default => "",
            Timers::Fast => "--interval 0.1 --fast-interval 0.1 --rise 1 --fall 1",
        };
        let script = folder.join("check");
        fs::write(&script, format!("#!/bin/bash\nexec 3<>/dev/tcp/{ADDRESS}/{PORT}\n"))?;
        make_executable(&script)?;
        let config = format!(
            "process check {{\n run /usr/bin/python3 -m exabgp healthcheck {timers} --no-syslog \
             --no-ip-setup --withdraw-on-down --ip {ADDRESS}/32 --cmd {};\n encoder text;\n}}\n\
             neighbor {} {{\n router-id {};\n local-address {};\n local-as {};\n peer-as {};\n \
             family {{ ipv4 unicast; }}\n api {{ processes [ check ]; }}\n}}\n",
            script.display(),
            LINK[0],
            LINK[1],
            LINK[1],
            ASNS[1],
            ASNS[0],
        );
        let file = folder.join("exabgp.conf");
        fs::write(&file, config)?;
        let mut command = inside(site, "/usr/sbin/exabgp");
        command.arg(&file).env("exabgp.daemon.user", "root").env("exabgp.api.cli", "false");
        Ok(Running(vec![spawn(&mut command, folder, "exabgp")?]))
    }

    fn healthchecker(self, site: &str, folder: &Path) -> Result<Running, Failure> {
        let timers = match self.timers {
            Timers::Default => "",
            Timers::Fast => {
                "check_interval = 0.1\ncheck_timeout = 1\ncheck_rise = 1\ncheck_fail = 1\n"
            }
        };
        let (prefixes, socket) = (folder.join("prefixes.conf"), folder.join("bird.ctl"));
        let script = folder.join("check");
        fs::write(&script, format!("#!/bin/bash\nexec 3<>/dev/tcp/{ADDRESS}/{PORT}\n"))?;
        make_executable(&script)?;
        let reload = folder.join("reload");
        let birdc = format!("#!/bin/sh\nexec /usr/sbin/birdc -s {} configure\n", socket.display());
        fs::write(&reload, birdc)?;
        make_executable(&reload)?;
        fs::write(&prefixes, "define ACAST_PS_ADVERTISE = [ 10.189.200.255/32 ];\n")?;
        let bird = folder.join("bird.conf");
        fs::write(&bird, bird_of_healthchecker(&prefixes))?;
        let services = folder.join("services.d");
        fs::create_dir_all(&services)?;
        let service = format!(
            "[it]\ncheck_cmd = {}\n{timers}check_disabled = false\nip_prefix = {ADDRESS}/32\n\
             ip_check_disabled = true\ninterface = lo\n",
            script.display()
        );
        fs::write(services.join("it.conf"), service)?;
        let mut main = String::from("[DEFAULT]\ninterface = lo\n[daemon]\nloglevel = info\n");
        for (key, value) in [
            ("bird_conf", &prefixes),
            ("bird_reconfigure_cmd", &reload),
            ("pidfile", &folder.join("pid")),
            ("log_file", &folder.join("log")),
        ] {
            writeln!(main, "{key} = {}", value.display())?;
        }
        let file = folder.join("main.conf");
        fs::write(&file, main)?;
        let mut router = inside(site, "/usr/sbin/bird");
        router.arg("-f").arg("-c").arg(&bird).arg("-s").arg(&socket);
        let program = healthchecker().ok_or("anycast-healthchecker is not installed")?;
        let mut checker = inside(site, &program.to_string_lossy());
        checker.arg("-f").arg(&file).arg("-d").arg(&services);
        let router = spawn(&mut router, folder, "bird")?;
        Ok(Running(vec![router, spawn(&mut checker, folder, "checker")?]))
    }
}

/// BIRD at the site under test, which announces whatever happens.
fn bird(site: &str, folder: &Path) -> Result<Running, Failure> {
    let config = folder.join("bird.conf");
    fs::write(&config, announcing([LINK[1], LINK[0]]))?;
    let mut command = inside(site, "/usr/sbin/bird");
    command.arg("-f").arg("-c").arg(&config).arg("-s").arg(folder.join("bird.ctl"));
    Ok(Running(vec![spawn(&mut command, folder, "bird")?]))
}

/// The same with FRR's bgpd, without zebra. It changes to a user of its own, whose the folder must
/// be: it refuses to stay root unless root is in its vty group. As it comes it asks the router to keep
/// its routes for two minutes after its death (graceful restart), which is not what is compared here.
fn frr(site: &str, folder: &Path) -> Result<Running, Failure> {
    let user = User::from_name("frr")?.ok_or("FRR is there, but its user frr is not")?;
    chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    let config = folder.join("bgpd.conf");
    let text = format!(
        "router bgp {1}\n bgp router-id {2}\n no bgp ebgp-requires-policy\n \
         bgp graceful-restart-disable\n no bgp network import-check\n neighbor {0} remote-as {3}\n \
         neighbor {0} timers connect 1\n \
         address-family ipv4 unicast\n  network {ADDRESS}/32\n exit-address-family\n",
        LINK[0], ASNS[1], LINK[1], ASNS[0],
    );
    fs::write(&config, text)?;
    let mut command = inside(site, BGPD);
    command.arg("-f").arg(&config).arg("-i").arg(folder.join("bgpd.pid"));
    command.arg("-z").arg(folder.join("no-zebra")).arg("--vty_socket").arg(folder);
    command.args(["-P", "0", "-n", "-Z"]);
    command.args(["--log", "stdout", "--log-level", "warnings"]);
    Ok(Running(vec![spawn(&mut command, folder, "bgpd")?]))
}

/// BIRD at the site under test: its export is what the checker writes.
fn bird_of_healthchecker(prefixes: &Path) -> String {
    format!(
        "router id {};\ninclude \"{}\";\nprotocol device {{ }}\n\
         protocol static {{ ipv4; route {ADDRESS}/32 blackhole; }}\n\
         protocol bgp to_router {{\n local {} as {};\n neighbor {} as {};\n \
         connect delay time 1;\n \
         ipv4 {{ import none; export where net ~ ACAST_PS_ADVERTISE; next hop self; }};\n}}\n",
        LINK[1],
        prefixes.display(),
        LINK[1],
        ASNS[1],
        LINK[0],
        ASNS[0],
    )
}

/// The router: it takes what the sites say, the next site's with a longer path, and puts the best
/// into the kernel.
#[must_use]
pub fn router() -> String {
    let site = |name: &str, [own, other]: [&str; 2], import: &str| {
        format!(
            "protocol bgp {name} {{\n local {own} as {};\n neighbor {other} as {};\n \
             connect delay time 1;\n connect retry time 1;\n error wait time 1, 2;\n \
             ipv4 {{ import {import}; export none; }};\n}}\n",
            ASNS[0], ASNS[1],
        )
    };
    format!(
        "router id {};\nprotocol device {{ }}\nprotocol kernel {{ ipv4 {{ import none; \
         export all; }}; }}\n{}{}",
        LINK[0],
        site("under_test", LINK, "all"),
        site(
            "next_site",
            NEXT,
            "filter { bgp_path.prepend(64500); bgp_path.prepend(64500); accept; }"
        ),
    )
}

/// The next site: it announces whatever happens.
#[must_use]
pub fn next_site() -> String {
    announcing([NEXT[1], NEXT[0]])
}

/// BIRD with an address of its own and one of the router: it announces whatever happens.
fn announcing([own, router]: [&str; 2]) -> String {
    format!(
        "router id {own};\nprotocol device {{ }}\n\
         protocol static {{ ipv4; route {ADDRESS}/32 blackhole; }}\n\
         protocol bgp to_router {{\n local {own} as {};\n neighbor {router} as {};\n \
         connect delay time 1;\n ipv4 {{ import none; export all; next hop self; }};\n}}\n",
        ASNS[1], ASNS[0],
    )
}

/// A command in a namespace.
#[must_use]
pub fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

/// Starts a command as the first of its process group, with what it says in a file.
///
/// # Errors
/// Of the file system or the kernel.
pub fn spawn(command: &mut Command, folder: &Path, name: &str) -> Result<Child, Failure> {
    use std::os::unix::process::CommandExt;
    let said = File::create(folder.join(format!("{name}.out")))?;
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).process_group(0);
    command.spawn().map_err(|error| format!("cannot start {name}: {error}").into())
}

fn make_executable(file: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
}
