use super::{
    testing::{FakeHost, Step},
    *,
};
use crate::Signer;
use phala_primitives::worker::Liveness;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{BufRead, Write},
    sync::Arc,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    time::Instant,
};

/// What a slow host reads at once, in bytes.
const PIECE: usize = 1 << 20;

/// How many pieces a test uploads: more than both ends' sockets hold.
const PIECES: u64 = 24;

fn token() -> UploadToken {
    UploadToken::sign(&Signer::from_uri("//Alice").unwrap(), [1; 32], 7, 1_900_000_000)
}

/// Uploads to a host that reads `pieces`, with a pause after each, and then answers or says nothing for ever.
async fn upload(patience: Patience, pieces: u64, answers: bool) -> Result<(), HostError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        for method in ["HEAD", "PUT"] {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).await.unwrap() > 0);
            }
            assert!(head.starts_with(method), "{head}");
            if method == "HEAD" {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n").await.unwrap();
                continue;
            }
            let mut piece = vec![0; PIECE];
            for _ in 0..pieces {
                stream.read_exact(&mut piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if answers {
                stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
            std::future::pending::<()>().await;
        }
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes = PIECES * PIECE as u64;
    file.as_file().set_len(bytes).unwrap();
    let host = Host { patience, ..Host::new(&endpoint).unwrap() };
    let result = host.upload(file.path(), &[1; 32], bytes, &token(), |_| ()).await;
    serving.abort();
    result
}

#[tokio::test]
async fn an_upload_may_take_any_time_while_it_moves() {
    let patience = Patience { stall: Duration::from_millis(600), answer: Duration::from_secs(10), ..PATIENCE };
    let start = Instant::now();
    upload(patience, PIECES, true).await.unwrap();
    assert!(start.elapsed() > patience.stall, "the host was not slow");
}

#[tokio::test]
async fn an_upload_that_stalls_ends() {
    let patience = Patience { stall: Duration::from_millis(300), answer: Duration::from_secs(60), ..PATIENCE };
    let error = upload(patience, 1, false).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("nothing moved for 300ms"), "{error}");
}

#[tokio::test]
async fn an_upload_without_an_answer_ends() {
    let patience = Patience { stall: Duration::from_secs(60), answer: Duration::from_millis(700), ..PATIENCE };
    let error = upload(patience, PIECES, false).await.unwrap_err();
    assert!(error.to_string().contains("nothing moved for 700ms"), "{error}");
}

#[tokio::test]
async fn an_answer_that_trickles_is_given_up() {
    // What there is of a refusal is worth more than nothing.
    let cases = [("200 OK", "no whole answer came within 300ms"), ("503 Service Unavailable", "HTTP status 503")];
    for (status, expected) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            loop {
                let mut stream = BufReader::new(listener.accept().await.unwrap().0);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap() > 0 {}
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: 100000\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        let patience = Patience { body: Duration::from_millis(300), ..PATIENCE };
        let host = Host { patience, ..Host::new(&endpoint).unwrap() };
        let error = host.job(7).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains(expected), "{error}");
        serving.abort();
    }
}

/// Uploads ten bytes, whose name does not matter, to a host that does these steps. Gives what the host saw.
async fn upload_ten(steps: Vec<Step>) -> (Result<(), HostError>, Vec<(String, Vec<u8>)>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), b"0123456789").unwrap();
    let fake = FakeHost::new(steps).await;
    let result = fake.host.upload(file.path(), &[1; 32], 10, &token(), |_| ()).await;
    (result, fake.seen())
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke_off() {
    let head = Step::answer(0, "404 Not Found", "upload-offset: 4\r\n", b"");
    let (result, seen) = upload_ten(vec![head, Step::answer(6, "201 Created", "", b"")]).await;
    result.unwrap();
    // Whose upload it was, the host tells by the token.
    assert!(seen[0].0.contains("phala-upload: 7.1900000000."), "{}", seen[0].0);
    let (put, body) = &seen[1];
    assert_eq!(body, b"456789");
    for line in ["upload-offset: 4\r\n", "upload-length: 10\r\n", "content-length: 6\r\n"] {
        assert!(put.contains(line), "{put}");
    }
    assert!(put.contains("phala-upload: 7.1900000000."), "{put}");
}

