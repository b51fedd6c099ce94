//! smoldot's view of the world: time and randomness from the TEE, TCP streams through the host.

use futures::future::{self, BoxFuture};
use phala_protocol::{ConnectionId, LogLevel as HostLogLevel};
use smoldot_light::platform::{
    Address, ConnectionType, LogLevel, MultiStreamAddress, MultiStreamWebRtcConnection, PlatformRef,
    SubstreamDirection, read_write::ReadWrite,
};
use std::{
    borrow::Cow,
    convert::Infallible,
    fmt::{self, Write as _},
    ops::{Deref, DerefMut},
    panic::UnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use crate::{
    Tee,
    host::{Host, lock},
    runtime::{Cancel, Tasks},
    text::Text,
};

/// Bytes that may wait on a stream for smoldot to take them. A peer that respects smoldot's windows stays far below.
const MAX_UNREAD_BYTES: usize = 32 * 1024 * 1024;

/// Bytes that smoldot may queue on a stream.
const MAX_UNSENT_BYTES: usize = 128 * 1024;

/// See [`PlatformRef`].
#[derive(Clone)]
pub(crate) struct Platform {
    tee: Arc<dyn Tee>,
    host: Host,
    tasks: Tasks,
    next_connection: Arc<AtomicU64>,
}

/// smoldot holds a platform across its own caught panics; nothing here is left half-changed by one.
impl UnwindSafe for Platform {}

impl Platform {
    pub(crate) fn new(tee: Arc<dyn Tee>, host: Host, tasks: Tasks) -> Self {
        Self { tee, host, tasks, next_connection: Arc::default() }
    }

    pub(crate) fn tee(&self) -> &Arc<dyn Tee> {
        &self.tee
    }

    /// Writes to the host's log.
    pub(crate) fn note(&self, text: Text) {
        self.host.log(HostLogLevel::Info, text);
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(future);
    }
}

/// What a stream and the link to the host share.
#[derive(Default)]
pub(crate) struct Stream {
    state: Mutex<StreamState>,
}

#[derive(Default)]
struct StreamState {
    connected: bool,
    failed: bool,
    incoming: Vec<u8>,
    /// Bytes that smoldot has seen and not taken.
    seen: usize,
    unsent: usize,
    /// Rises with each change, so that none is missed between two looks.
    version: u64,
    waker: Option<Waker>,
}

/// What happened to a stream.
#[derive(Debug, thiserror::Error)]
#[error("the connection failed or was closed")]
pub(crate) struct StreamFailed;

impl Stream {
    fn change(&self, change: impl FnOnce(&mut StreamState)) {
        let waker = {
            let mut state = lock(&self.state);
            change(&mut state);
            state.version = state.version.wrapping_add(1);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn fail(&self) {
        self.change(StreamState::fail);
    }

    pub(crate) fn received(&self, bytes: &[u8]) {
        self.change(|state| {
            if state.unread().saturating_add(bytes.len()) > MAX_UNREAD_BYTES {
                state.fail();
            } else if !state.failed {
                state.incoming.extend_from_slice(bytes);
            }
        });
    }

    /// Bytes that wait for smoldot to take them.
    pub(crate) fn unread(&self) -> usize {
        lock(&self.state).unread()
    }
}

impl StreamState {
    fn unread(&self) -> usize {
        self.incoming.len().saturating_add(self.seen)
    }

    fn fail(&mut self) {
        self.failed = true;
        self.incoming = Vec::new();
    }
}

/// smoldot's end of a stream.
pub(crate) struct StreamHandle {
    shared: Arc<Stream>,
    connection: ConnectionId,
    host: Host,
    tasks: Tasks,
    tee: Arc<dyn Tee>,
    /// Closed with the writing side.
    out: Option<async_channel::Sender<Vec<u8>>>,
    unread: Vec<u8>,
    seen_version: Option<u64>,
    seen_at: Duration,
    wake_up_at: Option<Duration>,
    /// Dials, then sends; ends with the handle.
    _pump: Cancel,
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        let (host, connection) = (self.host.clone(), self.connection);
        self.tasks.spawn(async move { host.close(connection).await });
    }
}

/// A look at a stream's buffers; what smoldot did to them takes effect when it is dropped.
pub(crate) struct Access<'a> {
    handle: &'a mut StreamHandle,
    buffers: ReadWrite<Duration>,
}

impl Deref for Access<'_> {
    type Target = ReadWrite<Duration>;

    fn deref(&self) -> &Self::Target {
        &self.buffers
    }
}

