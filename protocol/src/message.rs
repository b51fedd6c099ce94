use codec::{Decode, Encode};
use phala_attestation::{Evidence, Statement};
use phala_primitives::{
    GatekeeperId, Hash, JobId, SignedReceipt,
    gatekeeper::{
        CeremonyId, GatekeeperRequest, KeyReply, NetworkKey, Round, SignedBeacon, SignedBeaconPart, SignedLostShare,
        SignedPost, SignedReleases,
    },
    worker::{SignedHeartbeat, SignedLiveness, SignedPerformanceReport},
};

/// The first message of each side.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Always `*b"PHALA"`.
    pub magic: [u8; 5],
    /// The sender's [`VERSION`](crate::VERSION).
    pub version: u16,
}

impl Hello {
    /// What this build sends, and accepts.
    pub const CURRENT: Self = Self { magic: *b"PHALA", version: crate::VERSION };
}

/// A message of a side that asks `Request`s, gives `Reply`s and sends `Notice`s.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message<Request, Reply, Notice> {
    /// Wants an answer.
    Request {
        /// Chosen by the sender, different from that of its other open requests.
        id: u64,
        /// What it asks.
        request: Request,
    },
    /// Answers a request of the other side.
    Reply {
        /// The request's.
        id: u64,
        /// The answer.
        reply: Result<Reply, Refusal>,
    },
    /// Wants no answer.
    Notice(Notice),
}

/// What the host sends.
pub type HostMessage = Message<HostRequest, HostReply, HostNotice>;

/// What the enclave sends.
pub type EnclaveMessage = Message<EnclaveRequest, EnclaveReply, EnclaveNotice>;

/// Why a request was not granted, for people and logs. Carries no secret.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// One sentence.
    pub reason: String,
    /// Whether the same request can succeed later.
    pub retry: bool,
}

/// A network connection that the host keeps for the enclave's light client. Chosen by the enclave.
pub type ConnectionId = u64;

/// What the host asks of the enclave.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HostRequest {
    /// The first request on each connection: which chain to follow and for whom to work.
    /// Answered by [`EnclaveReply::Started`]. Once started, the same start again changes nothing; another is refused.
    Start(Start),
    /// Fresh evidence, and measured performance of a worker. Answered by [`EnclaveReply::Registration`] by a worker, and by
    /// [`EnclaveReply::Attestation`] by a gatekeeper.
    Register,
    /// A sign of life. Answered by [`EnclaveReply::Heartbeat`].
    Heartbeat,
    /// How the enclave is. Answered by [`EnclaveReply::Status`].
    Status,
    /// A user's challenge: who can answer it has the worker's key now. Answered by [`EnclaveReply::Liveness`].
    Challenge {
        /// Chosen by the user.
        nonce: Hash,
    },
    /// An enclave asks a gatekeeper for its part of a key. Answered by [`EnclaveReply::Key`].
    Key(Box<GatekeeperRequest>),
    /// Run an attempt at a job whose encrypted job input is the blob `input`. All blobs that it names must be with the
    /// host already. Answered by [`EnclaveReply::JobAccepted`] once a finalized block gives the job to this worker and the
    /// input's secret is known to be the job's; that may take a while. Then comes [`EnclaveNotice::JobProgress`], and at
    /// last [`EnclaveNotice::JobEnded`] or [`EnclaveNotice::JobRefused`]. A job that was accepted before is accepted
    /// again without running twice; one that has a receipt is announced again, whatever the input.
    StartJob {
        /// The job.
        job: JobId,
        /// Which assignment of the job: 1 for the first.
        attempt: u32,
        /// SHA-256 of the encrypted job input.
        input: Hash,
    },
}

/// See [`HostRequest::Start`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Start {
    /// The chain's specification (raw JSON, as nodes export it), with boot nodes that the host can dial. Any
    /// checkpoint in it is ignored: the enclave verifies finality from genesis.
    pub chain_spec: String,
    /// The account that the enclave belongs to.
    pub operator: Hash,
    /// What it is to do: it refuses any other role than its own.
    pub role: StartRole,
}

/// What an enclave is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum StartRole {
    /// Run users' jobs.
    Worker {
        /// How many may run at once.
        capacity: u32,
    },
    /// Hold shares of the network's keys.
    Gatekeeper,
}

