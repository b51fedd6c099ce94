//! Writes as many bytes to standard output as its argument says.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let mut left: usize =
        std::env::args().nth(1).and_then(|bytes| bytes.parse().ok()).expect("the argument is in bytes");
    let block: Vec<u8> = (b'a'..=b'z').cycle().take(64 * 1024).collect();
    let mut stdout = io::stdout().lock();
    while left > 0 {
        let part = left.min(block.len());
        stdout.write_all(&block[..part])?;
        left -= part;
    }
    Ok(())
}
