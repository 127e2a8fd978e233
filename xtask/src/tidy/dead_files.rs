//! Every Rust file is reached: by a target of its crate, a `mod`, a `#[path]` or an `include!`.
//!
//! From each target that cargo would build (`src/lib.rs`, `src/main.rs`, `src/bin/`, `tests/`, `benches/`, `examples/`,
//! `build.rs` and paths stated in the manifest) the rule follows module declarations. It does not ask whether the `cfg` of
//! a declaration ever holds, and takes a path in a string only where it is a plain literal.

use std::collections::BTreeSet;

use proc_macro2::TokenTree;

use super::finding::Finding;
use super::links::join;
use super::tokens::{each_level, is_ident, is_punct};
use super::tree::{RustFile, Tree};
use super::{manifest, modules};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    for module in targets(tree).iter().flat_map(|target| modules::of_root(tree, target)) {
        if reached.insert(module.file.path.clone()) {
            reached.extend(included(module.file));
        }
    }
    let dead = tree.rust().iter().filter(|file| !reached.contains(&file.path));
    dead.map(|file| Finding::new(&file.path, 1, "not reached from any target")).collect()
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

/// The paths of the files that `file` includes.
fn included(file: &RustFile) -> Vec<String> {
    let mut found = Vec::new();
    each_level(&file.tokens, &mut |level| {
        for call in level.windows(3) {
            let TokenTree::Group(argument) = &call[2] else { continue };
            if is_ident(&call[0], "include") && is_punct(&call[1], '!') {
                found.extend(join(file.folder(), argument.stream().to_string().trim_matches('"')));
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
