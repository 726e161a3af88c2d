//! `whoami` over QUIC: HTTP/3, connection ids that name the site, the preferred address.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anycast_affinity::quic_lb::{LENGTH, Owner};
use anycast_affinity::{Key, SiteId};
use hyper::Request;
use hyper::body::Buf;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use rcgen::{CertifiedKey, KeyPair};
use rustls::RootCertStore;
use serde_json::Value;

use crate::lab::{AT_HOME, FLEET, WORLD};
use crate::program::{Desk, Lab, Process, SETTLED, User, as_each_user, installed, until};
use crate::site::kinds;

as_each_user! {
    a_client_of_another_make_is_told_the_sites_own_address_and_goes_on_there
    what_hinders_quic_is_said_and_the_rest_is_served
}

const NAME: &str = "anycast.example";
/// A client that follows the preferred address: ngtcp2's.
const CLIENT: &str = "gtlsclient";
/// The key of affinity, as its file has it.
const SECRET: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

fn identity() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate")
}

/// Writes certificate and key where [`fleet`] has them.
fn write_identity(desk: &Desk, identity: &CertifiedKey<KeyPair>) {
    desk.write("secrets/whoami.pem", identity.cert.pem());
    desk.write("secrets/whoami.key", identity.signing_key.serialize_pem());
}

/// The small fleet, with QUIC whose connections are kept, as they are by default.
fn fleet() -> String {
    let whoami = "builtin = \"whoami\"\nquic-certificate = \"secrets/whoami.pem\"\n\
                  quic-key = \"secrets/whoami.key\"\npreferred-address = true\n";
    let site = |name: &str, id: u8, v4: u8, v6: u8| {
        format!(
            "[site.{name}.affinity]\nid = {id}\nv4 = \"198.51.100.{v4}\"\n\
             v6 = \"2001:db8:ffff:{v6}::1\"\n"
        )
    };
    let key = "[affinity]\n[[affinity.key]]\nepoch = 0\nfile = \"secrets/affinity-0\"\n";
    let fleet = FLEET.replace("builtin = \"whoami\"\n", whoami);
    [&fleet, key, &site("fra", 1, 1, 0), &site("nyc", 2, 5, 2)].concat()
}

fn lab(desk: &Desk) -> Option<Lab<'_>> {
    desk.write("secrets/affinity-0", SECRET);
    let (fleet, world) = (desk.write("fleet.toml", fleet()), desk.write("world.toml", WORLD));
    let lab = desk.lab(&[&fleet, "--world", &world])?;
    lab.settles("everybody is at home", AT_HOME);
    Some(lab)
}

fn events(lab: &Lab<'_>) -> Value {
    lab.exec("fra", &["anycast", "show", "events", "--json"]).json()
}

/// The details of fra's events of a kind, once there are so many.
fn details(lab: &Lab<'_>, kind: &str, count: usize) -> Vec<String> {
    until(&format!("{count} of {kind}"), SETTLED, || {
        let all = events(lab);
        let of_it = all.as_array().expect("a list").iter().filter(|event| event["kind"] == kind);
        let found: Vec<String> =
            of_it.map(|event| event["detail"].as_str().expect("words").to_owned()).collect();
        if found.len() >= count { Ok(found) } else { Err(all) }
    })
}

/// The id that a line of the client's speaks of.
fn id_in(line: &str) -> Option<Vec<u8>> {
    let digits = line.split("dcid=0x").nth(1)?.split_whitespace().next()?;
    let octet = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(octet).collect()
}

