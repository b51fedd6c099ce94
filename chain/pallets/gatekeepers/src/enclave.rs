//! Enclaves that sign and make evidence by themselves: for tests and benchmarks, here and in pallets above.

use crate::{Config, Endpoint, Gatekeepers, Pallet, SessionKeys};
use alloc::vec::Vec;
use codec::Encode;
use ed25519_dalek::{Signer, SigningKey};
use frame_support::{BoundedVec, dispatch::DispatchResult};
use frame_system::RawOrigin;
use phala_attestation::{
    Evidence, Family, Measurement, Role, Statement, Vendor, VendorName,
    simulated::{Platform, Report, Root, development_root},
};
use phala_primitives::{Balance, GatekeeperId};
use sp_runtime::traits::{One, Saturating};

/// The image that [`Enclave::new`] runs.
pub const MEASUREMENT: Measurement = Measurement([0x47; 32]);

/// An enclave on a simulated platform of its own, of a vendor of its own.
pub struct Enclave {
    signing_key: SigningKey,
    platform: Platform,
    /// Who owns it.
    pub operator: [u8; 32],
    /// The image that it runs: [`MEASUREMENT`], unless changed.
    pub measurement: Measurement,
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
        let seed = |use_: &str| sp_io::hashing::sha2_256(&("gatekeeper", use_, number).encode());
        Self {
            signing_key: SigningKey::from_bytes(&seed("signing")),
            platform: root.certify(seed("platform"), vendor(number), 1, 0, u64::MAX),
            operator: operator.into(),
            measurement: MEASUREMENT,
            encryption_key: seed("encryption"),
        }
    }

    /// The same enclave on the platform of another.
    pub fn moved_to(mut self, other: Self) -> Self {
        self.platform = other.platform;
        self
    }

    /// Its id.
    pub fn id(&self) -> GatekeeperId {
        GatekeeperId(self.signing_key.verifying_key().to_bytes())
    }

    /// Its signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing_key.sign(message).to_bytes()
    }

    /// A statement for this chain that names the parent block.
    pub fn statement<T: Config>(&self) -> Statement {
        let (block_number, block_hash) = parent::<T>();
        Statement {
            role: Role::Gatekeeper,
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

    /// Registers it on chain as that of the operator's seat `index`.
    ///
    /// # Errors
    /// Those of the call.
    pub fn register<T: Config>(&self, index: u16, bond: Balance, keys: (SessionKeys<T>, Vec<u8>)) -> DispatchResult {
        let statement = self.statement::<T>();
        let evidence = self.evidence(&statement);
        let origin = RawOrigin::Signed(T::AccountId::from(self.operator));
        let (keys, proof) = keys;
        Pallet::<T>::register(origin.into(), index, bond, statement, evidence, endpoint(), keys, proof)
            .map(drop)
            .map_err(|refused| refused.error)
    }

    /// Gives the operator's seat `index` this enclave.
    ///
    /// # Errors
    /// Those of the call.
    pub fn replace<T: Config>(&self, index: u16) -> DispatchResult {
        let statement = self.statement::<T>();
        let evidence = self.evidence(&statement);
        let origin = RawOrigin::Signed(T::AccountId::from(self.operator));
        Pallet::<T>::replace(origin.into(), index, statement, evidence, endpoint())
            .map(drop)
            .map_err(|refused| refused.error)
    }

    /// Renews its verdict.
    ///
    /// # Errors
    /// Those of the call.
    pub fn renew<T: Config>(&self) -> DispatchResult {
        let statement = self.statement::<T>();
        let evidence = self.evidence(&statement);
        let origin = RawOrigin::Signed(T::AccountId::from(self.operator));
        Pallet::<T>::renew(origin.into(), statement, evidence).map(drop).map_err(|refused| refused.error)
    }
}

/// Makes the record of a registered enclave say that it is of these.
pub fn disguise<T: Config>(gatekeeper: GatekeeperId, vendor: Vendor, family: Family) {
    Gatekeepers::<T>::mutate_extant(gatekeeper, |record| {
        record.vendor = vendor;
        record.family = family;
    });
}

/// Makes records of gatekeepers that were never verified, each of a seat and an operator of its own.
#[cfg(feature = "runtime-benchmarks")]
pub fn fill<T: Config>(gatekeepers: &[GatekeeperId]) {
    use phala_attestation::{PlatformId, Tier};
    for (number, gatekeeper) in (0u32..).zip(gatekeepers) {
        let operator: T::AccountId = frame_benchmarking::account("operator", number, 0);
        let seat: T::AccountId = frame_benchmarking::account("seat", number, 0);
        let record = crate::Gatekeeper {
            seat: seat.clone(),
            operator: operator.clone(),
            encryption_key: [0; 32],
            endpoint: endpoint().into_inner(),
            measurement: MEASUREMENT,
            platform: PlatformId(gatekeeper.0),
            family: Family::Simulated(vendor(number)),
            vendor: Vendor::Simulated(vendor(number)),
            tier: Tier::Full,
            verified_at: 0,
            verdict_expires: u64::MAX,
            outlook: None,
            evidence_hash: [0; 32],
            registered_at: 0u32.into(),
        };
        Gatekeepers::<T>::insert(gatekeeper, record);
        let status = crate::SeatStatus::Standing;
        let gatekeeper = *gatekeeper;
        let record = crate::Seat { operator, index: 0, bond: 0, status, gatekeeper, previous: Vec::new() };
        crate::Seats::<T>::insert(seat, record);
    }
}

/// The simulated vendor with this number.
fn vendor(number: u32) -> VendorName {
    alloc::format!("vendor-{number}").parse().unwrap_or_default()
}

/// An endpoint.
pub fn endpoint() -> Endpoint {
    BoundedVec::truncate_from(b"https://gatekeeper.example:8443".to_vec())
}

/// Accepts simulated evidence and allows [`MEASUREMENT`] for gatekeepers.
pub fn accept<T: Config>() {
    pallet_phala_attestation::SimulatedRoot::<T>::put(development_root().public());
    let image = pallet_phala_attestation::Image { role: Role::Gatekeeper, version: 1 };
    pallet_phala_attestation::Images::<T>::insert(MEASUREMENT, image);
}

/// The number and hash of the current block's parent.
fn parent<T: Config>() -> (u32, [u8; 32]) {
    let number = frame_system::Pallet::<T>::block_number().saturating_sub(One::one());
    let hash = frame_system::Pallet::<T>::block_hash(number);
    let bytes: Vec<u8> = hash.as_ref().into();
    (number.try_into().unwrap_or(u32::MAX), bytes.try_into().unwrap_or_default())
}

/// Makes block `number` the current one, whose parent has a known hash.
#[cfg(feature = "runtime-benchmarks")]
pub fn enter_block<T: Config>(number: u32) {
    use codec::Decode;
    let parent = frame_system::pallet_prelude::BlockNumberFor::<T>::from(number.saturating_sub(1));
    let hash = T::Hash::decode(&mut &[number as u8; 32][..]).unwrap_or_default();
    frame_system::Pallet::<T>::set_block_number(number.into());
    frame_system::BlockHash::<T>::insert(parent, hash);
}
