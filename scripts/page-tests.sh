#!/usr/bin/env bash
# Tests the chat page in headless Chromium, with a server that makes answers up or with a real one.
#
#   scripts/page-tests.sh                                    all checks, against made-up answers
#   scripts/page-tests.sh --url http://127.0.0.1:11434       those that make sense against a running `ssd-llm serve`
#   scripts/page-tests.sh --only axe keyboard --shots DIR    some, with screenshots
#
# Needs Python 3.10 or newer with venv. Playwright and axe-core come from the Python package index into
# target/page-tests; the browser is the one that CHROMIUM names, Playwright's, the system's, or Debian's if this is root.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${CARGO_TARGET_DIR:-$top/target}/page-tests
python=$venv/bin/python

if ! "$python" -c 'import playwright, axe_playwright_python' 2>/dev/null; then
  python3 -m venv "$venv"
  "$python" -m pip install --quiet --disable-pip-version-check 'playwright>=1.49,<2' 'axe-playwright-python>=0.1.7,<0.2'
fi

has_browser() {
  [ -n "${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome > /dev/null ||
    "$python" -c 'import os; from playwright.sync_api import sync_playwright as s
with s() as p: raise SystemExit(not os.path.exists(p.chromium.executable_path))' 2>/dev/null
}
if ! has_browser && ! "$python" -m playwright install chromium > /dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null
  fi
  has_browser || { echo "page-tests: no Chromium: install one, or name it with CHROMIUM=/path/to/chromium" >&2; exit 1; }
fi

exec "$python" "$top/tests/page/test_page.py" "$@"