impl DerefMut for Access<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.buffers
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        let Self { handle, buffers } = self;
        handle.unread = std::mem::take(&mut buffers.incoming_buffer);
        lock(&handle.shared.state).seen = handle.unread.len();
        handle.wake_up_at = buffers.wake_up_after.take();
        for buffer in std::mem::take(&mut buffers.write_buffers) {
            if let Some(out) = handle.out.as_ref().filter(|_| !buffer.is_empty()) {
                let mut state = lock(&handle.shared.state);
                state.unsent = state.unsent.saturating_add(buffer.len());
                drop(state);
                let _ = out.try_send(buffer);
            }
        }
        if buffers.write_bytes_queueable.is_none() {
            handle.out = None;
        }
    }
}

impl PlatformRef for Platform {
    type Delay = BoxFuture<'static, ()>;
    type Instant = Duration;
    type MultiStream = Infallible;
    type Stream = StreamHandle;
    type ReadWriteAccess<'a> = Access<'a>;
    type StreamErrorRef<'a> = StreamFailed;
    type StreamConnectFuture = future::Ready<StreamHandle>;
    type MultiStreamConnectFuture = future::Pending<MultiStreamWebRtcConnection<Infallible>>;
    type StreamUpdateFuture<'a> = BoxFuture<'a, ()>;
    type NextSubstreamFuture<'a> = future::Pending<Option<(StreamHandle, SubstreamDirection)>>;

    fn now_from_unix_epoch(&self) -> Duration {
        self.tee.unix_time()
    }

    fn now(&self) -> Duration {
        self.tee.now()
    }

    fn fill_random_bytes(&self, buffer: &mut [u8]) {
        self.tee.fill_random(buffer);
    }

    fn sleep(&self, duration: Duration) -> Self::Delay {
        self.tee.sleep(duration)
    }

    fn sleep_until(&self, when: Duration) -> Self::Delay {
        self.tee.sleep(when.saturating_sub(self.tee.now()))
    }

    fn spawn_task(&self, _name: Cow<str>, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    fn log<'a>(
        &self,
        level: LogLevel,
        target: &'a str,
        message: &'a str,
        values: impl Iterator<Item = (&'a str, &'a dyn fmt::Display)>,
    ) {
        let level = match level {
            LogLevel::Error => HostLogLevel::Warn,
            // smoldot warns of what is usual here: a head that warp sync does not move, its own older JSON-RPC.
            LogLevel::Warn | LogLevel::Info => HostLogLevel::Debug,
            LogLevel::Debug | LogLevel::Trace => return,
        };
        let mut line = format!("{target}: {message}");
        for (key, value) in values {
            let _ = write!(line, " {key}={value}");
        }
        self.host.log(level, Text::of_the_light_client(line));
    }

