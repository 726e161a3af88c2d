//! What if: changes of a configuration, in words.

use std::fmt;
use std::str::FromStr;

use anycast_bgp::Asn;
use anycast_catchment::{Announcement, Configuration, NeighborKind, Site};

use crate::scene::KINDS;
use crate::table::number;

/// One change of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// At which site.
    pub site: String,
    /// Towards which neighbor; `None`: all of them.
    pub neighbor: Option<Asn>,
    /// What.
    pub what: What,
}

/// What changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// It announces.
    Up,
    /// It does not.
    Down,
    /// So many prepends in all.
    Prepend(u8),
    /// NO_EXPORT is attached.
    NoExport,
    /// GRACEFUL_SHUTDOWN is attached.
    GracefulShutdown,
    /// No other transit neighbor of the site is told.
    OnlyTransit(Asn),
    /// Another neighbor.
    Add(Asn, NeighborKind),
    /// That AS refuses the route.
    Poison(Asn),
    /// The neighbor is asked not to tell that AS.
    NotTo(Asn),
}

/// What a change may be written as.
pub const GRAMMAR: &str = "\
site NAME down|up
drain NAME
prepend NAME N
only-transit NAME ASN
poison NAME ASN
add NAME ASN transit|peer|route-server|customer
neighbor NAME ASN down|up|no-export|drain|prepend N|not-to ASN|poison ASN";

/// Why words are no change, or one that cannot be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// Not of the grammar.
    #[error("{words:?} is no change: {why}. Changes are:\n{GRAMMAR}")]
    Words {
        /// What was written.
        words: String,
        /// What is wrong with it.
        why: String,
    },
    /// No such site.
    #[error("there is no site {name:?}{hint}")]
    Site {
        /// The name.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// The site has no such neighbor.
    #[error("{site} has no neighbor AS{neighbor}; it has {there}")]
    Neighbor {
        /// The site.
        site: String,
        /// The neighbor.
        neighbor: Asn,
        /// Those that it has.
        there: String,
    },
    /// The site has such a neighbor already.
    #[error("{site} has the neighbor AS{neighbor} already")]
    There {
        /// The site.
        site: String,
        /// The neighbor.
        neighbor: Asn,
    },
}

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(words: &str) -> Result<Self, ChangeError> {
        let wrong = |why: String| ChangeError::Words { words: words.to_owned(), why };
        let parts: Vec<&str> = words.split_whitespace().collect();
        let asn =
            |text: &str| number(text).ok_or_else(|| wrong(format!("{text:?} is no AS number")));
        let prepends = |text: &str| {
            let few = text.parse::<u8>().ok().filter(|n| *n <= 50);
            few.ok_or_else(|| wrong(format!("{text:?} is no number from 0 to 50")))
        };
        let (site, neighbor, what) = match parts.as_slice() {
            ["site", site, "down"] | ["withdraw", site] => (site, None, What::Down),
            ["site", site, "up"] => (site, None, What::Up),
            ["drain", site] => (site, None, What::GracefulShutdown),
            ["prepend", site, n] => (site, None, What::Prepend(prepends(n)?)),
            ["prepend", site, of, n] => (site, Some(asn(of)?), What::Prepend(prepends(n)?)),
            ["only-transit", site, of] => (site, None, What::OnlyTransit(asn(of)?)),
            ["poison", site, of] => (site, None, What::Poison(asn(of)?)),
            ["add", site, of, kind] => {
                let kind = KINDS.iter().find(|(name, _)| name == kind).map(|(_, kind)| *kind);
                let unknown =
                    || wrong("a neighbor is transit, peer, route-server or customer".to_owned());
                (site, None, What::Add(asn(of)?, kind.ok_or_else(unknown)?))
            }
            ["neighbor", site, of, rest @ ..] => {
                let what = match rest {
                    ["down"] => What::Down,
                    ["up"] => What::Up,
                    ["no-export"] => What::NoExport,
                    ["drain"] => What::GracefulShutdown,
                    ["prepend", n] => What::Prepend(prepends(n)?),
                    ["not-to", to] => What::NotTo(asn(to)?),
                    ["poison", to] => What::Poison(asn(to)?),
                    _ => return Err(wrong("that cannot be done to a neighbor".to_owned())),
                };
                (site, Some(asn(of)?), what)
            }
            _ => return Err(wrong("its words do not fit".to_owned())),
        };
        Ok(Self { site: (*site).to_owned(), neighbor, what })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let site = &self.site;
        let rest = match &self.what {
            What::Up => "up".to_owned(),
            What::Down => "down".to_owned(),
            What::Prepend(n) => format!("prepend {n}"),
            What::NoExport => "no-export".to_owned(),
            What::GracefulShutdown => "drain".to_owned(),
            What::OnlyTransit(asn) => return write!(f, "only-transit {site} {asn}"),
            What::Add(asn, kind) => {
                let name = KINDS.iter().find(|(_, it)| it == kind).map_or("", |(name, _)| name);
                return write!(f, "add {site} {asn} {name}");
            }
            What::Poison(asn) => format!("poison {asn}"),
            What::NotTo(asn) => format!("not-to {asn}"),
        };
        match (self.neighbor, &self.what) {
            (Some(neighbor), _) => write!(f, "neighbor {site} {neighbor} {rest}"),
            (None, What::Up | What::Down) => write!(f, "site {site} {rest}"),
            (None, What::GracefulShutdown) => write!(f, "drain {site}"),
            (None, What::Prepend(n)) => write!(f, "prepend {site} {n}"),
            (None, What::Poison(asn)) => write!(f, "poison {site} {asn}"),
            (None, _) => write!(f, "neighbor {site} (each) {rest}"),
        }
    }
}

