//! Allowed images, attestation policy, vendors' documents and platform identities.
//!
//! Governance allows images by their measurement, each for one [`Role`], and says which platforms are good enough
//! ([`HardwarePolicy`]). Whoever registers an enclave hands its evidence to [`Pallet::verify_enclave`], which verifies it
//! inside the runtime and answers what was proven, and until when. Nothing of the evidence is believed before.
//!
//! What vendors publish (TCB levels, identities of quoting enclaves, revocation lists, AMD's intermediate certificates) is
//! kept by [`DocumentId`]. Anybody submits a newer one; its signatures are verified once, and remembered for as
//! long as it is kept, so that evidence costs only the signatures that are its own.
//!
//! A TCB recovery makes Intel publish documents with a higher evaluation number, under which platforms that were not updated
//! are out of date. Such a document is *early* first ([`EarlyDocuments`]): it counts after [`EarlyPeriod`], or once the
//! current one has ended, so that operators have time to update. Meanwhile the current one is refreshed, and the early one
//! too; one of yet another recovery has to wait.
//!
//! Whoever proves itself meanwhile is told what becomes of its evidence then: [`VerifiedEnclave::outlook`].
//!
//! Governance declares a [`Class`] of enclaves broken in one call, [`Call::compromise`]: from that block on no evidence of the
//! class is accepted, and [`OnCompromise`] is told, which takes its enclaves out.
//!
//! An enclave on a platform that cannot seal *claims* the key to seal with ([`Call::claim_sealing_key`]): it proves itself as for a
//! registration, under a key made for that alone, and gatekeepers give their parts to whoever has that key ([`SealingClaims`]).
//!
//! # Invariants
//! - Simulated evidence is accepted only where genesis named a simulated root; no call can set one.
//! - A statement counts only with this chain's genesis hash, its sender as operator, and number and hash of one of the last
//!   [`Config::Recency`] blocks.
//! - One platform backs at most one worker or one gatekeeper ([`Platforms`]).
//! - A document is followed only by one whose number is not lower, and that its vendor made later if it is not of a later
//!   recovery.
//! - [`KnownSignatures`] holds the signatures of kept documents, and no others.
//! - A platform has at most one claim to a sealing key: [`SealingClaims`] has no other than [`SealingClaimants`] names.
//!
//! # Attacks
//! - *Old evidence replayed*: its statement names a block of the last [`Config::Recency`]. Within that window a replay renews
//!   a verdict by at most the window.
//! - *Evidence that costs much to look at*: more than [`MAX_EVIDENCE_BYTES`](phala_attestation::MAX_EVIDENCE_BYTES) is refused.
//! - *Evidence of another chain, operator or role*: all three are bound by the report data.
//! - *One machine counted many times*: the platform's identity comes from the vendor's certificate and can be claimed once.
//! - *Old documents, under which a platform was still good*: refused, and documents end by themselves.
//! - *Documents that cost much to look at, or come often*: their size is bounded, and nothing is parsed that a bound does not
//!   hold for; whoever submits what is not newer by [`FREE_DOCUMENT_INTERVAL`], or not the vendor's, pays for it.
//! - *An old claim replayed over a newer one of the same platform*: a claim's evidence names no older block than the last one's.
//! - *Evidence for a registration brought as a claim, or the other way round*: nobody but the enclave signs with the statement's key,
//!   and with a claim's it signs no performance report, with a worker's no request for a sealing key.
//! - *A broken image*: [`Call::forbid_image`] takes it out at once; workers that run it get no more jobs and their
//!   heartbeats and receipts are refused.
//! - *A broken platform, product generation or image that leaks what it is given*: [`Call::compromise`].
//! - *A TCB recovery that surprises operators*: its documents are early, and their workers warned and drained first.

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    any(test, feature = "runtime-benchmarks"),
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod api;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::{DocumentSizes, Image, OnCompromise, Tenant, VerifiedEnclave};
pub use weights::WeightInfo;

use types::kibibytes;

extern crate alloc;

