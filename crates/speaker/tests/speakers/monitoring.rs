//! BMP and MRT of speakers on the loopback interface: what a station of the test's own is told,
//! and what files hold, read by our parser, by bgpkit-parser and by bgpdump.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anycast_bgp::bmp::{self, Message, Monitored, PeerDown, Statistic};
use anycast_bgp::message::{Context, EXTENDED_MAX_LEN, Message as Bgp};
use anycast_bgp::policy::{Action, Match, Policy, Rule, Set};
use anycast_bgp::{AsPath, Asn, Attributes, Family, IpNet};
use anycast_speaker::{Config, Handle, Neighbor, NeighborOrder, Speaker, Station, Tables, Updates};
use tokio::io::AsyncReadExt;

use crate::setup::{free_port, until};

const LEFT: Ipv4Addr = Ipv4Addr::LOCALHOST;
const RIGHT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const ALL: Tables =
    Tables { adj_rib_in_pre: true, adj_rib_in_post: true, loc_rib: true, adj_rib_out: true };

fn start(local: Ipv4Addr, remote: Ipv4Addr, port: u16, import: Policy) -> Handle {
    let (ours, theirs) = if local == LEFT { (64501, 64502) } else { (64502, 64501) };
    let neighbor = Neighbor {
        name: if local == LEFT { "right" } else { "left" }.into(),
        address: IpAddr::V4(remote),
        port,
        local_address: Some(IpAddr::V4(local)),
        asn: Asn(theirs),
        hold_time: Duration::from_secs(90),
        connect_retry: Duration::from_millis(50),
        families: Family::ALL.to_vec(),
        next_hop_other: Some(IpAddr::V6(local.to_ipv6_mapped())),
        import,
        export: Policy::accept_all(),
        ..Neighbor::new("", remote.into(), Asn(theirs))
    };
    let config = Config {
        listen: vec![SocketAddr::new(local.into(), port)],
        neighbors: vec![neighbor],
        ..Config::new(Asn(ours), local)
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    handle
}

/// A pair of speakers; the right one prefers what it takes, and refuses what is longer than /24.
async fn pair() -> (Handle, Handle) {
    let port = free_port(&[LEFT, RIGHT]);
    let long = Match::Prefix(vec!["0.0.0.0/0 ge 25".parse().unwrap()]);
    let import = Policy {
        rules: vec![
            Rule::new(Action::Reject).when(long),
            Rule::new(Action::Accept).set(Set::LocalPref(200)),
        ],
    };
    let left = start(LEFT, RIGHT, port, Policy::accept_all());
    let right = start(RIGHT, LEFT, port, import);
    until("both are Established", async || {
        left.established().await == (1, 1) && right.established().await == (1, 1)
    })
    .await;
    (left, right)
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn originate(speaker: &Handle, prefix: &str) {
    let mut attributes = Attributes::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    attributes.communities = vec!["64501:80".parse().unwrap()];
    speaker.originate(net(prefix), attributes);
}

/// A station that reads everything and holds it against both parsers.
#[derive(Clone, Default)]
struct Reader(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    messages: Vec<Message>,
    /// By table: each prefix and its route in words.
    tables: BTreeMap<String, BTreeMap<String, String>>,
    ends: BTreeMap<String, usize>,
    connections: usize,
}

impl Reader {
    async fn listen() -> (Self, SocketAddr) {
        let listener = tokio::net::TcpListener::bind((LEFT, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let reader = Self::default();
        let told = reader.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                {
                    let mut told = told.0.lock().unwrap();
                    let connections = told.connections + 1;
                    *told = Told { connections, ..Told::default() };
                }
                let mut buffer = Vec::new();
                while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                    let mut told = told.0.lock().unwrap();
                    while let Some(length) = bmp::frame_len(&buffer).unwrap() {
                        told.take(&buffer[..length]);
                        buffer.drain(..length);
                    }
                }
            }
        });
        (reader, address)
    }

    fn look<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.0.lock().unwrap())
    }

    fn table(&self, name: &str) -> Vec<String> {
        self.look(|told| {
            let table = told.tables.get(name).into_iter().flatten();
            table.map(|(prefix, route)| format!("{prefix} {route}")).collect()
        })
    }
}

