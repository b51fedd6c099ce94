//! Panics, which traps.

fn main() {
    println!("before the trap");
    panic!("as asked");
}
