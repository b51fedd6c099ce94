//! What gatekeepers say to one another through the chain, and what the chain keeps of it.
//!
//! A network key is shared among gatekeepers: [`threshold`] of them make a signature with it, fewer learn nothing. A *ceremony*
//! makes a new key, or deals the shares of one anew to others. Its messages are [`Post`]s on the chain, phase by phase:
//!
//! ```text
//!  Enrol ──► Deal ──► Answer ──► Log ──► Confirm ──► the key's new sharing
//!    │         │         │        │         │
//!    └─────────┴─────────┴────────┴─────────┴──► too few in time: the next attempt, under a new number
//! ```
//!
//! What each phase says, and why it is safe, is in docs/gatekeepers.md.

use alloc::vec::Vec;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sha2::{Digest, Sha256};

use crate::{
    AppId, Balance, Hash, JobId, WorkerId,
    attestation::{Class, Outlook, SealingKeyId},
    id::GatekeeperId,
};
use phala_attestation::{Family, Measurement, PlatformId, Tier, UnixSeconds, Vendor};

/// The most gatekeepers among whom a key is shared.
pub const MAX_GATEKEEPERS: u32 = 64;

/// How many of `gatekeepers` may fail, lie or be silent without harm: ⌊(n − 1) / 3⌋.
pub const fn tolerated(gatekeepers: u32) -> u32 {
    gatekeepers.saturating_sub(1) / 3
}

/// How many of `gatekeepers` have to sign together: n − [`tolerated`], which is more than half of them. So as many are needed as
/// GRANDPA needs to finalize, and the rest may be gone.
pub const fn threshold(gatekeepers: u32) -> u32 {
    gatekeepers.saturating_sub(tolerated(gatekeepers))
}

/// The number of a session: the time of one list of authorities.
pub type SessionIndex = u32;

/// A place for a gatekeeper.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Seat<AccountId> {
    /// Who owns it, and bonded it.
    pub operator: AccountId,
    /// Which of the operator's.
    pub index: u16,
    /// What of the operator's PHA is on hold for it.
    pub bond: Balance,
    /// Whether it stands.
    pub status: SeatStatus,
    /// Its enclave: in the set from the next election on.
    pub gatekeeper: GatekeeperId,
    /// Its earlier enclaves, which may still hold shares.
    pub previous: Vec<Previous>,
}

impl<AccountId> Seat<AccountId> {
    /// All its enclaves.
    pub fn enclaves(&self) -> impl Iterator<Item = GatekeeperId> + '_ {
        core::iter::once(self.gatekeeper).chain(self.previous.iter().map(|previous| previous.gatekeeper))
    }
}

/// Whether a seat stands in elections. It says nothing about whether the seat is in the set now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum SeatStatus {
    /// It stands.
    Standing,
    /// It does not, and may again.
    Resting,
    /// Its operator gave it up. The bond can be withdrawn from this session on.
    Leaving(SessionIndex),
    /// It equivocated. The record can be removed from this session on.
    Ejected(SessionIndex),
}

/// An enclave that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Previous {
    /// The enclave.
    pub gatekeeper: GatekeeperId,
    /// Its record is kept until this session at least.
    pub until: SessionIndex,
}

/// What the chain keeps of a gatekeeper: an enclave of a seat.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Gatekeeper<AccountId, BlockNumber> {
    /// Its seat.
    pub seat: AccountId,
    /// Who owns the seat.
    pub operator: AccountId,
    /// X25519 public key to which messages for it are encrypted.
    pub encryption_key: Hash,
    /// Where its host serves HTTP, without a trailing slash.
    pub endpoint: Vec<u8>,
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
    /// SHA-256 of the SCALE encoding of `(Statement, Evidence)`.
    pub evidence_hash: Hash,
    /// The block of its registration.
    pub registered_at: BlockNumber,
}

impl<AccountId, BlockNumber> Gatekeeper<AccountId, BlockNumber> {
    /// The classes that it is of.
    pub fn classes(&self) -> [Class; 3] {
        Class::all_of(self.measurement, self.platform, self.family)
    }
}

/// The number of an epoch: 0, 1, 2, …; each has a key of its own.
pub type EpochId = u32;

/// When the key of an epoch is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Epoch<BlockNumber> {
    /// Since when inputs may be encrypted under it.
    pub started: BlockNumber,
    /// The last block of its grace period: after it, its shares are erased. `None` for the current epoch.
    pub ends: Option<BlockNumber>,
}

