//! Plans of an anycast fleet on the AS-level Internet: who will land at which site, what a change
//! would do, and which configuration serves users best.
//!
//! The routes come from the pure crate `catchment`; this crate reads files, knows where networks
//! are and how many users they have, and uses threads. It has no sockets.
//!
//! | module | what it is |
//! |---|---|
//! | [`open`], [`table`] | files as they are published; tables of ASes |
//! | [`geography`] | distances, round trips, the tilt of ties |
//! | [`announce`] | fleet file → configuration, by the sites' own export policies |
//! | [`scene`], [`outcome`] | where a plan plays, and what a configuration comes to |
//! | [`report`] | the whole plan: sites, latency, who lands far from home |
//! | [`change`], [`difference`](mod@difference) | what if, and what then differs |
//! | [`why`] | every route of one AS |
//! | [`observed`] | observations and models on disk |
//! | [`failures`], [`attack`] | what fails, and what is thrown at the fleet |
//! | [`optimise`] | the search for a better configuration |
//! | [`map`] | the catchments as a picture |

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "floor 2: it has threads and measures its own speed")]

pub mod announce;
pub mod attack;
pub mod change;
pub mod difference;
pub mod failures;
pub mod geography;
pub mod map;
pub mod observed;
pub mod open;
pub mod optimise;
pub mod outcome;
pub mod report;
pub mod scene;
pub mod table;
pub mod why;

pub use outcome::{Latency, Outcome, Planner};
pub use scene::{Geography, Ingredients, Scene, SceneError, SiteFacts};
