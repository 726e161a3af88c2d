//! Cases about the lab's processes: how it ends, who gets in.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anycast_lab::sandbox::{self, Sandbox, SandboxError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::links::{self, MS};
use super::{NOBODY, again};

/// The part of a lab that stands until it is told to end: two nodes, a link, a process in a node.
pub(crate) fn hold(sandbox: Sandbox) {
    let (wire, a, b) = (links::wire(), links::host("a"), links::router("b"));
    let ends =
        vec![links::end(&a, "to-b", &["192.0.2.0/31"]), links::end(&b, "to-a", &["192.0.2.1/31"])];
    wire.add_link(&links::link(MS, ends)).expect("a link");
    let mut sleep = a.run(|| Command::new("sleep").arg("1000").spawn()).expect("a process");
    std::thread::spawn(move || {
        // SIGTERM ends the lab's process with a code that can be told apart.
        let mask = nix::sys::signal::SigSet::from_iter([Signal::SIGTERM]);
        mask.thread_block().expect("a mask");
        println!("ready");
        for stream in sandbox.listener.incoming() {
            let mut stream = stream.expect("a client");
            let answer = if sandbox::peer_may_control(&stream) { "welcome" } else { "go away" };
            // A client may well leave without listening.
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    sleep.wait().expect("the process can be waited for");
}

/// A lab in the part of `hold`, standing; or nothing if this machine has no namespaces for us.
fn start(name: &str) -> Option<Child> {
    let mut lab = again(&format!("hold {name}")).stdout(Stdio::piped()).spawn().expect("a lab");
    let mut line = String::new();
    let stdout = lab.stdout.as_mut().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("the lab speaks");
    if line.trim() == "ready" {
        return Some(lab);
    }
    print!("{line}");
    assert!(line.starts_with("skipped: "), "the lab says {line:?}");
    lab.wait().expect("the lab can be waited for");
    None
}

fn name() -> String {
    format!("test-{}", std::process::id())
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(5), "{what}: not within 5 s");
        std::thread::sleep(MS);
    }
    start.elapsed()
}

/// The processes in a PID namespace, but for zombies: whoever is to reap a killed lab's init is
/// not the lab's business.
fn processes_of(space: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let lives = !status.contains("State:\tZ") && !status.contains("State:\tX");
        if lives && fs::read_link(entry.path().join("ns/pid")).is_ok_and(|ns| ns == space) {
            found.push(pid);
        }
    }
    found
}

/// What the machine shows of labs: mounts, interfaces, sockets.
fn traces(name: &str) -> Vec<String> {
    let read = |path| fs::read_to_string(path).expect("/proc is readable");
    let mut found: Vec<String> = read("/proc/self/mountinfo")
        .lines()
        .filter(|line| line.contains("/run/netns/a ") || line.contains(" lab "))
        .map(str::to_owned)
        .collect();
    found.extend(
        read("/proc/net/dev")
            .lines()
            .filter(|line| line.contains("to-a:") || line.contains("hub1"))
            .map(str::to_owned),
    );
    let unix = read("/proc/net/unix");
    found.extend(unix.lines().filter(|line| line.ends_with(name)).map(str::to_owned));
    found
}

pub(crate) fn killed() {
    let name = name();
    let Some(mut lab) = start(&name) else { return };
    let space = fs::read_link(format!("/proc/{}/ns/pid_for_children", lab.id())).expect("a lab");
    // Init, the lab, and the process in a node.
    assert_eq!(processes_of(&space).len(), 3);
    assert_eq!(traces(&name).len(), 1, "the control socket, and nothing else: {:?}", traces(&name));
    lab.kill().expect("it lives");
    lab.wait().expect("it can be waited for");
    let took = wait_until("all processes end", || processes_of(&space).is_empty());
    assert_eq!(traces(&name), [""; 0], "nothing is left");
    println!("  gone {took:?} after SIGKILL");
    let again = start(&name);
    assert!(again.is_some(), "the name is free again");
    if let Some(mut lab) = again {
        lab.kill().expect("it lives");
        lab.wait().expect("it can be waited for");
    }
}

