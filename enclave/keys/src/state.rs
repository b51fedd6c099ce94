//! The secrets of a gatekeeper, and what it does next.
//!
//! # Sealing
//! [`State::step`] answers with [`Step::Seal`] whenever the state has changed since it was last sealed, and with posts only when it has
//! not. So nothing is posted whose secrets a crash could lose. The caller seals, and steps again:
//!
//! ```text
//! loop {
//!     match state.step(&identity, &view, &mut rng) {
//!         Step::Seal(unsealed) => { durably seal unsealed.bytes(); state.sealed(unsealed) }
//!         Step::Post { posts, .. } => { submit posts; wait for the next finalized block; view = … }
//!     }
//! }
//! ```
//!
//! # Rollback
//! A host can keep every sealed blob and start the enclave again with an old one.
//! - One from before an attempt has another seed, or none: it makes other keys and dealings than are on chain, notices, and stands aside.
//!   Should the chain not have them yet, the host can choose which of two independent dealings it posts. Each hides the dealer's
//!   share as well as one does.
//! - One from within an attempt makes the same posts again.
//! - One from before releases of app keys were reserved does not know of them: they are reserved a second time.
//! - One with shares that were erased since is what erasure cannot protect from: sealed blobs that somebody recorded give their shares to
//!   whoever takes the sealing key out of the TEE later. A threshold of such TEEs is an epoch's key. See docs/gatekeepers.md.
//!
//! # Erasure
//! What a step erases is gone from memory, and from the disk once the new state is sealed in the old one's place: an attempt's
//! seed when the chain shows the sharing that it led to, or no longer shows the attempt; a share when the chain shows a later sharing of its
//! key; an epoch's share by [`State::forget`].

use std::collections::BTreeMap;

use codec::{Decode, DecodeAll, Encode};
use commonware_codec::Encode as _;
use phala_primitives::gatekeeper::{CeremonyId, Confirmation, Content, NetworkKey, Phase, Sharing, SignedPost};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    Aside, CeremonyView, Identity, Share, View,
    ceremony::{Attempt, confirmation, enrolment},
    share::Secret,
};

/// The format of the sealed state.
const VERSION: u8 = 2;

/// A gatekeeper's secrets. Shows nothing in `Debug`.
#[derive(Default)]
pub struct State {
    shares: BTreeMap<NetworkKey, Share>,
    attempts: BTreeMap<CeremonyId, Secrets>,
    /// How many parts of app keys it may have given in its life.
    releases: u64,
    /// How often it changed, and the change that was last sealed.
    changes: u64,
    sealed: u64,
    /// What it says in a phase, with all that this was computed from.
    said: BTreeMap<CeremonyId, (CeremonyView, Result<Content, Aside>)>,
}

/// What is kept for an attempt.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
struct Secrets {
    key: NetworkKey,
    /// Everything that this gatekeeper makes for the attempt comes from it.
    seed: Secret,
    /// What came out, until the chain has it.
    pending: Option<Pending>,
}

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
struct Pending {
    share: Share,
    confirmation: Confirmation,
    output: Vec<u8>,
}

/// What to do next.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Seal this durably in the place of what was sealed before, tell [`State::sealed`], and step again.
    Seal(Unsealed),
    /// Post what the chain does not have yet, in any order; none is all right. Step again at the next finalized block.
    Post {
        /// Signed, and the same again for the same view.
        posts: Vec<SignedPost>,
        /// The ceremonies in which this gatekeeper would have something to do and does not, with the reason.
        asides: BTreeMap<CeremonyId, Aside>,
    },
}

/// A changed state that has to be sealed before anything is posted.
pub struct Unsealed {
    bytes: Zeroizing<Vec<u8>>,
    change: u64,
}

impl Unsealed {
    /// What to seal; [`State::unseal`] reads it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unsealed({} bytes)", self.bytes.len())
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({:?}, attempts {:?})", self.shares.values(), self.attempts.keys())
    }
}

/// The bytes are no sealed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Another version of this software wrote them.
    #[error("the sealed state has format {0}, and only {VERSION} is known")]
    Version(u8),
    /// They cannot be read.
    #[error("the sealed state cannot be read")]
    Malformed,
}

/// Why a key cannot be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// The root key lives as long as the network.
    #[error("the root key is never forgotten")]
    Root,
}

impl State {
    /// Of a gatekeeper that has nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What [`Unsealed::bytes`] gave.
    ///
    /// # Errors
    /// When it is not that.
    pub fn unseal(bytes: &[u8]) -> Result<Self, StateError> {
        let (version, mut rest) = bytes.split_first().ok_or(StateError::Malformed)?;
        if *version != VERSION {
            return Err(StateError::Version(*version));
        }
        type Kept = (BTreeMap<NetworkKey, Share>, BTreeMap<CeremonyId, Secrets>, u64);
        let (shares, attempts, releases) = Kept::decode_all(&mut rest).map_err(|_| StateError::Malformed)?;
        if shares.iter().any(|(key, share)| *key != share.key()) {
            return Err(StateError::Malformed);
        }
        Ok(Self { shares, attempts, releases, ..Self::default() })
    }

