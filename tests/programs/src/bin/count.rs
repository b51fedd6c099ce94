//! Counts and hashes standard input as it streams by, in constant memory.

use std::io::{self, Read};

fn main() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut block = vec![0; 256 * 1024];
    let (mut count, mut hash) = (0u64, 0xcbf2_9ce4_8422_2325u64);
    loop {
        let length = stdin.read(&mut block)?;
        if length == 0 {
            break;
        }
        count += length as u64;
        // FNV-1a.
        for byte in &block[..length] {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    println!("{count} bytes, fnv1a {hash:016x}");
    Ok(())
}
