#!/usr/bin/env bash
# Runs every test of the workspace, the end-to-end tests on a real model included; fetches that model if it is missing.
#
#   scripts/test.sh [ARGUMENTS OF cargo test]          for example: scripts/test.sh --package kernels
#
# SSD_LLM_TEST_MODEL names another copy of SmolLM2-135M-Instruct.Q4_1.gguf, which is then used as it is. Plain `cargo test`
# needs neither the model nor a network; it skips the tests on the real model and says so.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command -v cargo >/dev/null || {
  echo "test: cargo is needed: install Rust 1.95 or newer with rustup (https://rustup.rs)" >&2
  exit 1
}
# There are no documentation tests, and clippy checks the examples.
[ $# -gt 0 ] || set -- --workspace --lib --bins --tests

if [ -z "${SSD_LLM_TEST_MODEL:-}" ]; then
  SSD_LLM_TEST_MODEL=$("$top/scripts/get-model.sh")
fi
# Tests run in their crate's folder, so a relative path would lead elsewhere.
case $SSD_LLM_TEST_MODEL in /*) ;; *) SSD_LLM_TEST_MODEL=$PWD/$SSD_LLM_TEST_MODEL ;; esac
export SSD_LLM_TEST_MODEL
cd "$top"
exec cargo test --locked "$@"
