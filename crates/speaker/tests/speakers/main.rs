//! Running speakers, beside each other and beside other programs. One program of tests: linked once.

mod bfd;
mod handover;
mod interfaces;
mod kernel_routes;
mod limits;
mod live_changes;
mod monitoring;
mod next_hops;
mod orders_and_looks;
mod paths;
mod restarts;
mod restarts_with_bird;
mod rpki;
mod setup;
mod stubborn_neighbors;
mod two_speakers;
