//! The command line: commands, flags, and what the engine is told by them.
//!
//! Names are a contract, since scripts use them. `flag_values` parses the values.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use engine::{EngineOptions, Overflow, SamplingOptions};
use forward::{KvType, Window};
use kernels::Kernels;
use store::{CachePolicy, IoMode};

use crate::flag_values::{
    CACHE_POLICIES, IO_MODES, KV_TYPES, MAX_BATCH, MAX_THREADS, duration, kernels, not_empty, one_of, origin,
    read_rate, whole,
};
use crate::size;
use crate::usage::Usage;

/// Run large language models that are bigger than the machine's memory
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
    /// Chat with a model in the terminal
    Chat(ChatArgs),
    /// Serve the Ollama, OpenAI and Anthropic APIs, and a web page to chat on
    Serve(ServeArgs),
    /// Show what a model file contains, without reading its weights
    Info(InfoArgs),
    /// Show how much memory a model needs and how fast it would run
    Plan(PlanArgs),
    /// Measure speed at several memory budgets, and how close it comes to the machine's limit
    Bench(BenchArgs),
    /// Measure how well a model predicts a text
    Perplexity(PerplexityArgs),
    /// Convert text to token ids
    Tokenize(TokenizeArgs),
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Prompt [default: read from standard input]
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// Maximum number of tokens to generate [default: until the model stops or the context is full]
    #[arg(short = 'n', long, value_name = "N", value_parser = whole(1..=usize::MAX), allow_negative_numbers = true)]
    pub(crate) max_tokens: Option<usize>,
    /// Continue the prompt as is, without the model's chat template
    #[arg(long, conflicts_with = "system")]
    pub(crate) raw: bool,
    /// System message for the chat template
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Print a JSON object instead of the text
    #[arg(long)]
    pub(crate) json: bool,
    /// With --json, report each token's log-probability and the N most likely alternatives
    #[arg(long, value_name = "N", requires = "json", allow_negative_numbers = true)]
    pub(crate) logprobs: Option<usize>,
    /// When the context is full, discard the oldest tokens after the first --sink-tokens (4 by default) instead of stopping
    #[arg(long)]
    pub(crate) context_shift: bool,
    #[command(flatten)]
    pub(crate) cache: CacheFlags,
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
    /// Maximum number of tokens per answer [default: until the model stops or the context is full]
    #[arg(short = 'n', long, value_name = "N", value_parser = whole(1..=usize::MAX), allow_negative_numbers = true)]
    pub(crate) max_tokens: Option<usize>,
    /// System message for the chat template
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// When the context is full, discard the oldest tokens after the first --sink-tokens (4 by default) instead of stopping
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
    /// Address or host name to listen on; one that other machines can reach requires --api-key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to listen on; 0 picks a free one
    #[arg(long, value_name = "N", default_value = "11434", allow_negative_numbers = true)]
    pub(crate) port: u16,
    /// Maximum number of requests answered concurrently, each with its own context
    #[arg(long, value_name = "N", default_value = "4", value_parser = whole(1..=MAX_BATCH), allow_negative_numbers = true)]
    pub(crate) max_batch: usize,
    /// Maximum number of queued requests; more are refused with status 503
    #[arg(long, value_name = "N", default_value = "1024", value_parser = whole(1..=usize::MAX), allow_negative_numbers = true)]
    pub(crate) max_queue: usize,
    /// Maximum number of open connections; more wait to be accepted
    #[arg(long, value_name = "N", default_value = "4096", value_parser = whole(1..=usize::MAX), allow_negative_numbers = true)]
    pub(crate) max_connections: usize,
    /// Require this key from clients [env: SSD_LLM_API_KEY]
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// Let other machines connect without a key
    #[arg(long)]
    pub(crate) allow_unauthenticated: bool,
    /// Let web pages of this origin, such as `https://chat.example.com`, use the server; * allows all; may be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub(crate) allow_origin: Vec<String>,
    /// Unload the model after this much idle time, such as 5m [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    pub(crate) keep_alive: Option<Duration>,
    /// On shutdown, wait this long for running requests to finish
    #[arg(long, value_name = "SECONDS", default_value = "30", allow_negative_numbers = true)]
    pub(crate) drain_seconds: u64,
    /// Model name shown to clients [default: the name of the file]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Log request bodies
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
    /// Save computed prompts in this directory and reuse them; without DIR, in the user's cache directory
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub(crate) prompt_cache: Option<Option<PathBuf>>,
    /// Maximum size of the saved prompts of one model
    #[arg(long, value_name = "SIZE", default_value = "8G", value_parser = size::parse, allow_negative_numbers = true)]
    pub(crate) prompt_cache_budget: u64,
}

