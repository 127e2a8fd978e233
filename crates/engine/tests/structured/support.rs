//! Texts against grammars, and models under them.

use std::ops::ControlFlow;
use std::path::Path;

use engine::{
    Constraint, Engine, EngineOptions, Finished, GenerateRequest, Grammar, GrammarCompiler, Limits, ModelFile,
    load_tokenizer,
};
use model::{EncodeOptions, Tokenizer};
use serde_json::Value;
use testkit::{TinySpec, real_model, temp_model};

/// A tokenizer and what compiles grammars for it.
pub(crate) struct Judge {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) compiler: GrammarCompiler,
}

impl Judge {
    pub(crate) fn of_file(path: &Path) -> Judge {
        let tokenizer = load_tokenizer(path).expect("the file has a tokenizer");
        let compiler = GrammarCompiler::new(&tokenizer).expect("the vocabulary is small enough");
        Judge { tokenizer, compiler }
    }

    /// A vocabulary of bytes and a few merged pieces.
    pub(crate) fn tiny() -> Judge {
        Judge::of_file(&temp_model(&TinySpec::from_line("llama").build().gguf_bytes()))
    }

    /// A vocabulary of bytes and, where it has been fetched, the real model's.
    pub(crate) fn all() -> Vec<Judge> {
        let real = real_model().map(|path| Judge::of_file(path.as_ref()));
        [Judge::tiny()].into_iter().chain(real).collect()
    }

    /// The constraint for a grammar that compiles.
    #[track_caller]
    pub(crate) fn compile(&self, grammar: &Grammar) -> Constraint {
        self.compiler.compile(grammar).unwrap_or_else(|error| panic!("{error}: {grammar:?}"))
    }

    /// What is wrong with a grammar that does not compile.
    #[track_caller]
    pub(crate) fn problem(&self, grammar: &Grammar) -> String {
        self.compiler.compile(grammar).expect_err("the grammar is wrong").to_string()
    }

    /// Whether a constraint lets the whole text through and lets it end there. Names of control tokens are these tokens.
    pub(crate) fn fits(&self, constraint: &Constraint, text: &str) -> bool {
        self.rest(constraint, text).is_some_and(|mut rest| rest.is_complete() || self.may_end(&mut rest))
    }

    /// The constraint behind a text; none if it does not let it through.
    pub(crate) fn rest(&self, constraint: &Constraint, text: &str) -> Option<Constraint> {
        let mut constraint = constraint.clone();
        for token in self.tokenizer.encode(text, EncodeOptions { add_special: false, parse_special: true }) {
            if !constraint.allows(token).expect("the grammar can be followed") {
                return None;
            }
            assert!(constraint.mask().expect("something may come").has(token), "the mask has what is allowed");
            constraint.accept(token).expect("an allowed token is taken");
        }
        Some(constraint)
    }

    pub(crate) fn may_end(&self, constraint: &mut Constraint) -> bool {
        let eos = self.tokenizer.eos().expect("there is an end");
        constraint.allows(eos).expect("the grammar can be followed")
    }

    /// Fails unless exactly the first texts fit.
    #[track_caller]
    pub(crate) fn check(&self, grammar: &Grammar, right: &[&str], wrong: &[&str]) {
        let constraint = self.compile(grammar);
        for text in right {
            assert!(self.fits(&constraint, text), "{text:?} fits {grammar:?}");
        }
        for text in wrong {
            assert!(!self.fits(&constraint, text), "{text:?} does not fit {grammar:?}");
        }
    }
}

pub(crate) fn load(path: &Path, ctx: usize) -> Engine {
    let options = EngineOptions { ctx: Some(ctx), threads: 2, max_sequences: 8, ..EngineOptions::default() };
    let loaded = ModelFile::open(path).and_then(|file| file.load(&options)).expect("the model loads");
    Engine::new(loaded, Limits { max_batch: 8, max_queue: usize::MAX, cache_pages: 0 })
}

/// Runs requests, eight at once; what came of each, in their order.
pub(crate) fn run_all(engine: &mut Engine, requests: Vec<GenerateRequest>) -> Vec<Finished> {
    for request in requests {
        engine.submit(request).expect("the queue has room");
    }
    let mut finished = Vec::new();
    while !engine.is_idle() {
        let mut on_event = |_, _: engine::Event<'_>| ControlFlow::Continue(());
        finished.extend(engine.step(&mut on_event));
    }
    finished.sort_by_key(|finished| finished.id);
    finished
}

/// Fails unless `text` is JSON that `schema` accepts, by a validator that has nothing to do with the engine.
#[track_caller]
pub(crate) fn assert_valid(schema: &Value, text: &str, about: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{about}: {error}: {text}\n{schema}"));
    let validator = jsonschema::options().should_validate_formats(true).build(schema);
    let validator = validator.unwrap_or_else(|error| panic!("{about}: {error}: {schema}"));
    if let Err(error) = validator.validate(&value) {
        panic!("{about}: {error}: {text}\n{schema}");
    }
}
