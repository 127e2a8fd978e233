#!/usr/bin/env bash
# Everything that is checked without running the program: format, lints, the repository's own rules, documentation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/steps.sh

step format cargo fmt --all --check
step lints cargo clippy --workspace --all-targets --locked -- -D warnings
step scripts python3 -m unittest discover --start-directory scripts/peers
step tidy cargo run --quiet --locked --package xtask -- tidy
step documentation env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