/// What the enclave answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum EnclaveReply {
    /// The enclave has its keys and follows the chain.
    Started {
        /// Its Ed25519 public key: the worker's or gatekeeper's id.
        signing_key: [u8; 32],
        /// Its X25519 public key.
        encryption_key: [u8; 32],
        /// What it measured of itself.
        measurement: [u8; 32],
    },
    /// What the `workers` pallet's `register` and `renew` take.
    Registration(Box<Registration>),
    /// What the `gatekeepers` pallet's `register` and `renew` take.
    Attestation(Box<Attestation>),
    /// What the `workers` pallet's `heartbeat` takes.
    Heartbeat(SignedHeartbeat),
    /// The answer to a challenge.
    Liveness(SignedLiveness),
    /// How the enclave is.
    Status(EnclaveStatus),
    /// The part of a key, encrypted to who asked for it.
    Key(KeyReply),
    /// The job is queued or runs, or has ended.
    JobAccepted {
        /// All blobs that it reads, to be kept until it ends. None when it has ended.
        blobs: Vec<Hash>,
    },
}

/// Evidence and measured performance.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Registration {
    /// What the evidence binds.
    pub statement: Statement,
    /// The evidence.
    pub evidence: Evidence,
    /// Performance, signed with the statement's signing key.
    pub performance: SignedPerformanceReport,
}

/// Evidence of an enclave.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attestation {
    /// What the evidence binds.
    pub statement: Statement,
    /// The evidence.
    pub evidence: Evidence,
}

/// How an enclave is: for logs and metrics. Holds nothing of a user's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct EnclaveStatus {
    /// The newest finalized block that the enclave has verified; `None` before the first.
    pub finalized_block: Option<u32>,
    /// Why the enclave takes no new work; `None` while it does.
    pub pause: Option<Pause>,
    /// Peers of its light client.
    pub peers: u32,
    /// Jobs that run.
    pub running_jobs: u32,
    /// Jobs that wait for a place.
    pub queued_jobs: u32,
    /// Jobs ended since the enclave started.
    pub ended_jobs: u64,
    /// Compiled programs taken from the cache.
    pub compile_cache_hits: u64,
    /// Programs that had to be compiled.
    pub compile_cache_misses: u64,
    /// Of a gatekeeper: how it is.
    pub gatekeeper: Option<GatekeeperStatus>,
}

/// How a gatekeeper's enclave is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct GatekeeperStatus {
    /// The keys of which it has a share, and the ceremonies in which it got them.
    pub shares: Vec<(NetworkKey, CeremonyId)>,
    /// The ceremonies that go on.
    pub ceremonies: Vec<CeremonyId>,
    /// Those in which it should do something and does not, and why.
    pub asides: Vec<(CeremonyId, String)>,
    /// The newest round of the beacon that it has seen.
    pub beacon: Option<Round>,
    /// Parts of keys given since the enclave started.
    pub released: u64,
    /// Requests for keys refused since then.
    pub refused: u64,
}

/// Why an enclave takes no new work. What it has accepted goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Pause {
    /// No block was finalized for so long that the chain stands still, or somebody keeps it from this enclave.
    #[error("no block was finalized for {seconds} seconds: the chain stands still, or is kept from this enclave")]
    NoFinality {
        /// Since the last one.
        seconds: u32,
    },
    /// Two different blocks of one number were finalized. Ends with the process.
    #[error("two different blocks were finalized with one number: this chain cannot be believed any more")]
    Contradiction,
    /// The chain has heard from this worker's key of a block that this enclave's sealed state does not reach: the
    /// state is an old copy, or another enclave runs with another copy. Ends with the process.
    #[error("the sealed state is an old copy, or is in use twice: the chain has newer signs of life of this worker")]
    RestoredState,
}

/// What the host tells the enclave.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HostNotice {
    /// Bytes from the other end of a connection.
    Received {
        /// Which.
        connection: ConnectionId,
        /// At most [`MAX_CHUNK_BYTES`](crate::MAX_CHUNK_BYTES).
        bytes: Vec<u8>,
    },
    /// The connection is closed, from either end.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// Another gatekeeper's part of a round of the random beacon, for a gatekeeper.
    BeaconPart(SignedBeaconPart),
}

