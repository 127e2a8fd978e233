//! A short measurement of how fast this machine multiplies a model's weights with one token.

use std::time::{Duration, Instant};

use model::ModelSpec;
use store::{SlabId, StoreError, WeightStore};

use crate::ops::{Ops, Projection};
use crate::projection::project;

/// Enough weights that caches do not hold them, few enough to read in a blink.
const SAMPLE_BYTES: u64 = 64 << 20;

/// The sample is passed over at least for this long and at least this often.
const MIN_TIME: Duration = Duration::from_millis(150);
const MIN_PASSES: usize = 3;

/// Bytes of weights a second in the fastest of several passes over the model's first matrices.
///
/// Errors: a read failed.
pub fn weight_bytes_per_second<O: Ops>(ops: &mut O, store: &WeightStore, spec: &ModelSpec) -> Result<f64, StoreError> {
    let mut sample_bytes = 0;
    let mut sample = Vec::new();
    for matrix in spec.walk().map(|used| used.matrix) {
        if sample_bytes >= SAMPLE_BYTES {
            break;
        }
        sample_bytes += spec.tensor(matrix.part.tensor).len;
        let input = (0..matrix.cols).map(|i| (i % 17) as f32 - 8.0).collect();
        sample.push((matrix, ops.vector(input), ops.tensor(1, matrix.rows)?));
    }
    ops.prepare(spec, 1)?;
    let slabs: Vec<SlabId> = sample.iter().flat_map(|(matrix, ..)| store.slabs_of(matrix)).collect();
    let mut pass = || -> Result<Duration, StoreError> {
        let (start, stall) = (Instant::now(), store.stats().stall);
        // Not the order of a pass, which would go on with the next matrix.
        store.expect(&slabs);
        for (weight, x, out) in &mut sample {
            project(ops, store, x, 1, &mut [Projection { weight: *weight, bias: None, out }])?;
        }
        // What is streamed is waited for here too, but that is the disk's part.
        Ok(start.elapsed().saturating_sub(store.stats().stall - stall))
    };
    pass()?; // Reads what is kept.
    let (begun, mut best, mut passes) = (Instant::now(), Duration::MAX, 0);
    while passes < MIN_PASSES || begun.elapsed() < MIN_TIME {
        best = best.min(pass()?);
        passes += 1;
    }
    Ok(sample_bytes as f64 / best.as_secs_f64())
}
