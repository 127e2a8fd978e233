//! Files and functions stay short enough to be read at once.
//!
//! A file has at most [`FILE_LINES`] lines, a function [`FUNCTION_LINES`] from its signature to its closing brace, what
//! is compiled for tests aside. [`LONG_FILES`] may be longer; there are never more than [`LONG_FILES_MOST`] of them.

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, Item, ItemFn, Signature, TraitItemFn};

use super::finding::Finding;
use super::modules::{code_files, head, is_test};
use super::tree::Tree;

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;

/// Files that may exceed [`FILE_LINES`].
const LONG_FILES: &[&str] = &[];
const LONG_FILES_MOST: usize = 3;
const _: () = assert!(LONG_FILES.len() <= LONG_FILES_MOST);

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, lines) in code_files(tree) {
        if lines > FILE_LINES && !LONG_FILES.contains(&file.path.as_str()) {
            found.push(Finding::new(&file.path, 1, format!("{lines} lines; the limit is {FILE_LINES}")));
        }
        let mut functions = Functions(Vec::new());
        file.items().iter().for_each(|item| functions.visit_item(item));
        found.extend(functions.0.into_iter().map(|(name, line, lines)| {
            Finding::new(&file.path, line, format!("`{name}` has {lines} lines; the limit is {FUNCTION_LINES}"))
        }));
    }
    found
}

/// Functions that are too long: name, first line, number of lines.
struct Functions(Vec<(String, usize, usize)>);

impl Functions {
    fn note(&mut self, signature: &Signature, block: &Block) {
        let line = |span: Span| span.start().line;
        let first = line(signature.fn_token.span);
        let lines = line(block.brace_token.span.close()) + 1 - first;
        if lines > FUNCTION_LINES {
            self.0.push((signature.ident.to_string(), first, lines));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(head(item).0) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.note(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_test(&function.attrs) {
            self.note(&function.sig, &function.block);
        }
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(block) = &function.default {
            self.note(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let tree = Tree::of(&[("c/Cargo.toml", ""), ("c/src/lib.rs", text)]);
        check(&tree).into_iter().map(|finding| format!("{}: {}", finding.line, finding.message)).collect()
    }

    #[test]
    fn long_functions_are_found_wherever_they_stand() {
        let body = "\n".repeat(FUNCTION_LINES);
        let text = format!("fn f() {{{body}}}\nimpl S {{ fn g() {{{body}}} }}\ntrait T {{ fn h() {{{body}}} }}");
        let found = messages(&text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], "1: `f` has 61 lines; the limit is 60");
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(messages(&"\n".repeat(FILE_LINES + 1)), ["1: 401 lines; the limit is 400"]);
    }

    #[test]
    fn limits_are_inclusive_and_tests_are_free() {
        let body = "\n".repeat(FUNCTION_LINES - 1);
        let tests = format!("#[cfg(test)]\nmod tests {{ fn g() {{{}}} }}", "\n".repeat(FILE_LINES));
        assert_eq!(messages(&format!("fn f() {{{body}}}\n{tests}")), Vec::<String>::new());
    }
}
