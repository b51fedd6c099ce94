//! Writes an output file for each argument `NAME=CONTENT`; then one in pieces, out of order, which it renames.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
};

fn main() -> io::Result<()> {
    for argument in std::env::args().skip(1) {
        let (name, content) = argument.split_once('=').ok_or_else(|| io::Error::other("arguments are NAME=CONTENT"))?;
        fs::write(format!("/output/{name}"), content)?;
    }
    let mut file = File::create("/output/draft")?;
    file.write_all(b"....., world\n")?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(b"hello")?;
    drop(file);
    fs::rename("/output/draft", "/output/hello.txt")?;
    println!("written");
    Ok(())
}
