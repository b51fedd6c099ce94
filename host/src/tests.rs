//! The host with an enclave that speaks the protocol over a real socket, and users over real HTTP.

mod takeover;

use std::{
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use codec::{Decode, Encode};
use phala_attestation::{Evidence, Statement};
use phala_primitives::{Hash, JobId, SignedReceipt, WorkerId, job::JobStatus, worker::SignedLiveness};
use phala_protocol::{
    EnclaveMessage, EnclaveNotice, EnclaveReply, EnclaveRequest, Hello, HostNotice, HostReply, JobState, LogLevel,
    MAX_FRAME_BYTES, Message, Pause, Refusal, wire,
};
use phala_sdk::Account;
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subxt_signer::sr25519::{Keypair, dev};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    chain::{Heads, Job, OperatorConfig, Submits},
    http::{self, Api, Bounds, Front, MinimumRate},
    jobs::{Jobs, Pending, Phase, ReceiptState},
    store::{Limits, evidence_hash},
    testing::{
        FakeEnclave, FakeHost, FakeNode, FixedStart, OPERATOR, PATIENCE, WORKER, assigned, eventually, job, receipt,
        receipt_of, receipt_of_attempt, registration, settled,
    },
};

/// The job that uploads are for, unless a test says otherwise: Alice's, and this worker's.
const JOB: JobId = 1000;

/// Alice's and this worker's, too.
const OTHER_JOBS: std::ops::Range<JobId> = 1..10;

/// When tokens end: the chain's clock stands at 100.
const EXPIRES: u64 = 200;

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn token(signer: &Keypair, job: JobId, expires: u64) -> String {
    let signed = (b"phala/upload/v1", [5u8; 32], job, expires).encode();
    format!("{job}.{expires}.{}", hex::encode(signer.sign(&signed).0))
}

fn owned(signer: &Keypair, status: JobStatus<Account, u32>) -> Job {
    Job { owner: Account(signer.public_key().0), ..job(status) }
}

/// Alice's account.
fn owner() -> Account {
    Account(dev::alice().public_key().0)
}

