//! A coding agent talks to a tiny model through Anthropic's API: whole and streamed answers, stop sequences, tools, prompts that
//! are too long, and what it hears when a request is wrong.

use std::sync::LazyLock;

use serde_json::{Value, json};
use testkit::CHATML;

use crate::support::{CTX, MODEL, Running, serve};

/// A template that shows tools and lets the model think, or not.
const WITH_TOOLS: &str = "{% for tool in tools or [] %}{{ tool.function.name }};{% endfor %}\
    {% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking %}<think>{% endif %}{% endif %}";

static PLAIN: LazyLock<Running> = LazyLock::new(|| serve(CHATML));
static TOOLS: LazyLock<Running> = LazyLock::new(|| serve(WITH_TOOLS));

fn message(more: Value) -> Value {
    let mut body = json!({ "model": MODEL, "max_tokens": 12, "temperature": 0, "messages": hello() });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

fn hello() -> Value {
    json!([{ "role": "user", "content": "Hello" }])
}

fn n_tokens(server: &Running, more: Value) -> u64 {
    let mut body = message(more);
    body.as_object_mut().expect("an object").remove("max_tokens");
    let response = server.post("/v1/messages/count_tokens", &body);
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["input_tokens"].as_u64().expect("a number")
}

fn text(message: &Value) -> String {
    message["content"].as_array().expect("content").iter().filter_map(|block| block["text"].as_str()).collect()
}

#[test]
fn a_streamed_answer_is_the_whole_one() {
    let whole = PLAIN.post("/v1/messages", &message(json!({})));
    assert_eq!((whole.status, whole.header("content-type")), (200, "application/json"));
    assert!(whole.header("request-id").starts_with("req_"));
    let whole = whole.json();
    assert_eq!((&whole["stop_reason"], &whole["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(12)));
    let read = |message: &Value| {
        ["input_tokens", "cache_read_input_tokens"].map(|name| message["usage"][name].as_u64().unwrap())
    };
    assert_eq!(read(&whole).iter().sum::<u64>(), n_tokens(&PLAIN, json!({})));

    let streamed = PLAIN.post("/v1/messages?beta=true", &message(json!({ "stream": true })));
    assert_eq!((streamed.status, streamed.header("content-type")), (200, "text/event-stream"));
    let events: Vec<Value> = streamed
        .text()
        .split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.split_once("\ndata: ").expect("data").1).expect("JSON"))
        .collect();
    let said: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(said, text(&whole));
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], n_tokens(&PLAIN, json!({})));
    assert_eq!(events.last().expect("an end")["type"], "message_stop");
}

#[test]
fn a_stop_sequence_is_named() {
    let all = text(&PLAIN.post("/v1/messages", &message(json!({}))).json());
    let stop: String = all.chars().skip(3).take(2).collect();
    let stopped = PLAIN.post("/v1/messages", &message(json!({ "stop_sequences": ["never \u{0}", stop] }))).json();
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!(stop)));
    assert_eq!(text(&stopped), all[..all.find(&stop).expect("it is there")]);
}

#[test]
fn an_answer_goes_on_from_what_was_said_for_it() {
    let said = json!([hello()[0], { "role": "assistant", "content": "He" }]);
    let prefilled = n_tokens(&PLAIN, json!({ "messages": said }));
    let open = n_tokens(&PLAIN, json!({}));
    assert!((open + 1..open + 3).contains(&prefilled), "{prefilled} and {open}");
}

#[test]
fn tools_are_shown_where_the_template_has_them_and_told_where_not() {
    let tools = json!([
        { "name": "read", "description": "Reads.", "input_schema": { "type": "object" } },
        { "type": "web_search_20250305", "name": "web_search" },
    ]);
    for server in [&*PLAIN, &*TOOLS] {
        let without = n_tokens(server, json!({}));
        assert!(n_tokens(server, json!({ "tools": tools })) > without);
        let none = json!({ "tools": tools, "tool_choice": { "type": "none" } });
        assert_eq!(n_tokens(server, none), without);
        assert_eq!(n_tokens(server, json!({ "tools": [tools[1]] })), without);
        let answered = server.post("/v1/messages", &message(json!({ "tools": tools })));
        assert_eq!(answered.status, 200, "{}", answered.text());
    }
}

#[test]
fn an_answer_follows_the_schema_of_its_format() {
    let schema = json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "schema": schema });
    let tools = json!([{ "name": "read", "input_schema": { "type": "object" } }]);
    let thinking = json!({ "type": "adaptive" });
    for (server, more) in [
        (&*PLAIN, json!({ "output_config": { "format": format, "effort": "low" } })),
        (&*PLAIN, json!({ "output_format": format })),
        (&*TOOLS, json!({ "output_config": { "format": format }, "tools": tools, "thinking": thinking })),
    ] {
        let mut body = message(more);
        body["max_tokens"] = json!(300);
        let answer = server.post("/v1/messages", &body).answer();
        assert_eq!((&answer["content"][0]["type"], &answer["stop_reason"]), (&json!("text"), &json!("end_turn")));
        let said: Value = serde_json::from_str(&text(&answer)).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert!(said["ok"].is_boolean(), "{said}");
    }
    for wrong in [
        json!({ "type": "xml" }),
        json!({ "type": "json_schema" }),
        json!({ "type": "json_schema", "schema": { "not": {} } }),
    ] {
        assert_eq!(PLAIN.post("/v1/messages", &message(json!({ "output_config": { "format": wrong } }))).status, 400);
    }
    // A call that has to be made comes before.
    let forced = json!({ "output_config": { "format": format }, "tools": tools, "tool_choice": { "type": "any" }, "max_tokens": 300 });
    assert_eq!(PLAIN.post("/v1/messages", &message(forced)).answer()["content"][0]["type"], "tool_use");
}

