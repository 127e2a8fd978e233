//! Moving bytes into and out of vectors: the only loads and stores of the tier.
//!
//! Every load and store takes a reference to an array of the vector's size, so a caller cannot run past a slice. The
//! gathering helpers turn sixteen weight rows into vectors with one row per 32-bit lane.

use std::arch::x86_64::*;

use crate::ops::attend::steps::Ahead;
use crate::ops::matmul::MatmulArgs;

/// One item per weight row that a vector holds.
pub(super) type Rows<T> = [T; 16];

/// `f` of each item. Unlike `array::map` it is always inlined, without which `f` loses the tier's instructions.
#[inline(always)]
pub(super) fn each<T: Copy, U: Copy, const N: usize>(items: [T; N], f: impl Fn(T) -> U) -> [U; N] {
    let mut results = [f(items[0]); N];
    for i in 1..N {
        results[i] = f(items[i]);
    }
    results
}

/// Asks for the bytes that lie `distance` behind `bytes`, into the cache of the `HINT`. Such bytes need not exist.
#[inline(always)]
pub(super) fn prefetch<const HINT: i32>(bytes: &[u8], distance: usize) {
    for line in 0..bytes.len().div_ceil(64) {
        let address = bytes.as_ptr().wrapping_add(64 * line + distance).cast();
        // SAFETY: a prefetch reads nothing that the program can see and does not fault at any address.
        unsafe { _mm_prefetch::<HINT>(address) };
    }
}

/// Asks for row `i`, into the second-level cache.
#[inline(always)]
pub(super) fn prefetch_row(ahead: Ahead, i: usize) {
    let row = ahead.row(i);
    for line in 0..ahead.row_bytes.div_ceil(64) {
        // SAFETY: a prefetch reads nothing that the program can see and does not fault at any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(row.wrapping_add(64 * line).cast()) };
    }
}

/// Sixteen numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_f32(x: &[f32; 16]) -> __m512 {
    // SAFETY: the reference covers 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn store_f32(x: __m512, out: &mut [f32; 16]) {
    // SAFETY: the reference covers 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) }
}

/// Sixteen numbers of unaligned bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_singles(bytes: &[u8; 64]) -> __m512 {
    // SAFETY: the reference covers 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_64(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference covers 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_words(words: &[i16; 32]) -> __m512i {
    // SAFETY: the reference covers 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_lanes(lanes: &[i32; 16]) -> __m512i {
    // SAFETY: the reference covers 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn store_64(x: __m512i, out: &mut [u8; 64]) {
    // SAFETY: the reference covers 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), x) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_32(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference covers 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the reference covers 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// The `N` bytes of `bytes` from `at` on, for constant `at`: the check vanishes when both are known.
#[inline(always)]
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("the part lies inside the block")
}

/// What is left after the last whole `N` bytes, with zeros behind.
pub(super) fn padded_tail<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let tail = bytes.as_chunks::<N>().1;
    let mut padded = [0; N];
    padded[..tail.len()].copy_from_slice(tail);
    padded
}

/// Adds the lanes of `x` times those of `scale` to rows `first_row..first_row + 16` of a token's output, as far as the
/// rows reach.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add_to_column(args: &mut MatmulArgs<'_>, first_row: usize, token: usize, x: __m512, scale: __m512) {
    let out = &mut args.out[token * args.n_rows..][first_row..args.n_rows.min(first_row + 16)];
    match out.first_chunk_mut() {
        Some(out) => store_f32(_mm512_fmadd_ps(x, scale, load_f32(out)), out),
        None => {
            let mut lanes = [0.0; 16];
            lanes[..out.len()].copy_from_slice(out);
            store_f32(_mm512_fmadd_ps(x, scale, load_f32(&lanes)), &mut lanes);
            out.copy_from_slice(&lanes[..out.len()]);
        }
    }
}

/// Sums of `T` tokens and `R` times sixteen rows.
///
/// They can be kept in memory, for a loop that has other uses for all registers: left to itself, the compiler may move
/// what is needed in every step.
pub(super) struct Sums<const T: usize, const R: usize> {
    sums: [[__m512; R]; T],
    in_memory: bool,
}

