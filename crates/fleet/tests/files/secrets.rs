//! Files on disk: the fleet file itself, and the secrets that it refers to.
#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anycast_fleet::{ReadError, read};

/// A folder that is gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("anycast-fleet-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, octets: &[u8], mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, octets).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fleet_with_secret(folder: &Folder) -> PathBuf {
    let minimal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal.toml");
    let source = fs::read_to_string(minimal).unwrap();
    let source = source.replacen("asn = 64501", "asn = 64501\npassword-file = \"secret\"", 1);
    folder.write("fleet.toml", source.as_bytes(), 0o644)
}

/// What it shows, the file's content and mode, the code and a part of the message.
type Row = (&'static str, Option<(&'static [u8], u32)>, Option<(&'static str, &'static str)>);

#[test]
fn a_secret_is_looked_at_but_never_shown() {
    let table: [Row; 7] = [
        ("sound", Some((b"hunter2\n", 0o600)), None),
        ("for the group too", Some((b"hunter2", 0o640)), None),
        ("missing", None, Some(("password-file", "No such file"))),
        ("for everyone", Some((b"hunter2", 0o644)), Some(("password-exposed", "mode 644"))),
        ("writable by everyone", Some((b"hunter2", 0o602)), Some(("password-exposed", "mode 602"))),
        ("empty", Some((b" \n", 0o600)), Some(("password-file", "is empty"))),
        ("too long", Some((&[b'x'; 81], 0o600)), Some(("password-file", "more than 80"))),
    ];
    for (name, content, expected) in table {
        let folder = Folder::new("secret");
        let path = fleet_with_secret(&folder);
        if let Some((octets, mode)) = content {
            folder.write("secret", octets, mode);
        }
        let report = read(&path).unwrap();
        let found: Vec<&str> = report.problems.iter().map(|problem| problem.code).collect();
        let codes: Vec<&str> = expected.iter().map(|(code, _)| *code).collect();
        assert_eq!(found, codes, "{name}");
        let shown = format!("{:?}{}", report.problems, report.to_json());
        assert!(shown.contains(expected.map_or("", |(_, part)| part)), "{name}: {shown}");
        assert!(!shown.contains("hunter2") && !report.render(false).contains("hunter2"), "{name}");

        // It is only a warning: the file may be checked far from where it runs.
        let fleet = report.fleet.unwrap();
        let neighbor = fleet.site("ams").unwrap().neighbor("upstream").unwrap();
        assert_eq!(neighbor.password_file.as_deref(), Some(folder.0.join("secret").as_path()));
        assert!(!format!("{fleet:?}").contains("hunter2"), "{name}");
    }
}

#[test]
fn a_file_that_is_no_text_is_refused_with_the_reason() {
    let folder = Folder::new("text");
    let missing = read(&folder.0.join("none.toml")).unwrap_err();
    assert!(matches!(missing, ReadError::Io { .. }), "{missing}");
    assert!(matches!(read(&folder.0), Err(ReadError::Io { .. })));
    let binary = folder.write("binary.toml", b"[fleet]\xff\xfe", 0o644);
    let error = read(&binary).unwrap_err();
    assert!(matches!(error, ReadError::NotText { offset: 7, .. }), "{error}");
    assert!(matches!(read(Path::new("/dev/zero")), Err(ReadError::TooLarge { .. })));
}

#[test]
fn a_file_of_authorities_that_is_not_there_is_a_warning() {
    let folder = Folder::new("ca-file");
    let minimal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal.toml");
    let source = fs::read_to_string(minimal).unwrap();
    let check = "builtin = \"whoami\"\ncheck = [{ type = \"https\", ca-file = \"ca.pem\" }]";
    let source = source.replacen("builtin = \"whoami\"", check, 1);
    let path = folder.write("fleet.toml", source.as_bytes(), 0o644);
    let codes = || {
        let report = read(&path).unwrap();
        let problems = report.problems.iter();
        let of_it = problems.filter(|problem| problem.code == "ca-file");
        of_it.map(|problem| problem.message.clone()).collect::<Vec<_>>()
    };
    let messages = codes();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("ca.pem") && messages[0].contains("No such file"), "{messages:?}");
    folder.write("ca.pem", b"", 0o644);
    assert_eq!(codes(), [""; 0]);
    let fleet = read(&path).unwrap().fleet.unwrap();
    let anycast_fleet::Probe::Http(http) = &fleet.services[0].checks[0].probe else { panic!() };
    let tls = http.tls.as_ref().unwrap();
    assert_eq!(tls.ca_file, Some(folder.0.join("ca.pem")), "beside the fleet file");
}

