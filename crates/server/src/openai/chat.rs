//! Handler of `/v1/chat/completions`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ask::{Ask, Tools};
use super::chat_writer::{ChatChoice, ChatWriter};
use super::envelope::{Envelope, StreamOptions};
use super::logprobs;
use super::reply::{events, model_name, object};
use super::sampling::{Sampling, max_tokens};
use crate::answer::Answer;
use crate::app::App;
use crate::failure::Failure;
use crate::hold::Hold;
use crate::prompt::{Call, Conversation, add_fields, message};
use crate::stream::body;
use crate::structured::Shape;

/// Who may speak; `function` is what `tool` was called once.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// The request, besides [`Sampling`].
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::ChatBody)]
pub(super) struct ChatBody {
    model: Option<String>,
    #[schema(required = true)]
    messages: Option<Vec<Message>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
    response_format: Option<Value>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    reasoning_effort: Option<String>,
    chat_template_kwargs: Option<TemplateOptions>,
}

/// What llama.cpp and vLLM let through to the template, as far as it is known here.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::TemplateOptions)]
struct TemplateOptions {
    enable_thinking: Option<bool>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Message)]
struct Message {
    #[schema(required = true)]
    #[serde(default)]
    role: String,
    content: Option<Value>,
    name: Option<String>,
    tool_calls: Option<Vec<Call>>,
    tool_call_id: Option<String>,
    reasoning_content: Option<String>,
}

pub(crate) async fn chat(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let app = &app;
    let mut wanted: ChatBody = crate::body::read(&bytes)?;
    let sampling: Sampling = crate::body::read(&bytes)?;
    let model = model_name(app, wanted.model.take())?;
    let guard = Hold::new(app, None);
    let messages = wanted.messages.filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| Failure::bad_field("messages", "messages are missing: send one at least"))?;
    let messages = messages.into_iter().map(Message::for_template).collect::<Result<_, _>>()?;
    let told = wanted.chat_template_kwargs.and_then(|options| options.enable_thinking);
    let thinking = told.or(wanted.reasoning_effort.map(|effort| effort != "none"));
    let max_tokens = match wanted.max_completion_tokens {
        None => max_tokens("max_tokens", wanted.max_tokens, 1)?,
        some => max_tokens("max_completion_tokens", some, 1)?,
    };
    let logprobs = logprobs::of_chat(wanted.logprobs, wanted.top_logprobs)?;
    let tool_choice = wanted.tool_choice.as_ref();
    let ask = Ask {
        conversation: Conversation { messages, thinking, ..Conversation::default() },
        tools: Tools::read(wanted.tools, tool_choice, wanted.parallel_tool_calls)?,
        shape: Shape::of_openai(wanted.response_format.as_ref(), "response_format")?,
        sampling,
        max_tokens,
        logprobs,
        truncates: false,
    };
    let is_parallel = ask.tools.is_parallel;
    let (answers, splitter) = ask.begin(app).await?;
    let choice = ChatChoice { splitter, n_calls: 0, is_parallel, logprobs: logprobs.map(|_| Vec::new()) };
    let writer = ChatWriter {
        envelope: Envelope::new(app, "chatcmpl-", model, wanted.stream_options, guard),
        choices: vec![choice; answers.len()],
        tokenizer: Arc::clone(&app.facts.tokenizer),
    };
    if wanted.stream == Some(true) {
        return Ok(events(body(answers, writer)));
    }
    let generations = try_join_all(answers.into_iter().map(Answer::whole)).await?;
    Ok(object(&writer.whole(&generations)))
}

impl Message {
    /// As a chat template sees it.
    fn for_template(self) -> Result<Value, Failure> {
        if !ROLES.contains(&self.role.as_str()) {
            let message = format!("{:?} is no role of a message: use one of {}", self.role, ROLES.join(", "));
            return Err(Failure::bad_field("messages", message));
        }
        let content = self.content.unwrap_or_default();
        if content.is_null() && self.role != "assistant" {
            return Err(Failure::bad_field("messages", format!("a message of the {} has no content", self.role)));
        }
        let role = if self.role == "function" { "tool" } else { &self.role };
        let mut message = message(role, &content)?;
        let more =
            [("name", self.name), ("tool_call_id", self.tool_call_id), ("reasoning_content", self.reasoning_content)];
        add_fields(&mut message, self.tool_calls, more);
        Ok(Value::Object(message))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_checked() {
        let read = |message: Value| serde_json::from_value::<Message>(message).unwrap().for_template();
        let call = json!([{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }]);
        let said = read(json!({ "role": "assistant", "content": null, "tool_calls": call })).unwrap();
        assert_eq!(said["tool_calls"][0]["function"]["arguments"], json!({ "a": 1 }));
        assert_eq!(read(json!({ "role": "developer", "content": "x" })).unwrap()["role"], "system");
        let parts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
        assert_eq!(read(json!({ "role": "user", "content": parts })).unwrap()["content"], "a\nb");
        for wrong in [
            json!({}),
            json!({ "role": "robot", "content": "x" }),
            json!({ "role": "user" }),
            json!({ "role": "user", "content": 1 }),
            json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "x" } }] }),
        ] {
            assert_eq!(read(wrong.clone()).unwrap_err().param.as_deref(), Some("messages"), "{wrong}");
        }
    }
}
