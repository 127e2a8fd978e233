//! The number types of the key-value cache.

use half::f16;

/// The type in which keys and values are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// Half precision: half the memory, an error of at most 2^-11 of each value.
    F16,
    /// Single precision, exact.
    F32,
}

impl KvType {
    /// Bytes of one cached number.
    pub const fn bytes(self) -> usize {
        match self {
            KvType::F16 => 2,
            KvType::F32 => 4,
        }
    }

    /// Bytes of a row of `dim` cached numbers.
    pub const fn row_bytes(self, dim: usize) -> usize {
        dim * self.bytes()
    }

    /// The cached number that starts the bytes `at`.
    pub(crate) fn read(self, bytes: &[u8], index: usize) -> f32 {
        match self {
            KvType::F16 => f16::from_le_bytes(bytes.as_chunks().0[index]).to_f32(),
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
        KvType::F32 => crate::activation::store_f32(x, out),
    }
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
}
