//! Who asks: events name whoever gave an order.

use std::convert::Infallible;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use nix::unistd::{Uid, User};
use tokio::net::UnixListener;

/// Who asks, if that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller(Option<String>);

impl Caller {
    /// A caller that has shown to be this one.
    pub(crate) fn named(name: &str) -> Self {
        Self(Some(name.to_owned()))
    }

    /// The user's name, or the API token's or certificate's.
    pub(crate) fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// The process at the other end of the control socket (unix(7), SO_PEERCRED).
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// Puts the user's name to what comes over the control socket.
pub(super) async fn of_socket(
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    // Only orders are written down with a name; the look-up reads a file.
    if let (Some(uid), false) = (peer.0, request.method().is_safe()) {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let name = user.map_or_else(|| format!("uid {uid}"), |user| user.name);
        request.extensions_mut().insert(Caller::named(&name));
    }
    next.run(request).await
}
