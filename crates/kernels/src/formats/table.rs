//! The table of tensor formats: one row per type with its name, its ggml id and its blocks.

use super::blocks::Blocks;
use super::{float, iq4_nl, q4, q4_k, q5, q5_k, q6_k, q8_0};
use crate::activation::ActivationType;

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

/// Makes the enumeration and the table of rows `TYPE = GGML_ID, BLOCKS;`.
macro_rules! quant_types {
    ($($(#[$doc:meta])* $name:ident = $ggml_id:literal, $blocks:path;)*) => {
        /// A tensor type of a GGUF file that this program computes with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types)]
        pub enum QuantType {
            $($(#[$doc])* $name,)*
        }

        /// All formats, in the order of [`QuantType`].
        static FORMATS: [Format; QuantType::COUNT] =
            [$(Format::new(QuantType::$name, stringify!($name), $ggml_id, $blocks)),*];

        impl QuantType {
            /// The number of types.
            pub(crate) const COUNT: usize = [$($ggml_id),*].len();
        }
    };
}

quant_types! {
    /// IEEE 754 single precision.
    F32 = 0, float::F32;
    /// IEEE 754 half precision.
    F16 = 1, float::F16;
    /// The upper half of a single-precision float.
    BF16 = 30, float::BF16;
    /// 4-bit, one scale per 32 weights.
    Q4_0 = 2, q4::Q4_0;
    /// 4-bit, scale and minimum per 32 weights.
    Q4_1 = 3, q4::Q4_1;
    /// 5-bit, one scale per 32 weights.
    Q5_0 = 6, q5::Q5_0;
    /// 5-bit, scale and minimum per 32 weights.
    Q5_1 = 7, q5::Q5_1;
    /// 8-bit, one scale per 32 weights.
    Q8_0 = 8, q8_0::Q8_0;
    /// 4-bit super-blocks of 256 weights with 6-bit scales and minima per 32.
    Q4_K = 12, q4_k::Q4_K;
    /// 5-bit super-blocks of 256 weights with 6-bit scales and minima per 32.
    Q5_K = 13, q5_k::Q5_K;
    /// 6-bit super-blocks of 256 weights with 8-bit scales per 16.
    Q6_K = 14, q6_k::Q6_K;
    /// 4-bit picks from a fixed list of levels, one scale per 32 weights.
    IQ4_NL = 20, iq4_nl::IQ4_NL;
}

impl Format {
    const fn new(quant: QuantType, name: &'static str, ggml_id: u32, blocks: Blocks) -> Format {
        let Blocks { len: block_len, bytes: block_bytes, activation, dequantise, dot } = blocks;
        Format { quant, name, ggml_id, block_len, block_bytes, activation, dequantise, dot }
    }
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

    /// Bytes of a row of `cols` weights, or `None` if `cols` is not a multiple of the block length or the size overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let format = self.format();
        if !cols.is_multiple_of(format.block_len) {
            return None;
        }
        (cols / format.block_len).checked_mul(format.block_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_find_their_rows() {
        for format in QuantType::formats() {
            assert_eq!(format.quant.format().name, format.name);
            assert_eq!(QuantType::from_ggml_id(format.ggml_id), Some(format.quant));
            assert_eq!(format!("{:?}", format.quant), format.name);
        }
        assert_eq!(QuantType::from_ggml_id(4), None);
    }

    #[test]
    fn row_bytes_refuses_partial_blocks_and_overflow() {
        assert_eq!(QuantType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(QuantType::Q4_K.row_bytes(500), None);
        assert_eq!(QuantType::F32.row_bytes(usize::MAX / 2), None);
        assert_eq!(ActivationType::Q8_1.row_bytes(64), 832);
        assert_eq!(ActivationType::Q8_K.row_bytes(768), 2 * 768 + 64);
    }
}
