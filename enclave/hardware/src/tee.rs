//! The hardware TEE, as the enclave uses it.

use futures::future::BoxFuture;
use phala_attestation::{Evidence, Kind, Measurement};
use phala_enclave::{EvidenceError, Sealing, SealingKey, Tee};
use phala_enclave_process::{System, memory};
use phala_primitives::worker::Isolation;
use phala_tee::Attester;
use std::time::Duration;

/// The TEE that this process runs in.
pub struct HardwareTee {
    attester: Attester,
    sealing: Option<SealingKey>,
    system: System,
    memory_bytes: u64,
}

impl HardwareTee {
    /// The TEE that was found. Asks it for the key to seal with.
    pub fn new(attester: Attester) -> Result<Self, phala_tee::Error> {
        let derive =
            |from: phala_tee::SealingSecret| SealingKey::derive(from.domain, &from.secret, &attester.measurement());
        let sealing = attester.sealing_secret()?.map(derive);
        Ok(Self { attester, sealing, system: System::start(), memory_bytes: memory::available() })
    }

    /// Which TEE it is.
    pub fn kind(&self) -> Kind {
        self.attester.kind()
    }
}

impl Tee for HardwareTee {
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
        self.attester.measurement()
    }

    fn sealing(&self) -> Option<&dyn Sealing> {
        self.sealing.as_ref().map(|key| key as &dyn Sealing)
    }

    fn isolation(&self) -> Option<Isolation> {
        None
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn evidence(&self, report_data: [u8; 64]) -> Result<Evidence, EvidenceError> {
        self.attester.evidence(&report_data).map_err(|error| EvidenceError(error.to_string()))
    }
}
