//! The modules of a crate: which file holds which, and which are compiled for tests only.
//!
//! [`of_root`] follows `mod` from a target's root file, inline modules and `#[path]` included. It does not ask whether
//! the `cfg` of a declaration ever holds; only `#[cfg(test)]` is told apart.

use syn::spanned::Spanned;
use syn::{Attribute, Expr, Ident, Item, ItemMod, Lit, Meta};

use super::links::join;
use super::manifest;
use super::tokens::idents;
use super::tree::{RustFile, Tree};

/// One module, in a file or inline.
pub(super) struct Module<'a> {
    /// Names from the crate's root down; empty for the root.
    pub(super) path: Vec<String>,
    pub(super) file: &'a RustFile,
    pub(super) items: &'a [Item],
    /// Whether it is compiled for tests only.
    pub(super) test: bool,
    /// Where the files of its child modules lie.
    folder: String,
}

impl Module<'_> {
    /// The child module that `item` declares.
    fn child<'a>(&self, tree: &'a Tree, item: &'a ItemMod) -> Option<Module<'a>>
    where
        Self: 'a,
    {
        let name = item.ident.to_string();
        let name = name.trim_start_matches("r#");
        let path = self.path.iter().cloned().chain([name.to_string()]).collect();
        let test = self.test || is_test(&item.attrs);
        let own = join(&self.folder, name)?;
        if let Some((_, items)) = &item.content {
            let file = tree.rust_file(&self.file.path)?;
            return Some(Module { path, file, items, test, folder: own });
        }
        let stated = item.attrs.iter().find_map(stated_path).and_then(|stated| join(self.file.folder(), &stated));
        let places = stated.map_or_else(|| vec![format!("{own}.rs"), format!("{own}/mod.rs")], |place| vec![place]);
        let file = places.iter().find_map(|place| tree.rust_file(place))?;
        let folder = if file.is_contents() { file.folder().to_string() } else { own };
        Some(Module { path, file, items: file.items(), test, folder })
    }
}

/// Every module of the target whose root file is `root`; none when there is no such file.
pub(super) fn of_root<'a>(tree: &'a Tree, root: &str) -> Vec<Module<'a>> {
    let Some(file) = tree.rust_file(root) else { return Vec::new() };
    let root = Module { path: Vec::new(), file, items: file.items(), test: false, folder: file.folder().to_string() };
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let items = found[at].items.iter();
        let inner: Vec<_> = items
            .filter_map(|item| if let Item::Mod(item) = item { found[at].child(tree, item) } else { None })
            .collect();
        found.extend(inner);
        at += 1;
    }
    found
}

/// The modules of every library and program, tests aside, by target.
pub(super) fn of_code(tree: &Tree) -> Vec<Vec<Module<'_>>> {
    let roots = manifest::all(tree).into_iter().flat_map(|manifest| {
        ["src/lib.rs", "src/main.rs"].map(|root| join(manifest.folder(), root).unwrap_or_default())
    });
    let targets = roots.map(|root| of_root(tree, &root).into_iter().filter(|module| !module.test).collect());
    targets.filter(|modules: &Vec<_>| !modules.is_empty()).collect()
}

/// Every file of [`of_code`], once, with the number of its lines outside `#[cfg(test)]` items.
pub(super) fn code_files(tree: &Tree) -> Vec<(&RustFile, usize)> {
    let modules = of_code(tree).into_iter().flatten();
    let mut files: Vec<&RustFile> = modules.map(|module| module.file).collect();
    files.sort_by_key(|file| &file.path);
    files.dedup_by_key(|file| &file.path);
    files.into_iter().map(|file| (file, file.text.lines().count() - test_lines(file.items()))).collect()
}

fn test_lines(items: &[Item]) -> usize {
    let lines = |item: &Item| match item {
        item if is_test(head(item).0) => item.span().end().line + 1 - item.span().start().line,
        Item::Mod(ItemMod { content: Some((_, inner)), .. }) => test_lines(inner),
        _ => 0,
    };
    items.iter().map(lines).sum()
}

/// The attributes of an item of a kind that `#[cfg(test)]` can stand on, and its name.
pub(super) fn head(item: &Item) -> (&[Attribute], Option<&Ident>) {
    match item {
        Item::Const(item) => (&item.attrs, Some(&item.ident)),
        Item::Enum(item) => (&item.attrs, Some(&item.ident)),
        Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
        Item::Impl(item) => (&item.attrs, None),
        Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
        Item::Mod(item) => (&item.attrs, Some(&item.ident)),
        Item::Static(item) => (&item.attrs, Some(&item.ident)),
        Item::Struct(item) => (&item.attrs, Some(&item.ident)),
        Item::Trait(item) => (&item.attrs, Some(&item.ident)),
        Item::Type(item) => (&item.attrs, Some(&item.ident)),
        Item::Use(item) => (&item.attrs, None),
        _ => (&[], None),
    }
}

/// Whether attributes say `#[test]`, `#[cfg(test)]` or `#[cfg(all(test, ...))]`.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            let mut words = idents(&list.tokens).into_iter().map(|word| word.to_string());
            words.find(|word| word != "all").is_some_and(|word| word == "test")
        }
        _ => false,
    })
}

fn stated_path(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let Expr::Lit(literal) = &pair.value else { return None };
    match &literal.lit {
        Lit::Str(path) if pair.path.is_ident("path") => Some(path.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tests_do_not_count() {
        let library =
            "//! A.\nmod a;\n#[cfg(test)]\nmod b;\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n";
        let tree = Tree::of(&[
            ("c/Cargo.toml", "[package]\nname = \"c\""),
            ("c/src/lib.rs", library),
            ("c/src/a.rs", "fn f() {}\n#[cfg(all(test, unix))]\nuse x::y;\n"),
            ("c/src/b.rs", "mod c;"),
            ("c/src/b/c.rs", "fn f() {}"),
            ("c/tests/t.rs", "fn f() {}"),
        ]);
        let counts: Vec<_> = code_files(&tree).into_iter().map(|(file, lines)| (file.path.as_str(), lines)).collect();
        assert_eq!(counts, [("c/src/a.rs", 1), ("c/src/lib.rs", 4)]);
    }
}
