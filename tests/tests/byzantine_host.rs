//! A host that attacks its enclave, alone or together with a user: it can stop the enclave from working, and nothing else.
//!
//! The enclaves are real processes, the chain is a real node, the host is [`LyingHost`]. Each scenario is a function with
//! the name of what must hold; those that can share a network do. At the end of each test all that the enclaves said,
//! and all that they wrote to their logs, is searched for a canary that was in every job's input.

use anyhow::{Context, Result, bail, ensure};
use codec::Encode;
use phala_primitives::{
    FailureReason, JobId, Limits, Outcome,
    input::JobInput,
    job::JobStatus,
    worker::{SignedLiveness, WorkerStatus},
};
use phala_protocol::{
    EnclaveNotice, EnclaveReply, EnclaveRequest, HostNotice, HostReply, HostRequest, JobState, MAX_CHUNK_BYTES,
    Message, Pause, Refusal, StartRole,
};
use phala_sdk::{
    Signer,
    chain::{Chain, call},
};
use phala_tests::{
    Network, binary,
    lying_host::{
        Answer, Disk, Face, LyingHost, Reply, chain_spec, eventually, node_address, oversize_prefix, start_job,
    },
    search,
    user::{Assigned, User},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::runtime::{Handle, Runtime};

/// Limits of a job that is soon over.
const SHORT: Limits = Limits { wall_ms: 30_000, ..Limits::DEFAULT };

/// A chain with one worker, whose host lies, and a user with a secret.
struct World {
    chain: Chain,
    spec: Value,
    operator: Signer,
    host: LyingHost,
    user: User,
    canary: String,
}

impl World {
    async fn new(network: &Network) -> Result<Self> {
        let this = Self::unregistered(network).await?;
        this.host.register(&this.chain, &this.operator, "http://127.0.0.1:1").await?;
        Ok(this)
    }

    async fn unregistered(network: &Network) -> Result<Self> {
        let chain = network.chain().await?;
        let spec = chain_spec(&chain, &[&node_address(&chain).await?]).await?;
        let operator = Signer::from_uri("//Bob")?;
        let host = LyingHost::start(&spec, &operator).await?;
        host.begin().await?;
        let user = User::new(&chain, "//Ferdie")?;
        // Made at run time, so that no program file holds it.
        let canary = format!("canary-{}", hex::encode(rand_bytes()?));
        Ok(Self { chain, spec, operator, host, user, canary })
    }

    /// A job that this world's worker has, with the canary in its input.
    async fn job(&self, user: &User) -> Result<Assigned> {
        // So that the worker counts as alive.
        self.host.beat(&self.chain, &self.operator).await?;
        let job = user.submit("echo", &self.stdin(), &[], SHORT).await?;
        // So that what is refused from here on is not refused for want of finality.
        let assigned = self.chain.best().await?.block().number;
        self.host.finalized_above(assigned.saturating_sub(1)).await?;
        Ok(job)
    }

    /// Larger than what an enclave keeps of a file that it has verified.
    fn stdin(&self) -> Vec<u8> {
        self.canary.repeat(8000).into_bytes()
    }

    async fn refused(&self, job: &Assigned, why: &str) -> Result<Refusal> {
        match self.host.start_job(job).await? {
            Err(refusal) => Ok(refusal),
            Ok(reply) => bail!("the job was accepted, though {why}: {reply:?}"),
        }
    }

    async fn accepted(&self, job: &Assigned) -> Result<()> {
        let accepted = eventually("the enclave accepts the job", 60, async || match self.host.start_job(job).await? {
            Ok(reply) => Ok(Some(reply)),
            Err(refusal) if refusal.retry => Ok(None),
            Err(refusal) => Err(refusal.into()),
        });
        ensure!(matches!(accepted.await?, EnclaveReply::JobAccepted { .. }));
        Ok(())
    }

    /// Sees a job through: runs it, checks its result and settles it.
    async fn completes(&self, job: &Assigned) -> Result<()> {
        self.accepted(job).await?;
        let (receipt, output) = self.host.ended(job.job).await?;
        job.completed(&receipt, &output, &self.stdin())?;
        self.host.settle(&self.chain, &self.operator, &receipt).await?;
        Ok(())
    }

    /// Nothing that the enclave said holds the canary, and the search finds what it did say.
    fn nothing_leaked(&self, hosts: &[&LyingHost]) -> Result<()> {
        for host in hosts {
            ensure!(!host.has_heard(&self.canary), "the canary left the enclave");
            let genesis = hex::encode(self.chain.genesis_hash());
            ensure!(host.has_heard(&genesis), "the search does not find what is there");
        }
        Ok(())
    }
}

fn rand_bytes() -> Result<[u8; 16]> {
    use std::io::Read;
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_host_that_lies_to_its_enclave_gains_nothing() -> Result<()> {
    let network = Network::start(0)?;
    Runtime::new()?.block_on(async {
        let world = World::new(&network).await?;
        garbage_and_oversize_frames_end_the_connection_only(&world).await?;
        a_flood_of_requests_is_refused(&world).await?;
        a_running_enclave_takes_no_other_chain_or_operator(&world).await?;
        liveness_is_bound_to_key_and_nonce(&world).await?;
        let first = forged_replies_refuse_the_job(&world).await?;
        replayed_frames_start_nothing_twice(&world, &first).await?;
        late_doubled_and_reordered_answers_change_nothing(&world).await?;
        let second = blobs_exchanged_between_reads_refuse_the_job(&world).await?;
        an_output_that_the_host_does_not_take_gives_no_receipt(&world, &second).await?;
        a_cached_program_that_was_changed_is_compiled_again(&world).await?;
        colluding_host_and_user_learn_nothing_of_anothers_input(&world, &first).await?;
        world.nothing_leaked(&[&world.host])
    })
}

async fn garbage_and_oversize_frames_end_the_connection_only(world: &World) -> Result<()> {
    let host = &world.host;
    let before = host.begin().await?;
    let pid = host.pid();
    let mut truncated = 20u32.to_le_bytes().to_vec();
    truncated.extend([1, 2, 3]);
    let announced = phala_protocol::wire::encode(&vec![0xffu8; 1000]);
    for bytes in [oversize_prefix(), announced, 0u32.to_le_bytes().to_vec(), vec![0xff; 64]] {
        let connections = host.connections();
        host.send_bytes(bytes)?;
        host.connected_again(connections).await?;
        ensure!(host.begin().await? == before, "the enclave is another");
    }
    // A frame that never ends: the host hangs up within it.
    host.send_bytes(truncated)?;
    let connections = host.connections();
    host.send_bytes(Vec::new())?;
    host.connected_again(connections).await?;
    ensure!(host.begin().await? == before, "the enclave is another");
    // What makes no sense and is well-formed changes nothing.
    for _ in 0..1000 {
        host.send(&Message::Reply { id: 12345, reply: Ok(HostReply::Sealed(Some(vec![1; 100]))) })?;
        host.send(&Message::Notice(HostNotice::Received { connection: 999, bytes: vec![0; 1000] }))?;
        host.send(&Message::Notice(HostNotice::Closed { connection: 999 }))?;
    }
    host.finalized_above(0).await?;
    ensure!(host.pid() == pid && host.is_alive(), "the process is another");
    Ok(())
}

async fn a_flood_of_requests_is_refused(world: &World) -> Result<()> {
    let host = &world.host;
    let before = host.connections();
    let mut answers = Vec::new();
    for job in 1_000_000..1_001_000 {
        // The enclave may hang up on a host that asks so much.
        let request = HostRequest::StartJob { job, attempt: 1, input: [7; 32] };
        let Ok((_, answer)) = host.asking(request) else { break };
        answers.push(answer);
    }
    let mut hung_up = answers.len() < 1000;
    for answer in answers {
        match tokio::time::timeout(Duration::from_secs(60), answer).await.context("an answer to each request")? {
            Ok(Ok(reply)) => bail!("a job that does not exist was accepted: {reply:?}"),
            Ok(Err(_)) => {}
            Err(_) => hung_up = true,
        }
    }
    if hung_up {
        host.connected_again(before).await?;
    }
    answers_again(host).await?;
    ensure!(host.is_alive());
    Ok(())
}

/// Waits until the enclave answers its host, after whatever the host has done to it.
async fn answers_again(host: &LyingHost) -> Result<()> {
    eventually("the enclave answers again", 120, async || Ok(host.begin().await.is_ok().then_some(()))).await?;
    host.finalized_above(0).await?;
    Ok(())
}

async fn a_running_enclave_takes_no_other_chain_or_operator(world: &World) -> Result<()> {
    let host = &world.host;
    let spec = other_genesis(&world.spec)?.to_string();
    let operator = world.operator.account().0;
    for (chain_spec, operator, capacity) in [
        (spec, operator, 4),
        (world.spec.to_string(), [9; 32], 4),
        (world.spec.to_string(), operator, 5),
        ("{".to_owned(), operator, 4),
    ] {
        let start = phala_protocol::Start { chain_spec, operator, role: StartRole::Worker { capacity } };
        let reply = host.ask(HostRequest::Start(start)).await?;
        ensure!(reply.as_ref().is_err_and(|refusal| !refusal.retry), "{reply:?}");
    }
    host.begin().await?;
    Ok(())
}

async fn challenge(host: &LyingHost, nonce: [u8; 32]) -> Result<SignedLiveness> {
    match host.ask(HostRequest::Challenge { nonce }).await?? {
        EnclaveReply::Liveness(liveness) => Ok(liveness),
        other => bail!("no liveness: {other:?}"),
    }
}

async fn liveness_is_bound_to_key_and_nonce(world: &World) -> Result<()> {
    let worker = world.host.begin().await?.worker;
    world.host.finalized_above(0).await?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(&worker.0)?;
    let mut last = 0;
    for nonce in [[1; 32], [2; 32]] {
        let signed = challenge(&world.host, nonce).await?;
        let liveness = &signed.liveness;
        ensure!(liveness.nonce == nonce && liveness.signing_key == worker.0, "{liveness:?}");
        ensure!(liveness.genesis_hash == world.chain.genesis_hash());
        let honest = world.chain.at_number(liveness.block_number).await?.block();
        ensure!(liveness.block_hash == honest.hash && liveness.block_number >= last, "{liveness:?}");
        last = liveness.block_number;
        let signature = ed25519_dalek::Signature::from_bytes(&signed.signature);
        key.verify_strict(&liveness.signed_bytes(), &signature)?;
    }
    Ok(())
}

/// What a lying host makes of the bytes that it is asked for.
type Forge = fn(Vec<u8>) -> Reply;

/// What a lying host can say to a read of a blob.
fn forgeries() -> [(&'static str, Forge); 7] {
    [
        ("an answer was of another kind", |_| Ok(HostReply::Done)),
        ("an answer was a sealed blob", |bytes| Ok(HostReply::Sealed(Some(bytes)))),
        ("nothing was there", |_| Ok(HostReply::Bytes(Vec::new()))),
        ("bytes were changed", |mut bytes| {
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            Ok(HostReply::Bytes(bytes))
        }),
        ("bytes were missing", |mut bytes| {
            bytes.truncate(bytes.len() / 2);
            Ok(HostReply::Bytes(bytes))
        }),
        ("there were more bytes than were asked for", |mut bytes| {
            bytes.resize(MAX_CHUNK_BYTES as usize + 100, 0);
            Ok(HostReply::Bytes(bytes))
        }),
        ("the host refused", |_| Err(Refusal { reason: "I will not".into(), retry: false })),
    ]
}

async fn forged_replies_refuse_the_job(world: &World) -> Result<Assigned> {
    let job = world.job(&world.user).await?;
    for (why, forge) in forgeries() {
        world.host.lie(move |request, honest| match (request, honest) {
            (EnclaveRequest::ReadBlob { .. }, Ok(HostReply::Bytes(bytes))) => Answer::Reply(forge(bytes)),
            (_, honest) => Answer::Reply(honest),
        });
        let refusal = world.refused(&job, why).await?;
        println!("{why}: {refusal}");
    }
    world.host.be_honest();
    ensure!(world.host.receipts(job.job).is_empty(), "a receipt for what was not run");
    world.completes(&job).await?;
    Ok(job)
}

fn runs(host: &LyingHost, job: JobId) -> usize {
    let running = |notice: &&EnclaveNotice| matches!(notice, EnclaveNotice::JobProgress { job: told, state: JobState::Running, .. } if *told == job);
    host.notices().iter().filter(running).count()
}

/// A job that has ended before this begins, and all that the host has sent since the enclave's start.
async fn replayed_frames_start_nothing_twice(world: &World, job: &Assigned) -> Result<()> {
    let host = &world.host;
    ensure!(runs(host, job.job) == 1, "it ran {} times", runs(host, job.job));
    for _ in 0..10 {
        let _ = host.ask(start_job(job)).await?;
    }
    // Everything once more, in order and then backwards.
    let sent = host.sent();
    for body in sent.iter().chain(sent.iter().rev()).filter(|body| body.len() < 100_000) {
        // One of them may end the connection.
        if host.send_body(body.clone()).is_err() {
            break;
        }
    }
    answers_again(host).await?;
    ensure!(runs(host, job.job) == 1, "it ran {} times", runs(host, job.job));
    let receipts = host.receipts(job.job);
    ensure!(!receipts.is_empty() && receipts.iter().all(|receipt| *receipt == receipts[0]), "receipts differ");
    let again = host.settle(&world.chain, &world.operator, &receipts[0]).await;
    ensure!(format!("{again:?}").contains("AlreadySettled"), "{again:?}");
    Ok(())
}

async fn late_doubled_and_reordered_answers_change_nothing(world: &World) -> Result<()> {
    let mut turn = 0u64;
    world.host.lie(move |_, honest| {
        turn += 1;
        match turn % 3 {
            0 => Answer::Late(Duration::from_millis(37 * (turn % 5)), honest),
            1 => Answer::Replies(vec![honest.clone(), honest.clone(), Ok(HostReply::Done), honest]),
            _ => Answer::Reply(honest),
        }
    });
    let job = world.job(&world.user).await?;
    world.completes(&job).await?;
    world.host.be_honest();
    Ok(())
}

/// The file that was verified is another when the program reads it.
async fn blobs_exchanged_between_reads_refuse_the_job(world: &World) -> Result<Assigned> {
    let job = world.job(&world.user).await?;
    let stdin = job.input.stdin.context("the job has standard input")?;
    let exchanged = Arc::new(AtomicBool::new(false));
    let (told, mut read) = (exchanged.clone(), 0);
    world.host.lie(move |request, honest| match (request, honest) {
        (EnclaveRequest::ReadBlob { blob, .. }, Ok(HostReply::Bytes(mut bytes))) if *blob == stdin.sha256 => {
            // Once the whole file was read, it is another.
            if read >= stdin.bytes {
                bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
                told.store(true, Ordering::Relaxed);
            }
            read += bytes.len() as u64;
            Answer::Reply(Ok(HostReply::Bytes(bytes)))
        }
        (_, honest) => Answer::Reply(honest),
    });
    world.accepted(&job).await?;
    let ended = eventually("the job is refused, or ends", 60, async || {
        let over = !world.host.refusals(job.job).is_empty() || !world.host.receipts(job.job).is_empty();
        Ok(over.then_some(()))
    });
    ended.await?;
    world.host.be_honest();
    ensure!(exchanged.load(Ordering::Relaxed), "the file was read once only: nothing was exchanged");
    ensure!(world.host.receipts(job.job).is_empty(), "a receipt for an exchanged file");
    Ok(job)
}

/// Goes on with a job that was refused before.
async fn an_output_that_the_host_does_not_take_gives_no_receipt(world: &World, job: &Assigned) -> Result<()> {
    let before = world.host.refusals(job.job).len();
    world.host.lie(|request, honest| match request {
        EnclaveRequest::WriteOutput { .. } => {
            Answer::Reply(Err(Refusal { reason: "the disk is full".into(), retry: true }))
        }
        _ => Answer::Reply(honest),
    });
    world.accepted(job).await?;
    eventually("the job is refused", 60, async || Ok((world.host.refusals(job.job).len() > before).then_some(())))
        .await?;
    ensure!(world.host.receipts(job.job).is_empty(), "a receipt for an output that nobody has");
    world.host.be_honest();
    // The refusals of before are not about this start.
    world.accepted(job).await?;
    let receipt = eventually("the job ends", 60, async || Ok(world.host.receipts(job.job).into_iter().next())).await?;
    let output = world.host.disk().outputs.get(&job.job).cloned().context("there is an output")?;
    job.completed(&receipt, &output, &world.stdin())?;
    world.host.settle(&world.chain, &world.operator, &receipt).await?;
    Ok(())
}

async fn a_cached_program_that_was_changed_is_compiled_again(world: &World) -> Result<()> {
    let host = &world.host;
    host.kill().await?;
    {
        let mut disk = host.disk();
        ensure!(!disk.cache.is_empty(), "no program was kept");
        for program in disk.cache.values_mut() {
            let middle = program.len() / 2;
            program[middle] ^= 1;
        }
    }
    host.revive().await?;
    host.begin().await?;
    host.finalized_above(0).await?;
    let job = world.job(&world.user).await?;
    world.completes(&job).await?;
    let status = host.status().await?;
    ensure!(status.compile_cache_misses == 1 && status.compile_cache_hits == 0, "{status:?}");
    // And one that is as it was is not.
    host.restart().await?;
    host.finalized_above(0).await?;
    let job = world.job(&world.user).await?;
    world.completes(&job).await?;
    let status = host.status().await?;
    ensure!(status.compile_cache_misses == 0 && status.compile_cache_hits == 1, "{status:?}");
    Ok(())
}

/// The host keeps the files of `victim`'s job, and has a friend who submits jobs.
async fn colluding_host_and_user_learn_nothing_of_anothers_input(world: &World, victim: &Assigned) -> Result<()> {
    let friend = User::new(&world.chain, "//Eve")?;
    let mut job = world.job(&friend).await?;
    // The victim's input as it is, for the friend's job.
    job.input_hash = victim.input_hash;
    job.blobs.extend(victim.blobs.iter().cloned());
    let refusal = world.refused(&job, "its input is of another job").await?;
    println!("the input of another job: {refusal}");
    // An input of the friend's own that names the victim's file.
    let input = JobInput { stdin: victim.input.stdin, ..job.input.clone() };
    let (hash, bytes) = friend.encrypt_input(&job, &input)?;
    job.input_hash = hash;
    job.blobs.push((hash, bytes));
    world.accepted(&job).await?;
    let (receipt, output) = world.host.ended(job.job).await?;
    ensure!(receipt.receipt.outcome == Outcome::Failed(FailureReason::InvalidInput), "{:?}", receipt.receipt);
    if !output.is_empty() {
        let output = job.open(&output)?;
        for bytes in output.files.values().chain([&output.stdout, &output.stderr]) {
            ensure!(!search::bytes(bytes, &world.canary), "the friend has the victim's input");
        }
    }
    Ok(())
}

#[test]
fn sealed_state_that_is_not_the_newest_is_noticed() -> Result<()> {
    let network = Network::start(0)?;
    Runtime::new()?.block_on(async {
        let world = World::new(&network).await?;
        world.host.finalized_above(0).await?;
        world.host.beat(&world.chain, &world.operator).await?;
        older_sealed_state_is_noticed(&world).await?;
        erased_progress_is_noticed(&world).await?;
        other_sealed_blobs_are_not_taken(&world).await?;
        let clone = a_clone_with_the_same_keys_is_noticed(&world).await?;
        let job = world.job(&world.user).await?;
        let refusal = clone.start_job(&job).await?.err().context("a clone took a job")?;
        ensure!(!refusal.retry, "{refusal}");
        world.completes(&job).await?;
        another_genesis_is_another_worker(&world).await?;
        an_equivocating_build_is_not_allowed(&world).await?;
        world.nothing_leaked(&[&world.host, &clone])
    })
}

async fn is_restored(host: &LyingHost) -> Result<()> {
    let paused = eventually("the enclave notices an old copy of its state", 90, async || {
        Ok(host.status().await?.pause.filter(|pause| *pause == Pause::RestoredState))
    });
    paused.await.with_context(|| host.log())?;
    let refusal = host.ask(HostRequest::StartJob { job: 0, attempt: 1, input: [0; 32] }).await?;
    let refusal = refusal.err().context("a paused enclave took a job")?;
    ensure!(!refusal.retry && refusal.reason == Pause::RestoredState.to_string(), "{refusal:?}");
    Ok(())
}

async fn is_in_order(host: &LyingHost) -> Result<()> {
    host.finalized_above(0).await?;
    let status = host.status().await?;
    ensure!(status.pause.is_none(), "{status:?}");
    Ok(())
}

/// Waits until the enclave has seen blocks that no copy of its disk of before knows, and has the chain hear of one.
async fn go_on(world: &World) -> Result<()> {
    let now = world.host.finalized_above(0).await?;
    world.host.finalized_above(now + 1).await?;
    world.host.beat(&world.chain, &world.operator).await?;
    Ok(())
}

/// Starts the enclave again after a change of its disk's sealed blobs. Returns those of before.
async fn begin_after(
    host: &LyingHost,
    change: impl FnOnce(&mut HashMap<String, Vec<Vec<u8>>>),
) -> Result<HashMap<String, Vec<Vec<u8>>>> {
    host.kill().await?;
    let before = host.disk().sealed.clone();
    change(&mut host.disk().sealed);
    host.revive().await?;
    host.begin().await?;
    Ok(before)
}

async fn older_sealed_state_is_noticed(world: &World) -> Result<()> {
    let host = &world.host;
    let snapshot = host.disk().sealed.clone();
    go_on(world).await?;
    let newest = begin_after(host, |sealed| *sealed = snapshot).await?;
    is_restored(host).await?;
    begin_after(host, |sealed| *sealed = newest).await?;
    is_in_order(host).await
}

async fn erased_progress_is_noticed(world: &World) -> Result<()> {
    let host = &world.host;
    let newest = begin_after(host, |sealed| sealed.retain(|name, _| !name.starts_with("chain-"))).await?;
    ensure!(newest.keys().any(|name| name.starts_with("chain-")), "nothing was sealed: {:?}", newest.keys());
    is_restored(host).await?;
    begin_after(host, |sealed| *sealed = newest).await?;
    is_in_order(host).await
}

async fn other_sealed_blobs_are_not_taken(world: &World) -> Result<()> {
    let host = &world.host;
    host.kill().await?;
    let newest = host.disk().sealed.clone();
    let names: Vec<_> = newest.keys().cloned().collect();
    ensure!(names.len() > 1, "{names:?}");
    // Each gets the content of the next.
    for (name, other) in names.iter().zip(names.iter().cycle().skip(1)) {
        let content = newest[other].clone();
        host.disk().sealed.insert(name.clone(), content);
    }
    host.revive().await?;
    let refusal = host.begin().await.err().context("sealed blobs under wrong names were taken")?;
    println!("sealed blobs under wrong names: {refusal}");
    host.kill().await?;
    host.disk().sealed = newest;
    host.revive().await?;
    host.begin().await?;
    is_in_order(host).await
}

async fn a_clone_with_the_same_keys_is_noticed(world: &World) -> Result<LyingHost> {
    let clone = world.host.twin().await?;
    go_on(world).await?;
    let twin = clone.begin().await?;
    ensure!(twin == world.host.begin().await?, "the clone is another worker");
    is_restored(&clone).await?;
    is_in_order(&world.host).await?;
    Ok(clone)
}

/// The specification with one more entry in its genesis state.
fn other_genesis(spec: &Value) -> Result<Value> {
    let mut spec = spec.clone();
    let top = spec.pointer_mut("/genesis/raw/top").and_then(Value::as_object_mut).context("a raw specification")?;
    top.insert("0x70686170686170".into(), "0x01".into());
    Ok(spec)
}

async fn another_genesis_is_another_worker(world: &World) -> Result<()> {
    let other = world.host.twin().await?;
    let identity = other.begin_with(&other_genesis(&world.spec)?).await?;
    let first = world.host.begin().await?;
    ensure!(identity.worker != first.worker && identity.encryption_key != first.encryption_key, "{identity:?}");
    ensure!(identity.measurement == first.measurement);
    Ok(())
}

/// The same program with one byte more: its own measurement, which nobody allowed.
async fn an_equivocating_build_is_not_allowed(world: &World) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("phala-enclave");
    let mut code = fs::read(binary("phala-enclave"))?;
    code.push(0);
    fs::write(&program, code)?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let build = world.host.other_build(program).await?;
    // It cannot open what the allowed build has sealed on this very platform …
    let refusal = build.begin().await.err().context("another build has the allowed build's keys")?;
    println!("another build: {refusal}");
    // … and gets no registration with keys of its own.
    *build.disk() = Disk::default();
    let identity = build.begin().await?;
    let first = world.host.begin().await?;
    ensure!(identity.worker != first.worker && identity.measurement != first.measurement, "{identity:?}");
    let registered = build.register(&world.chain, &world.operator, "http://127.0.0.1:1").await;
    let error = format!("{:?}", registered.err().context("another build registered")?);
    ensure!(error.contains("ImageNotAllowed"), "{error}");
    Ok(())
}

#[test]
fn a_worker_that_keeps_back_what_it_owes_loses_its_jobs() -> Result<()> {
    let network = Network::start(1)?;
    Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        let (honest, _) = chain.best().await?.workers().await?.into_iter().next().context("a worker")?;
        let owner = Signer::from_uri("//Worker1")?;
        // Out of the way until the liar has a job.
        chain.submit(&owner, call::drain(honest)).await?;
        let world = World::new(&network).await?;
        let mut job = world.job(&world.user).await?;
        let liar = job.worker;
        ensure!(liar != honest);
        let last = world.host.beat(&chain, &world.operator).await?;
        world.accepted(&job).await?;
        let (receipt, output) = world.host.ended(job.job).await?;
        job.completed(&receipt, &output, &world.stdin())?;
        chain.submit(&owner, call::resume(honest)).await?;
        withheld_receipts_lead_to_reassignment(&world, &mut job).await?;
        let late = world.host.settle(&chain, &world.operator, &receipt).await;
        let late = format!("{:?}", late.err().context("a receipt of an attempt that is over was taken")?);
        ensure!(late.contains("NotAssigned") || late.contains("WrongAttempt"), "{late}");
        ensure!(job.worker == honest, "{}", job.worker);
        old_heartbeats_do_not_keep_a_worker_alive(&world, last).await?;
        world.nothing_leaked(&[&world.host])
    })
}

