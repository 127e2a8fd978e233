//! Nothing is public that nothing uses.
//!
//! The compiler reports unused private items; public ones it must assume to be used. Here the workspace is
//! all there is: a `pub` function, type, trait, constant or associated function is found when its name occurs in no file
//! but its own, re-exports (`pub use`) aside. A type or trait is also used where a used item of its own file shows it:
//! in a signature, a field, a bound.
//!
//! It is a search by name. So an unused item is missed when it shares its name with anything elsewhere (`new`, `len`), or
//! when only tests mention it; fields, variants, macros and what macros generate are not looked at. A name that stands in
//! a format string (`{NAME}`) counts as mentioned.

use std::collections::HashSet;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{ImplItem, Item, ItemImpl, Type, Visibility};

use super::finding::Finding;
use super::modules::is_test;
use super::tokens::{idents, is_ident, is_punct};
use super::tree::{RustFile, Tree};

/// A public item, or a private one that shows types of its file.
struct Declared {
    name: String,
    line: usize,
    public: bool,
    kind: Kind,
    /// Names that whoever uses the item meets.
    shows: HashSet<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Value,
    Type,
    /// The impl of a trait for the type `name`: never mentioned itself, shown when the type is used.
    Impl,
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mentions: Vec<HashSet<String>> = tree.rust().iter().map(|file| mentioned(&file.tokens)).collect();
    let mut found = Vec::new();
    for (own, file) in tree.rust().iter().enumerate() {
        let elsewhere = |name: &str| mentions.iter().enumerate().any(|(at, names)| at != own && names.contains(name));
        let unused = unused_items(file, elsewhere);
        found.extend(unused.map(|item| {
            let message = format!("`{}` is public but not used outside this file", item.name);
            Finding::new(&file.path, item.line, message)
        }));
    }
    found
}

fn unused_items(file: &RustFile, elsewhere: impl Fn(&str) -> bool) -> impl Iterator<Item = Declared> {
    let mut items = Vec::new();
    if let Ok(syntax) = &file.syntax {
        declare_all(&syntax.items, &mut items);
    }
    let mut used: HashSet<String> = items.iter().map(|item| item.name.clone()).filter(|name| elsewhere(name)).collect();
    while let Some(shown) = next_shown(&items, &used) {
        used.insert(shown);
    }
    items.into_iter().filter(move |item| item.public && !used.contains(&item.name))
}

/// A type that a used item shows and that is not in `used` yet.
fn next_shown(items: &[Declared], used: &HashSet<String>) -> Option<String> {
    let showing = items.iter().filter(|item| used.contains(&item.name));
    let shown: HashSet<&String> = showing.flat_map(|item| &item.shows).collect();
    let types = items.iter().filter(|item| item.kind == Kind::Type && !used.contains(&item.name));
    types.map(|item| &item.name).find(|name| shown.contains(name)).cloned()
}

fn declare_all(items: &[Item], found: &mut Vec<Declared>) {
    for item in items {
        match item {
            Item::Mod(module) if !is_test(&module.attrs) => {
                declare_all(module.content.as_ref().map_or(&[], |(_, inner)| inner), found);
            }
            Item::Impl(block) if !is_test(&block.attrs) => declare_impl(block, found),
            other => found.extend(declare(other)),
        }
    }
}

fn declare(item: &Item) -> Option<Declared> {
    use Kind::{Type, Value};
    let (attributes, visibility, name, kind, shows) = match item {
        Item::Fn(item) => (&item.attrs, &item.vis, &item.sig.ident, Value, item.sig.to_token_stream()),
        Item::Const(item) => (&item.attrs, &item.vis, &item.ident, Value, item.ty.to_token_stream()),
        Item::Static(item) => (&item.attrs, &item.vis, &item.ident, Value, item.ty.to_token_stream()),
        Item::Struct(item) => (&item.attrs, &item.vis, &item.ident, Type, item.to_token_stream()),
        Item::Enum(item) => (&item.attrs, &item.vis, &item.ident, Type, item.to_token_stream()),
        Item::Union(item) => (&item.attrs, &item.vis, &item.ident, Type, item.to_token_stream()),
        Item::Type(item) => (&item.attrs, &item.vis, &item.ident, Type, item.to_token_stream()),
        Item::Trait(item) => (&item.attrs, &item.vis, &item.ident, Type, item.to_token_stream()),
        _ => return None,
    };
    let line = name.span().start().line;
    let public = is_public(visibility) && !is_test(attributes);
    Some(Declared { name: name.to_string(), line, public, kind, shows: names(&shows) })
}

fn declare_impl(block: &ItemImpl, found: &mut Vec<Declared>) {
    if block.trait_.is_some() {
        found.extend(declare_trait_impl(block));
        return;
    }
    for item in &block.items {
        let (attributes, visibility, name, shows) = match item {
            ImplItem::Fn(item) => (&item.attrs, &item.vis, &item.sig.ident, item.sig.to_token_stream()),
            ImplItem::Const(item) => (&item.attrs, &item.vis, &item.ident, item.ty.to_token_stream()),
            _ => continue,
        };
        let line = name.span().start().line;
        let public = is_public(visibility) && !is_test(attributes);
        found.push(Declared { name: name.to_string(), line, public, kind: Kind::Value, shows: names(&shows) });
    }
}