#[tokio::test]
async fn an_upload_begins_where_the_host_says() {
    let head = || Step::answer(0, "404 Not Found", "upload-offset: 4\r\n", b"");
    let conflict = |body, at: u64| Step::answer(body, "409 Conflict", &format!("upload-offset: {at}\r\n"), b"");
    let (result, seen) = upload_ten(vec![head(), conflict(6, 7), Step::answer(3, "201 Created", "", b"")]).await;
    result.unwrap();
    assert_eq!(seen[2].1, b"789");
    // What is longer than the file is no part of it.
    let (result, seen) = upload_ten(vec![head(), conflict(6, 11), Step::answer(10, "200 OK", "", b"")]).await;
    result.unwrap();
    assert_eq!(seen[2].1, b"0123456789");
    // For ever is too long.
    let (result, _) = upload_ten(vec![head(), conflict(6, 7), conflict(3, 8), conflict(2, 9)]).await;
    assert!(matches!(result, Err(HostError::Malformed(_))), "{result:?}");
    // While another upload of the same is under way, there is nothing to go on with.
    let under_way = br#"{"error":{"code":"upload_under_way","message":"wait"}}"#;
    let under_way = Step::answer(6, "409 Conflict", "upload-offset: 5\r\n", under_way);
    let (result, seen) = upload_ten(vec![head(), under_way]).await;
    assert!(result.unwrap_err().is_transient() && seen.len() == 2);
}

#[tokio::test]
async fn what_is_there_is_not_uploaded() {
    let (result, seen) = upload_ten(vec![Step::answer(0, "200 OK", "", b"")]).await;
    assert!(result.is_ok() && seen.len() == 1);
}

#[tokio::test]
async fn a_busy_host_says_when_to_come_back() {
    let body = br#"{"error":{"code":"busy","message":"too much to do","retry_after":7}}"#;
    for (header, expected) in [
        ("retry-after: 7\r\n", Some(Duration::from_secs(7))),
        ("retry-after: 999999\r\n", Some(MAX_RETRY_AFTER)),
        ("retry-after: soon\r\n", None),
        ("", None),
    ] {
        let fake = FakeHost::new(vec![Step::answer(0, "429 Too Many Requests", header, body)]).await;
        let error = fake.host.job(7).await.unwrap_err();
        assert!(error.is_transient());
        assert_eq!(error.retry_after(), expected, "{header}");
    }
}

#[test]
fn tokens_are_the_owners_word() {
    use codec::Encode;
    let message = (b"phala/upload/v1", [1u8; 32], 7u64, 1_900_000_000u64).encode();
    assert_eq!(message.len(), 15 + 32 + 8 + 8);
    let token = token();
    let text = token.to_string();
    let [job, expires, signature] = text.split('.').collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!((job, expires, signature.len()), ("7", "1900000000", 128));
    let account = Signer::from_uri("//Alice").unwrap().account();
    let key = schnorrkel::PublicKey::from_bytes(&account.0).unwrap();
    let signature = schnorrkel::Signature::from_bytes(&hex::decode(signature).unwrap()).unwrap();
    key.verify_simple(b"substrate", &message, &signature).unwrap();
    let json = serde_json::to_string(&token).unwrap();
    assert_eq!(serde_json::from_str::<UploadToken>(&json).unwrap(), token);
}

#[tokio::test]
async fn inputs_are_fetched_with_the_operators_word() {
    use codec::Encode;
    let operator = Signer::from_uri("//Alice").unwrap();
    let token = FetchToken::sign(&operator, [1; 32], 7, 1_900_000_000);
    let text = token.to_string();
    let [job, expires, signature] = text.split('.').collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!((job, expires, signature.len()), ("7", "1900000000", 128));
    let message = (b"phala/fetch/v1", [1u8; 32], 7u64, 1_900_000_000u64).encode();
    assert_eq!(message.len(), 14 + 32 + 8 + 8);
    let key = schnorrkel::PublicKey::from_bytes(&operator.account().0).unwrap();
    let signature = schnorrkel::Signature::from_bytes(&hex::decode(signature).unwrap()).unwrap();
    key.verify_simple(b"substrate", &message, &signature).unwrap();

    let (input, file) = ("ab".repeat(32), "cd".repeat(32));
    let kept =
        json!({"job": 7, "input": input, "blobs": [{"sha256": input, "bytes": 5}, {"sha256": file, "bytes": 9}]});
    let fake = FakeHost::new(vec![
        Step::answer(0, "200 OK", "", kept.to_string().as_bytes()),
        Step::answer(0, "200 OK", "", b"hello"),
        Step::answer(0, "206 Partial Content", "content-range: bytes 3-4/5\r\n", b"lo"),
        Step::answer(0, "416 Range Not Satisfiable", "content-range: bytes */5\r\n", b""),
        Step::answer(0, "200 OK", "", json!({"input": "ab", "blobs": []}).to_string().as_bytes()),
    ])
    .await;
    let kept = fake.host.inputs(7, &token).await.unwrap();
    let blobs = [KeptBlob { sha256: [0xab; 32], bytes: 5 }, KeptBlob { sha256: [0xcd; 32], bytes: 9 }];
    assert_eq!(kept, KeptInputs { input: [0xab; 32], blobs: blobs.to_vec() });
    for (offset, expected) in [(0, b"hello".as_slice()), (3, b"lo")] {
        let mut download = fake.host.blob(&[0xab; 32], offset, &token).await.unwrap().unwrap();
        assert_eq!((download.offset(), download.total()), (offset, Some(5)));
        let mut bytes = Vec::new();
        while let Some(piece) = download.next().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        assert_eq!((bytes.as_slice(), download.offset()), (expected, 5));
    }
    assert!(fake.host.blob(&[0xab; 32], 5, &token).await.unwrap().is_none());
    assert!(matches!(fake.host.inputs(7, &token).await, Err(HostError::Malformed(_))));
    let heads: Vec<_> = fake.seen().into_iter().map(|(head, _)| head).collect();
    assert!(heads.iter().all(|head| head.contains(&format!("phala-fetch: {text}"))), "{heads:?}");
    assert!(heads[0].starts_with("get /v1/jobs/7/inputs ") && heads[1].starts_with(&format!("get /v1/blobs/{input} ")));
    assert!(heads[2].contains("range: bytes=3-") && !heads[1].contains("range: "));
}

