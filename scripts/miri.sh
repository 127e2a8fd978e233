#!/usr/bin/env bash
# Runs the tests of the thread pool and of the slot arena under Miri, which finds data races and wrong pointers.
#
#   scripts/miri.sh [SEEDS]       default: 4 schedules of the pool's threads
#
# Needs rustup; a nightly toolchain and its Miri are added when they are missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo +nightly miri --version >/dev/null 2>&1 || {
  rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
  rustup component add --toolchain nightly miri rust-src
}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/miri
# Twenty thousand regions take too long here; the other tests have every transition of the protocol.
MIRIFLAGS="-Zmiri-many-seeds=0..${1:-4}" \
  cargo +nightly miri test --locked --package forward --lib cpu::pool -- --skip many_short_regions
cargo +nightly miri test --locked --package store --lib slot::
