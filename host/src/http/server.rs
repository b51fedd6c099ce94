//! The HTTP server, with bounds on what a connection may cost.
//!
//! Strangers can open connections and then do nothing. So there are only so many at once: one more takes the place of the
//! one that is idle for the longest. A request's head must come within a time, and so must the next one on an idle
//! connection, and is of bounded size; so is its body, unless it is an upload; and a peer that takes too little of its answer
//! is cut off.
//!
//! A connection is idle until a request is there as a whole. Uploads and downloads, which take their time, say themselves that
//! they are at work, see [`begin_work`]: an upload once its sender has shown a token. How slowly its body may come is up to
//! whoever reads it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError, Router,
    body::{Body, Bytes, HttpBody},
    http::{Extensions, Method, Request, StatusCode},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, future::BoxFuture};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::{ApiError, MAX_BODY_BYTES, limits::Bounds, tls::Tls};
use crate::{metrics::Metrics, pace::MinimumRate};

/// The most bytes of a request's head, and of what is read or written at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 64;

/// Serves until `shutdown`; then what is under way may end.
///
/// # Errors
/// None so far: what fails is one connection.
pub(super) async fn serve(
    router: Router,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
    bounds: Bounds,
    metrics: Arc<Metrics>,
) -> io::Result<()> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_headers(MAX_HEADERS)
        .max_buf_size(BUFFER_BYTES);
    let table = Arc::new(Table::new(bounds.connections, metrics.clone()));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        // Those that have ended are of no interest.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let Some(seat) = table.seat() else {
                    // Every connection is busy: this one is closed at once.
                    metrics.reject("connections");
                    continue;
                };
                // Without it small answers wait; nothing breaks.
                let _ = stream.set_nodelay(true);
                let stream = Bounded::new(stream, seat.guest.clone(), bounds.rate, metrics.clone());
                let (builder, router, shutdown) = (builder.clone(), router.clone(), shutdown.clone());
                let tls = tls.clone();
                connections.spawn(async move {
                    match tls {
                        None => serve_connection(builder, stream, router, &seat.guest, bounds.head, shutdown).await,
                        Some(tls) => {
                            let greeting = timeout(bounds.handshake, tls.acceptor().accept(stream));
                            let greeted = tokio::select! {
                                greeted = greeting => greeted,
                                () = seat.guest.closed.cancelled() => return,
                                () = shutdown.cancelled() => return,
                            };
                            match greeted {
                                Ok(Ok(stream)) => {
                                    serve_connection(builder, stream, router, &seat.guest, bounds.head, shutdown).await;
                                }
                                Ok(Err(error)) => tracing::debug!(%error, "the greetings of TLS failed"),
                                Err(_) => seat.table.metrics.reject("handshake"),
                            }
                        }
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Mostly for want of file descriptors.
                table.evict();
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

async fn serve_connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    builder: Builder<TokioExecutor>,
    stream: S,
    router: Router,
    guest: &Arc<Guest>,
    patience: Duration,
    shutdown: CancellationToken,
) {
    let service = TowerToHyperService::new(Watched { router, guest: guest.clone(), patience });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = guest.closed.cancelled() => return,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// All connections.
struct Table {
    places: usize,
    since: Instant,
    guests: Mutex<BTreeMap<u64, Arc<Guest>>>,
    next: AtomicU64,
    metrics: Arc<Metrics>,
}

/// What is known of a connection.
struct Guest {
    /// When the table was opened.
    since: Instant,
    /// When bytes moved last, in milliseconds after that.
    moved_ms: AtomicU64,
    /// Requests that are worked on. While there are any, the connection is not idle.
    working: AtomicUsize,
    /// Hangs up.
    closed: CancellationToken,
}

/// A connection's place in the table, until dropped.
struct Seat {
    table: Arc<Table>,
    number: u64,
    guest: Arc<Guest>,
}

impl Table {
    fn new(places: usize, metrics: Arc<Metrics>) -> Self {
        Self { places, since: Instant::now(), guests: Mutex::default(), next: AtomicU64::new(0), metrics }
    }

    /// The map is consistent whenever its lock is released.
    fn guests(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Guest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a newcomer; `None` when all are taken and nobody is idle.
    fn seat(self: &Arc<Self>) -> Option<Seat> {
        if self.guests().len() >= self.places && !self.evict() {
            return None;
        }
        let guest = Arc::new(Guest {
            since: self.since,
            moved_ms: AtomicU64::new(0),
            working: AtomicUsize::new(0),
            closed: CancellationToken::new(),
        });
        guest.moved();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.guests().insert(number, guest.clone());
        self.metrics.http_connections.inc();
        Some(Seat { table: self.clone(), number, guest })
    }

    /// Hangs up on the connection that is idle for the longest. Says whether there was one.
    fn evict(&self) -> bool {
        let mut guests = self.guests();
        let idle = guests.iter().filter(|(_, guest)| guest.working.load(Ordering::Relaxed) == 0);
        let longest = idle.map(|(number, guest)| (guest.moved_ms.load(Ordering::Relaxed), *number)).min();
        let Some(guest) = longest.and_then(|(_, number)| guests.remove(&number)) else { return false };
        self.metrics.reject("idle");
        guest.closed.cancel();
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.guests().remove(&self.number);
        self.table.metrics.http_connections.dec();
    }
}

impl Guest {
    fn moved(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(now, Ordering::Relaxed);
    }
}

/// The routes, for one connection whose guest shows when they are at work.
#[derive(Clone)]
struct Watched {
    router: Router,
    guest: Arc<Guest>,
    /// How long a body that is no upload may take.
    patience: Duration,
}

/// Whose request it is, among the request's extensions.
#[derive(Clone)]
struct Caller(Arc<Guest>);

/// One request that is worked on, until dropped.
pub(super) struct Working(Arc<Guest>);

/// From now on the connection of a request is not idle; `None` where there is no connection, as in tests.
pub(super) fn begin_work(request: &Extensions) -> Option<Working> {
    request.get::<Caller>().map(|caller| Working::new(caller.0.clone()))
}

impl Working {
    fn new(guest: Arc<Guest>) -> Self {
        guest.working.fetch_add(1, Ordering::Relaxed);
        Self(guest)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.moved();
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<B> Service<Request<B>> for Watched
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut router, guest, patience) = (self.router.clone(), self.guest.clone(), self.patience);
        Box::pin(async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Caller(guest.clone()));
            if request.method() == Method::PUT {
                return router.call(request).await;
            }
            let (head, body) = request.into_parts();
            match whole(body, patience).await {
                Ok(bytes) => {
                    let _working = Working::new(guest);
                    router.call(Request::from_parts(head, Body::from(bytes))).await
                }
                Err(error) => Ok(error.into_response()),
            }
        })
    }
}

/// A small body, once all of it is there.
async fn whole(body: Body, patience: Duration) -> Result<Vec<u8>, ApiError> {
    let too_large = || {
        let message = format!("the body is of more than {MAX_BODY_BYTES} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(too_large());
    }
    let mut pieces = body.into_data_stream();
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| {
                ApiError::new(StatusCode::BAD_REQUEST, "bad_body", format!("the body broke off: {error}"))
            })?;
            if bytes.len().saturating_add(piece.len()) > MAX_BODY_BYTES {
                return Err(too_large());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok::<_, ApiError>(bytes)
    };
    timeout(patience, reading).await.unwrap_or_else(|_| {
        let message = format!("the body did not come within {patience:?}");
        Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message).hint("send it again"))
    })
}

