use proptest::prelude::*;

use super::file::read;
use super::*;

/// A folder of this test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("anycast-events-{name}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn numbers(events: &[SiteEvent]) -> Vec<u64> {
    events.iter().map(|event| event.number).collect()
}

fn event(number: u64) -> SiteEvent {
    SiteEvent {
        number,
        unix_time: 1_795_376_684.25,
        kind: "withdraw".to_owned(),
        subject: "192.0.2.0/24".to_owned(),
        detail: "service whoami: check tcp: refused \u{e9}\n".to_owned(),
        cause: number.checked_sub(1).filter(|cause| *cause > 0),
        by: None,
    }
}

fn lines(events: &[SiteEvent]) -> Vec<Vec<u8>> {
    let line = |event| [serde_json::to_vec(event).unwrap(), b"\n".to_vec()].concat();
    events.iter().map(line).collect()
}

#[test]
fn events_have_numbers_and_causes_and_are_counted_by_kind() {
    let mut log = EventLog::default();
    let cause = log.add("check-failed", "whoami/tcp", "refused");
    let down = log.add_after(Some(cause), "service-down", "whoami", "check tcp: refused");
    log.record(Happening {
        kind: "prepend",
        subject: "left",
        by: Some("root"),
        ..Happening::default()
    });
    log.add_after(Some(down), "service-down", "dns", "");
    let list = log.list();
    assert_eq!(numbers(&list), [1, 2, 3, 4]);
    let causes: Vec<_> = list.iter().map(|event| event.cause).collect();
    assert_eq!(causes, [None, Some(1), None, Some(2)]);
    assert_eq!(list[2].by.as_deref(), Some("root"));
    assert_eq!(log.counts()["service-down"], 2);
    assert_eq!(*log.watch().borrow(), 4);
    assert_eq!(numbers(&log.after(2).events), [3, 4]);
}

#[test]
fn a_restart_goes_on_where_the_last_daemon_ended() {
    let folder = Folder::new("restart");
    let mut log = EventLog::open(&folder.0);
    log.add("announce", "192.0.2.0/24", "");
    log.close("fra");
    let mut log = EventLog::open(&folder.0);
    assert_eq!(log.add("announce", "192.0.2.0/24", ""), 3, "after the announcement and the end");
    let kinds: Vec<_> = log.list().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["announce", "end", "announce"]);
    assert_eq!(log.counts()["announce"], 1, "since the start");
}

#[test]
fn after_a_crash_no_number_is_given_twice() {
    let folder = Folder::new("crash");
    std::fs::create_dir_all(&folder.0).unwrap();
    let mut octets = lines(&[event(7), event(8)]).concat();
    octets.extend_from_slice(b"{\"number\":9,\"unix_ti");
    std::fs::write(folder.0.join("events.jsonl"), octets).unwrap();
    let mut log = EventLog::open(&folder.0);
    let next = log.add("start", "fra", "");
    assert!(next > 8 + 256, "{next}");
    log.close("fra");
    let found = read_folder(&folder.0).unwrap();
    assert_eq!(numbers(&found), [7, 8, next, next + 1], "the torn line spoils no other");
}

#[test]
fn two_daemons_do_not_write_to_one_file() {
    let folder = Folder::new("two");
    let first = EventLog::open(&folder.0);
    let second = EventLog::open(&folder.0);
    let said = second.list();
    assert_eq!(said[0].kind, "events-not-kept");
    assert!(said[0].detail.contains("another daemon"), "{said:?}");
    assert_eq!(second.unwritten(), None);
    first.close("fra");
    assert_eq!(EventLog::open(&folder.0).unwritten(), Some(0), "the first has let go");
}

