//! Takes as many MiB of memory as its argument says, and touches all of it; without one, more and more until it is
//! stopped.

const MIB: usize = 1024 * 1024;

fn main() {
    let limit = std::env::args().nth(1).map_or(usize::MAX, |mib| mib.parse().expect("the argument is in MiB"));
    let mut blocks = Vec::new();
    while blocks.len() < limit {
        blocks.push(vec![blocks.len() as u8 | 1; MIB]);
    }
    let sum: usize =
        blocks.iter().map(|block| block.iter().step_by(4096).map(|byte| usize::from(*byte)).sum::<usize>()).sum();
    println!("{} MiB, {sum}", blocks.len());
}