/// A key of the network.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum NetworkKey {
    /// The one that lives as long as the network: apps' state and signing keys and the random beacon come from it.
    Root,
    /// That of an epoch: inputs are encrypted under it. Its shares are erased once the epoch's grace period is over.
    Epoch(EpochId),
}

/// The number of an attempt at a ceremony. None is used twice, whatever key it is for and whatever becomes of it.
pub type CeremonyId = u64;

/// An attempt at a ceremony.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Ceremony<BlockNumber> {
    /// Which key.
    pub key: NetworkKey,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The ceremony whose shares are dealt anew; `None` for a new key.
    pub previous: Option<CeremonyId>,
    /// Who may deal, in ascending order: for a new key its players, else the players of `previous`.
    pub dealers: Vec<GatekeeperId>,
    /// Who gets shares, in ascending order: while they enrol, who may; then, who did.
    pub players: Vec<GatekeeperId>,
    /// What is done now.
    pub phase: Phase,
    /// The last block in which posts of this phase are taken.
    pub phase_ends: BlockNumber,
}

/// A part of a ceremony.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Phase {
    /// Players name keys that are made for this ceremony alone. Who does not, gets no share.
    Enrol,
    /// Dealers commit to polynomials and encrypt each player's value to it.
    Deal,
    /// Players acknowledge, or complain about, every dealing. One player's silence ends the attempt; the next is without it.
    Answer,
    /// Dealers sign what players answered, and open the values that were complained about.
    Log,
    /// Players say what came out.
    Confirm,
}

/// Says something in a ceremony.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Post {
    /// The chain.
    pub genesis_hash: Hash,
    /// The ceremony.
    pub ceremony: CeremonyId,
    /// Who says it; its key signs.
    pub gatekeeper: GatekeeperId,
    /// What it says.
    pub content: Content,
}

impl Post {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/ceremony/v1", self).encode()
    }
}

/// A post with its enclave's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct SignedPost {
    /// What is signed.
    pub post: Post,
    /// Ed25519, by `post.gatekeeper`, over [`Post::signed_bytes`].
    pub signature: [u8; 64],
}

/// What a gatekeeper says in a ceremony: each once, in the phase of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub enum Content {
    /// The X25519 public key to which dealings for this player are encrypted, made for this ceremony and erased after it.
    Enrolment([u8; 32]),
    /// A dealer's.
    Dealing(Dealing),
    /// A player's answers to the dealings, in ascending order of the dealers that dealt.
    Answers(Vec<Answer>),
    /// A dealer's signed log: commonware's encoding of a `SignedDealerLog`.
    Log(Vec<u8>),
    /// A player's: what came out.
    Confirmation(Confirmation),
    /// The output itself, once [`threshold`] of the players confirmed its hash: anyone of them, also in [`Phase::Confirm`].
    Output(Vec<u8>),
}

/// A dealing: a polynomial that nobody sees, by its commitment and one encrypted value for each player.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Dealing {
    /// Commonware's encoding of a `DealerPubMsg`.
    pub commitment: Vec<u8>,
    /// For each player, in ascending order.
    pub shares: Vec<EncryptedShare>,
}

/// HPKE (RFC 9180) in base mode, with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305, of commonware's encoding of a
/// `DealerPrivMsg`, to the player's enrolled key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct EncryptedShare {
    /// The encapsulated key.
    pub encapsulated_key: [u8; 32],
    /// 32 bytes and their tag.
    pub ciphertext: [u8; 48],
}

/// What a player says to a dealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Answer {
    /// The value fits the commitment. Commonware's encoding of a `PlayerAck`: a signature.
    Acknowledged([u8; 64]),
    /// It does not, or does not open: the dealer has to open it for all.
    Complaint,
}

/// What came out of a ceremony, as far as all have to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Confirmation {
    /// The key.
    pub public_key: PublicKey,
    /// SHA-256 of the output.
    pub output_hash: Hash,
}

/// A network key's public half: a compressed point of BLS12-381's G2.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct PublicKey(pub [u8; 96]);

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// Lower-case hexadecimal with `0x`.
impl core::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How a key is shared at present.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Sharing<BlockNumber> {
    /// The ceremony that ended with it.
    pub ceremony: CeremonyId,
    /// The key.
    pub public_key: PublicKey,
    /// Who has shares, in ascending order.
    pub players: Vec<GatekeeperId>,
    /// Commonware's encoding of the ceremony's `Output`: what partial signatures are verified against.
    pub output: Vec<u8>,
    /// The block in which the ceremony ended.
    pub since: BlockNumber,
}

