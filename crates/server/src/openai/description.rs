//! The description of OpenAI's API in `/openapi.json`.

use serde_json::{Value, json};

use super::chat::ChatBody;
use super::completions::CompletionBody;
use super::embeddings::EmbeddingBody;
use super::responses::handler::ResponsesBody;
use super::sampling::Sampling;
use crate::openapi::description::{Api, Description};
use crate::openapi::operation::{ENGINE, EVENTS, JSON, Operation};
use crate::openapi::schema::{
    any, count, either, flag, list, map, nullable, number, object, object_with, only, reference, text, word,
};

fn error_schema() -> Value {
    let fields = json!({ "message": text(), "type": text(), "param": nullable(text()), "code": nullable(text()) });
    let error = object_with(fields, json!({ "n_prompt_tokens": count(), "n_ctx": count() }));
    object(json!({ "error": error }))
}

pub(crate) fn describe(all: &mut Description) {
    all.error(Api::OpenAi, "What is wrong, and with which field.", error_schema());
    let fields = json!({ "id": text(), "object": only("model"), "created": count(), "owned_by": text() });
    let model = all.schema("openai.Model", object(fields));
    let list_of = |of: Value| json!({ "object": only("list"), "data": list(of) });
    let models = object(list_of(model.clone()));
    all.add(Api::OpenAi, "get", "/v1/models", Operation::new("The model that there is").gives(JSON, models));
    let one = Operation::new("The model of this name").gives(JSON, model).fails(&[404]);
    all.add(Api::OpenAi, "get", "/v1/models/{id}", one);

    let details = object(json!({ "cached_tokens": count() }));
    let fields = json!({
        "prompt_tokens": count(),
        "completion_tokens": count(),
        "total_tokens": count(),
        "prompt_tokens_details": details,
    });
    all.schema("openai.Usage", object(fields));
    let token =
        |more: Value| object_with(json!({ "token": text(), "logprob": number(), "bytes": list(count()) }), more);
    let mut entry = token(json!({ "top_logprobs": list(token(json!({}))) }));
    entry["required"] = json!(["token", "logprob", "bytes", "top_logprobs"]);
    all.schema("openai.Logprob", entry);
    chat(all);
    completions(all);
    embeddings(all, list_of);
    responses(all);
}

/// A request that has what says how tokens are chosen, too.
fn with_sampling(all: &mut Description, body: Value) -> Value {
    json!({ "allOf": [body, all.request::<Sampling>()] })
}

/// What answers and their chunks begin with.
fn head(kind: &str, choice: Value) -> Value {
    json!({
        "id": text(),
        "created": count(),
        "model": text(),
        "system_fingerprint": text(),
        "object": only(kind),
        "choices": list(choice),
    })
}

fn usage() -> Value {
    json!({ "usage": nullable(reference("openai.Usage")) })
}

fn chat(all: &mut Description) {
    let entries = nullable(list(reference("openai.Logprob")));
    let logprobs = nullable(object(json!({ "content": entries, "refusal": entries })));
    let reason = word(&["stop", "length", "tool_calls"]);
    let function = object_with(json!({ "arguments": text() }), json!({ "name": text() }));
    let fields = json!({ "index": count(), "id": text(), "type": only("function") });
    let calls = list(object_with(json!({ "function": function }), fields));
    let said = object_with(
        json!({ "role": only("assistant"), "content": nullable(text()), "refusal": nullable(text()) }),
        json!({ "reasoning_content": text(), "tool_calls": calls }),
    );
    let fields = json!({ "index": count(), "message": said, "logprobs": logprobs, "finish_reason": reason });
    let mut whole = head("chat.completion", object(fields));
    whole["usage"] = reference("openai.Usage");
    let whole = all.schema("openai.ChatCompletion", object(whole));
    let delta = object_with(
        json!({}),
        json!({ "role": only("assistant"), "content": text(), "reasoning_content": text(), "tool_calls": calls }),
    );
    let fields = json!({ "index": count(), "delta": delta, "logprobs": logprobs, "finish_reason": nullable(reason) });
    let chunk = object_with(head("chat.completion.chunk", object(fields)), usage());
    let chunk = all.schema("openai.ChatCompletionChunk", chunk);

    let body = all.request::<ChatBody>();
    let messages = json!([{ "role": "user", "content": "Hello" }]);
    let chat = Operation::new("Answers a conversation")
        .takes(with_sampling(all, body), json!({ "model": all.model, "max_tokens": 4, "messages": messages }))
        .gives(JSON, whole)
        .gives(EVENTS, either(&[chunk, reference("openai.Error")]))
        .ends_with("[DONE]")
        .fails(&ENGINE);
    all.add(Api::OpenAi, "post", "/v1/chat/completions", chat);
}

