//! `wasi:io`: streams, which are always ready, and polling, which moves the virtual clock.

use wasmtime::{
    Error, Result,
    component::{Resource, ResourceTableError},
};

use super::{
    Guest,
    bindings::wasi::{
        filesystem::types::ErrorCode,
        io::{error, poll, streams},
    },
    filesystem::{Failure, NodeId},
    source_failure,
};
use crate::{
    secret,
    source::{MAX_READ_BYTES, Piece},
};

/// How much a program is told that it may write at once. More is taken, too.
const WRITE_PERMIT: u64 = 1024 * 1024;

/// The most bytes spliced in one call.
const MAX_SPLICE_BYTES: u64 = 64 * 1024;

/// Where a program reads from.
#[derive(Clone, Copy)]
pub enum InputStream {
    Stdin,
    File { node: NodeId, position: u64 },
}

/// Where a program writes to.
#[derive(Clone, Copy)]
pub enum OutputStream {
    Stdout,
    Stderr,
    File {
        node: NodeId,
        /// `None` appends.
        position: Option<u64>,
    },
}

/// What a program can wait for.
#[derive(Clone, Copy)]
pub enum Pollable {
    /// Nothing.
    Ready,
    /// The monotonic clock.
    At(u64),
}

/// Why a stream failed, for a program to ask.
pub struct StreamError(pub(super) ErrorCode);

/// `stream-error`, or the end of the program.
pub enum StreamFailure {
    Closed,
    Failed(StreamError),
    Stop(Error),
}

impl From<ResourceTableError> for StreamFailure {
    fn from(error: ResourceTableError) -> Self {
        Self::Stop(error.into())
    }
}

impl From<Error> for StreamFailure {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

impl From<Failure> for StreamFailure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Code(code) => Self::Failed(StreamError(code)),
            Failure::Stop(error) => Self::Stop(error),
        }
    }
}

type Streamed<T> = std::result::Result<T, StreamFailure>;

impl Guest {
    fn read_stream(&mut self, stream: &Resource<InputStream>, length: u64) -> Streamed<Vec<u8>> {
        let input = *self.table.get(stream)?;
        let Piece { bytes, fuel } = match input {
            InputStream::Stdin => self.stdin.read(self.stdin_position, length).map_err(source_failure)?,
            InputStream::File { node, position } => self.files.read(node, position, length)?,
        };
        self.charge(fuel + bytes.len() as u64);
        if bytes.is_empty() && length > 0 {
            return Err(StreamFailure::Closed);
        }
        self.advance(stream, bytes.len() as u64)?;
        Ok(bytes)
    }

    fn advance(&mut self, stream: &Resource<InputStream>, count: u64) -> Streamed<()> {
        match self.table.get_mut(stream)? {
            InputStream::Stdin => self.stdin_position += count,
            InputStream::File { position, .. } => *position += count,
        }
        Ok(())
    }

    fn skip_stream(&mut self, stream: &Resource<InputStream>, length: u64) -> Streamed<u64> {
        self.charge(0);
        let left = match *self.table.get(stream)? {
            InputStream::Stdin => self.stdin.len().saturating_sub(self.stdin_position),
            InputStream::File { node, position } => self.files.size(node).saturating_sub(position),
        };
        let count = left.min(length).min(MAX_READ_BYTES);
        if count == 0 && length > 0 {
            return Err(StreamFailure::Closed);
        }
        self.advance(stream, count)?;
        Ok(count)
    }

    fn write_stream(&mut self, stream: &Resource<OutputStream>, bytes: &[u8]) -> Streamed<()> {
        self.charge(bytes.len() as u64);
        let to = match *self.table.get(stream)? {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
            OutputStream::File { node, position } => {
                let position = position.unwrap_or_else(|| self.files.size(node));
                self.files.write(node, position, bytes, &mut self.output)?;
                if let OutputStream::File { position: Some(position), .. } = self.table.get_mut(stream)? {
                    *position = position.saturating_add(bytes.len() as u64);
                }
                return Ok(());
            }
        };
        // What still fits is kept: it may tell why the program writes so much.
        let fitting = usize::try_from(self.output.left).unwrap_or(usize::MAX);
        secret::append(to, bytes.get(..fitting).unwrap_or(bytes));
        Ok(self.output.take(bytes.len() as u64)?)
    }

    fn write_zeroes_to_stream(&mut self, stream: &Resource<OutputStream>, length: u64) -> Streamed<()> {
        self.output.take(length)?;
        self.output.give_back(length);
        self.write_stream(stream, &vec![0; length as usize])
    }

    fn splice_streams(
        &mut self,
        to: &Resource<OutputStream>,
        from: &Resource<InputStream>,
        length: u64,
    ) -> Streamed<u64> {
        let bytes = self.read_stream(from, length.min(MAX_SPLICE_BYTES))?;
        self.write_stream(to, &bytes)?;
        Ok(bytes.len() as u64)
    }

    fn is_ready(&self, pollable: Pollable) -> bool {
        match pollable {
            Pollable::Ready => true,
            Pollable::At(instant) => instant <= self.clock.monotonic(),
        }
    }
}

impl error::Host for Guest {}

