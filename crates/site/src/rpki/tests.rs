use super::*;

fn waiting() -> (OwnOrigins, EventLog) {
    (OwnOrigins { sources: None, vrps: None, own: Vec::new() }, EventLog::default())
}

fn kinds(log: &EventLog) -> Vec<String> {
    log.list().iter().map(|event| event.kind.clone()).collect()
}

const PATIENCE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn the_first_vrps_end_the_wait_and_a_source_without_any_does_not() {
    let (mut origins, mut log) = waiting();
    let (sender, mut events) = mpsc::unbounded_channel();
    let name = "192.0.2.10:323".to_owned();
    let down = RpkiEvent::SourceDown { name, why: "refused".to_owned() };
    sender.send(down).unwrap();
    let began = tokio::time::Instant::now();
    let later = async {
        tokio::time::sleep(PATIENCE).await;
        let vrps = Some(Arc::new(VrpTable::default()));
        sender.send(RpkiEvent::Vrps { vrps, detail: String::new() }).unwrap();
    };
    tokio::join!(
        origins.await_first((Instant::now(), 100 * PATIENCE), &mut events, &mut log),
        later
    );
    assert!((PATIENCE..50 * PATIENCE).contains(&began.elapsed()));
    assert_eq!(kinds(&log), ["rpki-source-down", "rpki-vrps"]);
}

#[tokio::test]
async fn without_vrps_the_wait_ends_in_time_and_loudly() {
    let (mut origins, mut log) = waiting();
    // That nobody speaks at all makes it neither shorter nor busy.
    let (_, mut events) = mpsc::unbounded_channel();
    let began = tokio::time::Instant::now();
    origins.await_first((Instant::now(), PATIENCE), &mut events, &mut log).await;
    assert!(began.elapsed() >= PATIENCE);
    assert_eq!(kinds(&log), ["rpki-late"]);
}
