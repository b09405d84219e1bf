#!/usr/bin/env bash
# Finds or makes a standard library for the guests' target, and says where it is.
#
#   wasm-std.sh [CACHE_DIR]
#
# Standard output: KEY=VALUE lines for `Library` (WAY, and SYSROOT or RUSTC where one must be used). Everything for people
# goes to standard error. Nothing outside CACHE_DIR is changed, but by `rustup target add`; no root is needed.
#
# The ways, in this order, each by itself with EIGENSHIFT_WASM_STD=rustup|src|web|trixie:
#   rustup  the toolchain's own: installed already, or `rustup target add`
#   src     Debian's rust-src of exactly this rustc, compiled once with this rustc
#   web     Debian bookworm's rustc-web with its own sources, compiled once
#   trixie  Debian trixie's rustc with its prebuilt library, run under its own libc
# EIGENSHIFT_NO_RUSTUP=1 leaves out the first, also when the target is there: for machines that may use package
# registries only, and to test the other ways on any machine.
set -euo pipefail

target=wasm32-unknown-unknown
say() { echo "wasm-std: $*" >&2; }
fail() { say "$*"; exit 1; }
has_std() { compgen -G "$1/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; }

# `set -e` is off inside a function that is called in a condition, so each way runs as a process of its own.
if [ "${1:-}" != --one-way ]; then
  cache=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/eigenshift}/wasm-std
  mkdir -p "$cache"
  exec 9>"$cache/.lock"
  flock 9
  choice=${EIGENSHIFT_WASM_STD:-auto}
  case $choice in
    auto) if [ "${EIGENSHIFT_NO_RUSTUP:-0}" = 1 ]; then ways="src web trixie"; else ways="rustup src web trixie"; fi ;;
    rustup | src | web | trixie) ways=$choice ;;
    *) fail "EIGENSHIFT_WASM_STD=$choice is not one of auto, rustup, src, web, trixie" ;;
  esac
  for way in $ways; do
    if bash "$0" --one-way "$way" "$cache"; then exit 0; fi
    say "$way: did not work out"
  done
  say "no way to a standard library for $target worked (tried: $ways)."
  fail "with internet access, 'rustup target add $target' is all it takes; run it and try again."
fi

way=$2 cache=$3
sysroot=$(rustc --print sysroot)
rustc=$sysroot/bin/rustc
[ -x "$rustc" ] || rustc=$(command -v rustc)
cargo=$sysroot/bin/cargo
[ -x "$cargo" ] || cargo=$(command -v cargo)
version=$("$rustc" -vV | sed -n 's/^release: //p')
host=$("$rustc" -vV | sed -n 's/^host: //p')
work=$cache/.work-$way
trap 'rm -rf "$work"' EXIT
rm -rf "$work"
mkdir -p "$work"

# --- Debian packages from other suites than the machine's own, through apt with lists and caches of ours ------------

