//! A hostile host: it listens on the Unix socket of a real enclave process and does with it what a test says.
//!
//! Left alone it is an honest host: it carries the light client's bytes to real nodes, and keeps blobs, sealed blobs, cached
//! programs and outputs, in memory. A [`Lie`] decides about each answer; a test may send any frame, replay all that was
//! sent before, give the enclave another disk, hang up, and start the enclave's process again. Everything that the enclave
//! says is kept, to be searched for what must not leave it.

use anyhow::{Context, Result, bail, ensure};
use codec::Encode;
use phala_primitives::{Hash, JobId, SignedReceipt, WorkerId, units::PHA, worker::SignedHeartbeat};
use phala_protocol::{
    ConnectionId, EnclaveMessage, EnclaveNotice, EnclaveReply, EnclaveRequest, EnclaveStatus, Hello, HostMessage,
    HostNotice, HostReply, HostRequest, MAX_FRAME_BYTES, Message, Refusal, Registration, Start, StartRole, wire,
};
use phala_sdk::{
    Signer,
    chain::{Chain, Included, SubmitError, call},
};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{binary, search, user::Assigned};

/// How long an enclave may think about an answer: it waits for the chain, and for storage proofs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an answer of the host can be.
pub type Reply = Result<HostReply, Refusal>;

/// What becomes of a request of the enclave.
pub enum Answer {
    /// This answer.
    Reply(Reply),
    /// These answers, one after the other, all to the same request.
    Replies(Vec<Reply>),
    /// This answer, later.
    Late(Duration, Reply),
    /// None, ever.
    Nothing,
    /// The end of the connection.
    HangUp,
}

/// Decides about the answer to a request, given the honest one.
pub type Lie = dyn FnMut(&EnclaveRequest, Reply) -> Answer + Send;

/// What a host keeps for its enclave.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Sealed blobs by name, the newest last.
    pub sealed: HashMap<String, Vec<Vec<u8>>>,
    /// Uploads by hash.
    pub blobs: HashMap<Hash, Vec<u8>>,
    /// Compiled programs.
    pub cache: HashMap<String, Vec<u8>>,
    /// Encrypted outputs.
    pub outputs: HashMap<JobId, Vec<u8>>,
    /// Compiled programs that are being written.
    unfinished: HashMap<String, Vec<u8>>,
}

/// Who an enclave says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The worker.
    pub worker: WorkerId,
    /// Its X25519 key.
    pub encryption_key: [u8; 32],
    /// What it measured of itself.
    pub measurement: [u8; 32],
}

/// The host, with its enclave's process. Both end when dropped.
pub struct LyingHost {
    folder: TempDir,
    program: PathBuf,
    start: Mutex<Start>,
    shared: Arc<Shared>,
    enclave: Mutex<Option<Child>>,
    listening: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    disk: Mutex<Disk>,
    lie: Mutex<Option<Box<Lie>>>,
    /// Where frames go while an enclave is connected.
    outgoing: Mutex<Option<mpsc::UnboundedSender<Vec<u8>>>>,
    /// Who waits for which answer.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<EnclaveReply, Refusal>>>>,
    next_id: AtomicU64,
    /// Connections of enclaves so far.
    connections: AtomicUsize,
    /// The light client's connections.
    network: Mutex<HashMap<ConnectionId, mpsc::UnboundedSender<Vec<u8>>>>,
    notices: Mutex<Vec<EnclaveNotice>>,
    /// All bodies of frames to the enclave, but for those of its network.
    sent: Mutex<Vec<Vec<u8>>>,
    /// All bytes from the enclave.
    received: Mutex<Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `condition` gives something, asking ten times a second.
///
/// # Errors
/// When it does not within `seconds`, or fails.
pub async fn eventually<T>(
    what: &str,
    seconds: u64,
    mut condition: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = Box::pin(condition()).await? {
            return Ok(value);
        }
        ensure!(start.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The multiaddress at which a node can be dialed on this machine.
///
/// # Errors
/// When it listens nowhere.
pub async fn node_address(chain: &Chain) -> Result<String> {
    let addresses: Vec<String> = chain.rpc("system_localListenAddresses", vec![]).await?;
    let found = addresses.into_iter().find(|address| address.starts_with("/ip4/127.0.0.1/tcp/"));
    found.context("the node listens on no loopback address")
}

/// A chain's specification with these boot nodes.
///
/// # Errors
/// The node's.
pub async fn chain_spec(chain: &Chain, boot_nodes: &[&str]) -> Result<Value> {
    let mut spec: Value = chain.rpc("sync_state_genSyncSpec", vec![true.into()]).await?;
    if let Value::String(text) = &spec {
        spec = serde_json::from_str(text)?;
    }
    let object = spec.as_object_mut().context("a specification is an object")?;
    object.remove("lightSyncState");
    object.insert("bootNodes".into(), boot_nodes.into());
    Ok(spec)
}

impl LyingHost {
    /// Starts an enclave on a platform of its own, connected to this host and not yet told of any chain. It will follow
    /// the chain of `spec`, for `operator`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(spec: &Value, operator: &Signer) -> Result<Self> {
        let start = Start {
            chain_spec: spec.to_string(),
            operator: operator.account().0,
            role: StartRole::Worker { capacity: 4 },
        };
        Self::launch(start, binary("phala-enclave"), None, Disk::default()).await
    }

    /// The same enclave once more: on the same platform, with a copy of what the host keeps.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn twin(&self) -> Result<Self> {
        let (start, disk) = (lock(&self.start).clone(), self.disk().clone());
        Self::launch(start, self.program.clone(), Some(&self.platform()), disk).await
    }

    /// Another build of the enclave, at `program`, on the same platform and with a copy of what the host keeps.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn other_build(&self, program: PathBuf) -> Result<Self> {
        let (start, disk) = (lock(&self.start).clone(), self.disk().clone());
        Self::launch(start, program, Some(&self.platform()), disk).await
    }

