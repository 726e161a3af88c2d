//! An UPDATE for several neighbors, encoded once.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::{Context, Update};

/// An [`Update`] and its octets, once somebody has asked for them: neighbors that are told the same
/// and agreed on the same need not encode it each.
#[derive(Debug, Default)]
pub struct Packed {
    update: Update,
    encoded: OnceLock<(Context, Vec<Vec<u8>>)>,
}

impl Packed {
    /// Nothing is encoded yet.
    #[must_use]
    pub const fn new(update: Update) -> Self {
        Self { update, encoded: OnceLock::new() }
    }

    /// What it says.
    #[must_use]
    pub const fn update(&self) -> &Update {
        &self.update
    }

    /// What it says, copied if others need it too.
    #[must_use]
    pub fn into_update(self: std::sync::Arc<Self>) -> Update {
        std::sync::Arc::try_unwrap(self)
            .map_or_else(|shared| shared.update.clone(), |alone| alone.update)
    }

    /// The messages of [`Update::emit`]. Those of the first `ctx` that asks are kept.
    #[must_use]
    pub fn emit(&self, ctx: &Context) -> Cow<'_, [Vec<u8>]> {
        let (encoded_for, octets) = self.encoded.get_or_init(|| (*ctx, self.update.emit(ctx)));
        if encoded_for == ctx { Cow::Borrowed(octets) } else { Cow::Owned(self.update.emit(ctx)) }
    }
}

#[cfg(test)]
mod tests {
    use crate::message::{Context, Packed, Update};

    #[test]
    fn each_context_gets_the_octets_that_are_its_own() {
        let update = Update::withdraw(["192.0.2.0/24".parse::<ipnet::IpNet>().unwrap()]);
        let packed = Packed::new(update.clone());
        let small = Context { four_octet_asn: false, ..Context::default() };
        for context in [Context::default(), small, Context::default()] {
            assert_eq!(*packed.emit(&context), *update.emit(&context));
        }
        assert_eq!(std::sync::Arc::new(packed).into_update(), update);
    }
}
