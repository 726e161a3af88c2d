use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anycast_affinity::quic_lb::{LENGTH, Owner};
use anycast_affinity::{Key, SiteId};
use h3::client::SendRequest;
use hyper::body::{Buf, Bytes};
use hyper::{Request, Response};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError};
use rustls::RootCertStore;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::*;
use crate::whoami::quic::http3::H3_NO_ERROR;
use crate::whoami::{Config, Limits, serve_within};

const NAME: &str = "anycast.example";
const SERVICE: &str = "127.0.0.1";
const OWN: &str = "127.0.0.3";

/// A folder with a certificate and its key, which goes with the value.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("anycast-quic-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// Writes new ones; who trusts the certificate.
    fn write(&self) -> RootCertStore {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        put(&self.certificate(), &made.cert.pem());
        put(&self.key(), &made.signing_key.serialize_pem());
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        roots
    }

    fn certificate(&self) -> PathBuf {
        self.0.join("site.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.join("site.key")
    }
}

/// Puts a file in its place at once.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A whoami that serves in the background until the test ends.
struct Stand {
    files: Files,
    roots: RootCertStore,
    orders: watch::Sender<Option<Orders>>,
    news: mpsc::UnboundedReceiver<News>,
    /// Where it is served first.
    address: SocketAddr,
}

fn quick() -> Limits {
    Limits { look_again: Duration::from_millis(20), ..Limits::default() }
}

impl Stand {
    async fn start(limits: Limits) -> Self {
        Self::start_ordered(limits, Orders::default()).await
    }

    /// One whose ids are made so from the start.
    async fn start_ordered(limits: Limits, orders: Orders) -> Self {
        let files = Files::new();
        let roots = files.write();
        let mut stand = Self::start_with(files, roots, limits, orders).await;
        let News::Served { addresses, .. } = stand.next_news().await else {
            panic!("it is not served");
        };
        stand.address = addresses[0];
        stand
    }

    async fn start_with(
        files: Files,
        roots: RootCertStore,
        limits: Limits,
        orders: Orders,
    ) -> Self {
        let (orders, ordered) = watch::channel(Some(orders));
        let (send, news) = mpsc::unbounded_channel();
        // The same at all addresses, so it cannot be left to the kernel.
        let port = std::net::UdpSocket::bind((SERVICE, 0)).unwrap().local_addr().unwrap().port();
        let quic = Quic {
            port,
            certificate: files.certificate(),
            key: files.key(),
            preferred: vec![OWN.parse().unwrap()],
            orders: ordered,
            news: send,
        };
        let identity =
            Identity { site: "fra".into(), fleet: "example".into(), version: "1".into() };
        let addresses = [SERVICE, "::1"].map(|it| it.parse().unwrap()).to_vec();
        let config =
            Config { identity, addresses, dns_port: Some(0), http_port: None, quic: Some(quic) };
        let (send, ready) = oneshot::channel();
        tokio::spawn(serve_within(config, limits, |_| send.send(()).unwrap()));
        ready.await.unwrap();
        let address = SocketAddr::new(SERVICE.parse().unwrap(), port);
        Self { files, roots, orders, news, address }
    }

    async fn next_news(&mut self) -> News {
        self.news.recv().await.unwrap()
    }

    async fn connect(&self) -> quinn::Connection {
        connect(&self.roots, self.address).await.unwrap()
    }
}

fn orders(site: u8, epoch: u8) -> Orders {
    Orders { owner: Some(Named { site, epoch, secret: [9; 32] }) }
}

fn owner(site: u8, epoch: u8) -> Owner {
    Owner::new(SiteId::new(site).unwrap(), &Key { epoch, secret: [9; 32] }, 0)
}

async fn connect(
    roots: &RootCertStore,
    to: SocketAddr,
) -> Result<quinn::Connection, ConnectionError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider);
    let tls = tls.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let mut tls = tls.with_root_certificates(roots.clone()).with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let from: IpAddr = if to.is_ipv4() { SERVICE } else { "::1" }.parse().unwrap();
    let endpoint = Endpoint::client(SocketAddr::new(from, 0)).unwrap();
    endpoint.connect_with(config, to, NAME).unwrap().await
}

type Sender = SendRequest<h3_quinn::OpenStreams, Bytes>;

async fn http3(connection: &quinn::Connection) -> Sender {
    let connection = h3_quinn::Connection::new(connection.clone());
    let (mut driver, sender) = h3::client::new(connection).await.unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    sender
}

