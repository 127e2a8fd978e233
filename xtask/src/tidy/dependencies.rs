//! Dependencies come from the public registry or from this repository.
//!
//! `git`, a private registry, and paths that leave the repository are found in manifests, and any other source in
//! `Cargo.lock`: a fresh clone builds anywhere.

use super::finding::Finding;
use super::links::join;
use super::manifest::{self, Dependency, Manifest};
use super::tree::Tree;

const PUBLIC_REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for manifest in manifest::all(tree) {
        for dependency in manifest.dependencies() {
            let problem = source_problem(tree, &manifest, &dependency);
            found.extend(
                problem.map(|problem| Finding::new(manifest.path, 1, format!("{}: {problem}", dependency.package))),
            );
        }
    }
    for (path, text) in tree.ending("Cargo.lock") {
        let sources = text.lines().enumerate().filter(|(_, line)| line.starts_with("source = "));
        let foreign = sources.filter(|(_, line)| !line.contains(&format!("\"{PUBLIC_REGISTRY}\"")));
        found.extend(
            foreign.map(|(number, line)| Finding::new(path, number + 1, format!("not the public registry: {line}"))),
        );
    }
    found
}

fn source_problem(tree: &Tree, manifest: &Manifest, dependency: &Dependency) -> Option<String> {
    let stated = ["git", "registry", "registry-index"].into_iter().find(|key| dependency.spec.get(key).is_some());
    if let Some(key) = stated {
        return Some(format!("`{key}` bypasses the public registry"));
    }
    let path = dependency.spec.get("path")?.as_str()?;
    let inside =
        join(manifest.folder(), path).is_some_and(|folder| tree.has(&join(&folder, "Cargo.toml").unwrap_or_default()));
    (!inside).then(|| format!("path {path} is not a crate of this repository"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(files: &[(&str, &str)]) -> usize {
        check(&Tree::of(files)).len()
    }

    #[test]
    fn git_and_registries_are_found() {
        assert_eq!(count(&[("Cargo.toml", "[dependencies]\na = { git = \"https://example.org/a\" }")]), 1);
        assert_eq!(
            count(&[("Cargo.toml", "[workspace.dependencies]\na = { version = \"1\", registry = \"mine\" }")]),
            1
        );
        assert_eq!(count(&[("Cargo.toml", "[patch.crates-io]\na = { git = \"https://example.org/a\" }")]), 1);
    }

    #[test]
    fn a_path_that_leaves_the_repository_is_found() {
        assert_eq!(count(&[("Cargo.toml", "[dependencies]\na = { path = \"../a\" }")]), 1);
        assert_eq!(count(&[("Cargo.toml", "[dependencies]\na = { path = \"/srv/a\" }")]), 1);
        let inside =
            [("b/Cargo.toml", "[dependencies]\na = { path = \"../a\" }"), ("a/Cargo.toml", "[package]\nname = \"a\"")];
        assert_eq!(count(&inside), 0);
    }

    #[test]
    fn the_lock_file_names_one_registry() {
        let lock = format!("source = \"{PUBLIC_REGISTRY}\"\nsource = \"git+https://example.org/a#1\"\n");
        assert_eq!(count(&[("Cargo.lock", &lock)]), 1);
    }
}
