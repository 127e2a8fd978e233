//! Every Rust file is reached: by a target of its crate, a `mod`, a `#[path]` or an `include!`.
//!
//! From each target that cargo would build (`src/lib.rs`, `src/main.rs`, `src/bin/`, `tests/`, `benches/`, `examples/`,
//! `build.rs` and paths stated in the manifest) the rule follows module declarations. It does not ask whether the `cfg` of
//! a declaration ever holds, and takes a path in a string only where it is a plain literal.

use std::collections::BTreeSet;

use proc_macro2::TokenTree;
use syn::{Attribute, Expr, Item, ItemMod, Lit, Meta};

use super::links::join;
use super::tokens::{each_level, is_ident, is_punct};
use super::tree::RustFile;
use super::{Finding, Tree, manifest};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    for target in targets(tree) {
        reach(tree, target, &mut reached);
    }
    let dead = tree.rust().iter().filter(|file| !reached.contains(&file.path));
    dead.map(|file| Finding::new(&file.path, 1, "no target and no `mod` reaches this file")).collect()
}

/// The files from which cargo builds something.
fn targets(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for manifest in manifest::all(tree) {
        let in_package = |path: &str| join(manifest.folder(), path).unwrap_or_default();
        found.extend(["src/lib.rs", "src/main.rs", "build.rs"].map(in_package));
        found.extend(manifest.target_paths().map(in_package));
        for folder in ["src/bin", "tests", "benches", "examples"].map(in_package) {
            let inside = tree.paths().filter_map(|path| Some((path, path.strip_prefix(&folder)?.strip_prefix('/')?)));
            let built = inside.filter(|(_, rest)| !rest.contains('/') || rest.ends_with("/main.rs"));
            found.extend(built.map(|(path, _)| path.to_string()));
        }
    }
    found
}

fn reach(tree: &Tree, path: String, reached: &mut BTreeSet<String>) {
    let Some(file) = tree.rust().iter().find(|file| file.path == path) else { return };
    if !reached.insert(path) {
        return;
    }
    for next in next_files(file) {
        reach(tree, next, reached);
    }
}

/// The places where the modules that `file` declares may lie, and the files that it includes.
fn next_files(file: &RustFile) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let mut found: Vec<String> = included(file).iter().filter_map(|path| join(folder, path)).collect();
    let Ok(syntax) = &file.syntax else { return found };
    let stem = name.trim_end_matches(".rs");
    // A target may have any name and is then its own module root, so both folders are looked in.
    for own in [folder.to_string(), format!("{folder}/{stem}")] {
        declared(&syntax.items, folder, &own, &mut found);
    }
    found
}

fn declared(items: &[Item], file_folder: &str, own: &str, found: &mut Vec<String>) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        let name = name.trim_start_matches("r#");
        match (&module.content, stated_path(module)) {
            (Some((_, inner)), _) => declared(inner, file_folder, &format!("{own}/{name}"), found),
            (None, Some(path)) => found.extend(join(file_folder, &path)),
            (None, None) => found.extend([format!("{own}/{name}.rs"), format!("{own}/{name}/mod.rs")].map(trim)),
        }
    }
}

fn trim(path: String) -> String {
    path.trim_start_matches('/').to_string()
}

fn stated_path(module: &ItemMod) -> Option<String> {
    module.attrs.iter().find_map(path_of_attribute)
}

fn path_of_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let Expr::Lit(literal) = &pair.value else { return None };
    match &literal.lit {
        Lit::Str(path) if pair.path.is_ident("path") => Some(path.value()),
        _ => None,
    }
}

fn included(file: &RustFile) -> Vec<String> {
    let mut found = Vec::new();
    each_level(&file.tokens, &mut |level| {
        for call in level.windows(3) {
            let TokenTree::Group(argument) = &call[2] else { continue };
            if is_ident(&call[0], "include") && is_punct(&call[1], '!') {
                found.push(argument.stream().to_string().trim_matches('"').to_string());
            }
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("c/Cargo.toml", "[package]\nname = \"c\"\n[[bench]]\nname = \"x\"\npath = \"odd/x.rs\"")];
        all.extend_from_slice(files);
        check(&Tree::of(&all)).into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn a_file_that_no_mod_reaches_is_found() {
        assert_eq!(dead(&[("c/src/lib.rs", "mod a;"), ("c/src/a.rs", ""), ("c/src/b.rs", "")]), ["c/src/b.rs"]);
        assert_eq!(
            dead(&[("c/src/lib.rs", "// mod a;"), ("c/src/a.rs", "mod b;"), ("c/src/a/b.rs", "")]),
            ["c/src/a.rs", "c/src/a/b.rs"]
        );
        assert_eq!(dead(&[("loose.rs", "")]), ["loose.rs"]);
    }

    #[test]
    fn a_shared_folder_of_tests_is_reached_through_a_test_only() {
        let shared = ("c/tests/common/mod.rs", "");
        assert_eq!(dead(&[shared, ("c/tests/t.rs", "mod common;")]), Vec::<String>::new());
        assert_eq!(dead(&[shared, ("c/tests/t.rs", "")]), ["c/tests/common/mod.rs"]);
    }

    #[test]
    fn nested_inline_and_path_modules_are_followed() {
        let none = Vec::<String>::new();
        assert_eq!(
            dead(&[
                ("c/src/main.rs", "mod a;"),
                ("c/src/a/mod.rs", "pub mod b;"),
                ("c/src/a/b.rs", "mod d;"),
                ("c/src/a/b/d.rs", "")
            ]),
            none
        );
        assert_eq!(dead(&[("c/src/lib.rs", "mod a { mod b; }"), ("c/src/a/b.rs", "")]), none);
        assert_eq!(dead(&[("c/src/lib.rs", "#[path = \"x/y.rs\"] mod a;"), ("c/src/x/y.rs", "")]), none);
        assert_eq!(dead(&[("c/odd/x.rs", "include!(\"part.rs\");"), ("c/odd/part.rs", "")]), none);
    }
}