fn table_of(monitored: Monitored) -> &'static str {
    match monitored {
        Monitored::LocRib { .. } => "loc-rib",
        Monitored::Neighbor { adj_rib_out: true, post_policy: true, .. } => "out",
        Monitored::Neighbor { adj_rib_out: true, .. } => "out before policy",
        Monitored::Neighbor { post_policy: true, .. } => "post",
        Monitored::Neighbor { .. } => "pre",
    }
}

impl Told {
    fn take(&mut self, octets: &[u8]) {
        let message = Message::parse(octets).unwrap();
        let mut again = Vec::new();
        message.emit(&mut again);
        assert_eq!(again, octets, "what was read is written the same");
        let mut foreign = bytes::Bytes::copy_from_slice(octets);
        bgpkit_parser::parse_bmp_msg(&mut foreign)
            .unwrap_or_else(|error| panic!("bgpkit-parser on {message:?}: {error:?}"));
        match &message {
            Message::RouteMonitoring { peer, update } => {
                let name = table_of(peer.monitored);
                let ctx = Context { max_len: EXTENDED_MAX_LEN, ..Context::new(false) };
                let Ok(Bgp::Update(update)) = Bgp::parse(update, &ctx) else {
                    panic!("{message:?}")
                };
                let table = self.tables.entry(name.to_owned()).or_default();
                // Our own routes have no next hop, which is how they are known.
                let ours = update.faults.iter().any(|fault| fault.what.contains("no host"));
                assert!(update.faults.is_empty() || name == "loc-rib", "{message:?}");
                for nlri in update.withdrawn {
                    let prefix = nlri.prefix.to_string();
                    if ours {
                        table.insert(prefix, "ours".into());
                    } else {
                        table.remove(&prefix);
                    }
                }
                for announcement in update.announced {
                    let it = &announcement.attributes;
                    let pref = it.local_pref.map(|it| format!(" pref {it}")).unwrap_or_default();
                    let route = format!("[{}]{pref} {}", it.as_path, it.communities[0]);
                    for nlri in announcement.prefixes {
                        table.insert(nlri.prefix.to_string(), route.clone());
                    }
                }
                if update.end_of_rib.is_some() {
                    *self.ends.entry(name.to_owned()).or_default() += 1;
                }
            }
            // All that was told of the peer is void.
            Message::PeerDown { .. } => self.tables.retain(|name, _| name == "loc-rib"),
            _ => {}
        }
        self.messages.push(message);
    }

    fn kinds(&self) -> Vec<&'static str> {
        let kind = |message: &Message| match message {
            Message::RouteMonitoring { .. } => "routes",
            Message::StatisticsReport { .. } => "statistics",
            Message::PeerDown { .. } => "down",
            Message::PeerUp { peer, .. } => match peer.monitored {
                Monitored::LocRib { .. } => "up loc-rib",
                Monitored::Neighbor { .. } => "up",
            },
            Message::Initiation(_) => "initiation",
            Message::Termination(_) => "termination",
            Message::RouteMirroring { .. } => "mirroring",
        };
        let mut kinds: Vec<&str> = self.messages.iter().map(kind).collect();
        kinds.dedup();
        kinds
    }
}

fn station(address: SocketAddr) -> Station {
    Station {
        name: "collector".into(),
        address,
        local_address: None,
        tables: ALL,
        statistics: None,
        buffer: 1 << 20,
        connect_retry: Duration::from_millis(20),
    }
}

