#!/usr/bin/env bash
# The compiler of the workspace's crates under scripts/fuzz.sh: adds the coverage counters that libFuzzer reads.
#
# A wrapper for the workspace instead of flags for all crates: the dependencies stay those of every other build.
case " $* " in
  # Arithmetic does not parse, and counting in it would take most of the time.
  *' --crate-name kernels '*) exec "$@" ;;
esac
exec "$@" -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
  -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
  -C llvm-args=-sanitizer-coverage-trace-compares
