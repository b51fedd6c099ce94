//! An enclave and a node for tests.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use codec::{Decode, Encode};
use futures::future::BoxFuture;
use phala_attestation::{Evidence, Family, Measurement, PlatformId, Role, Statement, Vendor, VendorName, simulated};
use phala_primitives::{
    AppId, Hash, JobId, Limits, Outcome, Receipt, SignedReceipt, WorkerId,
    attestation::Class,
    job::{Assignment, JobStatus, Settlement},
    worker::{
        Heartbeat, Liveness, Performance, PerformanceReport, SignedHeartbeat, SignedLiveness, SignedPerformanceReport,
        WorkerStatus,
    },
};
use phala_protocol::{
    EnclaveMessage, EnclaveNotice, EnclaveReply, EnclaveRequest, EnclaveStatus, Hello, HostMessage, HostNotice,
    HostReply, HostRequest, Message, Pause, Refusal, Registration, Start, StartRole, wire,
};
use phala_sdk::Account;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    chain::{At, Heads, Job, Node, NodeError, Submission, SubmitError, Worker},
    enclave::{self, Enclave, StartSource},
    jobs::Jobs,
    metrics::Metrics,
    store::{Limits as StoreLimits, Store, evidence_hash},
    takeover::JobsNode,
};

pub const WORKER: WorkerId = WorkerId([1; 32]);
pub const MEASUREMENT: [u8; 32] = [3; 32];
/// The block that every heartbeat names.
pub const HEARTBEAT_BLOCK: u32 = 1_000;
pub const OPERATOR: Account = Account([4; 32]);
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("did not happen: {what}");
}

/// What the enclave gives for a registration; each `number` another.
pub fn registration(number: u8) -> Registration {
    let statement = Statement {
        role: Role::Worker,
        signing_key: WORKER.0,
        encryption_key: [2; 32],
        genesis_hash: [5; 32],
        operator: OPERATOR.0,
        block_number: 1,
        block_hash: [number; 32],
    };
    let certificate = simulated::Certificate {
        platform: PlatformId([0; 32]),
        vendor: VendorName::DEVELOPMENT,
        platform_key: [0; 32],
        tcb_level: 1,
        not_before: 0,
        not_after: u64::MAX,
    };
    let report =
        simulated::Report { measurement: Measurement(MEASUREMENT), debug: false, report_data: statement.report_data() };
    let evidence = Evidence::Simulated(simulated::Quote {
        version: 1,
        certificate,
        certificate_signature: [0; 64],
        report,
        report_signature: [0; 64],
    });
    let report = PerformanceReport {
        genesis_hash: [5; 32],
        worker: WORKER,
        performance: Performance { fuel_per_second: 1, capacity: 4 },
        block_number: 1,
    };
    Registration { statement, evidence, performance: SignedPerformanceReport { report, signature: [0; 64] } }
}

/// A receipt for the first attempt at `job`.
pub fn receipt(job: JobId) -> SignedReceipt {
    let receipt = Receipt {
        genesis_hash: [5; 32],
        job,
        attempt: 1,
        app: AppId([6; 32]),
        worker: WORKER,
        measurement: MEASUREMENT,
        code_hash: [0; 32],
        input_hash: [0; 32],
        output_hash: [0; 32],
        output_file_hash: [0; 32],
        outcome: Outcome::Completed { exit_code: 0 },
        fuel: 10,
        input_bytes: 0,
        output_bytes: 0,
        block_number: 1,
        block_hash: [0; 32],
    };
    SignedReceipt { receipt, signature: [0; 64] }
}

/// A receipt for the first attempt at `job`, whose encrypted output is `output`.
pub fn receipt_of(job: JobId, output: &[u8]) -> SignedReceipt {
    let mut signed = receipt(job);
    signed.receipt.output_file_hash = Sha256::digest(output).into();
    signed
}

/// A receipt for some attempt at `job`.
pub fn receipt_of_attempt(job: JobId, attempt: u32) -> SignedReceipt {
    let mut signed = receipt(job);
    signed.receipt.attempt = attempt;
    signed
}

