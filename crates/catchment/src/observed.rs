//! What was observed of announcements: AS paths that collectors saw while one site announced, or
//! several, and where networks were measured to land.
//!
//! A manifest (TOML) names the experiments and their files; the caller reads the files, so that
//! nothing here touches a disk. See docs/plan-learning.md for the formats.
//!
//! ```
//! use anycast_catchment::observed::{Manifest, Observations};
//!
//! let manifest = Manifest::parse(r#"
//!     version = 1
//!     origins = [64500]
//!     [[experiment]]
//!     name = "first"
//!     [[experiment.site]]
//!     name = "ams"
//!     alone = ["ams.csv"]
//!     [[experiment.measured]]
//!     name = "ping"
//!     file = "ping.csv"
//! "#)?;
//! let observations = Observations::gather(&manifest, |file| Ok(match file {
//!     "ams.csv" => b"collector,monitor,path\nrrc00,64510,64510 64501 64500\n".to_vec(),
//!     _ => b"asn,site\n64510,ams\n".to_vec(),
//! }))?;
//! assert_eq!(observations.experiments[0].sites[0].alone.len(), 1);
//! # Ok::<(), anycast_catchment::observed::ObservedError>(())
//! ```

mod csv;
mod mrt;
#[cfg(test)]
mod tests;

use anycast_bgp::Asn;
use ipnet::IpNet;
use serde::Deserialize;

pub use csv::{parse_landings, parse_paths};
pub use mrt::{Collected, MrtError, is_mrt};

/// The manifest's version that is read here.
pub const VERSION: u32 = 1;

/// Why observations cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ObservedError {
    /// The manifest is no TOML of the right shape.
    #[error("{0}")]
    Manifest(String),
    /// It is of another version.
    #[error("version {0} of the manifest is not known here; this program reads version {VERSION}")]
    Version(u32),
    /// It contradicts itself.
    #[error("experiment {experiment}: {what}")]
    Experiment {
        /// The experiment's name.
        experiment: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// A file that the manifest names cannot be read.
    #[error("{file}: {what}")]
    File {
        /// Its name as the manifest has it.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// A line cannot be used.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong and what is expected.
        what: String,
    },
}

/// A path as a collector's monitor saw it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SeenPath {
    /// The AS that told the collector.
    pub monitor: Asn,
    /// The AS path, the monitor's AS first, prepends kept.
    pub path: Vec<Asn>,
}

/// Where (a part of) an AS was measured to land.
#[derive(Clone, Debug, PartialEq)]
pub struct Landing {
    /// The AS.
    pub asn: Asn,
    /// The site's name.
    pub site: String,
    /// What this row counts for: addresses, users; 1 unless the file says otherwise.
    pub weight: f64,
}

/// Which experiments there are, and the files that belong to each.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of the format; [`VERSION`].
    pub version: u32,
    /// The numbers that originate the announcements: a path is read up to the first of them.
    pub origins: Vec<u32>,
    /// The prefixes that count in MRT files; all with one of the origins on their path if none
    /// are given.
    #[serde(default)]
    pub prefixes: Vec<IpNet>,
    /// The experiments.
    #[serde(default, rename = "experiment")]
    pub experiments: Vec<ManifestExperiment>,
}

/// One experiment of a manifest.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ManifestExperiment {
    /// Its name.
    pub name: String,
    /// The sites that announced together.
    #[serde(rename = "site")]
    pub sites: Vec<ManifestSite>,
    /// Files of paths seen while all of them announced.
    #[serde(default)]
    pub together: Vec<String>,
    /// Files of catchments measured while all of them announced.
    #[serde(default)]
    pub measured: Vec<ManifestMeasured>,
}

/// One site of an experiment.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ManifestSite {
    /// Its name.
    pub name: String,
    /// Files of paths seen while it alone announced, to the same neighbors.
    #[serde(default)]
    pub alone: Vec<String>,
    /// The neighbors to which it announced; those on its paths if none are given.
    #[serde(default)]
    pub neighbors: Vec<u32>,
    /// The prefixes that it alone announced, where these are not the manifest's.
    #[serde(default)]
    pub prefixes: Vec<IpNet>,
    /// Where it is, in degrees; needed for the baseline that takes the nearest site.
    pub latitude: Option<f64>,
    /// East of Greenwich is positive.
    pub longitude: Option<f64>,
}

/// One measurement of an experiment.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ManifestMeasured {
    /// How it was measured: a name under which scores are listed.
    pub name: String,
    /// The file.
    pub file: String,
}

