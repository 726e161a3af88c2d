//! The fleet's floor: how many sites must go on announcing a prefix, and who may stop.
//!
//! Sites share two kinds of records: each site's own [`Record`], which only it writes, and one
//! [`Ledger`] for each prefix, which all write, each change conditional on nobody having written
//! in between. A site withdraws only after its name is in the ledger; a site counts as announcing
//! while its record is fresh, says so, and its name is not in the ledger. So two sites cannot
//! both take the last permit, and a site that vanishes counts as not announcing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A site that announces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its region, if the fleet has regions.
    pub region: Option<String>,
}

/// What must not be undercut for a prefix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FloorSpec {
    /// In the whole fleet.
    pub fleet: Bound,
    /// Among the sites of this site's region.
    pub region: Option<Bound>,
    /// What a site does that cannot ask.
    pub when_alone: WhenAlone,
}

/// How many of some sites must announce.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bound {
    /// At least so many.
    pub min_sites: u32,
    /// At most so many of a hundred may be withdrawn.
    pub max_withdrawn: Option<u8>,
}

/// What a site does that wants to withdraw and knows nothing of the others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenAlone {
    /// It goes on announcing.
    #[default]
    Hold,
    /// It withdraws.
    Withdraw,
}

/// What a site tells the others of itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// Prefixes that it announces, to at least one neighbor.
    pub announces: BTreeSet<IpNet>,
    /// Those that it would withdraw, if the floor let it.
    #[serde(default)]
    pub held: BTreeSet<IpNet>,
    /// Those of which it sheds load.
    #[serde(default)]
    pub sheds: BTreeSet<IpNet>,
    /// Whether an operator drains it.
    #[serde(default)]
    pub drained: bool,
    /// The newest revision of the shared state that it had seen; 0: nobody may count on this.
    #[serde(default)]
    pub seen: u64,
}

/// Who may withdraw, or has withdrawn, a prefix.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ledger {
    /// Names of sites.
    pub withdrawn: BTreeSet<String>,
}

/// What a site knows of the fleet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FleetView {
    /// The sites that are there, by name.
    pub sites: BTreeMap<String, Record>,
    /// By prefix.
    pub ledgers: BTreeMap<IpNet, Ledger>,
}

impl Record {
    /// Whether both tell the same, whenever they were written.
    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.announces, &self.held, &self.sheds, self.drained)
            == (&other.announces, &other.held, &other.sheds, other.drained)
    }
}

impl FleetView {
    /// Whether the site announces the prefix and may not stop.
    pub fn stands(&self, site: &str, prefix: &IpNet) -> bool {
        let announces = self.sites.get(site).is_some_and(|it| it.announces.contains(prefix));
        announces && !self.ledgers.get(prefix).is_some_and(|it| it.withdrawn.contains(site))
    }

    /// Whether a site other than `me` announces the prefix unhindered: not against its will, and
    /// not shedding load itself.
    pub fn another_can_take(&self, me: &str, prefix: &IpNet) -> bool {
        self.sites.iter().any(|(name, record)| {
            let free = !record.held.contains(prefix) && !record.sheds.contains(prefix);
            name != me && free && self.stands(name, prefix)
        })
    }
}

impl Bound {
    /// How many of `members` sites must announce.
    pub fn needed(&self, members: usize) -> usize {
        let least = usize::try_from(self.min_sites).unwrap_or(usize::MAX);
        let by_share = self
            .max_withdrawn
            .map_or(0, |most| members - (members * usize::from(most.min(100)) / 100).min(members));
        least.max(by_share)
    }
}

