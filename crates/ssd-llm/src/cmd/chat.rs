//! `chat`: a conversation in the terminal.
//!
//! The conversation stays in the KV cache, so each turn prefills only what is new. Lines that start with a slash are
//! commands; Ctrl-C ends an answer, Ctrl-D the conversation. If standard input is not a terminal, each line is a turn.

use std::io::{BufRead, ErrorKind, IsTerminal};

use anyhow::{Context, bail};
use engine::{Engine, EngineOptions, FinishReason, GenerateRequest, Limits, ModelFile};
use model::ChatTemplate;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::{Value, json};

use crate::cmd::cache::use_folder;
use crate::cmd::run::{encode_rendered, flag_error};
use crate::flags::ChatArgs;
use crate::screen::generate;
use crate::usage::Usage;
use crate::{interrupt, output};

const PROMPT: &str = "> ";
const MORE: &str = ". ";
/// Begins and ends a message of several lines.
const FENCE: &str = "\"\"\"";

const HELP: &str = "\
/clear          begin anew
/system TEXT    begin anew with this system message; without TEXT, with none
/retry          another answer to the last message
/stats          where the time of the last answer went
/exit           end (or Ctrl-D)
\"\"\"             begins and ends a message of several lines
Ctrl-C ends an answer.";

/// Talks until there is no more to say.
pub(crate) fn run(args: &ChatArgs) -> anyhow::Result<()> {
    let sampling = args.sampling.options();
    sampling.validate().map_err(|e| Usage(flag_error(&e)))?;
    let file = ModelFile::open(&args.model)?;
    let prompt_files = args.cache.prompt_cache.is_some();
    let options = EngineOptions { prompt_files, ..args.engine.options()? };
    let loaded = file.load(&options)?;
    output::warn_if_capped(&options, &loaded.plan);
    let missing = || Usage("chat needs a model with a chat template, and this one has none: use run --raw".to_owned());
    let template = loaded.chat_template()?.ok_or_else(missing)?;
    let cache_pages =
        usize::try_from(loaded.plan.budget.kv_bytes).unwrap_or(usize::MAX) / loaded.model.page_bytes().max(1);
    let mut engine = Engine::new(loaded, Limits { max_batch: 1, max_queue: 1, cache_pages });
    use_folder(&args.cache, &file, &options, &mut engine)?;
    interrupt::listen(&engine.loaded.stop)?;
    let request = GenerateRequest {
        max_tokens: args.max_tokens,
        sampling,
        stop: args.sampling.stop.clone(),
        overflow: args.engine.overflow(args.context_shift),
        ..GenerateRequest::default()
    };
    let mut talk = Talk { engine, template, request, messages: Vec::new(), last: None };
    talk.clear(args.system.as_deref());
    let mut lines = Lines::new()?;
    if lines.is_terminal() {
        output::say(&format!("{}: /help lists the commands", file.spec.name));
    }
    let (mut n_messages, mut n_failed) = (0, 0);
    while let Some(text) = lines.next()? {
        n_messages += 1;
        if let Err(error) = talk.turn(text.trim()) {
            match error.downcast_ref::<End>() {
                Some(End) => break,
                // One message may be too long, or refused by the template; the conversation is what it was.
                None => output::say(&format!("error: {}", output::chain(&error))),
            }
            n_failed += 1;
        }
    }
    if let Err(error) = talk.engine.save() {
        output::say(&format!("warning: cannot write the prompt cache: {error}"));
    }
    // At a terminal somebody has seen it; a script sees the status.
    if n_failed > 0 && !lines.is_terminal() {
        bail!("{n_failed} of {n_messages} messages got no answer");
    }
    Ok(())
}

/// The conversation is to end.
#[derive(Debug, thiserror::Error)]
#[error("the conversation has ended")]
struct End;

/// A conversation.
struct Talk {
    engine: Engine,
    template: ChatTemplate,
    /// What each turn asks for, without its prompt.
    request: GenerateRequest,
    messages: Vec<Value>,
    /// The statistics of the last answer.
    last: Option<String>,
}

impl Talk {
    fn clear(&mut self, system: Option<&str>) {
        self.messages = system.iter().map(|text| json!({ "role": "system", "content": text })).collect();
    }

