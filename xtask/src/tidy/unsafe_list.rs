//! `unsafe` stands only in the files that are listed here.
//!
//! The list is the whole surface that a reader must trust: vector instructions, the thread pool and the memory its threads
//! share, aligned slots, the system calls of readers. Any token `unsafe` counts: blocks,
//! functions, impls, attributes, and tests too.

use super::finding::Finding;
use super::tokens::idents;
use super::tree::Tree;

/// Files and, where they end in `/`, folders that may contain `unsafe`.
const ALLOWED: &[&str] = &[
    "crates/kernels/src/simd/",
    "crates/forward/src/cpu/pool.rs",
    "crates/forward/src/cpu/shared.rs",
    // Callers of shared.rs, who promise that their parts are disjoint.
    "crates/forward/src/cpu/backend.rs",
    "crates/forward/src/cpu/matmul.rs",
    "crates/forward/src/cpu/attend.rs",
    "crates/store/src/io/",
    "crates/store/src/slot.rs",
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust().iter().filter(|file| !allowed(&file.path)) {
        for ident in idents(&file.tokens).iter().filter(|ident| **ident == "unsafe") {
            let message = "`unsafe` outside the files listed in xtask/src/tidy/unsafe_list.rs";
            found.push(Finding::new(&file.path, ident.span().start().line, message));
        }
    }
    found
}

fn allowed(path: &str) -> bool {
    ALLOWED.iter().any(|entry| path == *entry || (entry.ends_with('/') && path.starts_with(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_outside_the_list_is_found_with_its_line() {
        let tree = Tree::of(&[("crates/model/src/lib.rs", "fn f() {\n    unsafe { g() }\n}")]);
        let found = check(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
    }

    #[test]
    fn a_file_beside_a_listed_one_is_not_listed() {
        let tree = Tree::of(&[
            ("crates/store/src/slot.rs.rs", "unsafe fn f() {}"),
            ("crates/store/src/iota.rs", "unsafe impl A for B {}"),
        ]);
        assert_eq!(check(&tree).len(), 2);
    }

    #[test]
    fn listed_files_comments_and_strings_are_free() {
        let tree = Tree::of(&[
            ("crates/kernels/src/simd/avx2/dot.rs", "unsafe fn f() {}"),
            ("crates/forward/src/cpu/pool.rs", "unsafe fn f() {}"),
            ("crates/model/src/lib.rs", "// unsafe\nconst S: &str = \"unsafe\";"),
        ]);
        assert_eq!(check(&tree), []);
    }
}