async fn withheld_receipts_lead_to_reassignment(world: &World, job: &mut Assigned) -> Result<()> {
    let first = job.attempt;
    world.user.follow(job, first).await?;
    ensure!(job.attempt == first + 1, "attempt {}", job.attempt);
    let state = world.chain.best().await?;
    let found = state.job(job.job).await?.context("the job is there")?;
    ensure!(matches!(found.status, JobStatus::Assigned(_)), "{:?}", found.status);
    // Its enclave will not run an attempt that is another's, whoever asks.
    let refusal = world.host.ask(start_job(job)).await?.err().context("another worker's attempt was taken")?;
    println!("another worker's attempt: {refusal}");
    Ok(())
}

async fn old_heartbeats_do_not_keep_a_worker_alive(
    world: &World,
    heartbeat: phala_primitives::worker::SignedHeartbeat,
) -> Result<()> {
    let stranger = Signer::from_uri("//Charlie")?;
    let worker = heartbeat.heartbeat.worker;
    eventually("the worker counts as silent", 120, async || {
        let again = world.chain.submit(&stranger, call::heartbeat(heartbeat.clone())).await;
        ensure!(again.is_err(), "a heartbeat was taken twice");
        let record = world.chain.best().await?.worker(worker).await?.context("the worker is registered")?;
        Ok((record.status == WorkerStatus::Unresponsive).then_some(()))
    })
    .await
}

