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
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use zeroize::Zeroizing;

use phala_enclave::{
    Tee,
    host::{Host, lock},
    keys::Keys,
    runtime::Tasks,
    text::text,
};

/// Programs that are kept in memory.
const KEPT_PROGRAMS: usize = 16;

/// The share of the enclave's memory that kept programs may take, one in so many.
const KEPT_SHARE: u64 = 16;

/// The largest compiled program that is kept at the host, where the memory is large enough to load it.
const MAX_STORED_BYTES: usize = 512 * 1024 * 1024;

/// The share of the enclave's memory that loading a program may take, one in so many.
const LOADED_SHARE: u64 = 16;

const NONCE_BYTES: usize = 24;

/// What a program is kept under. A private app's is its own: who publishes a public app with the same code hash, but does
/// not have the code, gets nothing from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    tasks: Tasks,
    keys: Arc<Keys>,
    kept: Mutex<VecDeque<Kept>>,
    /// Programs that are being prepared: each only once at a time.
    busy: Mutex<BTreeMap<Name, Arc<futures::lock::Mutex<()>>>>,
    /// One program is loaded at a time: the host may serve many that are as large as can be.
    loading: futures::lock::Mutex<()>,
    max_kept_bytes: usize,
    max_stored_bytes: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// A program in memory.
struct Kept {
    name: Name,
    compiled: Arc<Compiled>,
    /// The length of its machine code.
    bytes: usize,
}

