//! Any file as MRT: refused with the place, never a panic; what is kept leads to an origin; and
//! the same file once more changes nothing, as the last record about a route decides.
#![no_main]

use anycast_bgp::Asn;
use anycast_catchment::observed::Collected;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let origins = [Asn(64_500), Asn(1)];
    let mut collected = Collected::new(&origins, &[]);
    let first = collected.read(input);
    let once = collected.clone();
    let second = collected.read(input);
    assert_eq!(first, second);
    if let Err(error) = first {
        assert!(error.at < input.len());
    }
    assert_eq!(collected.passed_over(), 2 * once.passed_over());
    let paths = collected.into_paths();
    assert_eq!(paths, once.into_paths());
    for path in paths {
        assert!(path.path.iter().any(|asn| origins.contains(asn)));
    }
});
