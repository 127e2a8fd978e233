//! Repository chores, run as `cargo xtask CHORE`.
//!
//! `compare` measures the program beside llama.cpp. `tidy` checks what the compiler and clippy cannot see: where `unsafe`
//! may stand, that nothing is unused, that crates and files depend on each other in one direction, that documents tell the
//! truth about files and flags. `lines` counts. The last two read the tree as text and as syntax and change nothing.

mod compare;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let chores: Vec<String> = std::env::args().skip(1).collect();
    let chores: Vec<&str> = chores.iter().map(String::as_str).collect();
    let outcome = match chores[..] {
        ["tidy"] => tidy::rules::run(top()),
        ["lines"] => tidy::lines::print(top()),
        ["compare", ref arguments @ ..] => compare::run(top(), arguments),
        _ => {
            eprintln!(
                "usage: cargo xtask tidy\n       cargo xtask lines\n       cargo xtask compare MODEL... [OPTIONS]"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the top folder of the repository this binary was built from.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the top folder")
}
