//! What an enclave signs about itself.

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use phala_attestation::{Family, Measurement, PlatformId, Tier, UnixSeconds, Vendor};

use crate::{
    Balance, Hash, WorkerId,
    attestation::{Class, Outlook},
};

/// Bounds on the length of a worker's endpoint URL, in bytes.
pub const MAX_ENDPOINT_BYTES: u32 = 256;

/// Whether this is an endpoint: an `http://` or `https://` URL of visible ASCII characters without a slash at its end.
pub fn is_endpoint(endpoint: &[u8]) -> bool {
    let rest = endpoint.strip_prefix(b"https://").or_else(|| endpoint.strip_prefix(b"http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.ends_with(b"/") && rest.iter().all(|byte| byte.is_ascii_graphic())
    })
}

/// The most jobs that a worker may run at once.
pub const MAX_CAPACITY: u32 = 64;

/// A registered worker, as the chain stores it under its [`WorkerId`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Worker<AccountId, BlockNumber> {
    /// Who owns it.
    pub operator: AccountId,
    /// The enclave's X25519 public key: users encrypt to it.
    pub encryption_key: [u8; 32],
    /// Where its host serves HTTP, without a trailing slash.
    pub endpoint: Vec<u8>,
    /// What it asks for [10⁹ fuel](crate::units::FUEL_PER_PRICE_UNIT).
    pub price: Balance,
    /// What its enclave measured.
    pub performance: Performance,
    /// Jobs that it has at the moment.
    pub running: u32,
    /// Whether it gets jobs.
    pub status: WorkerStatus,
    /// The image that it runs.
    pub measurement: Measurement,
    /// The platform that it runs on.
    pub platform: PlatformId,
    /// The platform's family.
    pub family: Family,
    /// Who made its TEE.
    pub vendor: Vendor,
    /// What the policy thought of the platform.
    pub tier: Tier,
    /// When its evidence was verified.
    pub verified_at: UnixSeconds,
    /// When its verdict ends.
    pub verdict_expires: UnixSeconds,
    /// What a TCB recovery will make of its evidence, if that is worse; the operator has to update the platform before.
    pub outlook: Option<Outlook>,
    /// SHA-256 of the SCALE encoding of `(Statement, Evidence)`: users fetch both from the host and check.
    pub evidence_hash: Hash,
    /// The block of its registration.
    pub registered_at: BlockNumber,
    /// The newest finalized block that its enclave has named: in a heartbeat, or in the statement of its registration or
    /// renewal.
    pub last_heartbeat: BlockNumber,
}

impl<AccountId, BlockNumber> Worker<AccountId, BlockNumber> {
    /// The classes that it is of.
    pub fn classes(&self) -> [Class; 3] {
        Class::all_of(self.measurement, self.platform, self.family)
    }

    /// Whether its evidence will be refused by documents that do not count yet.
    pub fn is_exposed(&self) -> bool {
        self.outlook.is_some_and(|outlook| outlook.tier.is_none())
    }
}

/// Whether a worker gets jobs. A worker whose verdict has ended gets none, whatever its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum WorkerStatus {
    /// Gets jobs.
    Active,
    /// Ends the jobs that it has and gets no more; its operator asked for it.
    Draining,
    /// Has named no block that is recent enough; gets jobs again after its next heartbeat.
    Unresponsive,
    /// Its image, platform or family was declared broken: lost its jobs, and comes back by new evidence, once that is accepted.
    Cordoned,
}

/// What the enclave measured of its own machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize))]
pub struct Performance {
    /// Fuel burnt in a second by the reference program on one thread.
    pub fuel_per_second: u64,
    /// How many jobs the enclave runs at once.
    pub capacity: u32,
}

/// A worker's own statement of its performance, bound to a chain and a block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct PerformanceReport {
    /// The chain that the enclave follows.
    pub genesis_hash: Hash,
    /// Who measured itself; its key signs the report.
    pub worker: WorkerId,
    /// What it measured.
    pub performance: Performance,
    /// The finalized block at which it did.
    pub block_number: u32,
}

impl PerformanceReport {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/performance/v1", self).encode()
    }
}

/// A performance report with its enclave's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedPerformanceReport {
    /// What is signed.
    pub report: PerformanceReport,
    /// Ed25519, by `report.worker`, over [`PerformanceReport::signed_bytes`].
    pub signature: [u8; 64],
}

/// A worker's sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Heartbeat {
    /// The chain that the enclave follows.
    pub genesis_hash: Hash,
    /// Who is alive; its key signs the heartbeat.
    pub worker: WorkerId,
    /// The newest finalized block that the enclave has verified.
    pub block_number: u32,
    /// Its hash.
    pub block_hash: Hash,
}

impl Heartbeat {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/heartbeat/v1", self).encode()
    }
}

/// A heartbeat with its enclave's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedHeartbeat {
    /// What is signed.
    pub heartbeat: Heartbeat,
    /// Ed25519, by `heartbeat.worker`, over [`Heartbeat::signed_bytes`].
    pub signature: [u8; 64],
}

/// What an enclave process did to separate itself from its machine, by its own word. Only a simulated TEE needs it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize))]
pub struct Isolation {
    /// A network namespace of its own, without interfaces.
    pub no_network: bool,
    /// No other process of its user may attach to it, and it leaves no core dump.
    pub not_dumpable: bool,
    /// What it had in memory at its start is locked, and the machine did not swap then.
    pub locked_memory: bool,
    /// It never gains privileges, and has none.
    pub no_privileges: bool,
    /// Only system calls on a list.
    pub seccomp: bool,
    /// No files.
    pub landlock: bool,
    /// A user that is neither root nor the host's.
    pub own_user: bool,
}

/// An enclave's answer to a challenge: that its key is in use now, and how far it follows the chain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Liveness {
    /// The chain that the enclave follows.
    pub genesis_hash: Hash,
    /// Who answers: a worker's or a gatekeeper's key, which signs this.
    pub signing_key: Hash,
    /// The challenge.
    pub nonce: Hash,
    /// The newest finalized block that the enclave has verified.
    pub block_number: u32,
    /// Its hash.
    pub block_hash: Hash,
    /// How the enclave's process is separated from its machine; `None` where hardware does that.
    pub isolation: Option<Isolation>,
}

impl Liveness {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/liveness/v1", self).encode()
    }
}

/// An answer to a challenge with its enclave's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedLiveness {
    /// What is signed.
    pub liveness: Liveness,
    /// Ed25519, by `liveness.signing_key`, over [`Liveness::signed_bytes`].
    pub signature: [u8; 64],
}
