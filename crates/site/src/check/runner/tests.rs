use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::Kind;
use super::Mode::{Confirming, Proving, Steady};
use super::Next::{AfterEnd, AfterStart};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLIS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn the_pace_falls_fast_and_rises_slowly() {
    const PASS: bool = true;
    const FAIL: bool = false;
    let interval = AfterStart(SECOND);
    let at_once = AfterEnd(Duration::ZERO);
    let confirm = AfterEnd(MILLIS(1));
    let pause = |millis| AfterEnd(MILLIS(millis));
    let proving = Pace::new(SECOND, 3, 3).mode;
    for (name, mode, poked, outcomes) in [
        (
            "at the start passes need no pause",
            proving,
            false,
            vec![(PASS, at_once), (PASS, at_once), (PASS, interval), (PASS, interval)],
        ),
        (
            "a failure at the start begins the count and lengthens the pause",
            proving,
            false,
            vec![
                (FAIL, pause(50)),
                (FAIL, pause(100)),
                (PASS, at_once),
                (FAIL, pause(200)),
                (FAIL, pause(400)),
                (FAIL, pause(800)),
                (FAIL, pause(1000)),
                (FAIL, pause(1000)),
                (PASS, at_once),
                (PASS, at_once),
                (PASS, interval),
                (FAIL, interval),
            ],
        ),
        (
            "a poke at the start shortens the pause again",
            Proving { passes: 0, pause: SECOND },
            true,
            vec![(FAIL, pause(50)), (FAIL, pause(100))],
        ),
        (
            "later on, passes and failures come at the interval",
            Steady,
            false,
            vec![(FAIL, interval), (FAIL, interval), (PASS, interval), (PASS, interval)],
        ),
        (
            "a poke that passes changes nothing",
            Steady,
            true,
            vec![(PASS, interval), (FAIL, interval)],
        ),
        (
            "a poke that fails is confirmed at once",
            Steady,
            true,
            vec![(FAIL, confirm), (FAIL, confirm), (FAIL, interval), (PASS, interval)],
        ),
        (
            "a pass ends the confirmation",
            Steady,
            true,
            vec![(FAIL, confirm), (PASS, interval), (FAIL, interval)],
        ),
        (
            "a second poke does not begin the confirmation anew",
            Confirming { fails: 2 },
            true,
            vec![(FAIL, interval)],
        ),
    ] {
        let mut pace = Pace { mode, ..Pace::new(SECOND, 3, 3) };
        if poked {
            pace.poked();
        }
        let got: Vec<_> = outcomes.iter().map(|&(passed, _)| (passed, pace.next(passed))).collect();
        assert_eq!(got, outcomes, "{name}");
    }
}

#[test]
fn a_short_interval_is_never_exceeded_by_the_pauses() {
    let mut pace = Pace::new(MILLIS(20), 3, 3);
    for _ in 0..3 {
        assert_eq!(pace.next(false), AfterEnd(MILLIS(20)));
    }
}

#[test]
fn jitter_stays_within_its_share_and_reaches_both_ends() {
    for (percent, least, most) in [(10, 900, 1100), (0, 1000, 1000), (50, 500, 1500)] {
        let all: Vec<_> = (0..10_000).map(|random| jitter(SECOND, percent, random)).collect();
        assert_eq!(all.iter().min(), Some(&MILLIS(least)), "{percent}");
        assert_eq!(all.iter().max(), Some(&MILLIS(most)), "{percent}");
    }
}

fn runner(kind: Kind, target: std::net::SocketAddr, interval: Duration) -> Runner {
    let probe = Check { kind, target, timeout: Duration::from_secs(5) };
    Runner { service: 4, check: 2, probe, interval, jitter: 10, rise: 3, fall: 3 }
}

/// The outcomes that come within `window`, and when the last came.
async fn gather(events: &mut mpsc::Receiver<Event>, window: Duration) -> (Vec<bool>, Duration) {
    let started = Instant::now();
    let (mut outcomes, mut last) = (Vec::new(), Duration::ZERO);
    while let Ok(Some(event)) = tokio::time::timeout_at(started + window, events.recv()).await {
        assert_eq!((event.service, event.check), (4, 2));
        outcomes.push(event.outcome.is_ok());
        last = started.elapsed();
    }
    (outcomes, last)
}

