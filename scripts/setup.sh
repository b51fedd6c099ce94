#!/usr/bin/env bash
# Installs what building Phala needs: Debian packages and, where rustup has no WebAssembly targets, a sysroot
# for them built from Debian's Rust sources. Safe to repeat; a second run does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

packages=(build-essential pkg-config libssl-dev clang libclang-dev protobuf-compiler curl python3-pip age jq tcpdump faketime)
# The JavaScript client of the tests; any Node.js from version 18 on does.
command -v npm >/dev/null || packages+=(nodejs npm)
need_sysroot=no
if ! rustup_has_target wasm32v1-none || ! rustup_has_target wasm32-wasip1; then
    # rustup can usually fetch both; an offline or mirrored rustup cannot, and then Debian's sources do.
    if ! rustup target add wasm32v1-none wasm32-wasip1 >/dev/null 2>&1; then
        need_sysroot=yes
        packages+=(rustc-web cargo-web rust-web-src lld-19 wasi-libc)
    fi
fi

missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    say "installing Debian packages: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

[ "$need_sysroot" = yes ] || exit 0

# Debian's Rust may install no plain `rustc` beside the `-web` one: take whichever is there.
debian_rustc=/usr/bin/rustc
debian_cargo=/usr/bin/cargo
stamp="$("$debian_rustc" --version) v2"
toolchain="$PHALA_WASM_TOOLCHAIN"
if [ "$(cat "$toolchain/stamp" 2>/dev/null || true)" != "$stamp" ]; then
    say "building the WebAssembly sysroot from Debian's Rust sources (about 90 seconds)"
    rm -rf "$toolchain" "$CARGO_TARGET_DIR"/*/wbuild/*/target
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/empty/src"
    cat >"$work/empty/Cargo.toml" <<'TOML'
[package]
name = "empty"
version = "0.0.0"
edition = "2021"

[workspace]
TOML
    build_std() { # crates target rustflags
        (cd "$work/empty" && env -u RUSTUP_TOOLCHAIN -u RUSTC_WRAPPER CARGO_TARGET_DIR="$work/target" \
            RUSTC="$debian_rustc" RUSTC_BOOTSTRAP=1 RUSTFLAGS="$3" \
            "$debian_cargo" build --quiet --release -Zbuild-std="$1" --target "$2")
    }
    echo '#![no_std]' >"$work/empty/src/lib.rs"
    # Bitcode, because the runtime is linked with thin LTO.
    build_std core,alloc wasm32v1-none "-Cembed-bitcode=yes"
    echo >"$work/empty/src/lib.rs"
    build_std std,panic_abort wasm32-wasip1 "-Cembed-bitcode=yes"

    host_lib=lib/rustlib/x86_64-unknown-linux-gnu
    debian_sysroot="$("$debian_rustc" --print sysroot)"
    mkdir -p "$toolchain/bin" "$toolchain/lib/rustlib"
    ln -s "$debian_sysroot/$host_lib" "$toolchain/$host_lib"
    ln -s "$debian_sysroot/lib/rustlib/src" "$toolchain/lib/rustlib/src"
    for target in wasm32v1-none wasm32-wasip1; do
        mkdir -p "$toolchain/lib/rustlib/$target/lib"
        find "$work/target/$target/release/deps" -name '*.rlib' ! -name 'libempty*' \
            -exec cp {} "$toolchain/lib/rustlib/$target/lib/" \;
    done
    printf '#!/bin/sh\nexec %s --sysroot %s "$@"\n' "$debian_rustc" "$toolchain" >"$toolchain/bin/rustc"
    printf '#!/bin/sh\nRUSTC=%s/bin/rustc exec %s "$@"\n' "$toolchain" "$debian_cargo" >"$toolchain/bin/cargo"
    chmod +x "$toolchain/bin/rustc" "$toolchain/bin/cargo"
    echo "$stamp" >"$toolchain/stamp"
fi
if ! rustup toolchain list | grep -q "^$PHALA_WASM_TOOLCHAIN_NAME"; then
    rustup toolchain link "$PHALA_WASM_TOOLCHAIN_NAME" "$toolchain"
fi