/// A player asks that the shares of a key be dealt anew among the same players, because it has lost its own.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct LostShare {
    /// The chain.
    pub genesis_hash: Hash,
    /// The key.
    pub key: NetworkKey,
    /// The ceremony in which it got the share.
    pub ceremony: CeremonyId,
    /// Who lost it; its key signs.
    pub gatekeeper: GatekeeperId,
}

impl LostShare {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/lost-share/v1", self).encode()
    }
}

/// A request with its enclave's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedLostShare {
    /// What is signed.
    pub request: LostShare,
    /// Ed25519, by `request.gatekeeper`, over [`LostShare::signed_bytes`].
    pub signature: [u8; 64],
}

/// The number of a round of the random beacon: that of a finalized block.
pub type Round = u32;

/// How old a sharing is at least, in blocks, before it is made anew for a gatekeeper that lost its share.
pub const LOST_SHARE_INTERVAL: u32 = 60;

/// How many blocks lie between two entries of a gatekeeper's release log at least.
pub const RELEASE_INTERVAL: u32 = 60;

/// A round of the random beacon: the one signature that the root key makes over the round's number. Nobody knows it before
/// [`threshold`] gatekeepers sign, and nobody can make another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Beacon {
    /// Which round.
    pub round: Round,
    /// A compressed point of BLS12-381's G1.
    pub signature: [u8; 48],
}

impl Beacon {
    /// What is signed with the namespace [`BEACON_NAMESPACE`].
    pub fn message(genesis_hash: &Hash, round: Round) -> Vec<u8> {
        (genesis_hash, round).encode()
    }

    /// What the round gives: SHA-256 of the signature.
    pub fn randomness(&self) -> Hash {
        Sha256::digest(self.signature).into()
    }
}

/// A gatekeeper brings a round to the chain. Its own signature costs little to verify: nobody else makes nodes verify the round's.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct BroughtBeacon {
    /// The chain.
    pub genesis_hash: Hash,
    /// Who brings it; its key signs.
    pub gatekeeper: GatekeeperId,
    /// The round.
    pub beacon: Beacon,
}

impl BroughtBeacon {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/brought-beacon/v1", self).encode()
    }
}

/// A brought round with its enclave's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedBeacon {
    /// What is signed.
    pub brought: BroughtBeacon,
    /// Ed25519, by `brought.gatekeeper`, over [`BroughtBeacon::signed_bytes`].
    pub signature: [u8; 64],
}

/// Each block whose number is a multiple of this has a round of the beacon.
pub const BEACON_INTERVAL: Round = 3;

/// A gatekeeper's part of a round of the beacon, which anybody may know: a threshold of them are the round.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct BeaconPart {
    /// The chain.
    pub genesis_hash: Hash,
    /// Which round.
    pub round: Round,
    /// Whose part it is; its key signs.
    pub gatekeeper: GatekeeperId,
    /// The ceremony in which it got its share.
    pub ceremony: CeremonyId,
    /// Commonware's encoding of a `PartialSignature`.
    pub partial: Vec<u8>,
}

impl BeaconPart {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/beacon-part/v1", self).encode()
    }
}

/// A part of a round with its enclave's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct SignedBeaconPart {
    /// What is signed.
    pub part: BeaconPart,
    /// Ed25519, by `part.gatekeeper`, over [`BeaconPart::signed_bytes`].
    pub signature: [u8; 64],
}

/// Separates the beacon's signatures from others of the same key.
pub const BEACON_NAMESPACE: &[u8] = b"phala/beacon/v1";

/// Separates app keys from other signatures of the same network key.
pub const APP_KEY_NAMESPACE: &[u8] = b"phala/app-key/v1";

/// The version of every app's key: none was ever replaced by another.
pub const APP_KEY_VERSION: u32 = 0;

/// What an app's key is a signature over, with the namespace [`APP_KEY_NAMESPACE`]: of the root key for the app's own secrets, of
/// an epoch's for inputs. Also the identity to which inputs are encrypted.
pub fn app_key_message(app: &AppId, version: u32) -> Vec<u8> {
    (app, version).encode()
}

/// A worker asks a gatekeeper for its part of an app key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct KeyRequest {
    /// The chain.
    pub genesis_hash: Hash,
    /// Who asks; its key signs.
    pub worker: WorkerId,
    /// The job that it was given.
    pub job: JobId,
    /// Which assignment of the job.
    pub attempt: u32,
    /// The job's app.
    pub app: AppId,
    /// The version of the app's key.
    pub version: u32,
    /// Which network key the app key comes from.
    pub key: NetworkKey,
    /// The X25519 public key to which the answer is encrypted, made for this request alone.
    pub reply_key: [u8; 32],
}

