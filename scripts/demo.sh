#!/usr/bin/env bash
# Builds ssd-llm, obtains a small model when it is not there yet, and answers a prompt with it.
#
#   scripts/demo.sh                                    a prompt of its own
#   scripts/demo.sh Why is the sky blue?               yours
#   scripts/demo.sh Tell me a story. -n 200 --seed 7   flags of `ssd-llm run` after it
#
# Without flags it takes 72 MiB of memory for a model whose weights alone have 92, so that three quarters of them are
# streamed from the disk for every token: -n 80 --temperature 0 --ctx 512 --memory-budget 72M
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
prompt=${prompt:-What is photosynthesis?}
[ $# -gt 0 ] || set -- -n 80 --temperature 0 --ctx 512 --memory-budget 72M

build=(--release --locked --manifest-path "$top/Cargo.toml" --package ssd-llm)
cargo build "${build[@]}"
model=$("$top/scripts/get-model.sh")
exec cargo run --quiet "${build[@]}" -- run "$model" -p "$prompt" "$@"