/// Downloads an output of ten bytes from a host that does these steps, as often as it takes; how often that was.
async fn download(steps: Vec<Step>) -> (Result<u64, HostError>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("output");
    let sha256: [u8; 32] = Sha256::digest(b"0123456789").into();
    let fake = FakeHost::new(steps).await;
    for calls in 1.. {
        match fake.host.output(7, &path, &sha256, 100, |_, _| ()).await {
            Err(error) if error.is_transient() && calls < 9 => {}
            result => {
                assert!(result.is_err() || fs::read(&path).unwrap() == b"0123456789");
                return (result, calls);
            }
        }
    }
    unreachable!("the last call returns")
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let broken = || Step::broken("200 OK", "", b"0123456789", 4);
    let rest = Step::answer(0, "206 Partial Content", "content-range: bytes 4-9/10\r\n", b"456789");
    let (result, calls) = download(vec![broken(), rest]).await;
    assert_eq!((result.unwrap(), calls), (10, 2));
    // A host that knows no ranges gives all of it again.
    let (result, calls) = download(vec![broken(), Step::answer(0, "200 OK", "", b"0123456789")]).await;
    assert_eq!((result.unwrap(), calls), (10, 2));
    // Another part than was asked for is of no use.
    let other = Step::answer(0, "206 Partial Content", "content-range: bytes 5-9/10\r\n", b"56789");
    let (result, _) = download(vec![broken(), other]).await;
    assert!(matches!(result, Err(HostError::Refused { status: 206, .. })), "{result:?}");
}

#[tokio::test]
async fn an_output_is_what_the_receipt_names_or_none() {
    let (result, _) = download(vec![Step::answer(0, "200 OK", "", b"something else")]).await;
    assert!(matches!(result, Err(HostError::Malformed(_))), "{result:?}");
    // Parts that do not fit are dropped, and all of it is asked for once more.
    let broken = Step::broken("200 OK", "", b"abcdefghij", 4);
    let rest = Step::answer(0, "206 Partial Content", "content-range: bytes 4-9/10\r\n", b"456789");
    let (result, calls) = download(vec![broken, rest, Step::answer(0, "200 OK", "", b"0123456789")]).await;
    assert_eq!((result.unwrap(), calls), (10, 2));
    let (result, _) = download(vec![Step::answer(0, "200 OK", "", &[0; 101])]).await;
    assert!(matches!(result, Err(HostError::Malformed(_))), "{result:?}");
}

#[tokio::test]
async fn answers_to_challenges_decode() {
    let liveness = Liveness {
        genesis_hash: [1; 32],
        signing_key: [2; 32],
        nonce: [3; 32],
        block_number: 4,
        block_hash: [5; 32],
        isolation: None,
    };
    let signed = SignedLiveness { liveness, signature: [6; 64] };
    let scale = hex::encode(codec::Encode::encode(&signed));
    let step = |text: &str| {
        let nonce = format!(r#"{{"nonce":"{}"}}"#, hex::encode([3u8; 32]));
        Step::answer(nonce.len(), "200 OK", "", json!({ "liveness": text }).to_string().as_bytes())
    };
    let fake = FakeHost::new(vec![step(&format!("0x{scale}")), step(&format!("0x{scale}00"))]).await;
    assert_eq!(fake.host.liveness(&[3; 32]).await.unwrap(), signed);
    assert!(matches!(fake.host.liveness(&[3; 32]).await, Err(HostError::Malformed(_))));
    let (head, body) = &fake.seen()[0];
    assert!(head.starts_with("post /v1/liveness "), "{head}");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(body).unwrap()["nonce"], hex::encode([3u8; 32]));
}

