//! Who peers with whom, for those with many peers a bit for each AS: to tell all of them
//! something is to join two rows of bits, where a list would be walked number by number.

use super::{AsId, Lists};

/// How many words of a row take as long as one number of a list: measured on the AS graph of
/// 2024, where it decides little.
const WORDS_A_NUMBER: usize = 3;

/// Peers as lists, and as bits of those who have so many that bits are quicker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    pub(crate) lists: Lists,
    /// Words of a row: it has a bit for each AS that may be somebody's peer.
    words: usize,
    /// For each AS its row, or [`NO_ROW`].
    rows: Vec<u32>,
    bits: Vec<u64>,
}

const NO_ROW: u32 = u32::MAX;

impl Peers {
    /// Rows for lists in which no number is `below` or higher.
    pub(super) fn new(lists: Lists, len: usize, below: usize) -> Self {
        let words = below.div_ceil(64);
        let mut peers = Self { lists, words, rows: vec![NO_ROW; len], bits: Vec::new() };
        for (id, place) in (0..).map(AsId).zip(0..len) {
            let list = peers.lists.of(id);
            if list.len() * WORDS_A_NUMBER <= words {
                continue;
            }
            let begin = peers.bits.len();
            peers.rows[place] = u32::try_from(begin / words).expect("fewer rows than ASes");
            peers.bits.resize(begin + words, 0);
            set(list, &mut peers.bits[begin..]);
        }
        peers
    }

    /// How many words a row has.
    pub(crate) const fn words(&self) -> usize {
        self.words
    }

    /// Adds the peers of `id` to those in `told`, a bit for each AS.
    pub(crate) fn join(&self, id: AsId, told: &mut [u64]) {
        let row = self.rows[id.index()];
        if row == NO_ROW {
            set(self.lists.of(id), told);
            return;
        }
        let begin = row as usize * self.words;
        for (told, word) in told.iter_mut().zip(&self.bits[begin..begin + self.words]) {
            *told |= word;
        }
    }
}

/// Sets the bits of these ASes.
pub(crate) fn set(ids: &[AsId], bits: &mut [u64]) {
    for id in ids {
        bits[id.index() / 64] |= 1 << (id.index() % 64);
    }
}

/// The places of the bits of one word of a row.
#[inline]
pub(crate) fn bits(word: usize, mut left: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (left != 0).then(|| {
            let bit = left.trailing_zeros() as usize;
            left &= left - 1;
            word * 64 + bit
        })
    })
}
