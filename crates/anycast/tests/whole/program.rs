//! The program under test: who starts it, where its files are, a lab that runs beside the test.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A command that takes longer hangs: far more than any takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often to look whether something has come true.
const LOOK: Duration = Duration::from_millis(5);
/// Whom the tests become if root runs them.
const NOBODY: u32 = 65534;
/// What the program says when it is given no namespaces, which is no fault of its own.
const REFUSED: &str = "this machine gives ordinary users no namespaces";

/// What [`Lab::connect`] says when the other end has closed.
pub(crate) const CLOSED: &str = "the other end has closed";

/// Who starts the program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum User {
    /// Root.
    Root,
    /// Whoever runs the tests, or nobody if that is root.
    Ordinary,
}

impl User {
    /// The uid of this user's processes outside any lab.
    pub(crate) fn uid(self) -> u32 {
        let own = nix::unistd::geteuid().as_raw();
        if self == Self::Ordinary && own == 0 { NOBODY } else { own }
    }
}

/// Runs `case` as `user`, or says why not.
pub(crate) fn as_user(user: User, case: fn(User)) {
    if user == User::Root && !nix::unistd::geteuid().is_root() {
        return skip("the tests are not run by root");
    }
    case(user);
}

/// Says that this test cannot show anything here.
pub(crate) fn skip(why: &str) {
    println!("skipped: {why}");
    eprintln!("skipped: {why}");
}

/// Whether all of these programs are installed; says which is not.
pub(crate) fn installed(programs: &[&str]) -> bool {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/frr"];
    let missing = programs
        .iter()
        .find(|program| !folders.iter().any(|folder| Path::new(folder).join(program).exists()));
    if let Some(program) = missing {
        skip(&format!("{program} is not installed"));
    }
    missing.is_none()
}

/// Makes of each function that takes a [`User`] two tests.
macro_rules! as_each_user {
    ($($case:ident)*) => {$(
        mod $case {
            use crate::program::{User, as_user};
            #[test]
            fn as_root() {
                as_user(User::Root, super::$case);
            }
            #[test]
            fn as_an_ordinary_user() {
                as_user(User::Ordinary, super::$case);
            }
        }
    )*};
}
pub(crate) use as_each_user;

/// A user with a folder for the files of one test, which goes with it.
pub(crate) struct Desk {
    pub(crate) user: User,
    /// Different for every desk: names labs.
    pub(crate) name: String,
    folder: PathBuf,
    program: PathBuf,
}

impl Desk {
    pub(crate) fn new(user: User) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(format!("anycast-{name}"));
        fs::create_dir(&folder).expect("a folder for the test");
        open_to_all(&folder);
        let built = PathBuf::from(env!("CARGO_BIN_EXE_anycast"));
        let program = if user.uid() == NOBODY && !within_reach_of_all(&built) {
            let copy = folder.join("anycast");
            fs::copy(&built, &copy).expect("a copy of the program");
            open_to_all(&copy);
            copy
        } else {
            built
        };
        Self { user, name, folder, program }
    }

    /// The path of a file of this test.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Writes a file that every user can read; gives its path.
    pub(crate) fn write(&self, file: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a folder for the file");
            open_to_all(parent);
        }
        fs::write(&path, content).expect("a file of the test");
        path.into_os_string().into_string().expect("a path of letters")
    }

    /// `anycast` with these arguments, in the folder, not started yet.
    pub(crate) fn anycast(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("ANYCAST_LAB", &self.name)
            .env("ANYCAST_RUNTIME_DIR", self.folder.join("run"))
            .env("ANYCAST_STATE_DIR", self.folder.join("state"));
        let uid = self.user.uid();
        if uid != nix::unistd::geteuid().as_raw() {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Runs `anycast` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        finish(self.anycast(arguments), b"")
    }

    /// Starts a lab and waits until it says that it is up.
    ///
    /// Nothing, if this machine gives this user no namespaces: then that has been said.
    pub(crate) fn lab(&self, arguments: &[&str]) -> Option<Lab<'_>> {
        let mut command = self.anycast(&["lab"]);
        command.args(arguments);
        let process = Process::start(command);
        let begin = Instant::now();
        loop {
            if process.said("The lab runs until Ctrl-C") {
                return Some(Lab { desk: self, process });
            }
            if process.ended() {
                let (status, words) = (process.wait(), process.words());
                assert!(words.contains(REFUSED), "the lab ended ({status}): {words}");
                skip(words.trim());
                return None;
            }
            assert!(begin.elapsed() < PATIENCE, "the lab does not start: {}", process.words());
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // What stays behind in the folder for temporary files is no reason to fail.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the test's own file");
}

/// Whether any user can walk to a file, read and run it.
fn within_reach_of_all(file: &Path) -> bool {
    let allows = |path: &Path, bits: u32| {
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & bits == bits)
    };
    allows(file, 0o005) && file.ancestors().skip(1).all(|folder| allows(folder, 0o001))
}

