//! Where an enclave's process reaches the host: a Unix socket, TCP of this machine for SGX under Gramine, or vsock for a guest.
//!
//! Whoever connects takes the enclave's place, learns nothing, and can destroy what the host keeps for it, its keys among it. So each
//! address lets in as few as it can: a Unix socket whom its folder lets in, TCP this machine alone, vsock one guest.

use std::{
    fmt,
    fs::{DirBuilder, Permissions},
    io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    pin::Pin,
    str::FromStr,
    task::{Context, Poll},
    thread,
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Mutex, mpsc},
};

/// Of a socket folder that the host makes: its group, which the enclave joins, may enter it.
const SOCKET_FOLDER_MODE: u32 = 0o710;

/// Connections of guests that wait to be accepted.
const BACKLOG: i32 = 16;

/// Listening on vsock, whoever the guest addresses: `VMADDR_CID_ANY`.
const ANY_CID: u32 = u32::MAX;

/// Where the enclave's process connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP of this machine, for SGX under Gramine, which reaches no Unix socket.
    Tcp(SocketAddr),
    /// For a guest.
    Vsock {
        /// The guest, the only one that is let in.
        cid: u32,
        /// The port on this machine.
        port: u32,
    },
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse::<u32>()
                .ok()
                .filter(|number| *number != u32::MAX)
                .ok_or("CID and port are numbers below 2^32 - 1")
        };
        match text.split_once(':') {
            Some(("tcp", address)) => {
                let address: SocketAddr = address.parse().map_err(|_| "after tcp: come an IP address and a port")?;
                if !address.ip().is_loopback() {
                    let why = "whoever connects can destroy the enclave's keys: give an address of this machine alone, as 127.0.0.1";
                    return Err(why.into());
                }
                Ok(Self::Tcp(address))
            }
            Some(("vsock", address)) => {
                let (cid, port) = address.split_once(':').ok_or("after vsock: come the guest's CID and a port")?;
                Ok(Self::Vsock { cid: number(cid)?, port: number(port)? })
            }
            _ if text.is_empty() => Err("it is a path, tcp:IP:PORT or vsock:CID:PORT".into()),
            _ => Ok(Self::Unix(text.into())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

impl Address {
    /// Listens there.
    ///
    /// # Errors
    /// As [`listen`] for a Unix socket; elsewhere when the port is in use, or the machine has no vsock.
    pub async fn listen(&self) -> io::Result<Listener> {
        match self {
            Self::Unix(path) => listen(path).await,
            Self::Tcp(address) => Ok(Listener::Tcp(TcpListener::bind(address).await?)),
            Self::Vsock { cid, port } => {
                let no_vsock = |error: io::Error| match error.raw_os_error() {
                    Some(code) if code == rustix::io::Errno::AFNOSUPPORT.raw_os_error() => {
                        io::Error::new(error.kind(), "this machine has no vsock: load the module vhost_vsock")
                    }
                    _ => error,
                };
                let socket = Socket::new(Domain::VSOCK, Type::STREAM, None).map_err(no_vsock)?;
                socket.bind(&SockAddr::vsock(ANY_CID, *port))?;
                socket.listen(BACKLOG)?;
                Ok(Listener::Vsock { accepted: Mutex::new(accept_vsock(socket)?), cid: *cid })
            }
        }
    }
}

/// Accepts on a thread, as tokio listens on no vsock. It ends with the first connection after the receiver is dropped.
fn accept_vsock(socket: Socket) -> io::Result<mpsc::Receiver<io::Result<(Socket, SockAddr)>>> {
    let (sender, accepted) = mpsc::channel(1);
    let accept = move || while sender.blocking_send(socket.accept()).is_ok() {};
    thread::Builder::new().name("accept-vsock".into()).spawn(accept)?;
    Ok(accepted)
}

/// Listens for an enclave.
#[derive(Debug)]
pub enum Listener {
    /// See [`Address::Unix`].
    Unix(UnixListener),
    /// See [`Address::Tcp`].
    Tcp(TcpListener),
    /// See [`Address::Vsock`].
    Vsock {
        /// Connections of any guest's.
        accepted: Mutex<mpsc::Receiver<io::Result<(Socket, SockAddr)>>>,
        /// Who is let in.
        cid: u32,
    },
}

impl Listener {
    /// The next connection.
    ///
    /// # Errors
    /// The system's, and where another guest has connected.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Vsock { accepted, cid } => {
                let ended = || io::Error::other("the thread that accepts has ended");
                let (stream, from) = accepted.lock().await.recv().await.ok_or_else(ended)??;
                match from.as_vsock_address() {
                    Some((guest, _)) if guest == *cid => {}
                    other => {
                        let message = format!("turned away {other:?}, which is not the guest {cid}");
                        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
                    }
                }
                stream.set_nonblocking(true)?;
                // Both are sockets of streams, and nothing below asks for an address.
                let stream = std::os::unix::net::UnixStream::from(OwnedFd::from(stream));
                Ok(Stream::Unix(UnixStream::from_std(stream)?))
            }
        }
    }
}

