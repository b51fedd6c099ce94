//! Does nothing: the cost of a job itself.

fn main() {}
