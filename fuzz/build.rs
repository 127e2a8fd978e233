//! Tells the crate whether it is compiled with coverage counters, which only a compiler flag can add.

use std::env;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(coverage_counters)");
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    if env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("instrument-coverage")) {
        println!("cargo::rustc-cfg=coverage_counters");
    }
}