pub(crate) fn terminated() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let Some(mut lab) = start(&name()) else { return };
        let start = Instant::now();
        kill(Pid::from_raw(lab.id().try_into().expect("a pid")), signal).expect("it lives");
        let status = lab.wait().expect("it can be waited for");
        println!("  {signal} ended it in {:?}", start.elapsed());
        assert_eq!(status.code(), Some(128 + signal as i32), "the lab died of {signal}");
    }
}

pub(crate) fn orphans() {
    assert_eq!(std::process::id(), 2, "the lab's process stands below an init");
    let done = Command::new("sh").args(["-c", "sleep 0.02 & sleep 0.02 & exit 3"]).status();
    assert_eq!(done.expect("a shell").code(), Some(3));
    let others = || {
        let pids = fs::read_dir("/proc").expect("/proc").flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid > 2)
            .count()
    };
    wait_until("the orphans end and are reaped", || others() == 0);
}

/// Enters the lab `name` and runs a shell in its node b (or as asked), for `exec`.
pub(crate) fn exec_role(name: &str) -> ExitCode {
    let stream = sandbox::connect(None, Some(name)).expect("the lab runs");
    let lab = sandbox::peer_pid(&stream).expect("the lab has a process");
    let node = std::env::var("NODE").expect("a node");
    let argv: Vec<String> = std::env::args().skip(1).collect();
    let env = [("GREETING".to_owned(), "hello".to_owned())];
    match sandbox::exec_in(lab, &node, &argv, &env) {
        Ok(status) => {
            ExitCode::from(status.code().map_or(255, |code| code.try_into().unwrap_or(255)))
        }
        Err(error) => {
            println!("{error}");
            ExitCode::from(99)
        }
    }
}

pub(crate) fn exec() {
    let name = name();
    let Some(mut lab) = start(&name) else { return };
    let run = |node: &str, argv: &[&str]| {
        let mut command = again(&format!("exec {name}"));
        command.env("NODE", node).args(argv).current_dir("/usr/bin");
        let output = command.output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), text.trim().to_owned())
    };
    let ok = |text: &str| (Some(0), text.to_owned());
    assert_eq!(run("b", &["sh", "-c", "echo $GREETING; exit 7"]), (Some(7), "hello".to_owned()));
    assert_eq!(run("b", &["pwd"]), ok("/usr/bin"));
    assert_eq!(run("b", &["sh", "-c", "grep -c to-a: /proc/net/dev"]), ok("1"));
    assert_eq!(run("a", &["sh", "-c", "grep -c to-b: /proc/net/dev"]), ok("1"));
    assert_eq!(run("b", &["id", "-u"]), ok("0"));
    assert_eq!(run("b", &["sh", "-c", "ls /run/netns | tr '\\n' ' '"]), ok("a b hub"));
    assert_eq!(run("b", &["cat", "/proc/1/comm"]), ok("anycast-init"));
    for (node, argv, want) in [
        ("c", &["true"][..], "the lab has no node named \"c\""),
        ("../anycast", &["true"], "the lab has no node named \"../anycast\""),
        ("b", &["no-such"], "cannot run \"no-such\" in the lab: No such file or directory"),
        ("b", &[], "cannot run \"\" in the lab: no command is given"),
    ] {
        let (code, text) = run(node, argv);
        assert!(code == Some(99) && text.starts_with(want), "{text}");
    }
    // The command dies with the one who ran it.
    let space = fs::read_link(format!("/proc/{}/ns/pid_for_children", lab.id())).expect("a lab");
    let before = processes_of(&space).len();
    let mut command = again(&format!("exec {name}"));
    let mut caller = command.env("NODE", "b").args(["sleep", "1000"]).spawn().expect("it runs");
    wait_until("the command runs", || processes_of(&space).len() == before + 1);
    caller.kill().expect("it lives");
    caller.wait().expect("it can be waited for");
    wait_until("the command is gone", || processes_of(&space).len() == before);
    lab.kill().expect("it lives");
    lab.wait().expect("it can be waited for");
}

