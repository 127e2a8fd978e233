//! The code map of ARCHITECTURE.md names what exists.
//!
//! Inside its section `## Code map`, words in backticks that end in `.rs` or in `/` are paths, from the top folder or from
//! the folder in the last `###` heading. Each must exist, and each folder of `crates/` must have a heading.
//! Whether the words beside a path are true is left to the reader.

use super::finding::Finding;
use super::tree::Tree;

const DOCUMENT: &str = "ARCHITECTURE.md";
const SECTION: &str = "## Code map";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let lines: Vec<(usize, &str)> = section(tree.text(DOCUMENT).unwrap_or_default()).collect();
    if lines.is_empty() {
        return vec![Finding::new(DOCUMENT, 1, format!("has no section `{SECTION}`"))];
    }
    let mut found = Vec::new();
    let mut heading = String::new();
    let mut headings = Vec::new();
    for (number, line) in lines {
        if line.starts_with("### ") {
            heading = code_words(line).next().unwrap_or_default().trim_end_matches('/').to_string();
            headings.push(heading.clone());
        }
        let missing = code_words(line).filter(|word| is_path(word)).filter(|word| !exists(tree, &heading, word));
        found.extend(missing.map(|word| Finding::new(DOCUMENT, number, format!("{word} does not exist"))));
    }
    let unnamed = crates(tree).into_iter().filter(|folder| !headings.contains(folder));
    found.extend(unnamed.map(|folder| Finding::new(DOCUMENT, 1, format!("the code map has no heading for {folder}"))));
    found
}

fn section(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line));
    let after = lines.skip_while(|(_, line)| *line != SECTION);
    after.enumerate().take_while(|(place, (_, line))| *place == 0 || !line.starts_with("## ")).map(|(_, line)| line)
}

fn code_words(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_path(word: &str) -> bool {
    (word.ends_with(".rs") || word.ends_with('/')) && !word.contains(['*', '<', '{', ' '])
}

fn exists(tree: &Tree, heading: &str, word: &str) -> bool {
    tree.has(word) || tree.has(&format!("{heading}/{word}"))
}

fn crates(tree: &Tree) -> Vec<String> {
    let manifests = tree.ending("/Cargo.toml").filter(|(path, _)| path.starts_with("crates/"));
    manifests.map(|(path, _)| path.trim_end_matches("/Cargo.toml").to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(map: &str) -> usize {
        check(&Tree::of(&[(DOCUMENT, map), ("crates/a/Cargo.toml", ""), ("crates/a/src/x.rs", "")])).len()
    }

    #[test]
    fn a_file_that_does_not_exist_is_found() {
        assert_eq!(count("## Code map\n### `crates/a`\n`src/gone.rs` `src/nofolder/`"), 2);
    }

    #[test]
    fn a_crate_without_a_heading_is_found() {
        assert_eq!(count("## Code map\nonly `crates/a/src/x.rs`\n"), 1);
        assert_eq!(count("## Code map\n"), 1);
        assert_eq!(count("# Something else\n"), 1);
    }

    #[test]
    fn what_exists_is_free_and_other_sections_are_not_read() {
        assert_eq!(
            count(
                "`gone.rs`\n## Code map\n### `crates/a`\n`src/x.rs`, `src/`, `formats/<type>.rs`\n## Next\n`gone.rs`"
            ),
            0
        );
    }
}
