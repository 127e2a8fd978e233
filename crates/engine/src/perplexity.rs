//! How well a model predicts a text: windows, of which the second half is scored.

use std::ops::ControlFlow;

use forward::{Batch, LanguageModel, LogitRows, Logits, SeqId};
use model::TokenId;

use crate::error::EngineError;
use crate::request::StepLogprobs;
use crate::sampler::logprobs::{logprob_of, top_logprobs};

const SEQUENCE: SeqId = SeqId(0);

/// The score of a text.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Mean negative log-likelihood of a scored token, natural logarithm.
    pub mean_nll: f64,
    /// Tokens scored.
    pub n_scored: usize,
    /// One entry a scored token, if they were asked for.
    pub logprobs: Vec<StepLogprobs>,
}

/// What to score, and how.
#[derive(Clone, Copy, Debug)]
pub struct ScoreRequest<'a> {
    /// The text.
    pub tokens: &'a [TokenId],
    /// Tokens of a window; a last part that fills none is not scored.
    pub window: usize,
    /// Replaces the first token of every window, for models that expect one there.
    pub bos: Option<TokenId>,
    /// With how many alternatives each scored token is reported, if at all.
    pub logprobs: Option<usize>,
}

impl Score {
    /// `exp` of the mean negative log-likelihood.
    pub fn perplexity(&self) -> f64 {
        self.mean_nll.exp()
    }
}

/// Scores a text as llama-perplexity does: in each window, the tokens after its middle are predicted from all before.
///
/// `on_window` hears the windows done, their number and the score so far; breaking ends with that score.
/// Errors: the text fills no window, or a pass fails.
pub fn score(
    model: &mut dyn LanguageModel,
    request: ScoreRequest<'_>,
    on_window: &mut dyn FnMut(usize, usize, &Score) -> ControlFlow<()>,
) -> Result<Score, EngineError> {
    let n_windows = request.tokens.len() / request.window;
    if n_windows == 0 {
        return Err(EngineError::TextTooShort { tokens: request.tokens.len(), window: request.window });
    }
    let mut score = Score::default();
    let mut nll = 0.0;
    for (i, window) in request.tokens.chunks_exact(request.window).enumerate() {
        let result = score_window(model, request, window, &mut score, &mut nll);
        model.kv().remove(SEQUENCE);
        result?;
        score.mean_nll = nll / score.n_scored as f64;
        if on_window(i + 1, n_windows, &score).is_break() {
            break;
        }
    }
    Ok(score)
}

fn score_window(
    model: &mut dyn LanguageModel,
    request: ScoreRequest<'_>,
    window: &[TokenId],
    score: &mut Score,
    nll: &mut f64,
) -> Result<(), EngineError> {
    let mut tokens = window.to_vec();
    if let Some(bos) = request.bos {
        tokens[0] = bos;
    }
    let first = window.len() / 2;
    let mut done = 0;
    for chunk in tokens.chunks(model.max_rows()) {
        let rows = LogitRows::From(first.saturating_sub(done));
        let logits = model.forward(&Batch::prompt(SEQUENCE, done, chunk.to_vec(), rows, tokens.len()))?;
        let from = first.max(done);
        done += chunk.len();
        score_rows(&logits, &window[window.len().min(from + 1)..], request.logprobs, score, nll);
    }
    Ok(())
}

/// Scores each row's prediction of the token that follows it; the window's last row has none.
fn score_rows(logits: &Logits, following: &[TokenId], n_top: Option<usize>, score: &mut Score, nll: &mut f64) {
    for (row, &token) in (0..logits.n_rows()).zip(following) {
        let chosen = logprob_of(logits.row(row), token);
        *nll -= f64::from(chosen.logprob);
        score.n_scored += 1;
        if let Some(n) = n_top {
            score.logprobs.push(StepLogprobs { chosen, top: top_logprobs(logits.row(row), n) });
        }
    }
}
