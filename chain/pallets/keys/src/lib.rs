//! The network's keys: the bulletin board of ceremonies, the epochs, the random beacon, the log of key releases.
//!
//! A network key is shared among gatekeepers; what they say to one another, and why it is safe, is in
//! [`phala_primitives::gatekeeper`] and docs/gatekeepers.md. The chain is their bulletin board: it orders what they post, says
//! when a phase is over and who took part, and keeps the outcome. It does no curve arithmetic on posts: enclaves do, and what
//! comes out is what enough of them confirm.
//!
//! ```text
//!  on_elected ──► a ceremony of the root key, and one of the next epoch's ──► attempts, each under a new id:
//!
//!  Enrol ──► Deal ──► Answer ──► Log ──► Confirm ──► Sharings (root: the same key; epoch: the next one is current)
//!    │         │         │        │         │
//!    └─────────┴─────────┴────────┴─────────┴──► the next attempt, with phases twice as long, up to a limit
//! ```
//!
//! Each era has its ceremonies, also where its gatekeepers are those of the era before.
//!
//! - *Players* are the candidates that enrol. They must be at least [`threshold`] of the candidates, so that nobody who keeps others
//!   away for a while makes the rest few enough, at least [`Config::MinPlayers`], and safe together
//!   ([`GatekeeperSet::is_safe`]).
//! - *Dealers* of a new key are its players; of a key that is shared already, the players of its sharing, registered or not: who
//!   leaves may still hand over. At least [`threshold`] of them must deal, and log.
//! - Every player must answer. The next attempt is without those that did not. When an attempt fails because those who enrol
//!   are too few or not safe together, the next is with all candidates again: so a ceremony never runs out of players for good.
//! - Candidates that are no players of the attempt that completes have no share: those who did not enrol, and those who did not
//!   answer. [`GatekeeperSet::on_root_shared`] is told of them for the root key; of an attempt that fails, it is told of nobody.
//! - [`threshold`] players must confirm the same, for a key that is shared already with its public key. Then whoever of them
//!   brings the output with the confirmed hash ends the ceremony.
//! - A phase succeeds in the block after the last one that it waits for has posted, or after its last block
//!   ([`phase_ends`](phala_primitives::gatekeeper::Ceremony::phase_ends)); it fails only after that.
//!
//! Posts, beacons, lost shares and releases come as transactions without a sender and a fee. They are valid
//! (`#[pallet::authorize]`, which needs `frame_system::AuthorizeCall` among the runtime's extensions) exactly when they would be
//! taken, and each can be taken once.
//!
//! # Invariants
//! - Ids only grow, and none is used twice.
//! - [`Sharings`] changes when a ceremony completes and when an epoch's grace period is over, and at no other time. Once there is
//!   a root key, its public key never changes and there is always a sharing of it.
//! - At most one ceremony runs for a key, and at most [`MAX_RUNNING`] altogether.
//! - Each ceremony in [`Ceremonies`] runs, or ended with a present sharing, or is being removed ([`Ended`]). While more than
//!   [`MAX_ENDED`] wait for that, no phase ends, so what is kept is bounded.
//! - The epochs that have sharings are consecutive; the last is the current one; all others have an end, in ascending order.
//! - The hook advances [`MAX_RUNNING`] ceremonies, removes [`Config::MaxRemovalsPerBlock`] posts and one epoch, at most.
//!
//! # Attacks
//! - *Spam*: what would not be taken is not valid, and a gatekeeper can say each thing once in each attempt. Signatures are
//!   verified last, and only before execution.
//! - *Replays*: posts name chain and attempt; beacons only get newer; a lost share names the ceremony that gave it; releases name
//!   how many there were before.
//! - *A ceremony stalled by silence*: up to [`tolerated`](phala_primitives::gatekeeper::tolerated) dealers change nothing. A
//!   player that does not answer costs one attempt; several can fall silent one after another, so [`Config::MaxPhaseBlocks`] times
//!   the tolerated is what they can delay a ceremony by, and should be less than an era.
//! - *A ceremony decided by a minority*: an output needs [`threshold`] of the players, and the root's its own public key.
//! - *A resharing that breaks the key*: the old sharing stays until the new one is complete, and gatekeepers erase nothing before.
//! - *A beacon chosen by whom it serves*: there is one signature for each round. [`Pallet::random`] gives that of a later block
//!   than the one that it is asked about, which nobody knew before that block was finalized.
//! - *A forged beacon*: its signature is verified here, under the root key; points are checked to be in their groups, and not the
//!   identity. Only a gatekeeper that shares the root key has that done: it signs what it brings.

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    any(test, feature = "runtime-benchmarks"),
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

