//! The release of app keys: a worker asks, each gatekeeper decides by itself, and the worker puts the answers together.
//!
//! The worker's host and the network carry requests and replies, and may drop, replay, exchange and change them. A request is signed by the
//! worker's enclave and names everything that the decision is about; the reply is encrypted to a key that was made for this
//! request alone, and bound to all of it. A reply to another request does not open, a replayed one says the same again.
//!
//! A gatekeeper that decides wrongly gives away one part of one app's key. [`Granted`] is what it takes: its caller has to have read
//! each of the [`Facts`] from the finalized chain.

use codec::Encode;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use phala_primitives::{
    AppId, GatekeeperId, Hash, JobId, WorkerId,
    gatekeeper::{CeremonyId, EpochId, KeyReply, KeyRequest, NetworkKey, SignedKeyRequest},
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    Share,
    hybrid::{KeyPair, seal},
    sharing::{Message, Partial, PartialError, VerifiedPartial, VerifiedSharing},
};

/// HPKE's `info` of a reply.
fn info(ceremony: CeremonyId, request: &KeyRequest) -> Vec<u8> {
    (b"phala/key-reply/v1", ceremony, request).encode()
}

/// What the finalized chain says about a request, read by the gatekeeper by proof at one block.
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

/// A request whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRequest(KeyRequest);

impl VerifiedRequest {
    /// Checks that the worker's enclave signed the request.
    ///
    /// # Errors
    /// [`Refused::Signature`].
    pub fn new(signed: &SignedKeyRequest) -> Result<Self, Refused> {
        let key = VerifyingKey::from_bytes(&signed.request.worker.0).map_err(|_| Refused::Signature)?;
        key.verify_strict(&signed.request.signed_bytes(), &Signature::from_bytes(&signed.signature))
            .map_err(|_| Refused::Signature)?;
        Ok(Self(signed.request.clone()))
    }

    /// What is asked.
    pub fn request(&self) -> &KeyRequest {
        &self.0
    }
}

/// A request that the chain's state allows. Only [`Granted::new`] makes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted(VerifiedRequest);

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

    /// What is granted.
    pub fn request(&self) -> &KeyRequest {
        self.0.request()
    }
}

/// Why a gatekeeper does not answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request is not signed by the worker that it names.
    #[error("the request is not signed by its worker")]
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

/// A gatekeeper's answer: its part of the app's key, encrypted to the worker.
///
/// # Errors
/// [`Refused::Share`] if `share` is of another key, [`Refused::ReplyKey`].
#[expect(clippy::needless_pass_by_value, reason = "what is granted is granted once")]
pub fn reply(share: &Share, granted: Granted, rng: &mut impl CryptoRng) -> Result<KeyReply, Refused> {
    let request = granted.request();
    if share.key() != request.key {
        return Err(Refused::Share);
    }
    let message = Message::AppKey { app: request.app, version: request.version };
    let partial = share.partial(&message).ok_or(Refused::Share)?;
    let (encapsulated_key, ciphertext) =
        seal(rng, &request.reply_key, &info(share.ceremony(), request), b"", &partial.signature)
            .ok_or(Refused::ReplyKey)?;
    Ok(KeyReply { ceremony: share.ceremony(), encapsulated_key, ciphertext })
}

/// A worker's request with the key that opens the replies. It ends with the worker's process: a new one asks anew.
pub struct PendingRequest {
    request: KeyRequest,
    key: KeyPair,
}

impl PendingRequest {
    /// Makes a request; `reply_key` in `request` is replaced by a fresh one. Returns what is sent to the gatekeepers, too.
    ///
    /// `None` if `signing` is not the key of the request's worker.
    pub fn new(
        request: KeyRequest,
        signing: &SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Option<(Self, SignedKeyRequest)> {
        if request.worker.0 != signing.verifying_key().to_bytes() {
            return None;
        }
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        let key = KeyPair::derive(&seed);
        let request = KeyRequest { reply_key: key.public(), ..request };
        let signature = signing.sign(&request.signed_bytes()).to_bytes();
        Some((Self { request: request.clone(), key }, SignedKeyRequest { request, signature }))
    }

    /// What was asked.
    pub fn request(&self) -> &KeyRequest {
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
        let message = Message::AppKey { app: self.request.app, version: self.request.version };
        Ok(sharing.verify(gatekeeper, message, &partial)?)
    }
}

impl std::fmt::Debug for PendingRequest {
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
