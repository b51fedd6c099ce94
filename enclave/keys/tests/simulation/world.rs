//! A network of gatekeepers and workers, and what carries their messages.

use std::collections::{BTreeMap, BTreeSet};

use codec::Encode;
use phala_app_encryption::AppIdentity;
use phala_keys::{Share, VerifiedPartial, VerifiedSharing, beacon_partial, combine_beacon, verify_beacon};
use phala_primitives::{
    AppId, GatekeeperId, WorkerId,
    diversity::{Limits, choose_most},
    gatekeeper::{CeremonyId, NetworkKey, PublicKey, SignedKeyRequest, SignedPost, tolerated},
};
use sha2::{Digest, Sha256};

use super::{
    board::{Board, Finalized, GENESIS},
    classes::{Traits, machine},
    gatekeeper::{Dice, Gatekeeper, Kind},
    jobs::Job,
    release::{Owner, Reply, Worker},
};

/// Two apps of honest users, a thief's, and one that nobody ever has a job of.
pub const APPS: [AppId; 4] = [AppId([0x5a; 32]), AppId([0x5b; 32]), AppId([0x5c; 32]), AppId([0x5d; 32])];

/// Each job's app.
pub const JOBS: [usize; 4] = [0, 0, 1, 2];

/// Workers: honest ones, then thieves.
const WORKERS: [Owner; 5] = [Owner::Honest, Owner::Honest, Owner::Honest, Owner::Thief, Owner::Thief];

/// What governance asks of elected sets: no class has more than half. So a set stays safe without those whose absence is tolerated.
fn caps(size: u32) -> Limits {
    Limits::new(size, size / 2, size / 2, size / 2)
}

/// What is on its way.
pub enum Mail {
    Post(SignedPost),
    /// With the worker whose host sends it.
    Request(WorkerId, GatekeeperId, SignedKeyRequest),
    Reply(Reply),
}

pub struct World {
    pub seed: u64,
    pub dice: Dice,
    pub board: Board,
    pub gatekeepers: BTreeMap<GatekeeperId, Gatekeeper>,
    pub workers: BTreeMap<WorkerId, Worker>,
    pub members: BTreeSet<GatekeeperId>,
    pub chain: Vec<Finalized>,
    /// By the block in which it arrives.
    mail: Vec<(u32, Mail)>,
    root: Option<PublicKey>,
    /// Every request and reply that was ever sent: whoever carries mail reads it.
    pub requests: Vec<SignedKeyRequest>,
    pub wire: Vec<Reply>,
    /// Who might ever have which key.
    pub granted: BTreeSet<(WorkerId, AppId, NetworkKey)>,
    /// What comes of each key that a worker made.
    pub keys: BTreeMap<(AppId, NetworkKey), [u8; 32]>,
    /// What the first app's key of the first epoch opens.
    pub inputs: Option<AppIdentity>,
    /// What thieves got that was not granted to any of them.
    pub loot: BTreeMap<(AppId, NetworkKey, CeremonyId), BTreeMap<GatekeeperId, VerifiedPartial>>,
    /// Whether nobody loses a job.
    pub is_quiet: bool,
    pub counts: BTreeMap<&'static str, u64>,
    /// Over all that arrived.
    pub trace: Sha256,
}

