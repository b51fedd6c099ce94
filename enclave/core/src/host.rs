//! The enclave's side of the link to its host.
//!
//! Requests to the host survive a host that hangs up and comes back: whoever waits for an answer asks again on the
//! next connection. Network streams do not survive; the light client dials anew. Whatever comes from the host is
//! attacker-controlled: answers are matched to requests by id, and a wrong kind of answer is a [`Refusal`].

use codec::Encode;
use futures::channel::oneshot;
use phala_protocol::{
    ConnectionId, EnclaveMessage, EnclaveNotice, EnclaveReply, EnclaveRequest, HostReply, LogLevel, MAX_CHUNK_BYTES,
    MAX_SEALED_BYTES, Message, Refusal,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::chain::Stream;

/// Frames that may wait for the host to read them.
const OUTBOUND_FRAMES: usize = 16;

/// The most characters of a log line.
const MAX_LOG_BYTES: usize = 4096;

type Answer = oneshot::Sender<Result<HostReply, Refusal>>;

/// A handle on the link. Clones share the link.
#[derive(Clone, Default)]
pub(crate) struct Host {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Where frames go: set from the host's first request on a connection until the connection breaks.
    outbound: Option<async_channel::Sender<Vec<u8>>>,
    next_id: u64,
    pending: HashMap<u64, Answer>,
    /// Who waits for the host to come back.
    waiting: Vec<oneshot::Sender<()>>,
    streams: HashMap<ConnectionId, Arc<Stream>>,
}

/// Locks, whatever a panicking task left: each critical section leaves the state whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn refusal(retry: bool, reason: impl Into<String>) -> Refusal {
    Refusal { reason: reason.into(), retry }
}

impl Host {
    /// A channel for a new connection's frames.
    pub(crate) fn channel() -> (async_channel::Sender<Vec<u8>>, async_channel::Receiver<Vec<u8>>) {
        async_channel::bounded(OUTBOUND_FRAMES)
    }

    /// From now on messages go out on `outbound`.
    pub(crate) fn up(&self, outbound: &async_channel::Sender<Vec<u8>>) {
        let waiting = {
            let mut state = lock(&self.state);
            state.outbound = Some(outbound.clone());
            std::mem::take(&mut state.waiting)
        };
        for waiter in waiting {
            let _ = waiter.send(());
        }
    }

    /// The connection of `outbound` is gone: who waits for an answer asks again, network streams are closed.
    pub(crate) fn down(&self, outbound: &async_channel::Sender<Vec<u8>>) {
        let (pending, streams) = {
            let mut state = lock(&self.state);
            if !state.outbound.as_ref().is_some_and(|current| current.same_channel(outbound)) {
                return;
            }
            state.outbound = None;
            (std::mem::take(&mut state.pending), std::mem::take(&mut state.streams))
        };
        drop(pending);
        for stream in streams.into_values() {
            stream.fail();
        }
    }

    /// Waits until there is a connection, and returns its way out.
    async fn outbound(&self) -> async_channel::Sender<Vec<u8>> {
        loop {
            let wait = {
                let mut state = lock(&self.state);
                if let Some(outbound) = &state.outbound {
                    return outbound.clone();
                }
                let (sender, wait) = oneshot::channel();
                state.waiting.retain(|waiter| !waiter.is_canceled());
                state.waiting.push(sender);
                wait
            };
            let _ = wait.await;
        }
    }

    /// Asks the host, again after each lost connection, until it answers.
    pub(crate) async fn request(&self, request: &EnclaveRequest) -> Result<HostReply, Refusal> {
        loop {
            let outbound = self.outbound().await;
            if let Some(answer) = self.ask(&outbound, request).await {
                return answer;
            }
        }
    }

