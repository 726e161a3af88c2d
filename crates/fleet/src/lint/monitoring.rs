//! Rules about monitoring stations and files.

use crate::problem::{Problem, Problems};
use crate::read::Draft;

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    stations_are_outside_of_the_fleet(draft, problems);
    files_do_not_grow_for_ever(draft, problems);
}

fn stations_are_outside_of_the_fleet(draft: &Draft, problems: &Problems) {
    for station in &draft.bmp {
        let address = station.value.address;
        let own = draft.prefixes.iter().find(|own| own.value.prefix.contains(&address));
        let Some(own) = own else { continue };
        let message = format!("the station {address} is in a prefix that the fleet announces");
        problems.add(
            Problem::warning("bmp-station-in-anycast", station.at.of("address"), message)
                .also(own.at.name(), "the prefix")
                .help("Write an address of one host: any site could answer at this one."),
        );
    }
}

fn files_do_not_grow_for_ever(draft: &Draft, problems: &Problems) {
    let Some(draft) = &draft.mrt else { return };
    let Some(mrt) = &draft.mrt else { return };
    let tells_time = ["%Y", "%m", "%d", "%H", "%M", "%S", "%s"];
    if !tells_time.iter().any(|part| mrt.updates.contains(part)) {
        problems.add(
            Problem::warning("mrt-one-file", draft.at.of("updates"), "the file grows for ever")
                .label("has no time in it")
                .help("Put the time in its name: \"updates.%Y%m%d.%H%M.mrt\"."),
        );
    }
}
