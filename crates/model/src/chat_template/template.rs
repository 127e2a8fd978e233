//! [`ChatTemplate`]: compiles a template once and renders conversations with it.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value};

use super::{bounded, clock, json, python, render_thread, source};
use crate::error::ModelError;

/// The fuel of a render, whatever its input: one unit buys an instruction or 64 bytes of data.
const BASE_FUEL: u64 = 500_000;
/// Fuel per byte of input. Each item, such as a message or its role, counts as 250 bytes more.
const FUEL_PER_BYTE: u64 = 2;
/// How deep macros, blocks and loops nest; 0.7 MiB of stack at this depth.
const MAX_RECURSION: usize = 200;

/// A compiled chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

/// The inputs of a template.
#[derive(Clone, Debug)]
pub struct RenderOptions<'a> {
    /// The conversation: objects with `role`, `content` and any other fields that the template reads.
    pub messages: &'a [Value],
    /// The functions the model may call, in the form its template expects.
    pub tools: Option<&'a [Value]>,
    /// Whether the prompt ends with the start of an assistant turn.
    pub add_generation_prompt: bool,
    /// Additional variables, which override the standard ones.
    pub variables: Map<String, Value>,
    /// The time that `strftime_now` formats, in seconds since 1970 and as UTC; `None` is now, in the local time zone.
    pub unix_time: Option<i64>,
}

impl<'a> RenderOptions<'a> {
    /// Renders `messages` up to the start of the assistant's turn, without tools.
    pub fn new(messages: &'a [Value]) -> Self {
        Self { messages, tools: None, add_generation_prompt: true, variables: Map::new(), unix_time: None }
    }
}

impl ChatTemplate {
    /// Compiles a template; it sees the tokens as `bos_token` and `eos_token`.
    ///
    /// Errors: a syntax error with its line, or a template that is too large or nested too deeply.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, ModelError> {
        let source = source::prepare(source).map_err(ModelError::Template)?;
        let environment = render_thread::run(|| compile(source))?.map_err(|e| ModelError::Template(message(&e)))?;
        Ok(Self { environment, bos_token: bos_token.to_owned(), eos_token: eos_token.to_owned() })
    }

    /// Renders the prompt.
    ///
    /// Errors: the template raised an error (its message is kept), used something undefined, or exceeded the limits on
    /// work, nesting and time.
    pub fn render(&self, options: &RenderOptions) -> Result<String, ModelError> {
        let context = self.context(options);
        let fuel = BASE_FUEL + FUEL_PER_BYTE * json::size(&context);
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        clock::install(&mut environment, options.unix_time);
        render_thread::run(move || render(&environment, context))?.map_err(|e| ModelError::Template(message(&e)))
    }

    fn context(&self, options: &RenderOptions) -> Value {
        let mut context = Map::new();
        context.insert("messages".to_owned(), Value::Array(options.messages.to_vec()));
        context.insert("tools".to_owned(), options.tools.map_or(Value::Null, |tools| Value::Array(tools.to_vec())));
        context.insert("documents".to_owned(), Value::Null);
        context.insert("add_generation_prompt".to_owned(), Value::Bool(options.add_generation_prompt));
        context.insert("bos_token".to_owned(), Value::String(self.bos_token.clone()));
        context.insert("eos_token".to_owned(), Value::String(self.eos_token.clone()));
        context.extend(options.variables.clone());
        Value::Object(context)
    }
}

const NAME: &str = "chat_template";

fn compile(source: String) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_debug(false);
    python::install(&mut environment);
    json::install(&mut environment);
    bounded::install(&mut environment);
    environment.add_template_owned(NAME, source)?;
    Ok(environment)
}

fn render(environment: &Environment, context: Value) -> Result<String, Error> {
    environment.get_template(NAME)?.render(json::from_json(context))
}

/// The message of the template or the library, with the line if it is known.
fn message(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "rendering needs more work than a prompt of this size justifies".to_owned();
    }
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) if !python::raised(error) => format!("{detail} (line {line})"),
        _ => detail,
    }
}