struct Server {
    address: std::net::SocketAddr,
    node: Arc<FakeNode>,
    heads: watch::Sender<Option<Heads>>,
    shutdown: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

async fn serve(host: &FakeHost) -> Server {
    serve_with(host, Bounds::default()).await
}

async fn serve_with(host: &FakeHost, bounds: Bounds) -> Server {
    serve_on(host, FakeNode::new(), bounds).await
}

async fn serve_on(host: &FakeHost, node: Arc<FakeNode>, bounds: Bounds) -> Server {
    node.state().best.extend(OTHER_JOBS.chain([JOB]).map(|job| (job, owned(&dev::alice(), assigned(WORKER)))));
    let heads = watch::Sender::new(Some(node.state().heads));
    let api = Api {
        store: host.store.clone(),
        jobs: host.jobs.clone(),
        enclave: host.enclave.clone(),
        node: node.clone(),
        heads: heads.subscribe(),
        operator: OperatorConfig {
            operator: OPERATOR,
            endpoint: "http://x".into(),
            price: 1,
            submits: Submits::Everything,
        },
        capacity: 4,
        front: Front::new(bounds, &host.metrics),
        metrics: host.metrics.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(http::serve(Arc::new(api), listener, None, shutdown.clone()));
    Server { address, node, heads, shutdown, serving }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and code of an error.
    fn error(&self) -> (u16, String) {
        let body = self.json();
        (self.status, body["error"]["code"].as_str().unwrap().to_owned())
    }

    /// When to try again: the header and the body say the same.
    fn retry_after(&self) -> Option<u64> {
        let seconds = self.header("retry-after").map(|seconds| seconds.parse().unwrap());
        assert_eq!(self.json()["error"]["retry_after"].as_u64(), seconds);
        seconds
    }
}

impl Server {
    /// A connection on which a request's head, and what there is of its body, was sent.
    async fn open(&self, head: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        stream
    }

    async fn send(&self, head: &str, body: &[u8]) -> Answer {
        read_answer(&mut self.open(head, body).await).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1"), b"").await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
        self.send(&head, body.as_bytes()).await
    }

    /// As Alice.
    async fn start(&self, job: JobId, attempt: u32, input: &Hash) -> Answer {
        self.start_with(&token(&dev::alice(), job, EXPIRES), job, attempt, input).await
    }

    async fn start_with(&self, token: &str, job: JobId, attempt: u32, input: &Hash) -> Answer {
        let body = format!("{{\"input\":\"{}\",\"attempt\":{attempt}}}", hex::encode(input));
        let head = format!(
            "POST /v1/jobs/{job}/start HTTP/1.1\r\nphala-upload: {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}",
            body.len()
        );
        self.send(&head, body.as_bytes()).await
    }

    /// Uploads for Alice's job.
    async fn upload(&self, bytes: &[u8]) -> Hash {
        let answer = self.send(&put(&hash(bytes), bytes.len()), bytes).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        hash(bytes)
    }

    async fn state(&self, job: JobId) -> String {
        self.get(&format!("/v1/jobs/{job}")).await.json()["state"].as_str().unwrap().to_owned()
    }
}

async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the answer has a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer { status, headers: lines.filter_map(header).collect(), body: answer[end + 4..].to_vec() }
}

/// The head of an upload for Alice's job.
fn put(blob: &Hash, length: usize) -> String {
    put_with(blob, &token(&dev::alice(), JOB, EXPIRES), &format!("Content-Length: {length}"))
}

fn put_with(blob: &Hash, token: &str, headers: &str) -> String {
    format!("PUT /v1/blobs/{} HTTP/1.1\r\nphala-upload: {token}\r\n{headers}", hex::encode(blob))
}

fn no(retry: bool) -> Refusal {
    Refusal { reason: "no".into(), retry }
}

#[tokio::test]
async fn a_job_goes_from_upload_to_output() {
    let host = FakeHost::new().await;
    let mut enclave = host.connect().await;
    let server = serve(&host).await;
    let file: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let input = server.upload(&file).await;
    let head = |blob: Hash| format!("HEAD /v1/blobs/{} HTTP/1.1", hex::encode(blob));
    let found = server.send(&head(input), b"").await;
    assert_eq!((found.status, found.header("content-length")), (200, Some("300000")));
    let missing = server.send(&head([0; 32]), b"").await;
    assert_eq!((missing.status, missing.header("upload-offset")), (404, None));
    // Twice is fine.
    assert_eq!(server.send(&put(&input, file.len()), &file).await.status, 200);
    assert_eq!(server.state(7).await, "unknown");
    let started = server.start(7, 1, &input).await;
    assert_eq!((started.status, started.json()["state"].as_str()), (202, Some("queued")));
    assert_eq!(enclave.started_jobs(), [(7, 1, input)]);
    assert_eq!(server.get("/v1/jobs/7/receipt").await.error(), (404, "no_receipt".into()));

    let read = EnclaveRequest::ReadBlob { blob: input, offset: 299_000, length: 5000 };
    assert_eq!(enclave.request(read).await.unwrap(), HostReply::Bytes(file[299_000..].to_vec()));
    enclave.notice(EnclaveNotice::JobProgress { job: 7, attempt: 1, state: JobState::Running });
    for (offset, bytes) in [(0, b"age-".to_vec()), (4, b"file".to_vec())] {
        let done = enclave.request(EnclaveRequest::WriteOutput { job: 7, offset, bytes }).await;
        assert_eq!(done.unwrap(), HostReply::Done);
    }
    assert_eq!(server.state(7).await, "running");
    let receipt = receipt_of(7, b"age-file");
    enclave.notice(EnclaveNotice::JobEnded { job: 7, receipt: Box::new(receipt.clone()) });
    eventually("the job ends", || host.jobs.report(7).state == Phase::Ended).await;
    let answer = server.get("/v1/jobs/7/receipt").await.json();
    let encoded = hex::decode(answer["receipt"].as_str().unwrap().strip_prefix("0x").unwrap()).unwrap();
    assert_eq!(SignedReceipt::decode(&mut &encoded[..]).unwrap(), receipt);
    assert_eq!(host.jobs.open_receipts(), [(7, 1)]);

    let whole = server.get("/v1/jobs/7/output").await;
    let etag = format!("\"{}\"", hex::encode(hash(b"age-file")));
    assert_eq!((whole.status, whole.body.as_slice()), (200, b"age-file".as_slice()));
    assert_eq!((whole.header("etag"), whole.header("accept-ranges")), (Some(etag.as_str()), Some("bytes")));
    let part = |more: &str| format!("GET /v1/jobs/7/output HTTP/1.1\r\nRange: {more}");
    let rest = server.send(&part("bytes=4-"), b"").await;
    assert_eq!((rest.status, rest.body.as_slice()), (206, b"file".as_slice()));
    assert_eq!(rest.header("content-range"), Some("bytes 4-7/8"));
    let beyond = server.send(&part("bytes=8-"), b"").await;
    assert_eq!((beyond.error(), beyond.header("content-range")), ((416, "bad_range".into()), Some("bytes */8")));
    let another = server.send(&part("bytes=4-\r\nIf-Range: \"00\""), b"").await;
    assert_eq!((another.status, another.body.len()), (200, 8));
}

#[tokio::test]
async fn an_output_that_the_receipt_does_not_name_is_not_served() {
    let host = FakeHost::new().await;
    let mut enclave = host.connect().await;
    let server = serve(&host).await;
    enclave.request(EnclaveRequest::WriteOutput { job: 7, offset: 0, bytes: vec![1] }).await.unwrap();
    enclave.notice(EnclaveNotice::JobEnded { job: 7, receipt: Box::new(receipt_of(7, b"other")) });
    eventually("the job ends", || host.jobs.report(7).state == Phase::Ended).await;
    assert_eq!(server.get("/v1/jobs/7/output").await.error(), (404, "no_output".into()));
    assert_eq!(host.jobs.open_receipts(), [(7, 1)]);
}

#[tokio::test]
async fn wrong_uploads_are_refused_and_nothing_is_kept() {
    let limits = Limits { blob_bytes: 1000, total_bytes: 5000, ..Limits::default() };
    let host = FakeHost::with_limits(limits).await;
    let _enclave = host.connect().await;
    let server = serve(&host).await;
    let body = [7; 500];
    assert_eq!(server.send(&put(&[0; 32], 500), &body).await.error(), (422, "hash_mismatch".into()));
    assert_eq!(server.send(&put(&[0; 32], 1001), &[0; 1001]).await.error(), (413, "too_large".into()));
    let alice = token(&dev::alice(), JOB, EXPIRES);
    let chunked = put_with(&[0; 32], &alice, "Transfer-Encoding: chunked");
    assert_eq!(server.send(&chunked, b"1\r\nx\r\n0\r\n\r\n").await.status, 422);
    assert_eq!(server.send(&chunked, b"x\r\n").await.status, 422);
    let bad = format!("PUT /v1/blobs/zz HTTP/1.1\r\nphala-upload: {alice}\r\nContent-Length: 1");
    assert_eq!(server.send(&bad, b"x").await.error(), (400, "bad_hash".into()));
    for headers in ["upload-offset: x\r\nContent-Length: 2", "upload-length: 1\r\nContent-Length: 2"] {
        let answer = server.send(&put_with(&[0; 32], &alice, headers), b"xx").await;
        assert_eq!(answer.error(), (400, "bad_length".into()), "{headers}");
    }
    assert_eq!(host.store.used_bytes(), 0);
    for folder in ["blobs", "tmp", "partial"] {
        assert_eq!(std::fs::read_dir(host.folder.path().join("data").join(folder)).unwrap().count(), 0);
    }
    // The same bytes, whole and under their name.
    server.upload(&body).await;
    // The disk is full.
    for n in 0..4 {
        server.upload(&[n; 1000]).await;
    }
    let full = server.send(&put(&hash(&[9; 1000]), 1000), &[9; 1000]).await;
    assert_eq!((full.error(), full.retry_after()), ((507, "no_space".into()), Some(60)));
}

#[tokio::test]
async fn an_upload_without_a_length_is_taken() {
    let host = FakeHost::new().await;
    let _enclave = host.connect().await;
    let server = serve(&host).await;
    let head = put_with(&hash(b"hello"), &token(&dev::alice(), JOB, EXPIRES), "Transfer-Encoding: chunked");
    assert_eq!(server.send(&head, b"5\r\nhello\r\n0\r\n\r\n").await.status, 201);
    assert_eq!(host.store.used_bytes(), 5);
    assert_eq!(server.send(&head, b"5\r\nhello\r\n0\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn an_interrupted_upload_goes_on_where_it_was() {
    let host = FakeHost::new().await;
    let _enclave = host.connect().await;
    let server = serve(&host).await;
    let bytes: Vec<u8> = (0..10_000u32).map(|n| (n % 250) as u8).collect();
    let blob = hash(&bytes);
    let begun = server.open(&put(&blob, bytes.len()), &bytes[..6_000]).await;
    let in_bytes = || host.metrics.bytes.with_label_values(&["http", "in"]).get();
    eventually("the upload begins", || in_bytes() == 6_000).await;
    // Nobody else writes to it, and nothing is offered of it yet.
    let second = server.send(&put(&blob, bytes.len()), &bytes).await;
    assert_eq!((second.error(), second.retry_after()), ((409, "upload_under_way".into()), Some(2)));
    drop(begun);
    eventually("the upload breaks off", || host.store.interrupted_bytes(&blob, owner()) == Some(6_000)).await;
    assert_eq!(host.store.used_bytes(), 6_000);
    // Only who sent it is told how much there is.
    server.node.state().best.insert(2, owned(&dev::bob(), assigned(WORKER)));
    let (alice, bob) = (token(&dev::alice(), JOB, EXPIRES), token(&dev::bob(), 2, EXPIRES));
    for (token, offset) in
        [(Some(alice.as_str()), Some("6000")), (Some(bob.as_str()), None), (Some("nonsense"), None), (None, None)]
    {
        let token = token.map(|token| format!("\r\nphala-upload: {token}")).unwrap_or_default();
        let head = server.send(&format!("HEAD /v1/blobs/{} HTTP/1.1{token}", hex::encode(blob)), b"").await;
        assert_eq!((head.status, head.header("upload-offset")), (404, offset), "{token}");
    }
    let resume = |offset: usize, length: usize| {
        let headers = format!("upload-offset: {offset}\r\nupload-length: 10000\r\nContent-Length: {length}");
        put_with(&blob, &alice, &headers)
    };
    let wrong = server.send(&resume(5_000, 5_000), &bytes[5_000..]).await;
    assert_eq!((wrong.error(), wrong.header("upload-offset")), ((409, "wrong_offset".into()), Some("6000")));
    // Another part, and the rest.
    let part = server.send(&resume(6_000, 1_000), &bytes[6_000..7_000]).await;
    assert_eq!((part.error(), part.header("upload-offset")), ((422, "truncated".into()), Some("7000")));
    // After a restart, too.
    let host = host.restart().await;
    let _enclave = host.connect().await;
    let server = serve(&host).await;
    assert_eq!(host.store.interrupted_bytes(&blob, owner()), Some(7_000));
    assert_eq!(server.send(&resume(7_000, 3_000), &bytes[7_000..]).await.status, 201);
    assert_eq!(host.store.read_blob(&blob, 0, 10_000).unwrap().unwrap(), bytes);
    assert_eq!(host.store.used_bytes(), 10_000);
    // To begin anew is always possible; who goes on with other bytes finds out at the end, and begins anew.
    let other = hash(b"other");
    let head = put_with(&other, &alice, "upload-length: 5\r\nContent-Length: 2");
    assert_eq!(server.send(&head, b"xx").await.header("upload-offset"), Some("2"));
    let head = put_with(&other, &alice, "upload-offset: 2\r\nContent-Length: 3");
    assert_eq!(server.send(&head, b"her").await.error(), (422, "hash_mismatch".into()));
    server.upload(b"other").await;
}

#[tokio::test]
async fn uploads_need_the_token_of_a_live_job_of_this_worker() {
    let host = FakeHost::new().await;
    let server = serve(&host).await;
    let (alice, bob) = (dev::alice(), dev::bob());
    let blob = hash(b"hello");
    let upload = async |token: &str| server.send(&put_with(&blob, token, "Content-Length: 5"), b"hello").await;
    let good = token(&alice, JOB, EXPIRES);
    assert_eq!(upload(&good).await.error(), (503, "enclave_unavailable".into()));
    let enclave = host.connect().await;
    let none = format!("PUT /v1/blobs/{} HTTP/1.1\r\nContent-Length: 5", hex::encode(blob));
    assert_eq!(server.send(&none, b"hello").await.error(), (401, "no_token".into()));
    {
        let mut state = server.node.state();
        state.best.insert(1, owned(&alice, assigned(WORKER)));
        state.best.insert(2, owned(&alice, assigned(WorkerId([8; 32]))));
        state.best.insert(3, owned(&alice, settled(&receipt(3), 9)));
        state.best.insert(4, owned(&alice, JobStatus::Expired { at: 9 }));
        state.best.insert(5, owned(&alice, JobStatus::Queued));
    }
    for (token, expected) in [
        ("nonsense".to_owned(), (401, "bad_token")),
        (token(&bob, JOB, EXPIRES), (401, "bad_token")),
        (good.replacen("1000.200", "1000.201", 1), (401, "bad_token")),
        (token(&alice, JOB, 99), (401, "token_expired")),
        (token(&alice, 77, EXPIRES), (403, "unknown_job")),
        (token(&alice, 2, EXPIRES), (403, "not_this_worker")),
        (token(&alice, 5, EXPIRES), (403, "not_this_worker")),
        (token(&alice, 3, EXPIRES), (403, "job_over")),
        (token(&alice, 4, EXPIRES), (403, "job_over")),
    ] {
        assert_eq!(upload(&token).await.error(), (expected.0, expected.1.into()), "{token}");
    }
    assert_eq!(host.store.used_bytes(), 0);
    assert_eq!(upload(&token(&alice, 1, EXPIRES)).await.status, 201);
    // The enclave restarts: its worker is still this one.
    drop(enclave);
    eventually("the host notices", || host.enclave.session().is_none()).await;
    assert_eq!(upload(&good).await.status, 200);
    server.heads.send_replace(None);
    let away = upload(&good).await;
    assert_eq!((away.error(), away.retry_after()), ((503, "node_unavailable".into()), Some(5)));
}

#[tokio::test]
async fn a_flood_of_tokens_is_no_flood_of_lookups() {
    let host = FakeHost::new().await;
    let _enclave = host.connect().await;
    let server = serve(&host).await;
    let bob = token(&dev::bob(), JOB, EXPIRES);
    for _ in 0..50 {
        let answer = server.send(&put_with(&[0; 32], &bob, "Content-Length: 1"), b"x").await;
        assert_eq!(answer.status, 401);
    }
    // One for each time that a live job is remembered, and this is sooner.
    assert!(server.node.state().lookups < 5);
    server.node.state().reachable = false;
    let unknown = token(&dev::bob(), 77, EXPIRES);
    let away = server.send(&put_with(&[0; 32], &unknown, "Content-Length: 1"), b"x").await;
    assert_eq!(away.error(), (503, "node_unavailable".into()));
}

#[tokio::test]
async fn an_account_has_a_quota() {
    let host = FakeHost::with_limits(Limits { account_bytes: 2500, ..Limits::default() }).await;
    let _enclave = host.connect().await;
    let server = serve(&host).await;
    server.upload(&[1; 1000]).await;
    server.upload(&[2; 1000]).await;
    let more = server.send(&put(&hash(&[3; 1000]), 1000), &[3; 1000]).await;
    assert_eq!((more.error(), more.retry_after()), ((429, "account_quota".into()), Some(600)));
    server.upload(&[4; 500]).await;
    // Another account has its own.
    server.node.state().best.insert(2, owned(&dev::bob(), assigned(WORKER)));
    let head = put_with(&hash(&[3; 1000]), &token(&dev::bob(), 2, EXPIRES), "Content-Length: 1000");
    assert_eq!(server.send(&head, &[3; 1000]).await.status, 201);
    let metrics = server.get("/metrics").await.body;
    let metrics = String::from_utf8(metrics).unwrap();
    for line in ["phala_host_accounts 2", "phala_host_account_bytes 3500", "rejected_total{reason=\"quota\"} 1"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // A restart forgives nothing.
    let host = host.restart().await;
    let _enclave = host.connect().await;
    let server = serve(&host).await;
    assert_eq!(server.send(&put(&hash(&[5; 1]), 1), &[5; 1]).await.error(), (429, "account_quota".into()));
}

#[tokio::test]
async fn who_sends_too_slowly_is_cut_off_and_may_go_on() {
    let host = FakeHost::new().await;
    let _enclave = host.connect().await;
    let rate = MinimumRate { bytes: 1000, over: Duration::from_millis(300) };
    let server = serve_with(&host, Bounds { rate, ..Bounds::default() }).await;
    let mut slow = server.open(&put(&hash(b"helloworld"), 10), b"hello").await;
    let kept = || host.store.interrupted_bytes(&hash(b"helloworld"), owner()) == Some(5);
    eventually("the upload is cut off", kept).await;
    assert_eq!(host.metrics.http_rejected.with_label_values(&["slow_upload"]).get(), 1);
    slow.write_all(b"world").await.unwrap();
    let answer = read_answer(&mut slow).await;
    assert_eq!((answer.error(), answer.header("upload-offset")), ((408, "too_slow".into()), Some("5")));
    let alice = token(&dev::alice(), JOB, EXPIRES);
    let rest = put_with(&hash(b"helloworld"), &alice, "upload-offset: 5\r\nContent-Length: 5");
    assert_eq!(server.send(&rest, b"world").await.status, 201);
}

#[tokio::test]
async fn each_kind_of_request_has_places_of_its_own() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve_with(&host, Bounds { uploads: 1, downloads: 0, ..Bounds::default() }).await;
    let input = server.upload(b"input").await;
    let slow = server.open(&put(&hash(b"helloworld"), 10), b"hello").await;
    let metrics = async || String::from_utf8(server.get("/metrics").await.body).unwrap();
    for _ in 0..100 {
        if metrics().await.contains("phala_host_uploads 1") {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let busy = server.send(&put(&hash(b"other"), 5), b"other").await;
    assert_eq!(busy.error(), (503, "busy".into()));
    assert!(busy.retry_after().is_some());
    assert_eq!(server.get("/v1/jobs/7/output").await.error(), (503, "busy".into()));
    // The others are served.
    assert_eq!(server.start(7, 1, &input).await.status, 202);
    assert_eq!(enclave.started_jobs(), [(7, 1, input)]);
    drop(slow);
    let metrics = metrics().await;
    for reason in ["uploads", "downloads"] {
        assert!(metrics.contains(&format!("phala_host_http_rejected_total{{reason=\"{reason}\"}} 1")), "{metrics}");
    }
}

#[tokio::test]
async fn a_thousand_idle_and_a_hundred_slow_connections_hurt_nobody() {
    let host = FakeHost::new().await;
    let mut enclave = host.connect().await;
    // Each connection has both of its ends in this process.
    let files = usize::try_from(crate::run::raise_open_files()).unwrap_or(usize::MAX);
    let server = serve(&host).await;
    let output = vec![9; 4 << 20];
    for (n, chunk) in output.chunks(1 << 20).enumerate() {
        let write = EnclaveRequest::WriteOutput { job: 1, offset: (n << 20) as u64, bytes: chunk.to_vec() };
        enclave.request(write).await.unwrap();
    }
    enclave.notice(EnclaveNotice::JobEnded { job: 1, receipt: Box::new(receipt_of(1, &output)) });
    eventually("the job ends", || host.jobs.report(1).state == Phase::Ended).await;
    let mut idle = Vec::new();
    for _ in 0..1000.min(files / 4) {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let mut slow = Vec::new();
    for n in 0..50u8 {
        slow.push(server.open(&put(&hash(&[n; 1000]), 1000), &[n; 500]).await);
        // Their senders take nothing of it.
        slow.push(server.open("GET /v1/jobs/1/output HTTP/1.1", b"").await);
    }
    let input = server.upload(b"input").await;
    assert_eq!(server.start(7, 1, &input).await.status, 202);
    assert_eq!(enclave.started_jobs(), [(7, 1, input)]);
    assert_eq!(server.get("/v1/jobs/1/output").await.body, output);
    drop((idle, slow));
}

#[tokio::test]
async fn only_the_owner_starts_a_job() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let input = server.upload(b"input").await;
    let body = format!("{{\"input\":\"{}\",\"attempt\":1}}", hex::encode(input));
    assert_eq!(server.post("/v1/jobs/7/start", &body).await.error(), (401, "no_token".into()));
    for (token, expected) in [
        (token(&dev::bob(), 7, EXPIRES), (401, "bad_token")),
        (token(&dev::alice(), 8, EXPIRES), (403, "bad_token")),
        (token(&dev::alice(), 7, 99), (401, "token_expired")),
    ] {
        let answer = server.start_with(&token, 7, 1, &input).await;
        assert_eq!(answer.error(), (expected.0, expected.1.into()), "{token}");
    }
    // Nor is a job started that this worker does not have.
    server.node.state().best.insert(9, owned(&dev::alice(), assigned(WorkerId([8; 32]))));
    assert_eq!(server.start(9, 1, &input).await.error(), (403, "not_this_worker".into()));
    assert_eq!(enclave.started_jobs(), []);
    assert_eq!(server.start(7, 1, &input).await.status, 202);
}

#[tokio::test]
async fn starts_that_cannot_be_have_their_reasons() {
    let host = FakeHost::new().await;
    let server = serve(&host).await;
    let enclave = host.connect().await;
    assert_eq!(server.start(1, 1, &[0; 32]).await.error(), (422, "no_such_blob".into()));
    let input = server.upload(b"input").await;
    enclave.refuse_jobs(Some(no(true)));
    let later = server.start(1, 1, &input).await;
    assert_eq!((later.error(), later.retry_after()), ((409, "not_yet".into()), Some(2)));
    enclave.refuse_jobs(Some(no(false)));
    let never = server.start(1, 1, &input).await;
    assert_eq!((never.error(), never.retry_after()), ((422, "refused".into()), None));
    assert_eq!(server.state(1).await, "unknown");
    assert_eq!(host.jobs.pending(), []);
    assert_eq!(server.start(1, 0, &input).await.error(), (400, "bad_attempt".into()));
    for body in ["", "{}", "{\"input\":\"zz\"}", "{\"input\":1}", "[]", "{\"input\":\"zz\",\"attempt\":-1}"] {
        let answer = server.post("/v1/jobs/1/start", body).await;
        assert!((400..=422).contains(&answer.status), "{body}: {answer:?}");
        assert!(!answer.error().1.is_empty(), "{body}");
    }
    let large = " ".repeat(10_000);
    assert_eq!(server.post("/v1/jobs/1/start", &large).await.status, 413);
    drop(enclave);
    eventually("the host notices", || host.enclave.session().is_none()).await;
    assert_eq!(server.start(1, 1, &input).await.error(), (503, "enclave_unavailable".into()));
}

#[tokio::test]
async fn a_job_that_the_enclave_refuses_later_says_why() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let (noise, input) = (server.upload(b"noise").await, server.upload(b"input").await);
    assert_eq!(server.start(3, 1, &noise).await.status, 202);
    let refusal = Refusal { reason: "not for me".into(), retry: true };
    enclave.notice(EnclaveNotice::JobRefused { job: 3, attempt: 1, refusal });
    eventually("the job is refused", || host.jobs.report(3).state == Phase::Refused).await;
    let reason = async || {
        let report = server.get("/v1/jobs/3").await.json();
        (report["state"].as_str().unwrap().to_owned(), report["refusal"]["reason"].as_str().map(String::from))
    };
    let refused = ("refused".to_owned(), Some("not for me".to_owned()));
    assert_eq!(reason().await, refused);
    // Anybody's start changes nothing before the enclave accepts it.
    enclave.refuse_jobs(Some(no(true)));
    server.start(3, 1, &input).await;
    assert_eq!(reason().await, refused);
    // Noise does not keep the real input out.
    enclave.refuse_jobs(None);
    assert_eq!(server.start(3, 1, &input).await.status, 202);
    assert_eq!(host.jobs.pending(), [Pending { job: 3, attempt: 1, input }]);
}

#[tokio::test]
async fn a_refusal_that_comes_before_the_acceptance_counts() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let input = server.upload(b"input").await;
    enclave.be_hasty(3);
    assert_eq!(server.start(3, 1, &input).await.status, 202);
    eventually("the job is refused", || host.jobs.report(3).state == Phase::Refused).await;
    assert_eq!(host.jobs.pending(), []);
}

#[tokio::test]
async fn starts_leave_a_receipt_alone() {
    let host = FakeHost::new().await;
    let mut enclave = host.connect().await;
    let server = serve(&host).await;
    let input = server.upload(b"input").await;
    server.start(5, 1, &input).await;
    enclave.notice(EnclaveNotice::JobEnded { job: 5, receipt: Box::new(receipt(5)) });
    eventually("the job ends", || host.jobs.report(5).state == Phase::Ended).await;
    // Anybody starts it again: the enclave only says once more how it ended, or refuses.
    assert_eq!(server.start(5, 1, &input).await.status, 202);
    enclave.refuse_jobs(Some(no(false)));
    assert_eq!(server.start(5, 1, &input).await.status, 422);
    assert_eq!((host.jobs.report(5).state, host.jobs.open_receipts()), (Phase::Ended, vec![(5, 1)]));
    // What is said of another attempt, which was not accepted, is nothing to this one.
    for attempt in [1, 2] {
        enclave.notice(EnclaveNotice::JobProgress { job: 5, attempt, state: JobState::Running });
        enclave.notice(EnclaveNotice::JobRefused { job: 5, attempt, refusal: no(true) });
    }
    // Changes are made in order: this one is after those.
    let sealed = EnclaveRequest::StoreSealed { name: "keys".into(), bytes: vec![1] };
    enclave.request(sealed).await.unwrap();
    assert_eq!(host.jobs.report(5).state, Phase::Ended);
    // Another attempt is accepted, and comes to nothing.
    enclave.refuse_jobs(None);
    assert_eq!(server.start(5, 2, &input).await.status, 202);
    enclave.notice(EnclaveNotice::JobProgress { job: 5, attempt: 2, state: JobState::Running });
    eventually("the job runs", || host.jobs.report(5).state == Phase::Running).await;
    assert_eq!(host.jobs.open_receipts(), [(5, 1)]);
    enclave.notice(EnclaveNotice::JobRefused { job: 5, attempt: 2, refusal: no(true) });
    eventually("the job is refused", || host.jobs.report(5).state == Phase::Refused).await;
    host.jobs.forget_old(Duration::ZERO);
    assert_eq!(host.jobs.open_receipts(), [(5, 1)]);
}

#[tokio::test]
async fn a_receipt_of_an_earlier_attempt_replaces_nothing() {
    let host = FakeHost::new().await;
    let (first, second) = (receipt(5), receipt_of_attempt(5, 2));
    host.jobs.ended(5, &second).unwrap();
    host.jobs.ended(5, &first).unwrap();
    assert_eq!(host.jobs.open_receipts(), [(5, 2)]);
    assert_eq!(host.store.load_receipt(5).unwrap(), Some(second));
    // While a later attempt runs, the end of an earlier one is not its end.
    host.jobs.begin(6, 2).accepted([0; 32], &[]);
    host.jobs.ended(6, &receipt(6)).unwrap();
    assert_eq!((host.jobs.report(6).state, host.jobs.open_receipts()), (Phase::Queued, vec![(5, 2), (6, 1)]));
}

#[tokio::test]
async fn what_a_job_reads_is_kept_until_it_ends() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let (input, file) = (server.upload(b"input").await, server.upload(b"file").await);
    enclave.need_blobs(&[input, file]);
    server.start(6, 1, &input).await;
    let present = |host: &FakeHost| [input, file].map(|blob| host.store.blob_bytes(&blob).is_some());
    let remove = |host: &FakeHost| host.store.remove_blobs([input, file]).unlink();
    remove(&host);
    assert_eq!(present(&host), [true, true]);
    // After a restart, even before an enclave says it again.
    drop(enclave);
    let host = host.restart().await;
    remove(&host);
    assert_eq!(present(&host), [true, true]);
    let enclave = host.connect().await;
    enclave.notice(EnclaveNotice::JobEnded { job: 6, receipt: Box::new(receipt(6)) });
    eventually("the job ends", || host.jobs.report(6).state == Phase::Ended).await;
    // The chain may not get the receipt in time.
    remove(&host);
    assert_eq!(present(&host), [true, true]);
    host.jobs.close_receipt(6, 1, ReceiptState::Settled { block: 9 }).unwrap();
    assert_eq!(present(&host), [false, true]);
    remove(&host);
    assert_eq!(present(&host), [false, false]);
}

#[tokio::test]
async fn pending_jobs_survive_restarts_of_both_sides() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let input = server.upload(b"input").await;
    for (job, attempt) in [(1, 1), (2, 1), (3, 2)] {
        assert_eq!(server.start(job, attempt, &input).await.status, 202);
    }
    enclave.notice(EnclaveNotice::JobEnded { job: 2, receipt: Box::new(receipt(2)) });
    eventually("the job ends", || host.jobs.report(2).state == Phase::Ended).await;
    // The enclave restarts, while its old connection looks alive.
    let again = host.connect().await;
    let expected = [(1, 1, input), (3, 2, input)];
    eventually("its jobs are given again", || again.started_jobs() == expected).await;
    drop((enclave, again));
    eventually("the host notices", || host.enclave.session().is_none()).await;
    // The host restarts.
    let host = host.restart().await;
    assert_eq!(host.jobs.report(2).state, Phase::Ended);
    assert_eq!(host.jobs.open_receipts(), [(2, 1)]);
    let enclave = host.connect().await;
    eventually("its jobs are given again", || enclave.started_jobs() == expected).await;
    enclave.notice(EnclaveNotice::JobRefused { job: 1, attempt: 1, refusal: no(false) });
    eventually("the job is refused", || host.jobs.report(1).state == Phase::Refused).await;
}

#[tokio::test]
async fn damaged_files_are_moved_away_and_nothing_is_lost_that_can_be_found() {
    let host = FakeHost::new().await;
    let data = host.folder.path().join("data");
    for job in [1, 2, 3] {
        host.jobs.begin(job, 1).accepted([7; 32], &[]);
        host.jobs.keep(job).unwrap();
    }
    for job in [1, 2] {
        host.jobs.ended(job, &receipt(job)).unwrap();
    }
    host.store.store_sealed("keys", b"sealed").unwrap();
    // A record, a receipt and sealed state of which a loss of power left nothing, or garbage.
    std::fs::write(data.join("jobs/1.json"), "").unwrap();
    std::fs::write(data.join("receipts/2"), [0xff; 10]).unwrap();
    std::fs::write(data.join("jobs/3.json"), "{\"attempt\":1").unwrap();
    std::fs::write(data.join("sealed/keys"), "").unwrap();
    let host = host.restart().await;
    // Its receipt is there: it is brought to the chain.
    assert_eq!((host.jobs.report(1).state, host.jobs.open_receipts()), (Phase::Ended, vec![(1, 1)]));
    // Its receipt is gone: the enclave is asked for it again.
    assert_eq!(host.jobs.pending(), [Pending { job: 2, attempt: 1, input: [7; 32] }]);
    assert_eq!(host.jobs.report(3).state, Phase::Unknown);
    assert_eq!(host.store.load_sealed("keys").unwrap(), None);
    let mut kept: Vec<_> =
        std::fs::read_dir(data.join("quarantine")).unwrap().map(|e| e.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["jobs-1.json", "jobs-3.json", "receipts-2", "sealed-keys"]);
    host.store.empty_quarantine(std::time::SystemTime::now() + Duration::from_secs(1)).unwrap();
    assert_eq!(std::fs::read_dir(data.join("quarantine")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_record_without_an_input_is_refused_and_not_pending_for_ever() {
    let host = FakeHost::new().await;
    let record = r#"{"attempt":1,"input":null,"blobs":[],"phase":"queued","refusal":null,"receipt":null,"updated":1}"#;
    host.store.store_record(4, record.as_bytes()).unwrap();
    let jobs = Jobs::load(host.store.clone(), Arc::default()).unwrap();
    let report = jobs.report(4);
    assert_eq!((report.state, report.refusal.map(|refusal| refusal.retry)), (Phase::Refused, Some(true)));
}

#[tokio::test]
async fn how_a_job_ended_is_recorded_once_the_disk_works_again() {
    let host = FakeHost::new().await;
    let mut enclave = host.connect().await;
    let receipts = host.folder.path().join("data/receipts");
    std::fs::remove_dir(&receipts).unwrap();
    for job in [4, 5] {
        enclave.notice(EnclaveNotice::JobEnded { job, receipt: Box::new(receipt(job)) });
    }
    // Other changes do not wait for that.
    let sealed = EnclaveRequest::StoreSealed { name: "keys".into(), bytes: vec![1] };
    assert_eq!(enclave.request(sealed).await.unwrap(), HostReply::Done);
    assert_eq!(host.jobs.open_receipts(), []);
    std::fs::create_dir(&receipts).unwrap();
    eventually("the receipts are recorded", || host.jobs.open_receipts() == [(4, 1), (5, 1)]).await;
    assert_eq!(host.store.load_receipt(4).unwrap(), Some(receipt(4)));
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_promised() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let input = server.upload(b"input").await;
    let records = host.folder.path().join("data/jobs");
    std::fs::remove_dir(&records).unwrap();
    let failed = server.start(7, 1, &input).await;
    assert_eq!((failed.error(), failed.retry_after()), ((503, "disk".into()), Some(30)));
    std::fs::create_dir(&records).unwrap();
    // The enclave has it already, and it is on record now.
    assert_eq!(server.start(7, 1, &input).await.status, 202);
    assert_eq!(enclave.started_jobs().len(), 2);
    let host = host.restart().await;
    assert_eq!(host.jobs.pending(), [Pending { job: 7, attempt: 1, input }]);
}

#[tokio::test]
async fn a_challenge_is_answered_by_the_enclave() {
    let host = FakeHost::new().await;
    let server = serve(&host).await;
    let nonce = "ab".repeat(32);
    let challenge = format!("{{\"nonce\":\"{nonce}\"}}");
    assert_eq!(server.post("/v1/liveness", &challenge).await.error(), (503, "enclave_unavailable".into()));
    let _enclave = host.connect().await;
    let answer = server.post("/v1/liveness", &challenge).await;
    assert_eq!(answer.status, 200);
    let encoded = hex::decode(answer.json()["liveness"].as_str().unwrap().strip_prefix("0x").unwrap()).unwrap();
    let signed = SignedLiveness::decode(&mut &encoded[..]).unwrap();
    assert_eq!((signed.liveness.nonce, signed.liveness.signing_key), ([0xab; 32], WORKER.0));
    for bad in ["{}", "{\"nonce\":\"ab\"}", "{\"nonce\":7}", "{\"nonce\":\"\",\"more\":1}"] {
        let answer = server.post("/v1/liveness", bad).await;
        assert!((400..=422).contains(&answer.status), "{bad}: {answer:?}");
    }
}

#[tokio::test]
async fn a_pause_of_the_enclave_is_shown() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let input = server.upload(b"input").await;
    assert_eq!(server.get("/v1/worker").await.json()["pause"], Value::Null);
    enclave.pause(Some(Pause::NoFinality { seconds: 120 }));
    eventually("the enclave says so", || host.enclave.status().pause.is_some()).await;
    let worker = server.get("/v1/worker").await.json();
    assert!(worker["pause"].as_str().unwrap().contains("120 seconds"), "{worker}");
    let health = server.get("/health").await;
    assert_eq!((health.status, health.json()["enclave_pause"].is_string()), (503, true));
    assert_eq!(host.metrics.enclave_paused.get(), 1);
    enclave.refuse_jobs(Some(no(true)));
    let later = server.start(1, 1, &input).await;
    assert_eq!((later.status, later.retry_after()), (409, Some(15)));
}

#[tokio::test]
async fn an_enclave_is_served_over_any_stream() {
    let host = FakeHost::new().await;
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let closed = CancellationToken::new();
    let serving = tokio::spawn(host.enclave.clone().serve_stream(ours, Arc::new(FixedStart), closed.clone()));
    let mut enclave = FakeEnclave::over(theirs).await;
    eventually("the enclave is started", || host.enclave.session().is_some()).await;
    let load = EnclaveRequest::LoadSealed { name: "keys".into() };
    assert_eq!(enclave.request(load).await.unwrap(), HostReply::Sealed(None));
    closed.cancel();
    timeout(PATIENCE, serving).await.unwrap().unwrap();
    assert!(host.enclave.session().is_none());
    enclave.hung_up().await;
}

#[tokio::test]
async fn a_new_connection_replaces_the_old_one() {
    let host = FakeHost::new().await;
    let mut old = host.connect().await;
    let mut new = host.connect().await;
    old.hung_up().await;
    let sealed = EnclaveRequest::StoreSealed { name: "keys".into(), bytes: vec![1] };
    assert_eq!(new.request(sealed).await.unwrap(), HostReply::Done);
    let load = EnclaveRequest::LoadSealed { name: "keys".into() };
    assert_eq!(new.request(load).await.unwrap(), HostReply::Sealed(Some(vec![1])));
    let bad = EnclaveRequest::LoadSealed { name: "../keys".into() };
    assert!(!new.request(bad).await.unwrap_err().retry);
    let large = EnclaveRequest::ReadCache { name: "x".into(), offset: 0, length: u32::MAX };
    assert!(new.request(large).await.is_err());
    let cache = EnclaveRequest::WriteCache { name: "x".into(), offset: 0, bytes: vec![5; 10], last: true };
    assert_eq!(new.request(cache).await.unwrap(), HostReply::Done);
    let cached = EnclaveRequest::ReadCache { name: "x".into(), offset: 8, length: 100 };
    assert_eq!(new.request(cached).await.unwrap(), HostReply::Bytes(vec![5; 2]));
}

#[tokio::test]
async fn network_connections_carry_bytes_both_ways() {
    let host = FakeHost::new().await;
    let mut enclave = host.connect().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dial = |connection| EnclaveRequest::Dial { connection, address: address.clone() };
    assert_eq!(enclave.request(dial(9)).await.unwrap(), HostReply::Done);
    assert!(!enclave.request(dial(9)).await.unwrap_err().retry);
    let (mut peer, _) = listener.accept().await.unwrap();
    enclave.notice(EnclaveNotice::Send { connection: 9, bytes: b"ping".to_vec() });
    let mut bytes = [0; 4];
    peer.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
    peer.write_all(b"pong").await.unwrap();
    assert_eq!(enclave.next_notice().await, HostNotice::Received { connection: 9, bytes: b"pong".to_vec() });
    assert_eq!(host.metrics.connections.get(), 1);
    drop(peer);
    assert_eq!(enclave.next_notice().await, HostNotice::Closed { connection: 9 });
    // The id is free again; this time the enclave closes.
    assert_eq!(enclave.request(dial(9)).await.unwrap(), HostReply::Done);
    let (mut peer, _) = listener.accept().await.unwrap();
    enclave.notice(EnclaveNotice::Close { connection: 9 });
    assert_eq!(enclave.next_notice().await, HostNotice::Closed { connection: 9 });
    assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(host.metrics.connections.get(), 0);
    // Nobody there, or no address at all.
    drop(listener);
    assert!(enclave.request(dial(10)).await.unwrap_err().retry);
    for address in ["", "localhost", "localhost:99999", "/ip4/1.2.3.4/tcp/1", "\0:1"] {
        let dial = EnclaveRequest::Dial { connection: 11, address: address.into() };
        enclave.request(dial).await.unwrap_err();
    }
    // Bytes for a connection that never was.
    enclave.notice(EnclaveNotice::Send { connection: 77, bytes: vec![0; 10] });
    enclave.notice(EnclaveNotice::Close { connection: 77 });
    assert_eq!(enclave.request(EnclaveRequest::LoadSealed { name: "x".into() }).await, Ok(HostReply::Sealed(None)));
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_closed() {
    let host = FakeHost::new().await;
    let mut enclave = host.connect().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    enclave.request(EnclaveRequest::Dial { connection: 1, address }).await.unwrap();
    let (_peer, _) = listener.accept().await.unwrap();
    for _ in 0..64 {
        enclave.notice(EnclaveNotice::Send { connection: 1, bytes: vec![0; 1 << 20] });
    }
    assert_eq!(enclave.next_notice().await, HostNotice::Closed { connection: 1 });
}

#[tokio::test]
async fn evidence_and_registrations_are_served() {
    let host = FakeHost::new().await;
    let server = serve(&host).await;
    assert_eq!(server.get("/v1/registration").await.error(), (503, "enclave_unavailable".into()));
    assert_eq!(server.get("/health").await.status, 503);
    let _enclave = host.connect().await;
    assert_eq!(server.get("/v1/evidence").await.error(), (404, "not_registered".into()));
    let encoded = |value: &Value| hex::decode(value.as_str().unwrap().strip_prefix("0x").unwrap()).unwrap();
    let first = server.get("/v1/registration").await.json();
    assert_eq!(
        (encoded(&first["statement"]), encoded(&first["evidence"])),
        (bundle(1).0.encode(), bundle(1).1.encode())
    );
    assert_eq!(first["endpoint"].as_str(), Some("http://x"));
    // Asked again at once, the enclave is left alone.
    assert_eq!(server.get("/v1/registration").await.json(), first);
    // Whoever sees it registered on chain gets it, though this host has not seen that yet.
    let hash = hex::encode(evidence_hash(&bundle(1)));
    assert_eq!(server.get(&format!("/v1/evidence/{hash}")).await.json()["statement"], first["statement"]);
    assert_eq!(server.get("/v1/evidence").await.error(), (404, "not_registered".into()));
    let other = "05".repeat(32);
    assert_eq!(server.get(&format!("/v1/evidence/{other}")).await.error(), (404, "no_such_evidence".into()));
    assert_eq!(server.get("/v1/evidence/05").await.error(), (400, "bad_hash".into()));
    host.store.promote_bundle(&evidence_hash(&bundle(1))).unwrap().unwrap();
    assert_eq!(encoded(&server.get("/v1/evidence").await.json()["statement"]), bundle(1).0.encode());
    let worker = server.get("/v1/worker").await;
    assert_eq!(worker.status, 200);
    assert_eq!(worker.json()["worker"].as_str(), Some(WORKER.to_string().as_str()));
    assert_eq!(worker.json()["operator"].as_str(), Some(OPERATOR.to_string().as_str()));
    eventually("the enclave gave its status", || host.enclave.status().finalized_block == Some(8)).await;
    assert_eq!(server.get("/health").await.status, 200);
    let metrics = String::from_utf8(server.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("phala_host_enclave_finalized_block 8"), "{metrics}");
    assert!(metrics.contains("route=\"/v1/evidence\",status=\"404\"} 2"), "{metrics}");
}

fn bundle(number: u8) -> (Statement, Evidence) {
    let registration = registration(number);
    (registration.statement, registration.evidence)
}

#[tokio::test]
async fn errors_are_json_everywhere() {
    let host = FakeHost::new().await;
    let server = serve(&host).await;
    for (head, status) in [
        ("GET / HTTP/1.1", 404),
        ("GET /v1/../etc/passwd HTTP/1.1", 404),
        ("DELETE /v1/worker HTTP/1.1", 405),
        ("GET /v1/jobs/-1 HTTP/1.1", 400),
        ("GET /v1/jobs/01 HTTP/1.1", 400),
        ("GET /v1/jobs/99999999999999999999 HTTP/1.1", 400),
        ("GET /v1/jobs/%2e%2e/output HTTP/1.1", 400),
        ("GET /v1/jobs/5/output HTTP/1.1", 404),
    ] {
        let answer = server.send(head, b"").await;
        assert_eq!(answer.status, status, "{head}");
        let body = answer.json();
        assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string(), "{head}: {body}");
    }
}

#[tokio::test]
async fn a_stop_lets_uploads_end() {
    let host = FakeHost::new().await;
    let _enclave = host.connect().await;
    let server = serve(&host).await;
    let mut stream = server.open(&put(&hash(b"helloworld"), 10), b"hello").await;
    sleep(Duration::from_millis(100)).await;
    server.shutdown.cancel();
    sleep(Duration::from_millis(100)).await;
    stream.write_all(b"world").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201");
    timeout(PATIENCE, server.serving).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn strangers_on_the_socket_are_turned_away() {
    let host = FakeHost::new().await;
    let other = Hello { version: 999, ..Hello::CURRENT };
    let oversize = (MAX_FRAME_BYTES + 1).to_le_bytes().to_vec();
    for bytes in [wire::encode(&other), oversize.clone(), b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        assert!(is_hung_up_after(&host, &bytes).await);
    }
    let mut greeted = wire::encode(&Hello::CURRENT);
    greeted.extend_from_slice(&oversize);
    assert!(is_hung_up_after(&host, &greeted).await);
    // The next one is welcome.
    host.connect().await;
}

/// Writes, and reads until the host hangs up.
async fn is_hung_up_after(host: &FakeHost, bytes: &[u8]) -> bool {
    let mut stream = UnixStream::connect(&host.socket).await.unwrap();
    // The host may hang up before everything is written.
    let _ = stream.write_all(bytes).await;
    timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.is_ok()
}

#[tokio::test]
async fn silent_strangers_on_the_socket_do_not_keep_the_enclave_out() {
    let host = FakeHost::new().await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(UnixStream::connect(&host.socket).await.unwrap());
    }
    // Sooner than any of them is given up.
    timeout(Duration::from_secs(4), host.connect()).await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn a_socket_in_use_is_not_taken_and_a_dead_one_is() {
    let host = FakeHost::new().await;
    let error = crate::enclave::listen(&host.socket).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let (folder, socket) = (host.folder.clone(), host.socket.clone());
    host.stop().await;
    assert!(socket.exists());
    crate::enclave::listen(&socket).await.unwrap();
    drop(folder);
}

#[tokio::test]
async fn another_user_can_connect_where_the_folder_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("new/enclave.sock");
    let _listener = crate::enclave::listen(&socket).await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o666, 0o710));
    // A folder that is there is left as it is, and is of no use when others may enter it.
    for (bits, fits) in [(0o700, true), (0o750, true), (0o711, false), (0o755, false), (0o777, false)] {
        let folder = folder.path().join(format!("{bits:o}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(bits)).unwrap();
        match crate::enclave::listen(&folder.join("enclave.sock")).await {
            Ok(_) => assert!(fits, "{bits:o}"),
            Err(error) => assert!(!fits && error.to_string().contains("chmod 710"), "{bits:o}: {error}"),
        }
        assert_eq!(mode(&folder), bits);
    }
}

fn request() -> impl Strategy<Value = EnclaveRequest> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..64);
    prop_oneof![
        (any::<u64>(), ".{0,12}").prop_map(|(connection, address)| EnclaveRequest::Dial { connection, address }),
        (any::<[u8; 32]>(), any::<u64>(), any::<u32>()).prop_map(|(blob, offset, length)| EnclaveRequest::ReadBlob {
            blob,
            offset,
            length
        }),
        (0..3u64, prop_oneof![Just(0), any::<u64>()], bytes.clone())
            .prop_map(|(job, offset, bytes)| EnclaveRequest::WriteOutput { job, offset, bytes }),
        "[a-z./]{0,5}".prop_map(|name| EnclaveRequest::LoadSealed { name }),
        ("[a-z./]{0,5}", bytes.clone()).prop_map(|(name, bytes)| EnclaveRequest::StoreSealed { name, bytes }),
        ("[a-z./]{0,5}", any::<u64>(), any::<u32>()).prop_map(|(name, offset, length)| EnclaveRequest::ReadCache {
            name,
            offset,
            length
        }),
        ("[a-z./]{0,5}", prop_oneof![Just(0), any::<u64>()], bytes, any::<bool>())
            .prop_map(|(name, offset, bytes, last)| EnclaveRequest::WriteCache { name, offset, bytes, last }),
    ]
}

fn notice() -> impl Strategy<Value = EnclaveNotice> {
    let state = prop_oneof![Just(JobState::Queued), Just(JobState::Running), Just(JobState::Finishing)];
    prop_oneof![
        (any::<u64>(), any::<[u8; 8]>())
            .prop_map(|(connection, bytes)| EnclaveNotice::Send { connection, bytes: bytes.to_vec() }),
        any::<u64>().prop_map(|connection| EnclaveNotice::Close { connection }),
        (0..3u64, 0..3u32, state).prop_map(|(job, attempt, state)| EnclaveNotice::JobProgress { job, attempt, state }),
        (0..3u64, 0..3u64, 0..3u32).prop_map(|(job, other, attempt)| EnclaveNotice::JobEnded {
            job,
            receipt: Box::new(receipt_of_attempt(other, attempt))
        }),
        (0..3u64, 0..3u32, any::<bool>()).prop_map(|(job, attempt, retry)| EnclaveNotice::JobRefused {
            job,
            attempt,
            refusal: no(retry)
        }),
        ".{0,80}".prop_map(|message| EnclaveNotice::Log { level: LogLevel::Debug, message }),
    ]
}

fn message() -> impl Strategy<Value = EnclaveMessage> {
    prop_oneof![
        4 => (any::<u64>(), request()).prop_map(|(id, request)| Message::Request { id, request }),
        4 => notice().prop_map(Message::Notice),
        1 => (0..5u64).prop_map(|id| {
            Message::Reply { id, reply: Err(Refusal { reason: "unasked".into(), retry: false }) }
        }),
        1 => (0..5u64).prop_map(|id| Message::Reply { id, reply: Ok(EnclaveReply::JobAccepted { blobs: Vec::new() }) }),
    ]
}

/// What an enclave sends after its greeting: messages, noise in frames, noise.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let framed = |body: Vec<u8>| [(body.len() as u32).to_le_bytes().to_vec(), body].concat();
    let piece = prop_oneof![
        8 => message().prop_map(|message| wire::encode(&message)),
        1 => (message(), any::<prop::sample::Index>(), any::<u8>()).prop_map(move |(message, index, byte)| {
            let mut body = message.encode();
            let at = index.index(body.len());
            body[at] = byte;
            framed(body)
        }),
        1 => proptest::collection::vec(any::<u8>(), 0..64).prop_map(framed),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// Whatever an enclave sends: nothing panics, and the next enclave is served.
#[test]
fn no_bytes_from_the_enclave_make_the_host_panic() {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    let thread_name = "under-attack";
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() == Some(thread_name) {
            PANICKED.store(true, Ordering::SeqCst);
        }
        usual(info);
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(thread_name)
        .enable_all()
        .build()
        .unwrap();
    let host = runtime.block_on(FakeHost::new());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let result = runner.run(&stream(), |bytes| {
        runtime.block_on(async {
            let mut socket = UnixStream::connect(&host.socket).await.unwrap();
            socket.write_all(&wire::encode(&Hello::CURRENT)).await.unwrap();
            // The host may hang up at any byte.
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
            let _ = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await.expect("the host hangs up");
        });
        prop_assert!(!PANICKED.load(Ordering::SeqCst));
        Ok(())
    });
    result.unwrap();
    runtime.block_on(async {
        host.connect().await;
        host.stop().await;
    });
    assert!(!PANICKED.load(Ordering::SeqCst));
}
