//! The repository as the rules see it: paths, texts and the syntax of Rust files.
//!
//! [`Tree::read`] walks the folders that hold sources; `Tree::of` makes a tree of strings for the rules' tests. Paths are
//! relative to the top folder and use `/`. Hidden folders other than `.ci` and `.cargo`, and folders of results
//! ([`SKIPPED`]), are not read; a file that is not UTF-8 or is over [`MAX_TEXT_BYTES`] has a path but no text.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use proc_macro2::TokenStream;

use super::finding::Finding;

/// Folders that hold what was built, fetched or found, at any depth.
const SKIPPED: &[&str] = &["target", "models", "corpus", "artifacts", "__pycache__", "node_modules"];

/// Hidden folders that hold sources all the same.
const HIDDEN_SOURCES: &[&str] = &[".ci", ".cargo", ".config"];

/// No source is longer; data files are not searched.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// A Rust source file with its tokens and, when it parses, its syntax tree.
pub(super) struct RustFile {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) tokens: TokenStream,
    pub(super) syntax: syn::Result<syn::File>,
}

impl RustFile {
    /// The folder that the file lies in, without a slash at its end.
    pub(super) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Whether the file is a table of contents by its name.
    pub(super) fn is_contents(&self) -> bool {
        ["lib.rs", "mod.rs"].contains(&self.path.rsplit('/').next().unwrap_or_default())
    }

    /// Its items; none when it does not parse.
    pub(super) fn items(&self) -> &[syn::Item] {
        self.syntax.as_ref().map_or(&[], |syntax| &syntax.items)
    }
}

/// All files of the repository.
pub(super) struct Tree {
    texts: BTreeMap<String, String>,
    rust: Vec<RustFile>,
}

impl Tree {
    /// Reads the repository at `top`.
    ///
    /// Errors: a folder or file that cannot be read.
    pub(super) fn read(top: &Path) -> anyhow::Result<Self> {
        let mut texts = BTreeMap::new();
        read_folder(top, "", &mut texts)?;
        Ok(Self::from_texts(texts))
    }

    /// Makes a tree of paths and texts.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self::from_texts(files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect())
    }

    fn from_texts(texts: BTreeMap<String, String>) -> Self {
        let rust =
            texts.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(path, text)| parse(path, text)).collect();
        Self { texts, rust }
    }

    /// Every path, in order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// Every path that ends in `suffix`, with its text.
    pub(super) fn ending<'a>(&'a self, suffix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts
            .iter()
            .filter(move |(path, _)| path.ends_with(suffix))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Every Rust file.
    pub(super) fn rust(&self) -> &[RustFile] {
        &self.rust
    }

    /// The Rust file `path`.
    pub(super) fn rust_file(&self, path: &str) -> Option<&RustFile> {
        self.rust.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| &self.rust[at])
    }

    /// The text of the file `path`.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Whether `path` is a file or a folder with files; the empty path is the top folder.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let inside = format!("{path}/");
        path.is_empty()
            || self.texts.contains_key(path)
            || self.texts.range(inside.clone()..).next().is_some_and(|(first, _)| first.starts_with(&inside))
    }
}

/// Finds Rust files that do not parse, which the other rules therefore cannot see.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let broken = |file: &RustFile| {
        let error = file.syntax.as_ref().err()?;
        Some(Finding::new(&file.path, error.span().start().line, format!("does not parse: {error}")))
    };
    tree.rust.iter().filter_map(broken).collect()
}

fn parse(path: &str, text: &str) -> RustFile {
    let tokens = text.parse().unwrap_or_default();
    RustFile { path: path.to_string(), text: text.to_string(), tokens, syntax: syn::parse_file(text) }
}

fn read_folder(folder: &Path, prefix: &str, texts: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().with_context(|| format!("cannot look at {path}"))?;
        let hidden = name.starts_with('.') && !HIDDEN_SOURCES.contains(&name.as_str());
        if kind.is_dir() && !hidden && !SKIPPED.contains(&name.as_str()) {
            read_folder(&entry.path(), &format!("{path}/"), texts)?;
        } else if kind.is_file() {
            texts.insert(path, read_text(&entry)?);
        }
    }
    Ok(())
}

fn read_text(entry: &fs::DirEntry) -> anyhow::Result<String> {
    let about = || format!("cannot read {}", entry.path().display());
    if entry.metadata().with_context(about)?.len() > MAX_TEXT_BYTES {
        return Ok(String::new());
    }
    Ok(String::from_utf8(fs::read(entry.path()).with_context(about)?).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_exists_when_a_file_lies_in_it() {
        let tree = Tree::of(&[("a/b/c.md", ""), ("a/bc.md", "")]);
        assert!(tree.has("a/b") && tree.has("a/b/") && tree.has("a/b/c.md") && tree.has(""));
        assert!(!tree.has("a/b/c") && !tree.has("b"));
    }

    #[test]
    fn a_file_that_does_not_parse_is_found() {
        let tree = Tree::of(&[("good.rs", "fn f() {}"), ("bad.rs", "\nfn f( {}")]);
        let found = check(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "bad.rs");
    }

    #[test]
    fn the_repository_itself_is_read() {
        let tree = Tree::read(crate::top()).unwrap();
        assert!(tree.has("xtask/src/tidy/tree.rs") && tree.has("Cargo.toml"));
        assert!(!tree.has("target") && !tree.has(".git/HEAD"));
    }
}
