//! The forward pass as the papers define it: f64, one loop after the other, nothing cached, nothing shared.
//!
//! [`logits`] is what an engine's logits are held against. It recomputes everything for the whole token list, which is
//! affordable because a [`TinyModel`] is tiny. [`windowed_logits`] is the same model with attention restricted to a
//! [`Window`]. There is no KV cache, no batch and no thread here, on purpose.
//!
//! *Sources*: RMSNorm: Zhang & Sennrich 2019, eq. 4. RoPE: Su et al. 2021, eq. 34; linear scaling: Chen et al. 2023,
//! eq. 4; the divisors of Llama 3 come ready-made with the file. Attention: Vaswani et al. 2017, eq. 1, with key heads
//! shared as in Ainslie et al. 2023. SwiGLU: Shazeer 2020, eq. 6. Windows with sinks: Xiao et al. 2023.

use crate::tiny_model::{Architecture, TinyLayer, TinyModel, TinySpec};

/// Which earlier positions a token attends to.
///
/// Positions keep their rotation: a window hides keys, it does not renumber them.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// A token sees itself and the `len - 1` tokens before it.
    pub len: usize,
    /// A token also sees the first `n_sinks` positions of the sequence.
    pub n_sinks: usize,
}

/// The logits after each token.
///
/// Shapes: `tokens` is `[n]`, the result `[n, n_vocab]`. Token 0 stands at position 0.
/// Panics if a token is not in the vocabulary.
pub fn logits(model: &TinyModel, tokens: &[u32]) -> Vec<Vec<f64>> {
    windowed_logits(model, tokens, Window { len: usize::MAX, n_sinks: 0 })
}

/// The logits after each token if attention reaches only as far as `window`.
///
/// Shapes: `tokens` is `[n]`, the result `[n, n_vocab]`.
/// Panics if a token is not in the vocabulary.
pub fn windowed_logits(model: &TinyModel, tokens: &[u32], window: Window) -> Vec<Vec<f64>> {
    // The final states meet every row of the output matrix: [n, dim] -> [n, n_vocab].
    let output = model.output.as_ref().unwrap_or(&model.token_embd);
    hidden_states(model, tokens, window).iter().map(|h| output.times(h)).collect()
}

/// The final states, normalised, of each token.
///
/// Shapes: `tokens` is `[n]`, the result `[n, dim]`.
/// Panics if a token is not in the vocabulary.
pub fn hidden_states(model: &TinyModel, tokens: &[u32], window: Window) -> Vec<Vec<f64>> {
    let spec = &model.spec;
    let eps = f64::from(spec.rms_eps);

    // 1. Each token's row of the embedding matrix starts its hidden state. h: [n, dim]
    let scale = if spec.architecture == Architecture::Gemma3 { (spec.dim as f64).sqrt() } else { 1.0 };
    let embedding = |&token: &u32| model.token_embd.row(token as usize).iter().map(|x| x * scale).collect();
    let mut h: Vec<Vec<f64>> = tokens.iter().map(embedding).collect();

    for (i, layer) in model.layers.iter().enumerate() {
        let normed = |x: Vec<f64>, after: usize| match &layer.post_norms {
            Some(norms) => rms_norm(&x, &norms[after], eps),
            None => x,
        };
        // 2. Attention reads the normalised states of all tokens and adds to each state. [n, dim]
        let x: Vec<Vec<f64>> = h.iter().map(|h| rms_norm(h, &layer.attn_norm, eps)).collect();
        let has_window = spec.has_window(i);
        let len = window.len.min(spec.sliding_window.filter(|_| has_window).unwrap_or(usize::MAX));
        let step = Step { spec, layer, window: Window { len, ..window }, has_window };
        for (h, attended) in h.iter_mut().zip(step.attention(&x)) {
            add(h, &normed(attended, 0));
        }
        // 3. The feed-forward network sees one token at a time and adds to its state. [dim]
        for h in &mut h {
            let x = rms_norm(h, &layer.ffn_norm, eps);
            add(h, &normed(feed_forward(spec, layer, &x), 1));
        }
    }

    h.iter().map(|h| rms_norm(h, &model.output_norm, eps)).collect()
}

