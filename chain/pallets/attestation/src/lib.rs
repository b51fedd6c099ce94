//! Allowed images, attestation policy and platform identities.
//!
//! Governance allows images by their measurement, each for one [`Role`]. Whoever registers an enclave hands its
//! evidence to [`Pallet::verify_enclave`], which runs [`phala_attestation::verify`] inside the runtime under the
//! chain's policy and answers what was proven, and until when. Nothing of the evidence is believed before.
//!
//! # Invariants
//! - Simulated evidence is accepted only where genesis named a simulated root; no call can set one.
//! - A statement counts only with this chain's genesis hash, its sender as operator, and number and hash of one of the last
//!   [`Config::Recency`] blocks.
//! - One platform backs at most one worker ([`Platforms`]).
//!
//! # Attacks
//! - *Old evidence replayed*: its statement names a block of the last [`Config::Recency`]. Within that window a replay renews
//!   a verdict by at most the window.
//! - *Evidence that costs much to look at*: more than [`MAX_EVIDENCE_BYTES`](phala_attestation::MAX_EVIDENCE_BYTES) is refused.
//! - *Evidence of another chain, operator or role*: all three are bound by the report data.
//! - *One machine counted many times*: the platform's identity comes from the vendor's certificate and can be claimed once.
//! - *A broken image*: [`Call::forbid_image`] takes it out at once; workers that run it get no more jobs and their
//!   heartbeats and receipts are refused.

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    any(test, feature = "runtime-benchmarks"),
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::{Image, VerifiedEnclave};
pub use weights::WeightInfo;

use frame_support::{
    pallet_prelude::*,
    traits::{ConstU64, UnixTime},
};
use frame_system::pallet_prelude::*;
use phala_attestation::{Collateral, Evidence, Measurement, PlatformId, Policy, Role, Statement, UnixSeconds};
use phala_primitives::WorkerId;
use sp_runtime::traits::{Saturating, Zero};

/// The verdict lifetime of a chain whose genesis says nothing: a day.
pub const DEFAULT_VERDICT_LIFETIME: u64 = 24 * 60 * 60;

/// The longest verdict lifetime that governance can set: thirty days.
pub const MAX_VERDICT_LIFETIME: u64 = 30 * 24 * 60 * 60;

// What the macros generate states its proofs with `expect`.
#[allow(clippy::expect_used)]
#[frame_support::pallet]
pub mod pallet {
    use super::*;

    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// What the pallet needs of its runtime.
    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>, AccountId: Into<[u8; 32]>> {
        /// Who decides about images and the lifetime of verdicts.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// The chain's clock.
        type Time: UnixTime;
        /// For how many blocks a statement that names a block is fresh. At most `BlockHashCount`.
        #[pallet::constant]
        type Recency: Get<BlockNumberFor<Self>>;
        /// Measured weights.
        type WeightInfo: WeightInfo;
    }

    /// The images that may register, and the role of each.
    #[pallet::storage]
    pub type Images<T> = StorageMap<_, Blake2_128Concat, Measurement, Image>;

    /// The public key of the simulated vendor's root. `None`: simulated evidence is refused. Set by genesis alone.
    #[pallet::storage]
    pub type SimulatedRoot<T> = StorageValue<_, [u8; 32]>;

    /// Which worker runs on a platform.
    #[pallet::storage]
    pub type Platforms<T> = StorageMap<_, Blake2_128Concat, PlatformId, WorkerId>;

    /// How long a verdict lasts, in seconds.
    #[pallet::storage]
    pub type VerdictLifetime<T> = StorageValue<_, u64, ValueQuery, ConstU64<DEFAULT_VERDICT_LIFETIME>>;

