//! What the command line asks for.

use kernels::{Format, Kernels, QuantType};

/// Blocks of every format divide it.
const COLS_UNIT: usize = 256;

/// The command line.
pub(crate) struct Arguments {
    formats: Vec<String>,
    tiers: Vec<String>,
    threads: usize,
    pub(crate) cols: usize,
    pub(crate) json: bool,
}

impl Arguments {
    /// `None` if nothing is to be measured, since it is not `cargo bench` that calls. Errors: a word that means nothing here.
    pub(crate) fn parse(words: &[String]) -> Result<Option<Arguments>, String> {
        let has = |option| words.iter().any(|word| word == option);
        if !has("--bench") || has("--test") {
            return Ok(None);
        }
        let mut found = Arguments { formats: Vec::new(), tiers: Vec::new(), threads: 1, cols: 4096, json: false };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--bench" => {}
                "--json" => found.json = true,
                "--threads" => found.threads = number(word, words.next(), 1)?,
                "--cols" => found.cols = number(word, words.next(), COLS_UNIT)?,
                name if is_format(name) => found.formats.push(name.to_owned()),
                name if Kernels::by_name(name).is_some() => found.tiers.push(name.to_owned()),
                _ => return Err(format!("{word} is not a format, a tier of this processor or an option")),
            }
        }
        Ok(Some(found))
    }

    /// One thread, and as many as were asked for.
    pub(crate) fn thread_counts(&self) -> Vec<usize> {
        if self.threads > 1 { vec![1, self.threads] } else { vec![1] }
    }

    pub(crate) fn wants_format(&self, format: &Format) -> bool {
        self.formats.is_empty() || self.formats.iter().any(|name| name == format.name)
    }

    pub(crate) fn wants_tier(&self, kernels: &Kernels) -> bool {
        match self.tiers.as_slice() {
            [] => kernels.name() != Kernels::scalar().name(),
            named => named.iter().any(|name| name == kernels.name()),
        }
    }
}

fn is_format(name: &str) -> bool {
    QuantType::formats().iter().any(|format| format.name == name)
}

/// The whole multiple of `unit` that stands after an option.
fn number(option: &str, word: Option<&str>, unit: usize) -> Result<usize, String> {
    let n = word.and_then(|word| word.parse().ok()).filter(|n| *n > 0 && n % unit == 0);
    n.ok_or_else(|| format!("{option} wants a number, a multiple of {unit}"))
}