/// `weight[i] * x[i] / sqrt(mean of x[j]^2 + eps)`. Shapes: all `[dim]`.
fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let mean_square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, w)| w * x / (mean_square + eps).sqrt()).collect()
}

/// One layer's attention.
struct Step<'a> {
    spec: &'a TinySpec,
    layer: &'a TinyLayer,
    window: Window,
    /// Whether the model's own window limits this layer.
    has_window: bool,
}

impl Step<'_> {
    /// Grouped-query attention over the normalised states `x`. Shapes: `x` and the result are `[n, dim]`.
    fn attention(&self, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let Step { spec, layer, .. } = self;
        // q: [n, n_heads * head_dim]; k and v: [n, n_kv_heads * head_dim].
        let mut q: Vec<Vec<f64>> = x.iter().map(|x| layer.attn_q.times(x)).collect();
        let mut k: Vec<Vec<f64>> = x.iter().map(|x| layer.attn_k.times(x)).collect();
        let mut v: Vec<Vec<f64>> = x.iter().map(|x| layer.attn_v.times(x)).collect();
        if let Some([q_bias, k_bias, v_bias]) = &layer.qkv_biases {
            q.iter_mut().for_each(|q| add(q, q_bias));
            k.iter_mut().for_each(|k| add(k, k_bias));
            v.iter_mut().for_each(|v| add(v, v_bias));
        }
        // Queries and keys carry their position, values do not.
        for (part, rows) in [&mut q, &mut k].into_iter().enumerate() {
            for (position, row) in rows.iter_mut().enumerate() {
                for head in row.chunks_exact_mut(spec.head_dim) {
                    if let Some(norms) = &layer.qk_norms {
                        head.copy_from_slice(&rms_norm(head, &norms[part], f64::from(spec.rms_eps)));
                    }
                    self.rotate(head, position);
                }
            }
        }
        (0..x.len())
            .map(|position| {
                // The heads' results one after the other, [n_heads * head_dim], then back to [dim].
                let heads = (0..spec.n_heads).flat_map(|head| self.attend(head, position, [&q, &k, &v]));
                layer.attn_output.times(&heads.collect::<Vec<f64>>())
            })
            .collect()
    }

    /// What one query head sees from `position`: values weighted by the softmax of query-key products. Shape: `[head_dim]`.
    fn attend(&self, head: usize, position: usize, [q, k, v]: [&[Vec<f64>]; 3]) -> Vec<f64> {
        let Step { spec, window, .. } = self;
        // n_heads / n_kv_heads neighbouring query heads share a key and value head.
        let kv_head = head / (spec.n_heads / spec.n_kv_heads);
        let head_of = |row: &Vec<f64>, head: usize| row[head * spec.head_dim..][..spec.head_dim].to_vec();
        let query = head_of(&q[position], head);

        let seen: Vec<usize> = (0..=position).filter(|&j| position - j < window.len || j < window.n_sinks).collect();
        let score = |&j: &usize| dot(&query, &head_of(&k[j], kv_head)) / (spec.head_dim as f64).sqrt();
        let weights = softmax(&seen.iter().map(score).collect::<Vec<f64>>());

        let mut result = vec![0.0; spec.head_dim];
        for (j, weight) in seen.into_iter().zip(weights) {
            result.iter_mut().zip(head_of(&v[j], kv_head)).for_each(|(r, v)| *r += weight * v);
        }
        result
    }

    /// Turns pair i of the first `rope_dim` values of one head by `position * base^(-2i / rope_dim)`, divided by the linear
    /// scale and by factor i. Shape: `head` is `[head_dim]`; what lies past `rope_dim` stays.
    fn rotate(&self, head: &mut [f64], position: usize) {
        let spec = self.spec;
        let n_pairs = spec.rope_dim / 2;
        // Gemma 3 rotates layers with a window otherwise.
        let (base, scale) = match spec.architecture {
            Architecture::Gemma3 if self.has_window => (10_000.0, 1.0),
            _ => (f64::from(spec.rope_base), f64::from(spec.rope_scale)),
        };
        for i in 0..n_pairs {
            let frequency = base.powf(-2.0 * i as f64 / spec.rope_dim as f64);
            let factor = spec.rope_factors.as_ref().map_or(1.0, |factors| f64::from(factors[i]));
            let angle = position as f64 / scale * frequency / factor;
            let (a, b) = match spec.architecture {
                Architecture::Llama => (2 * i, 2 * i + 1),
                _ => (i, i + n_pairs),
            };
            (head[a], head[b]) =
                (head[a] * angle.cos() - head[b] * angle.sin(), head[a] * angle.sin() + head[b] * angle.cos());
        }
    }
}

