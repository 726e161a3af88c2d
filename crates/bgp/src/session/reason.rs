//! Why a connection or an attempt ended.

use std::fmt;

use crate::message::Notification;

/// Why a connection or an attempt ended; its `Display` is for `show neighbors`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DownReason {
    /// We ended it, with this NOTIFICATION.
    Sent(Notification),
    /// The neighbor ended it, with this NOTIFICATION.
    Received(Notification),
    /// The TCP connection ended without a word.
    ConnectionClosed,
    /// No TCP connection could be opened.
    DialFailed,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(notification) => write!(f, "we sent: {notification}"),
            Self::Received(notification) => write!(f, "neighbor sent: {notification}"),
            Self::ConnectionClosed => f.write_str("connection closed by the neighbor or broken"),
            Self::DialFailed => f.write_str("cannot connect"),
        }
    }
}
