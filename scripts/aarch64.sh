#!/usr/bin/env bash
# Builds for aarch64 Linux and runs the tests of the crates with vector code under qemu, once per kind of processor.
#
#   scripts/aarch64.sh [ARGUMENTS OF cargo test]       default: --package kernels --package forward
#   QEMU_CPUS="max" scripts/aarch64.sh                 one kind instead of three
#
# cortex-a57 has neither dot products nor matrix instructions, neoverse-n1 has dot products, max has everything qemu knows.
# Needs Debian's packages gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static, and installs them as root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/cross-std.sh

[ $# -gt 0 ] || set -- --package kernels --package forward
command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64-static >/dev/null \
  || cross_packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
cross_std aarch64-unknown-linux-gnu

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
for cpu in ${QEMU_CPUS:-cortex-a57 neoverse-n1 max}; do
  echo "== aarch64 under qemu, $cpu"
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -cpu $cpu -L /usr/aarch64-linux-gnu"
  cargo test --locked "${CROSS[@]}" "$@"
done
