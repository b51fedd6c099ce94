//! The enclave as a process of its own in a hardware TEE: SGX under Gramine, or the only process of a TDX or SEV-SNP guest. There is
//! one program for each [duty](phala_enclave::Duty), and so an image.
//!
//! It looks which TEE it is in, and ends where there is none: there is no way to run it without. As the first process of a guest
//! it first mounts what the kernel shows the TEE in, see [`boot`]. Then it connects to its host, and again for ever when the host
//! hangs up. Its arguments are measured with it: they are in Gramine's manifest, or on the kernel's command line behind `--`.

mod boot;
mod host;
mod tee;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use phala_attestation::Kind;
use phala_enclave::{DutySource, Enclave, Tee};
use phala_enclave_process::{say_panics, serve};
use phala_tee::Attester;
use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use host::Host;
use tee::HardwareTee;

/// A Phala enclave in a hardware TEE. It ends where there is none.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the host listens: tcp:IP:PORT for SGX, as Gramine reaches no Unix socket of the machine; vsock:CID:PORT for guests,
    /// whose machine has the CID 2.
    #[arg(long, value_name = "ADDRESS")]
    host: Host,

    /// The TEE that it has to be, instead of whichever there is.
    #[arg(long)]
    tee: Option<Name>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Sgx,
    Tdx,
    SevSnp,
}

/// Runs the program `name`, whose enclave has this duty, until its host speaks another version.
///
/// # Errors
/// That, and what keeps it from starting.
pub fn run(name: &'static str, duties: impl DutySource) -> anyhow::Result<()> {
    let _ = NAME.set(name);
    say_panics(say);
    let arguments = Arguments::parse();
    if std::process::id() == 1 {
        boot::mount()?;
    }
    let attester = Attester::find(Path::new("/"), arguments.tee.map(Name::kind)).context("looking for the TEE")?;
    let tee = HardwareTee::new(attester).context("asking the TEE for the key to seal with")?;
    say(&format!("{:?}, measurement {}", tee.kind(), hex::encode(tee.measurement().0)));
    let host = arguments.host;
    let enclave = Enclave::new(Arc::new(tee), Arc::new(duties));
    bail!("{}", serve(&enclave, &host.to_string(), || host.connect(), say))
}

impl Name {
    fn kind(self) -> Kind {
        match self {
            Self::Sgx => Kind::Sgx,
            Self::Tdx => Kind::Tdx,
            Self::SevSnp => Kind::SevSnp,
        }
    }
}

/// The program's name.
static NAME: OnceLock<&str> = OnceLock::new();

fn say(line: &str) {
    phala_enclave_process::say(NAME.get().copied().unwrap_or("phala-enclave"), line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
        let parse = |arguments: &str| Arguments::try_parse_from(arguments.split(' '));
        assert!(parse("phala-enclave --host vsock:2:7000").is_ok());
        assert!(parse("phala-enclave --host vsock:2:7000 --tee sev-snp").is_ok());
        for wrong in ["phala-enclave", "phala-enclave --host vsock:2:7000 --tee simulated"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
