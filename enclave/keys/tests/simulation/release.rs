//! App keys: workers that ask for them, and gatekeepers that answer by what they see of the chain.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signer, SigningKey};
use phala_keys::{
    AppKey, Granted, OpenError, PendingRequest, Refused, VerifiedPartial, VerifiedRequest, VerifiedSharing,
    combine_app_key, reply,
};
use phala_primitives::{
    AppId, GatekeeperId, JobId, WorkerId,
    gatekeeper::{APP_KEY_VERSION, KeyReply, KeyRequest, NetworkKey, SignedKeyRequest},
};
use rand_core::Rng;

use super::{
    board::{Finalized, GENESIS},
    classes::Traits,
    gatekeeper::{Dice, Gatekeeper},
    jobs::Job,
};

/// How many blocks a worker waits for the parts that it asked for at once.
const PATIENCE: u32 = 15;

/// A reply on its way, and what nobody sees who carries it.
#[derive(Clone)]
pub struct Reply {
    pub from: GatekeeperId,
    pub to: WorkerId,
    pub reply: KeyReply,
    /// What it answers.
    pub asked: KeyRequest,
    /// Whether it has the part that was asked for.
    pub is_true: bool,
}

impl Gatekeeper {
    /// The answer of an enclave that is not broken.
    pub fn answer(
        &mut self,
        chain: &Finalized,
        signed: &SignedKeyRequest,
        dice: &mut Dice,
    ) -> Result<KeyReply, Refused> {
        let request = VerifiedRequest::new(signed)?;
        let facts = chain.facts(request.request()).ok_or(Refused::Assignment)?;
        let granted = Granted::new(request, &facts)?;
        let share = self.state().share(granted.request().key).ok_or(Refused::Share)?;
        reply(share, granted, &mut dice.0)
    }
}

/// Whose a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Honest,
    /// Its enclave is broken: it asks for what is not its own, and liars give it whatever they have.
    Thief,
}

pub struct Worker {
    pub owner: Owner,
    pub traits: Traits,
    pub signing: SigningKey,
    asking: Option<Asking>,
    /// The keys that it has, for which assignment.
    has: BTreeSet<(JobId, u32, NetworkKey)>,
    /// Every request that it ever made, with the key that opens the replies.
    pub memory: Vec<PendingRequest>,
}

struct Asking {
    pending: PendingRequest,
    signed: SignedKeyRequest,
    sharing: VerifiedSharing,
    parts: BTreeMap<GatekeeperId, VerifiedPartial>,
    /// Whose replies were of no use.
    named: BTreeSet<GatekeeperId>,
    since: u32,
}

/// What a worker makes of a reply.
pub enum Heard {
    Nothing,
    /// A part, but not enough of them.
    Part,
    /// Of no use, and whose it is.
    Useless {
        error: OpenError,
        /// Whether it answers what the worker asks at present.
        is_asked: bool,
    },
    Key(Box<AppKey>),
}

impl Worker {
    pub fn new(number: u8, owner: Owner, traits: Traits) -> Self {
        let signing = SigningKey::from_bytes(&[0xff - number; 32]);
        Self { owner, traits, signing, asking: None, has: BTreeSet::new(), memory: Vec::new() }
    }

    pub fn id(&self) -> WorkerId {
        WorkerId(self.signing.verifying_key().to_bytes())
    }

    /// The next key that it needs and does not have.
    pub fn needs(&self, chain: &Finalized) -> Option<(JobId, u32, AppId, NetworkKey)> {
        let mine = chain.running().filter(|(worker, ..)| *worker == self.id());
        mine.flat_map(|(_, id, job)| chain.view.sharings.keys().map(move |key| (id, job.attempt, job.app, *key)))
            .find(|(job, attempt, _, key)| !self.has.contains(&(*job, *attempt, *key)))
    }

    /// Makes a request, and gives what is sent.
    pub fn request(
        &mut self,
        (job, attempt, app, key): (JobId, u32, AppId, NetworkKey),
        dice: &mut Dice,
    ) -> (PendingRequest, SignedKeyRequest) {
        let request = KeyRequest {
            genesis_hash: GENESIS,
            worker: self.id(),
            job,
            attempt,
            app,
            version: APP_KEY_VERSION,
            key,
            reply_key: [0; 32],
        };
        PendingRequest::new(request, &self.signing, &mut dice.0).unwrap()
    }

    fn stop_asking(&mut self) {
        self.memory.extend(self.asking.take().map(|asking| asking.pending));
    }

