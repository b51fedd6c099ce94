//! The whole enclave with a chain and a host in memory.

use crate::{
    Worker,
    files::Blobs,
    testing::{MemoryBlobs, encrypt_to},
};
use age::secrecy::ExposeSecret;
use codec::{Decode, Encode};
use futures::future::BoxFuture;
use futures_lite::future::block_on;
use phala_app_encryption::{AppRecipient, Purpose, Target};
use phala_attestation::{Measurement, PlatformId};
use phala_enclave::{
    Enclave, End, OPEN_REQUESTS, OPEN_STARTS, Threads,
    chain::{
        Block, Chain, StartError, app_key, job_key, oldest_epoch_key, sealed_name, sealing_claim_key, sharing_key,
        worker_key,
    },
    host::{lock, refusal},
    keys,
    testing::{FakeChain, ISOLATION, TestTee, registered},
};
use phala_keys::{Facts, Granted, SealingFacts, VerifiedRequest, testing::Network};
use phala_primitives::{
    AppId, FailureReason, GatekeeperId, Hash, JobId, Limits, Outcome, SignedReceipt, WorkerId,
    attestation::{SealingClaim, SealingKeyId},
    gatekeeper::{GatekeeperRequest, NetworkKey, PublicKey},
    input::{EncryptedFile, JobInput, NamedFile},
    job::{App, Assignment, Job, JobStatus, Visibility, secret_commitment},
    padding::padded,
    worker::Liveness,
};
use phala_protocol::{
    Attestation, EnclaveMessage, EnclaveNotice, EnclaveReply, EnclaveRequest, Hello, HostMessage, HostNotice,
    HostReply, HostRequest, JobState, LogLevel, MAX_CHUNK_BYTES, Message, Pause, Refusal, Start, StartRole,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet},
    io::Read,
    sync::{Arc, Mutex},
    time::Duration,
};

const GENESIS: Hash = [0x11; 32];
const OPERATOR: Hash = [0x22; 32];
const SECRET: Hash = [0x33; 32];
const BLOCK: Block = Block { number: 7, hash: [7; 32] };

/// Reads standard input and a file, writes both to standard output, and exits with code 3.
const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2)
    (func (export "_start")
        (block $end
            (loop $more
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (i32.const 65536))
                (br_if $end (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br_if $end (i32.eqz (i32.load (i32.const 8))))
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
                (br $more)))
        (call $exit (i32.const 3))))"#;

/// What the host keeps, across connections and enclaves.
#[derive(Default)]
struct Disk {
    blobs: MemoryBlobs,
    sealed: Mutex<HashMap<String, Vec<u8>>>,
    cache: Mutex<HashMap<String, Vec<u8>>>,
    outputs: Mutex<HashMap<JobId, Vec<u8>>>,
    gatekeepers: Mutex<Option<Gatekeepers>>,
}

/// Gatekeepers that believe whatever a worker says of its job, and a chain that believes whatever evidence a claim has.
struct Gatekeepers {
    network: Network,
    chain: Arc<FakeChain>,
    /// Why the host brings no claim to the chain.
    no_claims: Option<Refusal>,
    /// How many it has brought, each once.
    claims: u32,
    claimants: HashSet<[u8; 32]>,
    /// What the host says once it has brought one.
    said_of_claim: Option<Refusal>,
    /// How each of them answers.
    manners: [Manner; 4],
}

#[derive(Clone, Copy)]
enum Manner {
    Honest,
    /// Refuses for good.
    Refuses,
    /// Refuses once, and then answers.
    Late,
    /// What it says, its host changes.
    Changed,
    /// Its host brings what another gatekeeper said.
    Exchanged,
}

impl Gatekeepers {
    fn answer(&mut self, gatekeeper: GatekeeperId, request: &GatekeeperRequest) -> Result<HostReply, Refusal> {
        let asked = self.network.identities.iter().position(|identity| identity.id() == gatekeeper).unwrap();
        let manner = self.manners[asked];
        if let Manner::Late = manner {
            self.manners[asked] = Manner::Honest;
            return Err(refusal(true, "not yet"));
        }
        if let Manner::Refuses = manner {
            return Err(refusal(false, "no"));
        }
        let who = if let Manner::Exchanged = manner { (asked + 1) % 4 } else { asked };
        let mut reply = match request {
            GatekeeperRequest::AppKey(signed) => {
                let request = &signed.request;
                let facts = Facts {
                    genesis_hash: GENESIS,
                    now: 1,
                    job: request.job,
                    worker: request.worker,
                    attempt: request.attempt,
                    app: request.app,
                    version: request.version,
                    verdict_expires: 2,
                    epochs: Some((0, 0)),
                };
                let granted = Granted::new(VerifiedRequest::new(signed).unwrap(), &facts).unwrap();
                let share = self.network.share(who, request.key).clone();
                phala_keys::reply(&share, granted, &mut self.network.rng).unwrap()
            }
            GatekeeperRequest::SealingKey(signed) => {
                let key = sealing_claim_key(&signed.request.claimant);
                let claim = block_on(self.chain.storage(BLOCK.hash, key)).unwrap().unwrap();
                let claim = SealingClaim::decode(&mut &claim[..]).unwrap();
                let facts = SealingFacts { genesis_hash: GENESIS, now: claim.until, claim };
                let granted = Granted::for_sealing(VerifiedRequest::new(signed).unwrap(), &facts).unwrap();
                let share = self.network.share(who, NetworkKey::Root).clone();
                phala_keys::reply(&share, granted, &mut self.network.rng).unwrap()
            }
        };
        if let Manner::Changed = manner {
            reply.ciphertext[0] ^= 1;
        }
        Ok(HostReply::Key(reply))
    }

    /// Each is in a finalized block of its own.
    fn claim(&mut self, attestation: &Attestation) -> Result<HostReply, Refusal> {
        if let Some(refusal) = &self.no_claims {
            return Err(refusal.clone());
        }
        let Attestation { statement, evidence } = attestation;
        if self.claimants.insert(statement.signing_key) {
            self.claims += 1;
        }
        assert_eq!(phala_attestation::Unverified::parse(evidence).unwrap().report_data, statement.report_data());
        let claim = SealingClaim {
            key: SealingKeyId { measurement: Measurement([0xaa; 32]), platform: PlatformId([9; 32]), version: 0 },
            family: phala_attestation::Family::Simulated(phala_attestation::VendorName::DEVELOPMENT),
            block_number: statement.block_number,
            until: u64::MAX,
        };
        self.chain.store(sealing_claim_key(&statement.signing_key), claim.encode());
        let number = self.chain.finalized().unwrap().number + 1;
        self.chain.finalize(Block { number, hash: [number as u8; 32] });
        self.said_of_claim.take().map_or(Ok(HostReply::Done), Err)
    }
}

impl Disk {
    fn answer(&self, request: EnclaveRequest) -> Result<HostReply, Refusal> {
        match request {
            EnclaveRequest::Dial { .. } => Err(refusal(true, "no network here")),
            EnclaveRequest::Key { gatekeeper, request } => match &mut *lock(&self.gatekeepers) {
                Some(gatekeepers) => gatekeepers.answer(gatekeeper, &request),
                None => Err(refusal(true, "no gatekeepers here")),
            },
            EnclaveRequest::ClaimSealingKey(attestation) => match &mut *lock(&self.gatekeepers) {
                Some(gatekeepers) => gatekeepers.claim(&attestation),
                None => panic!("a key is claimed that nobody has"),
            },
            EnclaveRequest::ReadBlob { blob, offset, length } => {
                self.blobs.read(blob, offset, length).map(HostReply::Bytes)
            }
            EnclaveRequest::WriteOutput { job, offset, bytes } => {
                let mut outputs = lock(&self.outputs);
                let output = outputs.entry(job).or_default();
                output.truncate(offset as usize);
                output.extend(bytes);
                Ok(HostReply::Done)
            }
            EnclaveRequest::LoadSealed { name } => Ok(HostReply::Sealed(lock(&self.sealed).get(&name).cloned())),
            EnclaveRequest::StoreSealed { name, bytes } => {
                lock(&self.sealed).insert(name, bytes);
                Ok(HostReply::Done)
            }
            EnclaveRequest::ReadCache { name, offset, length } => {
                let cache = lock(&self.cache);
                let rest = cache.get(&name).and_then(|bytes| bytes.get(offset as usize..)).unwrap_or_default();
                Ok(HostReply::Bytes(rest[..rest.len().min(length as usize)].to_vec()))
            }
            EnclaveRequest::WriteCache { name, offset, bytes, .. } => {
                let mut cache = lock(&self.cache);
                let entry = cache.entry(name).or_default();
                entry.truncate(offset as usize);
                entry.extend(bytes);
                Ok(HostReply::Done)
            }
        }
    }
}