/// A connection that fails when its peer takes what is written too slowly. Only time counts in which something waits to be
/// taken.
struct Bounded {
    stream: TcpStream,
    guest: Arc<Guest>,
    rate: MinimumRate,
    metrics: Arc<Metrics>,
    /// Bytes taken, and time waited, since the rate was looked at last.
    taken: u64,
    waited: Duration,
    /// Since when something waits, and when the rate is looked at.
    stuck: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Bounded {
    fn new(stream: TcpStream, guest: Arc<Guest>, rate: MinimumRate, metrics: Arc<Metrics>) -> Self {
        Self { stream, guest, rate, metrics, taken: 0, waited: Duration::ZERO, stuck: None }
    }

    fn watch(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = &written {
            if let Some((since, _)) = self.stuck.take() {
                self.waited = self.waited.saturating_add(since.elapsed());
            }
            if let Ok(bytes) = result {
                self.taken = self.taken.saturating_add(*bytes as u64);
                self.guest.moved();
            }
            if self.waited >= self.rate.over {
                self.judge()?;
            }
            return written;
        }
        loop {
            let left = self.rate.over.saturating_sub(self.waited);
            let (_, alarm) = self.stuck.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.stuck = None;
            self.judge()?;
        }
    }

    /// Ends the time in which bytes are counted.
    fn judge(&mut self) -> io::Result<()> {
        let enough = self.taken >= self.rate.bytes;
        (self.taken, self.waited) = (0, Duration::ZERO);
        if enough {
            return Ok(());
        }
        self.metrics.reject("slow_download");
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.guest.moved();
        }
        read
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
    use std::{future::pending, net::SocketAddr};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{
        TlsConnector,
        rustls::{
            ClientConfig, RootCertStore,
            crypto::ring,
            pki_types::{CertificateDer, ServerName, pem::PemObject},
        },
    };

    const PATIENCE: Duration = Duration::from_secs(10);

    fn bounds() -> Bounds {
        Bounds { connections: 2, head: PATIENCE, handshake: PATIENCE, ..Bounds::default() }
    }

    /// A server with one short answer, one that never ends, and one that never begins.
    async fn start_with(bounds: Bounds, tls: Option<Arc<Tls>>) -> (SocketAddr, Arc<Metrics>) {
        let endless =
            || async { Body::from_stream(futures::stream::repeat_with(|| Ok::<_, io::Error>(vec![0u8; 1 << 16]))) };
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/endless", get(endless))
            .route("/never", get(pending::<&'static str>));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::default());
        tokio::spawn(serve(router, listener, tls, CancellationToken::new(), bounds, metrics.clone()));
        (address, metrics)
    }

    async fn start(bounds: Bounds) -> SocketAddr {
        start_with(bounds, None).await.0
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
        let address = start(Bounds { head: Duration::from_millis(200), ..bounds() }).await;
        for unfinished in ["", "GET / HTTP/1.1\r\nHost:"] {
            let mut stream = connect(address, unfinished).await;
            assert!(answer(&mut stream, PATIENCE).await.1, "{unfinished:?}");
        }
        let (text, _) = answer(&mut connect(address, HELLO).await, PATIENCE).await;
        assert!(text.ends_with("hello"), "{text}");
    }

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_who_is_idle_for_the_longest() {
        let (address, metrics) = start_with(bounds(), None).await;
        let mut idle = Vec::new();
        for _ in 0..2 {
            idle.push(connect(address, "").await);
            // The order of acceptance is the order of idleness.
            sleep(Duration::from_millis(100)).await;
        }
        let (text, _) = answer(&mut connect(address, HELLO).await, PATIENCE).await;
        assert!(text.ends_with("hello"), "{text}");
        assert_eq!(answer(&mut idle[0], PATIENCE).await, (String::new(), true));
        assert!(!answer(&mut idle[1], Duration::from_millis(100)).await.1);
        assert_eq!(metrics.http_rejected.with_label_values(&["idle"]).get(), 1);
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_keeps_the_place() {
        let (address, metrics) = start_with(bounds(), None).await;
        let mut busy = Vec::new();
        for _ in 0..2 {
            busy.push(connect(address, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await);
        }
        sleep(Duration::from_millis(300)).await;
        assert_eq!(answer(&mut connect(address, HELLO).await, PATIENCE).await.0, "");
        for stream in &mut busy {
            assert!(!answer(stream, Duration::from_millis(50)).await.1);
        }
        assert_eq!(metrics.http_rejected.with_label_values(&["connections"]).get(), 1);
        drop(busy.pop());
        sleep(Duration::from_millis(300)).await;
        assert!(answer(&mut connect(address, HELLO).await, PATIENCE).await.0.ends_with("hello"));
    }

    #[tokio::test]
    async fn who_sends_a_small_body_slowly_holds_no_place() {
        let (address, metrics) = start_with(bounds(), None).await;
        let mut slow = Vec::new();
        for method in ["POST", "GET"] {
            let head = format!("{method} /never HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345");
            slow.push(connect(address, &head).await);
            sleep(Duration::from_millis(100)).await;
        }
        assert!(answer(&mut connect(address, HELLO).await, PATIENCE).await.0.ends_with("hello"));
        assert_eq!(answer(&mut slow[0], PATIENCE).await, (String::new(), true));
        assert_eq!(metrics.http_rejected.with_label_values(&["idle"]).get(), 1);
        // Also when nobody else wants it, it comes in time or not at all.
        let address = start(Bounds { head: Duration::from_millis(200), ..bounds() }).await;
        let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n12345";
        let (text, _) = answer(&mut connect(address, head).await, PATIENCE).await;
        assert!(text.starts_with("HTTP/1.1 408") && text.contains("too_slow"), "{text}");
        let large = head.replace("Content-Length: 10", &format!("Content-Length: {}", MAX_BODY_BYTES + 1));
        let (text, _) = answer(&mut connect(address, &large).await, PATIENCE).await;
        assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    }

    #[tokio::test]
    async fn large_heads_are_refused() {
        let address = start(bounds()).await;
        let large = format!("GET / HTTP/1.1\r\nHost: x\r\nLarge: {}\r\n\r\n", "x".repeat(2 * BUFFER_BYTES));
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        for head in [large, many] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The server may hang up before everything is written.
            let _ = stream.write_all(head.as_bytes()).await;
            let mut bytes = Vec::new();
            let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
        }
    }

    #[tokio::test]
    async fn who_takes_too_little_of_an_answer_is_cut_off() {
        let rate = MinimumRate { bytes: 1000, over: Duration::from_millis(200) };
        let (address, metrics) = start_with(Bounds { rate, ..bounds() }, None).await;
        let greedy = connect(address, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let cut = async {
            while metrics.http_rejected.with_label_values(&["slow_download"]).get() == 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, cut).await.unwrap();
        drop(greedy);
        // Who takes enough goes on.
        let mut steady = connect(address, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut piece = vec![0; 1 << 16];
        for _ in 0..20 {
            steady.read_exact(&mut piece).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test]
    async fn https_is_served_and_silence_is_not_waited_for() {
        let folder = super::super::tls::tests::certificate();
        let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
        let tls = Arc::new(Tls::open(&certificate, &key).unwrap());
        let bounds = Bounds { handshake: Duration::from_secs(2), ..bounds() };
        let (address, _) = start_with(bounds, Some(tls)).await;
        assert!(answer(&mut connect(address, "").await, PATIENCE).await.1);

        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        let mut text = String::new();
        // Without a farewell of TLS, the last read fails.
        let _ = timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap();
        assert!(text.ends_with("hello"), "{text}");
    }
}
