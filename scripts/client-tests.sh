#!/usr/bin/env bash
# Runs the clients of Ollama, OpenAI and Anthropic, as they are shipped, against `ssd-llm serve` with a real model.
#
#   scripts/client-tests.sh [--only GLOB] [--long] [--list]
#
#   --only GLOB   only the suites whose name matches, such as 'python/*', 'js/ollama' or 'soak'
#   --long        the long forms: 10,000 requests of soak instead of 300, more examples for schemathesis
#   --list        print the suites' names
#
# Makes a Python environment and a folder of Node packages in target/client-tests, starts the server on a free port, runs
# everything and prints a summary. Ends with status 1 when a suite failed. SSD_LLM_BIN names another binary than
# target/release/ssd-llm, SSD_LLM_TEST_MODEL another copy of the model; SSD_LLM_SERVE_FLAGS are further flags of `serve`. With
# SSD_LLM_URL set, a server that already runs there is tested; SSD_LLM_PID then names its process for what reads its memory.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
suites=$top/tests/clients
work=$top/target/client-tests
python=$work/venv/bin/python
export SSD_LLM_NODE_FOLDER=$work/js

say() { printf '%s\n' "client-tests: $*"; }
fail() { say "$*" >&2; exit 1; }

only='*' long='' list=''
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=${2:?--only needs a pattern}; shift ;;
    --long) long=1 ;;
    --list) list=1 ;;
    *) fail "unknown argument $1 (see the head of this script)" ;;
  esac
  shift
done

# Names of all suites, in the order in which they run: framing first, since it explains what fails later.
names() {
  (
    cd "$suites"
    for file in raw/test_*.py python/test_*.py; do
      name=${file%.py}
      printf '%s\n' "${name/test_/}"
    done
    for file in js/*.test.mjs; do printf '%s\n' "${file%.test.mjs}"; done
  )
  printf '%s\n' recipes idle soak
}

# shellcheck disable=SC2053  # The pattern is meant as one.
chosen() { [[ $1 == $only ]]; }

if [ -n "$list" ]; then names; exit 0; fi

# -- tools --------------------------------------------------------------------------------------------------------------

mkdir -p "$work/js" "$work/raw"
command -v python3 >/dev/null || fail "python3 is needed"
# Packages are installed again when the list of versions changes; the raw suites need only a few.
requirements=requirements.txt
[[ $only != raw/* ]] || requirements=raw/requirements.txt
if ! cmp -s "$suites/$requirements" "$work/$requirements.done"; then
  say "making a Python environment in $work/venv"
  [ -x "$python" ] || python3 -m venv "$work/venv"
  "$python" -m pip install --quiet --disable-pip-version-check -r "$suites/$requirements"
  cp "$suites/$requirements" "$work/$requirements.done"
fi
if [[ $only == raw/* ]]; then
  :
elif command -v npm >/dev/null; then
  if ! cmp -s "$suites/js/package.json" "$work/js/package.done"; then
    say "installing Node packages in $work/js"
    cp "$suites/js/package.json" "$work/js/package.json"
    (cd "$work/js" && npm install --silent --no-audit --no-fund)
    cp "$suites/js/package.json" "$work/js/package.done"
  fi
else
  say "npm is not installed: the suites in js/ are left out"
fi

# -- the server ---------------------------------------------------------------------------------------------------------

server=''
stop_server() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "${SSD_LLM_URL:-}" ]; then
  export SSD_LLM_BIN=${SSD_LLM_BIN:-$top/target/release/ssd-llm}
  [ -x "$SSD_LLM_BIN" ] || fail "$SSD_LLM_BIN is not there: cargo build --release, or set SSD_LLM_BIN"
  SSD_LLM_MODEL_FILE=${SSD_LLM_TEST_MODEL:-$("$top/scripts/get-model.sh")}
  export SSD_LLM_MODEL_FILE
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  export SSD_LLM_URL=http://127.0.0.1:$port
  # A thousand connections and their files need more than many shells allow.
  ulimit -n "$(ulimit -Hn)" || true
  # With this context the model and four contexts fit the budget: the time goes to requests, not to reading weights.
  # shellcheck disable=SC2086  # Several flags in one variable.
  "$SSD_LLM_BIN" serve "$SSD_LLM_MODEL_FILE" --port "$port" --memory-budget 400M --ctx 2048 ${SSD_LLM_SERVE_FLAGS:-} >"$work/server.log" 2>&1 &
  server=$!
  SSD_LLM_PID=$server
  for _ in $(seq 300); do
    kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; fail "the server ended; its log is above"; }
    "$python" -c "import sys, urllib.request as u; u.urlopen(sys.argv[1] + '/health', timeout=2)" "$SSD_LLM_URL" 2>/dev/null && break
    sleep 0.2
  done
  say "the server runs at $SSD_LLM_URL, process $server, log $work/server.log"
fi

# -- suites -------------------------------------------------------------------------------------------------------------

run_suite() {
  case $1 in
    raw/* | python/*)
      [ -z "$long" ] || export SSD_LLM_EXAMPLES=100
      (cd "$suites" && "$python" -m pytest -q --tb=short -p no:cacheprovider "${1%/*}/test_${1#*/}.py")
      ;;
    js/*)
      # Node finds packages beside the file that imports them.
      cp "$suites"/js/*.mjs "$work/js/"
      (cd "$work/js" && node --test --test-concurrency=1 "${1#js/}.test.mjs")
      ;;
    recipes) "$python" "$suites/recipes.py" ;;
    idle) "$python" "$suites/idle.py" --pid "$SSD_LLM_PID" ;;
    soak) "$python" "$suites/soak.py" --requests "$([ -n "$long" ] && echo 10000 || echo 300)" ${long:+--warm-up 10000} ${SSD_LLM_PID:+--pid "$SSD_LLM_PID"} ;;
  esac
}

summary=() n_failed=0
mkdir -p "$work/logs"
while read -r name; do
  chosen "$name" || continue
  if [[ $name == js/* ]] && ! command -v npm >/dev/null; then continue; fi
  if [[ $name == idle && ( -z "${SSD_LLM_PID:-}" || ! -r /proc/self/status ) ]]; then
    summary+=("skip $name: needs the server's process (SSD_LLM_PID) and Linux")
    continue
  fi
  say "$name"
  log=$work/logs/${name//\//-}.log
  started=$SECONDS
  # The server may have died of the suite before; what follows would only repeat that.
  if [ -n "$server" ] && ! kill -0 "$server" 2>/dev/null; then
    summary+=("FAIL $name: the server is dead")
    n_failed=$((n_failed + 1))
    continue
  fi
  if run_suite "$name" </dev/null >"$log" 2>&1; then verdict=ok; else
    verdict=FAIL
    n_failed=$((n_failed + 1))
    cat "$log"
  fi
  last=$(grep -E '^[0-9]+ (passed|failed|skipped|error).* in |^# (pass|fail) |^(soak|idle|recipes): ' "$log" | tail -2 | tr '\n' ' ' || true)
  summary+=("$(printf '%-4s %s (%d s): %s' "$verdict" "$name" $((SECONDS - started)) "$last")")
done < <(names)

echo
printf '%s\n' "${summary[@]:-no suite matches $only}"
[ ${#summary[@]} -gt 0 ] || exit 1
say "$n_failed of ${#summary[@]} suites failed; logs are in $work/logs"
[ "$n_failed" -eq 0 ]