/// The worker as registered with `registration(number)`.
pub fn worker(number: u8) -> Worker {
    let registration = registration(number);
    Worker {
        operator: OPERATOR,
        encryption_key: [2; 32],
        endpoint: b"http://localhost:1".to_vec(),
        price: 7,
        performance: registration.performance.report.performance,
        running: 0,
        status: WorkerStatus::Active,
        measurement: Measurement(MEASUREMENT),
        platform: PlatformId([0; 32]),
        family: phala_attestation::Family::Simulated(VendorName::DEVELOPMENT),
        vendor: Vendor::Simulated(VendorName::DEVELOPMENT),
        tier: phala_attestation::Tier::Full,
        verified_at: 9_100,
        verdict_expires: 10_000,
        outlook: None,
        evidence_hash: evidence_hash(&(registration.statement, registration.evidence)),
        registered_at: 1,
        last_heartbeat: 1,
    }
}

/// A job in some state, after its first assignment.
pub fn job(status: JobStatus<Account, u32>) -> Job {
    Job {
        owner: Account([9; 32]),
        app: AppId([6; 32]),
        limits: Limits::DEFAULT,
        max_price: 1,
        deadline: 1000,
        redundancy: 1,
        secret_commitment: [0; 32],
        submitted_at: 1,
        submitted_at_ms: 1,
        attempts: 1,
        status,
    }
}

pub fn assigned(worker: WorkerId) -> JobStatus<Account, u32> {
    JobStatus::Assigned(Assignment { worker, price: 7, assigned_at: 2, due: 50 })
}

pub fn settled(receipt: &SignedReceipt, at: u32) -> JobStatus<Account, u32> {
    JobStatus::Settled(Settlement {
        worker: receipt.receipt.worker,
        operator: OPERATOR,
        outcome: receipt.receipt.outcome,
        fuel: 10,
        paid: 1,
        treasury: 0,
        refund: 0,
        input_hash: [0; 32],
        output_hash: [0; 32],
        receipt_hash: Sha256::digest(receipt.encode()).into(),
        at,
    })
}

/// A node whose state a test writes.
pub struct FakeNode {
    state: Mutex<NodeState>,
}

/// What the node says, and what it was given.
pub struct NodeState {
    pub heads: Heads,
    /// Any worker that is not among the next.
    pub worker: Option<Worker>,
    pub workers: HashMap<WorkerId, Worker>,
    /// In which block any worker was challenged.
    pub challenged: Option<u32>,
    pub holders: HashMap<JobId, Vec<WorkerId>>,
    pub best: HashMap<JobId, Job>,
    pub finalized: HashMap<JobId, Job>,
    pub image_allowed: bool,
    pub last_recovery: Option<u64>,
    pub compromised: Vec<Class>,
    /// With which keys sealing keys were claimed.
    pub claimants: Vec<[u8; 32]>,
    pub submissions: Vec<Submission>,
    /// What the next submissions give.
    pub result: Result<u32, SubmitError>,
    pub reachable: bool,
    /// How often it was asked about a job.
    pub lookups: usize,
}

impl FakeNode {
    pub fn new() -> Arc<Self> {
        let state = NodeState {
            heads: Heads { best: 10, finalized: 8, now: 100 },
            worker: None,
            workers: HashMap::new(),
            challenged: None,
            holders: HashMap::new(),
            best: HashMap::new(),
            finalized: HashMap::new(),
            image_allowed: true,
            last_recovery: None,
            compromised: Vec::new(),
            claimants: Vec::new(),
            submissions: Vec::new(),
            result: Ok(11),
            reachable: true,
            lookups: 0,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub fn state(&self) -> MutexGuard<'_, NodeState> {
        self.state.lock().unwrap()
    }

    /// The names of what was submitted since the last call.
    pub fn taken(&self) -> Vec<&'static str> {
        self.state().submissions.drain(..).map(|submission| submission.name()).collect()
    }

    fn answer<T: Send + 'static>(&self, read: impl FnOnce(&NodeState) -> T) -> BoxFuture<'_, Result<T, NodeError>> {
        let state = self.state();
        let answer = if state.reachable { Ok(read(&state)) } else { Err(NodeError("away".into())) };
        Box::pin(async move { answer })
    }
}

