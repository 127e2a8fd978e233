//! Calls of tools in the forms of several models.

use engine::{CallFormat, Grammar, Tool, ToolCalls, ToolChoice};
use serde_json::{Value, json};

use crate::support::Judge;

fn tools() -> Vec<Tool> {
    let weather = json!({
        "type": "object",
        "properties": { "city": { "$ref": "#/$defs/name" }, "days": { "type": "integer", "minimum": 1, "maximum": 9 } },
        "required": ["city"],
        "$defs": { "name": { "type": "string", "minLength": 2 } },
    });
    // Tools' schemas come from elsewhere: what is not supported must not stop them.
    let add = json!({
        "type": "object",
        "properties": { "terms": { "type": "array", "items": { "type": "number" }, "uniqueItems": true } },
        "required": ["terms"],
    });
    let tool = |name: &str, parameters: Value| Tool { name: name.to_owned(), parameters };
    vec![tool("weather", weather), tool("add", add), tool("now", Value::Null)]
}

fn grammar(choice: ToolChoice, format: CallFormat) -> Grammar {
    Grammar::ToolCalls(ToolCalls { tools: tools(), choice, format })
}

const WEATHER: &str =
    "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 3}}\n</tool_call>";
const ADD: &str = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"terms\": [1, 2.5]}}\n</tool_call>";

/// On a vocabulary of bytes and on one where tokens span whatever they like.
fn check(grammar: &Grammar, right: &[&str], wrong: &[&str]) {
    for judge in Judge::all() {
        judge.check(grammar, right, wrong);
    }
}

#[test]
fn required_calls_are_calls_of_the_tools() {
    let right =
        [WEATHER, ADD, &format!("{WEATHER}\n{ADD}"), "<tool_call>\n{\"name\":\"now\",\"arguments\":{}}\n</tool_call>"];
    let wrong = [
        "",
        "It is warm.",
        &format!("I will look.\n{WEATHER}"),
        &WEATHER.replace("weather", "wether"),
        &WEATHER.replace("Rome", "R"),
        &WEATHER.replace("days\": 3", "days\": 10"),
        &WEATHER.replace("\"city\": \"Rome\", ", ""),
        &ADD.replace("[1, 2.5]", "\"1\""),
        &ADD.replace("\n</tool_call>", ""),
        "<tool_call>\n{\"name\":\"now\",\"arguments\":{\"zone\":1}}\n</tool_call>",
    ];
    check(&grammar(ToolChoice::Required, CallFormat::hermes()), &right, &wrong);
}

#[test]
fn a_named_tool_is_called_once() {
    let named = grammar(ToolChoice::Named("add".to_owned()), CallFormat::hermes());
    check(&named, &[ADD], &[WEATHER, &format!("{ADD}\n{ADD}"), "text"]);
    let nothing = grammar(ToolChoice::Named("sub".to_owned()), CallFormat::hermes());
    assert!(Judge::tiny().problem(&nothing).contains("tool \"sub\" is not defined"));
    let none = ToolCalls { tools: Vec::new(), choice: ToolChoice::Auto, format: CallFormat::llama() };
    assert!(Judge::tiny().problem(&Grammar::ToolCalls(none)).contains("no tool"));
}

#[test]
fn text_turns_into_a_call_with_the_mark_of_one() {
    let auto = grammar(ToolChoice::Auto, CallFormat::hermes());
    let right = [
        "",
        "It is {warm} <b>today</b>.",
        WEATHER,
        &format!("I will look.\n{WEATHER}\n{ADD}"),
        &format!("First\n{ADD} and then <tool_ and {WEATHER} that is all."),
    ];
    let wrong = [
        "<tool_call>",
        "Let me see: <tool_call> {}",
        "Let me see: <tool_call>\n{\"name\": \"other\"",
        &format!("{WEATHER} and <tool_call>\n{{\"name\": \"add\", \"arguments\": {{}}}}\n</tool_call>"),
    ];
    check(&auto, &right, &wrong);
}

#[test]
fn a_format_without_anything_between_calls_has_one() {
    let one = CallFormat { between: None, ..CallFormat::hermes() };
    check(&grammar(ToolChoice::Required, one.clone()), &[WEATHER], &[&format!("{WEATHER}\n{ADD}"), ""]);
    let text = format!("I will look.\n{WEATHER}");
    check(
        &grammar(ToolChoice::Auto, one),
        &["", "Hello.", &text],
        &[&format!("{text}\n{ADD}"), &format!("{text} more")],
    );
    let one = CallFormat { before: "<|im_start|>".to_owned(), between: None, ..CallFormat::mistral() };
    let now = r#"{"name": "now", "arguments": {}}"#;
    let list = |calls: &str| format!("<|im_start|>[{calls}]");
    check(&grammar(ToolChoice::Required, one), &[&list(now)], &[&list(&format!("{now}, {now}")), &list("")]);
}

#[test]
fn llama_calls_with_a_brace_alone() {
    let call = r#"{"name": "weather", "parameters": {"city": "Rome"}}"#;
    check(&grammar(ToolChoice::Required, CallFormat::llama()), &[call], &["", "text", &format!("{call}; {call}")]);
    let auto = grammar(ToolChoice::Auto, CallFormat::llama());
    check(
        &auto,
        &["", call, &format!("\n {call}"), "Text with {braces}.", "\n\nText"],
        &["{\"a\": 1}", " {", &format!("{call} text")],
    );
}

#[test]
fn control_tokens_mark_calls_where_the_model_has_them() {
    // The real model has no `[TOOL_CALLS]`, so another control token stands for it.
    let format = CallFormat { before: "<|im_start|>".to_owned(), ..CallFormat::mistral() };
    let call = r#"<|im_start|>[{"name": "add", "arguments": {"terms": [1]}}, {"name": "now", "arguments": {}}]"#;
    check(&grammar(ToolChoice::Required, format.clone()), &[call], &["<|im_start|>[]", "[]", "text", &call[12..]]);
    let auto = grammar(ToolChoice::Auto, format.clone());
    check(
        &auto,
        &["", "Text [1]", call, &format!("Text {call}")],
        &["<|im_start|>", "Text <|im_start|>more", &format!("{call} text")],
    );
    let named = grammar(ToolChoice::Named("now".to_owned()), format);
    check(&named, &["<|im_start|>[{\"name\": \"now\", \"arguments\": {}}]"], &[call]);
}
