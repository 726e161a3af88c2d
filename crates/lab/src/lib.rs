//! An Internet in network namespaces: ASes, cities, latencies, the fleet's sites and clients.
//!
//! | module | what it is |
//! |---|---|
//! | [`world`], [`plan`] | the world file, and what must be built for it (pure) |
//! | [`sandbox`], [`netns`], [`netlink`], [`wire`] | the walls, the nodes, the links |
//! | [`peers`] | routers that are other programs |
//! | [`running`] | a lab that runs, and what can be done to it |
//! | [`probe`] | who answers each client, once or again and again |
//! | [`scenario`] | what to do, and what must be true then |
//! | [`control`] | the lab's control socket, both ends |

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the lab is floor 3: it has a clock, sockets and threads"
)]

mod ask;
pub mod control;
pub mod mroute;
pub mod netlink;
pub mod netns;
pub mod peers;
pub mod plan;
pub mod probe;
pub mod running;
pub mod sandbox;
pub mod scenario;
mod sys;
pub mod wire;
pub mod world;
