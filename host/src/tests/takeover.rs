//! A job that a worker lost, between the hosts of those that had it and of the one that has it.

use phala_app_encryption::{AppRecipient, Purpose, Target};
use phala_primitives::{AppId, gatekeeper::PublicKey};
use phala_sdk::Signer;
use serde_json::json;

use super::*;
use crate::{
    takeover::{Rounds, Takeover},
    testing::worker,
};

/// Alice's, of app 6…, and with this worker in the second attempt, whose operator is Bob; due in block 50.
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
    {
        let mut state = node.state();
        let job = Job { attempts: 2, ..owned(&dev::alice(), assigned(WORKER)) };
        state.best.insert(LOST, job.clone());
        state.finalized.insert(LOST, job);
        let operator = Account(dev::bob().public_key().0);
        state.workers.insert(WORKER, crate::chain::Worker { operator, ..worker(1) });
    }
    node
}

/// Another worker that had the job: later than those before.
fn add_holder(node: &FakeNode, number: u8, endpoint: &str) {
    let id = WorkerId([number; 32]);
    let mut state = node.state();
    state.workers.insert(id, crate::chain::Worker { endpoint: endpoint.into(), ..worker(1) });
    state.holders.entry(LOST).or_default().push(id);
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
    let host = FakeHost::new().await;
    give(&host, LOST, inputs);
    let server = serve_on(&host, node.clone(), Bounds::default()).await;
    add_holder(node, number, &format!("http://{}", server.address));
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

fn ok(content: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", content.len());
    [head.as_bytes(), content].concat()
}

fn list(blobs: &[(Hash, u64)]) -> Vec<u8> {
    let kept: Vec<_> =
        blobs.iter().map(|(sha256, bytes)| json!({"sha256": hex::encode(sha256), "bytes": bytes})).collect();
    ok(json!({"job": LOST, "input": hex::encode(blobs[0].0), "blobs": kept}).to_string().as_bytes())
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
        let host = FakeHost::with_limits(limits).await;
        let enclave = host.connect().await;
        let server = serve_on(&host, node.clone(), Bounds::default()).await;
        node.state().holders.entry(LOST).or_default().push(WORKER);
        let heads = watch::Sender::new(Some(node.state().heads));
        let rounds = Rounds::new(Takeover {
            node: node.clone(),
            heads: heads.subscribe(),
            enclave: host.enclave.clone(),
            store: host.store.clone(),
            jobs: host.jobs.clone(),
            metrics: host.metrics.clone(),
            operator: OperatorConfig {
                operator: Account(dev::bob().public_key().0),
                endpoint: format!("http://{}", server.address),
                price: 1,
                submits: Submits::Everything,
            },
            signer: key.map(|uri| Signer::from_uri(uri).unwrap()),
        });
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
    bench.host.store.remove_unused_blobs(std::time::SystemTime::now());
    assert_eq!(present(), [true, true, false]);
    // Also after a restart.
    let host = bench.host.restart().await;
    host.store.remove_unused_blobs(std::time::SystemTime::now());
    host.jobs.forget_old(retention);
    assert_eq!(host.jobs.inputs(1).unwrap().input, hash(&inputs[0]));
    assert!(host.store.blob_bytes(&hash(&inputs[0])).is_some());
    // One that the node does not know is kept for a while: the node may lag behind.
    let (bench_node, heads) = (lost_job(), Heads { best: 10, finalized: 8, now: 100 });
    let mut rounds = Rounds::new(Takeover {
        node: bench_node.clone(),
        heads: watch::Sender::new(Some(heads)).subscribe(),
        enclave: host.enclave.clone(),
        store: host.store.clone(),
        jobs: host.jobs.clone(),
        metrics: host.metrics.clone(),
        operator: OperatorConfig {
            operator: OPERATOR,
            endpoint: "http://x".into(),
            price: 1,
            submits: Submits::Nothing,
        },
        signer: None,
    });
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
    host.store.remove_blob(&inputs[0]);
    assert!(host.store.blob_bytes(&inputs[0]).is_some());
    host.jobs.over(5).unwrap();
    assert!(host.store.blob_bytes(&inputs[0]).is_none());
    assert_eq!(host.jobs.kept_inputs(0, 9), []);
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
    // Half of the blocks until it is due.
    bench.step(29).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.enclave.started_jobs(), []);
    bench.step(30).await;
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
    let (input, file) = (app_input(), vec![7; 10_000]);
    // It gives the beginning of the file, and then nothing.
    let kept = list(&[(hash(&input), input.len() as u64), (hash(&file), 10_000)]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    add_holder(&node, 8, &format!("http://{}", listener.local_addr().unwrap()));
    let first = input.clone();
    let path = format!("/v1/blobs/{}", hex::encode(hash(&file)));
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1000];
            let count = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            let answer = match head.split(' ').nth(1).unwrap() {
                asked if asked.ends_with("/inputs") => kept.clone(),
                asked if asked == path => ok(&[7; 10_000])[..5_000].to_vec(),
                _ => ok(&first),
            };
            stream.write_all(&answer).await.unwrap();
            if head.contains(&path) {
                open.push(stream);
            }
        }
    });
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
async fn what_the_owner_found_here_is_not_removed_with_its_holders_junk() {
    let node = lost_job();
    let foreign = app_input();
    let _liar = holder(&node, 8, &[&foreign, b"file"]).await;
    let mut bench = Bench::new(&node).await;
    bench.enclave.refuse_input(hash(&foreign));
    // As soon as it is here: the round is not over.
    bench.host.jobs.brought(LOST, hash(b"file"));
    bench.go(10).await;
    let present = [foreign.as_slice(), b"file"].map(|bytes| bench.host.store.blob_bytes(&hash(bytes)).is_some());
    assert_eq!(present, [false, true]);
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
