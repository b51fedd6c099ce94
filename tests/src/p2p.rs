//! A lying peer: a man in the middle between an enclave's light client and an honest node.
//!
//! Towards the enclave it is a node with an identity of its own, which the chain specification names as the only boot
//! node; towards the honest node it is a light client. It ends the encryption (noise) and the multiplexing (yamux) on both
//! sides, opens for each substream one on the other side, and shows every message on it, with the protocol that was
//! negotiated, to a [`Lie`], which may change, drop, add and keep. So it can do all that a malicious node can do that has
//! no authority's key.

use anyhow::{Context, Result, ensure};
use codec::{Decode, Encode};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p_core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p_identity::Keypair;
use multistream_select::{Negotiated, Version, dialer_select_proto, listener_select_proto};
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use yamux::Stream;

/// The largest message: more than the largest answer to a warp sync request.
const MAX_MESSAGE_BYTES: u64 = 64 * 1024 * 1024;

/// Storage proofs and calls: requests and answers.
pub const LIGHT: &str = "/light/2";
/// Notifications of finality: votes, commits, neighbours.
pub const GRANDPA: &str = "/grandpa/1";
/// Proofs of finality from one set of authorities to the next: requests and answers.
pub const WARP: &str = "/sync/warp";
/// Notifications of new blocks.
pub const ANNOUNCES: &str = "/block-announces/1";
/// Blocks: requests and answers.
pub const SYNC: &str = "/sync/2";

const PING: &str = "/ipfs/ping/1.0.0";
const NOISE: &str = "/noise";
const YAMUX: &str = "/yamux/1.0.0";
const MULTISTREAM: &[u8] = b"/multistream/1.0.0\n";

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The enclave's light client.
    Enclave,
    /// The honest node.
    Node,
}

/// A message that passes by.
#[derive(Clone, Debug)]
pub struct Passing {
    /// The negotiated protocol, for instance `/{genesis}/light/2`.
    pub protocol: String,
    /// Who sent it.
    pub from: Side,
    /// Its place among the messages that this side sent on the substream, from 0. On notification protocols, the first
    /// is the handshake.
    pub position: usize,
}

impl Passing {
    /// Whether the node says it, on a protocol that ends so.
    pub fn is_from_node(&self, protocol: &str) -> bool {
        self.from == Side::Node && self.protocol.ends_with(protocol)
    }
}

/// What passes instead of a message.
pub type Lie = dyn FnMut(&Passing, Vec<u8>) -> Vec<Vec<u8>> + Send;

/// The man in the middle. Ends when dropped.
pub struct LyingPeer {
    address: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    /// `host:port` of the honest node.
    node: String,
    identity: Keypair,
    lie: Mutex<Option<Box<Lie>>>,
    /// Messages of the node, by protocol.
    seen: Mutex<HashMap<String, usize>>,
    /// Rises when all connections are to be closed.
    hang_ups: watch::Sender<u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LyingPeer {
    /// Stands before the node with this multiaddress (`/ip4/…/tcp/…/p2p/…`). Honest until told otherwise.
    ///
    /// # Errors
    /// When the address is none, or nothing can be listened on.
    pub async fn start(node: &str) -> Result<Self> {
        let parts: Vec<_> = node.split('/').collect();
        let ["", "ip4", host, "tcp", port, ..] = parts[..] else { anyhow::bail!("no TCP address: {node}") };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port_here = listener.local_addr()?.port();
        let identity = Keypair::generate_ed25519();
        let address = format!("/ip4/127.0.0.1/tcp/{port_here}/p2p/{}", identity.public().to_peer_id());
        let shared = Arc::new(Shared {
            node: format!("{host}:{port}"),
            identity,
            lie: Mutex::default(),
            seen: Mutex::default(),
            hang_ups: watch::Sender::new(0),
        });
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { address, shared, serving })
    }

    /// Its own address, as a chain specification names boot nodes.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Lies from now on, on all connections.
    pub fn lie(&self, lie: impl FnMut(&Passing, Vec<u8>) -> Vec<Vec<u8>> + Send + 'static) {
        *lock(&self.shared.lie) = Some(Box::new(lie));
    }

    /// Passes everything from now on.
    pub fn be_honest(&self) {
        *lock(&self.shared.lie) = None;
    }

    /// Closes all connections; new ones are taken.
    pub fn hang_up(&self) {
        self.shared.hang_ups.send_modify(|count| *count += 1);
    }

    /// How many messages the node has sent on protocols that end so, handshakes among them.
    pub fn seen(&self, protocol: &str) -> usize {
        let seen = lock(&self.shared.seen);
        seen.iter().filter(|(name, _)| name.ends_with(protocol)).map(|(_, count)| count).sum()
    }
}

impl Drop for LyingPeer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped, and so aborted, with this task.
    let mut relays = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(relays.spawn(relay(stream, shared.clone()))),
            Some(_) = relays.join_next() => {}
        }
    }
}

type Secured = Negotiated<libp2p_noise::Output<Negotiated<Compat<TcpStream>>>>;
type Connection = yamux::Connection<Secured>;

