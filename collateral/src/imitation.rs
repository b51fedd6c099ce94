//! The vendors' services, imitated on a loopback port: for tests and development networks.
//!
//! One [`Imitation`] answers under the paths of all services, in the form in which Intel's caching service (PCCS) and AMD's
//! KDS answer. It serves what it is given, and misbehaves when it is told to.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use phala_attestation::{EndorsementId, SignedDocument, SignedJson};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{Request, Services, request::endorsement_path};

/// The path of the list of Intel's root at a PCCS.
const ROOT_CRL_PATH: &str = "/sgx/certification/v4/rootcacrl";

/// The longest head of a request that is read.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// How an [`Imitation`] answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With these bytes.
    Whole {
        /// The status code.
        status: u16,
        /// The headers, beside those that every answer has.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Never.
    Never,
}

impl Answer {
    /// Nothing but a status.
    pub fn status(status: u16) -> Self {
        Self::Whole { status, headers: vec![], body: vec![] }
    }

    /// A body alone.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole { status: 200, headers: vec![], body: body.into() }
    }

    /// What the service answers when it has `document` for `request`.
    pub fn with(request: Request, document: &SignedDocument) -> Self {
        let (issuer, body) = match document {
            // Where it lies at Intel it is binary, and hexadecimal at a PCCS.
            SignedDocument::IntelRootCrl(list) => (None, hex::encode(list).into_bytes()),
            SignedDocument::PckCrl { list, issuer } => (Some(issuer), list.clone()),
            SignedDocument::TcbInfo(SignedJson { json, signature, signer }) => {
                (Some(signer), signed("tcbInfo", json, signature))
            }
            SignedDocument::QeIdentity(SignedJson { json, signature, signer }) => {
                (Some(signer), signed("enclaveIdentity", json, signature))
            }
            SignedDocument::AmdIntermediate(certificate) => (None, pem(certificate).into_bytes()),
            SignedDocument::AmdCrl(list) => (None, list.clone()),
        };
        let chain = issuer.map(|issuer| utf8_percent_encode(&pem(issuer), NON_ALPHANUMERIC).to_string());
        let name = request.issuer_chain_headers().first().map(|name| (*name).to_owned());
        Self::Whole { status: 200, headers: name.zip(chain).into_iter().collect(), body }
    }
}

/// A service that answers what it is told. It ends when it is dropped.
#[derive(Debug)]
pub struct Imitation {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<String, Answer>,
    outage: Option<Answer>,
    asked: Vec<String>,
}

impl Imitation {
    /// Starts one that has no document, at `address`; port 0 is any free one.
    ///
    /// # Errors
    /// The system's.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let accepting = tokio::spawn(accept(listener, state.clone()));
        Ok(Self { address, state, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// It alone, in the place of all services.
    pub fn services(&self) -> Services {
        let base = format!("http://{}", self.address);
        Services { amd: base.clone(), ..Services::default() }.with_pccs(&base)
    }

    /// Serves `document` to whoever sends `request`.
    pub fn serve(&self, request: Request, document: &SignedDocument) {
        self.answer(request, Answer::with(request, document));
    }

    /// Serves the certificate of the VCEK that signed a report.
    pub fn serve_endorsement(&self, id: &EndorsementId, certificate: &[u8]) {
        self.state().answers.insert(endorsement_path(id), Answer::body(certificate));
    }

    /// Answers `request` in any way.
    pub fn answer(&self, request: Request, answer: Answer) {
        let path = Some(request.path()).filter(|path| !path.is_empty()).unwrap_or_else(|| ROOT_CRL_PATH.into());
        self.state().answers.insert(path, answer);
    }

    /// Answers everything in the same way from now on.
    pub fn break_down(&self, answer: Answer) {
        self.state().outage = Some(answer);
    }

    /// Ends what [`Self::break_down`] began.
    pub fn recover(&self) {
        self.state().outage = None;
    }

    /// The paths that were asked for since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Imitation {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        match listener.accept().await {
            // Who breaks off gets no answer.
            Ok((stream, _)) => drop(tokio::spawn(respond(stream, state.clone()))),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn respond(mut stream: TcpStream, state: Arc<Mutex<State>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() > MAX_HEAD_BYTES || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = {
        let mut state = lock(&state);
        let answer = state.outage.as_ref().or_else(|| state.answers.get(&path)).cloned();
        state.asked.push(path);
        answer.unwrap_or_else(|| Answer::status(404))
    };
    let Answer::Whole { status, headers, body } = answer else { return std::future::pending().await };
    let mut head = format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

/// As Intel's services write it.
fn signed(name: &str, json: &str, signature: &[u8]) -> Vec<u8> {
    format!(r#"{{"{name}":{json},"signature":"{}"}}"#, hex::encode(signature)).into_bytes()
}

fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem + "-----END CERTIFICATE-----\n"
}
