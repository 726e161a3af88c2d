//! The requests of one connection.

use std::net::IpAddr;
use std::sync::Arc;

use h3::server::RequestResolver;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::CONTENT_LENGTH;
use quinn::VarInt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::paths::unmark;
use super::{Host, held};
use crate::whoami::http::{LONGEST_HEAD, respond};

/// RFC 9114 §8.1.
pub(super) const H3_NO_ERROR: VarInt = VarInt::from_u32(0x100);
pub(super) const H3_EXCESSIVE_LOAD: VarInt = VarInt::from_u32(0x107);

/// What h3 may keep of a connection's requests that are not complete, in octets; a client that wants
/// more is let go. It is four of the longest heads.
pub(super) const HELD: usize = 64 * 1024;

/// Serves one connection until the client goes or asks for nothing any more.
pub(super) async fn serve(connection: quinn::Connection, host: Arc<Host>) {
    tokio::select! {
        () = requests(&connection, &host) => connection.close(H3_NO_ERROR, b""),
        _ = connection.closed() => {}
    }
}

async fn requests(connection: &quinn::Connection, host: &Arc<Host>) {
    let idle = host.idle;
    let mut builder = h3::server::builder();
    builder.max_field_section_size(u64::try_from(LONGEST_HEAD).expect("it is small"));
    let built = builder.build(held::Connection::new(connection.clone(), HELD));
    // An error is a client that broke off or spoke no HTTP/3; h3 has told it so.
    let Ok(Ok(mut h3)) = timeout(idle, built).await else { return };
    // They end with the connection.
    let mut answers = JoinSet::new();
    while let Ok(Ok(Some(request))) = timeout(idle, h3.accept()).await {
        let (connection, host) = (connection.clone(), host.clone());
        answers.spawn(async move { timeout(idle, answer(request, &connection, &host)).await });
        while answers.try_join_next().is_some() {}
    }
}

async fn answer(
    request: RequestResolver<held::Connection, Bytes>,
    connection: &quinn::Connection,
    host: &Host,
) {
    let Ok((request, mut stream)) = request.resolve_request().await else { return };
    let Some((address, client)) = ends(connection, host) else { return };
    let (mut head, body) = respond(&request, &host.identity, address, client).into_parts();
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let wants_body = request.method() != Method::HEAD;
    // It takes more than its octets did, and the client may take its time.
    drop(request);
    let sent = async {
        stream.send_response(hyper::Response::from_parts(head, ())).await?;
        if wants_body {
            stream.send_data(body).await?;
        }
        stream.finish().await
    };
    // An error is a client that does not want the answer any more.
    if sent.await.is_ok() {
        // Nobody asked for a body, but a stream that is left before its end is an error to some clients.
        while let Ok(Some(_)) = stream.recv_data().await {}
    }
}

/// The address that the client reached, which is another one once it has gone on at a preferred
/// address, and the address that it came from.
fn ends(connection: &quinn::Connection, host: &Host) -> Option<(IpAddr, IpAddr)> {
    let (client, preferred) = unmark(connection.remote_address());
    let address = if preferred {
        host.preferred.iter().find(|it| it.is_ipv4() == client.is_ipv4())?.ip()
    } else {
        connection.local_ip()?
    };
    Some((address.to_canonical(), client.ip().to_canonical()))
}
