//! The enclave as a process of its own, on a simulated TEE.
//!
//! It connects to its host's Unix socket, and again for ever when the host hangs up. Nothing protects its memory: it
//! proves nothing about isolation, and chains accept it only where their genesis says so.

mod link;
mod tee;

use anyhow::{Context, bail};
use clap::Parser;
use futures_timer::Delay;
use phala_enclave::{Enclave, End, Tee};
use std::{path::PathBuf, sync::Arc, time::Duration};

use tee::SimulatedTee;

/// Between attempts to reach the host: at first, and at most.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// The Phala enclave on a SIMULATED TEE: for development only. Nothing protects what it computes from this machine's
/// owner.
#[derive(Parser)]
#[command(name = "phala-enclave", version)]
struct Arguments {
    /// The Unix socket at which the host listens.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// The simulated platform's secret seed: 32 bytes, created when the file does not exist. Each file is one platform.
    #[arg(long, value_name = "FILE")]
    platform: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let tee = SimulatedTee::open(&arguments.platform)?;
    say(&format!(
        "SIMULATED TEE: nothing protects this enclave's memory. Platform {}, measurement {}",
        tee.platform(),
        hex::encode(tee.measurement().0)
    ));
    let enclave = Enclave::new(Arc::new(tee));
    let mut retry_after = RETRY_AFTER[0];
    let mut waiting = false;
    loop {
        match link::connect(&arguments.socket) {
            Ok((sender, receiver)) => {
                waiting = false;
                retry_after = RETRY_AFTER[0];
                say(&format!("connected to the host at {}", arguments.socket.display()));
                match block_on(enclave.serve(sender, receiver)) {
                    End::Stopped => {
                        say("stopped by the host");
                        return Ok(());
                    }
                    End::Version => bail!("{}", End::Version),
                    end => say(&format!("{end}; connecting again")),
                }
            }
            Err(error) if !waiting => {
                waiting = true;
                say(&format!("waiting for the host at {}: {error}", arguments.socket.display()));
            }
            Err(_) => {}
        }
        block_on(Delay::new(retry_after));
        retry_after = (retry_after * 2).min(RETRY_AFTER[1]);
    }
}

/// Writes a line to standard error. That nobody reads it must not end the enclave.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "phala-enclave (SIMULATED): {line}");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}

/// The measurement of this program: the SHA-256 of its executable.
fn measure() -> anyhow::Result<[u8; 32]> {
    use sha2::Digest as _;
    let executable = std::fs::read("/proc/self/exe").context("reading this program's own executable from /proc")?;
    Ok(sha2::Sha256::digest(&executable).into())
}
