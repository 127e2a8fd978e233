//! The description at `/openapi.json` is true: it has every route that the source has and every method that the router takes,
//! and what the server answers, to good requests and bad ones, is what the description says.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use testkit::CHATML;

use crate::support::{MODEL, Response, Running, serve, serve_with};

const METHODS: [&str; 6] = ["get", "head", "post", "put", "delete", "patch"];

fn description(server: &Running) -> Value {
    server.get("/openapi.json").json()
}

/// A path of the description with something in the place of its parameters.
fn concrete(path: &str) -> String {
    path.replace("{id}", MODEL).replace("{name}", "style.css").replace("{digest}", "sha256:0")
}

/// The texts of all `.route("...")` in the source, as the description writes them.
fn routes_of_the_source(folder: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the source is here") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            all.extend(routes_of_the_source(&path));
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("the source is text");
        let route =
            |call: &str| call.trim_start().strip_prefix('"')?.split('"').next().map(|path| path.replace("{*", "{"));
        all.extend(text.split(".route(").skip(1).filter_map(route));
    }
    all
}

#[test]
fn what_the_router_takes_is_described_and_nothing_else_is() {
    let server = serve(CHATML);
    let description = description(&server);
    let paths = description["paths"].as_object().expect("paths");
    let described: BTreeSet<String> = paths.keys().cloned().collect();
    assert_eq!(described, routes_of_the_source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));
    for (path, operations) in paths {
        for method in METHODS {
            let response = server.ask(&method.to_uppercase(), &concrete(path), b"{}");
            // Whoever takes GET takes HEAD.
            let is_described = operations.get(method).is_some() || method == "head" && operations.get("get").is_some();
            assert_eq!(response.status != 405, is_described, "{method} {path} is answered with {}", response.status);
            let is_route = !String::from_utf8_lossy(&response.body).contains("there is nothing at");
            assert!(is_route, "{method} {path} does not exist");
        }
    }
    assert!(server.get("/nothing").json()["error"]["message"].is_string());
}

/// What is said of an answer's type: whether it has it, its status, and that it is like this.
fn check(description: &Value, method: &str, path: &str, response: &Response) {
    let place = format!("{method} {path} with {}", response.status);
    let operation = &description["paths"][path][method.to_lowercase()];
    let mut said = &operation["responses"][response.status.to_string()];
    assert!(said.is_object(), "{place}: {}", String::from_utf8_lossy(&response.body));
    if let Some(name) = said["$ref"].as_str() {
        said = description.pointer(&name[1..]).unwrap_or_else(|| panic!("{place}: {name} is not there"));
    }
    let kind = response.header("content-type").split(';').next().unwrap_or("");
    let Some(contents) = said["content"].as_object() else {
        assert!(response.body.is_empty(), "{place}: a body");
        return;
    };
    let mut schema = &contents.get(kind).unwrap_or_else(|| panic!("{place}: the type is {kind:?}"))["schema"];
    let values: Vec<Value> = match kind {
        "application/json" => vec![response.json()],
        "application/x-ndjson" => {
            assert!(response.text().ends_with('\n'), "{place}");
            response.text().lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
        }
        "text/event-stream" => {
            let data = &schema["properties"]["data"];
            schema = data.get("contentSchema").unwrap_or(&data["anyOf"][0]["contentSchema"]);
            let data = response.text().lines().filter_map(|line| line.strip_prefix("data: "));
            data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).expect("JSON")).collect()
        }
        _ => vec![json!(response.text())],
    };
    assert!(!values.is_empty(), "{place}: nothing was said");
    for value in values {
        if let Err(problem) = validate(description, schema, &value) {
            panic!("{place}: {problem} in {value}");
        }
    }
}