/// The host's end of one connection, on the test's own thread.
struct TestHost {
    disk: Arc<Disk>,
    out: async_channel::Sender<Vec<u8>>,
    incoming: async_channel::Receiver<Vec<u8>>,
    end: std::thread::JoinHandle<End>,
    next_id: u64,
    notices: Vec<EnclaveNotice>,
    /// Hangs up instead of answering the request of this number, counted down.
    hang_up_after: Option<u32>,
}

struct HungUp;

impl TestHost {
    fn connect(enclave: &Arc<Enclave>, disk: &Arc<Disk>) -> Self {
        let (out, from_host) = async_channel::unbounded();
        let (to_host, incoming) = async_channel::bounded(2);
        let enclave = enclave.clone();
        let end = std::thread::spawn(move || block_on(enclave.serve(to_host, from_host)));
        out.send_blocking(Hello::CURRENT.encode()).unwrap();
        assert_eq!(Hello::decode(&mut &incoming.recv_blocking().unwrap()[..]), Ok(Hello::CURRENT));
        Self { disk: disk.clone(), out, incoming, end, next_id: 0, notices: Vec::new(), hang_up_after: None }
    }

    fn send(&mut self, request: HostRequest) -> u64 {
        self.next_id += 1;
        let message = HostMessage::Request { id: self.next_id, request };
        self.out.send_blocking(message.encode()).unwrap();
        self.next_id
    }

    /// Serves the enclave until `done` has what it wants.
    fn serve<T>(&mut self, mut done: impl FnMut(&EnclaveMessage) -> Option<T>) -> Result<T, HungUp> {
        loop {
            let frame = self.incoming.recv_blocking().map_err(|_| HungUp)?;
            let message = EnclaveMessage::decode(&mut &frame[..]).unwrap();
            let result = done(&message);
            match message {
                Message::Request { id, request } => {
                    if let Some(left) = &mut self.hang_up_after {
                        *left -= 1;
                        if *left == 0 {
                            return Err(HungUp);
                        }
                    }
                    let reply = self.disk.answer(request);
                    self.out.send_blocking(HostMessage::Reply { id, reply }.encode()).unwrap();
                }
                Message::Notice(notice) => self.notices.push(notice),
                Message::Reply { .. } => {}
            }
            if let Some(result) = result {
                return Ok(result);
            }
        }
    }

    fn ask(&mut self, request: HostRequest) -> Result<EnclaveReply, Refusal> {
        let asked = self.send(request);
        let reply = self.serve(|message| match message {
            Message::Reply { id, reply } if *id == asked => Some(reply.clone()),
            _ => None,
        });
        reply.ok().expect("the enclave answers")
    }

    fn start(&mut self) -> (WorkerId, age::x25519::Recipient) {
        match self.ask(HostRequest::Start(start())) {
            Ok(EnclaveReply::Started { signing_key, encryption_key, measurement }) => {
                assert_eq!(measurement, [0xaa; 32]);
                let prefix = bech32::Hrp::parse("age").unwrap();
                let text = bech32::encode_lower::<bech32::Bech32>(prefix, &encryption_key).unwrap();
                (WorkerId(signing_key), text.parse().unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    fn receipt(&mut self, job: JobId) -> Result<SignedReceipt, Refusal> {
        let known = self.notices.iter().find_map(|notice| ended(notice, job));
        known.unwrap_or_else(|| {
            self.serve(|message| if let Message::Notice(notice) = message { ended(notice, job) } else { None })
                .ok()
                .expect("the enclave ends the job")
        })
    }
}

fn ended(notice: &EnclaveNotice, wanted: JobId) -> Option<Result<SignedReceipt, Refusal>> {
    match notice {
        EnclaveNotice::JobEnded { job, receipt } if *job == wanted => Some(Ok((**receipt).clone())),
        EnclaveNotice::JobRefused { job, refusal, .. } if *job == wanted => Some(Err(refusal.clone())),
        _ => None,
    }
}

/// Starts the first attempt at a job.
fn start_job(job: JobId, input: Hash) -> HostRequest {
    HostRequest::StartJob { job, attempt: 1, input }
}

fn start() -> Start {
    let chain_spec = r#"{"name":"n","id":"i","bootNodes":[],"genesis":{"raw":{}}}"#.to_owned();
    Start { chain_spec, operator: OPERATOR, role: StartRole::Worker { capacity: 2 } }
}

/// A world with one worker and one user.
struct World {
    tee: Arc<TestTee>,
    chain: Arc<FakeChain>,
    disk: Arc<Disk>,
    enclave: Arc<Enclave>,
    /// Opens results.
    user: age::x25519::Identity,
    /// Opens the files of the user's jobs.
    files: age::x25519::Identity,
}

impl World {
    fn new() -> Self {
        let chain = Arc::new(FakeChain::new(GENESIS));
        chain.finalize(BLOCK);
        let disk = Arc::new(Disk::default());
        let tee = Arc::new(TestTee::new(1));
        let enclave = enclave(&chain, &tee);
        let [user, files] = [(); 2].map(|()| age::x25519::Identity::generate());
        Self { tee, chain, disk, enclave, user, files }
    }

    /// Another process of the same enclave.
    fn restart(&mut self) {
        self.enclave = enclave(&self.chain, &self.tee);
    }

    fn connect(&self) -> TestHost {
        TestHost::connect(&self.enclave, &self.disk)
    }

    fn publish(&self, code: &[u8], visibility: Visibility) -> AppId {
        let (code_hash, code_bytes) = (Sha256::digest(code).into(), code.len() as u32);
        let app = AppId::new(&[1; 32], &code_hash, code_bytes, &[2; 32], visibility);
        let record: App<Hash> =
            App { publisher: [1; 32], code_hash, code_bytes, manifest_hash: [2; 32], visibility, retired: false };
        self.chain.store(app_key(&app), record.encode());
        app
    }

    fn assign(&self, job: JobId, app: AppId, worker: WorkerId, attempts: u32) {
        let assignment = Assignment { worker, price: 1, assigned_at: 6, due: 60 };
        self.submit(job, app, attempts, JobStatus::Assigned(assignment), Limits::DEFAULT);
    }

    fn submit(&self, job: JobId, app: AppId, attempts: u32, status: JobStatus<Hash, u32>, limits: Limits) {
        let record = Job {
            owner: [1; 32],
            app,
            limits,
            max_price: 1,
            deadline: 100,
            redundancy: 1,
            secret_commitment: secret_commitment(&SECRET),
            submitted_at: 5,
            submitted_at_ms: 1_700_000_000_000,
            attempts,
            status,
        };
        self.chain.store(job_key(job), record.encode());
    }

    fn upload(&self, recipient: &age::x25519::Recipient, plaintext: &[u8]) -> EncryptedFile {
        let ciphertext = encrypt_to(recipient, plaintext);
        let bytes = ciphertext.len() as u64;
        EncryptedFile { sha256: self.disk.blobs.add(ciphertext), bytes }
    }

    /// Four gatekeepers that share the key of epoch 0, which is returned.
    fn share_epoch_key(&self, manners: [Manner; 4]) -> PublicKey {
        self.share_key(NetworkKey::Epoch(0), manners)
    }

    fn share_key(&self, key: NetworkKey, manners: [Manner; 4]) -> PublicKey {
        let mut network = Network::new(GENESIS, 4);
        let sharing = network.run(1, key, &[0, 1, 2, 3]);
        self.chain.store(sharing_key(key), network.view.sharings[&key].encode());
        let gatekeepers = Gatekeepers {
            network,
            chain: self.chain.clone(),
            no_claims: None,
            claims: 0,
            claimants: HashSet::new(),
            said_of_claim: None,
            manners,
        };
        *lock(&self.disk.gatekeepers) = Some(gatekeepers);
        sharing.public_key()
    }

    fn upload_to_app(&self, target: Target, key: &PublicKey, plaintext: &[u8]) -> EncryptedFile {
        let ciphertext = age::encrypt(&AppRecipient::new(target, key).unwrap(), plaintext).unwrap();
        let bytes = ciphertext.len() as u64;
        EncryptedFile { sha256: self.disk.blobs.add(ciphertext), bytes }
    }

    /// One of the files of the user's jobs.
    fn upload_file(&self, plaintext: &[u8]) -> EncryptedFile {
        self.upload(&self.files.to_public(), plaintext)
    }

    fn input(&self, job: JobId, app: AppId) -> JobInput {
        JobInput {
            version: 1,
            genesis_hash: GENESIS,
            job,
            app,
            secret: SECRET.into(),
            identity: self.files.to_string().expose_secret().into(),
            arguments: vec![],
            code: None,
            stdin: None,
            files: vec![],
            recipients: vec![self.user.to_public().to_string()],
        }
    }

    fn upload_input(&self, recipient: &age::x25519::Recipient, input: &JobInput) -> Hash {
        self.upload(recipient, &serde_json::to_vec(input).unwrap()).sha256
    }

    /// The files of a job's result.
    fn result(&self, receipt: &SignedReceipt) -> HashMap<String, Vec<u8>> {
        let file = lock(&self.disk.outputs)[&receipt.receipt.job].clone();
        assert_eq!(receipt.receipt.output_file_hash, Hash::from(Sha256::digest(&file)));
        let plaintext = age::decrypt(&self.user, &file).unwrap();
        let mut archive = tar::Archive::new(&plaintext[..]);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().to_str().unwrap().to_owned(), content)
        });
        entries.collect()
    }
}

fn enclave(chain: &Arc<FakeChain>, tee: &Arc<TestTee>) -> Arc<Enclave> {
    let chain = chain.clone();
    let source = move |_| -> BoxFuture<'static, Result<Arc<dyn Chain>, StartError>> {
        let chain = chain.clone();
        Box::pin(async move { Ok(chain as Arc<dyn Chain>) })
    };
    Enclave::with(tee.clone(), Arc::new(source), Arc::new(Threads::default()), Arc::new(Worker::default()))
}

