//! Whole fleet files: read, refused, compared. One program of tests: linked once.

mod difference;
mod examples;
mod policies;
mod problems;
mod reference;
mod robust;
mod rpki;
mod secrets;