impl Node for FakeNode {
    fn heads(&self) -> BoxFuture<'_, Result<Heads, NodeError>> {
        self.answer(|state| state.heads)
    }

    fn worker(&self, id: WorkerId) -> BoxFuture<'_, Result<Option<Worker>, NodeError>> {
        self.answer(|state| state.workers.get(&id).or(state.worker.as_ref()).cloned())
    }

    fn challenged(&self, _: WorkerId) -> BoxFuture<'_, Result<Option<u32>, NodeError>> {
        self.answer(|state| state.challenged)
    }

    fn job(&self, id: JobId, at: At) -> BoxFuture<'_, Result<Option<Job>, NodeError>> {
        self.state().lookups += 1;
        self.answer(|state| match at {
            At::Best => state.best.get(&id).cloned(),
            At::Finalized => state.finalized.get(&id).cloned(),
        })
    }

    fn image_allowed(&self, _: Measurement, _: Role) -> BoxFuture<'_, Result<bool, NodeError>> {
        self.answer(|state| state.image_allowed)
    }

    fn last_recovery(&self, _: Family) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
        self.answer(|state| state.last_recovery)
    }

    fn compromised(&self, classes: [Class; 3]) -> BoxFuture<'_, Result<Vec<Class>, NodeError>> {
        self.answer(|state| classes.into_iter().filter(|class| state.compromised.contains(class)).collect())
    }

    fn has_claim(&self, claimant: [u8; 32]) -> BoxFuture<'_, Result<bool, NodeError>> {
        self.answer(|state| state.claimants.contains(&claimant))
    }

    fn chain_spec(&self) -> BoxFuture<'_, Result<(serde_json::Value, Vec<String>), NodeError>> {
        self.answer(|_| (serde_json::json!({"genesis": {"raw": {}}}), vec![]))
    }

    fn genesis_hash(&self) -> Option<Hash> {
        Some([5; 32])
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<u32, SubmitError>> {
        let mut state = self.state();
        state.submissions.push(submission);
        let result = state.result.clone();
        Box::pin(async move { result })
    }
}

impl JobsNode for FakeNode {
    fn assigned(&self, worker: WorkerId) -> BoxFuture<'_, Result<Vec<JobId>, NodeError>> {
        let is_its =
            move |job: &Job| matches!(&job.status, JobStatus::Assigned(assignment) if assignment.worker == worker);
        self.answer(|state| state.finalized.iter().filter(|(_, job)| is_its(job)).map(|(id, _)| *id).collect())
    }

    fn holders(&self, job: JobId) -> BoxFuture<'_, Result<Vec<WorkerId>, NodeError>> {
        self.answer(|state| state.holders.get(&job).cloned().unwrap_or_default())
    }

    fn block_ms(&self) -> BoxFuture<'_, Result<u64, NodeError>> {
        self.answer(|_| 2_000)
    }
}

/// A start that never changes.
pub struct FixedStart;

impl StartSource for FixedStart {
    fn candidates(&self) -> BoxFuture<'_, Vec<Start>> {
        Box::pin(async {
            vec![Start { chain_spec: "{}".into(), operator: OPERATOR.0, role: StartRole::Worker { capacity: 4 } }]
        })
    }

    fn taken(&self, _: &Start) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A host without HTTP and chain: disk, jobs, and the socket for an enclave.
pub struct FakeHost {
    pub folder: Arc<TempDir>,
    pub store: Arc<Store>,
    pub jobs: Arc<Jobs>,
    pub metrics: Arc<Metrics>,
    pub enclave: Arc<Enclave>,
    pub socket: PathBuf,
    hang_up: CancellationToken,
    serving: JoinHandle<()>,
}

