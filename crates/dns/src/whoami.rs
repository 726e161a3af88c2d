//! The answers that tell a client which site it reached and who it is to that site.
//!
//! | question | answer |
//! |---|---|
//! | `id.server.` or `hostname.bind.`, CH, TXT | the site's name (RFC 4892) |
//! | `version.server.` or `version.bind.`, CH, TXT | `anycast` and the version |
//! | `whoami.` or `whoami.` in front of any name, IN, TXT | `"site=…" "client=…"` |
//! | the same, A or AAAA | the client's address, if it is of that family |
//! | any, with the NSID option | besides: the site's name (RFC 5001) |
//!
//! Other types at these names get an empty answer, other names REFUSED.

use std::net::{IpAddr, SocketAddr};

use domain::base::ParsedName;
use domain::base::iana::{Class, OptRcode, Rtype};
use domain::base::name::ToLabelIter;
use domain::rdata::rfc1035::TxtBuilder;
use domain::rdata::{A, Aaaa};

use crate::Transport;
use crate::reply::{Data, Reply, reject};
use crate::request::{Fault, Request};

/// Who answers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// The site's name, such as `fra`.
    pub site: String,
    /// The fleet's name.
    pub fleet: String,
    /// The program's version; empty to tell nobody.
    pub version: String,
}

/// Answers one message from `client`; `None` where silence is the answer: for what is no DNS
/// message or is itself an answer. Whatever was sent, this does not panic.
pub fn answer(
    query: &[u8],
    identity: &Identity,
    client: SocketAddr,
    transport: Transport,
) -> Option<Vec<u8>> {
    let (request, reply) = match Request::parse(query) {
        Ok(request) => {
            let reply = reply(&request, identity, client.ip().to_canonical());
            (request, reply)
        }
        Err(Fault::Ignored) => return None,
        Err(Fault::Rejected(header, rcode)) => return Some(reject(header, rcode)),
        Err(Fault::BadVersion(request)) => (request, Reply::code(OptRcode::BADVERS)),
    };
    reply.emit(&request, transport, identity.site.as_bytes())
}

fn reply(request: &Request, identity: &Identity, client: IpAddr) -> Reply {
    let question = request.question();
    let qtype = question.qtype();
    let refused = Reply::code(OptRcode::REFUSED);
    if matches!(qtype, Rtype::AXFR | Rtype::IXFR) {
        return refused;
    }
    let known = match question.qclass() {
        Class::CH => chaos(question.qname(), identity).map(|text| vec![text]),
        Class::IN if is_whoami(question.qname()) => {
            let address = match client {
                IpAddr::V4(address) => Data::A(A::new(address)),
                IpAddr::V6(address) => Data::Aaaa(Aaaa::new(address)),
            };
            let site = format!("site={}", identity.site);
            text(&[&site, &format!("client={client}")]).map(|text| vec![text, address])
        }
        _ => None,
    };
    let Some(mut answers) = known else { return refused };
    match qtype {
        // RFC 8482 §4.1: ANY may get one of the record sets.
        Rtype::ANY => answers.truncate(1),
        _ => answers.retain(|data| data.rtype() == qtype),
    }
    Reply { rcode: OptRcode::NOERROR, authoritative: true, answers }
}

/// What a name of class CH stands for.
fn chaos(name: &ParsedName<&[u8]>, identity: &Identity) -> Option<Data> {
    const SITE: [[&str; 2]; 2] = [["id", "server"], ["hostname", "bind"]];
    const VERSION: [[&str; 2]; 2] = [["version", "server"], ["version", "bind"]];
    let is = |known: &[&str; 2]| {
        let mut labels = name.iter_labels();
        known.iter().all(|want| labels.next().is_some_and(|label| eq(label.as_slice(), want)))
            && labels.next().is_some_and(domain::base::name::Label::is_root)
    };
    if SITE.iter().any(is) {
        text(&[&identity.site])
    } else if VERSION.iter().any(is) && !identity.version.is_empty() {
        text(&[&format!("anycast {}", identity.version)])
    } else {
        None
    }
}

fn is_whoami(name: &ParsedName<&[u8]>) -> bool {
    name.iter_labels().next().is_some_and(|label| eq(label.as_slice(), "whoami"))
}

/// Names compare without regard to ASCII case (RFC 4343).
fn eq(label: &[u8], want: &str) -> bool {
    label.eq_ignore_ascii_case(want.as_bytes())
}

/// TXT data of these strings; one of more than 255 octets goes on in the next. `None` if they
/// are too long for any record.
fn text(strings: &[&str]) -> Option<Data> {
    let mut builder = TxtBuilder::<Vec<u8>>::new();
    for string in strings {
        builder.append_slice(string.as_bytes()).ok()?;
        builder.close_charstr();
    }
    builder.finish().ok().map(Data::Txt)
}
