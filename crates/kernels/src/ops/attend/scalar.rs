//! Attention one query and one position after another.

use super::args::AttendArgs;
use super::part::PartLayout;
use super::positions::TILE;
use crate::ops::kv::KvType;
use crate::ops::soft_cap::soft_cap;

/// Adds a run of positions to the parts of the queries.
pub(crate) fn attend(args: &mut AttendArgs<'_>) {
    let layout = PartLayout::new(args.value_dim);
    for row in 0..args.n_rows {
        let visible = args.visible(row);
        for head in 0..args.n_group {
            let query = &args.queries[row * args.query_stride + head * args.head_dim..][..args.head_dim];
            let part = &mut args.parts[(row * args.n_group + head) * layout.len()..][..layout.len()];
            let (values, tail) = part.split_at_mut(layout.padded_dim());
            let [max, sum] = tail.first_chunk_mut().expect("a part ends in its score and sum");
            for tile in 0..visible.window.end.div_ceil(TILE) {
                let visible = visible.part(tile * TILE, TILE);
                if visible.is_empty() {
                    continue;
                }
                let mut weights = [f32::NEG_INFINITY; TILE];
                let positions = (0..visible.n_sinks).chain(visible.window);
                for p in positions.clone() {
                    let key = &args.keys[tile][p * args.kv_type.row_bytes(args.head_dim)..];
                    weights[p] = args.scale * dot(args.kv_type, query, key);
                }
                if let Some(cap) = args.soft_cap {
                    positions.clone().for_each(|p| soft_cap(&mut weights[p..=p], cap));
                }
                let factor = soften(&mut weights, max);
                *sum = *sum * factor + weights.iter().sum::<f32>();
                values.iter_mut().for_each(|v| *v *= factor);
                for p in positions {
                    let value = &args.values[tile][p * args.kv_type.row_bytes(args.value_dim)..];
                    add_scaled(args.kv_type, &mut values[..args.value_dim], weights[p], value);
                }
            }
        }
    }
}

/// Turns scores into weights relative to the greatest score so far, which becomes `max`, and returns the factor that
/// makes what was relative to the `max` before relative to this one.
fn soften(scores: &mut [f32; TILE], max: &mut f32) -> f32 {
    let before = *max;
    *max = scores.iter().copied().fold(before, f32::max);
    // Scores of minus infinity have no weight even when there is no other.
    let base = if *max == f32::NEG_INFINITY { 0.0 } else { *max };
    scores.iter_mut().for_each(|score| *score = (*score - base).exp());
    (before - base).exp()
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
    use crate::ops::kv::store_kv;

    /// Two heads over three positions whose keys pick out one position per head.
    #[test]
    fn a_matching_key_draws_its_value() {
        let mut keys = [0; 3 * 8];
        let mut values = [0; 3 * 8];
        store_kv(KvType::F32, &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], &mut keys);
        store_kv(KvType::F32, &[10.0, 11.0, 20.0, 21.0, 30.0, 31.0], &mut values);
        let layout = PartLayout::new(2);
        let mut parts = vec![9.0; 2 * layout.len()];
        layout.clear(&mut parts);
        attend(&mut AttendArgs {
            kv_type: KvType::F32,
            n_rows: 1,
            n_group: 2,
            head_dim: 2,
            value_dim: 2,
            queries: &[1.0, 0.0, 0.0, 1.0],
            query_stride: 4,
            keys: &[&keys],
            values: &[&values],
            start: 64,
            n_positions: 3,
            first_row: 66,
            window: usize::MAX,
            n_sinks: 0,
            scale: 1000.0,
            soft_cap: None,
            scratch: &mut [],
            parts: &mut parts,
        });
        let mut out = [9.0; 4];
        layout.finish(&parts, &mut out);
        assert_eq!(out, [10.0, 11.0, 20.0, 21.0]);
    }
}
