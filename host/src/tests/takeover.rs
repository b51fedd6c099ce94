//! A job that a worker lost, between the hosts of those that had it and of the one that has it.

use phala_app_encryption::{AppRecipient, Purpose, Target};
use phala_primitives::{AppId, gatekeeper::PublicKey};
use phala_sdk::Signer;
use serde_json::json;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::*;
use crate::{
    takeover::{RATE, Rounds, Takeover, too_late},
    testing::worker,
};

/// Alice's, of app 6…, and with this worker in the second attempt, whose operator is Bob; due in block 50, and of 30 blocks of
/// wall time.
const LOST: JobId = 77;

/// The generator of the group, as an epoch's public key.
const EPOCH_KEY: &str = "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e\
                         024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8";

fn fetch_token(signer: &Keypair, job: JobId, expires: u64) -> String {
    let signed = (b"phala/fetch/v1", [5u8; 32], job, expires).encode();
    format!("{job}.{expires}.{}", hex::encode(signer.sign(&signed).0))
}

fn encrypted_to(app: AppId, purpose: Purpose) -> Vec<u8> {
    let key = PublicKey(hex::decode(EPOCH_KEY).unwrap().try_into().unwrap());
    let target = Target { purpose, epoch: 3, app, version: 0 };
    age::encrypt(&AppRecipient::new(target, &key).unwrap(), b"a job input").unwrap()
}

/// A job input that the enclave of any worker with the job can open.
fn app_input() -> Vec<u8> {
    encrypted_to(AppId([6; 32]), Purpose::JobInput)
}

/// A chain on which that job is lost.
fn lost_job() -> Arc<FakeNode> {
    let node = FakeNode::new();
    lose(&node, LOST);
    {
        let mut state = node.state();
        let operator = Account(dev::bob().public_key().0);
        state.workers.insert(WORKER, crate::chain::Worker { operator, ..worker(1) });
    }
    node
}

/// A job like that one.
fn lose(node: &FakeNode, id: JobId) {
    let mut state = node.state();
    let job = Job { attempts: 2, ..owned(&dev::alice(), assigned(WORKER)) };
    state.best.insert(id, job.clone());
    state.finalized.insert(id, job);
}

/// Another worker that had the job: later than those before.
fn add_holder(node: &FakeNode, number: u8, endpoint: &str) {
    add_holder_of(node, LOST, number, endpoint);
}

fn add_holder_of(node: &FakeNode, job: JobId, number: u8, endpoint: &str) {
    let id = WorkerId([number; 32]);
    let mut state = node.state();
    state.workers.insert(id, crate::chain::Worker { endpoint: endpoint.into(), ..worker(1) });
    state.holders.entry(job).or_default().push(id);
}

/// Puts a blob on a host's disk, as Alice's.
fn keep(host: &FakeHost, bytes: &[u8]) -> Hash {
    let mut upload = host.store.begin_upload(hash(bytes), owner(), 0, None).unwrap();
    upload.write(bytes).unwrap();
    upload.finish().unwrap();
    hash(bytes)
}

/// What a host has accepted and lost; the first of these is the job input.
fn give(host: &FakeHost, job: JobId, inputs: &[&[u8]]) -> Vec<Hash> {
    let hashes: Vec<Hash> = inputs.iter().map(|bytes| keep(host, bytes)).collect();
    host.jobs.begin(job, 1).accepted(hashes[0], &hashes);
    host.jobs.refused(job, 1, no(true)).unwrap();
    hashes
}

/// A host that had the job, and keeps these inputs.
async fn holder(node: &Arc<FakeNode>, number: u8, inputs: &[&[u8]]) -> (FakeHost, Server) {
    holder_of(node, LOST, number, inputs).await
}

async fn holder_of(node: &Arc<FakeNode>, job: JobId, number: u8, inputs: &[&[u8]]) -> (FakeHost, Server) {
    let host = FakeHost::new().await;
    give(&host, job, inputs);
    let server = serve_on(&host, node.clone(), Bounds::default()).await;
    add_holder_of(node, job, number, &format!("http://{}", server.address));
    (host, server)
}

/// A host that answers whatever it likes, and hangs up.
async fn stranger(node: &FakeNode, number: u8, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    add_holder(node, number, &format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            // The other side may have had enough.
            let _ = stream.write_all(&answer(head.split(' ').nth(1).unwrap())).await;
        }
    });
}

/// A host that keeps a job input and a file of 10 000 bytes, and gives of the file half, and then a byte now and then.
async fn dawdler(node: &FakeNode, job: JobId, number: u8, input: &[u8], file: &[u8; 10_000]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    add_holder_of(node, job, number, &format!("http://{}", listener.local_addr().unwrap()));
    let kept = list(&[(hash(input), input.len() as u64), (hash(file), 10_000)]);
    let path = format!("/v1/blobs/{}", hex::encode(hash(file)));
    let (input, half) = (ok(input), ok(file)[..5_000].to_vec());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1000];
            let length = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            if head.contains(&path) {
                stream.write_all(&half).await.unwrap();
                tokio::spawn(async move {
                    while stream.write_all(&[7]).await.is_ok() {
                        sleep(Duration::from_millis(20)).await;
                    }
                });
            } else {
                stream.write_all(if head.contains("/inputs") { &kept } else { &input }).await.unwrap();
            }
        }
    });
}

fn ok(content: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", content.len());
    [head.as_bytes(), content].concat()
}

fn list(blobs: &[(Hash, u64)]) -> Vec<u8> {
    let kept: Vec<_> =
        blobs.iter().map(|(sha256, bytes)| json!({"sha256": hex::encode(sha256), "bytes": bytes})).collect();
    ok(json!({"job": LOST, "input": hex::encode(blobs[0].0), "blobs": kept}).to_string().as_bytes())
}

/// Bob's host, without his key.
fn takeover(host: &FakeHost, node: &Arc<FakeNode>, heads: &watch::Sender<Option<Heads>>, endpoint: String) -> Takeover {
    Takeover {
        node: node.clone(),
        heads: heads.subscribe(),
        enclave: host.enclave.clone(),
        store: host.store.clone(),
        jobs: host.jobs.clone(),
        metrics: host.metrics.clone(),
        operator: OperatorConfig {
            operator: Account(dev::bob().public_key().0),
            endpoint,
            price: 1,
            submits: Submits::Everything,
        },
        signer: None,
        rate: RATE,
    }
}