    /// The share of a key that the chain has as the current one.
    pub fn share(&self, key: NetworkKey) -> Option<&Share> {
        self.shares.get(&key)
    }

    /// The keys of which it has a share.
    pub fn keys(&self) -> impl Iterator<Item = NetworkKey> {
        self.shares.keys().copied()
    }

    /// A copy with the shares alone, as it was before an attempt.
    #[cfg(test)]
    pub(crate) fn shares_for_test(&self) -> Self {
        Self { shares: self.shares.clone(), ..Self::default() }
    }

    /// The attempts for which it keeps secrets.
    pub fn attempts(&self) -> impl Iterator<Item = CeremonyId> {
        self.attempts.keys().copied()
    }

    /// How many parts of app keys it may have given in its life, at most.
    pub fn releases(&self) -> u64 {
        self.releases
    }

    /// Reserves releases of app keys: `releases` in its life, with those that were made. [`Step::Seal`] comes next, and before that
    /// nothing is given of what is reserved.
    pub fn reserve(&mut self, releases: u64) {
        if releases > self.releases {
            self.releases = releases;
            // What it says in ceremonies does not come from this number, and is not computed again.
            self.changes = self.changes.saturating_add(1);
        }
    }

    /// Tells it that `unsealed` is sealed durably. One that has been overtaken by another change counts for nothing.
    #[expect(clippy::needless_pass_by_value, reason = "it is of no use afterwards")]
    pub fn sealed(&mut self, unsealed: Unsealed) {
        self.sealed = self.sealed.max(unsealed.change);
    }

    /// Erases all that is kept of an epoch's key: its grace period is over. [`Step::Seal`] comes next.
    ///
    /// # Errors
    /// For the root key.
    pub fn forget(&mut self, key: NetworkKey) -> Result<(), ForgetError> {
        if key == NetworkKey::Root {
            return Err(ForgetError::Root);
        }
        let before = self.attempts.len();
        self.attempts.retain(|_, attempt| attempt.key != key);
        if self.shares.remove(&key).is_some() || self.attempts.len() != before {
            self.changed();
        }
        Ok(())
    }

    /// What to do next, given what the finalized chain shows. The view must not be older than one of an earlier step.
    pub fn step(&mut self, identity: &Identity, view: &View, rng: &mut impl CryptoRng) -> Step {
        self.settle(identity, view, rng);
        let (mut posts, mut asides) = (Vec::new(), BTreeMap::new());
        for (id, ceremony) in &view.ceremonies {
            let current = view.sharings.get(&ceremony.ceremony.key);
            if current.is_some_and(|sharing| sharing.ceremony >= *id) {
                continue;
            }
            match self.contents(identity, *id, ceremony, current, rng) {
                Ok(contents) => posts.extend(contents.into_iter().map(|content| (*id, content))),
                Err(aside) => {
                    asides.insert(*id, aside);
                }
            }
        }
        if self.changes != self.sealed {
            return Step::Seal(self.unsealed());
        }
        let posts = posts.into_iter().map(|(ceremony, content)| identity.sign(ceremony, content)).collect();
        Step::Post { posts, asides }
    }

    fn changed(&mut self) {
        self.changes = self.changes.saturating_add(1);
        self.said.clear();
    }

