use std::time::Instant;

use anycast_fleet::check::{Body, Method, Pattern};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

mod local;

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

fn check(kind: Kind, target: SocketAddr, millis: u64) -> Check {
    Check { kind, target, timeout: MILLIS(millis) }
}

/// A GET that is answered with 200.
pub(super) fn get(path: &str) -> http::Target {
    http::Target {
        method: Method::Get,
        path: path.to_owned(),
        host: None,
        statuses: vec![200..=200],
        header: None,
        body: None,
        tls: None,
    }
}

fn http_check(target: SocketAddr) -> Check {
    check(Kind::Http(Arc::new(get("/health"))), target, 200)
}

fn dns_kind(transport: Transport, expect: Option<Expected>) -> Kind {
    let query = Query::from_text(0, "id.server", "TXT", "CH").unwrap();
    Kind::Dns { query, transport, rcode: Rcode::NOERROR, expect, cache_busting: false }
}

fn command(argv: &[&str]) -> Check {
    let argv = argv.iter().map(|&word| word.to_owned()).collect();
    let env = vec![("WORD".to_owned(), "from the env".to_owned())];
    check(Kind::Command { argv, env }, "192.0.2.7:80".parse().unwrap(), 5000)
}

fn shell(script: &str) -> Check {
    command(&["/bin/sh", "-c", script])
}

async fn words(check: &Check) -> String {
    run(check).await.map_or_else(|failure| failure.to_string(), |()| "pass".to_owned())
}

/// A port on which nobody listens.
async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Answers each connection with `answer` and closes; with `None` it stays silent.
async fn server(answer: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            match answer {
                Some(answer) => {
                    let _ = stream.read(&mut [0; 2048]).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
                None => silent.push(stream),
            }
        }
    });
    address
}

/// Answers each datagram with what `answer` makes of it.
async fn udp_server(answer: fn(&[u8]) -> Vec<Vec<u8>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut octets = [0; 1500];
        loop {
            let (len, client) = socket.recv_from(&mut octets).await.unwrap();
            for reply in answer(&octets[..len]) {
                socket.send_to(&reply, client).await.unwrap();
            }
        }
    });
    address
}

fn whoami(query: &[u8]) -> Vec<u8> {
    let identity =
        crate::whoami::Identity { site: "fra".into(), fleet: "f".into(), version: String::new() };
    let client = "192.0.2.1:1".parse().unwrap();
    anycast_dns::whoami::answer(query, &identity, client, Transport::Udp).unwrap()
}

#[tokio::test]
async fn tcp_passes_where_somebody_listens() {
    let listening = server(None).await;
    assert_eq!(words(&check(Kind::Tcp, listening, 300)).await, "pass");
    assert_eq!(words(&check(Kind::Tcp, closed_port().await, 300)).await, "connection refused");
}

#[tokio::test]
async fn udp_passes_with_the_answer() {
    let echo = udp_server(|datagram| vec![[b"echo \xff", datagram].concat()]).await;
    let silent = udp_server(|_| vec![]).await;
    for (name, target, expect, want) in [
        ("any answer", echo, None, "pass"),
        ("a part of the answer", echo, Some(&b"\xffpi"[..]), "pass"),
        (
            "another answer",
            echo,
            Some(b"pong"),
            "answer '65 63 68 6f 20 ff 70 69 6e 67', expected 'pong'",
        ),
        ("silence", silent, None, "no answer within 200 ms"),
        ("nobody", closed_port().await, None, "connection refused"),
    ] {
        let kind = Kind::Udp { send: b"ping".to_vec(), expect: expect.map(<[u8]>::to_vec) };
        assert_eq!(words(&check(kind, target, 200)).await, want, "{name}");
    }
}

#[tokio::test]
async fn icmp_passes_if_the_host_answers() {
    for target in ["127.0.0.1:0", "[::1]:0"] {
        let outcome = words(&check(Kind::Icmp, target.parse().unwrap(), 1000)).await;
        if outcome.contains("CAP_NET_RAW") {
            println!("skipped: {outcome}");
            return;
        }
        assert_eq!(outcome, "pass", "{target}");
    }
}

