//! From TOML values to the smallest checked types: numbers, durations, addresses, names.
#![expect(clippy::missing_errors_doc, reason = "an error is always what is wrong with the value")]

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use anycast_bgp::Asn;
use toml::de::DeValue;

use crate::problem::suggestion;
use crate::section::Fault;

/// The longest name that the file may give to anything: a DNS label, since users see it there.
const LONGEST_NAME: usize = 63;

/// Text that is not empty and on one line.
///
/// # Errors
/// If it is none.
pub fn text(value: &DeValue<'_>) -> Result<String, Fault> {
    let text = value.as_str().ok_or_else(|| Fault::wrong_type("a string", value))?;
    if text.is_empty() {
        return Err(Fault::value("must not be empty", "Write something, or leave the key out."));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::value(
            "has a control character in it",
            "Write it on one line and without escapes.",
        ));
    }
    Ok(text.to_owned())
}

/// True or false.
pub fn boolean(value: &DeValue<'_>) -> Result<bool, Fault> {
    value.as_bool().ok_or_else(|| Fault::wrong_type("true or false", value))
}

/// An integer in a range.
pub fn number<T>(range: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> + Clone
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display + Clone,
{
    move |value| {
        let integer = value.as_integer().ok_or_else(|| Fault::wrong_type("a number", value))?;
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                Fault::value(
                    format!("must be from {} to {}", range.start(), range.end()),
                    format!("Write a number from {} to {}.", range.start(), range.end()),
                )
            })
    }
}

/// A number of degrees.
pub fn degrees(limit: f64) -> impl Fn(&DeValue<'_>) -> Result<f64, Fault> {
    move |value| {
        let text = match value {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => return Err(Fault::wrong_type("a number", value)),
        };
        text.parse::<f64>().ok().filter(|degrees| degrees.abs() <= limit).ok_or_else(|| {
            Fault::value(
                format!("must be from -{limit} to {limit}"),
                "Write degrees with a point: 50.11; south and west are negative.",
            )
        })
    }
}

/// A port that is not 0.
pub fn port(value: &DeValue<'_>) -> Result<u16, Fault> {
    number(1..=u16::MAX)(value)
}

/// A port, or 0 for none.
pub fn port_or_off(value: &DeValue<'_>) -> Result<Option<u16>, Fault> {
    number(0..=u16::MAX)(value).map(|port| (port != 0).then_some(port))
}

/// A number with its unit: `500ms`, `1s`, `2m`, `1h`.
///
/// # Errors
/// If it is none, or longer than a day.
pub fn duration(value: &DeValue<'_>) -> Result<Duration, Fault> {
    const HELP: &str = "Write a number and a unit: \"500ms\", \"1s\", \"2m\" or \"1h\".";
    // A day is more than any of these may mean, and keeps sums of them far from overflow.
    let duration = with_unit(value, &UNITS[..4], HELP)?;
    if duration > Duration::from_secs(86_400) {
        return Err(Fault::value("is longer than a day", "Write at most \"24h\"."));
    }
    Ok(duration)
}

/// The same, or in days: `7d`; not zero.
pub fn long_duration(most: Duration) -> impl Fn(&DeValue<'_>) -> Result<Duration, Fault> {
    const HELP: &str = "Write a number and a unit: \"36h\" or \"7d\".";
    move |value| {
        let duration = with_unit(value, &UNITS, HELP)?;
        let days = most.as_secs() / 86_400;
        if duration > most || duration.is_zero() {
            let message = format!("must be more than nothing and at most {days} days");
            return Err(Fault::value(message, HELP));
        }
        Ok(duration)
    }
}

/// A rate of traffic: `400Mbps`, `10Gbps`, `1.5Tbps`; in bits per second, not zero.
///
/// # Errors
/// If it is none.
pub fn bit_rate(value: &DeValue<'_>) -> Result<u64, Fault> {
    let text = text(value)?;
    parse_bit_rate(&text).ok_or_else(|| {
        let help = "Write a number and a unit: \"400Mbps\", \"10Gbps\" or \"1.5Tbps\".";
        Fault::value(format!("must be a rate of traffic, not {text:?}"), help)
    })
}

