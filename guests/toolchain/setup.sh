#!/usr/bin/env bash
# Makes a private Rust toolchain that can build wasm32-wasip2 components, out of Debian packages, for machines on which
# `rustup target add wasm32-wasip2` is not possible. It writes nothing outside PREFIX and leaves the machine's own
# compilers as they are. It must not know what is built with it.
#
# usage:   setup.sh PREFIX
# then:    PATH=PREFIX/bin:$PATH RUSTC=PREFIX/bin/rustc cargo build --release --target wasm32-wasip2
# needs:   apt-get install -y rustc-web cargo-web rust-web-src rust-web-llvm lld-19
set -euo pipefail

readonly TARGET=wasm32-wasip2
# wasi-libc of Debian 13 (an architecture-independent package); the one of Debian 12 has no wasip2 in it.
readonly WASI_LIBC_VERSION='0.0~git20241209.574b88d-2'
readonly WASI_LIBC_SHA256=b7716260051d289248b7667f81fa2792c125d888ff51da3fa09c6272cc0bd11d

fail() {
    echo "setup.sh: $*" >&2
    exit 1
}

[ $# -eq 1 ] || fail 'usage: setup.sh PREFIX'
mkdir -p "$1"
PREFIX=$(cd "$1" && pwd)
RUSTC=/usr/bin/rustc
CARGO=/usr/bin/cargo
[ -x $RUSTC ] && [ -x $CARGO ] || fail 'no Debian compiler: apt-get install -y rustc-web cargo-web'
HOST=$($RUSTC -vV | sed -n 's/^host: //p')
COMPONENT_LD="/usr/lib/rustlib/$HOST/bin/wasm-component-ld"
[ -x "$COMPONENT_LD" ] || fail 'no wasm-component-ld: apt-get install -y rust-web-llvm'
[ -d /usr/lib/rustlib/src/rust/library ] || fail 'no library sources: apt-get install -y rust-web-src'
WASM_LD=$(ls /usr/bin/lld-19 /usr/bin/lld-2? 2>/dev/null | head -n 1 || true)
[ -n "$WASM_LD" ] || fail 'no linker: apt-get install -y lld-19'

readonly SYSROOT_LIB="$PREFIX/lib/rustlib"
readonly WORK="$PREFIX/build"
readonly DEB="$WORK/wasi-libc_${WASI_LIBC_VERSION}_all.deb"

# A sysroot that borrows the host's half from Debian's compiler, and wrappers that use it.
make_sysroot() {
    mkdir -p "$PREFIX/bin" "$SYSROOT_LIB/$HOST/bin" "$WORK"
    ln -sfn /usr/lib/rustlib/src "$SYSROOT_LIB/src"
    ln -sfn "/usr/lib/rustlib/$HOST/lib" "$SYSROOT_LIB/$HOST/lib"
    ln -sfn "$WASM_LD" "$SYSROOT_LIB/$HOST/bin/rust-lld"
    ln -sfn "$WASM_LD" "$SYSROOT_LIB/$HOST/bin/wasm-ld"
    ln -sfn "$COMPONENT_LD" "$SYSROOT_LIB/$HOST/bin/wasm-component-ld"
    local tool
    for tool in rustc rustdoc; do
        printf '#!/bin/sh\nexec /usr/bin/%s --sysroot "%s" "$@"\n' "$tool" "$PREFIX" >"$PREFIX/bin/$tool"
        chmod +x "$PREFIX/bin/$tool"
    done
    ln -sfn $CARGO "$PREFIX/bin/cargo"
}

# The first mirror of Debian itself that this machine's apt is set up with.
debian_mirror() {
    apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
        awk '!found && $2 !~ /security/ && $1 !~ /security/ { print $1; found = 1 }'
}

# Fetches wasi-libc through apt, with a package list of its own so that the machine's sources stay as they are.
fetch_wasi_libc() {
    [ ! -f "$DEB" ] || return 0
    local mirror apt
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || fail 'apt knows no Debian mirror: run apt-get update first'
    apt="$WORK/apt"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$apt/sources.list"
    local options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=-
        -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o "APT::Sandbox::User=$(id -un)")
    apt-get "${options[@]}" update
    (cd "$WORK" && apt-get "${options[@]}" download "wasi-libc=$WASI_LIBC_VERSION")
    rm -rf "$apt"
}

unpack_wasi_libc() {
    echo "$WASI_LIBC_SHA256  $DEB" | sha256sum --check --quiet - || {
        rm -f "$DEB"
        fail "the wasi-libc package is not the expected one; it was removed, run this again"
    }
    dpkg-deb -x "$DEB" "$WORK/wasi-libc"
    local objects="$SYSROOT_LIB/$TARGET/lib/self-contained"
    mkdir -p "$objects"
    cp "$WORK/wasi-libc/usr/lib/$TARGET"/{libc.a,crt1-command.o,crt1-reactor.o} "$objects/"
    rm -rf "$WORK/wasi-libc"
}

# Compiles std for the target from Debian's sources, as the dependency of an empty crate.
build_std() {
    local stub="$WORK/stub" out="$WORK/target" lib="$SYSROOT_LIB/$TARGET/lib"
    mkdir -p "$stub/src"
    echo '#![no_std]' >"$stub/src/lib.rs"
    printf '%s\n' '[package]' 'name = "stub"' 'version = "0.0.0"' 'edition = "2021"' '[workspace]' \
        '[profile.release]' 'debug = 0' >"$stub/Cargo.toml"
    (cd "$stub" &&
        env -u RUSTUP_TOOLCHAIN -u CARGO_ENCODED_RUSTFLAGS -u RUSTC_WRAPPER -u RUSTC_WORKSPACE_WRAPPER -u LD_LIBRARY_PATH \
            RUSTC="$PREFIX/bin/rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$out" \
            RUSTFLAGS="-L native=$lib/self-contained -Cembed-bitcode=yes" \
            $CARGO build --quiet --release -Zbuild-std=std,panic_abort --target $TARGET)
    rm -f "$lib"/*.rlib
    cp "$out/$TARGET/release/deps/"*.rlib "$lib/"
    rm -f "$lib"/libstub-*.rlib
    rm -rf "$out" "$stub"
}

make_sysroot
fetch_wasi_libc
unpack_wasi_libc
build_std