#[tokio::test]
async fn http_passes_with_the_status_alone() {
    for (answer, want) in [
        (Some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "pass"),
        (Some("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nonly this"), "pass"),
        (Some("HTTP/1.1 503 Service Unavailable\r\n\r\n"), "status 503, expected 200"),
        (Some("HTTP/1.1 204 No Content\r\n\r\n"), "status 204, expected 200"),
        (Some("SSH-2.0-OpenSSH_10.0\r\n"), "not an HTTP answer: invalid HTTP version parsed"),
        (Some(""), "connection closed without an answer"),
        (None, "no answer within 200 ms"),
    ] {
        let target = server(answer).await;
        assert_eq!(words(&http_check(target)).await, want, "{answer:?}");
    }
    assert_eq!(words(&http_check(closed_port().await)).await, "connection refused");
}

#[tokio::test]
async fn http_passes_with_the_status_header_and_body_that_are_asked_for() {
    let ok = "HTTP/1.1 204 Fine\r\nServer: example/1\r\nServer: other\r\n\r\n";
    let hello = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nhello, w\u{f6}rld";
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    let header = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
    let text = |text: &str| Some(Body::Text(text.to_owned()));
    let pattern = |text: &str| Some(Body::Pattern(Pattern::new(text).unwrap()));
    for (answer, asked, want) in [
        (ok, http::Target { statuses: vec![200..=299], ..get("/") }, "pass"),
        (ok, http::Target { statuses: vec![200..=200, 204..=204], ..get("/") }, "pass"),
        (
            ok,
            http::Target { statuses: vec![200..=203, 301..=301], ..get("/") },
            "status 204, expected 200-203 or 301",
        ),
        (hello, http::Target { header: header("content-length", ""), ..get("/") }, "pass"),
        (hello, http::Target { header: header("Server", ""), ..get("/") }, "no header Server"),
        (
            ok,
            http::Target {
                statuses: vec![204..=204],
                header: header("server", "other"),
                ..get("/")
            },
            "pass",
        ),
        (
            ok,
            http::Target { statuses: vec![204..=204], header: header("server", "nsd"), ..get("/") },
            "header server is 'example/1, other', expected 'nsd'",
        ),
        (hello, http::Target { body: text("hello"), ..get("/") }, "pass"),
        (hello, http::Target { body: pattern("^hel+o, w[^ ]*d$"), ..get("/") }, "pass"),
        (chunked, http::Target { body: text("hello"), ..get("/") }, "pass"),
        (
            hello,
            http::Target { body: text("bye"), ..get("/") },
            "'bye' is not in the body (13 octets)",
        ),
        (
            hello,
            http::Target { body: pattern("^world"), ..get("/") },
            "nothing in the body (13 octets) matches ^world",
        ),
        (
            cut,
            http::Target { body: text("hello"), ..get("/") },
            "connection closed without an answer",
        ),
        (ok, http::Target { method: Method::Head, statuses: vec![204..=204], ..get("/") }, "pass"),
    ] {
        let target = server(Some(answer)).await;
        let what = format!("{asked:?}");
        assert_eq!(words(&check(Kind::Http(Arc::new(asked)), target, 1000)).await, want, "{what}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_read_no_further_than_a_mebibyte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 2048]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
    });
    let asked = http::Target { body: Some(Body::Text("y".to_owned())), ..get("/") };
    assert_eq!(
        words(&check(Kind::Http(Arc::new(asked)), target, 5000)).await,
        "'y' is not in the body (1048576 octets)"
    );
}

