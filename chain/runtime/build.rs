//! Builds the WebAssembly runtime that nodes embed and the chain stores.

#[cfg(all(feature = "std", feature = "metadata-hash"))]
fn main() {
    substrate_wasm_builder::WasmBuilder::init_with_defaults().enable_metadata_hash("PHA", 12).build();
}

#[cfg(all(feature = "std", not(feature = "metadata-hash")))]
fn main() {
    substrate_wasm_builder::WasmBuilder::build_using_defaults();
}

/// The WebAssembly build itself.
#[cfg(not(feature = "std"))]
fn main() {}
