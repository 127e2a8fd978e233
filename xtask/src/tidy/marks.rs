//! Nothing in the tree is marked as unfinished.
//!
//! Words that promise later work (this file spells them in two halves, so that it does not find itself) are searched in the
//! text of sources, scripts and manifests, comments included; the macros of the same meaning in the tokens of Rust files.
//! Prose is not searched.

use super::finding::Finding;
use super::tokens::{each_level, is_punct};
use super::tree::Tree;
use proc_macro2::TokenTree;

const SEARCHED: &[&str] = &[".rs", ".sh", ".py", ".toml", ".ci/run", "justfile"];
const WORDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const MACROS: &[&str] = &["todo", "unimplemented"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in SEARCHED.iter().flat_map(|suffix| tree.ending(suffix)) {
        for (number, line) in text.lines().enumerate() {
            let words = WORDS.iter().filter(|word| has_word(line, word));
            found
                .extend(words.map(|word| Finding::new(path, number + 1, format!("{word} marks something unfinished"))));
        }
    }
    for file in tree.rust() {
        each_level(&file.tokens, &mut |level| found.extend(unfinished(&file.path, level)));
    }
    found
}

fn unfinished(path: &str, level: &[TokenTree]) -> Vec<Finding> {
    let calls = level.windows(2).filter(|pair| is_punct(&pair[1], '!'));
    let names = calls.filter_map(|pair| match &pair[0] {
        TokenTree::Ident(name) if MACROS.iter().any(|unfinished| name == unfinished) => Some(name),
        _ => None,
    });
    names
        .map(|name| Finding::new(path, name.span().start().line, format!("{name}! marks something unfinished")))
        .collect()
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !part_of_word(line[..at].chars().next_back()) && !part_of_word(line[at + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_comments_of_every_kind_of_source() {
        let line = format!("# {}: later", WORDS[0]);
        let comment = format!("// {}", WORDS[1]);
        let tree = Tree::of(&[("a.sh", &line), ("b.rs", &comment), (".ci/run", &line)]);
        assert_eq!(check(&tree).len(), 3);
    }

    #[test]
    fn macros_are_found() {
        let tree = Tree::of(&[("a.rs", "fn f() {\n    if x { todo!() } else { std::unimplemented!(\"y\") }\n}")]);
        let lines: Vec<usize> = check(&tree).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 2]);
    }

    #[test]
    fn parts_of_words_and_prose_are_free() {
        let part = format!("// A{}B and mktemp /tmp/a.{}X", WORDS[0], WORDS[2]);
        let prose = format!("{} is what we never write", WORDS[0]);
        let tree = Tree::of(&[("a.rs", &part), ("b.md", &prose), ("c.rs", "fn todo() { todo(); a != b }")]);
        assert_eq!(check(&tree), []);
    }
}
