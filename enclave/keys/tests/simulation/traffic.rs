//! Requests for app keys and replies on their way between workers and gatekeepers, while jobs change hands.

use codec::Encode;
use phala_app_encryption::Purpose;
use phala_keys::{AppKey, OpenError, PartialError, Refused, combine_app_key};
use phala_primitives::{
    AppId, GatekeeperId, WorkerId,
    gatekeeper::{APP_KEY_VERSION, NetworkKey, SignedKeyRequest},
};
use sha2::Digest;

use super::{
    gatekeeper::Kind,
    release::{Heard, Owner, Reply, Worker},
    world::{APPS, JOBS, Mail, World},
};

/// Why an honest gatekeeper does not answer.
fn reason(refused: Refused) -> &'static str {
    match refused {
        Refused::Signature => "refused: signature",
        Refused::Chain => "refused: chain",
        Refused::Assignment => "refused: assignment",
        Refused::App => "refused: app",
        Refused::Version { .. } => "refused: version",
        Refused::Verdict => "refused: verdict",
        Refused::Claim => "refused: claim",
        Refused::Epoch(_) => "refused: epoch",
        Refused::Share => "refused: no share",
        Refused::ReplyKey => "refused: reply key",
    }
}

/// What a worker says of a reply that is of no use, and of whom.
fn named(error: OpenError) -> (&'static str, GatekeeperId) {
    match error {
        OpenError::Closed { gatekeeper } => ("named: to another request", gatekeeper),
        OpenError::Partial(PartialError::Ceremony { gatekeeper, .. }) => ("named: of another ceremony", gatekeeper),
        OpenError::Partial(PartialError::Malformed { gatekeeper }) => ("named: garbage", gatekeeper),
        OpenError::Partial(PartialError::Number { gatekeeper }) => ("named: another number", gatekeeper),
        OpenError::Partial(PartialError::Signature { gatekeeper }) => {
            ("named: another app's, key's or sharing's part", gatekeeper)
        }
    }
}

impl World {
    /// Gives each app's jobs to honest workers, and the thieves' to a thief, until each has all keys.
    pub fn until_served(&mut self) {
        self.is_quiet = true;
        self.board.jobs.verdicts.values_mut().for_each(|ends| *ends = u32::MAX);
        for job in 0..JOBS.len() as u64 {
            self.assign(job, u32::MAX);
        }
        let mut blocks = 0;
        while {
            self.live(1);
            let chain = self.chain.last().unwrap();
            self.workers.values().any(|worker| worker.owner == Owner::Honest && worker.needs(chain).is_some())
        } {
            blocks += 1;
            assert!(blocks < 500, "seed {}: a worker does not get its keys", self.seed);
        }
        self.is_quiet = false;
    }

    /// Gives a job to one who may have it.
    fn assign(&mut self, job: u64, due: u32) {
        let owner = if JOBS[job as usize] == 2 { Owner::Thief } else { Owner::Honest };
        let may: Vec<WorkerId> = self.workers.values().filter(|worker| worker.owner == owner).map(Worker::id).collect();
        self.board.jobs.assign(job, may[self.dice.below(may.len())], due);
    }

    /// Gives a thief a job of an honest user's app; it loses it again.
    pub fn trust_a_thief(&mut self, blocks: u32) {
        let thief = self.workers.values().find(|worker| worker.owner == Owner::Thief).map(Worker::id);
        self.is_quiet = true;
        self.board.jobs.assign(2, thief.unwrap(), u32::MAX);
        self.live(blocks);
        self.board.jobs.jobs.get_mut(&2).unwrap().assignment = None;
        self.live(1);
        self.is_quiet = false;
    }

    pub fn change_assignments(&mut self) {
        let block = self.board.block;
        let job = self.dice.below(JOBS.len()) as u64;
        match self.dice.below(6) {
            0 => self.board.jobs.jobs.get_mut(&job).unwrap().assignment = None,
            1 => {
                let at = self.dice.below(self.workers.len());
                let ends = if self.dice.chance(50) { block } else { u32::MAX };
                *self.board.jobs.verdicts.values_mut().nth(at).unwrap() = ends;
            }
            _ => {
                let due = block + 10 + self.dice.below(60) as u32;
                self.assign(job, due);
            }
        }
    }

    pub fn ask(&mut self) {
        let newest = self.chain.len() - 1;
        for id in self.workers.keys().copied().collect::<Vec<_>>() {
            let chain = &self.chain[newest.saturating_sub(self.dice.below(3))];
            let worker = self.workers.get_mut(&id).unwrap();
            let mut asked = worker.turn(chain, &mut self.dice);
            if worker.owner == Owner::Thief && self.dice.chance(10) && !chain.view.sharings.is_empty() {
                let stolen = worker.steal(chain, &APPS, &self.requests, &mut self.dice);
                asked.extend(self.gatekeepers.keys().map(|gatekeeper| (*gatekeeper, stolen.clone())));
            }
            for (to, signed) in asked {
                if self.requests.last() != Some(&signed) {
                    self.requests.push(signed.clone());
                }
                self.send(|| Mail::Request(id, to, signed.clone()));
            }
        }
    }

