//! The command line. Its names are a contract: scripts and other programs use them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use engine::{EngineOptions, Overflow, SamplingOptions};
use forward::{KvType, Window};
use kernels::Kernels;
use store::{CachePolicy, IoMode};

use crate::cmd::Usage;
use crate::size;

/// Runs large language models that are bigger than the machine's memory.
#[derive(Parser)]
#[command(name = "ssd-llm", version, about, max_term_width = 110, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Answer a prompt, or continue it with --raw
    Run(Box<RunArgs>),
    /// Talk with a model
    Chat(ChatArgs),
    /// Answer Ollama's, OpenAI's and Anthropic's clients, and people in a browser
    Serve(ServeArgs),
    /// Show what is in a model file, without reading its weights
    Info(InfoArgs),
    /// Show what a model needs of memory and how fast it would be
    Plan(PlanArgs),
    /// Measure how fast a model is at several memory budgets, and how near to its limit
    Bench(BenchArgs),
    /// Measure how well a model predicts a text
    Perplexity(PerplexityArgs),
    /// Turn text into token ids
    Tokenize(TokenizeArgs),
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Prompt; read from standard input if not given
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// Most tokens to generate; without it, until the model ends or the context is full
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(crate) max_tokens: Option<usize>,
    /// Continue the prompt as it is, without the model's chat template
    #[arg(long, conflicts_with = "system")]
    pub(crate) raw: bool,
    /// System message for the chat template
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Print one JSON object instead of the text
    #[arg(long)]
    pub(crate) json: bool,
    /// With --json, report each token's log-probability and the N best alternatives
    #[arg(long, value_name = "N", requires = "json", allow_negative_numbers = true)]
    pub(crate) logprobs: Option<usize>,
    #[command(flatten)]
    pub(crate) cache: CacheFlags,
    /// When the context is full, drop the oldest tokens behind the first --sink-tokens (4 unless given) instead of ending
    #[arg(long)]
    pub(crate) context_shift: bool,
    #[command(flatten)]
    pub(crate) grammar: GrammarFlags,
    #[command(flatten)]
    pub(crate) sampling: SamplingFlags,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
}

#[derive(Args)]
pub(crate) struct ChatArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Most tokens of an answer; without it, until the model ends or the context is full
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(crate) max_tokens: Option<usize>,
    /// System message for the chat template
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// When the context is full, drop the oldest tokens behind the first --sink-tokens (4 unless given) instead of ending
    #[arg(long)]
    pub(crate) context_shift: bool,
    #[command(flatten)]
    pub(crate) cache: CacheFlags,
    #[command(flatten)]
    pub(crate) sampling: SamplingFlags,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Address to listen on, or a name that has one; other machines are let in only with --api-key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "N", default_value = "11434", allow_negative_numbers = true)]
    pub(crate) port: u16,
    /// Requests that are answered at once, each with a context of its own
    #[arg(long, value_name = "N", default_value = "4", value_parser = batch, allow_negative_numbers = true)]
    pub(crate) max_batch: usize,
    /// Requests that may wait; more are refused with 503
    #[arg(long, value_name = "N", default_value = "1024", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(crate) max_queue: usize,
    /// Connections at once; more wait to be accepted
    #[arg(long, value_name = "N", default_value = "4096", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(crate) max_connections: usize,
    /// Answer only those who show this key; SSD_LLM_API_KEY in the environment does the same
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// Let other machines in without a key
    #[arg(long)]
    pub(crate) allow_unauthenticated: bool,
    /// Let pages of this origin, such as `https://chat.example.com`, use the server; * is all; may be given several times
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub(crate) allow_origin: Vec<String>,
    /// Let go of the model's memory so long after the last request, such as 5m; by default never
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    pub(crate) keep_alive: Option<Duration>,
    /// When asked to end, let requests go on for so long
    #[arg(long, value_name = "SECONDS", default_value = "30", allow_negative_numbers = true)]
    pub(crate) drain_seconds: u64,
    /// The model's name for clients; by default the file's
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Write requests' bodies to the log
    #[arg(long)]
    pub(crate) log_prompts: bool,
    #[command(flatten)]
    pub(crate) cache: CacheFlags,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
}