#[test]
fn what_a_host_tells_users_of_its_worker_is_checked() -> Result<()> {
    let network = Network::start(0)?;
    Runtime::new()?.block_on(async {
        let world = World::unregistered(&network).await?;
        liveness_cannot_be_answered_by_somebody_else(&network, world).await
    })
}

/// What the worker's HTTP interface does with a challenge.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relay {
    Honest,
    OldAnswer,
    OtherWorker,
    Silence,
    OtherEvidence,
}

async fn liveness_cannot_be_answered_by_somebody_else(network: &Network, world: World) -> Result<()> {
    let World { chain, spec, operator, host, .. } = world;
    let (host, other) = (Arc::new(host), Arc::new(LyingHost::start(&spec, &operator).await?));
    other.begin().await?;
    host.finalized_above(0).await?;
    other.finalized_above(0).await?;
    let registration = host.registration().await?;
    let foreign = other.registration().await?;
    let old = challenge(&host, [3; 32]).await?;
    let mode = Arc::new(Mutex::new(Relay::Honest));
    let (now, enclave, stranger) = (mode.clone(), host.clone(), other.clone());
    let own = registration.clone();
    let face = Face::start(move |what, body| {
        let mode = *now.lock().unwrap_or_else(PoisonError::into_inner);
        let nonce = serde_json::from_slice::<Value>(body)
            .ok()
            .and_then(|body| <[u8; 32]>::try_from(hex::decode(body["nonce"].as_str()?).ok()?).ok());
        let evidence = if mode == Relay::OtherEvidence { &foreign } else { &own };
        let asked = |host: &LyingHost| {
            let nonce = nonce.context("no nonce")?;
            tokio::task::block_in_place(|| Handle::current().block_on(challenge(host, nonce)))
        };
        match (what, mode) {
            (what, _) if what.starts_with("GET /v1/evidence/") => {
                (200, json!({ "statement": scale(&evidence.statement), "evidence": scale(&evidence.evidence) }))
            }
            ("POST /v1/liveness", Relay::OldAnswer) => (200, json!({ "liveness": scale(&old) })),
            ("POST /v1/liveness", Relay::OtherWorker) => answer(asked(&stranger)),
            ("POST /v1/liveness", Relay::Honest | Relay::OtherEvidence) => answer(asked(&enclave)),
            _ => (404, json!({ "error": { "code": "not_found", "message": "nothing here" } })),
        }
    })
    .await?;
    let phala_protocol::Registration { statement, evidence, performance } = registration;
    let worker = phala_primitives::WorkerId(statement.signing_key);
    let register = call::register(statement, evidence, performance, face.endpoint(), phala_primitives::PHA / 100);
    chain.submit(&operator, register).await?;
    let worker = worker.to_string();
    let verifies = |relay: Relay| -> Result<bool> {
        *mode.lock().unwrap_or_else(PoisonError::into_inner) = relay;
        let run = tokio::task::block_in_place(|| network.phala(&["verify", "worker", &worker]))?;
        println!("{}{}", run.stdout(), run.stderr);
        Ok(run.status == Some(0))
    };
    ensure!(verifies(Relay::Honest)?, "the worker itself does not verify");
    ensure!(!verifies(Relay::OldAnswer)?, "an old answer verifies");
    ensure!(!verifies(Relay::OtherWorker)?, "another worker's answer verifies");
    ensure!(!verifies(Relay::Silence)?, "no answer verifies");
    ensure!(!verifies(Relay::OtherEvidence)?, "another worker's evidence verifies");
    ensure!(verifies(Relay::Honest)?, "the worker itself does not verify any more");
    Ok(())
}

