//! The table of tensor formats: names, ggml ids, block shapes and which activation type each is multiplied with.

use crate::formats::FORMATS;

/// A tensor type of a GGUF file that this program computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types)]
pub enum QuantType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single-precision float.
    BF16,
    /// 4-bit, one scale per 32 weights.
    Q4_0,
    /// 4-bit, scale and minimum per 32 weights.
    Q4_1,
    /// 5-bit, one scale per 32 weights.
    Q5_0,
    /// 5-bit, scale and minimum per 32 weights.
    Q5_1,
    /// 8-bit, one scale per 32 weights.
    Q8_0,
    /// 4-bit super-blocks of 256 weights with 6-bit scales and minima per 32.
    Q4_K,
    /// 5-bit super-blocks of 256 weights with 6-bit scales and minima per 32.
    Q5_K,
    /// 6-bit super-blocks of 256 weights with 8-bit scales per 16.
    Q6_K,
}

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

/// One row of the format table.
#[derive(Debug)]
pub struct Format {
    /// The type this row describes.
    pub quant: QuantType,
    /// The name that users and file names use, such as `Q4_K`.
    pub name: &'static str,
    /// The number that stands for the type in a GGUF tensor table.
    pub ggml_id: u32,
    /// Weights per block.
    pub block_len: usize,
    /// Bytes per block.
    pub block_bytes: usize,
    /// What the other operand of a dot product must be quantised to.
    pub activation: ActivationType,
    /// Writes the weights of a whole row of blocks as f32.
    pub(crate) dequantise: fn(&[u8], &mut [f32]),
    /// The dot product of a weight row and an activation row of this many columns.
    pub(crate) dot: fn(&[u8], &[u8], usize) -> f32,
}

impl QuantType {
    /// The format table's row of this type.
    pub fn format(self) -> &'static Format {
        &FORMATS[self as usize]
    }

    /// All formats, in the order of [`QuantType`].
    pub fn formats() -> &'static [Format] {
        &FORMATS
    }

    /// The type with this number in a GGUF tensor table, if it is in the table of formats.
    pub fn from_ggml_id(id: u32) -> Option<QuantType> {
        FORMATS.iter().find(|f| f.ggml_id == id).map(|f| f.quant)
    }

    /// Bytes of a row of `cols` weights, or `None` if `cols` is no multiple of the block length or the size overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let format = self.format();
        if !cols.is_multiple_of(format.block_len) {
            return None;
        }
        (cols / format.block_len).checked_mul(format.block_bytes)
    }
}

impl ActivationType {
    /// Bytes of one activation row of `cols` values.
    ///
    /// `F32` is `[f32; cols]` and 64 bytes more. The quantised types take 768 bytes for every 512 values that begin, which is room for what
    /// any tier keeps, and 64 more. Without the 64 the same part of many rows would fall into few sets of a cache. The scalar tier's layout, little-endian and followed by zeros: `Q8_1` is `[i8; cols]`,
    /// `[f32 scale; cols/32]`, `[i16 sum; cols/32]`; `Q8_K` is `[i8; cols]`, `[f32 scale; cols/256]`, `[i16 sum; cols/16]`.
    /// Panics if `cols` is no multiple of the activation's block length (1, 32, 256).
    pub fn row_bytes(self, cols: usize) -> usize {
        match self {
            ActivationType::F32 => cols * 4 + 64,
            ActivationType::Q8_1 => {
                assert!(cols.is_multiple_of(32), "a Q8_1 row of {cols} values is no whole number of blocks");
                quantised_row_bytes(cols)
            }
            ActivationType::Q8_K => {
                assert!(cols.is_multiple_of(256), "a Q8_K row of {cols} values is no whole number of blocks");
                quantised_row_bytes(cols)
            }
        }
    }
}

/// See [`ActivationType::row_bytes`].
fn quantised_row_bytes(cols: usize) -> usize {
    cols.div_ceil(512) * 768 + 64
}
