//! Activation rows: their types, views of the two quantised layouts and the scalar quantisers that write them.
//!
//! [`ActivationType`] names the form of a row. [`Q8_1Row`] and [`Q8KRow`] give the parts of a row by block. The layouts keep all quants of a row together, then all
//! scales, then all sums, so that SIMD code loads eight scales at once. A block whose largest magnitude is not finite
//! becomes zeros with a NaN scale: broken numbers stay visible in the result. A block too small to scale (all zeros, or
//! so tiny that the reciprocal overflows) becomes zeros with scale 0. All tiers write the same bytes.

/// The form in which an activation row meets a weight row.
///
/// `Q8_1` serves all formats with blocks of 32 (ggml's Q8_0 is the same numbers without the sums).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum ActivationType {
    /// Unquantised, little-endian `f32`.
    F32,
    /// Signed bytes with a scale and a sum per 32.
    Q8_1,
    /// Signed bytes with a scale per 256 and sums per 16.
    Q8_K,
}

impl ActivationType {
    /// Bytes of one activation row of `cols` values.
    ///
    /// `F32` is `[f32; cols]` and 64 more bytes. The quantised types take 768 bytes for every 512 values or part of them,
    /// enough for the layout of any tier, and 64 more: without those, the same part of many rows would share a few sets of
    /// a cache. The scalar tier's layout is little-endian and zero-padded: `Q8_1` is `[i8; cols]`, `[f32 scale; cols/32]`,
    /// `[i16 sum; cols/32]`; `Q8_K` is `[i8; cols]`, `[f32 scale; cols/256]`, `[i16 sum; cols/16]`.
    /// Panics if `cols` is not a multiple of the block length (1, 32, 256).
    pub fn row_bytes(self, cols: usize) -> usize {
        match self {
            ActivationType::F32 => cols * 4 + 64,
            ActivationType::Q8_1 => {
                assert!(cols.is_multiple_of(32), "a Q8_1 row of {cols} values ends inside a block");
                quantised_row_bytes(cols)
            }
            ActivationType::Q8_K => {
                assert!(cols.is_multiple_of(256), "a Q8_K row of {cols} values ends inside a block");
                quantised_row_bytes(cols)
            }
        }
    }
}

/// See [`ActivationType::row_bytes`].
fn quantised_row_bytes(cols: usize) -> usize {
    cols.div_ceil(512) * 768 + 64
}

/// A Q8_1 row by its blocks of 32.
pub(crate) struct Q8_1Row<'a> {
    quants: &'a [[u8; 32]],
    scales: &'a [[u8; 4]],
    sums: &'a [[u8; 2]],
}

impl<'a> Q8_1Row<'a> {
    pub(crate) fn new(row: &'a [u8], cols: usize) -> Q8_1Row<'a> {
        let (quants, rest) = row.split_at(cols);
        let (scales, sums) = rest.split_at(cols / 32 * 4);
        Q8_1Row { quants: quants.as_chunks().0, scales: scales.as_chunks().0, sums: sums.as_chunks().0 }
    }

    /// The quants of block `i`, as raw bytes.
    pub(crate) fn quants(&self, i: usize) -> &'a [u8; 32] {
        &self.quants[i]
    }

    pub(crate) fn scale(&self, i: usize) -> f32 {
        f32::from_le_bytes(self.scales[i])
    }

    pub(crate) fn sum(&self, i: usize) -> i16 {
        i16::from_le_bytes(self.sums[i])
    }

    /// Blocks `first..first + N`.
    pub(crate) fn chunk<const N: usize>(&self, first: usize) -> Q8_1Chunk<'a, N> {
        let fits = "the chunk lies inside the row";
        Q8_1Chunk {
            quants: self.quants[first..].first_chunk().expect(fits),
            scales: self.scales[first..].first_chunk().expect(fits),
            sums: self.sums[first..].first_chunk().expect(fits),
        }
    }
}

/// `N` consecutive blocks of a Q8_1 row, as raw bytes.
pub(crate) struct Q8_1Chunk<'a, const N: usize> {
    pub(crate) quants: &'a [[u8; 32]; N],
    pub(crate) scales: &'a [[u8; 4]; N],
    pub(crate) sums: &'a [[u8; 2]; N],
}

/// A Q8_K row by its blocks of 256.
pub(crate) struct Q8KRow<'a> {
    quants: &'a [[u8; 256]],
    scales: &'a [[u8; 4]],
    sums: &'a [[u8; 32]],
}