fn echo() -> Vec<u8> {
    wat::parse_str(ECHO).unwrap()
}

fn verify_signature(signed: &SignedReceipt) {
    let key = ed25519_dalek::VerifyingKey::from_bytes(&signed.receipt.worker.0).unwrap();
    let signature = ed25519_dalek::Signature::from_bytes(&signed.signature);
    key.verify_strict(&signed.receipt.signed_bytes(), &signature).unwrap();
}

#[test]
fn a_job_runs_from_input_to_receipt() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let code = echo();
    let app = world.publish(&code, Visibility::Public);
    world.disk.blobs.add(code.clone());
    world.assign(4, app, worker, 1);
    let stdin: Vec<u8> = (0..300_000u32).map(|index| index as u8).collect();
    let mut input = world.input(4, app);
    let [stdin_file, unread] = [&stdin[..], b"abc"].map(|plaintext| world.upload_file(plaintext));
    input.stdin = Some(stdin_file);
    input.files = vec![NamedFile::new("unread".into(), unread)];
    let input_hash = world.upload_input(&recipient, &input);

    let blobs = vec![input_hash, Sha256::digest(&code).into(), stdin_file.sha256, unread.sha256];
    assert_eq!(host.ask(start_job(4, input_hash)), Ok(EnclaveReply::JobAccepted { blobs }));
    let signed = host.receipt(4).unwrap();
    verify_signature(&signed);
    let receipt = &signed.receipt;
    assert_eq!(receipt.outcome, Outcome::Completed { exit_code: 3 });
    assert_eq!((receipt.job, receipt.attempt, receipt.app, receipt.worker), (4, 1, app, worker));
    assert_eq!((receipt.input_hash, receipt.genesis_hash), (input_hash, GENESIS));
    assert_eq!((receipt.block_number, receipt.block_hash), (BLOCK.number, BLOCK.hash));
    assert_eq!(receipt.code_hash, Hash::from(Sha256::digest(&code)));
    assert_eq!((receipt.input_bytes, receipt.output_bytes), (padded(300_003), padded(300_000)));
    assert!(receipt.fuel > 0 && receipt.fuel == padded(receipt.fuel));
    assert_eq!(world.result(&signed), HashMap::from([("stdout".into(), stdin), ("stderr".into(), vec![])]));
    let states: Vec<_> = host
        .notices
        .iter()
        .filter_map(|notice| match notice {
            EnclaveNotice::JobProgress { state, .. } => Some(*state),
            _ => None,
        })
        .collect();
    use JobState::*;
    assert_eq!(states, [Queued, Preparing, Running, Finishing]);

    // Asked again, it does not run again: not with its input, not with another, not with one that is not there.
    let other = world.upload_input(&recipient, &JobInput { arguments: vec!["other".into()], ..input });
    for input in [input_hash, other, [9; 32]] {
        host.notices.clear();
        assert_eq!(host.ask(start_job(4, input)), Ok(EnclaveReply::JobAccepted { blobs: vec![] }));
        assert_eq!(host.receipt(4), Ok(signed.clone()));
    }
    let Ok(EnclaveReply::Status(status)) = host.ask(HostRequest::Status) else { panic!() };
    assert_eq!((status.ended_jobs, status.compile_cache_misses, status.finalized_block), (1, 1, Some(7)));
}

#[test]
fn receipts_and_programs_survive_a_restart_and_a_new_attempt_runs_again() {
    let mut world = World::new();
    let code = echo();
    let app = world.publish(&code, Visibility::Public);
    let blob = world.disk.blobs.add(code);
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    world.assign(4, app, worker, 1);
    let input = world.upload_input(&recipient, &world.input(4, app));
    host.ask(start_job(4, input)).unwrap();
    let first = host.receipt(4).unwrap();

    world.restart();
    // The program comes from the cache: its blob is not good any more.
    world.disk.blobs.replace(blob, b"gone".to_vec());
    let mut host = world.connect();
    assert_eq!(host.start().0, worker);
    host.ask(start_job(4, input)).unwrap();
    assert_eq!(host.receipt(4), Ok(first.clone()));

    // The next attempt runs again; the receipt of the first does not hide it.
    world.assign(4, app, worker, 2);
    host.notices.clear();
    host.ask(HostRequest::StartJob { job: 4, attempt: 2, input }).unwrap();
    let second = host.receipt(4).unwrap();
    assert_eq!((second.receipt.attempt, second.receipt.output_hash), (2, first.receipt.output_hash));
    let Ok(EnclaveReply::Status(status)) = host.ask(HostRequest::Status) else { panic!() };
    assert_eq!((status.compile_cache_hits, status.compile_cache_misses), (1, 0));

    // Nor does that of the second stand for the first, which is over, here and after a restart.
    for _ in 0..2 {
        let refused = host.ask(start_job(4, input)).unwrap_err();
        assert!(refused.reason.contains("attempt 1 is over") && !refused.retry, "{refused:?}");
        host.notices.clear();
        host.ask(HostRequest::StartJob { job: 4, attempt: 2, input }).unwrap();
        assert_eq!(host.receipt(4), Ok(second.clone()));
        world.restart();
        host = world.connect();
        host.start();
    }
}