#[tokio::test]
async fn a_dead_service_is_confirmed_in_milliseconds_once_poked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let (sender, mut events) = mpsc::channel(64);
    let handle = runner(Kind::Tcp, target, Duration::from_secs(60)).spawn(sender);
    let (outcomes, took) = gather(&mut events, MILLIS(300)).await;
    assert_eq!(outcomes, [true; 3], "up after `rise` passes without a pause");
    println!("up after {took:?}");

    handle.poke();
    assert_eq!(gather(&mut events, MILLIS(100)).await.0, [true], "poked for nothing");

    drop(listener);
    assert_eq!(gather(&mut events, MILLIS(100)).await.0, [true; 0], "nobody said so yet");
    handle.poke();
    handle.poke();
    let (outcomes, took) = gather(&mut events, MILLIS(300)).await;
    assert_eq!(outcomes, [false; 3], "down after `fall` failures without an interval");
    println!("down after {took:?}");

    drop(handle);
    assert_eq!(events.recv().await, None, "a dropped handle ends the checks");
}

#[tokio::test]
async fn a_poke_abandons_a_check_that_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let kind = Kind::Http(Arc::new(super::super::tests::get("/")));
    let (sender, mut events) = mpsc::channel(64);
    let handle = runner(kind, target, Duration::from_secs(60)).spawn(sender);

    // The first connection gets no answer, and the check would wait five seconds for it.
    let (mut hanging, _) = listener.accept().await.unwrap();
    assert_eq!(gather(&mut events, MILLIS(50)).await.0, [true; 0]);
    let poked = Instant::now();
    handle.poke();
    let (mut stream, _) = listener.accept().await.unwrap();
    let _ = stream.read(&mut [0; 1024]).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let event = events.recv().await.unwrap();
    assert_eq!(event.outcome, Ok(()));
    assert!(poked.elapsed() < SECOND, "{:?}", poked.elapsed());
    // The request, then the end: the check has let go of it.
    let mut request = Vec::new();
    hanging.read_to_end(&mut request).await.unwrap();
    assert!(request.starts_with(b"GET / HTTP/1.1\r\n"));
}

#[tokio::test]
async fn pokes_without_end_do_not_keep_the_outcome_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kind = Kind::Http(Arc::new(super::super::tests::get("/")));
    let (sender, mut events) = mpsc::channel(64);
    let mut runner = runner(kind, listener.local_addr().unwrap(), Duration::from_secs(60));
    runner.probe.timeout = MILLIS(100);
    let handle = runner.spawn(sender);
    let poking = async {
        loop {
            handle.poke();
            tokio::time::sleep(MILLIS(5)).await;
        }
    };
    let first = tokio::select! {
        event = events.recv() => event.unwrap(),
        () = poking => unreachable!("it pokes for ever"),
        () = tokio::time::sleep(SECOND) => panic!("no outcome"),
    };
    assert_eq!(first.outcome, Err(Failure::Timeout(MILLIS(100))));
}

#[tokio::test(start_paused = true)]
async fn checks_that_are_due_at_about_the_same_time_start_together() {
    // Settles where steps begin, if no other test has.
    in_step(Instant::now(), SECOND);
    let now = Instant::now() + SECOND;
    for (interval, step) in
        [(SECOND, MILLIS(10)), (MILLIS(100), MILLIS(1)), (60 * SECOND, MILLIS(10))]
    {
        let first = in_step(now + step, interval);
        assert!(first > now && first <= now + step, "{interval:?}");
        assert_eq!(in_step(first, interval), first, "{interval:?}: a step itself");
        let least = Duration::from_nanos(1);
        assert_eq!(in_step(first + step - least, interval), first, "{interval:?}: never later");
        assert_eq!(in_step(first + step, interval), first + step, "{interval:?}: the next");
    }
    assert_eq!(in_step(now, Duration::from_nanos(50)), now, "an interval too short for steps");
}