/// The host of the worker that has the job now.
struct Bench {
    host: FakeHost,
    enclave: FakeEnclave,
    server: Server,
    node: Arc<FakeNode>,
    heads: watch::Sender<Option<Heads>>,
    rounds: Rounds,
}

impl Bench {
    async fn new(node: &Arc<FakeNode>) -> Self {
        Self::with(node, Limits::default(), Some("//Bob")).await
    }

    async fn with(node: &Arc<FakeNode>, limits: Limits, key: Option<&str>) -> Self {
        Self::at_rate(node, limits, key, RATE).await
    }

    async fn at_rate(node: &Arc<FakeNode>, limits: Limits, key: Option<&str>, rate: MinimumRate) -> Self {
        let host = FakeHost::with_limits(limits).await;
        let enclave = host.connect().await;
        let server = serve_on(&host, node.clone(), Bounds::default()).await;
        node.state().holders.entry(LOST).or_default().push(WORKER);
        let heads = watch::Sender::new(Some(node.state().heads));
        let signer = key.map(|uri| Signer::from_uri(uri).unwrap());
        let endpoint = format!("http://{}", server.address);
        let rounds = Rounds::new(Takeover { signer, rate, ..takeover(&host, node, &heads, endpoint) });
        Self { host, enclave, server, node: node.clone(), heads, rounds }
    }

    /// A block, at which goes begin.
    async fn step(&mut self, best: u32) {
        let heads = Heads { best, finalized: best - 2, now: 100 };
        self.node.state().heads = heads;
        self.heads.send_replace(Some(heads));
        self.rounds.step(heads).await;
    }

    /// A block, and what comes of it.
    async fn go(&mut self, best: u32) {
        self.step(best).await;
        self.settle().await;
    }

    async fn settle(&mut self) {
        timeout(PATIENCE, self.rounds.settle()).await.unwrap();
    }

    /// How many goes ended well, and how many did not.
    fn counts(&self) -> (u64, u64) {
        let count = |result| self.host.metrics.takeovers.with_label_values(&[result]).get();
        (count("started"), count("failed"))
    }

    fn fetched_bytes(&self) -> u64 {
        self.host.metrics.bytes.with_label_values(&["takeover", "in"]).get()
    }

    /// Uploads for the lost job, as its owner.
    async fn upload(&self, bytes: &[u8]) -> u16 {
        let token = token(&dev::alice(), LOST, EXPIRES);
        let head = put_with(&hash(bytes), &token, &format!("Content-Length: {}", bytes.len()));
        self.server.send(&head, bytes).await.status
    }
}

#[tokio::test]
async fn inputs_are_for_the_operator_of_the_worker_that_has_the_job() {
    let node = lost_job();
    let input = app_input();
    // No enclave is connected.
    let (host, server) = holder(&node, 8, &[&input, b"0123456789"]).await;
    let (alice, bob) = (dev::alice(), dev::bob());
    {
        let mut state = node.state();
        for (job, status) in [
            (78, assigned(WORKER)),
            (79, assigned(WorkerId([8; 32]))),
            (80, JobStatus::Queued),
            (81, JobStatus::Expired { at: 9 }),
            (82, settled(&receipt(82), 9)),
        ] {
            state.best.insert(job, owned(&alice, status));
        }
    }
    let get = async |path: &str, header: &str, token: &str| {
        server.send(&format!("GET {path} HTTP/1.1\r\n{header}: {token}"), b"").await
    };
    let list = async |job: JobId, token: &str| get(&format!("/v1/jobs/{job}/inputs"), "phala-fetch", token).await;
    let good = fetch_token(&bob, LOST, EXPIRES);
    let kept = list(LOST, &good).await;
    let mut expected = [(hash(&input), input.len()), (hash(b"0123456789"), 10)];
    expected.sort();
    let blobs = expected.map(|(sha256, bytes)| json!({"sha256": hex::encode(sha256), "bytes": bytes}));
    assert_eq!(kept.json(), json!({"job": LOST, "input": hex::encode(hash(&input)), "blobs": blobs}));

    let none = server.get(&format!("/v1/jobs/{LOST}/inputs")).await;
    assert_eq!(none.error(), (401, "no_token".into()));
    for (job, token, expected) in [
        (LOST, "nonsense".to_owned(), (401, "bad_token")),
        // Neither the job's owner, nor the operator of the worker that had it, nor for another purpose.
        (LOST, fetch_token(&alice, LOST, EXPIRES), (401, "bad_token")),
        (LOST, fetch_token(&dev::charlie(), LOST, EXPIRES), (401, "bad_token")),
        (LOST, token(&bob, LOST, EXPIRES), (401, "bad_token")),
        (LOST, good.replacen(".200.", ".201.", 1), (401, "bad_token")),
        (LOST, fetch_token(&bob, LOST, 99), (401, "token_expired")),
        (LOST, fetch_token(&bob, 78, EXPIRES), (403, "bad_token")),
        (78, fetch_token(&bob, 78, EXPIRES), (404, "no_inputs")),
        (79, fetch_token(&bob, 79, EXPIRES), (401, "bad_token")),
        (80, fetch_token(&bob, 80, EXPIRES), (403, "not_assigned")),
        (81, fetch_token(&bob, 81, EXPIRES), (403, "job_over")),
        (82, fetch_token(&bob, 82, EXPIRES), (403, "job_over")),
        (83, fetch_token(&bob, 83, EXPIRES), (403, "unknown_job")),
    ] {
        assert_eq!(list(job, &token).await.error(), (expected.0, expected.1.into()), "{job}: {token}");
    }
    // Nor does the right to fetch give another.
    assert_eq!(get("/v1/jobs/77/inputs", "phala-upload", &good).await.error(), (401, "no_token".into()));

    let path = format!("/v1/blobs/{}", hex::encode(hash(b"0123456789")));
    let whole = get(&path, "phala-fetch", &good).await;
    assert_eq!((whole.status, whole.body.as_slice()), (200, b"0123456789".as_slice()));
    let etag = format!("\"{}\"", hex::encode(hash(b"0123456789")));
    assert_eq!(whole.header("etag"), Some(etag.as_str()));
    let rest = get(&path, "Range: bytes=4-\r\nphala-fetch", &good).await;
    assert_eq!((rest.status, rest.body.as_slice()), (206, b"456789".as_slice()));
    assert_eq!(get(&path, "Range: bytes=10-\r\nphala-fetch", &good).await.error(), (416, "bad_range".into()));
    assert_eq!(server.get(&path).await.error(), (401, "no_token".into()));
    // Of this job only.
    let other = fetch_token(&bob, 78, EXPIRES);
    assert_eq!(get(&path, "phala-fetch", &other).await.error(), (404, "no_such_blob".into()));
    keep(&host, b"other");
    let another = format!("/v1/blobs/{}", hex::encode(hash(b"other")));
    assert_eq!(get(&another, "phala-fetch", &good).await.error(), (404, "no_such_blob".into()));
    assert_eq!(get("/v1/blobs/zz", "phala-fetch", &good).await.error(), (400, "bad_hash".into()));

    // The job goes on to another worker; what the chain says is remembered for some seconds, but not by another host.
    node.state().best.insert(LOST, owned(&alice, assigned(WorkerId([8; 32]))));
    let server = serve_on(&host, node, Bounds::default()).await;
    let head = format!("GET /v1/jobs/{LOST}/inputs HTTP/1.1\r\nphala-fetch: {good}");
    assert_eq!(server.send(&head, b"").await.error(), (401, "bad_token".into()));
}