/// What the impl of a trait shows: associated types and signatures.
fn declare_trait_impl(block: &ItemImpl) -> Option<Declared> {
    let Type::Path(implementer) = &*block.self_ty else { return None };
    let name = implementer.path.segments.last()?.ident.to_string();
    let parts = block.items.iter().map(|item| match item {
        ImplItem::Fn(item) => item.sig.to_token_stream(),
        ImplItem::Type(item) => item.to_token_stream(),
        _ => TokenStream::new(),
    });
    let mut shows: HashSet<String> = parts.flat_map(|part| names(&part)).collect();
    shows.extend(block.trait_.as_ref().map(|(path, _)| names(&path.to_token_stream())).into_iter().flatten());
    Some(Declared { name, line: 0, public: false, kind: Kind::Impl, shows })
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn names(tokens: &TokenStream) -> HashSet<String> {
    idents(tokens).iter().map(ToString::to_string).collect()
}

/// Every identifier outside `pub use` and every name in braces inside a string.
fn mentioned(tokens: &TokenStream) -> HashSet<String> {
    let mut found = HashSet::new();
    mention(tokens, &mut found);
    found
}

fn mention(tokens: &TokenStream, found: &mut HashSet<String>) {
    let level: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut at = 0;
    while at < level.len() {
        at += re_export_len(&level[at..]);
        match level.get(at) {
            Some(TokenTree::Ident(ident)) => drop(found.insert(ident.to_string())),
            Some(TokenTree::Group(group)) => mention(&group.stream(), found),
            Some(TokenTree::Literal(literal)) => found.extend(format_names(&literal.to_string())),
            _ => {}
        }
        at += 1;
    }
}

/// How many tokens a `pub use ...;` at the start of `level` takes; 0 when there is none.
fn re_export_len(level: &[TokenTree]) -> usize {
    if !level.first().is_some_and(|first| is_ident(first, "pub")) {
        return 0;
    }
    let restricted = matches!(level.get(1), Some(TokenTree::Group(_)));
    match level.get(1 + usize::from(restricted)) {
        Some(word) if is_ident(word, "use") => level.iter().take_while(|tree| !is_punct(tree, ';')).count(),
        _ => 0,
    }
}

fn format_names(literal: &str) -> Vec<String> {
    let inside = literal.split('{').skip(1).filter_map(|rest| rest.split(['}', ':']).next());
    inside.filter(|name| syn::parse_str::<syn::Ident>(name).is_ok()).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(library: &str, user: &str) -> Vec<String> {
        let found = check(&Tree::of(&[("lib.rs", library), ("user.rs", user)]));
        found.into_iter().map(|finding| finding.message.split('`').nth(1).unwrap().to_string()).collect()
    }

    #[test]
    fn public_items_that_nobody_mentions_are_found() {
        let library = "pub fn f() {} pub struct S; pub enum E {} pub const C: u8 = 0; pub trait T {} pub type A = u8;";
        assert_eq!(dead(library, ""), ["f", "S", "E", "C", "T", "A"]);
        assert_eq!(dead(library, "use lib::*; f(S, E, C, T, A);"), Vec::<String>::new());
    }

    #[test]
    fn methods_are_items() {
        let library = "pub struct S; impl S { pub fn used(&self) {} pub fn dead(&self) {} fn private(&self) {} }";
        assert_eq!(dead(library, "fn f(s: S) { s.used() }"), ["dead"]);
    }

    #[test]
    fn use_in_its_own_file_and_its_tests_does_not_count() {
        let library = "pub fn f() { g() } pub fn g() {} #[cfg(test)] mod tests { pub fn helper() { super::g() } }";
        assert_eq!(dead(library, "f();"), ["g"]);
    }

    #[test]
    fn comments_strings_and_re_exports_do_not_count() {
        assert_eq!(
            dead("pub fn f() {}", "// f\npub use lib::f;\npub(crate) use lib::{f};\nconst S: &str = \"f\";"),
            ["f"]
        );
        assert_eq!(dead("pub fn f() {}", "use lib::f;"), Vec::<String>::new());
    }

    #[test]
    fn what_a_used_item_shows_is_used() {
        let library =
            "pub fn make() -> Made { Made } pub struct Made; pub struct Part; pub struct Whole { pub part: Part }";
        assert_eq!(dead(library, "make();"), ["Part", "Whole"]);
        assert_eq!(dead(library, "make(); Whole::default();"), Vec::<String>::new());
    }

    #[test]
    fn what_the_traits_of_a_used_type_show_is_used() {
        let library =
            "pub struct Bag; pub struct Thing; impl Iterator for Bag { type Item = Thing; fn next(&mut self) {} }";
        assert_eq!(dead(library, "for x in Bag {}"), Vec::<String>::new());
        assert_eq!(dead(library, ""), ["Bag", "Thing"]);
    }

    #[test]
    fn a_name_inside_a_format_string_counts() {
        assert_eq!(dead("pub const LIMIT: u8 = 0;", "fn f() { print!(\"at most {LIMIT:>3}\") }"), Vec::<String>::new());
    }
}