/// The answer's head, and its body.
async fn ask(
    sender: &mut Sender,
    method: &str,
    path: &str,
) -> Result<(Response<()>, String), String> {
    let words = |error: h3::error::StreamError| error.to_string();
    let uri = format!("https://{NAME}{path}");
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let mut stream = sender.send_request(request).await.map_err(words)?;
    stream.finish().await.map_err(words)?;
    let head = stream.recv_response().await.map_err(words)?;
    let mut body = String::new();
    while let Some(mut piece) = stream.recv_data().await.map_err(words)? {
        let octets = piece.copy_to_bytes(piece.remaining());
        body.push_str(std::str::from_utf8(&octets).unwrap());
    }
    Ok((head, body))
}

async fn ask_who(sender: &mut Sender) -> serde_json::Value {
    let (head, body) = ask(sender, "GET", "/").await.unwrap();
    assert_eq!(head.status(), 200);
    serde_json::from_str(&body).unwrap()
}

/// Between a client and the server, so that a test sees datagrams and leads them elsewhere.
struct Relay {
    address: SocketAddr,
    to: watch::Sender<SocketAddr>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Ids that the client sent short headers to, since they were last taken.
    ids: Vec<Vec<u8>>,
    /// Where answers came from, likewise.
    sources: Vec<SocketAddr>,
    /// Whether the server has sent a Retry.
    retried: bool,
}

impl Relay {
    async fn start(to: SocketAddr) -> Self {
        let inner = UdpSocket::bind((SERVICE, 0)).await.unwrap();
        let outer = UdpSocket::bind((SERVICE, 0)).await.unwrap();
        let address = inner.local_addr().unwrap();
        let (to, target) = watch::channel(to);
        let seen = Arc::<Mutex<Seen>>::default();
        let note = seen.clone();
        tokio::spawn(async move {
            let (mut up, mut down) = ([0; 2048], [0; 2048]);
            let mut client = None;
            loop {
                tokio::select! {
                    Ok((len, from)) = inner.recv_from(&mut up) => {
                        client = Some(from);
                        if up[0] & 0x80 == 0 {
                            note.lock().unwrap().ids.push(up[1..=LENGTH].to_vec());
                        }
                        let target = *target.borrow();
                        outer.send_to(&up[..len], target).await.unwrap();
                    }
                    Ok((len, from)) = outer.recv_from(&mut down) => {
                        {
                            let mut seen = note.lock().unwrap();
                            seen.sources.push(from);
                            seen.retried |= down[0] & 0xf0 == 0xf0;
                        }
                        inner.send_to(&down[..len], client.unwrap()).await.unwrap();
                    }
                }
            }
        });
        Self { address, to, seen }
    }

