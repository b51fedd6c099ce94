//! Where a job's input comes from.

use std::{fmt, sync::mpsc, thread};

use crate::secret::Buffer;

/// The unit in which sources are read, aligned: four chunks of `age`.
const BUFFER_BYTES: u64 = 256 * 1024;

/// Sources of which more than this is left are read ahead.
const READ_AHEAD_FROM: u64 = 4 * BUFFER_BYTES;

/// The most that one read gives a program.
pub(crate) const MAX_READ_BYTES: u64 = 1024 * 1024;

/// Fuel for each time that a program leaves the order of the pieces, which makes the worker decrypt up to 256 KiB for
/// what may be one byte.
const JUMP_FUEL: u64 = 40_000;

/// Bytes that a program reads: standard input, or a file. They are read as the program asks for them and never held
/// as a whole, at most 768 KiB of each source at a time.
pub trait Source: Send {
    /// How many bytes there are. Asked once.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads some bytes from `offset` on into `buffer` and says how many; 0 only from the end on. `offset` may go
    /// back: standard input is read front to back, files are not.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError>;
}

impl fmt::Debug for dyn Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("len", &self.len()).finish()
    }
}

/// Bytes in memory.
impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The data is not what it should be: it does not decrypt, or is cut short. The job fails with
    /// [`InvalidInput`](phala_primitives::FailureReason::InvalidInput).
    #[error("the input is invalid: {0}")]
    Invalid(String),
    /// The host does not deliver. No fault of the job, which ends without an outcome: [`RunError::Input`].
    ///
    /// [`RunError::Input`]: crate::RunError::Input
    #[error("the input is unavailable: {0}")]
    Unavailable(String),
    /// Waiting was cut off because the job's wall time is over. The job fails with
    /// [`WallTimeExceeded`](phala_primitives::FailureReason::WallTimeExceeded).
    #[error("reading the input was interrupted")]
    Interrupted,
}

/// What a read did.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    /// Fuel beyond that for the bytes: see [`JUMP_FUEL`].
    pub(crate) fuel: u64,
}

/// Reads a source in aligned pieces, so that neither a program's small reads nor the way in which a source
/// cuts its data are seen on the other side.
///
/// While a program reads in order, a thread of the source's own gets the next piece ready, where that is wanted.
pub(crate) struct Reader {
    source: Front,
    read_ahead: bool,
    length: u64,
    buffer: Buffer,
    /// The offset of the buffer's first byte.
    start: u64,
}

enum Front {
    Here(Box<dyn Source>),
    Ahead(ReadAhead),
}