#[tokio::test]
async fn a_station_is_told_all_tables_from_the_start_and_then_what_changes() {
    let (left, right) = pair().await;
    for prefix in ["192.0.2.0/24", "198.51.100.0/25", "2001:db8:1::/48"] {
        originate(&left, prefix);
    }
    originate(&right, "203.0.113.0/24");
    until("the routes are there", async || right.routes(None).await.len() == 4).await;

    let (reader, address) = Reader::listen().await;
    right.set_stations("fra", vec![station(address)]);
    until("the dump has ended", async || {
        reader.look(|told| told.ends.len() == 4 && told.ends.values().all(|ends| *ends == 2))
    })
    .await;
    let pre = |length| {
        let mut all = vec![
            "192.0.2.0/24 [64501] 64501:80",
            "198.51.100.0/25 [64501] 64501:80",
            "2001:db8:1::/48 [64501] 64501:80",
        ];
        all.truncate(length);
        all
    };
    let post =
        ["192.0.2.0/24 [64501] pref 200 64501:80", "2001:db8:1::/48 [64501] pref 200 64501:80"];
    assert_eq!(reader.table("pre"), pre(3));
    assert_eq!(reader.table("post"), post);
    assert_eq!(reader.table("loc-rib"), [post[0], post[1], "203.0.113.0/24 ours"]);
    assert_eq!(reader.table("out"), ["203.0.113.0/24 [64502] 64501:80"]);
    reader.look(|told| {
        assert_eq!(told.kinds(), ["initiation", "up loc-rib", "up", "routes"]);
        let up = told.messages.iter().find_map(|message| match message {
            Message::PeerUp { peer, local_address, sent_open, received_open, .. }
                if peer.asn == Asn(64501) =>
            {
                Some((peer, *local_address, sent_open, received_open))
            }
            _ => None,
        });
        let (peer, local, sent, received) = up.unwrap();
        assert_eq!((peer.router_id, local), (LEFT, IpAddr::V4(RIGHT)));
        for (open, asn) in [(sent, 64502), (received, 64501)] {
            let Ok(Bgp::Open(open)) = Bgp::parse(open, &Context::new(true)) else { panic!() };
            assert_eq!(open.asn, Asn(asn));
        }
    });

    originate(&left, "198.51.101.0/24");
    left.withdraw(net("192.0.2.0/24"));
    right.withdraw(net("203.0.113.0/24"));
    until("the changes are told", async || {
        reader.table("loc-rib").len() == 2 && reader.table("out").is_empty()
    })
    .await;
    let taken = ["198.51.101.0/24 [64501] pref 200 64501:80", post[1]];
    assert_eq!(reader.table("loc-rib"), taken);
    assert_eq!(reader.table("post"), taken);
    assert_eq!(reader.table("pre"), [pre(2)[1], "198.51.101.0/24 [64501] 64501:80", pre(3)[2]]);

    left.shutdown("done");
    until("the end of the session is told", async || {
        reader.look(|told| told.kinds().contains(&"down"))
    })
    .await;
    reader.look(|told| {
        let down = told.messages.iter().find_map(|message| match message {
            Message::PeerDown { peer, reason } => Some((peer.router_id, reason)),
            _ => None,
        });
        let Some((LEFT, PeerDown::RemoteNotification(octets))) = down else { panic!("{down:?}") };
        let cease = Bgp::parse(octets, &Context::new(true)).unwrap();
        let Bgp::Notification(cease) = cease else { panic!("{cease:?}") };
        assert_eq!(cease.shutdown_message().as_deref(), Some("done"));
    });
    until("the best routes are gone", async || reader.table("loc-rib").is_empty()).await;
    let status = right.stations().await;
    assert_eq!((status[0].state.as_str(), status[0].connects, status[0].cut_off), ("up", 1, 0));
    assert_eq!(status[0].messages, reader.look(|told| told.messages.len() as u64));

    right.shutdown("done");
    until("the farewell is read", async || {
        reader.look(|told| matches!(told.messages.last(), Some(Message::Termination(_))))
    })
    .await;
}

#[tokio::test]
async fn a_neighbor_that_is_removed_and_added_is_told_as_down_and_up() {
    let (left, right) = pair().await;
    originate(&left, "192.0.2.0/24");
    let (reader, address) = Reader::listen().await;
    right.set_stations("fra", vec![station(address)]);
    until("the route is told", async || reader.table("pre").len() == 1).await;
    let row = right.neighbor("left").await.unwrap();
    right.remove_neighbor("left").await.unwrap();
    until("the end is told, and that the route is gone", async || {
        reader.look(|told| told.kinds().last() == Some(&"down")) || reader.table("pre").is_empty()
    })
    .await;
    reader.look(|told| {
        let down = told.messages.iter().find_map(|message| match message {
            Message::PeerDown { reason, .. } => Some(reason),
            _ => None,
        });
        let Some(PeerDown::LocalNotification(octets)) = down else { panic!("{down:?}") };
        let cease = Bgp::parse(octets, &Context::new(true)).unwrap();
        let Bgp::Notification(cease) = cease else { panic!("{cease:?}") };
        assert_eq!((cease.code, cease.subcode), (6, 3), "Peer De-configured");
    });
    until("the best routes are gone", async || reader.table("loc-rib").is_empty()).await;

    let again = Neighbor {
        port: row.port,
        local_address: Some(RIGHT.into()),
        connect_retry: Duration::from_millis(50),
        import: Policy::accept_all(),
        ..Neighbor::new("left", LEFT.into(), Asn(64501))
    };
    right.add_neighbor(again).await.unwrap();
    until("the route is told again", async || reader.table("pre").len() == 1).await;
}