    /// What genesis decides about attestation.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// The simulated vendor's root key; `None` to refuse simulated evidence for ever.
        pub simulated_root: Option<[u8; 32]>,
        /// How long a verdict lasts, in seconds.
        pub verdict_lifetime: u64,
        #[serde(skip)]
        #[doc(hidden)]
        pub _config: core::marker::PhantomData<T>,
    }

    impl<T: Config> Default for GenesisConfig<T> {
        fn default() -> Self {
            Self { simulated_root: None, verdict_lifetime: DEFAULT_VERDICT_LIFETIME, _config: Default::default() }
        }
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            assert!(
                (1..=MAX_VERDICT_LIFETIME).contains(&self.verdict_lifetime),
                "the verdict lifetime is between a second and thirty days"
            );
            SimulatedRoot::<T>::set(self.simulated_root);
            VerdictLifetime::<T>::put(self.verdict_lifetime);
        }
    }

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// Enclaves of this image may register.
        ImageAllowed {
            /// The image.
            measurement: Measurement,
            /// What it is for.
            role: Role,
            /// Its version.
            version: u32,
        },
        /// Enclaves of this image may no longer register or work.
        ImageForbidden {
            /// The image.
            measurement: Measurement,
        },
        /// New verdicts last this long.
        VerdictLifetimeSet {
            /// Their lifetime.
            seconds: u64,
        },
    }

    /// Why a call or a piece of evidence was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// The image is not among those that are allowed.
        UnknownImage,
        /// The lifetime is zero or more than thirty days.
        LifetimeOutOfRange,
        /// The enclave takes another role than the one asked for.
        WrongRole,
        /// The statement names another operator than the sender.
        WrongOperator,
        /// The statement was made for another chain.
        WrongGenesis,
        /// The statement names no recent block of this chain.
        StaleStatement,
        /// The image is not allowed for this role.
        ImageNotAllowed,
        /// The platform already backs another worker.
        PlatformTaken,
        /// This chain does not accept simulated evidence.
        SimulatedForbidden,
        /// A certificate does not lead to its vendor's root.
        CertificateChain,
        /// A certificate or document is not valid at this time.
        OutOfDate,
        /// A certificate is revoked.
        Revoked,
        /// The platform's TCB is out of date, or below what the policy allows.
        TcbRefused,
        /// The policy does not allow how the platform is configured.
        PlatformRefused,
        /// The quote is not signed by the certified key.
        QuoteSignature,
        /// The host can read or move the guest: debugging, profiling, migration.
        GuestUnprotected,
        /// The evidence is malformed, or of a kind or version that is not known.
        MalformedEvidence,
        /// The evidence identifies no platform.
        NoPlatformIdentity,
        /// The evidence does not bind the statement.
        StatementMismatch,
        /// A document of the vendor's that the evidence has to be verified with was not submitted.
        DocumentMissing,
        /// A document is not signed by its vendor.
        DocumentSignature,
        /// A document is malformed, too large, or of another kind than it should be.
        MalformedDocument,
        /// The evidence is larger than 32 KiB.
        EvidenceTooLarge,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn integrity_test() {
            assert!(!T::Recency::get().is_zero(), "Recency is at least one block");
            assert!(
                T::Recency::get() <= <T as frame_system::Config>::BlockHashCount::get(),
                "Recency is at most BlockHashCount: older hashes are forgotten"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_now: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call(weight(<T as Config>::WeightInfo))]
    impl<T: Config> Pallet<T> {
        /// Allows enclaves of an image to register. Allowing it again replaces its role and version.
        #[pallet::call_index(0)]
        pub fn allow_image(origin: OriginFor<T>, measurement: Measurement, role: Role, version: u32) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Images::<T>::insert(measurement, Image { role, version });
            Self::deposit_event(Event::ImageAllowed { measurement, role, version });
            Ok(())
        }

        /// Takes back [`Call::allow_image`]: workers of this image get no more jobs, and their receipts are refused.
        #[pallet::call_index(1)]
        pub fn forbid_image(origin: OriginFor<T>, measurement: Measurement) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Images::<T>::take(measurement).ok_or(Error::<T>::UnknownImage)?;
            Self::deposit_event(Event::ImageForbidden { measurement });
            Ok(())
        }

        /// Sets how long new verdicts last, in seconds.
        #[pallet::call_index(2)]
        pub fn set_verdict_lifetime(origin: OriginFor<T>, seconds: u64) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            ensure!((1..=MAX_VERDICT_LIFETIME).contains(&seconds), Error::<T>::LifetimeOutOfRange);
            VerdictLifetime::<T>::put(seconds);
            Self::deposit_event(Event::VerdictLifetimeSet { seconds });
            Ok(())
        }
    }
}

impl<T: Config> Pallet<T> {
    /// The chain's clock, in seconds since the Unix epoch.
    pub fn now() -> UnixSeconds {
        T::Time::now().as_secs()
    }

