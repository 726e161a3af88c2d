//! NOTIFICATION (RFC 4271 §4.5) and its shutdown message (RFC 9003).

use std::fmt;

use crate::iana::{cease_subcode, error_code, subcode_name};

/// NOTIFICATION (RFC 4271 §4.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notification {
    /// The error code.
    pub code: u8,
    /// The error subcode.
    pub subcode: u8,
    /// The data: the offending octets, or a shutdown message (RFC 9003).
    pub data: Vec<u8>,
}

impl Notification {
    /// One without data; the numbers are in [`iana`](crate::iana).
    #[must_use]
    pub const fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Vec::new() }
    }

    /// A Cease that tells people why (RFC 9003 §2). Text beyond 255 octets is cut between
    /// characters; an empty text is none.
    #[must_use]
    pub fn cease_with_message(subcode: u8, text: &str) -> Self {
        let end = (0..=255).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        let text = if text.len() > 255 { &text[..end] } else { text };
        let mut data = Vec::new();
        if let Ok(length @ 1..) = u8::try_from(text.len()) {
            data.push(length);
            data.extend_from_slice(text.as_bytes());
        }
        Self { code: error_code::CEASE, subcode, data }
    }

    /// A Hard Reset around what it is for: nothing is to be kept (RFC 8538 §3).
    #[must_use]
    pub fn hard_reset(inner: &Self) -> Self {
        let mut data = vec![inner.code, inner.subcode];
        data.extend_from_slice(&inner.data);
        Self { code: error_code::CEASE, subcode: cease_subcode::HARD_RESET, data }
    }

    /// What a Hard Reset is for (RFC 8538 §3).
    #[must_use]
    pub fn inner(&self) -> Option<Self> {
        let hard = (self.code, self.subcode) == (error_code::CEASE, cease_subcode::HARD_RESET);
        Self::parse(&self.data).filter(|_| hard)
    }

    /// What the neighbor's operator wrote (RFC 9003 §2): UTF-8 in an Administrative Shutdown or
    /// Administrative Reset, or in a Hard Reset around one.
    #[must_use]
    pub fn shutdown_message(&self) -> Option<String> {
        if let Some(inner) = self.inner() {
            return inner.own_message();
        }
        self.own_message()
    }

    fn own_message(&self) -> Option<String> {
        let (cease_subcode::ADMINISTRATIVE_SHUTDOWN | cease_subcode::ADMINISTRATIVE_RESET) =
            self.subcode
        else {
            return None;
        };
        let (length, text) = self.data.split_first()?;
        if self.code != error_code::CEASE || *length == 0 {
            return None;
        }
        String::from_utf8(text.get(..usize::from(*length))?.to_vec()).ok()
    }

    /// The body, from a message that is long enough for code and subcode.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let ([code, subcode], data) = body.split_first_chunk()?;
        Some(Self { code: *code, subcode: *subcode, data: data.to_vec() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.code, self.subcode]);
        out.extend_from_slice(&self.data);
    }
}

impl fmt::Display for Notification {
    /// In words: `Cease: Administrative Shutdown: "back at noon"`. The message is escaped, for it
    /// comes from outside and goes to terminals (RFC 9003 §5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match error_code::name(self.code) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "error {}", self.code)?,
        }
        match subcode_name(self.code, self.subcode) {
            Some(name) => write!(f, ": {name}")?,
            None if self.subcode != 0 => write!(f, ": subcode {}", self.subcode)?,
            None => {}
        }
        // One within the other is no use of it: what comes from outside must not go on for ever.
        if let Some(inner) = self.inner().filter(|inner| inner.inner().is_none()) {
            return write!(f, ": {inner}");
        }
        match self.shutdown_message() {
            Some(text) => write!(f, ": {text:?}"),
            None => Ok(()),
        }
    }
}
