//! Turns a conversation, from any of the APIs, into the tokens of a prompt.
//!
//! Messages are plain text even if they spell a control token such as `<|im_end|>`: only the template inserts those.

use std::sync::Arc;

use model::{EncodeOptions, RenderOptions, TokenId, Tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::app::{App, Facts};
use crate::failure::Failure;

/// The input of a chat template.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    /// Objects with `role` and `content`, as [`message`] makes them.
    pub(crate) messages: Vec<Value>,
    /// Functions, each `{"type": "function", "function": {...}}`.
    pub(crate) tools: Vec<Value>,
    /// Whether the model should think first, if the template has a switch for it.
    pub(crate) thinking: Option<bool>,
}

/// A call in a message of the assistant, as Ollama's and OpenAI's clients write it.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct Call {
    id: Option<String>,
    #[serde(default)]
    function: Function,
}

/// The function that is called.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct Function {
    #[serde(default)]
    name: String,
    /// An object, or its JSON as a string.
    #[serde(default)]
    arguments: Value,
}

/// A prompt, ready for the engine.
#[derive(Clone, Debug)]
pub(crate) struct Prompt {
    pub(crate) text: String,
    pub(crate) tokens: Vec<TokenId>,
    /// Whether the prompt ends inside the model's thoughts.
    pub(crate) opens_thinking: bool,
}

/// The marks around thoughts.
pub(crate) const THINK: (&str, &str) = ("<think>", "</think>");

impl Facts {
    /// Renders a conversation. If it ends with a message of the assistant, the model continues that.
    ///
    /// Errors: the template refuses the messages.
    pub(crate) fn render(&self, conversation: &Conversation) -> Result<Prompt, Failure> {
        let messages: Vec<Value> = conversation.messages.iter().map(|message| self.marked(message)).collect();
        let last = messages.last().filter(|message| message["role"] == "assistant" && !message["content"].is_null());
        let open =
            last.filter(|message| message.get("tool_calls").is_none()).map(|m| m["content"].as_str().unwrap_or(""));
        let mut text = match &self.template {
            None => plain(&messages),
            Some(template) => {
                let mut variables = Map::new();
                variables.extend(conversation.thinking.map(|on| ("enable_thinking".to_owned(), json!(on))));
                let tools: Vec<Value> = conversation.tools.iter().map(|tool| self.marked(tool)).collect();
                let tools = (!tools.is_empty()).then_some(&tools[..]);
                let add_generation_prompt = open.is_none();
                let options =
                    RenderOptions { tools, add_generation_prompt, variables, ..RenderOptions::new(&messages) };
                template.render(&options)?
            }
        };
        if let Some(said) = open
            && let Some(at) = text.rfind(said.trim())
        {
            text.truncate(at + said.trim().len());
        }
        Ok(self.prompt(&text))
    }

    /// The prompt of a rendered text in which text of messages is marked.
    pub(crate) fn prompt(&self, text: &str) -> Prompt {
        Prompt {
            tokens: self.tokenizer.encode_marked(text, self.options(text)),
            text: Tokenizer::unmark(text).into_owned(),
            opens_thinking: text.trim_end().ends_with(THINK.0),
        }
    }

