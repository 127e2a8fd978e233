//! Tools for models whose template does not support them.
//!
//! The system message lists the tools and shows how to write a call, earlier calls become the text that they were, and results
//! become messages of the user. `parts` reads the calls that the model then writes.
//!
//! Only functions are supported. Coding agents also send tools that OpenAI's or Anthropic's servers would run, with every request,
//! so those are ignored instead of refused.

use engine::ToolChoice;
use serde_json::{Value, json};

use crate::app::Facts;
use crate::prompt::Conversation;

/// The call that the system message shows.
const CALL: &str =
    "<tool_call>\n{\"name\": \"the tool's name\", \"arguments\": {\"a parameter\": \"its value\"}}\n</tool_call>";

/// Logs a tool that is ignored.
pub(crate) fn left_out(kind: &str) {
    tracing::warn!("ignoring a tool of type {kind:?}: only functions are supported");
}

impl Facts {
    /// A conversation that the model's template supports: unchanged if it supports tools or the conversation has none.
    pub(crate) fn with_tools_told(&self, conversation: Conversation, choice: &ToolChoice) -> Conversation {
        let uses_tools = |message: &Value| message["role"] == "tool" || message.get("tool_calls").is_some();
        if self.has_tools() || conversation.tools.is_empty() && !conversation.messages.iter().any(uses_tools) {
            return conversation;
        }
        told(conversation, choice, self.takes_system())
    }

    /// Whether the template accepts a system message.
    fn takes_system(&self) -> bool {
        let messages = ["system", "user"].map(|role| json!({ "role": role, "content": "x" }));
        self.render(&Conversation { messages: messages.into(), ..Conversation::default() }).is_ok()
    }
}

/// Replaces tools, calls and results by text.
fn told(conversation: Conversation, choice: &ToolChoice, takes_system: bool) -> Conversation {
    let mut messages: Vec<Value> = Vec::new();
    for message in conversation.messages {
        let text = message["content"].as_str().unwrap_or("");
        if message["role"] == "tool" {
            let result = format!("<tool_response>\n{text}\n</tool_response>");
            // Many templates want the user and the assistant to take turns.
            match messages.last_mut().filter(|last| is_results(last)) {
                Some(last) => extend(last, "", &result),
                None => messages.push(json!({ "role": "user", "content": result })),
            }
        } else if let Some(calls) = message["tool_calls"].as_array() {
            let said = std::iter::once(text.to_owned()).filter(|text| !text.is_empty());
            let all: Vec<String> = said.chain(calls.iter().map(written)).collect();
            messages.push(json!({ "role": message["role"], "content": all.join("\n") }));
        } else {
            messages.push(message);
        }
    }
    if !conversation.tools.is_empty() {
        let all = instructions(&conversation.tools, choice);
        let place = if takes_system { "system" } else { "user" };
        match messages.iter_mut().find(|message| message["role"] == place) {
            Some(message) if takes_system => extend(message, "", &all),
            Some(message) => extend(message, &all, ""),
            None => messages.insert(0, json!({ "role": place, "content": all })),
        }
    }
    Conversation { messages, tools: Vec::new(), ..conversation }
}

fn is_results(message: &Value) -> bool {
    message["role"] == "user" && message["content"].as_str().is_some_and(|text| text.starts_with("<tool_response>"))
}

/// Adds paragraphs before and after the text of a message.
fn extend(message: &mut Value, before: &str, behind: &str) {
    let text = message["content"].as_str().unwrap_or("");
    let paragraphs: Vec<&str> = [before, text, behind].into_iter().filter(|text| !text.is_empty()).collect();
    message["content"] = json!(paragraphs.join("\n\n"));
}

/// The text of a call in an earlier turn.
fn written(call: &Value) -> String {
    let function = &call["function"];
    let call = json!({ "name": function["name"], "arguments": function["arguments"] });
    format!("<tool_call>\n{call}\n</tool_call>")
}

/// What the model is told about its tools.
fn instructions(tools: &[Value], choice: &ToolChoice) -> String {
    let listed: Vec<String> = tools.iter().map(|tool| tool.get("function").unwrap_or(tool).to_string()).collect();
    let when = match choice {
        ToolChoice::Named(name) => format!("Answer with a call of the tool {name} and nothing else."),
        ToolChoice::Required => "Answer with a call of a tool and nothing else.".to_owned(),
        ToolChoice::Auto => {
            "Call a tool only if it helps with what the user wants, otherwise answer in your own words.".to_owned()
        }
    };
    let listed = listed.join("\n");
    format!(
        "You can call tools. Each line is a tool with the JSON schema of its parameters:\n<tools>\n{listed}\n</tools>\n\n\
         To call one, write exactly this and then wait for its result, which comes in the next message:\n{CALL}\n\n{when}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Conversation {
        let messages = json!([
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Weather?" },
            { "role": "assistant", "content": "", "tool_calls": [
                { "id": "1", "type": "function", "function": { "name": "weather", "arguments": { "city": "Oslo" } } },
            ] },
            { "role": "tool", "content": "rain", "tool_call_id": "1" },
            { "role": "tool", "content": "wind", "tool_call_id": "2" },
        ]);
        let tools = vec![json!({ "type": "function", "function": { "name": "weather", "parameters": {} } })];
        Conversation { messages: messages.as_array().unwrap().clone(), tools, thinking: Some(true) }
    }

    #[test]
    fn calls_and_results_become_words() {
        let told = told(conversation(), &ToolChoice::Auto, true);
        let roles: Vec<_> = told.messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        let system = told.messages[0]["content"].as_str().unwrap();
        assert!(system.starts_with("Be brief.\n\nYou can call tools."), "{system}");
        assert!(system.contains("\n{\"name\":\"weather\",\"parameters\":{}}\n"), "{system}");
        let call = "<tool_call>\n{\"name\":\"weather\",\"arguments\":{\"city\":\"Oslo\"}}\n</tool_call>";
        assert_eq!(told.messages[2], json!({ "role": "assistant", "content": call }));
        let results = "<tool_response>\nrain\n</tool_response>\n\n<tool_response>\nwind\n</tool_response>";
        assert_eq!(told.messages[3], json!({ "role": "user", "content": results }));
        assert!(told.tools.is_empty() && told.thinking == Some(true));
    }

    #[test]
    fn where_no_system_can_speak_the_user_does() {
        let mut without = conversation();
        without.messages.remove(0);
        let told = told(without, &ToolChoice::Named("weather".to_owned()), false);
        let first = &told.messages[0];
        assert_eq!(first["role"], "user");
        let text = first["content"].as_str().unwrap();
        assert!(text.starts_with("You can call tools.") && text.ends_with("nothing else.\n\nWeather?"), "{text}");
    }
}
