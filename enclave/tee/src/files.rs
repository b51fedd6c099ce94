//! Files that a kernel makes up: small, and not to be believed about their length.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};
use zeroize::Zeroizing;

use crate::Error;

/// The most bytes of a file with a word in it.
const MAX_WORD_BYTES: usize = 64;

/// All bytes of the file at `path`, at most `max`. Overwritten when dropped.
pub(crate) fn read(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    // One byte more, to see that there is none; and no second buffer that keeps a copy.
    let mut bytes = Zeroizing::new(vec![0; max.saturating_add(1)]);
    let mut length = 0;
    let mut file = File::open(path).map_err(failed(path))?;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => length = length.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(path)(error)),
        }
    }
    if length > max {
        return Err(wrong(path, "it has more bytes than there can be"));
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The word in the file at `path`.
pub(crate) fn read_word(path: &Path) -> Result<String, Error> {
    let bytes = read(path, MAX_WORD_BYTES)?;
    let word = str::from_utf8(&bytes).map_err(|_| wrong(path, "it is no text"))?;
    Ok(word.trim().to_owned())
}

/// Writes `bytes`, at once, to the file at `path`, which is there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = OpenOptions::new().write(true).open(path).map_err(failed(path))?;
    file.write_all(bytes).map_err(failed(path))
}

pub(crate) fn failed(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    |error| Error::File { path: path.to_owned(), error }
}

pub(crate) fn wrong(path: &Path, problem: &'static str) -> Error {
    Error::Content { path: path.to_owned(), problem }
}