    /// The same value, with its strings marked as plain text.
    fn marked(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.tokenizer.mark(text).into_owned()),
            Value::Array(values) => values.iter().map(|value| self.marked(value)).collect(),
            Value::Object(fields) => {
                Value::Object(fields.iter().map(|(name, value)| (name.clone(), self.marked(value))).collect())
            }
            other => other.clone(),
        }
    }

    /// The tokens of a prompt that may name special tokens.
    pub(crate) fn encode(&self, text: &str) -> Vec<TokenId> {
        self.tokenizer.encode(text, self.options(text))
    }

    /// Most templates write the BOS token themselves; it must not be doubled.
    fn options(&self, text: &str) -> EncodeOptions {
        let bos = self.tokenizer.bos();
        let has_bos = bos.is_some_and(|bos| text.starts_with(self.tokenizer.token_text(bos).as_ref()));
        EncodeOptions { add_special: !has_bos, parse_special: true }
    }

    /// Renders a conversation, and drops its oldest messages until an answer fits. System messages and the last message stay.
    pub(crate) fn render_truncated(&self, conversation: &Conversation) -> Result<Prompt, Failure> {
        let mut conversation = conversation.clone();
        loop {
            let prompt = self.render(&conversation)?;
            let n = conversation.messages.len();
            let oldest = conversation.messages.iter().position(|message| message["role"] != "system");
            match oldest.filter(|at| prompt.tokens.len() >= self.ctx && at + 1 < n) {
                Some(at) => drop(conversation.messages.remove(at)),
                None => return Ok(prompt),
            }
        }
    }
}

impl App {
    /// Runs slow work on a thread for blocking work.
    ///
    /// Errors: those of `work`.
    pub(crate) async fn aside<T: Send + 'static>(
        self: &Arc<App>,
        work: impl FnOnce(&App) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let app = Arc::clone(self);
        let failed = |_| Failure::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "preparing the prompt failed");
        tokio::task::spawn_blocking(move || work(&app)).await.map_err(failed)?
    }
}

/// A message for the template: the role `developer`, OpenAI's new name, becomes `system`, and parts become one text.
///
/// Errors: the content is not text.
pub(crate) fn message(role: &str, content: &Value) -> Result<Map<String, Value>, Failure> {
    let role = match role.to_lowercase().as_str() {
        "developer" => "system".to_owned(),
        role => role.to_owned(),
    };
    let mut message = Map::new();
    message.insert("role".to_owned(), json!(role));
    message.insert("content".to_owned(), json!(text_of(content)?));
    Ok(message)
}

/// The text of a content: a string, nothing, or parts.
///
/// Errors: a part is an image, a sound or a file.
pub(crate) fn text_of(content: &Value) -> Result<String, Failure> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().map(|part| match (part, part["text"].as_str().or(part["refusal"].as_str())) {
                (Value::String(text), _) => Ok(text.as_str()),
                (_, Some(text)) => Ok(text),
                (_, None) => {
                    let kind = part["type"].as_str().unwrap_or("something other than text");
                    Err(Failure::bad_field(
                        "messages",
                        format!("this model takes text only, and the content has {kind}"),
                    ))
                }
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        _ => Err(Failure::bad_field("messages", "content must be a string or an array of parts")),
    }
}

/// Adds calls, and those of the other fields that are there.
pub(crate) fn add_fields(
    message: &mut Map<String, Value>,
    calls: Option<Vec<Call>>,
    more: [(&str, Option<String>); 3],
) {
    if let Some(calls) = calls.filter(|calls| !calls.is_empty()) {
        let call = |call: &Call| tool_call(call.id.as_deref(), &call.function.name, &call.function.arguments);
        message.insert("tool_calls".to_owned(), calls.iter().map(call).collect());
    }
    message.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))));
}

/// A call that the model has made, for the template, which expects arguments as an object.
pub(crate) fn tool_call(id: Option<&str>, name: &str, arguments: &Value) -> Value {
    let arguments = match arguments {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| arguments.clone()),
        other => other.clone(),
    };
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

/// A conversation for a model without a template.
fn plain(messages: &[Value]) -> String {
    let text = |message: &Value| message["content"].as_str().unwrap_or("").to_owned();
    if let [only] = messages {
        return text(only);
    }
    let mut all = String::new();
    for message in messages {
        all += &match message["role"].as_str() {
            Some("system") => format!("{}\n\n", text(message)),
            Some("assistant") => format!("Assistant: {}\n", text(message)),
            _ => format!("User: {}\n", text(message)),
        };
    }
    all + "Assistant:"
}
