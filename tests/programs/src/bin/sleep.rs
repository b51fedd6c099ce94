//! Sleeps for as many milliseconds as its argument says, then prints how long it slept by its own clock.

use std::{
    thread,
    time::{Duration, Instant},
};

fn main() {
    let duration = std::env::args().nth(1).map_or(1000, |ms| ms.parse().expect("the argument is in milliseconds"));
    let start = Instant::now();
    thread::sleep(Duration::from_millis(duration));
    println!("slept {} ms", start.elapsed().as_millis());
}
