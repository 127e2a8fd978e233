//! `cargo xtask tidy`: the rules of this repository that no compiler checks.
//!
//! A rule is a function from the [`Tree`](tree::Tree) to its [`Finding`](finding::Finding)s, and a row in
//! [`rules`]. Rules know only paths and texts, so each is tested on a tree of a few short strings beside its code, where
//! it is seen to fire and to stay silent.
//!
//! Rules search by name, not by meaning: each module states what it cannot see. None of them changes a file.

mod allowed_lints;
mod chain;
mod code_map;
mod contents;
mod dead_files;
mod dead_items;
mod dependencies;
mod finding;
mod flags;
mod heads;
mod imports;
pub(crate) mod lines;
mod links;
mod manifest;
mod marks;
mod modules;
pub(crate) mod rules;
mod sizes;
mod tokens;
mod tree;
mod unsafe_list;
