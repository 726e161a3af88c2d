//! Two speakers and a looking glass on one of them, asked over HTTP and read as Alice-LG reads it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anycast_bgp::policy::{Action, Match, Policy, Rule, Set};
use anycast_bgp::{
    AsPath, Asn, Attributes, Community, ExtendedCommunity, Family, IpNet, LargeCommunity,
};
use anycast_speaker::{Config, Here, Neighbor, Offer, Speaker};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const LEFT: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 2);

fn start(name: &str, local: Ipv4Addr, remote: Ipv4Addr, port: u16, import: Policy) -> Handle {
    let asn = |address: Ipv4Addr| Asn(64500 + u32::from(address.octets()[3]));
    let mut neighbor = Neighbor {
        name: name.into(),
        address: IpAddr::V4(remote),
        port,
        local_address: Some(IpAddr::V4(local)),
        asn: asn(remote),
        hold_time: Duration::from_secs(9),
        connect_retry: Duration::from_millis(50),
        families: vec![Family::Ipv4Unicast],
        next_hop_other: None,
        passive: false,
        offer: Offer::default(),
        multihop: None,
        ttl_security: false,
        password: None,
        import,
        export: Policy::accept_all(),
        next_hop_self: false,
        bfd: None,
        ..Neighbor::new(name, remote.into(), asn(remote))
    };
    if local == RIGHT {
        // Nothing of 198.51.100.0/24 is told to left.
        let secret = Match::Prefix(vec!["198.51.100.0/24".parse().unwrap()]);
        let refuse = Rule::new(Action::Reject).when(secret);
        neighbor.export = Policy { rules: vec![refuse, Rule::new(Action::Accept)] };
    }
    let config = Config {
        local_asn: asn(local),
        router_id: local,
        listen: vec![SocketAddr::new(local.into(), port)],
        install_routes: false,
        place: Arc::new(Here),
        neighbors: vec![neighbor],
        ..Config::new(asn(local), local)
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    handle
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn free_port() -> u16 {
    loop {
        let left = std::net::TcpListener::bind((LEFT, 0)).unwrap();
        let port = left.local_addr().unwrap().port();
        if std::net::TcpListener::bind((RIGHT, port)).is_ok() {
            return port;
        }
    }
}

/// The address of right's looking glass. Left told right of 192.0.2.0/24, with all that a route can
/// have, and of 203.0.113.128/25, which right refuses; right has 198.51.100.0/24 itself, which left
/// may not hear.
async fn glass() -> SocketAddr {
    let port = free_port();
    let long = Match::Prefix(vec!["0.0.0.0/0 ge 25".parse().unwrap()]);
    let import = Policy {
        rules: vec![
            Rule::new(Action::Reject).when(long),
            Rule::new(Action::Accept).set(Set::LocalPref(200)),
        ],
    };
    let left = start("right", LEFT, RIGHT, port, Policy::accept_all());
    let right = start("left", RIGHT, LEFT, port, import);
    let full = Attributes {
        as_path: AsPath::sequence(&[64510, 64511, 64512]),
        med: Some(70),
        communities: vec!["64510:120".parse::<Community>().unwrap(), Community::GRACEFUL_SHUTDOWN],
        large_communities: vec![LargeCommunity { global: 4_200_000_000, local1: 1, local2: 2 }]
            .into(),
        extended_communities: vec![ExtendedCommunity([0, 2, 0xfb, 0xf4, 0, 0, 0, 9])].into(),
        ..Attributes::new(IpAddr::V4(LEFT))
    };
    left.originate(net("192.0.2.0/24"), full);
    left.originate(net("203.0.113.128/25"), Attributes::new(IpAddr::V4(LEFT)));
    right.originate(net("198.51.100.0/24"), Attributes::new(IpAddr::V4(RIGHT)));
    for _ in 0..500 {
        if right.neighbors().await[0].received == 2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(serve(listener, right));
            return address;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within five seconds: {:?}", right.neighbors().await);
}

/// The status and the body of an answer.
async fn ask(address: SocketAddr, method: &str, target: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {target} HTTP/1.0\r\nhost: glass\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn json(address: SocketAddr, target: &str) -> Value {
    let (status, body) = ask(address, "GET", target).await;
    assert_eq!(status, 200, "{target}: {body}");
    let answer = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    api_as_alice_reads_it(&answer);
    answer
}

/// `2006-01-02 15:04:05`, as Go would read it.
fn is_iso_long(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    let digits = text.replace(|c: char| c.is_ascii_digit(), "0");
    digits == "0000-00-00 00:00:00"
}

/// `parseAPIStatus`, `parseCacheStatus`: two casts that panic if they fail, and times.
fn api_as_alice_reads_it(answer: &Value) {
    let api = &answer["api"];
    assert!(api["Version"].is_string() && api["result_from_cache"].is_boolean(), "{api}");
    for date in [&answer["ttl"], &api["cache_status"]["cached_at"]["date"]] {
        let text = date.as_str().unwrap().replace('T', " ").replace('Z', "");
        assert!(is_iso_long(&text.into()), "{date}");
    }
}

/// `parseRouteData`: what is not of this type is read as its default, or panics.
fn route_as_alice_reads_it(route: &Value) {
    for field in ["network", "from_protocol", "gateway", "interface", "learnt_from"] {
        assert!(route[field].is_string(), "{field}: {route}");
    }
    assert!(is_iso_long(&route["age"]), "{route}");
    assert!(route["primary"].is_boolean() && route["metric"].is_number(), "{route}");
    let texts = |value: &Value| value.as_array().is_some_and(|it| it.iter().all(Value::is_string));
    let bgp = &route["bgp"];
    assert!(texts(&route["type"]) && texts(&bgp["as_path"]), "{route}");
    for field in ["origin", "local_pref"] {
        assert!(bgp[field].is_string(), "{field}: {route}");
    }
    for (field, len) in [("communities", 2), ("large_communities", 3)] {
        for community in bgp[field].as_array().unwrap() {
            let parts = community.as_array().unwrap();
            assert!(parts.len() == len && parts.iter().all(Value::is_u64), "{field}: {route}");
        }
    }
    for community in bgp["ext_communities"].as_array().unwrap() {
        assert!(texts(community) && community.as_array().unwrap().len() == 3, "{route}");
    }
}

async fn networks(address: SocketAddr, target: &str) -> Vec<String> {
    let answer = json(address, target).await;
    let routes = answer["routes"].as_array().unwrap();
    routes.iter().for_each(route_as_alice_reads_it);
    routes.iter().map(|route| route["network"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_question_for_routes_has_its_routes() {
    let glass = glass().await;
    let (taken, refused, ours) = ("192.0.2.0/24", "203.0.113.128/25", "198.51.100.0/24");
    let by_address = format!("/routes/peer/{LEFT}");
    let in_table = format!("/routes/table/master4/peer/{LEFT}");
    for (target, want) in [
        ("/routes/protocol/left", &[taken][..]),
        ("/routes/filtered/left", &[refused]),
        ("/routes/noexport/left", &[ours]),
        ("/routes/export/left", &[]),
        (by_address.as_str(), &[taken]),
        (in_table.as_str(), &[taken]),
        ("/routes/table/master4", &[taken, ours]),
        ("/routes/table/master", &[taken, ours]),
        ("/routes/table/master6", &[]),
        ("/routes/table/master4/filtered", &[refused]),
        ("/routes/prefix?prefix=192.0.2.0/24", &[taken]),
        ("/routes/prefix?prefix=192.0.2.77", &[taken]),
        ("/routes/prefix?prefix=192.0.2.0/25", &[]),
        ("/route/net/198.51.100.1", &[ours]),
    ] {
        assert_eq!(networks(glass, target).await, want, "{target}");
    }
    for (target, want) in [
        ("/routes/count/protocol/left", 1),
        ("/routes/count/primary/left", 1),
        ("/routes/count/table/master4", 2),
        ("/routes/count/table/master6", 0),
    ] {
        assert_eq!(json(glass, target).await["routes"], want, "{target}");
    }
}

#[tokio::test]
async fn a_route_has_all_that_is_known_of_it() {
    let glass = glass().await;
    let answer = json(glass, "/routes/protocol/left").await;
    let mut route = answer["routes"][0].clone();
    assert!(is_iso_long(&route["age"]));
    route["age"] = "…".into();
    let want = serde_json::json!({
        "network": "192.0.2.0/24",
        "from_protocol": "left",
        "age": "…",
        "learnt_from": LEFT.to_string(),
        "gateway": LEFT.to_string(),
        "interface": "",
        "primary": true,
        "metric": 100,
        "type": ["BGP", "univ"],
        "bgp": {
            "origin": "IGP",
            "as_path": ["64501", "64510", "64511", "64512"],
            "next_hop": LEFT.to_string(),
            "local_pref": "200",
            "med": "70",
            "communities": [[64510, 120], [65535, 0]],
            "large_communities": [[4_200_000_000_u32, 1, 2]],
            "ext_communities": [["rt", "64500", "9"]],
        },
    });
    assert_eq!(route, want);
    let refused = json(glass, "/routes/filtered/left").await["routes"][0].clone();
    assert_eq!(refused["details"], "rejected by import policy");
    let ours = json(glass, "/routes/noexport/left").await["routes"][0].clone();
    assert_eq!(
        (&ours["from_protocol"], &ours["type"][0]),
        (&"(this site)".into(), &"static".into())
    );
}

#[tokio::test]
async fn neighbors_are_protocols() {
    let glass = glass().await;
    let short = json(glass, "/protocols/short?uncached=true").await;
    let left = &short["protocols"]["left"];
    assert!(is_iso_long(&left["since"]) && left["state"] == "up", "{short}");
    for target in ["/protocols", "/protocols/bgp"] {
        let answer = json(glass, target).await;
        let left = &answer["protocols"]["left"];
        assert!(is_iso_long(&left["state_changed"]), "{left}");
        for (field, want) in [
            ("protocol", "left".into()),
            ("bird_protocol", "BGP".into()),
            ("table", "master4".into()),
            ("state", "up".into()),
            ("connection", "Established".into()),
            ("neighbor_address", LEFT.to_string().into()),
            ("neighbor_as", Value::from(64501)),
            ("neighbor_id", LEFT.to_string().into()),
            ("source_address", RIGHT.to_string().into()),
        ] {
            assert_eq!(left[field], want, "{field}");
        }
        let routes = serde_json::json!({
            "imported": 1, "accepted": 1, "filtered": 1, "exported": 0, "preferred": 1,
        });
        assert_eq!(left["routes"], routes);
    }
    let symbols = json(glass, "/symbols").await;
    assert_eq!(symbols["symbols"]["protocol"], serde_json::json!(["left"]));
    assert_eq!(json(glass, "/symbols/protocols").await["symbols"], serde_json::json!(["left"]));
    assert_eq!(json(glass, "/symbols/tables").await["symbols"][1], "master4");
    let status = json(glass, "/status").await["status"].clone();
    for field in ["current_server", "last_reboot", "last_reconfig"] {
        assert!(is_iso_long(&status[field]), "{field}: {status}");
    }
    assert_eq!(status["router_id"], RIGHT.to_string());
    assert!(status["version"].as_str().unwrap().starts_with("anycast "), "{status}");
    assert!(status["message"].is_string());
}

#[tokio::test]
async fn a_bad_question_is_answered_with_words_and_nothing_can_be_changed() {
    let glass = glass().await;
    for (method, target, want) in [
        ("GET", "/routes/protocol/nobody", 404),
        ("GET", "/routes/peer/192.0.2.1", 404),
        ("GET", "/routes/table/master5", 404),
        ("GET", "/routes/prefix?prefix=left", 400),
        ("GET", "/routes/count/protocol/nobody", 404),
        ("GET", "/v1/prepend", 404),
        ("GET", "/", 404),
    ] {
        let (status, body) = ask(glass, method, target).await;
        assert_eq!(status, want, "{target}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert!(answer["error"].is_string(), "{target}: {body}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for target in ["/status", "/protocols/bgp", "/routes/protocol/left"] {
            assert_eq!(ask(glass, method, target).await.0, 405, "{method} {target}");
        }
    }
}

#[tokio::test]
async fn a_walk_holds_its_place_until_its_reader_is_done_or_gone() {
    let port = free_port();
    let alone = start("left", RIGHT, LEFT, port, Policy::accept_all());
    for number in 0..20_000_u32 {
        let prefix = IpNet::new(Ipv4Addr::from(0x0a00_0000 + number * 256).into(), 24).unwrap();
        alone.originate(prefix, Attributes::new(IpAddr::V4(RIGHT)));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let walks = Arc::new(Semaphore::new(WALKS));
    let glass = Glass { speaker: alone, started: 0.0, walks: Arc::clone(&walks) };
    let server = axum::serve(Guarded::new(listener), router(glass)).into_future();
    let server = tokio::spawn(server);
    let request = b"GET /routes/table/master HTTP/1.0\r\nhost: glass\r\n\r\n";
    let mut readers = Vec::new();
    for _ in 0..WALKS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut first = [0; 64];
        stream.read_exact(&mut first).await.unwrap();
        readers.push(stream);
    }
    assert_eq!(walks.available_permits(), 0, "both are walking");
    // What needs no walk is answered all the same.
    assert_eq!(ask(address, "GET", "/status").await.0, 200);
    let waiting = tokio::spawn(async move { networks(address, "/routes/table/master").await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    drop(readers);
    assert_eq!(waiting.await.unwrap().len(), 20_000);
    server.abort();
}
