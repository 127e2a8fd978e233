//! Angles of the rotary position embedding, once a pass for all layers.

use model::{ModelSpec, Rope};
use store::{StoreError, WeightStore};

use crate::placement::Row;

/// The angles of a pass, for each way in which the model's layers rotate.
pub(crate) struct Rotations(Vec<Rotation>);

struct Rotation {
    rope: Rope,
    /// What a position is multiplied with to give each pair's angle, `[dims / 2]`.
    frequencies: Vec<f64>,
    /// Cosine and sine for every pair of every row, `[rows, dims / 2]`.
    angles: Vec<[f32; 2]>,
}

impl Rotations {
    /// Prepares the rotations of a model.
    ///
    /// Errors: a read failed.
    pub(crate) fn new(spec: &ModelSpec, store: &WeightStore) -> Result<Rotations, StoreError> {
        let rotation = |rope: Rope| {
            let factors = rope.factors.map(|v| store.read_vector(spec, v)).transpose()?;
            Ok(Rotation { rope, frequencies: frequencies(&rope, factors.as_deref()), angles: Vec::new() })
        };
        distinct(spec).into_iter().map(rotation).collect::<Result<_, _>>().map(Rotations)
    }

    /// Computes the angles of the rows' positions, in f64 so that far positions stay exact.
    pub(crate) fn turn_to(&mut self, rows: &[Row]) {
        for Rotation { frequencies, angles, .. } in &mut self.0 {
            angles.clear();
            for row in rows {
                angles.extend(frequencies.iter().map(|frequency| {
                    let (sin, cos) = (row.position as f64 * frequency).sin_cos();
                    [cos as f32, sin as f32]
                }));
            }
        }
    }

    /// Cosine and sine, `[rows, dims / 2]`. Panics if no layer of the model rotates so.
    pub(crate) fn angles(&self, rope: &Rope) -> &[[f32; 2]] {
        &self.0.iter().find(|rotation| rotation.rope == *rope).expect("every layer's rotation is prepared").angles
    }
}

/// The different ways in which a model's layers rotate.
pub(crate) fn distinct(spec: &ModelSpec) -> Vec<Rope> {
    let mut ropes = Vec::new();
    for rope in spec.attentions().filter_map(|attention| attention.rope) {
        if !ropes.contains(&rope) {
            ropes.push(rope);
        }
    }
    ropes
}

/// `factors` are those of the file, `[dims / 2]`, where it has any. Source: Su et al. 2021, section 3.2.2.
fn frequencies(rope: &Rope, factors: Option<&[f32]>) -> Vec<f64> {
    let frequency = |pair: usize| {
        let exponent = -2.0 * pair as f64 / rope.dims as f64;
        let factor = factors.map_or(1.0, |f| f64::from(f[pair]));
        f64::from(rope.base).powf(exponent) / factor / f64::from(rope.linear_scale)
    };
    (0..rope.dims / 2).map(frequency).collect()
}