impl Manifest {
    /// Reads a manifest and checks that it is in itself sound.
    ///
    /// # Errors
    /// What is wrong first; TOML's errors name the line.
    pub fn parse(text: &str) -> Result<Self, ObservedError> {
        let manifest: Self =
            toml::from_str(text).map_err(|error| ObservedError::Manifest(error.to_string()))?;
        if manifest.version != VERSION {
            return Err(ObservedError::Version(manifest.version));
        }
        if manifest.origins.is_empty() {
            return Err(ObservedError::Manifest(
                "`origins` is empty: name the AS numbers that originate the announcements"
                    .to_owned(),
            ));
        }
        let mut names: Vec<&str> = Vec::new();
        for experiment in &manifest.experiments {
            let wrong = |what: String| {
                Err(ObservedError::Experiment { experiment: experiment.name.clone(), what })
            };
            if names.contains(&experiment.name.as_str()) {
                return wrong("two experiments have this name; rename one".to_owned());
            }
            names.push(&experiment.name);
            if experiment.sites.is_empty() {
                return wrong("it has no sites; add [[experiment.site]]".to_owned());
            }
            for (at, site) in experiment.sites.iter().enumerate() {
                if experiment.sites[..at].iter().any(|other| other.name == site.name) {
                    return wrong(format!("site {} is named twice", site.name));
                }
                let place = [(site.latitude, 90.0), (site.longitude, 180.0)];
                let sound = |(degrees, most): &(Option<f64>, f64)| {
                    degrees.is_none_or(|degrees| degrees.abs() <= *most)
                };
                if site.latitude.is_some() != site.longitude.is_some() || !place.iter().all(sound) {
                    return wrong(format!(
                        "site {}: give latitude (-90 to 90) and longitude (-180 to 180), or neither",
                        site.name
                    ));
                }
                if site.alone.is_empty() && site.neighbors.is_empty() {
                    return wrong(format!(
                        "site {} has neither `alone` paths nor `neighbors`: nothing says to whom it announced",
                        site.name
                    ));
                }
            }
        }
        Ok(manifest)
    }
}

/// All that was observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observations {
    /// The numbers that originate the announcements.
    pub origins: Vec<Asn>,
    /// The experiments.
    pub experiments: Vec<Experiment>,
    /// How many BGP messages in MRT files had a fault, and were passed over.
    pub passed_over: usize,
}

/// One experiment: sites that announced together, and each alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Experiment {
    /// Its name.
    pub name: String,
    /// Its sites.
    pub sites: Vec<SeenSite>,
    /// Paths seen while all announced. They are an outcome: no prediction of this experiment
    /// may know them.
    pub together: Vec<SeenPath>,
    /// Measured catchments while all announced, by name. They are outcomes too.
    pub measured: Vec<(String, Vec<Landing>)>,
}

/// One site of an experiment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenSite {
    /// Its name.
    pub name: String,
    /// Paths seen while it alone announced.
    pub alone: Vec<SeenPath>,
    /// The neighbors to which it announced, where that is stated.
    pub neighbors: Vec<Asn>,
    /// Its latitude and longitude in degrees, where these are stated.
    pub place: Option<(f64, f64)>,
}

impl Observations {
    /// Gathers what a manifest names; `read` gives a file's octets, already decompressed.
    ///
    /// # Errors
    /// The first file that cannot be read or has a line that cannot be used, and measured sites
    /// that the experiment does not have.
    pub fn gather(
        manifest: &Manifest,
        mut read: impl FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Self, ObservedError> {
        let origins: Vec<Asn> = manifest.origins.iter().copied().map(Asn).collect();
        let mut passed_over = 0;
        let mut paths =
            |files: &[String],
             prefixes: &[IpNet],
             read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>| {
                let mut all = Vec::new();
                let mut collected = Collected::new(&origins, prefixes);
                for file in files {
                    let octets = read(file).map_err(|what| in_file(file, &what))?;
                    if is_mrt(&octets) {
                        collected.read(&octets).map_err(|error| in_file(file, &error))?;
                    } else {
                        all.extend(parse_paths(&octets).map_err(|error| in_file(file, &error))?);
                    }
                }
                passed_over += collected.passed_over();
                all.extend(collected.into_paths());
                Ok::<_, ObservedError>(all)
            };
        let mut experiments = Vec::new();
        for named in &manifest.experiments {
            let mut sites = Vec::new();
            for site in &named.sites {
                let own =
                    if site.prefixes.is_empty() { &manifest.prefixes } else { &site.prefixes };
                sites.push(SeenSite {
                    name: site.name.clone(),
                    alone: paths(&site.alone, own, &mut read)?,
                    neighbors: site.neighbors.iter().copied().map(Asn).collect(),
                    place: site.latitude.zip(site.longitude),
                });
            }
            let together = paths(&named.together, &manifest.prefixes, &mut read)?;
            let mut measured = Vec::new();
            for ManifestMeasured { name, file } in &named.measured {
                let text = read(file).map_err(|what| in_file(file, &what))?;
                let landings = parse_landings(&text).map_err(|error| in_file(file, &error))?;
                let known = |site: &str| sites.iter().any(|known| known.name == site);
                if let Some(landing) = landings.iter().find(|landing| !known(&landing.site)) {
                    let what = format!(
                        "site {} is not one of experiment {}; correct its name or add the site",
                        landing.site, named.name
                    );
                    return Err(in_file(file, &what));
                }
                measured.push((name.clone(), landings));
            }
            experiments.push(Experiment { name: named.name.clone(), sites, together, measured });
        }
        Ok(Self { origins, experiments, passed_over })
    }
}

fn in_file(file: &str, what: &impl ToString) -> ObservedError {
    ObservedError::File { file: file.to_owned(), what: what.to_string() }
}
