//! Prints the input files that its arguments name, one after the other.

use std::{
    fs::File,
    io::{self, Error},
};

fn main() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for name in std::env::args().skip(1) {
        let mut file =
            File::open(format!("/input/{name}")).map_err(|error| Error::other(format!("{name}: {error}")))?;
        io::copy(&mut file, &mut stdout)?;
    }
    Ok(())
}
