//! The anycast program.
fn main() {}
