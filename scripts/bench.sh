#!/usr/bin/env bash
# Measures prefill and decode of SmolLM2-135M-Instruct with the release build: five runs, each figure's median.
#
#   scripts/bench.sh [FLAGS OF ssd-llm run]            for example: scripts/bench.sh --threads 1
#
# One program alone shows only whether it got slower on this machine; cargo xtask compare puts llama.cpp beside it.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

build=(--release --locked --manifest-path "$top/Cargo.toml" --package ssd-llm)
cargo build "${build[@]}"
model=$("$top/scripts/get-model.sh")
prompt=$(head -c 2000 "$top/benches/data/prose.txt")
for _ in 1 2 3 4 5; do
  cargo run --quiet "${build[@]}" -- run "$model" --raw -p "$prompt" -n 128 --temperature 0 --json "$@"
done | python3 -c '
import json, statistics, sys

decoder, text, runs = json.JSONDecoder(), sys.stdin.read().strip(), []
while text:
    run, end = decoder.raw_decode(text)
    runs.append(run)
    text = text[end:].lstrip()
median = lambda figures: statistics.median(figures)
prefill = median(run["prompt_tokens"] / run["timings"]["prefill_ms"] * 1000 for run in runs)
decode = median((len(run["tokens"]) - 1) / run["timings"]["decode_ms"] * 1000 for run in runs)
first = runs[0]
print("prefill {:8.1f} tokens/s ({} tokens)".format(prefill, first["prompt_tokens"]))
print("decode  {:8.1f} tokens/s ({} tokens)".format(decode, len(first["tokens"])))
'
