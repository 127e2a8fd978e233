//! The sampling fields that all endpoints of OpenAI's API share.
//!
//! Defaults are OpenAI's: sampling from the model's unmodified distribution.

use std::collections::BTreeMap;

use engine::SamplingOptions;
use model::TokenId;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::failure::Failure;

/// The most texts that end an answer.
const MAX_STOPS: usize = 16;

/// The most answers to a prompt.
pub(super) const MAX_N: i64 = 8;

/// A bias that means "never".
const NEVER: f32 = -100.0;

/// With a penalty for repetition only, so many tokens count as recent, which is llama.cpp's default.
const REPEAT_LAST_N: usize = 64;

/// The fields; the last six are llama.cpp's and vLLM's.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Sampling)]
pub(super) struct Sampling {
    /// Randomness; 0 takes the best token.
    #[schema(minimum = 0, maximum = 2)]
    pub(super) temperature: Option<f64>,
    /// The best tokens that together have this share of the probability are chosen from.
    #[schema(minimum = 0, maximum = 1)]
    pub(super) top_p: Option<f64>,
    /// Makes the choice repeatable.
    seed: Option<i64>,
    /// Texts that end the answer and are no part of it, up to 16.
    stop: Option<Texts>,
    /// What a token's logit loses for every time it has occurred.
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f64>,
    /// What a token's logit loses if it has occurred.
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f64>,
    /// What is added to the logits of tokens, by their numbers; -100 forbids one.
    logit_bias: Option<BTreeMap<String, f32>>,
    /// How many answers are wanted.
    #[schema(minimum = 1, maximum = 8)]
    n: Option<i64>,
    /// So many of the best tokens are chosen from; 0 and -1 are all.
    top_k: Option<i64>,
    /// Tokens with less than this share of the best one's probability are left out.
    #[schema(minimum = 0, maximum = 1)]
    min_p: Option<f64>,
    /// What positive logits of recent tokens are divided by, and others multiplied.
    #[schema(minimum = 0.01, maximum = 100)]
    repeat_penalty: Option<f64>,
    /// The same, as vLLM calls it.
    #[schema(minimum = 0.01, maximum = 100)]
    repetition_penalty: Option<f64>,
    /// How many of the last tokens are recent; -1 is all.
    repeat_last_n: Option<i64>,
}

/// One text or several.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "it must be a string or an array of strings")]
#[schema(as = openai::Texts)]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Texts::One(text) => vec![text],
            Texts::Many(texts) => texts,
        }
    }
}

impl Sampling {
    /// The engine's options, for a vocabulary of `n_vocab` tokens.
    ///
    /// Errors: a field is out of its range.
    pub(super) fn options(&self, n_vocab: usize) -> Result<SamplingOptions, Failure> {
        let frequency_penalty = number("frequency_penalty", self.frequency_penalty, 0.0, -2.0, 2.0)?;
        let presence_penalty = number("presence_penalty", self.presence_penalty, 0.0, -2.0, 2.0)?;
        let repeat_penalty = self.repeat_penalty.or(self.repetition_penalty);
        let repeat_penalty = number("repeat_penalty", repeat_penalty, 1.0, 0.01, 100.0)?;
        // OpenAI's penalties look at the whole text.
        let is_whole = frequency_penalty != 0.0 || presence_penalty != 0.0;
        let repeat_last_n = match self.repeat_last_n {
            Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
            None if is_whole => usize::MAX,
            None => REPEAT_LAST_N,
        };
        Ok(SamplingOptions {
            temperature: number("temperature", self.temperature, 1.0, 0.0, 2.0)?,
            // -1 is vLLM's way to turn it off.
            top_k: self.top_k.and_then(|k| usize::try_from(k).ok()).unwrap_or(0),
            top_p: number("top_p", self.top_p, 1.0, 0.0, 1.0)?,
            min_p: number("min_p", self.min_p, 0.0, 0.0, 1.0)?,
            repeat_penalty,
            repeat_last_n,
            frequency_penalty,
            presence_penalty,
            logit_bias: self.biases(n_vocab)?,
            // -1 is llama.cpp's way to say that any will do.
            seed: self.seed.filter(|seed| *seed != -1).map(i64::cast_unsigned),
        })
    }

    /// How many answers are wanted.
    ///
    /// Errors: none or more than 8.
    pub(super) fn n(&self) -> Result<usize, Failure> {
        count("n", self.n, 1)
    }

    /// The texts that end an answer.
    ///
    /// Errors: there are too many.
    pub(super) fn stops(&self) -> Result<Vec<String>, Failure> {
        let stops = self.stop.clone().map(Texts::into_vec).unwrap_or_default();
        match stops.len() {
            0..=MAX_STOPS => Ok(stops),
            n => Err(Failure::bad_field("stop", format!("{n} stop texts are more than {MAX_STOPS}"))),
        }
    }

