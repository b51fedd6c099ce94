//! What every enclave process does, whatever TEE it runs in: it connects to its host, again for ever when the host hangs up,
//! serves it, and says on standard error what happens. The rest is the process's own: how it finds its TEE, and how it is
//! separated from its machine.

pub mod link;
pub mod memory;

use futures::future::BoxFuture;
use futures_timer::Delay;
use phala_enclave::{Enclave, End};
use socket2::Socket;
use std::{
    io, panic,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

/// Between attempts to reach the host: at first, and at most.
pub const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// Serves the host, which is `host` to people and to which `connect` connects, until one speaks another version. The bytes of a
/// connection are the host's: whoever answers there is no more trusted than anybody else.
pub fn serve(enclave: &Arc<Enclave>, host: &str, connect: impl Fn() -> io::Result<Socket>, say: impl Fn(&str)) -> End {
    let mut retry_after = RETRY_AFTER[0];
    let mut waiting = false;
    loop {
        match connect().and_then(link::start) {
            Ok((sender, receiver)) => {
                waiting = false;
                retry_after = RETRY_AFTER[0];
                say(&format!("connected to the host at {host}"));
                match block_on(enclave.serve(sender, receiver)) {
                    End::Version => return End::Version,
                    end => say(&format!("{end}; connecting again")),
                }
            }
            Err(error) if !waiting => {
                waiting = true;
                say(&format!("waiting for the host at {host}: {error}"));
            }
            Err(_) => {}
        }
        block_on(Delay::new(retry_after));
        retry_after = (retry_after * 2).min(RETRY_AFTER[1]);
    }
}

/// Time and randomness, as a [`Tee`](phala_enclave::Tee) gives them.
pub struct System {
    start: Instant,
}

impl System {
    /// Whose time begins now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since it was made.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Time since the Unix epoch.
    pub fn unix_time(&self) -> Duration {
        UNIX_EPOCH.elapsed().unwrap_or_default()
    }

    /// Ends after `duration`.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Delay::new(duration))
    }

    /// Fills `bytes` with the system's randomness.
    ///
    /// # Panics
    /// When there is none.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system has randomness");
    }
}

/// Says of each panic from now on where it was, and never what, for a user's data may be in it.
pub fn say_panics(say: fn(&str)) {
    panic::set_hook(Box::new(move |panic| say(&about_panic(panic.location()))));
}

/// Writes a line of `name` to standard error. That nobody reads it must not end the enclave.
pub fn say(name: &str, line: &str) {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "{name}: {line}");
}

fn about_panic(location: Option<&panic::Location<'_>>) -> String {
    match location {
        Some(location) => format!("a panic at {}:{}", location.file(), location.line()),
        None => "a panic".to_owned(),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_tells_its_place_only() {
        let here = panic::Location::caller();
        let said = about_panic(Some(here));
        assert_eq!(said, format!("a panic at {}:{}", file!(), here.line()));
    }
}