mod beacon;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod ceremony;
mod epoch;
#[cfg(any(test, feature = "runtime-benchmarks"))]
mod gatekeeper;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod properties;
mod releases;
pub mod sizes;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "std", feature = "try-runtime"))]
mod try_state;
mod types;
pub mod weights;

pub use beacon::verify as verify_beacon;
pub use pallet::*;
pub use types::{Failure, GatekeeperSet, Plan, Progress, ReleaseLog};
pub use weights::WeightInfo;

use alloc::vec::Vec;
use codec::Encode;
use frame_support::pallet_prelude::*;
use frame_system::{ensure_authorized, pallet_prelude::*};
use phala_primitives::{
    GatekeeperId, Hash,
    gatekeeper::{
        Answer, Beacon, CeremonyId, Confirmation, Content, Dealing, Epoch, EpochId, NetworkKey, Phase, Post, PublicKey,
        Round, SignedBeacon, SignedLostShare, SignedPost, SignedReleases, threshold,
    },
};
use sp_runtime::traits::{Saturating, UniqueSaturatedInto, Zero};

/// A ceremony's record.
pub type Ceremony<T> = phala_primitives::gatekeeper::Ceremony<BlockNumberFor<T>>;

/// A sharing's record.
pub type Sharing<T> = phala_primitives::gatekeeper::Sharing<BlockNumberFor<T>>;

/// The most ceremonies at once: of the root key, the current epoch's and the next one's.
pub const MAX_RUNNING: u32 = 3;

/// With more ended attempts than this waiting to be removed, no phase ends.
pub const MAX_ENDED: u32 = 8;

/// Of how many epochs that have ended it is known when they were in use: of more than jobs are kept for, so that whoever finds an enclave
/// broken knows which keys it could ask for.
pub const ENDED_EPOCHS: EpochId = 1024;

