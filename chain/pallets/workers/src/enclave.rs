//! Enclaves that sign and make evidence by themselves: for tests and benchmarks, here and in pallets above.

use crate::{Config, Endpoint, Pallet};
use alloc::vec::Vec;
use ed25519_dalek::{Signer, SigningKey};
use frame_support::pallet_prelude::*;
use frame_system::RawOrigin;
use phala_attestation::{
    Evidence, Measurement, Role, Statement, VendorName,
    simulated::{Platform, Report, Root, development_root},
};
use phala_primitives::{
    Balance, WorkerId,
    worker::{Heartbeat, Performance, PerformanceReport, SignedHeartbeat, SignedPerformanceReport},
};
use sp_runtime::traits::{One, Saturating};

/// The image that [`Enclave::new`] runs.
pub const MEASUREMENT: Measurement = Measurement([0x4d; 32]);

/// An enclave on a simulated platform of its own.
pub struct Enclave {
    signing_key: SigningKey,
    platform: Platform,
    /// Who owns it.
    pub operator: [u8; 32],
    /// The image that it runs: [`MEASUREMENT`], unless changed.
    pub measurement: Measurement,
    /// What it reports: 10⁹ fuel a second and four jobs, unless changed.
    pub performance: Performance,
    /// Its X25519 public key.
    pub encryption_key: [u8; 32],
}

impl Enclave {
    /// The enclave with this number, owned by `operator`.
    pub fn new(number: u32, operator: impl Into<[u8; 32]>) -> Self {
        Self::certified_by(&development_root(), number, operator)
    }

    /// Like [`Enclave::new`] on a platform of another root.
    pub fn certified_by(root: &Root, number: u32, operator: impl Into<[u8; 32]>) -> Self {
        let seed = |use_: &str| sp_io::hashing::sha2_256(&(use_, number).encode());
        Self {
            signing_key: SigningKey::from_bytes(&seed("signing")),
            platform: root.certify(seed("platform"), VendorName::DEVELOPMENT, 1, 0, u64::MAX),
            operator: operator.into(),
            measurement: MEASUREMENT,
            performance: Performance { fuel_per_second: 1_000_000_000, capacity: 4 },
            encryption_key: seed("encryption"),
        }
    }

    /// The same enclave on the platform of another.
    pub fn moved_to(mut self, other: Enclave) -> Self {
        self.platform = other.platform;
        self
    }

    /// Its id.
    pub fn id(&self) -> WorkerId {
        WorkerId(self.signing_key.verifying_key().to_bytes())
    }

    /// Its signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing_key.sign(message).to_bytes()
    }

    /// A statement for this chain that names the parent block.
    pub fn statement<T: Config>(&self) -> Statement {
        let (block_number, block_hash) = parent::<T>();
        Statement {
            role: Role::Worker,
            signing_key: self.id().0,
            encryption_key: self.encryption_key,
            genesis_hash: pallet_phala_attestation::Pallet::<T>::genesis_hash(),
            operator: self.operator,
            block_number,
            block_hash,
        }
    }

    /// Evidence for a statement.
    pub fn evidence(&self, statement: &Statement) -> Evidence {
        let report = Report { measurement: self.measurement, debug: false, report_data: statement.report_data() };
        Evidence::Simulated(self.platform.quote(report))
    }

    /// A report of its performance at the parent block.
    pub fn report<T: Config>(&self) -> PerformanceReport {
        PerformanceReport {
            genesis_hash: pallet_phala_attestation::Pallet::<T>::genesis_hash(),
            worker: self.id(),
            performance: self.performance,
            block_number: parent::<T>().0,
        }
    }

    /// Signs a performance report.
    pub fn sign_report(&self, report: PerformanceReport) -> SignedPerformanceReport {
        let signature = self.sign(&report.signed_bytes());
        SignedPerformanceReport { report, signature }
    }

    /// A sign of life at the parent block.
    pub fn heartbeat<T: Config>(&self) -> Heartbeat {
        let (block_number, block_hash) = parent::<T>();
        let genesis_hash = pallet_phala_attestation::Pallet::<T>::genesis_hash();
        Heartbeat { genesis_hash, worker: self.id(), block_number, block_hash }
    }

    /// Signs a heartbeat.
    pub fn sign_heartbeat(&self, heartbeat: Heartbeat) -> SignedHeartbeat {
        let signature = self.sign(&heartbeat.signed_bytes());
        SignedHeartbeat { heartbeat, signature }
    }

    /// Registers it on chain at a price.
    pub fn register<T: Config>(&self, price: Balance) -> DispatchResult
    where
        T::AccountId: From<[u8; 32]>,
    {
        let statement = self.statement::<T>();
        let evidence = self.evidence(&statement);
        let performance = self.sign_report(self.report::<T>());
        let operator = RawOrigin::Signed(T::AccountId::from(self.operator));
        let registered = Pallet::<T>::register(operator.into(), statement, evidence, performance, endpoint(), price);
        registered.map(drop).map_err(|refused| refused.error)
    }
}

/// An endpoint.
pub fn endpoint() -> Endpoint {
    BoundedVec::truncate_from(b"https://worker.example:8443".to_vec())
}

/// Accepts simulated evidence and allows [`MEASUREMENT`] for workers.
pub fn accept<T: Config>() {
    pallet_phala_attestation::SimulatedRoot::<T>::put(development_root().public());
    let image = pallet_phala_attestation::Image { role: Role::Worker, version: 1 };
    pallet_phala_attestation::Images::<T>::insert(MEASUREMENT, image);
}

/// The number and hash of the current block's parent.
fn parent<T: Config>() -> (u32, [u8; 32]) {
    let number = frame_system::Pallet::<T>::block_number().saturating_sub(One::one());
    let hash = frame_system::Pallet::<T>::block_hash(number);
    let bytes: Vec<u8> = hash.as_ref().into();
    (number.try_into().unwrap_or(u32::MAX), bytes.try_into().unwrap_or_default())
}

/// Makes block `number` the current one of a chain whose previous blocks all have hashes, and the last of them a known one.
#[cfg(feature = "runtime-benchmarks")]
pub fn enter_block<T: Config>(number: u32) {
    let parent = frame_system::pallet_prelude::BlockNumberFor::<T>::from(number.saturating_sub(1));
    let hash = T::Hash::decode(&mut &[number as u8; 32][..]).unwrap_or_default();
    frame_system::Pallet::<T>::set_block_number(number.into());
    frame_system::BlockHash::<T>::insert(parent, hash);
}

/// Fills the market with `count` active workers, as deep as it gets, whose prices rise from `price` on. They are not
/// registered: nothing but the market knows them.
#[cfg(feature = "runtime-benchmarks")]
pub fn fill_market<T: Config>(count: u32, price: Balance) {
    for position in 0..count {
        let worker = WorkerId(sp_io::hashing::blake2_256(&("filler", position).encode()));
        let slot = crate::Slot { price: price.saturating_add(position.into()), worker };
        crate::ActiveIndex::<T>::insert(position, slot);
        crate::ActiveSlot::<T>::insert(worker, position);
    }
    crate::ActiveCount::<T>::put(count);
}
