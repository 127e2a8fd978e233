//! A cache of the words of a text: a repeated word has the same tokens.
//!
//! A [`WordMemory`] lives for one text and refers to its words and tokens instead of copying them. It is direct-mapped: a
//! word replaces the one in its place, so the cache never grows. Prose and source code tokenize two to four times as fast.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use super::vocabulary::TokenId;

/// The number of places, a power of two; they take 128 KiB.
const PLACES: usize = 4096;

/// A text of fewer bytes is tokenized faster than the places are allocated.
const SHORT: usize = 4096;

/// The words of one text, and where their tokens are.
pub(super) struct WordMemory<'t> {
    places: Vec<SeenWord<'t>>,
    hasher: DefaultHashBuilder,
}

/// A word, and where its tokens are in the output.
#[derive(Clone, Copy)]
struct SeenWord<'t> {
    word: &'t str,
    start: usize,
    end: usize,
}

impl<'t> WordMemory<'t> {
    /// An empty cache for a text of `len` bytes.
    pub(super) fn new(len: usize) -> WordMemory<'t> {
        let places = if len < SHORT { 1 } else { PLACES };
        WordMemory {
            places: vec![SeenWord { word: "", start: 0, end: 0 }; places],
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Appends the tokens of `word` to `out`, calling `tokenize` if they are not cached. All calls must pass the same `out`.
    pub(super) fn append(
        &mut self,
        word: &'t str,
        out: &mut Vec<TokenId>,
        tokenize: impl FnOnce(&'t str, &mut Vec<TokenId>),
    ) {
        let index = self.hasher.hash_one(word) as usize & (self.places.len() - 1);
        let place = &mut self.places[index];
        if place.word == word {
            return out.extend_from_within(place.start..place.end);
        }
        let start = out.len();
        tokenize(word, out);
        *place = SeenWord { word, start, end: out.len() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_word_is_not_tokenized_again() {
        let mut memory = WordMemory::new(SHORT);
        let (mut out, mut n_tokenized) = (Vec::new(), 0);
        for word in ["one", "two", "one", "one", "two"] {
            memory.append(word, &mut out, |word, out| {
                n_tokenized += 1;
                out.extend(word.bytes().map(TokenId::from));
            });
        }
        let spelled: Vec<u8> = out.iter().map(|&token| token as u8).collect();
        assert_eq!(spelled, b"onetwooneonetwo");
        assert_eq!(n_tokenized, 2);
    }

    #[test]
    fn words_that_share_a_place_stay_apart() {
        let mut memory = WordMemory::new(0);
        let mut out = Vec::new();
        for word in ["1", "2", "2", "1"] {
            memory.append(word, &mut out, |word, out| out.push(word.parse().unwrap()));
        }
        assert_eq!(out, [1, 2, 2, 1]);
    }
}
