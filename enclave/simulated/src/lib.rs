//! The enclave as a process of its own, on a simulated TEE: one program for each [duty](phala_enclave::Duty).
//!
//! It connects to its host's Unix socket, and again for ever when the host hangs up. Before, it separates itself from its
//! machine, see [`isolation`]. Nothing protects its memory from the machine's root: it proves nothing about isolation,
//! and chains accept it only where their genesis says so.

mod isolation;
mod tee;

use anyhow::{Context, bail};
use clap::Parser;
use phala_attestation::{Kind, VendorName};
use phala_enclave::{DutySource, Enclave, Tee};
use phala_enclave_process::{RETRY_AFTER, say_panics, serve};
use std::{
    io::{self, ErrorKind},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
};

use tee::SimulatedTee;

/// A Phala enclave on a SIMULATED TEE: for development only. Nothing protects what it computes from this machine's
/// owner.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The Unix socket at which the host listens. Started by root, the enclave takes the group of its folder, which must be
    /// able to enter the folder and to write to the socket.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// The simulated platform's secret seed: 32 bytes, created when the file does not exist. Each file is one platform.
    #[arg(long, value_name = "FILE")]
    platform: PathBuf,

    /// The name of the simulated vendor that made the platform: 1 to 16 of the characters a to z, 0 to 9 and `-`. The chain elects
    /// only so many gatekeepers of one vendor as its caps allow: of four, one.
    #[arg(long, value_name = "NAME", default_value_t, conflicts_with = "imitate")]
    vendor: VendorName,

    /// The kind of TEE to imitate: sgx, tdx, sev-snp, or simulated for none of them. Its evidence has everything that real one
    /// has, under the roots of simulated vendors, which a chain accepts only where its genesis names them.
    #[arg(long, value_name = "KIND", default_value = "simulated")]
    imitate: Kind,

    /// The number of the user that the enclave becomes when root starts it.
    #[arg(long, value_name = "UID", default_value_t = 65_534)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4_294_967_294))]
    user: u32,

    /// Do not start unless every measure of isolation is in force.
    #[arg(long)]
    require_isolation: bool,
}

/// Runs the program `name`, whose enclave has this duty, until its host speaks another version.
///
/// # Errors
/// That, and what keeps it from starting.
pub fn run(name: &'static str, duties: impl DutySource) -> anyhow::Result<()> {
    let _ = NAME.set(name);
    say_panics(say);
    let arguments = Arguments::parse();
    isolation::close_inherited_files()?;
    let tee = SimulatedTee::open(&arguments.platform, arguments.vendor, arguments.imitate)?;
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
    let enclave = Enclave::new(Arc::new(tee.isolated(isolation)), Arc::new(duties));
    let host = arguments.socket.display().to_string();
    bail!("{}", serve(&enclave, &host, || Ok(socket.connect()?.into()), say))
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
    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.name).or_else(|_| UnixStream::connect(self.folder.join(&self.name)))
    }
}

/// The program's name.
static NAME: OnceLock<&str> = OnceLock::new();

fn say(line: &str) {
    let name = NAME.get().copied().unwrap_or("phala-enclave");
    phala_enclave_process::say(&format!("{name} (SIMULATED)"), line);
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
