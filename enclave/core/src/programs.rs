//! Compiled programs: in memory, and encrypted at the host.
//!
//! A compiled program is machine code that the enclave will run without looking at it. So what comes back from the
//! host is used only after it has been authenticated, under a key that never leaves the enclave and is sealed to its
//! measurement, hence to this build of the engine, and together with its [`Name`]. It is encrypted too: it may be a
//! private program. Whatever does not authenticate is compiled again.

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305, XNonce};
use phala_engine::{Compiled, Engine, InvalidProgram};
use phala_primitives::{AppId, Hash};
use phala_protocol::{EnclaveRequest, LogLevel, MAX_CHUNK_BYTES};
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    Tee,
    host::{Host, lock},
    keys::Keys,
};

/// Programs that are kept in memory.
const KEPT_PROGRAMS: usize = 16;

/// The largest compiled program that is kept at the host.
const MAX_STORED_BYTES: usize = 512 * 1024 * 1024;

const NONCE_BYTES: usize = 24;

/// What a program is kept under. A private app's is its own: who publishes a public app with the same code hash, but does
/// not have the code, gets nothing from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// The hash of code that anybody may run.
    Public(Hash),
    /// A private app, whose id binds the hash of its code.
    Private(AppId),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public(code_hash) => write!(f, "program-{}", hex::encode(code_hash)),
            Self::Private(app) => write!(f, "private-{}", hex::encode(app.0)),
        }
    }
}

/// The programs that this enclave has compiled.
pub(crate) struct Programs {
    engine: Engine,
    host: Host,
    tee: Arc<dyn Tee>,
    keys: Arc<Keys>,
    kept: Mutex<VecDeque<(Name, Arc<Compiled>)>>,
    /// Programs that are being prepared: each only once at a time.
    busy: Mutex<HashMap<Name, Arc<Mutex<()>>>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Programs {
    pub(crate) fn new(engine: Engine, host: Host, tee: Arc<dyn Tee>, keys: Arc<Keys>) -> Self {
        Self {
            engine,
            host,
            tee,
            keys,
            kept: Mutex::default(),
            busy: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// How often a program was there already, and how often it had to be compiled.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// The compiled program called `name`; `code` gives its code, checked, where it must be compiled.
    pub(crate) fn prepare<E: From<InvalidProgram>>(
        &self,
        name: Name,
        code: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Arc<Compiled>, E> {
        let turn = lock(&self.busy).entry(name).or_default().clone();
        let _turn = lock(&turn);
        let result = self.prepare_in_turn(name, code);
        let mut busy = lock(&self.busy);
        if Arc::strong_count(&turn) <= 2 {
            busy.remove(&name);
        }
        result
    }

    fn prepare_in_turn<E: From<InvalidProgram>>(
        &self,
        name: Name,
        code: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Arc<Compiled>, E> {
        if let Some(compiled) = self.kept(&name) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(compiled);
        }
        let compiled = if let Some(compiled) = self.load(&name) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            Arc::new(compiled)
        } else {
            let code = code()?;
            self.misses.fetch_add(1, Ordering::Relaxed);
            let compiled = self.engine.prepare(&code)?;
            self.store(&name, &compiled);
            Arc::new(compiled)
        };
        let mut kept = lock(&self.kept);
        kept.push_back((name, compiled.clone()));
        while kept.len() > KEPT_PROGRAMS {
            kept.pop_front();
        }
        Ok(compiled)
    }

    fn kept(&self, name: &Name) -> Option<Arc<Compiled>> {
        let mut kept = lock(&self.kept);
        let index = kept.iter().position(|(kept, _)| kept == name)?;
        let entry = kept.remove(index)?;
        let compiled = entry.1.clone();
        kept.push_back(entry);
        Some(compiled)
    }

    fn load(&self, name: &Name) -> Option<Compiled> {
        let name = name.to_string();
        let mut stored = Vec::new();
        loop {
            let offset = stored.len() as u64;
            let request = EnclaveRequest::ReadCache { name: name.clone(), offset, length: MAX_CHUNK_BYTES };
            let bytes = futures_lite::future::block_on(self.host.bytes(&request, MAX_CHUNK_BYTES)).ok()?;
            let last = bytes.len() < MAX_CHUNK_BYTES as usize;
            stored.extend_from_slice(&bytes);
            if last {
                break;
            }
            if stored.len() > MAX_STORED_BYTES {
                return None;
            }
        }
        if stored.is_empty() {
            return None;
        }
        let opened = open(self.keys.cache(), &name, stored);
        if opened.is_none() {
            self.host
                .log(LogLevel::Warn, "a compiled program from the host's cache is not authentic; compiling it again");
        }
        // SAFETY: the bytes were authenticated under a key that only this enclave has, together with the name of the
        // program: `store` put them there, and they are what `serialize` returned.
        #[expect(unsafe_code)]
        unsafe {
            self.engine.deserialize_authenticated(&opened?).ok()
        }
    }

    /// Keeps a program at the host. That it cannot be kept costs only time.
    fn store(&self, name: &Name, compiled: &Compiled) {
        let name = name.to_string();
        let mut nonce = [0; NONCE_BYTES];
        self.tee.fill_random(&mut nonce);
        let Some(sealed) = seal(self.keys.cache(), &name, nonce, compiled.serialize()) else { return };
        if sealed.len() > MAX_STORED_BYTES {
            return;
        }
        let mut chunks = sealed.chunks(MAX_CHUNK_BYTES as usize).peekable();
        let mut offset: u64 = 0;
        while let Some(chunk) = chunks.next() {
            let last = chunks.peek().is_none();
            let request = EnclaveRequest::WriteCache { name: name.clone(), offset, bytes: chunk.to_vec(), last };
            if let Err(refusal) = futures_lite::future::block_on(self.host.done(&request)) {
                self.host.log(LogLevel::Warn, format!("the host did not keep a compiled program: {refusal}"));
                return;
            }
            offset = offset.saturating_add(chunk.len() as u64);
        }
    }
}

/// Nonce, ciphertext, tag. A last chunk of exactly the maximum would look like there were more to come: reading then
/// asks once more and gets nothing.
fn seal(key: &[u8; 32], name: &str, nonce: [u8; NONCE_BYTES], mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    XChaCha20Poly1305::new(key.into()).encrypt_in_place(&XNonce::from(nonce), name.as_bytes(), &mut bytes).ok()?;
    bytes.splice(0..0, nonce);
    Some(bytes)
}

fn open(key: &[u8; 32], name: &str, mut stored: Vec<u8>) -> Option<Vec<u8>> {
    let nonce: [u8; NONCE_BYTES] = stored.get(..NONCE_BYTES)?.try_into().ok()?;
    stored.drain(..NONCE_BYTES);
    XChaCha20Poly1305::new(key.into()).decrypt_in_place(&XNonce::from(nonce), name.as_bytes(), &mut stored).ok()?;
    Some(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_under_this_name_opens() {
        let sealed = seal(&[1; 32], "a", [2; NONCE_BYTES], b"machine code".to_vec()).unwrap();
        assert_eq!(open(&[1; 32], "a", sealed.clone()).unwrap(), b"machine code");
        assert_eq!(open(&[1; 32], "b", sealed.clone()), None);
        assert_eq!(open(&[3; 32], "a", sealed.clone()), None);
        assert_eq!(open(&[1; 32], "a", Vec::new()), None);
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(open(&[1; 32], "a", changed), None);
        }
    }
}
