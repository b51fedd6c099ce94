//! Writes the runtime's SCALE-encoded metadata to the file named as argument: `cargo run -p phala-runtime --example
//! metadata -- sdk/metadata.scale`.

fn main() -> std::io::Result<()> {
    let Some(path) = std::env::args_os().nth(1) else {
        return Err(std::io::Error::other("name the file to write"));
    };
    let metadata = phala_runtime::metadata(16).ok_or_else(|| std::io::Error::other("no metadata in version 16"))?;
    std::fs::write(path, metadata)
}
