//! The enclave as a process of its own, on a simulated TEE.
//!
//! It connects to its host's Unix socket, and again for ever when the host hangs up. Before, it separates itself from its
//! machine, see [`isolation`]. Nothing protects its memory from the machine's root: it proves nothing about isolation,
//! and chains accept it only where their genesis says so.

mod isolation;
mod link;
mod memory;
mod tee;

use anyhow::{Context, bail};
use clap::Parser;
use futures_timer::Delay;
use phala_enclave::{Enclave, End, Tee};
use std::{
    io::ErrorKind,
    panic,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use tee::SimulatedTee;

/// Between attempts to reach the host: at first, and at most.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// The Phala enclave on a SIMULATED TEE: for development only. Nothing protects what it computes from this machine's
/// owner.
#[derive(Parser)]
#[command(name = "phala-enclave", version)]
struct Arguments {
    /// The Unix socket at which the host listens. Started by root, the enclave takes the group of its folder, which must be
    /// able to enter the folder and to write to the socket.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// The simulated platform's secret seed: 32 bytes, created when the file does not exist. Each file is one platform.
    #[arg(long, value_name = "FILE")]
    platform: PathBuf,

    /// The number of the user that the enclave becomes when root starts it.
    #[arg(long, value_name = "UID", default_value_t = 65_534)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4_294_967_294))]
    user: u32,

    /// Do not start unless every measure of isolation is in force.
    #[arg(long)]
    require_isolation: bool,
}

fn main() -> anyhow::Result<()> {
    panic::set_hook(Box::new(|panic| say(&about_panic(panic.location()))));
    let arguments = Arguments::parse();
    isolation::close_inherited_files()?;
    let tee = SimulatedTee::open(&arguments.platform)?;
    say(&format!(
        "SIMULATED TEE: nothing protects this enclave's memory from root. Platform {}, measurement {}",
        tee.platform(),
        hex::encode(tee.measurement().0)
    ));
    let socket = Socket::new(&arguments.socket)?;
    let (isolation, report) = isolation::enter(&socket.folder, arguments.user);
    say(&report.to_string());
    if arguments.require_isolation {
        report.ensure_complete()?;
    }
    let enclave = Enclave::new(Arc::new(tee.isolated(isolation)));
    let mut retry_after = RETRY_AFTER[0];
    let mut waiting = false;
    loop {
        match socket.connect() {
            Ok((sender, receiver)) => {
                waiting = false;
                retry_after = RETRY_AFTER[0];
                say(&format!("connected to the host at {}", arguments.socket.display()));
                match block_on(enclave.serve(sender, receiver)) {
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

/// Where the host listens.
struct Socket {
    folder: PathBuf,
    name: PathBuf,
}

impl Socket {
    /// Waits for its folder, and makes that the current one: the way from there leads through no other folder, which this process
    /// may not be allowed to enter later.
    fn new(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path).context("the host's socket has no path")?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{} is no path of a socket", path.display());
        };
        let mut waiting = false;
        loop {
            match std::env::set_current_dir(folder) {
                Ok(()) => return Ok(Self { folder: folder.to_owned(), name: name.into() }),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if !waiting {
                        say(&format!("waiting for the host to make {}", folder.display()));
                    }
                    waiting = true;
                    // Anything else that waits would start a thread.
                    thread::sleep(RETRY_AFTER[0]);
                }
                Err(error) => return Err(error).with_context(|| format!("entering {}", folder.display())),
            }
        }
    }

    /// Connects to it, also where the folder was removed and made again.
    fn connect(&self) -> std::io::Result<(link::Sender, link::Receiver)> {
        link::connect(&self.name).or_else(|_| link::connect(&self.folder.join(&self.name)))
    }
}

/// What is said of a panic: where, and never what, for a user's data may be in it.
fn about_panic(location: Option<&panic::Location<'_>>) -> String {
    match location {
        Some(location) => format!("a panic at {}:{}", location.file(), location.line()),
        None => "a panic".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_tells_its_place_only() {
        let here = panic::Location::caller();
        let said = about_panic(Some(here));
        assert_eq!(said, format!("a panic at {}:{}", file!(), here.line()));
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
        let user =
            |user| Arguments::try_parse_from(["phala-enclave", "--socket", "s", "--platform", "p", "--user", user]);
        assert_eq!(user("1000").map(|arguments| arguments.user).ok(), Some(1000));
        assert!(user("0").is_err());
        assert!(user("4294967295").is_err());
    }
}
