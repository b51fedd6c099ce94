//! A model of the chain as ceremonies need it: it takes posts by the rules of their phase, and decides when a phase is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ed25519_dalek::{Signature, VerifyingKey};
use phala_keys::{CeremonyView, VerifiedSharing, View};
use phala_primitives::{
    GatekeeperId,
    diversity::Limits,
    gatekeeper::{Ceremony, CeremonyId, Content, NetworkKey, Phase, Sharing, SignedPost, threshold},
};
use sha2::{Digest, Sha256};

use super::{classes::Traits, jobs::Jobs};

pub const GENESIS: [u8; 32] = [0x77; 32];

/// Blocks that a phase lasts at most.
const PHASE_BLOCKS: u32 = 14;

/// What is finalized with one block.
#[derive(Clone, Default)]
pub struct Finalized {
    pub block: u32,
    pub view: Arc<View>,
    pub jobs: Arc<Jobs>,
}

/// What the chain wants to come of ceremonies.
#[derive(Clone, Debug)]
struct Goal {
    candidates: Vec<GatekeeperId>,
    /// Who was silent where silence ends an attempt.
    excluded: BTreeSet<GatekeeperId>,
    attempt: u32,
}

#[derive(Default)]
pub struct Board {
    pub block: u32,
    /// What is on chain now, without the grace of finality.
    pub view: View,
    pub jobs: Jobs,
    /// What evidence says of the gatekeepers. `None` takes players without a look at it.
    pub traits: Option<BTreeMap<GatekeeperId, Traits>>,
    /// Every ceremony that ended well, whole.
    pub ended: BTreeMap<CeremonyId, CeremonyView>,
    /// Every sharing that ever was.
    pub sharings: BTreeMap<CeremonyId, (NetworkKey, Sharing<u32>)>,
    pub verified: BTreeMap<CeremonyId, VerifiedSharing>,
    pub attempts: u32,
    goals: BTreeMap<NetworkKey, Goal>,
    next: CeremonyId,
}

impl Board {
    pub fn new(traits: Option<BTreeMap<GatekeeperId, Traits>>) -> Self {
        Self { traits, ..Self::default() }
    }

    /// Has a key made, or dealt anew, for these.
    pub fn want(&mut self, key: NetworkKey, candidates: &BTreeSet<GatekeeperId>) {
        let candidates = candidates.iter().copied().collect();
        self.goals.insert(key, Goal { candidates, excluded: BTreeSet::new(), attempt: 0 });
        self.begin(key);
    }

    pub fn is_busy(&self) -> bool {
        !self.goals.is_empty()
    }

    pub fn drop_epoch(&mut self, key: NetworkKey) {
        assert!(self.view.sharings.remove(&key).is_some());
        self.view.ceremonies.retain(|_, ceremony| ceremony.ceremony.key != key);
    }

    fn begin(&mut self, key: NetworkKey) {
        let goal = self.goals.get_mut(&key).unwrap();
        goal.attempt += 1;
        self.attempts += 1;
        assert!(goal.attempt < 30, "{key:?} comes to no end");
        let may = goal.candidates.iter().filter(|candidate| !goal.excluded.contains(candidate)).copied();
        let previous = self.view.sharings.get(&key).cloned();
        let players: Vec<_> = may.collect();
        let ceremony = Ceremony {
            key,
            attempt: goal.attempt,
            previous: previous.as_ref().map(|sharing| sharing.ceremony),
            dealers: previous.as_ref().map_or(players.clone(), |sharing| sharing.players.clone()),
            players,
            phase: Phase::Enrol,
            phase_ends: self.block + phase_blocks(goal.attempt),
        };
        self.next += 1;
        self.view.ceremonies.insert(self.next, CeremonyView::new(ceremony, previous));
    }

    /// Takes a post, or does not.
    pub fn take(&mut self, signed: &SignedPost) -> bool {
        let post = &signed.post;
        let key = VerifyingKey::from_bytes(&post.gatekeeper.0).unwrap();
        let signature = Signature::from_bytes(&signed.signature);
        if post.genesis_hash != GENESIS || key.verify_strict(&post.signed_bytes(), &signature).is_err() {
            return false;
        }
        let Some(on_chain) = self.view.ceremonies.get_mut(&post.ceremony) else { return false };
        let is_over =
            self.view.sharings.get(&on_chain.ceremony.key).is_some_and(|sharing| sharing.ceremony >= post.ceremony);
        if is_over {
            return false;
        }
        let me = post.gatekeeper;
        let phase = on_chain.ceremony.phase;
        let player = on_chain.ceremony.players.contains(&me);
        let dealer = on_chain.ceremony.dealers.contains(&me);
        match &post.content {
            Content::Enrolment(key) if phase == Phase::Enrol && player => once(&mut on_chain.enrolments, me, *key),
            Content::Dealing(dealing) if phase == Phase::Deal && dealer => {
                once(&mut on_chain.dealings, me, dealing.clone())
            }
            Content::Answers(answers) if phase == Phase::Answer && player => {
                once(&mut on_chain.answers, me, answers.clone())
            }
            Content::Log(log) if phase == Phase::Log && on_chain.dealings.contains_key(&me) => {
                once(&mut on_chain.logs, me, log.clone())
            }
            Content::Confirmation(confirmation) if phase == Phase::Confirm && player => {
                once(&mut on_chain.confirmations, me, *confirmation)
            }
            Content::Output(output) if phase == Phase::Confirm && player => {
                let hash: [u8; 32] = Sha256::digest(output).into();
                let mut agree = on_chain.confirmations.values().filter(|confirmation| confirmation.output_hash == hash);
                let players = on_chain.ceremony.players.len() as u32;
                let Some(first) = agree.next().copied() else { return false };
                let count = 1 + agree.filter(|confirmation| **confirmation == first).count() as u32;
                if count < threshold(players) {
                    return false;
                }
                let sharing = Sharing {
                    ceremony: post.ceremony,
                    public_key: first.public_key,
                    players: on_chain.ceremony.players.clone(),
                    output: output.clone(),
                    since: self.block,
                };
                self.end(post.ceremony, sharing);
                true
            }
            _ => false,
        }
    }

