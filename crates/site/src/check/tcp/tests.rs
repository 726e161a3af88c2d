use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;

/// A listener that has room for one connection that nobody has accepted yet.
fn narrow() -> (TcpListener, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn over_both_families_the_service_sees_a_connection_that_ends() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(any).await.unwrap();
        assert_eq!(check(listener.local_addr().unwrap()).await, Ok(()), "{any}");
        let (mut stream, _) = listener.accept().await.unwrap();
        // No reset: servers write of these into their logs.
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "{any}");
    }
}

#[tokio::test]
async fn a_closed_port_refuses_at_once() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(check(closed).await, Err(Failure::Refused));
}

#[tokio::test]
async fn what_is_not_answered_at_once_is_waited_for() {
    let (listener, address) = narrow();
    let _first = TcpStream::connect(address).await.unwrap();
    let started = Instant::now();
    let (outcome, _stream) = tokio::join!(check(address), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        listener.accept().await.unwrap()
    });
    assert_eq!(outcome, Ok(()));
    // The first SYN was dropped; the kernel sent another a second later.
    assert!(started.elapsed() > Duration::from_millis(500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_is_refused_only_later_is_refused() {
    let (listener, address) = narrow();
    let _first = TcpStream::connect(address).await.unwrap();
    let (outcome, ()) = tokio::join!(check(address), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(listener);
    });
    assert_eq!(outcome, Err(Failure::Refused));
}