impl World {
    /// With, or without, what the chain does so that no class has a threshold.
    pub fn new(seed: u64, has_caps: bool) -> Self {
        let mut dice = Dice::new(seed);
        let all = 5 + dice.below(5) as u8;
        // As many may be bad as the smallest set ever tolerates.
        let smallest = 4 + dice.below(usize::from(all) - 4) as u32;
        let bad = dice.below(tolerated(smallest) as usize + 1) as u8;
        // Machines of which a set can be chosen.
        let traits: Vec<Traits> = loop {
            let traits: Vec<_> = (0..all).map(|_| machine(usize::from(all), &mut dice)).collect();
            if !has_caps || choose_most(all.into(), smallest, &traits, caps).is_some() {
                break traits;
            }
        };
        let mut gatekeepers = BTreeMap::new();
        for (number, traits) in (0..all).zip(traits) {
            let kind = match number < bad {
                true if dice.chance(60) => Kind::Liar,
                true => Kind::BadHost,
                false => Kind::Honest,
            };
            let gatekeeper = Gatekeeper::new(number, kind, traits);
            gatekeepers.insert(gatekeeper.id(), gatekeeper);
        }
        let traits = gatekeepers.iter().map(|(id, gatekeeper)| (*id, gatekeeper.traits.clone())).collect();
        let mut board = Board::new(has_caps.then_some(traits));
        let mut workers = BTreeMap::new();
        for (number, owner) in (0..).zip(WORKERS) {
            let worker = Worker::new(number, owner, machine(usize::from(all), &mut dice));
            board.jobs.verdicts.insert(worker.id(), u32::MAX);
            workers.insert(worker.id(), worker);
        }
        let jobs = JOBS.iter().map(|app| Job { app: APPS[*app], attempt: 0, assignment: None });
        board.jobs.jobs = (0..).zip(jobs).collect();
        let mut world = Self {
            seed,
            dice,
            board,
            gatekeepers,
            workers,
            members: BTreeSet::new(),
            chain: vec![Finalized::default()],
            mail: Vec::new(),
            root: None,
            requests: Vec::new(),
            wire: Vec::new(),
            granted: BTreeSet::new(),
            keys: BTreeMap::new(),
            inputs: None,
            loot: BTreeMap::new(),
            is_quiet: false,
            counts: BTreeMap::new(),
            trace: Sha256::new(),
        };
        while world.members.is_empty() {
            world.elect(smallest);
        }
        world
    }

    pub fn count(&mut self, what: &'static str, number: usize) {
        *self.counts.entry(what).or_default() += number as u64;
    }

    /// Elects members as the chain does: bad ones first, then others in random order, each that does not go beyond a limit. An
    /// election in which they are too few leaves the set as it is.
    pub fn elect(&mut self, least: u32) {
        let mut honest: Vec<GatekeeperId> = self.gatekeepers.keys().copied().collect();
        let mut ids: Vec<GatekeeperId> =
            honest.extract_if(.., |id| self.gatekeepers[id].kind != Kind::Honest).collect();
        while !honest.is_empty() {
            ids.push(honest.swap_remove(self.dice.below(honest.len())));
        }
        let desired = least + self.dice.below(ids.len() - least as usize + 1) as u32;
        let chosen = match &self.board.traits {
            Some(traits) => {
                let candidates: Vec<Traits> = ids.iter().map(|id| traits[id].clone()).collect();
                choose_most(desired, least, &candidates, caps)
            }
            None => Some((0..desired as usize).collect()),
        };
        match chosen {
            Some(chosen) => self.members = chosen.into_iter().map(|position| ids[position]).collect(),
            None => self.count("refused elections", 1),
        }
    }

    pub fn send(&mut self, mail: impl Fn() -> Mail) {
        if self.dice.chance(15) {
            return;
        }
        for _ in 0..1 + usize::from(self.dice.chance(10)) {
            self.mail.push((self.board.block + 1 + self.dice.below(3) as u32, mail()));
        }
    }