/// As words: `at least 2 sites, at most 50 % withdrawn`.
impl fmt::Display for FloorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = |min: u32, whose: &str| {
            let sites = if min == 1 { "site" } else { "sites" };
            (min > 0).then(|| format!("at least {min} {sites}{whose}"))
        };
        let share = self.fleet.max_withdrawn.map(|share| format!("at most {share} % withdrawn"));
        let region = self.region.and_then(|it| least(it.min_sites, " of the region"));
        let parts = [least(self.fleet.min_sites, ""), share, region];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl FloorSpec {
    /// Whether `me` may stop announcing `prefix`, by what is known of the fleet.
    ///
    /// # Errors
    /// In words: who would be left, and how many there must be.
    pub fn may_withdraw(
        &self,
        members: &[Member],
        me: &str,
        prefix: &IpNet,
        view: &FleetView,
    ) -> Result<(), String> {
        for (whose, bound, among) in self.bounds(members, me) {
            let others: Vec<&str> =
                among.iter().copied().filter(|it| *it != me && view.stands(it, prefix)).collect();
            let needed = bound.needed(among.len());
            if others.len() < needed {
                let others = match others.len() {
                    0 => "no other site announces it".to_owned(),
                    1 => format!("only {} announces it besides", others[0]),
                    many => format!("only {many} others announce it ({})", others.join(", ")),
                };
                return Err(format!("{others}; {whose} floor is {needed} of {}", among.len()));
            }
        }
        Ok(())
    }

    /// Whether `me` may stop announcing `prefix` although it cannot ask: by what the site last
    /// knew, the first sites in the fleet file's order that announced it keep it up, so many as
    /// the floor needs; the rest may go. Without such knowledge, as [`WhenAlone`] says.
    pub fn may_withdraw_alone(
        &self,
        members: &[Member],
        me: &str,
        prefix: &IpNet,
        last: Option<&FleetView>,
    ) -> bool {
        let Some(view) = last else { return self.when_alone == WhenAlone::Withdraw };
        self.bounds(members, me).iter().all(|(_, bound, among)| {
            let standing = among.iter().filter(|it| view.stands(it, prefix));
            let needed = bound.needed(among.len());
            !standing.take(needed).any(|it| *it == me) && {
                // Who is not known to stand may not be among the keepers by mistake.
                let others =
                    among.iter().filter(|it| **it != me && view.stands(it, prefix)).count();
                others >= needed
            }
        })
    }

    /// The bounds that hold for `me`, each with whose it is and the sites that it is about.
    fn bounds<'a>(
        &self,
        members: &'a [Member],
        me: &str,
    ) -> Vec<(&'static str, Bound, Vec<&'a str>)> {
        let names = |region: Option<&String>| -> Vec<&'a str> {
            let inside = |it: &&'a Member| region.is_none() || it.region.as_ref() == region;
            members.iter().filter(inside).map(|it| it.name.as_str()).collect()
        };
        let mut bounds = vec![("the fleet's", self.fleet, names(None))];
        let mine = members.iter().find(|it| it.name == me).and_then(|it| it.region.as_ref());
        if let (Some(bound), Some(region)) = (self.region, mine) {
            bounds.push(("the region's", bound, names(Some(region))));
        }
        bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "192.0.2.0/24";

    fn prefix() -> IpNet {
        PREFIX.parse().unwrap()
    }

    fn members(names: &[(&str, &str)]) -> Vec<Member> {
        let region = |it: &str| (!it.is_empty()).then(|| it.to_owned());
        let member =
            |(name, of): &(&str, &str)| Member { name: (*name).to_owned(), region: region(of) };
        names.iter().map(member).collect()
    }

    /// Who announces, and who of them has a permit.
    fn view(announce: &[&str], permits: &[&str]) -> FleetView {
        let record = Record { announces: [prefix()].into(), ..Record::default() };
        let withdrawn = permits.iter().map(|&it| it.to_owned()).collect();
        FleetView {
            sites: announce.iter().map(|&it| (it.to_owned(), record.clone())).collect(),
            ledgers: [(prefix(), Ledger { withdrawn })].into(),
        }
    }

    fn floor(min_sites: u32, max_withdrawn: Option<u8>) -> FloorSpec {
        FloorSpec {
            fleet: Bound { min_sites, max_withdrawn },
            region: None,
            when_alone: WhenAlone::Hold,
        }
    }

    /// A floor, who announces, who has a permit, and whether `a` may go.
    type Row<'a> = (FloorSpec, &'a [&'a str], &'a [&'a str], Result<(), &'a str>);

    #[test]
    fn a_site_may_go_while_enough_others_stay() {
        let five = members(&[("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")]);
        let table: &[Row] = &[
            (floor(1, None), &["a", "b"], &[], Ok(())),
            (
                floor(1, None),
                &["a"],
                &[],
                Err("no other site announces it; the fleet's floor is 1 of 5"),
            ),
            (
                floor(1, None),
                &["a", "b"],
                &["b"],
                Err("no other site announces it; the fleet's floor is 1 of 5"),
            ),
            (floor(2, None), &["a", "b", "c"], &[], Ok(())),
            (
                floor(2, None),
                &["a", "c"],
                &[],
                Err("only c announces it besides; the fleet's floor is 2 of 5"),
            ),
            (floor(0, Some(40)), &["a", "b", "c", "d"], &[], Ok(())),
            (
                floor(0, Some(40)),
                &["a", "b", "c"],
                &[],
                Err("only 2 others announce it (b, c); the fleet's floor is 3 of 5"),
            ),
            (floor(0, Some(100)), &["a"], &[], Ok(())),
        ];
        for (floor, announce, permits, expected) in table {
            let may = floor.may_withdraw(&five, "a", &prefix(), &view(announce, permits));
            assert_eq!(may.as_ref().map_err(String::as_str).copied(), *expected);
        }
    }

    #[test]
    fn a_region_has_a_floor_of_its_own() {
        let four = members(&[("fra", "eu"), ("ams", "eu"), ("nyc", "us"), ("sjc", "us")]);
        let floor = FloorSpec {
            region: Some(Bound { min_sites: 1, max_withdrawn: None }),
            ..floor(1, None)
        };
        let all = view(&["fra", "ams", "nyc", "sjc"], &[]);
        assert_eq!(floor.may_withdraw(&four, "fra", &prefix(), &all), Ok(()));
        let last_of_europe = view(&["fra", "nyc", "sjc"], &[]);
        assert_eq!(
            floor.may_withdraw(&four, "fra", &prefix(), &last_of_europe).unwrap_err(),
            "no other site announces it; the region's floor is 1 of 2"
        );
    }

    #[test]
    fn sites_that_cannot_ask_leave_the_first_ones_standing() {
        let five = members(&[("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")]);
        let floor = floor(2, None);
        let knew = view(&["b", "c", "d", "e"], &["c"]);
        let may = |site: &str| floor.may_withdraw_alone(&five, site, &prefix(), Some(&knew));
        assert_eq!(["b", "d", "e"].map(may), [false, false, true]);
        let few = view(&["b"], &[]);
        assert!(!floor.may_withdraw_alone(&five, "e", &prefix(), Some(&few)));
        assert!(!floor.may_withdraw_alone(&five, "e", &prefix(), None));
        let bold = FloorSpec { when_alone: WhenAlone::Withdraw, ..floor };
        assert!(bold.may_withdraw_alone(&five, "e", &prefix(), None));
    }
}