#[test]
fn the_model_thinks_if_it_is_asked_to() {
    let thinking = json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } });
    assert!(n_tokens(&TOOLS, thinking.clone()) > n_tokens(&TOOLS, json!({})));
    let thought = TOOLS.post("/v1/messages", &message(thinking.clone())).json();
    assert_eq!(thought["content"][0]["type"], "thinking");
    let omitted = json!({ "thinking": { "type": "adaptive", "display": "omitted" } });
    assert_eq!(TOOLS.post("/v1/messages", &message(omitted)).json()["content"], json!([]));
    // A model that cannot think answers all the same.
    assert_eq!(PLAIN.post("/v1/messages", &message(thinking)).json()["content"][0]["type"], "text");
}

#[test]
fn a_prompt_that_is_too_long_is_refused_in_the_words_that_agents_know() {
    let long = json!([{ "role": "user", "content": "x".repeat(2 * CTX) }]);
    let n = n_tokens(&PLAIN, json!({ "messages": long }));
    for stream in [false, true] {
        let refused = PLAIN.post("/v1/messages", &message(json!({ "messages": long, "stream": stream })));
        assert_eq!(refused.status, 400);
        let words = format!("prompt is too long: {n} tokens > {} maximum", CTX - 1);
        assert_eq!(refused.json()["error"], json!({ "type": "invalid_request_error", "message": words }));
    }
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    let block = |block: Value| json!([{ "role": "user", "content": [block] }]);
    let cases = [
        (json!({ "max_tokens": null }), "max_tokens"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": "Hello" }), "messages"),
        (json!({ "messages": [{ "role": "nobody", "content": "x" }] }), "role"),
        (json!({ "messages": block(json!({ "type": "image", "source": {} })) }), "messages.0.content.0"),
        (json!({ "messages": block(json!({ "type": "text" })) }), "messages.0.content.0"),
        (json!({ "system": 5 }), "system: it must be a string or an array of blocks"),
        (json!({ "messages": [{ "role": 5, "content": "x" }] }), "messages[0].role: it must be a string, not 5"),
        (json!({ "tool_choice": { "type": "all" } }), "tool_choice.type: \"all\" is not known here"),
        (json!({ "temperature": -1 }), "temperature"),
        (json!({ "top_p": 2 }), "top_p"),
        (json!({ "top_k": -1 }), "top_k"),
        (json!({ "stop_sequences": 5 }), "stop_sequences"),
        (json!({ "tool_choice": { "type": "any" } }), "tool_choice"),
    ];
    for (wrong, words) in cases {
        let refused = PLAIN.post("/v1/messages", &message(wrong.clone()));
        let error = refused.json();
        assert_eq!(
            (refused.status, &error["error"]["type"]),
            (400, &json!("invalid_request_error")),
            "{wrong}: {error}"
        );
        let message = error["error"]["message"].as_str().expect("a text");
        assert!(message.contains(words), "{wrong}: {error}");
        let jargon = [
            "untagged",
            "enum",
            "variant",
            "struct",
            "invalid type",
            " sequence",
            " map",
            "i64",
            "line 1",
            "missing field",
        ];
        assert!(!jargon.iter().any(|word| message.contains(word)), "{wrong}: {message}");
        assert_eq!(error["request_id"], refused.header("request-id"));
    }
    let unknown = PLAIN.post("/v1/messages", &message(json!({ "model": "claude" })));
    assert_eq!((unknown.status, &unknown.json()["error"]["type"]), (404, &json!("not_found_error")));
    let names = |name: &str| {
        let refused = PLAIN.post("/v1/messages", &message(json!({ "model": name }))).json();
        let words = refused["error"]["message"].as_str().expect("a text").to_owned();
        assert!(words.starts_with(&format!("model '{name}' not found: this server has {MODEL} alone")), "{words}");
        ["ANTHROPIC_MODEL", "_DEFAULT_HAIKU_MODEL", "_DEFAULT_SONNET_MODEL", "_DEFAULT_OPUS_MODEL", "_SMALL_FAST_MODEL"]
            .iter()
            .all(|variable| words.contains(variable))
    };
    assert!(names("claude-haiku-4-5") && !names("llama3"));
    assert_eq!(PLAIN.ask("GET", "/v1/messages", b"").status, 405);
}
