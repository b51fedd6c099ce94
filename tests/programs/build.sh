#!/usr/bin/env bash
# Builds the guest programs into $CARGO_TARGET_DIR/programs and prints that folder.
set -euo pipefail
cd "$(dirname "$0")"
source ../../scripts/env.sh
../../examples/wasi-cargo build --release --locked --quiet >&2
mkdir -p "$CARGO_TARGET_DIR/programs"
for source in src/bin/*.rs; do
    name="$(basename "$source" .rs)"
    cp "$CARGO_TARGET_DIR/wasm32-wasip1/release/$name.wasm" "$CARGO_TARGET_DIR/programs/"
done
echo "$CARGO_TARGET_DIR/programs"
