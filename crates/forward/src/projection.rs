//! Matrix products with weights that come slab by slab: from the device, where it has kept them, or from the store.

use kernels::ActivationType;
use model::{Matrix, ModelSpec};
use store::{SlabId, StoreError, WeightStore};

use crate::ops::{Ops, Projection};
use crate::placement::Row;

/// Bytes of embedding rows that are read at once.
const EMBED_BYTES: usize = 1 << 20;

/// Multiplies every row of `x` with each target's matrix and adds its bias. The first `n_few` rows are summed as they would
/// be alone.
///
/// Errors: a read failed.
pub(crate) fn project<O: Ops>(
    ops: &mut O,
    store: &WeightStore,
    x: &O::Tensor,
    n_few: usize,
    targets: &mut [Projection<O::Tensor>],
) -> Result<(), StoreError> {
    // Targets of one input nearly always share the form that it is quantised to.
    for targets in targets.chunk_by_mut(|a, b| activation(a) == activation(b)) {
        ops.input(x, targets[0].weight.quant);
        let slabs: Vec<SlabId> = targets.iter().flat_map(|target| store.slabs_of(&target.weight)).collect();
        let mut left = &slabs[..];
        while !left.is_empty() {
            let weights = bring(ops, store, left)?;
            ops.multiply(n_few, targets, &weights);
            left = &left[weights.len()..];
        }
    }
    Ok(())
}

/// The weights of the first slabs, as many as are there.
fn bring<'a, O: Ops>(ops: &mut O, store: &'a WeightStore, slabs: &[SlabId]) -> Result<Vec<O::Weights<'a>>, StoreError> {
    let kept: Vec<O::Weights<'a>> = slabs.iter().map_while(|slab| ops.kept(*slab)).collect();
    if !kept.is_empty() {
        return Ok(kept);
    }
    let n = slabs.iter().position(|slab| ops.kept(*slab).is_some()).unwrap_or(slabs.len());
    store.slabs(&slabs[..n])?.into_iter().map(|slab| ops.bring(slab)).collect()
}

fn activation<T>(target: &Projection<T>) -> ActivationType {
    target.weight.quant.format().activation
}

/// Looks up the embeddings of the rows' tokens. Shapes: `out` becomes `[rows, dim]`.
///
/// Errors: the read failed.
pub(crate) fn embed<O: Ops>(
    ops: &mut O,
    store: &WeightStore,
    spec: &ModelSpec,
    rows: &[Row],
    out: &mut O::Tensor,
) -> Result<(), StoreError> {
    let matrix: Matrix = spec.embedding;
    let len = matrix.quant.row_bytes(matrix.cols).expect("the row length was checked when the header was read");
    let at_once = (EMBED_BYTES / len).clamp(1, rows.len());
    let mut bytes = vec![0; at_once * len];
    for (first, part) in (0..).step_by(at_once).zip(rows.chunks(at_once)) {
        let tokens: Vec<usize> = part.iter().map(|row| row.token as usize).collect();
        let bytes = &mut bytes[..part.len() * len];
        store.read_rows(spec, &matrix, &tokens, bytes)?;
        ops.expand(&matrix, bytes, first, rows.len(), out);
    }
    Ok(())
}