#[tokio::test]
async fn dns_asks_for_names_of_its_own_and_for_authenticity() {
    // Says back which name it was asked for, and is authentic if the query's first label has no
    // digit in it.
    let server = udp_server(|query| {
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        // RD and AD of the query are what the reply has too: AD is the bit 0x20.
        if query[12] == 16 {
            answer[3] &= !0x20;
        }
        // Without the OPT record.
        let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
        answer.truncate(end);
        answer[11] = 0;
        vec![answer]
    })
    .await;
    let query = Query::from_text(0, "name.example", "A", "IN").unwrap();
    let kind = |authentic, cache_busting| Kind::Dns {
        query: Query { authentic, ..query.clone() },
        transport: Transport::Udp,
        rcode: Rcode::NOERROR,
        expect: None,
        cache_busting,
    };
    for (authentic, cache_busting, want) in [
        (false, false, "pass"),
        (true, false, "pass"),
        (false, true, "pass"),
        (true, true, "the answer is not authentic (no AD)"),
    ] {
        let outcome = words(&check(kind(authentic, cache_busting), server, 1000)).await;
        assert_eq!(outcome, want, "{authentic} {cache_busting}");
    }
    let names: Vec<_> = (0..2).map(|_| dns::of_its_own(&query, true).name.to_string()).collect();
    assert!(names[0] != names[1] && names[0].ends_with(".name.example"), "{names:?}");
    assert_eq!(names[0].len(), "name.example".len() + 17);
}

#[tokio::test]
async fn http_asks_for_the_path_at_the_host() {
    for (host, want) in [(None, None), (Some("www.example.net"), Some("www.example.net"))] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let asked = http::Target { host: host.map(str::to_owned), ..get("/health?full=1") };
        let kind = Kind::Http(Arc::new(asked));
        let check = check(kind, target, 1000);
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut octets = [0; 2048];
            let len = stream.read(&mut octets).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            String::from_utf8(octets[..len].to_vec()).unwrap()
        };
        let (outcome, request) = tokio::join!(run(&check), serve);
        assert_eq!(outcome, Ok(()));
        let want = want.map_or(target.to_string(), str::to_owned);
        assert_eq!(
            request,
            format!(
                "GET /health?full=1 HTTP/1.1\r\nhost: {want}\r\n\
                 user-agent: anycast-check\r\nconnection: close\r\n\r\n"
            )
        );
    }
}

#[tokio::test]
async fn dns_passes_with_the_code_and_the_data() {
    let whoami_server = udp_server(|query| vec![whoami(query)]).await;
    let late = udp_server(|query| {
        let mut other = whoami(query);
        other[0] ^= 1;
        vec![other, whoami(query)]
    })
    .await;
    let noise = udp_server(|_| vec![b"hello".to_vec()]).await;
    let silent = udp_server(|_| vec![]).await;
    let refuses = |mut kind: Kind| {
        if let Kind::Dns { rcode, .. } = &mut kind {
            *rcode = Rcode::REFUSED;
        }
        kind
    };
    let udp = |expect: Option<&str>| {
        let exactly = |data: &str| Expected::Exactly(vec![data.to_owned()]);
        dns_kind(Transport::Udp, expect.map(exactly))
    };
    let part = |part: &str| dns_kind(Transport::Udp, Some(Expected::Part(part.to_owned())));
    for (name, kind, target, want) in [
        ("any data", udp(None), whoami_server, "pass"),
        ("the data", udp(Some("fra")), whoami_server, "pass"),
        ("a part of the data", part("ra"), whoami_server, "pass"),
        ("no more than a part", udp(Some("ra")), whoami_server, "answer 'fra', expected 'ra'"),
        ("not even a part", part("nrt"), whoami_server, "answer 'fra', expected 'nrt'"),
        ("other data", udp(Some("nrt")), whoami_server, "answer 'fra', expected 'nrt'"),
        (
            "another code",
            refuses(udp(None)),
            whoami_server,
            "response code NOERROR, expected REFUSED",
        ),
        ("after an answer with another id", udp(Some("fra")), late, "pass"),
        ("no DNS", udp(None), noise, "not a DNS answer"),
        ("silence", udp(None), silent, "no answer within 200 ms"),
        ("nobody", udp(None), closed_port().await, "connection refused"),
        (
            "nobody, over TCP",
            dns_kind(Transport::Tcp, None),
            closed_port().await,
            "connection refused",
        ),
        (
            "a server that hangs up, over TCP",
            dns_kind(Transport::Tcp, None),
            server(Some("")).await,
            "connection closed without an answer",
        ),
        (
            "no DNS over TCP",
            dns_kind(Transport::Tcp, None),
            server(Some("\0\x02hi")).await,
            "not a DNS answer",
        ),
    ] {
        assert_eq!(words(&check(kind, target, 200)).await, want, "{name}");
    }
}

