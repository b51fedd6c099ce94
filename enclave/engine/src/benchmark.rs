//! How fast this machine burns fuel.

use std::time::Duration;

use phala_primitives::Limits;

use crate::{Engine, Job};

/// `reference.wat`, assembled: integer, floating-point, memory and call instructions in an endless loop.
const REFERENCE: &[u8] = include_bytes!("reference.wasm");

/// Fuel of one measurement: some tenths of a second.
const FUEL: u64 = 300_000_000;

/// Runs the reference program on one thread and returns the fuel that it burns in a second: the best of three, so that a
/// neighbour's short burst of work does not count.
///
/// `now` is any clock that does not go back; the work is bounded by fuel, however slowly it goes. Returns 0 where the program cannot be run, as when all places are taken.
pub fn benchmark(engine: &Engine, now: &dyn Fn() -> Duration) -> u64 {
    let Ok(program) = engine.prepare(REFERENCE) else { return 0 };
    let measure = || {
        let limits = Limits { fuel: FUEL, ..Limits::DEFAULT };
        let start = now();
        let execution = engine.run(&program, Job { limits, ..Job::default() }).ok()?;
        let nanoseconds = now().saturating_sub(start).as_nanos().max(1);
        u64::try_from(u128::from(execution.fuel) * 1_000_000_000 / nanoseconds).ok()
    };
    (0..3).filter_map(|_| measure()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn the_reference_program_is_its_source() {
        assert_eq!(wat::parse_str(include_str!("reference.wat")).unwrap(), REFERENCE);
    }

    #[test]
    fn performance_is_measured() {
        let engine = Engine::new(Config { capacity: 1, ..Config::default() }).unwrap();
        let start = std::time::Instant::now();
        let fuel_per_second = benchmark(&engine, &|| start.elapsed());
        assert!(fuel_per_second > 1_000_000, "{fuel_per_second}");
    }

    #[test]
    fn a_clock_that_hardly_moves_does_no_harm() {
        let engine = Engine::new(Config { capacity: 1, ..Config::default() }).unwrap();
        let looks = std::cell::Cell::new(0);
        let clock = || {
            looks.set(looks.get() + 1);
            Duration::from_nanos(looks.get())
        };
        assert_eq!(benchmark(&engine, &clock), FUEL * 1_000_000_000);
        assert_eq!(benchmark(&engine, &|| Duration::ZERO), FUEL * 1_000_000_000);
    }
}