#[tokio::test]
async fn each_kind_of_download_has_its_bounds() {
    let node = lost_job();
    let host = FakeHost::new().await;
    let inputs = give(&host, LOST, &[&app_input()]);
    let bounds = Bounds { downloads: 0, others: 0, ..Bounds::default() };
    let server = serve_on(&host, node.clone(), bounds).await;
    let token = fetch_token(&dev::bob(), LOST, EXPIRES);
    for path in [format!("/v1/jobs/{LOST}/inputs"), format!("/v1/blobs/{}", hex::encode(inputs[0]))] {
        let busy = server.send(&format!("GET {path} HTTP/1.1\r\nphala-fetch: {token}"), b"").await;
        assert_eq!(busy.error(), (503, "busy".into()), "{path}");
    }
}

#[tokio::test]
async fn inputs_are_kept_until_the_chain_says_that_their_job_has_ended() {
    let node = lost_job();
    let mut bench = Bench::new(&node).await;
    let inputs: Vec<Vec<u8>> = (0..3u8).map(|n| vec![n; 10]).collect();
    for (job, input) in [1, 2, 3].into_iter().zip(&inputs) {
        give(&bench.host, job, &[input]);
    }
    let set = |job, status| _ = node.state().finalized.insert(job, owned(&dev::alice(), status));
    set(1, JobStatus::Queued);
    set(2, assigned(WorkerId([8; 32])));
    set(3, settled(&receipt(3), 9));
    // The chain is asked once for each finalized block.
    bench.go(10).await;
    let lookups = node.state().lookups;
    bench.rounds.step(Heads { best: 11, finalized: 8, now: 100 }).await;
    assert!(node.state().lookups <= lookups + 1);
    let present = || inputs.iter().map(|bytes| bench.host.store.blob_bytes(&hash(bytes)).is_some()).collect::<Vec<_>>();
    let retention = Duration::ZERO;
    bench.host.jobs.forget_old(retention);
    bench.host.store.remove_unused_blobs(SystemTime::now());
    assert_eq!(present(), [true, true, false]);
    // Also after a restart.
    let host = bench.host.restart().await;
    host.store.remove_unused_blobs(SystemTime::now());
    host.jobs.forget_old(retention);
    assert_eq!(host.jobs.inputs(1).unwrap().input, hash(&inputs[0]));
    assert!(host.store.blob_bytes(&hash(&inputs[0])).is_some());
    // One that the node does not know is kept for a while: the node may lag behind.
    let (bench_node, heads) = (lost_job(), Heads { best: 10, finalized: 8, now: 100 });
    let sender = watch::Sender::new(Some(heads));
    let mut rounds = Rounds::new(takeover(&host, &bench_node, &sender, "http://x".into()));
    rounds.step(heads).await;
    assert!(host.jobs.inputs(1).is_some() && host.store.blob_bytes(&hash(&inputs[0])).is_some());
    bench_node.state().finalized.insert(1, owned(&dev::alice(), JobStatus::Cancelled { at: 9 }));
    rounds.step(Heads { finalized: 9, ..heads }).await;
    assert!(host.store.blob_bytes(&hash(&inputs[0])).is_none());
    assert!(host.store.blob_bytes(&hash(&inputs[1])).is_some());
}

#[tokio::test]
async fn a_receipt_that_comes_too_late_leaves_the_inputs_for_the_next_worker() {
    let host = FakeHost::new().await;
    let inputs = give(&host, 5, &[b"input"]);
    host.jobs.begin(5, 2).accepted(inputs[0], &inputs);
    host.jobs.ended(5, &receipt_of_attempt(5, 2)).unwrap();
    // What becomes of the receipt tells first.
    assert_eq!(host.jobs.kept_inputs(0, 9), []);
    host.jobs.close_receipt(5, 2, ReceiptState::Abandoned { reason: "late".into() }).unwrap();
    let kept: Vec<_> = host.jobs.kept_inputs(0, 9).into_iter().map(|(job, _)| job).collect();
    assert_eq!(kept, [5]);
    host.jobs.remove_unwanted([inputs[0]]);
    assert!(host.store.blob_bytes(&inputs[0]).is_some());
    host.jobs.over(5).unwrap();
    assert!(host.store.blob_bytes(&inputs[0]).is_none());
    assert_eq!(host.jobs.kept_inputs(0, 9), []);
    // What its owner brings later is not kept for ever.
    let late = keep(&host, b"late");
    host.jobs.asked(5, late);
    let kept: Vec<_> = host.jobs.kept_inputs(0, 9).into_iter().map(|(job, _)| job).collect();
    assert_eq!(kept, [5]);
    host.jobs.over(5).unwrap();
    assert_eq!((host.jobs.kept_inputs(0, 9), host.store.blob_bytes(&late)), (vec![], None));
}