    /// Asks the host once. `None` when the connection broke.
    async fn ask(
        &self,
        outbound: &async_channel::Sender<Vec<u8>>,
        request: &EnclaveRequest,
    ) -> Option<Result<HostReply, Refusal>> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut state = lock(&self.state);
            if !state.outbound.as_ref().is_some_and(|current| current.same_channel(outbound)) {
                return None;
            }
            state.next_id = state.next_id.wrapping_add(1);
            let id = state.next_id;
            state.pending.insert(id, sender);
            id
        };
        let message: Message<&EnclaveRequest, EnclaveReply, EnclaveNotice> = Message::Request { id, request };
        let _forget = Forget { host: self, id };
        outbound.send(message.encode()).await.ok()?;
        answer.await.ok()
    }

    /// The host answered a request.
    pub(crate) fn answered(&self, id: u64, reply: Result<HostReply, Refusal>) {
        let pending = lock(&self.state).pending.remove(&id);
        if let Some(pending) = pending {
            let _ = pending.send(reply);
        }
    }

    /// Sends a notice if there is a connection; else it is lost.
    pub(crate) async fn notice(&self, notice: EnclaveNotice) {
        let outbound = lock(&self.state).outbound.clone();
        if let Some(outbound) = outbound {
            let _ = outbound.send(EnclaveMessage::Notice(notice).encode()).await;
        }
    }

    /// Writes a line to the host's log, unless the host is slow or absent. It must hold no secret.
    pub(crate) fn log(&self, level: LogLevel, message: impl Into<String>) {
        let mut message = message.into();
        if message.len() > MAX_LOG_BYTES {
            let end = (0..=MAX_LOG_BYTES).rev().find(|&end| message.is_char_boundary(end)).unwrap_or(0);
            message.truncate(end);
        }
        let outbound = lock(&self.state).outbound.clone();
        if let Some(outbound) = outbound {
            let _ = outbound.try_send(EnclaveMessage::Notice(EnclaveNotice::Log { level, message }).encode());
        }
    }

    /// Loads a sealed blob.
    pub(crate) async fn load_sealed(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        match self.request(&EnclaveRequest::LoadSealed { name: name.to_owned() }).await? {
            HostReply::Sealed(sealed) => Ok(sealed),
            _ => Err(wrong_reply()),
        }
    }

    /// Stores a sealed blob.
    pub(crate) async fn store_sealed(&self, name: &str, bytes: Vec<u8>) -> Result<(), Refusal> {
        if bytes.len() > MAX_SEALED_BYTES as usize {
            return Err(refusal(false, "the sealed blob is too large to be stored"));
        }
        self.done(&EnclaveRequest::StoreSealed { name: name.to_owned(), bytes }).await
    }

    /// A request whose answer is that it is done.
    pub(crate) async fn done(&self, request: &EnclaveRequest) -> Result<(), Refusal> {
        match self.request(request).await? {
            HostReply::Done => Ok(()),
            _ => Err(wrong_reply()),
        }
    }

    /// A request for at most `length` bytes.
    pub(crate) async fn bytes(&self, request: &EnclaveRequest, length: u32) -> Result<Vec<u8>, Refusal> {
        match self.request(request).await? {
            HostReply::Bytes(bytes) if bytes.len() <= length as usize => Ok(bytes),
            _ => Err(wrong_reply()),
        }
    }

    /// Opens a network stream. `None` when it could not be opened.
    pub(crate) async fn dial(&self, connection: ConnectionId, address: &str, stream: &Arc<Stream>) -> Option<()> {
        let outbound = self.outbound().await;
        {
            let mut state = lock(&self.state);
            if !state.outbound.as_ref().is_some_and(|current| current.same_channel(&outbound)) {
                return None;
            }
            state.streams.insert(connection, stream.clone());
        }
        let request = EnclaveRequest::Dial { connection, address: address.to_owned() };
        matches!(self.ask(&outbound, &request).await?, Ok(HostReply::Done)).then_some(())
    }

    /// Sends bytes on a network stream.
    pub(crate) async fn send(&self, connection: ConnectionId, bytes: &[u8]) {
        for chunk in bytes.chunks(MAX_CHUNK_BYTES as usize) {
            self.notice(EnclaveNotice::Send { connection, bytes: chunk.to_vec() }).await;
        }
    }

    /// The light client is done with a network stream.
    pub(crate) async fn close(&self, connection: ConnectionId) {
        let known = lock(&self.state).streams.remove(&connection).is_some();
        if known {
            self.notice(EnclaveNotice::Close { connection }).await;
        }
    }

    /// The host has bytes of a network stream.
    pub(crate) fn received(&self, connection: ConnectionId, bytes: &[u8]) {
        let stream = lock(&self.state).streams.get(&connection).cloned();
        if let Some(stream) = stream {
            stream.received(bytes);
        }
    }

    /// The host says that a network stream is closed.
    pub(crate) fn closed(&self, connection: ConnectionId) {
        let stream = lock(&self.state).streams.remove(&connection);
        if let Some(stream) = stream {
            stream.fail();
        }
    }
}

/// Forgets a request when nobody waits for its answer any more.
struct Forget<'a> {
    host: &'a Host,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.host.state).pending.remove(&self.id);
    }
}

fn wrong_reply() -> Refusal {
    refusal(true, "the host answered something else than was asked")
}

/// Checks that the largest frame that the enclave sends is within the protocol's limit.
const _: () = assert!(MAX_SEALED_BYTES + 1024 < phala_protocol::MAX_FRAME_BYTES);

/// The encoding of an answer to the host.
pub(crate) fn encode_reply(id: u64, reply: Result<EnclaveReply, Refusal>) -> Vec<u8> {
    let message: EnclaveMessage = Message::Reply { id, reply };
    message.encode()
}