/// What a program that has ended left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Output {
    /// Standard output as JSON, after success.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// It ended with this code and said all of these things on standard error.
    pub(crate) fn failed_with(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {self:?}");
        }
    }

    /// Whether this machine kept it from making namespaces, which is then said.
    pub(crate) fn refused(&self) -> bool {
        let refused = self.err.contains(REFUSED);
        if refused {
            skip(self.err.trim());
        }
        refused
    }
}

/// Runs a command to its end with `input`.
pub(crate) fn finish(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // One that ends without reading is fine.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let out = listen(child.stdout.take().expect("a pipe"));
    let err = listen(child.stderr.take().expect("a pipe"));
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        if begin.elapsed() > PATIENCE {
            child.kill().expect("it lives");
            child.wait().expect("it can be waited for");
            panic!("{command:?} hangs: {} {}", out.text(), err.text());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    Output { code: status.code(), out: out.all(), err: err.all() }
}

/// What comes out of a pipe, as it comes.
struct Heard {
    text: Arc<Mutex<Vec<u8>>>,
    thread: std::thread::JoinHandle<()>,
}

fn listen(mut pipe: impl Read + Send + 'static) -> Heard {
    let text = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&text);
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut buffer) {
            sink.lock().expect("nobody panics with it").extend(&buffer[..len]);
        }
    });
    Heard { text, thread }
}

impl Heard {
    fn octets(&self) -> Vec<u8> {
        self.text.lock().expect("nobody panics with it").clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.octets()).into_owned()
    }

    /// Everything, once the other end has closed.
    fn all(self) -> String {
        self.thread.join().expect("it only reads");
        String::from_utf8(
            Arc::into_inner(self.text)
                .map_or_else(Vec::new, |text| text.into_inner().expect("nobody panics with it")),
        )
        .expect("the program writes text")
    }
}

/// A program that goes on while the test does; ends with it.
pub(crate) struct Process {
    child: Mutex<Child>,
    out: Heard,
    err: Heard,
    /// Its process in the machine's own numbers.
    pub(crate) pid: u32,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let out = listen(child.stdout.take().expect("a pipe"));
        let err = listen(child.stderr.take().expect("a pipe"));
        Self { pid: child.id(), child: Mutex::new(child), out, err }
    }

    /// All that it said so far.
    pub(crate) fn words(&self) -> String {
        format!("{}{}", self.out.text(), self.err.text())
    }

    pub(crate) fn said(&self, words: &str) -> bool {
        self.out.text().contains(words) || self.err.text().contains(words)
    }

    /// The octets of its standard output so far.
    pub(crate) fn output(&self) -> Vec<u8> {
        self.out.octets()
    }

    /// Writes to its standard input; whether it still reads.
    pub(crate) fn write(&self, octets: &[u8]) -> bool {
        let mut child = self.child.lock().expect("nobody panics with it");
        child.stdin.as_mut().expect("a pipe").write_all(octets).is_ok()
    }

    pub(crate) fn ended(&self) -> bool {
        let mut child = self.child.lock().expect("nobody panics with it");
        child.try_wait().expect("it can be waited for").is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid, signal);
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) -> ExitStatus {
        until("the program ends", PATIENCE, || self.ended().then_some(()).ok_or(self.words()));
        self.child.lock().expect("nobody panics with it").wait().expect("it has ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // One that has ended is as good.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Sends a signal to a process that lives.
pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().expect("a pid")), signal).expect("it lives");
}