    /// The ceremony stays in view until the next of its key ends.
    fn end(&mut self, id: CeremonyId, sharing: Sharing<u32>) {
        let key = self.view.ceremonies[&id].ceremony.key;
        self.view.ceremonies.retain(|other, ceremony| *other == id || ceremony.ceremony.key != key);
        self.ended.insert(id, self.view.ceremonies[&id].clone());
        self.verified.insert(id, VerifiedSharing::new(&sharing).expect("what came out fits together"));
        self.sharings.insert(id, (key, sharing.clone()));
        self.view.sharings.insert(key, sharing);
        self.goals.remove(&key);
    }

    /// Goes on to the next block: phases in which all was said, or whose time is over, end.
    pub fn advance(&mut self) {
        self.block += 1;
        let goals: Vec<NetworkKey> = self.goals.keys().copied().collect();
        for key in goals {
            let over = self.view.sharings.get(&key).map_or(0, |sharing| sharing.ceremony);
            let live = |id: &CeremonyId, view: &CeremonyView| view.ceremony.key == key && *id > over;
            let id = *self.view.ceremonies.iter().find(|(id, view)| live(id, view)).unwrap().0;
            let candidates = self.goals[&key].candidates.len() as u32;
            let phase = self.view.ceremonies[&id].ceremony.phase;
            if let Some(silent) = self.phase_is_over(id, candidates) {
                self.view.ceremonies.remove(&id);
                let excluded = &mut self.goals.get_mut(&key).unwrap().excluded;
                match phase {
                    Phase::Enrol => excluded.clear(),
                    Phase::Answer => excluded.extend(silent),
                    Phase::Deal | Phase::Log | Phase::Confirm => {}
                }
                self.begin(key);
            }
        }
    }

    /// Who was silent, if this attempt has failed: left out of the next one, unless too few of the candidates enrolled.
    fn phase_is_over(&mut self, id: CeremonyId, candidates: u32) -> Option<Vec<GatekeeperId>> {
        let block = self.block;
        let on_chain = self.view.ceremonies.get_mut(&id).unwrap();
        let ceremony = &mut on_chain.ceremony;
        let late = block > ceremony.phase_ends;
        let silent = |list: &[GatekeeperId], said: &dyn Fn(&GatekeeperId) -> bool| -> Vec<GatekeeperId> {
            list.iter().filter(|gatekeeper| !said(gatekeeper)).copied().collect()
        };
        let dealers_needed = threshold(ceremony.dealers.len() as u32) as usize;
        let (missing, enough) = match ceremony.phase {
            Phase::Enrol => (silent(&ceremony.players, &|id| on_chain.enrolments.contains_key(id)), true),
            Phase::Deal => (
                silent(&ceremony.dealers, &|id| on_chain.dealings.contains_key(id)),
                on_chain.dealings.len() >= dealers_needed,
            ),
            Phase::Answer => {
                let missing = silent(&ceremony.players, &|id| on_chain.answers.contains_key(id));
                let enough = missing.is_empty();
                (missing, enough)
            }
            Phase::Log => (
                silent(&ceremony.dealers, &|id| on_chain.logs.contains_key(id) || !on_chain.dealings.contains_key(id)),
                on_chain.logs.len() >= dealers_needed,
            ),
            Phase::Confirm => (silent(&ceremony.players, &|id| on_chain.confirmations.contains_key(id)), false),
        };
        let confirm = ceremony.phase == Phase::Confirm;
        if !late && (confirm || !missing.is_empty()) {
            return None;
        }
        if !enough {
            return Some(missing);
        }
        if ceremony.phase == Phase::Enrol {
            ceremony.players = on_chain.enrolments.keys().copied().collect();
            if ceremony.previous.is_none() {
                ceremony.dealers.clone_from(&ceremony.players);
            }
            let players = ceremony.players.len() as u32;
            let is_safe = self.traits.as_ref().is_none_or(|traits| {
                let set: Vec<Traits> = ceremony.players.iter().map(|player| traits[player].clone()).collect();
                Limits::widest(players).choose(&set).is_some()
            });
            if players < threshold(candidates).max(3) || !is_safe {
                return Some(missing);
            }
        }
        ceremony.phase = match ceremony.phase {
            Phase::Enrol => Phase::Deal,
            Phase::Deal => Phase::Answer,
            Phase::Answer => Phase::Log,
            Phase::Log | Phase::Confirm => Phase::Confirm,
        };
        ceremony.phase_ends = block + phase_blocks(ceremony.attempt);
        None
    }
}

/// How long each phase of an attempt is.
fn phase_blocks(attempt: u32) -> u32 {
    PHASE_BLOCKS << attempt.saturating_sub(1).min(2)
}

fn once<T>(map: &mut BTreeMap<GatekeeperId, T>, gatekeeper: GatekeeperId, value: T) -> bool {
    let first = !map.contains_key(&gatekeeper);
    if first {
        map.insert(gatekeeper, value);
    }
    first
}
