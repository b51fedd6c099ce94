//! A TEE in a world: its time is the world's, its randomness comes from the seed, and nothing protects it.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use futures::future::BoxFuture;
use phala_attestation::{
    Evidence, Measurement, VendorName,
    simulated::{Platform, Report, development_root},
};
use phala_enclave::{EvidenceError, Sealing, Tee, UnsealError};
use phala_primitives::worker::Isolation;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::{canary::Canary, chain::START_MS, random::Dice};

/// The image that runs on every simulated platform.
pub const MEASUREMENT: Measurement = Measurement([0x5a; 32]);

const NONCE_BYTES: usize = 24;

/// The TEE of one enclave process.
pub struct WorldTee {
    platform: Platform,
    seal_key: [u8; 32],
    dice: Dice,
    canary: Arc<Canary>,
    start: Instant,
    tick: Duration,
    ticks: AtomicU32,
}

impl WorldTee {
    /// A process on the platform of `seed`. Each look at its clock takes `tick`, so that what measures itself and never waits
    /// comes to an end. The enclave's keys become what `canary` looks for.
    pub fn new(seed: [u8; 32], dice: Dice, canary: Arc<Canary>, tick: Duration) -> Self {
        let platform = development_root().certify(seed, VendorName::DEVELOPMENT, 1, 0, u64::MAX);
        Self { platform, seal_key: seed, dice, canary, start: Instant::now(), tick, ticks: AtomicU32::new(0) }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&self.seal_key).into())
    }
}

impl Tee for WorldTee {
    fn now(&self) -> Duration {
        let ticks = self.ticks.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.start.elapsed() + self.tick * ticks
    }

    fn unix_time(&self) -> Duration {
        Duration::from_millis(START_MS) + self.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(sleep(duration))
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.dice.fill(bytes);
    }

    fn measurement(&self) -> Measurement {
        MEASUREMENT
    }

    fn sealing(&self) -> Option<&dyn Sealing> {
        Some(self)
    }

    fn isolation(&self) -> Option<Isolation> {
        Some(Isolation::default())
    }

    fn memory_bytes(&self) -> u64 {
        4 << 30
    }

    fn evidence(&self, report_data: [u8; 64]) -> Result<Evidence, EvidenceError> {
        let report = Report { measurement: MEASUREMENT, debug: false, report_data };
        Ok(Evidence::Simulated(self.platform.quote(report)))
    }
}

impl Sealing for WorldTee {
    fn seal(&self, name: &str, secret: &[u8]) -> Vec<u8> {
        if name.starts_with("keys-") {
            // A version, then keys of 32 bytes each.
            secret[1..].chunks_exact(32).for_each(|key| self.canary.add("a key of an enclave", key));
        }
        let mut nonce = [0; NONCE_BYTES];
        self.fill_random(&mut nonce);
        let payload = Payload { msg: secret, aad: name.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).expect("what is sealed fits into memory");
        [&nonce[..], &sealed].concat()
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(UnsealError)?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| UnsealError)
    }
}
