//! What `/metrics` reports: the server's counters and histograms, and a snapshot of the engine's figures.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use engine::Snapshot;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the histograms' buckets, in seconds: a disk-bound model takes seconds a token.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The values of the label `status`.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What the server has counted since its start; the engine counts its own.
#[derive(Debug)]
pub(crate) struct Metrics {
    responses: Family<[(&'static str, &'static str); 1], Counter>,
    cancelled: Counter,
    first_token: Histogram,
    between_tokens: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let responses = Family::default();
        CLASSES.iter().for_each(|class| drop(responses.get_or_create(&[("status", *class)])));
        let [first_token, between_tokens] = [(); 2].map(|()| Histogram::new(BOUNDS));
        Metrics { responses, cancelled: Counter::<u64, AtomicU64>::default(), first_token, between_tokens }
    }

    /// Counts an HTTP response.
    pub(crate) fn responded(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.responses.get_or_create(&[("status", CLASSES[class])]).inc();
    }

    /// Counts a request whose client went away.
    pub(crate) fn cancelled(&self) {
        self.cancelled.inc();
    }

    /// Counts token `n` of an answer, which took this long after the previous one or, if it is the first, after the request.
    pub(crate) fn token(&self, n: usize, time: Duration) {
        let histogram = if n == 0 { &self.first_token } else { &self.between_tokens };
        histogram.observe(time.as_secs_f64());
    }

    /// All metrics in Prometheus's text format.
    pub(crate) fn text(&self, snapshot: &Snapshot) -> String {
        let mut registry = Registry::with_prefix("ssd_llm");
        // The encoder ends each help text with a period, and appends `_total` to the names of counters.
        for (name, help, value) in counters(snapshot) {
            registry.register(name, help, ConstCounter::new(value));
        }
        for (name, help, value) in gauges(snapshot) {
            registry.register(name, help, ConstGauge::new(value));
        }
        registry.register("requests_cancelled", "Requests cancelled by their clients", self.cancelled.clone());
        registry.register("responses", "HTTP responses by status class", self.responses.clone());
        registry.register("first_token_seconds", "Time from request to first token", self.first_token.clone());
        registry.register("between_tokens_seconds", "Time between consecutive tokens", self.between_tokens.clone());
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).expect("a string takes any text");
        text
    }
}

type Row = (&'static str, &'static str, f64);

