//! The `options` of a request, translated for sampling and the engine.

use engine::{Overflow, SamplingOptions};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Options for loading a model. It is loaded already, so they are ignored without a warning.
const OF_LOADING: [&str; 14] = [
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "use_mlock",
    "num_thread",
    "numa",
    "low_vram",
    "f16_kv",
    "vocab_only",
    "logits_all",
    "embedding_only",
    "draft_num_predict",
];

/// What the options of a request ask for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) sampling: SamplingOptions,
    pub(crate) stop: Vec<String>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) n_keep: usize,
}

impl Options {
    /// Reads options. `null` counts as absent, fractions are truncated where a whole number is needed, and unknown options are
    /// logged.
    ///
    /// Errors: a value has the wrong type.
    pub(crate) fn read(given: Option<&Map<String, Value>>) -> Result<Options, Failure> {
        let mut all = Options { sampling: SamplingOptions::default(), stop: Vec::new(), max_tokens: None, n_keep: 4 };
        let sampling = &mut all.sampling;
        for (name, value) in given.into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            match name.as_str() {
                // Below zero is as greedy as zero.
                "temperature" => sampling.temperature = float(name, value)?.max(0.0),
                "top_k" => sampling.top_k = count(name, value)?.unwrap_or(0),
                "top_p" => sampling.top_p = share(float(name, value)?, 1.0),
                "min_p" => sampling.min_p = share(float(name, value)?, 0.0),
                "repeat_penalty" => sampling.repeat_penalty = positive(float(name, value)?),
                "repeat_last_n" => sampling.repeat_last_n = count(name, value)?.unwrap_or(usize::MAX),
                "presence_penalty" => sampling.presence_penalty = float(name, value)?,
                "frequency_penalty" => sampling.frequency_penalty = float(name, value)?,
                "seed" => sampling.seed = integer(name, value)?.try_into().ok(),
                "num_predict" => all.max_tokens = count(name, value)?.filter(|n| *n > 0),
                "num_keep" => all.n_keep = count(name, value)?.unwrap_or(usize::MAX),
                "stop" => all.stop = texts(name, value)?,
                "typical_p" if float(name, value)? >= 1.0 => {}
                name if OF_LOADING.contains(&name) => {}
                name => tracing::warn!("ignoring option {name:?}: unknown, or without effect here"),
            }
        }
        Ok(all)
    }

    /// What to do when the context is full, if the request says `shift`.
    pub(crate) fn overflow(&self, shift: Option<bool>) -> Overflow {
        if shift == Some(false) { Overflow::Stop } else { Overflow::Shift { n_keep: self.n_keep } }
    }
}

fn wrong(name: &str, kind: &str) -> Failure {
    Failure::bad_field("options", format!("option \"{name}\" must be of type {kind}"))
}

#[expect(clippy::cast_possible_truncation, reason = "that is the option's precision")]
fn float(name: &str, value: &Value) -> Result<f32, Failure> {
    value.as_f64().map(|v| v as f32).filter(|v| v.is_finite()).ok_or_else(|| wrong(name, "float32"))
}

#[expect(clippy::cast_possible_truncation, reason = "a fraction is cut off, and what is too large saturates")]
fn integer(name: &str, value: &Value) -> Result<i64, Failure> {
    value.as_i64().or_else(|| value.as_f64().map(|v| v as i64)).ok_or_else(|| wrong(name, "integer"))
}

/// A number from 0 up; `None` for negative numbers, which mean "no limit".
fn count(name: &str, value: &Value) -> Result<Option<usize>, Failure> {
    Ok(usize::try_from(integer(name, value)?).ok())
}

/// A value out of range disables the option.
fn share(value: f32, off: f32) -> f32 {
    if (0.0..=1.0).contains(&value) { value } else { off }
}

fn positive(value: f32) -> f32 {
    if value > 0.0 { value } else { 1.0 }
}

fn texts(name: &str, value: &Value) -> Result<Vec<String>, Failure> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "[]string"));
    let all = match value {
        Value::Array(values) => values.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        one => vec![text(one)?],
    };
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Options, Failure> {
        Options::read(value.as_object())
    }

    #[test]
    fn options_are_read_as_ollama_reads_them() {
        let options = read(
            json!({ "temperature": -1, "top_k": 5.9, "top_p": null, "seed": 7, "num_predict": 12, "stop": "a", "bogus": 1 }),
        );
        let options = options.unwrap();
        let sampling = SamplingOptions { temperature: 0.0, top_k: 5, seed: Some(7), ..SamplingOptions::default() };
        assert_eq!(options, Options { sampling, stop: vec!["a".to_owned()], max_tokens: Some(12), n_keep: 4 });
        for endless in [-1, -2, 0] {
            assert_eq!(read(json!({ "num_predict": endless })).unwrap().max_tokens, None);
        }
        assert_eq!(read(json!({ "seed": -1 })).unwrap().sampling.seed, None);
        let wrong = read(json!({ "temperature": "hot" })).unwrap_err().message;
        assert_eq!(wrong, "option \"temperature\" must be of type float32");
        assert!(read(json!({ "stop": [1] })).is_err() && read(json!({ "top_k": "5" })).is_err());
    }
}
