//! Published apps.
//!
//! An app is the hash of a program and of its manifest. The chain never holds the program: it only lets an enclave and
//! everybody else check that the right one ran. What was published never changes; another version is another app.
//!
//! # Invariants
//! - An app is stored under [`AppId::new`] of what it holds, so that nobody can publish in another's name, and an id never
//!   means anything else.
//! - For each app its publisher has [`Config::Deposit`] on hold, as it was when the app was published, until the app is gone.
//! - A job always finds its app: one that live jobs use ([`Uses`]) is only retired by [`Call::unpublish`], and goes with the
//!   last of them.
//!
//! # Attacks
//! - *Filling the state*: the deposit.
//! - *Pulling an app from under a running job*, to keep its worker from being paid: it stays until the job has ended.
//! - *Keeping a publisher's deposit* by always having a live job: a retired app gets no more, and each that lives ends.

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    any(test, feature = "runtime-benchmarks"),
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
pub mod weights;

pub use pallet::*;
pub use weights::WeightInfo;

use frame_support::{
    defensive,
    pallet_prelude::*,
    traits::{fungible::hold::Mutate, tokens::Precision},
};
use frame_system::pallet_prelude::*;
use phala_primitives::{
    AppId, Balance, Hash,
    job::{MAX_CODE_BYTES, Visibility},
};
use sp_runtime::traits::Saturating;

/// An app's record.
pub type App<T> = phala_primitives::job::App<<T as frame_system::Config>::AccountId>;

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
        /// Where deposits are held.
        type Currency: Mutate<Self::AccountId, Reason = Self::RuntimeHoldReason, Balance = Balance>;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
        /// What is held of a publisher for each app.
        #[pallet::constant]
        type Deposit: Get<Balance>;
        /// Measured weights.
        type WeightInfo: WeightInfo;
    }

    /// Why this pallet holds funds.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// The deposit for a published app.
        App,
    }

    /// Every published app.
    #[pallet::storage]
    pub type Apps<T: Config> = StorageMap<_, Blake2_128Concat, AppId, App<T>>;

    /// What is on hold for an app.
    #[pallet::storage]
    pub type Deposits<T> = StorageMap<_, Blake2_128Concat, AppId, Balance, ValueQuery>;

    /// How many live jobs run an app.
    #[pallet::storage]
    pub type Uses<T> = StorageMap<_, Blake2_128Concat, AppId, u32, ValueQuery>;

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An app was published.
        Published {
            /// The app.
            app: AppId,
            /// Who published it.
            publisher: T::AccountId,
        },
        /// An app gets no more jobs, and is gone when its last one has ended.
        Retired {
            /// The app.
            app: AppId,
        },
        /// An app is gone and its deposit returned.
        Unpublished {
            /// The app.
            app: AppId,
        },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// The sender has published this very app already, or retired it and its last job has not ended.
        AlreadyPublished,
        /// The program is empty or larger than 64 MiB.
        CodeSizeOutOfRange,
        /// There is no such app.
        UnknownApp,
        /// The app is somebody else's.
        NotPublisher,
        /// The app is retired already: it goes when its last job has ended.
        AlreadyRetired,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        #[cfg(feature = "try-runtime")]
        fn try_state(_now: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call(weight(<T as Config>::WeightInfo))]
    impl<T: Config> Pallet<T> {
        /// Publishes a program of `code_bytes` bytes with these SHA-256 hashes of itself and its manifest. Holds a deposit.
        #[pallet::call_index(0)]
        pub fn publish(
            origin: OriginFor<T>,
            code_hash: Hash,
            code_bytes: u32,
            manifest_hash: Hash,
            visibility: Visibility,
        ) -> DispatchResult {
            let publisher = ensure_signed(origin)?;
            Self::do_publish(publisher, code_hash, code_bytes, manifest_hash, visibility)
        }

        /// Takes an app back: it gets no more jobs. When no job of it lives, now or later, it is removed and its deposit
        /// returned.
        #[pallet::call_index(1)]
        pub fn unpublish(origin: OriginFor<T>, app: AppId) -> DispatchResult {
            let publisher = ensure_signed(origin)?;
            Self::do_unpublish(publisher, app)
        }
    }
}