/// Looks again and again until it is so; the last thing seen is told if it never is.
pub(crate) fn until<T, E: std::fmt::Debug>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(seen) if begin.elapsed() > patience => {
                panic!("not within {patience:?}: {what}; instead {seen:?}")
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// A lab that runs; it is killed with the test.
pub(crate) struct Lab<'d> {
    pub(crate) desk: &'d Desk,
    pub(crate) process: Process,
}

/// How long routes may take to settle: a hundred times what they take.
pub(crate) const SETTLED: Duration = Duration::from_secs(20);

impl Lab<'_> {
    /// `anycast lab …` from another terminal.
    pub(crate) fn tell(&self, arguments: &[&str]) -> Output {
        let mut command = self.desk.anycast(&["lab"]);
        command.args(arguments);
        finish(command, b"")
    }

    /// The same; it has to succeed.
    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        let output = self.tell(arguments);
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
        output.out
    }

    /// A command in a node, not started yet.
    pub(crate) fn in_node(&self, node: &str, command: &[&str]) -> Command {
        let mut exec = self.desk.anycast(&["lab", "exec", node, "--"]);
        exec.args(command);
        exec
    }

    /// Runs a command in a node to its end.
    pub(crate) fn exec(&self, node: &str, command: &[&str]) -> Output {
        finish(self.in_node(node, command), b"")
    }

    /// The rows of `status`.
    pub(crate) fn status(&self) -> Vec<Value> {
        let rows = self.tell(&["status", "--json"]).json();
        rows.as_array().expect("a list").clone()
    }

    /// Who is answered by which site now.
    pub(crate) fn catchment(&self) -> BTreeMap<String, Option<String>> {
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let row = |row: &Value| (text(&row["client"]).expect("a name"), text(&row["site"]));
        self.status().iter().map(row).collect()
    }

    /// Waits until each of these clients is answered by its site; by nobody, if that is empty.
    pub(crate) fn settles(&self, what: &str, wanted: &[(&str, &str)]) {
        until(what, SETTLED, || {
            let now = self.catchment();
            let holds = wanted.iter().all(|(client, site)| {
                now.get(*client).is_some_and(|at| at.as_deref().unwrap_or_default() == *site)
            });
            if holds { Ok(()) } else { Err(now) }
        });
    }

    /// A TCP connection from a node, through a process there: what it says comes out of the
    /// process, what is written to the process is said; it says when the other end has closed.
    pub(crate) fn connect(&self, node: &str, address: &str, port: u16) -> Process {
        let script = format!(
            "exec 3<>/dev/tcp/{address}/{port} || exit; {{ cat <&3; echo {CLOSED} >&2; }} & cat >&3"
        );
        Process::start(self.in_node(node, &["bash", "-c", &script]))
    }

    /// The site that answers HTTP at an address, asked from a node.
    pub(crate) fn ask_http(&self, node: &str, address: &str) -> Option<String> {
        // HTTP/1.0: the answer ends when the connection does.
        let script = format!(
            "exec 3<>/dev/tcp/{address}/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
        );
        let output = self.exec(node, &["timeout", "5", "bash", "-c", &script]);
        let body = output.out.split("\r\n\r\n").nth(1)?;
        let answer: Value = serde_json::from_str(body).ok()?;
        answer["site"].as_str().map(ToOwned::to_owned)
    }
}