#[tokio::test]
async fn a_restart_is_no_use_of_what_is_kept() {
    let host = FakeHost::with_limits(Limits { total_bytes: 9_000, ..Limits::default() }).await;
    let inputs = [[1; 3_000], [2; 3_000], [3; 3_000]];
    for (job, (input, days)) in (1..).zip(inputs.iter().zip([2, 3, 1])) {
        give(&host, job, &[input]);
        let name = format!("data/blobs/{}.{}", hex::encode(hash(input)), hex::encode(owner().0));
        let file = std::fs::File::options().write(true).open(host.folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60)).unwrap();
    }
    let host = host.restart().await;
    let mut upload = host.store.begin_upload(hash(&[4; 3_000]), owner(), 0, Some(3_000)).unwrap();
    upload.write(&[4; 3_000]).unwrap();
    upload.finish().unwrap();
    let present = inputs.map(|input| host.store.blob_bytes(&hash(&input)).is_some());
    assert_eq!(present, [true, false, true]);
}

#[tokio::test]
async fn a_job_that_another_worker_lost_is_started_with_the_inputs_that_its_host_keeps() {
    let node = lost_job();
    let (input, file) = (app_input(), vec![7; 300_000]);
    let _older = holder(&node, 7, &[b"not asked"]).await;
    let _newer = holder(&node, 8, &[&input, &file, b"program"]).await;
    let mut bench = Bench::new(&node).await;
    bench.enclave.need_blobs(&[hash(&input), hash(&file), hash(b"program")]);
    bench.go(10).await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, hash(&input))]);
    assert_eq!(bench.host.jobs.pending(), [Pending { job: LOST, attempt: 2, input: hash(&input) }]);
    assert_eq!(bench.host.store.blob_bytes(&hash(&file)), Some(300_000));
    let bytes = (input.len() + file.len() + 7) as u64;
    assert_eq!((bench.counts(), bench.fetched_bytes()), ((1, 0), bytes));
    // They count for the operator, and not for the job's owner, whose uploads they are not.
    assert_eq!(bench.host.store.account_bytes(), (1, bytes));
    // It is on record.
    for best in 11..20 {
        bench.go(best).await;
    }
    assert_eq!((bench.enclave.started_jobs().len(), bench.counts()), (1, (1, 0)));
    let host = bench.host.restart().await;
    assert_eq!(host.jobs.pending(), [Pending { job: LOST, attempt: 2, input: hash(&input) }]);
}

#[tokio::test]
async fn a_job_that_comes_back_is_started_with_what_is_here() {
    let node = lost_job();
    let mut bench = Bench::with(&node, Limits::default(), None).await;
    // Also when it is encrypted to this worker alone.
    let inputs = give(&bench.host, LOST, &[b"for this worker"]);
    bench.go(10).await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, inputs[0])]);
    assert_eq!((bench.counts(), bench.fetched_bytes()), ((1, 0), 0));
}

#[tokio::test]
async fn holders_that_lie_cost_traffic_only() {
    let limits = Limits { account_bytes: 1_000_000, blob_bytes: 500_000, ..Limits::default() };
    let input = app_input();
    let (name, length) = (hash(&input), input.len() as u64);
    type Lie = Box<dyn Fn(&str) -> Vec<u8> + Send>;
    let lists = |answer: Vec<u8>, blob: Vec<u8>| -> Lie {
        Box::new(move |path: &str| if path.ends_with("/inputs") { answer.clone() } else { blob.clone() })
    };
    let good = || list(&[(name, length)]);
    let other = vec![9; input.len()];
    let unbounded = [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".as_slice(), &input, b"and more"].concat();
    let redirect =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let many: Vec<_> = (0..261u64).map(|n| (hash(&n.to_le_bytes()), 1)).collect();
    let lies: Vec<(&str, Lie)> = vec![
        ("other bytes", lists(good(), ok(&other))),
        ("fewer bytes", lists(good(), ok(&input[..100]))),
        ("more bytes than it says", lists(list(&[(name, length - 1)]), ok(&input))),
        ("more bytes without saying how many", lists(good(), unbounded)),
        ("no list", lists(ok(b"{}"), ok(&input))),
        ("a list without an end", lists(ok(&vec![b' '; 1 << 20]), ok(&input))),
        ("a list without the job input", {
            let kept = json!({"input": hex::encode([1; 32]), "blobs": [{"sha256": hex::encode(name), "bytes": 1}]});
            lists(ok(kept.to_string().as_bytes()), ok(&input))
        }),
        ("one blob twice", lists(list(&[(name, length), (name, length)]), ok(&input))),
        ("too many blobs", lists(list(&many), ok(b"x"))),
        ("a job input that is too large", lists(list(&[(name, 3 << 20)]), ok(&input))),
        ("a blob that is too large", lists(list(&[(name, length), ([1; 32], 500_001)]), ok(&input))),
        ("too much together", {
            lists(list(&[(name, length), ([1; 32], 400_000), ([2; 32], 400_000), ([3; 32], 400_000)]), ok(&input))
        }),
        ("a refusal", lists(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(), ok(&input))),
        ("a redirect", lists(redirect.to_vec(), ok(&input))),
        ("a redirect of a blob", lists(good(), redirect.to_vec())),
        ("nothing", lists(Vec::new(), Vec::new())),
    ];
    for (what, lie) in lies {
        let node = lost_job();
        let honest = holder(&node, 7, &[&input, b"file"]).await;
        stranger(&node, 8, lie).await;
        let mut bench = Bench::with(&node, limits, Some("//Bob")).await;
        bench.go(10).await;
        assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, name)], "{what}");
        assert_eq!(bench.counts(), (1, 0), "{what}");
        assert_eq!(bench.host.store.account_bytes(), (1, length + 4), "{what}");
        drop(honest);
    }
}

#[tokio::test]
async fn an_input_that_the_enclave_refuses_is_followed_by_the_next_holders() {
    let node = lost_job();
    let (input, foreign) = (app_input(), app_input());
    let _honest = holder(&node, 7, &[&input, b"file"]).await;
    let _liar = holder(&node, 8, &[&foreign, &[1; 10_000]]).await;
    let mut bench = Bench::new(&node).await;
    bench.enclave.refuse_input(hash(&foreign));
    bench.go(10).await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, hash(&input))]);
    assert_eq!(bench.counts(), (1, 0));
    // Nothing of it stays.
    assert_eq!(bench.host.store.account_bytes(), (1, input.len() as u64 + 4));
}

