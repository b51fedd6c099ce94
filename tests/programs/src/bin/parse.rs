//! A data-heavy kernel: reads the file of its argument from the input folder, or standard input without one, as CSV,
//! and prints rows, cells, and the sum of all cells that are integers.

use std::{
    fs::File,
    io::{self, Read},
};

#[derive(Default)]
struct Totals {
    rows: u64,
    cells: u64,
    integers: u64,
    sum: i64,
}

fn main() -> io::Result<()> {
    let mut source: Box<dyn Read> = match std::env::args().nth(1) {
        Some(name) => Box::new(File::open(format!("/input/{name}"))?),
        None => Box::new(io::stdin().lock()),
    };
    let mut block = vec![0; 256 * 1024];
    let mut totals = Totals::default();
    // The cell so far: its value, its sign, its digits, and whether it can still be an integer.
    let (mut value, mut negative, mut digits, mut integer) = (0i64, false, 0u32, true);
    loop {
        let length = source.read(&mut block)?;
        if length == 0 {
            break;
        }
        for &byte in &block[..length] {
            match byte {
                b',' | b'\n' => {
                    totals.cells += 1;
                    totals.rows += u64::from(byte == b'\n');
                    if integer && digits > 0 {
                        totals.integers += 1;
                        totals.sum = totals.sum.wrapping_add(if negative { -value } else { value });
                    }
                    (value, negative, digits, integer) = (0, false, 0, true);
                }
                b'-' if digits == 0 && !negative => negative = true,
                b'0'..=b'9' => {
                    value = value.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
                    digits += 1;
                }
                _ => integer = false,
            }
        }
    }
    println!("{} rows, {} cells, {} integers, sum {}", totals.rows, totals.cells, totals.integers, totals.sum);
    Ok(())
}
