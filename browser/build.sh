#!/usr/bin/env bash
# Builds the package for browsers into $CARGO_TARGET_DIR/browser, prints that folder, and to standard error what has to be
# downloaded.
set -euo pipefail
cd "$(dirname "$0")"
source ../scripts/env.sh
# The wrapper keeps a dependency from being linked as a module of its own.
RUSTC_WRAPPER="$PWD/../tools/rustc-rlib-only" cargo ${WASM_BUILD_TOOLCHAIN:+"+$WASM_BUILD_TOOLCHAIN"} rustc --quiet \
    --package phala-attestation-browser --crate-type cdylib --target wasm32v1-none --profile small --locked >&2
package="$CARGO_TARGET_DIR/browser"
mkdir -p "$package"
cp "$CARGO_TARGET_DIR/wasm32v1-none/small/phala_attestation_browser.wasm" "$package/attestation.wasm"
cp index.js index.d.ts package.json README.md ../LICENSE "$package/"
printf '%s bytes of WebAssembly, %s compressed\n' \
    "$(wc -c <"$package/attestation.wasm")" "$(gzip -9c "$package/attestation.wasm" | wc -c)" >&2
echo "$package"