#[tokio::test]
async fn dns_over_tcp_passes_too() {
    let (send, ready) = tokio::sync::oneshot::channel();
    let config = crate::whoami::Config {
        identity: crate::whoami::Identity { site: "fra".into(), ..Default::default() },
        addresses: vec!["::1".parse().unwrap()],
        dns_port: Some(0),
        http_port: None,
        quic: None,
    };
    tokio::spawn(crate::whoami::serve(config, |bound| send.send(bound.dns[0]).unwrap()));
    let target = ready.await.unwrap();
    for transport in [Transport::Udp, Transport::Tcp] {
        let check = check(
            dns_kind(transport, Some(Expected::Exactly(vec!["fra".to_owned()]))),
            target,
            1000,
        );
        assert_eq!(words(&check).await, "pass", "{transport:?}");
    }
}

#[tokio::test]
async fn a_command_passes_with_exit_code_0() {
    for (name, check, want) in [
        ("0", shell("exit 0"), "pass"),
        ("1", shell("exit 1"), "exit code 1"),
        (
            "the last line of stderr",
            shell("echo out; echo one >&2; echo two >&2; echo >&2; exit 2"),
            "exit code 2: two",
        ),
        (
            "the target and the variables",
            shell("echo $ANYCAST_ADDRESS $ANYCAST_PORT $WORD >&2; exit 3"),
            "exit code 3: 192.0.2.7 80 from the env",
        ),
        ("a signal", shell("kill -TERM $$"), "ended by signal 15"),
        ("forever", Check { timeout: MILLIS(300), ..shell("sleep 60") }, "no answer within 300 ms"),
        (
            "much output, which nobody keeps",
            shell("yes | head -c 5000000 >&2; yes | head -c 5000000; echo end >&2; exit 4"),
            "exit code 4: end",
        ),
        (
            "a child that keeps the pipe open",
            shell("sleep 0.5 & echo end >&2; exit 5"),
            "exit code 5: end",
        ),
        (
            "no such program",
            command(&["/nowhere/check"]),
            "cannot start /nowhere/check: No such file or directory (os error 2)",
        ),
        ("no program", command(&[]), "cannot start nothing: no program is given"),
    ] {
        assert_eq!(words(&check).await, want, "{name}");
    }
}

/// Whether the process runs; one that is dead but not yet reaped by its parent does so only if
/// that parent is us.
fn runs(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let mut fields = fields.split(' ');
    let (state, parent) = (fields.next().unwrap(), fields.next().unwrap());
    state != "Z" || parent == std::process::id().to_string()
}

#[tokio::test]
async fn at_the_timeout_the_whole_process_group_ends_without_zombies() {
    let file = std::env::temp_dir().join(format!("anycast-check-{}", std::process::id()));
    let script = format!("sleep 60 & echo $$ $! > {}; wait", file.display());
    let started = Instant::now();
    let check = Check { timeout: MILLIS(300), ..shell(&script) };
    assert_eq!(words(&check).await, "no answer within 300 ms");
    assert!(started.elapsed() < MILLIS(2000), "{:?}", started.elapsed());
    let pids = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let pids: Vec<_> = pids.split_whitespace().collect();
    assert_eq!(pids.len(), 2);
    for _ in 0..100 {
        if !pids.iter().any(|pid| runs(pid)) {
            return;
        }
        tokio::time::sleep(MILLIS(10)).await;
    }
    panic!("still there: {pids:?}");
}

#[tokio::test]
async fn the_reading_of_a_command_is_the_number_on_its_last_line() {
    let table = [
        ("echo 12", Ok(Some(12.0))),
        ("echo 7; echo ' 3.5 '; echo", Ok(Some(3.5))),
        ("echo 7; echo seven", Ok(None)),
        ("echo 1e999", Ok(None)),
        ("true", Ok(None)),
        ("yes 1 | head -c 100000; echo 2", Ok(Some(2.0))),
        ("echo 12; exit 3", Err(())),
    ];
    for (script, expected) in table {
        assert_eq!(super::read(&shell(script)).await.map_err(drop), expected, "{script}");
    }
    assert_eq!(run(&shell("echo 12")).await, Ok(()));
}