#[tokio::test]
async fn a_file_that_a_holder_keeps_back_is_asked_of_the_next() {
    let node = lost_job();
    let input = app_input();
    let _honest = holder(&node, 7, &[&input, b"file"]).await;
    let _liar = holder(&node, 8, &[&input]).await;
    let mut bench = Bench::new(&node).await;
    bench.enclave.need_blobs(&[hash(&input), hash(b"file")]);
    bench.enclave.refuse_jobs(Some(no(true)));
    bench.go(10).await;
    bench.enclave.refuse_jobs(None);
    bench.go(12).await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, hash(&input))]);
    // The file is not there.
    bench.host.jobs.refused(LOST, 2, no(true)).unwrap();
    bench.go(16).await;
    assert_eq!(bench.enclave.started_jobs().len(), 2);
    assert_eq!(bench.fetched_bytes(), input.len() as u64 + 4);
}

#[tokio::test]
async fn a_useless_holder_is_asked_last_and_for_nothing_twice() {
    let node = lost_job();
    let foreign = app_input();
    let _liar = holder(&node, 8, &[&foreign]).await;
    let mut bench = Bench::new(&node).await;
    bench.enclave.refuse_input(hash(&foreign));
    bench.go(10).await;
    assert_eq!((bench.counts(), bench.fetched_bytes()), ((0, 1), foreign.len() as u64));
    // Not in each block, and not the same again.
    bench.go(11).await;
    assert_eq!(bench.counts(), (0, 1));
    bench.go(12).await;
    assert_eq!((bench.counts(), bench.fetched_bytes()), ((0, 2), foreign.len() as u64));
    for best in 13..16 {
        bench.go(best).await;
    }
    assert_eq!(bench.counts(), (0, 2));
    bench.go(16).await;
    assert_eq!(bench.counts(), (0, 3));
    // An assignment that is over is left alone.
    bench.go(50).await;
    node.state().finalized.insert(LOST, owned(&dev::alice(), JobStatus::Queued));
    bench.go(60).await;
    assert_eq!(bench.counts(), (0, 3));
}

#[tokio::test]
async fn a_holder_that_does_not_answer_leaves_time_to_the_next() {
    let node = lost_job();
    let input = app_input();
    let _honest = holder(&node, 7, &[&input]).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    add_holder(&node, 8, &format!("http://{}", silent.local_addr().unwrap()));
    // Nobody listens there; and one whose worker is gone.
    add_holder(&node, 9, "http://127.0.0.1:1");
    add_holder(&node, 10, "nonsense");
    node.state().holders.get_mut(&LOST).unwrap().push(WorkerId([11; 32]));
    let mut bench = Bench::new(&node).await;
    bench.step(10).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!((bench.enclave.started_jobs(), bench.counts()), (vec![], (0, 0)));
    // Half of the 11 blocks in which it can be started.
    bench.step(14).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.enclave.started_jobs(), []);
    bench.step(15).await;
    bench.settle().await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, hash(&input))]);
    drop(silent);
}

#[tokio::test]
async fn a_go_ends_with_its_assignment() {
    let node = lost_job();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    add_holder(&node, 8, &format!("http://{}", silent.local_addr().unwrap()));
    let mut bench = Bench::new(&node).await;
    bench.step(10).await;
    node.state().finalized.insert(LOST, owned(&dev::alice(), JobStatus::Queued));
    bench.go(11).await;
    assert_eq!(bench.counts(), (0, 0));
    drop(silent);
}

#[tokio::test]
async fn what_broke_off_is_gone_on_with() {
    let node = lost_job();
    let (input, file) = (app_input(), vec![7; 10_000]);
    let kept = list(&[(hash(&input), input.len() as u64), (hash(&file), 10_000)]);
    let (first, path) = (input.clone(), format!("/v1/blobs/{}", hex::encode(hash(&input))));
    stranger(&node, 8, move |asked| match asked {
        asked if asked.ends_with("/inputs") => kept.clone(),
        asked if asked == path => ok(&first),
        _ => ok(&[7; 10_000])[..4_000].to_vec(),
    })
    .await;
    let mut bench = Bench::new(&node).await;
    bench.go(10).await;
    assert_eq!(bench.counts(), (0, 1));
    let account = Account(dev::bob().public_key().0);
    let begun = bench.host.store.interrupted_bytes(&hash(&file), account).unwrap();
    assert!((1..4_000).contains(&begun), "{begun}");
    let before = bench.fetched_bytes();
    // Another holder has the rest.
    let _honest = holder(&node, 9, &[&input, &file]).await;
    bench.go(12).await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, hash(&input))]);
    assert_eq!(bench.fetched_bytes() - before, 10_000 - begun);
}

#[tokio::test]
async fn inputs_for_one_worker_another_app_or_another_purpose_are_not_fetched() {
    let worker = age::x25519::Identity::generate().to_public();
    for (what, input) in [
        ("for one worker", age::encrypt(&worker, b"a job input").unwrap()),
        ("for another app", encrypted_to(AppId([7; 32]), Purpose::JobInput)),
        ("no job input", encrypted_to(AppId([6; 32]), Purpose::File)),
        ("not age", vec![0; 100]),
    ] {
        let node = lost_job();
        let _holder = holder(&node, 8, &[&input, &[1; 10_000]]).await;
        let mut bench = Bench::new(&node).await;
        for best in [10, 12] {
            bench.go(best).await;
        }
        assert_eq!((bench.counts(), bench.fetched_bytes()), ((0, 2), input.len() as u64), "{what}");
        assert_eq!((bench.enclave.started_jobs(), bench.host.store.used_bytes()), (vec![], 0), "{what}");
    }
}

#[tokio::test]
async fn only_what_is_missing_of_an_accepted_job_is_fetched() {
    let node = lost_job();
    let input = app_input();
    let _holder = holder(&node, 8, &[b"another input", &input, b"file", b"not read"]).await;
    let mut bench = Bench::new(&node).await;
    give(&bench.host, LOST, &[&input]);
    let blobs = [hash(&input), hash(b"file")];
    bench.host.jobs.begin(LOST, 2).accepted(blobs[0], &blobs);
    bench.host.jobs.refused(LOST, 2, no(true)).unwrap();
    bench.go(10).await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, hash(&input))]);
    assert_eq!(bench.fetched_bytes(), 4);
    assert!(bench.host.store.blob_bytes(&hash(b"not read")).is_none());
    // What the enclave refuses for good is not started again.
    bench.host.jobs.refused(LOST, 2, no(false)).unwrap();
    bench.go(20).await;
    assert_eq!(bench.enclave.started_jobs().len(), 1);
}

