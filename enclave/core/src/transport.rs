//! How frames reach the host and come back. A frame here is a message's encoding; a byte stream needs the
//! length prefix of [`phala_protocol::wire`] before it.

use futures::future::BoxFuture;

/// The connection to the host is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host hung up")]
pub struct Disconnected;

/// Sends frames to the host.
pub trait FrameSender: Send {
    /// Sends one frame. May wait for as long as the host does not read.
    fn send(&mut self, frame: Vec<u8>) -> BoxFuture<'_, Result<(), Disconnected>>;
}

/// Receives frames from the host.
pub trait FrameReceiver: Send {
    /// Receives one frame of at most [`MAX_FRAME_BYTES`](phala_protocol::MAX_FRAME_BYTES): the implementation hangs up
    /// on a longer one before it allocates.
    fn receive(&mut self) -> BoxFuture<'_, Result<Vec<u8>, Disconnected>>;
}

/// In memory, for tests and simulations: what one end sends, the other receives.
impl FrameSender for async_channel::Sender<Vec<u8>> {
    fn send(&mut self, frame: Vec<u8>) -> BoxFuture<'_, Result<(), Disconnected>> {
        Box::pin(async move { async_channel::Sender::send(self, frame).await.map_err(|_| Disconnected) })
    }
}

/// See the [`FrameSender`] of a channel.
impl FrameReceiver for async_channel::Receiver<Vec<u8>> {
    fn receive(&mut self) -> BoxFuture<'_, Result<Vec<u8>, Disconnected>> {
        Box::pin(async move { self.recv().await.map_err(|_| Disconnected) })
    }
}
