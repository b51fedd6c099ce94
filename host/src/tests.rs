//! The host with an enclave that speaks the protocol over a real socket, and users over real HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use codec::Encode;
use phala_attestation::{Evidence, Statement};
use phala_primitives::Hash;
use phala_protocol::{
    EnclaveMessage, EnclaveNotice, EnclaveRequest, Hello, HostNotice, HostReply, JobState, LogLevel, MAX_FRAME_BYTES,
    Message, Refusal, wire,
};
use phala_sdk::host::{Host as Client, HostError};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{Mutex, Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    chain::{Node, OperatorConfig, Submits},
    http::{self, Api},
    jobs::Phase,
    store::{Limits, evidence_hash},
    testing::{FakeHost, FakeNode, OPERATOR, PATIENCE, WORKER, eventually, receipt, registration},
};

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

struct Server {
    address: std::net::SocketAddr,
    client: Client,
    shutdown: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

async fn serve(host: &FakeHost) -> Server {
    let node: Arc<dyn Node> = FakeNode::new();
    let heads = Some(node.heads().await.unwrap());
    let api = Api {
        store: host.store.clone(),
        jobs: host.jobs.clone(),
        enclave: host.enclave.clone(),
        node,
        heads: watch::channel(heads).1,
        metrics: host.metrics.clone(),
        operator: OperatorConfig {
            operator: OPERATOR,
            endpoint: "http://x".into(),
            price: 1,
            submits: Submits::Everything,
        },
        capacity: 4,
        uploads: Arc::new(Semaphore::new(2)),
        last_registration: Mutex::new(None),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(http::serve(Arc::new(api), listener, shutdown.clone()));
    Server { address, client: Client::new(&format!("http://{address}")).unwrap(), shutdown, serving }
}

impl Server {
    async fn upload(&self, bytes: &[u8]) -> Result<Hash, HostError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        self.client.upload(file.path(), &hash(bytes), bytes.len() as u64, |_| {}).await.map(|()| hash(bytes))
    }

    /// A request written by hand: its status and body.
    async fn raw(&self, head: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, HostError>) -> (u16, String) {
    match result {
        Err(HostError::Refused { status, code, .. }) => (status, code),
        other => panic!("no refusal: {other:?}"),
    }
}

#[tokio::test]
async fn a_job_goes_from_upload_to_output() {
    let host = FakeHost::new().await;
    let mut enclave = host.connect().await;
    let server = serve(&host).await;
    let file: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let input = server.upload(&file).await.unwrap();
    assert!(server.client.has_blob(&input).await.unwrap());
    assert!(!server.client.has_blob(&[0; 32]).await.unwrap());
    // Twice is fine.
    server.upload(&file).await.unwrap();
    assert_eq!(server.client.job(7).await.unwrap().state, "unknown");
    server.client.start(7, &input).await.unwrap();
    assert_eq!(enclave.started_jobs(), [(7, input)]);
    assert_eq!(server.client.job(7).await.unwrap().state, "queued");
    assert_eq!(refusal(server.client.receipt(7).await), (404, "no_receipt".into()));

    let read = EnclaveRequest::ReadBlob { blob: input, offset: 299_000, length: 5000 };
    assert_eq!(enclave.request(read).await.unwrap(), HostReply::Bytes(file[299_000..].to_vec()));
    enclave.notice(EnclaveNotice::JobProgress { job: 7, state: JobState::Running });
    for (offset, bytes) in [(0, b"age-".to_vec()), (4, b"file".to_vec())] {
        let done = enclave.request(EnclaveRequest::WriteOutput { job: 7, offset, bytes }).await;
        assert_eq!(done.unwrap(), HostReply::Done);
    }
    assert_eq!(server.client.job(7).await.unwrap().state, "running");
    enclave.notice(EnclaveNotice::JobEnded { job: 7, receipt: Box::new(receipt(7)) });
    eventually("the job ends", || host.jobs.report(7).state == Phase::Ended).await;
    assert_eq!(server.client.receipt(7).await.unwrap(), receipt(7));
    let output = host.folder.path().join("output");
    assert_eq!(server.client.output(7, &output, 100, |_, _| {}).await.unwrap(), 8);
    assert_eq!(std::fs::read(output).unwrap(), b"age-file");
    assert_eq!(host.jobs.open_receipts(), [7]);
}

#[tokio::test]
async fn wrong_uploads_are_refused_and_nothing_is_kept() {
    let host = FakeHost::with_limits(Limits { blob_bytes: 1000, total_bytes: 5000, ..Limits::default() }).await;
    let server = serve(&host).await;
    let put =
        |hash: Hash, length: usize| format!("PUT /v1/blobs/{} HTTP/1.1\r\nContent-Length: {length}", hex::encode(hash));
    let body = [7; 500];
    let (status, answer) = server.raw(&put([0; 32], 500), &body).await;
    assert_eq!((status, answer.contains("hash_mismatch")), (422, true), "{answer}");
    // The connection ends early: there may be nobody left to answer.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(format!("{}\r\nHost: x\r\n\r\n", put(hash(&body), 501)).as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    eventually("the upload begins", || host.store.used_bytes() == 501).await;
    drop(stream);
    eventually("the upload is dropped", || host.store.used_bytes() == 0).await;
    let (status, answer) = server.raw(&put([0; 32], 1001), &[0; 1001]).await;
    assert_eq!((status, answer.contains("too_large")), (413, true), "{answer}");
    let chunked = format!("PUT /v1/blobs/{} HTTP/1.1\r\nTransfer-Encoding: chunked", "00".repeat(32));
    let (status, _) = server.raw(&chunked, b"1\r\nx\r\n0\r\n\r\n").await;
    assert_eq!(status, 422);
    let (status, _) = server.raw(&chunked, b"x\r\n").await;
    assert_eq!(status, 422);
    let (status, answer) = server.raw("PUT /v1/blobs/zz HTTP/1.1\r\nContent-Length: 1", b"x").await;
    assert_eq!((status, answer.contains("bad_hash")), (400, true), "{answer}");
    assert_eq!(host.store.used_bytes(), 0);
    for folder in ["blobs", "tmp"] {
        assert_eq!(std::fs::read_dir(host.folder.path().join("data").join(folder)).unwrap().count(), 0);
    }
    // The same bytes, whole and under their name.
    server.upload(&body).await.unwrap();
    // The disk is full.
    for n in 0..4 {
        server.upload(&[n; 1000]).await.unwrap();
    }
    assert_eq!(refusal(server.upload(&[9; 1000]).await), (507, "no_space".into()));
}

#[tokio::test]
async fn an_upload_without_a_length_is_taken() {
    let host = FakeHost::new().await;
    let server = serve(&host).await;
    let head = format!("PUT /v1/blobs/{} HTTP/1.1\r\nTransfer-Encoding: chunked", hex::encode(hash(b"hello")));
    assert_eq!(server.raw(&head, b"5\r\nhello\r\n0\r\n\r\n").await.0, 201);
    assert_eq!(host.store.used_bytes(), 5);
    assert_eq!(server.raw(&head, b"5\r\nhello\r\n0\r\n\r\n").await.0, 200);
}

#[tokio::test]
async fn starts_that_cannot_be_have_their_reasons() {
    let host = FakeHost::new().await;
    let server = serve(&host).await;
    assert_eq!(refusal(server.client.start(1, &[0; 32]).await), (422, "no_such_blob".into()));
    let input = server.upload(b"input").await.unwrap();
    assert_eq!(refusal(server.client.start(1, &input).await), (503, "enclave_unavailable".into()));
    let enclave = host.connect().await;
    for (retry, expected) in [(true, (409, "not_yet")), (false, (422, "refused"))] {
        enclave.refuse_jobs(Some(Refusal { reason: "no".into(), retry }));
        assert_eq!(refusal(server.client.start(1, &input).await), (expected.0, expected.1.into()));
    }
    assert_eq!(server.client.job(1).await.unwrap().state, "unknown");
    assert_eq!(host.jobs.pending(), []);
    for body in ["", "{}", "{\"input\":\"zz\"}", "{\"input\":1}", "[]"] {
        let head = format!(
            "POST /v1/jobs/1/start HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}",
            body.len()
        );
        let (status, answer) = server.raw(&head, body.as_bytes()).await;
        assert!((400..=422).contains(&status) && answer.contains("\"code\""), "{body}: {status} {answer}");
    }
    let large = vec![b' '; 10_000];
    let head = "POST /v1/jobs/1/start HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 10000";
    assert_eq!(server.raw(head, &large).await.0, 413);
}

#[tokio::test]
async fn a_job_that_the_enclave_refuses_later_says_why() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let (noise, input) = (server.upload(b"noise").await.unwrap(), server.upload(b"input").await.unwrap());
    server.client.start(3, &noise).await.unwrap();
    let refused = Refusal { reason: "not for me".into(), retry: true };
    enclave.notice(EnclaveNotice::JobRefused { job: 3, refusal: refused });
    eventually("the job is refused", || host.jobs.report(3).state == Phase::Refused).await;
    let state = server.client.job(3).await.unwrap();
    assert_eq!(state.refusal.unwrap().reason, "not for me");
    // Noise does not keep the real input out.
    server.client.start(3, &input).await.unwrap();
    assert_eq!(host.jobs.pending(), [(3, input)]);
}

#[tokio::test]
async fn starts_leave_a_receipt_alone() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let input = server.upload(b"input").await.unwrap();
    server.client.start(5, &input).await.unwrap();
    enclave.notice(EnclaveNotice::JobEnded { job: 5, receipt: Box::new(receipt(5)) });
    eventually("the job ends", || host.jobs.report(5).state == Phase::Ended).await;
    // Anybody starts it again: the enclave only says once more how it ended, or refuses.
    server.client.start(5, &input).await.unwrap();
    enclave.refuse_jobs(Some(Refusal { reason: "no".into(), retry: false }));
    server.client.start(5, &input).await.unwrap_err();
    assert_eq!((host.jobs.report(5).state, host.jobs.open_receipts()), (Phase::Ended, vec![5]));
    // Another attempt comes to nothing.
    enclave.notice(EnclaveNotice::JobProgress { job: 5, state: JobState::Running });
    eventually("the job runs", || host.jobs.report(5).state == Phase::Running).await;
    assert_eq!(host.jobs.open_receipts(), [5]);
    enclave.notice(EnclaveNotice::JobRefused { job: 5, refusal: Refusal { reason: "late".into(), retry: true } });
    eventually("the job is refused", || host.jobs.report(5).state == Phase::Refused).await;
    server.client.start(5, &input).await.unwrap_err();
    host.jobs.forget_old(Duration::ZERO);
    assert_eq!(host.jobs.open_receipts(), [5]);
}

