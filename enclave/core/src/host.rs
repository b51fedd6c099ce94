//! The enclave's side of the link to its host.
//!
//! Requests to the host survive a host that hangs up and comes back: whoever waits for an answer asks again on the
//! next connection. Network streams do not survive; the light client dials anew. Whatever comes from the host is
//! attacker-controlled: answers are matched to requests by id, a wrong kind of answer is a [`Refusal`], and what is kept
//! of the host's bytes is bounded: a refusal by [`MAX_REASON_BYTES`], the streams' unread bytes by [`MAX_UNREAD_BYTES`].

use codec::Encode;
use futures::channel::oneshot;
use phala_protocol::{
    ConnectionId, EnclaveMessage, EnclaveNotice, EnclaveReply, EnclaveRequest, HostReply, LogLevel, MAX_CHUNK_BYTES,
    MAX_SEALED_BYTES, Message, Refusal,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    chain::Stream,
    text::{Text, truncate},
};

/// Frames that may wait for the host to read them.
const OUTBOUND_FRAMES: usize = 16;

/// The most bytes of the host's words that are kept of a refusal: they are told back to it.
const MAX_REASON_BYTES: usize = 1024;

/// Network streams at once.
const MAX_STREAMS: usize = 128;

/// The most bytes of all network streams together that wait for the light client.
const MAX_UNREAD_BYTES: usize = 64 * 1024 * 1024;

type Answer = oneshot::Sender<Result<HostReply, Refusal>>;

/// A handle on the link. Clones share the link.
#[derive(Clone, Default)]
pub struct Host {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Where frames go: set from the host's first request on a connection until the connection breaks.
    outbound: Option<async_channel::Sender<Vec<u8>>>,
    next_id: u64,
    /// Ordered, as what follows: in this order everybody is woken.
    pending: BTreeMap<u64, Answer>,
    /// Who waits for the host to come back.
    waiting: Vec<oneshot::Sender<()>>,
    streams: BTreeMap<ConnectionId, Arc<Stream>>,
}