impl Change {
    /// Makes the change.
    ///
    /// # Errors
    /// There is no such site or neighbor, or the new neighbor is there already.
    pub fn apply(&self, configuration: &mut Configuration) -> Result<(), ChangeError> {
        let names: Vec<String> = configuration.sites.iter().map(|it| it.name.clone()).collect();
        let site = configuration.sites.iter_mut().find(|it| it.name == self.site);
        let site = site.ok_or_else(|| no_site(&self.site, &names))?;
        if let Some(neighbor) = self.neighbor {
            find(site, neighbor)?;
        }
        let whole = self.neighbor.is_none();
        match &self.what {
            What::Up if whole => site.up = true,
            What::Down if whole => site.up = false,
            What::Add(asn, kind) => {
                if site.announcements.iter().any(|told| told.neighbor == *asn) {
                    return Err(ChangeError::There { site: site.name.clone(), neighbor: *asn });
                }
                site.announcements.push(Announcement::new(*asn, *kind));
            }
            What::OnlyTransit(asn) => {
                find(site, *asn)?;
                for told in &mut site.announcements {
                    if told.kind == NeighborKind::Transit {
                        told.announced = told.neighbor == *asn;
                    }
                }
            }
            what => {
                let meant =
                    |told: &&mut Announcement| self.neighbor.is_none_or(|asn| told.neighbor == asn);
                site.announcements.iter_mut().filter(meant).for_each(|told| change(told, what));
            }
        }
        Ok(())
    }
}

fn change(told: &mut Announcement, what: &What) {
    match what {
        What::Up => told.announced = true,
        What::Down => told.announced = false,
        What::Prepend(n) => told.prepend = *n,
        What::NoExport => told.no_export = true,
        What::GracefulShutdown => told.graceful_shutdown = true,
        What::Poison(asn) => told.poison.push(*asn),
        What::NotTo(asn) => told.not_to.push(*asn),
        // Of a whole site; see `apply`.
        What::OnlyTransit(_) | What::Add(..) => {}
    }
}

fn find(site: &Site, neighbor: Asn) -> Result<(), ChangeError> {
    if site.announcements.iter().any(|told| told.neighbor == neighbor) {
        return Ok(());
    }
    let there: Vec<String> =
        site.announcements.iter().map(|told| format!("AS{}", told.neighbor)).collect();
    Err(ChangeError::Neighbor { site: site.name.clone(), neighbor, there: there.join(", ") })
}

