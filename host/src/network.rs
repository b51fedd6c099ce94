//! TCP connections that the host keeps for the enclave's light client. The bytes on them are end-to-end encrypted
//! between the enclave and the chain's nodes; the host can only carry, delay or drop them.
//!
//! One task serves each connection. What comes from the network waits in the socket while the enclave does not read
//! (back-pressure reaches the peer); what the enclave sends is buffered up to [`MAX_BUFFERED_BYTES`], and a connection whose
//! peer does not take it is closed, because a notice cannot be refused.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use phala_protocol::{ConnectionId, HostMessage, HostNotice, HostReply, Message, Refusal};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The most connections at once.
pub const MAX_CONNECTIONS: usize = 128;

/// The most bytes that wait for the peer of one connection.
pub const MAX_BUFFERED_BYTES: usize = 8 * 1024 * 1024;

const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may take nothing at all before its connection is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

const READ_BYTES: usize = 64 * 1024;

/// The connections of one link to an enclave. Dropped or closed with it.
pub struct Network {
    outgoing: mpsc::Sender<HostMessage>,
    metrics: Arc<Metrics>,
    closed: CancellationToken,
    connections: Mutex<BTreeMap<ConnectionId, Connection>>,
}

struct Connection {
    sender: mpsc::UnboundedSender<Vec<u8>>,
    buffered: Arc<AtomicUsize>,
    closed: CancellationToken,
}

impl Network {
    /// Without connections; their bytes go to `outgoing`, until `closed`.
    pub fn new(outgoing: mpsc::Sender<HostMessage>, metrics: Arc<Metrics>, closed: CancellationToken) -> Arc<Self> {
        Arc::new(Self { outgoing, metrics, closed, connections: Mutex::default() })
    }

    /// The map is consistent whenever its lock is released.
    fn connections(&self) -> MutexGuard<'_, BTreeMap<ConnectionId, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a connection in the background and answers the enclave's request `id`.
    pub fn dial(self: &Arc<Self>, id: u64, connection: ConnectionId, address: String) {
        let refused = {
            let mut connections = self.connections();
            if connections.contains_key(&connection) {
                Some(Refusal { reason: "this connection exists already".into(), retry: false })
            } else if connections.len() >= MAX_CONNECTIONS {
                Some(Refusal { reason: "the host has too many connections open".into(), retry: true })
            } else {
                let (sender, receiver) = mpsc::unbounded_channel();
                let buffered = Arc::new(AtomicUsize::new(0));
                let closed = self.closed.child_token();
                let entry = Connection { sender, buffered: buffered.clone(), closed: closed.clone() };
                connections.insert(connection, entry);
                let this = self.clone();
                tokio::spawn(async move {
                    this.serve(id, connection, address, Buffer { receiver, buffered }, closed).await;
                });
                None
            }
        };
        if let Some(refusal) = refused {
            let outgoing = self.outgoing.clone();
            tokio::spawn(async move {
                let _ = outgoing.send(Message::Reply { id, reply: Err(refusal) }).await;
            });
        }
    }

    /// Sends bytes on a connection. Nothing happens when it is gone: the enclave has been told, or will be.
    pub fn send(&self, connection: ConnectionId, bytes: Vec<u8>) {
        if let Some(entry) = self.connections().get(&connection) {
            let buffered = entry.buffered.fetch_add(bytes.len(), Ordering::Relaxed);
            if buffered.saturating_add(bytes.len()) > MAX_BUFFERED_BYTES {
                tracing::debug!(connection, "a peer does not take what the enclave sends");
                entry.closed.cancel();
            } else {
                // Fails only when the connection is just ending.
                let _ = entry.sender.send(bytes);
            }
        }
    }

    /// Closes a connection.
    pub fn close(&self, connection: ConnectionId) {
        if let Some(entry) = self.connections().get(&connection) {
            entry.closed.cancel();
        }
    }

    async fn serve(
        &self,
        id: u64,
        connection: ConnectionId,
        address: String,
        buffer: Buffer,
        closed: CancellationToken,
    ) {
        let dialed = tokio::select! {
            biased;
            dialed = dial(&address) => dialed,
            () = closed.cancelled() => Err(io::Error::other("closed while it was being opened")),
        };
        let reply = match &dialed {
            Ok(_) => Ok(HostReply::Done),
            Err(error) => {
                tracing::debug!(connection, address, %error, "could not dial");
                Err(Refusal { reason: format!("could not dial {address}: {error}"), retry: true })
            }
        };
        let answered = self.outgoing.send(Message::Reply { id, reply }).await.is_ok();
        if let (Ok(stream), true) = (dialed, answered) {
            self.metrics.connections.inc();
            tokio::select! {
                biased;
                ended = self.carry(connection, stream, buffer) => tracing::debug!(connection, address, ?ended, "closed"),
                () = closed.cancelled() => {}
            }
            self.metrics.connections.dec();
            self.connections().remove(&connection);
            let _ = self.outgoing.send(Message::Notice(HostNotice::Closed { connection })).await;
        } else {
            self.connections().remove(&connection);
        }
    }

    async fn carry(&self, connection: ConnectionId, stream: TcpStream, mut buffer: Buffer) -> io::Result<()> {
        let (mut reader, mut writer) = stream.into_split();
        let receiving = async {
            let mut bytes = vec![0; READ_BYTES];
            loop {
                let count = reader.read(&mut bytes).await?;
                if count == 0 {
                    return Ok(());
                }
                self.metrics.count_bytes("network", "in", count);
                let notice = HostNotice::Received { connection, bytes: bytes[..count].to_vec() };
                if self.outgoing.send(Message::Notice(notice)).await.is_err() {
                    return Ok(());
                }
            }
        };
        let sending = async {
            while let Some(bytes) = buffer.receiver.recv().await {
                timeout(WRITE_TIMEOUT, writer.write_all(&bytes)).await??;
                buffer.buffered.fetch_sub(bytes.len(), Ordering::Relaxed);
                self.metrics.count_bytes("network", "out", bytes.len());
            }
            Ok(())
        };
        tokio::select! {
            biased;
            ended = receiving => ended,
            ended = sending => ended,
        }
    }
}

/// What waits for a peer.
struct Buffer {
    receiver: mpsc::UnboundedReceiver<Vec<u8>>,
    buffered: Arc<AtomicUsize>,
}

async fn dial(address: &str) -> io::Result<TcpStream> {
    let stream = timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