impl<const T: usize, const R: usize> Sums<T, R> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn zeros(in_memory: bool) -> Sums<T, R> {
        Sums { sums: [[_mm512_setzero_ps(); R]; T], in_memory }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn get(&self, t: usize, r: usize) -> __m512 {
        let sum = &self.sums[t][r];
        // SAFETY: the pointer is a reference.
        if self.in_memory { unsafe { std::ptr::read_volatile(sum) } } else { *sum }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn set(&mut self, t: usize, r: usize, value: __m512) {
        let sum = &mut self.sums[t][r];
        if self.in_memory {
            // SAFETY: the pointer is a reference.
            unsafe { std::ptr::write_volatile(sum, value) }
        } else {
            *sum = value;
        }
    }
}

/// Asks for what [`add_to_column`] changes, into the first-level cache.
#[inline(always)]
pub(super) fn prefetch_column(args: &MatmulArgs<'_>, first_row: usize, token: usize) {
    let address = args.out.as_ptr().wrapping_add(token * args.n_rows + first_row);
    // SAFETY: a prefetch reads nothing that the program can see and does not fault at any address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// 16 bytes of each row as four vectors: vector `c` has bytes `4c..4c+4` of row `r` in lane `r`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn transpose_16(rows: Rows<&[u8; 16]>) -> [__m512i; 4] {
    let (r0, r1) = (every_fourth(rows, 0), every_fourth(rows, 1));
    let (r2, r3) = (every_fourth(rows, 2), every_fourth(rows, 3));
    let (low01, high01) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
    let (low23, high23) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
    [
        _mm512_unpacklo_epi64(low01, low23),
        _mm512_unpackhi_epi64(low01, low23),
        _mm512_unpacklo_epi64(high01, high23),
        _mm512_unpackhi_epi64(high01, high23),
    ]
}

/// Rows `first`, `first + 4`, `first + 8` and `first + 12`, one per quarter of the vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn every_fourth(rows: Rows<&[u8; 16]>, first: usize) -> __m512i {
    let x = _mm512_castsi128_si512(load_16(rows[first]));
    let x = _mm512_inserti32x4::<1>(x, load_16(rows[first + 4]));
    let x = _mm512_inserti32x4::<2>(x, load_16(rows[first + 8]));
    _mm512_inserti32x4::<3>(x, load_16(rows[first + 12]))
}

/// 32 bytes of each row as eight vectors, as [`transpose_16`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn transpose_32(rows: Rows<&[u8; 32]>) -> [__m512i; 8] {
    let [a, b, c, d] = transpose_16(each(rows, |row| part(row, 0)));
    let [e, f, g, h] = transpose_16(each(rows, |row| part(row, 16)));
    [a, b, c, d, e, f, g, h]
}

/// Four bytes of each row, one row per lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn gather_4(rows: Rows<&[u8; 4]>) -> __m512i {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = each(rows, |row| i32::from_le_bytes(*row));
    _mm512_setr_epi32(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
}

/// The half-precision number of each row, one row per lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn gather_half(rows: Rows<&[u8; 2]>) -> __m512 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = each(rows, |row| i16::from_le_bytes(*row));
    _mm512_cvtph_ps(_mm256_setr_epi16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p))
}

/// The half-precision numbers in the lower and in the upper halves of the lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn widen_two_halves(words: __m512i) -> [__m512; 2] {
    let (low, high) = (_mm512_cvtepi32_epi16(words), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(words)));
    [_mm512_cvtph_ps(low), _mm512_cvtph_ps(high)]
}

/// Stands for a zero in the order of [`pick_bytes`]: its upper bit survives the additions there.
pub(super) const ZERO: i8 = -128;

/// In every lane, four of its bytes in the given order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn pick_bytes(x: __m512i, order: [i8; 4]) -> __m512i {
    let first = _mm_set1_epi32(i32::from_le_bytes(order.map(i8::cast_unsigned)));
    let order = _mm_add_epi8(first, _mm_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0C0C_0C0C));
    _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(order))
}

/// The sums of the lanes of sixteen vectors, each in the same order: halves first, then halves of those, and so on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn sum_sixteen_f32(x: [__m512; 16]) -> __m512 {
    // Each step adds one half of two vectors' lanes to the other half; both then fit into one vector.
    let fold_halves = |a, b| {
        let (outer, inner) = (_mm512_mask_blend_ps(0xFF00, a, b), _mm512_shuffle_f32x4::<0b01_00_11_10>(a, b));
        _mm512_add_ps(outer, inner)
    };
    let fold_quarters = |a, b| {
        let (even, odd) = (_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
        _mm512_add_ps(even, odd)
    };
    let fold_pairs = |a, b| {
        let (outer, inner) = (_mm512_mask_blend_ps(0xCCCC, a, b), _mm512_shuffle_ps::<0b01_00_11_10>(a, b));
        _mm512_add_ps(outer, inner)
    };
    let fold_last = |a, b| {
        let (even, odd) = (_mm512_shuffle_ps::<0b10_00_10_00>(a, b), _mm512_shuffle_ps::<0b11_01_11_01>(a, b));
        _mm512_add_ps(even, odd)
    };
    let every_fourth = |i: usize| fold_quarters(fold_halves(x[i], x[i + 4]), fold_halves(x[i + 8], x[i + 12]));
    let (a, b, c, d) = (every_fourth(0), every_fourth(1), every_fourth(2), every_fourth(3));
    fold_last(fold_pairs(a, b), fold_pairs(c, d))
}
