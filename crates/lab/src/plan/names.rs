//! Names of nodes and interfaces.

use std::collections::HashSet;

/// What the kernel allows (IFNAMSIZ without the closing zero).
const INTERFACE_NAME_LEN: usize = 15;

/// A city as part of a name: lower case, ASCII, words joined by `-`.
pub(crate) fn host_label(city: &str) -> String {
    let mut label = String::new();
    for letter in city.chars().flat_map(char::to_lowercase) {
        match unaccented(letter) {
            Some(plain) => label.push_str(plain),
            None if letter.is_ascii_alphanumeric() => label.push(letter),
            None if letter.is_ascii() && !label.is_empty() && !label.ends_with('-') => {
                label.push('-');
            }
            None => {}
        }
    }
    label.trim_end_matches('-').to_owned()
}

/// Latin letters with marks, in lower case, as one writes them without.
fn unaccented(letter: char) -> Option<&'static str> {
    Some(match letter {
        'à'..='å' | 'ā' | 'ă' | 'ą' => "a",
        'æ' => "ae",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'ğ' => "g",
        'ì'..='ï' | 'ī' | 'ı' => "i",
        'ł' => "l",
        'ñ' | 'ń' | 'ň' => "n",
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => "o",
        'œ' => "oe",
        'ř' => "r",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'ß' => "ss",
        'ť' | 'ț' | 'ţ' => "t",
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        _ => return None,
    })
}

/// `to-` and as much of the other node's name as fits; for a router that is called after AS and
/// city, `router`, the AS and the city's three letters. The result is entered in `taken`, which it was not in.
pub(super) fn interface_name(
    node: &str,
    router: Option<(&str, &str)>,
    taken: &mut HashSet<String>,
) -> String {
    let room = INTERFACE_NAME_LEN - "to-".len();
    let short = match router {
        Some((system, city)) => {
            // As operators do: lon, nyc, gru.
            let city = anycast_fleet::city::find(city).map_or_else(
                || host_label(city).chars().filter(char::is_ascii_alphanumeric).take(3).collect(),
                |known| known.code.to_owned(),
            );
            let system: String = system.chars().take(room - 1 - city.len()).collect();
            format!("{}-{city}", system.trim_end_matches('-'))
        }
        None => node.chars().take(room).collect(),
    };
    let wished = format!("to-{}", short.trim_end_matches('-'));
    let mut name = wished.clone();
    let mut number = 2;
    while taken.contains(&name) {
        let suffix = number.to_string();
        name = wished.chars().take(INTERFACE_NAME_LEN - suffix.len()).collect::<String>() + &suffix;
        number += 1;
    }
    taken.insert(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cities_become_labels() {
        for (city, label) in [
            ("New York", "new-york"),
            ("São Paulo", "sao-paulo"),
            ("Bogotá", "bogota"),
            ("Washington, D.C.", "washington-d-c"),
            ("Zürich", "zurich"),
            ("東京", ""),
        ] {
            assert_eq!(host_label(city), label);
        }
    }

    #[test]
    fn interface_names_are_short_and_unique() {
        let mut taken = HashSet::new();
        let mut name = |node, router| interface_name(node, router, &mut taken);
        for (node, router, want) in [
            ("fra", None, "to-fra"),
            ("borealis-oslo", Some(("borealis", "Oslo")), "to-borealis-osl"),
            ("borealis-oslo", Some(("borealis", "Oslo")), "to-borealis-os2"),
            ("gulf-new-york", Some(("gulf", "New York")), "to-gulf-nyc"),
            ("transcontinental-lima", Some(("transcontinental", "Lima")), "to-transcon-lim"),
            ("a-very-long-leaf", None, "to-a-very-long"),
        ] {
            let got = name(node, router);
            assert_eq!(got, want);
            assert!(got.len() <= INTERFACE_NAME_LEN);
        }
    }
}
