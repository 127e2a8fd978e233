//! The description of ssd-llm's own routes.

use serde_json::json;

use super::description::{Api, Description};
use super::operation::{JSON, Operation, TEXT};
use super::schema::{any, count, either, list, map, nullable, number, object, only, text, word};
use crate::native::{ApplyBody, DetokenizeBody, TokenizeBody};

pub(crate) fn describe(all: &mut Description) {
    let index = Operation::new("Says that there is a server: in a word, or to browsers with a page to chat");
    all.add(Api::Ollama, "get", "/", index.gives(TEXT, only("Ollama is running")).gives("text/html", text()).open());
    let file = Operation::new("A file of the page").gives_nothing(404).open();
    let file =
        ["text/javascript", "text/css", "image/svg+xml"].into_iter().fold(file, |file, kind| file.gives(kind, text()));
    all.add(Api::Own, "get", "/page/{name}", file);
    all.add(Api::Own, "get", "/openapi.json", Operation::new("This description").gives(JSON, map(any())));

    let state = word(&["ready", "unloaded", "degraded"]);
    let health = object(json!({ "status": only("ok"), "state": state }));
    let health = Operation::new("Whether the server can answer").gives(JSON, health).fails(&[503]).open();
    all.add(Api::Own, "get", "/health", health);
    let metrics = Operation::new("Counters and gauges, as Prometheus reads them").gives(TEXT, text());
    all.add(Api::Own, "get", "/metrics", metrics);
    let plan = plan(all);
    all.add(Api::Own, "get", "/plan", Operation::new("What of the model is kept in memory").gives(JSON, plan.clone()));
    let stats = Operation::new("What goes on, and what has been done").gives(JSON, stats(plan));
    all.add(Api::Own, "get", "/stats", stats);

    let piece = either(&[text(), list(count())]);
    let token = either(&[count(), object(json!({ "id": count(), "piece": piece }))]);
    let tokenize = Operation::new("The tokens of a text")
        .takes(all.request::<TokenizeBody>(), json!({ "content": "Hello" }))
        .gives(JSON, object(json!({ "tokens": list(token) })))
        .fails(&[400]);
    all.add(Api::Own, "post", "/tokenize", tokenize);
    let detokenize = Operation::new("The text of tokens")
        .takes(all.request::<DetokenizeBody>(), json!({ "tokens": [1, 2] }))
        .gives(JSON, object(json!({ "content": text() })))
        .fails(&[400]);
    all.add(Api::Own, "post", "/detokenize", detokenize);
    let messages = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
    let apply = Operation::new("The prompt that the model's template makes of a conversation")
        .takes(all.request::<ApplyBody>(), messages)
        .gives(JSON, object(json!({ "prompt": text() })))
        .fails(&[400, 500]);
    all.add(Api::Own, "post", "/apply-template", apply);
}

fn plan(all: &mut Description) -> serde_json::Value {
    let plan = object(json!({
        "budget_bytes": count(),
        "weights_bytes": count(),
        "pinned_bytes": count(),
        "streamed_bytes_per_pass": count(),
        "kv_bytes": count(),
        "fixed_bytes": count(),
        "minimum_budget_bytes": count(),
        "predicted_tokens_per_second": nullable(number()),
    }));
    all.schema("Plan", plan)
}

fn stats(plan: serde_json::Value) -> serde_json::Value {
    let model = json!({
        "name": text(),
        "architecture": text(),
        "parameters": count(),
        "quantization": text(),
        "file_bytes": count(),
        "n_layers": count(),
        "context": count(),
    });
    let now = json!({
        "tokens_per_second": number(),
        "bytes_per_second": number(),
        "stall_share": number(),
        "passes_per_second": number(),
        "queued": count(),
        "prefilling": count(),
        "decoding": count(),
        "pinned_bytes": count(),
    });
    let totals = json!({
        "requests": count(),
        "failed": count(),
        "prompt_tokens": count(),
        "generated_tokens": count(),
        "bytes_read": count(),
        "stall_ms": number(),
        "compute_ms": number(),
    });
    let kv = json!({ "n_pages": count(), "n_free_pages": count(), "n_cached_pages": count(), "page_bytes": count() });
    let layer = object(json!({ "pinned_bytes": count(), "streamed_bytes": count() }));
    let cache = json!({ "hits": count(), "misses": count(), "saved_tokens": count() });
    object(json!({
        "model": object(model),
        "state": word(&["ready", "unloaded", "degraded"]),
        "uptime_s": number(),
        "plan": plan,
        "layers": list(layer),
        "now": object(now),
        "totals": object(totals),
        "kv": object(kv),
        "prompt_cache": object(cache),
    }))
}
