use super::target::{destination, prefix};
use super::*;
use clap::CommandFactory;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_prefix_that_is_none_says_what_to_write() {
    for (text, want) in [
        ("192.0.2.0", "write 192.0.2.0/32"),
        ("192.0.2.1/24", "write 192.0.2.0/24"),
        ("2001:db8::/129", "not a prefix"),
        ("fra", "not a prefix"),
    ] {
        assert!(prefix(text).expect_err(text).contains(want), "{text}");
    }
    assert_eq!(prefix("2001:db8::/32").map(|net| net.to_string()).as_deref(), Ok("2001:db8::/32"));
}

#[test]
fn a_destination_is_a_prefix_or_an_address() {
    for (text, want) in [
        ("192.0.2.0", Ok(Destination::Address("192.0.2.0".parse().expect("it is one")))),
        ("::", Ok(Destination::Address("::".parse().expect("it is one")))),
        ("192.0.2.0/24", Ok(Destination::Prefix("192.0.2.0/24".parse().expect("it is one")))),
        ("192.0.2.1/24", Err("has host bits set; write 192.0.2.0/24".to_owned())),
    ] {
        assert_eq!(destination(text), want, "{text}");
    }
}

#[test]
fn what_is_shown_and_of_which_site_may_be_said_in_any_order() {
    for line in [
        "anycast show neighbors left --site fra --json",
        "anycast show --site fra neighbors --json left",
        "anycast show --json --site fra neighbors left",
    ] {
        let cli = Cli::try_parse_from(line.split(' ')).expect(line);
        let Command::Show(show) = cli.command else { panic!("{line}: not `show`") };
        assert!(matches!(&show.what, Shown::Neighbors { name: Some(name) } if name == "left"));
        assert_eq!((show.target.site.as_deref(), show.json), (Some("fra"), true), "{line}");
    }
    for line in [
        "anycast neighbor left clear soft --site fra",
        "anycast neighbor --site fra left clear soft",
    ] {
        let cli = Cli::try_parse_from(line.split(' ')).expect(line);
        let Command::Neighbor(order) = cli.command else { panic!("{line}: not `neighbor`") };
        let soft = NeighborCommand::Clear { how: Some(ClearHow::Soft) };
        assert_eq!(format!("{:?}", order.order), format!("{soft:?}"), "{line}");
        assert_eq!(order.target.site.as_deref(), Some("fra"), "{line}");
    }
}

#[test]
fn what_excludes_each_other_is_refused() {
    for line in [
        "anycast show routes --received a --accepted b",
        "anycast show routes --received a --advertised b",
        "anycast show routes --explain",
        "anycast show routes --within",
        "anycast show routes 192.0.2.0/24 --explain --received a",
        "anycast show routes --family ipv5",
        "anycast neighbor left",
        "anycast neighbor left clear hard",
        "anycast neighbor left enable --message x",
    ] {
        assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}

#[test]
fn events_come_after_a_number_and_what_is_none_says_where_they_are() {
    let after = |text: &str| {
        let cli = Cli::try_parse_from(["anycast", "show", "events", "--after", text])?;
        let Command::Show(show) = cli.command else { panic!("not `show`") };
        let Shown::Events(events) = show.what else { panic!("not `events`") };
        Ok::<_, clap::Error>(events.after)
    };
    assert_eq!(after("41").expect("a number"), Some(41));
    for text in ["x", "-1", "4.5", "18446744073709551616"] {
        let words = after(text).expect_err(text).to_string();
        let wanted = format!("'{text}' for '--after <NUMBER>': not the number of an event");
        assert!(words.contains(&wanted), "{words}");
    }
}

#[test]
fn the_name_of_a_lab_may_stand_before_or_after_the_subcommand() {
    for line in [
        "anycast lab --name two status",
        "anycast lab status --name two",
        "anycast lab --name=two status",
    ] {
        let cli = Cli::try_parse_from(line.split(' ')).expect(line);
        let Command::Lab(lab) = cli.command else { panic!("{line}: not `lab`") };
        assert_eq!(lab.name.as_deref(), Some("two"), "{line}");
        assert!(matches!(lab.command, Some(LabCommand::Status { .. })), "{line}");
        assert_eq!(lab.start, LabStartArguments::default(), "{line}");
    }
}
