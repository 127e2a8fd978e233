//! Imports name the module that defines the item, and the files of a crate import from each other in one direction.
//!
//! Every path outside tests that leads into its own crate, in a `use`, in code or in the tokens of a macro, is followed
//! through the crate's modules. Where it ends at a name that the module only imports, it names a re-export, which would
//! hide where it leads. All others are arrows from file to file, and no arrows may form a cycle. Re-exports (`pub use`) in
//! tables of contents are no arrows.
//!
//! Names that macros or globs bring, and methods and associated items, are not followed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{ImplItemFn, Item, ItemMod, ItemUse, Macro, Path, UseTree, VisRestricted, Visibility};

use super::finding::Finding;
use super::modules::{Module, head, is_test, of_code};
use super::tokens::{each_level, is_punct};
use super::tree::{RustFile, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    of_code(tree).iter().flat_map(|modules| check_crate(modules)).collect()
}

fn check_crate(modules: &[Module]) -> Vec<Finding> {
    let index = Index::new(modules);
    let mut found = Vec::new();
    let mut arrows = Arrows::new();
    for module in modules {
        let mut paths = Paths::default();
        module.items.iter().for_each(|item| paths.visit_item(item));
        let mut told = HashSet::new();
        for path in &paths.found {
            let Some(end) = index.resolve(&module.path, &path.segments) else { continue };
            if end.file.path == module.file.path {
                continue;
            }
            if path.public && module.file.is_contents() {
                continue;
            }
            if let Some(name) = end.re_exported.filter(|name| told.insert(name.clone())) {
                let message = format!("import names the re-export of `{name}`, not the defining module");
                found.push(Finding::new(&module.file.path, path.line, message));
            }
            arrows.entry(&module.file.path).or_default().entry(&end.file.path).or_insert(path.line);
        }
    }
    found.extend(cycles(&arrows));
    found
}

/// From file to file, with the line of the first import.
type Arrows<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

/// The shortest cycle through each file, each set of files once.
fn cycles(arrows: &Arrows) -> Vec<Finding> {
    let mut told = BTreeSet::new();
    let cycles = arrows.keys().filter_map(|start| shortest_cycle(arrows, start));
    let new = cycles.filter(|cycle| told.insert(cycle.iter().copied().collect::<BTreeSet<_>>()));
    new.map(|cycle| {
        let names: Vec<_> = cycle.iter().map(|file| file.split_once("/src/").map_or(*file, |(_, name)| name)).collect();
        let message = format!("imports form a cycle: {}", names.join(" -> "));
        Finding::new(cycle[0], arrows[cycle[0]][cycle[1]], message)
    })
    .collect()
}

/// The files of the cycle; `start` is the first and the last.
fn shortest_cycle<'a>(arrows: &Arrows<'a>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut reached_from = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for next in arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached_from.contains_key(next) {
                continue;
            }
            reached_from.insert(*next, file);
            queue.push_back(next);
        }
    }
    let mut cycle = vec![start, reached_from.get(start)?];
    while cycle[cycle.len() - 1] != start {
        cycle.push(reached_from[cycle[cycle.len() - 1]]);
    }
    cycle.reverse();
    Some(cycle)
}

/// What each module of a crate holds.
struct Index<'a>(HashMap<&'a [String], Names<'a>>);

struct Names<'a> {
    file: &'a RustFile,
    defined: HashSet<String>,
    imported: HashMap<String, Vec<String>>,
}

/// Where a path leads.
struct End<'a> {
    file: &'a RustFile,
    /// What the path names there, where the module only imports it.
    re_exported: Option<String>,
}

impl<'a> Index<'a> {
    fn new(modules: &'a [Module]) -> Self {
        let mut index = HashMap::new();
        for module in modules {
            let new = || Names { file: module.file, defined: HashSet::new(), imported: HashMap::new() };
            let names = index.entry(module.path.as_slice()).or_insert_with(new);
            names.defined.extend(module.items.iter().filter_map(|item| head(item).1).map(ToString::to_string));
            for item in module.items {
                let Item::Use(item) = item else { continue };
                names.imported.extend(leaves(item).into_iter().map(|(path, name)| (name, path.segments)));
            }
        }
        Self(index)
    }

    /// Follows `segments` from the module `from`; none when they lead out of the crate.
    fn resolve(&self, from: &[String], segments: &[String]) -> Option<End<'a>> {
        let first = segments.first()?.as_str();
        let is_inner = |name: &String| ["crate", "self", "super"].contains(&name.as_str()) || self.has(from, name);
        if !is_inner(&segments[0]) {
            let start = self.0.get(from)?.imported.get(first).filter(|start| is_inner(&start[0]))?;
            let whole: Vec<String> = start.iter().chain(&segments[1..]).cloned().collect();
            return if segments.len() > 1 { self.resolve(from, &whole) } else { None };
        }
        let mut at = if first == "crate" { Vec::new() } else { from.to_vec() };
        let mut rest = segments;
        while let [name, others @ ..] = rest {
            match name.as_str() {
                "crate" | "self" => {}
                "super" => drop(at.pop()?),
                _ if self.has(&at, name) => at.push(name.clone()),
                _ => break,
            }
            rest = others;
        }
        let names = self.0.get(at.as_slice())?;
        let imports = |name: &String| !names.defined.contains(name) && names.imported.contains_key(name);
        let re_exports = |name: &&String| if *name == "*" { names.file.is_contents() } else { imports(name) };
        Some(End { file: names.file, re_exported: rest.first().filter(re_exports).cloned() })
    }

    fn has(&self, module: &[String], child: &String) -> bool {
        let path: Vec<String> = module.iter().chain([child]).cloned().collect();
        self.0.contains_key(path.as_slice())
    }
}

