//! The simulated TEE.

use anyhow::{Context, bail};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use futures::future::BoxFuture;
use futures_timer::Delay;
use hkdf::Hkdf;
use phala_attestation::{
    Evidence, Measurement,
    simulated::{Platform, Report, development_root},
};
use phala_enclave::{EvidenceError, Tee, UnsealError};
use phala_primitives::worker::Isolation;
use sha2::Sha256;
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant, UNIX_EPOCH},
};
use zeroize::Zeroizing;

use crate::memory;

const NONCE_BYTES: usize = 24;

/// A platform whose secret lies in a file, certified by the development root.
pub struct SimulatedTee {
    platform: Platform,
    measurement: Measurement,
    seal_key: Zeroizing<[u8; 32]>,
    start: Instant,
    memory_bytes: u64,
    isolation: Isolation,
}

impl SimulatedTee {
    /// The platform whose seed is in `file`, which is created where there is none. Reads all that it needs of the machine.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        Self::new(&*seed(file)?, Measurement(crate::measure()?))
    }

    fn new(seed: &[u8; 32], measurement: Measurement) -> anyhow::Result<Self> {
        let mut seal_key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(b"phala/simulated/seal/v1"), seed)
            .expand(&measurement.0, &mut seal_key[..])
            .map_err(|_| anyhow::anyhow!("deriving the sealing key"))?;
        let platform = development_root().certify(*seed, 1, 0, u64::MAX);
        let (memory_bytes, isolation) = (memory::available(), Isolation::default());
        Ok(Self { platform, measurement, seal_key, start: Instant::now(), memory_bytes, isolation })
    }

    /// The same, in a process that is isolated.
    pub fn isolated(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// The platform's identity.
    pub fn platform(&self) -> String {
        hex::encode(self.platform.id().0)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.seal_key).into())
    }
}

impl Tee for SimulatedTee {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix_time(&self) -> Duration {
        UNIX_EPOCH.elapsed().unwrap_or_default()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Delay::new(duration))
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system has randomness");
    }

    fn measurement(&self) -> Measurement {
        self.measurement
    }

    fn isolation(&self) -> Option<Isolation> {
        Some(self.isolation)
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn seal(&self, name: &str, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        self.fill_random(&mut nonce);
        let payload = Payload { msg: secret, aad: name.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).expect("what is sealed fits into memory");
        [&nonce[..], &sealed].concat()
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(UnsealError)?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| UnsealError)
    }

    fn evidence(&self, report_data: [u8; 64]) -> Result<Evidence, EvidenceError> {
        let report = Report { measurement: self.measurement, debug: false, report_data };
        Ok(Evidence::Simulated(self.platform.quote(report)))
    }
}

/// Reads the seed, or makes one that only this user may read.
fn seed(file: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let name = file.display();
    match fs::read(file) {
        Ok(bytes) => {
            let bytes = Zeroizing::new(bytes);
            let Ok(seed) = <[u8; 32]>::try_from(&bytes[..]) else {
                bail!("the platform file {name} has {} bytes instead of 32; remove it for a new platform", bytes.len());
            };
            Ok(Zeroizing::new(seed))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut seed = Zeroizing::new([0; 32]);
            getrandom::fill(&mut seed[..]).context("the operating system gave no randomness")?;
            let mut created = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(file)
                .with_context(|| format!("creating the platform file {name}"))?;
            created.write_all(&seed[..]).with_context(|| format!("writing the platform file {name}"))?;
            created.sync_all().with_context(|| format!("writing the platform file {name}"))?;
            Ok(seed)
        }
        Err(error) => Err(error).with_context(|| format!("reading the platform file {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_seed_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("platform");
        let first = seed(&file).unwrap();
        assert_eq!(seed(&file).unwrap(), first);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, b"short").unwrap();
        assert!(seed(&file).unwrap_err().to_string().contains("5 bytes instead of 32"));
    }

    #[test]
    fn sealing_is_bound_to_platform_measurement_and_name() {
        let tee = |seed, measurement| SimulatedTee::new(&[seed; 32], Measurement([measurement; 32])).unwrap();
        let sealed = tee(1, 1).seal("keys", b"secret");
        assert_eq!(&tee(1, 1).unseal("keys", &sealed).unwrap()[..], b"secret");
        assert!(tee(2, 1).unseal("keys", &sealed).is_err());
        assert!(tee(1, 2).unseal("keys", &sealed).is_err());
        assert!(tee(1, 1).unseal("chain", &sealed).is_err());
        assert!(tee(1, 1).unseal("keys", &sealed[..20]).is_err());
    }

    #[test]
    fn isolation_is_what_the_process_found_and_nothing_before() {
        let tee = SimulatedTee::new(&[1; 32], Measurement([2; 32])).unwrap();
        assert_eq!(tee.isolation(), Some(Isolation::default()));
        let isolation = Isolation { seccomp: true, ..Isolation::default() };
        assert_eq!(tee.isolated(isolation).isolation(), Some(isolation));
    }

    #[test]
    fn evidence_verifies_under_the_development_root() {
        let tee = SimulatedTee::new(&[1; 32], Measurement([2; 32])).unwrap();
        let evidence = tee.evidence([3; 64]).unwrap();
        let policy =
            phala_attestation::Policy { simulated_root: Some(development_root().public()), ..Default::default() };
        assert!(phala_attestation::verify(&evidence, &Default::default(), &policy, 1_800_000_000).is_ok());
    }
}
