//! Helpers for the tests of writers: answers without an engine.

use std::sync::Arc;

use axum::http::StatusCode;
use engine::{FinishReason, Generation, Timings};
use model::Tokenizer;
use serde_json::Value;
use store::ReadStats;
use testkit::{TinySpec, temp_model};

use crate::answer::Piece;
use crate::failure::Failure;
use crate::stream::Format;

pub(super) fn tokenizer() -> Arc<Tokenizer> {
    let path = temp_model(&TinySpec::from_line("llama").build().gguf_bytes());
    Arc::new(engine::load_tokenizer(&path).expect("the model has a tokenizer"))
}

/// An answer with two tokens.
pub(super) fn generation(text: &str, finish_reason: FinishReason) -> Generation {
    Generation {
        text: text.to_owned(),
        hidden: Vec::new(),
        tokens: vec![1, 2],
        logprobs: Vec::new(),
        prompt_tokens: 3,
        cached_tokens: 0,
        finish_reason,
        stop_text: None,
        timings: Timings::default(),
        prefill_reads: ReadStats::default(),
        decode_reads: ReadStats::default(),
    }
}

pub(super) fn failure() -> Piece {
    Piece::Failed(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the disk is gone"))
}

/// The stream of an answer that comes in pieces of three bytes.
pub(super) fn played(mut format: impl Format, answer: &str, reason: FinishReason) -> String {
    let mut text = format.begin();
    for piece in answer.as_bytes().chunks(3) {
        let piece = String::from_utf8(piece.to_vec()).expect("tests have ASCII");
        text += &format.piece(0, Piece::Text { text: piece, logprobs: None, is_token: true });
    }
    text += &format.piece(0, Piece::Done(Box::new(generation(answer, reason))));
    text + &format.end()
}

/// The objects of a stream of events.
pub(super) fn objects(events: &str) -> Vec<Value> {
    let lines = events.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    lines.map(|data| serde_json::from_str(data).expect("an event is JSON")).collect()
}