#[derive(Args)]
#[command(next_help_heading = "Prompt cache")]
pub(crate) struct CacheFlags {
    /// Keep what was computed of prompts in this directory, and begin with what is there; without DIR, in the user's
    /// folder for caches
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub(crate) prompt_cache: Option<Option<PathBuf>>,
    /// Most bytes that --prompt-cache keeps of a model's prompts
    #[arg(long, value_name = "SIZE", default_value = "8G", value_parser = size::parse, allow_negative_numbers = true)]
    pub(crate) prompt_cache_budget: u64,
}

#[derive(Args)]
pub(crate) struct InfoArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct PlanArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
}

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Passes to decode at each budget
    #[arg(short = 'n', long, value_name = "N", default_value = "8", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(crate) max_tokens: usize,
    /// Tokens of the prompt, at most as many as the context leaves
    #[arg(long, value_name = "N", default_value = "512", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(crate) prompt_tokens: usize,
    /// Sequences decoded together, each with a prompt and a context of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = batch, allow_negative_numbers = true)]
    pub(crate) batch: usize,
    /// Read the weights with a shorter prompt first, so that no figure is that of a load; the start is left out
    #[arg(long)]
    pub(crate) warm: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw tokens a second against the budget into this file (.svg)
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
}

#[derive(Args)]
pub(crate) struct PerplexityArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Text file (UTF-8)
    pub(crate) file: PathBuf,
    /// Print one JSON object instead of a line
    #[arg(long)]
    pub(crate) json: bool,
    /// With --json, report each scored token's log-probability and the N best alternatives
    #[arg(long, value_name = "N", requires = "json", allow_negative_numbers = true)]
    pub(crate) logprobs: Option<usize>,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
}

#[derive(Args)]
pub(crate) struct TokenizeArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Text
    pub(crate) text: String,
    /// Print one JSON object instead of a line a token
    #[arg(long)]
    pub(crate) json: bool,
    /// Add the tokens that the model expects at the beginning and end
    #[arg(long)]
    pub(crate) add_special: bool,
    /// Treat the names of special tokens in the text as ordinary text
    #[arg(long)]
    pub(crate) no_parse_special: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingFlags {
    /// Randomness; 0 always takes the most probable token [default: 0.8]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    temperature: Option<f32>,
    /// Choose among the K most probable tokens; 0 is off [default: 40]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    top_k: Option<usize>,
    /// Choose among the most probable tokens that together have this probability; 1 is off [default: 0.9]
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    top_p: Option<f32>,
    /// Drop tokens less probable than this share of the best one's probability; 0 is off [default: 0]
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    min_p: Option<f32>,
    /// Divide the logits of recent tokens by this; 1 is off [default: 1]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    repeat_penalty: Option<f32>,
    /// Take this from a recent token's logit for every time it occurred [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    frequency_penalty: Option<f32>,
    /// Take this from a recent token's logit if it occurred [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    presence_penalty: Option<f32>,
    /// Makes the choice repeatable [default: random]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// End the text before this; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
    pub(crate) stop: Vec<String>,
}

#[derive(Args)]
#[command(next_help_heading = "Structured output")]
#[group(multiple = false)]
pub(crate) struct GrammarFlags {
    /// Answer with JSON that this schema accepts; @FILE reads it from a file
    #[arg(long, value_name = "SCHEMA", value_parser = not_empty)]
    pub(crate) json_schema: Option<String>,
    /// Answer with a text of this grammar in llama.cpp's format (GBNF); @FILE reads it from a file
    #[arg(long, value_name = "GBNF", value_parser = not_empty)]
    pub(crate) grammar: Option<String>,
    /// Answer with a text that this regular expression matches from its beginning to its end
    #[arg(long, value_name = "REGEX")]
    pub(crate) regex: Option<String>,
    /// Answer with a text of this grammar in the Lark syntax of llguidance; @FILE reads it from a file
    #[arg(long, value_name = "LARK", value_parser = not_empty)]
    pub(crate) lark: Option<String>,
}

