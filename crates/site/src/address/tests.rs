//! These run in network namespaces of their own: each test starts this program again there, to
//! run one of the tests that are otherwise ignored.

use std::process::Command;

use super::*;

const V4: &str = "192.0.2.53";
const V6: &str = "2001:db8::53";

/// Runs the ignored test `name` under `unshare`, if that is possible here.
fn run_in_namespace(unshare: &[&str], name: &str) {
    let probe = Command::new("unshare").args(unshare).arg("true").output();
    match probe {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return println!("skipped: unshare {}: {why}", unshare.join(" "));
        }
        Err(error) => return println!("skipped: unshare: {error}"),
    }
    let output = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", &format!("address::tests::{name}")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

#[test]
fn addresses_come_and_go_and_strangers_stay() {
    run_in_namespace(&["--user", "--map-root-user", "--net"], "in_a_namespace");
}

#[test]
fn a_missing_capability_is_named() {
    run_in_namespace(&["--user"], "without_capabilities");
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
#[ignore = "run by addresses_come_and_go_and_strangers_stay"]
async fn in_a_namespace() {
    ip("link set lo up");
    for (text, len) in [(V4, 32), (V6, 128)] {
        let address = text.parse().unwrap();
        let shown = || ip("-o address show dev lo").contains(&format!(" {text}/{len} "));

        assert_eq!(add(address).await.unwrap(), Added::New, "{text}: new");
        assert!(shown(), "{text}: added");
        // No duplicate address detection: it serves from the first moment.
        std::net::UdpSocket::bind((address, 0)).unwrap();
        assert_eq!(add(address).await.unwrap(), Added::New, "{text}: left behind by a crash");
        remove(address).await.unwrap();
        assert!(!shown(), "{text}: removed");
        remove(address).await.unwrap();

        ip(&format!("address add {text}/{len} dev lo"));
        assert_eq!(add(address).await.unwrap(), Added::AlreadyThere, "{text}: the operator's");
        assert!(shown(), "{text}: still there");
    }
    let deprecated: IpAddr = "2001:db8::54".parse().unwrap();
    add(deprecated).await.unwrap();
    assert!(ip("-6 -o address show dev lo deprecated").contains("2001:db8::54/128"));

    // Both families have their own way of saying no.
    std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1").unwrap();
    let error = add("2001:db8::55".parse().unwrap()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "2001:db8::55 cannot be on lo: IPv6 is disabled there \
         (sysctl net.ipv6.conf.lo.disable_ipv6)"
    );
}

#[tokio::test]
#[ignore = "run by a_missing_capability_is_named"]
async fn without_capabilities() {
    for (address, len) in [(V4, 32), (V6, 128)] {
        let error = add(address.parse().unwrap()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{address} cannot be changed on lo without the capability CAP_NET_ADMIN \
                 (systemd: AmbientCapabilities=CAP_NET_ADMIN); or add it yourself with \
                 `ip address add {address}/{len} dev lo`"
            )
        );
    }
}

#[test]
fn what_is_ours_carries_one_of_the_marks() {
    use AddressAttribute::{Label, Protocol};
    for (name, attributes, want) in [
        ("nothing", vec![], false),
        ("the protocol", vec![Protocol(PROTOCOL)], true),
        ("another protocol", vec![Protocol(AddressProtocol::Loopback)], false),
        ("the label", vec![Label(LABEL.to_owned())], true),
        ("another label", vec![Label("lo".to_owned())], false),
    ] {
        let mut message = AddressMessage::default();
        message.attributes = attributes;
        assert_eq!(is_ours(&message), want, "{name}");
    }
}
