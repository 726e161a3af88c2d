//! What the programs need to decrypt one block of AES-128 (FIPS 197, 5.3.5: the equivalent inverse
//! cipher): four tables of columns, the inverse S-box and the round keys. Only the programs use
//! this; Rust itself decrypts with the crate `aes`, so that tests hold one against the other.

use crate::layout::AesTables;

/// The product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1.
const fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = (a << 1) ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    product
}

/// The S-box: the inverse in the field, then an affine map.
fn substitution() -> [u8; 256] {
    let mut table = [0x63; 256];
    for value in 1..=255_u8 {
        let inverse = (1..=255).find(|other| times(value, *other) == 1).expect("a field");
        table[usize::from(value)] = (0..5).fold(0x63, |sum, turn| sum ^ inverse.rotate_left(turn));
    }
    table
}

/// One column through InvMixColumns.
fn unmix(column: u32) -> u32 {
    let [a, b, c, d] = column.to_be_bytes();
    let row = |w: u8, x: u8, y: u8, z: u8| times(w, 14) ^ times(x, 11) ^ times(y, 13) ^ times(z, 9);
    u32::from_be_bytes([row(a, b, c, d), row(b, c, d, a), row(c, d, a, b), row(d, a, b, c)])
}

/// The tables, the same for every key.
pub(crate) fn tables() -> Box<AesTables> {
    let forward = substitution();
    let mut tables = Box::new(AesTables { round: [[0; 256]; 4], last: [0; 256] });
    for (value, substituted) in (0..=255_u8).zip(forward) {
        tables.last[usize::from(substituted)] = value;
        let column = unmix(u32::from(value) << 24);
        for (turn, table) in (0..).zip(&mut tables.round) {
            table[usize::from(substituted)] = column.rotate_right(8 * turn);
        }
    }
    tables
}

/// The round keys of decryption, the last of encryption first.
pub(crate) fn decryption_keys(key: &[u8; 16]) -> [u32; 44] {
    let forward = substitution();
    let mut words = [0_u32; 44];
    for (word, octets) in words.iter_mut().zip(key.chunks_exact(4)) {
        *word = u32::from_be_bytes(octets.try_into().expect("four octets"));
    }
    let mut constant = 1;
    for at in 4..44 {
        let mut word = words[at - 1];
        if at % 4 == 0 {
            word = u32::from_be_bytes(
                word.rotate_left(8).to_be_bytes().map(|octet| forward[usize::from(octet)]),
            ) ^ u32::from(constant) << 24;
            constant = times(constant, 2);
        }
        words[at] = words[at - 4] ^ word;
    }
    let mut keys = [0; 44];
    for round in 0..11 {
        for column in 0..4 {
            let word = words[4 * (10 - round) + column];
            keys[4 * round + column] = if round == 0 || round == 10 { word } else { unmix(word) };
        }
    }
    keys
}
