//! Splits text into the words within which byte-level BPE merges.
//!
//! A [`PreTokenizer`] is a row of [`ROWS`]: its names in GGUF files and its regular expressions, each applied to the pieces
//! of the previous one. The expressions are those of the models' tokenizers as in llama.cpp (MIT), without their last two
//! alternatives, `\s+(?!\S)|\s+`: a run of white space leaves its last character to the next word. A comparison does this
//! here instead of a look-ahead, so plain automata do the rest: 80 MB/s where a backtracking engine reaches 10, and linear
//! time where a megabyte of spaces overflows a backtracker's stack.

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};

use crate::error::ModelError;

/// One pre-tokenizer.
pub(super) struct Row {
    /// Values of `tokenizer.ggml.pre`; the first is displayed.
    names: &'static [&'static str],
    steps: &'static [Step],
    /// Whether a word that is a token becomes it without merging.
    pub(super) whole_words: bool,
    /// Whether a text starts with the BOS token by default.
    pub(super) add_bos: bool,
}

/// One regular expression.
enum Step {
    /// Splits into its matches and the text between them.
    Between(&'static str),
    /// Splits into its matches and the runs of white space between them, each without its last character if a word follows;
    /// together they cover the text.
    Words(&'static str),
}

const GPT2: Step = Step::Words(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+");

const LLAMA3: Step = Step::Words(concat!(
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
));

const QWEN2: Step = Step::Words(concat!(
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
));

const QWEN35: Step = Step::Words(concat!(
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
));

const ROWS: [Row; 7] = [
    Row {
        names: &["default"],
        steps: &[Step::Between(r"[\p{P}$+<=>^~|]+"), GPT2, Step::Between(r"\p{N}+"), Step::Between(r"[0-9][0-9][0-9]")],
        whole_words: false,
        add_bos: false,
    },
    Row {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        steps: &[LLAMA3],
        whole_words: true,
        add_bos: true,
    },
    Row { names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], steps: &[LLAMA3], whole_words: false, add_bos: false },
    Row {
        names: &["qwen2", "deepseek-r1-qwen", "megrez", "kormo", "stablelm2", "hunyuan", "solar-open", "grok-2"],
        steps: &[QWEN2],
        whole_words: false,
        add_bos: false,
    },
    Row { names: &["qwen35"], steps: &[QWEN35], whole_words: false, add_bos: false },
    Row {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        steps: &[Step::Between(r"\p{N}"), GPT2],
        whole_words: false,
        add_bos: false,
    },
    Row {
        names: &["gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "trillion", "exaone4", "mellum", "a.x-4.0"],
        steps: &[GPT2],
        whole_words: false,
        add_bos: false,
    },
];

/// A row with its expressions compiled.
pub(super) struct PreTokenizer {
    pub(super) row: &'static Row,
    cutters: Vec<Cutter>,
}

/// A compiled [`Step`].
enum Cutter {
    Between(Regex),
    /// Pattern 0 is the step's, pattern 1 a run of white space.
    Words(Regex),
}

impl PreTokenizer {
    /// The pre-tokenizer with this name; an unknown name logs a warning and means `default`.
    ///
    /// Errors: an expression does not compile, which the tests exclude.
    pub(super) fn new(name: Option<&str>) -> Result<PreTokenizer, ModelError> {
        let row = ROWS.iter().find(|row| name.is_some_and(|name| row.names.contains(&name)));
        let row = row.unwrap_or_else(|| {
            let name = name.unwrap_or("(none)");
            tracing::warn!("unknown pre-tokenizer {name}: using `default`, which may produce wrong tokens");
            &ROWS[0]
        });
        let cutters = row.steps.iter().map(Cutter::new).collect::<Result<_, _>>()?;
        Ok(PreTokenizer { row, cutters })
    }

    /// The displayed name.
    pub(super) fn name(&self) -> &'static str {
        self.row.names[0]
    }

    /// Calls `word` with every word of `text` in order; concatenated they are the text.
    pub(super) fn split<'t>(&self, text: &'t str, word: &mut dyn FnMut(&'t str)) {
        cut(&self.cutters, text, word);
    }
}

fn cut<'t>(cutters: &[Cutter], text: &'t str, word: &mut dyn FnMut(&'t str)) {
    match cutters {
        [] => word(text),
        [Cutter::Between(regex), rest @ ..] => cut_between(regex, text, &mut |piece| cut(rest, piece, word)),
        [Cutter::Words(regex), rest @ ..] => cut_words(regex, text, &mut |piece| cut(rest, piece, word)),
    }
}

fn cut_between<'t>(regex: &Regex, text: &'t str, piece: &mut dyn FnMut(&'t str)) {
    let mut end = 0;
    for found in regex.find_iter(text) {
        if found.start() > end {
            piece(&text[end..found.start()]);
        }
        piece(&text[found.range()]);
        end = found.end();
    }
    if end < text.len() {
        piece(&text[end..]);
    }
}

fn cut_words<'t>(regex: &Regex, text: &'t str, piece: &mut dyn FnMut(&'t str)) {
    let mut rest = text;
    while !rest.is_empty() {
        let found = regex.search_half(&Input::new(rest).anchored(Anchored::Yes));
        let (spaces, end) =
            found.map_or((false, rest.len()), |found| (found.pattern().as_usize() == 1, found.offset()));
        let (word, after) = rest.split_at(if spaces { leave_one(rest, end) } else { end });
        piece(word);
        rest = after;
    }
}

/// The end of a run of white space that ends at `end`, without its last character if it has others and a word follows.
fn leave_one(text: &str, end: usize) -> usize {
    let last = text[..end].char_indices().next_back().map_or(0, |(start, _)| start);
    if end == text.len() || last == 0 { end } else { last }
}

impl Cutter {
    fn new(step: &Step) -> Result<Cutter, ModelError> {
        let compiled = match *step {
            Step::Between(pattern) => Regex::new(pattern).map(Cutter::Between),
            Step::Words(pattern) => Regex::new_many(&[pattern, r"\s+"]).map(Cutter::Words),
        };
        compiled.map_err(|error| ModelError::Unsupported(format!("pre-tokenizer: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str, text: &'static str) -> Vec<&'static str> {
        let mut words = Vec::new();
        PreTokenizer::new(Some(name)).unwrap().split(text, &mut |word| words.push(word));
        words
    }

    #[test]
    fn every_row_cuts_everything_and_loses_nothing() {
        let text = "It's  12345 \t\n x\u{301}é中文\u{2003}\u{85} <|a|>\0\r\n";
        for row in &ROWS {
            for name in row.names {
                let words = words(name, text);
                assert_eq!(words.concat(), text, "{name}");
                assert!(words.iter().all(|word| !word.is_empty()), "{name}");
            }
        }
    }

    #[test]
    fn no_name_stands_in_two_rows() {
        let names: Vec<_> = ROWS.iter().flat_map(|row| row.names).collect();
        let different: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(names.len(), different.len());
    }

    #[test]
    fn a_run_of_spaces_leaves_one_to_the_word_after_it() {
        assert_eq!(words("gpt-2", "a   b"), ["a", "  ", " b"]);
        assert_eq!(words("gpt-2", "a   "), ["a", "   "]);
        assert_eq!(words("gpt-2", "a \n\n b"), ["a", " \n\n", " b"]);
        assert_eq!(words("llama-bpe", "a \n\n b"), ["a", " \n\n", " b"]);
        assert_eq!(words("llama-bpe", "a \t b"), ["a", " \t", " b"]);
        assert_eq!(words("llama-bpe", "\u{3000}\u{3000}中"), ["\u{3000}", "\u{3000}中"]);
    }

    #[test]
    fn the_rows_differ_where_the_models_do() {
        assert_eq!(words("llama-bpe", "12345 I'LL"), ["123", "45", " I", "'LL"]);
        assert_eq!(words("qwen2", "123 I'LL"), ["1", "2", "3", " I", "'LL"]);
        assert_eq!(words("gpt-2", "12345 I'LL"), ["12345", " I", "'", "LL"]);
        assert_eq!(words("smollm", "a 12"), ["a", " ", "1", "2"]);
        assert_eq!(words("default", "a 12345=="), ["a", " ", "123", "45", "=="]);
        assert_eq!(words("qwen2", "e\u{301}"), ["e", "\u{301}"]);
        assert_eq!(words("qwen35", "e\u{301}"), ["e\u{301}"]);
    }

    #[test]
    fn unknown_names_mean_default() {
        assert_eq!(PreTokenizer::new(Some("unknown")).unwrap().name(), "default");
        assert_eq!(PreTokenizer::new(None).unwrap().name(), "default");
        assert_eq!(PreTokenizer::new(Some("llama3")).unwrap().name(), "llama-bpe");
    }
}
