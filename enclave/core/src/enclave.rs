//! The enclave as its host sees it: requests in, answers out.

use futures::future::BoxFuture;
use phala_attestation::{Role, Statement};
use phala_primitives::{
    Hash,
    worker::{Heartbeat, Liveness, PerformanceReport, SignedHeartbeat, SignedLiveness, SignedPerformanceReport},
};
use phala_protocol::{
    Attestation, EnclaveReply, EnclaveStatus, Hello, HostMessage, HostNotice, HostRequest, LogLevel, MAX_CHUNK_BYTES,
    Message, Refusal, Registration, Start, StartRole, wire,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    Claimant, Context, Disconnected, Duty, DutySource, FrameReceiver, FrameSender, Runtime, Tee, Threads,
    chain::{Chain, ChainSpec, Guarded, LightClient, Platform, StartError, no_finality},
    host::{Host, encode_reply, refusal},
    keys::{self, Keys},
    runtime::Tasks,
    tee::WithSealing,
    text::{Hex, text},
};

/// Requests of the host that may be open at once, apart from starts.
pub const OPEN_REQUESTS: usize = 256;

/// Notices for a duty that may be open at once. More are dropped.
const OPEN_NOTICES: usize = 64;

/// Starts that may be open at once: each holds a chain specification.
pub const OPEN_STARTS: usize = 4;

/// How long a registration waits for a finalized block.
const FINALITY_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a view of the chain that a specification describes.
pub type ChainSource = dyn Fn(ChainSpec) -> BoxFuture<'static, Result<Arc<dyn Chain>, StartError>> + Send + Sync;

/// An enclave. Lives as long as its process; its host may come and go.
pub struct Enclave {
    tee: Arc<dyn Tee>,
    host: Host,
    tasks: Tasks,
    duties: Arc<dyn DutySource>,
    chain_source: Arc<ChainSource>,
    /// Set by the first start that got as far as the chain, so that the next one follows no second.
    chain: futures::lock::Mutex<Option<Arc<dyn Chain>>>,
    /// Set by the first start that got a key to seal with from the network: it costs a fee.
    sealing: futures::lock::Mutex<Option<Arc<dyn Tee>>>,
    /// Set by the first start that went well.
    started: futures::lock::Mutex<Option<Arc<Started>>>,
    requests: Arc<Places>,
    starts: Arc<Places>,
    notices: Arc<Places>,
}

/// How a connection to the host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The host hung up. Connect again.
    #[error("the host hung up")]
    HungUp,
    /// The host sent what is no message. Connect again.
    #[error("the host sent a malformed message")]
    Malformed,
    /// The host asks more and more and does not read the answers. Connect again.
    #[error("the host has {OPEN_REQUESTS} requests open and reads no answers")]
    Unread,
    /// The host speaks another version of the protocol.
    #[error("the host speaks another protocol or version; run enclave and host of the same release")]
    Version,
}

impl From<Disconnected> for End {
    fn from(_: Disconnected) -> Self {
        Self::HungUp
    }
}

/// What a start set up.
struct Started {
    start: (Hash, StartRole),
    keys: Arc<Keys>,
    chain: Arc<Guarded>,
    duty: Arc<dyn Duty>,
}