#[test]
fn a_job_waits_for_a_host_that_hangs_up() {
    let code = echo();
    let mut hang_up_after = 1;
    // Hangs up at each request in turn, from the first after the start to the last.
    loop {
        let world = World::new();
        let app = world.publish(&code, Visibility::Public);
        world.disk.blobs.add(code.clone());
        let mut host = world.connect();
        let (worker, recipient) = host.start();
        world.assign(4, app, worker, 1);
        let mut input = world.input(4, app);
        input.stdin = Some(world.upload_file(b"hello"));
        let input = world.upload_input(&recipient, &input);
        host.hang_up_after = Some(hang_up_after);
        host.send(start_job(4, input));
        let outcome = host.serve(|message| match message {
            Message::Notice(notice) => ended(notice, 4),
            _ => None,
        });
        if outcome.is_ok() {
            break;
        }
        drop(host.out);
        drop(host.incoming);
        assert_eq!(host.end.join().unwrap(), End::HungUp);
        let mut host = world.connect();
        host.start();
        let receipt = host.receipt(4).unwrap();
        assert_eq!(world.result(&receipt)["stdout"], b"hello");
        hang_up_after += 1;
    }
    assert!(hang_up_after > 7, "{hang_up_after}");
}

#[test]
fn private_programs_travel_encrypted_and_are_checked() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let code = echo();
    let app = world.publish(&code, Visibility::Private);
    let cases = [
        (Some(&code[..]), Outcome::Completed { exit_code: 3 }),
        (Some(b"other"), Outcome::Failed(FailureReason::CodeMismatch)),
        (None, Outcome::Failed(FailureReason::InvalidInput)),
    ];
    for (job, (code, outcome)) in (0..).zip(cases) {
        world.assign(job, app, worker, 1);
        let mut input = world.input(job, app);
        input.code = code.map(|code| world.upload_file(code));
        let input = world.upload_input(&recipient, &input);
        host.ask(start_job(job, input)).unwrap();
        assert_eq!(host.receipt(job).unwrap().receipt.outcome, outcome);
    }
    // The host's cache does not show it.
    {
        let cache = lock(&world.disk.cache);
        assert!(!cache.is_empty() && cache.values().all(|bytes| !bytes.windows(8).any(|window| window == &code[..8])));
    }
    // Nor does a public app that names the same code: whoever published it must have the code.
    let public = world.publish(&code, Visibility::Public);
    world.assign(9, public, worker, 1);
    let input = world.upload_input(&recipient, &world.input(9, public));
    host.ask(start_job(9, input)).unwrap();
    assert!(host.receipt(9).unwrap_err().reason.contains("no such blob"));
}

/// Naming a ciphertext that this worker could open, or has opened for another job, gives nothing.
#[test]
fn files_of_others_are_not_opened() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let code = echo();
    let app = world.publish(&code, Visibility::Public);
    world.disk.blobs.add(code);
    let victims_file = world.upload_file(b"secret");
    let victims_input = JobInput { stdin: Some(victims_file), ..world.input(0, app) };
    let victims_input = world.upload(&recipient, &serde_json::to_vec(&victims_input).unwrap());
    world.assign(0, app, worker, 1);
    host.ask(start_job(0, victims_input.sha256)).unwrap();
    assert_eq!(world.result(&host.receipt(0).unwrap())["stdout"], b"secret");

    let own = age::x25519::Identity::generate();
    for (job, named) in (1..).zip([victims_file, victims_input, world.upload(&recipient, b"to the worker")]) {
        world.assign(job, app, worker, 1);
        let identity = own.to_string().expose_secret().into();
        let file = NamedFile::new("file".into(), named);
        let input = JobInput { identity, stdin: Some(named), files: vec![file], ..world.input(job, app) };
        let input = world.upload_input(&recipient, &input);
        host.ask(start_job(job, input)).unwrap();
        let receipt = host.receipt(job).unwrap().receipt;
        assert_eq!(receipt.outcome, Outcome::Failed(FailureReason::InvalidInput), "{job}");
        assert!(!lock(&world.disk.outputs).contains_key(&job));
    }
    // What is no input of this job does not start it, either.
    world.assign(9, app, worker, 1);
    for input in [victims_input.sha256, victims_file.sha256] {
        assert!(!host.ask(start_job(9, input)).unwrap_err().retry);
    }
}

#[test]
fn a_users_faults_fail_the_job() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let code = echo();
    let app = world.publish(&code, Visibility::Public);
    world.disk.blobs.add(code);
    let garbage = b"garbage".to_vec();
    let broken = world.publish(&garbage, Visibility::Public);
    world.disk.blobs.add(garbage.clone());

    let mut not_age = world.input(0, app);
    not_age.stdin = Some(EncryptedFile { sha256: world.disk.blobs.add(garbage), bytes: 7 });
    let mut wrong_length = world.input(1, app);
    let file = world.upload_file(b"x");
    wrong_length.stdin = Some(EncryptedFile { bytes: file.bytes + 1, ..file });
    let no_program = world.input(2, broken);
    let cases = [
        (not_age, FailureReason::InvalidInput),
        (wrong_length, FailureReason::InvalidInput),
        (no_program, FailureReason::InvalidProgram),
    ];
    for (input, reason) in cases {
        world.assign(input.job, input.app, worker, 1);
        let blob = world.upload_input(&recipient, &input);
        host.ask(start_job(input.job, blob)).unwrap();
        let receipt = host.receipt(input.job).unwrap().receipt;
        assert_eq!(receipt.outcome, Outcome::Failed(reason));
        assert_eq!((receipt.fuel, receipt.output_hash, receipt.output_file_hash), (0, [0; 32], [0; 32]));
    }
}

#[test]
fn limits_end_a_job() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let code =
        wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#).unwrap();
    let app = world.publish(&code, Visibility::Public);
    world.disk.blobs.add(code);
    let cases = [
        (Limits { fuel: 1_000_000, ..Limits::DEFAULT }, FailureReason::FuelExhausted),
        (Limits { wall_ms: 100, fuel: Limits::MAX.fuel, ..Limits::DEFAULT }, FailureReason::WallTimeExceeded),
    ];
    for (job, (limits, reason)) in (0..).zip(cases) {
        let assignment = Assignment { worker, price: 1, assigned_at: 6, due: 60 };
        world.submit(job, app, 1, JobStatus::Assigned(assignment), limits);
        let input = world.upload_input(&recipient, &world.input(job, app));
        host.ask(start_job(job, input)).unwrap();
        assert_eq!(host.receipt(job).unwrap().receipt.outcome, Outcome::Failed(reason));
    }
}

#[test]
fn inputs_that_do_not_belong_are_refused_for_good() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let app = world.publish(&echo(), Visibility::Public);
    world.assign(4, app, worker, 1);
    let input = world.input(4, app);
    let cases = [
        (world.upload(&recipient, b"no json").sha256, "JSON"),
        (world.upload(&world.user.to_public(), b"x").sha256, "encrypted to another recipient"),
        (world.disk.blobs.add(b"no age".to_vec()), "not an age file"),
        (world.upload_input(&recipient, &JobInput { job: 5, ..input.clone() }), "another job"),
        (world.upload_input(&recipient, &JobInput { genesis_hash: [0; 32], ..input.clone() }), "another chain"),
        (world.upload_input(&recipient, &JobInput { identity: "AGE".into(), ..input.clone() }), "identity"),
        (world.upload_input(&recipient, &JobInput { secret: [0u8; 32].into(), ..input.clone() }), "secret"),
        (world.upload_input(&recipient, &JobInput { app: AppId([0; 32]), ..input.clone() }), "another app"),
        (world.upload(&recipient, &vec![b' '; 1024 * 1024 + 1]).sha256, "larger than"),
    ];
    for (blob, reason) in cases {
        let refused = host.ask(start_job(4, blob)).unwrap_err();
        assert!(refused.reason.contains(reason) && !refused.retry, "{refused:?}");
    }
    let missing = host.ask(start_job(4, [9; 32])).unwrap_err();
    assert!(missing.retry, "{missing:?}");
    // None of them has taken the job's place.
    let Ok(EnclaveReply::Status(status)) = host.ask(HostRequest::Status) else { panic!() };
    assert_eq!((status.queued_jobs, status.running_jobs), (0, 0));
}