    fn biases(&self, n_vocab: usize) -> Result<Vec<(TokenId, f32)>, Failure> {
        let wrong = |message: String| Failure::bad_field("logit_bias", message);
        let one = |(token, bias): (&String, &f32)| {
            let id = token.parse::<TokenId>().ok().filter(|id| (*id as usize) < n_vocab);
            let id = id.ok_or_else(|| {
                wrong(format!("logit_bias: {token:?} is no token: they are numbers from 0 to {}", n_vocab - 1))
            })?;
            match *bias {
                bias if !(NEVER..=-NEVER).contains(&bias) => {
                    Err(wrong(format!("logit_bias: {bias} is not between -100 and 100")))
                }
                bias if bias == NEVER => Ok((id, f32::NEG_INFINITY)),
                bias => Ok((id, bias)),
            }
        };
        self.logit_bias.iter().flatten().map(one).collect()
    }
}

/// A number of answers.
///
/// Errors: none or more than 8.
pub(super) fn count(param: &'static str, n: Option<i64>, default: usize) -> Result<usize, Failure> {
    match n {
        None => Ok(default),
        Some(n @ 1..=MAX_N) => Ok(usize::try_from(n).unwrap_or(default)),
        Some(n) => Err(Failure::bad_field(param, format!("{param} must be between 1 and {MAX_N}, not {n}"))),
    }
}

/// The most tokens of an answer; -1 is llama.cpp's way to say that there is no limit.
///
/// Errors: it is less than `least`.
pub(super) fn max_tokens(param: &'static str, n: Option<i64>, least: i64) -> Result<Option<usize>, Failure> {
    match n {
        None | Some(-1) => Ok(None),
        Some(n) if n >= least => Ok(usize::try_from(n).ok()),
        Some(n) => Err(Failure::bad_field(param, format!("{param} must be {least} or more, not {n}"))),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "that is the engine's precision")]
fn number(param: &'static str, value: Option<f64>, default: f64, least: f64, most: f64) -> Result<f32, Failure> {
    let value = value.unwrap_or(default);
    if (least..=most).contains(&value) {
        return Ok(value as f32);
    }
    Err(Failure::bad_field(param, format!("{param} must be between {least} and {most}, not {value}")))
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    fn read(json: &'static str) -> Result<(SamplingOptions, Vec<String>, usize), Failure> {
        let sampling: Sampling = crate::body::read(&Bytes::from_static(json.as_bytes()))?;
        Ok((sampling.options(100)?, sampling.stops()?, sampling.n()?))
    }

    #[test]
    fn what_is_not_given_changes_nothing() {
        let (options, stops, n) = read(r#"{"temperature":null,"stop":null,"seed":-1,"unknown":[1]}"#).unwrap();
        let expected = SamplingOptions { temperature: 1.0, top_k: 0, top_p: 1.0, ..SamplingOptions::default() };
        assert_eq!((options, stops, n), (expected, Vec::new(), 1));
    }

    #[test]
    fn what_is_given_is_taken() {
        let (options, stops, n) = read(
            r#"{"temperature":0.5,"top_p":0.9,"seed":-7,"stop":["a","b"],"presence_penalty":-2,"n":8,
                "logit_bias":{"3":-100,"99":1.5},"top_k":-1,"min_p":0.1,"repetition_penalty":1.5}"#,
        )
        .unwrap();
        let expected = SamplingOptions {
            temperature: 0.5,
            top_k: 0,
            top_p: 0.9,
            min_p: 0.1,
            repeat_penalty: 1.5,
            repeat_last_n: usize::MAX,
            presence_penalty: -2.0,
            logit_bias: vec![(3, f32::NEG_INFINITY), (99, 1.5)],
            seed: Some((-7i64).cast_unsigned()),
            ..SamplingOptions::default()
        };
        assert_eq!((options, stops, n), (expected, vec!["a".to_owned(), "b".to_owned()], 8));
        assert_eq!(read(r#"{"stop":"x"}"#).unwrap().1, ["x"]);
    }

    #[test]
    fn wrong_fields_are_named() {
        for (json, param) in [
            (r#"{"temperature":2.1}"#, "temperature"),
            (r#"{"temperature":"hot"}"#, "temperature"),
            (r#"{"top_p":-0.1}"#, "top_p"),
            (r#"{"frequency_penalty":2.5}"#, "frequency_penalty"),
            (r#"{"repeat_penalty":0}"#, "repeat_penalty"),
            (r#"{"n":0}"#, "n"),
            (r#"{"n":9}"#, "n"),
            (r#"{"n":1.5}"#, "n"),
            (r#"{"stop":[1]}"#, "stop"),
            (r#"{"logit_bias":{"100":1}}"#, "logit_bias"),
            (r#"{"logit_bias":{"a":1}}"#, "logit_bias"),
            (r#"{"logit_bias":{"1":101}}"#, "logit_bias"),
            (r#"{"logit_bias":[]}"#, "logit_bias"),
        ] {
            assert_eq!(read(json).unwrap_err().param.as_deref(), Some(param), "{json}");
        }
        assert_eq!(max_tokens("max_tokens", Some(-1), 1).unwrap(), None);
        assert!(max_tokens("max_tokens", Some(0), 1).is_err() && max_tokens("max_tokens", Some(0), 0).is_ok());
    }
}
