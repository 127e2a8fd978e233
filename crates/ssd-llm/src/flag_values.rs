//! How the values of flags are parsed, each with an error that says what is allowed.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use forward::KvType;
use jiff::SignedDuration;
use kernels::Kernels;
use store::{CachePolicy, IoMode};

use crate::size;

/// The most tokens of a pass, and so of sequences that decode together.
pub(crate) const MAX_BATCH: usize = 512;

/// No known machine benefits from more threads.
pub(crate) const MAX_THREADS: usize = 512;

/// At a lower rate a pass would take hours, and a single read longer than its timeout.
const MIN_READ_RATE: u64 = 1 << 20;

pub(crate) const IO_MODES: &[(&str, IoMode)] = &[
    ("auto", IoMode::Auto),
    ("direct", IoMode::Direct),
    ("uring", IoMode::Uring),
    ("pread", IoMode::Pread),
    ("buffered", IoMode::Buffered),
    ("mmap", IoMode::Mmap),
];

pub(crate) const CACHE_POLICIES: &[(&str, CachePolicy)] = &[("pin", CachePolicy::Pin), ("lru", CachePolicy::Lru)];

pub(crate) const KV_TYPES: &[(&str, KvType)] = &[("f16", KvType::F16), ("q8_0", KvType::Q8_0), ("f32", KvType::F32)];

/// One of some words, which stand for values.
pub(crate) fn one_of<T: Copy + Send + Sync>(
    words: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> + use<T> {
    let value = |word: String| words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
    PossibleValuesParser::new(words.iter().map(|(word, _)| *word))
        .map(move |word| value(word).expect("clap has refused other words"))
}

/// A whole number in a range.
pub(crate) fn whole(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let n = text.parse().ok().filter(|n| range.contains(n));
        n.ok_or_else(|| match (range.start(), range.end()) {
            (least, &usize::MAX) => format!("must be a whole number, at least {least}"),
            (least, most) => format!("must be a whole number from {least} to {most}"),
        })
    }
}

pub(crate) fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// `90`, `90s`, `5m`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let unit = if text.ends_with(|c: char| c.is_ascii_digit()) { "s" } else { "" };
    let time = format!("{text}{unit}").parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    time.ok_or_else(|| "must be a duration such as 90s, 5m or 1h; omit the flag to keep the model loaded".to_owned())
}

/// An origin as browsers send it: `https://chat.example.com`, `chrome-extension://abc`; or `*` for all.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let is_word = |text: &str, more: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        is_word(scheme, &['+', '-', '.']) && (host == "*" || is_word(host, &['-', '.', '_', ':', '[', ']']))
    });
    match is_origin || text == "*" {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("must be an origin without a path, such as https://chat.example.com, http://192.168.1.5:3000 or \
                      chrome-extension://ID (chrome-extension://* for all extensions), or * for every page"
            .to_owned()),
    }
}

pub(crate) fn read_rate(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        rate if rate < MIN_READ_RATE => Err(format!("must be at least {} per second", size::show(MIN_READ_RATE))),
        rate => Ok(rate),
    }
}

pub(crate) fn kernels(text: &str) -> Result<&'static Kernels, String> {
    if text == "auto" {
        return Ok(Kernels::detect());
    }
    Kernels::by_name(text).ok_or_else(|| match Kernels::all_names().contains(&text) {
        true => format!("this processor does not support {text}; use auto"),
        false => format!("must be auto, {}", Kernels::all_names().join(", ")),
    })
}