#[derive(Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineFlags {
    /// Memory that the program may use, such as 8G or 1.5G; by default what is available, less an eighth
    #[arg(long, value_name = "SIZE", value_parser = size::parse, allow_negative_numbers = true)]
    memory_budget: Option<u64>,
    /// Tokens of context; by default the model's, but at most 4096 (bench: 1024; perplexity: tokens of a window, 512)
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(crate) ctx: Option<usize>,
    /// Threads; 0 takes one for each fast core
    #[arg(long, visible_alias = "tensor-parallel", value_name = "N", default_value = "0", value_parser = threads, allow_negative_numbers = true)]
    threads: usize,
    /// How weights are read: auto, direct, uring, pread (past the page cache), buffered (through it) or mmap
    #[arg(long, value_name = "WAY", default_value = "auto", value_parser = io_mode)]
    io: IoMode,
    /// Read no faster than this many bytes a second, such as 200M
    #[arg(long, value_name = "SIZE", value_parser = read_rate, allow_negative_numbers = true)]
    max_read_rate: Option<u64>,
    /// Which weights stay in memory: a fixed part (pin), or those used last (lru), which never helps
    #[arg(long, value_name = "POLICY", default_value = "pin", value_parser = cache_policy)]
    cache_policy: CachePolicy,
    /// How keys and values are stored: f16, q8_0 (half of that, less exact) or f32
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = kv_type)]
    kv_type: KvType,
    /// Let a token see only so many tokens, itself included; keys and values of others take no memory
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    sliding_window: Option<usize>,
    /// With a sliding window, let a token see the first N tokens too; 4 keep a model that was not made for windows talking
    #[arg(long, value_name = "N", default_value = "0", allow_negative_numbers = true)]
    sink_tokens: usize,
    /// Keep only the most recent keys and values in memory where it does not hold all, and the others in a file in this
    /// directory; without DIR, in the user's folder for caches
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    mmap_kv: Option<Option<PathBuf>>,
    /// With --mmap-kv, memory for keys and values; by default a quarter of what weights and they share, or more where
    /// weights leave it
    #[arg(long, value_name = "SIZE", value_parser = size::parse, allow_negative_numbers = true)]
    kv_budget: Option<u64>,
    /// Instruction set of the arithmetic
    #[arg(long, value_name = "SET", default_value = "auto", value_parser = kernels)]
    kernels: &'static Kernels,
}

/// First tokens that stay when a context is shifted; Ollama's number.
const KEPT_TOKENS: usize = 4;

/// More threads than this help no machine that we know of.
const MAX_THREADS: usize = 512;

impl EngineFlags {
    /// What happens when the context is full.
    pub(crate) fn overflow(&self, shifts: bool) -> Overflow {
        match (shifts, self.sink_tokens) {
            (false, _) => Overflow::Stop,
            (true, 0) => Overflow::Shift { n_keep: KEPT_TOKENS },
            (true, n_keep) => Overflow::Shift { n_keep },
        }
    }

    /// What the engine is told.
    ///
    /// Errors: a flag is given without the one that it belongs to.
    pub(crate) fn options(&self) -> Result<EngineOptions, Usage> {
        if self.kv_budget.is_some() && self.mmap_kv.is_none() {
            let message =
                "--kv-budget is how much memory --mmap-kv may take: give --mmap-kv or --mmap-kv=DIR too, or neither";
            return Err(Usage(message.to_owned()));
        }
        Ok(EngineOptions {
            memory_budget: self.memory_budget,
            ctx: self.ctx,
            threads: self.threads,
            io: self.io,
            max_read_rate: self.max_read_rate,
            cache_policy: self.cache_policy,
            max_logit_rows: 1,
            max_sequences: 1,
            kv_type: self.kv_type,
            window: Window { len: self.sliding_window.unwrap_or(usize::MAX), n_sinks: self.sink_tokens },
            grammars: false,
            mmap_kv: self.mmap_kv.clone().map(|folder| folder.unwrap_or_else(spill_folder)),
            kv_budget: self.kv_budget,
            kernels: self.kernels,
        })
    }
}

