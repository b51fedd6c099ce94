//! Prints what a deterministic job must see alike on every worker: the time, the passing of time, and random numbers.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

fn main() {
    let start = Instant::now();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    println!("time {}.{:09}", now.as_secs(), now.subsec_nanos());
    for _ in 0..4 {
        // The standard library takes these keys from WASI's random_get.
        println!("random {:016x}", RandomState::new().hash_one("phala"));
    }
    println!("elapsed {} ns", start.elapsed().as_nanos());
}
