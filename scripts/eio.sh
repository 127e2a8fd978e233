#!/usr/bin/env bash
# Runs a real model on a disk that gives real errors (EIO), each way of reading it, with little and with all in memory.
#
#   scripts/eio.sh [PROGRAM [MODEL]]        default: the release build, and the model of scripts/get-model.sh
#
# The disk is a loop device on a file that is cut short: what lay behind the cut cannot be read any more, while the file
# system on it still says that it is there. Needs Linux, root, loop devices, e2fsprogs, GNU coreutils and 3 times the
# model's size in the folder for temporary files; drops the page cache. Undoes all that it did when it ends, however it does.
# Ends with status 1 if a run does anything but end with an error that names file, offset and cause.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() { echo "eio.sh: $1" >&2; exit 1; }
[ "$(uname)" = Linux ] || fail "this needs Linux"
[ "$(id -u)" = 0 ] || fail "this needs root, for a loop device and a mount"
for tool in losetup mkfs.ext4 filefrag; do
  command -v "$tool" >/dev/null || fail "$tool is missing: install util-linux and e2fsprogs"
done

if [ $# -eq 0 ]; then
  cargo build --release --locked --manifest-path "$top/Cargo.toml" --package ssd-llm
fi
program=$(realpath "${1:-${CARGO_TARGET_DIR:-$top/target}/release/ssd-llm}")
model=$(realpath "${2:-$("$top/scripts/get-model.sh")}")

work=$(mktemp -d)
device=
clean_up() {
  ! mountpoint -q "$work/mount" || umount "$work/mount"
  [ -z "$device" ] || losetup -d "$device"
  rm -rf "$work"
}
trap clean_up EXIT

readonly BLOCK=4096
bytes=$(stat -c %s "$model")
truncate -s $(((bytes / BLOCK * 3 / 2 + 16384) * BLOCK)) "$work/disk"
mkfs.ext4 -q -b $BLOCK "$work/disk"
mkdir "$work/mount"
device=$(losetup -f --show "$work/disk")
mount "$device" "$work/mount"
cp "$model" "$work/mount/model.gguf"
umount "$work/mount"
cp --sparse=always "$work/disk" "$work/whole"
mount -o ro "$device" "$work/mount"
file=$work/mount/model.gguf

# The file lies in a few stretches; the cut goes through the middle of the one that lies last.
cut=$(filefrag -v "$file" | sed 's/\.\./ /g; s/:/ /g' |
  awk '$1 ~ /^[0-9]+$/ && NF >= 6 && $4 + 0 > first { first = $4; last = $5 } END { print int((first + last) / 2) }')
[ "$cut" -gt 0 ] || fail "cannot tell where the file lies"
forget_pages() { sync; echo 1 > /proc/sys/vm/drop_caches; }
break_disk() { truncate -s $((cut * BLOCK)) "$work/disk"; forget_pages; }
mend_disk() { cat "$work/whole" > "$work/disk"; forget_pages; }

bad=0
# What a run says when it ends, and whether that is as it should be.
judge() {
  local what=$1 status=$2
  if [ "$status" = 1 ] && grep -q "^error: cannot read .* at offset .* of $file: Input/output error" "$work/stderr"; then
    echo "ok    $what: $(grep '^error' "$work/stderr" | sed "s|$work/mount/||")"
  elif [ "$status" = 1 ] && grep -q "^error: $file has been changed since it was opened (parts of it" "$work/stderr"; then
    echo "ok    $what: $(grep '^error' "$work/stderr" | sed "s|$work/mount/||")"
  else
    echo "WRONG $what: status $status: $(tail -n 3 "$work/stderr")"
    bad=1
  fi
}

least=$({ "$program" run "$file" --raw --ctx 512 -p x --memory-budget 1M 2>&1 || true; } | sed -n 's/.*--memory-budget \([0-9.]*[MG]\).*/\1/p')
[ -n "$least" ] || fail "cannot tell the smallest budget for this model"
for io in direct uring pread buffered mmap; do
  for budget in "$least" 64G; do
    run=(timeout 300 "$program" run "$file" --raw --ctx 512 -p "Once upon a time" -n 400 --io "$io" --memory-budget "$budget")
    what="$io, $budget"
    break_disk
    status=0; "${run[@]}" > /dev/null 2> "$work/stderr" || status=$?
    judge "$what, broken before" "$status"
    mend_disk

    # What is all in memory does not miss the disk, but what is read in every pass does.
    [ "$budget" = "$least" ] || continue
    : > "$work/stdout"
    "${run[@]}" > "$work/stdout" 2> "$work/stderr" & pid=$!
    until [ -s "$work/stdout" ] || ! kill -0 $pid 2>/dev/null; do sleep 0.05; done
    break_disk
    status=0; wait $pid || status=$?
    judge "$what, breaks after $(wc -c < "$work/stdout") bytes of text" "$status"
    mend_disk
  done
done
exit $bad