#[expect(clippy::cast_precision_loss, reason = "Prometheus has only floating-point numbers")]
fn counters(Snapshot { totals, cache, .. }: &Snapshot) -> [Row; 12] {
    [
        ("requests", "Completed requests", totals.requests as f64),
        ("requests_failed", "Failed requests", totals.failed as f64),
        ("prompt_tokens", "Prompt tokens, including cached ones", totals.prompt_tokens as f64),
        ("generated_tokens", "Generated tokens", totals.generated_tokens as f64),
        ("passes", "Forward passes", totals.passes as f64),
        ("pass_seconds", "Time spent in forward passes", totals.pass_time.as_secs_f64()),
        ("bytes_read", "Bytes of weights read from disk", totals.bytes_read as f64),
        ("stall_seconds", "Time forward passes spent waiting for the disk", totals.stall.as_secs_f64()),
        ("slab_hits", "Weight slabs found in memory", totals.hits as f64),
        ("slabs", "Weight slabs requested", totals.slabs as f64),
        ("prompt_cache_hits", "Prompts with a cached prefix", cache.hits as f64),
        ("prompt_cache_saved_tokens", "Prompt tokens reused from the prompt cache", cache.saved_tokens as f64),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has only floating-point numbers")]
fn gauges(Snapshot { totals, load, cache, n_pages, n_free_pages, recent, .. }: &Snapshot) -> [Row; 8] {
    let tokens_per_second = recent.generated_tokens as f64 / recent.time.as_secs_f64().max(1e-9);
    [
        ("requests_queued", "Queued requests", load.queued as f64),
        ("requests_prefilling", "Requests in prefill", load.prefilling as f64),
        ("requests_decoding", "Requests in decode", load.decoding as f64),
        ("tokens_per_second", "Tokens generated per second, recently", tokens_per_second),
        ("pinned_bytes", "Bytes of weights pinned in memory", totals.pinned_bytes as f64),
        ("kv_pages", "Pages in the KV cache", *n_pages as f64),
        ("kv_pages_free", "Free pages in the KV cache", *n_free_pages as f64),
        ("prompt_cache_pages", "KV cache pages held by the prompt cache", cache.pages as f64),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const COUNTERS: [&str; 14] = [
        "requests_total",
        "requests_failed_total",
        "requests_cancelled_total",
        "prompt_tokens_total",
        "generated_tokens_total",
        "passes_total",
        "pass_seconds_total",
        "bytes_read_total",
        "stall_seconds_total",
        "slab_hits_total",
        "slabs_total",
        "prompt_cache_hits_total",
        "prompt_cache_saved_tokens_total",
        "responses_total",
    ];
    const GAUGES: [&str; 8] = [
        "requests_queued",
        "requests_prefilling",
        "requests_decoding",
        "tokens_per_second",
        "pinned_bytes",
        "kv_pages",
        "kv_pages_free",
        "prompt_cache_pages",
    ];
    const HISTOGRAMS: [&str; 2] = ["first_token_seconds", "between_tokens_seconds"];

    /// The types of all metrics and the values of all samples, by what stands before them. Panics if a line cannot be read.
    fn parsed(text: &str) -> (BTreeMap<&str, &str>, BTreeMap<&str, f64>) {
        let (mut types, mut samples, mut helped) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect("a name and a text");
                assert!(words.ends_with('.') && !words.ends_with("..") && helped.insert(name), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a type");
                assert!(types.insert(name, kind).is_none() && helped.contains(name), "{line}");
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
                let name = sample.split('{').next().expect("a name");
                let family = HISTOGRAMS.iter().find(|one| name.starts_with(&format!("ssd_llm_{one}_")));
                let family = family.map_or(name.to_owned(), |one| format!("ssd_llm_{one}"));
                assert!(types.contains_key(family.as_str()), "{line}");
                assert!(samples.insert(sample, value.parse().expect("a number")).is_none(), "{line}");
            }
        }
        (types, samples)
    }

    #[test]
    fn every_metric_is_there_with_its_type_and_value() {
        let metrics = Metrics::new();
        metrics.responded(200);
        metrics.responded(404);
        metrics.responded(204);
        metrics.cancelled();
        metrics.token(0, Duration::from_millis(200));
        metrics.token(1, Duration::from_millis(7));
        metrics.token(2, Duration::from_secs(400));
        let mut snapshot = Snapshot { n_pages: 9, ..Snapshot::default() };
        snapshot.totals.bytes_read = 1 << 40;
        snapshot.totals.stall = Duration::from_millis(1500);
        let text = metrics.text(&snapshot);
        assert!(text.ends_with('\n'));
        let (types, samples) = parsed(&text);
        let all = [(&COUNTERS[..], "counter"), (&GAUGES[..], "gauge"), (&HISTOGRAMS[..], "histogram")];
        let expected: BTreeMap<String, &str> = all
            .into_iter()
            .flat_map(|(names, kind)| names.iter().map(move |name| (format!("ssd_llm_{name}"), kind)))
            .collect();
        assert_eq!(types.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect::<BTreeMap<_, _>>(), expected);
        for (sample, value) in [
            ("kv_pages", 9.0),
            ("bytes_read_total", (1u64 << 40) as f64),
            ("stall_seconds_total", 1.5),
            ("requests_cancelled_total", 1.0),
            ("responses_total{status=\"1xx\"}", 0.0),
            ("responses_total{status=\"2xx\"}", 2.0),
            ("responses_total{status=\"4xx\"}", 1.0),
            ("first_token_seconds_count", 1.0),
            ("first_token_seconds_bucket{le=\"0.1\"}", 0.0),
            ("first_token_seconds_bucket{le=\"0.25\"}", 1.0),
            ("between_tokens_seconds_sum", 400.007),
            ("between_tokens_seconds_bucket{le=\"300\"}", 1.0),
            ("between_tokens_seconds_bucket{le=\"+Inf\"}", 2.0),
        ] {
            assert_eq!(samples.get(format!("ssd_llm_{sample}").as_str()), Some(&value), "{sample} in\n{text}");
        }
    }
}