/// Whether a value is as a schema says, of which the words are known that the description has for answers.
fn validate(description: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (word, said) in schema.as_object().expect("a schema is an object") {
        let is_right = match (word.as_str(), value) {
            ("$ref", _) => {
                let pointer = said.as_str().expect("a pointer").trim_start_matches('#');
                let schema = description.pointer(pointer).ok_or_else(|| format!("there is no {pointer}"))?;
                validate(description, schema, value)?;
                true
            }
            ("type", _) => has_type(said.as_str().expect("one type"), value),
            ("const", _) => said == value,
            ("enum", _) => said.as_array().expect("values").contains(value),
            ("minimum", _) => value.as_f64() >= said.as_f64(),
            ("format", Value::String(text)) => {
                assert_eq!(said, "date-time");
                text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z')
            }
            ("anyOf", _) => {
                let all = said.as_array().expect("schemas").iter().map(|schema| validate(description, schema, value));
                let problems: Vec<String> = all.filter_map(Result::err).collect();
                if problems.len() == said.as_array().map_or(0, Vec::len) {
                    return Err(problems.join(", or "));
                }
                true
            }
            ("items", Value::Array(values)) => {
                values.iter().try_for_each(|value| validate(description, said, value))?;
                true
            }
            ("required", Value::Object(fields)) => {
                let names = said.as_array().expect("names");
                let missing = names.iter().find(|name| !fields.contains_key(name.as_str().expect("a name")));
                missing.map_or(Ok(()), |name| Err(format!("there is no {name}")))?;
                true
            }
            ("properties" | "additionalProperties", Value::Object(fields)) => {
                validate_fields(description, schema, word, fields)?;
                true
            }
            ("description" | "items" | "required" | "properties" | "additionalProperties" | "format", _) => true,
            (other, _) => panic!("the test does not know the word {other}"),
        };
        if !is_right {
            return Err(format!("{value} is not {word} {said}"));
        }
    }
    Ok(())
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("no type is called {other}"),
    }
}

/// Whether an object's fields are as `properties` says, or those beside them as `additionalProperties` does.
fn validate_fields(
    description: &Value,
    schema: &Value,
    word: &str,
    fields: &serde_json::Map<String, Value>,
) -> Result<(), String> {
    for (name, value) in fields {
        let property = schema["properties"].get(name);
        let schema = if word == "properties" { property } else { schema.get(word).filter(|_| property.is_none()) };
        match schema {
            None => {}
            Some(Value::Bool(false)) => return Err(format!("{name} is not described")),
            Some(schema) => validate(description, schema, value).map_err(|problem| format!("{name}: {problem}"))?,
        }
    }
    Ok(())
}

/// Requests that are answered, one way or another: the path, and its body.
fn posts() -> Vec<(&'static str, Value)> {
    let hello = json!([{ "role": "user", "content": "Hello" }]);
    let mut all = vec![
        ("/api/show", json!({ "model": MODEL })),
        ("/api/show", json!({ "model": MODEL, "verbose": true })),
        ("/api/show", json!({})),
        ("/api/pull", json!({ "model": MODEL })),
        ("/api/pull", json!({ "model": MODEL, "stream": false })),
        ("/api/pull", json!({ "model": "other" })),
        ("/api/pull", json!({ "model": "other", "stream": false })),
        ("/api/push", json!({ "model": MODEL })),
        ("/api/create", json!({})),
        ("/api/create", json!({ "from": MODEL })),
        ("/api/copy", json!({ "source": MODEL })),
        ("/api/copy", json!({ "source": "other" })),
        ("/api/blobs/{digest}", json!({})),
        ("/api/embed", json!({ "model": MODEL, "input": ["Hello", "you"] })),
        ("/api/embed", json!({ "model": MODEL, "input": 1 })),
        ("/api/embeddings", json!({ "model": MODEL, "prompt": "Hello" })),
        ("/api/embeddings", json!({ "model": "other" })),
        ("/v1/embeddings", json!({ "input": "Hello" })),
        ("/v1/embeddings", json!({ "input": ["Hello", "you"], "encoding_format": "base64" })),
        ("/v1/embeddings", json!({})),
        ("/v1/messages/count_tokens", json!({ "model": MODEL, "messages": hello })),
        ("/v1/messages/count_tokens", json!({ "model": "other", "messages": hello })),
        ("/v1/messages", json!({ "model": MODEL, "messages": hello })),
        ("/v1/chat/completions", json!({ "messages": [] })),
        ("/v1/chat/completions", json!({ "model": "other", "messages": hello })),
        ("/v1/chat/completions", json!({ "messages": [{ "role": "user", "content": "x".repeat(2000) }] })),
        ("/v1/completions", json!({})),
        ("/v1/responses", json!({})),
        ("/api/chat", json!({})),
        ("/api/chat", json!({ "model": MODEL })),
        ("/api/chat", json!({ "model": "other" })),
        ("/api/generate", json!({ "model": MODEL, "stream": false })),
        ("/api/generate", json!({ "model": MODEL, "prompt": "x", "options": { "temperature": "hot" } })),
        ("/tokenize", json!({ "content": "Hello" })),
        ("/tokenize", json!({ "content": "Hel\u{e9}", "with_pieces": true })),
        ("/tokenize", json!({ "content": 1 })),
        ("/detokenize", json!({ "tokens": [1, 2, 3] })),
        ("/detokenize", json!({ "tokens": [1_000_000] })),
        ("/apply-template", json!({ "messages": hello })),
        ("/apply-template", json!({ "messages": [{}] })),
    ];
    all.extend([false, true].into_iter().flat_map(generations));
    all
}

