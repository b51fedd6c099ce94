#!/usr/bin/env bash
# Builds the example for WASI and prints the path of the program.
set -euo pipefail
cd "$(dirname "$0")"
source ../../scripts/env.sh
../wasi-cargo build --release --locked --quiet >&2
mkdir -p "$CARGO_TARGET_DIR/programs"
cp "$CARGO_TARGET_DIR/wasm32-wasip1/release/flights.wasm" "$CARGO_TARGET_DIR/programs/flights.wasm"
echo "$CARGO_TARGET_DIR/programs/flights.wasm"