    fn take(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

#[tokio::test]
async fn http3_answers_as_http_does() {
    let stand = Stand::start(quick()).await;
    let v6 = SocketAddr::new("::1".parse().unwrap(), stand.address.port());
    for (address, ip) in [(stand.address, SERVICE), (v6, "::1")] {
        let connection = connect(&stand.roots, address).await.unwrap();
        let mut sender = http3(&connection).await;
        let who = format!(
            "{{\"site\":\"fra\",\"fleet\":\"example\",\"address\":\"{ip}\",\"client\":\"{ip}\",\
             \"version\":\"1\"}}\n"
        );
        for (method, path, status, length, body) in [
            ("GET", "/", 200, who.len(), who.as_str()),
            ("GET", "/?a=b", 200, who.len(), &who),
            ("HEAD", "/", 200, who.len(), ""),
            ("POST", "/", 405, 24, "only GET is served here\n"),
            ("GET", "/x", 404, 22, "only / is served here\n"),
        ] {
            let (head, got) = ask(&mut sender, method, path).await.unwrap();
            assert_eq!(head.status(), status, "{method} {path}");
            assert_eq!(head.headers()["x-anycast-site"], "fra");
            assert_eq!(head.headers()["content-length"], length.to_string().as_str());
            assert_eq!(got, body, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_connection_gets_ids_under_a_new_key_while_it_lives() {
    let id_lifetime = Duration::from_millis(200);
    let limits = Limits { id_lifetime, ..quick() };
    let stand = Stand::start_ordered(limits, orders(7, 0)).await;
    let relay = Relay::start(stand.address).await;
    let connection = connect(&stand.roots, relay.address).await.unwrap();
    let mut sender = http3(&connection).await;
    ask_who(&mut sender).await;
    let ids = relay.take().ids;
    assert!(!ids.is_empty() && ids.iter().all(|id| owner(7, 0).server(id) == Some(0)), "{ids:x?}");
    stand.orders.send_replace(Some(orders(7, 1)));
    for _ in 0..500 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        ask_who(&mut sender).await;
        let ids = relay.take().ids;
        if !ids.is_empty() && ids.iter().all(|id| owner(7, 1).server(id) == Some(0)) {
            return;
        }
    }
    panic!("it has its old ids for good");
}

#[tokio::test]
async fn a_connection_goes_on_at_the_preferred_address_and_none_begins_there() {
    let stand = Stand::start(quick()).await;
    let relay = Relay::start(stand.address).await;
    let connection = connect(&stand.roots, relay.address).await.unwrap();
    let mut sender = http3(&connection).await;
    assert_eq!(ask_who(&mut sender).await["address"], SERVICE);
    assert!(relay.take().sources.iter().all(|it| *it == stand.address));
    let own = SocketAddr::new(OWN.parse().unwrap(), stand.address.port());
    relay.to.send_replace(own);
    let answer = ask_who(&mut sender).await;
    assert_eq!((&answer["address"], &answer["client"]), (&OWN.into(), &SERVICE.into()));
    // What was under way to where it was comes from there; all that follows does not.
    for _ in 0..100 {
        relay.take();
        assert_eq!(ask_who(&mut sender).await["address"], OWN);
        if relay.take().sources.iter().all(|it| *it == own) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ask_who(&mut sender).await;
    let sources = relay.take().sources;
    assert!(!sources.is_empty() && sources.iter().all(|it| *it == own), "{sources:?}");
    let refused = connect(&stand.roots, own).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
}

#[tokio::test]
async fn where_room_is_scarce_a_client_proves_its_address_and_beyond_it_is_refused() {
    let stand = Stand::start(Limits { quic_connections: 3, ..quick() }).await;
    let mut held = Vec::new();
    for (number, retried) in [(1, false), (2, false), (3, true)] {
        let relay = Relay::start(stand.address).await;
        let connection = connect(&stand.roots, relay.address).await.unwrap();
        let mut sender = http3(&connection).await;
        ask_who(&mut sender).await;
        assert_eq!(relay.take().retried, retried, "connection {number}");
        // Without its sender it would be closed.
        held.push((connection, sender));
    }
    let refused = connect(&stand.roots, stand.address).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
    held.pop().unwrap().0.close(H3_NO_ERROR, b"");
    for _ in 0..200 {
        if connect(&stand.roots, stand.address).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no room after a client left");
}

#[tokio::test]
async fn a_client_that_asks_nothing_is_cut_off_and_a_busy_one_is_not() {
    let idle = Duration::from_millis(800);
    let stand = Stand::start(Limits { idle, ..quick() }).await;
    let (silent, busy) = (stand.connect().await, stand.connect().await);
    let mut sender = http3(&busy).await;
    let _silent_sender = http3(&silent).await;
    for _ in 0..8 {
        ask_who(&mut sender).await;
        tokio::time::sleep(idle / 4).await;
    }
    assert!(silent.close_reason().is_some(), "it is still there");
    assert!(busy.close_reason().is_none(), "{:?}", busy.close_reason());
}

#[tokio::test]
async fn what_hinders_quic_is_said_and_goes_away_when_it_does() {
    let files = Files::new();
    let mut stand =
        Stand::start_with(files, RootCertStore::empty(), quick(), Orders::default()).await;
    let unavailable = async |stand: &mut Stand| match stand.next_news().await {
        News::Unavailable(why) => why,
        News::Served { .. } => panic!("it is served"),
    };
    let (certificate, key) = (stand.files.certificate(), stand.files.key());
    let (shown, of_key) = (certificate.display().to_string(), key.display().to_string());
    let [first, second] =
        [(); 2].map(|()| rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap());
    let why = unavailable(&mut stand).await;
    assert!(why.starts_with(&format!("cannot read the certificate {shown}: ")), "{why}");
    put(&certificate, "nothing of the kind");
    assert_eq!(unavailable(&mut stand).await, format!("{shown} holds no certificate in PEM"));
    put(&certificate, &first.cert.pem());
    let why = unavailable(&mut stand).await;
    assert!(why.starts_with(&format!("cannot read the key {of_key}: ")), "{why}");
    put(&key, &second.signing_key.serialize_pem());
    let why = unavailable(&mut stand).await;
    assert!(why.starts_with(&format!("cannot use {shown} with {of_key}: ")), "{why}");
    let holder = std::net::UdpSocket::bind(stand.address).unwrap();
    put(&certificate, &second.cert.pem());
    let why = unavailable(&mut stand).await;
    assert!(why.contains(" is in use; find its holder"), "{why}");
    let mut roots = RootCertStore::empty();
    roots.add(second.cert.der().clone()).unwrap();
    drop(holder);
    let News::Served { addresses, preferred } = stand.next_news().await else { panic!("no") };
    assert_eq!(addresses[0], stand.address);
    assert_eq!(preferred, [SocketAddr::new(OWN.parse().unwrap(), stand.address.port())]);
    ask_who(&mut http3(&connect(&roots, stand.address).await.unwrap()).await).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_and_one_that_is_unusable_is_not() {
    let mut stand = Stand::start(quick()).await;
    let mut sender = http3(&stand.connect().await).await;
    let roots = stand.files.write();
    // Between the two files the pair may not fit.
    while !matches!(stand.next_news().await, News::Served { .. }) {}
    ask_who(&mut http3(&connect(&roots, stand.address).await.unwrap()).await).await;
    connect(&stand.roots, stand.address).await.unwrap_err();
    // What has begun goes on.
    ask_who(&mut sender).await;
    put(&stand.files.key(), "nothing of the kind");
    let News::Unavailable(why) = stand.next_news().await else { panic!("it takes anything") };
    assert!(why.ends_with("; it goes on with what it had"), "{why}");
    ask_who(&mut http3(&connect(&roots, stand.address).await.unwrap()).await).await;
}

#[tokio::test]
async fn a_key_that_becomes_usable_as_it_is_is_used() {
    let mut stand = Stand::start(quick()).await;
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = stand.files.key();
    put(&stand.files.certificate(), &made.cert.pem());
    put(&key, "nothing of the kind");
    // Between the two files the pair does not fit.
    let News::Unavailable(_) = stand.next_news().await else { panic!("it takes anything") };
    // Looked at by now, whatever came between.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let changed = std::fs::metadata(&key).unwrap().modified().unwrap();
    let beside = key.with_extension("new");
    std::fs::write(&beside, made.signing_key.serialize_pem()).unwrap();
    std::fs::File::options().write(true).open(&beside).unwrap().set_modified(changed).unwrap();
    std::fs::rename(&beside, &key).unwrap();
    let served = async { while !matches!(stand.next_news().await, News::Served { .. }) {} };
    tokio::time::timeout(Duration::from_secs(10), served).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    ask_who(&mut http3(&connect(&roots, stand.address).await.unwrap()).await).await;
}

#[tokio::test]
async fn an_endpoint_that_ended_is_told_and_opened_again() {
    let files = Files::new();
    let roots = files.write();
    let (_orders, orders) = watch::channel(Some(Orders::default()));
    let (news, _news) = mpsc::unbounded_channel();
    let quic = Quic {
        port: 0,
        certificate: files.certificate(),
        key: files.key(),
        preferred: Vec::new(),
        orders,
        news,
    };
    let identity = Identity { site: "fra".into(), fleet: "example".into(), version: "1".into() };
    let mut keeper = Keeper {
        quic,
        addresses: vec![SERVICE.parse().unwrap()],
        identity: Arc::new(identity),
        limits: quick(),
        ids: Ids::new(ID_LIFETIME),
        serving: None,
        said: None,
    };
    let Some(News::Served { .. }) = keeper.look() else { panic!("it is not served") };
    assert_eq!(keeper.look(), None);
    keeper.serving.as_ref().unwrap().endpoint.close(H3_NO_ERROR, b"");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let Some(News::Unavailable(why)) = keeper.look() else { panic!("it is not told") };
    assert_eq!(why, "it ended by itself; it is begun again");
    let Some(News::Served { addresses, .. }) = keeper.look() else { panic!("it stays so") };
    ask_who(&mut http3(&connect(&roots, addresses[0]).await.unwrap()).await).await;
}

/// A frame of HEADERS that says to be a gigabyte long (RFC 9114 §7.1).
const HEADERS: &[u8] = &[0x01, 0xc0, 0, 0, 0, 0x40, 0, 0, 0];
/// A control stream with no settings, and a frame of no known type that says to be as long.
const CONTROL: &[u8] = &[0x00, 0x04, 0x00, 0x21, 0xc0, 0, 0, 0, 0x40, 0, 0, 0];

#[tokio::test]
async fn a_client_that_wants_much_kept_is_let_go() {
    let stand = Stand::start(quick()).await;
    // Octets at a time, and how many times there is room for them.
    for (first, length, fit) in [(HEADERS, 4096, 15), (CONTROL, 4096, 15), (CONTROL, 1, 256)] {
        let connection = stand.connect().await;
        let (mut send, _receive) = match first[0] {
            0x01 => connection.open_bi().await.map(|(send, receive)| (send, Some(receive))),
            _ => connection.open_uni().await.map(|send| (send, None)),
        }
        .unwrap();
        send.write_all(first).await.unwrap();
        let mut written = 0;
        let sent = async {
            while send.write_all(&vec![0; length]).await.is_ok() {
                written += 1;
                // So that each is a piece.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), sent).await.unwrap();
        let ConnectionError::ApplicationClosed(close) = connection.closed().await else {
            panic!("{:?}", connection.close_reason());
        };
        assert_eq!(close.error_code, VarInt::from_u32(0x107));
        assert!((fit / 2..fit * 8).contains(&written), "{written} times {length}");
    }
    ask_who(&mut http3(&stand.connect().await).await).await;
}

#[tokio::test]
async fn a_client_may_ask_for_as_long_as_it_likes() {
    let stand = Stand::start(quick()).await;
    let connection = stand.connect().await;
    let mut sender = http3(&connection).await;
    let path = "/".to_owned() + &"x".repeat(1000);
    for _ in 0..2000 {
        ask(&mut sender, "GET", &path).await.unwrap();
    }
    assert!(connection.stats().udp_tx.bytes > 20 * u64::try_from(http3::HELD).unwrap());
}

#[tokio::test]
async fn the_connections_of_hostile_clients_take_no_more_than_is_said() {
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let stand = Stand::start(quick()).await;
    let before = resident();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = stand.connect().await;
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(CONTROL).await.unwrap();
        control.write_all(&vec![0; http3::HELD / 2]).await.unwrap();
        let mut requests = Vec::new();
        for _ in 0..REQUESTS {
            let (mut request, answer) = connection.open_bi().await.unwrap();
            request.write_all(HEADERS).await.unwrap();
            request.write_all(&[0; 1024]).await.unwrap();
            requests.push((request, answer));
        }
        held.push((connection, control, requests));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let open = held.iter().filter(|it| it.0.close_reason().is_none()).count();
    assert_eq!(open, CONNECTIONS);
    // With what the clients take, which are in this process too.
    let each = (resident() - before) / CONNECTIONS;
    println!("{} KiB for each connection and its client", each / 1024);
    assert!(each < 512 * 1024, "{each}");
    let refused = connect(&stand.roots, stand.address).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
}

#[tokio::test]
async fn nothing_that_is_sent_stops_it_or_makes_it_panic() {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.store(true, Ordering::Relaxed);
        usual(panic);
    }));
    let stand = Stand::start(quick()).await;
    let socket = UdpSocket::bind((SERVICE, 0)).await.unwrap();
    let random = rustls::crypto::ring::default_provider().secure_random;
    let mut octets = [0; 1300];
    for at in 0..2000 {
        random.fill(&mut octets).unwrap();
        if at % 2 == 0 {
            // As an Initial of version 1 begins (RFC 9000 §17.2.2).
            octets[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        let length = if at % 3 == 0 { at % 1300 } else { 1300 };
        socket.send_to(&octets[..length], stand.address).await.unwrap();
    }
    let mut clients = tokio::task::JoinSet::new();
    for at in 0..200_usize {
        let connection = stand.connect().await;
        let mut octets = octets;
        random.fill(&mut octets).unwrap();
        // A type of frame or stream that there is, mostly, and a length.
        octets[0] = u8::try_from(at % 15).unwrap();
        octets[1] &= 0x3f;
        let length = 2 + at * 5 % 1200;
        clients.spawn(async move {
            for what in [&octets[..length], &[0x00, 0x04, 0x00]] {
                if let Ok(mut send) = connection.open_uni().await {
                    let _ = send.write_all(what).await;
                }
            }
            if let Ok((mut send, _)) = connection.open_bi().await {
                let _ = send.write_all(&octets[..length]).await;
                let _ = send.finish();
            }
            // What was sent is read meanwhile.
            let _ = tokio::time::timeout(Duration::from_millis(300), connection.closed()).await;
        });
    }
    clients.join_all().await;
    ask_who(&mut http3(&stand.connect().await).await).await;
    assert!(!PANICKED.load(Ordering::Relaxed), "a task of the server ended so");
}
