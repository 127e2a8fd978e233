#!/usr/bin/env bash
# How many instructions the kernels for 64-bit Arm execute: per weight block and token, for each format and tier.
#
#   scripts/count-instructions.sh [FORMAT...]       default: all formats
#   TOKENS="1 2 512" scripts/count-instructions.sh
#
# qemu runs one product and then two, one instruction at a time, and writes a line for each: the difference is one product
# of 32 rows of 1,024 columns. That is exact and the same on every machine, and says nothing of cycles or of memory.
# Needs Debian's packages gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static, and installs them as root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/cross-std.sh

readonly ROWS=32 COLS=1024
read -ra tokens <<<"${TOKENS:-1 4 8 64}"
[ $# -gt 0 ] || set -- F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K
command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64-static >/dev/null \
  || cross_packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
cross_std aarch64-unknown-linux-gnu
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
cargo build --quiet --release --locked "${CROSS[@]}" --package kernels --example one_product
readonly program=${CARGO_TARGET_DIR:-target}/aarch64-unknown-linux-gnu/release/examples/one_product

# executed CPU ARGUMENTS OF one_product
executed() {
  local cpu=$1
  shift
  qemu-aarch64-static -cpu "$cpu" -L /usr/aarch64-linux-gnu -singlestep -d exec,nochain "$program" "$@" 2>&1 >/dev/null \
    | grep -c '^Trace'
}

block_len() { case $1 in *_K) echo 256 ;; Q*) echo 32 ;; *) echo 1 ;; esac }

printf '| processor | tier | format |'
printf ' %s |' "${tokens[@]/%/ tokens}"
printf '\n|---|---|---|'
printf -- '---|%.0s' "${tokens[@]}"
printf '\n'
while read -r cpu tier; do
  for format; do
    printf '| %s | %s | %s |' "$cpu" "$tier" "$format"
    for n in "${tokens[@]}"; do
      product=$(($(executed "$cpu" "$format" "$tier" $ROWS $COLS "$n" 2) - $(executed "$cpu" "$format" "$tier" $ROWS $COLS "$n" 1)))
      awk -v i="$product" -v n="$((ROWS * COLS * n))" -v b="$(block_len "$format")" 'BEGIN { printf " %.2f |", i * b / n }'
    done
    printf '\n'
  done
done <<'TIERS'
cortex-a57 neon
neoverse-n1 neon
max neon-i8mm
TIERS
