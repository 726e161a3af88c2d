//! The asking side: one query, and what came back for it. Health checks and test clients use
//! it; it is no resolver and follows nothing.

use std::net::{AddrParseError, IpAddr};
use std::str::FromStr;

use domain::base::iana::{Class, OptRcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, NameBuilder, ParsedName};
use domain::rdata::AllRecordData;

use crate::reply::PAYLOAD_SIZE;

/// A question to ask.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Query {
    /// What tells this query's answer from others; take one at random.
    pub id: u16,
    /// The name asked about.
    pub name: Name<Vec<u8>>,
    /// The type asked for.
    pub qtype: Rtype,
    /// The class: IN but for questions about the server itself.
    pub class: Class,
    /// Whether to ask for the server's identifier (RFC 5001).
    pub nsid: bool,
    /// Whether to ask for recursion.
    pub recursion: bool,
    /// Whether to ask for a word on authenticity: AD and, for signatures, DO (RFC 6840 §5.7,
    /// RFC 3225).
    pub authentic: bool,
}

/// What a server answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// The answer's code, with the high bits of EDNS.
    pub rcode: OptRcode,
    /// Whether the answer was cut to fit, so that TCP would bring more.
    pub truncated: bool,
    /// Whether the server is an authority for the name.
    pub authoritative: bool,
    /// Whether the server has validated the answer and found it authentic (AD, RFC 4035 §3.2.3).
    pub authentic: bool,
    /// The records of the answer section, in their order.
    pub answers: Vec<Answer>,
    /// The server's identifier, if it gave one.
    pub nsid: Option<Vec<u8>>,
}

/// One record of an answer section.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The record's type.
    pub rtype: Rtype,
    /// Seconds for which the record may be kept.
    pub ttl: u32,
    /// The data as people write it; the strings of TXT without quotes, a space between them.
    pub text: String,
}

/// What the data of an answer must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expected {
    /// The records of the type that was asked for have just these data, in whatever order.
    Exactly(Vec<String>),
    /// The data of one record, of whatever type, hold this text.
    Part(String),
}

/// Why octets are not the answer to a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAnAnswer {
    /// Something in the message cannot be read.
    #[error("not a DNS message")]
    Malformed,
    /// The message is a query.
    #[error("a query, not an answer")]
    Query,
    /// The id or the question is another's: late, misdirected or forged.
    #[error("an answer to another question")]
    Another,
}

/// Why a name, type or class cannot be asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadQuery {
    /// Not a domain name.
    #[error("'{0}' is not a domain name")]
    Name(String),
    /// Not a record type.
    #[error("'{0}' is not a record type")]
    Type(String),
    /// Not a class.
    #[error("'{0}' is not a class")]
    Class(String),
}

impl Query {
    /// A query of class IN without extras.
    pub fn new(id: u16, name: Name<Vec<u8>>, qtype: Rtype) -> Self {
        Self { id, name, qtype, class: Class::IN, nsid: false, recursion: false, authentic: false }
    }

    /// A query from what people write: a name, `TXT`, `CH`.
    ///
    /// # Errors
    /// The first of the three that cannot be read.
    pub fn from_text(id: u16, name: &str, qtype: &str, class: &str) -> Result<Self, BadQuery> {
        let parsed = Name::from_str(name).map_err(|_| BadQuery::Name(name.to_owned()))?;
        let rtype = Rtype::from_str(qtype).map_err(|_| BadQuery::Type(qtype.to_owned()))?;
        let class = match class.to_ascii_uppercase().as_str() {
            "CHAOS" => Class::CH,
            name => Class::from_str(name).map_err(|_| BadQuery::Class(class.to_owned()))?,
        };
        Ok(Self { class, ..Self::new(id, parsed, rtype) })
    }

    /// A query from a name and the numbers of type and class.
    ///
    /// # Errors
    /// A name that is none.
    pub fn from_codes(id: u16, name: &str, qtype: u16, class: u16) -> Result<Self, BadQuery> {
        let parsed = Name::from_str(name).map_err(|_| BadQuery::Name(name.to_owned()))?;
        let class = Class::from_int(class);
        Ok(Self { class, ..Self::new(id, parsed, Rtype::from_int(qtype)) })
    }