impl Enclave {
    /// An enclave with this duty that follows its chain with a light client of its own, on threads of its own.
    pub fn new(tee: Arc<dyn Tee>, duties: Arc<dyn DutySource>) -> Arc<Self> {
        let (host, tasks) = (Host::default(), Tasks::new(Arc::new(Threads::default())));
        let platform = Platform::new(tee.clone(), host.clone(), tasks.clone());
        let source = move |spec: ChainSpec| -> BoxFuture<'static, Result<Arc<dyn Chain>, StartError>> {
            let platform = platform.clone();
            Box::pin(async move { Ok(LightClient::start(spec, platform).await? as Arc<dyn Chain>) })
        };
        Self::build(tee, host, tasks, Arc::new(source), duties)
    }

    /// An enclave that sees the chain through `chain_source` and runs on `runtime`: for simulations.
    pub fn with(
        tee: Arc<dyn Tee>,
        chain_source: Arc<ChainSource>,
        runtime: Arc<dyn Runtime>,
        duties: Arc<dyn DutySource>,
    ) -> Arc<Self> {
        Self::build(tee, Host::default(), Tasks::new(runtime), chain_source, duties)
    }

    fn build(
        tee: Arc<dyn Tee>,
        host: Host,
        tasks: Tasks,
        chain_source: Arc<ChainSource>,
        duties: Arc<dyn DutySource>,
    ) -> Arc<Self> {
        Arc::new(Self {
            tee,
            host,
            tasks,
            duties,
            chain_source,
            chain: futures::lock::Mutex::new(None),
            sealing: futures::lock::Mutex::new(None),
            started: futures::lock::Mutex::new(None),
            requests: Places::new(OPEN_REQUESTS),
            starts: Places::new(OPEN_STARTS),
            notices: Places::new(OPEN_NOTICES),
        })
    }

    /// Serves the host on one connection until it ends. Jobs go on meanwhile and afterwards; what they need of the host they
    /// ask for again on the next connection. One connection at a time.
    pub async fn serve(self: &Arc<Self>, mut sender: impl FrameSender, mut receiver: impl FrameReceiver) -> End {
        if let Err(end) = greet(&mut sender, &mut receiver).await {
            return end;
        }
        let (outbound, queue) = Host::channel();
        let write = async {
            while let Ok(frame) = queue.recv().await {
                if sender.send(frame).await.is_err() {
                    return End::HungUp;
                }
            }
            End::HungUp
        };
        let read = async {
            loop {
                let Ok(frame) = receiver.receive().await else { return End::HungUp };
                let Ok(message) = wire::decode::<HostMessage>(&frame) else { return End::Malformed };
                if let Err(end) = self.handle(message, &outbound) {
                    return end;
                }
            }
        };
        let end = futures_lite::future::or(write, read).await;
        self.host.down(&outbound);
        outbound.close();
        end
    }

    /// Takes a message. Never waits: the host's answers must get through while everything else is stuck.
    fn handle(self: &Arc<Self>, message: HostMessage, outbound: &async_channel::Sender<Vec<u8>>) -> Result<(), End> {
        match message {
            Message::Reply { id, reply } => self.host.answered(id, reply),
            Message::Notice(HostNotice::Received { bytes, .. }) if bytes.len() > MAX_CHUNK_BYTES as usize => {
                return Err(End::Malformed);
            }
            Message::Notice(HostNotice::Received { connection, bytes }) => self.host.received(connection, &bytes),
            Message::Notice(HostNotice::Closed { connection }) => self.host.closed(connection),
            Message::Notice(notice @ HostNotice::BeaconPart(_)) => self.told(notice),
            Message::Request { id, request } => {
                let places = if matches!(request, HostRequest::Start(_)) {
                    self.host.up(outbound);
                    &self.starts
                } else {
                    &self.requests
                };
                let Some(open) = places.take() else {
                    // Kept nowhere, so that a host that asks and does not read costs no memory.
                    let refused = encode_reply(id, Err(refusal(true, "too many requests are open")));
                    return match outbound.try_send(refused) {
                        Err(async_channel::TrySendError::Full(_)) => Err(End::Unread),
                        Ok(()) | Err(async_channel::TrySendError::Closed(_)) => Ok(()),
                    };
                };
                let (this, outbound) = (self.clone(), outbound.clone());
                self.tasks.spawn(async move {
                    let reply = this.answer(request).await;
                    let _ = outbound.send(encode_reply(id, reply)).await;
                    drop(open);
                });
            }
        }
        Ok(())
    }

    async fn answer(self: &Arc<Self>, request: HostRequest) -> Result<EnclaveReply, Refusal> {
        match request {
            HostRequest::Start(start) => self.start(start).await,
            HostRequest::Register => self.register(&*self.running().await?).await,
            HostRequest::Heartbeat => heartbeat(&*self.running().await?).await,
            HostRequest::Challenge { nonce } => self.challenge(&*self.running().await?, nonce).await,
            HostRequest::Status => Ok(EnclaveReply::Status(status(&*self.running().await?))),
            request @ (HostRequest::StartJob { .. } | HostRequest::Key(_)) => {
                self.running().await?.duty.answer(request).await
            }
        }
    }

    /// Has the duty hear a notice, beside everything else. Too many at once are dropped: whoever says them says them again.
    fn told(self: &Arc<Self>, notice: HostNotice) {
        let Some(open) = self.notices.take() else { return };
        let this = self.clone();
        self.tasks.spawn(async move {
            if let Ok(started) = this.running().await {
                started.duty.told(notice).await;
            }
            drop(open);
        });
    }

    /// What the start set up that went well.
    async fn running(&self) -> Result<Arc<Started>, Refusal> {
        let started = self.started.lock().await.clone();
        started.ok_or_else(|| refusal(true, "the enclave has not been started on a chain yet"))
    }

    async fn start(self: &Arc<Self>, start: Start) -> Result<EnclaveReply, Refusal> {
        let spec = ChainSpec::new(&start.chain_spec).map_err(|error| refusal(false, text!(error)))?;
        self.duties.check(&start.role)?;
        let asked = (start.operator, start.role);
        let mut slot = self.started.lock().await;
        let started = match &*slot {
            Some(started) if started.start != asked || !started.chain.update(&spec) => {
                return Err(refusal(
                    false,
                    "the enclave runs already for another chain, operator or role; stop it and start it anew",
                ));
            }
            Some(started) => {
                let duty = started.duty.clone();
                self.tasks.spawn(async move { duty.resume().await });
                started.clone()
            }
            None => {
                let started = Arc::new(self.set_up(spec, asked).await?);
                self.tasks.spawn(started.chain.clone().follow());
                *slot = Some(started.clone());
                started
            }
        };
        Ok(EnclaveReply::Started {
            signing_key: started.keys.id(),
            encryption_key: started.keys.encryption_key(),
            measurement: self.tee.measurement().0,
        })
    }

    async fn set_up(&self, spec: ChainSpec, start: (Hash, StartRole)) -> Result<Started, Refusal> {
        let chain = self.chain(spec).await?;
        let tee = self.sealing_tee(&chain, start.0).await?;
        let keys = Arc::new(self.keys(&*tee, &chain.genesis_hash()).await?);
        let (host, tasks) = (self.host.clone(), self.tasks.clone());
        let chain = Guarded::load(chain, tee.clone(), host.clone(), self.duties.role(), keys.id()).await?;
        let chain = Arc::new(chain);
        let context = Context { tee, host, tasks, keys: keys.clone(), chain: chain.clone() };
        let duty = self.duties.take_up(context, &start.1).await?;
        Ok(Started { start, keys, chain, duty })
    }

    /// The chain that `spec` describes. There is one in a process's life, so that a host cannot have it follow many.
    async fn chain(&self, spec: ChainSpec) -> Result<Arc<dyn Chain>, Refusal> {
        let mut kept = self.chain.lock().await;
        if let Some(chain) = &*kept {
            let other = "the enclave follows another chain already; stop it and start it anew";
            return if chain.update(&spec) { Ok(chain.clone()) } else { Err(refusal(false, other)) };
        }
        let chain = (self.chain_source)(spec).await.map_err(|error| refusal(false, text!(&error)))?;
        *kept = Some(chain.clone());
        Ok(chain)
    }

    /// The TEE, with a key to seal with from the network where it has none and the network gives one.
    async fn sealing_tee(&self, chain: &Arc<dyn Chain>, operator: Hash) -> Result<Arc<dyn Tee>, Refusal> {
        let tee = self.tee.clone();
        if tee.sealing().is_some() {
            return Ok(tee);
        }
        let mut kept = self.sealing.lock().await;
        if let Some(sealing) = &*kept {
            return Ok(sealing.clone());
        }
        let claimant = Claimant { tee: tee.clone(), host: self.host.clone(), chain: chain.clone(), operator };
        let Some(key) = self.duties.sealing_key(claimant).await? else { return Ok(tee) };
        let sealing: Arc<dyn Tee> = Arc::new(WithSealing { tee, key });
        *kept = Some(sealing.clone());
        Ok(sealing)
    }

    /// Unseals the keys for a chain, or makes them when there are none, or the TEE cannot have kept any.
    async fn keys(&self, tee: &dyn Tee, genesis_hash: &Hash) -> Result<Keys, Refusal> {
        let name = keys::sealed_name(genesis_hash);
        if let Some(sealing) = tee.sealing()
            && let Some(sealed) = self.host.load_sealed(&name).await?
        {
            return Keys::unseal(sealing, genesis_hash, &sealed).map_err(|error| {
                refusal(
                    false,
                    text!(
                        "the enclave's keys do not unseal: ",
                        error,
                        "; remove the sealed blob `keys-",
                        Hex(*genesis_hash),
                        "` to begin with new keys, which make a new ",
                        self.role()
                    ),
                )
            });
        }
        let (keys, sealed) = Keys::generate(tee, genesis_hash);
        match sealed {
            Some(sealed) => {
                self.host.store_sealed(&name, sealed).await?;
                self.host.log(LogLevel::Info, text!("made new keys; this is ", self.role(), " 0x", Hex(keys.id())));
            }
            None => self.host.log(
                LogLevel::Warn,
                text!(
                    "this TEE cannot seal: made new keys, which end with this process; this is ",
                    self.role(),
                    " 0x",
                    Hex(keys.id())
                ),
            ),
        }
        Ok(keys)
    }

    /// The role in words.
    fn role(&self) -> &'static str {
        match self.duties.role() {
            Role::Worker => "worker",
            Role::Gatekeeper => "gatekeeper",
        }
    }

    async fn register(&self, started: &Started) -> Result<EnclaveReply, Refusal> {
        let performance = started.duty.performance().await?;
        self.wait_for_finality(started).await?;
        let block = started.chain.named_on_chain().await?;
        let (genesis_hash, (operator, _)) = (started.chain.genesis_hash(), started.start);
        let statement = Statement {
            role: self.duties.role(),
            signing_key: started.keys.id(),
            encryption_key: started.keys.encryption_key(),
            genesis_hash,
            operator,
            block_number: block.number,
            block_hash: block.hash,
        };
        let evidence = self.tee.evidence(statement.report_data()).map_err(|error| refusal(true, text!(&error)))?;
        let Some(performance) = performance else {
            return Ok(EnclaveReply::Attestation(Box::new(Attestation { statement, evidence })));
        };
        let worker = started.keys.worker();
        let report = PerformanceReport { genesis_hash, worker, performance, block_number: block.number };
        let signature = started.keys.sign(&report.signed_bytes());
        let performance = SignedPerformanceReport { report, signature };
        Ok(EnclaveReply::Registration(Box::new(Registration { statement, evidence, performance })))
    }

    async fn challenge(&self, started: &Started, nonce: Hash) -> Result<EnclaveReply, Refusal> {
        let block = started.chain.named_to_a_user().await?;
        let liveness = Liveness {
            genesis_hash: started.chain.genesis_hash(),
            signing_key: started.keys.id(),
            nonce,
            block_number: block.number,
            block_hash: block.hash,
            isolation: self.tee.isolation(),
        };
        let signature = started.keys.sign(&liveness.signed_bytes());
        Ok(EnclaveReply::Liveness(SignedLiveness { liveness, signature }))
    }

    /// Waits a while for the first finalized block.
    async fn wait_for_finality(&self, started: &Started) -> Result<(), Refusal> {
        if started.chain.finalized().is_some() || started.chain.pause().is_some() {
            return Ok(());
        }
        let timeout = async {
            self.tee.sleep(FINALITY_TIMEOUT).await;
            Err(no_finality())
        };
        let first = async {
            started.chain.finalized_after(None).await;
            Ok(())
        };
        futures_lite::future::or(first, timeout).await
    }
}

