//! The release of keys: an enclave asks, each gatekeeper decides by itself, and the enclave puts the answers together. A worker asks for
//! the key of an app of which it was given a job; an enclave on a platform that cannot seal, for the key to seal with.
//!
//! The enclave's host and the network carry requests and replies, and may drop, replay, exchange and change them. A request is signed by the
//! enclave and names everything that the decision is about; the reply is encrypted to a key that was made for this
//! request alone, and bound to all of it. A reply to another request does not open, a replayed one says the same again.
//!
//! A gatekeeper that decides wrongly gives away one part of one key. [`Granted`] is what it takes: its caller has to have read
//! each of the [`Facts`] or [`SealingFacts`] from the finalized chain.

use codec::Encode;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use phala_primitives::{
    AppId, GatekeeperId, Hash, JobId, WorkerId,
    attestation::SealingClaim,
    gatekeeper::{CeremonyId, EpochId, KeyReply, KeyRequest, NetworkKey, SealingKeyRequest, SignedRequest},
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    Share,
    hybrid::{KeyPair, seal},
    sharing::{Message, Partial, PartialError, VerifiedPartial, VerifiedSharing},
};

/// What an enclave asks a gatekeeper for.
pub trait Request: Clone + Encode {
    /// Separates replies to it from others.
    const REPLY: &'static [u8];

    /// The Ed25519 public key of who asks.
    fn asker(&self) -> &[u8; 32];

    /// The network key that it is a matter of.
    fn network_key(&self) -> NetworkKey;

    /// What that signs: the key that is asked for.
    fn message(&self) -> Message;

    /// The X25519 public key to which the reply is encrypted.
    fn reply_key(&self) -> &[u8; 32];

    /// The same with another.
    fn with_reply_key(self, reply_key: [u8; 32]) -> Self;

    /// The bytes that who asks signs.
    fn signed_bytes(&self) -> Vec<u8>;
}

impl Request for KeyRequest {
    const REPLY: &'static [u8] = b"phala/key-reply/v1";

    fn asker(&self) -> &[u8; 32] {
        &self.worker.0
    }

    fn network_key(&self) -> NetworkKey {
        self.key
    }

    fn message(&self) -> Message {
        Message::AppKey { app: self.app, version: self.version }
    }

    fn reply_key(&self) -> &[u8; 32] {
        &self.reply_key
    }

    fn with_reply_key(self, reply_key: [u8; 32]) -> Self {
        Self { reply_key, ..self }
    }

    fn signed_bytes(&self) -> Vec<u8> {
        self.signed_bytes()
    }
}

impl Request for SealingKeyRequest {
    const REPLY: &'static [u8] = b"phala/sealing-key-reply/v1";

    fn asker(&self) -> &[u8; 32] {
        &self.claimant
    }

    fn network_key(&self) -> NetworkKey {
        NetworkKey::Root
    }

    fn message(&self) -> Message {
        Message::SealingKey(self.key)
    }

    fn reply_key(&self) -> &[u8; 32] {
        &self.reply_key
    }

    fn with_reply_key(self, reply_key: [u8; 32]) -> Self {
        Self { reply_key, ..self }
    }

    fn signed_bytes(&self) -> Vec<u8> {
        self.signed_bytes()
    }
}

/// HPKE's `info` of a reply: SCALE, the name as in an array of its length.
fn info<R: Request>(ceremony: CeremonyId, request: &R) -> Vec<u8> {
    [R::REPLY, &(ceremony, request).encode()].concat()
}

/// What the finalized chain says about a request for an app key, read by the gatekeeper by proof at one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The chain.
    pub genesis_hash: Hash,
    /// The chain's time at that block, in seconds since the Unix epoch.
    pub now: u64,
    /// The job.
    pub job: JobId,
    /// The worker that the job is assigned to.
    pub worker: WorkerId,
    /// Which assignment of the job that is.
    pub attempt: u32,
    /// The job's app.
    pub app: AppId,
    /// The current version of the app's key.
    pub version: u32,
    /// When the worker's verdict ends, in seconds since the Unix epoch.
    pub verdict_expires: u64,
    /// The epochs whose keys are still given, first and last: those whose grace period is not over. `None` before the first.
    pub epochs: Option<(EpochId, EpochId)>,
}