impl SamplingFlags {
    pub(crate) fn options(&self) -> SamplingOptions {
        let default = SamplingOptions::default();
        SamplingOptions {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_k: self.top_k.unwrap_or(default.top_k),
            top_p: self.top_p.unwrap_or(default.top_p),
            min_p: self.min_p.unwrap_or(default.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(default.repeat_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(default.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(default.presence_penalty),
            seed: self.seed,
            ..default
        }
    }
}

/// Where keys and values spill to when nobody names a folder. That for temporary files may be in memory.
fn spill_folder() -> PathBuf {
    dirs::cache_dir().unwrap_or_else(std::env::temp_dir).join("ssd-llm")
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("must be a whole number, at least 1".to_owned()),
    }
}

/// A pass takes in no more tokens.
const MAX_BATCH: usize = 512;

fn batch(text: &str) -> Result<usize, String> {
    let n = text.parse::<usize>().ok().filter(|n| (1..=MAX_BATCH).contains(n));
    n.ok_or_else(|| format!("must be a whole number from 1 to {MAX_BATCH}"))
}

fn threads(text: &str) -> Result<usize, String> {
    let n = text.parse::<usize>().ok().filter(|n| *n <= MAX_THREADS);
    n.ok_or_else(|| format!("must be a whole number, at most {MAX_THREADS}"))
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// `90`, `90s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    let seconds = number.parse::<f64>().map(|number| number * unit);
    let time = seconds.ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| "must be a time such as 90s, 5m or 1h; without the flag the model stays for ever".to_owned())
}

/// What the browser says of a page: `https://chat.example.com`, `chrome-extension://abc`; or all of them.
fn origin(text: &str) -> Result<String, String> {
    let is_word = |text: &str, more: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        is_word(scheme, &['+', '-', '.']) && (host == "*" || is_word(host, &['-', '.', '_', ':', '[', ']']))
    });
    match is_origin || text == "*" {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("must be an origin as browsers name them, without a path: https://chat.example.com, \
                      http://192.168.1.5:3000, chrome-extension://ID (or chrome-extension://* for all of them), or * for every page"
            .to_owned()),
    }
}

fn io_mode(text: &str) -> Result<IoMode, String> {
    match text {
        "auto" => Ok(IoMode::Auto),
        "direct" => Ok(IoMode::Direct),
        "uring" => Ok(IoMode::Uring),
        "pread" => Ok(IoMode::Pread),
        "buffered" => Ok(IoMode::Buffered),
        "mmap" => Ok(IoMode::Mmap),
        _ => Err("must be auto, direct, uring, pread, buffered or mmap".to_owned()),
    }
}

/// A pass at less would take hours, and a single read longer than a disk is given to answer.
const LEAST_READ_RATE: u64 = 1 << 20;

fn read_rate(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        rate if rate < LEAST_READ_RATE => Err(format!("must be at least {} a second", size::show(LEAST_READ_RATE))),
        rate => Ok(rate),
    }
}

fn cache_policy(text: &str) -> Result<CachePolicy, String> {
    match text {
        "pin" => Ok(CachePolicy::Pin),
        "lru" => Ok(CachePolicy::Lru),
        _ => Err("must be pin or lru".to_owned()),
    }
}

fn kv_type(text: &str) -> Result<KvType, String> {
    match text {
        "f16" => Ok(KvType::F16),
        "q8_0" => Ok(KvType::Q8_0),
        "f32" => Ok(KvType::F32),
        _ => Err("must be f16, q8_0 or f32".to_owned()),
    }
}

fn kernels(text: &str) -> Result<&'static Kernels, String> {
    if text == "auto" {
        return Ok(Kernels::detect());
    }
    Kernels::by_name(text).ok_or_else(|| match Kernels::all_names().contains(&text) {
        true => "is not something this processor can run; use auto".to_owned(),
        false => format!("must be auto, {}", Kernels::all_names().join(", ")),
    })
}
