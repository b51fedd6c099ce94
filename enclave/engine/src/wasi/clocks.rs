//! `wasi:clocks`: a wall clock that stands still, and a monotonic clock that only the program moves.

use wasmtime::{Result, component::Resource};

use super::{
    Guest,
    bindings::wasi::clocks::{monotonic_clock, wall_clock},
    io::Pollable,
};

/// By how much the monotonic clock goes on whenever it is read, in nanoseconds: a program that waits in a loop for time to
/// pass comes to an end.
const TICK: u64 = 1_000;

/// A job's time.
pub(super) struct Clock {
    now_ms: u64,
    /// Nanoseconds since the program began.
    monotonic: u64,
}

impl Clock {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { now_ms, monotonic: 0 }
    }

    /// Nanoseconds since the program began.
    pub(super) fn monotonic(&self) -> u64 {
        self.monotonic
    }

    /// Jumps ahead to `instant`, or stays: a program that sleeps wakes at once.
    pub(super) fn sleep_until(&mut self, instant: u64) {
        self.monotonic = self.monotonic.max(instant);
    }

    pub(super) fn wall(&self) -> wall_clock::Datetime {
        wall_clock::Datetime { seconds: self.now_ms / 1000, nanoseconds: (self.now_ms % 1000) as u32 * 1_000_000 }
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> Result<u64> {
        self.charge(0);
        let now = self.clock.monotonic;
        self.clock.monotonic = now.saturating_add(TICK);
        Ok(now)
    }

    fn resolution(&mut self) -> Result<u64> {
        self.charge(0);
        Ok(TICK)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<Pollable>> {
        self.charge(0);
        Ok(self.table.push(Pollable::At(when))?)
    }

    fn subscribe_duration(&mut self, when: u64) -> Result<Resource<Pollable>> {
        self.charge(0);
        Ok(self.table.push(Pollable::At(self.clock.monotonic.saturating_add(when)))?)
    }
}

impl wall_clock::Host for Guest {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        self.charge(0);
        Ok(self.clock.wall())
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        self.charge(0);
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}
