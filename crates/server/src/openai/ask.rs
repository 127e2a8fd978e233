//! A conversation, its tools and the shape of its answer, on the way to the engine.

use std::sync::Arc;

use engine::{GenerateRequest, ToolChoice};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::sampling::Sampling;
use crate::answer::Answer;
use crate::app::App;
use crate::failure::Failure;
use crate::parts::Splitter;
use crate::prompt::Conversation;
use crate::structured::Shape;
use crate::tools::left_out;

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Ask {
    /// Without its tools.
    pub(super) conversation: Conversation,
    pub(super) tools: Tools,
    /// The shape of the answer's text.
    pub(super) shape: Option<Shape>,
    pub(super) sampling: Sampling,
    pub(super) max_tokens: Option<usize>,
    pub(super) logprobs: Option<usize>,
    /// Whether the oldest messages may go if the context is too small for all.
    pub(super) truncates: bool,
}

/// The tools of a request.
#[derive(Debug)]
pub(super) struct Tools {
    /// Each `{"type": "function", "function": {...}}`.
    pub(super) all: Vec<Value>,
    choice: ToolChoice,
    /// Whether an answer may have several calls.
    pub(super) is_parallel: bool,
}

impl Ask {
    /// Begins the answers; the splitter is for each of them.
    ///
    /// Errors: something that was asked for is out of its range, the template refuses the messages, they are too long, or the
    /// engine takes no more.
    pub(super) async fn begin(self, app: &Arc<App>) -> Result<(Vec<Answer>, Splitter), Failure> {
        let n = self.sampling.n()?;
        let sampling = self.sampling.options(app.facts.tokenizer.vocab_len())?;
        let stop = self.sampling.stops()?;
        let Tools { all: tools, choice, is_parallel } = self.tools;
        // Where both are wanted, what has to be comes before what may be.
        let shape = match self.shape {
            Some(shape) if choice == ToolChoice::Auto => Some(shape),
            _ if tools.is_empty() => None,
            _ => Some(Shape::Calls { tools: tools.clone(), choice: choice.clone(), is_parallel }),
        };
        let is_forced = shape.as_ref().is_some_and(Shape::is_forced);
        let is_json = shape.as_ref().is_some_and(Shape::is_json);
        let has_tools = !tools.is_empty() && !is_json;
        let mut conversation = self.conversation;
        conversation.tools = if has_tools { tools } else { Vec::new() };
        if is_forced && app.facts.has_thinking() {
            conversation.thinking = Some(false);
        }
        name_results(&mut conversation.messages);
        let thinks = app.facts.has_thinking() && conversation.thinking != Some(false);
        let prompt = app
            .aside(move |app| {
                let conversation = app.facts.with_tools_told(conversation, &choice);
                match self.truncates {
                    true => app.facts.render_truncated(&conversation),
                    false => app.facts.render(&conversation),
                }
            })
            .await?;
        let request = GenerateRequest {
            prompt: prompt.tokens,
            max_tokens: self.max_tokens,
            sampling,
            stop,
            logprobs: self.logprobs,
            constraint: app.constrain(shape).await?,
            ..GenerateRequest::default()
        };
        let answers = begin_all(app, &request, n).await?;
        Ok((answers, Splitter::new(thinks, prompt.opens_thinking, has_tools)))
    }
}

/// Begins `n` answers to one prompt, whose seeds, if there is one, follow one another.
///
/// Errors: the engine takes no more, or the prompt cannot be answered.
pub(super) async fn begin_all(app: &Arc<App>, request: &GenerateRequest, n: usize) -> Result<Vec<Answer>, Failure> {
    let one = |k: u64| {
        let mut request = request.clone();
        request.sampling.seed = request.sampling.seed.map(|seed| seed.wrapping_add(k));
        Answer::begin(app, request)
    };
    try_join_all((0..n as u64).map(one)).await
}

impl Tools {
    /// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
    ///
    /// Errors: a tool has no type or no name, or what has to be called is not there.
    pub(super) fn read(
        tools: Option<Vec<Value>>,
        choice: Option<&Value>,
        parallel: Option<bool>,
    ) -> Result<Tools, Failure> {
        let mut all = Vec::new();
        for tool in tools.unwrap_or_default() {
            match tool["type"].as_str() {
                Some("function") => all.push(function(&tool)?),
                Some(kind) => left_out(kind),
                None => {
                    return Err(Failure::bad_field("tools", "tools must be objects with a type, such as \"function\""));
                }
            }
        }
        let choice = read_choice(choice, &mut all)?;
        let has = |name: &str| all.iter().any(|tool| tool["function"]["name"] == name);
        match &choice {
            ToolChoice::Named(name) if !has(name) => Err(Failure::bad_field(
                "tool_choice",
                format!("tool_choice names {name:?}, which is none of the tools"),
            )),
            ToolChoice::Required if all.is_empty() => {
                Err(Failure::bad_field("tool_choice", "tool_choice wants a call, and there are no tools"))
            }
            _ => Ok(Tools { all, choice, is_parallel: parallel != Some(false) }),
        }
    }
}

/// A tool as templates see it, whether its fields stand in `function`, as in conversations, or not, as in responses.
fn function(tool: &Value) -> Result<Value, Failure> {
    let given = tool.get("function").unwrap_or(tool);
    if given["name"].as_str().is_none_or(str::is_empty) {
        return Err(Failure::bad_field("tools", "a tool has no name"));
    }
    let mut function = json!({ "name": given["name"] });
    if let Some(description) = given.get("description").filter(|text| text.is_string()) {
        function["description"] = description.clone();
    }
    function["parameters"] = match given.get("parameters") {
        None | Some(Value::Null) => json!({ "type": "object", "properties": {} }),
        Some(parameters) if parameters.is_object() => parameters.clone(),
        Some(_) => return Err(Failure::bad_field("tools", "a tool's parameters must be a JSON schema")),
    };
    Ok(json!({ "type": "function", "function": function }))
}

