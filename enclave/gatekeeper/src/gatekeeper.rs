use futures::future::BoxFuture;
use phala_attestation::Role;
use phala_enclave::{
    Claimant, Context, Duty, DutySource, SealingKey, TeeRng,
    chain::{Block, Chain, ChainError, paused, read},
    host::{lock, refusal},
    text::{Hex, Public, text},
};
use phala_keys::{
    Aside, Granted, Identity, Refused, Request, Share, State, Step, VerifiedRequest, VerifiedSharing, reply,
};
use phala_primitives::{
    Hash,
    gatekeeper::{
        BroughtBeacon, CeremonyId, GatekeeperRequest, KeyReply, LOST_SHARE_INTERVAL, LostShare, NetworkKey,
        RELEASE_INTERVAL, ReleasedKey, SignedBeacon, SignedBeaconPart, SignedLostShare,
    },
    worker::Performance,
};
use phala_protocol::{
    EnclaveNotice, EnclaveReply, EnclaveStatus, GatekeeperStatus, HostNotice, HostRequest, LogLevel, Pause, Refusal,
    StartRole, Submission,
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use crate::{
    beacon::{PartError, Rounds, due},
    board::{Board, Epochs, Seen, gatekeeper_key},
    release::{Log, Logged, Record, RefusedText, facts, sealing_facts},
};

/// The name under which what a gatekeeper knows of a chain's keys is sealed.
pub fn sealed_name(genesis_hash: &Hash) -> String {
    format!("gatekeeper-{}", hex::encode(genesis_hash))
}

/// No key is given while the last look at how keys are shared, and what came of it, is so many blocks old.
const MAX_BEHIND: u32 = 30;

/// The duty of a gatekeeper.
pub struct Gatekeeper;

/// Why a gatekeeper stands aside, in fixed sentences with numbers.
struct AsideText<'a>(&'a Aside);

impl Public for AsideText<'_> {}

impl fmt::Display for AsideText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl DutySource for Gatekeeper {
    fn role(&self) -> Role {
        Role::Gatekeeper
    }

    fn check(&self, role: &StartRole) -> Result<(), Refusal> {
        match role {
            StartRole::Gatekeeper => Ok(()),
            StartRole::Worker { .. } => {
                Err(refusal(false, "this enclave is a gatekeeper's; start the worker's enclave with this host"))
            }
        }
    }

    /// The others cannot give it: its own share may be among those that are needed. One that has lost its share gets another.
    fn sealing_key(&self, _: Claimant) -> BoxFuture<'_, Result<Option<SealingKey>, Refusal>> {
        Box::pin(async { Ok(None) })
    }

    fn take_up(&self, context: Context, role: &StartRole) -> BoxFuture<'_, Result<Arc<dyn Duty>, Refusal>> {
        let checked = self.check(role);
        Box::pin(async move {
            checked?;
            let genesis_hash = context.chain.genesis_hash();
            let state = unsealed(&context, &genesis_hash).await?;
            let identity = Identity::new(genesis_hash, context.keys.signing_key())
                .map_err(|_| refusal(false, "the enclave's signing key is of no use in ceremonies"))?;
            let log = Log::new(state.releases());
            let (known, rounds) = (Mutex::default(), Rounds::default());
            let running = Arc::new(Running { context, identity, known, rounds, log });
            let follower = Arc::downgrade(&running);
            let tasks = running.context.tasks.clone();
            tasks.thread("ceremonies", move || {
                let mut turns = Turns { state, board: Board::default(), after: None };
                while let Some(running) = follower.upgrade() {
                    running.turn(&mut turns);
                }
            });
            Ok(running as Arc<dyn Duty>)
        })
    }
}

/// What the host has of this gatekeeper's secrets.
async fn unsealed(context: &Context, genesis_hash: &Hash) -> Result<State, Refusal> {
    let name = sealed_name(genesis_hash);
    let Some(sealing) = context.tee.sealing() else { return Ok(State::new()) };
    let Some(sealed) = context.host.load_sealed(&name).await? else { return Ok(State::new()) };
    let state = sealing.unseal(&name, &sealed).ok().and_then(|bytes| State::unseal(&bytes).ok());
    state.ok_or_else(|| {
        refusal(
            false,
            text!(
                "the sealed shares `gatekeeper-",
                Hex(*genesis_hash),
                "` were not made by this enclave on this platform, or were changed; bring the right ones back, or remove them \
                 to get new shares from the next ceremony"
            ),
        )
    })
}

