//! Frames over a stream socket to the host. Reading and writing block, each on a thread of its own.

use futures::future::BoxFuture;
use phala_enclave::{Disconnected, FrameReceiver, FrameSender};
use phala_protocol::wire;
use socket2::Socket;
use std::{
    io::{self, Read, Write},
    net::Shutdown,
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long the host may take to read what was sent before the connection's end.
const LINGER: Duration = Duration::from_secs(5);

/// Frames that wait between the socket and the enclave.
const QUEUED_FRAMES: usize = 4;

/// The way to the host. Shuts the socket down when dropped.
pub struct Sender {
    frames: async_channel::Sender<Vec<u8>>,
    socket: Socket,
    /// Closed when the writer has ended.
    written: mpsc::Receiver<()>,
}

/// The way from the host.
pub struct Receiver(async_channel::Receiver<Vec<u8>>);

/// Both ways of the connection that `socket` is.
///
/// # Errors
/// When the system has no threads or file descriptors for it.
pub fn start(socket: Socket) -> io::Result<(Sender, Receiver)> {
    let (mut reader, mut writer) = (socket.try_clone()?, socket.try_clone()?);
    let (frames, outgoing) = async_channel::bounded::<Vec<u8>>(QUEUED_FRAMES);
    let (incoming, received) = async_channel::bounded(QUEUED_FRAMES);
    let (writing, written) = mpsc::channel::<()>();
    thread::Builder::new().name("link-write".into()).spawn(move || {
        while let Ok(frame) = outgoing.recv_blocking() {
            if write(&mut writer, &frame).is_err() {
                break;
            }
        }
        // All that was sent is on its way: the other side reads it before it sees the end.
        let _ = writer.shutdown(Shutdown::Both);
        drop(writing);
    })?;
    thread::Builder::new().name("link-read".into()).spawn(move || {
        while let Ok(frame) = read(&mut reader) {
            if incoming.send_blocking(frame).is_err() {
                break;
            }
        }
    })?;
    Ok((Sender { frames, socket, written }, Receiver(received)))
}

fn write(writer: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(frame)
}

fn read(reader: &mut impl Read) -> Result<Vec<u8>, wire::Error> {
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix)?;
    let length = wire::body_length(prefix)?;
    // Grows as bytes arrive: an announced length alone allocates nothing.
    let mut frame = Vec::new();
    reader.take(length as u64).read_to_end(&mut frame)?;
    if frame.len() < length { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) } else { Ok(frame) }
}

impl FrameSender for Sender {
    fn send(&mut self, frame: Vec<u8>) -> BoxFuture<'_, Result<(), Disconnected>> {
        Box::pin(async move { self.frames.send(frame).await.map_err(|_| Disconnected) })
    }
}

impl Drop for Sender {
    /// The writer ends after its last frame, or when the host has not read it for a while; the reader is woken by the end of
    /// the socket.
    fn drop(&mut self) {
        self.frames.close();
        let _ = self.socket.shutdown(Shutdown::Read);
        let _ = self.written.recv_timeout(LINGER);
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl FrameReceiver for Receiver {
    fn receive(&mut self) -> BoxFuture<'_, Result<Vec<u8>, Disconnected>> {
        Box::pin(async move { self.0.recv().await.map_err(|_| Disconnected) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn frames_cross_the_socket_both_ways() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (mut sender, mut receiver) = start(UnixStream::connect(&path).unwrap().into()).unwrap();
        let (mut host, _) = listener.accept().unwrap();
        let frame = vec![7; 1_000_000];
        crate::block_on(sender.send(frame.clone())).unwrap();
        assert_eq!(read(&mut host).unwrap(), frame);
        write(&mut host, b"back").unwrap();
        assert_eq!(crate::block_on(receiver.receive()).unwrap(), b"back");
        drop(sender);
        assert_eq!(crate::block_on(receiver.receive()), Err(Disconnected));
        assert!(read(&mut host).is_err());
    }

    #[test]
    fn the_last_frame_arrives_though_the_sender_is_dropped_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (mut sender, _receiver) = start(UnixStream::connect(&path).unwrap().into()).unwrap();
        let (mut host, _) = listener.accept().unwrap();
        crate::block_on(sender.send(b"last".to_vec())).unwrap();
        drop(sender);
        assert_eq!(read(&mut host).unwrap(), b"last");
        assert!(read(&mut host).is_err());
    }
}
