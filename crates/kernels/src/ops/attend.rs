//! Attention of one group of query heads over a run of cached positions.
//!
//! The heads of a group share one key-value head (grouped-query attention), so each cached vector is read once for all
//! of them. Causality is the caller's: a query sees exactly the positions that are passed in.

use super::kv::KvType;
use super::softmax::softmax;

/// The operands of [`Kernels::attend`](crate::Kernels::attend).
///
/// Position `p` has its key at byte `p * key_stride` of `keys` and its value at byte `p * value_stride` of `values`.
#[derive(Debug)]
pub struct AttendArgs<'a> {
    /// The type of `keys` and `values`.
    pub kv_type: KvType,
    /// Query heads that share this key-value head.
    pub n_group: usize,
    /// Numbers in a query and in a key.
    pub head_dim: usize,
    /// Numbers in a value.
    pub value_dim: usize,
    /// `[n_group, head_dim]`.
    pub queries: &'a [f32],
    /// The cached keys, from the first position on.
    pub keys: &'a [u8],
    /// The cached values, from the first position on.
    pub values: &'a [u8],
    /// Bytes from one position's key to the next.
    pub key_stride: usize,
    /// Bytes from one position's value to the next.
    pub value_stride: usize,
    /// Cached positions to attend to; with 0 the output is zeros.
    pub n_positions: usize,
    /// What the dot products of queries and keys are multiplied with.
    pub scale: f32,
    /// Scratch, `[n_group, n_positions]`; holds the weights of the positions afterwards.
    pub scores: &'a mut [f32],
    /// `[n_group, value_dim]`.
    pub out: &'a mut [f32],
}

/// Scores, softmax and the weighted sum of the values, all in f32.
pub(crate) fn attend(args: &mut AttendArgs<'_>) {
    for head in 0..args.n_group {
        let query = &args.queries[head * args.head_dim..][..args.head_dim];
        let scores = &mut args.scores[head * args.n_positions..][..args.n_positions];
        let out = &mut args.out[head * args.value_dim..][..args.value_dim];
        for (p, score) in scores.iter_mut().enumerate() {
            *score = args.scale * dot(args.kv_type, query, &args.keys[p * args.key_stride..]);
        }
        softmax(scores);
        out.fill(0.0);
        for (p, weight) in scores.iter().enumerate() {
            add_scaled(args.kv_type, out, *weight, &args.values[p * args.value_stride..]);
        }
    }
}

fn dot(kv_type: KvType, query: &[f32], key: &[u8]) -> f32 {
    query.iter().enumerate().map(|(i, q)| q * kv_type.read(key, i)).sum()
}

fn add_scaled(kv_type: KvType, out: &mut [f32], weight: f32, value: &[u8]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out += weight * kv_type.read(value, i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::store_kv;

    /// Two heads over three positions whose keys pick out one position per head.
    #[test]
    fn a_matching_key_draws_its_value() {
        let mut keys = [0; 3 * 8];
        let mut values = [0; 3 * 8];
        store_kv(KvType::F32, &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], &mut keys);
        store_kv(KvType::F32, &[10.0, 11.0, 20.0, 21.0, 30.0, 31.0], &mut values);
        let (mut scores, mut out) = ([9.0; 6], [9.0; 4]);
        attend(&mut AttendArgs {
            kv_type: KvType::F32,
            n_group: 2,
            head_dim: 2,
            value_dim: 2,
            queries: &[1.0, 0.0, 0.0, 1.0],
            keys: &keys,
            values: &values,
            key_stride: 8,
            value_stride: 8,
            n_positions: 3,
            scale: 1000.0,
            scores: &mut scores,
            out: &mut out,
        });
        assert_eq!(out, [10.0, 11.0, 20.0, 21.0]);
        assert_eq!(scores, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }
}
