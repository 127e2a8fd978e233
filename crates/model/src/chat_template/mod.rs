//! Chat templates: a list of messages in, the prompt text out.
//!
//! Models ship a Jinja template that turns messages into the text they were trained on. [`ChatTemplate`] renders it as
//! Hugging Face's `apply_chat_template` does, byte for byte: the same whitespace rules, the same filters and tests, the
//! same `tojson`, Python's string methods and Python's way of printing values.
//!
//! A template is part of a downloaded file, so it is untrusted: a render has a budget of work, which limits its memory
//! and output too, a stack of its own and a time limit. `source` checks and rewrites the text of a template, `bounded`
//! limits its values, `python` and `json` hold what differs between Python and the template library, `clock` the date.
//!
//! Deliberately absent: tokenising (special tokens stay text here) and knowledge of any particular model.

mod bounded;
mod clock;
mod json;
mod python;
mod source;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value};

use crate::ModelError;

/// The work that a render may do whatever its input: instructions, and 64 bytes of data each.
const BASE_FUEL: u64 = 500_000;
/// What a byte of the input adds to it. An item, such as a message or its role, counts as 250 more.
const FUEL_PER_BYTE: u64 = 2;
/// How deep macros and loops nest; the template library's own stack use stays below 1 MiB at this depth.
const MAX_RECURSION: usize = 200;
/// The stack to compile and render on, which costs only what is touched: optimised, the longest `elif` chain and the
/// deepest value that get through need some 20 MiB of it; without optimisation many times that.
const STACK_BYTES: usize = 512 << 20;
/// After this a render is given up. One takes a thousandth of it; only values built to defeat the budget get here.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A compiled chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

/// What a template sees.
#[derive(Clone, Debug)]
pub struct RenderOptions<'a> {
    /// The conversation: objects with `role`, `content` and whatever else the template reads.
    pub messages: &'a [Value],
    /// The functions that the model may call, in the form the model's template expects.
    pub tools: Option<&'a [Value]>,
    /// Whether the prompt ends with the opening of an assistant turn.
    pub add_generation_prompt: bool,
    /// Further variables, which override the standard ones.
    pub variables: Map<String, Value>,
    /// The time that `strftime_now` tells, in seconds since 1970 and shown as UTC; without it, now in the local time zone.
    pub unix_time: Option<i64>,
}

impl<'a> RenderOptions<'a> {
    /// Renders `messages` up to the opening of the assistant's turn, without tools.
    pub fn new(messages: &'a [Value]) -> Self {
        Self { messages, tools: None, add_generation_prompt: true, variables: Map::new(), unix_time: None }
    }
}

impl ChatTemplate {
    /// Compiles a template; the tokens are what it sees as `bos_token` and `eos_token`.
    ///
    /// Errors: a syntax error with its line, or a template past the size limits.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, ModelError> {
        let source = source::prepare(source).map_err(ModelError::Template)?;
        let environment = on_thread(TIME_LIMIT, || compile(source))?.map_err(|e| ModelError::Template(message(&e)))?;
        Ok(Self { environment, bos_token: bos_token.to_owned(), eos_token: eos_token.to_owned() })
    }

    /// Renders the prompt.
    ///
    /// Errors: the template raised an error (its own message is kept), used something undefined, or went past the
    /// limits on work and output.
    pub fn render(&self, options: &RenderOptions) -> Result<String, ModelError> {
        let context = self.context(options);
        let fuel = BASE_FUEL + FUEL_PER_BYTE * json::size(&context);
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        clock::install(&mut environment, options.unix_time);
        on_thread(TIME_LIMIT, move || render(&environment, context))?.map_err(|e| ModelError::Template(message(&e)))
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

/// Runs `work` on a thread with a large stack: long operator chains and deep values recurse in the template library.
///
/// Errors: it does not end within `limit`. The thread is then left to itself.
fn on_thread<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ModelError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let body = move || drop(sender.send(work()));
    let thread = thread::Builder::new().name("chat template".to_owned()).stack_size(STACK_BYTES).spawn(body);
    thread.map_err(|e| ModelError::Template(format!("cannot start a thread to render on: {e}")))?;
    receiver.recv_timeout(limit).map_err(|e| match e {
        RecvTimeoutError::Timeout => ModelError::Template("it takes too long".to_owned()),
        RecvTimeoutError::Disconnected => ModelError::Template("rendering failed unexpectedly".to_owned()),
    })
}

/// What the template or the library said, with the line where it is known.
fn message(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "it does more work than a prompt of this size can need".to_owned();
    }
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) if !python::raised(error) => format!("{detail} (line {line})"),
        _ => detail,
    }
}
