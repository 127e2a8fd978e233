//! Products of unsigned weights and signed activations: with the dot-product instructions (VNNI), or without.
//!
//! A way to multiply adds the products of some vectors to a partial sum, in its own form, and then makes 32-bit lanes of it:
//! one weight row per lane, the four bytes of the lane summed. All are exact, so all give the same bits.

use std::arch::asm;
use std::arch::x86_64::*;

/// How the quants of a format may be summed in 16 bits.
///
/// `maddubs` multiplies unsigned weights with signed activations and adds pairs to 16 bits; `UNSIGNED_4` may add eight
/// such results (8 * 2 * 15 * 127 < 2^15), `UNSIGNED_5` four (31 for 15), `UNSIGNED_6` two (63). `SIGNED_8` adds none.
pub(super) const UNSIGNED_4: usize = 8;
pub(super) const UNSIGNED_5: usize = 4;
/// This one also means that scales belong to 16 weights.
pub(super) const UNSIGNED_6: usize = 2;
/// This one also means that weights are signed and that there are no minima.
pub(super) const SIGNED_8: usize = 1;

/// A way to multiply.
pub(super) trait Dot {
    /// Vectors that share a partial sum in a format that may sum `chain` of them in 16 bits.
    fn chain_len(chain: usize) -> usize;

    /// The partial sum that products of signed weights are added to, given the sum of the activations.
    ///
    /// # Safety
    ///
    /// The processor has the instructions of the tier; so for all functions here.
    unsafe fn start_signed(activation_sum: i16) -> __m256i;

    /// `partial` with the products of unsigned weights and activations added.
    ///
    /// # Safety
    ///
    /// As [`Dot::start_signed`].
    unsafe fn add(partial: __m256i, weights: __m256i, activations: __m256i) -> __m256i;

    /// `partial` with the products of signed weights and activations added; no activation is -128.
    ///
    /// # Safety
    ///
    /// As [`Dot::start_signed`].
    unsafe fn add_signed(partial: __m256i, weights: __m256i, activations: __m256i) -> __m256i;

    /// The lanes of a partial sum.
    ///
    /// # Safety
    ///
    /// As [`Dot::start_signed`].
    unsafe fn lanes(partial: __m256i) -> __m256i;

    /// `sum` with the lanes of a partial sum added, each times the number that its 32 bits of `scales` hold twice.
    ///
    /// # Safety
    ///
    /// As [`Dot::start_signed`].
    unsafe fn add_scaled(sum: __m256i, partial: __m256i, scales: __m256i) -> __m256i;

    /// `sum` with the products of pairs of 16-bit numbers added.
    ///
    /// # Safety
    ///
    /// As [`Dot::start_signed`].
    unsafe fn add_pairs(sum: __m256i, a: __m256i, b: __m256i) -> __m256i;
}

/// AVX2 alone: partial sums are pairs of 16-bit numbers.
pub(super) enum Pairs {}

impl Dot for Pairs {
    #[inline(always)]
    fn chain_len(chain: usize) -> usize {
        chain
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn start_signed(_: i16) -> __m256i {
        _mm256_setzero_si256()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(partial: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        _mm256_add_epi16(partial, _mm256_maddubs_epi16(weights, activations))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_signed(partial: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        let products = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(activations, weights));
        _mm256_add_epi16(partial, products)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn lanes(partial: __m256i) -> __m256i {
        _mm256_madd_epi16(partial, _mm256_set1_epi16(1))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_scaled(sum: __m256i, partial: __m256i, scales: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_madd_epi16(partial, scales))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_pairs(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
    }
}

/// The dot-product instructions on 256 bits: partial sums are lanes. They have two encodings, one for processors with
/// AVX-VNNI and one for those with AVX-512's VNNI; both do the same.
pub(super) enum Vnni<const EVEX: bool> {}

/// The encoding of AVX-VNNI.
pub(super) type Vex = Vnni<false>;

/// The encoding of AVX-512.
pub(super) type Evex = Vnni<true>;

/// Adds a dot-product instruction's result to `$sum`. Written out, because the intrinsics would not be inlined in functions
/// that must run without VNNI, too.
macro_rules! vnni {
    ($evex:expr, $name:literal, $sum:ident, $a:ident, $b:ident) => {{
        let mut sum = $sum;
        // SAFETY: the caller promises the encoding's instructions, which read and write only the named registers.
        unsafe {
            if $evex {
                asm!(concat!("{{evex}} ", $name, " {sum}, {a}, {b}"), sum = inout(ymm_reg) sum, a = in(ymm_reg) $a,
                    b = in(ymm_reg) $b, options(pure, nomem, nostack, preserves_flags));
            } else {
                asm!(concat!("{{vex}} ", $name, " {sum}, {a}, {b}"), sum = inout(ymm_reg) sum, a = in(ymm_reg) $a,
                    b = in(ymm_reg) $b, options(pure, nomem, nostack, preserves_flags));
            }
        }
        sum
    }};
}

impl<const EVEX: bool> Dot for Vnni<EVEX> {
    #[inline(always)]
    fn chain_len(chain: usize) -> usize {
        if chain == UNSIGNED_6 { 4 } else { 8 }
    }

    /// Signed weights become unsigned by an offset of 128, which is taken off here.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn start_signed(activation_sum: i16) -> __m256i {
        _mm256_set1_epi32(-128 * i32::from(activation_sum))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(partial: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        vnni!(EVEX, "vpdpbusd", partial, weights, activations)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_signed(partial: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        let weights = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
        vnni!(EVEX, "vpdpbusd", partial, weights, activations)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn lanes(partial: __m256i) -> __m256i {
        partial
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_scaled(sum: __m256i, partial: __m256i, scales: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_mullo_epi32(partial, _mm256_srai_epi32::<16>(scales)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_pairs(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        vnni!(EVEX, "vpdpwssd", sum, a, b)
    }
}