#[tokio::test]
async fn its_own_host_and_holders_without_the_operators_key_are_not_asked() {
    let node = lost_job();
    let input = app_input();
    let mut bench = Bench::new(&node).await;
    add_holder(&node, 8, &format!("HTTP://{}/", bench.server.address));
    bench.go(10).await;
    assert_eq!(bench.counts(), (0, 1));
    assert!(!bench.host.metrics.render().contains("/v1/jobs/{job}/inputs"));

    let node = lost_job();
    let (asked, _server) = holder(&node, 8, &[&input]).await;
    let mut bench = Bench::with(&node, Limits::default(), None).await;
    bench.go(10).await;
    assert_eq!(bench.counts(), (0, 1));
    assert!(!asked.metrics.render().contains("/v1/jobs/{job}/inputs"));
}

#[tokio::test]
async fn a_takeover_is_in_the_way_of_no_upload_and_no_start_of_the_owners() {
    let node = lost_job();
    let (input, file) = (app_input(), [7; 10_000]);
    dawdler(&node, LOST, 8, &input, &file).await;
    let mut bench = Bench::new(&node).await;
    bench.step(10).await;
    eventually("the takeover hangs", || bench.fetched_bytes() > input.len() as u64).await;
    // The owner finds the job input, and brings the file.
    assert_eq!((bench.upload(&input).await, bench.upload(&file).await), (200, 201));
    let token = token(&dev::alice(), LOST, EXPIRES);
    let started = bench.server.start_with(&token, LOST, 2, &hash(&input)).await;
    assert_eq!(started.status, 202);
    bench.heads.send_replace(Some(Heads { best: 50, finalized: 48, now: 100 }));
    bench.settle().await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, hash(&input))]);
    // It was no takeover, and no failure of one.
    assert_eq!(bench.counts(), (0, 0));
}

#[tokio::test]
async fn a_holder_that_trickles_is_given_up() {
    let node = lost_job();
    let (input, file) = (app_input(), [7; 10_000]);
    let _honest = holder(&node, 7, &[&input, &file]).await;
    dawdler(&node, LOST, 8, &input, &file).await;
    // More than the two blobs count for that it is asked for.
    let rate = MinimumRate { bytes: 200_000, over: Duration::from_secs(2) };
    let mut bench = Bench::at_rate(&node, Limits::default(), Some("//Bob"), rate).await;
    // In this block.
    bench.go(10).await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, hash(&input))]);
    assert_eq!(bench.counts(), (1, 0));
    // The next has gone on with what came.
    assert_eq!(bench.fetched_bytes(), input.len() as u64 + 10_000);
}

#[tokio::test]
async fn a_slow_holder_keeps_one_takeover_busy_however_many_jobs_it_lost() {
    let node = lost_job();
    let input = app_input();
    let _honest = holder(&node, 7, &[&input]).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for job in 70..LOST {
        lose(&node, job);
        add_holder_of(&node, job, 8, &format!("http://{}", silent.local_addr().unwrap()));
    }
    let mut bench = Bench::new(&node).await;
    for best in 10..13 {
        bench.step(best).await;
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, hash(&input))]);
    // It was asked for one of its jobs, and to wait for it is no failure.
    silent.accept().await.unwrap();
    timeout(Duration::from_millis(100), silent.accept()).await.unwrap_err();
    assert_eq!(bench.counts().1, 0);
}

#[tokio::test]
async fn a_holders_turn_is_passed_on_in_the_same_block() {
    let node = lost_job();
    let input = app_input();
    let (host, server) = holder(&node, 8, &[&input]).await;
    lose(&node, 78);
    give(&host, 78, &[&input]);
    add_holder_of(&node, 78, 8, &format!("http://{}", server.address));
    let bench = Bench::new(&node).await;
    let signer = Some(Signer::from_uri("//Bob").unwrap());
    let takeover = Takeover { signer, ..takeover(&bench.host, &node, &bench.heads, "http://x".into()) };
    let running = tokio::spawn(takeover.run());
    let heads = Heads { best: 10, finalized: 8, now: 100 };
    node.state().heads = heads;
    bench.heads.send_replace(Some(heads));
    eventually("both are started", || bench.enclave.started_jobs().len() == 2).await;
    running.abort();
}

#[tokio::test]
async fn a_blob_that_comes_slowly_keeps_nobody_busy_who_needs_the_same() {
    let node = lost_job();
    node.state().finalized.remove(&LOST);
    let (input, file) = (app_input(), [7; 10_000]);
    lose(&node, 70);
    dawdler(&node, 70, 20, &input, &file).await;
    let mut bench = Bench::new(&node).await;
    bench.step(10).await;
    eventually("the takeover hangs", || bench.fetched_bytes() > input.len() as u64).await;
    let mut others = Vec::new();
    for number in 1..6 {
        let job = 70 + JobId::from(number);
        lose(&node, job);
        others.push(holder_of(&node, job, 20 + number, &[&input, &file]).await);
    }
    lose(&node, LOST);
    let _honest = holder(&node, 7, &[&input]).await;
    for best in 11..14 {
        bench.step(best).await;
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!((bench.enclave.started_jobs(), bench.counts().1), (vec![(LOST, 2, hash(&input))], 0));
}

#[tokio::test]
async fn a_takeover_ends_when_less_than_the_jobs_wall_time_is_left() {
    let node = lost_job();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    add_holder(&node, 8, &format!("http://{}", silent.local_addr().unwrap()));
    let mut bench = Bench::new(&node).await;
    bench.step(20).await;
    silent.accept().await.unwrap();
    bench.go(21).await;
    assert_eq!(bench.counts(), (0, 0));
    // Also when nothing would have to be fetched.
    let inputs = give(&bench.host, LOST, &[&app_input()]);
    bench.go(22).await;
    assert_eq!((bench.enclave.started_jobs(), bench.counts()), (vec![], (0, 0)));
    // In a fork.
    bench.go(20).await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, inputs[0])]);
}

