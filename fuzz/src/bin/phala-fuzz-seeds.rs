//! Writes each target's seeds and dictionary to disk, for fuzzers that want files: `FOLDER/TARGET/N` and
//! `FOLDER/TARGET.dict`.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1) else {
        return Err(io::Error::other("usage: phala-fuzz-seeds FOLDER"));
    };
    let folder = Path::new(&folder);
    for target in phala_fuzz::targets() {
        let seeds = folder.join(target.name);
        fs::create_dir_all(&seeds)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(seeds.join(number.to_string()), seed)?;
        }
        let dictionary: String = target.tokens.iter().map(|token| entry(token)).collect();
        fs::write(folder.join(target.name).with_extension("dict"), dictionary)?;
    }
    Ok(())
}

/// A line of a dictionary of libFuzzer.
fn entry(token: &[u8]) -> String {
    let escaped: String = token.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{escaped}\"\n")
}