impl FakeHost {
    pub async fn new() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), StoreLimits::default()).await
    }

    pub async fn with_limits(limits: StoreLimits) -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), limits).await
    }

    pub async fn open(folder: Arc<TempDir>, limits: StoreLimits) -> Self {
        let metrics = Arc::new(Metrics::default());
        let store = Arc::new(Store::open(&folder.path().join("data"), limits).unwrap());
        let jobs = Arc::new(Jobs::load(store.clone(), metrics.clone()).unwrap());
        let enclave = Enclave::new(store.clone(), jobs.clone(), metrics.clone());
        let socket = folder.path().join("run/enclave.sock");
        let listener = enclave::listen(&socket).await.unwrap();
        let hang_up = CancellationToken::new();
        let serving = tokio::spawn(enclave.clone().serve(listener, Arc::new(FixedStart), hang_up.clone()));
        Self { folder, store, jobs, metrics, enclave, socket, hang_up, serving }
    }

    /// Stops this host and starts another on its folder.
    pub async fn restart(self) -> Self {
        let (folder, limits) = (self.folder.clone(), self.store.limits());
        self.stop().await;
        Self::open(folder, limits).await
    }

    pub async fn stop(self) {
        self.hang_up.cancel();
        self.serving.await.unwrap();
    }

    /// Connects an enclave, and waits until it is started.
    pub async fn connect(&self) -> FakeEnclave {
        let enclave = FakeEnclave::connect(&self.socket).await;
        let started = || self.enclave.session().is_some();
        eventually("the enclave is started", started).await;
        enclave
    }
}

/// An enclave that does what a test says.
pub struct FakeEnclave {
    state: Arc<Mutex<EnclaveState>>,
    outgoing: mpsc::UnboundedSender<EnclaveMessage>,
    inbox: mpsc::UnboundedReceiver<Inbound>,
    hung_up: watch::Receiver<bool>,
    next_id: u64,
    task: JoinHandle<()>,
}

/// What the host sends beside requests.
pub enum Inbound {
    Reply(u64, Result<HostReply, Refusal>),
    Notice(HostNotice),
}

#[derive(Default)]
struct EnclaveState {
    /// What it says to a start of a job.
    refusal: Option<Refusal>,
    /// Job inputs that it never takes.
    bad_inputs: Vec<Hash>,
    pause: Option<Pause>,
    /// Jobs that it refuses right before it accepts them.
    hasty: Vec<JobId>,
    started: Vec<(JobId, u32, Hash)>,
    /// What it says that jobs read.
    blobs: Vec<Hash>,
    registrations: u8,
}

impl FakeEnclave {
    pub async fn connect(socket: &Path) -> Self {
        Self::over(UnixStream::connect(socket).await.unwrap()).await
    }

    pub async fn over(mut stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        stream.write_all(&wire::encode(&Hello::CURRENT)).await.unwrap();
        let hello: Hello = read(&mut stream).await.unwrap();
        wire::check_hello(&hello).unwrap();
        let (outgoing, queue) = mpsc::unbounded_channel();
        let (deliver, inbox) = mpsc::unbounded_channel();
        let (dead, hung_up) = watch::channel(false);
        let state = Arc::<Mutex<EnclaveState>>::default();
        let (mut reader, writer) = tokio::io::split(stream);
        let (answers, shared) = (outgoing.clone(), state.clone());
        let reading = async move {
            while let Some(message) = read::<HostMessage>(&mut reader).await {
                match message {
                    Message::Request { id, request } => {
                        if let HostRequest::StartJob { job, attempt, .. } = request
                            && shared.lock().unwrap().hasty.contains(&job)
                        {
                            let refusal = Refusal { reason: "on second thoughts".into(), retry: false };
                            let notice = EnclaveNotice::JobRefused { job, attempt, refusal };
                            answers.send(Message::Notice(notice)).unwrap();
                        }
                        let reply = answer(&shared, request);
                        answers.send(Message::Reply { id, reply }).unwrap();
                    }
                    Message::Reply { id, reply } => drop(deliver.send(Inbound::Reply(id, reply))),
                    Message::Notice(notice) => drop(deliver.send(Inbound::Notice(notice))),
                }
            }
        };
        let task = tokio::spawn(async move {
            tokio::select! {
                () = reading => {}
                () = write(writer, queue) => {}
            }
            dead.send_replace(true);
        });
        Self { state, outgoing, inbox, hung_up, next_id: 0, task }
    }

    pub fn refuse_jobs(&self, refusal: Option<Refusal>) {
        self.state.lock().unwrap().refusal = refusal;
    }

    pub fn refuse_input(&self, input: Hash) {
        self.state.lock().unwrap().bad_inputs.push(input);
    }

