//! The list of rules, and the run over all of them.

use std::path::Path;

use super::finding::Finding;
use super::tree::Tree;
use super::{
    allowed_lints, chain, code_map, contents, dead_files, dead_items, dependencies, flags, heads, imports, links,
    marks, sizes, tree, unsafe_list,
};

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
    ("contents", contents::check),
    ("imports", imports::check),
    ("sizes", sizes::check),
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
