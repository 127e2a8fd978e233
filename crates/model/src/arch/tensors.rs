//! An architecture's tensors: each is claimed with the shape it must have, and none is left over.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::error::ModelError;
use crate::gguf::container::Gguf;
use crate::gguf::tensor::TensorInfo;
use crate::spec::{Linear, Matrix, Part, TensorId, Vector};

/// Whether a linear step has a bias in an architecture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bias {
    /// A file without it is damaged.
    Required,
    /// Used where the file has it.
    Optional,
}

/// A file's tensors by name, with a record of which were claimed.
pub(super) struct Tensors<'a> {
    arch: &'static str,
    by_name: HashMap<&'a str, (TensorId, &'a TensorInfo)>,
    claimed: RefCell<Vec<bool>>,
}

impl<'a> Tensors<'a> {
    pub(super) fn new(arch: &'static str, gguf: &'a Gguf) -> Tensors<'a> {
        let tensors = gguf.tensors();
        let ids = (0..).map(TensorId);
        let by_name = ids.zip(tensors).map(|(id, t)| (t.name.as_str(), (id, t))).collect();
        Tensors { arch, by_name, claimed: RefCell::new(vec![false; tensors.len()]) }
    }

    /// Whether the file has this tensor; does not claim it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The number of rows of a matrix that has to be there; does not claim it.
    pub(super) fn rows(&self, name: &str) -> Result<usize, ModelError> {
        self.by_name.get(name).map(|(_, t)| t.rows()).ok_or_else(|| self.missing(name))
    }

    /// Claims a matrix of `rows` by `cols`.
    pub(super) fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        let (tensor, info) = self.claim(name)?;
        check_shape(info, &[cols, rows])?;
        Ok(Matrix { part: Part::whole(tensor), quant: info.quant, rows, cols })
    }

    /// Claims a vector of `len`.
    pub(super) fn vector(&self, name: &str, len: usize) -> Result<Vector, ModelError> {
        let (tensor, info) = self.claim(name)?;
        check_shape(info, &[len])?;
        Ok(Vector { tensor, len })
    }

    /// Claims `{stem}.weight` and, as `bias` has it, `{stem}.bias`.
    pub(super) fn linear(&self, stem: &str, rows: usize, cols: usize, bias: Bias) -> Result<Linear, ModelError> {
        let weight = self.matrix(&format!("{stem}.weight"), rows, cols)?;
        let name = format!("{stem}.bias");
        let wanted = bias == Bias::Required || self.has(&name);
        let bias = if wanted { Some(self.vector(&name, rows)?) } else { None };
        Ok(Linear { weight, bias })
    }

    /// Fails on a tensor that nothing has claimed: it would be left out of the arithmetic.
    pub(super) fn finish(&self) -> Result<(), ModelError> {
        let claimed = self.claimed.borrow();
        let mut left: Vec<_> = self.by_name.values().filter(|(id, _)| !claimed[id.0 as usize]).collect();
        left.sort_by_key(|(id, _)| *id);
        let Some((_, first)) = left.first() else { return Ok(()) };
        Err(ModelError::Tensor {
            name: first.name.clone(),
            problem: format!(
                "is not part of architecture {:?} as this version knows it ({} such tensors); leaving it out would \
                 give wrong answers",
                self.arch,
                left.len()
            ),
        })
    }

    fn claim(&self, name: &str) -> Result<(TensorId, &'a TensorInfo), ModelError> {
        let &(id, info) = self.by_name.get(name).ok_or_else(|| self.missing(name))?;
        self.claimed.borrow_mut()[id.0 as usize] = true;
        Ok((id, info))
    }

    fn missing(&self, name: &str) -> ModelError {
        ModelError::Tensor {
            name: name.to_owned(),
            problem: format!("is missing, but architecture {:?} needs it", self.arch),
        }
    }
}

/// Shapes are in the file's order, the row length first; trailing ones are as good as absent.
fn check_shape(info: &TensorInfo, expected: &[usize]) -> Result<(), ModelError> {
    let dims = info.shape.iter().copied().chain(std::iter::repeat(1)).take(info.shape.len().max(expected.len()));
    let wanted = expected.iter().map(|&d| d as u64).chain(std::iter::repeat(1));
    if dims.zip(wanted).all(|(have, want)| have == want) {
        return Ok(());
    }
    Err(ModelError::Tensor {
        name: info.name.clone(),
        problem: format!("has shape {:?}, but the metadata asks for {expected:?}", info.shape),
    })
}