/// SwiGLU or GeGLU: `down * (activation(gate * x) . (up * x))`. Shapes: `x` and the result are `[dim]`.
fn feed_forward(spec: &TinySpec, layer: &TinyLayer, x: &[f64]) -> Vec<f64> {
    let silu = |z: f64| z / (1.0 + (-z).exp());
    // Hendrycks & Gimpel 2016, the approximation by tanh.
    let gelu = |z: f64| 0.5 * z * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (z + 0.044715 * z.powi(3))).tanh());
    let is_gemma = spec.architecture == Architecture::Gemma3;
    // gate, up, inner: [ffn_dim]
    let (gate, up) = (layer.ffn_gate.times(x), layer.ffn_up.times(x));
    let inner = gate.into_iter().zip(up).map(|(gate, up)| if is_gemma { gelu(gate) } else { silu(gate) } * up);
    layer.ffn_down.times(&inner.collect::<Vec<f64>>())
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn logits_do_not_depend_on_later_tokens() {
        let model = TinyModel::llama().build();
        let (short, long) = (logits(&model, &[1, 2, 3]), logits(&model, &[1, 2, 3, 4, 5]));
        assert_eq!(short, long[..3]);
    }

    #[test]
    fn rope_makes_scores_depend_on_distance_alone() {
        for spec in [TinyModel::llama(), TinySpec { rope_dim: 8, ..TinyModel::qwen2() }] {
            let layer = spec.clone().build().layers.remove(0);
            let score = |q_position, k_position| {
                let mut q: Vec<f64> = (0..16).map(|i| f64::from(i) - 3.0).collect();
                let mut k: Vec<f64> = (0..16).map(|i| 2.0 - f64::from(i) / 5.0).collect();
                let window = Window { len: usize::MAX, n_sinks: 0 };
                let step = Step { spec: &spec, layer: &layer, window, has_window: false };
                step.rotate(&mut q, q_position);
                step.rotate(&mut k, k_position);
                dot(&q, &k)
            };
            assert!((score(9, 4) - score(105, 100)).abs() < 1e-9);
            assert!((score(9, 4) - score(9, 5)).abs() > 1e-3);
        }
    }

    #[test]
    fn every_part_of_the_spec_reaches_the_logits() {
        let base = || TinySpec { rope_factors: Some(vec![2.0; 8]), qkv_biases: true, ..TinyModel::llama() };
        let tokens = [1, 2, 3, 4, 5, 6, 7, 8];
        let last = |spec: TinySpec| logits(&spec.build(), &tokens).pop().unwrap();
        let expected = last(base());
        let variants = [
            TinySpec { rope_factors: None, ..base() },
            TinySpec { rope_scale: 2.0, ..base() },
            TinySpec { rope_base: 500.0, ..base() },
            TinySpec { rms_eps: 1e-2, ..base() },
            TinySpec { rope_dim: 8, rope_factors: None, ..base() },
            TinySpec { qkv_biases: false, ..base() },
            TinySpec { architecture: Architecture::Qwen2, ..base() },
            TinySpec { output: crate::Output::Tied, ..base() },
        ];
        for spec in variants {
            let found = largest_difference(&last(spec.clone()), &expected);
            assert!(found > 1e-3, "{found} {spec:?}");
        }
    }
}