#[tokio::test]
async fn what_came_for_a_job_that_the_enclave_cannot_take_yet_is_here_when_it_can() {
    for good in [true, false] {
        let node = lost_job();
        let input = app_input();
        let _holder = holder(&node, 8, &[&input, b"file"]).await;
        let mut bench = Bench::new(&node).await;
        bench.enclave.refuse_jobs(Some(no(true)));
        bench.go(10).await;
        let bytes = input.len() as u64 + 4;
        assert_eq!((bench.counts(), bench.fetched_bytes()), ((0, 1), bytes));
        // Others' junk, of another takeover.
        bench.host.jobs.remove_unwanted([hash(&input), hash(b"file")]);
        // Nobody else has it any more.
        node.state().workers.remove(&WorkerId([8; 32]));
        bench.enclave.refuse_jobs(None);
        if good {
            bench.go(12).await;
            assert_eq!(bench.enclave.started_jobs(), [(LOST, 2, hash(&input))]);
        } else {
            // It was junk itself.
            bench.enclave.refuse_input(hash(&input));
            bench.go(12).await;
            assert_eq!((bench.enclave.started_jobs(), bench.host.store.used_bytes()), (vec![], 0));
        }
        assert_eq!(bench.fetched_bytes(), bytes);
    }
}

#[tokio::test]
async fn what_anything_else_refers_to_is_not_removed_with_a_holders_junk() {
    let node = lost_job();
    let foreign = app_input();
    let files: [&[u8]; 6] = [&foreign, b"its owner's", b"another owner's", b"a job's", b"a takeover's", b"nobody's"];
    let _liar = holder(&node, 8, &files).await;
    let mut bench = Bench::new(&node).await;
    bench.enclave.refuse_input(hash(&foreign));
    // As soon as they are here: the round is not over.
    let jobs = bench.host.jobs.clone();
    jobs.brought(LOST, hash(b"its owner's"));
    jobs.brought(5, hash(b"another owner's"));
    jobs.begin(6, 1).accepted([6; 32], &[hash(b"a job's")]);
    let wanted = jobs.want([hash(b"a takeover's")]);
    bench.go(10).await;
    let present = || files.map(|bytes| bench.host.store.blob_bytes(&hash(bytes)).is_some());
    assert_eq!(present(), [false, true, true, true, true, false]);
    drop(wanted);
    jobs.remove_unwanted(files.map(hash));
    assert_eq!(present(), [false, true, true, true, false, false]);
}

#[tokio::test]
async fn what_an_owner_is_uploading_is_not_removed_with_a_holders_junk() {
    let node = lost_job();
    let bench = Bench::new(&node).await;
    let FakeHost { store, jobs, .. } = &bench.host;
    let blob = hash(b"file");
    let head = put_with(&blob, &token(&dev::alice(), LOST, EXPIRES), "Content-Length: 4");
    let stream = bench.server.open(&head, b"fi").await;
    eventually("the upload is under way", || store.used_bytes() > 0).await;
    // A holder gives the same.
    let mut fetched = store.begin_upload(blob, Account(dev::bob().public_key().0), 0, Some(4)).unwrap();
    fetched.write(b"file").unwrap();
    fetched.finish().unwrap();
    jobs.remove_unwanted([blob]);
    assert!(store.blob_bytes(&blob).is_some());
    drop(stream);
    let is_removed = || {
        jobs.remove_unwanted([blob]);
        store.blob_bytes(&blob).is_none()
    };
    eventually("the upload breaks off", is_removed).await;
}

#[tokio::test]
async fn what_a_takeover_fetches_is_not_removed_before_it_is_through() {
    let node = lost_job();
    let (input, file) = (app_input(), [7; 10_000]);
    dawdler(&node, LOST, 8, &input, &file).await;
    let mut bench = Bench::new(&node).await;
    bench.step(10).await;
    eventually("the takeover hangs", || bench.fetched_bytes() > input.len() as u64).await;
    bench.host.jobs.remove_unwanted([hash(&input)]);
    assert!(bench.host.store.blob_bytes(&hash(&input)).is_some());
    bench.go(21).await;
    bench.host.jobs.remove_unwanted([hash(&input)]);
    assert!(bench.host.store.blob_bytes(&hash(&input)).is_none());
}

#[tokio::test]
async fn what_was_brought_for_a_job_that_is_refused_for_now_is_kept_until_the_job_ends() {
    let node = lost_job();
    let mut bench = Bench::new(&node).await;
    bench.enclave.refuse_jobs(Some(no(true)));
    let token = token(&dev::alice(), LOST, EXPIRES);
    assert_eq!((bench.upload(b"input").await, bench.upload(b"file").await), (201, 201));
    assert_eq!(bench.server.start_with(&token, LOST, 2, &hash(b"input")).await.status, 409);
    let present = |bench: &Bench| {
        bench.host.store.remove_unused_blobs(SystemTime::now());
        [b"input".as_slice(), b"file"].map(|bytes| bench.host.store.blob_bytes(&hash(bytes)).is_some())
    };
    assert_eq!(present(&bench), [true, true]);
    // It goes to another worker, and comes back.
    node.state().finalized.insert(LOST, owned(&dev::alice(), assigned(WorkerId([8; 32]))));
    bench.go(11).await;
    assert_eq!(present(&bench), [true, true]);
    bench.enclave.refuse_jobs(None);
    node.state().finalized.insert(LOST, Job { attempts: 3, ..owned(&dev::alice(), assigned(WORKER)) });
    bench.go(12).await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 3, hash(b"input"))]);
    // Another one is never started.
    bench.host.jobs.brought(5, hash(b"file"));
    bench.host.jobs.asked(5, keep(&bench.host, b"another"));
    node.state().finalized.insert(5, owned(&dev::alice(), JobStatus::Queued));
    let kept = |bench: &Bench| bench.host.jobs.kept_inputs(0, 9).into_iter().map(|(job, _)| job).collect::<Vec<_>>();
    bench.go(13).await;
    assert_eq!(kept(&bench), [5]);
    node.state().finalized.insert(5, owned(&dev::alice(), JobStatus::Expired { at: 12 }));
    bench.go(14).await;
    assert_eq!((kept(&bench), bench.host.store.blob_bytes(&hash(b"another"))), (vec![], None));
    // Nor one that the enclave never takes, or of which the chain knows nothing for an hour.
    bench.host.jobs.asked(6, [6; 32]);
    bench.host.jobs.denied(6, &[6; 32]);
    bench.host.jobs.asked(7, [7; 32]);
    bench.go(15).await;
    assert_eq!(kept(&bench), [7]);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60 * 60 + 1)).await;
    tokio::time::resume();
    bench.go(16).await;
    assert!(kept(&bench).is_empty());
}

