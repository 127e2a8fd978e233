# Named steps with their times. To be sourced: step NAME COMMAND... runs the command, and ends the script when it fails.

step() {
  local name=$1 begin=$SECONDS status=0
  shift
  printf '\n==> %s: %s\n' "$name" "$*"
  "$@" || status=$?
  if [ "$status" -ne 0 ]; then
    printf '==> FAILED: %s (status %d, after %d s)\n' "$name" "$status" $((SECONDS - begin))
    exit "$status"
  fi
  printf '==> %s: done in %d s\n' "$name" $((SECONDS - begin))
}