#[test]
fn what_was_encrypted_to_the_app_before_it_had_a_worker_opens() {
    use Manner::*;
    // Three of the four are needed.
    for manners in [
        [Honest; 4],
        [Honest, Refuses, Honest, Honest],
        [Changed, Late, Honest, Late],
        [Exchanged, Honest, Honest, Honest],
    ] {
        let world = World::new();
        let app = world.publish(&echo(), Visibility::Public);
        world.disk.blobs.add(echo());
        let key = world.share_epoch_key(manners);
        let target = |purpose| Target { purpose, epoch: 0, app, version: 0 };
        // Somebody else's data, and what the job's owner says of it.
        let data = world.upload_to_app(target(Purpose::File), &key, b"data");
        let input = JobInput {
            stdin: Some(data),
            files: vec![NamedFile::new("own".into(), world.upload_file(b"x"))],
            ..world.input(4, app)
        };
        let input = world.upload_to_app(target(Purpose::JobInput), &key, &serde_json::to_vec(&input).unwrap()).sha256;

        let mut host = world.connect();
        let (worker, _) = host.start();
        world.assign(4, app, worker, 1);
        host.ask(start_job(4, input)).unwrap();
        let signed = host.receipt(4).unwrap();
        assert_eq!((signed.receipt.outcome, signed.receipt.input_hash), (Outcome::Completed { exit_code: 3 }, input));
        assert_eq!(world.result(&signed)["stdout"], b"data");
    }
}

#[test]
fn too_few_gatekeepers_refuse_a_start_and_say_nothing_of_the_input() {
    use Manner::*;
    for manners in [[Honest, Honest, Refuses, Refuses], [Changed, Honest, Honest, Exchanged]] {
        let world = World::new();
        let app = world.publish(&echo(), Visibility::Public);
        world.disk.blobs.add(echo());
        let key = world.share_epoch_key(manners);
        let target = Target { purpose: Purpose::JobInput, epoch: 0, app, version: 0 };
        let input = world.upload_to_app(target, &key, &serde_json::to_vec(&world.input(4, app)).unwrap()).sha256;
        let mut host = world.connect();
        let (worker, _) = host.start();
        world.assign(4, app, worker, 1);
        let refused = host.ask(start_job(4, input)).unwrap_err();
        assert!(refused.retry && refused.reason.contains("2 gatekeepers gave their part"), "{refused:?}");
        // They come back.
        lock(&world.disk.gatekeepers).as_mut().unwrap().manners = [Honest; 4];
        host.ask(start_job(4, input)).unwrap();
        assert_eq!(host.receipt(4).unwrap().receipt.outcome, Outcome::Completed { exit_code: 3 });
    }
}

#[test]
fn files_of_gatekeepers_that_stay_away_end_no_job() {
    let world = World::new();
    let app = world.publish(&echo(), Visibility::Public);
    world.disk.blobs.add(echo());
    let key = world.share_epoch_key([Manner::Refuses; 4]);
    let data = world.upload_to_app(Target { purpose: Purpose::File, epoch: 0, app, version: 0 }, &key, b"data");
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    world.assign(4, app, worker, 1);
    let input = world.upload_input(&recipient, &JobInput { stdin: Some(data), ..world.input(4, app) });
    host.ask(start_job(4, input)).unwrap();
    assert!(host.receipt(4).unwrap_err().retry, "the user's file may be good");
}

#[test]
fn what_is_encrypted_for_something_else_does_not_open() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let app = world.publish(&echo(), Visibility::Public);
    world.disk.blobs.add(echo());
    let key = world.share_epoch_key([Manner::Honest; 4]);
    let target = Target { purpose: Purpose::JobInput, epoch: 0, app, version: 0 };
    let json = serde_json::to_vec(&world.input(4, app)).unwrap();
    world.assign(4, app, worker, 1);
    for other in [
        Target { purpose: Purpose::File, ..target },
        Target { version: 1, ..target },
        Target { app: AppId([9; 32]), ..target },
    ] {
        let input = world.upload_to_app(other, &key, &json).sha256;
        let refused = host.ask(start_job(4, input)).unwrap_err();
        assert!(!refused.retry && refused.reason.contains("encrypted to another recipient"), "{other:?}: {refused:?}");
    }

    // An epoch of which the enclave does not know yet, and one whose time is over.
    let later = world.upload_to_app(Target { epoch: 1, ..target }, &key, &json).sha256;
    let refused = host.ask(start_job(4, later)).unwrap_err();
    assert!(refused.retry && refused.reason.contains("not come to epoch 1"), "{refused:?}");
    world.chain.store(oldest_epoch_key(), 2u32.encode());
    let refused = host.ask(start_job(4, later)).unwrap_err();
    assert!(!refused.retry && refused.reason.contains("the time of epoch 1 is over"), "{refused:?}");
    let old = world.upload_to_app(Target { purpose: Purpose::File, epoch: 1, ..target }, &key, b"x");
    world.assign(7, app, worker, 1);
    let input = JobInput { files: vec![NamedFile::new("old".into(), old)], ..world.input(7, app) };
    host.ask(start_job(7, world.upload_input(&recipient, &input))).unwrap();
    assert!(host.receipt(7).is_err(), "who waits until an epoch is over gets no receipt");
    world.chain.store(oldest_epoch_key(), 0u32.encode());

    // Somebody else's job input, named as a file of one's own job.
    let stolen = world.upload_to_app(target, &key, &json);
    let unknown = world.upload_to_app(Target { purpose: Purpose::File, epoch: 1, ..target }, &key, b"x");
    for (job, file) in [(5, stolen), (6, unknown)] {
        world.assign(job, app, worker, 1);
        let input = JobInput { files: vec![NamedFile::new("theirs".into(), file)], ..world.input(job, app) };
        let input = world.upload_input(&recipient, &input);
        host.ask(start_job(job, input)).unwrap();
        assert_eq!(host.receipt(job).unwrap().receipt.outcome, Outcome::Failed(FailureReason::InvalidInput));
    }
}

#[test]
fn a_job_that_the_chain_does_not_give_is_refused_at_once() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let app = world.publish(&echo(), Visibility::Public);
    world.submit(0, app, 1, JobStatus::Cancelled { at: 6 }, Limits::DEFAULT);
    world.assign(1, app, WorkerId([0; 32]), 1);
    world.submit(3, app, 1, JobStatus::Queued, Limits::DEFAULT);
    for (job, reason) in [(0, "was cancelled"), (1, "has assigned"), (3, "attempt 1 is over")] {
        // The input is not even looked at.
        let refused = host.ask(start_job(job, [9; 32])).unwrap_err();
        assert!(refused.reason.contains(reason) && !refused.retry, "{refused:?}");
    }
    // The program's blob is not with the host.
    world.assign(2, app, worker, 1);
    let input = world.upload_input(&recipient, &world.input(2, app));
    host.ask(start_job(2, input)).unwrap();
    assert!(host.receipt(2).unwrap_err().reason.contains("no such blob"));
}

#[test]
fn a_start_waits_for_the_finalized_assignment_and_takes_no_place_meanwhile() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let code = echo();
    let app = world.publish(&code, Visibility::Public);
    world.disk.blobs.add(code);
    world.submit(4, app, 0, JobStatus::Queued, Limits::DEFAULT);
    // Only one start of a job waits.
    for _ in 0..2 {
        let input = world.upload_input(&recipient, &world.input(4, app));
        host.send(start_job(4, input));
    }
    let reply =
        host.serve(|message| if let Message::Reply { reply, .. } = message { Some(reply.clone()) } else { None });
    let refused = reply.ok().unwrap().unwrap_err();
    assert!(refused.reason.contains("is under way already") && refused.retry, "{refused:?}");
    let Ok(EnclaveReply::Status(status)) = host.ask(HostRequest::Status) else { panic!() };
    assert_eq!((status.queued_jobs, status.running_jobs), (0, 0));
    world.assign(4, app, worker, 1);
    world.chain.finalize(Block { number: 8, hash: [8; 32] });
    assert_eq!(host.receipt(4).unwrap().receipt.block_number, 8);
}

