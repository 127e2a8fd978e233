#!/usr/bin/env bash
# Looks for inputs that break what reads untrusted bytes, with libFuzzer on stable Rust.
#
#   scripts/fuzz.sh [SECONDS [TARGET [FLAGS OF libFuzzer]]]   default: 60 seconds, shared by all targets
#   scripts/fuzz.sh 600 template -jobs=2                      one target for ten minutes
#   FUZZ_INPUT=FILE scripts/fuzz.sh 0 template                runs one input again
#
# fuzz/src/target.rs lists the targets. What is found is kept in target/fuzz/corpus and mutated further by the next run. An
# input that panics, takes longer than ten seconds or more than a gigabyte is saved in target/fuzz/failures and named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-60} target=${2:-all}
[ $# -lt 2 ] || shift
[ $# -eq 0 ] || shift
targets=$target
if [ "$target" = all ]; then targets=$(sed -n 's/.*Target { name: "\([^"]*\)".*/\1/p' fuzz/src/target.rs); fi
share=$((seconds / $(wc -w <<<"$targets")))

command -v c++ >/dev/null || {
  [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ >/dev/null
} || { echo "fuzz: a C++ compiler is needed to build libFuzzer (Debian: apt install g++)" >&2; exit 1; }
export RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/fuzz-rustc.sh
# With the features of the whole workspace, so that dependencies are those of `cargo test`.
cargo build --locked --workspace --bin fuzz --features fuzz/libfuzzer
unset RUSTC_WORKSPACE_WRAPPER
folder=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
program=${CARGO_TARGET_DIR:-$PWD/target}/debug/fuzz

# A claim of more memory than this fails at once, touched or not.
ulimit -v $((8 << 20))
for name in $targets; do
  export FUZZ_TARGET=$name FUZZ_SEEDS=$folder/seeds/$name
  rm -rf "$FUZZ_SEEDS"
  mkdir -p "$FUZZ_SEEDS" "$folder/corpus/$name" "$folder/failures"
  if [ -n "${FUZZ_INPUT:-}" ]; then "$program" "$FUZZ_INPUT" && exit; fi
  log=$folder/$name.log
  "$program" -max_total_time=$((share > 0 ? share : 1)) -timeout=10 -rss_limit_mb=1024 -use_value_profile=1 \
    -artifact_prefix="$folder/failures/$name-" "$@" "$folder/corpus/$name" "$FUZZ_SEEDS" >"$log" 2>&1 || {
    grep -vE '^#|NEW_FUNC' "$log" | tail -n 60 >&2
    echo "fuzz: $name failed; see it again with: FUZZ_INPUT=FILE scripts/fuzz.sh 0 $name (log: $log)" >&2
    exit 1
  }
  printf '%-13s %s, %s\n' "$name" "$(tail -n 1 "$log")" "$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1)"
done