/// What the finalized chain says about a request for a sealing key, read by the gatekeeper by proof at one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealingFacts {
    /// The chain.
    pub genesis_hash: Hash,
    /// The chain's time at that block, in seconds since the Unix epoch.
    pub now: u64,
    /// The claim under the key of who asks.
    pub claim: SealingClaim,
}

/// A request whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRequest<R = KeyRequest>(R);

impl<R: Request> VerifiedRequest<R> {
    /// Checks that the enclave that it names signed the request.
    ///
    /// # Errors
    /// [`Refused::Signature`].
    pub fn new(signed: &SignedRequest<R>) -> Result<Self, Refused> {
        let key = VerifyingKey::from_bytes(signed.request.asker()).map_err(|_| Refused::Signature)?;
        key.verify_strict(&signed.request.signed_bytes(), &Signature::from_bytes(&signed.signature))
            .map_err(|_| Refused::Signature)?;
        Ok(Self(signed.request.clone()))
    }

    /// What is asked.
    pub fn request(&self) -> &R {
        &self.0
    }
}

/// A request that the chain's state allows. Only [`Granted::new`] and [`Granted::for_sealing`] make it.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted<R = KeyRequest>(VerifiedRequest<R>);

impl Granted<SealingKeyRequest> {
    /// Holds a request for a sealing key against what the chain says.
    ///
    /// # Errors
    /// The first thing that differs.
    pub fn for_sealing(request: VerifiedRequest<SealingKeyRequest>, facts: &SealingFacts) -> Result<Self, Refused> {
        let asked = request.request();
        if asked.genesis_hash != facts.genesis_hash {
            return Err(Refused::Chain);
        }
        if asked.key != facts.claim.key || !facts.claim.counts(facts.now) {
            return Err(Refused::Claim);
        }
        Ok(Self(request))
    }
}

impl<R: Request> Granted<R> {
    /// What is granted.
    pub fn request(&self) -> &R {
        self.0.request()
    }
}

impl Granted {
    /// Holds a request against what the chain says.
    ///
    /// # Errors
    /// The first thing that differs.
    pub fn new(request: VerifiedRequest, facts: &Facts) -> Result<Self, Refused> {
        let asked = request.request();
        if asked.genesis_hash != facts.genesis_hash {
            return Err(Refused::Chain);
        }
        if asked.job != facts.job || asked.worker != facts.worker || asked.attempt != facts.attempt {
            return Err(Refused::Assignment);
        }
        if asked.app != facts.app {
            return Err(Refused::App);
        }
        if asked.version != facts.version {
            return Err(Refused::Version { current: facts.version });
        }
        if facts.verdict_expires <= facts.now {
            return Err(Refused::Verdict);
        }
        match asked.key {
            NetworkKey::Root => {}
            NetworkKey::Epoch(epoch) if facts.epochs.is_some_and(|(first, last)| (first..=last).contains(&epoch)) => {}
            NetworkKey::Epoch(epoch) => return Err(Refused::Epoch(epoch)),
        }
        Ok(Self(request))
    }
}