#[test]
fn the_certificate_and_key_of_quic_are_looked_at() {
    let folder = Folder::new("quic");
    let minimal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal.toml");
    let source = fs::read_to_string(minimal).unwrap();
    let quic = "builtin = \"whoami\"\nquic-certificate = \"a.pem\"\nquic-key = \"a.key\"";
    let source = source.replacen("builtin = \"whoami\"", quic, 1);
    let path = folder.write("fleet.toml", source.as_bytes(), 0o644);
    let found = || {
        let problems = read(&path).unwrap().problems;
        problems.iter().map(|it| format!("{}: {}", it.code, it.message)).collect::<Vec<_>>()
    };
    let messages = found();
    assert_eq!(messages.len(), 2, "{messages:?}");
    for (message, file) in messages.iter().zip(["a.pem", "a.key"]) {
        assert!(message.starts_with("quic-file: ") && message.contains(file), "{message}");
    }
    folder.write("a.pem", b"", 0o644);
    folder.write("a.key", b"hunter2", 0o640);
    assert_eq!(found(), [""; 0]);
    folder.write("a.key", b"hunter2", 0o644);
    let messages = found();
    assert!(messages[0].starts_with("password-exposed: "), "{messages:?}");
    let fleet = read(&path).unwrap().fleet.unwrap();
    assert!(!fleet.services[0].affinity.any(), "without a key of affinity nothing is kept");
    let quic = fleet.services[0].quic().unwrap();
    assert_eq!((quic.port, quic.preferred_address), (443, false));
    assert_eq!(quic.certificate, folder.0.join("a.pem"), "beside the fleet file");
    assert_eq!(quic.key, folder.0.join("a.key"));
    assert!(!format!("{fleet:?}").contains("hunter2"));
}

#[test]
fn the_files_of_what_sites_share_are_looked_at_too() {
    let folder = Folder::new("state");
    let minimal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal.toml");
    let source = fs::read_to_string(minimal).unwrap();
    let state = "[floor]\nmin-sites = 1\nwhen-alone = \"hold\"\n[fleet-state]\n\
                 servers = [\"nats://198.51.100.9\"]\ntoken-file = \"token\"\nca-file = \"ca\"\n";
    let file = folder.write("fleet.toml", format!("{source}\n{state}").as_bytes(), 0o644);
    let found = |file: &Path| -> Vec<(String, String)> {
        let problems = read(file).unwrap().problems.into_iter();
        let ours =
            problems.filter(|it| ["fleet-state-file", "password-exposed"].contains(&it.code));
        ours.map(|it| (it.code.to_owned(), it.message)).collect()
    };
    let missing = found(&file);
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(missing.iter().all(|(code, _)| code == "fleet-state-file"), "{missing:?}");
    folder.write("ca", b"-", 0o644);
    folder.write("token", b"hunter2", 0o604);
    let exposed = found(&file);
    assert_eq!(exposed.len(), 1, "{exposed:?}");
    assert!(exposed[0].1.contains("mode 604") && !exposed[0].1.contains("hunter2"));
    folder.write("token", b"hunter2", 0o600);
    assert_eq!(found(&file), []);
}

#[test]
fn a_key_of_affinity_is_looked_at_but_never_shown() {
    const SOUND: &[u8] = b"00112233445566778899aAbBcCdDeEfF00112233445566778899aabbccddeeff\n";
    let table: [Row; 7] = [
        ("sound", Some((SOUND, 0o600)), None),
        ("missing", None, Some(("affinity-key", "No such file"))),
        ("too short", Some((&SOUND[1..], 0o600)), Some(("affinity-key", "64 hexadecimal digits"))),
        ("no digits", Some((&[b'x'; 64], 0o600)), Some(("affinity-key", "64 hexadecimal digits"))),
        ("too long", Some((&[b'0'; 999], 0o600)), Some(("affinity-key", "64 hexadecimal digits"))),
        ("a folder", None, Some(("affinity-key", "not a file"))),
        ("for everyone", Some((b"hunter2", 0o644)), Some(("password-exposed", "mode 644"))),
    ];
    for (name, content, expected) in table {
        let folder = Folder::new("affinity");
        let minimal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal.toml");
        let mut source = fs::read_to_string(minimal).unwrap();
        source.push_str("\n[affinity]\nkey = [{ epoch = 0, file = \"secret\" }]\n");
        for (number, site) in anycast_fleet::parse("x", &source.clone())
            .problems
            .iter()
            .filter_map(|it| it.message.split_once(" has no `[site."))
            .map(|(site, _)| site.to_owned())
            .enumerate()
        {
            let id = number + 1;
            for line in [
                format!("[site.{site}.affinity]\n"),
                format!("id = {id}\nv4 = \"203.0.113.{id}\"\n"),
            ] {
                source.push_str(&line);
            }
        }
        let path = folder.write("fleet.toml", source.as_bytes(), 0o644);
        match content {
            Some((octets, mode)) => drop(folder.write("secret", octets, mode)),
            None if name == "a folder" => fs::create_dir(folder.0.join("secret")).unwrap(),
            None => {}
        }
        let report = read(&path).unwrap();
        let found = report.problems.iter().find(|it| it.message.contains("/secret"));
        match (found, expected) {
            (None, None) => assert!(report.fleet.is_some(), "{name}: {}", report.render(false)),
            (Some(found), Some((code, words))) => {
                assert_eq!(found.code, code, "{name}");
                assert!(found.message.contains(words), "{name}: {}", found.message);
            }
            other => panic!("{name}: {other:?}"),
        }
        assert!(!report.render(false).contains("hunter2"), "{name}");
    }
}