use alloc::vec::Vec;
use core::marker::PhantomData;
use frame_support::{
    pallet_prelude::*,
    traits::{ConstU64, UnixTime},
};
use frame_system::pallet_prelude::*;
use phala_attestation::{
    Collateral, DocumentId, Evidence, MAX_EVIDENCE_BYTES, Measurement, PlatformId, Policy, Role, SignatureId,
    SignedDocument, Statement, Tier, UnixSeconds, VendorRoots, VerifiedEvidence,
};
use phala_primitives::attestation::{
    Class, DocumentSlot, EarlyDocument, FREE_DOCUMENT_INTERVAL, HardwarePolicy, KeptDocument, NotKept, Outlook,
    SEALING_CLAIM_SECONDS, SealingClaim, SealingKeyId,
};
use sp_runtime::traits::{Saturating, Zero};

/// The verdict lifetime of a chain whose genesis says nothing: a day.
pub const DEFAULT_VERDICT_LIFETIME: u64 = 24 * 60 * 60;

/// The longest verdict lifetime that governance can set: thirty days.
pub const MAX_VERDICT_LIFETIME: u64 = 30 * 24 * 60 * 60;

/// How long documents of a TCB recovery are early, where governance says nothing else: thirty days.
pub const DEFAULT_EARLY_PERIOD: u64 = 30 * 24 * 60 * 60;

/// The longest such time that governance can set: a year, which is more than Intel itself gives.
pub const MAX_EARLY_PERIOD: u64 = 365 * 24 * 60 * 60;