#[test]
fn a_result_that_comes_too_late_is_not_handed_out() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let code = echo();
    let app = world.publish(&code, Visibility::Public);
    world.disk.blobs.add(code);
    world.assign(4, app, worker, 1);
    // Too long to be read without the host.
    let input = JobInput { stdin: Some(world.upload_file(&[7; 300_000])), ..world.input(4, app) };
    let input = world.upload_input(&recipient, &input);
    host.ask(start_job(4, input)).unwrap();
    let ended = host.serve(|message| match message {
        Message::Notice(EnclaveNotice::JobProgress { state: JobState::Running, .. }) => {
            world.chain.finalize(Block { number: 60, hash: [60; 32] });
            None
        }
        Message::Notice(notice) => ended(notice, 4),
        _ => None,
    });
    let refused = ended.ok().unwrap().unwrap_err();
    assert!(refused.reason.contains("ran out"), "{refused:?}");
    assert!(lock(&world.disk.outputs).is_empty());
}

#[test]
fn registrations_and_heartbeats_verify() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, _) = host.start();
    let Ok(EnclaveReply::Registration(registration)) = host.ask(HostRequest::Register) else { panic!() };
    let policy = phala_attestation::Policy {
        simulated_root: Some(phala_attestation::simulated::development_root().public()),
        ..Default::default()
    };
    let verified =
        phala_attestation::verify(&registration.evidence, &Default::default(), &policy, 1_800_000_000).unwrap();
    let statement = verified.bind(&registration.statement).unwrap().statement().clone();
    assert_eq!((statement.signing_key, statement.operator), (worker.0, OPERATOR));
    assert_eq!(
        (statement.genesis_hash, statement.block_number, statement.block_hash),
        (GENESIS, BLOCK.number, BLOCK.hash)
    );
    let report = &registration.performance.report;
    assert_eq!((report.performance.capacity, report.block_number), (2, 7));
    let key = ed25519_dalek::VerifyingKey::from_bytes(&worker.0).unwrap();
    let check =
        |bytes: &[u8], signature| key.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(signature)).unwrap();
    check(&report.signed_bytes(), &registration.performance.signature);
    let Ok(EnclaveReply::Heartbeat(signed)) = host.ask(HostRequest::Heartbeat) else { panic!() };
    assert_eq!((signed.heartbeat.worker, signed.heartbeat.block_hash), (worker, BLOCK.hash));
    check(&signed.heartbeat.signed_bytes(), &signed.signature);
}

#[test]
fn starting_is_idempotent_and_changes_are_refused() {
    let world = World::new();
    let mut host = world.connect();
    assert!(host.ask(HostRequest::Status).unwrap_err().retry);
    let first = host.start().0;
    assert_eq!(host.start().0, first);
    assert!(host.ask(HostRequest::Start(Start { role: StartRole::Worker { capacity: 3 }, ..start() })).is_err());
    assert!(host.ask(HostRequest::Start(Start { operator: [0; 32], ..start() })).is_err());
    assert!(host.ask(HostRequest::Start(Start { role: StartRole::Worker { capacity: 0 }, ..start() })).is_err());
    assert!(host.ask(HostRequest::Start(Start { chain_spec: "{".into(), ..start() })).is_err());
}

#[test]
fn sealed_blobs_of_another_platform_are_refused() {
    let world = World::new();
    world.connect().start();
    let mut host = TestHost::connect(&enclave(&world.chain, &Arc::new(TestTee::new(2))), &world.disk);
    let refused = host.ask(HostRequest::Start(start())).unwrap_err();
    assert!(refused.reason.contains("keys do not unseal") && !refused.retry, "{refused:?}");
}

#[test]
fn without_sealing_keys_end_with_the_process_and_nothing_is_kept_or_read() {
    let mut world = World::new();
    world.tee = Arc::new(TestTee::without_sealing(1));
    world.restart();
    // What another TEE left is not looked at.
    lock(&world.disk.sealed).insert(keys::sealed_name(&GENESIS), b"of another".to_vec());
    let before = lock(&world.disk.sealed).clone();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    assert_eq!(host.start().0, worker);
    assert!(host.notices.iter().any(|notice| matches!(notice, EnclaveNotice::Log { message, .. }
        if message.contains("cannot seal") && message.contains(&worker.to_string()))));
    host.ask(HostRequest::Register).unwrap();
    host.ask(HostRequest::Heartbeat).unwrap();
    host.ask(HostRequest::Challenge { nonce: [1; 32] }).unwrap();
    let code = echo();
    let app = world.publish(&code, Visibility::Public);
    world.disk.blobs.add(code);
    world.assign(4, app, worker, 1);
    let input = world.upload_input(&recipient, &world.input(4, app));
    host.ask(start_job(4, input)).unwrap();
    host.receipt(4).unwrap();
    assert_eq!(*lock(&world.disk.sealed), before);

    world.restart();
    assert_ne!(world.connect().start().0, worker);
}

#[test]
fn with_the_gatekeepers_key_a_worker_that_cannot_seal_is_the_same_after_a_restart() {
    use Manner::*;
    let mut world = World::new();
    world.tee = Arc::new(TestTee::without_sealing(1));
    world.share_key(NetworkKey::Root, [Honest, Refuses, Late, Honest]);
    world.restart();
    let mut host = world.connect();
    let (worker, _) = host.start();
    assert!(host.notices.iter().any(|notice| matches!(notice, EnclaveNotice::Log { message, .. }
        if message.contains("got the key to seal with from 3 gatekeepers"))));
    assert!(lock(&world.disk.sealed).contains_key(&keys::sealed_name(&GENESIS)));

    lock(&world.disk.gatekeepers).as_mut().unwrap().manners = [Changed, Honest, Honest, Honest];
    world.restart();
    let mut host = world.connect();
    assert_eq!(host.start().0, worker);
    assert_eq!(host.start().0, worker);

    // What it had is not given up because too few answer, nor is a claim paid twice.
    let sealed_keys = |world: &World| lock(&world.disk.sealed)[&keys::sealed_name(&GENESIS)].clone();
    let before = sealed_keys(&world);
    let set = |world: &World, manners, no_claims| {
        let mut gatekeepers = lock(&world.disk.gatekeepers);
        let gatekeepers = gatekeepers.as_mut().unwrap();
        (gatekeepers.manners, gatekeepers.no_claims) = (manners, no_claims);
        gatekeepers.claims
    };
    set(&world, [Changed, Refuses, Honest, Honest], None);
    world.restart();
    let refused = world.connect().ask(HostRequest::Start(start())).unwrap_err();
    assert!(refused.retry && refused.reason.contains("2 gatekeepers gave their part"), "{refused:?}");
    assert_eq!(set(&world, [Honest; 4], Some(refusal(true, "no claims"))), 3);
    assert_eq!(world.connect().start().0, worker);

    // Nor is one paid twice where the host does not know what became of it, or a start fails later.
    set(&world, [Honest; 4], None);
    world.restart();
    lock(&world.disk.gatekeepers).as_mut().unwrap().said_of_claim = Some(refusal(true, "no answer"));
    let mut host = world.connect();
    let refused = host.ask(HostRequest::Start(start())).unwrap_err();
    assert!(refused.retry && refused.reason.contains("no answer"), "{refused:?}");
    let whole = sealed_keys(&world);
    lock(&world.disk.sealed).get_mut(&keys::sealed_name(&GENESIS)).unwrap()[30] ^= 1;
    assert!(host.ask(HostRequest::Start(start())).unwrap_err().reason.contains("do not unseal"));
    lock(&world.disk.sealed).insert(keys::sealed_name(&GENESIS), whole);
    assert_eq!(host.start().0, worker);
    assert_eq!(set(&world, [Honest; 4], Some(refusal(true, "no claims"))), 4);

    // Nor is it given up for a host that cannot bring a claim now.
    world.restart();
    let refused = world.connect().ask(HostRequest::Start(start())).unwrap_err();
    assert!(refused.retry && refused.reason.contains("no claims"), "{refused:?}");
    // With one that never can, it is a new worker that keeps nothing.
    set(&world, [Honest; 4], Some(refusal(false, "no claims")));
    assert_ne!(world.connect().start().0, worker);
    assert_eq!(sealed_keys(&world), before);
}