impl<'a> Q8KRow<'a> {
    pub(crate) fn new(row: &'a [u8], cols: usize) -> Q8KRow<'a> {
        let (quants, rest) = row.split_at(cols);
        let (scales, sums) = rest.split_at(cols / 256 * 4);
        Q8KRow { quants: quants.as_chunks().0, scales: scales.as_chunks().0, sums: sums.as_chunks().0 }
    }

    /// The quants of block `i`, as raw bytes.
    pub(crate) fn quants(&self, i: usize) -> &'a [u8; 256] {
        &self.quants[i]
    }

    pub(crate) fn scale(&self, i: usize) -> f32 {
        f32::from_le_bytes(self.scales[i])
    }

    /// The sums of block `i`, as raw bytes.
    pub(crate) fn sum_bytes(&self, i: usize) -> &'a [u8; 32] {
        &self.sums[i]
    }

    /// The sums of the sixteen runs of 16 quants of block `i`.
    pub(crate) fn sums(&self, i: usize) -> [i16; 16] {
        let bytes = self.sums[i].as_chunks().0;
        std::array::from_fn(|g| i16::from_le_bytes(bytes[g]))
    }
}

/// A quantised row under construction, by its parts.
pub(crate) struct RowParts<'a> {
    pub(crate) quants: &'a mut [u8],
    pub(crate) scales: &'a mut [[u8; 4]],
    pub(crate) sums: &'a mut [[u8; 2]],
}

/// Splits an output row of `cols` values into its parts; `block` is the number of values per scale.
pub(crate) fn row_parts(row: &mut [u8], cols: usize, block: usize) -> RowParts<'_> {
    let (quants, rest) = row.split_at_mut(cols);
    let (scales, rest) = rest.split_at_mut(cols / block * 4);
    // A sum for every 32 values, or for every 16 where a block is larger.
    let (sums, padding) = rest.split_at_mut(if block == 32 { cols / 16 } else { cols / 8 });
    padding.fill(0);
    RowParts { quants, scales: scales.as_chunks_mut().0, sums: sums.as_chunks_mut().0 }
}

/// What a Q8_1 block with this largest magnitude is multiplied with before and after rounding: `(1 / scale, scale)`.
pub(crate) fn q8_1_scale(largest: f32) -> (f32, f32) {
    let scale = largest / 127.0;
    usable(1.0 / scale, scale, largest)
}

/// As [`q8_1_scale`] for a Q8_K block whose value of largest magnitude is `extreme`; ggml maps that value to -127.
pub(crate) fn q8_k_scale(extreme: f32) -> (f32, f32) {
    let inverse = -127.0 / extreme;
    usable(inverse, 1.0 / inverse, extreme)
}

/// Replaces scales that would spoil the block: see the module's documentation.
fn usable(inverse: f32, scale: f32, extreme: f32) -> (f32, f32) {
    if !extreme.is_finite() {
        (0.0, f32::NAN)
    } else if !inverse.is_finite() {
        (0.0, 0.0)
    } else {
        (inverse, scale)
    }
}

/// The value of largest magnitude, the first of equals. NaN counts as larger than infinity.
fn extreme(x: &[f32]) -> f32 {
    let mut found = 0.0f32;
    for &v in x {
        // The bit patterns of magnitudes are ordered as the magnitudes are, with NaN above all.
        if v.abs().to_bits() > found.abs().to_bits() {
            found = v;
        }
    }
    found
}

/// `x * inverse`, rounded to the nearest byte, ties to even. A zero `inverse` marks a block to be zeroed.
fn quant(x: f32, inverse: f32) -> i8 {
    if inverse == 0.0 {
        return 0;
    }
    // `as` saturates, so 127.00001 is 127 and never -128.
    ((x * inverse).round_ties_even() as i8).max(-127)
}

/// Fills `quants` and `sums` (one per run of equal length) from the scaled values.
fn write_quants(x: &[f32], inverse: f32, quants: &mut [u8], sums: &mut [[u8; 2]]) {
    let run = x.len() / sums.len();
    for ((x, quants), sum) in x.chunks_exact(run).zip(quants.chunks_exact_mut(run)).zip(sums) {
        let mut total = 0i16;
        for (&x, q) in x.iter().zip(quants) {
            let value = quant(x, inverse);
            *q = value.cast_unsigned();
            total += i16::from(value);
        }
        *sum = total.to_le_bytes();
    }
}

