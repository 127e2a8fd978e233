//! State shared by all handlers: the engine, facts about the model, options and counters.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use engine::{GrammarCompiler, LoadedModel, ModelFile, Service};
use model::gguf::{Array, Metadata, Value as GgufValue};
use model::{ChatTemplate, ModelSpec, Part, Pooling, Tokenizer};
use serde_json::{Map, Value, json};
use store::{Residency, ResidencyPlan, SlabTable};

use crate::failure::Failure;
use crate::keep_alive::KeepAlive;
use crate::metrics::Metrics;
use crate::options::ServerOptions;

/// The server's state.
pub(crate) struct App {
    pub(crate) service: Arc<Service>,
    pub(crate) facts: Facts,
    pub(crate) options: ServerOptions,
    pub(crate) metrics: Metrics,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) grammars: OnceLock<GrammarCompiler>,
    /// Maximum number of concurrent requests.
    pub(crate) max_batch: usize,
}

/// Facts about the model, whether it is loaded or not.
pub(crate) struct Facts {
    /// The name shown to clients, with a tag.
    pub(crate) name: String,
    /// All accepted names, in lower case.
    names: Vec<String>,
    pub(crate) spec: ModelSpec,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) template: Option<ChatTemplate>,
    /// The source of the template.
    pub(crate) template_source: Option<String>,
    /// Context length in tokens.
    pub(crate) ctx: usize,
    pub(crate) plan: ResidencyPlan,
    /// Predicted speed in tokens per second.
    pub(crate) predicted: Option<f64>,
    /// Pinned and streamed bytes of each layer, and of the output head last.
    pub(crate) layers: Vec<(u64, u64)>,
    pub(crate) file_bytes: u64,
    pub(crate) modified: SystemTime,
    /// 64 hexadecimal digits that identify the file.
    pub(crate) digest: String,
    metadata: Metadata,
    pub(crate) license: Option<String>,
    /// The type of most weights.
    pub(crate) quantization: &'static str,
}

impl Facts {
    /// Collects the facts.
    ///
    /// Errors: the template does not compile, or the file cannot be read.
    pub(crate) fn new(
        file: &ModelFile,
        model: &LoadedModel,
        options: &engine::EngineOptions,
        name: &str,
        predicted: Option<f64>,
    ) -> Result<Facts, engine::EngineError> {
        let with_tag = if name.contains(':') { name.to_owned() } else { format!("{name}:latest") };
        let stem = file.path().file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
        let names =
            vec![name.to_lowercase(), with_tag.to_lowercase(), format!("{stem}:latest"), format!("{stem}.gguf"), stem];
        let identity = file.cache_identity(options)?;
        let modified =
            std::fs::metadata(file.path()).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Facts {
            name: with_tag,
            names,
            tokenizer: Arc::clone(&model.tokenizer),
            template: model.chat_template()?,
            template_source: model.template_source().map(str::to_owned),
            ctx: file.context(options)?,
            layers: layers(&file.spec, &model.plan),
            plan: model.plan.clone(),
            predicted,
            file_bytes: file.gguf.file_len(),
            modified,
            // The fingerprint is of 128 bits; clients want 256.
            digest: format!("{0:032x}{0:032x}", identity.model),
            metadata: file.gguf.metadata().clone(),
            license: file.gguf.metadata().string("general.license").ok().flatten().map(str::to_owned),
            quantization: quantization(&file.spec),
            spec: file.spec.clone(),
        })
    }

    /// Whether this is a name of the model.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.names.contains(&name)
    }

    pub(crate) fn has_tools(&self) -> bool {
        self.template_source.as_ref().is_some_and(|source| source.contains("tools"))
    }

    pub(crate) fn has_thinking(&self) -> bool {
        self.template_source.as_ref().is_some_and(|s| s.contains("enable_thinking") || s.contains("<think>"))
    }

    /// How hidden states become an embedding; the last one works best for decoders that were not trained for embeddings.
    pub(crate) fn pooling(&self) -> Pooling {
        self.spec.pooling.unwrap_or(Pooling::Last)
    }

    pub(crate) fn capabilities(&self) -> Vec<&'static str> {
        let is_embedder = self.spec.pooling.is_some();
        let mut all = vec![if is_embedder { "embedding" } else { "completion" }];
        all.extend(self.has_tools().then_some("tools"));
        all.extend(self.has_thinking().then_some("thinking"));
        all
    }

    /// `134.52M`, `8.03B`.
    pub(crate) fn parameter_size(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
        let n = self.spec.n_parameters() as f64;
        if n >= 1e9 { format!("{:.1}B", n / 1e9) } else { format!("{:.2}M", n / 1e6) }
    }

    /// The file's metadata as JSON. Arrays are long: they are `null` unless `is_verbose`.
    pub(crate) fn metadata(&self, is_verbose: bool) -> Map<String, Value> {
        let one = |(key, value): (&str, &GgufValue)| (key.to_owned(), as_json(value, is_verbose));
        let mut all: Map<_, _> = self.metadata.iter().map(one).collect();
        all.remove("tokenizer.chat_template");
        all.insert("general.parameter_count".to_owned(), json!(self.spec.n_parameters()));
        all
    }

    /// Ollama's `details`.
    pub(crate) fn details(&self) -> Value {
        json!({
            "parent_model": "",
            "format": "gguf",
            "family": self.spec.architecture,
            "families": [self.spec.architecture],
            "parameter_size": self.parameter_size(),
            "quantization_level": self.quantization,
            "context_length": self.ctx,
            "embedding_length": self.spec.dim,
        })
    }
}