#[test]
fn each_chain_has_its_own_keys() {
    let world = World::new();
    let worker = world.connect().start().0;
    let other = Arc::new(FakeChain::new([0x44; 32]));
    other.finalize(BLOCK);
    let other = TestHost::connect(&enclave(&other, &world.tee), &world.disk).start().0;
    assert_ne!(worker, other);
    assert_eq!(TestHost::connect(&enclave(&world.chain, &world.tee), &world.disk).start().0, worker);
    // The keys of one chain under the name of another are none.
    let mut sealed = lock(&world.disk.sealed);
    let keys = sealed[&keys::sealed_name(&GENESIS)].clone();
    sealed.insert(keys::sealed_name(&[0x55; 32]), keys);
    drop(sealed);
    let third = Arc::new(FakeChain::new([0x55; 32]));
    let refused =
        TestHost::connect(&enclave(&third, &world.tee), &world.disk).ask(HostRequest::Start(start())).unwrap_err();
    assert!(refused.reason.contains("keys do not unseal"), "{refused:?}");
}

#[test]
fn the_chains_progress_is_sealed_before_it_is_signed_and_is_a_floor_later() {
    let mut world = World::new();
    let mut host = world.connect();
    let (worker, _) = host.start();
    world.chain.finalize(Block { number: 8, hash: [8; 32] });
    let Ok(EnclaveReply::Heartbeat(signed)) = host.ask(HostRequest::Heartbeat) else { panic!() };
    assert_eq!(signed.heartbeat.block_number, 8);
    world.chain.store(worker_key(&worker), registered(8).encode());

    // Started again, it knows what it has signed, and goes no further back.
    world.restart();
    world.chain.finalize(Block { number: 7, hash: [7; 32] });
    let mut host = world.connect();
    host.start();
    assert!(host.ask(HostRequest::Heartbeat).is_err());
    world.chain.finalize(Block { number: 9, hash: [9; 32] });
    assert!(host.ask(HostRequest::Heartbeat).is_ok());
    assert_eq!(pause(&mut host), None);

    // A floor that was tampered with is not ignored.
    lock(&world.disk.sealed).get_mut(&sealed_name(&GENESIS)).unwrap()[30] ^= 1;
    world.restart();
    assert!(world.connect().ask(HostRequest::Start(start())).unwrap_err().reason.contains("progress"));
}

fn pause(host: &mut TestHost) -> Option<Pause> {
    let Ok(EnclaveReply::Status(status)) = host.ask(HostRequest::Status) else { panic!() };
    status.pause
}

#[test]
fn an_old_copy_of_the_sealed_state_is_noticed() {
    for withheld in [false, true] {
        let mut world = World::new();
        let mut host = world.connect();
        let (worker, _) = host.start();
        host.ask(HostRequest::Heartbeat).unwrap();
        let copy = lock(&world.disk.sealed).clone();
        world.chain.finalize(Block { number: 20, hash: [20; 32] });
        host.ask(HostRequest::Heartbeat).unwrap();
        world.chain.store(worker_key(&worker), registered(20).encode());

        *lock(&world.disk.sealed) = copy;
        if withheld {
            lock(&world.disk.sealed).remove(&sealed_name(&GENESIS));
        }
        world.restart();
        let mut host = world.connect();
        assert_eq!(host.start().0, worker);
        let refused = host.ask(HostRequest::Heartbeat).unwrap_err();
        assert!(refused.reason.contains("old copy") && !refused.retry, "{refused:?}");
        for request in [HostRequest::Challenge { nonce: [1; 32] }, HostRequest::Register, start_job(4, [9; 32])] {
            assert_eq!(host.ask(request), Err(refused.clone()));
        }
        assert_eq!(pause(&mut host), Some(Pause::RestoredState));
        let told = |notice: &EnclaveNotice| matches!(notice, EnclaveNotice::Log { level: LogLevel::Error, .. });
        assert!(host.notices.iter().any(told));
    }
}

/// Two enclaves with the same keys: each signs what the other does not know.
#[test]
fn a_clone_is_noticed_by_the_original() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, _) = host.start();
    host.ask(HostRequest::Heartbeat).unwrap();
    let disk = Disk { sealed: Mutex::new(lock(&world.disk.sealed).clone()), ..Disk::default() };
    let mut clone = TestHost::connect(&enclave(&world.chain, &world.tee), &Arc::new(disk));
    assert_eq!(clone.start().0, worker);
    world.chain.finalize(Block { number: 12, hash: [12; 32] });
    clone.ask(HostRequest::Heartbeat).unwrap();
    world.chain.store(worker_key(&worker), registered(12).encode());
    world.chain.finalize(Block { number: 15, hash: [15; 32] });
    let refused = host.ask(start_job(4, [9; 32])).unwrap_err();
    assert!(refused.reason.contains("in use twice") && !refused.retry, "{refused:?}");
    assert_eq!(pause(&mut host), Some(Pause::RestoredState));
}

#[test]
fn without_finality_nothing_new_is_begun_and_what_was_accepted_goes_on() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let code = echo();
    let app = world.publish(&code, Visibility::Public);
    world.disk.blobs.add(code);
    world.assign(4, app, worker, 1);
    world.assign(5, app, worker, 1);
    let input = JobInput { stdin: Some(world.upload_file(&[7; 300_000])), ..world.input(4, app) };
    let input = world.upload_input(&recipient, &input);
    host.ask(start_job(4, input)).unwrap();
    // It waits for its blobs meanwhile.
    world.tee.pass(Duration::from_secs(3600));
    let receipt = host.serve(|message| if let Message::Notice(notice) = message { ended(notice, 4) } else { None });
    assert_eq!(receipt.ok().unwrap().unwrap().receipt.outcome, Outcome::Completed { exit_code: 3 });

    let refused = host.ask(start_job(5, [9; 32])).unwrap_err();
    assert!(refused.reason.contains("no block was finalized for 36") && refused.retry, "{refused:?}");
    assert!(matches!(pause(&mut host), Some(Pause::NoFinality { seconds: 3600.. })));
    // Signs of life name the old block, and what has ended is told again.
    let Ok(EnclaveReply::Heartbeat(signed)) = host.ask(HostRequest::Heartbeat) else { panic!() };
    assert_eq!(signed.heartbeat.block_hash, BLOCK.hash);
    assert_eq!(host.ask(start_job(4, input)), Ok(EnclaveReply::JobAccepted { blobs: vec![] }));
    // The next block ends it.
    world.chain.finalize(Block { number: 8, hash: [8; 32] });
    assert_eq!(pause(&mut host), None);
    assert!(!host.ask(start_job(5, [9; 32])).unwrap_err().reason.contains("finalized"));
}

#[test]
fn on_a_chain_that_contradicts_itself_nothing_is_begun_or_signed() {
    let world = World::new();
    let mut host = world.connect();
    host.start();
    host.ask(HostRequest::Heartbeat).unwrap();
    world.chain.finalize(Block { hash: [99; 32], ..BLOCK });
    let refused = host.ask(HostRequest::Heartbeat).unwrap_err();
    assert!(refused.reason.contains("cannot be believed") && !refused.retry, "{refused:?}");
    for request in [HostRequest::Challenge { nonce: [1; 32] }, HostRequest::Register, start_job(4, [9; 32])] {
        assert_eq!(host.ask(request), Err(refused.clone()));
    }
    assert_eq!(pause(&mut host), Some(Pause::Contradiction));
}

