//! The HTTP server, with bounds on what a connection may cost.
//!
//! Strangers can open connections and then do nothing. So there are only so many at once, more wait; a request's head
//! must come within a time, and so must the next one on an idle connection; and a peer that takes nothing of its answer
//! for a while is cut off. How long bodies of requests may pause is up to whoever reads them.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// What connections may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many there may be at once.
    pub connections: usize,
    /// How long the head of a request may take, and a connection may be idle before it.
    pub head: Duration,
    /// How long the peer may take nothing of an answer.
    pub write: Duration,
    /// How long requests that are under way may take once the server stops.
    pub drain: Duration,
}

/// Serves until `shutdown`; then what is under way may end.
///
/// # Errors
/// None so far: what fails is one connection.
pub(super) async fn serve(
    router: Router,
    listener: TcpListener,
    shutdown: CancellationToken,
    bounds: Bounds,
) -> io::Result<()> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(bounds.head);
    let places = Arc::new(Semaphore::new(bounds.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepting = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepting => accepted,
            () = shutdown.cancelled() => break,
        };
        // Those that have ended are of no interest.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                // Without it small answers wait; nothing breaks.
                let _ = stream.set_nodelay(true);
                let stream = Bounded { stream, patience: bounds.write, stuck: None };
                let (builder, router, shutdown) = (builder.clone(), router.clone(), shutdown.clone());
                connections.spawn(async move {
                    serve_connection(builder, stream, router, shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(bounds.drain, ended).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
    Ok(())
}

async fn serve_connection(
    builder: Builder<TokioExecutor>,
    stream: Bounded,
    router: Router,
    shutdown: CancellationToken,
) {
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// A connection that fails when its peer takes nothing for too long.
struct Bounded {
    stream: TcpStream,
    patience: Duration,
    /// Runs while something waits to be taken.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl Bounded {
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let patience = self.patience;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(patience)));
        stuck.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const PATIENCE: Duration = Duration::from_secs(10);

    const BOUNDS: Bounds = Bounds { connections: 1, head: PATIENCE, write: PATIENCE, drain: PATIENCE };

    /// A server with one short answer and one that never ends.
    async fn start(bounds: Bounds) -> SocketAddr {
        let endless =
            || async { Body::from_stream(futures::stream::repeat_with(|| Ok::<_, io::Error>(vec![0u8; 1 << 16]))) };
        let router = Router::new().route("/", get(|| async { "hello" })).route("/endless", get(endless));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(router, listener, CancellationToken::new(), bounds));
        address
    }

    async fn connect(address: SocketAddr, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// What the server says until it hangs up; whether it did in time.
    async fn answer(stream: &mut TcpStream, patience: Duration) -> (String, bool) {
        let mut bytes = Vec::new();
        let ended = timeout(patience, stream.read_to_end(&mut bytes)).await.is_ok();
        (String::from_utf8_lossy(&bytes).into_owned(), ended)
    }

    const HELLO: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    #[tokio::test]
    async fn a_head_that_does_not_come_ends_its_connection() {
        let address = start(Bounds { head: Duration::from_millis(200), ..BOUNDS }).await;
        for unfinished in ["", "GET / HTTP/1.1\r\nHost:"] {
            let mut stream = connect(address, unfinished).await;
            assert!(answer(&mut stream, PATIENCE).await.1, "{unfinished:?}");
        }
        let (text, _) = answer(&mut connect(address, HELLO).await, PATIENCE).await;
        assert!(text.ends_with("hello"), "{text}");
    }

    #[tokio::test]
    async fn more_connections_than_the_bound_wait() {
        let address = start(BOUNDS).await;
        let first = connect(address, "").await;
        // The first has the only place once the server has accepted it.
        sleep(Duration::from_millis(200)).await;
        let mut second = connect(address, HELLO).await;
        assert_eq!(answer(&mut second, Duration::from_millis(300)).await, (String::new(), false));
        drop(first);
        let (text, ended) = answer(&mut second, PATIENCE).await;
        assert!(ended && text.ends_with("hello"), "{text}");
    }

    #[tokio::test]
    async fn who_takes_nothing_of_an_answer_is_cut_off() {
        let address = start(Bounds { write: Duration::from_millis(200), ..BOUNDS }).await;
        let greedy = connect(address, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
        sleep(Duration::from_millis(200)).await;
        // Its place is free again, though it has not hung up.
        let (text, _) = answer(&mut connect(address, HELLO).await, PATIENCE).await;
        assert!(text.ends_with("hello"), "{text}");
        drop(greedy);
    }
}
