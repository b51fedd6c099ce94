//! Gatekeepers in memory, for tests.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use phala_primitives::{
    GatekeeperId, Hash,
    gatekeeper::{Ceremony, CeremonyId, Content, NetworkKey, Phase, Sharing},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::{Aside, CeremonyView, Identity, Share, State, Step, VerifiedSharing, View};

/// Gatekeepers that say the truth, and a chain that takes it at once.
pub struct Network {
    pub identities: Vec<Identity>,
    pub states: Vec<State>,
    pub view: View,
    pub rng: ChaCha20Rng,
}

impl Network {
    pub fn new(genesis_hash: Hash, count: u8) -> Self {
        let mut identities: Vec<_> =
            (0..count).map(|n| Identity::new(genesis_hash, &SigningKey::from_bytes(&[n + 1; 32])).unwrap()).collect();
        identities.sort_by_key(Identity::id);
        let states = (0..count).map(|_| State::new()).collect();
        Self { identities, states, view: View::default(), rng: ChaCha20Rng::from_seed([9; 32]) }
    }

    pub fn ids(&self, which: &[usize]) -> Vec<GatekeeperId> {
        let mut ids: Vec<_> = which.iter().map(|n| self.identities[*n].id()).collect();
        ids.sort();
        ids
    }

    pub fn begin(&mut self, id: CeremonyId, key: NetworkKey, players: &[usize]) {
        let players = self.ids(players);
        let previous = self.view.sharings.get(&key).cloned();
        let ceremony = Ceremony {
            key,
            attempt: 1,
            previous: previous.as_ref().map(|sharing| sharing.ceremony),
            dealers: previous.as_ref().map_or(players.clone(), |sharing| sharing.players.clone()),
            players,
            phase: Phase::Enrol,
            phase_ends: 10,
        };
        self.view.ceremonies.insert(id, CeremonyView::new(ceremony, previous));
    }

    /// What a gatekeeper says now, after sealing.
    pub fn step(&mut self, number: usize) -> (Vec<Content>, BTreeMap<CeremonyId, Aside>) {
        loop {
            match self.states[number].step(&self.identities[number], &self.view, &mut self.rng) {
                Step::Seal(unsealed) => {
                    // It survives what sealing does.
                    self.states[number] = State::unseal(unsealed.bytes()).unwrap();
                }
                Step::Post { posts, asides } => {
                    return (posts.into_iter().map(|signed| signed.post.content).collect(), asides);
                }
            }
        }
    }

    pub fn post(&mut self, id: CeremonyId, number: usize, content: Content) {
        let me = self.identities[number].id();
        let on_chain = self.view.ceremonies.get_mut(&id).unwrap();
        match content {
            Content::Enrolment(key) => drop(on_chain.enrolments.insert(me, key)),
            Content::Dealing(dealing) => drop(on_chain.dealings.insert(me, dealing)),
            Content::Answers(answers) => drop(on_chain.answers.insert(me, answers)),
            Content::Log(log) => drop(on_chain.logs.insert(me, log)),
            Content::Confirmation(confirmation) => drop(on_chain.confirmations.insert(me, confirmation)),
            Content::Output(output) => {
                let ceremony = on_chain.ceremony.clone();
                let public_key = on_chain.confirmations[&me].public_key;
                let sharing = Sharing { ceremony: id, public_key, players: ceremony.players, output, since: 5 };
                self.view.sharings.insert(ceremony.key, sharing);
            }
        }
    }

    /// Everybody but `silent` says what it has to.
    pub fn phase(&mut self, id: CeremonyId, phase: Phase, silent: &[usize]) {
        self.view.ceremonies.get_mut(&id).unwrap().ceremony.phase = phase;
        for number in (0..self.states.len()).filter(|number| !silent.contains(number)) {
            for content in self.step(number).0 {
                self.post(id, number, content);
            }
        }
    }

    pub fn until(&mut self, id: CeremonyId, last: Phase) {
        for phase in [Phase::Enrol, Phase::Deal, Phase::Answer, Phase::Log, Phase::Confirm] {
            if phase <= last {
                self.phase(id, phase, &[]);
            }
        }
    }

    /// A whole ceremony.
    pub fn run(&mut self, id: CeremonyId, key: NetworkKey, players: &[usize]) -> VerifiedSharing {
        self.begin(id, key, players);
        self.until(id, Phase::Confirm);
        self.phase(id, Phase::Confirm, &[]);
        for number in 0..self.states.len() {
            assert!(self.step(number).0.is_empty());
        }
        self.sharing(key)
    }

    pub fn sharing(&self, key: NetworkKey) -> VerifiedSharing {
        VerifiedSharing::new(&self.view.sharings[&key]).unwrap()
    }

    pub fn share(&self, number: usize, key: NetworkKey) -> &Share {
        self.states[number].share(key).unwrap()
    }

    pub fn on_chain(&mut self, id: CeremonyId) -> &mut CeremonyView {
        self.view.ceremonies.get_mut(&id).unwrap()
    }
}