/// The error of a name that no site has, with the one that may have been meant.
pub(crate) fn no_site(name: &str, names: &[String]) -> ChangeError {
    let near = names.iter().min_by_key(|other| strsim::damerau_levenshtein(name, other));
    let hint = match near {
        Some(near) if strsim::damerau_levenshtein(name, near) <= 2 => {
            format!("; did you mean {near:?}?")
        }
        _ => format!("; there are {}", names.join(", ")),
    };
    ChangeError::Site { name: name.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn configuration() -> Configuration {
        let site = |name: &str, neighbors: &[u32]| Site {
            name: name.to_owned(),
            origin: Asn(64500),
            up: true,
            announcements: neighbors
                .iter()
                .map(|asn| Announcement::new(Asn(*asn), NeighborKind::Transit))
                .collect(),
        };
        Configuration { sites: vec![site("fra", &[64501, 64502]), site("nrt", &[64503])] }
    }

    #[test]
    fn each_change_changes_what_it_says() {
        type Seen = fn(&Configuration) -> bool;
        let table: [(&str, Seen); 13] = [
            ("site fra down", |it| !it.sites[0].up && it.sites[1].up),
            ("site fra up", |it| it.sites[0].up),
            ("drain nrt", |it| it.sites[1].announcements[0].graceful_shutdown),
            ("prepend fra 2", |it| it.sites[0].announcements.iter().all(|told| told.prepend == 2)),
            ("prepend fra 64502 2", |it| {
                it.sites[0].announcements.iter().map(|told| told.prepend).eq([0, 2])
            }),
            ("only-transit fra AS64502", |it| {
                it.sites[0].announcements.iter().map(|told| told.announced).eq([false, true])
            }),
            ("poison fra 64510", |it| it.sites[0].announcements[1].poison == [Asn(64510)]),
            ("add nrt 64501 peer", |it| {
                it.sites[1].announcements[1] == Announcement::new(Asn(64501), NeighborKind::Peer)
            }),
            ("neighbor fra 64501 down", |it| !it.sites[0].announcements[0].announced),
            ("neighbor fra 64501 no-export", |it| it.sites[0].announcements[0].no_export),
            ("neighbor fra 64501 drain", |it| it.sites[0].announcements[0].graceful_shutdown),
            ("neighbor fra 64501 prepend 3", |it| it.sites[0].announcements[0].prepend == 3),
            ("neighbor fra 64501 not-to 64510", |it| {
                it.sites[0].announcements[0].not_to == [Asn(64510)]
            }),
        ];
        for (words, seen) in table {
            let mut changed = configuration();
            let change: Change = words.parse().unwrap();
            change.apply(&mut changed).unwrap();
            assert!(seen(&changed), "{words}: {changed:?}");
            assert_eq!(change.to_string().parse::<Change>().as_ref(), Ok(&change), "{words}");
        }
    }

    #[test]
    fn words_that_are_no_change_say_why() {
        for (words, want) in [
            ("", "its words do not fit"),
            ("site fra sideways", "its words do not fit"),
            ("prepend fra 51", "no number from 0 to 50"),
            ("prepend fra x 1", "no AS number"),
            ("add fra 64501 friend", "a neighbor is transit"),
            ("neighbor fra 64501 louder", "cannot be done"),
        ] {
            let error = words.parse::<Change>().unwrap_err().to_string();
            assert!(error.contains(want), "{words}: {error}");
        }
        for (words, want) in [
            ("site far down", "did you mean \"fra\"?"),
            ("site somewhere down", "there are fra, nrt"),
            ("neighbor fra 64503 down", "it has AS64501, AS64502"),
            ("only-transit fra 64503", "has no neighbor AS64503"),
            ("add fra 64501 peer", "already"),
        ] {
            let error = words.parse::<Change>().unwrap().apply(&mut configuration()).unwrap_err();
            assert!(error.to_string().contains(want), "{words}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_words_are_read_or_refused_without_panic(
            words in "(site|prepend|neighbor|add|x)? ?[a-z0-9 -]{0,30}", other: String,
        ) {
            let _ = words.parse::<Change>();
            let _ = other.parse::<Change>();
        }
    }
}
