//! Tiny models described in a line of text, for command lines and recorded fixtures.
//!
//! The line names the architecture, then settings `KEY=VALUE`, such as `llama output=tied type=Q8_0`. Keys: `layers`,
//! `dim`, `heads`, `kv_heads`, `head_dim`, `ffn`, `vocab`, `context`, `seed`, `eps`, `rope_base`, `rope_dim`,
//! `window`, `window_period`, `rope_scale`, `rope_factors` (numbers with commas), `output` (`tied`, `separate`), `qkv_biases` (`yes`, `no`), `type`
//! (`F32`, `Q4_K`, ...), `type.NAME` (one matrix, such as `type.ffn_down`), `vocabulary` (`bpe`, `spm`) and `template`
//! (`chatml`).

use std::fmt::Debug;
use std::str::FromStr;

use crate::tensor_type::TensorType;
use crate::tiny_model::{Output, TinyModel, TinySpec};
use crate::tiny_vocab::{CHATML, Vocabulary};

impl TinySpec {
    /// The model that a line of settings describes.
    ///
    /// Panics if the line is not understood: it comes from a test or its author.
    pub fn from_line(line: &str) -> TinySpec {
        let mut words = line.split_whitespace();
        let mut spec = match words.next() {
            Some("llama") => TinyModel::llama(),
            Some("qwen2") => TinyModel::qwen2(),
            Some("qwen3") => TinyModel::qwen3(),
            Some("gemma3") => TinyModel::gemma3(),
            other => panic!("no tiny model of the architecture {other:?}"),
        };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or_else(|| panic!("{word} does not read KEY=VALUE"));
            set(&mut spec, key, value);
        }
        spec
    }
}

fn set(spec: &mut TinySpec, key: &str, value: &str) {
    match key {
        "layers" => spec.n_layers = number(value),
        "dim" => spec.dim = number(value),
        "heads" => spec.n_heads = number(value),
        "kv_heads" => spec.n_kv_heads = number(value),
        "head_dim" => spec.head_dim = number(value),
        "ffn" => spec.ffn_dim = number(value),
        "vocab" => spec.n_vocab = number(value),
        "context" => spec.context_len = number(value),
        "seed" => spec.seed = number(value),
        "eps" => spec.rms_eps = number(value),
        "rope_base" => spec.rope_base = number(value),
        "rope_dim" => spec.rope_dim = number(value),
        "window" => spec.sliding_window = Some(number(value)),
        "window_period" => spec.window_period = number(value),
        "rope_scale" => spec.rope_scale = number(value),
        "rope_factors" => spec.rope_factors = Some(list(value)),
        "output" => spec.output = one_of(value, &[("tied", Output::Tied), ("separate", Output::Separate)]),
        "qkv_biases" => spec.qkv_biases = one_of(value, &[("yes", true), ("no", false)]),
        "vocabulary" => {
            spec.vocabulary = one_of(value, &[("bpe", Vocabulary::ByteBpe), ("spm", Vocabulary::SentencePiece)]);
        }
        "template" => spec.chat_template = Some(one_of(value, &[("chatml", CHATML)]).to_owned()),
        "type" => spec.tensor_type = tensor_type(value),
        _ => match key.strip_prefix("type.") {
            Some(name) => spec.type_overrides.push((name.to_owned(), tensor_type(value))),
            None => panic!("no setting is called {key}"),
        },
    }
}

fn tensor_type(name: &str) -> TensorType {
    let named: Vec<(String, TensorType)> = TensorType::ALL.iter().map(|&t| (format!("{t:?}"), t)).collect();
    one_of(name, &named.iter().map(|(name, t)| (name.as_str(), *t)).collect::<Vec<_>>())
}

fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> T {
    let chosen = choices.iter().find(|(name, _)| *name == value);
    chosen.unwrap_or_else(|| panic!("{value} is none of the known values")).1
}

fn list<T: FromStr<Err: Debug>>(values: &str) -> Vec<T> {
    values.split(',').map(number).collect()
}

fn number<T: FromStr<Err: Debug>>(value: &str) -> T {
    value.parse().expect("the value is a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_sets_what_it_names() {
        let spec = TinySpec::from_line("qwen2 layers=3 output=separate type=Q8_0 type.ffn_down=F16 eps=0.5");
        assert_eq!((spec.n_layers, spec.output, spec.rms_eps), (3, Output::Separate, 0.5));
        let model = spec.build();
        assert_eq!(model.layers[2].ffn_down.tensor_type, TensorType::F16);
        assert_eq!(model.layers[2].ffn_up.tensor_type, TensorType::Q8_0);
    }

    #[test]
    #[should_panic(expected = "no setting is called layer")]
    fn an_unknown_key_panics() {
        TinySpec::from_line("llama layer=3");
    }
}
