//! What the endpoints answer, at once and in streams.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::requests::{SERVER, chat, endless, joined, listed, with};

#[test]
fn the_one_model_is_listed() {
    let list = SERVER.get("/v1/models").answer();
    let model = &list["data"][0];
    assert_eq!(
        (&list["object"], &model["id"], &model["object"]),
        (&json!("list"), &json!("tiny:latest"), &json!("model"))
    );
    assert!(model["created"].is_u64() && model["owned_by"].is_string());
    assert_eq!(SERVER.get("/v1/models/tiny:latest").answer(), *model);
    assert_eq!(SERVER.get("/v1/models/tiny").answer(), *model);
    let missing = SERVER.get("/v1/models/org/other");
    assert!(missing.status == 404 && missing.text().contains("model_not_found"), "{missing:?}");
}

#[test]
fn a_chat_is_the_same_streamed_or_not() {
    let chat = with(&chat(), &endless());
    let wanted = with(&chat, &json!({ "n": 3, "logprobs": true, "top_logprobs": 2, "unknown": 1, "stop": null }));
    let whole = SERVER.post("/v1/chat/completions", &wanted).answer();
    assert_eq!((&whole["object"], &whole["model"]), (&json!("chat.completion"), &json!("tiny")));
    assert!(whole["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")));
    let usage = &whole["usage"];
    assert_eq!(usage["completion_tokens"], 36);
    assert_eq!(usage["total_tokens"].as_u64(), usage["prompt_tokens"].as_u64().map(|n| n + 36));

    let streamed = with(&wanted, &json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let mut chunks = SERVER.post("/v1/chat/completions", &streamed).events();
    assert_eq!(chunks.pop(), Some(json!("[DONE]")));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk"));
    let last = chunks.pop().expect("a chunk with the usage");
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &usage["total_tokens"]));
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
    for (index, choice) in whole["choices"].as_array().expect("a list").iter().enumerate() {
        assert_eq!((&choice["index"], &choice["message"]["role"]), (&json!(index), &json!("assistant")));
        assert_eq!(json!(joined(&chunks, index, "/delta/content")), choice["message"]["content"]);
        assert_eq!(joined(&chunks, index, "/delta/role"), "assistant");
        assert_eq!(joined(&chunks, index, "/finish_reason"), choice["finish_reason"]);
        let entries = &choice["logprobs"]["content"];
        assert_eq!(listed(&chunks, index, "/logprobs/content"), *entries);
        assert_eq!(entries.as_array().map(Vec::len), Some(12));
        let entry = &entries[0];
        assert!(entry["token"].is_string() && entry["logprob"].is_f64() && entry["bytes"].is_array());
        assert_eq!(entry["top_logprobs"].as_array().map(Vec::len), Some(2));
    }
    assert_ne!(whole["choices"][0]["message"], whole["choices"][1]["message"], "each answer has a seed of its own");
    let plain = SERVER.post("/v1/chat/completions", &with(&chat, &json!({ "stream": true }))).events();
    assert!(plain.iter().all(|chunk| chunk.get("usage").is_none()));
    assert_eq!(json!(joined(&plain, 0, "/delta/content")), whole["choices"][0]["message"]["content"]);
}

