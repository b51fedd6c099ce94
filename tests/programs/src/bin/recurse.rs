//! Overflows its stack, which traps.

use std::hint::black_box;

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX { frame[0] } else { recurse(depth + 1) + frame[63] }
}

fn main() {
    println!("{}", recurse(black_box(0)));
}