#[tokio::test]
async fn a_session_that_comes_up_later_is_told_and_so_are_counts() {
    let (left, right) = pair().await;
    let (reader, address) = Reader::listen().await;
    let counting = Station { statistics: Some(Duration::from_millis(50)), ..station(address) };
    right.set_stations("fra", vec![counting]);
    until("the station is told everything", async || right.stations().await[0].state == "up").await;
    left.order("right", NeighborOrder::Clear).await.unwrap();
    until("the session was down and is up again", async || {
        let kinds = reader.look(Told::kinds);
        let down = kinds.iter().position(|kind| *kind == "down");
        down.is_some_and(|at| kinds[at..].contains(&"up"))
    })
    .await;
    originate(&left, "192.0.2.0/24");
    let gauges = |kind, value| {
        reader.look(|told| {
            told.messages.iter().any(|message| match message {
                Message::StatisticsReport { statistics, .. } => {
                    statistics.contains(&Statistic::gauge(kind, value))
                }
                _ => false,
            })
        })
    };
    // Adj-RIBs-In, Loc-RIB and Adj-RIB-Out after policy (RFC 7854 §4.8, RFC 8671 §6.2).
    until("the counts are told", async || gauges(7, 1) && gauges(8, 1) && gauges(15, 0)).await;
    assert_eq!(reader.table("post"), ["192.0.2.0/24 [64501] pref 200 64501:80"]);
    assert_eq!(reader.table("post"), reader.table("loc-rib"));
}

#[tokio::test]
async fn a_station_that_does_not_read_is_cut_off_and_told_everything_anew() {
    let (left, right) = pair().await;
    let listener = tokio::net::TcpListener::bind((LEFT, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let small = Station { buffer: 64 * 1024, ..station(address) };
    right.set_stations("fra", vec![small]);
    let (deaf, _) = listener.accept().await.unwrap();
    // Far more than its buffer and those of TCP hold: each prefix comes in an UPDATE of its own.
    let many: Vec<IpNet> = (0..20_000_u32)
        .map(|it| IpNet::new((0x0a00_0000 + (it << 8)).to_be_bytes().into(), 24).unwrap())
        .collect();
    for (number, prefix) in (0_u32..).zip(&many) {
        let mut attributes = Attributes::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        attributes.as_path = AsPath::sequence(&[65000 + number % 400; 60]);
        attributes.med = Some(number);
        attributes.communities = vec!["64501:80".parse().unwrap()];
        left.originate(*prefix, attributes);
    }
    until("it is cut off", async || right.stations().await[0].cut_off > 0).await;
    let status = right.stations().await;
    assert!(status[0].queue <= 8 << 20, "{status:?}");
    until("the neighbor's routes are all there", async || {
        right.neighbors().await[0].received == many.len()
    })
    .await;
    assert_eq!(right.established().await, (1, 1), "the session goes on");
    drop(deaf);

    // From here on it reads.
    let reader = Reader::default();
    let told = reader.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *told.0.lock().unwrap() = Told::default();
            let mut buffer = Vec::with_capacity(1 << 20);
            while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                let mut read = 0;
                while let Some(length) = bmp::frame_len(&buffer[read..]).unwrap() {
                    told.0.lock().unwrap().take(&buffer[read..read + length]);
                    read += length;
                }
                buffer.drain(..read);
            }
        }
    });
    until("it has everything", async || {
        right.stations().await[0].state == "up"
            && ["pre", "post", "loc-rib"].iter().all(|name| reader.table(name).len() == many.len())
    })
    .await;
}

