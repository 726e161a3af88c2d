//! A session that goes on in another process.

use super::*;

#[test]
fn a_session_goes_on_with_what_was_agreed_and_half_a_message() {
    let mut before = established(config(), &open());
    let keepalive = Message::Keepalive.emit(&context());
    before.handle_octets(at(50), Connection::Dialled, &keepalive[..7]);
    let agreed = before.negotiated().cloned().expect("it is Established");
    let carried = before.carry().expect("it is Established");
    assert_eq!(carried.inbox, keepalive[..7]);

    let mut after = Session::new(config());
    after.resume(at(1000), carried).expect("the settings are the same");
    assert_eq!(after.state(), StateName::Established);
    let speaks = Action::Send(Connection::Dialled, keepalive.clone());
    assert_eq!(drain(&mut after), [Action::Established(agreed), speaks]);
    after.handle_octets(at(1001), Connection::Dialled, &keepalive[7..]);
    assert_eq!(after.counters().messages_in, 1);
    // The HoldTimer runs from the last word.
    after.handle_timeout(at(1000) + HOLD_TIME);
    assert_eq!(after.state(), StateName::Established);
    after.handle_timeout(at(1001) + HOLD_TIME);
    assert_eq!(after.state(), StateName::Idle);
}

#[test]
fn other_settings_or_an_open_that_no_longer_suits_need_a_new_session() {
    let carried = established(config(), &open()).carry().expect("it is Established");
    let garbled = Opens { received: b"?".to_vec(), ..carried.opens.clone() };
    let cases = [
        (
            "another hold time",
            Config { hold_time: Duration::from_secs(30), ..config() },
            carried.clone(),
            ResumeError::OpenDiffers,
        ),
        (
            "another family",
            Config { families: vec![Family::Ipv6Unicast], ..config() },
            carried.clone(),
            ResumeError::OpenDiffers,
        ),
        (
            "another AS of the neighbor",
            Config { peer_asn: Asn(64502), ..config() },
            carried.clone(),
            ResumeError::OpenUnsuitable,
        ),
        (
            "what is no OPEN",
            config(),
            Carried { opens: garbled, ..carried.clone() },
            ResumeError::OpenUnsuitable,
        ),
    ];
    for (name, config, carried, want) in cases {
        let mut session = Session::new(config);
        assert_eq!(session.resume(at(0), carried), Err(want), "{name}");
        assert_eq!(session.state(), StateName::Idle, "{name}");
        assert_eq!(drain(&mut session), [], "{name}");
    }
    let mut running = established(config(), &open());
    assert_eq!(running.resume(at(0), carried), Err(ResumeError::Running));
    assert_eq!(Session::new(config()).carry(), None);
}
