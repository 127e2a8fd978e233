//! Handler of `/v1/embeddings`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::completions::TextInput;
use super::reply::{model_name, object};
use crate::app::App;
use crate::embedding::{Embedding, embed_all};
use crate::failure::Failure;
use crate::hold::Hold;

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::EmbeddingBody)]
pub(super) struct EmbeddingBody {
    model: Option<String>,
    #[schema(required = true)]
    input: Option<TextInput>,
    encoding_format: Option<String>,
    dimensions: Option<i64>,
}

#[derive(Debug, Serialize)]
struct List {
    object: &'static str,
    data: Vec<EmbeddingItem>,
    model: String,
    usage: EmbeddingUsage,
}

#[derive(Debug, Serialize)]
struct EmbeddingItem {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    /// The bytes of its numbers, the lowest first.
    Base64(String),
}

#[derive(Debug, Serialize)]
struct EmbeddingUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

pub(crate) async fn embeddings(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let app = &app;
    let mut wanted: EmbeddingBody = crate::body::read(&bytes)?;
    let model = model_name(app, wanted.model.take())?;
    let _guard = Hold::new(app, None);
    let is_base64 = match wanted.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("encoding_format must be \"float\" or \"base64\", not {other:?}");
            return Err(Failure::bad_field("encoding_format", message));
        }
    };
    let dimensions = dimensions(wanted.dimensions, app.facts.spec.dim)?;
    let input = wanted.input.ok_or_else(|| Failure::bad_field("input", "input is missing"))?;
    let inputs = app.aside(move |app| input.tokens(&app.facts, "input")).await?;
    if inputs.is_empty() {
        return Err(Failure::bad_field("input", "input is empty: give one text at least"));
    }
    let all = embed_all(app, inputs, false, dimensions).await?;
    let n_tokens = all.iter().map(|embedding| embedding.n_tokens).sum();
    let item = |(index, Embedding { vector, .. }): (usize, Embedding)| {
        let embedding = if is_base64 { Vector::Base64(base64(&vector)) } else { Vector::Numbers(vector) };
        EmbeddingItem { object: "embedding", index, embedding }
    };
    Ok(object(&List {
        object: "list",
        data: all.into_iter().enumerate().map(item).collect(),
        model,
        usage: EmbeddingUsage { prompt_tokens: n_tokens, total_tokens: n_tokens },
    }))
}

fn dimensions(wanted: Option<i64>, dim: usize) -> Result<Option<usize>, Failure> {
    let Some(n) = wanted else { return Ok(None) };
    match usize::try_from(n) {
        Ok(n @ 1..) if n <= dim => Ok(Some(n)),
        _ => Err(Failure::bad_field("dimensions", format!("dimensions must be between 1 and {dim}, not {n}"))),
    }
}

fn base64(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_of_little_endian_numbers() {
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
    }

    #[test]
    fn a_vector_has_no_more_numbers_than_the_model_gives() {
        assert_eq!(dimensions(Some(4), 4).unwrap(), Some(4));
        assert!(dimensions(Some(5), 4).is_err() && dimensions(Some(0), 4).is_err() && dimensions(Some(-1), 4).is_err());
    }
}
