//! Processes, units and files, and that what becomes of them is an event.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio::sync::mpsc;

use super::*;

/// Far more than an event takes, far less than the interval.
const SOON: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_secs(600);

/// A folder of one's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("anycast-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn local(kind: Kind) -> Check {
    Check { kind, target: "0.0.0.0:0".parse().unwrap(), timeout: MILLIS(2000) }
}

fn file_check(path: &Path, absent: bool, max_age: Option<Duration>) -> Check {
    local(Kind::File(file::Target { path: path.to_owned(), absent, max_age }))
}

fn process_check(pid_file: Option<&Path>, program: Option<&str>) -> Check {
    let target = process::Target::new(pid_file.map(Path::to_owned), program.map(str::to_owned));
    local(Kind::Process(Arc::new(target)))
}

/// A checker that would only look every ten minutes.
struct Watched {
    _handle: RunnerHandle,
    events: mpsc::Receiver<Event>,
}

impl Watched {
    fn start(probe: Check) -> Self {
        let (sender, events) = mpsc::channel(64);
        let runner =
            Runner { service: 0, check: 0, probe, interval: INTERVAL, jitter: 0, rise: 1, fall: 2 };
        Self { _handle: runner.spawn(sender), events }
    }

    /// Waits for such an outcome; whether it was the event that brought it is for the test to see
    /// by how long it took.
    async fn becomes(&mut self, passes: bool) -> Duration {
        let started = Instant::now();
        let outcome = async {
            while self.events.recv().await.unwrap().outcome.is_ok() != passes {}
            started.elapsed()
        };
        tokio::time::timeout(SOON, outcome).await.expect("the event is seen")
    }
}

/// A program that sleeps under a name of its own, so that no other test's is found.
fn sleeper(folder: &Folder, name: &str) -> PathBuf {
    let program = folder.path(name);
    fs::copy("/usr/bin/sleep", &program).unwrap();
    program
}