fn a_client_of_another_make_is_told_the_sites_own_address_and_goes_on_there(user: User) {
    if !installed(&[CLIENT]) {
        return;
    }
    let desk = Desk::new(user);
    write_identity(&desk, &identity());
    let Some(lab) = lab(&desk) else { return };
    let served = details(&lab, "quic-served", 1);
    assert_eq!(
        served,
        ["HTTP/3 at 192.0.2.1:443, [2001:db8:ac::1]:443; clients are told 198.51.100.1:443, \
          [2001:db8:ffff::1]:443"]
    );
    let owner = |site| {
        let key = Key { epoch: 0, secret: [0x5a; 32] };
        Owner::new(SiteId::new(site).expect("an id"), &key, 0)
    };
    for (address, own) in [("192.0.2.1", "198.51.100.1"), ("2001:db8:ac::1", "2001:db8:ffff::1")] {
        let uri = format!("https://{NAME}/");
        let options = ["--exit-on-all-streams-close", "--no-quic-dump", "--delay-stream=700ms"];
        let command = [&[CLIENT], &options[..], &[address, "443", &uri]].concat();
        let output = lab.exec("paris", &command);
        let told = output.out + &output.err;
        let says = |words: &str| assert!(told.contains(words), "no {words:?}: {told}");
        // The transport parameter, then what became of it.
        says("transport_parameters preferred_address.ipv4_addr=198.51.100.1\n");
        says("transport_parameters preferred_address.ipv4_port=443\n");
        says("transport_parameters preferred_address.ipv6_port=443\n");
        says(&format!("selected server preferred_address is [{own}]:443"));
        says("[:status: 200]");
        says("[x-anycast-site: fra]");
        let asked = told.find("submit request headers").expect("it asks");
        let sent = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("Sent packet"));
            lines.map(str::to_owned).collect()
        };
        let (before, after) = (sent(&told[..asked]), sent(&told[asked..]));
        assert!(before[0].contains(&format!("remote=[{address}]:443")), "{before:?}");
        let there = |line: &String| line.contains(&format!("remote=[{own}]:443"));
        assert!(!after.is_empty() && after.iter().all(there), "{after:?}");
        // Whatever the client sends after the handshake, its id names the site.
        let short = told.lines().filter(|it| it.contains(" pkt tx ") && it.contains("type=1RTT"));
        let ids: Vec<Vec<u8>> = short.filter_map(id_in).collect();
        assert!(ids.len() >= 3, "{ids:?}");
        for id in &ids {
            assert_eq!((id.len(), owner(1).server(id)), (LENGTH, Some(0)), "{id:x?}");
            assert_eq!(owner(2).server(id), None);
        }
        let mut kinds = ids.clone();
        kinds.sort_unstable();
        kinds.dedup();
        assert!(kinds.len() >= 2, "another id at another address: {kinds:x?}");
    }
}

fn what_hinders_quic_is_said_and_the_rest_is_served(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab(&desk) else { return };
    let certificate = desk.path("secrets/whoami.pem");
    let begins = format!("cannot read the certificate {}: ", certificate.display());
    let why = details(&lab, "quic-unavailable", 1);
    assert!(why.len() == 1 && why[0].starts_with(&begins), "{why:?}");
    let trouble = || {
        let status = lab.exec("fra", &["anycast", "status"]);
        let trouble = status.out.lines().find(|line| line.contains("service whoami over QUIC: "));
        trouble.map(|line| (status.code, line.to_owned()))
    };
    let (code, line) = trouble().expect("it is in the status");
    assert!(code == Some(1) && line.contains(&begins), "{line}");
    assert_eq!(lab.ask_http("paris", "192.0.2.1").as_deref(), Some("fra"));
    // Nobody has to do anything but to put the files there.
    write_identity(&desk, &identity());
    details(&lab, "quic-served", 1);
    assert_eq!(trouble(), None);
    fs::write(certificate, "nothing of the kind").expect("the test's own file");
    let why = details(&lab, "quic-unavailable", 2);
    assert!(why[1].ends_with("; it goes on with what it had"), "{why:?}");
    assert!(trouble().is_some_and(|(_, line)| line.ends_with(&why[1])));
    // The service has noticed nothing, and nobody has seen a secret.
    let events = events(&lab);
    let started = kinds(&events).into_iter().filter(|kind| *kind == "service-started");
    assert_eq!(started.count(), 1, "{events}");
    let key = fs::read_to_string(desk.path("secrets/whoami.key")).expect("the test's own file");
    let key = key.lines().nth(1).expect("a line of the key");
    let lines = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '";
    let all = [
        events.to_string(),
        lab.process.words(),
        lab.exec("fra", &["anycast", "status", "--json"]).out,
        lab.exec("fra", &["anycast", "show", "services", "--json"]).out,
        lab.exec("fra", &["sh", "-c", lines]).out,
    ];
    assert!(all[4].contains("--quic-key"), "{}", all[4]);
    for text in &all {
        assert!(!text.contains(key) && !text.contains(SECRET), "{text}");
        assert!(!text.contains("90, 90, 90") && !text.contains("90,90,90"), "{text}");
    }
}

