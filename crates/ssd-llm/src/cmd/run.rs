//! `run`: answers one prompt.

use std::io::{IsTerminal, Read};

use anyhow::Context;
use engine::{Engine, EngineOptions, FinishReason, GenerateRequest, Limits, ModelFile, SamplingError};
use model::{ChatTemplate, EncodeOptions, RenderOptions, Tokenizer};
use serde_json::{Value, json};

use crate::cmd::cache::use_folder;
use crate::flags::RunArgs;
use crate::screen::generate;
use crate::usage::Usage;
use crate::{grammar, interrupt, output};

/// Answers the prompt of the flags or of standard input.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let sampling = args.sampling.options();
    sampling.validate().map_err(|e| Usage(flag_error(&e)))?;
    let text = prompt_text(args)?;
    let grammar = args.grammar.grammar()?;
    let file = ModelFile::open(&args.model)?;
    let prompt_files = args.cache.prompt_cache.is_some();
    let options = EngineOptions { grammars: grammar.is_some(), prompt_files, ..args.engine.options()? };
    let mut loaded = file.load(&options)?;
    output::warn_if_capped(&options, &loaded.plan);
    let template = if args.raw { None } else { loaded.chat_template()? };
    let request = GenerateRequest {
        prompt: prompt_tokens(args, &text, template.as_ref(), &loaded.tokenizer)?,
        max_tokens: args.max_tokens,
        sampling,
        stop: args.sampling.stop.clone(),
        logprobs: args.logprobs,
        constraint: grammar.map(|grammar| grammar::compile(&grammar, &loaded.tokenizer)).transpose()?,
        overflow: args.engine.overflow(args.context_shift),
        pooling: None,
    };
    interrupt::listen(&loaded.stop)?;
    let cache_pages = loaded.model.kv().n_pages();
    let mut engine = Engine::new(loaded, Limits { max_batch: 1, max_queue: 1, cache_pages });
    use_folder(&args.cache, &file, &options, &mut engine)?;
    let generation = generate(&mut engine, &request, args.json)?;
    if generation.finish_reason != FinishReason::Cancelled
        && let Err(error) = engine.save()
    {
        output::say(&format!("warning: cannot write the prompt cache: {error}"));
    }
    if args.json {
        output::print(&format!("{}\n", output::run_json(&generation, &engine.loaded.plan)))?;
    }
    output::say(&output::statistics(&generation, &engine.loaded.plan));
    Ok(())
}

/// The error of a sampling option, which is a flag here.
pub(crate) fn flag_error(error: &SamplingError) -> String {
    match error {
        SamplingError::OutOfRange { option, value, range } => {
            format!("--{} {value} is out of range: it must be {range}", option.replace('_', "-"))
        }
        SamplingError::NoToken => error.to_string(),
    }
}

fn prompt_text(args: &RunArgs) -> anyhow::Result<String> {
    let text = match &args.prompt {
        Some(text) => text.clone(),
        None if std::io::stdin().is_terminal() => {
            return Err(Usage("no prompt: pass -p TEXT, or write it to standard input".to_owned()).into());
        }
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read the prompt from standard input")?;
            // `echo` adds a newline that is not part of the prompt.
            text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)
        }
    };
    if text.is_empty() {
        return Err(Usage("the prompt is empty: pass -p TEXT, or write it to standard input".to_owned()).into());
    }
    Ok(text)
}

/// The prompt's tokens: rendered with the chat template, or the text as is without one.
fn prompt_tokens(
    args: &RunArgs,
    text: &str,
    template: Option<&ChatTemplate>,
    tokenizer: &Tokenizer,
) -> anyhow::Result<Vec<u32>> {
    let Some(template) = template else {
        if args.system.is_some() {
            return Err(Usage("--system requires a chat template, and this model has none".to_owned()).into());
        }
        return Ok(tokenizer.encode(text, EncodeOptions { add_special: true, parse_special: true }));
    };
    let mut messages: Vec<Value> = Vec::new();
    messages.extend(args.system.as_ref().map(|system| json!({ "role": "system", "content": system })));
    messages.push(json!({ "role": "user", "content": text }));
    encode_rendered(template, &messages, tokenizer)
}

/// The tokens of a rendered conversation.
pub(crate) fn encode_rendered(
    template: &ChatTemplate,
    messages: &[Value],
    tokenizer: &Tokenizer,
) -> anyhow::Result<Vec<u32>> {
    let rendered = template.render(&RenderOptions::new(messages))?;
    // Most templates write the BOS token themselves; it must not be doubled.
    let has_bos = tokenizer.bos().is_some_and(|bos| rendered.starts_with(tokenizer.token_text(bos).as_ref()));
    Ok(tokenizer.encode(&rendered, EncodeOptions { add_special: !has_bos, parse_special: true }))
}