    /// `id.server. CH TXT` with NSID: the question that tells a site.
    pub fn id_server(id: u16) -> Self {
        let mut name = Vec::with_capacity(11);
        name.extend_from_slice(b"\x02id\x06server\x00");
        let name = Name::from_octets(name).expect("two short labels and the root are a name");
        Self { class: Class::CH, nsid: true, ..Self::new(id, name, Rtype::TXT) }
    }

    /// The same query with one more label before the name.
    ///
    /// # Errors
    /// If it is no label, or the name becomes too long.
    pub fn below(&self, label: &str) -> Result<Self, BadQuery> {
        let bad = || BadQuery::Name(format!("{label}.{}", self.name));
        let mut name = NameBuilder::new_vec();
        name.append_label(label.as_bytes()).map_err(|_| bad())?;
        let name = name.append_origin(&self.name).map_err(|_| bad())?;
        Ok(Self { name, ..self.clone() })
    }

    /// The query's octets; over TCP the caller puts their length in front.
    pub fn emit(&self) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(self.id);
        builder.header_mut().set_rd(self.recursion);
        builder.header_mut().set_ad(self.authentic);
        let mut builder = builder.question();
        builder
            .push((&self.name, self.qtype, self.class))
            .expect("one question is shorter than any message may be");
        let mut builder = builder.additional();
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(PAYLOAD_SIZE);
                opt.set_dnssec_ok(self.authentic);
                if self.nsid { opt.client_nsid() } else { Ok(()) }
            })
            .expect("one option is shorter than any message may be");
        builder.finish()
    }
}

impl Response {
    /// Reads the answer to `query`; whatever was sent, this does not panic.
    ///
    /// # Errors
    /// Why the octets are not that answer: the caller goes on listening, for an answer that is
    /// not ours proves nothing.
    pub fn parse(octets: &[u8], query: &Query) -> Result<Self, NotAnAnswer> {
        let message = Message::from_slice(octets).map_err(|_| NotAnAnswer::Malformed)?;
        let header = message.header();
        if !header.qr() {
            return Err(NotAnAnswer::Query);
        }
        if header.id() != query.id {
            return Err(NotAnAnswer::Another);
        }
        let rcode = message.opt_rcode();
        match (message.header_counts().qdcount(), message.first_question()) {
            // Whoever could not read the query cannot repeat it.
            (0, _) if matches!(rcode, OptRcode::FORMERR | OptRcode::NOTIMP) => {}
            (1, Some(question))
                if *question.qname() == query.name
                    && question.qtype() == query.qtype
                    && question.qclass() == query.class => {}
            (1, None) => return Err(NotAnAnswer::Malformed),
            _ => return Err(NotAnAnswer::Another),
        }
        let section = message.answer().map_err(|_| NotAnAnswer::Malformed)?;
        let answers = section
            .map(|record| Answer::parse(record.ok()?))
            .collect::<Option<_>>()
            .ok_or(NotAnAnswer::Malformed)?;
        let nsid = message
            .opt()
            .and_then(|opt| opt.opt().nsid().map(|nsid| nsid.as_slice().to_vec()))
            .filter(|nsid| !nsid.is_empty());
        let (truncated, authoritative) = (header.tc(), header.aa());
        Ok(Self { rcode, truncated, authoritative, authentic: header.ad(), answers, nsid })
    }

    /// Whether the data are those that were expected of the answer to `query`. A CNAME on the way
    /// and signatures are no records of the type that was asked for.
    pub fn holds(&self, expected: &Expected, query: &Query) -> bool {
        match expected {
            Expected::Part(part) => self.texts().any(|text| text.contains(part)),
            Expected::Exactly(wanted) => {
                let asked = |it: &&Answer| query.qtype == Rtype::ANY || it.rtype == query.qtype;
                let got: Vec<&Answer> = self.answers.iter().filter(asked).collect();
                let same = |it: &Answer, text: &str| {
                    canonical(it.rtype, &it.text) == canonical(it.rtype, text)
                };
                wanted.iter().all(|text| got.iter().any(|it| same(it, text)))
                    && got.iter().all(|it| wanted.iter().any(|text| same(it, text)))
            }
        }
    }

    /// The data of each answer.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.answers.iter().map(|answer| answer.text.as_str())
    }

    /// The server's identifier as text; octets that are none are shown as `�`.
    pub fn nsid_text(&self) -> Option<String> {
        self.nsid.as_ref().map(|nsid| String::from_utf8_lossy(nsid).into_owned())
    }
}

