//! Any file as a table of networks, and any words as a change.
#![no_main]

use anycast_plan::change::Change;
use anycast_plan::open::unpack;
use anycast_plan::table::Table;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(table) = Table::parse(octets) {
        assert!(table.rows.values().all(|row| row.weight.is_finite() && row.weight >= 0.0));
    }
    if let Ok(text) = std::str::from_utf8(octets)
        && let Ok(change) = text.parse::<Change>()
    {
        assert_eq!(change.to_string().parse::<Change>(), Ok(change));
    }
    let _ = unpack(octets.to_vec());
});
