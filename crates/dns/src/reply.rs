//! An answer that fits its transport: built whole, cut where it must be, never over the limit.

use domain::base::iana::{Class, OptRcode, Rtype};
use domain::base::message_builder::PushError;
use domain::base::{Header, MessageBuilder, StaticCompressor, ToName, Ttl};
use domain::rdata::{A, Aaaa, Txt};

use crate::Transport;
use crate::request::Request;

/// The largest datagram that we send or ask for: what passes every path without fragments, by
/// the agreement of DNS Flag Day 2020 (1280 less the headers of IPv6 and UDP).
pub const PAYLOAD_SIZE: u16 = 1232;

/// The largest datagram towards a requestor without EDNS (RFC 1035 §4.2.1), and the least that
/// one with EDNS can ask for (RFC 6891 §6.2.3).
const PLAIN_PAYLOAD_SIZE: u16 = 512;

/// What an answer says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The answer's code.
    pub rcode: OptRcode,
    /// Whether the answer comes from the authority itself.
    pub authoritative: bool,
    /// The records that the question gets, at the name that was asked for.
    pub answers: Vec<Data>,
}

/// One answer's data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Data {
    /// An address of IPv4.
    A(A),
    /// An address of IPv6.
    Aaaa(Aaaa),
    /// Strings of text.
    Txt(Txt<Vec<u8>>),
}

impl Reply {
    /// A reply of nothing but its code.
    pub fn code(rcode: OptRcode) -> Self {
        Self { rcode, authoritative: false, answers: Vec::new() }
    }

    /// The octets of this reply to `request`, no longer than `transport` and the requestor's
    /// EDNS allow. What does not fit is left out: first the answers, with TC set
    /// (RFC 2181 §9), then the server's identifier.
    pub fn emit(&self, request: &Request, transport: Transport, nsid: &[u8]) -> Option<Vec<u8>> {
        let limit = match (transport, request.edns()) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, None) => usize::from(PLAIN_PAYLOAD_SIZE),
            (Transport::Udp, Some(edns)) => {
                usize::from(edns.payload_size.clamp(PLAIN_PAYLOAD_SIZE, PAYLOAD_SIZE))
            }
        };
        let nsid = request.edns().is_some_and(|edns| edns.nsid).then_some(nsid);
        let cut = Self { answers: Vec::new(), ..self.clone() };
        let tries = [(self, nsid), (&cut, nsid), (&cut, None)];
        tries.into_iter().find_map(|(reply, nsid)| {
            let is_cut = reply.answers.len() < self.answers.len();
            let octets = reply.compose(request, nsid, is_cut).ok()?;
            (octets.len() <= limit).then_some(octets)
        })
    }

    fn compose(
        &self,
        request: &Request,
        nsid: Option<&[u8]>,
        truncated: bool,
    ) -> Result<Vec<u8>, PushError> {
        let mut builder = MessageBuilder::from_target(StaticCompressor::new(Vec::new()))
            .map_err(|_| PushError::ShortBuf)?;
        let header = builder.header_mut();
        *header = echo(request.header());
        header.set_aa(self.authoritative);
        header.set_tc(truncated);
        header.set_rcode(self.rcode.rcode());

        let question = request.question();
        let mut builder = builder.question();
        builder.push(question)?;

        let mut builder = builder.answer();
        for data in &self.answers {
            data.push(&mut builder, question.qname(), question.qclass())?;
        }

        let mut builder = builder.additional();
        if let Some(edns) = request.edns() {
            builder.opt(|opt| {
                opt.set_udp_payload_size(PAYLOAD_SIZE);
                opt.set_version(0);
                opt.set_dnssec_ok(edns.dnssec_ok);
                opt.set_rcode(self.rcode);
                // An identifier too long for an option is left out, as one that does not fit.
                if let Some(Ok(nsid)) = nsid.map(domain::base::opt::Nsid::from_slice) {
                    opt.push(nsid)?;
                }
                Ok(())
            })?;
        }
        Ok(builder.finish().into_target())
    }
}

impl Data {
    /// The type of the record that holds this.
    pub fn rtype(&self) -> Rtype {
        match self {
            Self::A(_) => Rtype::A,
            Self::Aaaa(_) => Rtype::AAAA,
            Self::Txt(_) => Rtype::TXT,
        }
    }

    fn push<Target: domain::base::wire::Composer>(
        &self,
        builder: &mut domain::base::message_builder::AnswerBuilder<Target>,
        owner: impl ToName,
        class: Class,
    ) -> Result<(), PushError> {
        // A site is asked which one it is at every moment: nothing may be kept.
        let ttl = Ttl::ZERO;
        match self {
            Self::A(data) => builder.push((owner, class, ttl, data)),
            Self::Aaaa(data) => builder.push((owner, class, ttl, data)),
            Self::Txt(data) => builder.push((owner, class, ttl, data)),
        }
    }
}

/// An answer of nothing but a header, for a message whose rest could not be read.
pub fn reject(header: Header, rcode: OptRcode) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    *builder.header_mut() = echo(header);
    builder.header_mut().set_rcode(rcode.rcode());
    builder.finish()
}

/// The header of an answer: id, opcode, RD and CD are the requestor's (RFC 1035 §4.1.1,
/// RFC 4035 §3.1.6); all else starts at zero.
fn echo(request: Header) -> Header {
    let mut header = Header::new();
    header.set_id(request.id());
    header.set_opcode(request.opcode());
    header.set_rd(request.rd());
    header.set_cd(request.cd());
    header.set_qr(true);
    header
}