    /// Does what a line says.
    fn turn(&mut self, text: &str) -> anyhow::Result<()> {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match word {
            "" => Ok(()),
            "/exit" | "/quit" | "/bye" => Err(End.into()),
            "/help" | "/?" => {
                output::say(HELP);
                Ok(())
            }
            "/clear" => {
                let system = self.messages.first().filter(|message| message["role"] == "system");
                let system = system.and_then(|message| message["content"].as_str()).map(str::to_owned);
                self.clear(system.as_deref());
                Ok(())
            }
            "/system" => {
                self.clear(Some(rest.trim()).filter(|text| !text.is_empty()));
                Ok(())
            }
            "/stats" => {
                output::say(self.last.as_deref().unwrap_or("there is no answer yet"));
                Ok(())
            }
            "/retry" => {
                let Some(at) = self.messages.iter().rposition(|message| message["role"] == "user") else {
                    output::say("there is no message yet");
                    return Ok(());
                };
                self.messages.truncate(at + 1);
                self.answer()
            }
            word if word.starts_with('/') && !word[1..].contains('/') => {
                output::say(&format!("there is no command {word}: /help lists them"));
                Ok(())
            }
            _ => {
                self.messages.push(json!({ "role": "user", "content": text }));
                let result = self.answer();
                if result.is_err() {
                    self.messages.pop();
                }
                result
            }
        }
    }

    /// Answers the last message.
    fn answer(&mut self) -> anyhow::Result<()> {
        let prompt = encode_rendered(&self.template, &self.messages, &self.engine.loaded.tokenizer)?;
        let request = GenerateRequest { prompt, ..self.request.clone() };
        let generation = generate(&mut self.engine, &request, false);
        interrupt::forget(&self.engine.loaded.stop);
        let generation = generation?;
        if generation.finish_reason == FinishReason::Length {
            output::say("(cut: the limit of tokens was reached, or the context is full)");
        }
        self.last = Some(output::statistics(&generation, &self.engine.loaded.plan));
        self.messages.push(json!({ "role": "assistant", "content": generation.text }));
        Ok(())
    }
}

/// Where messages come from.
enum Lines {
    Terminal(Box<DefaultEditor>),
    Pipe(std::io::StdinLock<'static>),
}

impl Lines {
    fn new() -> anyhow::Result<Lines> {
        if std::io::stdin().is_terminal() {
            return Ok(Lines::Terminal(Box::new(DefaultEditor::new().context("cannot use this terminal")?)));
        }
        Ok(Lines::Pipe(std::io::stdin().lock()))
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Lines::Terminal(_))
    }

    /// The next message: a line, or several between fences; none at the end.
    fn next(&mut self) -> anyhow::Result<Option<String>> {
        let Some(first) = self.line(PROMPT)? else { return Ok(None) };
        let Some(begun) = first.trim_start().strip_prefix(FENCE) else { return Ok(Some(first)) };
        let mut text = begun.to_owned();
        while !text.contains(FENCE) {
            let Some(line) = self.line(MORE)? else { break };
            text = format!("{text}\n{line}");
        }
        Ok(Some(text.replace(FENCE, "")))
    }

    fn line(&mut self, prompt: &str) -> anyhow::Result<Option<String>> {
        match self {
            Lines::Terminal(editor) => loop {
                match editor.readline(prompt) {
                    Ok(line) => {
                        // A line that is not remembered can be typed again.
                        let _ = editor.add_history_entry(&line);
                        return Ok(Some(line));
                    }
                    Err(ReadlineError::Interrupted) => output::say("Ctrl-D or /exit ends the conversation"),
                    Err(ReadlineError::Eof) => return Ok(None),
                    Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                        output::say("that was no text (UTF-8): say it again");
                    }
                    Err(error) => return Err(anyhow::Error::new(error).context("cannot read from the terminal")),
                }
            },
            Lines::Pipe(input) => {
                let mut line = Vec::new();
                let n = input.read_until(b'\n', &mut line).context("cannot read messages from standard input")?;
                // A byte that is no text costs its character and not the conversation.
                Ok((n > 0).then(|| String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()))
            }
        }
    }
}