fn completions(all: &mut Description) {
    let columns = object(json!({
        "tokens": list(text()),
        "token_logprobs": list(nullable(number())),
        "top_logprobs": list(nullable(map(number()))),
        "text_offset": list(count()),
    }));
    let reason = nullable(word(&["stop", "length"]));
    let fields = json!({ "text": text(), "index": count(), "logprobs": nullable(columns), "finish_reason": reason });
    let completion = object_with(head("text_completion", object(fields)), usage());
    let completion = all.schema("openai.Completion", completion);
    let body = all.request::<CompletionBody>();
    let completions = Operation::new("Continues texts as they are")
        .takes(with_sampling(all, body), json!({ "model": all.model, "max_tokens": 4, "prompt": "Once" }))
        .gives(JSON, completion.clone())
        .gives(EVENTS, either(&[completion, reference("openai.Error")]))
        .ends_with("[DONE]")
        .fails(&ENGINE);
    all.add(Api::OpenAi, "post", "/v1/completions", completions);
}

fn embeddings(all: &mut Description, list_of: impl Fn(Value) -> Value) {
    let vector = either(&[list(number()), text()]);
    let fields = json!({ "object": only("embedding"), "index": count(), "embedding": vector });
    let mut embedded = list_of(object(fields));
    embedded["model"] = text();
    embedded["usage"] = object(json!({ "prompt_tokens": count(), "total_tokens": count() }));
    let embed = Operation::new("Texts as vectors")
        .takes(all.request::<EmbeddingBody>(), json!({ "model": all.model, "input": "Hello" }))
        .gives(JSON, object(embedded))
        .fails(&ENGINE);
    all.add(Api::OpenAi, "post", "/v1/embeddings", embed);
}

fn responses(all: &mut Description) {
    let response = all.schema("openai.Response", response());
    let mut event = object_with(
        json!({ "type": text(), "sequence_number": count() }),
        json!({
            "response": response,
            "output_index": count(),
            "content_index": count(),
            "item_id": text(),
            "item": item(),
            "part": part(),
            "delta": text(),
            "text": text(),
            "name": text(),
            "arguments": text(),
            "logprobs": list(reference("openai.Logprob")),
        }),
    );
    event["description"] = json!("Which fields an event has besides the first two depends on its type.");
    let event = all.schema("openai.ResponseEvent", event);
    let body = all.request::<ResponsesBody>();
    let responses = Operation::new("Answers a conversation of items")
        .takes(with_sampling(all, body), json!({ "model": all.model, "max_output_tokens": 4, "input": "Hello" }))
        .gives(JSON, response)
        .gives(EVENTS, event)
        .fails(&ENGINE);
    all.add(Api::OpenAi, "post", "/v1/responses", responses);
}

fn part() -> Value {
    let logprobs = list(reference("openai.Logprob"));
    let text_fields =
        json!({ "type": only("output_text"), "text": text(), "annotations": list(any()), "logprobs": logprobs });
    let thought = object(json!({ "type": only("reasoning_text"), "text": text() }));
    either(&[object(text_fields), thought])
}

fn item() -> Value {
    let fields = |kind: &str, mut more: Value| {
        more["type"] = only(kind);
        more["id"] = text();
        more["status"] = word(&["in_progress", "completed", "incomplete"]);
        object(more)
    };
    either(&[
        fields("message", json!({ "role": only("assistant"), "content": list(part()) })),
        fields("reasoning", json!({ "summary": list(any()), "content": list(part()) })),
        fields("function_call", json!({ "call_id": text(), "name": text(), "arguments": text() })),
    ])
}

fn response() -> Value {
    let detail = |name: &str| object(json!({ name: count() }));
    let usage = json!({
        "input_tokens": count(),
        "input_tokens_details": detail("cached_tokens"),
        "output_tokens": count(),
        "output_tokens_details": detail("reasoning_tokens"),
        "total_tokens": count(),
    });
    let error = object(json!({ "code": text(), "message": text() }));
    object_with(
        json!({
            "id": text(),
            "object": only("response"),
            "created_at": count(),
            "status": word(&["in_progress", "completed", "incomplete", "failed"]),
            "background": flag(),
            "error": nullable(error),
            "incomplete_details": nullable(object(json!({ "reason": text() }))),
            "instructions": nullable(text()),
            "max_output_tokens": nullable(json!({ "type": "integer" })),
            "metadata": any(),
            "model": text(),
            "output": list(item()),
            "parallel_tool_calls": flag(),
            "previous_response_id": nullable(text()),
            "reasoning": object(json!({ "effort": nullable(text()), "summary": nullable(text()) })),
            "store": flag(),
            "temperature": number(),
            "text": object(json!({ "format": any() })),
            "tool_choice": any(),
            "tools": list(any()),
            "top_logprobs": count(),
            "top_p": number(),
            "truncation": text(),
            "usage": nullable(object(usage)),
            "user": nullable(text()),
        }),
        json!({ "completed_at": count() }),
    )
}