fn run_program(program: &Path) -> Child {
    // Another test may be forking just now, and hold the copy open for writing.
    for _ in 0..100 {
        match Command::new(program).arg("60").stdin(Stdio::null()).spawn() {
            Ok(child) => return child,
            Err(_) => std::thread::sleep(MILLIS(10)),
        }
    }
    panic!("cannot run {}", program.display());
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_file_passes_while_it_is_there_or_is_not() {
    let folder = Folder::new("file");
    let (there, nowhere) = (folder.path("there"), folder.path("nowhere"));
    fs::write(&there, "").unwrap();
    let old = folder.path("old");
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    fs::File::create(&old).unwrap().set_modified(hour_ago).unwrap();
    let minute = Some(Duration::from_secs(60));
    for (name, check, want) in [
        ("there", file_check(&there, false, None), "pass".to_owned()),
        (
            "not there",
            file_check(&nowhere, false, None),
            format!("{} is not there", nowhere.display()),
        ),
        ("absent", file_check(&nowhere, true, None), "pass".to_owned()),
        ("not absent", file_check(&there, true, None), format!("{} is there", there.display())),
        ("new", file_check(&there, false, minute), "pass".to_owned()),
        (
            "old",
            file_check(&old, false, minute),
            format!("{} was last changed 3600 s ago, expected 60 s at most", old.display()),
        ),
        (
            "old, but not too old",
            file_check(&old, false, Some(Duration::from_secs(7200))),
            "pass".to_owned(),
        ),
    ] {
        assert_eq!(words(&check).await, want, "{name}");
    }
}

#[tokio::test]
async fn a_files_coming_and_going_are_events_also_below_folders_that_come_later() {
    let folder = Folder::new("file-events");
    let flag = folder.path("later").join("still-later").join("flag");
    let mut watched = Watched::start(file_check(&flag, false, None));
    watched.becomes(false).await;
    // From the second round on, only an event can bring the next outcome.
    for round in 0..3 {
        fs::create_dir_all(flag.parent().unwrap()).unwrap();
        fs::write(&flag, "").unwrap();
        let came = watched.becomes(true).await;
        fs::remove_file(&flag).unwrap();
        let went = watched.becomes(false).await;
        println!("round {round}: came after {came:?}, went after {went:?}");
        fs::remove_dir_all(folder.path("later")).unwrap();
    }
}

#[tokio::test]
async fn a_touched_file_is_new_again_at_once() {
    let folder = Folder::new("file-touched");
    let beat = folder.path("beat");
    let beats = fs::File::create(&beat).unwrap();
    let mut watched = Watched::start(file_check(&beat, false, Some(Duration::from_secs(60))));
    watched.becomes(true).await;
    let now = std::time::SystemTime::now();
    for _ in 0..2 {
        beats.set_modified(now - Duration::from_secs(3600)).unwrap();
        let old = watched.becomes(false).await;
        beats.set_modified(now).unwrap();
        println!("old after {old:?}, new after {:?}", watched.becomes(true).await);
    }
}

#[tokio::test]
async fn a_process_is_found_by_pid_file_path_and_name() {
    let folder = Folder::new("process");
    let program = sleeper(&folder, "find-me-3141");
    let path = program.to_str().unwrap();
    let pid_file = folder.path("pid");
    let by_file = process_check(Some(&pid_file), None);
    let by_path = process_check(None, Some(path));
    let by_name = process_check(None, Some("find-me-3141"));
    let by_both = process_check(Some(&pid_file), Some(path));
    let other = process_check(Some(&pid_file), Some("/usr/bin/other"));
    let no_file = format!("{} is not there", pid_file.display());
    let none = |what: &str| format!("no process runs {what}");
    for (check, want) in [
        (&by_file, no_file.clone()),
        (&by_path, none(path)),
        (&by_name, none("find-me-3141")),
        (&by_both, no_file),
    ] {
        assert_eq!(words(check).await, want);
    }

    let child = run_program(&program);
    let pid = child.id();
    fs::write(&pid_file, format!("{pid}\n")).unwrap();
    for _ in 0..2 {
        for check in [&by_file, &by_path, &by_name, &by_both] {
            assert_eq!(words(check).await, "pass", "{:?}", check.kind);
        }
    }
    assert_eq!(words(&other).await, format!("process {pid} does not run /usr/bin/other"));

    end(child);
    for (check, want) in [
        (&by_file, format!("process {pid} has ended")),
        (&by_path, none(path)),
        (&by_name, none("find-me-3141")),
    ] {
        assert_eq!(words(check).await, want);
    }
    for nonsense in ["", "nsd", "-1", "0", "99999999999999999999"] {
        fs::write(&pid_file, nonsense).unwrap();
        let want = format!("{} holds no process number", pid_file.display());
        assert_eq!(words(&by_file).await, want, "{nonsense:?}");
    }
}

#[tokio::test]
async fn a_zombie_is_dead() {
    let folder = Folder::new("zombie");
    let pid_file = folder.path("pid");
    let mut child = Command::new("/usr/bin/true").spawn().unwrap();
    fs::write(&pid_file, child.id().to_string()).unwrap();
    let state = || fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    while !state().contains(") Z ") {
        tokio::time::sleep(MILLIS(1)).await;
    }
    let want = format!("process {} has ended", child.id());
    assert_eq!(words(&process_check(Some(&pid_file), None)).await, want);
    child.wait().unwrap();
}

#[tokio::test]
async fn a_process_dies_and_comes_as_an_event() {
    let folder = Folder::new("process-events");
    let program = sleeper(&folder, "come-and-go");
    let pid_file = folder.path("pid");
    let mut by_file = Watched::start(process_check(Some(&pid_file), None));
    let mut by_path = Watched::start(process_check(None, program.to_str()));
    by_file.becomes(false).await;
    by_path.becomes(false).await;
    for round in 0..2 {
        let child = run_program(&program);
        let by_path_came = by_path.becomes(true).await;
        fs::write(&pid_file, child.id().to_string()).unwrap();
        let by_file_came = by_file.becomes(true).await;
        end(child);
        let went = (by_file.becomes(false).await, by_path.becomes(false).await);
        println!("round {round}: came {by_path_came:?}, {by_file_came:?}; went {went:?}");
    }
}

#[tokio::test]
async fn another_process_of_the_program_takes_the_place_of_the_dead_one() {
    let folder = Folder::new("process-two");
    let program = sleeper(&folder, "one-of-two");
    let (first, second) = (run_program(&program), run_program(&program));
    let check = process_check(None, program.to_str());
    assert_eq!(words(&check).await, "pass");
    end(first);
    assert_eq!(words(&check).await, "pass");
    end(second);
    assert_ne!(words(&check).await, "pass");
}

#[tokio::test]
async fn a_unit_passes_while_its_control_group_has_processes() {
    let folder = Folder::new("unit");
    let check = |unit: &str| local(Kind::Unit(unit::Target::below(folder.0.clone(), unit)));
    let group = |path: &str, events: &str| {
        fs::create_dir_all(folder.path(path)).unwrap();
        fs::write(folder.path(path).join("cgroup.events"), events).unwrap();
    };
    group("system.slice/up.service", "populated 1\nfrozen 0\n");
    group("system.slice/empty.service", "populated 0\nfrozen 0\n");
    group("system.slice/frozen.service", "populated 1\nfrozen 1\n");
    group("system.slice/system-tor.slice/tor@a.service", "populated 1\nfrozen 0\n");
    group("machine.slice/vm.scope", "populated 1\n");
    group("system.slice/up.service/inner.service", "populated 1\n");
    for (unit, want) in [
        ("up.service", "pass"),
        ("empty.service", "empty.service has no process"),
        ("frozen.service", "frozen.service is frozen"),
        ("tor@a.service", "pass"),
        ("vm.scope", "pass"),
        // A group that a service made inside its own is no unit.
        ("inner.service", "inner.service has no process"),
        ("nowhere.service", "nowhere.service has no process"),
    ] {
        assert_eq!(words(&check(unit)).await, want, "{unit}");
    }
}

/// A control group of the kernel's, emptied and removed at the end.
struct Group(PathBuf);

impl Group {
    fn new(path: PathBuf) -> std::io::Result<Self> {
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn take(&self, child: &Child) {
        fs::write(self.0.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(MILLIS(10));
        }
    }
}

#[tokio::test]
async fn a_units_first_and_last_process_are_events() {
    let mounted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new).into_iter();
    let Some(root) = mounted.clone().find(|root| root.join("cgroup.procs").exists()) else {
        println!("skipped: control groups of version 2 are not mounted");
        return;
    };
    let root = root.join(format!("anycast-test-{}", std::process::id()));
    let Ok(top) = Group::new(root.clone()) else {
        println!("skipped: may not make control groups");
        return;
    };
    let slice = Group::new(top.0.join("system.slice")).unwrap();
    let mut watched =
        Watched::start(local(Kind::Unit(unit::Target::below(root, "example.service"))));
    watched.becomes(false).await;
    for round in 0..2 {
        let unit = Group::new(slice.0.join("example.service")).unwrap();
        let child = Command::new("/usr/bin/sleep").arg("60").spawn().unwrap();
        unit.take(&child);
        let came = watched.becomes(true).await;
        end(child);
        let went = watched.becomes(false).await;
        println!("round {round}: came {came:?}, went {went:?}");
    }
}
