//! Where cities are: by name or by the airport code that operators name sites after.

mod table;

use crate::Coordinates;
use crate::problem::closest;

/// The mean radius of the Earth, in kilometres.
const EARTH_RADIUS_KM: f64 = 6371.0;

/// A city.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct City {
    /// Its English name; unique in the table.
    pub name: &'static str,
    /// The country's two letters (ISO 3166-1).
    pub country: &'static str,
    /// The airport's or city's three letters (IATA), in lower case; unique in the table.
    pub code: &'static str,
    /// Degrees; north is positive.
    pub lat: f64,
    /// Degrees; east is positive.
    pub lon: f64,
}

impl City {
    /// Where it is.
    pub fn coordinates(&self) -> Coordinates {
        Coordinates { lat: self.lat, lon: self.lon }
    }
}

/// Every city known.
pub fn all() -> &'static [City] {
    table::CITIES
}

/// The city of that name or code, in any case, with or without accents: "São Paulo", "sao paulo"
/// and "GRU" are one.
pub fn find(text: &str) -> Option<&'static City> {
    let wanted = fold(text);
    all().iter().find(|city| city.code == wanted || fold(city.name) == wanted)
}

/// Cities whose names are like `text`, the likeliest first; at most three.
pub fn suggest(text: &str) -> Vec<&'static City> {
    let wanted = fold(text);
    if wanted.is_empty() {
        return Vec::new();
    }
    let begins =
        all().iter().filter(|city| wanted.len() > 2 && fold(city.name).starts_with(&wanted));
    let mut found: Vec<&City> = Vec::new();
    let folded: Vec<String> = all().iter().map(|city| fold(city.name)).collect();
    let near = closest(&wanted, folded.iter().map(String::as_str)).and_then(find);
    for city in near.into_iter().chain(begins) {
        if !found.contains(&city) {
            found.push(city);
        }
    }
    found.truncate(3);
    found
}

/// The distance along the surface, in kilometres, by the haversine formula.
pub fn distance_km(a: Coordinates, b: Coordinates) -> f64 {
    let (lat_a, lat_b) = (a.lat.to_radians(), b.lat.to_radians());
    let half_lat = (lat_b - lat_a) / 2.0;
    let half_lon = (b.lon - a.lon).to_radians() / 2.0;
    let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
    2.0 * EARTH_RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin()
}

/// Lower case, without the accents that the table has, and one space between words.
fn fold(text: &str) -> String {
    let plain = |c: char| match c {
        'á' | 'à' | 'ã' | 'â' | 'ä' | 'å' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'í' | 'ï' | 'î' => 'i',
        'ó' | 'ò' | 'õ' | 'ô' | 'ö' | 'ø' => 'o',
        'ú' | 'ü' | 'û' => 'u',
        'ç' => 'c',
        'ñ' => 'n',
        '-' | '_' | '.' | '\'' => ' ',
        other => other,
    };
    let text: String = text.to_lowercase().chars().map(plain).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_are_unique_and_every_place_is_on_earth() {
        assert!(all().len() >= 150, "{} cities", all().len());
        for (index, city) in all().iter().enumerate() {
            for other in &all()[..index] {
                assert_ne!(fold(city.name), fold(other.name), "{} twice", city.name);
                assert_ne!(city.code, other.code, "{} and {}", city.name, other.name);
            }
            assert!(city.lat.abs() <= 90.0 && city.lon.abs() <= 180.0, "{}", city.name);
            assert!(city.code.len() == 3 && fold(city.code) == city.code, "{}", city.name);
            let upper = city.country.bytes().all(|octet| octet.is_ascii_uppercase());
            assert!(city.country.len() == 2 && upper, "{}", city.name);
        }
    }

    #[test]
    fn no_two_cities_are_in_one_place() {
        for (index, city) in all().iter().enumerate() {
            for other in &all()[..index] {
                let apart = distance_km(city.coordinates(), other.coordinates());
                assert!(apart > 15.0, "{} and {} are {apart} km apart", city.name, other.name);
            }
        }
    }

    #[test]
    fn a_city_is_found_by_name_or_code_in_any_writing() {
        for text in ["São Paulo", "sao paulo", "SAO PAULO", "GRU", "gru", " são  paulo "] {
            assert_eq!(find(text).map(|city| city.name), Some("São Paulo"), "{text}");
        }
        for text in ["", "x", "Atlantis", "Frankfur"] {
            assert_eq!(find(text), None, "{text}");
        }
    }

    #[test]
    fn a_misspelt_city_is_suggested() {
        let table = [("Frankfrut", "Frankfurt"), ("Sidney", "Sydney"), ("new y", "New York")];
        for (text, expected) in table {
            assert_eq!(suggest(text).first().map(|city| city.name), Some(expected), "{text}");
        }
        assert!(suggest("Xyzzyxyzzy").is_empty());
    }

    #[test]
    fn distances_are_those_of_the_globe() {
        // (from, to, kilometres as atlases have them)
        let table = [
            ("fra", "fra", 0.0),
            ("lon", "nyc", 5570.0),
            ("fra", "nrt", 9370.0),
            ("syd", "scl", 11_350.0),
            ("akl", "lax", 10_480.0),
        ];
        for (a, b, expected) in table {
            let place = |code| find(code).unwrap().coordinates();
            let got = distance_km(place(a), place(b));
            assert!((got - expected).abs() <= 60.0, "{a} to {b}: {got} km, not {expected}");
        }
        let antipodes = distance_km(
            Coordinates { lat: 10.0, lon: 0.0 },
            Coordinates { lat: -10.0, lon: 180.0 },
        );
        assert!((antipodes - 20_015.0).abs() < 1.0, "{antipodes}");
    }
}