/// The same from text. The letters may be of any case, and "bps" may be left out.
pub fn parse_bit_rate(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let lower = lower.strip_suffix("bps").unwrap_or(&lower);
    let unit = match lower.chars().last()? {
        'k' => 1e3,
        'm' => 1e6,
        'g' => 1e9,
        't' => 1e12,
        _ => return None,
    };
    let digits = lower[..lower.len() - 1].trim_end();
    let plain = digits.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    let rate = digits.parse::<f64>().ok().filter(|_| plain)? * unit;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
    (1.0..=1e18).contains(&rate).then_some(rate as u64)
}

/// In milliseconds.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn with_unit(value: &DeValue<'_>, units: &[(&str, u64)], help: &str) -> Result<Duration, Fault> {
    let missing_unit = |number: &str| Fault {
        code: "missing-unit",
        message: "has no unit".to_owned(),
        help: format!("Say what {number} is of: \"{number}s\" or \"{number}ms\"."),
    };
    let text = match value {
        DeValue::String(text) => text.as_ref(),
        DeValue::Integer(number) if number.radix() == 10 => {
            return Err(missing_unit(number.as_str()));
        }
        _ => return Err(Fault::wrong_type("a duration in quotes", value)),
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number == text && !text.is_empty() {
        return Err(missing_unit(number));
    }
    let Some((_, millis)) = units.iter().find(|(name, _)| *name == unit && !number.is_empty())
    else {
        return Err(Fault::value(format!("must be a duration, not {text:?}"), help));
    };
    // More than fits is far more than anybody means.
    let number = number.parse::<u64>().unwrap_or(u64::MAX);
    Ok(Duration::from_millis(number.saturating_mul(*millis)))
}

/// A duration that is not zero.
pub fn some_duration(value: &DeValue<'_>) -> Result<Duration, Fault> {
    duration(value).and_then(|duration| {
        if duration.is_zero() {
            return Err(Fault::value("must not be zero", "Write at least \"1ms\"."));
        }
        Ok(duration)
    })
}

/// A share of something in whole percent, at most `most`: `"10%"`.
pub fn percent(most: u8) -> impl Fn(&DeValue<'_>) -> Result<u8, Fault> {
    move |value| {
        let text = value.as_str().ok_or_else(|| Fault::wrong_type("a share in quotes", value))?;
        let share = text.strip_suffix('%').and_then(|number| number.parse().ok());
        share.filter(|share| *share <= most).ok_or_else(|| {
            Fault::value(
                format!("must be from 0% to {most}%, not {text:?}"),
                "Write whole percent: \"10%\".",
            )
        })
    }
}

/// A number that a network can have.
///
/// # Errors
/// If it is none, or reserved.
pub fn asn(value: &DeValue<'_>) -> Result<Asn, Fault> {
    let asn = Asn(number(0..=u32::MAX)(value)?);
    if asn.is_reserved() {
        return Err(Fault {
            code: "reserved-asn",
            message: format!("is {asn}, a number that no network can have"),
            help: "Write the number that your registry assigned, a private one (64512–65534) or \
                   one for documentation (64496–64511)."
                .to_owned(),
        });
    }
    Ok(asn)
}

/// Anything that is written as a string and reads itself.
pub fn parsed<T: FromStr>(
    what: &'static str,
    example: &'static str,
) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> {
    move |value| {
        let text = value.as_str().ok_or_else(|| Fault::wrong_type("a string", value))?;
        text.parse().map_err(|_| {
            Fault::value(
                format!("must be {what}, not {text:?}"),
                format!("Write it like {example:?}."),
            )
        })
    }
}

/// An address of one host.
pub fn address(value: &DeValue<'_>) -> Result<IpAddr, Fault> {
    let address: IpAddr = parsed("an IP address", "192.0.2.53")(value)?;
    let fault =
        |what: &str| Err(Fault::value(format!("is {what}"), "Write the address of one host."));
    match address {
        _ if address.is_unspecified() => fault("the unspecified address"),
        _ if address.is_multicast() => fault("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => fault("the broadcast address"),
        _ => Ok(address),
    }
}

/// One of a few words.
pub fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> {
    move |value| {
        let text = value.as_str().ok_or_else(|| Fault::wrong_type("a string", value))?;
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            Fault::value(format!("cannot be {text:?}"), suggestion(text, &known, "Write"))
        })
    }
}