impl Reader {
    pub(crate) fn new(source: Box<dyn Source>, read_ahead: bool) -> Self {
        Self { length: source.len(), source: Front::Here(source), read_ahead, buffer: Buffer::default(), start: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Exactly `min(wanted, MAX_READ_BYTES, what is left)` bytes.
    pub(crate) fn read(&mut self, offset: u64, wanted: u64) -> Result<Piece, SourceError> {
        let count = wanted.min(MAX_READ_BYTES).min(self.length.saturating_sub(offset));
        let mut bytes = Vec::with_capacity(count as usize);
        let mut position = offset;
        let mut fuel = 0;
        while (bytes.len() as u64) < count {
            let left = count - bytes.len() as u64;
            let skip = position.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
            if let Some(held) = skip.and_then(|skip| self.buffer.get(skip..)).filter(|held| !held.is_empty()) {
                let taken = held.get(..held.len().min(left as usize)).unwrap_or(held);
                bytes.extend_from_slice(taken);
                position += taken.len() as u64;
            } else {
                let expected = self.start + self.buffer.len() as u64;
                self.fill(position)?;
                if self.start != expected {
                    fuel += JUMP_FUEL;
                }
            }
        }
        Ok(Piece { bytes, fuel })
    }

    /// Loads the piece that holds `position`, which lies before the end.
    fn fill(&mut self, position: u64) -> Result<(), SourceError> {
        let start = position - position % BUFFER_BYTES;
        let in_order = !self.buffer.is_empty() && start == self.start + self.buffer.len() as u64;
        // Nothing is held while reading, so that an error leaves no half of a piece behind.
        let mut buffer = std::mem::take(&mut self.buffer);
        if self.read_ahead && in_order && self.length - start > READ_AHEAD_FROM {
            self.source.go_ahead(self.length)?;
        }
        self.buffer = match &mut self.source {
            Front::Here(source) => read_piece(source.as_mut(), start, buffer, self.length)?,
            Front::Ahead(ahead) => {
                let piece = ahead.piece(start, &mut buffer)?;
                let next = start + BUFFER_BYTES;
                if in_order && next < self.length {
                    ahead.ask(next, buffer)?;
                }
                piece
            }
        };
        self.start = start;
        Ok(())
    }
}

impl Front {
    /// Gives the source a thread, if it has none.
    fn go_ahead(&mut self, length: u64) -> Result<(), SourceError> {
        if let Self::Here(source) = self {
            let source = std::mem::replace(source, Box::new(Vec::new()));
            *self = Self::Ahead(ReadAhead::new(source, length)?);
        }
        Ok(())
    }
}

/// The piece from `start` on, in `buffer`'s memory.
fn read_piece(source: &mut dyn Source, start: u64, mut buffer: Buffer, length: u64) -> Result<Buffer, SourceError> {
    buffer.resize(BUFFER_BYTES.min(length.saturating_sub(start)) as usize, 0);
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let wanted = rest.len();
        match source.read_at(start + filled as u64, rest)? {
            0 => return Err(SourceError::Invalid("it ends too early".into())),
            count if count > wanted => return Err(SourceError::Invalid("it overflows its buffer".into())),
            count => filled += count,
        }
    }
    Ok(buffer)
}

/// A source on a thread of its own. The thread ends when this is dropped.
struct ReadAhead {
    asked: mpsc::Sender<(u64, Buffer)>,
    pieces: mpsc::Receiver<Result<Buffer, SourceError>>,
    /// The start of the piece that was asked for and not taken yet.
    pending: Option<u64>,
}

impl ReadAhead {
    fn new(mut source: Box<dyn Source>, length: u64) -> Result<Self, SourceError> {
        let (asked, questions) = mpsc::channel::<(u64, Buffer)>();
        let (answers, pieces) = mpsc::channel();
        let read = move || {
            for (start, buffer) in questions {
                if answers.send(read_piece(source.as_mut(), start, buffer, length)).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new()
            .name("read-ahead".into())
            .spawn(read)
            .map_err(|error| SourceError::Unavailable(format!("no thread to read it: {error}")))?;
        Ok(Self { asked, pieces, pending: None })
    }

    fn ask(&mut self, start: u64, buffer: Buffer) -> Result<(), SourceError> {
        self.asked.send((start, buffer)).map_err(|_| ended())?;
        self.pending = Some(start);
        Ok(())
    }

    /// The piece from `start` on, which may be ready; else it is read into `spare`.
    fn piece(&mut self, start: u64, spare: &mut Buffer) -> Result<Buffer, SourceError> {
        match self.pending.take() {
            Some(pending) if pending == start => {}
            pending => {
                if pending.is_some() {
                    // Not wanted any more, whatever it is.
                    let _ = self.pieces.recv().map_err(|_| ended())?;
                }
                self.ask(start, std::mem::take(spare))?;
                self.pending = None;
            }
        }
        self.pieces.recv().map_err(|_| ended())?
    }
}

fn ended() -> SourceError {
    SourceError::Unavailable("its reader ended".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `piece` bytes at once.
    struct Dripping(Vec<u8>, usize);

    impl Source for Dripping {
        fn len(&self) -> u64 {
            self.0.as_slice().len() as u64
        }

        fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
            let end = buffer.len().min(self.1);
            self.0.read_at(offset, &mut buffer[..end])
        }
    }

    #[test]
    fn reads_do_not_depend_on_how_a_source_cuts_its_data() {
        let data: Vec<u8> = (0..600_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
        for piece in [1, 1000, 65_536, 1 << 20] {
            let mut reader = Reader::new(Box::new(Dripping(data.clone(), piece)), true);
            for (offset, wanted) in [(0, 10), (262_140, 20), (3, 550_000), (599_999, 5), (600_000, 5), (u64::MAX, 1)] {
                let expected = data.iter().skip(offset.min(1 << 40) as usize).take(wanted as usize).copied();
                assert_eq!(reader.read(offset, wanted).unwrap().bytes, expected.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn reading_ahead_changes_nothing() {
        let data: Vec<u8> = (0..2_000_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
        for read_ahead in [true, false] {
            let mut reader = Reader::new(Box::new(data.clone()), read_ahead);
            let mut fuel = 0;
            // In order to the middle, back, in order again, and a leap to the end.
            let order = (0..1_000_000).step_by(60_000).chain((300_000..1_500_000).step_by(70_000)).chain([1_990_000]);
            for offset in order {
                let piece = reader.read(offset as u64, 60_000).unwrap();
                assert!(piece.bytes == data[offset..data.len().min(offset + 60_000)], "at {offset}");
                fuel += piece.fuel;
            }
            assert_eq!(matches!(reader.source, Front::Ahead(_)), read_ahead);
            assert_eq!(fuel, 2 * JUMP_FUEL);
        }
    }

    #[test]
    fn errors_of_what_is_read_ahead_come_when_it_is_wanted() {
        struct Broken;
        impl Source for Broken {
            fn len(&self) -> u64 {
                4 << 20
            }
            fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
                match offset {
                    0..2_097_152 => Ok(buffer.len()),
                    _ => Err(SourceError::Invalid("broken".into())),
                }
            }
        }
        let mut reader = Reader::new(Box::new(Broken), true);
        for offset in (0..2_097_152).step_by(65_536) {
            assert_eq!(reader.read(offset, 65_536).unwrap().bytes.len(), 65_536);
        }
        assert!(matches!(reader.source, Front::Ahead(_)));
        assert!(matches!(reader.read(2_097_152, 65_536), Err(SourceError::Invalid(_))));
        // And what can be read still can.
        assert_eq!(reader.read(0, 10).unwrap().bytes.len(), 10);
    }

    #[test]
    fn a_source_that_ends_early_is_invalid() {
        struct Short;
        impl Source for Short {
            fn len(&self) -> u64 {
                10
            }
            fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
                Ok(buffer.len().min(5usize.saturating_sub(offset as usize)))
            }
        }
        assert!(matches!(Reader::new(Box::new(Short), true).read(0, 10), Err(SourceError::Invalid(_))));
    }
}
