//! Prints to both streams, then exits with the code of its argument; 3 without one.

fn main() {
    let code = std::env::args().nth(1).map_or(3, |code| code.parse().expect("the argument is an exit code"));
    println!("to standard output");
    eprintln!("to standard error");
    std::process::exit(code);
}
