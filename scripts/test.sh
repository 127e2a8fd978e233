#!/usr/bin/env bash
# Runs every test of the workspace, the end-to-end tests on a real model included; obtains that model when it is not there.
#
#   scripts/test.sh [ARGUMENTS OF cargo test]          for example: scripts/test.sh --package kernels
#
# SSD_LLM_TEST_MODEL names another copy of SmolLM2-135M-Instruct.Q4_1.gguf, which is then used as it is.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command -v cargo >/dev/null || {
  echo "test: cargo is needed: install Rust 1.95 or newer with rustup (https://rustup.rs)" >&2
  exit 1
}
[ $# -gt 0 ] || set -- --workspace

if [ -z "${SSD_LLM_TEST_MODEL:-}" ]; then
  SSD_LLM_TEST_MODEL=$("$top/scripts/get-model.sh")
fi
# Tests run in their crate's folder, so a relative path would lead elsewhere.
case $SSD_LLM_TEST_MODEL in /*) ;; *) SSD_LLM_TEST_MODEL=$PWD/$SSD_LLM_TEST_MODEL ;; esac
export SSD_LLM_TEST_MODEL
cd "$top"
exec cargo test --locked "$@"