    async fn launch(start: Start, program: PathBuf, platform: Option<&Path>, disk: Disk) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("lying-").tempdir()?;
        // The enclave may run as another user.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o777))?;
        if let Some(platform) = platform {
            fs::copy(platform, folder.path().join("platform"))?;
        }
        let shared = Arc::new(Shared { disk: Mutex::new(disk), ..Shared::default() });
        let listening = tokio::spawn(listen(listener, shared.clone()));
        let this = Self { folder, program, start: Mutex::new(start), shared, enclave: Mutex::default(), listening };
        this.revive().await?;
        Ok(this)
    }

    fn platform(&self) -> PathBuf {
        self.folder.path().join("platform")
    }

    /// Starts the enclave's process, and waits until it has connected.
    ///
    /// # Errors
    /// When it does not.
    pub async fn revive(&self) -> Result<()> {
        let before = self.connections();
        let log = OpenOptions::new().create(true).append(true).open(self.folder.path().join("enclave.log"))?;
        let child = Command::new(&self.program)
            .arg("--socket")
            .arg(self.folder.path().join("socket"))
            .arg("--platform")
            .arg(self.platform())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        *lock(&self.enclave) = Some(child);
        self.connected_again(before).await
    }

    /// Kills the enclave's process.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(&self) -> Result<()> {
        if let Some(mut enclave) = lock(&self.enclave).take() {
            enclave.kill()?;
            enclave.wait()?;
        }
        eventually("the enclave's connection ends", 10, async || {
            Ok(lock(&self.shared.outgoing).is_none().then_some(()))
        })
        .await
    }

    /// Kills the enclave's process, starts it again and has it follow its chain.
    ///
    /// # Errors
    /// When it does not start, or refuses the chain.
    pub async fn restart(&self) -> Result<Identity> {
        self.kill().await?;
        self.revive().await?;
        self.begin().await
    }

    /// How often an enclave has connected.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Waits until the enclave has connected more often than `before`.
    ///
    /// # Errors
    /// When it does not; with its log.
    pub async fn connected_again(&self, before: usize) -> Result<()> {
        eventually("the enclave connects", 20, async || Ok((self.connections() > before).then_some(())))
            .await
            .with_context(|| self.log())
    }

    /// Whether the enclave's process still runs.
    pub fn is_alive(&self) -> bool {
        lock(&self.enclave).as_mut().is_some_and(|enclave| enclave.try_wait().is_ok_and(|ended| ended.is_none()))
    }

    /// The process id of the enclave.
    pub fn pid(&self) -> Option<u32> {
        lock(&self.enclave).as_ref().map(Child::id)
    }

    /// What the enclave's process wrote to its standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("enclave.log")).unwrap_or_default()
    }

    /// What the host keeps.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.shared.disk)
    }

    /// Lies from now on.
    pub fn lie(&self, lie: impl FnMut(&EnclaveRequest, Reply) -> Answer + Send + 'static) {
        *lock(&self.shared.lie) = Some(Box::new(lie));
    }

    /// Answers honestly from now on.
    pub fn be_honest(&self) {
        *lock(&self.shared.lie) = None;
    }

    /// Has the enclave follow its chain.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn begin(&self) -> Result<Identity> {
        let start = lock(&self.start).clone();
        match self.ask(HostRequest::Start(start)).await?? {
            EnclaveReply::Started { signing_key, encryption_key, measurement } => {
                Ok(Identity { worker: WorkerId(signing_key), encryption_key, measurement })
            }
            other => bail!("not started: {other:?}"),
        }
    }

    /// Has the enclave follow the chain of another specification, now and after each restart.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn begin_with(&self, spec: &Value) -> Result<Identity> {
        lock(&self.start).chain_spec = spec.to_string();
        self.begin().await
    }

    /// Asks the enclave.
    ///
    /// # Errors
    /// When it does not answer within two minutes, or its connection ends. What it refuses is no error.
    pub async fn ask(&self, request: HostRequest) -> Result<Result<EnclaveReply, Refusal>> {
        let what = request_name(&request);
        let (id, answer) = self.asking(request)?;
        let answer = timeout(PATIENCE, answer).await;
        lock(&self.shared.waiting).remove(&id);
        answer.with_context(|| format!("no answer to {what}"))?.with_context(|| format!("hung up during {what}"))
    }

    /// Asks the enclave; the answer comes later.
    ///
    /// # Errors
    /// When no enclave is connected.
    pub fn asking(&self, request: HostRequest) -> Result<(u64, oneshot::Receiver<Result<EnclaveReply, Refusal>>)> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.shared.waiting).insert(id, sender);
        self.send(&Message::Request { id, request })?;
        Ok((id, answer))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When no enclave is connected.
    pub fn send(&self, message: &HostMessage) -> Result<()> {
        self.send_body(message.encode())
    }

    /// Sends a frame with any body.
    ///
    /// # Errors
    /// When no enclave is connected.
    pub fn send_body(&self, body: Vec<u8>) -> Result<()> {
        ensure!(self.shared.send(body), "no enclave is connected");
        Ok(())
    }

    /// Sends any bytes.
    ///
    /// # Errors
    /// When no enclave is connected.
    pub fn send_bytes(&self, bytes: Vec<u8>) -> Result<()> {
        let outgoing = lock(&self.shared.outgoing);
        ensure!(outgoing.as_ref().is_some_and(|outgoing| outgoing.send(bytes).is_ok()), "no enclave is connected");
        Ok(())
    }

    /// The bodies of all frames that were sent to the enclave, but for those of its network.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.sent).clone()
    }

    /// What the enclave has told, but for its network.
    pub fn notices(&self) -> Vec<EnclaveNotice> {
        lock(&self.shared.notices).clone()
    }

    /// Whether the enclave has said `needle` in any form and any message, or written it to its log.
    pub fn has_heard(&self, needle: &str) -> bool {
        search::bytes(&lock(&self.shared.received), needle) || search::bytes(self.log().as_bytes(), needle)
    }

    /// How the enclave is.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn status(&self) -> Result<EnclaveStatus> {
        match self.ask(HostRequest::Status).await?? {
            EnclaveReply::Status(status) => Ok(status),
            other => bail!("no status: {other:?}"),
        }
    }

    /// Waits until the enclave has verified a finalized block above `number`.
    ///
    /// # Errors
    /// When it does not within five minutes.
    pub async fn finalized_above(&self, number: u32) -> Result<u32> {
        // Its light client may have to start anew, after a standstill of three minutes.
        eventually(&format!("the enclave sees a finalized block above {number}"), 300, async || {
            Ok(self.status().await?.finalized_block.filter(|block| *block > number))
        })
        .await
        .with_context(|| self.log())
    }

    /// A fresh registration.
    ///
    /// # Errors
    /// When the enclave gives none within a minute.
    pub async fn registration(&self) -> Result<Registration> {
        let reply = eventually("the enclave registers", 60, async || match self.ask(HostRequest::Register).await? {
            Ok(reply) => Ok(Some(reply)),
            Err(refusal) if refusal.retry => Ok(None),
            Err(refusal) => Err(refusal.into()),
        })
        .await?;
        match reply {
            EnclaveReply::Registration(registration) => Ok(*registration),
            other => bail!("no registration: {other:?}"),
        }
    }

    /// Registers the worker, whose users are to reach it at `endpoint`.
    ///
    /// # Errors
    /// The enclave's, or the chain's.
    pub async fn register(&self, chain: &Chain, operator: &Signer, endpoint: &str) -> Result<WorkerId> {
        let Registration { statement, evidence, performance } = self.registration().await?;
        let worker = WorkerId(statement.signing_key);
        let register = call::register(statement, evidence, performance, endpoint, PHA / 100);
        Box::pin(chain.submit(operator, register)).await?;
        Ok(worker)
    }

    /// A signed heartbeat.
    ///
    /// # Errors
    /// When the enclave does not answer. What it refuses is no error.
    pub async fn heartbeat(&self) -> Result<Result<SignedHeartbeat, Refusal>> {
        match self.ask(HostRequest::Heartbeat).await? {
            Ok(EnclaveReply::Heartbeat(heartbeat)) => Ok(Ok(heartbeat)),
            Ok(other) => bail!("no heartbeat: {other:?}"),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Brings a heartbeat to the chain that is newer than all before.
    ///
    /// # Errors
    /// When the enclave gives none, or the chain refuses it.
    pub async fn beat(&self, chain: &Chain, operator: &Signer) -> Result<SignedHeartbeat> {
        let heartbeat = eventually("the enclave gives a new heartbeat", 60, async || {
            let Ok(heartbeat) = self.heartbeat().await? else { return Ok(None) };
            let worker = chain.best().await?.worker(heartbeat.heartbeat.worker).await?;
            let last = worker.context("the worker is registered")?.last_heartbeat;
            Ok((heartbeat.heartbeat.block_number > last).then_some(heartbeat))
        })
        .await?;
        Box::pin(chain.submit(operator, call::heartbeat(heartbeat.clone()))).await?;
        Ok(heartbeat)
    }

    /// Keeps what a job reads, and asks the enclave to start it.
    ///
    /// # Errors
    /// When the enclave does not answer. What it refuses is no error.
    pub async fn start_job(&self, job: &Assigned) -> Result<Result<EnclaveReply, Refusal>> {
        self.disk().blobs.extend(job.blobs.iter().cloned());
        self.ask(start_job(job)).await
    }

    /// The receipts that the enclave gave for a job.
    pub fn receipts(&self, job: JobId) -> Vec<SignedReceipt> {
        let receipt = |notice: &EnclaveNotice| match notice {
            EnclaveNotice::JobEnded { job: ended, receipt } if *ended == job => Some((**receipt).clone()),
            _ => None,
        };
        lock(&self.shared.notices).iter().filter_map(receipt).collect()
    }

    /// The refusals that the enclave gave for a job after it had accepted it.
    pub fn refusals(&self, job: JobId) -> Vec<Refusal> {
        let refused = |notice: &EnclaveNotice| match notice {
            EnclaveNotice::JobRefused { job: refused, refusal, .. } if *refused == job => Some(refusal.clone()),
            _ => None,
        };
        lock(&self.shared.notices).iter().filter_map(refused).collect()
    }

    /// Waits for the receipt of a job that the enclave has accepted, and its output.
    ///
    /// # Errors
    /// When it refuses the job after all, or does not end.
    pub async fn ended(&self, job: JobId) -> Result<(SignedReceipt, Vec<u8>)> {
        let receipt = eventually(&format!("job {job} ends"), 120, async || {
            if let Some(refusal) = self.refusals(job).first() {
                bail!("job {job} was refused: {refusal}");
            }
            Ok(self.receipts(job).into_iter().next())
        })
        .await?;
        let output = self.disk().outputs.get(&job).cloned().unwrap_or_default();
        Ok((receipt, output))
    }

    /// Brings a receipt to the chain.
    ///
    /// # Errors
    /// The chain's.
    pub async fn settle(
        &self,
        chain: &Chain,
        signer: &Signer,
        receipt: &SignedReceipt,
    ) -> Result<Included, SubmitError> {
        Box::pin(chain.submit(signer, call::submit_receipt(receipt.clone()))).await
    }
}

impl Drop for LyingHost {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.listening.abort();
        if let Some(mut enclave) = lock(&self.enclave).take() {
            let _ = enclave.kill();
            let _ = enclave.wait();
        }
    }
}