/// A gatekeeper that has taken up its duty.
struct Running {
    context: Context,
    identity: Identity,
    known: Mutex<Known>,
    rounds: Rounds,
    log: Log,
}

/// What the last turn has left for requests in between.
#[derive(Default)]
struct Known {
    /// The block of that turn.
    at: u32,
    shares: BTreeMap<NetworkKey, (Share, Arc<VerifiedSharing>)>,
    ceremonies: Vec<CeremonyId>,
    asides: BTreeMap<CeremonyId, Aside>,
    beacon: Option<u32>,
}

/// What is kept from turn to turn.
struct Turns {
    state: State,
    board: Board,
    after: Option<u32>,
}

impl Running {
    /// Waits for the next finalized block, and does what it asks for.
    fn turn(&self, turns: &mut Turns) {
        let Context { chain, tasks, host, .. } = &self.context;
        let block = tasks.block_on(chain.finalized_after(turns.after));
        turns.after = Some(block.number);
        if matches!(chain.pause(), Some(Pause::Contradiction | Pause::RestoredState)) {
            return;
        }
        let mine: Vec<_> = turns.state.attempts().collect();
        let seen = tasks.block_on(turns.board.read(&**chain, block, self.identity.id(), &mine));
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                host.log(LogLevel::Debug, text!("the board at block ", block.number, " could not be read: ", error));
                return;
            }
        };
        let record = match self.release_record(block) {
            Ok(record) => Some(record),
            Err(error) => {
                host.log(LogLevel::Debug, text!("the log of releases could not be read: ", error));
                None
            }
        };
        let wanted = record.as_ref().and_then(|record| self.log.heard(record.logged));
        // Who has no share gives nothing.
        if let Some(releases) = wanted.filter(|_| turns.state.keys().next().is_some()) {
            turns.state.reserve(releases);
        }
        if let Err(refused) = self.advance(&mut turns.state, &seen, block) {
            host.log(LogLevel::Warn, text!("the shares and what belongs to them are not stored: ", &refused));
            return;
        }
        self.log.reserved(turns.state.releases());
        self.ask_for_lost_shares(&turns.state, &seen, block);
        self.sign_round(&seen, block);
        if let Some(record) = record {
            self.log_releases(&record, block);
        }
    }

    /// Steps until there is nothing left to seal, and posts.
    fn advance(&self, state: &mut State, seen: &Seen, block: Block) -> Result<(), Refusal> {
        let Context { tee, host, tasks, .. } = &self.context;
        let over: Vec<_> = state
            .keys()
            .filter(|key| matches!(key, NetworkKey::Epoch(epoch) if is_over(seen.epochs, *epoch)))
            .collect();
        for key in over {
            lock(&self.known).shares.remove(&key);
            if state.forget(key).is_ok() {
                host.log(LogLevel::Info, text!("erased the share of a key whose grace period is over"));
            }
        }
        loop {
            match state.step(&self.identity, &seen.view, &mut TeeRng(&**tee)) {
                Step::Seal(unsealed) => {
                    if let Some(sealing) = tee.sealing() {
                        let name = sealed_name(self.identity.genesis_hash());
                        let sealed = sealing.seal(&name, unsealed.bytes());
                        tasks.block_on(host.store_sealed(&name, sealed))?;
                    }
                    state.sealed(unsealed);
                }
                Step::Post { posts, asides } => {
                    self.know(state, seen, block, asides);
                    for post in posts {
                        tasks.block_on(host.notice(EnclaveNotice::Submit(Submission::Post(post))));
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Leaves for requests what they need.
    fn know(&self, state: &State, seen: &Seen, block: Block, asides: BTreeMap<CeremonyId, Aside>) {
        let mut known = lock(&self.known);
        let former = std::mem::take(&mut known.shares);
        for (key, sharing) in &seen.view.sharings {
            let Some(share) = state.share(*key).filter(|share| share.ceremony() == sharing.ceremony) else { continue };
            let same = former.get(key).filter(|(share, _)| share.ceremony() == sharing.ceremony);
            let verified = match same {
                Some((_, verified)) => Some(verified.clone()),
                None => VerifiedSharing::new(sharing).ok().map(Arc::new),
            };
            if let Some(verified) = verified {
                if same.is_none() {
                    let message = text!("has a share of the network key of ceremony ", sharing.ceremony);
                    self.context.host.log(LogLevel::Info, message);
                }
                known.shares.insert(*key, (share.clone(), verified));
            }
        }
        for (ceremony, aside) in asides.iter().filter(|(id, aside)| known.asides.get(id) != Some(aside)) {
            let message = text!("stands aside in ceremony ", *ceremony, ": ", AsideText(aside));
            self.context.host.log(LogLevel::Warn, message);
        }
        known.asides = asides;
        known.at = block.number;
        known.ceremonies = seen.running.clone();
        known.beacon = seen.beacon.map(|beacon| beacon.round);
    }

    /// Asks for a new dealing of each key of which this gatekeeper should have a share and has none.
    fn ask_for_lost_shares(&self, state: &State, seen: &Seen, block: Block) {
        let me = self.identity.id();
        let current = seen.epochs.current.map(NetworkKey::Epoch);
        for (key, sharing) in &seen.view.sharings {
            let is_wanted = *key == NetworkKey::Root || Some(*key) == current;
            let runs =
                seen.view.ceremonies.iter().any(|(id, view)| view.ceremony.key == *key && seen.running.contains(id));
            let lost = sharing.players.contains(&me) && state.share(*key).is_none();
            let is_early = block.number < sharing.since.saturating_add(LOST_SHARE_INTERVAL);
            if !is_wanted || runs || !lost || is_early {
                continue;
            }
            let request = LostShare {
                genesis_hash: *self.identity.genesis_hash(),
                key: *key,
                ceremony: sharing.ceremony,
                gatekeeper: me,
            };
            let signature = self.context.keys.sign(&request.signed_bytes());
            let submission = Submission::LostShare(SignedLostShare { request, signature });
            self.context.tasks.block_on(self.context.host.notice(EnclaveNotice::Submit(submission)));
        }
    }

    /// Signs the round that is due, and says it once it is whole.
    fn sign_round(&self, seen: &Seen, block: Block) {
        let Context { host, tasks, .. } = &self.context;
        let round = due(block.number);
        if round == 0 || seen.beacon.is_some_and(|beacon| beacon.round >= round) {
            return;
        }
        let root = lock(&self.known).shares.get(&NetworkKey::Root).cloned();
        let Some((share, sharing)) = root else { return };
        let part = self.rounds.begin(self.identity.genesis_hash(), round, &sharing, &share, self.identity.id());
        if let Some(part) = part {
            let signature = self.context.keys.sign(&part.signed_bytes());
            tasks.block_on(host.notice(EnclaveNotice::BeaconPart(SignedBeaconPart { part, signature })));
        }
        tasks.block_on(self.say_beacon());
    }

    /// Says the round, once there is one.
    async fn say_beacon(&self) {
        if let Some(beacon) = self.rounds.beacon() {
            let (genesis_hash, gatekeeper) = (*self.identity.genesis_hash(), self.identity.id());
            let brought = BroughtBeacon { genesis_hash, gatekeeper, beacon };
            let signature = self.context.keys.sign(&brought.signed_bytes());
            let submission = Submission::Beacon(SignedBeacon { brought, signature });
            self.context.host.notice(EnclaveNotice::Submit(submission)).await;
        }
    }

    /// What the chain has of this gatekeeper's releases.
    fn release_record(&self, block: Block) -> Result<Record, ChainError> {
        let Context { chain, tasks, .. } = &self.context;
        let key = gatekeeper_key("ReleaseLogs", self.identity.id());
        Ok(tasks.block_on(read::<Record>(&**chain, block.hash, key, "log of releases"))?.unwrap_or_default())
    }

    fn log_releases(&self, record: &Record, block: Block) {
        let Context { tasks, host, keys, .. } = &self.context;
        if record.logged != Logged::default() && block.number < record.since.saturating_add(RELEASE_INTERVAL) {
            return;
        }
        let (genesis_hash, me) = (self.identity.genesis_hash(), self.identity.id());
        if let Some(releases) = self.log.releases(record.logged, genesis_hash, me, keys.signing_key()) {
            tasks.block_on(host.notice(EnclaveNotice::Submit(Submission::Releases(releases))));
        }
    }

    /// Its part of a key, for who is entitled to it.
    async fn key(&self, request: GatekeeperRequest) -> Result<KeyReply, Refusal> {
        let chain = &*self.context.chain;
        match request {
            GatekeeperRequest::AppKey(signed) => {
                let request = VerifiedRequest::new(&signed).map_err(RefusedText)?;
                let (block, share) = self.share(request.request().key)?;
                let facts = facts(chain, block, request.request()).await?;
                self.give(block, share, Granted::new(request, &facts).map_err(RefusedText)?)
            }
            GatekeeperRequest::SealingKey(signed) => {
                let request = VerifiedRequest::new(&signed).map_err(RefusedText)?;
                let (block, share) = self.share(NetworkKey::Root)?;
                let facts = sealing_facts(chain, block, request.request()).await?;
                self.give(block, share, Granted::for_sealing(request, &facts).map_err(RefusedText)?)
            }
        }
    }

    /// The newest finalized block, and its share of a key, if it has one.
    fn share(&self, key: NetworkKey) -> Result<(Block, Option<Share>), Refusal> {
        let chain = &self.context.chain;
        let block = chain.finalized();
        if let Some(pause) = chain.pause() {
            return Err(paused(pause));
        }
        let block = block.ok_or_else(phala_enclave::chain::no_finality)?;
        let known = lock(&self.known);
        if block.number > known.at.saturating_add(MAX_BEHIND) {
            return Err(refusal(true, "this gatekeeper does not know how keys are shared at present"));
        }
        Ok((block, known.shares.get(&key).map(|(share, _)| share.clone())))
    }

    /// Its part of what was granted for what `block` says.
    fn give<R>(&self, block: Block, share: Option<Share>, granted: Granted<R>) -> Result<KeyReply, Refusal>
    where
        R: Request + Into<ReleasedKey>,
    {
        let tee = &self.context.tee;
        let share = share.ok_or(RefusedText(Refused::Share))?;
        self.log.admit(granted.request().clone().into(), tee.now(), block)?;
        reply(&share, granted, &mut TeeRng(&**tee)).map_err(|refused| RefusedText(refused).into())
    }

    fn take_part(&self, signed: &SignedBeaconPart) {
        let part = &signed.part;
        if part.genesis_hash != *self.identity.genesis_hash() {
            return;
        }
        match self.rounds.take(signed) {
            Ok(()) => {}
            // Whoever brings it is not who it names: there is nobody to blame.
            Err(PartError::Signature) => {}
            Err(PartError::Partial(_)) => {
                let message = text!("gatekeeper ", part.gatekeeper, " signed a false part of round ", part.round);
                self.context.host.log(LogLevel::Warn, message);
            }
        }
    }
}

/// Whether the chain no longer shares the key of `epoch`, and will not again.
fn is_over(epochs: Epochs, epoch: u32) -> bool {
    !epochs.contains(epoch) && epochs.current.is_some_and(|current| epoch <= current)
}

impl Duty for Running {
    fn resume(&self) -> BoxFuture<'_, ()> {
        // Everything is said again at the next block.
        Box::pin(async {})
    }

    fn performance(&self) -> BoxFuture<'_, Result<Option<Performance>, Refusal>> {
        Box::pin(async { Ok(None) })
    }

    fn answer(&self, request: HostRequest) -> BoxFuture<'_, Result<EnclaveReply, Refusal>> {
        Box::pin(async move {
            match request {
                HostRequest::Key(request) => {
                    let key = self.key(*request).await;
                    if key.is_err() {
                        self.log.refused();
                    }
                    Ok(EnclaveReply::Key(key?))
                }
                _ => Err(refusal(false, "this enclave is a gatekeeper's, and this request is not for a gatekeeper")),
            }
        })
    }

    fn told(&self, notice: HostNotice) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let HostNotice::BeaconPart(part) = notice {
                let before = self.rounds.beacon();
                self.take_part(&part);
                if before.is_none() {
                    self.say_beacon().await;
                }
            }
        })
    }

    fn report(&self, status: &mut EnclaveStatus) {
        let known = lock(&self.known);
        let (released, refused) = self.log.counts();
        status.gatekeeper = Some(GatekeeperStatus {
            shares: known.shares.iter().map(|(key, (share, _))| (*key, share.ceremony())).collect(),
            ceremonies: known.ceremonies.clone(),
            asides: known.asides.iter().map(|(id, aside)| (*id, aside.to_string())).collect(),
            beacon: known.beacon,
            released,
            refused,
        });
    }
}