    /// The hash of this chain's genesis block.
    pub fn genesis_hash() -> [u8; 32] {
        hash_bytes(frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero()))
    }

    /// Whether `hash` is the hash of block `number`. False, too, for blocks older than `BlockHashCount`.
    pub fn is_block(number: u32, hash: &[u8; 32]) -> bool {
        let number = BlockNumberFor::<T>::from(number);
        frame_system::BlockHash::<T>::try_get(number).is_ok_and(|known| known.as_ref() == hash)
    }

    /// Whether `hash` is the hash of block `number`, and that block at most `age` blocks old.
    pub fn is_recent_block(number: u32, hash: &[u8; 32], age: BlockNumberFor<T>) -> bool {
        let now = frame_system::Pallet::<T>::block_number();
        now.saturating_sub(number.into()) <= age && Self::is_block(number, hash)
    }

    /// The policy under which this chain accepts evidence.
    pub fn policy() -> Policy {
        Policy { simulated_root: SimulatedRoot::<T>::get(), ..Policy::default() }
    }

    /// Whether an image is allowed for a role.
    pub fn image_allowed(measurement: &Measurement, role: Role) -> bool {
        Images::<T>::get(measurement).is_some_and(|image| image.role == role)
    }

    /// Verifies the evidence of an enclave that `operator` owns and that takes `role`, and everything about its
    /// statement that only the chain knows.
    ///
    /// # Errors
    /// The first check that failed, as an [`Error`] of this pallet.
    pub fn verify_enclave(
        role: Role,
        operator: &T::AccountId,
        statement: &Statement,
        evidence: &Evidence,
    ) -> Result<VerifiedEnclave, DispatchError> {
        let operator: [u8; 32] = operator.clone().into();
        ensure!(statement.role == role, Error::<T>::WrongRole);
        ensure!(statement.operator == operator, Error::<T>::WrongOperator);
        ensure!(statement.genesis_hash == Self::genesis_hash(), Error::<T>::WrongGenesis);
        ensure!(
            Self::is_recent_block(statement.block_number, &statement.block_hash, T::Recency::get()),
            Error::<T>::StaleStatement
        );
        let now = Self::now();
        let verdict = phala_attestation::verify(evidence, &Collateral::default(), &Self::policy(), now)
            .and_then(|verified| verified.bind(statement))
            .map_err(Error::<T>::from)?;
        ensure!(Self::image_allowed(&verdict.measurement(), role), Error::<T>::ImageNotAllowed);
        Ok(VerifiedEnclave {
            measurement: verdict.measurement(),
            platform: verdict.platform(),
            vendor: verdict.vendor(),
            expires: now.saturating_add(VerdictLifetime::<T>::get()).min(verdict.valid_until()),
        })
    }

    /// Makes `worker` the one that `platform` backs.
    ///
    /// # Errors
    /// [`Error::PlatformTaken`] when it backs another.
    pub fn claim_platform(platform: &PlatformId, worker: &WorkerId) -> DispatchResult {
        match Platforms::<T>::get(platform) {
            Some(owner) if owner != *worker => Err(Error::<T>::PlatformTaken.into()),
            _ => {
                Platforms::<T>::insert(platform, worker);
                Ok(())
            }
        }
    }

    /// Gives up `worker`'s claim of `platform`; another worker's claim stays.
    pub fn release_platform(platform: &PlatformId, worker: &WorkerId) {
        if Platforms::<T>::get(platform).as_ref() == Some(worker) {
            Platforms::<T>::remove(platform);
        }
    }

    /// Checks the pallet's invariants; see the crate's documentation.
    #[cfg(any(feature = "std", feature = "try-runtime"))]
    pub fn do_try_state() -> Result<(), sp_runtime::TryRuntimeError> {
        ensure!((1..=MAX_VERDICT_LIFETIME).contains(&VerdictLifetime::<T>::get()), "verdict lifetime out of range");
        Ok(())
    }
}

impl<T> From<phala_attestation::Error> for Error<T> {
    fn from(error: phala_attestation::Error) -> Self {
        use phala_attestation::Error as E;
        match error {
            E::SimulatedForbidden => Self::SimulatedForbidden,
            E::Chain(_) | E::IntelChain => Self::CertificateChain,
            E::NotYetValid(_) | E::Expired(_) => Self::OutOfDate,
            E::Revoked | E::TcbRevoked => Self::Revoked,
            E::TcbTooOld
            | E::TcbStatus(_)
            | E::Advisory(_)
            | E::EvaluationNumber(_)
            | E::TdxModule
            | E::QuotingEnclave
            | E::GenerationRefused(_)
            | E::BelowMinimumTcb => Self::TcbRefused,
            E::DynamicPlatform
            | E::CachedKeys
            | E::Smt
            | E::AliasCheck
            | E::Vmpl(_)
            | E::SigningKeyRefused(_) => Self::PlatformRefused,
            E::QuoteSignature
            | E::QeReportSignature
            | E::AttestationKey
            | E::ChipId
            | E::CertificateTcb
            | E::SigningKeyKind
            | E::ProductFamily(_) => Self::QuoteSignature,
            E::Debug | E::Profiling | E::Migratable | E::ServiceTd | E::SeptVe | E::ReservedBits => {
                Self::GuestUnprotected
            }
            E::QuoteSize | E::QuoteFrame | E::QuoteVersion(_) | E::QuoteKind | E::Dcap(_) | E::PckChainMissing => {
                Self::MalformedEvidence
            }
            E::NoPlatformIdentity => Self::NoPlatformIdentity,
            E::StatementMismatch => Self::StatementMismatch,
            E::TooLarge => Self::EvidenceTooLarge,
            E::DocumentMissing(_) | E::CrlMissing => Self::DocumentMissing,
            E::DocumentSignature(_) => Self::DocumentSignature,
            E::DocumentTooLarge(_) | E::Malformed(_) | E::Mismatch(_) | E::CollateralKind => Self::MalformedDocument,
        }
    }
}

fn hash_bytes(hash: impl AsRef<[u8]>) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    bytes
}
