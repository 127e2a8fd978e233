//! Small fields of sixteen blocks that follow each other in memory, one block per lane.
//!
//! The processor's gather instruction takes a step per lane. Two vectors that lie side by side hold the fields of several
//! blocks, and one instruction picks any words of the two: a few such windows, whose places and orders are computed
//! at compile time, cover all sixteen blocks.

use std::arch::x86_64::*;

use super::lanes::{load_64, load_words, part};

/// How the four bytes at byte `OFFSET` of sixteen blocks of `BYTES` bytes are gathered.
struct Fields<const BYTES: usize, const OFFSET: usize>;

/// Two vectors and the words to pick of them.
#[derive(Clone, Copy)]
struct Window {
    /// The byte at which the first vector begins.
    start: usize,
    /// For each 16-bit number of the result, which of the 64 in the window it is.
    order: [i16; 32],
    /// The 16-bit numbers of the result that this window has.
    mask: u32,
}

impl<const BYTES: usize, const OFFSET: usize> Fields<BYTES, OFFSET> {
    /// Blocks of which a window holds the whole field, wherever in the block it is.
    const PER_WINDOW: usize = (128 - 4) / BYTES + 1;
    const N: usize = 16usize.div_ceil(Self::PER_WINDOW);
    const WINDOWS: [Window; 6] = Self::windows();

    const fn windows() -> [Window; 6] {
        assert!(BYTES.is_multiple_of(2) && OFFSET.is_multiple_of(2) && OFFSET + 4 <= BYTES && Self::N <= 6);
        let mut windows = [Window { start: 0, order: [0; 32], mask: 0 }; 6];
        let mut block = 0;
        while block < 16 {
            let window = &mut windows[block / Self::PER_WINDOW];
            if block.is_multiple_of(Self::PER_WINDOW) {
                let start = block * BYTES + OFFSET;
                // The last window may not reach past the blocks.
                window.start = if start + 128 > 16 * BYTES { 16 * BYTES - 128 } else { start };
            }
            let word = (block * BYTES + OFFSET - window.start) / 2;
            window.order[2 * block] = word as i16;
            window.order[2 * block + 1] = word as i16 + 1;
            window.mask |= 3 << (2 * block);
            block += 1;
        }
        windows
    }
}

/// The four bytes at byte `OFFSET` of each block, one block per lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn fields<const BYTES: usize, const OFFSET: usize>(blocks: &[[u8; BYTES]; 16]) -> __m512i {
    let bytes = blocks.as_flattened();
    let mut lanes = _mm512_setzero_si512();
    for i in 0..Fields::<BYTES, OFFSET>::N {
        let Window { start, order, mask } = const { Fields::<BYTES, OFFSET>::WINDOWS }[i];
        let (low, high) = (load_64(part(bytes, start)), load_64(part(bytes, start + 64)));
        let picked = _mm512_maskz_permutex2var_epi16(mask, low, load_words(&order), high);
        lanes = if i == 0 { picked } else { _mm512_or_si512(lanes, picked) };
    }
    lanes
}