/// Requests for answers of the model, streamed or not.
fn generations(stream: bool) -> Vec<(&'static str, Value)> {
    let hello = json!([{ "role": "user", "content": "Hello" }]);
    let few = json!({ "num_predict": 6, "temperature": 0 });
    let read = json!({ "type": "object", "properties": { "path": { "type": "string" } } });
    let tools = json!([{ "type": "function", "function": { "name": "read", "parameters": read } }]);
    let of_responses = json!([{ "type": "function", "name": "read", "parameters": read }]);
    let of_anthropic = json!([{ "name": "read", "input_schema": read }]);
    let ollama = json!({ "model": MODEL, "stream": stream, "options": few, "logprobs": true, "top_logprobs": 2 });
    let openai = json!({ "stream": stream, "stream_options": { "include_usage": true }, "max_tokens": 6 });
    let with = |base: &Value, more: Value| {
        let mut body = base.clone();
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let of_items = json!({ "stream": stream, "max_output_tokens": 6, "input": "Hello", "tools": of_responses });
    vec![
        ("/api/generate", with(&ollama, json!({ "prompt": "Hello" }))),
        ("/api/generate", with(&ollama, json!({ "prompt": "Hello", "raw": true }))),
        ("/api/chat", with(&ollama, json!({ "messages": hello }))),
        ("/v1/chat/completions", with(&openai, json!({ "messages": hello, "tools": tools }))),
        (
            "/v1/chat/completions",
            with(&openai, json!({ "messages": hello, "logprobs": true, "top_logprobs": 2, "n": 2 })),
        ),
        ("/v1/completions", with(&openai, json!({ "prompt": ["Hello", "you"], "logprobs": 2, "echo": true }))),
        (
            "/v1/responses",
            with(&of_items, json!({ "include": ["message.output_text.logprobs"], "metadata": { "a": "b" } })),
        ),
        ("/v1/messages", with(&openai, json!({ "model": MODEL, "messages": hello, "tools": of_anthropic }))),
    ]
}

#[test]
fn answers_are_as_described() {
    let server = serve(CHATML);
    let description = description(&server);
    for (path, operations) in description["paths"].as_object().expect("paths") {
        if operations.get("get").is_some() {
            check(&description, "GET", path, &server.get(&concrete(path)));
        }
    }
    for (path, other) in [("/page/{name}", "/page/nothing"), ("/v1/models/{id}", "/v1/models/nothing")] {
        check(&description, "GET", path, &server.get(other));
        check(&description, "GET", path, &server.get(&format!("{other}%ff")));
    }
    let page = server.send("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n", b"");
    check(&description, "GET", "/", &page);
    check(&description, "HEAD", "/api/blobs/{digest}", &server.ask("HEAD", "/api/blobs/sha256:0", b""));
    for model in [MODEL, "other"] {
        let body = json!({ "model": model }).to_string();
        check(&description, "DELETE", "/api/delete", &server.ask("DELETE", "/api/delete", body.as_bytes()));
    }
    for (path, body) in posts() {
        check(&description, "POST", path, &server.post(&concrete(path), &body));
    }
}

#[test]
fn refusals_are_as_described() {
    let server = serve_with(CHATML, Some("secret"));
    let description = server.send("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nx-api-key: secret\r\n", b"").json();
    for (path, operations) in description["paths"].as_object().expect("paths") {
        for method in operations.as_object().expect("operations").keys().filter(|method| *method != "head") {
            let start = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", method.to_uppercase(), concrete(path));
            let refused = |more: &str, status: u16| {
                let response = server.send(&format!("{start}{more}\r\n"), b"");
                assert_eq!(response.status, status, "{method} {path}");
                check(&description, method, path, &response);
            };
            refused("Origin: https://example.com", 403);
            refused("x-api-key: secret\r\nContent-Length: 100000000", 413);
            refused("x-api-key: secret\r\nHost: localhost", 400);
            if operations[method].get("security").is_some() {
                refused("x-api-key: wrong", 401);
            }
        }
    }
}
