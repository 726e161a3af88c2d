//! What the machine must be set to, so that connections are kept: looked at, never changed.

use std::fs;

use anycast_fleet::Site;

/// What of the machine's settings stands in the way, with what to do about it.
pub(super) fn warnings(site: &Site, interfaces: &[String]) -> Vec<String> {
    warnings_by(site, interfaces, |name| {
        let path = format!("/proc/sys/net/{name}");
        fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    })
}

fn warnings_by(
    site: &Site,
    interfaces: &[String],
    setting: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    if setting("ipv4/tcp_timestamps").as_deref() == Some("0") {
        found.push(
            "net.ipv4.tcp_timestamps is 0: connections carry no site's number, and each strayed \
             packet asks one site after the other; set it to 1"
                .to_owned(),
        );
    }
    // The stricter of the two is in force (ip-sysctl.txt).
    let all = setting("ipv4/conf/all/rp_filter");
    for interface in interfaces {
        let own = setting(&format!("ipv4/conf/{}/rp_filter", interface.replace('.', "/")));
        let most = [&all, &own].into_iter().flatten().filter_map(|it| it.parse::<u8>().ok()).max();
        if most == Some(1) && site.neighbors.len() > 1 {
            found.push(format!(
                "net.ipv4.conf.{interface}.rp_filter is 1: what another site passes on is dropped \
                 if the answer goes by another interface; set it to 2"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: &str = r#"
[fleet]
name = "x"
asn = 64500
[prefix."192.0.2.0/24"]
services = ["web"]
[service.web]
addresses = ["192.0.2.1"]
[site.fra.neighbor.a]
address = "198.51.100.2"
local-address = "198.51.100.1"
asn = 64510
[site.fra.neighbor.b]
address = "198.51.100.6"
local-address = "198.51.100.5"
asn = 64511
"#;

    #[test]
    fn each_setting_that_stands_in_the_way_is_named_with_what_to_do() {
        let fleet = anycast_fleet::parse("x", FLEET).fleet.unwrap();
        let interfaces = ["eth0".to_owned(), "eth1.7".to_owned()];
        let found = |settings: &[(&str, &str)]| -> Vec<String> {
            warnings_by(&fleet.sites[0], &interfaces, |name| {
                let found = settings.iter().find(|(its, _)| *its == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(found(&[("ipv4/tcp_timestamps", "1")]), [""; 0]);
        assert_eq!(
            found(&[("ipv4/conf/all/rp_filter", "2"), ("ipv4/conf/eth0/rp_filter", "1")]),
            [""; 0]
        );
        let strict =
            found(&[("ipv4/conf/all/rp_filter", "1"), ("ipv4/conf/eth1/7/rp_filter", "2")]);
        assert_eq!(strict.len(), 1);
        assert!(strict[0].contains("eth0.rp_filter") && strict[0].ends_with("set it to 2"));
        let off = found(&[("ipv4/tcp_timestamps", "0")]);
        assert!(off[0].ends_with("set it to 1"), "{off:?}");
    }
}