/// The one way to write data that can be written in several: addresses, and names, which are the
/// same in capitals and with their final dot.
fn canonical(rtype: Rtype, text: &str) -> String {
    let written = |address: Result<IpAddr, _>| {
        address.map_or_else(|_: AddrParseError| text.to_owned(), |address| address.to_string())
    };
    match rtype {
        Rtype::A | Rtype::AAAA => written(text.parse()),
        Rtype::NS
        | Rtype::CNAME
        | Rtype::DNAME
        | Rtype::PTR
        | Rtype::MX
        | Rtype::SRV
        | Rtype::SOA => {
            let words = text.split_whitespace();
            let words = words.map(|word| word.strip_suffix('.').unwrap_or(word));
            words.collect::<Vec<_>>().join(" ").to_ascii_lowercase()
        }
        _ => text.to_owned(),
    }
}

impl Answer {
    fn parse(record: domain::base::ParsedRecord<'_, [u8]>) -> Option<Self> {
        let record = record.into_any_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>().ok()?;
        let text = match record.data() {
            AllRecordData::Txt(txt) => {
                let strings: Vec<_> = txt.iter().map(String::from_utf8_lossy).collect();
                strings.join(" ")
            }
            data => data.to_string(),
        };
        Some(Self { rtype: record.rtype(), ttl: record.ttl().as_secs(), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(answers: &[(&str, &str)]) -> Response {
        let answer = |(rtype, text): &(&str, &str)| Answer {
            rtype: Rtype::from_str(rtype).unwrap(),
            ttl: 60,
            text: (*text).to_owned(),
        };
        Response {
            rcode: OptRcode::NOERROR,
            truncated: false,
            authoritative: true,
            authentic: false,
            answers: answers.iter().map(answer).collect(),
            nsid: None,
        }
    }

    #[test]
    fn just_the_expected_data_are_expected() {
        type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [&'a str], bool);
        let one = &[("A", "192.0.2.10")][..];
        let two = &[("A", "192.0.2.1"), ("A", "192.0.2.2")][..];
        let alias = &[("CNAME", "host.example."), ("A", "192.0.2.1"), ("RRSIG", "A 13 2 60 …")][..];
        let any = &alias[..2];
        let cases: &[Case<'_>] = &[
            ("the address", "A", one, &["192.0.2.10"], true),
            ("the beginning of another", "A", one, &["192.0.2.1"], false),
            ("in any order", "A", two, &["192.0.2.2", "192.0.2.1"], true),
            ("one is missing", "A", one, &["192.0.2.10", "192.0.2.1"], false),
            ("one too many", "A", two, &["192.0.2.1"], false),
            ("none", "A", &[], &["192.0.2.1"], false),
            ("behind an alias, signed", "A", alias, &["192.0.2.1"], true),
            ("the alias itself", "CNAME", alias, &["HOST.example"], true),
            ("any type", "ANY", alias, &["192.0.2.1"], false),
            ("any type, all of them", "ANY", any, &["HOST.example", "192.0.2.1"], true),
            ("written otherwise", "AAAA", &[("AAAA", "2001:db8::1")], &["2001:DB8:0::0001"], true),
            ("a mail host", "MX", &[("MX", "10 mx.example.")], &["10  MX.example"], true),
            ("a host longer by a label", "NS", &[("NS", "a.ns.example.")], &["ns.example."], false),
            ("text", "TXT", &[("TXT", "fra")], &["fra"], true),
            ("text in capitals", "TXT", &[("TXT", "FRA")], &["fra"], false),
            ("a part of text", "TXT", &[("TXT", "fra 7")], &["fra"], false),
        ];
        for (name, qtype, answers, wanted, holds) in cases {
            let query = Query::from_text(0, "www.example", qtype, "IN").unwrap();
            let wanted = wanted.iter().map(|&it| it.to_owned()).collect();
            let got = response(answers).holds(&Expected::Exactly(wanted), &query);
            assert_eq!(got, *holds, "{name}");
        }
        let query = Query::from_text(0, "www.example", "TXT", "IN").unwrap();
        for (part, holds) in [("fra", true), ("a 7", true), ("nyc", false)] {
            let response = response(&[("TXT", "ams"), ("TXT", "fra 7")]);
            assert_eq!(response.holds(&Expected::Part(part.to_owned()), &query), holds, "{part}");
        }
    }
}
