//! Prints its environment: a job has none.

fn main() {
    for (name, value) in std::env::vars() {
        println!("{name}={value}");
    }
}