#[test]
fn what_is_asked_of_sampling_is_done() {
    let message = |more: Value| {
        let reply =
            SERVER.post("/v1/chat/completions", &with(&with(&chat(), &json!({ "temperature": 0 })), &more)).answer();
        let choice = reply["choices"][0].clone();
        (choice["message"]["content"].as_str().expect("a text").to_owned(), choice["finish_reason"].clone())
    };
    let (text, reason) = message(json!({}));
    assert_eq!(reason, "length");
    let first: Vec<Value> = [("logprobs", json!(true)), ("max_tokens", json!(1))]
        .into_iter()
        .fold(vec![chat()], |all, (name, value)| vec![with(&all[0], &json!({ name: value }))]);
    let entry = SERVER.post("/v1/chat/completions", &with(&first[0], &json!({ "temperature": 0 }))).answer();
    assert_eq!(entry["usage"]["completion_tokens"], 1);
    // The id of a token is found by its text, in the tokenizer of llama.cpp's routes.
    let token = &entry["choices"][0]["logprobs"]["content"][0]["token"];
    let id = SERVER.post("/tokenize", &json!({ "content": token })).answer()["tokens"][0].clone();
    let banned = message(json!({ "logit_bias": { id.to_string(): -100 } })).0;
    assert!(!banned.starts_with(token.as_str().expect("a text")), "{token} in {banned}");
    let only = message(json!({ "logit_bias": { "40": 100 }, "max_completion_tokens": 3 })).0;
    assert_eq!(only.chars().collect::<std::collections::HashSet<_>>().len(), 1);
    let stop: String = text.chars().skip(3).take(2).collect();
    let (stopped, reason) = message(json!({ "stop": [stop] }));
    assert!(text.starts_with(&stopped) && stopped.len() < text.len() && reason == "stop", "{stopped:?} of {text:?}");
    let penalised = message(json!({ "frequency_penalty": 2, "logit_bias": { "40": 10 }, "max_tokens": 24 })).0;
    let often = message(json!({ "logit_bias": { "40": 10 }, "max_tokens": 24 })).0;
    assert_ne!(penalised, often);
}

#[test]
fn completions_continue_texts_as_they_are() {
    let wanted = json!({ "model": "tiny", "prompt": "the hell", "max_tokens": 10, "temperature": 0, "logprobs": 3 });
    let whole = SERVER.post("/v1/completions", &wanted).answer();
    let choice = &whole["choices"][0];
    assert_eq!((&whole["object"], &choice["finish_reason"]), (&json!("text_completion"), &json!("length")));
    let tokens = SERVER.post("/tokenize", &json!({ "content": "the hell" })).answer()["tokens"].clone();
    assert_eq!(whole["usage"]["prompt_tokens"].as_u64(), tokens.as_array().map(|all| all.len() as u64), "no template");
    let columns = &choice["logprobs"];
    for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(columns[name].as_array().map(Vec::len), Some(10), "{name}");
    }
    assert_eq!(columns["top_logprobs"][0].as_object().map(serde_json::Map::len), Some(3));
    let mut chunks = SERVER.post("/v1/completions", &with(&wanted, &json!({ "stream": true }))).events();
    assert_eq!(chunks.pop(), Some(json!("[DONE]")));
    assert_eq!(json!(joined(&chunks, 0, "/text")), choice["text"]);
    assert_eq!(joined(&chunks, 0, "/finish_reason"), "length");
    for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(listed(&chunks, 0, &format!("/logprobs/{name}")), columns[name], "{name}");
    }

    let plain = json!({ "prompt": "the hell", "max_tokens": 10, "temperature": 0, "echo": true });
    let text = |more: Value| {
        let reply = SERVER.post("/v1/completions", &with(&plain, &more)).answer();
        reply["choices"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|c| c["text"].as_str().expect("a text").to_owned())
            .collect::<Vec<_>>()
    };
    let echoed = format!("the hell{}", choice["text"].as_str().expect("a text"));
    assert_eq!(text(json!({})), std::slice::from_ref(&echoed));
    assert_eq!(text(json!({ "prompt": tokens })), std::slice::from_ref(&echoed));
    assert_eq!(text(json!({ "prompt": [tokens, tokens] })), [echoed.clone(), echoed.clone()]);
    assert_eq!(text(json!({ "max_tokens": 0 })), ["the hell"]);
    let many = text(json!({ "prompt": ["the hell", "and", "other", "one", "two", "in"], "n": 2 }));
    assert_eq!((many.len(), &many[0]), (12, &many[1]));
    assert!(many[0] == echoed && many[10].starts_with("in"), "{many:?}");
    let streamed = with(&plain, &json!({ "prompt": ["the hell", "and"], "n": 2, "stream": true }));
    let chunks = SERVER.post("/v1/completions", &streamed).events();
    assert_eq!([0, 1, 2, 3].map(|index| joined(&chunks, index, "/text"))[..], many[..4]);
}

