//! What happened in a world, and when by its own clock. Holds no ciphertext, so that it does not depend on what encryption
//! makes of the same bytes.

use sha2::{Digest, Sha256};
use std::{
    fmt::Display,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The lines of a world.
pub struct Trace {
    start: Instant,
    echo: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    hasher: Sha256,
}

impl Trace {
    /// Begins now. With `echo` each line goes to standard error, too.
    pub fn new(echo: bool) -> Self {
        Self { start: Instant::now(), echo, state: Mutex::default() }
    }

    /// Adds a line.
    pub fn add(&self, line: impl Display) {
        let line = format!("{:9.3} {line}", self.elapsed().as_secs_f64());
        if self.echo {
            eprintln!("{line}");
        }
        let mut state = self.state();
        state.hasher.update(line.as_bytes());
        state.hasher.update(b"\n");
        state.lines.push(line);
    }

    /// How long the world exists, by its clock.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// SHA-256 of all lines, hexadecimal.
    pub fn hash(&self) -> String {
        hex::encode(self.state().hasher.clone().finalize())
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        self.state().lines.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
