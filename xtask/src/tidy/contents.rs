//! `lib.rs` and `mod.rs` are tables of contents: docs, `mod`, `use`, attributes.

use proc_macro2::Span;
use syn::Item;
use syn::spanned::Spanned;

use super::finding::Finding;
use super::modules::{code_files, head, is_test};
use super::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let contents = code_files(tree).into_iter().map(|(file, _)| file).filter(|file| file.is_contents());
    let code = contents.filter_map(|file| Some((file, first_code(file.items())?)));
    code.map(|(file, span)| Finding::new(&file.path, span.start().line, "code in a table of contents")).collect()
}

fn first_code(items: &[Item]) -> Option<Span> {
    let is_entry = |item: &Item| match item {
        Item::Mod(module) => module.content.is_none(),
        Item::Use(_) | Item::ExternCrate(_) => true,
        _ => false,
    };
    items.iter().find(|item| !is_entry(item) && !is_test(head(item).0)).map(Spanned::span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        check(&Tree::of(&[("c/Cargo.toml", ""), ("c/src/lib.rs", "mod a;"), ("c/src/a/mod.rs", text)])).len()
    }

    #[test]
    fn code_is_found() {
        assert_eq!(count("mod b;\nfn f() {}\nfn g() {}"), 1);
        assert_eq!(count("mod b { fn f() {} }"), 1);
        assert_eq!(count("macro_rules! m { () => {} }"), 1);
    }

    #[test]
    fn entries_and_tests_are_free() {
        assert_eq!(count("//! Docs.\n#[cfg(unix)]\nmod b;\npub use b::B;\n#[cfg(test)]\nmod tests { fn f() {} }"), 0);
    }
}
