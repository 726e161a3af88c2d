//! A DNS query of a service.

use std::net::SocketAddr;

use anycast_dns::probe::{Expected, NotAnAnswer, Query, Response};
use anycast_dns::{Rcode, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Failure, random, udp};

pub(super) async fn ask(
    target: SocketAddr,
    query: &Query,
    transport: Transport,
) -> Result<Response, Failure> {
    let octets = query.emit();
    match transport {
        Transport::Udp => {
            let socket = udp::socket(target)?;
            socket.send(&octets).await?;
            let mut answer = [0; 4096];
            loop {
                let len = socket.recv(&mut answer).await?;
                match Response::parse(&answer[..len], query) {
                    Ok(response) => return Ok(response),
                    // Of another query, perhaps a late one: ours may still come.
                    Err(NotAnAnswer::Another | NotAnAnswer::Query) => {}
                    Err(NotAnAnswer::Malformed) => return Err(Failure::NotDns),
                }
            }
        }
        Transport::Tcp => {
            let mut stream = TcpStream::connect(target).await?;
            let len = u16::try_from(octets.len()).expect("a query has one question");
            stream.write_all(&[&len.to_be_bytes()[..], &octets].concat()).await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            Response::parse(&answer, query).map_err(|_| Failure::NotDns)
        }
    }
}

/// The query with an id that others cannot foresee and, if asked for, a name that nobody has asked
/// for before.
pub(super) fn of_its_own(query: &Query, cache_busting: bool) -> Query {
    let id = (random() & 0xffff) as u16;
    let busting = cache_busting.then(|| query.below(&format!("{:016x}", random())));
    match busting {
        Some(Ok(other)) => Query { id, ..other },
        // The fleet file is held to names that are short enough.
        Some(Err(_)) | None => Query { id, ..query.clone() },
    }
}

pub(super) fn judge(
    response: &Response,
    query: &Query,
    rcode: Rcode,
    expect: Option<&Expected>,
) -> Result<(), Failure> {
    if response.rcode != rcode {
        return Err(Failure::Rcode { got: response.rcode, want: rcode });
    }
    if query.authentic && !response.authentic {
        return Err(Failure::Answer("the answer is not authentic (no AD)".to_owned()));
    }
    match expect {
        Some(want) if !response.holds(want, query) => {
            let mut got = response.texts().collect::<Vec<_>>().join(", ");
            if response.truncated {
                got.push_str(" (cut to fit; TCP brings all)");
            }
            let want = match want {
                Expected::Exactly(data) => data.join(", "),
                Expected::Part(part) => part.clone(),
            };
            Err(Failure::Unexpected { got, want })
        }
        _ => Ok(()),
    }
}
