#!/usr/bin/env bash
# Type-checks the workspace for macOS on Apple Silicon, from any machine. Nothing is linked, so no SDK is needed.
#
#   scripts/check-macos.sh [ARGUMENTS OF cargo check]  default: --workspace --all-targets
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/cross-std.sh

[ $# -gt 0 ] || set -- --workspace --all-targets
cross_std aarch64-apple-darwin
# Only macros and build scripts are compiled here, and they run once: optimising them takes longer than it saves.
cargo check --locked --config 'profile.dev.package."*".opt-level = 0' "${CROSS[@]}" "$@"
