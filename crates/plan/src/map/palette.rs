//! Colours that people with any kind of colour vision can tell apart (Okabe and Ito, "Color
//! Universal Design", 2008; without black and yellow, which are too dark and too pale here), and
//! which site gets which.

use anycast_fleet::city::distance_km;

use crate::scene::SiteFacts;

const COLOURS: [&str; 7] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B4C9A"];

/// A colour for each site. With more sites than colours, the sites of one colour are far apart,
/// and each is named on the map.
pub(super) fn colours(sites: &[SiteFacts]) -> Vec<&'static str> {
    let mut chosen: Vec<usize> = Vec::new();
    for (at, site) in sites.iter().enumerate() {
        if at < COLOURS.len() {
            chosen.push(at);
            continue;
        }
        // How near the nearest site of a colour is; sites without a place are nowhere.
        let nearest = |colour: usize| {
            let same = (0..at).filter(|other| chosen[*other] == colour);
            let km = same.filter_map(|other| Some(distance_km(site.place?, sites[other].place?)));
            km.fold(f64::INFINITY, f64::min)
        };
        let uses = |colour: usize| chosen.iter().filter(|it| **it == colour).count();
        let best = (0..COLOURS.len()).max_by(|a, b| {
            nearest(*a).total_cmp(&nearest(*b)).then(uses(*b).cmp(&uses(*a))).then(b.cmp(a))
        });
        chosen.push(best.unwrap_or(0));
    }
    chosen.into_iter().map(|at| COLOURS[at]).collect()
}

#[cfg(test)]
mod tests {
    use anycast_fleet::city;

    use super::*;

    #[test]
    fn sites_of_one_colour_are_far_apart() {
        let codes = ["fra", "nyc", "gru", "nrt", "syd", "jnb", "bom", "ams", "lax", "sin"];
        let sites: Vec<SiteFacts> = codes
            .iter()
            .map(|code| SiteFacts {
                name: (*code).to_owned(),
                place: city::find(code).map(city::City::coordinates),
                capacity: None,
                neighbors: Vec::new(),
            })
            .collect();
        let colours = colours(&sites);
        for a in 0..sites.len() {
            for b in (0..a).filter(|b| colours[*b] == colours[a]) {
                let km = distance_km(sites[a].place.unwrap(), sites[b].place.unwrap());
                assert!(km > 8000.0, "{} and {}: {km}", codes[a], codes[b]);
            }
        }
    }
}