/// Where this pallet's transactions are in the pool: before all that pay. There cannot be many.
const PRIORITY: TransactionPriority = TransactionPriority::MAX / 2;

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
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// Who may hold shares.
        type Gatekeepers: GatekeeperSet;
        /// The fewest players among whom a key is shared.
        #[pallet::constant]
        type MinPlayers: Get<u32>;
        /// How many blocks a phase of a first attempt takes at most.
        #[pallet::constant]
        type PhaseBlocks: Get<BlockNumberFor<Self>>;
        /// The same of any attempt.
        #[pallet::constant]
        type MaxPhaseBlocks: Get<BlockNumberFor<Self>>;
        /// For how many blocks the shares of an epoch's key are kept once the next epoch is current.
        #[pallet::constant]
        type GracePeriod: Get<BlockNumberFor<Self>>;
        /// How old a sharing is at least, in blocks, before it is made anew for a gatekeeper that lost its share.
        #[pallet::constant]
        type LostShareInterval: Get<BlockNumberFor<Self>>;
        /// Each block whose number is a multiple of this has a round of the beacon.
        #[pallet::constant]
        type BeaconInterval: Get<Round>;
        /// The beacon has stalled when the newest is older than this many intervals.
        #[pallet::constant]
        type BeaconStall: Get<u32>;
        /// How many beacons are kept.
        #[pallet::constant]
        type BeaconHistory: Get<u32>;
        /// How many blocks lie between two entries of a gatekeeper's release log at least.
        #[pallet::constant]
        type ReleaseInterval: Get<BlockNumberFor<Self>>;
        /// The most posts of ended ceremonies that are removed in one block.
        #[pallet::constant]
        type MaxRemovalsPerBlock: Get<u32>;
        /// Measured weights.
        type WeightInfo: WeightInfo;
    }

    /// The era of the newest ceremonies of a set.
    #[pallet::storage]
    pub type Era<T> = StorageValue<_, u32>;

    /// The id of the next attempt at a ceremony.
    #[pallet::storage]
    pub type NextCeremony<T> = StorageValue<_, CeremonyId, ValueQuery>;

    /// Attempts that run, that ended with a present sharing, or that are being removed.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Ceremonies<T: Config> = StorageMap<_, Twox64Concat, CeremonyId, Ceremony<T>>;

    /// The attempts that run.
    #[pallet::storage]
    pub type Running<T> = StorageValue<_, BoundedVec<CeremonyId, ConstU32<MAX_RUNNING>>, ValueQuery>;

    /// How far each running attempt is.
    #[pallet::storage]
    pub type Progresses<T> = StorageMap<_, Twox64Concat, CeremonyId, Progress>;

    /// Who should have shares of each key for which a ceremony runs.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Plans<T> = StorageMap<_, Twox64Concat, NetworkKey, Plan>;

    /// The keys that players enrolled with.
    #[pallet::storage]
    pub type Enrolments<T> = StorageDoubleMap<_, Twox64Concat, CeremonyId, Blake2_128Concat, GatekeeperId, [u8; 32]>;

    /// What dealers dealt.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Dealings<T> = StorageDoubleMap<_, Twox64Concat, CeremonyId, Blake2_128Concat, GatekeeperId, Dealing>;

    /// What players answered to the dealings, in ascending order of the dealers.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Answers<T> = StorageDoubleMap<_, Twox64Concat, CeremonyId, Blake2_128Concat, GatekeeperId, Vec<Answer>>;

    /// Dealers' signed logs.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Logs<T> = StorageDoubleMap<_, Twox64Concat, CeremonyId, Blake2_128Concat, GatekeeperId, Vec<u8>>;

    /// What players say came out.
    #[pallet::storage]
    pub type Confirmations<T> =
        StorageDoubleMap<_, Twox64Concat, CeremonyId, Blake2_128Concat, GatekeeperId, Confirmation>;

    /// Ceremonies whose data is of no more use, and is being removed.
    #[pallet::storage]
    pub type Ended<T> = CountedStorageMap<_, Twox64Concat, CeremonyId, ()>;

    /// How each key is shared at present.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Sharings<T: Config> = StorageMap<_, Twox64Concat, NetworkKey, Sharing<T>>;

    /// How each key was shared before that, if it was: a player that was away when the ceremony ended needs it to compute its
    /// share.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Formers<T: Config> = StorageMap<_, Twox64Concat, NetworkKey, Sharing<T>>;

    /// The epoch whose key inputs are encrypted under from now on; `None` before the first.
    #[pallet::storage]
    pub type CurrentEpoch<T> = StorageValue<_, EpochId>;

    /// The oldest epoch whose key still has a sharing.
    #[pallet::storage]
    pub type OldestEpoch<T> = StorageValue<_, EpochId, ValueQuery>;

    /// When each epoch is in use whose key has a sharing, and when the last [`ENDED_EPOCHS`] were that have ended.
    #[pallet::storage]
    pub type Epochs<T: Config> = StorageMap<_, Twox64Concat, EpochId, Epoch<BlockNumberFor<T>>>;

    /// The newest beacon.
    #[pallet::storage]
    pub type LatestBeacon<T> = StorageValue<_, Beacon>;

    /// The newest beacons.
    #[pallet::storage]
    pub type Beacons<T> = StorageMap<_, Twox64Concat, Round, Beacon>;

    /// The rounds in [`Beacons`], in ascending order.
    #[pallet::storage]
    pub type Rounds<T: Config> = StorageValue<_, BoundedVec<Round, T::BeaconHistory>, ValueQuery>;

    /// Whether the newest beacon is too old.
    #[pallet::storage]
    pub type Stalled<T> = StorageValue<_, bool, ValueQuery>;

    /// What each gatekeeper has logged of its key releases. An entry stays when its gatekeeper leaves, so that nothing that it
    /// signed can be logged again; there are no more of them than gatekeepers have ever registered.
    #[pallet::storage]
    pub type ReleaseLogs<T: Config> = StorageMap<_, Blake2_128Concat, GatekeeperId, ReleaseLog<BlockNumberFor<T>>>;

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An attempt at a ceremony began.
        CeremonyStarted {
            /// The attempt.
            ceremony: CeremonyId,
            /// Which key.
            key: NetworkKey,
            /// Which attempt it is.
            attempt: u32,
            /// The ceremony whose shares are dealt anew; `None` for a new key.
            previous: Option<CeremonyId>,
        },
        /// A ceremony came to its next phase.
        PhaseStarted {
            /// The attempt.
            ceremony: CeremonyId,
            /// The phase.
            phase: Phase,
            /// The last block in which posts of it are taken.
            ends: BlockNumberFor<T>,
        },
        /// A gatekeeper has posted.
        Posted {
            /// The attempt.
            ceremony: CeremonyId,
            /// Who.
            gatekeeper: GatekeeperId,
            /// In which phase.
            phase: Phase,
        },
        /// An attempt ended without a sharing.
        CeremonyFailed {
            /// The attempt.
            ceremony: CeremonyId,
            /// Why.
            failure: Failure,
        },
        /// Players did not answer: the next attempt is without them.
        PlayersSilent {
            /// The attempt.
            ceremony: CeremonyId,
            /// Who.
            players: Vec<GatekeeperId>,
        },
        /// A ceremony ended: its key is shared anew.
        CeremonyCompleted {
            /// The attempt.
            ceremony: CeremonyId,
            /// Which key.
            key: NetworkKey,
            /// Its public half.
            public_key: PublicKey,
        },
        /// A gatekeeper has lost its share: a resharing among the same players begins.
        ShareLost {
            /// Who.
            gatekeeper: GatekeeperId,
            /// Of which key.
            key: NetworkKey,
        },
        /// An epoch is current from now on.
        EpochStarted {
            /// The epoch.
            epoch: EpochId,
        },
        /// The grace period of an epoch is over: gatekeepers erase their shares of its key.
        EpochEnded {
            /// The epoch.
            epoch: EpochId,
        },
        /// There is a new beacon.
        BeaconSubmitted {
            /// Its round.
            round: Round,
            /// What it gives.
            randomness: Hash,
        },
        /// There has been no beacon for too long.
        BeaconStalled {
            /// The newest round; `None` when there is none.
            newest: Option<Round>,
        },
        /// The beacon goes on.
        BeaconResumed,
        /// A gatekeeper has logged key releases.
        KeysReleased {
            /// Who.
            gatekeeper: GatekeeperId,
            /// How many it had released before.
            first: u64,
            /// How many these are.
            count: u32,
            /// SHA-256 of the list of requests.
            digest: Hash,
        },
    }

    /// Why a call was refused. A transaction that is refused before it gets into a block has the variant's number in
    /// `InvalidTransaction::Custom`.
    #[pallet::error]
    pub enum Error<T> {
        /// It was made for another chain.
        WrongGenesis,
        /// It is not signed by the gatekeeper that it names.
        BadSignature,
        /// The gatekeeper is not registered.
        NotRegistered,
        /// No such ceremony runs.
        NotRunning,
        /// The ceremony is in another phase, or this one is over.
        WrongPhase,
        /// Only dealers deal and log.
        NotDealer,
        /// Only players enrol, answer, confirm, bring the output, and lose shares.
        NotPlayer,
        /// The gatekeeper has posted in this phase already.
        AlreadyPosted,
        /// The gatekeeper has not dealt.
        NoDealing,
        /// Its length does not fit the numbers of dealers and players.
        WrongSize,
        /// A resharing cannot have another public key.
        WrongPublicKey,
        /// Too few players have confirmed the same yet.
        NotConfirmed,
        /// The output is not the one that was confirmed.
        WrongOutput,
        /// The key is not the root's or the current epoch's, or not shared yet.
        UnknownKey,
        /// The key has been shared anew since.
        OldSharing,
        /// The key is being shared anew already.
        AlreadyRunning,
        /// It is too early for another.
        TooEarly,
        /// The round is not that of a block so far.
        WrongRound,
        /// There is a beacon of this round, or of a later one.
        OldRound,
        /// The releases do not follow those that are logged.
        NotNext,
        /// There is nothing in it.
        Empty,
        /// The gatekeeper is not registered, or its evidence is not good (any more): it gets no shares.
        EvidenceNotGood,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(now: BlockNumberFor<T>) -> Weight {
            Self::do_remove(T::MaxRemovalsPerBlock::get())
                .saturating_add(Self::do_advance(now))
                .saturating_add(Self::do_end_epoch(now))
                .saturating_add(Self::do_watch_beacon(now))
        }

        fn integrity_test() {
            assert!(T::MinPlayers::get() > 0, "a key has players");
            assert!(!T::PhaseBlocks::get().is_zero(), "a phase takes at least one block");
            assert!(T::PhaseBlocks::get() <= T::MaxPhaseBlocks::get(), "a first attempt is no longer than any");
            assert!(T::BeaconInterval::get() > 0 && T::BeaconStall::get() > 0, "intervals are at least one block");
            assert!(T::BeaconHistory::get() > 0, "the newest beacon is kept");
            assert!(T::MaxRemovalsPerBlock::get() > 0, "posts are removed");
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_now: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Posts what a gatekeeper says in a ceremony.
        #[pallet::call_index(0)]
        #[pallet::weight((Pallet::<T>::post_weight(&signed.post.content), DispatchClass::Operational, Pays::No))]
        #[pallet::weight_of_authorize(<T as Config>::WeightInfo::authorize_post(signed.encoded_size() as u32))]
        #[pallet::authorize(|_source, signed| Pallet::<T>::authorize_post(signed))]
        pub fn post(origin: OriginFor<T>, signed: SignedPost) -> DispatchResult {
            ensure_authorized(origin)?;
            Self::do_post(signed.post)
        }

        /// Brings a new beacon.
        #[pallet::call_index(1)]
        #[pallet::weight((<T as Config>::WeightInfo::submit_beacon(), DispatchClass::Operational, Pays::No))]
        #[pallet::weight_of_authorize(<T as Config>::WeightInfo::authorize_beacon())]
        #[pallet::authorize(|_source, signed| Pallet::<T>::authorize_beacon(signed))]
        pub fn submit_beacon(origin: OriginFor<T>, signed: SignedBeacon) -> DispatchResult {
            ensure_authorized(origin)?;
            Self::do_submit_beacon(signed.brought)
        }

        /// Has a key's shares dealt anew among the same players, because one has lost its own.
        #[pallet::call_index(2)]
        #[pallet::weight((<T as Config>::WeightInfo::report_lost_share(), DispatchClass::Operational, Pays::No))]
        #[pallet::weight_of_authorize(<T as Config>::WeightInfo::authorize_lost_share())]
        #[pallet::authorize(|_source, signed| Pallet::<T>::authorize_lost_share(signed))]
        pub fn report_lost_share(origin: OriginFor<T>, signed: SignedLostShare) -> DispatchResult {
            ensure_authorized(origin)?;
            Self::do_report_lost_share(signed.request)
        }

        /// Logs key releases.
        #[pallet::call_index(3)]
        #[pallet::weight((<T as Config>::WeightInfo::log_releases(), DispatchClass::Operational, Pays::No))]
        #[pallet::weight_of_authorize(<T as Config>::WeightInfo::authorize_releases())]
        #[pallet::authorize(|_source, signed| Pallet::<T>::authorize_releases(signed))]
        pub fn log_releases(origin: OriginFor<T>, signed: SignedReleases) -> DispatchResult {
            ensure_authorized(origin)?;
            Self::do_log_releases(signed.releases)
        }
    }
}