/// A path as it is written.
struct Written {
    segments: Vec<String>,
    line: usize,
    /// Whether it stands in a `pub use`.
    public: bool,
}

/// Collects the paths of a module outside tests and inner modules.
#[derive(Default)]
struct Paths {
    found: Vec<Written>,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(head(item).0) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.found.extend(leaves(item).into_iter().map(|(path, _)| path));
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let line = path.segments[0].ident.span().start().line;
            self.found.push(Written { segments, line, public: false });
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.visit_path(&item.path);
        self.found.extend(paths_in(&item.tokens));
    }
}

/// What a `use` names, with the name that each brings.
fn leaves(item: &ItemUse) -> Vec<(Written, String)> {
    let line = item.use_token.span.start().line;
    let public = !matches!(item.vis, Visibility::Inherited);
    let mut found = Vec::new();
    if item.leading_colon.is_none() {
        collect_leaves(&item.tree, &[], &mut found);
    }
    found.into_iter().map(|(segments, name)| (Written { segments, line, public }, name)).collect()
}

fn collect_leaves(tree: &UseTree, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
    match tree {
        UseTree::Path(path) => collect_leaves(&path.tree, &with(path.ident.to_string()), found),
        UseTree::Group(group) => group.items.iter().for_each(|tree| collect_leaves(tree, before, found)),
        UseTree::Glob(_) => found.push((with("*".to_string()), "*".to_string())),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.to_vec(), before.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => found.push((with(name.ident.to_string()), name.ident.to_string())),
        UseTree::Rename(name) => found.push((with(name.ident.to_string()), name.rename.to_string())),
    }
}

/// Runs of identifiers joined by `::`.
fn paths_in(tokens: &TokenStream) -> Vec<Written> {
    let mut found = Vec::new();
    each_level(tokens, &mut |level| {
        let mut run: Option<Written> = None;
        for (at, token) in level.iter().enumerate() {
            let joined = at >= 2 && is_punct(&level[at - 1], ':') && is_punct(&level[at - 2], ':');
            match token {
                TokenTree::Ident(name) if joined && run.is_some() => {
                    run.iter_mut().for_each(|path| path.segments.push(name.to_string()));
                }
                TokenTree::Ident(name) => {
                    let line = name.span().start().line;
                    found.extend(run.replace(Written { segments: vec![name.to_string()], line, public: false }));
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => {}
                _ => found.extend(run.take()),
            }
        }
        found.extend(run);
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("c/Cargo.toml", "")];
        all.extend_from_slice(files);
        check(&Tree::of(&all)).into_iter().map(|finding| finding.message).collect()
    }

    const LIB: (&str, &str) = ("c/src/lib.rs", "mod a; mod b; mod d; pub use a::A; pub use d::D;");
    const FOLDER: (&str, &str) = ("c/src/d/mod.rs", "mod e; pub use e::D;");

    #[test]
    fn paths_to_re_exports_are_found() {
        let user = "use crate::A; use super::d::D; use crate::d::*; fn f() { g(crate::A::new()) }";
        let found = messages(&[LIB, FOLDER, ("c/src/b.rs", user)]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], "import names the re-export of `A`, not the defining module");
        assert_eq!(messages(&[LIB, FOLDER, ("c/src/b.rs", "use crate::d; fn f(x: d::D) {}")]).len(), 1);
    }

    #[test]
    fn cycles_are_found_once() {
        let a = ("c/src/a.rs", "use crate::b::B; pub struct A;");
        let b = ("c/src/b.rs", "fn f() { vec![crate::d::e::D] }");
        let e = ("c/src/d/e.rs", "use super::super::a::{self, A};");
        assert_eq!(messages(&[LIB, FOLDER, a, b, e]), ["imports form a cycle: a.rs -> b.rs -> d/e.rs -> a.rs"]);
    }

    #[test]
    fn one_direction_tests_and_other_crates_are_free() {
        let a = ("c/src/a.rs", "use crate::b::B; use std::fmt; #[cfg(test)] mod tests { use crate::A; }");
        let b = ("c/src/b.rs", "pub(crate) struct B; impl B { #[cfg(test)] fn f() { crate::a::g() } }");
        let e = ("c/src/d/e.rs", "use crate::b::B; pub struct D; fn f(d: D) -> fmt::Result { B::new() }");
        assert_eq!(messages(&[LIB, FOLDER, a, b, e]), Vec::<String>::new());
    }
}
