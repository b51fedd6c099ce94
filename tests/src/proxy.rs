//! A TCP proxy between two processes: the network, which carries, cuts, stalls, garbles and repeats.

use anyhow::Result;
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What a [`Proxy`] does with connections, those that are open and new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Carries all bytes.
    Carry,
    /// Closes all connections, and new ones at once.
    Cut,
    /// Keeps connections open and carries nothing.
    Stall,
    /// Flips a bit in each piece that comes from the target.
    Garble,
    /// Answers new connections with what the target said on the first one, and does not ask the target.
    Replay,
}

/// A proxy before one TCP address. Ends when dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    target: String,
    mode: watch::Sender<Mode>,
    connections: AtomicUsize,
    /// What the target said on the first connection.
    recorded: Mutex<Vec<u8>>,
}

impl Proxy {
    /// Listens on a free port of the loopback interface, and carries to `target` (`host:port`).
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(target: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            mode: watch::Sender::new(Mode::Carry),
            connections: AtomicUsize::new(0),
            recorded: Mutex::default(),
        });
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { port, shared, serving })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it does from now on.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped, and so aborted, with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let first = shared.connections.fetch_add(1, Ordering::Relaxed) == 0;
                connections.spawn(connection(stream, shared.clone(), first));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>, first: bool) -> io::Result<()> {
    let mut mode = shared.mode.subscribe();
    let now = *mode.borrow();
    let (from_client, mut to_client) = client.into_split();
    if now == Mode::Replay {
        let recorded = shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        to_client.write_all(&recorded).await?;
        return carry(from_client, tokio::io::sink(), &shared, None).await;
    }
    if now == Mode::Cut {
        return Ok(());
    }
    let (from_target, to_target) = TcpStream::connect(&shared.target).await?.into_split();
    let record = first.then_some(&shared.recorded);
    tokio::select! {
        ended = carry(from_client, to_target, &shared, None) => ended,
        ended = carry(from_target, to_client, &shared, Some(record)) => ended,
        _ = mode.wait_for(|mode| matches!(mode, Mode::Cut | Mode::Replay)) => Ok(()),
    }
}

/// Carries one direction. `target`: whether it comes from the target, and where that is recorded.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    target: Option<Option<&Mutex<Vec<u8>>>>,
) -> io::Result<()> {
    let mut mode = shared.mode.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let piece = &mut buffer[..count];
        // The sender lives as long as the proxy.
        let now = mode.wait_for(|mode| *mode != Mode::Stall).await.map_or(Mode::Carry, |mode| *mode);
        if let Some(record) = target {
            if let Some(record) = record {
                record.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(piece);
            }
            if now == Mode::Garble {
                piece[count / 2] ^= 1;
            }
        }
        to.write_all(piece).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_does_what_it_says() -> Result<()> {
        tokio::runtime::Runtime::new()?.block_on(async {
            let target = TcpListener::bind("127.0.0.1:0").await?;
            let proxy = Proxy::start(&target.local_addr()?.to_string()).await?;
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = target.accept().await {
                    let _ = stream.write_all(b"hello").await;
                    tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
                }
            });
            let hello = || async {
                let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).await?;
                let mut bytes = [0; 5];
                stream.read_exact(&mut bytes).await?;
                io::Result::Ok(bytes)
            };
            assert_eq!(hello().await?, *b"hello");
            proxy.set(Mode::Garble);
            assert_eq!(hello().await?, *b"hemlo");
            proxy.set(Mode::Cut);
            assert!(hello().await.is_err());
            proxy.set(Mode::Replay);
            assert_eq!(hello().await?, *b"hello");
            assert_eq!(proxy.connections(), 4);
            Ok(())
        })
    }
}
