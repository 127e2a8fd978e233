//! The small vectors of a model, such as norms and biases: resident, looked up by tensor.

use std::collections::HashMap;

use model::{Linear, ModelSpec, TensorId, Vector};
use store::{StoreError, WeightStore};

use crate::ops::{Device, Projection};

/// A model's small vectors on the device.
pub(crate) struct Vectors<T>(HashMap<TensorId, T>);

impl<T> Vectors<T> {
    /// Reads all that a model has.
    ///
    /// Errors: a read failed.
    pub(crate) fn read<D: Device<Tensor = T>>(
        spec: &ModelSpec,
        store: &WeightStore,
        device: &D,
    ) -> Result<Vectors<T>, StoreError> {
        let read = |v: Vector| Ok((v.tensor, device.vector(store.read_vector(spec, v)?)));
        spec.vectors().map(read).collect::<Result<_, _>>().map(Vectors)
    }

    /// The values of a vector. Panics if the model does not have it.
    pub(crate) fn get(&self, vector: Vector) -> &T {
        &self.0[&vector.tensor]
    }

    /// The product with a step's matrix and its bias.
    pub(crate) fn product<'a>(&'a self, linear: &Linear, out: &'a mut T) -> Projection<'a, T> {
        Projection { weight: linear.weight, bias: linear.bias.map(|bias| self.get(bias)), out }
    }
}