impl error::HostError for Guest {
    fn to_debug_string(&mut self, error: Resource<StreamError>) -> Result<String> {
        self.charge(0);
        Ok(format!("{:?}", self.table.get(&error)?.0))
    }

    fn drop(&mut self, error: Resource<StreamError>) -> Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}

impl poll::Host for Guest {
    fn poll(&mut self, pollables: Vec<Resource<Pollable>>) -> Result<Vec<u32>> {
        self.charge(pollables.len() as u64);
        let pollables: Vec<_> =
            pollables.iter().map(|pollable| Ok(*self.table.get(pollable)?)).collect::<Result<_>>()?;
        if !pollables.iter().any(|pollable| self.is_ready(*pollable)) {
            let instants = pollables.iter().filter_map(|pollable| match pollable {
                Pollable::At(instant) => Some(*instant),
                Pollable::Ready => None,
            });
            let Some(first) = instants.min() else { wasmtime::bail!("polling nothing never ends") };
            self.clock.sleep_until(first);
        }
        let ready = (0..).zip(&pollables).filter(|(_, pollable)| self.is_ready(**pollable));
        Ok(ready.map(|(index, _)| index).collect())
    }
}

impl poll::HostPollable for Guest {
    fn ready(&mut self, pollable: Resource<Pollable>) -> Result<bool> {
        self.charge(0);
        Ok(self.is_ready(*self.table.get(&pollable)?))
    }

    fn block(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        self.charge(0);
        if let Pollable::At(instant) = *self.table.get(&pollable)? {
            self.clock.sleep_until(instant);
        }
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        self.table.delete(pollable)?;
        Ok(())
    }
}

impl streams::Host for Guest {
    fn convert_stream_error(&mut self, failure: StreamFailure) -> Result<streams::StreamError> {
        match failure {
            StreamFailure::Closed => Ok(streams::StreamError::Closed),
            StreamFailure::Failed(error) => Ok(streams::StreamError::LastOperationFailed(self.table.push(error)?)),
            StreamFailure::Stop(error) => Err(error),
        }
    }
}

impl streams::HostInputStream for Guest {
    fn read(&mut self, stream: Resource<InputStream>, length: u64) -> Streamed<Vec<u8>> {
        self.read_stream(&stream, length)
    }

    fn blocking_read(&mut self, stream: Resource<InputStream>, length: u64) -> Streamed<Vec<u8>> {
        self.read_stream(&stream, length)
    }

    fn skip(&mut self, stream: Resource<InputStream>, length: u64) -> Streamed<u64> {
        self.skip_stream(&stream, length)
    }

    fn blocking_skip(&mut self, stream: Resource<InputStream>, length: u64) -> Streamed<u64> {
        self.skip_stream(&stream, length)
    }

    fn subscribe(&mut self, stream: Resource<InputStream>) -> Result<Resource<Pollable>> {
        self.charge(0);
        self.table.get(&stream)?;
        Ok(self.table.push(Pollable::Ready)?)
    }

    fn drop(&mut self, stream: Resource<InputStream>) -> Result<()> {
        if let InputStream::File { node, .. } = self.table.delete(stream)? {
            self.files.close(node, &mut self.output);
        }
        Ok(())
    }
}

impl streams::HostOutputStream for Guest {
    fn check_write(&mut self, stream: Resource<OutputStream>) -> Streamed<u64> {
        self.charge(0);
        self.table.get(&stream)?;
        Ok(WRITE_PERMIT)
    }

    fn write(&mut self, stream: Resource<OutputStream>, bytes: Vec<u8>) -> Streamed<()> {
        self.write_stream(&stream, &bytes)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<OutputStream>, bytes: Vec<u8>) -> Streamed<()> {
        self.write_stream(&stream, &bytes)
    }

    fn flush(&mut self, stream: Resource<OutputStream>) -> Streamed<()> {
        self.charge(0);
        self.table.get(&stream)?;
        Ok(())
    }

    fn blocking_flush(&mut self, stream: Resource<OutputStream>) -> Streamed<()> {
        streams::HostOutputStream::flush(self, stream)
    }

    fn subscribe(&mut self, stream: Resource<OutputStream>) -> Result<Resource<Pollable>> {
        self.charge(0);
        self.table.get(&stream)?;
        Ok(self.table.push(Pollable::Ready)?)
    }

    fn write_zeroes(&mut self, stream: Resource<OutputStream>, length: u64) -> Streamed<()> {
        self.write_zeroes_to_stream(&stream, length)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<OutputStream>, length: u64) -> Streamed<()> {
        self.write_zeroes_to_stream(&stream, length)
    }

    fn splice(&mut self, to: Resource<OutputStream>, from: Resource<InputStream>, length: u64) -> Streamed<u64> {
        self.splice_streams(&to, &from, length)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<OutputStream>,
        from: Resource<InputStream>,
        length: u64,
    ) -> Streamed<u64> {
        self.splice_streams(&to, &from, length)
    }

    fn drop(&mut self, stream: Resource<OutputStream>) -> Result<()> {
        if let OutputStream::File { node, .. } = self.table.delete(stream)? {
            self.files.close(node, &mut self.output);
        }
        Ok(())
    }
}
