//! Crates depend on each other in one direction.
//!
//! The chain is [`CHAIN`]; each crate may use only those before it. `testkit` serves tests: others may have it as a
//! development dependency only. A crate outside the chain (xtask, the fuzz targets) may use the chain, never the reverse. A
//! folder under `crates/` that the chain does not name is found too, so that a new crate gets its place.

use super::finding::Finding;
use super::manifest::{self, Dependency, Manifest};
use super::tree::Tree;

/// The crates from the bottom to the top.
const CHAIN: &[&str] = &["kernels", "model", "store", "forward", "engine", "server", "ssd-llm"];

/// What tests share.
const TEST_SUPPORT: &str = "testkit";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let manifests = manifest::all(tree);
    let packages: Vec<&str> = manifests.iter().filter_map(Manifest::package).collect();
    let mut found = Vec::new();
    for manifest in &manifests {
        let Some(package) = manifest.package() else { continue };
        let folder = format!("crates/{package}");
        if manifest.folder().starts_with("crates/") && (manifest.folder() != folder || place(package) == Place::Outside)
        {
            found.push(Finding::new(manifest.path, 1, format!("{package}: not in the chain, or not in {folder}")));
        }
        let inside = manifest.dependencies().into_iter().filter(|dependency| packages.contains(&dependency.package));
        let against = inside.filter(|dependency| !follows(package, dependency));
        found.extend(against.map(|dependency| {
            let message =
                format!("{package} may not depend on {}: the chain is {}", dependency.package, CHAIN.join(" <- "));
            Finding::new(manifest.path, 1, message)
        }));
    }
    found
}

/// Where a crate stands.
#[derive(PartialEq)]
enum Place {
    Chain(usize),
    TestSupport,
    Outside,
}

fn place(package: &str) -> Place {
    match CHAIN.iter().position(|entry| *entry == package) {
        Some(index) => Place::Chain(index),
        None if package == TEST_SUPPORT => Place::TestSupport,
        None => Place::Outside,
    }
}

fn follows(package: &str, dependency: &Dependency) -> bool {
    match (place(package), place(dependency.package)) {
        (Place::Chain(user), Place::Chain(used)) => used < user,
        (Place::Chain(_), Place::TestSupport) => dependency.dev,
        (Place::Chain(_) | Place::TestSupport, Place::Outside) => false,
        (Place::TestSupport | Place::Outside, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(crates: &[(&str, &str)]) -> usize {
        let texts: Vec<(String, String)> = crates
            .iter()
            .map(|(name, rest)| (format!("crates/{name}/Cargo.toml"), format!("[package]\nname = \"{name}\"\n{rest}")))
            .collect();
        let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        check(&Tree::of(&files)).len()
    }

    #[test]
    fn an_edge_against_the_chain_is_found() {
        assert_eq!(count(&[("model", ""), ("kernels", "[dependencies]\nmodel.workspace = true")]), 1);
        assert_eq!(count(&[("model", ""), ("kernels", "[dev-dependencies]\nmodel = { path = \"../model\" }")]), 1);
        assert_eq!(count(&[("model", "[dependencies]\nmodel.workspace = true")]), 1);
    }

    #[test]
    fn edges_along_the_chain_are_free() {
        assert_eq!(count(&[("kernels", ""), ("engine", "[dependencies]\nkernels.workspace = true\nserde = \"1\"")]), 0);
    }

    #[test]
    fn test_support_serves_tests_only() {
        assert_eq!(count(&[("testkit", ""), ("model", "[dev-dependencies]\ntestkit.workspace = true")]), 0);
        assert_eq!(count(&[("testkit", ""), ("model", "[dependencies]\ntestkit.workspace = true")]), 1);
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        assert_eq!(count(&[("helpers", "")]), 1);
        assert_eq!(count(&[("helpers", ""), ("model", "[dependencies]\nhelpers.workspace = true")]), 2);
        let elsewhere = Tree::of(&[("crates/extra/Cargo.toml", "[package]\nname = \"model\"")]);
        assert_eq!(check(&elsewhere).len(), 1);
    }
}