/// Why a gatekeeper does not answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request is not signed by the enclave that it names.
    #[error("the request is not signed by its enclave")]
    Signature,
    /// It is for another chain.
    #[error("the request is for another chain")]
    Chain,
    /// The job is not assigned to the worker, or not any more, or in another attempt.
    #[error("the job is not assigned to this worker in this attempt")]
    Assignment,
    /// The job is of another app.
    #[error("the job is of another app")]
    App,
    /// The app's key has another version by now.
    #[error("the app's key has version {current}")]
    Version {
        /// The one to ask for.
        current: u32,
    },
    /// The worker's verdict is over, or its image no longer allowed.
    #[error("the worker's verdict is over")]
    Verdict,
    /// The chain has no claim of this enclave to a sealing key of this image on this platform, or no longer.
    #[error("the enclave has no claim to this sealing key, or no longer")]
    Claim,
    /// The epoch's grace period is over, or it has not begun.
    #[error("the key of epoch {0} is not given")]
    Epoch(u32),
    /// The gatekeeper has no share of this key.
    #[error("this gatekeeper has no share of the key")]
    Share,
    /// Nothing can be encrypted to the reply key.
    #[error("nothing can be encrypted to the reply key")]
    ReplyKey,
}

/// A gatekeeper's answer: its part of the key, encrypted to who asked.
///
/// # Errors
/// [`Refused::Share`] if `share` is of another key, [`Refused::ReplyKey`].
#[expect(clippy::needless_pass_by_value, reason = "what is granted is granted once")]
pub fn reply<R: Request>(share: &Share, granted: Granted<R>, rng: &mut impl CryptoRng) -> Result<KeyReply, Refused> {
    let request = granted.request();
    if share.key() != request.network_key() {
        return Err(Refused::Share);
    }
    let partial = share.partial(&request.message()).ok_or(Refused::Share)?;
    let (encapsulated_key, ciphertext) =
        seal(rng, request.reply_key(), &info(share.ceremony(), request), b"", &partial.signature)
            .ok_or(Refused::ReplyKey)?;
    Ok(KeyReply { ceremony: share.ceremony(), encapsulated_key, ciphertext })
}

/// A request with the key that opens the replies. It ends with the enclave's process: a new one asks anew.
pub struct PendingRequest<R = KeyRequest> {
    request: R,
    key: KeyPair,
}

impl<R: Request> PendingRequest<R> {
    /// Makes a request; its reply key is replaced by a fresh one. Returns what is sent to the gatekeepers, too.
    ///
    /// `None` if `signing` is not the key of who asks.
    pub fn new(request: R, signing: &SigningKey, rng: &mut impl CryptoRng) -> Option<(Self, SignedRequest<R>)> {
        if *request.asker() != signing.verifying_key().to_bytes() {
            return None;
        }
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        let key = KeyPair::derive(&seed);
        let request = request.with_reply_key(key.public());
        let signature = signing.sign(&request.signed_bytes()).to_bytes();
        Some((Self { request: request.clone(), key }, SignedRequest { request, signature }))
    }

    /// What was asked.
    pub fn request(&self) -> &R {
        &self.request
    }

    /// Opens and verifies a gatekeeper's reply.
    ///
    /// # Errors
    /// When it is none to this request, or its part is false.
    pub fn open(
        &self,
        sharing: &VerifiedSharing,
        gatekeeper: GatekeeperId,
        reply: &KeyReply,
    ) -> Result<VerifiedPartial, OpenError> {
        let info = info(reply.ceremony, &self.request);
        let mut signature = self
            .key
            .open(&reply.encapsulated_key, &info, b"", &reply.ciphertext)
            .ok_or(OpenError::Closed { gatekeeper })?;
        let partial = Partial { ceremony: reply.ceremony, signature: std::mem::take(&mut *signature) };
        Ok(sharing.verify(gatekeeper, self.request.message(), &partial)?)
    }
}

impl<R: std::fmt::Debug> std::fmt::Debug for PendingRequest<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PendingRequest({:?})", self.request)
    }
}

/// Why a reply is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It does not open: it is to another request, or somebody changed it.
    #[error("the reply of {gatekeeper} does not open")]
    Closed {
        /// Whose reply.
        gatekeeper: GatekeeperId,
    },
    /// What is in it is false.
    #[error(transparent)]
    Partial(#[from] PartialError),
}
