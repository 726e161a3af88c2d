use std::fs;
use std::net::SocketAddr;
use std::time::SystemTime;

use anycast_fleet::check::{Body, Method};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::{Check, Kind, http, run};
use super::*;

const DAY: u64 = 86_400;

/// A server with a certificate for `names` that began thirty days ago and is valid for so many
/// days and an hour, and the file of who signed it.
async fn server(name: &str, names: &[&str], days: u64) -> (SocketAddr, PathBuf) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let file = std::env::temp_dir().join(format!("anycast-ca-{name}-{}", std::process::id()));
    fs::write(&file, ca_certificate.pem()).unwrap();

    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut leaf = CertificateParams::new(names).unwrap();
    let start = SystemTime::now() - Duration::from_secs(30 * DAY);
    leaf.not_before = start.into();
    leaf.not_after = (start + Duration::from_secs(days * DAY + 3600)).into();
    let certificate = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();

    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let asked_for = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
            let _ = stream.read(&mut [0; 2048]).await;
            let body = format!("this is {asked_for}");
            let len = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (address, file)
}

/// Trusts the file, and asks for www.example.net.
fn trusting(ca_file: &Path) -> anycast_fleet::check::Tls {
    anycast_fleet::check::Tls {
        server_name: None,
        verify: true,
        ca_file: Some(ca_file.to_owned()),
        expires_in: None,
    }
}

async fn words(target: SocketAddr, host: Option<&str>, tls: &anycast_fleet::check::Tls) -> String {
    let asked = http::Target {
        method: Method::Get,
        path: "/".to_owned(),
        host: host.map(str::to_owned),
        statuses: vec![200..=200],
        header: None,
        body: Some(Body::Text("this is".to_owned())),
        tls: Some(Tls::new(tls, host)),
    };
    let check =
        Check { kind: Kind::Http(Arc::new(asked)), target, timeout: Duration::from_secs(5) };
    run(&check).await.map_or_else(|failure| failure.to_string(), |()| "pass".to_owned())
}

#[tokio::test]
async fn the_certificate_must_be_of_the_host_signed_and_valid_for_long_enough() {
    let host = Some("www.example.net:8443");
    let (good, ca) = server("good", &["www.example.net", "127.0.0.1"], 40).await;
    let (past, past_ca) = server("past", &["www.example.net"], 28).await;
    let days = |days: u64| Some(Duration::from_secs(days * DAY));
    let tls = trusting(&ca);
    for (name, target, host, tls, want) in [
        ("all is well", good, host, tls.clone(), "pass"),
        ("by address", good, None, tls.clone(), "pass"),
        (
            "another host",
            good,
            Some("other.example.net"),
            tls.clone(),
            "TLS: invalid peer certificate: certificate not valid for name \"other.example.net\"",
        ),
        (
            "another name than the host's",
            good,
            Some("other.example.net"),
            anycast_fleet::check::Tls {
                server_name: Some("www.example.net".into()),
                ..tls.clone()
            },
            "pass",
        ),
        ("another signer", good, host, trusting(&past_ca), "TLS: invalid peer certificate:"),
        (
            "nobody looks",
            past,
            host,
            anycast_fleet::check::Tls { verify: false, ca_file: None, ..tls.clone() },
            "pass",
        ),
        (
            "it has ended",
            past,
            host,
            trusting(&past_ca),
            "TLS: invalid peer certificate: certificate expired",
        ),
        (
            "valid for long enough",
            good,
            host,
            anycast_fleet::check::Tls { expires_in: days(9), ..tls.clone() },
            "pass",
        ),
        (
            "it ends too soon",
            good,
            host,
            anycast_fleet::check::Tls { expires_in: days(11), ..tls.clone() },
            "the certificate ends in 10 days, expected at least 11 days from now",
        ),
        (
            "no such file",
            good,
            host,
            trusting(Path::new("/nowhere/ca.pem")),
            "cannot use /nowhere/ca.pem:",
        ),
    ] {
        let outcome = words(target, host, &tls).await;
        assert!(outcome.starts_with(want), "{name}: {outcome}");
    }
    fs::remove_file(ca).unwrap();
    fs::remove_file(past_ca).unwrap();
}

#[tokio::test]
async fn what_speaks_no_tls_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let tls = anycast_fleet::check::Tls {
        server_name: None,
        verify: false,
        ca_file: None,
        expires_in: None,
    };
    let outcome = words(target, None, &tls).await;
    assert!(outcome.starts_with("TLS: received corrupt message"), "{outcome}");
}

#[test]
fn a_port_is_no_part_of_the_name() {
    for (host, name) in [
        ("www.example.net", "www.example.net"),
        ("www.example.net:8443", "www.example.net"),
        ("192.0.2.1:443", "192.0.2.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        assert_eq!(without_port(host), name);
    }
}
