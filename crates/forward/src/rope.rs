//! Angles of the rotary position embedding, once a pass for all layers.

use model::Rope;

use crate::Row;

/// What a position is multiplied with to give each pair's angle, `[dims / 2]`.
pub(crate) struct Frequencies(Vec<f64>);

impl Frequencies {
    /// `factors` are those of the file, `[dims / 2]`, where it has any. Source: Su et al. 2021, section 3.2.2.
    pub(crate) fn new(rope: &Rope, factors: Option<&[f32]>) -> Frequencies {
        let frequency = |pair: usize| {
            let exponent = -2.0 * pair as f64 / rope.dims as f64;
            let factor = factors.map_or(1.0, |f| f64::from(f[pair]));
            f64::from(rope.base).powf(exponent) / factor / f64::from(rope.linear_scale)
        };
        Frequencies((0..rope.dims / 2).map(frequency).collect())
    }

    /// Cosine and sine for every pair of every row, `[rows, dims / 2]`, computed in f64 so that far positions stay exact.
    pub(crate) fn angles(&self, rows: &[Row], out: &mut Vec<[f32; 2]>) {
        out.clear();
        for row in rows {
            out.extend(self.0.iter().map(|frequency| {
                let (sin, cos) = (row.position as f64 * frequency).sin_cos();
                [cos as f32, sin as f32]
            }));
        }
    }
}
