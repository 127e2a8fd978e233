//! The matrix products of a tier, by format.

use crate::formats::table::QuantType;
use crate::ops::matmul::{MatmulArgs, matmul};

/// Multiplies the operands, whose lengths agree.
pub(crate) type MatmulFn = fn(&mut MatmulArgs<'_>);

/// A product for every format.
#[derive(Clone, Copy)]
pub(crate) struct Products([MatmulFn; QuantType::COUNT]);

impl Products {
    /// The scalar product, which multiplies every format.
    pub(crate) const SCALAR: Products = Products::all(matmul);

    /// One product for every format.
    pub(crate) const fn all(product: MatmulFn) -> Products {
        Products([product; QuantType::COUNT])
    }

    /// These products, except for those of a tier's own.
    pub(crate) const fn with(mut self, own: &[(QuantType, MatmulFn)]) -> Products {
        let mut i = 0;
        while i < own.len() {
            self.0[own[i].0 as usize] = own[i].1;
            i += 1;
        }
        self
    }

    /// Multiplies weights of a format.
    pub(crate) fn multiply(&self, quant: QuantType, args: &mut MatmulArgs<'_>) {
        (self.0[quant as usize])(args);
    }
}