impl Programs {
    pub(crate) fn new(engine: Engine, host: Host, tee: Arc<dyn Tee>, tasks: Tasks, keys: Arc<Keys>) -> Self {
        let share = |parts: u64| {
            let bytes = tee.memory_bytes().checked_div(parts).unwrap_or(0);
            usize::try_from(bytes).unwrap_or(usize::MAX)
        };
        Self {
            max_kept_bytes: share(KEPT_SHARE),
            max_stored_bytes: share(LOADED_SHARE).min(MAX_STORED_BYTES),
            engine,
            host,
            tee,
            tasks,
            keys,
            kept: Mutex::default(),
            busy: Mutex::default(),
            loading: futures::lock::Mutex::default(),
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
        code: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, E>,
    ) -> Result<Arc<Compiled>, E> {
        let turn = lock(&self.busy).entry(name).or_default().clone();
        let in_turn = self.tasks.block_on(turn.lock());
        let result = self.prepare_in_turn(name, code);
        drop(in_turn);
        let mut busy = lock(&self.busy);
        if Arc::strong_count(&turn) <= 2 {
            busy.remove(&name);
        }
        result
    }

    fn prepare_in_turn<E: From<InvalidProgram>>(
        &self,
        name: Name,
        code: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, E>,
    ) -> Result<Arc<Compiled>, E> {
        if let Some(compiled) = self.kept(&name) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(compiled);
        }
        let (compiled, bytes) = if let Some(loaded) = self.load(&name) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            loaded
        } else {
            let code = code()?;
            self.misses.fetch_add(1, Ordering::Relaxed);
            let compiled = self.engine.prepare(&code)?;
            let machine_code = compiled.serialize();
            let bytes = machine_code.len();
            self.store(&name, machine_code);
            (compiled, bytes)
        };
        let compiled = Arc::new(compiled);
        self.keep(Kept { name, compiled: compiled.clone(), bytes });
        Ok(compiled)
    }

    /// Keeps a program in memory, in place of those that were not used for longest.
    fn keep(&self, program: Kept) {
        let mut kept = lock(&self.kept);
        kept.push_back(program);
        while kept.len() > KEPT_PROGRAMS || kept.iter().map(|kept| kept.bytes).sum::<usize>() > self.max_kept_bytes {
            kept.pop_front();
        }
    }

    fn kept(&self, name: &Name) -> Option<Arc<Compiled>> {
        let mut kept = lock(&self.kept);
        let index = kept.iter().position(|kept| kept.name == *name)?;
        let program = kept.remove(index)?;
        let compiled = program.compiled.clone();
        kept.push_back(program);
        Some(compiled)
    }

    /// The program from the host's cache, and the length of its machine code.
    fn load(&self, name: &Name) -> Option<(Compiled, usize)> {
        let _turn = self.tasks.block_on(self.loading.lock());
        let name = name.to_string();
        let mut stored = Vec::new();
        loop {
            let offset = stored.len() as u64;
            let request = EnclaveRequest::ReadCache { name: name.clone(), offset, length: MAX_CHUNK_BYTES };
            let bytes = self.tasks.block_on(self.host.bytes(&request, MAX_CHUNK_BYTES)).ok()?;
            let last = bytes.len() < MAX_CHUNK_BYTES as usize;
            stored.extend_from_slice(&bytes);
            if stored.len() > self.max_stored_bytes {
                return None;
            }
            if last {
                break;
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
        let machine_code = opened?;
        // SAFETY: the bytes were authenticated under a key that only this enclave has, together with the name of the
        // program: `store` put them there, and they are what `serialize` returned.
        #[expect(unsafe_code)]
        let compiled = unsafe { self.engine.deserialize_authenticated(&machine_code) };
        Some((compiled.ok()?, machine_code.len()))
    }

    /// Keeps a program at the host. That it cannot be kept costs only time.
    fn store(&self, name: &Name, machine_code: Vec<u8>) {
        let name = name.to_string();
        let mut nonce = [0; NONCE_BYTES];
        self.tee.fill_random(&mut nonce);
        let Some(sealed) = seal(self.keys.cache(), &name, nonce, machine_code) else { return };
        if sealed.len() > self.max_stored_bytes {
            return;
        }
        let mut chunks = sealed.chunks(MAX_CHUNK_BYTES as usize).peekable();
        let mut offset: u64 = 0;
        while let Some(chunk) = chunks.next() {
            let last = chunks.peek().is_none();
            let request = EnclaveRequest::WriteCache { name: name.clone(), offset, bytes: chunk.to_vec(), last };
            if let Err(refusal) = self.tasks.block_on(self.host.done(&request)) {
                self.host.log(LogLevel::Warn, text!("the host did not keep a compiled program: ", &refusal));
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
    use phala_enclave::{Threads, testing::TestTee};
    use phala_protocol::HostReply;

    fn programs(host: Host) -> Programs {
        let tee: Arc<dyn Tee> = Arc::new(TestTee::new(1));
        let engine = Engine::new(phala_engine::Config { capacity: 1, ..Default::default() }).unwrap();
        let keys = Arc::new(Keys::generate(&*tee, &[1; 32]).0);
        Programs::new(engine, host, tee, Tasks::new(Arc::new(Threads::default())), keys)
    }

    #[test]
    fn programs_in_memory_are_bounded_in_number_and_size() {
        let programs = programs(Host::default());
        let code = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).unwrap();
        let compiled = Arc::new(programs.engine.prepare(&code).unwrap());
        let name = |number| Name::Public([number; 32]);
        let keep = |number, bytes| programs.keep(Kept { name: name(number), compiled: compiled.clone(), bytes });
        for number in 0..=KEPT_PROGRAMS as u8 {
            keep(number, 1);
        }
        assert!(programs.kept(&name(0)).is_none() && programs.kept(&name(1)).is_some());
        keep(100, programs.max_kept_bytes);
        assert!(programs.kept(&name(1)).is_none() && programs.kept(&name(100)).is_some());
        keep(101, programs.max_kept_bytes + 1);
        assert!(lock(&programs.kept).is_empty());
    }

    #[test]
    fn a_host_that_serves_a_program_without_end_is_not_heard_to_it() {
        let served = Arc::new(AtomicU64::new(0));
        let count = served.clone();
        let host = phala_enclave::testing::host(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(HostReply::Bytes(vec![0; MAX_CHUNK_BYTES as usize]))
        });
        let programs = Programs { max_stored_bytes: 5 << 20, ..programs(host) };
        assert!(programs.load(&Name::Public([1; 32])).is_none());
        assert_eq!(served.load(Ordering::Relaxed), 6);
    }

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
