//! Searching token streams: what stands in code, but not in comments or strings.

use proc_macro2::{Ident, TokenStream, TokenTree};

/// Calls `visit` with every sequence of sibling tokens in `stream`, outermost first.
pub(super) fn each_level(stream: &TokenStream, visit: &mut dyn FnMut(&[TokenTree])) {
    let level: Vec<TokenTree> = stream.clone().into_iter().collect();
    visit(&level);
    for tree in &level {
        if let TokenTree::Group(group) = tree {
            each_level(&group.stream(), visit);
        }
    }
}

/// Returns every identifier in `stream`, in order of depth, not of text.
pub(super) fn idents(stream: &TokenStream) -> Vec<Ident> {
    let mut found = Vec::new();
    each_level(stream, &mut |level| {
        found.extend(level.iter().filter_map(|tree| match tree {
            TokenTree::Ident(ident) => Some(ident.clone()),
            _ => None,
        }));
    });
    found
}

/// Whether `tree` is the identifier `name`.
pub(super) fn is_ident(tree: &TokenTree, name: &str) -> bool {
    matches!(tree, TokenTree::Ident(ident) if ident == name)
}

/// Whether `tree` is the punctuation mark `mark`.
pub(super) fn is_punct(tree: &TokenTree, mark: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == mark)
}
