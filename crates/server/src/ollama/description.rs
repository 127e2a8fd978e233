//! The description of Ollama's API in `/openapi.json`.

use serde_json::{Value, json};

use super::chat::ChatBody;
use super::embed::EmbedBody;
use super::generate::GenerateBody;
use super::library::{CopyBody, CreateBody, Named};
use crate::openapi::description::{Api, Description};
use crate::openapi::operation::{ENGINE, JSON, LINES, Operation};
use crate::openapi::schema::{
    any, count, either, flag, list, map, number, object, object_with, only, reference, text, time, word,
};

fn error_schema() -> Value {
    object(json!({ "error": text() }))
}

pub(crate) fn describe(all: &mut Description) {
    all.error(Api::Ollama, "What is wrong, in words.", error_schema());
    let mut add = |method: &str, path: &str, operation: Operation| all.add(Api::Ollama, method, path, operation);
    let version = Operation::new("The version of Ollama whose API this is");
    add("get", "/api/version", version.gives(JSON, object(json!({ "version": text() }))));
    let digest = Operation::new("Whether a blob is there: none is").gives_nothing(404);
    add("head", "/api/blobs/{digest}", digest);
    add("post", "/api/blobs/{digest}", Operation::new("Takes a blob: this server takes none").fails(&[400]));
    add("post", "/api/push", Operation::new("Pushes a model: this server pushes none").fails(&[400]));
    models(all);
    answers(all);
    embeddings(all);
}

/// What clients ask about models, and do to them.
fn models(all: &mut Description) {
    let name = json!({ "model": all.model });
    let named = all.request::<Named>();
    let details = object(json!({
        "parent_model": text(),
        "format": only("gguf"),
        "family": text(),
        "families": list(text()),
        "parameter_size": text(),
        "quantization_level": text(),
        "context_length": count(),
        "embedding_length": count(),
    }));
    let details = all.schema("ollama.Details", details);
    let capabilities = list(word(&["completion", "embedding", "tools", "thinking"]));
    let model = |more: Value| {
        let mut fields =
            json!({ "name": text(), "model": text(), "size": count(), "digest": text(), "details": details });
        fields.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        object(json!({ "models": list(object(fields)) }))
    };
    let tags = model(json!({ "modified_at": time(), "capabilities": capabilities }));
    all.add(Api::Ollama, "get", "/api/tags", Operation::new("The model that there is").gives(JSON, tags));
    let ps = model(json!({ "expires_at": time(), "size_vram": count(), "context_length": count() }));
    all.add(Api::Ollama, "get", "/api/ps", Operation::new("The model, if it is in memory").gives(JSON, ps));

    let tensor = object(json!({ "name": text(), "type": text(), "shape": list(count()) }));
    let shown = object_with(
        json!({
            "license": text(),
            "modelfile": text(),
            "parameters": text(),
            "template": text(),
            "details": details,
            "model_info": map(any()),
            "capabilities": capabilities,
            "modified_at": time(),
        }),
        json!({ "tensors": list(tensor) }),
    );
    let show = Operation::new("What is known of the model").takes(named.clone(), name.clone());
    all.add(Api::Ollama, "post", "/api/show", show.gives(JSON, shown).fails(&[400, 404]));
    let status = object(json!({ "status": text() }));
    let pull = Operation::new("Pulls the model, which is there already").takes(named.clone(), name.clone());
    let pull = pull.gives(JSON, status.clone()).gives(LINES, either(&[status, reference("ollama.Error")]));
    all.add(Api::Ollama, "post", "/api/pull", pull.fails(&[400, 404]));
    let create = Operation::new("Makes a model: this server makes none");
    let create = create.takes(all.request::<CreateBody>(), json!({ "model": "mine", "from": all.model }));
    all.add(Api::Ollama, "post", "/api/create", create.fails(&[400]));
    let copy = Operation::new("Gives the model another name: this server keeps one");
    let copy = copy.takes(all.request::<CopyBody>(), json!({ "source": all.model, "destination": "mine" }));
    all.add(Api::Ollama, "post", "/api/copy", copy.fails(&[400, 404]));
    let delete = Operation::new("Deletes the model: this server keeps it").takes(named, name);
    all.add(Api::Ollama, "delete", "/api/delete", delete.fails(&[400, 404]));
}

/// What the last object of an answer has, and all of one that is not streamed.
fn totals() -> Value {
    json!({
        "done_reason": word(&["stop", "length", "load", "unload"]),
        "total_duration": count(),
        "load_duration": count(),
        "prompt_eval_count": count(),
        "prompt_eval_duration": count(),
        "eval_count": count(),
        "eval_duration": count(),
        "logprobs": list(logprob(json!({ "top_logprobs": list(logprob(json!({}))) }))),
    })
}

fn logprob(more: Value) -> Value {
    object_with(json!({ "token": text(), "logprob": number(), "bytes": list(count()) }), more)
}

fn answers(all: &mut Description) {
    let answer = |required: Value, more: Value| {
        let mut fields = json!({ "model": text(), "created_at": time(), "done": flag() });
        fields.as_object_mut().expect("an object").extend(required.as_object().expect("an object").clone());
        let mut optional = totals();
        optional.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        object_with(fields, optional)
    };
    let more = json!({ "thinking": text(), "context": list(count()) });
    let generated = all.schema("ollama.Generated", answer(json!({ "response": text() }), more));
    let function = object(json!({ "index": count(), "name": text(), "arguments": map(any()) }));
    let call = object(json!({ "id": text(), "function": function }));
    let said = json!({ "thinking": text(), "tool_calls": list(call) });
    let message = object_with(json!({ "role": only("assistant"), "content": text() }), said);
    let chatted = all.schema("ollama.Chatted", answer(json!({ "message": message }), json!({})));
    let lines = |schema: &Value| either(&[schema.clone(), reference("ollama.Error")]);

    let options = json!({ "num_predict": 4 });
    let prompt = json!({ "model": all.model, "prompt": "Hello", "options": options });
    let generate = Operation::new("Answers a prompt")
        .takes(all.request::<GenerateBody>(), prompt)
        .gives(LINES, lines(&generated))
        .gives(JSON, generated)
        .fails(&ENGINE);
    all.add(Api::Ollama, "post", "/api/generate", generate);
    let messages = json!([{ "role": "user", "content": "Hello" }]);
    let conversation = json!({ "model": all.model, "messages": messages, "options": options });
    let chat = Operation::new("Answers a conversation")
        .takes(all.request::<ChatBody>(), conversation)
        .gives(LINES, lines(&chatted))
        .gives(JSON, chatted)
        .fails(&ENGINE);
    all.add(Api::Ollama, "post", "/api/chat", chat);
}

fn embeddings(all: &mut Description) {
    let body = all.request::<EmbedBody>();
    let embedded = object(json!({
        "model": text(),
        "embeddings": list(list(number())),
        "total_duration": count(),
        "load_duration": count(),
        "prompt_eval_count": count(),
    }));
    let embed = Operation::new("Texts as vectors")
        .takes(body.clone(), json!({ "model": all.model, "input": ["Hello"] }))
        .gives(JSON, embedded)
        .fails(&ENGINE);
    all.add(Api::Ollama, "post", "/api/embed", embed);
    let one = Operation::new("A text as a vector")
        .takes(body, json!({ "model": all.model, "prompt": "Hello" }))
        .gives(JSON, object(json!({ "embedding": list(number()) })))
        .fails(&ENGINE);
    all.add(Api::Ollama, "post", "/api/embeddings", one);
}
