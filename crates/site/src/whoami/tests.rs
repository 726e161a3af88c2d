use std::time::Instant;

use anycast_dns::probe::{Query, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;

fn config(addresses: &[&str]) -> Config {
    Config {
        identity: Identity { site: "fra".into(), fleet: "example".into(), version: "0.1.0".into() },
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        dns_port: Some(0),
        http_port: Some(0),
        quic: None,
    }
}

/// Serves in the background until the test ends.
async fn start(config: Config, limits: Limits) -> Bound {
    let (send, ready) = oneshot::channel();
    tokio::spawn(serve_within(config, limits, |bound| send.send(bound.clone()).unwrap()));
    ready.await.unwrap()
}

async fn ask_udp(server: SocketAddr, query: &Query) -> Response {
    let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&query.emit()).await.unwrap();
    let mut octets = [0; 1500];
    let len = socket.recv(&mut octets).await.unwrap();
    Response::parse(&octets[..len], query).unwrap()
}

async fn ask_tcp(stream: &mut TcpStream, query: &Query) -> Response {
    let octets = query.emit();
    stream.write_u16(u16::try_from(octets.len()).unwrap()).await.unwrap();
    stream.write_all(&octets).await.unwrap();
    let mut reply = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut reply).await.unwrap();
    Response::parse(&reply, query).unwrap()
}

