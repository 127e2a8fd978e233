//! The number types of the key-value cache.

use half::f16;

/// The type in which keys and values are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// Half precision: half the memory, an error of at most 2^-11 of each value.
    F16,
    /// Eight bits and a scale for every 32 numbers: about a quarter of the memory of F32, an error of at most 1/254 of the
    /// greatest of the 32. Heads must be a multiple of 32 wide.
    Q8_0,
    /// Single precision, exact.
    F32,
}

/// Numbers that share a scale in Q8_0.
const BLOCK: usize = 32;

/// Bytes of a block of Q8_0: the scale in half precision, then the numbers.
const BLOCK_BYTES: usize = 2 + BLOCK;

impl KvType {
    /// Bytes of a row of `dim` cached numbers.
    pub const fn row_bytes(self, dim: usize) -> usize {
        match self {
            KvType::F16 => dim.saturating_mul(2),
            KvType::Q8_0 => dim.div_ceil(BLOCK).saturating_mul(BLOCK_BYTES),
            KvType::F32 => dim.saturating_mul(4),
        }
    }

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            KvType::F16 => "f16",
            KvType::Q8_0 => "q8_0",
            KvType::F32 => "f32",
        }
    }

    /// Whether rows of `dim` numbers can be stored.
    pub const fn holds(self, dim: usize) -> bool {
        !matches!(self, KvType::Q8_0) || dim.is_multiple_of(BLOCK)
    }

    /// The cached number at `index` of a row.
    pub(crate) fn read(self, bytes: &[u8], index: usize) -> f32 {
        match self {
            KvType::F16 => f16::from_le_bytes(bytes.as_chunks().0[index]).to_f32(),
            KvType::Q8_0 => {
                let (scale, quants) = q8_0_block(&bytes.as_chunks().0[index / BLOCK]);
                scale * f32::from(quants[index % BLOCK].cast_signed())
            }
            KvType::F32 => f32::from_le_bytes(bytes.as_chunks().0[index]),
        }
    }
}

/// Writes `x` in the cache's type; halves are rounded to the nearest, ties to even, and overflow to infinity.
pub(crate) fn store_kv(kv_type: KvType, x: &[f32], out: &mut [u8]) {
    match kv_type {
        KvType::F16 => {
            for (bytes, &x) in out.as_chunks_mut().0.iter_mut().zip(x) {
                *bytes = f16::from_f32(x).to_le_bytes();
            }
        }
        KvType::Q8_0 => {
            for (bytes, x) in out.as_chunks_mut().0.iter_mut().zip(x.as_chunks().0) {
                *bytes = block(x);
            }
        }
        KvType::F32 => crate::activation::store_f32(x, out),
    }
}

/// As ggml's Q8_0: the scale is a 127th of the greatest magnitude, rounded to half precision after the numbers were divided
/// by it. A block with a NaN, or with a number too large for a half, has a scale that is not finite, and so has all that
/// is read from it.
fn block(x: &[f32; BLOCK]) -> [u8; BLOCK_BYTES] {
    let has_nan = x.iter().any(|x| x.is_nan());
    let scale = if has_nan { f32::NAN } else { x.iter().fold(0f32, |most, x| most.max(x.abs())) / 127.0 };
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let half = f16::from_f32(scale);
    let mut bytes = [0; BLOCK_BYTES];
    bytes[..2].copy_from_slice(&half.to_le_bytes());
    for (byte, x) in bytes[2..].iter_mut().zip(x) {
        *byte = if half.is_finite() { ((x * inverse).round() as i8).cast_unsigned() } else { 127 };
    }
    bytes
}

/// The scale of a block of Q8_0, and its numbers.
#[inline(always)]
pub(crate) fn q8_0_block(block: &[u8; BLOCK_BYTES]) -> (f32, &[u8; BLOCK]) {
    let (scale, quants) = block.split_first_chunk().expect("a block has a scale");
    (widen_scale(u16::from_le_bytes(*scale)), quants.first_chunk().expect("and 32 numbers"))
}

/// A half that is not negative, as f32. `half` asks at every number what the processor can do, which took most of the time.
#[inline(always)]
fn widen_scale(half: u16) -> f32 {
    const INFINITY: u16 = 0x7C00;
    let bits = u32::from(half) << 13;
    match half >= INFINITY {
        true => f32::from_bits(bits | 0x7F80_0000),
        // The exponents' offsets are 15 and 127; the product is exact, for subnormal halves as well.
        false => f32::from_bits(bits) * f32::from_bits((127 + 127 - 15) << 23),
    }
}

/// Writes a row of Q8_0 as f32 with zeros behind. The same operations on every processor, so the same bits.
#[inline(always)]
pub(crate) fn widen_q8_0(row: &[u8], out: &mut [f32]) {
    let (blocks, _) = row.as_chunks::<BLOCK_BYTES>();
    let (outs, _) = out.as_chunks_mut::<BLOCK>();
    for (block, out) in blocks.iter().zip(outs) {
        let (scale, quants) = q8_0_block(block);
        for (out, quant) in out.iter_mut().zip(quants) {
            *out = scale * f32::from(quant.cast_signed());
        }
    }
    out[blocks.len() * BLOCK..].fill(0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_numbers_read_back() {
        let x = [1.5, -65504.0, 1e-7, 1e30, 0.1];
        let mut out = [0; 20];
        store_kv(KvType::F32, &x, &mut out);
        for (i, &x) in x.iter().enumerate() {
            assert_eq!(KvType::F32.read(&out, i), x);
        }
        store_kv(KvType::F16, &x, &mut out[..10]);
        let read: Vec<f32> = (0..5).map(|i| KvType::F16.read(&out, i)).collect();
        assert_eq!(read, [1.5, -65504.0, 1.1920929e-7, f32::INFINITY, 0.099975586]);
    }

    #[test]
    fn scales_are_those_of_half() {
        for half in 0..=0x7FFF {
            let (want, got) = (f16::from_bits(half).to_f32(), widen_scale(half));
            assert!(want.to_bits() == got.to_bits() || want.is_nan() && got.is_nan(), "{half:x}: {want} {got}");
        }
    }

    #[test]
    fn q8_0_is_near_and_tells_damage() {
        let x: [f32; 64] = std::array::from_fn(|i| (i as f32 * 0.7).sin() * if i < 32 { 3.0 } else { 1e-3 });
        let mut out = [0; 68];
        store_kv(KvType::Q8_0, &x, &mut out);
        let mut wide = [9.0; 80];
        widen_q8_0(&out, &mut wide);
        for (i, x) in x.iter().enumerate() {
            let read = KvType::Q8_0.read(&out, i);
            // Half a step, and 127 times what rounding a small scale to half precision costs.
            let allowed = if i < 32 { 3.0 } else { 1e-3 } / 250.0 + 127.0 * 2f32.powi(-25);
            assert!((read - x).abs() <= allowed, "{i}: {read} for {x}");
            assert_eq!(read.to_bits(), wide[i].to_bits());
        }
        assert_eq!(wide[64..], [0.0; 16]);
        for bad in [f32::NAN, f32::INFINITY, 1e30] {
            let mut x = x;
            x[5] = bad;
            store_kv(KvType::Q8_0, &x, &mut out);
            assert!((0..32).all(|i| !KvType::Q8_0.read(&out, i).is_finite()));
            assert!((32..64).all(|i| KvType::Q8_0.read(&out, i).is_finite()));
        }
    }
}
