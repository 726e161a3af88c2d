//! Tells systemd how the daemon is (`sd_notify(3)`): a datagram of `KEY=value` lines to the socket
//! that `NOTIFY_SOCKET` names. Without one, nothing is told.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// Where systemd listens, if it does; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notifier {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// What this process's environment says.
    pub(crate) fn of_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET");
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        // The watchdog may be meant for another process (`WATCHDOG_PID`).
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        Self::new(socket.as_deref(), watchdog.map(Duration::from_micros))
    }

    fn new(socket: Option<&OsStr>, watchdog: Option<Duration>) -> Self {
        let opened = socket.filter(|name| !name.is_empty()).and_then(|name| match open(name) {
            Ok(opened) => Some(Arc::new(opened)),
            Err(error) => {
                tracing::warn!("systemd cannot be told anything: {error}");
                None
            }
        });
        Self { socket: opened, watchdog }
    }

    /// How often the watchdog wants to be told: twice in its time.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        self.watchdog.map(|time| time / 2)
    }

    /// Everything runs.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The file is being read again; [`ready`](Self::ready) follows.
    pub(crate) fn reloading(&self) {
        self.tell("RELOADING=1\nSTATUS=reads the fleet file again");
    }

    /// Another program takes this one's place; its [`ready`](Self::ready) follows.
    pub(crate) fn upgrading(&self) {
        self.tell("RELOADING=1\nSTATUS=gives way to another program");
    }

    pub(crate) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// One line for `systemctl status`.
    pub(crate) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// The sign of life that the watchdog wants.
    pub(crate) fn alive(&self) {
        if self.watchdog.is_some() {
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, words: &str) {
        if let Some(socket) = &self.socket {
            let (socket, to) = &**socket;
            // It does not wait: a manager that takes nothing must not hold up the site.
            let _ = socket.send_to_addr(words.as_bytes(), to);
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes().strip_prefix(b"@") {
        Some(rest) => SocketAddr::from_abstract_name(rest)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_is_told_by_path_and_by_abstract_name() {
        let path = std::env::temp_dir().join(format!("anycast-notify-{}", std::process::id()));
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("anycast-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&abstract_name).unwrap();
        let at_name = format!("@{name}");
        for (socket, name) in [(&by_path, path.as_os_str()), (&by_name, OsStr::new(&at_name))] {
            let notifier = Notifier::new(Some(name), Some(Duration::from_secs(10)));
            assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(5)));
            notifier.ready("all is well");
            notifier.alive();
            notifier.stopping("SIGTERM");
            assert_eq!(heard(socket), "READY=1\nSTATUS=all is well");
            assert_eq!(heard(socket), "WATCHDOG=1");
            assert_eq!(heard(socket), "STOPPING=1\nSTATUS=SIGTERM");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_systemd_or_its_watchdog_nothing_is_told() {
        let nobody = Notifier::new(None, Some(Duration::from_secs(10)));
        nobody.ready("");
        assert_eq!(nobody.watchdog_interval(), None);
        let name = format!("anycast-no-watchdog-{}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notifier = Notifier::new(Some(OsStr::new(&format!("@{name}"))), None);
        assert_eq!(notifier.watchdog_interval(), None);
        notifier.alive();
        notifier.status("after it");
        assert_eq!(heard(&socket), "STATUS=after it");
    }
}