    fn client_name(&self) -> Cow<'_, str> {
        env!("CARGO_PKG_NAME").into()
    }

    fn client_version(&self) -> Cow<'_, str> {
        env!("CARGO_PKG_VERSION").into()
    }

    fn supports_connection_type(&self, kind: ConnectionType) -> bool {
        matches!(kind, ConnectionType::TcpIpv4 | ConnectionType::TcpIpv6 | ConnectionType::TcpDns)
    }

    fn connect_stream(&self, address: Address<'_>) -> Self::StreamConnectFuture {
        let address = match address {
            Address::TcpIp { ip, port } => Some(core::net::SocketAddr::from((ip, port)).to_string()),
            Address::TcpDns { hostname, port } => Some(format!("{hostname}:{port}")),
            Address::WebSocketIp { .. } | Address::WebSocketDns { .. } => None,
        };
        let connection = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Stream::default());
        let (out, queue) = async_channel::unbounded::<Vec<u8>>();
        let pump = self.tasks.cancellable({
            let (host, shared) = (self.host.clone(), shared.clone());
            async move {
                let dialled = match &address {
                    Some(address) => host.dial(connection, address, &shared).await,
                    None => None,
                };
                if dialled.is_none() {
                    shared.fail();
                    return;
                }
                shared.change(|state| state.connected = true);
                while let Ok(bytes) = queue.recv().await {
                    host.send(connection, &bytes).await;
                    shared.change(|state| state.unsent = state.unsent.saturating_sub(bytes.len()));
                }
                host.close(connection).await;
                shared.fail();
            }
        });
        future::ready(StreamHandle {
            shared,
            connection,
            host: self.host.clone(),
            tasks: self.tasks.clone(),
            tee: self.tee.clone(),
            out: Some(out),
            unread: Vec::new(),
            seen_version: None,
            seen_at: Duration::ZERO,
            wake_up_at: None,
            _pump: pump,
        })
    }

    fn connect_multistream(&self, _address: MultiStreamAddress<'_>) -> Self::MultiStreamConnectFuture {
        future::pending()
    }

    fn open_out_substream(&self, connection: &mut Infallible) {
        match *connection {}
    }

    fn next_substream<'a>(&self, connection: &'a mut Infallible) -> Self::NextSubstreamFuture<'a> {
        match *connection {}
    }

    fn read_write_access<'a>(&self, stream: Pin<&'a mut StreamHandle>) -> Result<Access<'a>, StreamFailed> {
        let handle = stream.get_mut();
        let now = self.tee.now();
        let (failed, connected, unsent) = {
            let mut state = lock(&handle.shared.state);
            handle.seen_version = Some(state.version);
            handle.unread.append(&mut state.incoming);
            state.seen = handle.unread.len();
            (state.failed, state.connected, state.unsent)
        };
        handle.seen_at = now;
        handle.wake_up_at = None;
        if failed {
            return Err(StreamFailed);
        }
        let queueable = match (&handle.out, connected) {
            (None, _) => None,
            (Some(_), false) => Some(0),
            (Some(_), true) => Some(MAX_UNSENT_BYTES.saturating_sub(unsent)),
        };
        let buffers = ReadWrite {
            now,
            incoming_buffer: std::mem::take(&mut handle.unread),
            expected_incoming_bytes: Some(0),
            read_bytes: 0,
            write_buffers: Vec::new(),
            write_bytes_queued: unsent,
            write_bytes_queueable: queueable,
            wake_up_after: None,
        };
        Ok(Access { handle, buffers })
    }

    fn wait_read_write_again<'a>(&self, stream: Pin<&'a mut StreamHandle>) -> BoxFuture<'a, ()> {
        let handle = stream.get_mut();
        let Some(seen) = handle.seen_version else { return Box::pin(future::ready(())) };
        let mut timer = match handle.wake_up_at {
            Some(at) if at <= handle.seen_at => return Box::pin(future::ready(())),
            Some(at) => Some(handle.tee.sleep(at.saturating_sub(handle.tee.now()))),
            None => None,
        };
        let shared = &handle.shared;
        Box::pin(future::poll_fn(move |context| {
            if let Some(timer) = &mut timer
                && timer.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(());
            }
            let mut state = lock(&shared.state);
            if state.version != seen {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;

    #[test]
    fn a_flood_that_nobody_reads_fails_the_stream() {
        let stream = Stream::default();
        let chunk = vec![0; 1024 * 1024];
        for _ in 0..MAX_UNREAD_BYTES / chunk.len() {
            stream.received(&chunk);
        }
        assert!(!lock(&stream.state).failed);
        stream.received(&chunk);
        assert!(lock(&stream.state).failed);
    }

    #[test]
    fn changes_wake_whoever_waits() {
        let tee: Arc<dyn Tee> = Arc::new(crate::testing::TestTee::new(1));
        let tasks = Tasks::new(Arc::new(crate::runtime::Threads::default()));
        let platform = Platform::new(tee, Host::default(), tasks);
        let address = Address::TcpDns { hostname: "example.com", port: 1 };
        let mut handle = Box::pin(block_on(platform.connect_stream(address)));
        block_on(platform.wait_read_write_again(handle.as_mut()));
        drop(platform.read_write_access(handle.as_mut()).unwrap());
        handle.shared.received(b"abc");
        block_on(platform.wait_read_write_again(handle.as_mut()));
        let mut access = platform.read_write_access(handle.as_mut()).unwrap();
        assert_eq!(access.incoming_buffer, b"abc");
        access.incoming_buffer.drain(..1);
        drop(access);
        // What smoldot leaves counts as unread.
        assert_eq!(handle.shared.unread(), 2);
        handle.shared.fail();
        block_on(platform.wait_read_write_again(handle.as_mut()));
        assert!(platform.read_write_access(handle.as_mut()).is_err());
    }
}
