//! Any file as paths, landings, a manifest or a model: refused with a reason, never a panic, and a
//! model that is read is written as it means.
#![no_main]

use anycast_catchment::learn::Model;
use anycast_catchment::observed::{Manifest, parse_landings, parse_paths};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(paths) = parse_paths(input) {
        assert!(paths.iter().all(|path| !path.path.is_empty()));
    }
    if let Ok(landings) = parse_landings(input) {
        assert!(landings.iter().all(|it| it.weight.is_finite() && !it.site.is_empty()));
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = Manifest::parse(text);
    if let Ok(model) = Model::parse(text) {
        let again = Model::parse(&model.emit().expect("it was read"));
        assert_eq!(again, Ok(model));
    }
});
