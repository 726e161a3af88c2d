//! For sound and for mutated UPDATEs, our decoder and three others find the same, or a named rule
//! says who is right by which section.
//!
//! The messages come from a generator of their own, not from our encoder, always the same ones.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod decoders;
mod messages;

use std::collections::BTreeMap;

use Reaction::{Reset, Routes, Withdrawn};
use decoders::{Found, Reaction, bgpkit, netgauze, ours, rustbgpd};
use messages::{Random, Update};

const SOUND: usize = 5_000;
const MUTATED: usize = 40_000;

#[test]
fn all_four_find_the_same_in_sound_messages() {
    let mut random = Random(1);
    for number in 0..SOUND {
        let mut update = Update::sound(&mut random);
        // A rule below says why.
        update.without_as_sets();
        let octets = update.octets();
        let wanted = ours(&octets);
        let Found::Routes(routes) = &wanted else { panic!("{number}: {wanted:?} {octets:02x?}") };
        for (name, found) in
            [("rustbgpd-wire", rustbgpd(&octets)), ("netgauze-bgp-pkt", netgauze(&octets))]
        {
            assert_eq!(found, wanted, "{name}, {number}: {octets:02x?}");
        }
        if !update.may_be_guessed_wrong() {
            let Found::Routes(theirs) = bgpkit(&octets) else { panic!("{number}: {octets:02x?}") };
            assert_eq!(theirs.prefixes(), routes.prefixes(), "bgpkit-parser, {number}");
        }
    }
}

/// A difference with `rustbgpd-wire`, which reacts by RFC 7606 as we do.
struct Rule {
    /// Who is right, and by which section.
    name: &'static str,
    /// Whether the rule explains a difference.
    explains: fn(&Update, &Found, &Found) -> bool,
}

/// The reactions, ours first.
fn is(own: &Found, theirs: &Found, reactions: [Reaction; 2]) -> bool {
    [own.reaction(), theirs.reaction()] == reactions
}

const RULES: [Rule; 7] = [
    Rule {
        name: "both: AS_SET is withdrawal (RFC 9774 §3); we refuse it in the tables, not in the codec",
        explains: |update, own, theirs| {
            update.has_as_set() && (is(own, theirs, [Routes, Withdrawn]))
        },
    },
    Rule {
        name: "we: a fault without reachable prefixes ends the session (RFC 7606 §5.2)",
        explains: |update, own, theirs| {
            update.nlri.is_empty() && is(own, theirs, [Reset, Withdrawn])
        },
    },
    Rule {
        name: "we: a family that was not agreed on is read over (RFC 4760 §8)",
        explains: |update, own, theirs| {
            let unknown =
                |code| update.value(code).is_some_and(|it| it.get(..3) != Some(&[0, 2, 1]));
            (unknown(14) || unknown(15)) && is(own, theirs, [Routes, Reset])
        },
    },
    Rule {
        name: "we: wrong Optional and Transitive bits withdraw, of MP attributes too (RFC 7606 §3 c)",
        explains: |update, own, theirs| {
            let wrong = |code| update.flags(code).is_some_and(|flags| flags & 0xc0 != 0x80);
            (wrong(14) || wrong(15)) && is(own, theirs, [Withdrawn, Reset])
        },
    },
    Rule {
        name: "we: the Partial bit of what is not transitive is no fault (RFC 7606 §3 c)",
        explains: |update, own, theirs| {
            let partial = |code| update.flags(code).is_some_and(|flags| flags & 0x20 != 0);
            (partial(14) || partial(15)) && is(own, theirs, [Routes, Reset])
                || [1, 2, 3, 4, 6].into_iter().any(partial) && is(own, theirs, [Routes, Withdrawn])
        },
    },
    Rule {
        name: "we: a well-known attribute that nobody knows ends the session (RFC 4271 §6.3)",
        explains: |update, own, theirs| {
            update.flags(200).is_some_and(|flags| flags & 0x80 == 0)
                && is(own, theirs, [Reset, Withdrawn])
        },
    },
    Rule {
        name: "both: which next hops are no host (RFC 4271 §6.3); 127.0.0.0/8 is our tables' affair, \
               240.0.0.0/4 is reserved (RFC 1112 §4)",
        explains: |update, own, theirs| {
            let first = update.value(3).and_then(|it| it.first());
            first == Some(&127) && is(own, theirs, [Routes, Withdrawn])
                || first.is_some_and(|it| *it >= 240) && is(own, theirs, [Withdrawn, Routes])
        },
    },
];

#[test]
fn mutated_messages_have_the_same_reaction_or_a_rule_says_who_is_right() {
    let mut random = Random(2);
    let mut explained: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unexplained = Vec::new();
    let (mut reactions, mut same) = ([0_usize; 3], 0);
    for _ in 0..MUTATED {
        let mut update = Update::sound(&mut random);
        update.mutate(&mut random);
        let octets = update.octets();
        let (own, theirs) = (ours(&octets), rustbgpd(&octets));
        reactions[own.reaction() as usize] += 1;
        if own == theirs {
            same += 1;
        } else if let Some(rule) = RULES.iter().find(|rule| (rule.explains)(&update, &own, &theirs))
        {
            *explained.entry(rule.name).or_default() += 1;
        } else {
            let (we, they) = (own.reaction(), theirs.reaction());
            unexplained.push(format!("{}: we {we:?}, they {they:?}: {octets:02x?}", update.what));
        }
    }
    println!("{same} the same, {explained:?}, reactions {reactions:?}");
    unexplained.sort();
    unexplained.dedup_by_key(|it| it.split(": [").next().unwrap().to_owned());
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    assert!(reactions.iter().all(|count| *count > MUTATED / 100), "{reactions:?}");
    assert_eq!(explained.len(), RULES.len(), "a rule that explains nothing: {explained:?}");
}

/// The lenient decoders tell no reaction, but what they read they read as we do.
#[test]
fn what_lenient_decoders_read_of_mutated_messages_is_what_we_read() {
    let mut random = Random(3);
    let mut compared = 0;
    for _ in 0..MUTATED {
        let mut update = Update::sound(&mut random);
        update.mutate(&mut random);
        let octets = update.octets();
        let Found::Routes(own) = ours(&octets) else { continue };
        let guess = update.may_be_guessed_wrong();
        for (name, theirs) in
            [("netgauze-bgp-pkt", netgauze(&octets)), ("bgpkit-parser", bgpkit(&octets))]
        {
            if let Found::Routes(theirs) = theirs
                && !(guess && name == "bgpkit-parser")
            {
                compared += 1;
                assert_eq!(
                    own.prefixes(),
                    theirs.prefixes(),
                    "{name}, {}: {octets:02x?}",
                    update.what
                );
            }
        }
    }
    assert!(compared > MUTATED / 2, "{compared}");
}