    pub fn live(&mut self, blocks: u32) {
        for _ in 0..blocks {
            let block = self.board.block;
            for id in self.gatekeepers.keys().copied().collect::<Vec<_>>() {
                let gatekeeper = self.gatekeepers.get_mut(&id).unwrap();
                for post in gatekeeper.turn(block, &self.chain, &mut self.dice) {
                    self.send(|| Mail::Post(post.clone()));
                }
            }
            self.ask();
            if !self.is_quiet && self.dice.chance(6) {
                self.change_assignments();
            }
            let (mut now, later): (Vec<_>, Vec<_>) = self.mail.drain(..).partition(|(arrives, _)| *arrives <= block);
            self.mail = later;
            while !now.is_empty() {
                match now.swap_remove(self.dice.below(now.len())).1 {
                    Mail::Post(post) => {
                        self.trace.update(post.encode());
                        self.board.take(&post);
                    }
                    Mail::Request(sender, to, signed) => self.answer(sender, to, &signed),
                    Mail::Reply(reply) => self.hear(reply),
                }
            }
            self.board.advance();
            let last = self.chain.last().unwrap();
            let view = if *last.view == self.board.view { last.view.clone() } else { self.board.view.clone().into() };
            let jobs = if *last.jobs == self.board.jobs { last.jobs.clone() } else { self.board.jobs.clone().into() };
            self.chain.push(Finalized { block: self.board.block, view, jobs });
            self.check();
        }
    }

    pub fn until_done(&mut self) {
        let mut blocks = 0;
        while self.board.is_busy() {
            self.live(1);
            blocks += 1;
            assert!(blocks < 1500, "seed {}: no end", self.seed);
        }
        // What honest gatekeepers have to do afterwards they have done by then.
        self.live(25);
        self.is_settled();
    }

    /// What holds in every block.
    fn check(&mut self) {
        self.granted.extend(self.chain.last().unwrap().granted());
        let Some(sharing) = self.board.view.sharings.get(&NetworkKey::Root) else { return };
        assert_eq!(*self.root.get_or_insert(sharing.public_key), sharing.public_key, "one root key for ever");
        for player in &sharing.players {
            let gatekeeper = &self.gatekeepers[player];
            if gatekeeper.kind != Kind::Honest {
                continue;
            }
            let blob = gatekeeper.blob().expect("a player has sealed");
            let has = blob.shares.get(&NetworkKey::Root).is_some_and(|share| share.ceremony == sharing.ceremony)
                || blob.attempts.contains_key(&sharing.ceremony);
            assert!(has, "seed {}: {player} is a player of {} and has nothing of it", self.seed, sharing.ceremony);
        }
    }

    fn honest_players(&self, key: NetworkKey) -> Vec<GatekeeperId> {
        let players = &self.board.view.sharings[&key].players;
        players.iter().filter(|id| self.gatekeepers[id].kind == Kind::Honest).copied().collect()
    }

    /// Every honest player has the share of each current sharing, and nobody honest has anything else.
    fn is_settled(&mut self) {
        for (key, sharing) in &self.board.view.sharings {
            for (id, gatekeeper) in &mut self.gatekeepers {
                if gatekeeper.kind == Kind::Honest {
                    let expected = sharing.players.contains(id).then_some(sharing.ceremony);
                    assert_eq!(gatekeeper.state().share(*key).map(Share::ceremony), expected, "{id}");
                    assert_eq!(gatekeeper.state().attempts().count(), 0, "nothing is left of ceremonies");
                }
            }
        }
    }

    pub fn beacon(&mut self, round: u32) -> [u8; 32] {
        let sharing = VerifiedSharing::new(&self.board.view.sharings[&NetworkKey::Root]).unwrap();
        let mut parts = Vec::new();
        for id in self.honest_players(NetworkKey::Root) {
            let share = self.gatekeepers.get_mut(&id).unwrap().state().share(NetworkKey::Root).unwrap();
            let part = beacon_partial(share, &GENESIS, round).unwrap();
            let message = phala_keys::Message::Beacon { genesis_hash: GENESIS, round };
            parts.push(sharing.verify(id, message, &part).unwrap());
        }
        let beacon = combine_beacon(&sharing, &GENESIS, round, &parts).unwrap();
        verify_beacon(&sharing.public_key(), &GENESIS, beacon.beacon()).unwrap().randomness()
    }

    /// A hash of all that was ever sent and sealed.
    pub fn trace(&self) -> [u8; 32] {
        let mut trace = self.trace.clone();
        self.gatekeepers.values().for_each(|gatekeeper| trace.update(gatekeeper.disk.encode()));
        trace.finalize().into()
    }
}
