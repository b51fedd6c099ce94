//! What the enclave gets from the machine below it, and nothing else: time, randomness, sealing and evidence.

use futures::future::BoxFuture;
use phala_attestation::{Evidence, Measurement};
use phala_primitives::worker::Isolation;
use std::{sync::Arc, time::Duration};
use zeroize::Zeroizing;

use crate::SealingKey;

/// A trusted execution environment, seen from inside.
///
/// # Trust
/// Everything here is believed, save for the times: on every real TEE the host influences the clock. No check
/// of a signature, a proof or finality rests on it.
pub trait Tee: Send + Sync + 'static {
    /// Time since some fixed moment. Never goes back.
    fn now(&self) -> Duration;

    /// Time since the Unix epoch. The host may influence it.
    fn unix_time(&self) -> Duration;

    /// Ends after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Fills `bytes` with cryptographically secure randomness.
    ///
    /// # Panics
    /// When there is none: an enclave without randomness must not go on.
    fn fill_random(&self, bytes: &mut [u8]);

    /// What the TEE measured of this enclave.
    fn measurement(&self) -> Measurement;

    /// What keeps secrets from one start to the next; `None` where the platform has nothing of the kind, as TDX. Does not change.
    ///
    /// A [duty](crate::DutySource::sealing_key) may have the network give the key instead. Without any, nothing is kept and nothing that the host kept is read: keys are new in each process, and so need no floor and no
    /// receipts of before.
    fn sealing(&self) -> Option<&dyn Sealing>;

    /// How this process is separated from its machine; `None` where hardware does that.
    fn isolation(&self) -> Option<Isolation>;

    /// The bytes of memory that the enclave may use in all. Does not change.
    fn memory_bytes(&self) -> u64;

    /// Evidence that binds `report_data`.
    ///
    /// # Errors
    /// When the TEE gives none; the text says why.
    fn evidence(&self, report_data: [u8; 64]) -> Result<Evidence, EvidenceError>;
}

/// Secrets that lie with the host, and open only here.
pub trait Sealing: Send + Sync {
    /// Encrypts and authenticates `secret` so that only an enclave with the same measurement on the same platform
    /// can [`unseal`](Self::unseal) it, under the same `name`.
    fn seal(&self, name: &str, secret: &[u8]) -> Vec<u8>;

    /// The inverse of [`seal`](Self::seal).
    ///
    /// # Errors
    /// When `sealed` was not made by this enclave, on this platform, under this name.
    fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnsealError>;
}

/// A TEE that cannot seal by itself, with a key from elsewhere.
pub(crate) struct WithSealing {
    pub tee: Arc<dyn Tee>,
    pub key: SealingKey,
}

impl Tee for WithSealing {
    fn now(&self) -> Duration {
        self.tee.now()
    }

    fn unix_time(&self) -> Duration {
        self.tee.unix_time()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.tee.sleep(duration)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.tee.fill_random(bytes);
    }

    fn measurement(&self) -> Measurement {
        self.tee.measurement()
    }

    fn sealing(&self) -> Option<&dyn Sealing> {
        Some(&self.key)
    }

    fn isolation(&self) -> Option<Isolation> {
        self.tee.isolation()
    }

    fn memory_bytes(&self) -> u64 {
        self.tee.memory_bytes()
    }

    fn evidence(&self, report_data: [u8; 64]) -> Result<Evidence, EvidenceError> {
        self.tee.evidence(report_data)
    }
}

/// A sealed blob does not belong to this enclave on this platform, or was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed blob was made by another enclave or on another platform, or was changed")]
pub struct UnsealError;

/// The TEE gave no evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TEE gave no evidence: {0}")]
pub struct EvidenceError(pub String);
