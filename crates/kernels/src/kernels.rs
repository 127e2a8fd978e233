//! The doors to the arithmetic: one set of implementations per instruction-set tier, behind checked methods.
//!
//! A [`Kernels`] is a table of function pointers. The scalar table is always there; the others live in `simd/` and are
//! handed out only on a processor that can run them, which is what makes their functions safe to call. Each method
//! checks every length before it calls through the table, so the code behind may trust them. A tier lists what it speeds
//! up and inherits the rest from the scalar table. [`crate::available`] picks a table for the processor.

use crate::activation::{self, ActivationType};
use crate::formats::table::{Format, QuantType};
use crate::ops::attend::args::AttendArgs;
use crate::ops::attend::scalar::attend;
use crate::ops::gate::{Activation, gate};
use crate::ops::kv::{KvType, store_kv};
use crate::ops::matmul::MatmulArgs;
use crate::ops::rms_norm::rms_norm_in_place;
use crate::ops::rope::{RopeLayout, rope};
use crate::ops::{add, scale, soft_cap};
use crate::products::Products;

/// Batches of up to this many tokens have products whose bits do not depend on their company.
pub const FEW_TOKENS: usize = 16;

/// One implementation of every operation for one instruction-set tier.
pub struct Kernels {
    pub(crate) name: &'static str,
    pub(crate) products: Products,
    pub(crate) dequantise: fn(&'static Format, &[u8], &mut [f32]),
    pub(crate) quantise_q8_1: fn(&[f32], &mut [u8]),
    pub(crate) quantise_q8_k: fn(&[f32], &mut [u8]),
    pub(crate) rms_norm_in_place: fn(&mut [f32], &[f32], f32),
    pub(crate) rope: fn(&mut [f32], &[[f32; 2]], RopeLayout),
    pub(crate) gate: fn(Activation, &mut [f32], &[f32]),
    pub(crate) add: fn(&mut [f32], &[f32]),
    pub(crate) store_kv: fn(KvType, &[f32], &mut [u8]),
    pub(crate) attend: fn(&mut AttendArgs<'_>),
}

/// The scalar entries, from which every tier starts.
pub(crate) const SCALAR: Kernels = Kernels {
    name: "scalar",
    products: Products::SCALAR,
    dequantise: |format, row, out| (format.dequantise)(row, out),
    quantise_q8_1: activation::quantise_q8_1,
    quantise_q8_k: activation::quantise_q8_k,
    rms_norm_in_place,
    rope,
    gate,
    add: add::add,
    store_kv,
    attend,
};

impl Kernels {
    /// The name of this set.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Writes the weights of one row of blocks as f32.
    ///
    /// Shapes: `out` is `[cols]`, `row` has `quant.row_bytes(cols)` bytes. Panics if the lengths disagree.
    pub fn dequantise(&self, quant: QuantType, row: &[u8], out: &mut [f32]) {
        assert_eq!(Some(row.len()), quant.row_bytes(out.len()), "dequantise {quant:?}: row bytes for {}", out.len());
        (self.dequantise)(quant.format(), row, out);
    }

    /// Writes one row of activations in the form that a weight format is multiplied with.
    ///
    /// Shapes: `x` is `[cols]`, `out` has `activation.row_bytes(cols)` bytes; [`ActivationType`] tells what is in
    /// it. Quants, scales and sums are the same for all tiers, but each arranges them as its products want them: only
    /// the tier that wrote a row can read it. A block with a NaN or an infinity gets a NaN scale.
    /// Panics if the lengths disagree or `cols` ends inside a block.
    pub fn quantise(&self, activation: ActivationType, x: &[f32], out: &mut [u8]) {
        assert_eq!(out.len(), activation.row_bytes(x.len()), "quantise {activation:?}: bytes for {}", x.len());
        match activation {
            ActivationType::F32 => activation::store_f32(x, out),
            ActivationType::Q8_1 => (self.quantise_q8_1)(x, out),
            ActivationType::Q8_K => (self.quantise_q8_k)(x, out),
        }
    }

    /// Multiplies weight rows with activation rows: `out[t * n + r]` is the dot product of row `r` and token `t`.
    ///
    /// Each value has the same bits however many rows and tokens the call has and wherever they stand in it, as long as
    /// there are at most [`FEW_TOKENS`]. With more of them values may be rounded in another order: they are as near to the
    /// exact product of the quantised operands, and again the same bits in every such company.
    /// Shapes: `weights` is `[n, cols]` in `quant`, `activations` is `[m, cols]` in `quant.format().activation`, `out`
    /// is `[m, n]`; `n` and `m` follow from the lengths.
    /// Panics if `cols` is 0 or no whole number of blocks, if a matrix ends inside a row or if `out` is not `n * m`.
    pub fn matmul(&self, quant: QuantType, cols: usize, weights: &[u8], activations: &[u8], out: &mut [f32]) {
        let is_long = activations.len() > FEW_TOKENS * quant.format().activation.row_bytes(cols);
        self.multiply(is_long, quant, cols, weights, activations, out);
    }

    /// As [`Kernels::matmul`], with the bits that it would give among more than [`FEW_TOKENS`] tokens. For the last of a
    /// long prompt.
    pub fn matmul_long(&self, quant: QuantType, cols: usize, weights: &[u8], activations: &[u8], out: &mut [f32]) {
        self.multiply(true, quant, cols, weights, activations, out);
    }

    fn multiply(
        &self,
        is_long: bool,
        quant: QuantType,
        cols: usize,
        weights: &[u8],
        activations: &[u8],
        out: &mut [f32],
    ) {
        let format = quant.format();
        assert!(cols > 0, "matmul {quant:?}: no columns");
        let row_bytes = quant.row_bytes(cols).expect("matmul: columns are whole blocks");
        let n_rows = whole_rows(weights, row_bytes, "weights");
        let n_tokens = whole_rows(activations, format.activation.row_bytes(cols), "activations");
        assert_eq!(Some(out.len()), n_rows.checked_mul(n_tokens), "matmul: {n_rows} rows by {n_tokens} tokens");
        if !out.is_empty() {
            let mut args = MatmulArgs { format, cols, n_rows, n_tokens, is_long, weights, activations, out };
            self.products.multiply(quant, &mut args);
        }
    }

    /// Normalises `x` by its root mean square, then scales by `weight`.
    ///
    /// Shapes: `x`, `weight`, `out` are `[dim]`; `eps` is added to the mean square. Sums in f64.
    /// Panics if the lengths disagree. Source: Zhang & Sennrich 2019, eq. 4.
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "rms_norm: lengths differ");
        out.copy_from_slice(x);
        self.rms_norm_in_place(out, weight, eps);
    }