fn scale(value: &impl Encode) -> String {
    format!("0x{}", hex::encode(value.encode()))
}

fn answer(liveness: Result<SignedLiveness>) -> (u16, Value) {
    match liveness {
        Ok(liveness) => (200, json!({ "liveness": scale(&liveness) })),
        Err(error) => (503, json!({ "error": { "code": "enclave", "message": error.to_string() } })),
    }
}

/// Programs that do all they can, at the same time and in the same enclave as somebody's job.
#[test]
fn malicious_programs_end_with_a_reason_and_hurt_nobody_else() -> Result<()> {
    let network = Network::start(1)?;
    let canary = format!("canary-{}", hex::encode(rand_bytes()?));
    let secret = network.file("secret", &canary)?;
    let malice: &[(&str, &[&str], &str)] = &[
        ("spin", &["--fuel", "10T", "--wall-time", "5", "--max-price", "10000"], "wall_time_exceeded"),
        ("spin", &["--fuel", "500M"], "fuel_exhausted"),
        ("memory", &["--memory", "64", "--", "4000"], "memory_exhausted"),
        ("output", &["--output-limit", "1", "--", "67108864"], "output_too_large"),
        ("recurse", &[], "trap"),
    ];
    thread::scope(|scope| -> Result<()> {
        let mut users = Vec::new();
        for (program, arguments, reason) in malice {
            let network = &network;
            users.push(scope.spawn(move || -> Result<()> {
                let mut all = vec!["--key", "//Eve"];
                all.extend(*arguments);
                let report = network.job(program, &all)?.exited(70)?.report()?;
                ensure!(report["outcome"]["failed"] == *reason, "{program}: {report}");
                Ok(())
            }));
        }
        let (network, secret) = (&network, &secret);
        users.push(scope.spawn(move || -> Result<()> {
            // It prints what it reached; nothing of another's must be in it.
            network.job("escape", &["--key", "//Eve"])?.ok()?;
            Ok(())
        }));
        let honest = scope.spawn(move || -> Result<()> {
            for _ in 0..3 {
                let run = network.job("echo", &["--key", "//Charlie", "--stdin", secret])?.ok()?;
                ensure!(run.stdout() == fs::read_to_string(secret)?, "{}", run.stdout());
            }
            Ok(())
        });
        users.push(honest);
        users.into_iter().try_for_each(|user| user.join().expect("no panic"))
    })?;
    for process in ["host-1", "node-1"] {
        ensure!(!search::memory(network.pid(process)?, &canary)?, "the canary is in the memory of {process}");
    }
    let found = search::disk(&network.path().join("network"), &canary)?;
    ensure!(found.is_empty(), "the canary is in {found:?}");
    ensure!(!search::disk(network.path(), &canary)?.is_empty(), "the search does not find what is there");
    Ok(())
}
