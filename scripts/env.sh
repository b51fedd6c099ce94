# Build environment shared by every script here. Source it; it sets variables and changes nothing on disk.
#
# Build products live outside the clone, so that a second clone builds warm.
PHALA_CACHE="${PHALA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/phala}"
export PHALA_CACHE
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PHALA_CACHE/target}"
# The system's OpenSSL instead of building one.
export OPENSSL_NO_VENDOR=1
export CARGO_INCREMENTAL=0

PHALA_WASM_TOOLCHAIN="$PHALA_CACHE/wasm-toolchain"
PHALA_WASM_TOOLCHAIN_NAME=phala-wasm

# True where rustup itself provides a WebAssembly target ($1).
rustup_has_target() {
    rustup target list --installed 2>/dev/null | grep -qx "$1"
}

if ! rustup_has_target wasm32v1-none && [ -x "$PHALA_WASM_TOOLCHAIN/bin/rustc" ]; then
    export WASM_BUILD_TOOLCHAIN="$PHALA_WASM_TOOLCHAIN_NAME"
    export CARGO_TARGET_WASM32V1_NONE_LINKER=wasm-ld-19
fi
