//! Frames: a little-endian `u32` length, then that many bytes of SCALE.

use codec::{Decode, DecodeAll, Encode};
use std::io::{self, Read, Write};

use crate::{Hello, MAX_FRAME_BYTES};

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream failed or ended.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer announced a frame larger than [`MAX_FRAME_BYTES`].
    #[error("the peer announced a frame of {0} bytes; at most {MAX_FRAME_BYTES} are allowed")]
    TooLarge(u32),
    /// The frame is not the message that was due.
    #[error("the peer sent a malformed message")]
    Malformed,
    /// The peer speaks another version, or something else altogether.
    #[error("the peer speaks another protocol or version; run enclave and host of the same release")]
    Version,
}

/// The bytes of a frame that holds `message`.
///
/// # Panics
/// When the encoding exceeds [`MAX_FRAME_BYTES`]: every message's parts are bounded by whoever makes it.
pub fn encode(message: &impl Encode) -> Vec<u8> {
    let mut frame = vec![0; 4];
    message.encode_to(&mut frame);
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    assert!(length <= MAX_FRAME_BYTES, "a message of {length} bytes was made; every part of a message is bounded");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}

/// The message in a frame's `body`, which must hold nothing else.
///
/// # Errors
/// [`Error::Malformed`].
pub fn decode<M: Decode>(body: &[u8]) -> Result<M, Error> {
    M::decode_all(&mut &body[..]).map_err(|_| Error::Malformed)
}

/// The length of the body that follows a frame's first four bytes.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn body_length(prefix: [u8; 4]) -> Result<usize, Error> {
    match u32::from_le_bytes(prefix) {
        length if length <= MAX_FRAME_BYTES => Ok(length as usize),
        length => Err(Error::TooLarge(length)),
    }
}

/// Writes one message and flushes.
///
/// # Errors
/// The stream's.
pub fn write(stream: &mut impl Write, message: &impl Encode) -> io::Result<()> {
    stream.write_all(&encode(message))?;
    stream.flush()
}

/// Reads one message.
///
/// # Errors
/// See [`Error`]. After any, the stream is of no more use.
pub fn read<M: Decode>(stream: &mut impl Read) -> Result<M, Error> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let length = body_length(prefix)?;
    // Grows as bytes arrive: an announced length alone allocates nothing.
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    decode(&body)
}

/// Checks the peer's [`Hello`].
///
/// # Errors
/// [`Error::Version`].
pub fn check_hello(hello: &Hello) -> Result<(), Error> {
    if *hello == Hello::CURRENT { Ok(()) } else { Err(Error::Version) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EnclaveMessage, EnclaveNotice, HostMessage, HostNotice, Message};
    use proptest::prelude::*;

    #[test]
    fn messages_round_trip() {
        let message: HostMessage = Message::Notice(HostNotice::Received { connection: 7, bytes: vec![1, 2, 3] });
        let mut stream = Vec::new();
        write(&mut stream, &message).unwrap();
        assert_eq!(read::<HostMessage>(&mut &stream[..]).unwrap(), message);
    }

    #[test]
    fn oversize_frames_are_refused_before_allocation() {
        let stream = (MAX_FRAME_BYTES + 1).to_le_bytes();
        assert!(matches!(read::<HostMessage>(&mut &stream[..]), Err(Error::TooLarge(_))));
    }

    #[test]
    fn trailing_bytes_and_truncation_are_refused() {
        let message: EnclaveMessage = Message::Notice(EnclaveNotice::Close { connection: 1 });
        let mut body = message.encode();
        body.push(0);
        assert!(matches!(decode::<EnclaveMessage>(&body), Err(Error::Malformed)));
        let frame = encode(&message);
        assert!(matches!(read::<EnclaveMessage>(&mut &frame[..frame.len() - 1]), Err(Error::Io(_))));
    }

    #[test]
    fn another_version_is_refused() {
        assert!(check_hello(&Hello { version: crate::VERSION + 1, ..Hello::CURRENT }).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode::<HostMessage>(&bytes);
            let _ = decode::<EnclaveMessage>(&bytes);
            let _ = read::<HostMessage>(&mut &bytes[..]);
        }
    }
}