/// What the jobs pallet asks and tells.
impl<T: Config> Pallet<T> {
    /// Counts one live job more.
    pub fn acquire(app: &AppId) {
        Uses::<T>::mutate(app, |uses| uses.saturating_inc());
    }

    /// Counts one live job less. The last one of a retired app takes the app with it.
    pub fn release(app: &AppId) {
        let uses = Uses::<T>::get(app).saturating_sub(1);
        if uses > 0 {
            Uses::<T>::insert(app, uses);
            return;
        }
        Uses::<T>::remove(app);
        let Some(record) = Apps::<T>::get(app).filter(|record| record.retired) else { return };
        if Self::remove(*app, &record.publisher).is_err() {
            defensive!("the deposit of a published app is on hold");
        }
    }
}

impl<T: Config> Pallet<T> {
    fn do_publish(
        publisher: T::AccountId,
        code_hash: Hash,
        code_bytes: u32,
        manifest_hash: Hash,
        visibility: Visibility,
    ) -> DispatchResult {
        ensure!((1..=MAX_CODE_BYTES).contains(&code_bytes), Error::<T>::CodeSizeOutOfRange);
        let app = AppId::new(&publisher.clone().into(), &code_hash, code_bytes, &manifest_hash, visibility);
        ensure!(!Apps::<T>::contains_key(app), Error::<T>::AlreadyPublished);
        let deposit = T::Deposit::get();
        T::Currency::hold(&HoldReason::App.into(), &publisher, deposit)?;
        Deposits::<T>::insert(app, deposit);
        let record =
            App::<T> { publisher: publisher.clone(), code_hash, code_bytes, manifest_hash, visibility, retired: false };
        Apps::<T>::insert(app, record);
        Self::deposit_event(Event::Published { app, publisher });
        Ok(())
    }

    fn do_unpublish(publisher: T::AccountId, app: AppId) -> DispatchResult {
        let record = Apps::<T>::get(app).ok_or(Error::<T>::UnknownApp)?;
        ensure!(record.publisher == publisher, Error::<T>::NotPublisher);
        ensure!(!record.retired, Error::<T>::AlreadyRetired);
        if Uses::<T>::get(app) == 0 {
            return Self::remove(app, &publisher);
        }
        Apps::<T>::insert(app, App::<T> { retired: true, ..record });
        Self::deposit_event(Event::Retired { app });
        Ok(())
    }

    /// Forgets an app that no live job uses, and returns its deposit.
    fn remove(app: AppId, publisher: &T::AccountId) -> DispatchResult {
        T::Currency::release(&HoldReason::App.into(), publisher, Deposits::<T>::get(app), Precision::Exact)?;
        Deposits::<T>::remove(app);
        Apps::<T>::remove(app);
        Self::deposit_event(Event::Unpublished { app });
        Ok(())
    }

    /// Checks the pallet's invariants; see the crate's documentation.
    #[cfg(any(feature = "std", feature = "try-runtime"))]
    pub fn do_try_state() -> Result<(), sp_runtime::TryRuntimeError> {
        use frame_support::traits::fungible::hold::Inspect;
        let mut held = alloc::collections::BTreeMap::<T::AccountId, Balance>::new();
        for (app, record) in Apps::<T>::iter() {
            let App::<T> { code_hash, code_bytes, manifest_hash, visibility, .. } = record;
            let id = AppId::new(&record.publisher.clone().into(), &code_hash, code_bytes, &manifest_hash, visibility);
            ensure!(id == app, "an app is not under its id");
            ensure!(!record.retired || Uses::<T>::contains_key(app), "a retired app outlived its last job");
            ensure!((1..=MAX_CODE_BYTES).contains(&code_bytes), "an app's code has an impossible size");
            held.entry(record.publisher).or_default().saturating_accrue(Deposits::<T>::get(app));
        }
        for (publisher, deposits) in held {
            let on_hold = T::Currency::balance_on_hold(&HoldReason::App.into(), &publisher);
            ensure!(on_hold == deposits, "a publisher's deposits are not what is on hold");
        }
        ensure!(Deposits::<T>::iter_keys().all(Apps::<T>::contains_key), "a deposit for no app");
        ensure!(
            Uses::<T>::iter().all(|(app, uses)| uses > 0 && Apps::<T>::contains_key(app)),
            "jobs use an app that is gone"
        );
        Ok(())
    }
}