impl App {
    /// Fails unless this is a name of the model.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), Failure> {
        match self.facts.is_named(name) {
            true => Ok(()),
            false => {
                Err(Failure { param: Some("model".into()), ..Failure::not_found(format!("model '{name}' not found")) })
            }
        }
    }
}

/// Pinned and streamed bytes of each layer, and of the output head last.
fn layers(spec: &ModelSpec, plan: &ResidencyPlan) -> Vec<(u64, u64)> {
    let mut shares = vec![(0, 0); spec.layers.len() + 1];
    let Ok(table) = SlabTable::new(spec) else { return shares };
    let layers: HashMap<Part, Option<usize>> = spec.walk().map(|used| (used.matrix.part, used.layer)).collect();
    for (slab, residency) in table.all().iter().zip(&plan.residency) {
        let share = &mut shares[layers[&slab.part].unwrap_or(spec.layers.len())];
        match residency {
            Residency::Pinned => share.0 += slab.len as u64,
            Residency::Cached | Residency::Streamed => share.1 += slab.len as u64,
        }
    }
    shares
}

/// The type of most weights.
fn quantization(spec: &ModelSpec) -> &'static str {
    let mut bytes = std::collections::BTreeMap::<&'static str, u64>::new();
    for tensor in &spec.tensors {
        *bytes.entry(tensor.quant.format().name).or_default() += tensor.len;
    }
    bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map_or("unknown", |(name, _)| name)
}

/// Matches a value: the listed variants become JSON as they are, the other arms follow.
macro_rules! json_of {
    ($value:expr, $of:ident: $($variant:ident)*; $($arm:tt)*) => {
        match $value { $($of::$variant(value) => json!(value),)* $($arm)* }
    };
}

/// A metadata value; `null` for an array unless `is_verbose`.
fn as_json(value: &GgufValue, is_verbose: bool) -> Value {
    json_of!(value, GgufValue: U8 I8 U16 I16 U32 I32 U64 I64 F32 F64 Bool String;
        GgufValue::Array(_) if !is_verbose => Value::Null,
        GgufValue::Array(array) => list(array),
    )
}

fn list(array: &Array) -> Value {
    json_of!(array, Array: U8 I8 U16 I16 U32 I32 U64 I64 F32 F64 Bool;
        Array::String(strings) => strings.iter().map(String::from_utf8_lossy).collect(),
        Array::Array(arrays) => arrays.iter().map(list).collect(),
    )
}