/// Quantises a row to Q8_1: per 32 values the scale `max|x| / 127`, quants rounded to the nearest, and their sum.
pub(crate) fn quantise_q8_1(x: &[f32], out: &mut [u8]) {
    let parts = row_parts(out, x.len(), 32);
    for (i, x) in x.as_chunks::<32>().0.iter().enumerate() {
        let (inverse, scale) = q8_1_scale(extreme(x).abs());
        parts.scales[i] = scale.to_le_bytes();
        write_quants(x, inverse, &mut parts.quants[32 * i..32 * i + 32], &mut parts.sums[i..i + 1]);
    }
}

/// Quantises a row to Q8_K: per 256 values the scale that maps the extreme value to -127, and sums per 16.
pub(crate) fn quantise_q8_k(x: &[f32], out: &mut [u8]) {
    let parts = row_parts(out, x.len(), 256);
    for (i, x) in x.as_chunks::<256>().0.iter().enumerate() {
        let (inverse, scale) = q8_k_scale(extreme(x));
        parts.scales[i] = scale.to_le_bytes();
        write_quants(x, inverse, &mut parts.quants[256 * i..256 * i + 256], &mut parts.sums[16 * i..16 * i + 16]);
    }
}

/// Writes a row of unquantised activations, with zeros behind.
pub(crate) fn store_f32(x: &[f32], out: &mut [u8]) {
    let (values, rest) = out.split_at_mut(size_of_val(x));
    for (bytes, x) in values.as_chunks_mut().0.iter_mut().zip(x) {
        *bytes = x.to_le_bytes();
    }
    rest.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q8_1(x: &[f32]) -> Vec<u8> {
        let mut out = vec![0xAA; ActivationType::Q8_1.row_bytes(x.len())];
        quantise_q8_1(x, &mut out);
        out
    }

    fn q8_k(x: &[f32]) -> Vec<u8> {
        let mut out = vec![0xAA; ActivationType::Q8_K.row_bytes(x.len())];
        quantise_q8_k(x, &mut out);
        out
    }

    #[test]
    fn q8_1_rounds_to_the_nearest_and_sums() {
        let x: Vec<f32> = (0..64).map(|i| (i as f32 - 40.0) * 0.37).collect();
        let bytes = q8_1(&x);
        let row = Q8_1Row::new(&bytes, 64);
        for block in 0..2 {
            let scale = row.scale(block);
            let mut sum = 0;
            for (x, q) in x[32 * block..].iter().zip(row.quants(block)) {
                let q = i16::from(q.cast_signed());
                assert!((x - scale * f32::from(q)).abs() <= scale * 0.5001);
                sum += q;
            }
            assert_eq!(row.sum(block), sum);
        }
        assert_eq!(row.scale(0), 40.0 * 0.37 / 127.0);
    }

    #[test]
    fn q8_k_maps_the_extreme_value_to_minus_127() {
        let mut x = vec![0.5; 256];
        x[100] = 4.0;
        x[200] = -4.0;
        let bytes = q8_k(&x);
        let row = Q8KRow::new(&bytes, 256);
        assert_eq!(row.quants(0)[100].cast_signed(), -127, "the first of equal magnitudes decides the sign");
        assert_eq!(row.quants(0)[200].cast_signed(), 127);
        assert!((row.scale(0) + 4.0 / 127.0).abs() < 1e-8);
        assert_eq!(row.sums(0)[0], -16 * 16);
    }

    #[test]
    fn zero_and_vanishing_blocks_have_scale_zero() {
        for value in [0.0, -0.0, 1e-44, f32::MIN_POSITIVE * 0.01] {
            assert_eq!(q8_1(&[value; 32]), [0; 832], "{value}");
            assert_eq!(q8_k(&[value; 256]), [0; 832], "{value}");
        }
    }

    #[test]
    fn blocks_with_broken_numbers_have_a_nan_scale_and_no_quants() {
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1.0; 256];
            x[7] = broken;
            let (small, large) = (q8_1(&x), q8_k(&x));
            let (small, large) = (Q8_1Row::new(&small, 256), Q8KRow::new(&large, 256));
            assert!(small.scale(0).is_nan() && !small.scale(1).is_nan() && large.scale(0).is_nan());
            assert_eq!(small.quants(0), &[0; 32]);
            assert_eq!(large.quants(0), &[0; 256]);
            assert_eq!((small.sum(0), small.sum(1)), (0, 32 * 127));
        }
    }
}
