//! Embeddings: hidden states of texts, normalised to unit length.

use std::sync::Arc;

use engine::GenerateRequest;
use futures_util::future::try_join_all;
use model::TokenId;

use crate::answer::Answer;
use crate::app::App;
use crate::failure::Failure;

/// Maximum number of texts in a request.
const MAX_INPUTS: usize = 2048;

/// The embedding of a text.
pub(crate) struct Embedding {
    pub(crate) vector: Vec<f32>,
    pub(crate) n_tokens: usize,
}

/// The embeddings of several texts, truncated to the context if `truncates`, with `dimensions` numbers each.
///
/// Errors: there are too many texts, one is empty or too long, or the engine fails.
pub(crate) async fn embed_all(
    app: &Arc<App>,
    inputs: Vec<Vec<TokenId>>,
    truncates: bool,
    dimensions: Option<usize>,
) -> Result<Vec<Embedding>, Failure> {
    if inputs.len() > MAX_INPUTS {
        return Err(Failure::bad_field(
            "input",
            format!("{} texts are more than the {MAX_INPUTS} that a request may have", inputs.len()),
        ));
    }
    let mut all = Vec::with_capacity(inputs.len());
    // As many at once as the engine computes in a pass or two; the others wait here, not in its queue.
    for inputs in inputs.chunks(app.max_batch.max(1)) {
        let one = |mut prompt: Vec<TokenId>| async move {
            if truncates {
                prompt.truncate(app.facts.ctx);
            }
            if prompt.is_empty() {
                return Err(Failure::bad_field("input", "the input is empty: give some text"));
            }
            let pooling = Some(app.facts.pooling());
            let request = GenerateRequest { prompt, pooling, ..GenerateRequest::default() };
            let generation = Answer::begin(app, request).await?.whole().await?;
            let mut vector = generation.hidden;
            vector.truncate(dimensions.filter(|n| *n > 0).unwrap_or(usize::MAX));
            normalise(&mut vector);
            Ok(Embedding { vector, n_tokens: generation.prompt_tokens })
        };
        all.extend(try_join_all(inputs.iter().cloned().map(one)).await?);
    }
    Ok(all)
}

/// Scales a vector to unit length.
fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "a share of its own length")]
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}
