# Commands for daily work; each calls a script that CI and people without `just` can call too.
set positional-arguments

# Lists the recipes.
default:
    @just --list

# Answers a prompt with a small model.
demo *ARGUMENTS:
    scripts/demo.sh "$@"

# Format, lints, the repository's own rules, documentation.
check:
    scripts/check.sh

# Every test, on the real model too.
test *ARGUMENTS:
    scripts/test.sh "$@"

# The chat page in headless Chromium: just page --only axe --shots DIR; just page --url http://127.0.0.1:11434
page *ARGUMENTS:
    scripts/page-tests.sh "$@"

# All that CI does.
ci:
    .ci/run

# Looks for inputs that break what reads untrusted bytes: just fuzz 600 template
fuzz *ARGUMENTS:
    scripts/fuzz.sh "$@"

# The thread pool and the slot arena under Miri.
miri *ARGUMENTS:
    scripts/miri.sh "$@"

# Clients of Ollama, OpenAI and Anthropic against a release build: just clients --only 'python/*'
clients *ARGUMENTS:
    scripts/client-tests.sh "$@"

# Lines of Rust, tests aside.
lines:
    cargo xtask lines

# Prefill and decode speed on this machine.
bench *ARGUMENTS:
    scripts/bench.sh "$@"

# Tests of the kernels and the forward pass on emulated 64-bit ARM processors.
aarch64 *ARGUMENTS:
    scripts/aarch64.sh "$@"

# Instructions of the ARM kernels per weight block and token, counted by an emulator.
count-instructions *ARGUMENTS:
    scripts/count-instructions.sh "$@"

# Type-checks the workspace for macOS.
check-macos *ARGUMENTS:
    scripts/check-macos.sh "$@"

# Comparisons with llama.cpp: just compare perplexity models/SmolLM2-135M-Instruct.Q4_1.gguf
compare *ARGUMENTS:
    python3 scripts/peers/compare.py "$@"

# Models bigger than memory, as root on Linux: just streaming limit models/SmolLM2-135M-Instruct.Q4_1.gguf
streaming *ARGUMENTS:
    python3 scripts/peers/streaming.py "$@"

# A real model on a disk that fails, as root on Linux.
eio *ARGUMENTS:
    scripts/eio.sh "$@"
