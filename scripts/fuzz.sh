#!/usr/bin/env bash
# Throws mutated inputs at the code that reads untrusted bytes; an input that breaks it is saved and named.
#
#   scripts/fuzz.sh [SECONDS [FLAGS OF fuzz]]          default: 60; for example: scripts/fuzz.sh 600 --seed 7
#
# Compiled with coverage counters, so that inputs which reach new code are kept and mutated further, and with overflow
# checks. The counters are a flag of every crate: hence a target folder of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-60}
[ $# -eq 0 ] || shift
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
# Naming the target keeps the flag from build scripts and macros; the counters are read in memory, never written.
export RUSTFLAGS="-C instrument-coverage" LLVM_PROFILE_FILE=/dev/null
cargo run --locked --package fuzz --target "$host" -- --seconds "$seconds" "$@"