#[test]
fn a_challenge_shows_that_the_key_is_in_use_now() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, _) = host.start();
    let stored = lock(&world.disk.sealed).get(&sealed_name(&GENESIS)).cloned();
    let answers = [[1; 32], [2; 32]].map(|nonce| {
        let Ok(EnclaveReply::Liveness(signed)) = host.ask(HostRequest::Challenge { nonce }) else { panic!() };
        let key = ed25519_dalek::VerifyingKey::from_bytes(&worker.0).unwrap();
        let signature = ed25519_dalek::Signature::from_bytes(&signed.signature);
        key.verify_strict(&signed.liveness.signed_bytes(), &signature).unwrap();
        // It is an answer to this challenge, and no other signature of the worker.
        let other = Liveness { nonce: [3; 32], ..signed.liveness.clone() };
        assert!(key.verify_strict(&other.signed_bytes(), &signature).is_err());
        assert!(signed.liveness.signed_bytes().starts_with(b"phala/liveness/v1"));
        assert_eq!((signed.liveness.nonce, signed.liveness.signing_key), (nonce, worker.0));
        assert_eq!((signed.liveness.genesis_hash, signed.liveness.isolation), (GENESIS, Some(ISOLATION)));
        assert_eq!((signed.liveness.block_number, signed.liveness.block_hash), (BLOCK.number, BLOCK.hash));
        lock(&world.disk.sealed).get(&sealed_name(&GENESIS)).cloned()
    });
    // The floor is stored before the first answer at the latest, and not again.
    assert!(answers[0].is_some() && answers[0] == answers[1]);
    assert!(stored.is_none() || stored == answers[0]);

    let early = World::new();
    let chain = Arc::new(FakeChain::new(GENESIS));
    let mut host = TestHost::connect(&enclave(&chain, &early.tee), &early.disk);
    host.start();
    assert!(host.ask(HostRequest::Challenge { nonce: [1; 32] }).unwrap_err().retry);
}

#[test]
fn a_host_that_answers_late_takes_no_wall_time() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let code = echo();
    let app = world.publish(&code, Visibility::Public);
    world.disk.blobs.add(code);
    let assignment = Assignment { worker, price: 1, assigned_at: 6, due: 60 };
    let limits = Limits { wall_ms: 2000, ..Limits::DEFAULT };
    world.submit(4, app, 1, JobStatus::Assigned(assignment), limits);
    let input = JobInput { stdin: Some(world.upload_file(&[7; 600_000])), ..world.input(4, app) };
    let input = world.upload_input(&recipient, &input);
    host.ask(start_job(4, input)).unwrap();
    let (mut running, mut late) = (false, 0);
    let receipt = host.serve(|message| match message {
        Message::Notice(EnclaveNotice::JobProgress { state: JobState::Running, .. }) => {
            running = true;
            None
        }
        Message::Request { request: EnclaveRequest::ReadBlob { .. }, .. } if running => {
            // Each answer takes longer than the job may.
            world.tee.pass(Duration::from_millis(2001));
            late += 1;
            None
        }
        Message::Notice(notice) => ended(notice, 4),
        _ => None,
    });
    assert!(late > 0);
    assert_eq!(receipt.ok().unwrap().unwrap().receipt.outcome, Outcome::Completed { exit_code: 3 });
}

#[test]
fn a_job_that_may_use_more_memory_than_there_is_is_refused() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, _) = host.start();
    let app = world.publish(&echo(), Visibility::Public);
    let assignment = Assignment { worker, price: 1, assigned_at: 6, due: 60 };
    world.submit(4, app, 1, JobStatus::Assigned(assignment), Limits { memory_bytes: 4 << 30, ..Limits::DEFAULT });
    let refused = host.ask(start_job(4, [9; 32])).unwrap_err();
    let memory = (4 << 30) + 2 * Limits::DEFAULT.output_bytes;
    let numbers = format!("{memory} bytes of memory, and this worker has {}", 3u64 << 30);
    assert!(refused.reason.contains(&numbers) && !refused.retry, "{refused:?}");
}

#[test]
fn jobs_wait_for_memory() {
    let world = World::new();
    let mut host = world.connect();
    let (worker, recipient) = host.start();
    let code = echo();
    let app = world.publish(&code, Visibility::Public);
    world.disk.blobs.add(code);
    let limits = Limits { memory_bytes: 2 << 30, ..Limits::DEFAULT };
    let mut running = Vec::new();
    for job in [4, 5] {
        let assignment = Assignment { worker, price: 1, assigned_at: 6, due: 60 };
        world.submit(job, app, 1, JobStatus::Assigned(assignment), limits);
        let input = world.upload_input(&recipient, &world.input(job, app));
        host.send(start_job(job, input));
    }
    // Two places, and memory for one: the second is prepared when the first has ended.
    let both = host.serve(|message| {
        match message {
            Message::Notice(EnclaveNotice::JobProgress { job, state: JobState::Preparing, .. }) => {
                running.push((*job, true))
            }
            Message::Notice(EnclaveNotice::JobEnded { job, .. }) => running.push((*job, false)),
            _ => {}
        }
        (running.len() == 4).then(|| running.clone())
    });
    let order: Vec<_> = both.ok().unwrap();
    assert!(order[0].0 == order[1].0 && order[2].0 == order[3].0, "{order:?}");
}

#[test]
fn starts_that_wait_are_bounded() {
    let world = World::new();
    let mut host = world.connect();
    host.start();
    for job in 0..=64 {
        host.send(start_job(job, [9; 32]));
    }
    let reply =
        host.serve(|message| if let Message::Reply { reply, .. } = message { Some(reply.clone()) } else { None });
    let refused = reply.ok().unwrap().unwrap_err();
    assert!(refused.reason.contains("too many starts") && refused.retry, "{refused:?}");
}

#[test]
fn bytes_beyond_a_chunk_and_chain_specifications_beyond_a_few_end_the_connection_or_are_refused() {
    let world = World::new();
    let (out, from_host) = async_channel::unbounded();
    let (to_host, _incoming) = async_channel::unbounded();
    out.send_blocking(Hello::CURRENT.encode()).unwrap();
    let bytes = vec![0; MAX_CHUNK_BYTES as usize + 1];
    out.send_blocking(HostMessage::Notice(HostNotice::Received { connection: 1, bytes }).encode()).unwrap();
    assert_eq!(block_on(world.enclave.serve(to_host, from_host)), End::Malformed);

    let world = World::new();
    let (out, from_host) = async_channel::unbounded();
    let (to_host, incoming) = async_channel::unbounded();
    let enclave = world.enclave.clone();
    let end = std::thread::spawn(move || block_on(enclave.serve(to_host, from_host)));
    out.send_blocking(Hello::CURRENT.encode()).unwrap();
    incoming.recv_blocking().unwrap();
    // Nobody gives the first start its keys, so that all stay open.
    for id in 0..=OPEN_STARTS as u64 {
        out.send_blocking(HostMessage::Request { id, request: HostRequest::Start(start()) }.encode()).unwrap();
    }
    let refused = loop {
        let frame = incoming.recv_blocking().unwrap();
        if let Message::Reply { id, reply } = EnclaveMessage::decode(&mut &frame[..]).unwrap() {
            assert_eq!(id, OPEN_STARTS as u64);
            break reply.unwrap_err();
        }
    };
    assert!(refused.retry, "{refused:?}");
    drop((out, incoming));
    assert_eq!(end.join().unwrap(), End::HungUp);
}

#[test]
fn another_version_ends_the_connection() {
    let world = World::new();
    let (out, from_host) = async_channel::unbounded();
    let (to_host, _incoming) = async_channel::unbounded();
    out.send_blocking(Hello { version: 99, ..Hello::CURRENT }.encode()).unwrap();
    assert_eq!(block_on(world.enclave.serve(to_host, from_host)), End::Version);
}

#[test]
fn a_host_that_asks_and_does_not_read_is_hung_up_on() {
    let world = World::new();
    let (out, from_host) = async_channel::unbounded();
    let (to_host, _unread) = async_channel::bounded(2);
    out.send_blocking(Hello::CURRENT.encode()).unwrap();
    for id in 0..2 * OPEN_REQUESTS as u64 {
        out.send_blocking(HostMessage::Request { id, request: HostRequest::Status }.encode()).unwrap();
    }
    assert_eq!(block_on(world.enclave.serve(to_host, from_host)), End::Unread);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_frames_end_the_connection_or_nothing(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 1..8)) {
        let world = World::new();
        let (out, from_host) = async_channel::unbounded();
        let (to_host, _incoming) = async_channel::unbounded();
        out.send_blocking(Hello::CURRENT.encode()).unwrap();
        for frame in frames {
            out.send_blocking(frame).unwrap();
        }
        drop(out);
        let end = block_on(world.enclave.serve(to_host, from_host));
        prop_assert!(matches!(end, End::HungUp | End::Malformed));
    }
}