/// A connection of an enclave's.
#[derive(Debug)]
pub enum Stream {
    /// Also one over vsock.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Listens on a Unix socket. Who may connect is decided by the permissions of its folder, because the enclave may run as
/// another user: the socket itself is open to all. Whoever connects takes the enclave's place, and can destroy what the host
/// keeps for it, its keys among it. So a folder that is not there is made for the host and the folder's group, and one that
/// others may enter is refused. A socket that a dead host left is replaced.
///
/// # Errors
/// When others may enter the folder, another host listens there, or the file system refuses.
pub async fn listen(path: &Path) -> io::Result<Listener> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.exists() {
        DirBuilder::new().recursive(true).mode(SOCKET_FOLDER_MODE).create(folder)?;
        // Whatever the umask says.
        std::fs::set_permissions(folder, Permissions::from_mode(SOCKET_FOLDER_MODE))?;
    }
    if std::fs::metadata(folder)?.permissions().mode() & 0o007 != 0 {
        let folder = folder.display();
        let message = format!(
            "others may enter {folder}, and whoever reaches the enclave's socket can destroy its keys: chmod 710 {folder}, or \
             give a --socket in a folder of its own"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            let message = format!("another host listens on {}; stop it, or give another --socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(Listener::Unix(listener))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// `VMADDR_CID_LOCAL`.
    const LOCAL_CID: u32 = 1;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for text in ["/run/phala/enclave.sock", "enclave.sock", "tcp:127.0.0.1:7000", "tcp:[::1]:7000", "vsock:3:7000"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "tcp:7000",
            "tcp:localhost:7000",
            "tcp:0.0.0.0:7000",
            "tcp:10.0.0.1:7000",
            "vsock:3",
            "vsock:3:",
            "vsock:any:7000",
            "vsock:4294967295:7000",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        let why = "tcp:0.0.0.0:7000".parse::<Address>().unwrap_err();
        assert!(why.contains("127.0.0.1"), "{why}");
    }

    async fn echo(listener: &Listener) {
        let mut stream = listener.accept().await.unwrap();
        let mut word = [0; 5];
        stream.read_exact(&mut word).await.unwrap();
        stream.write_all(&word).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn an_enclave_reaches_its_host_by_tcp() {
        let listener = "tcp:127.0.0.1:0".parse::<Address>().unwrap().listen().await.unwrap();
        let Listener::Tcp(tcp) = &listener else { panic!("it listens on TCP") };
        let mut stream = TcpStream::connect(tcp.local_addr().unwrap()).await.unwrap();
        let asking = async {
            stream.write_all(b"hello").await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"hello");
        };
        tokio::join!(echo(&listener), asking);
    }

    /// Only on a kernel with `vsock_loopback`, where the machine is its own guest.
    #[tokio::test]
    async fn a_guest_reaches_its_host_by_vsock_and_another_does_not() {
        let port = 50_000 + std::process::id() % 10_000;
        let listener = match (Address::Vsock { cid: LOCAL_CID, port }).listen().await {
            Ok(listener) => listener,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        let connect = move || {
            let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
            socket.connect(&SockAddr::vsock(LOCAL_CID, port))?;
            Ok::<_, io::Error>(socket)
        };
        let mut asking = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut stream = connect()?;
            stream.write_all(b"hello")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok::<_, io::Error>(answer)
        });
        tokio::select! {
            biased;
            () = echo(&listener) => {}
            asked = &mut asking => return eprintln!("skipped: {}", asked.unwrap().unwrap_err()),
        }
        assert_eq!(asking.await.unwrap().unwrap(), b"hello");
        let Listener::Vsock { accepted, .. } = listener else { panic!("it listens on vsock") };
        let listener = Listener::Vsock { accepted, cid: 77 };
        let asking = tokio::task::spawn_blocking(connect);
        let refused = listener.accept().await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        drop(asking.await.unwrap());
    }
}
