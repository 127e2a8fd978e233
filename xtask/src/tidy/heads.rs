//! Every Rust file opens with a `//!` that says what it is for.

use super::finding::Finding;
use super::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let headless = tree.rust().iter().filter(|file| !file.text.starts_with("//!"));
    headless.map(|file| Finding::new(&file.path, 1, "has no `//!` docs at its top")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_head_is_found() {
        let tree = Tree::of(&[("a.rs", "//! What it is.\n"), ("b.rs", "// Not a doc.\n"), ("c.rs", ""), ("d.md", "")]);
        let paths: Vec<String> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["b.rs", "c.rs"]);
    }
}
