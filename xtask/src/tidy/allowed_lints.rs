//! Lints that find unused code are not silenced.
//!
//! `#[allow(dead_code)]`, `#[expect(unused_variables)]` and their like are found in any attribute, `cfg_attr` included, and
//! as `"allow"` in a manifest's lint tables. Flags given to the compiler in the environment are not seen.

use proc_macro2::{TokenStream, TokenTree};

use super::finding::Finding;
use super::manifest;
use super::tokens::{each_level, idents, is_ident};
use super::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust() {
        for line in lines_with_allow(&file.tokens) {
            found.push(Finding::new(&file.path, line, "silences a lint that finds unused code"));
        }
    }
    for manifest in manifest::all(tree) {
        for lint in manifest.lints_allowed().filter(|lint| finds_unused_code(lint)) {
            found.push(Finding::new(manifest.path, 1, format!("allows the lint {lint}")));
        }
    }
    found
}

fn lines_with_allow(tokens: &TokenStream) -> Vec<usize> {
    let mut lines = Vec::new();
    each_level(tokens, &mut |level| {
        for pair in level.windows(2) {
            let TokenTree::Group(lints) = &pair[1] else { continue };
            let silences = is_ident(&pair[0], "allow") || is_ident(&pair[0], "expect");
            if silences && idents(&lints.stream()).iter().any(|lint| finds_unused_code(&lint.to_string())) {
                lines.push(pair[0].span().start().line);
            }
        }
    });
    lines
}

fn finds_unused_code(lint: &str) -> bool {
    lint == "dead_code" || lint.starts_with("unused")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        check(&Tree::of(&[("a.rs", text)])).len()
    }

    #[test]
    fn attributes_that_hide_unused_code_are_found() {
        assert_eq!(count("#[allow(dead_code)] fn f() {}"), 1);
        assert_eq!(count("#![allow(clippy::all, unused_imports)]"), 1);
        assert_eq!(count("#[cfg_attr(not(test), expect(dead_code))] fn f() {}"), 1);
    }

    #[test]
    fn other_lints_calls_and_comments_are_free() {
        assert_eq!(count("#[allow(non_camel_case_types)] enum A { B_C }"), 0);
        assert_eq!(count("// #[allow(dead_code)]\nfn f() { x.expect(\"dead_code\") }"), 0);
    }

    #[test]
    fn a_manifest_that_allows_dead_code_is_found() {
        let tree =
            Tree::of(&[("Cargo.toml", "[workspace.lints.rust]\ndead_code = \"allow\"\nmissing_docs = \"allow\"")]);
        assert_eq!(check(&tree).len(), 1);
        let tree = Tree::of(&[("a/Cargo.toml", "[lints.rust]\nunused = { level = \"allow\", priority = -1 }")]);
        assert_eq!(check(&tree).len(), 1);
    }
}