impl KeyRequest {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/key-request/v1", self).encode()
    }
}

/// Separates keys to seal with from other signatures of the root key.
pub const SEALING_KEY_NAMESPACE: &[u8] = b"phala/sealing-key/v1";

/// What a sealing key is a signature of the root key over, with the namespace [`SEALING_KEY_NAMESPACE`].
pub fn sealing_key_message(key: &SealingKeyId) -> Vec<u8> {
    key.encode()
}

/// An enclave on a platform that cannot seal asks a gatekeeper for its part of the key to seal with. The chain has its
/// [claim](crate::attestation::SealingClaim).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SealingKeyRequest {
    /// The chain.
    pub genesis_hash: Hash,
    /// The key that claimed it, made for that alone; it signs.
    pub claimant: [u8; 32],
    /// The key that it claimed.
    pub key: SealingKeyId,
    /// The X25519 public key to which the answer is encrypted, made for this request alone.
    pub reply_key: [u8; 32],
}

impl SealingKeyRequest {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/sealing-key-request/v1", self).encode()
    }
}

/// A request with its enclave's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedRequest<R> {
    /// What is signed.
    pub request: R,
    /// Ed25519, by who asks, over the request's `signed_bytes`.
    pub signature: [u8; 64],
}

/// A request for an app key, signed by its worker.
pub type SignedKeyRequest = SignedRequest<KeyRequest>;

/// A request for a sealing key, signed by its claimant.
pub type SignedSealingKeyRequest = SignedRequest<SealingKeyRequest>;

/// What an enclave asks of a gatekeeper.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum GatekeeperRequest {
    /// Its part of an app key.
    AppKey(SignedKeyRequest),
    /// Its part of a sealing key.
    SealingKey(SignedSealingKeyRequest),
}

impl From<SignedKeyRequest> for GatekeeperRequest {
    fn from(request: SignedKeyRequest) -> Self {
        Self::AppKey(request)
    }
}

impl From<SignedSealingKeyRequest> for GatekeeperRequest {
    fn from(request: SignedSealingKeyRequest) -> Self {
        Self::SealingKey(request)
    }
}

/// What a gatekeeper gave its part of.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum ReleasedKey {
    /// An app's.
    App(KeyRequest),
    /// One to seal with.
    Sealing(SealingKeyRequest),
}

impl From<KeyRequest> for ReleasedKey {
    fn from(request: KeyRequest) -> Self {
        Self::App(request)
    }
}

impl From<SealingKeyRequest> for ReleasedKey {
    fn from(request: SealingKeyRequest) -> Self {
        Self::Sealing(request)
    }
}

/// A gatekeeper's answer to a [`GatekeeperRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct KeyReply {
    /// The ceremony in which the gatekeeper got its share: parts of different ceremonies do not fit together.
    pub ceremony: CeremonyId,
    /// HPKE as in [`EncryptedShare`]: the encapsulated key.
    pub encapsulated_key: [u8; 32],
    /// Commonware's encoding of a `PartialSignature` (52 bytes at most) and its tag.
    pub ciphertext: Vec<u8>,
}

/// A gatekeeper says which requests it has answered since it last said so.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Releases {
    /// The chain.
    pub genesis_hash: Hash,
    /// Who answered; its key signs.
    pub gatekeeper: GatekeeperId,
    /// How many it had answered before, which are on the chain already.
    pub first: u64,
    /// How many these are: at least one.
    pub count: u32,
    /// SHA-256 over the SCALE encoding of the list of [`ReleasedKey`]s, in the order of the answers.
    pub digest: Hash,
}

impl Releases {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/releases/v1", self).encode()
    }
}

/// Releases with their enclave's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedReleases {
    /// What is signed.
    pub releases: Releases,
    /// Ed25519, by `releases.gatekeeper`, over [`Releases::signed_bytes`].
    pub signature: [u8; 64],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_more_than_half_and_what_grandpa_needs() {
        let table = [(1, 1), (2, 2), (3, 3), (4, 3), (7, 5), (10, 7), (16, 11), (32, 22), (64, 43)];
        for (gatekeepers, needed) in table {
            assert_eq!(threshold(gatekeepers), needed, "of {gatekeepers}");
        }
        for gatekeepers in 1..=MAX_GATEKEEPERS {
            assert!(threshold(gatekeepers) * 2 > gatekeepers);
            assert!(threshold(gatekeepers) * 3 > gatekeepers * 2);
            assert!(tolerated(gatekeepers) * 3 < gatekeepers);
        }
    }
}
