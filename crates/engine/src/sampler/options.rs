//! The options of sampling, their ranges, and what goes wrong.

use model::TokenId;

/// How the next token is chosen; the defaults are Ollama's.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Randomness: logits are divided by it; 0 takes the best token, whatever the other options but the penalties say.
    pub temperature: f32,
    /// How many of the best tokens stay in the choice; 0 is off.
    pub top_k: usize,
    /// The best tokens that together have this share of the probability stay; 1 is off.
    pub top_p: f32,
    /// Tokens with less than this share of the best one's probability go; 0 is off.
    pub min_p: f32,
    /// What positive logits of recent tokens are divided by, and others multiplied; 1 is off.
    pub repeat_penalty: f32,
    /// How many of the last tokens count as recent; 0 turns all penalties off.
    pub repeat_last_n: usize,
    /// What a recent token's logit loses for every time it occurred.
    pub frequency_penalty: f32,
    /// What a recent token's logit loses once.
    pub presence_penalty: f32,
    /// What is added to tokens' logits before anything else; negative infinity forbids a token.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Makes the choice repeatable.
    pub seed: Option<u64>,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

/// Why no token was chosen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// An option is outside its range.
    #[error("{option} is {value}, but it must be {range}")]
    OutOfRange {
        /// The option.
        option: &'static str,
        /// What it was set to.
        value: f32,
        /// What it may be.
        range: &'static str,
    },
    /// There was nothing to choose from.
    #[error("no token can be chosen: every logit is NaN or negative infinity; is the model file damaged?")]
    NoToken,
}

impl SamplingOptions {
    /// Checks every option.
    ///
    /// Errors: the first option that is out of its range, with the range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let any = f32::NEG_INFINITY..=f32::INFINITY;
        let share = 0.0..=1.0;
        let checks = [
            ("temperature", self.temperature, 0.0..=f32::INFINITY, "a number from 0 up"),
            ("top_p", self.top_p, share.clone(), "between 0 and 1"),
            ("min_p", self.min_p, share, "between 0 and 1"),
            ("repeat_penalty", self.repeat_penalty, f32::MIN_POSITIVE..=f32::INFINITY, "a number above 0"),
            ("frequency_penalty", self.frequency_penalty, any.clone(), "a number"),
            ("presence_penalty", self.presence_penalty, any, "a number"),
        ];
        let wrong = checks.into_iter().find(|(_, value, allowed, _)| !value.is_finite() || !allowed.contains(value));
        wrong.map_or(Ok(()), |(option, value, _, range)| Err(SamplingError::OutOfRange { option, value, range }))
    }
}