#[test]
fn the_best_of_several_completions_come_first() {
    let best =
        json!({ "prompt": "the", "best_of": 4, "n": 2, "seed": 1, "max_tokens": 5, "temperature": 2, "logprobs": 0 });
    let best = SERVER.post("/v1/completions", &with(&best, &endless())).answer();
    assert_eq!(best["usage"]["completion_tokens"], 20);
    let sum = |i: usize| {
        best["choices"][i]["logprobs"]["token_logprobs"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_f64)
            .sum::<f64>()
    };
    assert!(sum(0) >= sum(1), "{best}");
    assert_eq!(
        SERVER.post("/v1/completions", &with(&json!({ "prompt": "the" }), &endless())).answer()["usage"]["completion_tokens"],
        16
    );
}

#[test]
fn embeddings_are_numbers_or_their_bytes() {
    let embed = |more: Value| {
        SERVER.post("/v1/embeddings", &with(&json!({ "model": "tiny", "input": "hello" }), &more)).answer()
    };
    let floats = embed(json!({}));
    assert_eq!((&floats["object"], &floats["data"][0]["object"]), (&json!("list"), &json!("embedding")));
    let numbers = |value: &Value| {
        value.as_array().expect("a list").iter().filter_map(Value::as_f64).map(|x| x as f32).collect::<Vec<_>>()
    };
    let vector = numbers(&floats["data"][0]["embedding"]);
    assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    let coded = embed(json!({ "encoding_format": "base64" }));
    let bytes = STANDARD.decode(coded["data"][0]["embedding"].as_str().expect("a text")).expect("base64");
    let decoded: Vec<f32> =
        bytes.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().expect("four bytes"))).collect();
    assert_eq!(decoded, vector);
    let tokens = SERVER.post("/tokenize", &json!({ "content": "hello" })).answer()["tokens"].clone();
    let many = embed(json!({ "input": [tokens, tokens, [1]] }));
    assert_eq!((numbers(&many["data"][1]["embedding"]), &many["data"][2]["index"]), (vector.clone(), &json!(2)));
    assert_eq!(many["usage"]["prompt_tokens"], many["usage"]["total_tokens"]);
    assert_eq!(numbers(&embed(json!({ "dimensions": 3 }))["data"][0]["embedding"]).len(), 3);
    assert_eq!(numbers(&embed(json!({ "input": ["a", "hello"] }))["data"][1]["embedding"]), vector);
}

#[test]
fn a_response_is_what_its_events_have_told() {
    let wanted = json!({ "model": "tiny", "input": "hello", "instructions": "be", "seed": 3, "max_output_tokens": 12,
        "include": ["message.output_text.logprobs"], "top_logprobs": 1, "metadata": { "a": "b" } });
    let wanted = with(&wanted, &endless());
    let whole = SERVER.post("/v1/responses", &wanted).answer();
    assert_eq!(
        (&whole["object"], &whole["status"], &whole["metadata"]["a"]),
        (&json!("response"), &json!("incomplete"), &json!("b"))
    );
    assert_eq!(
        (&whole["usage"]["output_tokens"], &whole["incomplete_details"]["reason"]),
        (&json!(12), &json!("max_output_tokens"))
    );
    let part = &whole["output"][0]["content"][0];
    assert_eq!((&part["type"], part["logprobs"].as_array().map(Vec::len)), (&json!("output_text"), Some(12)));

    let reply = SERVER.post("/v1/responses", &with(&wanted, &json!({ "stream": true })));
    let events = reply.events();
    assert!((0..).zip(&events).all(|(number, event)| event["sequence_number"] == number));
    let names: Vec<&str> = reply.text().lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert!(names.iter().zip(&events).all(|(name, event)| event["type"] == *name) && names.len() == events.len());
    let deltas = || events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let text: String = deltas().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(json!(text), part["text"]);
    let last = events.last().expect("there are events");
    assert_eq!(last["type"], "response.incomplete");
    let last = &last["response"];
    assert_eq!(
        (&last["output"][0]["content"], &last["usage"]["total_tokens"]),
        (&whole["output"][0]["content"], &whole["usage"]["total_tokens"])
    );
    assert!(deltas().all(|event| event["item_id"] == last["output"][0]["id"] && event["content_index"] == 0));
    let items = json!([{ "role": "user", "content": [{ "type": "input_text", "text": "hello" }] }]);
    let again = SERVER.post("/v1/responses", &with(&wanted, &json!({ "input": items }))).answer();
    assert_eq!(again["output"][0]["content"], whole["output"][0]["content"]);
}
