//! Biases of single tokens, then repetition, frequency and presence penalties, as llama.cpp applies them.

use model::TokenId;

use crate::sampler::options::SamplingOptions;

/// The buffers of the penalties.
#[derive(Clone, Debug, Default)]
pub(super) struct Penalties {
    logits: Vec<f32>,
    recent: Vec<TokenId>,
}

impl Penalties {
    /// The logits with their biases and the penalties of the last `repeat_last_n` tokens of `history`.
    pub(super) fn apply<'a>(
        &'a mut self,
        logits: &'a [f32],
        history: &[TokenId],
        options: &SamplingOptions,
    ) -> &'a [f32] {
        let off = options.repeat_penalty == 1.0 && options.frequency_penalty == 0.0 && options.presence_penalty == 0.0;
        let recent = &history[history.len() - options.repeat_last_n.min(history.len())..];
        let is_off = off || recent.is_empty();
        if is_off && options.logit_bias.is_empty() {
            return logits;
        }
        self.recent.clear();
        self.recent.extend_from_slice(recent);
        self.recent.sort_unstable();
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        for (token, bias) in &options.logit_bias {
            if let Some(logit) = self.logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        if is_off {
            return &self.logits;
        }
        for run in self.recent.chunk_by(PartialEq::eq) {
            if let Some(logit) = self.logits.get_mut(run[0] as usize) {
                *logit = penalised(*logit, run.len(), options);
            }
        }
        &self.logits
    }
}

fn penalised(logit: f32, count: usize, options: &SamplingOptions) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a count past 2^24 is as good as its neighbour")]
    let count = count as f32;
    let scaled = if logit <= 0.0 { logit * options.repeat_penalty } else { logit / options.repeat_penalty };
    scaled - count * options.frequency_penalty - options.presence_penalty
}
