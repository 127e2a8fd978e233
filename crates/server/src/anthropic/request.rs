//! The types that read a request to Anthropic's API.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A conversation that is to go on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::MessagesBody)]
pub(super) struct MessagesBody {
    /// The model's name.
    #[schema(required = true)]
    #[serde(default)]
    pub(super) model: String,
    /// The conversation. If its last message is the assistant's, the answer goes on with it.
    #[schema(required = true)]
    #[serde(default)]
    pub(super) messages: Vec<Message>,
    /// What the model is to be, ahead of the conversation.
    pub(super) system: Option<Content>,
    /// The most tokens of the answer; to count tokens it is not needed.
    #[schema(minimum = 1)]
    pub(super) max_tokens: Option<i64>,
    /// Texts that end the answer and are no part of it.
    pub(super) stop_sequences: Option<Vec<String>>,
    /// Whether the answer comes as events.
    pub(super) stream: Option<bool>,
    /// Randomness; 0 takes the best token.
    #[schema(minimum = 0, maximum = 2)]
    pub(super) temperature: Option<f32>,
    /// The best tokens that together have this share of the probability are chosen from.
    #[schema(minimum = 0, maximum = 1)]
    pub(super) top_p: Option<f32>,
    /// So many of the best tokens are chosen from; 0 is all.
    #[schema(minimum = 0)]
    pub(super) top_k: Option<i64>,
    /// What the model may call.
    pub(super) tools: Option<Vec<Tool>>,
    /// Whether it may, or must.
    pub(super) tool_choice: Option<ToolChoice>,
    /// Whether the model thinks aloud first, where it can.
    pub(super) thinking: Option<Thinking>,
    /// What the answer is to be.
    pub(super) output_config: Option<OutputConfig>,
    /// The place that its format had before.
    pub(super) output_format: Option<Value>,
}

/// What an answer is to be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::OutputConfig)]
pub(super) struct OutputConfig {
    /// `{"type": "json_schema", "schema": {...}}`: the answer's text is JSON that the schema accepts.
    pub(super) format: Option<Value>,
}

/// One message.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = anthropic::Message)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) content: Content,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = anthropic::Role)]
pub(super) enum Role {
    User,
    Assistant,
    System,
}

/// A text, or blocks, each of which is read as a [`Block`].
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "it must be a string or an array of blocks")]
#[schema(as = anthropic::Content)]
pub(super) enum Content {
    Text(String),
    Blocks(Vec<Value>),
}

/// A piece of a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", expecting = "an object")]
#[schema(as = anthropic::Block)]
pub(super) enum Block {
    Text {
        text: String,
    },
    /// No model here sees it.
    Image {},
    /// A document of text.
    Document {
        source: Source,
        title: Option<String>,
        context: Option<String>,
    },
    SearchResult {
        source: String,
        title: String,
        content: Vec<Value>,
    },
    Thinking {
        thinking: String,
    },
    RedactedThinking {},
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        content: Option<Content>,
        is_error: Option<bool>,
    },
}

/// Where a document's text is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", expecting = "an object")]
#[schema(as = anthropic::Source)]
pub(super) enum Source {
    /// Here.
    Text { data: String },
    /// Here, in blocks.
    Content { content: Content },
    /// In a file of another kind, which is refused.
    Base64 {},
    /// Elsewhere, which is refused.
    Url {},
    /// Elsewhere, which is refused.
    File {},
}

/// What the model may call.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = anthropic::Tool)]
pub(super) struct Tool {
    /// `custom` or nothing; tools of other types are those that Anthropic's server runs, and are left out.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) name: String,
    pub(super) description: Option<String>,
    /// A JSON schema of what it takes.
    pub(super) input_schema: Option<Value>,
}

/// Whether the model may call tools, or must.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", expecting = "an object")]
#[schema(as = anthropic::ToolChoice)]
pub(super) enum ToolChoice {
    /// As it likes.
    Auto { disable_parallel_tool_use: Option<bool> },
    /// It calls one of them.
    Any { disable_parallel_tool_use: Option<bool> },
    /// It calls this one.
    Tool { name: String, disable_parallel_tool_use: Option<bool> },
    /// It calls none.
    None {},
}

/// Whether the model thinks aloud first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", expecting = "an object")]
#[schema(as = anthropic::Thinking)]
pub(super) enum Thinking {
    /// It does; how long is its own choice.
    Enabled { display: Option<Display> },
    /// It does if it wants to.
    Adaptive { display: Option<Display> },
    /// It does not.
    Disabled {},
}

impl ToolChoice {
    /// Whether an answer may have several calls.
    pub(super) fn is_parallel(&self) -> bool {
        match self {
            ToolChoice::Auto { disable_parallel_tool_use: is_single }
            | ToolChoice::Any { disable_parallel_tool_use: is_single }
            | ToolChoice::Tool { disable_parallel_tool_use: is_single, .. } => *is_single != Some(true),
            ToolChoice::None {} => true,
        }
    }
}

impl Thinking {
    /// Whether there are thoughts, and they are shown.
    pub(super) fn is_shown(&self) -> bool {
        match self {
            Thinking::Enabled { display } | Thinking::Adaptive { display } => *display != Some(Display::Omitted),
            Thinking::Disabled {} => false,
        }
    }
}

/// Whether thoughts are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = anthropic::Display)]
pub(super) enum Display {
    Summarized,
    Omitted,
}
