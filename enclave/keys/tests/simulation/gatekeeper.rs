//! A gatekeeper's enclave on a host that crashes, and may do worse; and enclaves that lie.

use std::collections::BTreeMap;

use codec::Decode;
use ed25519_dalek::{Signer, SigningKey};
use phala_keys::{Identity, State, Step, View};
use phala_primitives::{
    GatekeeperId,
    gatekeeper::{Answer, CeremonyId, Confirmation, Content, NetworkKey, Phase, Post, SignedPost},
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::{
    board::{Finalized, GENESIS},
    classes::Traits,
};

/// Randomness from a seed.
pub struct Dice(pub ChaCha20Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// How much can be relied on a gatekeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its host delays, loses, repeats and reorders posts, and crashes.
    Honest,
    /// Its host withholds posts, and starts it with old sealed states and old views.
    BadHost,
    /// Its enclave is broken: it says what it likes.
    Liar,
}

/// What a sealed state holds, as somebody reads it who has the sealing key.
#[derive(Clone, Decode)]
pub struct Blob {
    _version: u8,
    pub shares: BTreeMap<NetworkKey, SealedShare>,
    pub attempts: BTreeMap<CeremonyId, SealedAttempt>,
}

#[derive(Clone, Decode)]
pub struct SealedShare {
    pub key: NetworkKey,
    pub ceremony: CeremonyId,
    pub index: u32,
    pub private: [u8; 32],
}

#[derive(Clone, Decode)]
pub struct SealedAttempt {
    pub key: NetworkKey,
    _seed: [u8; 32],
    pub pending: Option<(SealedShare, Confirmation, Vec<u8>)>,
}

pub struct Gatekeeper {
    pub kind: Kind,
    /// Who made and runs its machine.
    pub traits: Traits,
    pub identity: Identity,
    signing: SigningKey,
    state: Option<State>,
    /// Every sealed state, the newest last. All of them are on the host's disk.
    pub disk: Vec<Vec<u8>>,
    /// The height of the newest view that it has seen.
    seen: usize,
    away_until: u32,
    /// How often it stood aside because its state was an old one.
    pub aside: usize,
    /// How often it computed its share only when the ceremony had ended.
    pub late: usize,
    /// The last ceremony whose end it missed.
    missed: CeremonyId,
    /// Keys whose grace period is over.
    over: Vec<NetworkKey>,
    /// What it posted before, for replays.
    posted: Vec<SignedPost>,
}

impl Gatekeeper {
    pub fn new(number: u8, kind: Kind, traits: Traits) -> Self {
        let signing = SigningKey::from_bytes(&[number.wrapping_add(1); 32]);
        let identity = Identity::new(GENESIS, &signing).unwrap();
        Self {
            kind,
            traits,
            identity,
            signing,
            state: None,
            disk: Vec::new(),
            seen: 0,
            away_until: 0,
            aside: 0,
            late: 0,
            missed: 0,
            over: Vec::new(),
            posted: Vec::new(),
        }
    }

    pub fn id(&self) -> GatekeeperId {
        self.identity.id()
    }

    /// What is sealed now.
    pub fn blob(&self) -> Option<Blob> {
        self.disk.last().map(|bytes| Blob::decode(&mut bytes.as_slice()).unwrap())
    }

    /// The running state; starts it if need be.
    pub fn state(&mut self) -> &mut State {
        self.state
            .get_or_insert_with(|| self.disk.last().map_or_else(State::new, |bytes| State::unseal(bytes).unwrap()))
    }

    /// From now on it forgets a key whenever it looks at the chain: until that is sealed, a crash brings the key's share back.
    pub fn forget(&mut self, key: NetworkKey) {
        if self.kind == Kind::Honest {
            self.over.push(key);
        }
    }

    /// Whether its machine is down.
    pub fn is_away(&self, block: u32) -> bool {
        block < self.away_until
    }

    /// The enclave ends; what is not sealed is lost.
    pub fn crash(&mut self, block: u32, dice: &mut Dice) {
        self.state = None;
        self.away_until = block + dice.below(5) as u32;
    }

    /// The height of the newest view that it has seen.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// One look at the chain. `views` are all that were ever finalized.
    pub fn turn(&mut self, block: u32, views: &[Finalized], dice: &mut Dice) -> Vec<SignedPost> {
        if self.is_away(block) {
            return Vec::new();
        }
        if dice.chance(4) {
            self.crash(block, dice);
            if self.kind == Kind::BadHost && !self.disk.is_empty() && dice.chance(50) {
                let old = dice.below(self.disk.len());
                let bytes = self.disk[old].clone();
                self.disk.push(bytes);
                self.seen = 0;
            }
            return Vec::new();
        }
        let newest = views.len() - 1;
        if self.kind == Kind::Honest
            && let Some(ceremony) = confirming(&views[newest].view)
            && self.missed < ceremony
            && dice.chance(10)
        {
            // Away while others confirm.
            self.missed = ceremony;
            self.state = None;
            self.away_until = block + 7;
            return Vec::new();
        }
        let oldest = if self.kind == Kind::BadHost && dice.chance(10) { self.seen } else { newest.saturating_sub(2) };
        self.seen = self.seen.max(oldest + dice.below(newest - oldest + 1)).min(newest);
        let view = views[self.seen].view.clone();
        let mut posts = Vec::new();
        for key in self.over.clone() {
            self.state().forget(key).unwrap();
        }
        for _ in 0..4 {
            let rng = &mut dice.0;
            self.state();
            match self.state.as_mut().unwrap().step(&self.identity, &view, rng) {
                Step::Seal(unsealed) => {
                    // A crash before, or after, it is durable.
                    if dice.chance(6) {
                        self.state = None;
                        return Vec::new();
                    }
                    let before = self.blob();
                    self.disk.push(unsealed.bytes().to_vec());
                    self.late += before.map_or(0, |before| late(&before, &self.blob().unwrap()));
                    if dice.chance(6) {
                        self.state = None;
                        return Vec::new();
                    }
                    self.state.as_mut().unwrap().sealed(unsealed);
                }
                Step::Post { posts: now, asides } => {
                    let contradicts = |aside: &&phala_keys::Aside| matches!(aside, phala_keys::Aside::Contradiction(_));
                    self.aside += asides.values().filter(contradicts).count();
                    if self.kind == Kind::Honest {
                        assert_eq!(self.aside, 0, "an honest gatekeeper contradicts itself: {asides:?}");
                        let again = self.state.as_mut().unwrap().step(&self.identity, &view, &mut dice.0);
                        let Step::Post { posts: again, .. } = again else { panic!("a step is idempotent") };
                        assert_eq!(now, again, "the same view gives the same posts");
                    }
                    posts = now;
                    break;
                }
            }
        }
        match self.kind {
            Kind::Honest => {}
            Kind::BadHost => {
                posts.retain(|_| !dice.chance(30));
                if dice.chance(20) && !self.posted.is_empty() {
                    posts.push(self.posted[dice.below(self.posted.len())].clone());
                }
            }
            Kind::Liar => posts = posts.into_iter().flat_map(|post| self.lie(post, dice)).collect(),
        }
        self.posted.extend(posts.iter().cloned());
        posts
    }

    fn sign(&self, post: Post) -> SignedPost {
        let signature = self.signing.sign(&post.signed_bytes()).to_bytes();
        SignedPost { post, signature }
    }

    /// What a broken enclave says in the place of the truth: one thing, nothing, or two.
    fn lie(&self, honest: SignedPost, dice: &mut Dice) -> Vec<SignedPost> {
        match dice.below(8) {
            0 => return vec![honest],
            1 => return Vec::new(),
            2 if !self.posted.is_empty() => return vec![self.posted[dice.below(self.posted.len())].clone(), honest],
            _ => {}
        }
        let mut post = honest.post.clone();
        match &mut post.content {
            Content::Enrolment(key) => {
                if dice.chance(50) {
                    *key = [0; 32];
                } else {
                    dice.0.fill_bytes(key);
                }
            }
            Content::Dealing(dealing) => match dice.below(6) {
                0 => dealing.commitment = garbage(dice),
                1 => {
                    dealing.shares.pop();
                }
                2 => {
                    let at = dice.below(dealing.commitment.len());
                    dealing.commitment[at] ^= 1 << dice.below(8);
                }
                3 => dealing.shares.reverse(),
                _ => {
                    // False values for some players.
                    for share in &mut dealing.shares {
                        if dice.chance(40) {
                            share.ciphertext[0] ^= 1;
                        }
                    }
                }
            },
            Content::Answers(answers) => match dice.below(5) {
                0 => answers.clear(),
                1 => answers.push(Answer::Complaint),
                _ => {
                    for answer in answers.iter_mut() {
                        match dice.below(4) {
                            0 => *answer = Answer::Complaint,
                            1 => *answer = Answer::Acknowledged([dice.below(256) as u8; 64]),
                            2 => *answer = self.false_acknowledgement(*answer),
                            _ => {}
                        }
                    }
                }
            },
            Content::Log(log) => match dice.below(3) {
                0 => *log = garbage(dice),
                1 => log.truncate(dice.below(log.len())),
                _ => {
                    let at = dice.below(log.len());
                    log[at] ^= 1 << dice.below(8);
                }
            },
            Content::Confirmation(confirmation) => dice.0.fill_bytes(&mut confirmation.output_hash),
            Content::Output(output) => {
                output.pop();
            }
        }
        let lie = self.sign(post);
        if dice.chance(30) { vec![lie, honest] } else { vec![lie] }
    }

    fn false_acknowledgement(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Acknowledged(mut bytes) => {
                bytes[40] ^= 1;
                Answer::Acknowledged(bytes)
            }
            Answer::Complaint => Answer::Acknowledged([0; 64]),
        }
    }
}

/// A ceremony whose players confirm now.
fn confirming(view: &View) -> Option<CeremonyId> {
    let is_live = |id: &CeremonyId, key| view.sharings.get(key).is_none_or(|sharing| sharing.ceremony < *id);
    let live = view.ceremonies.iter().filter(|(id, view)| is_live(id, &view.ceremony.key));
    live.filter(|(_, view)| view.ceremony.phase == Phase::Confirm).map(|(id, _)| *id).next_back()
}

/// How many shares are new that were not pending before.
fn late(before: &Blob, after: &Blob) -> usize {
    let was_late =
        |share: &&SealedShare| before.attempts.get(&share.ceremony).is_some_and(|attempt| attempt.pending.is_none());
    after.shares.values().filter(was_late).count()
}

fn garbage(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = vec![0; dice.below(400)];
    dice.0.fill_bytes(&mut bytes);
    bytes
}
