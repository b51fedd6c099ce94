//! Never ends: meets the limit on fuel or on wall time.

use std::hint::black_box;

fn main() {
    let mut count = 0u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}
