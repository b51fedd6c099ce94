//! The simulated TEE.

use anyhow::{Context, bail};
use futures::future::BoxFuture;
use phala_attestation::{
    Evidence, Kind, Measurement, VendorName,
    mint::Mint,
    simulated::{Platform, Report, development_root},
};
use phala_enclave::{EvidenceError, Sealing, SealingKey, Tee};
use phala_enclave_process::{System, memory};
use phala_primitives::worker::Isolation;
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};
use zeroize::Zeroizing;

/// A platform whose secret lies in a file, certified by the development root or by simulated vendors.
pub struct SimulatedTee {
    platform: Platform,
    /// Whose evidence it imitates.
    kind: Kind,
    /// SHA-256 of the executable.
    executable: [u8; 32],
    measurement: Measurement,
    /// None where it imitates a platform that cannot seal.
    sealing_key: Option<SealingKey>,
    system: System,
    memory_bytes: u64,
    isolation: Isolation,
}

impl SimulatedTee {
    /// The platform of `vendor` whose seed is in `file`, which is created where there is none. Reads all that it needs of the machine.
    pub fn open(file: &Path, vendor: VendorName, kind: Kind) -> anyhow::Result<Self> {
        Ok(Self::new(&*seed(file)?, vendor, kind, crate::measure()?))
    }

    fn new(seed: &[u8; 32], vendor: VendorName, kind: Kind, executable: [u8; 32]) -> Self {
        let measurement = Mint { measurement: executable, ..Mint::default() }.image(kind);
        let sealing_key =
            (kind != Kind::Tdx).then(|| SealingKey::derive(b"phala/simulated/seal/v1", seed, &measurement));
        let platform = development_root().certify(*seed, vendor, 1, 0, u64::MAX);
        let (memory_bytes, isolation) = (memory::available(), Isolation::default());
        let system = System::start();
        Self { platform, kind, executable, measurement, sealing_key, system, memory_bytes, isolation }
    }

    /// The same, in a process that is isolated.
    pub fn isolated(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// The platform's identity.
    pub fn platform(&self) -> String {
        hex::encode(self.platform.id().0)
    }
}

impl Tee for SimulatedTee {
    fn now(&self) -> Duration {
        self.system.now()
    }

    fn unix_time(&self) -> Duration {
        self.system.unix_time()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.system.sleep(duration)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.system.fill_random(bytes);
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

    fn sealing(&self) -> Option<&dyn Sealing> {
        self.sealing_key.as_ref().map(|key| key as &dyn Sealing)
    }

    fn evidence(&self, report_data: [u8; 64]) -> Result<Evidence, EvidenceError> {
        let mut platform = [0; 16];
        platform.copy_from_slice(&self.platform.id().0[..16]);
        let mint = Mint { platform, measurement: self.executable, ..Mint::at(self.system.unix_time().as_secs()) };
        Ok(match mint.of_kind(self.kind, &report_data) {
            Some((evidence, _)) => evidence,
            None => {
                let report = Report { measurement: self.measurement, debug: false, report_data };
                Evidence::Simulated(self.platform.quote(report))
            }
        })
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
    use phala_attestation::mint;
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
        let tee = |seed, measurement| {
            SimulatedTee::new(&[seed; 32], VendorName::DEVELOPMENT, Kind::Simulated, [measurement; 32])
        };
        let (first, platform, image) = (tee(1, 1), tee(2, 1), tee(1, 2));
        let [first, platform, image] = [&first, &platform, &image].map(|tee| tee.sealing().unwrap());
        let sealed = first.seal("keys", b"secret");
        assert_eq!(&first.unseal("keys", &sealed).unwrap()[..], b"secret");
        assert!(platform.unseal("keys", &sealed).is_err());
        assert!(image.unseal("keys", &sealed).is_err());
        assert!(first.unseal("chain", &sealed).is_err());
        assert!(first.unseal("keys", &sealed[..20]).is_err());
    }

    #[test]
    fn what_imitates_tdx_cannot_seal() {
        let seals = |kind| SimulatedTee::new(&[1; 32], VendorName::DEVELOPMENT, kind, [1; 32]).sealing().is_some();
        assert_eq!([Kind::Simulated, Kind::Sgx, Kind::Tdx, Kind::SevSnp].map(seals), [true, true, false, true]);
    }

    #[test]
    fn isolation_is_what_the_process_found_and_nothing_before() {
        let tee = SimulatedTee::new(&[1; 32], VendorName::DEVELOPMENT, Kind::Simulated, [2; 32]);
        assert_eq!(tee.isolation(), Some(Isolation::default()));
        let isolation = Isolation { seccomp: true, ..Isolation::default() };
        assert_eq!(tee.isolated(isolation).isolation(), Some(isolation));
    }

    #[test]
    fn evidence_verifies_under_the_development_root() {
        let tee = SimulatedTee::new(&[1; 32], VendorName::DEVELOPMENT, Kind::Simulated, [2; 32]);
        let evidence = tee.evidence([3; 64]).unwrap();
        let policy =
            phala_attestation::Policy { simulated_root: Some(development_root().public()), ..Default::default() };
        assert!(phala_attestation::verify(&evidence, &Default::default(), &policy, 1_800_000_000).is_ok());
    }

    /// Under the roots of simulated vendors, with the documents that these make for it, and as simulated.
    #[test]
    fn imitated_evidence_verifies_under_the_roots_of_simulated_vendors() {
        let policy = phala_attestation::Policy {
            simulated_vendors: Some(mint::roots()),
            ..phala_attestation::Policy::default()
        };
        for kind in [Kind::Sgx, Kind::Tdx, Kind::SevSnp] {
            let [tee, other] =
                [1, 2].map(|seed| SimulatedTee::new(&[seed; 32], VendorName::DEVELOPMENT, kind, [2; 32]));
            let now = tee.unix_time().as_secs();
            let documents = Mint::at(now).of_kind(kind, &[0; 64]).unwrap().1;
            let find = |id| {
                let is = |document: &&phala_attestation::SignedDocument| {
                    phala_attestation::verify_document(document, &policy, now).is_ok_and(|verified| verified.id() == id)
                };
                documents.iter().find(is).cloned()
            };
            let verify = |tee: &SimulatedTee| {
                let evidence = tee.evidence([3; 64]).unwrap();
                let collateral = phala_attestation::collect_collateral(&evidence, find).unwrap();
                phala_attestation::verify(&evidence, &collateral, &policy, now).unwrap()
            };
            let verified = verify(&tee);
            let vendor = if kind == Kind::SevSnp { "simulated:amd" } else { "simulated:intel" };
            assert_eq!((verified.kind(), verified.vendor().to_string()), (kind, vendor.to_owned()));
            assert_eq!((verified.measurement(), verified.report_data()), (tee.measurement(), &[3; 64]));
            assert_ne!(verified.platform().id, verify(&other).platform().id);
        }
    }
}
