//! Lists the input files with their lengths, and reads the last byte of each through a seek.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
};

fn main() -> io::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir("/input")?.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    for name in names {
        let name = name.to_string_lossy();
        let path = format!("/input/{name}");
        let mut file = File::open(&path)?;
        let mut last = Vec::new();
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_to_end(&mut last)?;
        }
        println!("{name} {} {last:?}", fs::metadata(&path)?.len());
    }
    Ok(())
}
