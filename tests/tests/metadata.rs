//! What the SDK was generated from is what the runtime has.

use std::path::Path;

#[test]
fn the_committed_metadata_is_the_runtimes() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/metadata.scale");
    let committed = std::fs::read(committed).expect("the metadata is committed");
    assert!(
        Some(committed) == phala_runtime::metadata(16),
        "sdk/metadata.scale is out of date: run `cargo run -p phala-runtime --example metadata -- sdk/metadata.scale`"
    );
}