/// What starts a job.
pub fn start_job(job: &Assigned) -> HostRequest {
    HostRequest::StartJob { job: job.job, attempt: job.attempt, input: job.input_hash }
}

fn request_name(request: &HostRequest) -> &'static str {
    match request {
        HostRequest::Start(_) => "Start",
        HostRequest::Register => "Register",
        HostRequest::Heartbeat => "Heartbeat",
        HostRequest::Status => "Status",
        HostRequest::Challenge { .. } => "Challenge",
        HostRequest::StartJob { .. } => "StartJob",
        HostRequest::Key(_) => "Key",
    }
}

async fn listen(listener: UnixListener, shared: Arc<Shared>) {
    // Dropped, and so aborted, with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(connections.spawn(serve(stream, shared.clone()))),
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: UnixStream, shared: Arc<Shared>) -> Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(&wire::encode(&Hello::CURRENT)).await?;
    wire::check_hello(&wire::decode(&read_frame(&mut reader).await?)?)?;
    let (outgoing, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
    *lock(&shared.outgoing) = Some(outgoing.clone());
    shared.connections.fetch_add(1, Ordering::AcqRel);
    let writing = async {
        while let Some(bytes) = queue.recv().await {
            // An empty one stands for the end of the connection.
            if bytes.is_empty() || writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    // Dropped, and so aborted, with the connection.
    let mut tasks = JoinSet::new();
    let reading = async {
        while let Ok(body) = read_frame(&mut reader).await {
            lock(&shared.received).extend_from_slice(&body);
            let Ok(message) = wire::decode::<EnclaveMessage>(&body) else { return };
            handle(message, &shared, &mut tasks);
            while tasks.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    let mut current = lock(&shared.outgoing);
    // Another connection may have taken its place.
    if current.as_ref().is_some_and(|current| current.same_channel(&outgoing)) {
        *current = None;
        lock(&shared.waiting).clear();
        lock(&shared.network).clear();
    }
    Ok(())
}

async fn read_frame(reader: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix).await?;
    let mut body = vec![0; wire::body_length(prefix)?];
    reader.read_exact(&mut body).await?;
    Ok(body)
}

fn handle(message: EnclaveMessage, shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
    match message {
        Message::Request { id, request: EnclaveRequest::Dial { connection, address } } => {
            let shared = shared.clone();
            tasks.spawn(async move { shared.dial(id, connection, address).await });
        }
        Message::Request { id, request } => {
            let honest = lock(&shared.disk).answer(&request);
            shared.reply(id, &request, honest);
        }
        Message::Reply { id, reply } => {
            if let Some(sender) = lock(&shared.waiting).remove(&id) {
                // Whoever asked may have given up.
                let _ = sender.send(reply);
            }
        }
        Message::Notice(EnclaveNotice::Send { connection, bytes }) => {
            if let Some(stream) = lock(&shared.network).get(&connection) {
                let _ = stream.send(bytes);
            }
        }
        Message::Notice(EnclaveNotice::Close { connection }) => drop(lock(&shared.network).remove(&connection)),
        Message::Notice(notice) => lock(&shared.notices).push(notice),
    }
}

impl Shared {
    /// Whether an enclave is there to take it.
    fn send(&self, body: Vec<u8>) -> bool {
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend_from_slice(&body);
        lock(&self.sent).push(body);
        lock(&self.outgoing).as_ref().is_some_and(|outgoing| outgoing.send(frame).is_ok())
    }

    fn send_reply(&self, id: u64, reply: Reply) {
        self.send(HostMessage::Reply { id, reply }.encode());
    }

    fn reply(self: &Arc<Self>, id: u64, request: &EnclaveRequest, honest: Reply) {
        let answer = match &mut *lock(&self.lie) {
            Some(lie) => lie(request, honest),
            None => Answer::Reply(honest),
        };
        match answer {
            Answer::Reply(reply) => self.send_reply(id, reply),
            Answer::Replies(replies) => replies.into_iter().for_each(|reply| self.send_reply(id, reply)),
            Answer::Late(delay, reply) => {
                let shared = self.clone();
                tokio::spawn(async move {
                    sleep(delay).await;
                    shared.send_reply(id, reply);
                });
            }
            Answer::Nothing => {}
            Answer::HangUp => {
                if let Some(outgoing) = &*lock(&self.outgoing) {
                    let _ = outgoing.send(Vec::new());
                }
            }
        }
    }

    /// Opens a connection for the light client, and carries it to its end.
    async fn dial(self: Arc<Self>, id: u64, connection: ConnectionId, address: String) {
        let dialed = timeout(Duration::from_secs(10), TcpStream::connect(&address)).await;
        let honest = match &dialed {
            Ok(Ok(_)) => Ok(HostReply::Done),
            _ => Err(Refusal { reason: format!("could not dial {address}"), retry: true }),
        };
        let (to_node, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
        lock(&self.network).insert(connection, to_node);
        self.reply(id, &EnclaveRequest::Dial { connection, address }, honest);
        let Ok(Ok(stream)) = dialed else { return };
        let (mut from_node, mut writer) = stream.into_split();
        let sending = async {
            while let Some(bytes) = queue.recv().await {
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        let receiving = async {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from_node.read(&mut buffer).await {
                self.network_notice(HostNotice::Received { connection, bytes: buffer[..count].to_vec() });
            }
        };
        tokio::select! {
            () = sending => {}
            () = receiving => {}
        }
        lock(&self.network).remove(&connection);
        self.network_notice(HostNotice::Closed { connection });
    }

    /// Not among what was sent: it would be most of it.
    fn network_notice(&self, notice: HostNotice) {
        if let Some(outgoing) = &*lock(&self.outgoing) {
            let _ = outgoing.send(wire::encode(&HostMessage::Notice(notice)));
        }
    }
}

impl Disk {
    /// What an honest host answers.
    fn answer(&mut self, request: &EnclaveRequest) -> Reply {
        let part = |bytes: &[u8], offset: u64, length: u32| {
            let start = (offset as usize).min(bytes.len());
            bytes[start..bytes.len().min(start + length as usize)].to_vec()
        };
        match request {
            EnclaveRequest::ReadBlob { blob, offset, length } => match self.blobs.get(blob) {
                Some(bytes) => Ok(HostReply::Bytes(part(bytes, *offset, *length))),
                None => Err(Refusal { reason: "no such blob".into(), retry: true }),
            },
            EnclaveRequest::ReadCache { name, offset, length } => {
                Ok(HostReply::Bytes(part(self.cache.get(name).map_or(&[], Vec::as_slice), *offset, *length)))
            }
            EnclaveRequest::LoadSealed { name } => {
                Ok(HostReply::Sealed(self.sealed.get(name).and_then(|versions| versions.last()).cloned()))
            }
            EnclaveRequest::StoreSealed { name, bytes } => {
                self.sealed.entry(name.clone()).or_default().push(bytes.clone());
                Ok(HostReply::Done)
            }
            EnclaveRequest::WriteOutput { job, offset, bytes } => {
                let output = self.outputs.entry(*job).or_default();
                output.truncate(*offset as usize);
                output.extend_from_slice(bytes);
                Ok(HostReply::Done)
            }
            EnclaveRequest::WriteCache { name, offset, bytes, last } => {
                let program = self.unfinished.entry(name.clone()).or_default();
                program.truncate(*offset as usize);
                program.extend_from_slice(bytes);
                if *last {
                    self.cache.insert(name.clone(), std::mem::take(program));
                }
                Ok(HostReply::Done)
            }
            EnclaveRequest::Dial { .. } | EnclaveRequest::Key { .. } | EnclaveRequest::ClaimSealingKey(_) => {
                Err(Refusal { reason: "not of the disk".into(), retry: false })
            }
        }
    }
}

/// An announcement of a frame that is larger than any may be.
pub fn oversize_prefix() -> Vec<u8> {
    (MAX_FRAME_BYTES + 1).to_le_bytes().to_vec()
}

/// A worker's HTTP interface that says what a test wants: `answer` gets the method with the path, and the body, and gives a
/// status and JSON. Ends when dropped.
pub struct Face {
    endpoint: String,
    serving: JoinHandle<()>,
}

impl Face {
    /// Serves on a free port of the loopback interface.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(answer: impl Fn(&str, &[u8]) -> (u16, Value) + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let answer = Arc::new(answer);
        let serving = tokio::spawn(async move {
            // Dropped, and so aborted, with this task.
            let mut exchanges = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                exchanges.spawn(async move { exchange(stream, &*answer).await });
            }
        });
        Ok(Self { endpoint, serving })
    }

    /// Its URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Face {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One request and its answer, then the end of the connection.
async fn exchange(stream: TcpStream, answer: &(impl Fn(&str, &[u8]) -> (u16, Value) + Sync)) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let what = line.rsplit_once(' ').map(|(what, _)| what.to_owned()).context("a request line")?;
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    ensure!(length < 1 << 20, "a body of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let (status, json) = answer(&what, &body);
    let json = json.to_string();
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        json.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(json.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}
