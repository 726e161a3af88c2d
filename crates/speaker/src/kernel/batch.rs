//! Requests about routes on their way to the kernel, many in one system call.
//!
//! The kernel goes through all messages of a datagram before the call returns, whatever becomes of
//! each. It answers those that it refuses and the last one, so one answer tells that all is done.

use std::io;
use std::net::IpAddr;

use anycast_bgp::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage,
    NetlinkPayload,
};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::message;

/// Requests in one datagram: nothing else runs while the kernel goes through it. The default receive
/// buffer holds the answers if all of them are refused.
pub(super) const BATCH: usize = 32;
/// Octets after which a datagram is full, however few requests are in it.
const FULL: usize = 32 * 1024;
/// More than an answer has: it does not repeat the request.
const ANSWER: usize = 1024;

/// One route to be as given; without gateways it is to go.
pub(super) type Request<'a> = (IpNet, &'a [IpAddr]);

/// What the kernel said to a request.
#[derive(Debug)]
pub(super) enum Answer {
    Done,
    Refused(io::Error),
    /// Nothing: it may have been carried out.
    Lost(io::Error),
}

/// A socket for requests alone.
pub(super) struct Batches {
    socket: Socket,
    /// The number of the next request.
    next: u32,
}

impl Batches {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, next: 0 })
    }

    /// Carries out all of these, and says of each what became of it.
    pub(super) fn ask<'a>(&mut self, requests: impl Iterator<Item = Request<'a>>) -> Vec<Answer> {
        let mut answers = Vec::new();
        let (mut datagram, mut places) = (Vec::new(), Vec::new());
        let mut last = 0;
        for (prefix, gateways) in requests {
            let place = answers.len();
            let Some(message) = request(prefix, gateways) else {
                let why = "its gateways are not all of one family";
                answers.push(Answer::Refused(io::Error::new(io::ErrorKind::InvalidInput, why)));
                continue;
            };
            answers.push(Answer::Done);
            last = datagram.len();
            self.append(message, &mut datagram);
            places.push(place);
            if places.len() == BATCH || datagram.len() >= FULL {
                self.send(&mut datagram, last, &places, &mut answers);
                datagram.clear();
                places.clear();
            }
        }
        if !places.is_empty() {
            self.send(&mut datagram, last, &places, &mut answers);
        }
        answers
    }

    fn append(&mut self, mut message: NetlinkMessage<RouteNetlinkMessage>, datagram: &mut Vec<u8>) {
        message.header.sequence_number = self.next;
        self.next = self.next.wrapping_add(1);
        message.finalize();
        let start = datagram.len();
        datagram.resize((start + message.buffer_len()).next_multiple_of(4), 0);
        message.serialize(&mut datagram[start..]);
    }

    /// Sends messages, the last of which begins at `last`, and notes the answer to each in its
    /// place.
    fn send(&self, datagram: &mut [u8], last: usize, places: &[usize], answers: &mut [Answer]) {
        let mut message = NetlinkBuffer::new(&mut datagram[last..]);
        message.set_flags(message.flags() | NLM_F_ACK);
        let sent = self.socket.send_to(datagram, &SocketAddr::new(0, 0), 0);
        if let Err(error) = sent.and_then(|_| self.receive(places, answers)) {
            for place in places {
                if matches!(answers[*place], Answer::Done) {
                    answers[*place] = Answer::Lost(io::Error::new(error.kind(), error.to_string()));
                }
            }
        }
    }

    /// Reads the answers to a datagram that was just sent: those that are not there are lost.
    fn receive(&self, places: &[usize], answers: &mut [Answer]) -> io::Result<()> {
        let count = u32::try_from(places.len()).expect("a datagram is small");
        let first = self.next.wrapping_sub(count);
        let mut octets = Vec::with_capacity(ANSWER);
        let mut is_one_lost = false;
        loop {
            octets.clear();
            match self.socket.recv(&mut octets, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                // One had no room in the socket's buffer or no memory; others may have had.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    is_one_lost = true;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(lost()),
                Err(error) => return Err(error),
            }
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&octets);
            let answer = answer.map_err(|error| io::Error::other(error.to_string()))?;
            let index = answer.header.sequence_number.wrapping_sub(first);
            // Another number is of a datagram whose answers were given up.
            let (NetlinkPayload::Error(error), true) = (answer.payload, index < count) else {
                continue;
            };
            if error.code.is_some() {
                answers[places[index as usize]] = Answer::Refused(error.to_io());
            }
            if index + 1 == count {
                return if is_one_lost { Err(lost()) } else { Ok(()) };
            }
        }
    }
}

fn lost() -> io::Error {
    io::Error::other("the kernel's answer was lost")
}

fn request(prefix: IpNet, gateways: &[IpAddr]) -> Option<NetlinkMessage<RouteNetlinkMessage>> {
    let message = message(prefix, gateways)?;
    let (message, flags) = if gateways.is_empty() {
        (RouteNetlinkMessage::DelRoute(message), NLM_F_REQUEST)
    } else {
        let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
        (RouteNetlinkMessage::NewRoute(message), flags)
    };
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    Some(message)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_lost_answer_is_never_taken_for_a_yes_and_the_next_ones_are_right() {
        let unshare = ["--user", "--map-root-user", "--net"];
        let of_no_use = |output: &std::process::Output| !output.status.success();
        match Command::new("unshare").args(unshare).arg("true").output() {
            Ok(output) if of_no_use(&output) => {
                println!("skipped: unshare: {}", String::from_utf8_lossy(&output.stderr).trim());
                return;
            }
            Err(error) => return println!("skipped: unshare: {error}"),
            Ok(_) => {}
        }
        let this = std::env::current_exe().expect("a test has a file");
        let case = ["--exact", "kernel::batch::tests::lossy", "--ignored", "--nocapture"];
        let output = Command::new("unshare").args(unshare).arg(this).args(case).output();
        let output = output.expect("it has run before");
        let said = String::from_utf8_lossy(&output.stdout);
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}{why}");
    }

    #[test]
    #[ignore = "runs in a namespace, by a_lost_answer_is_never_taken_for_a_yes_and_the_next_ones_are_right"]
    fn lossy() {
        let nowhere = [IpAddr::from([198, 51, 100, 9])];
        let prefix = |last: usize| format!("203.0.113.{last}/32").parse::<IpNet>().unwrap();
        let mut batches = Batches::open().unwrap();
        batches.socket.set_rx_buf_sz(1_u32).unwrap();
        let refused = |it: &&Answer| matches!(it, Answer::Refused(_));
        let answers = batches.ask((0..BATCH).map(|it| (prefix(it), nowhere.as_slice())));
        let known = answers.iter().filter(refused).count();
        assert!((1..BATCH).contains(&known), "{answers:?}");
        assert!(!answers.iter().any(|it| matches!(it, Answer::Done)), "{answers:?}");

        batches.socket.set_rx_buf_sz(1_u32 << 20).unwrap();
        // A removal of what is not there is refused otherwise.
        let of = |it| if it == 9 { [].as_slice() } else { &nowhere };
        let answers = batches.ask((0..BATCH * 2).map(|it| (prefix(it), of(it))));
        let why = answers.iter().map(|it| match it {
            Answer::Refused(error) => error.raw_os_error(),
            Answer::Done | Answer::Lost(_) => None,
        });
        let reason = |it| Some(if it == 9 { libc::ESRCH } else { libc::ENETUNREACH });
        assert!(why.eq((0..BATCH * 2).map(reason)), "{answers:?}");
    }
}
