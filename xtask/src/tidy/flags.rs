//! Every flag of the command line is tested and documented.
//!
//! Flags are the fields of the binary crate with `#[arg(long)]`, by their long name. A flag is tested when a test of that
//! crate (`tests/` or a `#[cfg(test)]` part) spells it, one of its aliases, or its short form in quotes; it is documented
//! when a Markdown file spells it. Whether the test sees its effect is left to the reviewer.

use proc_macro2::TokenTree;
use syn::visit::{self, Visit};
use syn::{Field, Meta};

use super::finding::Finding;
use super::tokens::{is_ident, is_punct};
use super::tree::{RustFile, Tree};

const CRATE: &str = "crates/ssd-llm/";

/// One flag with every way to write it.
struct Flag {
    long: String,
    /// `-x` in quotes, and aliases with their dashes.
    others: Vec<String>,
    line: usize,
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let own: Vec<&RustFile> = tree.rust().iter().filter(|file| file.path.starts_with(CRATE)).collect();
    let tests: String = own.iter().map(|file| test_text(file)).collect();
    let documents: String = tree.ending(".md").map(|(_, text)| text).collect();
    let mut found = Vec::new();
    for file in own.iter().filter(|file| file.path.starts_with(&format!("{CRATE}src/"))) {
        for flag in flags(file) {
            let tested = has_flag(&tests, &flag.long) || flag.others.iter().any(|other| has_flag(&tests, other));
            let documented = has_flag(&documents, &flag.long);
            for (_, lack) in [(tested, "tested"), (documented, "documented")].into_iter().filter(|(fine, _)| !fine) {
                found.push(Finding::new(&file.path, flag.line, format!("flag {} is not {lack}", flag.long)));
            }
        }
    }
    found
}

fn test_text(file: &RustFile) -> &str {
    match file.text.find("#[cfg(test)]") {
        _ if file.path.starts_with(&format!("{CRATE}tests/")) => &file.text,
        Some(start) => &file.text[start..],
        None => "",
    }
}

fn has_flag(text: &str, flag: &str) -> bool {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices(flag)
        .any(|(at, _)| !text[at + flag.len()..].starts_with(goes_on) && !text[..at].ends_with(goes_on))
}

fn flags(file: &RustFile) -> Vec<Flag> {
    let mut collector = Collector(Vec::new());
    if let Ok(syntax) = &file.syntax {
        collector.visit_file(syntax);
    }
    collector.0
}

struct Collector(Vec<Flag>);

impl<'ast> Visit<'ast> for Collector {
    fn visit_field(&mut self, field: &'ast Field) {
        self.0.extend(flag_of(field));
        visit::visit_field(self, field);
    }
}

fn flag_of(field: &Field) -> Option<Flag> {
    let name = field.ident.as_ref()?;
    let arguments = field.attrs.iter().filter(|attribute| attribute.path().is_ident("arg"));
    let tokens: Vec<TokenTree> = arguments
        .filter_map(|attribute| match &attribute.meta {
            Meta::List(list) => Some(list.tokens.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    let long = option(&tokens, "long")?.unwrap_or_else(|| name.to_string().replace('_', "-"));
    let aliases = ["alias", "visible_alias"].into_iter().filter_map(|key| option(&tokens, key)?);
    let first = name.to_string().chars().next()?.to_string();
    let short = option(&tokens, "short").map(|stated| format!("\"-{}\"", stated.unwrap_or(first)));
    let others = aliases.map(|alias| format!("--{alias}")).chain(short).collect();
    Some(Flag { long: format!("--{long}"), others, line: name.span().start().line })
}

/// The value of `key` among the arguments of an attribute: none when absent, `Some(None)` when it stands alone.
fn option(tokens: &[TokenTree], key: &str) -> Option<Option<String>> {
    let arguments = tokens.split(|tree| is_punct(tree, ','));
    let argument = arguments.into_iter().find(|argument| argument.first().is_some_and(|first| is_ident(first, key)))?;
    let value = argument.get(1).filter(|tree| is_punct(tree, '=')).and_then(|_| argument.get(2));
    Some(value.map(|value| value.to_string().trim_matches(['"', '\'']).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGS: &str = "struct Args {\n    /// Doc.\n    #[arg(short = 'n', long = \"max-tokens\", visible_alias = \"predict\", default_value_t = 1)]\n    \
                        max: u32,\n    #[arg(long)]\n    top_k: u32,\n    model: String,\n}";

    fn messages(test: &str, document: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("crates/ssd-llm/src/args.rs", ARGS),
            ("crates/ssd-llm/tests/t.rs", test),
            ("crates/kernels/tests/t.rs", "--top-k --max-tokens"),
            ("README.md", document),
        ]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn flags_without_test_or_document_are_found() {
        let all = messages("", "");
        assert_eq!(all.len(), 4);
        assert!(all.contains(&"flag --max-tokens is not tested".to_string()));
        assert!(all.contains(&"flag --top-k is not documented".to_string()));
    }

    #[test]
    fn other_spellings_count_in_tests_only() {
        assert_eq!(messages("run([\"-n\", \"--top-k=3\"])", "`--max-tokens`, `--top-k`"), Vec::<String>::new());
        assert_eq!(
            messages("run([\"--predict\", \"--top-k\"])", "`--predict`, `--top-k`"),
            ["flag --max-tokens is not documented"]
        );
    }

    #[test]
    fn a_longer_flag_is_another_flag() {
        assert_eq!(messages("\"--top-k-min --max-tokens\"", "--top-k --max-tokens"), ["flag --top-k is not tested"]);
    }

    #[test]
    fn unit_tests_beside_the_code_count() {
        let text = format!("{ARGS}\n#[cfg(test)]\nmod tests {{ const A: &str = \"--top-k --max-tokens\"; }}");
        let tree = Tree::of(&[("crates/ssd-llm/src/args.rs", &text), ("README.md", "--top-k --max-tokens")]);
        assert_eq!(check(&tree), []);
    }
}