/// Reads `tool_choice`, and removes the tools that it does not allow.
fn read_choice(choice: Option<&Value>, tools: &mut Vec<Value>) -> Result<ToolChoice, Failure> {
    let wrong = || {
        let message = "tool_choice must be \"none\", \"auto\", \"required\", or an object that names a function";
        Failure::bad_field("tool_choice", message)
    };
    let name = |one: &Value| one.get("function").unwrap_or(one)["name"].as_str().map(str::to_owned);
    match choice {
        None | Some(Value::Null) => Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "none" => {
                tools.clear();
                Ok(ToolChoice::Auto)
            }
            "auto" => Ok(ToolChoice::Auto),
            "required" | "any" => Ok(ToolChoice::Required),
            _ => Err(wrong()),
        },
        Some(object) if object["type"] == "function" => name(object).map(ToolChoice::Named).ok_or_else(wrong),
        Some(object) if object["type"] == "allowed_tools" => {
            let allowed = object.get("allowed_tools").unwrap_or(object);
            let names: Vec<String> = allowed["tools"].as_array().ok_or_else(wrong)?.iter().filter_map(name).collect();
            tools.retain(|tool| name(tool).is_some_and(|name| names.contains(&name)));
            read_choice(allowed.get("mode"), tools)
        }
        Some(_) => Err(wrong()),
    }
}

/// Gives results of tools the names of their tools, which some templates show.
fn name_results(messages: &mut [Value]) {
    let calls = messages.iter().filter_map(|message| message["tool_calls"].as_array()).flatten();
    let names: Vec<_> = calls.map(|call| (call["id"].clone(), call["function"]["name"].clone())).collect();
    for message in messages.iter_mut().filter(|message| message["role"] == "tool" && message.get("name").is_none()) {
        if let Some((_, name)) = names.iter().rev().find(|(id, _)| !id.is_null() && *id == message["tool_call_id"]) {
            message["name"] = name.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Vec<Value> {
        let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
        vec![
            json!({ "type": "function", "function": { "name": "weather", "description": "?", "parameters": schema, "strict": true } }),
            json!({ "type": "function", "name": "time", "strict": true }),
        ]
    }

    fn read(choice: Value) -> Result<Tools, Failure> {
        Tools::read(Some(tools()), Some(&choice), None)
    }

    #[test]
    fn tools_of_both_forms_become_those_of_templates() {
        let read = read(json!(null)).unwrap();
        assert_eq!((&read.choice, read.is_parallel), (&ToolChoice::Auto, true));
        assert_eq!(read.all[0]["function"]["parameters"]["properties"]["city"]["type"], "string");
        let time = json!({ "name": "time", "parameters": { "type": "object", "properties": {} } });
        assert_eq!(read.all[1], json!({ "type": "function", "function": time }));
        let hosted = ["web_search", "code_interpreter", "computer_use_preview", "mcp", "custom"];
        let hosted = || Some(hosted.iter().map(|kind| json!({ "type": kind })).collect());
        assert!(Tools::read(hosted(), None, None).unwrap().all.is_empty());
        let insisted = Tools::read(hosted(), Some(&json!({ "type": "web_search" })), None).unwrap_err();
        assert_eq!(insisted.param.as_deref(), Some("tool_choice"));
        for wrong in [vec![json!({ "type": "function" })], vec![json!({})], vec![json!(1)]] {
            let failure = Tools::read(Some(wrong), None, None).unwrap_err();
            assert_eq!(failure.param.as_deref(), Some("tools"));
        }
    }

    #[test]
    fn choices_are_words_names_or_lists() {
        let named = || ToolChoice::Named("time".to_owned());
        assert_eq!(read(json!("required")).unwrap().choice, ToolChoice::Required);
        assert_eq!(read(json!({ "type": "function", "function": { "name": "time" } })).unwrap().choice, named());
        assert_eq!(read(json!({ "type": "function", "name": "time" })).unwrap().choice, named());
        assert!(read(json!("none")).unwrap().all.is_empty());
        let allowed = json!({ "mode": "required", "tools": [{ "type": "function", "name": "time" }] });
        let some = read(json!({ "type": "allowed_tools", "allowed_tools": allowed })).unwrap();
        assert_eq!((some.choice, some.all.len()), (ToolChoice::Required, 1));
        for wrong in [json!("maybe"), json!(1), json!({}), json!({ "type": "function", "name": "nope" })] {
            assert_eq!(read(wrong).unwrap_err().param.as_deref(), Some("tool_choice"));
        }
        assert!(Tools::read(None, Some(&json!("required")), None).is_err());
        assert!(Tools::read(None, Some(&json!("auto")), None).is_ok());
    }

    #[test]
    fn results_get_the_names_of_their_calls() {
        let call = json!({ "id": "1", "function": { "name": "time", "arguments": {} } });
        let mut messages = vec![
            json!({ "role": "assistant", "content": "", "tool_calls": [call] }),
            json!({ "role": "tool", "content": "noon", "tool_call_id": "1" }),
            json!({ "role": "tool", "content": "?", "tool_call_id": "2" }),
        ];
        name_results(&mut messages);
        assert_eq!(messages[1]["name"], "time");
        assert!(messages[2].get("name").is_none());
    }
}
