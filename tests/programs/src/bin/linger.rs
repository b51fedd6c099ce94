//! Prints its standard input, the file `secret.txt` and its second argument; before that it computes for a while, with all
//! three in memory. Its first argument scales the while.

use std::{fs, io::Read};

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    let file = fs::read_to_string("/input/secret.txt")?;
    let rounds: u64 = arguments.get(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(100);
    let mut state = 1u64;
    for round in 0..rounds * 10_000_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
    }
    println!("{input}\n{file}\n{}\n{state}", arguments.get(2).map_or("", String::as_str));
    Ok(())
}
