//! The three ways in which a client asks a service address who answers.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use anycast_dns::probe::{Query, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};

use crate::netns::NetNs;

/// What DNS told.
pub(crate) struct DnsAnswer {
    /// The answer to `id.server. CH TXT`.
    pub(crate) id_server: String,
    /// The NSID of the same answer (RFC 5001).
    pub(crate) nsid: String,
}

fn invalid(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

async fn within<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(patience, work)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer"))?
}

/// Asks by DNS over UDP.
pub(crate) async fn dns(
    namespace: &NetNs,
    target: IpAddr,
    patience: Duration,
) -> io::Result<DnsAnswer> {
    let socket = namespace.run(|| {
        let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect((target, 53))?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    })?;
    let query = Query::id_server(4711);
    let mut buffer = [0; 1500];
    let len = within(patience, async {
        socket.send(&query.emit()).await?;
        socket.recv(&mut buffer).await
    })
    .await?;
    let response = Response::parse(&buffer[..len], &query)
        .map_err(|_| invalid("the answer is no answer to the question"))?;
    let id_server = response.texts().next().ok_or_else(|| invalid("no TXT in the answer"))?;
    let nsid = response.nsid_text().ok_or_else(|| invalid("no NSID in the answer"))?;
    Ok(DnsAnswer { id_server: id_server.to_owned(), nsid })
}

/// Asks by HTTP; returns the site that the JSON names.
pub(crate) async fn http(
    namespace: &NetNs,
    target: IpAddr,
    patience: Duration,
) -> io::Result<String> {
    let socket = namespace
        .run(|| if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() })?;
    let body = within(patience * 2, async {
        let mut stream = socket.connect((target, 80).into()).await?;
        let host = if target.is_ipv4() { target.to_string() } else { format!("[{target}]") };
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    })
    .await?;
    let (head, body) = body.split_once("\r\n\r\n").ok_or_else(|| invalid("no HTTP answer"))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(invalid(head.lines().next().unwrap_or_default()));
    }
    let body: serde_json::Value = serde_json::from_str(body)?;
    body["site"].as_str().map(ToOwned::to_owned).ok_or_else(|| invalid("no site in the JSON"))
}
