//! Requests that are refused: with which status, and naming which field.

use serde_json::{Value, json};

use super::requests::{SERVER, chat, with};

/// Words of the types that read requests, which mean nothing to clients.
const JARGON: [&str; 9] =
    ["untagged", "enum", "variant", "struct", "invalid type", " sequence", " map", "i64", "line 1"];

/// Checks that `right` with each of these changes is refused, and which field is named.
#[track_caller]
fn refused<const N: usize>(path: &str, right: &Value, changes: [(Value, &str); N]) {
    for (change, param) in changes {
        let body = with(right, &change);
        let reply = SERVER.post(path, &body);
        let error = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default()["error"].clone();
        assert_eq!((reply.status, &error["param"]), (400, &json!(param)), "{path} {body} {reply:?}");
        let words = error["message"].as_str().expect("a text");
        assert!(error["type"] == "invalid_request_error" && !words.is_empty(), "{error}");
        assert!(!JARGON.iter().any(|word| words.contains(word)), "{words}");
    }
}

#[test]
fn errors_of_chats_say_what_is_wrong_with_which_field() {
    let changes = [
        (json!({ "model": 1 }), "model"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": null }), "messages"),
        (json!({ "messages": "hello" }), "messages"),
        (json!({ "messages": [{ "role": 1 }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": "cat", "content": "" }] }), "messages"),
        (json!({ "temperature": 2.5 }), "temperature"),
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "n": 0 }), "n"),
        (json!({ "n": 9 }), "n"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "max_completion_tokens": -5 }), "max_completion_tokens"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs"),
        (json!({ "top_logprobs": 2 }), "top_logprobs"),
        (json!({ "response_format": { "type": "xml" } }), "response_format"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "tools": [{ "name": "magic" }] }), "tools"),
        (json!({ "stream": "yes" }), "stream"),
    ];
    refused("/v1/chat/completions", &chat(), changes);
}

#[test]
fn errors_of_completions_say_what_is_wrong_with_which_field() {
    let changes = [
        (json!({ "prompt": null }), "prompt"),
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": [99_999] }), "prompt"),
        (json!({ "prompt": { "a": 1 } }), "prompt"),
        (json!({ "suffix": "b" }), "suffix"),
        (json!({ "logprobs": 99 }), "logprobs"),
        (json!({ "echo": true, "logprobs": 1 }), "logprobs"),
        (json!({ "best_of": 1, "n": 2 }), "best_of"),
        (json!({ "best_of": 2, "stream": true }), "best_of"),
    ];
    refused("/v1/completions", &json!({ "prompt": "a", "max_tokens": 2 }), changes);
}

#[test]
fn errors_of_embeddings_say_what_is_wrong_with_which_field() {
    let changes = [
        (json!({}), "input"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": "" }), "input"),
        (json!({ "input": 7 }), "input"),
        (json!({ "input": "a", "encoding_format": "int8" }), "encoding_format"),
        (json!({ "input": "a", "dimensions": 100_000 }), "dimensions"),
    ];
    refused("/v1/embeddings", &json!({}), changes);
}

#[test]
fn errors_of_responses_say_what_is_wrong_with_which_field() {
    let changes = [
        (json!({ "input": null }), "input"),
        (json!({ "input": 5 }), "input"),
        (json!({ "input": [{ "role": 5 }] }), "input"),
        (json!({ "previous_response_id": "resp_1" }), "previous_response_id"),
        (json!({ "background": true }), "background"),
        (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
        (json!({ "text": { "format": { "type": "json_schema" } } }), "text.format"),
    ];
    refused("/v1/responses", &json!({ "input": "a" }), changes);
}

#[test]
fn another_model_is_not_found() {
    let reply = SERVER.post("/v1/chat/completions", &with(&chat(), &json!({ "model": "other" })));
    let error = reply.json()["error"].clone();
    assert_eq!((reply.status, &error["param"], &error["type"]), (404, &json!("model"), &json!("not_found_error")));
    assert!(error["message"].as_str().is_some_and(|words| !words.is_empty()), "{error}");
}

#[test]
fn bodies_that_are_no_objects_are_refused() {
    for body in ["", "{", "[]", "{\"model\":\"tiny\",}"] {
        assert_eq!(SERVER.ask("POST", "/v1/chat/completions", body.as_bytes()).status, 400, "{body}");
    }
}

#[test]
fn prompts_that_are_too_long_are_refused_with_the_numbers() {
    let long = "word ".repeat(2000);
    for (path, body) in [
        (
            "/v1/chat/completions",
            with(&chat(), &json!({ "messages": [{ "role": "user", "content": long }], "stream": true })),
        ),
        ("/v1/completions", json!({ "prompt": long, "max_tokens": 2 })),
        ("/v1/embeddings", json!({ "input": long })),
        ("/v1/responses", json!({ "input": long })),
    ] {
        let reply = SERVER.post(path, &body);
        let error = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default()["error"].clone();
        assert_eq!((reply.status, &error["code"]), (400, &json!("context_length_exceeded")), "{reply:?}");
        assert!(error["type"] == "exceed_context_size_error" && error["n_ctx"] == 512, "{error}");
        let words = error["message"].as_str().expect("a text");
        assert!(
            words.starts_with(
                "this model's maximum context length is 512 tokens, the answer included, and the prompt has "
            ),
            "{words}"
        );
    }
}