/// Sends `request` and reads until the server closes.
async fn http(server: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn dns_answers_over_udp_and_tcp_from_the_address_asked() {
    let bound = start(config(&["127.0.0.1", "127.0.0.2", "::1"]), Limits::default()).await;
    assert_eq!(bound.dns.len(), 3);
    let whoami = Query::from_text(2, "whoami", "TXT", "IN").unwrap();
    for &server in &bound.dns {
        let response = ask_udp(server, &Query::id_server(1)).await;
        assert_eq!(response.texts().collect::<Vec<_>>(), ["fra"]);
        assert_eq!(response.nsid_text().as_deref(), Some("fra"));

        let mut stream = TcpStream::connect(server).await.unwrap();
        let client = stream.local_addr().unwrap().ip();
        for _ in 0..2 {
            let response = ask_tcp(&mut stream, &whoami).await;
            assert_eq!(
                response.texts().collect::<Vec<_>>(),
                [format!("site=fra client={client}")],
                "two queries on one connection"
            );
        }
    }
}

#[tokio::test]
async fn http_tells_the_site_in_the_body_and_a_header() {
    let bound = start(config(&["127.0.0.2"]), Limits::default()).await;
    let body = "{\"site\":\"fra\",\"fleet\":\"example\",\"address\":\"127.0.0.2\",\
                \"client\":\"127.0.0.1\",\"version\":\"0.1.0\"}\n";
    let common = "cache-control: no-store\r\nserver: anycast\r\nx-anycast-site: fra\r\n";
    let text = "content-type: text/plain; charset=utf-8\r\n";
    let json = "content-type: application/json\r\n";
    for (request, status, kind, more, want) in [
        ("GET / HTTP/1.1", "200 OK", json, "", Some(body)),
        ("GET /?a=b HTTP/1.1", "200 OK", json, "", Some(body)),
        ("HEAD / HTTP/1.1", "200 OK", json, "", None),
        (
            "POST / HTTP/1.1",
            "405 Method Not Allowed",
            text,
            "allow: GET, HEAD\r\n",
            Some("only GET is served here\n"),
        ),
        ("GET /x HTTP/1.1", "404 Not Found", text, "", Some("only / is served here\n")),
    ] {
        let request = format!("{request}\r\nHost: a\r\nConnection: close\r\n\r\n");
        // The client's address depends on the route; pin it.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(bound.http[0]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).await.unwrap();
        let (head, got_body) = got.split_once("\r\n\r\n").unwrap();
        let head: String = head
            .split_inclusive("\r\n")
            .filter(|line| !line.starts_with("date:") && !line.starts_with("connection:"))
            .collect();
        let length = want.unwrap_or(body).len();
        let want_head =
            format!("HTTP/1.1 {status}\r\n{kind}{common}{more}content-length: {length}\r\n");
        assert_eq!(head.trim_end(), want_head.trim_end(), "{request}");
        assert_eq!(got_body, want.unwrap_or_default(), "{request}");
    }
}

#[tokio::test]
async fn what_is_no_http_gets_a_400() {
    let bound = start(config(&["127.0.0.1"]), Limits::default()).await;
    let answer = http(bound.http[0], "SSH-2.0-OpenSSH\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_silent_client_is_cut_off_and_a_busy_one_is_not() {
    let idle = Duration::from_millis(200);
    let bound = start(config(&["127.0.0.1"]), Limits { idle, ..Limits::default() }).await;
    let started = Instant::now();
    let mut busy = TcpStream::connect(bound.dns[0]).await.unwrap();
    let silent = async |server| {
        let mut stream = TcpStream::connect(server).await.unwrap();
        // Half a message, half a head.
        stream.write_all(b"G").await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        started.elapsed()
    };
    let asking = async {
        for _ in 0..6 {
            ask_tcp(&mut busy, &Query::id_server(1)).await;
            tokio::time::sleep(idle / 4).await;
        }
    };
    let (dns, http, ()) = tokio::join!(silent(bound.dns[0]), silent(bound.http[0]), asking);
    assert!(dns >= idle && http >= idle, "cut off too early: {dns:?}, {http:?}");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_closed_and_room_comes_back() {
    let bound = start(config(&["127.0.0.1"]), Limits { connections: 1, ..Limits::default() }).await;
    let mut first = TcpStream::connect(bound.dns[0]).await.unwrap();
    ask_tcp(&mut first, &Query::id_server(1)).await;
    let mut second = TcpStream::connect(bound.dns[0]).await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap(), 0, "closed without a word");
    ask_tcp(&mut first, &Query::id_server(1)).await;

    drop(first);
    // The server learns of it in its own time.
    for _ in 0..200 {
        let mut next = TcpStream::connect(bound.dns[0]).await.unwrap();
        let octets = Query::id_server(1).emit();
        let _ = next.write_u16(u16::try_from(octets.len()).unwrap()).await;
        let _ = next.write_all(&octets).await;
        if next.read_u16().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no room after the first client left");
}

#[tokio::test]
async fn what_hinders_the_start_is_said_in_words() {
    let holder = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap().port();
    let nothing = Config { dns_port: None, http_port: None, ..config(&["127.0.0.1"]) };
    let in_use = Config { dns_port: Some(taken), ..config(&["127.0.0.1"]) };
    let in_use_text = format!(
        "whoami: UDP port {taken} of 127.0.0.1 is in use; find its holder with \
         `ss -lunp 'sport = :{taken}'` and stop it, or give whoami another port"
    );
    for (config, want) in [
        (nothing, "whoami: nothing to serve: no address or no port is given"),
        (in_use, in_use_text.as_str()),
        (
            config(&["192.0.2.1"]),
            "whoami: 192.0.2.1 is not an address of this machine; add it with \
             `ip address add 192.0.2.1/32 dev lo`",
        ),
        (
            config(&["2001:db8::1"]),
            "whoami: 2001:db8::1 is not an address of this machine; add it with \
             `ip address add 2001:db8::1/128 dev lo`",
        ),
    ] {
        let error = serve(config, |bound| panic!("ready at {bound:?}")).await.unwrap_err();
        assert_eq!(error.to_string(), want);
    }
    let address = "127.0.0.1:53".parse().unwrap();
    let denied = refuse(Listener::Tcp, address, io::ErrorKind::PermissionDenied.into());
    assert_eq!(
        denied.to_string(),
        "whoami: TCP port 53 of 127.0.0.1 needs the capability CAP_NET_BIND_SERVICE \
         (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
    );
}