/// Who waits for a substream to be opened.
type Opening = oneshot::Sender<Stream>;

async fn listen(stream: TcpStream, identity: &Keypair) -> Result<Connection> {
    let (_, stream) = listener_select_proto(stream.compat(), [NOISE]).await?;
    let (_, stream) = libp2p_noise::Config::new(identity)?.upgrade_inbound(stream, NOISE).await?;
    let (_, stream) = listener_select_proto(stream, [YAMUX]).await?;
    Ok(yamux::Connection::new(stream, yamux::Config::default(), yamux::Mode::Server))
}

async fn dial(stream: TcpStream, identity: &Keypair) -> Result<Connection> {
    let (_, stream) = dialer_select_proto(stream.compat(), [NOISE], Version::V1).await?;
    let (_, stream) = libp2p_noise::Config::new(identity)?.upgrade_outbound(stream, NOISE).await?;
    let (_, stream) = dialer_select_proto(stream, [YAMUX], Version::V1).await?;
    Ok(yamux::Connection::new(stream, yamux::Config::default(), yamux::Mode::Client))
}

/// One connection of the enclave, with one to the node. Towards the node it is another peer each time.
async fn relay(enclave: TcpStream, shared: Arc<Shared>) -> Result<()> {
    let mut hang_ups = shared.hang_ups.subscribe();
    let node = TcpStream::connect(&shared.node).await?;
    let node = dial(node, &Keypair::generate_ed25519()).await?;
    let enclave = listen(enclave, &shared.identity).await?;
    let (enclave_opens, mut from_enclave) = mpsc::unbounded_channel();
    let (node_opens, mut from_node) = mpsc::unbounded_channel();
    let (to_enclave, enclave_wanted) = mpsc::unbounded_channel();
    let (to_node, node_wanted) = mpsc::unbounded_channel();
    let substreams = async {
        // Dropped with the connections.
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                Some(dialer) = from_enclave.recv() => {
                    open.spawn(substream(dialer, Side::Enclave, to_node.clone(), shared.clone()));
                }
                Some(dialer) = from_node.recv() => {
                    open.spawn(substream(dialer, Side::Node, to_enclave.clone(), shared.clone()));
                }
                Some(_) = open.join_next() => {}
                else => return,
            }
        }
    };
    tokio::select! {
        () = drive(enclave, enclave_opens, enclave_wanted) => {}
        () = drive(node, node_opens, node_wanted) => {}
        () = substreams => {}
        _ = hang_ups.changed() => {}
    }
    Ok(())
}