/// The largest SCALE encoding of a [`HardwarePolicy`], in bytes.
pub const MAX_POLICY_BYTES: usize = 16 * 1024;

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
        /// Who has to take enclaves of a class out that was declared broken.
        type OnCompromise: OnCompromise;
        /// Measured weights.
        type WeightInfo: WeightInfo;
    }

    /// The images that may register, and the role of each.
    #[pallet::storage]
    pub type Images<T> = StorageMap<_, Blake2_128Concat, Measurement, Image>;

    /// The public key of the simulated vendor's root. `None`: simulated evidence is refused. Set by genesis alone.
    #[pallet::storage]
    pub type SimulatedRoot<T> = StorageValue<_, [u8; 32]>;

    /// Root certificates in the place of Intel's and AMD's. `None`: the real ones. Set by genesis alone.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type SimulatedVendors<T> = StorageValue<_, VendorRoots>;

    /// Which platforms are good enough.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Hardware<T> = StorageValue<_, HardwarePolicy, ValueQuery>;

    /// The vendors' documents that evidence is verified with. Each has a bound, which is checked before it gets here.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Documents<T> = StorageMap<_, Blake2_128Concat, DocumentId, KeptDocument>;

    /// The documents of a TCB recovery that do not count yet.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type EarlyDocuments<T> = CountedStorageMap<_, Blake2_128Concat, DocumentId, EarlyDocument>;

    /// The sizes of the largest documents that were ever kept: what evidence may have to be verified with.
    #[pallet::storage]
    pub type LargestDocuments<T> = StorageValue<_, DocumentSizes, ValueQuery>;

    /// The signatures of kept documents, which were verified, and how many documents have each.
    #[pallet::storage]
    pub type KnownSignatures<T> = StorageMap<_, Identity, SignatureId, u32, ValueQuery>;

    /// How long documents of a TCB recovery are early, in seconds.
    #[pallet::storage]
    pub type EarlyPeriod<T> = StorageValue<_, u64, ValueQuery, ConstU64<DEFAULT_EARLY_PERIOD>>;

    /// When the first document of the latest TCB recovery was submitted, or last got another time, by what it is about: verdicts from
    /// before know nothing of that.
    #[pallet::storage]
    pub type Recoveries<T> = StorageMap<_, Blake2_128Concat, DocumentId, UnixSeconds>;

    /// The classes that are declared broken, and when each was.
    #[pallet::storage]
    pub type Compromised<T> = StorageMap<_, Blake2_128Concat, Class, UnixSeconds>;

    /// Who runs on a platform.
    #[pallet::storage]
    pub type Platforms<T> = StorageMap<_, Blake2_128Concat, PlatformId, Tenant>;

    /// The newest claim to a sealing key of each platform, by the key that it was made with.
    #[pallet::storage]
    pub type SealingClaims<T> = StorageMap<_, Blake2_128Concat, [u8; 32], SealingClaim>;

    /// The key of each platform's claim.
    #[pallet::storage]
    pub type SealingClaimants<T> = StorageMap<_, Blake2_128Concat, PlatformId, [u8; 32]>;

    /// How often the sealing keys of a class were replaced by others.
    #[pallet::storage]
    pub type SealingKeyVersions<T> = StorageMap<_, Blake2_128Concat, Class, u32, ValueQuery>;

    /// How long a verdict lasts, in seconds.
    #[pallet::storage]
    pub type VerdictLifetime<T> = StorageValue<_, u64, ValueQuery, ConstU64<DEFAULT_VERDICT_LIFETIME>>;

    /// What genesis decides about attestation.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// The simulated vendor's root key; `None` to refuse simulated evidence for ever.
        pub simulated_root: Option<[u8; 32]>,
        /// The root certificate of a simulated vendor in the place of Intel's, DER; empty for the real one, for ever.
        #[serde(default, with = "sp_core::bytes")]
        pub simulated_intel: Vec<u8>,
        /// The same in the place of AMD's: either both or none.
        #[serde(default, with = "sp_core::bytes")]
        pub simulated_amd: Vec<u8>,
        /// How long a verdict lasts, in seconds.
        pub verdict_lifetime: u64,
        #[serde(skip)]
        #[doc(hidden)]
        pub _config: core::marker::PhantomData<T>,
    }

    impl<T: Config> Default for GenesisConfig<T> {
        fn default() -> Self {
            Self {
                simulated_root: None,
                simulated_intel: Vec::new(),
                simulated_amd: Vec::new(),
                verdict_lifetime: DEFAULT_VERDICT_LIFETIME,
                _config: Default::default(),
            }
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
            assert_eq!(
                self.simulated_intel.is_empty(),
                self.simulated_amd.is_empty(),
                "either both vendors are simulated or none is"
            );
            if !self.simulated_intel.is_empty() {
                let (intel, amd) = (self.simulated_intel.clone(), self.simulated_amd.clone());
                SimulatedVendors::<T>::put(VendorRoots { intel, amd });
            }
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
        /// Other platforms are good enough from now on.
        HardwarePolicySet,
        /// Documents of a TCB recovery are early for this long.
        EarlyPeriodSet {
            /// The time.
            seconds: u64,
        },
        /// A newer document of a vendor's is kept.
        DocumentKept {
            /// What it is about.
            id: DocumentId,
            /// A list's number, or a TCB evaluation number.
            number: u64,
            /// The last second at which it is valid.
            valid_until: UnixSeconds,
            /// Whether it is of a TCB recovery, and does not count yet.
            early: bool,
        },
        /// What was kept under an id is forgotten.
        DocumentRemoved {
            /// What it was about.
            id: DocumentId,
        },
        /// A class was declared broken: nothing of it is accepted or used from now on.
        Compromised {
            /// What is broken.
            class: Class,
        },
        /// A class is no longer declared broken: its enclaves may prove themselves anew.
        Restored {
            /// What is good again.
            class: Class,
        },
        /// Gatekeepers give an enclave the key to seal with.
        SealingKeyClaimed {
            /// The key that it claimed it with.
            claimant: [u8; 32],
            /// Where it runs.
            platform: PlatformId,
        },
        /// From now on gatekeepers give enclaves of a class other keys to seal with.
        SealingKeysReplaced {
            /// The class.
            class: Class,
        },
    }

    /// Why a call or a piece of evidence was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// The image is not among those that are allowed.
        UnknownImage,
        /// The lifetime is zero or more than thirty days.
        LifetimeOutOfRange,
        /// The period is more than a year.
        PeriodOutOfRange,
        /// The policy is larger than 16 KiB.
        PolicyTooLarge,
        /// A document that is as new is kept already, or a newer one.
        DocumentNotNewer,
        /// The document of an earlier TCB recovery does not count yet: submit newer ones once it does.
        EarlyDocumentWaits,
        /// Nothing is kept under this id.
        UnknownDocument,
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
        /// The platform already backs another worker or gatekeeper.
        PlatformTaken,
        /// This chain does not accept simulated evidence.
        SimulatedForbidden,
        /// A certificate does not lead to its vendor's root.
        CertificateChain,
        /// A certificate or document is not valid at this time, or of an evaluation that the policy does not allow any more.
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
        /// The image, the platform or its family is declared broken.
        Compromised,
        /// The platform is good enough for workers only.
        TierTooLow,
        /// The class is declared broken already.
        AlreadyCompromised,
        /// The class is not declared broken.
        NotCompromised,
        /// The claim stands already.
        AlreadyClaimed,
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

        /// Decides which platforms are good enough for evidence from now on.
        #[pallet::call_index(3)]
        pub fn set_hardware_policy(origin: OriginFor<T>, policy: HardwarePolicy) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            ensure!(policy.encoded_size() <= MAX_POLICY_BYTES, Error::<T>::PolicyTooLarge);
            Hardware::<T>::put(policy);
            Self::deposit_event(Event::HardwarePolicySet);
            Ok(())
        }

        /// Sets for how long documents of TCB recoveries are early, in seconds: also for those that are early now.
        #[pallet::call_index(4)]
        #[pallet::weight({
            let early = EarlyDocuments::<T>::count().into();
            T::WeightInfo::set_early_period().saturating_add(T::DbWeight::get().reads_writes(early, early))
        })]
        pub fn set_early_period(origin: OriginFor<T>, seconds: u64) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            ensure!(seconds <= MAX_EARLY_PERIOD, Error::<T>::PeriodOutOfRange);
            EarlyPeriod::<T>::put(seconds);
            // What was said of them does not hold any more: hosts prove their workers anew, and hear what does.
            let now = Self::now();
            EarlyDocuments::<T>::iter_keys().for_each(|id| Recoveries::<T>::insert(id, now));
            Self::deposit_event(Event::EarlyPeriodSet { seconds });
            Ok(())
        }

        /// Keeps a document of a vendor's in the place of an older one. Anybody may bring it, and pays no fee when it is
        /// newer by a day, or the first.
        #[pallet::call_index(5)]
        #[pallet::weight(Pallet::<T>::document_weight(document))]
        pub fn submit_document(origin: OriginFor<T>, document: SignedDocument) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            Ok(Self::keep_document(document)?.into())
        }

        /// Forgets what is kept under an id, early or not: for a vendor that starts anew, or whose keys were stolen.
        #[pallet::call_index(6)]
        pub fn remove_document(origin: OriginFor<T>, id: DocumentId) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            let slot = DocumentSlot { current: Documents::<T>::take(id), early: EarlyDocuments::<T>::take(id) };
            ensure!(slot != DocumentSlot::default(), Error::<T>::UnknownDocument);
            Self::forget(slot.signatures());
            Self::deposit_event(Event::DocumentRemoved { id });
            Ok(())
        }

        /// Declares a class of enclaves broken. From now on its evidence is refused and its workers get no jobs; those that they
        /// have go to others in the next blocks.
        #[pallet::call_index(7)]
        pub fn compromise(origin: OriginFor<T>, class: Class) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            ensure!(!Compromised::<T>::contains_key(class), Error::<T>::AlreadyCompromised);
            Compromised::<T>::insert(class, Self::now());
            T::OnCompromise::on_compromise(class)?;
            Self::deposit_event(Event::Compromised { class });
            Ok(())
        }

        /// Takes back [`Call::compromise`]. Workers that it took out come back by new evidence, with the keys that they had: it is
        /// for what turned out not to be broken.
        #[pallet::call_index(8)]
        pub fn restore(origin: OriginFor<T>, class: Class) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Compromised::<T>::take(class).ok_or(Error::<T>::NotCompromised)?;
            T::OnCompromise::on_restore(class);
            Self::deposit_event(Event::Restored { class });
            Ok(())
        }

        /// Proves an enclave on a platform that cannot seal, so that the gatekeepers give it the key to seal with: the same for the
        /// same image on the same platform. Replaces the platform's claim of before. Anybody may bring it, once.
        #[pallet::call_index(9)]
        #[pallet::weight(
            <T as Config>::WeightInfo::claim_sealing_key().saturating_add(Pallet::<T>::evidence_weight(evidence))
        )]
        pub fn claim_sealing_key(
            origin: OriginFor<T>,
            statement: Statement,
            evidence: Evidence,
        ) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            let (claimant, block_number) = (statement.signing_key, statement.block_number);
            ensure!(!SealingClaims::<T>::contains_key(claimant), Error::<T>::AlreadyClaimed);
            let enclave = Self::verify_statement(Role::Worker, &statement, &evidence)?;
            let VerifiedEnclave { measurement, platform, family, expires, weight, .. } = enclave;
            if let Some(before) = SealingClaimants::<T>::get(platform) {
                let claim = SealingClaims::<T>::get(before);
                let is_older = claim.is_some_and(|claim| block_number < claim.block_number);
                ensure!(!is_older, Error::<T>::StaleStatement);
                SealingClaims::<T>::remove(before);
            }
            SealingClaimants::<T>::insert(platform, claimant);
            let versions = enclave.classes().into_iter().map(SealingKeyVersions::<T>::get);
            let key = SealingKeyId { measurement, platform, version: versions.fold(0, u32::saturating_add) };
            let until = Self::now().saturating_add(SEALING_CLAIM_SECONDS).min(expires);
            let claim = SealingClaim { key, family, block_number, until };
            SealingClaims::<T>::insert(claimant, claim);
            Self::deposit_event(Event::SealingKeyClaimed { claimant, platform });
            Ok(Some(<T as Config>::WeightInfo::claim_sealing_key().saturating_add(weight)).into())
        }

        /// Replaces the sealing keys of a class by others, where the gatekeepers give them: for keys that may have leaked. What is
        /// sealed with the old ones does not open any more after an enclave's next start, which makes it another worker.
        #[pallet::call_index(10)]
        pub fn replace_sealing_keys(origin: OriginFor<T>, class: Class) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            SealingKeyVersions::<T>::mutate(class, |version| *version = version.saturating_add(1));
            Self::deposit_event(Event::SealingKeysReplaced { class });
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
        let HardwarePolicy { dcap, sev_snp, limited } = Hardware::<T>::get();
        Policy {
            simulated_root: SimulatedRoot::<T>::get(),
            simulated_vendors: SimulatedVendors::<T>::get(),
            dcap,
            sev_snp,
            limited,
        }
    }

    /// Whether any of these is declared broken.
    pub fn any_compromised(classes: impl IntoIterator<Item = Class>) -> bool {
        classes.into_iter().any(Compromised::<T>::contains_key)
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
        ensure!(statement.operator == operator, Error::<T>::WrongOperator);
        Self::verify_statement(role, statement, evidence)
    }

    /// The same for an enclave whosever it is.
    fn verify_statement(
        role: Role,
        statement: &Statement,
        evidence: &Evidence,
    ) -> Result<VerifiedEnclave, DispatchError> {
        ensure!(statement.role == role, Error::<T>::WrongRole);
        ensure!(statement.genesis_hash == Self::genesis_hash(), Error::<T>::WrongGenesis);
        ensure!(
            Self::is_recent_block(statement.block_number, &statement.block_hash, T::Recency::get()),
            Error::<T>::StaleStatement
        );
        let now = Self::now();
        let (verified, weight) = Self::verify_evidence(evidence, now)?;
        let verdict = verified.bind(statement).map_err(Error::<T>::from)?;
        ensure!(Self::image_allowed(&verdict.measurement(), role), Error::<T>::ImageNotAllowed);
        let mut enclave = VerifiedEnclave {
            measurement: verdict.measurement(),
            platform: verdict.platform(),
            family: verdict.evidence().platform().hardware.family(),
            vendor: verdict.vendor(),
            tier: verdict.evidence().tier(),
            expires: now.saturating_add(VerdictLifetime::<T>::get()).min(verdict.valid_until()),
            outlook: None,
            weight,
        };
        ensure!(!Self::any_compromised(enclave.classes()), Error::<T>::Compromised);
        ensure!(role == Role::Worker || enclave.tier == Tier::Full, Error::<T>::TierTooLow);
        if let Some((outlook, weight)) = Self::outlook(evidence, now)? {
            enclave.weight.saturating_accrue(weight);
            if outlook.tier < Some(enclave.tier) {
                enclave.expires = enclave.expires.min(outlook.from);
                enclave.outlook = Some(outlook);
            }
        }
        Ok(enclave)
    }

    /// Verifies evidence with the documents that count at `now`. Also gives what it weighs, beside what a call with simulated
    /// evidence does.
    fn verify_evidence(evidence: &Evidence, now: UnixSeconds) -> Result<(VerifiedEvidence, Weight), Error<T>> {
        let (collateral, weight) = Self::collect_collateral(evidence, |id| Self::document(id, now))?;
        let verified = phala_attestation::verify_knowing::<Known<T>>(evidence, &collateral, &Self::policy(), now)?;
        Ok((verified, weight))
    }

    /// What becomes of evidence when the early documents count that concern it, if there are any, and what that weighs.
    fn outlook(evidence: &Evidence, now: UnixSeconds) -> Result<Option<(Outlook, Weight)>, Error<T>> {
        // Most of the time there are none, and nothing more has to be read.
        if EarlyDocuments::<T>::count() == 0 {
            return Ok(None);
        }
        if !phala_attestation::required_documents(evidence)?.into_iter().any(EarlyDocuments::<T>::contains_key) {
            return Ok(None);
        }
        let period = EarlyPeriod::<T>::get();
        let mut first = None;
        let (collateral, weight) = Self::collect_collateral(evidence, |id| {
            let current = Documents::<T>::get(id);
            match EarlyDocuments::<T>::get(id) {
                Some(early) if now <= early.kept.valid_until => {
                    let from = early.counts_from(current.as_ref(), period);
                    if from > now {
                        first = Some(first.map_or(from, |first: UnixSeconds| first.min(from)));
                    }
                    Some(early.kept)
                }
                early => EarlyDocument::choose(current, early, now, period),
            }
        })?;
        let Some(from) = first else { return Ok(None) };
        let verified = phala_attestation::verify_knowing::<Known<T>>(evidence, &collateral, &Self::policy(), now);
        let tier = verified.ok().map(|verified| verified.tier());
        Ok(Some((Outlook { from, tier }, weight)))
    }

    /// The documents that `evidence` has to be verified with, each as `document` gives it, and what that weighs.
    fn collect_collateral(
        evidence: &Evidence,
        mut document: impl FnMut(DocumentId) -> Option<KeptDocument>,
    ) -> Result<(Collateral, Weight), Error<T>> {
        ensure!(evidence.encoded_size() <= MAX_EVIDENCE_BYTES as usize, Error::<T>::EvidenceTooLarge);
        let mut sizes = DocumentSizes::default();
        let collateral = phala_attestation::collect_collateral(evidence, |id| {
            let document = document(id)?.document;
            sizes = sizes.max(DocumentSizes::of(&document));
            Some(document)
        })?;
        let weight = Self::weight_with(evidence, sizes);
        Ok((collateral, weight))
    }

    /// The most that [`Self::verify_enclave`] can weigh now, beside what a call with simulated evidence does: with the largest documents
    /// that were kept, and with an outlook while there are early ones.
    pub fn evidence_weight(evidence: &Evidence) -> Weight {
        let times = if EarlyDocuments::<T>::count() == 0 { 1 } else { 2 };
        Self::weight_with(evidence, LargestDocuments::<T>::get()).saturating_mul(times)
    }

    /// What it weighs to verify evidence with documents of these sizes, beside what a call with simulated evidence does.
    fn weight_with(evidence: &Evidence, sizes: DocumentSizes) -> Weight {
        match evidence {
            Evidence::Dcap { .. } => T::WeightInfo::verify_dcap(sizes.tcb_info, sizes.pck_crl),
            Evidence::SevSnp { .. } => T::WeightInfo::verify_sev_snp(sizes.amd_crl),
            Evidence::Simulated(_) => Weight::zero(),
        }
    }

    /// The document that counts at `now`: see [`EarlyDocument::choose`].
    pub fn document(id: DocumentId, now: UnixSeconds) -> Option<KeptDocument> {
        EarlyDocument::choose(Documents::<T>::get(id), EarlyDocuments::<T>::get(id), now, EarlyPeriod::<T>::get())
    }

    /// Keeps a document, and says whether that was worth a transaction.
    fn keep_document(document: SignedDocument) -> Result<Pays, DispatchError> {
        let now = Self::now();
        let verified = phala_attestation::verify_document(&document, &Self::policy(), now).map_err(Error::<T>::from)?;
        let id = verified.id();
        let mut slot = DocumentSlot { current: Documents::<T>::get(id), early: EarlyDocuments::<T>::get(id) };
        let known = slot.signatures();
        let sizes = DocumentSizes::of(&document);
        let new = KeptDocument::new(document, &verified);
        let replaced = slot.keep(id, new, now, EarlyPeriod::<T>::get()).map_err(|refused| match refused {
            NotKept::NotNewer => Error::<T>::DocumentNotNewer,
            NotKept::EarlyDocumentWaits => Error::<T>::EarlyDocumentWaits,
        })?;
        for signature in slot.signatures() {
            KnownSignatures::<T>::mutate(signature, |count| *count = count.saturating_add(1));
        }
        Self::forget(known);
        let number = verified.number();
        let early = slot.early.as_ref().filter(|early| early.kept.number == number);
        if let Some(early) = early {
            // Where it got another time since, that is what counts.
            Recoveries::<T>::mutate(id, |latest| *latest = (*latest).max(Some(early.since)));
        }
        let valid_until = verified.valid_until();
        Self::deposit_event(Event::DocumentKept { id, number, valid_until, early: early.is_some() });
        LargestDocuments::<T>::mutate(|largest| *largest = largest.max(sizes));
        Documents::<T>::set(id, slot.current);
        EarlyDocuments::<T>::set(id, slot.early);
        let is_due = |old: KeptDocument| verified.issued() >= old.issued.saturating_add(FREE_DOCUMENT_INTERVAL);
        Ok(if replaced.is_none_or(is_due) { Pays::No } else { Pays::Yes })
    }

    /// Forgets the signatures of documents that are kept no longer.
    fn forget(signatures: Vec<SignatureId>) {
        for signature in signatures {
            KnownSignatures::<T>::mutate_exists(signature, |count| {
                *count = count.and_then(|count| count.checked_sub(1)).filter(|count| *count > 0);
            });
        }
    }

    fn document_weight(document: &SignedDocument) -> Weight {
        match document {
            SignedDocument::TcbInfo(signed) | SignedDocument::QeIdentity(signed) => {
                T::WeightInfo::submit_tcb_info(kibibytes(signed.json.len()))
            }
            SignedDocument::IntelRootCrl(list) | SignedDocument::PckCrl { list, .. } => {
                T::WeightInfo::submit_pck_crl(kibibytes(list.len()))
            }
            SignedDocument::AmdIntermediate(bytes) | SignedDocument::AmdCrl(bytes) => {
                T::WeightInfo::submit_amd_crl(kibibytes(bytes.len()))
            }
        }
    }

    /// Makes `tenant` the one that `platform` backs.
    ///
    /// # Errors
    /// [`Error::PlatformTaken`] when it backs another.
    pub fn claim_platform(platform: &PlatformId, tenant: impl Into<Tenant>) -> DispatchResult {
        let tenant = tenant.into();
        match Platforms::<T>::get(platform) {
            Some(other) if other != tenant => Err(Error::<T>::PlatformTaken.into()),
            _ => {
                Platforms::<T>::insert(platform, tenant);
                Ok(())
            }
        }
    }

    /// Gives up `tenant`'s claim of `platform`; another's claim stays.
    pub fn release_platform(platform: &PlatformId, tenant: impl Into<Tenant>) {
        if Platforms::<T>::get(platform) == Some(tenant.into()) {
            Platforms::<T>::remove(platform);
        }
    }

    /// Checks the pallet's invariants; see the crate's documentation.
    #[cfg(any(feature = "std", feature = "try-runtime"))]
    pub fn do_try_state() -> Result<(), sp_runtime::TryRuntimeError> {
        ensure!((1..=MAX_VERDICT_LIFETIME).contains(&VerdictLifetime::<T>::get()), "verdict lifetime out of range");
        ensure!(EarlyPeriod::<T>::get() <= MAX_EARLY_PERIOD, "early period out of range");
        let current = Documents::<T>::iter();
        let early = EarlyDocuments::<T>::iter().map(|(id, early)| (id, early.kept));
        let mut signatures = alloc::collections::BTreeMap::<SignatureId, u32>::new();
        for (_, kept) in current.chain(early) {
            for signature in kept.signatures {
                let count = signatures.entry(signature).or_default();
                *count = count.saturating_add(1);
            }
        }
        ensure!(
            KnownSignatures::<T>::iter().collect::<alloc::collections::BTreeMap<_, _>>() == signatures,
            "known signatures are not those of the kept documents"
        );
        let largest = LargestDocuments::<T>::get();
        let early = EarlyDocuments::<T>::iter_values().map(|early| early.kept);
        for kept in Documents::<T>::iter_values().chain(early) {
            ensure!(
                DocumentSizes::of(&kept.document).max(largest) == largest,
                "a document that is larger than the largest"
            );
        }
        ensure!(
            EarlyDocuments::<T>::iter_keys().count() == EarlyDocuments::<T>::count() as usize,
            "early documents miscounted"
        );
        for (claimant, claim) in SealingClaims::<T>::iter() {
            ensure!(
                SealingClaimants::<T>::get(claim.key.platform) == Some(claimant),
                "a claim to a sealing key that is not its platform's"
            );
        }
        for (id, early) in EarlyDocuments::<T>::iter() {
            let current = Documents::<T>::get(id).ok_or("an early document without a current one")?;
            ensure!(early.kept.number > current.number, "an early document that is not of a later TCB recovery");
        }
        Ok(())
    }
}