#[tokio::test]
async fn a_paused_worker_says_why() {
    let answers = [json!({ "pause": "no\u{1b} blocks" }), json!({ "pause": null }), json!({ "version": "1" })];
    let steps = answers.map(|answer| Step::answer(0, "200 OK", "", answer.to_string().as_bytes()));
    let fake = FakeHost::new(steps.into()).await;
    for expected in [Some("no blocks".to_owned()), None, None] {
        assert_eq!(fake.host.worker().await.unwrap().pause, expected);
    }
}

#[test]
fn only_http_endpoints_are_used() {
    assert!(Host::new("http://127.0.0.1:8080/").is_ok());
    assert!(Host::new("https://worker.example.org").is_ok());
    for bad in ["", "file:///etc/passwd", "ws://host", "127.0.0.1:80", "http://"] {
        assert!(Host::new(bad).is_err(), "{bad}");
    }
}

/// A root that no system has, the certificate that it gave 127.0.0.1, and that one's key. Until the year 2120.
const ROOT: &str = "-----BEGIN CERTIFICATE-----
MIIBZzCCAQ2gAwIBAgIBATAKBggqhkjOPQQDAjAaMRgwFgYDVQQDDA9QaGFsYSB0
ZXN0IHJvb3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBoxGDAW
BgNVBAMMD1BoYWxhIHRlc3Qgcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BKNdx7TmD+1qlvAnxSyxH0wC2Wk8CRUZ+c9A6pm5vEzaneJ5Y97W8eynBTGb5n9a
OQWqUKRvVh1dTUok6o70GwmjQjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/
BAQDAgIEMB0GA1UdDgQWBBS/wiwc6Mr0P0qms0/kdkHw7kGroTAKBggqhkjOPQQD
AgNIADBFAiAUcMz8czK2tPLWB9L/579gEsHRwKyfwiZ4a/D1Ryx9ZQIhAM/DPCRU
/lx6BJPqSZ1hRu8RoewfNstCH78YbT2JO9jx
-----END CERTIFICATE-----";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIBAjAKBggqhkjOPQQDAjAaMRgwFgYDVQQDDA9QaGFsYSB0
ZXN0IHJvb3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQ
BgNVBAMMCTEyNy4wLjAuMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMv2C1i6
dvfFTRIXypyhBU7FnK+hMK9guo9qtCMHq4tQvUdxTVTNNlDnz9o4PtLXG9sNFsZf
FGdoF3xmZPLMO4KjdjB0MA8GA1UdEQQIMAaHBH8AAAEwDAYDVR0TAQH/BAIwADAT
BgNVHSUEDDAKBggrBgEFBQcDATAdBgNVHQ4EFgQU23FTkpkb8LK86s2nzVr2y7B3
Y+AwHwYDVR0jBBgwFoAUv8IsHOjK9D9KprNP5HZB8O5Bq6EwCgYIKoZIzj0EAwID
RwAwRAIgFhjt/oot+SkNAwF5Vz2neulx2kVFUJNjIVgkXpLQSDsCIFBCSLF/V/ZQ
TbGrgWE1/Yt+iEbqHyLevLEITK6ocZov
-----END CERTIFICATE-----";
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfMe7at4m039NXL7C
eoz40e84+qJt0aLizqdqVVnvjL2hRANCAATL9gtYunb3xU0SF8qcoQVOxZyvoTCv
YLqParQjB6uLUL1HcU1UzTZQ58/aOD7S1xvbDRbGXxRnaBd8ZmTyzDuC
-----END PRIVATE KEY-----";

/// A host that answers one request over TLS.
fn serve_tls() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = std::io::BufReader::new(StreamOwned::new(connection, socket));
        let mut head = String::new();
        // A client that does not believe the certificate hangs up.
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).is_ok_and(|bytes| bytes > 0) {}
        let body = r#"{"state":"running"}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let _ = stream.get_mut().write_all(answer.as_bytes());
    });
    endpoint
}

#[tokio::test]
async fn only_certificates_of_known_roots_are_believed() {
    let hosts = Hosts::with_roots(ROOT.as_bytes()).unwrap();
    assert_eq!(hosts.at(&serve_tls()).unwrap().job(7).await.unwrap().state, "running");
    let error = Host::new(&serve_tls()).unwrap().job(7).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    // The right root, another name.
    let elsewhere = serve_tls().replace("127.0.0.1", "localhost");
    assert!(hosts.at(&elsewhere).unwrap().job(7).await.is_err());
    for bad in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", KEY] {
        assert!(matches!(Hosts::with_roots(bad.as_bytes()), Err(HostError::Roots(_))), "{bad}");
    }
}

#[test]
fn strangers_cannot_write_to_the_terminal() {
    assert_eq!(printable("a\x1b[2Jb\nc"), "a[2Jbc");
    assert_eq!(printable(&"x".repeat(1000)).len(), 500);
}
