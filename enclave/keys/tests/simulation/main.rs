//! Gatekeepers, their hosts and the chain as a model, from a seed: ceremonies end well whatever a tolerated number of them does, and
//! fewer than a threshold of broken enclaves derive nothing.
//!
//! `PHALA_SEEDS` says how many seeds live, 50 if it is not set; `PHALA_SEED` lives one alone.

mod adversary;
mod board;
mod gatekeeper;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use ed25519_dalek::SigningKey;
use phala_keys::{
    AppKey, Facts, Granted, PendingRequest, VerifiedRequest, VerifiedSharing, beacon_partial, combine_app_key,
    combine_beacon, reply, verify_beacon,
};
use phala_primitives::{
    AppId, GatekeeperId, WorkerId,
    gatekeeper::{KeyRequest, NetworkKey, PublicKey, SignedPost, tolerated},
};

use board::{Board, GENESIS};
use gatekeeper::{Dice, Gatekeeper, Kind};

const APP: AppId = AppId([0x5a; 32]);

struct World {
    seed: u64,
    dice: Dice,
    board: Board,
    gatekeepers: BTreeMap<GatekeeperId, Gatekeeper>,
    members: BTreeSet<GatekeeperId>,
    views: Vec<Arc<phala_keys::View>>,
    /// Posts on their way, by the block in which they arrive.
    mail: Vec<(u32, SignedPost)>,
    root: Option<PublicKey>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let all = 5 + dice.below(5) as u8;
        // As many may be bad as the smallest set ever tolerates.
        let smallest = 4 + dice.below(usize::from(all) - 4) as u32;
        let bad = dice.below(tolerated(smallest) as usize + 1) as u8;
        let mut gatekeepers = BTreeMap::new();
        for number in 0..all {
            let kind = match number < bad {
                true if dice.chance(60) => Kind::Liar,
                true => Kind::BadHost,
                false => Kind::Honest,
            };
            let gatekeeper = Gatekeeper::new(number, kind);
            gatekeepers.insert(gatekeeper.id(), gatekeeper);
        }
        let mut world = Self {
            seed,
            dice,
            board: Board::default(),
            gatekeepers,
            members: BTreeSet::new(),
            views: vec![Arc::default()],
            mail: Vec::new(),
            root: None,
        };
        world.choose_members(smallest as usize);
        world
    }

    /// All the bad ones, and some of the others: some leave, some join.
    fn choose_members(&mut self, least: usize) {
        let all: Vec<GatekeeperId> = self.gatekeepers.keys().copied().collect();
        let count = least + self.dice.below(all.len() - least + 1);
        let is_bad = |world: &Self, id: &GatekeeperId| world.gatekeepers[id].kind != Kind::Honest;
        self.members = all.iter().filter(|id| is_bad(self, id)).copied().collect();
        while self.members.len() < count {
            self.members.insert(all[self.dice.below(all.len())]);
        }
    }

    fn live(&mut self, blocks: u32) {
        for _ in 0..blocks {
            let block = self.board.block;
            for gatekeeper in self.gatekeepers.values_mut() {
                for post in gatekeeper.turn(block, &self.views, &mut self.dice) {
                    if self.dice.chance(15) {
                        continue;
                    }
                    for _ in 0..1 + usize::from(self.dice.chance(10)) {
                        self.mail.push((block + 1 + self.dice.below(3) as u32, post.clone()));
                    }
                }
            }
            let (mut now, later): (Vec<_>, Vec<_>) = self.mail.drain(..).partition(|(arrives, _)| *arrives <= block);
            self.mail = later;
            while !now.is_empty() {
                let (_, post) = now.swap_remove(self.dice.below(now.len()));
                self.board.take(&post);
            }
            self.board.advance();
            // One for each block.
            let last = self.views.last().unwrap();
            let same = **last == self.board.view;
            self.views.push(if same { last.clone() } else { Arc::new(self.board.view.clone()) });
            self.check();
        }
    }

    fn until_done(&mut self) {
        let mut blocks = 0;
        while self.board.is_busy() {
            self.live(1);
            blocks += 1;
            assert!(blocks < 1500, "seed {}: no end", self.seed);
        }
        // What honest gatekeepers have to do afterwards they have done by then.
        self.live(25);
    }

    /// What holds in every block.
    fn check(&mut self) {
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

    /// Every honest player has the share of the current sharing, nobody honest has anything else, and any threshold of them make the key.
    fn app_key(&mut self, key: NetworkKey) -> AppKey {
        let sharing = VerifiedSharing::new(&self.board.view.sharings[&key]).unwrap();
        let honest = self.honest_players(key);
        for (id, gatekeeper) in &mut self.gatekeepers {
            if gatekeeper.kind == Kind::Honest {
                let expected = honest.contains(id).then_some(sharing.ceremony());
                assert_eq!(gatekeeper.state().share(key).map(phala_keys::Share::ceremony), expected, "{id}");
                assert_eq!(gatekeeper.state().attempts().count(), 0, "nothing is left of ceremonies");
            }
        }
        let signing = SigningKey::from_bytes(&[0xee; 32]);
        let worker = WorkerId(signing.verifying_key().to_bytes());
        let request = KeyRequest {
            genesis_hash: GENESIS,
            worker,
            job: 7,
            attempt: 1,
            app: APP,
            version: 1,
            key,
            reply_key: [0; 32],
        };
        let facts = Facts {
            genesis_hash: GENESIS,
            now: 10,
            job: 7,
            worker,
            attempt: 1,
            app: APP,
            version: 1,
            verdict_expires: 11,
            epochs: Some((0, u32::MAX)),
        };
        let (pending, signed) = PendingRequest::new(request, &signing, &mut self.dice.0).unwrap();
        let mut parts = Vec::new();
        for id in &honest {
            let granted = Granted::new(VerifiedRequest::new(&signed).unwrap(), &facts).unwrap();
            let share = self.gatekeepers.get_mut(id).unwrap().state().share(key).unwrap().clone();
            let reply = reply(&share, granted, &mut self.dice.0).unwrap();
            parts.push(pending.open(&sharing, *id, &reply).unwrap());
        }
        // Any of them, in any order.
        while parts.len() > sharing.threshold() as usize {
            parts.swap_remove(self.dice.below(parts.len()));
        }
        combine_app_key(&sharing, APP, 1, &parts).unwrap()
    }

    fn beacon(&mut self, round: u32) -> [u8; 32] {
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
}

/// What happened in a life: attempts at ceremonies, blocks, values that were opened, how often a gatekeeper with a rolled-back
/// state stood aside, and how often one computed its share only after the end.
type Life = [u64; 5];

/// The life of a network.
fn live(seed: u64) -> Life {
    let mut world = World::new(seed);
    let least = world.members.len().min(4);
    let epoch = NetworkKey::Epoch;

    world.board.want(NetworkKey::Root, &world.members.clone());
    world.until_done();
    let state_key = world.app_key(NetworkKey::Root).state_key();
    let beacon = world.beacon(1);

    // Two ceremonies at once: the first epoch, and others join and leave.
    world.board.want(epoch(0), &world.members.clone());
    world.live(3);
    let smallest = least.max(3 * world.gatekeepers.values().filter(|g| g.kind != Kind::Honest).count() + 1);
    world.choose_members(smallest);
    world.board.want(NetworkKey::Root, &world.members.clone());
    world.until_done();
    assert_eq!(world.app_key(NetworkKey::Root).state_key(), state_key);
    assert_eq!(world.beacon(1), beacon);

    // Something is encrypted under the epoch, which is dealt anew, too.
    let purpose = phala_app_encryption::Purpose::JobInput;
    let target = phala_app_encryption::Target { purpose, epoch: 0, app: APP, version: 1 };
    let public_key = world.board.view.sharings[&epoch(0)].public_key;
    let recipient = phala_app_encryption::AppRecipient::new(target, &public_key).unwrap();
    let input = age::encrypt(&recipient, b"an input").unwrap();
    world.board.want(epoch(0), &world.members.clone());
    world.board.want(epoch(1), &world.members.clone());
    world.until_done();
    let inputs = world.app_key(epoch(0)).inputs(purpose, 0).unwrap();
    assert_eq!(age::decrypt(&inputs, &input).unwrap(), b"an input");
    assert_ne!(world.board.view.sharings[&epoch(1)].public_key, public_key);

    // The grace period is over.
    for gatekeeper in world.gatekeepers.values_mut() {
        gatekeeper.forget(epoch(0));
    }
    world.board.drop_epoch(epoch(0));
    world.live(25);
    adversary::an_epoch_is_gone(&world.board, &world.gatekeepers, epoch(0));

    world.choose_members(smallest);
    world.board.want(NetworkKey::Root, &world.members.clone());
    world.until_done();
    assert_eq!(world.app_key(NetworkKey::Root).state_key(), state_key);
    assert_eq!(world.beacon(1), beacon);

    let opened = adversary::too_few_get_nothing(&world.board, &world.gatekeepers, &mut world.dice);
    let bad_hosts = world.gatekeepers.values().filter(|gatekeeper| gatekeeper.kind == Kind::BadHost);
    let aside = bad_hosts.map(|gatekeeper| gatekeeper.aside).sum::<usize>();
    let late = world.gatekeepers.values().map(|gatekeeper| gatekeeper.late).sum::<usize>();
    [world.board.attempts.into(), world.board.block.into(), opened as u64, aside as u64, late as u64]
}

#[test]
fn random_networks_keep_the_invariants() {
    if let Ok(seed) = env::var("PHALA_SEED") {
        println!("attempts, blocks, opened, aside, late: {:?}", live(seed.parse().expect("a number")));
        return;
    }
    let seeds: u64 = env::var("PHALA_SEEDS").map_or(50, |text| text.parse().expect("a number"));
    let next = AtomicU64::new(0);
    let totals: [AtomicU64; 5] = Default::default();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let result = std::panic::catch_unwind(|| live(seed));
                    let Ok(life) = result else {
                        panic!("seed {seed} failed; see it again with PHALA_SEED={seed}");
                    };
                    for (total, one) in totals.iter().zip(life) {
                        total.fetch_add(one, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let [attempts, blocks, opened, aside, late] = totals.map(AtomicU64::into_inner);
    println!(
        "{seeds} seeds, 6 ceremonies each: {attempts} attempts in {blocks} blocks, {opened} opened values, {aside} asides, {late} late shares"
    );
    if seeds >= 50 {
        assert!(attempts > seeds * 6 && opened > 0 && aside > 0 && late > 0, "the worlds are too easy");
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    assert_eq!(live(7), live(7));
}