/// Exchanges the first messages.
async fn greet(sender: &mut impl FrameSender, receiver: &mut impl FrameReceiver) -> Result<(), End> {
    sender.send(codec::Encode::encode(&Hello::CURRENT)).await?;
    let hello: Hello = wire::decode(&receiver.receive().await?).map_err(|_| End::Version)?;
    wire::check_hello(&hello).map_err(|_| End::Version)
}

async fn heartbeat(started: &Started) -> Result<EnclaveReply, Refusal> {
    let block = started.chain.named_on_chain().await?;
    let heartbeat = Heartbeat {
        genesis_hash: started.chain.genesis_hash(),
        worker: started.keys.worker(),
        block_number: block.number,
        block_hash: block.hash,
    };
    let signature = started.keys.sign(&heartbeat.signed_bytes());
    Ok(EnclaveReply::Heartbeat(SignedHeartbeat { heartbeat, signature }))
}

fn status(started: &Started) -> EnclaveStatus {
    let mut status = EnclaveStatus {
        finalized_block: started.chain.finalized().map(|block| block.number),
        pause: started.chain.pause(),
        peers: started.chain.peers(),
        ..EnclaveStatus::default()
    };
    started.duty.report(&mut status);
    status
}

/// How many of the host's requests are open, and may be.
struct Places {
    open: AtomicUsize,
    most: usize,
}

impl Places {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), most })
    }

    fn take(self: &Arc<Self>) -> Option<Open> {
        let more = |open: usize| (open < self.most).then(|| open.saturating_add(1));
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Open(self.clone()))
    }
}

/// One of the host's open requests.
struct Open(Arc<Places>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}