impl<T> From<phala_attestation::Error> for Error<T> {
    fn from(error: phala_attestation::Error) -> Self {
        use phala_attestation::Error as E;
        match error {
            E::SimulatedForbidden => Self::SimulatedForbidden,
            E::Chain(_) | E::IntelChain => Self::CertificateChain,
            E::NotYetValid(_) | E::Expired(_) | E::EvaluationNumber(_) => Self::OutOfDate,
            E::Revoked | E::TcbRevoked => Self::Revoked,
            E::TcbTooOld
            | E::TcbStatus(_)
            | E::Advisory(_)
            | E::TdxModule
            | E::QuotingEnclave
            | E::GenerationRefused(_)
            | E::BelowMinimumTcb => Self::TcbRefused,
            E::DynamicPlatform | E::CachedKeys | E::Smt | E::AliasCheck | E::Vmpl(_) | E::SigningKeyRefused(_) => {
                Self::PlatformRefused
            }
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

/// Knows the signatures of kept documents.
struct Known<T>(PhantomData<T>);

impl<T: Config> phala_attestation::KnownSignatures for Known<T> {
    fn is_known(id: &SignatureId) -> bool {
        KnownSignatures::<T>::contains_key(id)
    }

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        sp_io::hashing::sha2_256(bytes)
    }
}

fn hash_bytes(hash: impl AsRef<[u8]>) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    bytes
}