/// What the enclave asks of the host.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum EnclaveRequest {
    /// Open a TCP connection. Answered by [`HostReply::Done`] once it is open.
    Dial {
        /// How the enclave will name it.
        connection: ConnectionId,
        /// `host:port`.
        address: String,
    },
    /// Bytes of an uploaded blob. Answered by [`HostReply::Bytes`], shorter than `length` only at the blob's end.
    ReadBlob {
        /// SHA-256 of the blob.
        blob: Hash,
        /// Where to start.
        offset: u64,
        /// At most [`MAX_CHUNK_BYTES`](crate::MAX_CHUNK_BYTES).
        length: u32,
    },
    /// The next bytes of a job's encrypted output; `offset` 0 starts it anew. Answered by [`HostReply::Done`].
    WriteOutput {
        /// The job.
        job: JobId,
        /// Where they belong: the number of bytes written so far.
        offset: u64,
        /// At most [`MAX_CHUNK_BYTES`](crate::MAX_CHUNK_BYTES).
        bytes: Vec<u8>,
    },
    /// The sealed blob last stored under `name`. Answered by [`HostReply::Sealed`].
    LoadSealed {
        /// At most 128 bytes of `a-z`, `0-9`, `-` and `.`.
        name: String,
    },
    /// Keep a sealed blob, durably, in place of an older one. Answered by [`HostReply::Done`].
    StoreSealed {
        /// As in [`EnclaveRequest::LoadSealed`].
        name: String,
        /// At most [`MAX_SEALED_BYTES`](crate::MAX_SEALED_BYTES).
        bytes: Vec<u8>,
    },
    /// The compiled program last stored for `name`, in chunks like a blob; nothing when there is none.
    /// Answered by [`HostReply::Bytes`].
    ReadCache {
        /// As in [`EnclaveRequest::LoadSealed`].
        name: String,
        /// Where to start.
        offset: u64,
        /// At most [`MAX_CHUNK_BYTES`](crate::MAX_CHUNK_BYTES).
        length: u32,
    },
    /// The next bytes of a compiled program; `offset` 0 starts it anew. Answered by [`HostReply::Done`].
    WriteCache {
        /// As in [`EnclaveRequest::LoadSealed`].
        name: String,
        /// Where they belong.
        offset: u64,
        /// At most [`MAX_CHUNK_BYTES`](crate::MAX_CHUNK_BYTES).
        bytes: Vec<u8>,
        /// Whether these are the last.
        last: bool,
    },
    /// Ask a gatekeeper for its part of a key. Answered by [`HostReply::Key`].
    Key {
        /// Whose host is asked.
        gatekeeper: GatekeeperId,
        /// What it is asked.
        request: Box<GatekeeperRequest>,
    },
    /// Bring this to the `attestation` pallet's `claim_sealing_key`. Answered by [`HostReply::Done`] once it is in a block. A refusal for
    /// good: this host cannot.
    ClaimSealingKey(Box<Attestation>),
}

/// What the host answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HostReply {
    /// It is done.
    Done,
    /// The bytes asked for.
    Bytes(Vec<u8>),
    /// The sealed blob, if there is one.
    Sealed(Option<Vec<u8>>),
    /// What a gatekeeper's host answered.
    Key(KeyReply),
}

/// What the enclave tells the host.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum EnclaveNotice {
    /// Send bytes on a connection.
    Send {
        /// Which.
        connection: ConnectionId,
        /// At most [`MAX_CHUNK_BYTES`](crate::MAX_CHUNK_BYTES).
        bytes: Vec<u8>,
    },
    /// Close a connection.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Where a job stands.
    JobProgress {
        /// The job.
        job: JobId,
        /// Which assignment of it.
        attempt: u32,
        /// What the enclave does now.
        state: JobState,
    },
    /// A job has ended: its output is with the host, its receipt must reach the chain.
    JobEnded {
        /// The job.
        job: JobId,
        /// What the `jobs` pallet's `submit_receipt` takes.
        receipt: Box<SignedReceipt>,
    },
    /// A job that was accepted will not run here after all: the host lacks what it needs, or it is too late.
    JobRefused {
        /// The job.
        job: JobId,
        /// Which assignment of it.
        attempt: u32,
        /// Why.
        refusal: Refusal,
    },
    /// What the `keys` pallet takes from anybody; said again at each block until the chain has it.
    Submit(Submission),
    /// A part of a round of the random beacon, to be brought to every other gatekeeper.
    BeaconPart(SignedBeaconPart),
    /// A line for the host's log.
    Log {
        /// How urgent.
        level: LogLevel,
        /// At most 4 KiB, without secrets.
        message: String,
    },
}

/// What a gatekeeper has to say to the `keys` pallet. It needs no sender and costs nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Submission {
    /// Its `post`.
    Post(SignedPost),
    /// Its `submit_beacon`.
    Beacon(SignedBeacon),
    /// Its `report_lost_share`.
    LostShare(SignedLostShare),
    /// Its `log_releases`.
    Releases(SignedReleases),
}

/// What an enclave does for a job at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum JobState {
    /// Waits for a place.
    Queued,
    /// Loads and compiles the program.
    Preparing,
    /// Runs it.
    Running,
    /// Encrypts and hands over the result.
    Finishing,
}

/// How urgent a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Something worth knowing happened.
    Info,
    /// For developers.
    Debug,
}
