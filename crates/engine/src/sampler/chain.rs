//! The sampler: the steps of the chain in their order.

use model::TokenId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::constraint::matcher::Constraint;
use crate::error::EngineError;
use crate::sampler::candidates::Candidates;
use crate::sampler::options::{SamplingError, SamplingOptions};
use crate::sampler::penalties::Penalties;
use crate::sampler::{draw, greedy, min_p, temperature, top_k, top_p};

/// Chooses tokens, one after another; allocates nothing once it has seen a row.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplingOptions,
    penalties: Penalties,
    candidates: Candidates,
    /// Logits of which only allowed tokens' are left.
    allowed: Vec<f32>,
    generator: ChaCha8Rng,
}

impl Sampler {
    /// A sampler with `options`, which [`SamplingOptions::validate`] has accepted.
    ///
    /// Without a seed the choice differs from run to run.
    pub fn new(options: &SamplingOptions) -> Self {
        Self {
            options: options.clone(),
            penalties: Penalties::default(),
            candidates: Candidates::default(),
            allowed: Vec::new(),
            generator: ChaCha8Rng::seed_from_u64(options.seed.unwrap_or_else(rand::random)),
        }
    }

    /// Chooses a token by its logit and by the tokens before it.
    ///
    /// Shapes: `logits` is `[vocabulary]`, `history` is the prompt and what was generated.
    /// Errors: no logit is a number above negative infinity. A logit that is not a number is never chosen.
    pub fn sample(&mut self, logits: &[f32], history: &[TokenId]) -> Result<TokenId, SamplingError> {
        let logits = self.penalties.apply(logits, history, &self.options);
        choose(logits, &self.options, &mut self.candidates, &mut self.generator).ok_or(SamplingError::NoToken)
    }

    /// [`Sampler::sample`] among the tokens that `constraint` allows next, as if all others had a logit of negative
    /// infinity from the start.
    ///
    /// Errors: as there, or the constraint cannot be followed.
    pub fn sample_allowed(
        &mut self,
        logits: &[f32],
        history: &[TokenId],
        constraint: &mut Constraint,
    ) -> Result<TokenId, EngineError> {
        let logits = self.penalties.apply(logits, history, &self.options);
        // The best of all tokens, if it is allowed, is also the best of those allowed; and asking for one takes less time.
        if self.options.temperature == 0.0
            && let Some(best) = greedy::argmax(logits)
            && constraint.allows(best)?
        {
            return Ok(best);
        }
        constraint.mask()?.apply(logits, &mut self.allowed);
        let chosen = choose(&self.allowed, &self.options, &mut self.candidates, &mut self.generator);
        Ok(chosen.ok_or(SamplingError::NoToken)?)
    }
}

/// The chain behind the penalties; none if no logit is a number above negative infinity.
fn choose(
    logits: &[f32],
    options: &SamplingOptions,
    candidates: &mut Candidates,
    generator: &mut ChaCha8Rng,
) -> Option<TokenId> {
    if options.temperature == 0.0 {
        return greedy::argmax(logits);
    }
    top_k::fill(candidates, logits, options.top_k);
    top_p::keep(candidates, options.top_p);
    min_p::keep(candidates, options.min_p);
    temperature::apply(candidates, options.temperature);
    draw::draw(candidates, generator)
}