#[tokio::test]
async fn what_a_job_reads_is_kept_until_it_ends() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let (input, file) = (server.upload(b"input").await.unwrap(), server.upload(b"file").await.unwrap());
    enclave.need_blobs(&[input, file]);
    server.client.start(6, &input).await.unwrap();
    let present = || [input, file].map(|blob| host.store.blob_bytes(&blob).is_some());
    let remove = || [input, file].iter().for_each(|blob| host.store.remove_blob(blob));
    remove();
    assert_eq!(present(), [true, true]);
    enclave.notice(EnclaveNotice::JobEnded { job: 6, receipt: Box::new(receipt(6)) });
    eventually("the job ends", || host.jobs.report(6).state == Phase::Ended).await;
    remove();
    assert_eq!(present(), [false, false]);
}

#[tokio::test]
async fn pending_jobs_survive_restarts_of_both_sides() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let server = serve(&host).await;
    let input = server.upload(b"input").await.unwrap();
    for job in [1, 2, 3] {
        server.client.start(job, &input).await.unwrap();
    }
    enclave.notice(EnclaveNotice::JobEnded { job: 2, receipt: Box::new(receipt(2)) });
    eventually("the job ends", || host.jobs.report(2).state == Phase::Ended).await;
    // The enclave restarts, while its old connection looks alive.
    let again = host.connect().await;
    eventually("its jobs are given again", || again.started_jobs() == [(1, input), (3, input)]).await;
    drop((enclave, again));
    eventually("the host notices", || host.enclave.session().is_none()).await;
    // The host restarts.
    let host = host.restart().await;
    assert_eq!(host.jobs.report(2).state, Phase::Ended);
    assert_eq!(host.jobs.open_receipts(), [2]);
    let enclave = host.connect().await;
    eventually("its jobs are given again", || enclave.started_jobs() == [(1, input), (3, input)]).await;
    enclave.notice(EnclaveNotice::JobRefused { job: 1, refusal: Refusal { reason: "no".into(), retry: false } });
    eventually("the job is refused", || host.jobs.report(1).state == Phase::Refused).await;
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
    assert_eq!(refusal(server.client.registration().await), (503, "enclave_unavailable".into()));
    assert_eq!(server.raw("GET /health HTTP/1.1", b"").await.0, 503);
    let _enclave = host.connect().await;
    assert_eq!(refusal(server.client.evidence().await), (404, "not_registered".into()));
    let first = server.client.registration().await.unwrap();
    assert_eq!((first.statement.clone(), first.evidence.clone()), bundle(1));
    assert_eq!(first.endpoint.as_deref(), Some("http://x"));
    // Asked again at once, the enclave is left alone.
    assert_eq!(server.client.registration().await.unwrap().statement, first.statement);
    // Somebody registers it on chain.
    host.store.promote_bundle(&evidence_hash(&bundle(1))).unwrap().unwrap();
    assert_eq!(server.client.evidence().await.unwrap(), bundle(1));
    let (status, worker) = server.raw("GET /v1/worker HTTP/1.1", b"").await;
    assert_eq!(status, 200);
    assert!(worker.contains(&WORKER.to_string()) && worker.contains(&OPERATOR.to_string()), "{worker}");
    eventually("the enclave gave its status", || host.enclave.status().finalized_block == Some(8)).await;
    assert_eq!(server.raw("GET /health HTTP/1.1", b"").await.0, 200);
    let (_, metrics) = server.raw("GET /metrics HTTP/1.1", b"").await;
    assert!(metrics.contains("phala_host_enclave_finalized_block 8"), "{metrics}");
    assert!(metrics.contains("route=\"/v1/evidence\",status=\"404\"} 1"), "{metrics}");
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
        let (actual, body) = server.raw(head, b"").await;
        assert_eq!(actual, status, "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string(), "{head}: {body}");
    }
}

#[tokio::test]
async fn a_stop_lets_uploads_end() {
    let host = FakeHost::new().await;
    let server = serve(&host).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "PUT /v1/blobs/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello",
        hex::encode(hash(b"helloworld"))
    );
    stream.write_all(head.as_bytes()).await.unwrap();
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
        (0..3u64, state).prop_map(|(job, state)| EnclaveNotice::JobProgress { job, state }),
        (0..3u64, 0..3u64).prop_map(|(job, other)| EnclaveNotice::JobEnded { job, receipt: Box::new(receipt(other)) }),
        (0..3u64, any::<bool>())
            .prop_map(|(job, retry)| EnclaveNotice::JobRefused { job, refusal: Refusal { reason: "?".into(), retry } }),
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
        1 => (0..5u64).prop_map(|id| Message::Reply { id, reply: Ok(phala_protocol::EnclaveReply::Stopping) }),
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