pub(crate) fn second() {
    let name = name();
    assert!(matches!(sandbox::connect(None, Some(&name)), Err(SandboxError::NotRunning(_))));
    let Some(mut lab) = start(&name) else { return };
    match Sandbox::enter(Some(&name)) {
        Err(SandboxError::AlreadyRunning(socket)) => assert!(socket.ends_with(&name)),
        other => panic!("{other:?}"),
    }
    lab.kill().expect("it lives");
    lab.wait().expect("it can be waited for");
}

/// Connects to the lab `name` of the owner given and prints its answer, for `control`.
pub(crate) fn ask_role(name: &str) -> ExitCode {
    let owner = std::env::var("OWNER").ok().and_then(|uid| uid.parse().ok());
    let mut answer = String::new();
    match sandbox::connect(owner, Some(name)) {
        Ok(mut stream) => drop(stream.read_to_string(&mut answer).expect("an answer")),
        Err(error) => answer = error.to_string(),
    }
    println!("{answer}");
    ExitCode::SUCCESS
}

pub(crate) fn control() {
    let name = name();
    let Some(mut lab) = start(&name) else { return };
    let me = nix::unistd::geteuid().as_raw();
    let ask = |uid: u32, owner: u32| {
        let mut command = again(&format!("ask {name}"));
        if uid != me {
            command.uid(uid).gid(uid);
        }
        let output = command.env("OWNER", owner.to_string()).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    assert_eq!(ask(me, me), "welcome");
    if me == 0 {
        // Nobody may not act for root, and cannot even pretend to.
        assert!(ask(NOBODY, 0).contains("act for the lab's owner"), "{}", ask(NOBODY, 0));
        assert_eq!(raw_ask(&name, NOBODY), "go away");

        // Root may, for anyone.
        let theirs = format!("{name}-theirs");
        let mut command = again(&format!("hold {theirs}"));
        let mut held =
            command.uid(NOBODY).gid(NOBODY).stdout(Stdio::piped()).spawn().expect("a lab");
        let mut line = String::new();
        let stdout = held.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("the lab speaks");
        if line.trim() == "ready" {
            let mut stream = sandbox::connect(Some(NOBODY), Some(&theirs)).expect("it runs");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert_eq!(answer, "welcome");
        } else {
            print!("{line}");
        }
        held.kill().expect("it lives");
        held.wait().expect("it can be waited for");
    }
    lab.kill().expect("it lives");
    lab.wait().expect("it can be waited for");
}

/// The answer of root's lab `name` to a process of `uid` that just connects.
fn raw_ask(name: &str, uid: u32) -> String {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream};
    nix::unistd::seteuid(nix::unistd::Uid::from_raw(uid)).expect("root may");
    let address = SocketAddr::from_abstract_name(format!("anycast-lab-0-{name}")).expect("a name");
    let mut stream = UnixStream::connect_addr(&address).expect("the lab listens");
    nix::unistd::seteuid(nix::unistd::Uid::from_raw(0)).expect("back again");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A machine on which ordinary users get no namespaces: in a user namespace with all users, whose
/// own limit is zero.
pub(crate) fn forbidden() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: only root can make a machine without user namespaces");
    }
    // The program is its standard input: its path may lead where nobody may not walk.
    let program = fs::File::open("/proc/self/exe").expect("this program is a file");
    let script = format!(
        "until grep -q 70000 /proc/self/uid_map; do sleep 0.01; done; \
         exec sh -c 'echo 0 > /proc/sys/user/max_user_namespaces; \
         exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups /proc/self/fd/0'"
    );
    let machine = Command::new("unshare")
        .args(["--user", "sh", "-c", &script])
        .env(super::ROLE, format!("hold {}", name()))
        .stdin(program)
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare(1) runs");
    let pid = machine.id();
    let ours = fs::read_link("/proc/self/ns/user").expect("a namespace");
    wait_until("the machine has users of its own", || {
        fs::read_link(format!("/proc/{pid}/ns/user")).is_ok_and(|theirs| theirs != ours)
    });
    for map in ["gid_map", "uid_map"] {
        fs::write(format!("/proc/{pid}/{map}"), "0 0 70000").expect("root maps anyone");
    }
    let output = machine.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("user.max_user_namespaces is 0, which is too few"), "{text:?}");
}
