//! Any file as MRT, twice after the other: refused with the place, never a panic, and what is kept
//! leads to an origin.
#![no_main]

use anycast_bgp::Asn;
use anycast_catchment::observed::Collected;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let origins = [Asn(64_500), Asn(1)];
    let mut collected = Collected::new(&origins, &[]);
    let _ = collected.read(input);
    if let Err(error) = collected.read(input) {
        assert!(error.at < input.len());
    }
    for path in collected.into_paths() {
        assert!(path.path.iter().any(|asn| origins.contains(asn)));
    }
});