#[derive(Args)]
pub(crate) struct InfoArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Print a JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct PlanArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Print a JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
}

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Model file (GGUF)
    pub(crate) model: PathBuf,
    /// Number of decode passes at each budget
    #[arg(short = 'n', long, value_name = "N", default_value = "8", value_parser = whole(1..=usize::MAX), allow_negative_numbers = true)]
    pub(crate) max_tokens: usize,
    /// Length of the prompt in tokens; cut to what the context leaves room for
    #[arg(long, value_name = "N", default_value = "512", value_parser = whole(1..=usize::MAX), allow_negative_numbers = true)]
    pub(crate) prompt_tokens: usize,
    /// Number of sequences decoded together, each with its own prompt and context
    #[arg(long, value_name = "N", default_value = "1", value_parser = whole(1..=MAX_BATCH), allow_negative_numbers = true)]
    pub(crate) batch: usize,
    /// Load the weights with a short prompt before timing anything; the time to first token is not measured
    #[arg(long)]
    pub(crate) warm: bool,
    /// Print a JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Plot tokens per second against the budget into this file (.svg)
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
    /// Print a JSON object instead of a line
    #[arg(long)]
    pub(crate) json: bool,
    /// With --json, report each scored token's log-probability and the N most likely alternatives
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
    /// Print a JSON object instead of one line per token
    #[arg(long)]
    pub(crate) json: bool,
    /// Add the special tokens that the model expects at the beginning and end
    #[arg(long)]
    pub(crate) add_special: bool,
    /// Treat names of special tokens in the text as plain text
    #[arg(long)]
    pub(crate) no_parse_special: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingFlags {
    /// Sampling temperature; 0 always picks the most likely token [default: 0.8]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    temperature: Option<f32>,
    /// Sample from the K most likely tokens; 0 disables this [default: 40]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    top_k: Option<usize>,
    /// Sample from the most likely tokens whose probabilities add up to P; 1 disables this [default: 0.9]
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    top_p: Option<f32>,
    /// Drop tokens less likely than P times the most likely one; 0 disables this [default: 0]
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    min_p: Option<f32>,
    /// Divide the logits of recent tokens by X; 1 disables this [default: 1]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    repeat_penalty: Option<f32>,
    /// Subtract X from a token's logit for each recent occurrence [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    frequency_penalty: Option<f32>,
    /// Subtract X from a token's logit if it occurred recently [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    presence_penalty: Option<f32>,
    /// Random seed; the same seed gives the same text [default: random]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Stop before this text, which is not printed; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
    pub(crate) stop: Vec<String>,
}

#[derive(Args)]
#[command(next_help_heading = "Structured output")]
#[group(multiple = false)]
pub(crate) struct GrammarFlags {
    /// Constrain the answer to JSON that matches this schema; @FILE reads it from a file
    #[arg(long, value_name = "SCHEMA", value_parser = not_empty)]
    pub(crate) json_schema: Option<String>,
    /// Constrain the answer to this grammar in llama.cpp's format (GBNF); @FILE reads it from a file
    #[arg(long, value_name = "GBNF", value_parser = not_empty)]
    pub(crate) grammar: Option<String>,
    /// Constrain the answer to text that this regular expression matches as a whole
    #[arg(long, value_name = "REGEX")]
    pub(crate) regex: Option<String>,
    /// Constrain the answer to this grammar in llguidance's Lark syntax; @FILE reads it from a file
    #[arg(long, value_name = "LARK", value_parser = not_empty)]
    pub(crate) lark: Option<String>,
}

