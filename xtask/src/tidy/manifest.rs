//! Cargo manifests: their dependency tables and lint tables, from any of the places where cargo accepts them.

use toml::{Table, Value};

use super::tree::Tree;

/// One `Cargo.toml`.
pub(super) struct Manifest<'a> {
    pub(super) path: &'a str,
    table: Table,
}

/// One entry of a dependency table.
pub(super) struct Dependency<'a> {
    /// The package's name: the key, unless `package` renames it.
    pub(super) package: &'a str,
    pub(super) spec: &'a Value,
    /// Whether only tests, examples and benchmarks are built with it.
    pub(super) dev: bool,
}

/// Every manifest of the tree that is TOML; cargo itself complains about others.
pub(super) fn all(tree: &Tree) -> Vec<Manifest<'_>> {
    let manifests =
        tree.ending("Cargo.toml").filter(|(path, _)| *path == "Cargo.toml" || path.ends_with("/Cargo.toml"));
    manifests.filter_map(|(path, text)| Some(Manifest { path, table: text.parse().ok()? })).collect()
}

impl Manifest<'_> {
    /// The folder of the package, without a slash at its end; empty for the top folder.
    pub(super) fn folder(&self) -> &str {
        self.path.strip_suffix("Cargo.toml").unwrap_or_default().trim_end_matches('/')
    }

    /// The name of the package; none for a manifest of a workspace only.
    pub(super) fn package(&self) -> Option<&str> {
        self.table.get("package")?.get("name")?.as_str()
    }

    /// The `path` of every target that states one: library, binaries, tests, benchmarks, examples.
    pub(super) fn target_paths(&self) -> impl Iterator<Item = &str> {
        let lists = ["bin", "test", "bench", "example"].into_iter().filter_map(|kind| self.table.get(kind)?.as_array());
        let lib = self.table.get("lib").into_iter();
        lists.flatten().chain(lib).filter_map(|target| target.get("path")?.as_str())
    }

    /// Every entry of every dependency table: of the package, of a platform, of the workspace, of a patch.
    pub(super) fn dependencies(&self) -> Vec<Dependency<'_>> {
        let mut found = Vec::new();
        collect(&self.table, &mut found);
        for platform in self.inner_tables("target") {
            collect(platform, &mut found);
        }
        for patched in self.inner_tables("patch") {
            found.extend(entries(patched, false));
        }
        if let Some(workspace) = self.table.get("workspace").and_then(Value::as_table) {
            collect(workspace, &mut found);
        }
        found
    }

    fn inner_tables(&self, key: &str) -> impl Iterator<Item = &Table> {
        self.table.get(key).and_then(Value::as_table).into_iter().flat_map(Table::values).filter_map(Value::as_table)
    }

    /// The lints whose level is `allow`.
    pub(super) fn lints_allowed(&self) -> impl Iterator<Item = &str> {
        let own = self.table.get("lints");
        let shared = self.table.get("workspace").and_then(|workspace| workspace.get("lints"));
        let tools = own.into_iter().chain(shared).filter_map(Value::as_table).flat_map(Table::values);
        let lints = tools.filter_map(Value::as_table).flatten();
        lints
            .filter(|(_, level)| level.get("level").unwrap_or(level).as_str() == Some("allow"))
            .map(|(lint, _)| lint.as_str())
    }
}

fn collect<'a>(table: &'a Table, found: &mut Vec<Dependency<'a>>) {
    for (key, dev) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)] {
        found.extend(table.get(key).and_then(Value::as_table).into_iter().flat_map(|table| entries(table, dev)));
    }
}

fn entries(table: &Table, dev: bool) -> impl Iterator<Item = Dependency<'_>> {
    table.iter().map(move |(key, spec)| {
        let package = spec.get("package").and_then(Value::as_str).unwrap_or(key);
        Dependency { package, spec, dev }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_found_in_every_table() {
        let text = "[dependencies]\na = \"1\"\nx = { package = \"b\", version = \"1\" }\n[dev-dependencies]\nc = \"1\"\n\
                    [build-dependencies]\nd.workspace = true\n[target.'cfg(unix)'.dependencies]\ne = \"1\"\n\
                    [workspace.dependencies]\nf = \"1\"\n[patch.crates-io]\ng = { path = \"g\" }";
        let tree = Tree::of(&[("a/Cargo.toml", text), ("b/NotCargo.toml", text)]);
        let manifests = all(&tree);
        assert_eq!((manifests.len(), manifests[0].folder()), (1, "a"));
        let mut names: Vec<String> = manifests[0]
            .dependencies()
            .iter()
            .map(|entry| format!("{}{}", entry.package, if entry.dev { "*" } else { "" }))
            .collect();
        names.sort();
        assert_eq!(names, ["a", "b", "c*", "d", "e", "f", "g"]);
    }

    #[test]
    fn targets_with_a_path_are_found() {
        let tree = Tree::of(&[(
            "Cargo.toml",
            "[lib]\npath = \"l.rs\"\n[[bin]]\nname = \"b\"\npath = \"b.rs\"\n[[test]]\nname = \"t\"",
        )]);
        assert_eq!(all(&tree)[0].target_paths().collect::<Vec<_>>(), ["b.rs", "l.rs"]);
    }
}
