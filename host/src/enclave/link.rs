//! One connection to an enclave: frames in, frames out, and who waits for which answer.
//!
//! The reader hands each message on and never waits for the writer, so that neither side can block the other for ever:
//! the only thing it waits for is the disk (see [`super::requests`]).

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use codec::{Decode, Encode};
use phala_protocol::{
    EnclaveMessage, EnclaveReply, Hello, HostMessage, HostNotice, HostRequest, MAX_FRAME_BYTES, Message, Refusal, wire,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::requests::{Dispatcher, Services, Stopped};
use crate::metrics::Metrics;

/// Messages that may wait for the enclave to read them. With chunks of 1 MiB this bounds memory.
const OUTGOING_MESSAGES: usize = 32;

/// Why the enclave gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No enclave is connected and started, or it went away.
    #[error("no enclave is connected to the host at the moment")]
    Disconnected,
    /// It took too long.
    #[error("the enclave did not answer in time")]
    Timeout,
    /// It said no.
    #[error("the enclave refused: {0}")]
    Refused(Refusal),
    /// It answered something else.
    #[error("the enclave answered something else than was asked")]
    WrongReply,
}

impl RequestError {
    /// Whether the same request can succeed later without anybody doing anything, and says nothing is wrong.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Disconnected => true,
            Self::Refused(refusal) => refusal.retry,
            Self::Timeout | Self::WrongReply => false,
        }
    }
}

type Waiting = BTreeMap<u64, oneshot::Sender<Result<EnclaveReply, Refusal>>>;

/// A handle for asking the enclave on one connection.
#[derive(Clone)]
pub struct Link {
    outgoing: mpsc::Sender<HostMessage>,
    waiting: Arc<Mutex<Waiting>>,
    next_id: Arc<AtomicU64>,
    closed: CancellationToken,
}

impl Link {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(&self, request: HostRequest, patience: Duration) -> Result<EnclaveReply, RequestError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).insert(id, sender);
        let _forget = Forget { waiting: &self.waiting, id };
        let asking = async {
            self.outgoing.send(Message::Request { id, request }).await.map_err(|_| RequestError::Disconnected)?;
            answer.await.map_err(|_| RequestError::Disconnected)?.map_err(RequestError::Refused)
        };
        tokio::select! {
            biased;
            answer = timeout(patience, asking) => answer.unwrap_or(Err(RequestError::Timeout)),
            () = self.closed.cancelled() => Err(RequestError::Disconnected),
        }
    }

    /// Tells something that needs no answer.
    ///
    /// # Errors
    /// [`RequestError::Disconnected`].
    pub async fn notice(&self, notice: HostNotice) -> Result<(), RequestError> {
        self.outgoing.send(Message::Notice(notice)).await.map_err(|_| RequestError::Disconnected)
    }

    fn answered(&self, id: u64, reply: Result<EnclaveReply, Refusal>) {
        let sender = lock(&self.waiting).remove(&id);
        match sender {
            // Whoever asked may have given up.
            Some(sender) => drop(sender.send(reply)),
            None => tracing::debug!(id, "the enclave answered a request that nobody waits for"),
        }
    }
}

/// Forgets a request whose asker has gone.
struct Forget<'a> {
    waiting: &'a Mutex<Waiting>,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(self.waiting).remove(&self.id);
    }
}

/// The map is consistent whenever its lock is released.
fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Exchanges greetings.
///
/// # Errors
/// The stream's, or [`wire::Error::Version`].
pub(super) async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result<(S, Hello), wire::Error> {
    stream.write_all(&wire::encode(&Hello::CURRENT)).await?;
    let body = read_frame(&mut stream).await?;
    // A peer of another version may greet in another way: that is no malformed message.
    let hello = wire::decode(&body).map_err(|_| wire::Error::Version)?;
    wire::check_hello(&hello)?;
    Ok((stream, hello))
}

/// Serves a connection whose greetings are done. The future ends, with the reason, when the connection does.
pub(super) fn run<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    services: Services,
    closed: CancellationToken,
) -> (Link, impl Future<Output = wire::Error> + Send) {
    let (outgoing, queue) = mpsc::channel(OUTGOING_MESSAGES);
    let link = Link {
        outgoing: outgoing.clone(),
        waiting: Arc::default(),
        next_id: Arc::new(AtomicU64::new(1)),
        closed: closed.clone(),
    };
    let metrics = services.metrics.clone();
    let dispatcher = Dispatcher::new(services, outgoing, closed.clone());
    let answers = link.clone();
    let serving = async move {
        let (reader, writer) = tokio::io::split(stream);
        let error = tokio::select! {
            biased;
            error = read_messages(reader, &answers, dispatcher, &metrics) => error,
            error = write_messages(writer, queue, &metrics) => error,
            () = closed.cancelled() => io::Error::new(io::ErrorKind::ConnectionAborted, "the host hung up").into(),
        };
        lock(&answers.waiting).clear();
        error
    };
    (link, serving)
}

async fn read_messages(
    mut reader: impl AsyncRead + Unpin,
    link: &Link,
    dispatcher: Dispatcher,
    metrics: &Metrics,
) -> wire::Error {
    loop {
        let message = match read::<EnclaveMessage>(&mut reader, metrics).await {
            Ok(message) => message,
            Err(error) => return error,
        };
        let handed_on = match message {
            Message::Request { id, request } => dispatcher.request(id, request).await,
            Message::Reply { id, reply } => {
                link.answered(id, reply);
                Ok(())
            }
            Message::Notice(notice) => dispatcher.notice(notice).await,
        };
        if let Err(Stopped) = handed_on {
            return io::Error::other("what the enclave asks for is not served any more; the log says why").into();
        }
    }
}

async fn write_messages(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<HostMessage>,
    metrics: &Metrics,
) -> wire::Error {
    while let Some(message) = queue.recv().await {
        let bytes = message.encoded_size();
        if bytes > MAX_FRAME_BYTES as usize {
            // Only a chain specification can be this large; whoever asked runs into its timeout.
            tracing::error!(bytes, "a message is too large for the enclave; is the chain's specification that large?");
            continue;
        }
        if let Err(error) = writer.write_all(&wire::encode(&message)).await {
            return error.into();
        }
        metrics.count_bytes("enclave", "out", bytes);
    }
    io::Error::from(io::ErrorKind::ConnectionAborted).into()
}

async fn read<M: Decode>(reader: &mut (impl AsyncRead + Unpin), metrics: &Metrics) -> Result<M, wire::Error> {
    let body = read_frame(reader).await?;
    metrics.count_bytes("enclave", "in", body.len());
    wire::decode(&body)
}

async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, wire::Error> {
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix).await?;
    let length = wire::body_length(prefix)?;
    // Grows as bytes arrive: an announced length alone allocates nothing.
    let mut body = Vec::new();
    reader.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(body)
}
