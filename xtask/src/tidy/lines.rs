//! `cargo xtask lines`: how much Rust there is, tests, benches, examples and testkit aside.

use std::collections::BTreeMap;
use std::path::Path;

use super::modules::code_files;
use super::tree::Tree;

/// Prints the lines of each crate's code and their sum.
pub(crate) fn print(top: &Path) -> anyhow::Result<bool> {
    let mut crates: BTreeMap<&str, usize> = BTreeMap::new();
    let tree = Tree::read(top)?;
    for (file, lines) in code_files(&tree).into_iter().filter(|(file, _)| !file.path.starts_with("crates/testkit/")) {
        *crates.entry(file.path.split("/src/").next().unwrap_or_default()).or_default() += lines;
    }
    for (folder, lines) in &crates {
        println!("{lines:>6} {folder}");
    }
    println!("{:>6} in all", crates.values().sum::<usize>());
    Ok(true)
}
