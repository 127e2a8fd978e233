//! libFuzzer on the target that `FUZZ_TARGET` names; `scripts/fuzz.sh` builds and runs it.
//!
//! Seeds are written to the folder that `FUZZ_SEEDS` names before libFuzzer reads it.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs, panic, process};

use fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").unwrap_or_default();
    let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("FUZZ_TARGET is one of {}", known()))
});

fuzz_target!(
    init: {
        let folder = env::var("FUZZ_SEEDS").expect("FUZZ_SEEDS names a folder");
        for (i, seed) in (TARGET.seeds)().iter().enumerate() {
            fs::write(Path::new(&folder).join(format!("seed-{i}")), seed).expect("the folder can be written");
        }
        abort_on_own_panics();
    },
    |input: &[u8]| (TARGET.run)(input)
);

/// Libraries may panic on threads whose failure is expected and handled; this repository's code may not, on any thread.
fn abort_on_own_panics() {
    let report = panic::take_hook();
    drop(report);
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        default(panic);
        if panic.location().is_some_and(|at| !Path::new(at.file()).is_absolute()) {
            process::abort();
        }
    }));
}
