//! Damages inputs.
//!
//! Each mutation is small; [`mutated`] stacks a few. Numbers in binary formats are mostly small values in wide fields, so
//! half of the number mutations aim at places that look like one: a byte or two followed by zeros.

use rand::{Rng, RngExt};

/// Bytes of an input at most: room for every structure of the format, and thousands of runs a second.
const INPUT_BYTES: usize = 16 << 10;

/// Mutations on top of each other at most.
const STACKED: u32 = 6;

/// Tries to find a place that looks like a number.
const NUMBER_TRIES: u32 = 32;

/// Values at which readers go wrong: limits of integer types and of what fits a file.
const EDGES: &[u64] = &[
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    12,
    13,
    31,
    32,
    33,
    64,
    65,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x1000_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x100_0000_0000,
    0x1fff_ffff_ffff_ffff,
    0x2000_0000_0000_0000,
    0x4000_0000_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffe0,
    0xffff_ffff_ffff_ffff,
];

/// Where mutations take bytes from.
pub(crate) struct Material<'a> {
    pub(crate) corpus: &'a [Vec<u8>],
    pub(crate) dictionary: &'a [&'a [u8]],
}

/// A damaged copy of `input`.
pub(crate) fn mutated(input: &[u8], material: &Material, rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.random_range(1..=STACKED) {
        mutate(&mut bytes, material, rng);
    }
    bytes.truncate(INPUT_BYTES);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, material: &Material, rng: &mut impl Rng) {
    match rng.random_range(0..10) {
        0 => flip_bit(bytes, rng),
        1..=3 => set_number(bytes, rng),
        4 => add_to_number(bytes, rng),
        5 => remove_range(bytes, rng),
        6 => copy_range(bytes, rng),
        7 => splice(bytes, material.corpus, rng),
        8 => insert_word(bytes, material.dictionary, rng),
        _ => bytes.truncate(rng.random_range(0..=bytes.len())),
    }
}

fn flip_bit(bytes: &mut [u8], rng: &mut impl Rng) {
    if !bytes.is_empty() {
        let place = rng.random_range(0..bytes.len());
        bytes[place] ^= 1 << rng.random_range(0..8);
    }
}

fn set_number(bytes: &mut [u8], rng: &mut impl Rng) {
    let edge = EDGES[rng.random_range(0..EDGES.len())];
    if let Some(field) = number_field(bytes, rng) {
        field.copy_from_slice(&edge.to_le_bytes()[..field.len()]);
    }
}

fn add_to_number(bytes: &mut [u8], rng: &mut impl Rng) {
    let delta = rng.random_range(1..=35u64);
    let delta = if rng.random() { delta } else { delta.wrapping_neg() };
    if let Some(field) = number_field(bytes, rng) {
        let mut number = [0; 8];
        number[..field.len()].copy_from_slice(field);
        let sum = u64::from_le_bytes(number).wrapping_add(delta);
        field.copy_from_slice(&sum.to_le_bytes()[..field.len()]);
    }
}

/// One to eight bytes that a number may stand in.
fn number_field<'a>(bytes: &'a mut [u8], rng: &mut impl Rng) -> Option<&'a mut [u8]> {
    let width = [1, 2, 4, 8][rng.random_range(0..4)];
    let last = bytes.len().checked_sub(width)?;
    let mut place = rng.random_range(0..=last);
    if rng.random() {
        let looks_like_number = |place: &usize| bytes[*place] != 0 && bytes[*place + 1..].starts_with(&[0, 0, 0]);
        let tries = (0..NUMBER_TRIES).map(|_| rng.random_range(0..=last));
        place = tries.into_iter().find(looks_like_number).unwrap_or(place);
    }
    Some(&mut bytes[place..place + width])
}

fn remove_range(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    let start = rng.random_range(0..=bytes.len());
    let end = rng.random_range(start..=bytes.len().min(start + 64));
    bytes.drain(start..end);
}

fn copy_range(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    let start = rng.random_range(0..=bytes.len());
    let end = rng.random_range(start..=bytes.len().min(start + 256));
    let range = bytes[start..end].to_vec();
    let place = rng.random_range(0..=bytes.len());
    bytes.splice(place..place, range);
}

/// Goes on with the rest of another input.
fn splice(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut impl Rng) {
    let other = &corpus[rng.random_range(0..corpus.len())];
    bytes.truncate(rng.random_range(0..=bytes.len()));
    bytes.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
}

fn insert_word(bytes: &mut Vec<u8>, dictionary: &[&[u8]], rng: &mut impl Rng) {
    if !dictionary.is_empty() {
        let word = dictionary[rng.random_range(0..dictionary.len())];
        let place = rng.random_range(0..=bytes.len());
        bytes.splice(place..place, word.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn no_input_is_too_short_to_mutate_and_none_grows_past_the_limit() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let corpus = [Vec::new(), vec![1; INPUT_BYTES]];
        let material = Material { corpus: &corpus, dictionary: &[b"word"] };
        for len in [0, 1, 2, 7, 8, 9, 100, INPUT_BYTES] {
            for _ in 0..200 {
                assert!(mutated(&vec![3; len], &material, &mut rng).len() <= INPUT_BYTES);
            }
        }
    }
}