impl<T: Config> Pallet<T> {
    /// The chain.
    pub fn genesis_hash() -> Hash {
        let hash = frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero());
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        bytes
    }

    fn now() -> BlockNumberFor<T> {
        frame_system::Pallet::<T>::block_number()
    }

    fn ensure_signed_by(gatekeeper: &GatekeeperId, message: &[u8], signature: &[u8; 64]) -> Result<(), Error<T>> {
        let signed = sp_io::crypto::ed25519_verify(&(*signature).into(), message, &gatekeeper.0.into());
        ensure!(signed, Error::<T>::BadSignature);
        Ok(())
    }

    /// The answer to `authorize`: valid, at most for `longevity` blocks, and the only one with this tag.
    fn valid(tag: impl Encode, longevity: TransactionLongevity) -> TransactionValidityWithRefund {
        ValidTransaction::with_tag_prefix("PhalaKeys")
            .priority(PRIORITY)
            .and_provides(tag)
            .longevity(longevity.max(1))
            .propagate(true)
            .build()
            .map(|valid| (valid, Weight::zero()))
    }
}

impl<T> From<Error<T>> for TransactionValidityError {
    fn from(error: Error<T>) -> Self {
        InvalidTransaction::Custom(error.encode().first().copied().unwrap_or(u8::MAX)).into()
    }
}