# stanza main|security SUITE: a source like the machine's own (mirror and key), for another suite.
stanza() {
  local own=/etc/apt/sources.list.d/debian.sources uri key
  uri=http://deb.debian.org/debian
  if [ "$1" = security ]; then uri=http://deb.debian.org/debian-security; fi
  key=/usr/share/keyrings/debian-archive-keyring.gpg
  if [ -r "$own" ]; then
    local found
    found=$(awk -v kind="$1" 'BEGIN { RS = ""; FS = "\n" }
      { uri = ""; key = ""; security = 0
        for (i = 1; i <= NF; i++) {
          if ($i ~ /^URIs:/) { uri = $i; sub(/^URIs:[ \t]*/, "", uri); sub(/[ \t].*/, "", uri) }
          if ($i ~ /^Signed-By:/) { key = $i; sub(/^Signed-By:[ \t]*/, "", key) }
          if ($i ~ /^Suites:.*-security/) security = 1
        }
        if (uri != "" && security == (kind == "security")) { print uri "\t" key; exit } }' "$own")
    if [ -n "$found" ]; then
      uri=${found%%$'\t'*}
      key=${found#*$'\t'}
      [ -n "$key" ] || key=/usr/share/keyrings/debian-archive-keyring.gpg
    fi
  fi
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' "$uri" "$2" "$key"
}

apt() {
  local tool=$1
  shift
  "$tool" -o Dir::Etc::SourceList="$work/apt/use.sources" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User= \
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

use_suites() {
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "$way: this is no Debian machine"
  [ "$(uname -m)" = x86_64 ] || fail "$way: only for x86_64"
  mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/debs"
  local suite
  for suite; do
    case $suite in *-security) stanza security "$suite" ;; *) stanza main "$suite" ;; esac
  done >"$work/apt/use.sources"
  say "$way: reading the package lists of $*"
  apt apt-get -qq update >&2
}

fetch() {
  say "$way: downloading $*"
  (cd "$work/debs" && apt apt-get -qq download "$@" >&2)
}

# unpack INTO TAR_ARGS...: every downloaded package.
unpack() {
  local into=$1 deb
  shift
  mkdir -p "$into"
  for deb in "$work"/debs/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$into" "$@"; done
}

# --- the library, compiled once ------------------------------------------------------------------------------------

# compile_std RUSTC SOURCES INTO: an empty crate built with -Z build-std leaves the library's rlibs among its
# dependencies. RUSTC gets a sysroot that has the sources where cargo looks for them. Bitcode is embedded, else a guest
# cannot use LTO; paths are remapped, so that the guests' bytes do not depend on this machine.
compile_std() {
  local compiler=$1 sources=$2 into=$3 crate=$work/mkstd own
  own=$("$compiler" --print sysroot)
  say "$way: compiling the standard library for $target with $("$compiler" -V)"
  mkdir -p "$crate/src" "$crate/view/lib/rustlib/src" "$into/lib/rustlib/$target/lib"
  ln -s "$own/lib/rustlib/$host" "$crate/view/lib/rustlib/$host"
  ln -s "$sources" "$crate/view/lib/rustlib/src/rust"
  printf '#!/bin/sh\nexec "%s" --sysroot="%s" "$@"\n' "$compiler" "$crate/view" >"$crate/rustc"
  chmod +x "$crate/rustc"
  printf '[package]\nname = "mkstd"\nversion = "0.0.0"\nedition = "2021"\n[profile.release]\ndebug = 0\n[workspace]\n' >"$crate/Cargo.toml"
  : >"$crate/src/lib.rs"
  local sep=$'\x1f'
  (cd "$crate" && env -u RUSTUP_TOOLCHAIN -u RUSTFLAGS -u CARGO_BUILD_TARGET RUSTC="$crate/rustc" RUSTC_BOOTSTRAP=1 \
    CARGO_ENCODED_RUSTFLAGS="-Cembed-bitcode=yes${sep}--remap-path-prefix=$crate=/std${sep}--remap-path-prefix=$sources=/std${sep}--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/crates" \
    CARGO_TARGET_DIR="$crate/target" "$cargo" build --quiet --release -Z build-std=std,panic_abort --target $target >&2)
  find "$crate/target/$target/release/deps" -name 'lib*.rlib' ! -name 'libmkstd*' \
    -exec cp {} "$into/lib/rustlib/$target/lib/" \;
  has_std "$into" || fail "$way: the build left no libstd"
}

# foreign_rustc ROOT LOADER LIBRARIES: a rustc unpacked below ROOT, started through LOADER so that it finds its own
# libraries; it borrows the toolchain's linker (rust-lld).
foreign_rustc() {
  printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s/usr/bin/rustc" "$@"\n' "$2" "$3" "$4" >"$1/rustc"
  chmod +x "$1/rustc"
  ln -sfn "$sysroot/lib/rustlib/$host/bin" "$1/usr/lib/rustlib/$host/bin"
}

case $way in
  rustup)
    if ! has_std "$sysroot"; then
      command -v rustup >/dev/null || fail "rustup: not installed"
      say "rustup: adding the target $target to the toolchain"
      timeout 300 rustup target add $target >&2 || fail "rustup: could not add the target"
      has_std "$sysroot" || fail "rustup: added the target, but $sysroot has no libstd for it"
    fi
    printf 'WAY=%s\n' "rustup's standard library of $version"
    ;;

  src)
    made=$cache/src-$version
    if ! has_std "$made"; then
      # backports has it today and may drop it any day; the other two are where it may turn up instead.
      use_suites trixie-backports bookworm-security sid
      package=$(apt apt-cache madison rust-src rust-web-src 2>/dev/null | awk -F'|' -v want="$version+" \
        '{ gsub(/ /, "", $1); gsub(/ /, "", $2) } index($2, want) == 1 { print $1 "=" $2; exit }')
      [ -n "$package" ] || fail "src: no package holds the sources of rustc $version"
      fetch "$package"
      unpack "$work/unpacked" --wildcards './usr/src/*/library/*'
      sources=$(echo "$work"/unpacked/usr/src/*)
      compile_std "$rustc" "$sources" "$work/made"
      # rust-lld is looked for in the sysroot, beside the target's library.
      ln -s "$sysroot/lib/rustlib/$host" "$work/made/lib/rustlib/$host"
      rm -rf "$made"
      mv "$work/made" "$made"
    fi
    printf 'WAY=%s\nSYSROOT=%s\n' "standard library of $version compiled from Debian's rust-src" "$made"
    ;;

  web)
    made=$cache/web-for-$version
    if ! has_std "$made/usr"; then
      use_suites bookworm bookworm-security
      candidate=$(apt apt-cache policy rustc-web | sed -n 's/^ *Candidate: //p')
      case $candidate in '' | '(none)') fail "web: no rustc-web here" ;; esac
      libstd=$(apt apt-cache depends libstd-rust-web-dev="$candidate" | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | head -n 1)
      llvm=$(apt apt-cache depends "$libstd=$candidate" | sed -n 's/.*Depends: \(libllvm[0-9]*\).*/\1/p' | head -n 1)
      fetch rustc-web="$candidate" libstd-rust-web-dev="$candidate" "$libstd=$candidate" rust-web-src="$candidate" "$llvm" libz3-4
      unpack "$work/made" --exclude='./usr/share/*'
      foreign_rustc "$work/made" /lib64/ld-linux-x86-64.so.2 "$work/made/usr/lib/x86_64-linux-gnu" "$work/made"
      sources=$(echo "$work"/made/usr/src/*)
      compile_std "$work/made/rustc" "$sources" "$work/std"
      mkdir -p "$work/made/usr/lib/rustlib/$target"
      mv "$work/std/lib/rustlib/$target/lib" "$work/made/usr/lib/rustlib/$target/"
      rm -rf "$work/made/usr/src" "$made"
      foreign_rustc "$work/made" /lib64/ld-linux-x86-64.so.2 "$made/usr/lib/x86_64-linux-gnu" "$made"
      mv "$work/made" "$made"
    fi
    printf 'WAY=%s\nRUSTC=%s\n' "bookworm's $("$made/rustc" -V) with its own standard library" "$made/rustc"
    ;;

  trixie)
    made=$cache/trixie-for-$version
    if ! has_std "$made/usr"; then
      use_suites trixie
      fetch rustc libstd-rust-dev libstd-rust-1.85 libstd-rust-dev-wasm32 libllvm19 libc6 libgcc-s1 libstdc++6 zlib1g \
        libzstd1 libffi8 libtinfo6 libedit2 libxml2 libbsd0 libmd0 liblzma5 libz3-4
      unpack "$work/made" --exclude='*wasm32-wasip*' --exclude='./usr/share/*'
      libs=usr/lib/x86_64-linux-gnu
      foreign_rustc "$work/made" "$made/$libs/ld-linux-x86-64.so.2" "$made/$libs" "$made"
      rm -rf "$made"
      mv "$work/made" "$made"
      has_std "$made/usr" || fail "trixie: the packages hold no libstd"
    fi
    printf 'WAY=%s\nRUSTC=%s\n' "trixie's $("$made/rustc" -V) with its prebuilt standard library" "$made/rustc"
    ;;
esac
