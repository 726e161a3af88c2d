//! A query as it arrived, checked whole before anything is answered.

use domain::base::iana::{Opcode, OptRcode, Rtype};
use domain::base::opt::{Opt, OptRecord};
use domain::base::{Header, Message, ParsedName, Question};

/// A query that can be answered.
#[derive(Debug)]
pub struct Request<'a> {
    header: Header,
    question: Question<ParsedName<&'a [u8]>>,
    edns: Option<Edns>,
}

/// What the requestor's OPT record says (RFC 6891 §6.1.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Edns {
    /// Octets that the requestor can take in one datagram.
    pub payload_size: u16,
    /// The DO bit, which an answer copies (RFC 3225 §3).
    pub dnssec_ok: bool,
    /// Whether the server's identifier is asked for (RFC 5001 §2.1).
    pub nsid: bool,
}

/// Why a message gets no ordinary answer.
#[derive(Debug)]
pub enum Fault<'a> {
    /// No answer at all: shorter than a header, or itself a response. Answering a response
    /// would let two servers talk to each other for ever.
    Ignored,
    /// An answer of nothing but a header with this RCODE: FORMERR or NOTIMP.
    Rejected(Header, OptRcode),
    /// An EDNS version that is not ours: BADVERS, which takes an OPT record (RFC 6891 §6.1.3).
    BadVersion(Request<'a>),
}

impl<'a> Request<'a> {
    /// Reads a query; whatever was sent, this does not panic.
    ///
    /// # Errors
    /// The first fault in the order header, opcode, sections, EDNS version.
    pub fn parse(octets: &'a [u8]) -> Result<Self, Fault<'a>> {
        let message = Message::from_octets(octets).map_err(|_| Fault::Ignored)?;
        let header = message.header();
        if header.qr() {
            return Err(Fault::Ignored);
        }
        if header.opcode() != Opcode::QUERY {
            return Err(Fault::Rejected(header, OptRcode::NOTIMP));
        }
        let formerr = || Fault::Rejected(header, OptRcode::FORMERR);
        let (request, version) = parse_sections(octets).ok_or_else(formerr)?;
        if version == 0 { Ok(request) } else { Err(Fault::BadVersion(request)) }
    }

    /// The header as it was sent.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The one question.
    pub fn question(&self) -> &Question<ParsedName<&'a [u8]>> {
        &self.question
    }

    /// The requestor's EDNS, if it speaks it.
    pub fn edns(&self) -> Option<Edns> {
        self.edns
    }
}

/// Reads the four sections and says which EDNS version is spoken (0 without EDNS); `None` is a
/// format error: not exactly one question (RFC 9619), a record that cannot be read, a second OPT
/// record, one that is not at the root or not in the additional section (RFC 6891 §6.1.1), or
/// octets after the last record.
fn parse_sections(octets: &[u8]) -> Option<(Request<'_>, u8)> {
    let message = Message::from_slice(octets).ok()?;
    if message.header_counts().qdcount() != 1 {
        return None;
    }
    let question = message.first_question()?;
    let mut opt = None;
    let mut section = message.answer().ok()?;
    let mut is_additional = [false, false, true].into_iter();
    loop {
        let may_hold_opt = is_additional.next()?;
        for record in section.by_ref() {
            let record = record.ok()?;
            if record.rtype() == Rtype::OPT {
                let record = record.into_record::<Opt<_>>().ok()??;
                if opt.is_some() || !record.owner().is_root() || !may_hold_opt {
                    return None;
                }
                opt = Some(OptRecord::from_record(record));
            }
        }
        let end = section.pos();
        match section.next_section().ok()? {
            Some(next) => section = next,
            None if end == octets.len() => break,
            None => return None,
        }
    }
    let version = opt.as_ref().map_or(0, OptRecord::version);
    let edns = opt.map(|opt| Edns {
        payload_size: opt.udp_payload_size(),
        dnssec_ok: opt.dnssec_ok(),
        nsid: opt.opt().nsid().is_some(),
    });
    Some((Request { header: message.header(), question, edns }, version))
}