    /// One look at the chain: what it asks of whom.
    pub fn turn(&mut self, chain: &Finalized, dice: &mut Dice) -> Vec<(GatekeeperId, SignedKeyRequest)> {
        // A crash, an end of patience: what was asked before is not asked again.
        let is_over = |asking: &Asking| chain.block >= asking.since + PATIENCE;
        if self.asking.as_ref().is_some_and(is_over) || self.asking.is_some() && dice.chance(3) {
            self.stop_asking();
        }
        if self.asking.is_none()
            && let Some(needed) = self.needs(chain)
        {
            let (pending, signed) = self.request(needed, dice);
            let sharing = VerifiedSharing::new(&chain.view.sharings[&needed.3]).unwrap();
            let (parts, named) = Default::default();
            self.asking = Some(Asking { pending, signed, sharing, parts, named, since: chain.block });
        }
        let Some(asking) = &self.asking else { return Vec::new() };
        if chain.block.saturating_sub(asking.since) % 4 != 0 {
            return Vec::new();
        }
        let open = |id: &&GatekeeperId| !asking.parts.contains_key(id) && !asking.named.contains(id);
        asking.sharing.players().iter().filter(open).map(|id| (*id, asking.signed.clone())).collect()
    }

    /// A reply. Its host says that it is to what the worker asks at present, and may be wrong.
    pub fn hear(&mut self, heard: &Reply) -> Heard {
        let Some(asking) = &mut self.asking else { return Heard::Nothing };
        if asking.parts.contains_key(&heard.from) || asking.named.contains(&heard.from) {
            return Heard::Nothing;
        }
        match asking.pending.open(&asking.sharing, heard.from, &heard.reply) {
            Ok(part) => {
                assert_eq!(part.gatekeeper(), heard.from);
                asking.parts.insert(heard.from, part);
            }
            Err(error) => {
                asking.named.insert(heard.from);
                return Heard::Useless { error, is_asked: heard.asked == *asking.pending.request() };
            }
        }
        let parts: Vec<_> = asking.parts.values().cloned().collect();
        let request = asking.pending.request();
        let (job, attempt, key) = (request.job, request.attempt, request.key);
        let app_key = combine_app_key(&asking.sharing, request.app, request.version, &parts);
        if parts.len() < asking.sharing.threshold() as usize {
            assert!(app_key.is_err(), "too few parts make a key");
            return Heard::Part;
        }
        self.has.insert((job, attempt, key));
        self.stop_asking();
        Heard::Key(Box::new(app_key.expect("a threshold of verified parts makes the key")))
    }

    /// A request for something that is not its own. `seen` is what others asked, `apps` are all there are.
    pub fn steal(
        &mut self,
        chain: &Finalized,
        apps: &[AppId],
        seen: &[SignedKeyRequest],
        dice: &mut Dice,
    ) -> SignedKeyRequest {
        let jobs: Vec<_> = chain.jobs.jobs.iter().collect();
        let is_mine = |job: &Job| job.assignment.is_some_and(|(worker, _)| worker == self.id());
        let mine = jobs.iter().find(|(_, job)| is_mine(job)).filter(|_| dice.chance(50));
        let (id, job) = *mine.unwrap_or(&jobs[dice.below(jobs.len())]);
        let keys: Vec<_> = chain.view.sharings.keys().copied().collect();
        let key = *keys.get(dice.below(keys.len() + 1)).unwrap_or(&NetworkKey::Epoch(dice.below(3) as u32));
        let app = if is_mine(job) { apps[dice.below(apps.len())] } else { job.app };
        // Another attempt than the present one, now and then.
        let attempt = job.attempt.saturating_sub(u32::from(dice.chance(20)));
        let (pending, mut signed) = self.request((*id, attempt, app, key), dice);
        let reply_key = signed.request.reply_key;
        self.memory.push(pending);
        if seen.is_empty() || dice.chance(60) {
            match dice.below(6) {
                0 => signed.request.version += 1,
                1 => dice.0.fill_bytes(&mut signed.request.genesis_hash),
                _ => return signed,
            }
            signed.signature = self.signing.sign(&signed.request.signed_bytes()).to_bytes();
            return signed;
        }
        // Another's request: as it is, with a reply key of the thief's, or signed by the thief.
        let mut others = seen[dice.below(seen.len())].clone();
        match dice.below(3) {
            0 => {}
            1 => others.request.reply_key = reply_key,
            _ => {
                others.request.reply_key = reply_key;
                others.signature = self.signing.sign(&others.request.signed_bytes()).to_bytes();
            }
        }
        others
    }
}