/// Locks, whatever a panicking task left: each critical section leaves the state whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The only way in which the enclave makes a refusal.
pub fn refusal(retry: bool, reason: impl Into<Text>) -> Refusal {
    Refusal { reason: reason.into().into_string(), retry }
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
    pub async fn request(&self, request: &EnclaveRequest) -> Result<HostReply, Refusal> {
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
        if outbound.send(message.encode()).await.is_err() {
            // Whoever served the connection may be gone without a word: else this would be tried without end.
            self.down(outbound);
            return None;
        }
        answer.await.ok()
    }

    /// The host answered a request.
    pub(crate) fn answered(&self, id: u64, reply: Result<HostReply, Refusal>) {
        let pending = lock(&self.state).pending.remove(&id);
        if let Some(pending) = pending {
            let _ = pending.send(reply.map_err(|mut refusal| {
                truncate(&mut refusal.reason, MAX_REASON_BYTES);
                refusal
            }));
        }
    }

    /// Sends a notice if there is a connection; else it is lost.
    pub async fn notice(&self, notice: EnclaveNotice) {
        let outbound = lock(&self.state).outbound.clone();
        if let Some(outbound) = outbound {
            let _ = outbound.send(EnclaveMessage::Notice(notice).encode()).await;
        }
    }

    /// Writes a line to the host's log, unless the host is slow or absent.
    pub fn log(&self, level: LogLevel, message: impl Into<Text>) {
        let message = message.into().into_string();
        let outbound = lock(&self.state).outbound.clone();
        if let Some(outbound) = outbound {
            let _ = outbound.try_send(EnclaveMessage::Notice(EnclaveNotice::Log { level, message }).encode());
        }
    }

    /// Loads a sealed blob.
    pub async fn load_sealed(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        match self.request(&EnclaveRequest::LoadSealed { name: name.to_owned() }).await? {
            HostReply::Sealed(sealed)
                if sealed.as_ref().is_none_or(|bytes| bytes.len() <= MAX_SEALED_BYTES as usize) =>
            {
                Ok(sealed)
            }
            _ => Err(wrong_reply()),
        }
    }

    /// Stores a sealed blob.
    pub async fn store_sealed(&self, name: &str, bytes: Vec<u8>) -> Result<(), Refusal> {
        if bytes.len() > MAX_SEALED_BYTES as usize {
            return Err(refusal(false, "the sealed blob is too large to be stored"));
        }
        self.done(&EnclaveRequest::StoreSealed { name: name.to_owned(), bytes }).await
    }

    /// A request whose answer is that it is done.
    pub async fn done(&self, request: &EnclaveRequest) -> Result<(), Refusal> {
        match self.request(request).await? {
            HostReply::Done => Ok(()),
            _ => Err(wrong_reply()),
        }
    }

    /// A request for at most `length` bytes.
    pub async fn bytes(&self, request: &EnclaveRequest, length: u32) -> Result<Vec<u8>, Refusal> {
        match self.request(request).await? {
            HostReply::Bytes(bytes) if bytes.len() <= length as usize => Ok(bytes),
            _ => Err(wrong_reply()),
        }
    }

    /// Opens a network stream. `None` when it could not be opened, or too many are.
    pub(crate) async fn dial(&self, connection: ConnectionId, address: &str, stream: &Arc<Stream>) -> Option<()> {
        let outbound = self.outbound().await;
        {
            let mut state = lock(&self.state);
            let current = state.outbound.as_ref().is_some_and(|current| current.same_channel(&outbound));
            if !current || state.streams.len() >= MAX_STREAMS {
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

    /// The host has bytes of a network stream. Where too many wait for the light client already, the stream fails.
    pub(crate) fn received(&self, connection: ConnectionId, bytes: &[u8]) {
        let (stream, unread) = {
            let state = lock(&self.state);
            let Some(stream) = state.streams.get(&connection).cloned() else { return };
            let unread = state.streams.values().fold(bytes.len(), |sum, stream| sum.saturating_add(stream.unread()));
            (stream, unread)
        };
        if unread > MAX_UNREAD_BYTES {
            stream.fail();
        } else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, zip};

    /// A host that gives one answer, whatever it is asked.
    fn ask<T>(asking: impl AsyncFnOnce(&Host) -> T, reply: Result<HostReply, Refusal>) -> T {
        let host = Host::default();
        let (outbound, queue) = Host::channel();
        host.up(&outbound);
        let answer = async {
            let frame = queue.recv().await.unwrap();
            let message = <EnclaveMessage as codec::Decode>::decode(&mut &frame[..]).unwrap();
            let Message::Request { id, .. } = message else { panic!("{message:?}") };
            host.answered(id, reply);
        };
        block_on(zip(asking(&host), answer)).0
    }

    #[test]
    fn answers_that_are_too_large_or_of_another_kind_are_refused() {
        let sealed = |length: u32| Ok(HostReply::Sealed(Some(vec![0; length as usize])));
        assert!(ask(async |host| host.load_sealed("x").await, sealed(MAX_SEALED_BYTES)).unwrap().is_some());
        assert!(ask(async |host| host.load_sealed("x").await, sealed(MAX_SEALED_BYTES + 1)).is_err());
        assert!(ask(async |host| host.load_sealed("x").await, Ok(HostReply::Done)).is_err());
        let read = EnclaveRequest::ReadBlob { blob: [0; 32], offset: 0, length: 10 };
        let bytes = |length| Ok(HostReply::Bytes(vec![0; length]));
        assert!(ask(async |host| host.bytes(&read, 10).await, bytes(10)).is_ok());
        assert!(ask(async |host| host.bytes(&read, 10).await, bytes(11)).is_err());
        assert!(ask(async |host| host.done(&read).await, bytes(1)).is_err());
    }

    #[test]
    fn what_is_kept_of_a_hosts_words_is_bounded() {
        let reply = Err(Refusal { reason: "x".repeat(1_000_000), retry: true });
        let refused = ask(async |host| host.load_sealed("x").await, reply).unwrap_err();
        assert_eq!(refused.reason.len(), MAX_REASON_BYTES);
    }

    #[test]
    fn unread_bytes_of_all_streams_and_their_number_are_bounded() {
        let host = Host::default();
        let (outbound, _queue) = async_channel::unbounded();
        host.up(&outbound);
        let chunk = vec![0; MAX_CHUNK_BYTES as usize];
        let streams: Vec<_> =
            (0..MAX_STREAMS as u64).map(|connection| (connection, Arc::new(Stream::default()))).collect();
        for (connection, stream) in &streams {
            let dial = host.dial(*connection, "a:1", stream);
            // Nobody answers: the stream is known, and not yet open.
            assert!(block_on(futures_lite::future::poll_once(dial)).is_none());
            host.received(*connection, &chunk);
        }
        let unread: usize = streams.iter().map(|(_, stream)| stream.unread()).sum();
        assert_eq!(unread, MAX_UNREAD_BYTES);
        let one_more = Arc::new(Stream::default());
        assert_eq!(block_on(host.dial(MAX_STREAMS as u64, "a:1", &one_more)), None);
        // Bytes of what nobody opened are nobody's.
        host.received(1 << 40, &chunk);
        assert_eq!(streams.iter().map(|(_, stream)| stream.unread()).sum::<usize>(), MAX_UNREAD_BYTES);
    }
}
