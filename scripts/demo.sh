#!/usr/bin/env bash
# Builds ssd-llm, obtains a small model when it is not there yet, and answers a prompt with it.
#
#   scripts/demo.sh                                    a prompt of its own
#   scripts/demo.sh Why is the sky blue?               yours
#   scripts/demo.sh Tell me a story. -n 200 --seed 7   flags of `ssd-llm run` after it, instead of -n 80 --temperature 0
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command -v cargo >/dev/null || {
  echo "demo: cargo is needed to build ssd-llm: install Rust 1.95 or newer with rustup (https://rustup.rs)" >&2
  exit 1
}

prompt=
while [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; do
  prompt+="${prompt:+ }$1"
  shift
done
prompt=${prompt:-What is the capital of France, and what is it known for?}
[ $# -gt 0 ] || set -- -n 80 --temperature 0

build=(--release --locked --manifest-path "$top/Cargo.toml" --package ssd-llm)
cargo build "${build[@]}"
model=$("$top/scripts/get-model.sh")
exec cargo run --quiet "${build[@]}" -- run "$model" -p "$prompt" "$@"
