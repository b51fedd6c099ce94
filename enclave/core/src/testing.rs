//! Stand-ins for tests: a TEE and a chain.

#![allow(missing_docs, clippy::unwrap_used, clippy::arithmetic_side_effects)]

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use codec::Decode;
use futures::future::BoxFuture;
use phala_attestation::{Evidence, Measurement, PlatformId, Vendor, VendorName, simulated};
use phala_primitives::{
    Hash,
    worker::{Isolation, Performance, WorkerStatus},
};
use phala_protocol::{EnclaveMessage, EnclaveRequest, HostReply, Message, Refusal};
use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};
use zeroize::Zeroizing;

use crate::{
    EvidenceError, Sealing, Tee, UnsealError,
    chain::{Block, Chain, ChainError, ChainSpec, ChainWorker, time_key},
    host::{Host, lock},
};

/// What [`TestTee`] did to separate itself.
pub const ISOLATION: Isolation = Isolation {
    no_network: true,
    not_dumpable: true,
    locked_memory: false,
    no_privileges: true,
    seccomp: true,
    landlock: false,
    own_user: false,
};

/// A TEE on platform number `platform`, with memory for 3 GiB of jobs.
pub struct TestTee {
    platform: u8,
    seals: bool,
    start: Instant,
    passed: Mutex<Duration>,
}

impl TestTee {
    pub fn new(platform: u8) -> Self {
        Self { platform, seals: true, start: Instant::now(), passed: Mutex::default() }
    }

    /// One that cannot seal.
    pub fn without_sealing(platform: u8) -> Self {
        Self { seals: false, ..Self::new(platform) }
    }

    /// Lets time pass at once, but for who sleeps.
    pub fn pass(&self, time: Duration) {
        *lock(&self.passed) += time;
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&[self.platform; 32].into())
    }
}

impl Tee for TestTee {
    fn now(&self) -> Duration {
        self.start.elapsed() + *lock(&self.passed)
    }

    fn unix_time(&self) -> Duration {
        std::time::UNIX_EPOCH.elapsed().unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(futures_timer::Delay::new(duration))
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).unwrap();
    }

    fn measurement(&self) -> Measurement {
        Measurement([0xaa; 32])
    }

    fn sealing(&self) -> Option<&dyn Sealing> {
        self.seals.then_some(self as &dyn Sealing)
    }

    fn isolation(&self) -> Option<Isolation> {
        Some(ISOLATION)
    }

    fn memory_bytes(&self) -> u64 {
        4 << 30
    }

    fn evidence(&self, report_data: [u8; 64]) -> Result<Evidence, EvidenceError> {
        let platform =
            simulated::development_root().certify([self.platform; 32], VendorName::DEVELOPMENT, 1, 0, u64::MAX);
        let report = simulated::Report { measurement: self.measurement(), debug: false, report_data };
        Ok(Evidence::Simulated(platform.quote(report)))
    }
}

impl Sealing for TestTee {
    fn seal(&self, name: &str, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; 24];
        self.fill_random(&mut nonce);
        let sealed =
            self.cipher().encrypt(&XNonce::from(nonce), Payload { msg: secret, aad: name.as_bytes() }).unwrap();
        [&nonce[..], &sealed].concat()
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let (nonce, sealed) = sealed.split_at_checked(24).ok_or(UnsealError)?;
        let nonce: [u8; 24] = nonce.try_into().unwrap();
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        self.cipher().decrypt(&XNonce::from(nonce), payload).map(Zeroizing::new).map_err(|_| UnsealError)
    }
}

/// A chain of which the test decides everything.
pub struct FakeChain {
    genesis_hash: Hash,
    state: Mutex<FakeState>,
}

#[derive(Default)]
struct FakeState {
    finalized: Option<Block>,
    storage: HashMap<Vec<u8>, Vec<u8>>,
    waiting: Vec<futures::channel::oneshot::Sender<()>>,
}

impl FakeChain {
    pub fn new(genesis_hash: Hash) -> Self {
        Self { genesis_hash, state: Mutex::default() }
    }

    /// Finalizes `block`, whose time is now.
    pub fn finalize(&self, block: Block) {
        let ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let mut state = lock(&self.state);
        state.storage.insert(time_key(), ms.to_le_bytes().to_vec());
        state.finalized = Some(block);
        state.waiting.clear();
    }

    pub fn store(&self, key: Vec<u8>, value: Vec<u8>) {
        lock(&self.state).storage.insert(key, value);
    }
}

impl Chain for FakeChain {
    fn genesis_hash(&self) -> Hash {
        self.genesis_hash
    }

    fn finalized(&self) -> Option<Block> {
        lock(&self.state).finalized
    }

    fn finalized_after(&self, after: Option<u32>) -> BoxFuture<'_, Block> {
        Box::pin(async move {
            loop {
                let wait = {
                    let mut state = lock(&self.state);
                    match state.finalized {
                        Some(block) if after.is_none_or(|after| block.number > after) => return block,
                        _ => {
                            let (sender, wait) = futures::channel::oneshot::channel();
                            state.waiting.push(sender);
                            wait
                        }
                    }
                };
                let _ = wait.await;
            }
        })
    }

    fn storage(&self, _at: Hash, key: Vec<u8>) -> BoxFuture<'_, Result<Option<Vec<u8>>, ChainError>> {
        let value = lock(&self.state).storage.get(&key).cloned();
        Box::pin(async move { Ok(value) })
    }

    fn peers(&self) -> u32 {
        1
    }

    fn update(&self, _spec: &ChainSpec) -> bool {
        true
    }
}

/// A worker on chain that has last named block `last_heartbeat`.
pub fn registered(last_heartbeat: u32) -> ChainWorker {
    ChainWorker {
        operator: [0; 32],
        encryption_key: [0; 32],
        endpoint: b"http://127.0.0.1:1".to_vec(),
        price: 1,
        performance: Performance { fuel_per_second: 1, capacity: 1 },
        running: 0,
        status: WorkerStatus::Active,
        measurement: Measurement([0xaa; 32]),
        platform: PlatformId([0; 32]),
        family: phala_attestation::Family::Simulated(VendorName::DEVELOPMENT),
        vendor: Vendor::Simulated(VendorName::DEVELOPMENT),
        tier: phala_attestation::Tier::Full,
        verified_at: 1,
        verdict_expires: u64::MAX,
        outlook: None,
        evidence_hash: [0; 32],
        registered_at: 1,
        last_heartbeat,
    }
}

/// A host that answers each request by `answer`, on a thread of its own that ends with the process, and drops notices.
pub fn host(mut answer: impl FnMut(EnclaveRequest) -> Result<HostReply, Refusal> + Send + 'static) -> Host {
    let host = Host::default();
    let (outbound, queue) = Host::channel();
    host.up(&outbound);
    let answered = host.clone();
    std::thread::spawn(move || {
        while let Ok(frame) = queue.recv_blocking() {
            let message = EnclaveMessage::decode(&mut &frame[..]).unwrap();
            if let Message::Request { id, request } = message {
                answered.answered(id, answer(request));
            }
        }
    });
    host
}