    /// As [`Kernels::rms_norm`], with the same bits, where `x` is replaced.
    pub fn rms_norm_in_place(&self, x: &mut [f32], weight: &[f32], eps: f32) {
        assert_eq!(x.len(), weight.len(), "rms_norm: lengths differ");
        (self.rms_norm_in_place)(x, weight, eps);
    }

    /// Rotates pairs of the first `2 * cos_sin.len()` dimensions of a head by the given angles, in place.
    ///
    /// Panics if the head is shorter than that. Source: Su et al. 2021, eq. 34.
    pub fn rope(&self, head: &mut [f32], cos_sin: &[[f32; 2]], layout: RopeLayout) {
        assert!(head.len() / 2 >= cos_sin.len(), "rope: {} pairs in {} dimensions", cos_sin.len(), head.len());
        (self.rope)(head, cos_sin, layout);
    }

    /// Replaces `gate` by `activation(gate) * up`.
    ///
    /// Panics if the lengths differ. Source: Shazeer 2020, eq. 6.
    pub fn gate(&self, activation: Activation, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len(), "gate: lengths differ");
        (self.gate)(activation, gate, up);
    }

    /// Multiplies each `x` by `factor`.
    pub fn scale(&self, x: &mut [f32], factor: f32) {
        scale::scale(x, factor);
    }

    /// Replaces each `x` by `cap * tanh(x / cap)`. All tiers give the same bits.
    ///
    /// Source: Gemma 2 report, section 2.
    pub fn soft_cap(&self, x: &mut [f32], cap: f32) {
        soft_cap::soft_cap(x, cap);
    }

    /// Adds `y` to `x`.
    ///
    /// Panics if the lengths differ.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "add: lengths differ");
        (self.add)(x, y);
    }

    /// Writes keys or values in the type of the cache.
    ///
    /// Panics if `out` is not `kv_type.row_bytes(x.len())` bytes or `x` ends inside a block. All tiers write the same bytes, NaN payloads aside.
    pub fn store_kv(&self, kv_type: KvType, x: &[f32], out: &mut [u8]) {
        assert!(kv_type.holds(x.len()), "store_kv: {} numbers end inside a block", x.len());
        assert_eq!(out.len(), kv_type.row_bytes(x.len()), "store_kv: bytes for {}", x.len());
        (self.store_kv)(kv_type, x, out);
    }

    /// Adds a run of cached positions to what a block of queries has gathered: see [`AttendArgs`] and
    /// [`PartLayout`](crate::PartLayout).
    ///
    /// Over runs from position 0 on, that makes `softmax(scale * q . k) . v`. A part has the same bits whatever other
    /// queries share the call and however a run is cut at multiples of [`AttendArgs::TILE`].
    /// Panics if a slice does not hold what the dimensions say.
    pub fn attend(&self, mut args: AttendArgs<'_>) {
        args.check();
        (self.attend)(&mut args);
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({})", self.name)
    }
}

/// How many rows of `row_bytes` bytes `matrix` has.
fn whole_rows(matrix: &[u8], row_bytes: usize, what: &str) -> usize {
    assert_eq!(matrix.len() % row_bytes, 0, "matmul: {what} end inside a row of {row_bytes} bytes");
    matrix.len() / row_bytes
}
