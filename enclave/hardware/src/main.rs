//! The enclave as a process of its own in a hardware TEE: SGX under Gramine, or the only process of a TDX or SEV-SNP guest.
//!
//! It looks which TEE it is in, and ends where there is none: there is no way to run it without. As the first process of a guest
//! it first mounts what the kernel shows the TEE in, see [`boot`]. Then it connects to its host, and again for ever when the host
//! hangs up. Its arguments are measured with it: they are in Gramine's manifest, or on the kernel's command line behind `--`.

mod boot;
mod tee;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use phala_attestation::Kind;
use phala_enclave::{Enclave, Tee};
use phala_enclave_process::{say_panics, serve};
use phala_tee::Attester;
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    fmt, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use tee::HardwareTee;

/// The Phala enclave in a hardware TEE. It ends where there is none.
#[derive(Parser)]
#[command(name = "phala-enclave-hardware", version)]
struct Arguments {
    /// The TEE that it has to be, instead of whichever there is.
    #[arg(long)]
    tee: Option<Name>,

    #[command(flatten)]
    host: Host,
}

/// Where the host listens.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Host {
    /// The Unix socket at which the host listens: for SGX.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// The vsock address at which the host listens: for guests. The machine itself is CID 2.
    #[arg(long, value_name = "CID:PORT")]
    vsock: Option<Vsock>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Sgx,
    Tdx,
    SevSnp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vsock {
    cid: u32,
    port: u32,
}

fn main() -> anyhow::Result<()> {
    say_panics(say);
    let arguments = Arguments::parse();
    if std::process::id() == 1 {
        boot::mount()?;
    }
    let attester = Attester::find(Path::new("/"), arguments.tee.map(Name::kind)).context("looking for the TEE")?;
    let tee = HardwareTee::new(attester).context("asking the TEE for the key to seal with")?;
    say(&format!("{:?}, measurement {}", tee.kind(), hex::encode(tee.measurement().0)));
    let host = arguments.host;
    bail!("{}", serve(&Enclave::new(Arc::new(tee)), &host.to_string(), || host.connect(), say))
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

impl Host {
    fn connect(&self) -> io::Result<Socket> {
        match (&self.socket, self.vsock) {
            (Some(path), _) => Ok(UnixStream::connect(path)?.into()),
            (None, Some(Vsock { cid, port })) => {
                let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
                socket.connect(&SockAddr::vsock(cid, port))?;
                Ok(socket)
            }
            (None, None) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.socket, self.vsock) {
            (Some(path), _) => path.display().fmt(f),
            (None, Some(Vsock { cid, port })) => write!(f, "vsock {cid}:{port}"),
            (None, None) => f.write_str("nowhere"),
        }
    }
}

impl FromStr for Vsock {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |number: &str| number.parse().map_err(|_| "CID and port are numbers below 2^32");
        let (cid, port) = text.split_once(':').ok_or("it has to be a CID, a colon and a port")?;
        Ok(Self { cid: parse(cid)?, port: parse(port)? })
    }
}

fn say(line: &str) {
    phala_enclave_process::say("phala-enclave", line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn there_is_one_host() {
        let parse = |arguments: &str| Arguments::try_parse_from(arguments.split(' '));
        let host = parse("phala-enclave --vsock 2:7000 --tee sev-snp").unwrap().host;
        assert_eq!(host.vsock, Some(Vsock { cid: 2, port: 7000 }));
        assert_eq!(host.to_string(), "vsock 2:7000");
        assert_eq!(parse("phala-enclave --socket /s").unwrap().host.to_string(), "/s");
        for wrong in
            ["", "--vsock 2:7000 --socket /s", "--vsock 2", "--vsock 2:", "--vsock 2:4294967296", "--tee simulated"]
        {
            assert!(parse(format!("phala-enclave {wrong}").trim()).is_err(), "{wrong}");
        }
    }
}