    fn unsealed(&self) -> Unsealed {
        // Room for all of it at once: a vector that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(
            VERSION
                .encoded_size()
                .saturating_add(self.shares.encoded_size())
                .saturating_add(self.attempts.encoded_size())
                .saturating_add(self.releases.encoded_size()),
        ));
        VERSION.encode_to(&mut *bytes);
        self.shares.encode_to(&mut *bytes);
        self.attempts.encode_to(&mut *bytes);
        self.releases.encode_to(&mut *bytes);
        Unsealed { bytes, change: self.changes }
    }

    /// Makes pending shares current where the chain shows their sharing, and erases what is over.
    fn settle(&mut self, identity: &Identity, view: &View, rng: &mut impl CryptoRng) {
        for (key, sharing) in &view.sharings {
            let had = self.shares.get(key).map(Share::ceremony);
            // A higher number than the chain's would be of a view that is older than this state.
            if had.is_some_and(|had| had >= sharing.ceremony) {
                continue;
            }
            if let Some(share) = self.obtained(identity, view, *key, sharing, rng) {
                self.shares.insert(*key, share);
                self.changed();
            } else if had.is_some() {
                self.shares.remove(key);
                self.changed();
            }
        }
        self.said.retain(|id, _| view.ceremonies.contains_key(id));
        let before = self.attempts.len();
        self.attempts.retain(|id, attempt| {
            let ended = view.sharings.get(&attempt.key).is_some_and(|sharing| sharing.ceremony >= *id);
            let shown = view.ceremonies.get(id).is_some_and(|ceremony| ceremony.ceremony.key == attempt.key);
            shown && !ended
        });
        if self.attempts.len() != before {
            self.changed();
        }
    }

    /// The share of a sharing that the chain shows: the one that is pending, or, for a player that was away, computed now.
    fn obtained(
        &self,
        identity: &Identity,
        view: &View,
        key: NetworkKey,
        sharing: &Sharing<u32>,
        rng: &mut impl CryptoRng,
    ) -> Option<Share> {
        let attempt = self.attempts.get(&sharing.ceremony).filter(|attempt| attempt.key == key)?;
        if let Some(pending) = &attempt.pending {
            return (pending.output == sharing.output).then(|| pending.share.clone());
        }
        let ceremony = view.ceremonies.get(&sharing.ceremony)?;
        let output_hash: [u8; 32] = Sha256::digest(&sharing.output).into();
        let (output, share) =
            Attempt::new(identity, sharing.ceremony, ceremony).ok()?.outcome(&attempt.seed, rng).ok()?;
        (confirmation(&output)?.output_hash == output_hash).then_some(share)
    }

    /// What the phase asks for and the chain does not have.
    fn contents(
        &mut self,
        identity: &Identity,
        id: CeremonyId,
        view: &CeremonyView,
        current: Option<&Sharing<u32>>,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<Content>, Aside> {
        let me = identity.id();
        let ceremony = &view.ceremony;
        if let Some(enrolled) = view.enrolments.get(&me)
            && self.attempts.get(&id).map(|attempt| enrolment(&attempt.seed, id).public()) != Some(*enrolled)
        {
            return Err(Aside::Contradiction(Phase::Enrol));
        }
        let is_asked = match ceremony.phase {
            Phase::Deal => ceremony.dealers.contains(&me),
            Phase::Log => view.dealings.contains_key(&me),
            Phase::Enrol | Phase::Answer | Phase::Confirm => ceremony.players.contains(&me),
        };
        if !is_asked {
            return Ok(Vec::new());
        }
        if view.previous.as_ref() != current {
            return Err(Aside::Ceremony("what is dealt anew is not the current sharing of the key"));
        }
        let posted = view.posted(&me);
        if posted.is_some() && !self.attempts.contains_key(&id) {
            return Err(Aside::Contradiction(ceremony.phase));
        }
        let mut contents = Vec::new();
        match (posted, self.content(identity, id, view, rng)) {
            (None, content) => contents.push(content?),
            (Some(posted), Ok(content)) if posted == content => {}
            (Some(_), _) => return Err(Aside::Contradiction(ceremony.phase)),
        }
        if ceremony.phase == Phase::Confirm
            && let Some(pending) = self.attempts.get(&id).and_then(|attempt| attempt.pending.as_ref())
            && view.is_confirmed(&pending.confirmation)
        {
            contents.push(Content::Output(pending.output.clone()));
        }
        Ok(contents)
    }

    /// What this gatekeeper says in the ceremony's phase. Computed again only if something changed that it depends on.
    fn content(
        &mut self,
        identity: &Identity,
        id: CeremonyId,
        view: &CeremonyView,
        rng: &mut impl CryptoRng,
    ) -> Result<Content, Aside> {
        let before = view.before_phase();
        if let Some((said, content)) = self.said.get(&id)
            && *said == before
        {
            return content.clone();
        }
        let content = self.computed(identity, id, view, rng);
        self.said.insert(id, (before, content.clone()));
        content
    }

    fn computed(
        &mut self,
        identity: &Identity,
        id: CeremonyId,
        view: &CeremonyView,
        rng: &mut impl CryptoRng,
    ) -> Result<Content, Aside> {
        let key = view.ceremony.key;
        if view.ceremony.phase == Phase::Enrol {
            return Ok(Content::Enrolment(enrolment(&self.seed(id, key, rng), id).public()));
        }
        let attempt = Attempt::new(identity, id, view)?;
        // Only who deals and is no player has not enrolled.
        let seed = self.seed(id, key, rng);
        let share = self.shares.get(&key);
        match view.ceremony.phase {
            Phase::Enrol | Phase::Deal => Ok(Content::Dealing(attempt.dealing(&seed, share)?.1)),
            Phase::Answer => Ok(Content::Answers(attempt.answers(&seed)?)),
            Phase::Log => Ok(Content::Log(attempt.log(&seed, share)?)),
            Phase::Confirm => {
                if let Some(pending) = self.attempts.get(&id).and_then(|attempt| attempt.pending.as_ref()) {
                    return Ok(Content::Confirmation(pending.confirmation));
                }
                let (output, share) = attempt.outcome(&seed, rng)?;
                let confirmation = confirmation(&output).ok_or(Aside::Outcome("no public key"))?;
                let pending = Pending { share, confirmation, output: output.encode().to_vec() };
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    attempt.pending = Some(pending);
                }
                self.changed();
                Ok(Content::Confirmation(confirmation))
            }
        }
    }

    /// The attempt's seed, made if there is none.
    fn seed(&mut self, id: CeremonyId, key: NetworkKey, rng: &mut impl CryptoRng) -> Secret {
        if let Some(attempt) = self.attempts.get(&id) {
            return attempt.seed.clone();
        }
        let mut seed = Secret([0; 32]);
        rng.fill_bytes(&mut seed.0);
        self.attempts.insert(id, Secrets { key, seed: seed.clone(), pending: None });
        self.changed();
        seed
    }
}
