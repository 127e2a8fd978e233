# Lets cargo build for a target whose standard library the toolchain may lack. To be sourced by scripts that do so:
#
#   . scripts/cross-std.sh; cross_std TARGET       sets the array CROSS to what cargo needs for TARGET
#
# Where rustup can add the target, that is only `--target TARGET`. Otherwise the standard library is built from the sources in Debian's package of the same Rust version, fetched by SHA-256 from the mirror of this system and
# kept under target/cross/. That needs unstable options of cargo, which RUSTC_BOOTSTRAP unlocks in the workspace's crates too: the
# plain build on the host stays the judge of what is stable.

readonly STD_VERSION=1.95.0
readonly STD_PACKAGE=rust-src_1.95.0+dfsg1-2~bpo13+1_all.deb
readonly STD_SHA256=7b76db5b880a77f9e52975d2baa6209d2f76d2c9c2789515c3088cb960e2c83b

cross_fail() { printf '%s\n' "cross: $*" >&2; exit 1; }

# Installs the Debian packages that are missing; as root without asking, otherwise it says what to run.
cross_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || cross_fail "missing packages; run: sudo apt-get install --no-install-recommends ${missing[*]}"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The archive that this system takes its packages from, security and snapshot archives aside.
cross_mirror() {
  { grep -rhsE '^(deb |URIs:)' /etc/apt/sources.list /etc/apt/sources.list.d || true; } \
    | grep -oE 'https?://[^ ]+/debian/?( |$)' | tr -d ' ' | sed 's#/$##' | head -n 1
}

cross_sources() {
  local folder=$1 mirror
  [ -d "$folder/library" ] && return
  command -v dpkg-deb >/dev/null \
    || cross_fail "the toolchain lacks this target: run 'rustup target add $2' (its sources are fetched on Debian only)"
  mirror=$(cross_mirror)
  [ -n "$mirror" ] || cross_fail "no Debian mirror in the apt sources, which the standard library's sources come from"
  cross_packages ca-certificates curl
  mkdir -p "$(dirname "$folder")"
  local part
  part=$(mktemp -d "$folder.XXXXXX")
  echo "cross: fetching the standard library's sources" >&2
  curl -fsSL "$mirror/pool/main/r/rustc/$STD_PACKAGE" -o "$part/package.deb" || cross_fail "cannot fetch $STD_PACKAGE"
  echo "$STD_SHA256  $part/package.deb" | sha256sum -c --status || cross_fail "$STD_PACKAGE has another checksum"
  dpkg-deb -x "$part/package.deb" "$part/unpacked"
  mv -T "$part/unpacked/usr/src/rustc-$STD_VERSION" "$folder" 2>/dev/null || [ -d "$folder/library" ]
  rm -rf "$part"
}

cross_std() {
  local target=$1 folder
  CROSS=(--target "$target")
  rustup target add "$target" >/dev/null 2>&1 || true
  if [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    return
  fi
  case $(rustc --version) in
    "rustc $STD_VERSION "*) ;;
    *) cross_fail "only Rust $STD_VERSION's sources are known here: run 'rustup target add $target'" ;;
  esac
  # A target folder of its own: RUSTC_BOOTSTRAP would make the host's builds there out of date, and back again.
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/cross
  folder=$CARGO_TARGET_DIR/std-$STD_VERSION
  cross_sources "$folder" "$target"
  export RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=$folder/library
  CROSS+=("-Zbuild-std=std,panic_abort,proc_macro,test")
}