/// The program alone, on this machine, with a client that shares no process with it.
#[test]
fn whoami_alone_answers_http3() {
    let desk = Desk::new(User::Ordinary);
    let identity = identity();
    write_identity(&desk, &identity);
    let port = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let port = port.expect("a port").port();
    let alone = ["whoami", "--fleet", "test", "--site", "fra", "--dns-port", "0", "--http-port"];
    let http_port = port.to_string();
    let quic = [
        "--quic-port",
        &http_port,
        "--quic-certificate",
        "secrets/whoami.pem",
        "--quic-key",
        "secrets/whoami.key",
        "127.0.0.1",
    ];
    let process = Process::start(desk.anycast(&[&alone[..], &[&http_port], &quic].concat()));
    let line = format!("quic: HTTP/3 at 127.0.0.1:{port}\n");
    until("it is served", SETTLED, || process.said(&line).then_some(()).ok_or(process.words()));
    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone()).expect("a certificate");
    let address = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = async { tokio::time::timeout(Duration::from_secs(10), ask(roots, address)).await };
    let answer = runtime.expect("a runtime").block_on(asked).expect("it answers");
    assert_eq!(answer["site"], "fra");
    assert_eq!((&answer["address"], &answer["client"]), (&"127.0.0.1".into(), &"127.0.0.1".into()));
}

async fn ask(roots: RootCertStore, address: SocketAddr) -> Value {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider);
    let tls = tls.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3")));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    let connection = endpoint.connect_with(config, address, NAME).expect("it begins");
    let connection = h3_quinn::Connection::new(connection.await.expect("a connection"));
    let (mut driver, mut sender) = h3::client::new(connection).await.expect("HTTP/3");
    let driver = async { std::future::poll_fn(|cx| driver.poll_close(cx)).await };
    let asked = async {
        let request = Request::builder().uri(format!("https://{NAME}/")).body(());
        let mut stream = sender.send_request(request.expect("a request")).await.expect("it goes");
        stream.finish().await.expect("it goes");
        let head = stream.recv_response().await.expect("an answer");
        assert_eq!(head.headers()["content-type"], "application/json");
        let mut body = Vec::new();
        while let Some(mut piece) = stream.recv_data().await.expect("a body") {
            body.extend(piece.copy_to_bytes(piece.remaining()));
        }
        serde_json::from_slice(&body).expect("JSON")
    };
    tokio::select! {
        answer = asked => answer,
        error = driver => panic!("{error}"),
    }
}

/// What is wrong with the command line is said.
#[test]
fn a_certificate_needs_its_key_and_each_family_has_one_preferred_address() {
    let desk = Desk::new(User::Ordinary);
    let whoami = ["whoami", "--fleet", "test", "--site", "fra", "127.0.0.1"];
    let run = |more: &[&str]| desk.run(&[&whoami[..], more].concat());
    run(&["--quic-certificate", "a"]).failed_with(2, &["--quic-key"]);
    run(&["--preferred-address", "127.0.0.2"]).failed_with(2, &["--quic-certificate"]);
    let both = ["--quic-certificate", "a", "--quic-key", "b"];
    let twice = ["--preferred-address", "127.0.0.2", "--preferred-address", "127.0.0.3"];
    run(&[&both[..], &twice].concat()).failed_with(2, &["once for each family"]);
}