#[test]
fn what_is_on_disk_is_bounded_and_the_newest_stay() {
    let folder = Folder::new("bounded");
    let full = 2000;
    let (file, found) = EventFile::open_with(&folder.0, full).unwrap();
    assert!(found.is_empty());
    // Fewer than may wait.
    for number in 1..=200 {
        file.write(&event(number));
    }
    assert_eq!(file.unwritten(), 0);
    file.close();
    let found = read_folder(&folder.0).unwrap();
    assert_eq!(found.last().unwrap().number, 200);
    let first = found[0].number;
    assert_eq!(numbers(&found), (first..=200).collect::<Vec<_>>(), "none is missing between");
    for name in ["events.jsonl", "events.1.jsonl"] {
        let len = std::fs::metadata(folder.0.join(name)).unwrap().len();
        assert!(len > 0 && len <= full, "{name}: {len}");
    }
}

#[test]
fn what_memory_has_forgotten_is_read_from_disk() {
    let folder = Folder::new("forgotten");
    let last = KEPT as u64 + 100;
    let written: Vec<_> = (1..=last).map(event).collect();
    std::fs::create_dir_all(&folder.0).unwrap();
    std::fs::write(folder.0.join("events.jsonl"), lines(&written).concat()).unwrap();
    let log = EventLog::open(&folder.0);
    assert_eq!(log.list()[0].number, 101);
    let all = log.after(0);
    assert!(all.older.is_some());
    let all = all.with_older(0);
    assert_eq!(numbers(&all), (1..=last).collect::<Vec<_>>());
    assert!(log.after(100).older.is_none(), "memory has all of these");
    assert_eq!(numbers(&log.after(90).with_older(90)), (91..=last).collect::<Vec<_>>());
}

#[test]
fn a_folder_that_cannot_be_made_leaves_the_log_in_memory() {
    let mut log = EventLog::open(Path::new("/proc/no/fra"));
    assert_eq!(log.list()[0].kind, "events-not-kept");
    assert_eq!(log.add("announce", "192.0.2.0/24", ""), 2);
    log.close("fra");
}

proptest! {
    #[test]
    fn what_was_written_is_read_up_to_where_a_crash_cut_it(count in 0_u64..20, cut in 0.0..=1.0_f64) {
        let events: Vec<_> = (1..=count).map(event).collect();
        let lines = lines(&events);
        let octets = lines.concat();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a few thousand")]
        let at = (octets.len() as f64 * cut) as usize;
        // A line is whole when only its end is missing.
        let mut end = 0;
        let whole = lines.iter().take_while(|line| { end += line.len(); end - 1 <= at }).count();
        prop_assert_eq!(read(&octets[..at]), &events[..whole]);
        // And what is written after the cut is read too.
        let mut after = octets[..at].to_vec();
        after.push(b'\n');
        after.extend(serde_json::to_vec(&event(count + 1)).unwrap());
        let found = read(&after);
        prop_assert_eq!(found.len(), whole + 1);
        prop_assert_eq!(found.last().unwrap().number, count + 1);
    }

    #[test]
    fn whatever_is_in_the_file_numbers_grow(octets in prop::collection::vec(any::<u8>(), 0..400), numbers in prop::collection::vec(any::<u64>(), 0..20)) {
        let mut file = octets.clone();
        for number in numbers {
            file.push(b'\n');
            file.extend(serde_json::to_vec(&event(number)).unwrap());
            file.push(b'\n');
            file.extend(&octets);
        }
        let found = read(&file);
        prop_assert!(found.windows(2).all(|pair| pair[0].number < pair[1].number));
        prop_assert!(found.iter().all(|event| event.number < 1 << 53));
    }

    #[test]
    fn any_event_comes_back_as_it_was(number in 1..1_u64 << 53, kind in "[a-z-]*", subject in ".*", detail in ".*", cause in proptest::option::of(any::<u64>()), by in proptest::option::of(".*")) {
        let event = SiteEvent { number, unix_time: 0.5, kind, subject, detail, cause, by };
        prop_assert_eq!(read(&lines(std::slice::from_ref(&event)).concat()), [event]);
    }
}
