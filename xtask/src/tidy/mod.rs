//! `cargo xtask tidy`: the rules of this repository that no compiler checks.
//!
//! A rule is a function from the [`Tree`] to its [`Finding`]s, and a row in [`RULES`]. Rules know only paths and texts, so
//! each is tested on a tree of a few short strings beside its code, where it is seen to fire and to stay silent.
//!
//! Rules search by name, not by meaning: each module states what it cannot see. None of them changes a file.

mod allowed_lints;
mod chain;
mod code_map;
mod dead_files;
mod dead_items;
mod dependencies;
mod flags;
mod heads;
mod links;
mod manifest;
mod marks;
mod tokens;
mod tree;
mod unsafe_list;

use std::fmt;
use std::path::Path;

use tree::Tree;

/// One place that breaks one rule.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_string(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[(&str, Rule)] = &[
    ("syntax", tree::check),
    ("unsafe", unsafe_list::check),
    ("allowed-lints", allowed_lints::check),
    ("dead-files", dead_files::check),
    ("dead-items", dead_items::check),
    ("chain", chain::check),
    ("heads", heads::check),
    ("marks", marks::check),
    ("flags", flags::check),
    ("links", links::check),
    ("code-map", code_map::check),
    ("dependencies", dependencies::check),
];

/// Runs every rule over the repository at `top` and prints what they find; true when that is nothing.
pub(crate) fn run(top: &Path) -> anyhow::Result<bool> {
    let tree = Tree::read(top)?;
    let mut count = 0;
    for (name, rule) in RULES {
        for finding in rule(&tree) {
            println!("{finding} [{name}]");
            count += 1;
        }
    }
    let files = tree.paths().count();
    match count {
        0 => println!("tidy: clean ({} rules, {files} files)", RULES.len()),
        _ => println!("tidy: {count} findings ({} rules, {files} files)", RULES.len()),
    }
    Ok(count == 0)
}