/// Moves a connection on until it ends, hands over what the other side opens, and opens what is wanted.
async fn drive(
    mut connection: Connection,
    opened: mpsc::UnboundedSender<Stream>,
    mut wanted: mpsc::UnboundedReceiver<Opening>,
) {
    let mut waiting: VecDeque<Opening> = VecDeque::new();
    futures::future::poll_fn(move |context| {
        loop {
            while let Poll::Ready(Some(opening)) = wanted.poll_recv(context) {
                waiting.push_back(opening);
            }
            if let Some(opening) = waiting.pop_front() {
                match connection.poll_new_outbound(context) {
                    Poll::Ready(Ok(stream)) => {
                        // Whoever wanted it may be gone; then it is reset.
                        let _ = opening.send(stream);
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => waiting.push_front(opening),
                }
            }
            match connection.poll_next_inbound(context) {
                Poll::Ready(Some(Ok(stream))) => drop(opened.send(stream)),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// What the two sides of a substream have agreed on so far.
#[derive(Default)]
struct Negotiation {
    proposed: String,
    agreed: bool,
}

impl Negotiation {
    /// Whether a message belongs to the negotiation, which it moves on.
    fn takes(&mut self, from_dialer: bool, message: &[u8]) -> bool {
        if self.agreed {
            return false;
        }
        let line = message.strip_suffix(b"\n").filter(|_| message != MULTISTREAM);
        match line.and_then(|line| std::str::from_utf8(line).ok()) {
            // A dialer may speak on before it hears that its proposal is taken.
            Some(name) if from_dialer && !name.starts_with('/') => false,
            Some(name) if from_dialer => {
                name.clone_into(&mut self.proposed);
                true
            }
            Some(name) => {
                self.agreed = name == self.proposed;
                true
            }
            None => !from_dialer || message == MULTISTREAM,
        }
    }
}

async fn substream(
    dialer: Stream,
    dialed_by: Side,
    open: mpsc::UnboundedSender<Opening>,
    shared: Arc<Shared>,
) -> Result<()> {
    let (opening, opened) = oneshot::channel();
    open.send(opening).ok().context("the other connection ended")?;
    let listener = opened.await?;
    let (dialer_reads, dialer_writes) = dialer.split();
    let (listener_reads, listener_writes) = listener.split();
    let negotiation = Mutex::default();
    let other = if dialed_by == Side::Enclave { Side::Node } else { Side::Enclave };
    // An error on one side drops both streams, which resets them.
    tokio::try_join!(
        pipe(dialer_reads, listener_writes, (dialed_by, true), &negotiation, &shared),
        pipe(listener_reads, dialer_writes, (other, false), &negotiation, &shared),
    )?;
    Ok(())
}

async fn pipe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (side, is_dialer): (Side, bool),
    negotiation: &Mutex<Negotiation>,
    shared: &Shared,
) -> Result<()> {
    let mut position = 0;
    loop {
        let is_ping = {
            let negotiation = lock(negotiation);
            negotiation.proposed == PING && (is_dialer || negotiation.agreed)
        };
        if is_ping {
            // The only protocol without lengths.
            futures::io::copy(&mut from, &mut to).await?;
            break;
        }
        let Some(message) = read_message(&mut from).await? else { break };
        if lock(negotiation).takes(is_dialer, &message) {
            write_message(&mut to, &message).await?;
            continue;
        }
        let passing = Passing { protocol: lock(negotiation).proposed.clone(), from: side, position };
        position += 1;
        for message in shared.pass(&passing, message) {
            write_message(&mut to, &message).await?;
        }
    }
    to.close().await?;
    Ok(())
}

impl Shared {
    fn pass(&self, passing: &Passing, message: Vec<u8>) -> Vec<Vec<u8>> {
        if passing.from == Side::Node {
            *lock(&self.seen).entry(passing.protocol.clone()).or_default() += 1;
        }
        match &mut *lock(&self.lie) {
            Some(lie) => lie(passing, message),
            None => vec![message],
        }
    }
}

/// A message behind its length, an unsigned LEB128. `None` at the end.
async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>> {
    let mut length = 0u64;
    for shift in (0..63).step_by(7) {
        let mut byte = [0];
        if from.read(&mut byte).await? == 0 {
            ensure!(shift == 0, "a substream ends within a length");
            return Ok(None);
        }
        length |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    ensure!(length <= MAX_MESSAGE_BYTES, "a message of {length} bytes");
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write_message(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(message.len() + 10);
    let mut length = message.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(message);
    to.write_all(&bytes).await?;
    to.flush().await
}

/// An answer to a warp sync request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WarpProof {
    /// One for each change of the authorities, and perhaps one for the newest block.
    pub fragments: Vec<WarpFragment>,
    /// Whether there is no more.
    pub is_finished: bool,
}

/// A header with the votes that finalized it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WarpFragment {
    /// The header.
    pub header: Header,
    /// The round of voting.
    pub round: u64,
    /// What was voted for.
    pub target: Target,
    /// The votes.
    pub precommits: Vec<Precommit>,
    /// Headers between the target and what was voted for.
    pub ancestries: Vec<Header>,
}

/// A block by hash and number.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Target {
    /// Its hash.
    pub hash: [u8; 32],
    /// Its number.
    pub number: u32,
}

/// A signed vote.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Precommit {
    /// For which block.
    pub target: Target,
    /// Ed25519.
    pub signature: [u8; 64],
    /// By whom.
    pub authority: [u8; 32],
}

/// A block's header.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// Its parent's hash.
    pub parent: [u8; 32],
    /// Its number.
    #[codec(compact)]
    pub number: u32,
    /// The root of the state after it.
    pub state_root: [u8; 32],
    /// The root of its extrinsics.
    pub extrinsics_root: [u8; 32],
    /// What its author adds.
    pub digest: Vec<DigestItem>,
}

/// A part of a header's digest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DigestItem {
    /// Anything.
    #[codec(index = 0)]
    Other(Vec<u8>),
    /// For the consensus engine.
    #[codec(index = 4)]
    Consensus([u8; 4], Vec<u8>),
    /// The author's signature.
    #[codec(index = 5)]
    Seal([u8; 4], Vec<u8>),
    /// For the runtime.
    #[codec(index = 6)]
    PreRuntime([u8; 4], Vec<u8>),
    /// The runtime changes.
    #[codec(index = 8)]
    RuntimeEnvironmentUpdated,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiations_are_followed() {
        let mut negotiation = Negotiation::default();
        assert!(negotiation.takes(true, MULTISTREAM));
        assert!(negotiation.takes(true, b"/a/1\n"));
        assert!(negotiation.takes(false, MULTISTREAM));
        assert!(negotiation.takes(false, b"na\n"));
        assert!(negotiation.takes(true, b"/b/1\n"));
        // Said before the other side has agreed.
        assert!(!negotiation.takes(true, b"\x01\x02"));
        assert!(negotiation.takes(false, b"/b/1\n"));
        assert!(!negotiation.takes(false, b"/b/1\n"));
        assert_eq!(negotiation.proposed, "/b/1");
    }

    #[test]
    fn messages_keep_their_length() -> Result<()> {
        futures::executor::block_on(async {
            for length in [0, 1, 127, 128, 300, 70_000] {
                let message = vec![7; length];
                let mut stream = Vec::new();
                write_message(&mut stream, &message).await?;
                let mut reader = &stream[..];
                assert_eq!(read_message(&mut reader).await?, Some(message));
                assert_eq!(read_message(&mut reader).await?, None);
            }
            Ok(())
        })
    }
}