#[derive(Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineFlags {
    /// Memory that the program may use, such as 8G or 1.5G [default: seven eighths of what is available]
    #[arg(long, value_name = "SIZE", value_parser = size::parse, allow_negative_numbers = true)]
    memory_budget: Option<u64>,
    /// Context length in tokens [default: the model's, up to 4096; bench: up to 1024; perplexity: 512]
    #[arg(long, value_name = "N", value_parser = whole(1..=usize::MAX), allow_negative_numbers = true)]
    pub(crate) ctx: Option<usize>,
    /// Number of threads; 0 uses one per fast core
    #[arg(long, visible_alias = "tensor-parallel", value_name = "N", default_value = "0", value_parser = whole(0..=MAX_THREADS), allow_negative_numbers = true)]
    threads: usize,
    /// How to read weights: past the page cache (direct, or uring and pread), through it (buffered) or mapped (mmap)
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = one_of(IO_MODES))]
    io: IoMode,
    /// Limit reads to this many bytes per second, such as 200M
    #[arg(long, value_name = "SIZE", value_parser = read_rate, allow_negative_numbers = true)]
    max_read_rate: Option<u64>,
    /// Which weights stay in memory: a fixed part (pin) or the most recently used (lru, for comparison: it never helps)
    #[arg(long, value_name = "POLICY", default_value = "pin", value_parser = one_of(CACHE_POLICIES))]
    cache_policy: CachePolicy,
    /// Type of keys and values; q8_0 takes half the memory of f16 and is less exact
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = one_of(KV_TYPES))]
    kv_type: KvType,
    /// Let each token attend only to the last N tokens, itself included; older keys and values are discarded
    #[arg(long, value_name = "N", value_parser = whole(1..=usize::MAX), allow_negative_numbers = true)]
    sliding_window: Option<usize>,
    /// With a sliding window, let each token attend to the first N tokens too; 4 keeps models usable that were trained
    /// without a window
    #[arg(long, value_name = "N", default_value = "0", allow_negative_numbers = true)]
    sink_tokens: usize,
    /// If keys and values do not fit in memory, spill the oldest to a file in this directory; without DIR, in the user's
    /// cache directory
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    mmap_kv: Option<Option<PathBuf>>,
    /// With --mmap-kv, memory for keys and values [default: a quarter of what they share with weights, or more if weights
    /// leave room]
    #[arg(long, value_name = "SIZE", value_parser = size::parse, allow_negative_numbers = true)]
    kv_budget: Option<u64>,
    /// Instruction set of the kernels
    #[arg(long, value_name = "SET", default_value = "auto", value_parser = kernels)]
    kernels: &'static Kernels,
}

/// Tokens kept at the start of a shifted context; Ollama's default.
const KEPT_TOKENS: usize = 4;

impl EngineFlags {
    /// What happens when the context is full.
    pub(crate) fn overflow(&self, shifts: bool) -> Overflow {
        match (shifts, self.sink_tokens) {
            (false, _) => Overflow::Stop,
            (true, 0) => Overflow::Shift { n_keep: KEPT_TOKENS },
            (true, n_keep) => Overflow::Shift { n_keep },
        }
    }

    /// The options of the engine.
    ///
    /// Errors: a flag is given without the one that it belongs to.
    pub(crate) fn options(&self) -> Result<EngineOptions, Usage> {
        if self.kv_budget.is_some() && self.mmap_kv.is_none() {
            let message = "--kv-budget requires --mmap-kv: add --mmap-kv or --mmap-kv=DIR, or remove --kv-budget";
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
            prompt_files: false,
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

/// Where keys and values spill to by default. The directory for temporary files may be in memory.
fn spill_folder() -> PathBuf {
    dirs::cache_dir().unwrap_or_else(std::env::temp_dir).join("ssd-llm")
}