/// A name that the file gives to a thing of its own.
///
/// # Errors
/// What is wrong with it, to go on after the name.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    if name.len() > LONGEST_NAME {
        return Err(format!("is longer than {LONGEST_NAME} characters"));
    }
    match name.chars().find(|c| !fits(*c)) {
        Some(odd) => Err(format!("has {odd:?} in it")),
        None => Ok(()),
    }
}

/// A domain name, given back with its final dot.
pub fn domain_name(value: &DeValue<'_>) -> Result<String, Fault> {
    let name = text(value)?;
    let bare = name.strip_suffix('.').unwrap_or(&name);
    // RFC 1035 §2.3.4: a label has at most 63 octets, a name 255 with its length octets.
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'\\')
    };
    if name == "." || (bare.len() <= 253 && bare.split('.').all(fits)) {
        return Ok(if bare.is_empty() { ".".to_owned() } else { format!("{bare}.") });
    }
    Err(Fault::value(
        format!("must be a domain name, not {name:?}"),
        "Write labels of at most 63 characters with dots between: \"www.example.net.\".",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(source: &str) -> DeValue<'_> {
        DeValue::parse(source).unwrap().into_inner()
    }

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        let table = [
            ("'500ms'", Ok(500)),
            ("'1s'", Ok(1000)),
            ("'2m'", Ok(120_000)),
            ("'24h'", Ok(86_400_000)),
            ("'0s'", Ok(0)),
            ("'25h'", Err("bad-value")),
            ("'99999999999999999999h'", Err("bad-value")),
            ("'18446744073709551615h'", Err("bad-value")),
            ("'1'", Err("missing-unit")),
            ("1", Err("missing-unit")),
            ("''", Err("bad-value")),
            ("'s'", Err("bad-value")),
            ("'1 s'", Err("bad-value")),
            ("'1.5s'", Err("bad-value")),
            ("'-1s'", Err("bad-value")),
            ("'1d'", Err("bad-value")),
            ("'1ü'", Err("bad-value")),
            ("1.5", Err("wrong-type")),
            ("true", Err("wrong-type")),
        ];
        for (source, expected) in table {
            let got = duration(&toml(source)).map_err(|fault| fault.code);
            assert_eq!(got, expected.map(Duration::from_millis), "{source}");
        }
    }

    #[test]
    fn a_number_is_bounded_on_both_sides_in_every_notation() {
        let table = [
            ("1", Some(1)),
            ("0x10", Some(16)),
            ("6_5_5_3_5", Some(65535)),
            ("0", None),
            ("65536", None),
            ("-1", None),
            ("99999999999999999999999", None),
            ("'1'", None),
            ("1.0", None),
        ];
        for (source, expected) in table {
            assert_eq!(port(&toml(source)).ok(), expected, "{source}");
        }
    }

    #[test]
    fn a_domain_name_has_short_labels_and_ends_with_a_dot() {
        let long = format!("'{}.net'", "a".repeat(64));
        let table = [
            ("'id.server.'", Some("id.server.")),
            ("'id.server'", Some("id.server.")),
            ("'.'", Some(".")),
            ("''", None),
            ("'a..b'", None),
            ("'a b'", None),
            (&long, None),
        ];
        for (source, expected) in table {
            assert_eq!(domain_name(&toml(source)).ok().as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn a_bit_rate_has_a_unit() {
        for (source, want) in [
            ("'400Mbps'", Some(400_000_000)),
            ("'10gbps'", Some(10_000_000_000)),
            ("'1.5T'", Some(1_500_000_000_000)),
            ("'10'", None),
            ("'Gbps'", None),
            ("'-1Gbps'", None),
            ("'0Gbps'", None),
            ("'1e3Gbps'", None),
            ("'ü'", None),
            ("10", None),
        ] {
            assert_eq!(bit_rate(&toml(source)).ok(), want, "{source}");
        }
    }

    #[test]
    fn an_address_is_of_one_host() {
        for good in ["'192.0.2.1'", "'2001:db8::1'"] {
            assert!(address(&toml(good)).is_ok(), "{good}");
        }
        for bad in ["'192.0.2.0/24'", "'0.0.0.0'", "'::'", "'224.0.0.1'", "'ff02::1'", "1", "'x'"] {
            assert!(address(&toml(bad)).is_err(), "{bad}");
        }
    }
}
