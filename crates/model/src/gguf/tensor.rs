//! One row of the tensor table, checked.
//!
//! [`TensorInfo`] describes a tensor and locates its bytes. One from [`super::Gguf`] lies inside its file, overlaps no other
//! and has rows of whole blocks. The `store` crate reads its bytes; which tensors a model needs is up to its
//! architecture.

use kernels::QuantType;

/// A tensor of a GGUF file: its name, type, shape and place.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How its weights are stored.
    pub quant: QuantType,
    /// Its 1 to 4 dimensions in ggml's order: `shape[0]` is the row length.
    pub shape: Vec<u64>,
    /// Its file, an index into [`files`](super::Gguf::files).
    pub file: u16,
    /// Where its data starts in that file, in bytes.
    pub offset: u64,
    /// The length of its data in bytes.
    pub len: u64,
}

impl TensorInfo {
    /// The number of rows: the product of all dimensions except the first.
    pub fn rows(&self) -> usize {
        self.shape.iter().skip(1).map(|&dim| to_usize(dim)).product()
    }

    /// The weights of a row: the first dimension.
    pub fn cols(&self) -> usize {
        self.shape.first().map_or(1, |&dim| to_usize(dim))
    }
}

fn to_usize(dim: u64) -> usize {
    usize::try_from(dim).expect("the tensor's bytes were counted in usize when it was read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_all_dimensions_but_the_first() {
        let tensor = |shape: &[u64]| TensorInfo {
            name: "t".to_owned(),
            quant: QuantType::F32,
            shape: shape.to_vec(),
            file: 0,
            offset: 0,
            len: 0,
        };
        assert_eq!((tensor(&[5]).cols(), tensor(&[5]).rows()), (5, 1));
        assert_eq!((tensor(&[5, 2, 3, 4]).cols(), tensor(&[5, 2, 3, 4]).rows()), (5, 24));
    }
}
