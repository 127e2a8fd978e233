//! Relative links in Markdown files lead to files or folders of this repository.
//!
//! Inline links, images and reference definitions are checked outside code. Links to the web are not followed; of a link
//! with an anchor only the file is checked.

use super::finding::Finding;
use super::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in tree.ending(".md") {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, target) in targets(text) {
            let exists = join(folder, &target).is_some_and(|file| tree.has(&file));
            if !exists {
                found.push(Finding::new(path, number, format!("broken link: {target}")));
            }
        }
    }
    found
}

/// Resolves `relative` against `folder`, both with `/`; none when it leaves the repository.
pub(super) fn join(folder: &str, relative: &str) -> Option<String> {
    if relative.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The relative targets of a Markdown text, with their line numbers, without anchors.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let relative = line_targets(&without_code(line)).into_iter().filter(|target| is_relative(target));
            found.extend(relative.map(|target| (number + 1, target)));
        }
    }
    found
}

fn line_targets(line: &str) -> Vec<String> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let definition = line.strip_prefix('[').and_then(|rest| Some(rest.split_once("]:")?.1));
    let stated = inline.chain(definition).filter_map(|target| target.split_whitespace().next());
    stated.map(|target| target.trim_matches(['<', '>']).split('#').next().unwrap_or_default().to_string()).collect()
}

fn is_relative(target: &str) -> bool {
    !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text), ("docs/a.md", ""), ("src/b.rs", "//!")])).len()
    }

    #[test]
    fn links_to_nothing_are_found() {
        assert_eq!(count("README.md", "[a](docs/missing.md) and ![b](c.png)"), 2);
        assert_eq!(count("docs/c.md", "[a](docs/a.md)"), 1);
        assert_eq!(count("README.md", "[a]: nowhere.md"), 1);
        assert_eq!(count("README.md", "[up](../outside.md) [root](/docs/a.md)"), 2);
    }

    #[test]
    fn links_to_files_folders_and_the_web_are_free() {
        assert_eq!(
            count("README.md", "[a](docs/a.md#part \"title\") [b](<docs/>) [c](#here) [d](https://example.org/x)"),
            0
        );
        assert_eq!(count("docs/c.md", "[a](a.md) [b](../src/b.rs)\n[c]: ../src"), 0);
    }

    #[test]
    fn code_is_not_searched() {
        assert_eq!(count("README.md", "`[a](b.md)`\n```\n[a](b.md)\n```\n"), 0);
    }
}
