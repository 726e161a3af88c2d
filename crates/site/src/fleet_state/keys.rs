//! Entries as keys and values of a key-value bucket: `record.SITE` and `ledger.PREFIX`, both with
//! JSON behind them; and `hello.SITE`, with who says it.
//!
//! Keys are made of letters, digits and a few marks. A prefix is written with `-` for its points
//! or colons and `_` for its slash, a site's name with `=` for its points, so that each is one
//! token to those who give rights by subject.

use std::net::IpAddr;

use anycast_steer::clerk::Entry;
use anycast_steer::{Ledger, Record};
use ipnet::IpNet;

/// The key that a site writes at the start of a connection.
pub(super) fn hello(site: &str) -> String {
    format!("hello.{}", site.replace('.', "="))
}

/// Whether it is such a key.
pub(super) fn is_hello(key: &str) -> bool {
    key.starts_with("hello.")
}

/// The key and the value of an entry.
pub(super) fn encode(entry: &Entry) -> (String, Vec<u8>) {
    let (key, value) = match entry {
        Entry::Record { site, record } => {
            (format!("record.{}", site.replace('.', "=")), serde_json::to_vec(record))
        }
        Entry::Ledger { prefix, ledger } => {
            let address = prefix.addr().to_string().replace(['.', ':'], "-");
            (format!("ledger.{address}_{}", prefix.prefix_len()), serde_json::to_vec(ledger))
        }
    };
    (key, value.expect("maps with text as keys are JSON"))
}

/// The entry of a key and its value, which is empty if somebody has deleted it; `None`: it is none
/// of ours.
pub(super) fn decode(key: &str, value: &[u8]) -> Option<Entry> {
    let (kind, name) = key.split_once('.')?;
    match kind {
        "record" => {
            let site = name.replace('=', ".");
            let record: Record = read(value)?;
            Some(Entry::Record { site, record })
        }
        "ledger" => {
            let (address, length) = name.split_once('_')?;
            let is_v4 = address.split('-').count() == 4 && !address.contains("--");
            let address: IpAddr =
                address.replace('-', if is_v4 { "." } else { ":" }).parse().ok()?;
            let prefix = IpNet::new(address, length.parse().ok()?).ok()?;
            let ledger: Ledger = read(value)?;
            Some(Entry::Ledger { prefix, ledger })
        }
        _ => None,
    }
}

fn read<T: Default + serde::de::DeserializeOwned>(value: &[u8]) -> Option<T> {
    if value.is_empty() {
        return Some(T::default());
    }
    serde_json::from_slice(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_key(key: &str) -> bool {
        key.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-/_=.".contains(&octet))
            && !key.starts_with('.')
            && !key.ends_with('.')
            && !key.contains("..")
    }

    #[test]
    fn keys_are_as_the_document_says() {
        let ledger = Ledger { withdrawn: ["fra".to_owned()].into() };
        let table = [
            ("192.0.2.0/24", "ledger.192-0-2-0_24"),
            ("2001:db8:ac::/48", "ledger.2001-db8-ac--_48"),
            ("::/0", "ledger.--_0"),
        ];
        for (prefix, expected) in table {
            let entry = Entry::Ledger { prefix: prefix.parse().unwrap(), ledger: ledger.clone() };
            let (key, value) = encode(&entry);
            assert_eq!(key, expected);
            assert_eq!(value, br#"{"withdrawn":["fra"]}"#);
        }
    }

    #[test]
    fn what_is_not_ours_is_nothing_and_what_was_deleted_is_empty() {
        for key in ["", "record", "other.fra", "ledger.x_24", "ledger.192-0-2-0", "ledger.1-2_3"] {
            assert_eq!(decode(key, b"{}"), None, "{key}");
        }
        assert_eq!(decode("record.fra", b"[1"), None);
        let deleted =
            Entry::Ledger { prefix: "192.0.2.0/24".parse().unwrap(), ledger: Ledger::default() };
        assert_eq!(decode("ledger.192-0-2-0_24", b""), Some(deleted));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(
            site in "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,20}",
            address in any::<IpAddr>(),
            length in 0..=32_u8,
            seen in any::<u64>(),
        ) {
            let prefix = IpNet::new(address, length).unwrap().trunc();
            let record = Record { announces: [prefix].into(), seen, ..Record::default() };
            let ledger = Ledger { withdrawn: [site.clone()].into() };
            for entry in [Entry::Record { site, record }, Entry::Ledger { prefix, ledger }] {
                let (key, value) = encode(&entry);
                prop_assert!(is_key(&key), "{}", key);
                prop_assert_eq!(decode(&key, &value), Some(entry));
            }
        }

        #[test]
        fn no_octets_make_it_panic(key in ".{0,40}", value in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&key, &value);
        }
    }
}