/// What bgpkit-parser and bgpdump read from a file, as lines that can be compared.
fn read_by_others(path: &std::path::Path) -> (Vec<String>, Vec<String>) {
    let mut bgpkit = Vec::new();
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    for element in bgpkit_parser::BgpkitParser::from_reader(file) {
        let path = element.as_path.map(|path| path.to_string()).unwrap_or_default();
        bgpkit.push(format!("{} {} [{path}]", element.prefix.prefix, element.peer_ip));
    }
    bgpkit.sort();
    let mut bgpdump = Vec::new();
    match Command::new("bgpdump").arg("-m").arg(path).output() {
        Err(error) => eprintln!("skipped: bgpdump cannot be run: {error}"),
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            for line in String::from_utf8(output.stdout).unwrap().lines() {
                let fields: Vec<&str> = line.split('|').collect();
                match fields[..] {
                    [_, _, "A" | "B", peer, _, prefix, path, ..] => {
                        bgpdump.push(format!("{prefix} {peer} [{path}]"));
                    }
                    [_, _, "W", peer, _, prefix] => bgpdump.push(format!("{prefix} {peer} []")),
                    [_, _, "STATE", ..] => {}
                    _ => panic!("{line}"),
                }
            }
            bgpdump.sort();
            assert_eq!(bgpdump, bgpkit, "they read the same");
        }
    }
    (bgpkit, bgpdump)
}

#[tokio::test]
async fn a_dumped_table_is_read_by_others_as_what_is_shown() {
    let (left, right) = pair().await;
    for prefix in ["192.0.2.0/24", "198.51.100.0/25", "2001:db8:1::/48"] {
        originate(&left, prefix);
    }
    originate(&right, "203.0.113.0/24");
    until("the routes are there", async || right.routes(None).await.len() == 4).await;
    let folder = std::env::temp_dir().join(format!("anycast-table-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("rib.mrt");
    for received in [false, true] {
        let mut dump = right.table_dump(received);
        let mut octets = Vec::new();
        while let Some(more) = dump.next().await {
            octets.extend(more);
        }
        std::fs::write(&path, octets).unwrap();
        let (read, _) = read_by_others(&path);
        let mut shown: Vec<String> =
            right
                .routes(None)
                .await
                .into_iter()
                .filter(|route| {
                    if received { route.neighbor.is_some() } else { route.ineligible.is_none() }
                })
                .map(|route| {
                    let peer = if route.neighbor.is_some() { "127.0.0.1" } else { "0.0.0.0" };
                    format!("{} {peer} [{}]", route.prefix, route.as_path)
                })
                .collect();
        shown.sort();
        assert_eq!(read, shown);
        assert_eq!(shown.len(), 3);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn what_comes_in_is_written_to_files_that_others_read() {
    let (left, right) = pair().await;
    let folder = std::env::temp_dir().join(format!("anycast-updates-{}", std::process::id()));
    let path = folder.join("updates.mrt");
    let updates =
        Updates { path: path.to_string_lossy().into_owned(), rotate: Duration::from_secs(900) };
    right.set_updates(Some(updates));
    originate(&left, "192.0.2.0/24");
    until("the route is there", async || right.best(net("192.0.2.0/24")).await.is_some()).await;
    left.withdraw(net("192.0.2.0/24"));
    originate(&left, "2001:db8:1::/48");
    let last = net("2001:db8:1::/48");
    until("the other route is there", async || right.best(last).await.is_some()).await;
    left.order("right", NeighborOrder::Clear).await.unwrap();
    until("the session is up again", async || right.best(last).await.is_some()).await;

    until("all of it is written", async || {
        let Ok(file) = std::fs::File::open(&path) else { return false };
        let records = bgpkit_parser::BgpkitParser::from_reader(file).into_record_iter();
        let records: Vec<String> = records.map(|record| format!("{record:?}")).collect();
        let count = |word: &str| records.iter().filter(|record| record.contains(word)).count();
        count("Established") >= 2 && count("2001:db8:1::/48") >= 2
    })
    .await;
    let (read, _) = read_by_others(&path);
    for wanted in ["192.0.2.0/24 127.0.0.1 [64501]", "192.0.2.0/24 127.0.0.1 []"] {
        assert!(read.iter().any(|line| line == wanted), "{read:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