    pub fn pause(&self, pause: Option<Pause>) {
        self.state.lock().unwrap().pause = pause;
    }

    pub fn be_hasty(&self, job: JobId) {
        self.state.lock().unwrap().hasty.push(job);
    }

    pub fn need_blobs(&self, blobs: &[Hash]) {
        self.state.lock().unwrap().blobs = blobs.to_vec();
    }

    pub fn started_jobs(&self) -> Vec<(JobId, u32, Hash)> {
        self.state.lock().unwrap().started.clone()
    }

    pub fn notice(&self, notice: EnclaveNotice) {
        self.outgoing.send(Message::Notice(notice)).unwrap();
    }

    /// Asks the host. Notices that come meanwhile are dropped.
    pub async fn request(&mut self, request: EnclaveRequest) -> Result<HostReply, Refusal> {
        self.next_id += 1;
        self.outgoing.send(Message::Request { id: self.next_id, request }).unwrap();
        loop {
            match timeout(PATIENCE, self.inbox.recv()).await.unwrap().unwrap() {
                Inbound::Reply(id, reply) if id == self.next_id => return reply,
                _ => {}
            }
        }
    }

    pub async fn next_notice(&mut self) -> HostNotice {
        loop {
            if let Inbound::Notice(notice) = timeout(PATIENCE, self.inbox.recv()).await.unwrap().unwrap() {
                return notice;
            }
        }
    }

    /// Waits until the host hangs up.
    pub async fn hung_up(&mut self) {
        timeout(PATIENCE, self.hung_up.wait_for(|dead| *dead)).await.unwrap().unwrap();
    }
}

impl Drop for FakeEnclave {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(state: &Mutex<EnclaveState>, request: HostRequest) -> Result<EnclaveReply, Refusal> {
    let mut state = state.lock().unwrap();
    Ok(match request {
        HostRequest::Start(_) => {
            EnclaveReply::Started { signing_key: WORKER.0, encryption_key: [2; 32], measurement: MEASUREMENT }
        }
        HostRequest::Register => {
            state.registrations += 1;
            EnclaveReply::Registration(Box::new(registration(state.registrations)))
        }
        HostRequest::Heartbeat => {
            let (block_number, block_hash) = (HEARTBEAT_BLOCK, [0; 32]);
            let heartbeat = Heartbeat { genesis_hash: [5; 32], worker: WORKER, block_number, block_hash };
            EnclaveReply::Heartbeat(SignedHeartbeat { heartbeat, signature: [0; 64] })
        }
        HostRequest::Status => {
            let pause = state.pause;
            EnclaveReply::Status(EnclaveStatus {
                finalized_block: Some(8),
                pause,
                peers: 2,
                ..EnclaveStatus::default()
            })
        }
        HostRequest::Challenge { nonce } => {
            let liveness = Liveness {
                genesis_hash: [5; 32],
                signing_key: WORKER.0,
                nonce,
                block_number: HEARTBEAT_BLOCK,
                block_hash: [0; 32],
                isolation: None,
            };
            EnclaveReply::Liveness(SignedLiveness { liveness, signature: [0; 64] })
        }
        HostRequest::Key(_) => return Err(Refusal { reason: "it is no gatekeeper".into(), retry: false }),
        HostRequest::StartJob { input, .. } if state.bad_inputs.contains(&input) => {
            return Err(Refusal { reason: "not the job's input".into(), retry: false });
        }
        HostRequest::StartJob { job, attempt, input } => match &state.refusal {
            Some(refusal) => return Err(refusal.clone()),
            None => {
                state.started.push((job, attempt, input));
                EnclaveReply::JobAccepted { blobs: state.blobs.clone() }
            }
        },
    })
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut queue: mpsc::UnboundedReceiver<EnclaveMessage>) {
    while let Some(message) = queue.recv().await {
        if writer.write_all(&wire::encode(&message)).await.is_err() {
            return;
        }
    }
}

pub async fn read<M: Decode>(stream: &mut (impl AsyncRead + Unpin)) -> Option<M> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await.ok()?;
    let mut body = vec![0; wire::body_length(prefix).unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some(wire::decode(&body).unwrap())
}