/// What may happen to blobs, of which there are four, for one of three jobs.
#[derive(Clone, Debug)]
enum Reference {
    Bring { job: JobId, blob: u8 },
    Ask { job: JobId, blob: u8 },
    Deny { job: JobId, blob: u8 },
    Accept { job: JobId, blob: u8, input: u8 },
    Refuse { job: JobId },
    End { job: JobId },
    Want { blob: u8 },
    Drop,
}

fn reference() -> impl Strategy<Value = Reference> {
    let (job, blob) = (|| 1..4u64, || 0..4u8);
    prop_oneof![
        (job(), blob()).prop_map(|(job, blob)| Reference::Bring { job, blob }),
        (job(), blob()).prop_map(|(job, blob)| Reference::Ask { job, blob }),
        (job(), blob()).prop_map(|(job, blob)| Reference::Deny { job, blob }),
        (job(), blob(), blob()).prop_map(|(job, blob, input)| Reference::Accept { job, blob, input }),
        job().prop_map(|job| Reference::Refuse { job }),
        job().prop_map(|job| Reference::End { job }),
        blob().prop_map(|blob| Reference::Want { blob }),
        Just(Reference::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever happens: what is removed is exactly what nothing refers to.
    #[test]
    fn only_what_nothing_refers_to_is_removed(events in proptest::collection::vec(reference(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(crate::store::Store::open(folder.path(), Limits::default()).unwrap());
        let jobs = Arc::new(Jobs::load(store.clone(), Arc::default()).unwrap());
        let name = |blob: u8| hash(&[blob]);
        // What the owner of each job brought, and asked for; what each reads, and in which attempt it may run; what takeovers
        // want.
        let mut brought = BTreeMap::<JobId, (BTreeSet<u8>, Option<u8>)>::new();
        let mut read = BTreeMap::<JobId, (BTreeSet<u8>, Option<u32>)>::new();
        let mut wanted = Vec::new();
        let mut attempt = 0;
        for event in events {
            match event {
                Reference::Bring { job, blob } => {
                    jobs.brought(job, name(blob));
                    brought.entry(job).or_default().0.insert(blob);
                }
                Reference::Ask { job, blob } => {
                    jobs.asked(job, name(blob));
                    brought.entry(job).or_default().1 = Some(blob);
                }
                Reference::Deny { job, blob } => {
                    jobs.denied(job, &name(blob));
                    let asked = &mut brought.entry(job).or_default().1;
                    *asked = asked.filter(|asked| *asked != blob);
                }
                Reference::Accept { job, blob, input } => {
                    attempt += 1;
                    jobs.begin(job, attempt).accepted(name(input), &[name(blob)]);
                    read.insert(job, (BTreeSet::from([blob, input]), Some(attempt)));
                    brought.remove(&job);
                }
                Reference::Refuse { job } => {
                    if let Some(attempt) = read.get_mut(&job).and_then(|(_, attempt)| attempt.take()) {
                        jobs.refused(job, attempt, no(true)).unwrap();
                    }
                }
                Reference::End { job } => {
                    jobs.over(job).unwrap();
                    if !read.get(&job).is_some_and(|(_, attempt)| attempt.is_some()) {
                        read.remove(&job);
                        brought.remove(&job);
                    }
                }
                Reference::Want { blob } => wanted.push((blob, jobs.want([name(blob)]))),
                Reference::Drop => drop(wanted.pop()),
            }
            for blob in (0..4).filter(|blob| store.blob_bytes(&name(*blob)).is_none()) {
                let mut upload = store.begin_upload(name(blob), owner(), 0, None).unwrap();
                upload.write(&[blob]).unwrap();
                upload.finish().unwrap();
            }
            jobs.remove_unwanted((0..4).map(name));
            for blob in 0..4 {
                let is_brought = brought.values().any(|(blobs, asked)| blobs.contains(&blob) || *asked == Some(blob));
                let is_read = read.values().any(|(blobs, _)| blobs.contains(&blob));
                let is_wanted = wanted.iter().any(|(wanted, _)| *wanted == blob);
                let is_here = store.blob_bytes(&name(blob)).is_some();
                prop_assert_eq!(is_here, is_brought || is_read || is_wanted, "{}", blob);
            }
        }
    }

    #[test]
    fn there_is_time_as_long_as_the_wall_time_is_left(
        due in 0..u32::MAX,
        at in any::<u32>(),
        wall_ms in 1..=100_000_000u64,
        block_ms in 1..=20_000u64,
    ) {
        let wall_blocks = wall_ms.div_ceil(block_ms);
        prop_assume!(wall_blocks <= due.into());
        let has_time = u64::from(at) + wall_blocks <= due.into();
        prop_assert_eq!(at < too_late(due, wall_ms, block_ms), has_time);
    }
}

#[tokio::test]
async fn in_the_first_attempt_only_what_its_owner_wanted_to_start_is_started() {
    let node = lost_job();
    let first = Job { attempts: 1, ..owned(&dev::alice(), assigned(WORKER)) };
    node.state().best.insert(LOST, first.clone());
    node.state().finalized.insert(LOST, first);
    // Nobody is asked, whoever had the job.
    add_holder(&node, 8, "http://127.0.0.1:1");
    let mut bench = Bench::new(&node).await;
    let token = token(&dev::alice(), LOST, EXPIRES);
    bench.go(10).await;
    assert_eq!((bench.upload(b"noise").await, bench.upload(b"input").await), (201, 201));
    bench.go(11).await;
    assert_eq!((bench.enclave.started_jobs(), bench.counts()), (vec![], (0, 0)));
    // What the enclave never takes is not tried again.
    bench.enclave.refuse_input(hash(b"noise"));
    assert_eq!(bench.server.start_with(&token, LOST, 1, &hash(b"noise")).await.status, 422);
    bench.go(12).await;
    assert_eq!(bench.counts(), (0, 0));
    bench.enclave.refuse_jobs(Some(no(true)));
    assert_eq!(bench.server.start_with(&token, LOST, 1, &hash(b"input")).await.status, 409);
    // The owner goes away.
    bench.go(13).await;
    assert_eq!(bench.counts(), (0, 1));
    bench.enclave.refuse_jobs(None);
    bench.go(15).await;
    assert_eq!(bench.enclave.started_jobs(), [(LOST, 1, hash(b"input"))]);
    assert_eq!((bench.counts(), bench.fetched_bytes()), ((1, 1), 0));
}