    /// A gatekeeper gets a request that `sender` sent.
    pub fn answer(&mut self, sender: WorkerId, to: GatekeeperId, signed: &SignedKeyRequest) {
        let block = self.board.block;
        let asked = signed.request.clone();
        self.trace.update((to, signed).encode());
        let Some(gatekeeper) = self.gatekeepers.get_mut(&to).filter(|gatekeeper| !gatekeeper.is_away(block)) else {
            return;
        };
        if self.dice.chance(2) {
            gatekeeper.crash(block, &mut self.dice);
            return;
        }
        let is_thief = self.workers[&sender].owner == Owner::Thief;
        let (reply, is_true) = if gatekeeper.kind == Kind::Liar {
            let said = match self.dice.below(4) {
                _ if is_thief => gatekeeper.betray(signed, &mut self.dice).map(|reply| (reply, true)),
                0 => None,
                1 => gatekeeper.betray(signed, &mut self.dice).map(|reply| (reply, true)),
                _ => gatekeeper.lie_about_a_key(&asked, &self.wire, &mut self.dice),
            };
            let Some(said) = said else { return };
            said
        } else {
            let chain = &self.chain[gatekeeper.seen()];
            match gatekeeper.answer(chain, signed, &mut self.dice) {
                Ok(reply) => (reply, true),
                Err(refused) => return self.count(reason(refused), 1),
            }
        };
        let kind = gatekeeper.kind;
        if kind != Kind::Liar {
            let what = (asked.worker, asked.app, asked.key);
            assert!(self.granted.contains(&what), "seed {}: {to} grants {what:?}, which nobody did", self.seed);
            if self.dice.chance(2) {
                // It is given, and gets nowhere.
                self.gatekeepers.get_mut(&to).unwrap().crash(block, &mut self.dice);
                return;
            }
        }
        let mut reply = Reply { from: to, to: sender, reply, asked, is_true };
        self.wire.push(reply.clone());
        if kind == Kind::BadHost {
            // Its host withholds it, or brings an old one in its place.
            let old: Vec<_> = self.wire.iter().rev().filter(|other| other.from == to).take(20).collect();
            match self.dice.below(10) {
                0..3 => return,
                3 => reply = Reply { to: sender, ..old[self.dice.below(old.len())].clone() },
                _ => {}
            }
        }
        self.send(|| Mail::Reply(reply.clone()));
    }

    /// A worker's host gets a reply, and gives it to the worker; it may mix up what an earlier request was answered with.
    pub fn hear(&mut self, reply: Reply) {
        self.trace.update((reply.from, reply.to, &reply.reply).encode());
        let worker = self.workers.get_mut(&reply.to).unwrap();
        if worker.owner == Owner::Thief {
            self.steal(&reply);
        }
        let kind = self.gatekeepers[&reply.from].kind;
        match self.workers.get_mut(&reply.to).unwrap().hear(&reply) {
            Heard::Nothing => {}
            Heard::Part => assert!(reply.is_true, "seed {}: a false part is taken", self.seed),
            Heard::Useless { error, is_asked } => {
                let (what, named) = named(error);
                assert_eq!(named, reply.from, "the worker names who sent it");
                let is_behind = matches!(error, OpenError::Partial(PartialError::Ceremony { .. }));
                assert!(kind == Kind::Liar || is_behind || !is_asked, "seed {}: {error} of an honest one", self.seed);
                self.count(what, 1);
            }
            Heard::Key(key) => {
                assert!(reply.is_true, "seed {}: a false part is taken", self.seed);
                self.got(reply.to, (reply.asked.app, reply.asked.key), &key);
            }
        }
    }

    fn got(&mut self, worker: WorkerId, (app, network_key): (AppId, NetworkKey), key: &AppKey) {
        assert!(self.granted.contains(&(worker, app, network_key)), "seed {}: a key for nobody", self.seed);
        if (app, network_key) == (APPS[0], NetworkKey::Epoch(0)) {
            self.inputs = Some(key.inputs(Purpose::JobInput, 0).unwrap());
        }
        let key = *key.state_key();
        assert_eq!(*self.keys.entry((app, network_key)).or_insert(key), key, "one key for each app and network key");
        self.count("keys", 1);
    }

    /// Thieves try a reply with whatever opens replies, and put all parts together.
    fn steal(&mut self, reply: &Reply) {
        let Some(sharing) = self.board.verified.get(&reply.reply.ceremony) else { return };
        let thieves = || self.workers.values().filter(|worker| worker.owner == Owner::Thief);
        let mut opened = Vec::new();
        for thief in thieves() {
            let newest = thief.memory.iter().rev().take(3);
            for pending in thief.memory.iter().filter(|pending| *pending.request() == reply.asked).chain(newest) {
                opened.extend(pending.open(sharing, reply.from, &reply.reply).map(|part| (pending, part)));
            }
        }
        let Some((pending, part)) = opened.pop() else { return };
        let request = pending.request();
        let (app, key) = (request.app, request.key);
        if request.version != APP_KEY_VERSION || thieves().any(|thief| self.granted.contains(&(thief.id(), app, key))) {
            return;
        }
        assert_eq!(self.gatekeepers[&reply.from].kind, Kind::Liar, "seed {}: a part for a thief", self.seed);
        let loot = self.loot.entry((app, key, sharing.ceremony())).or_default();
        loot.insert(reply.from, part);
        let parts: Vec<_> = loot.values().cloned().collect();
        assert!(parts.len() < sharing.threshold() as usize, "seed {}: thieves have a threshold", self.seed);
        assert!(combine_app_key(sharing, app, APP_KEY_VERSION, &parts).is_err());
        self.count("stolen parts", 1);
    }
}
