//! Encrypted files that the host keeps: read by random access, believed only as far as they are verified.
//!
//! A job's files are `age` files, named by the SHA-256 of their ciphertext. The host may serve anything at any time, so a
//! file is used in two steps.
//!
//! 1. [`verify`] reads the ciphertext once, from beginning to end, hashing *and* decrypting it. Afterwards the file is known
//!    to be the one that the user named, and to be a valid `age` file for the identity given. A wrong hash is the host's
//!    fault and refuses the job; a right hash over a broken file is the user's and fails it.
//! 2. [`VerifiedFile::open`] reads again wherever the program wants to. What the host serves now is not hashed
//!    again. It need not be: the beginning of the file, with the header that holds the file key and with the
//!    payload's nonce, is kept from the first step and served from the enclave's memory. Header and nonce determine the payload's
//!    key, under which each chunk of the payload is authenticated together with its position and with whether it is
//!    the last (`age`'s STREAM). Without the kept beginning whoever knows the recipient could have the host serve
//!    *another* valid file in the second step. With it, a byte that differs from the verified ones fails to
//!    decrypt, and that is the host's fault.

use age::{Decryptor, armor::ArmoredReader, stream::StreamReader, x25519};
use phala_engine::{Source, SourceError};
use phala_primitives::Hash;
use phala_protocol::Refusal;
use sha2::{Digest, Sha256};
use std::{
    cell::RefCell,
    io::{self, BufReader, Read, Seek, SeekFrom},
    rc::Rc,
    sync::Arc,
};
use zeroize::Zeroizing;

use phala_enclave::{
    host::refusal,
    text::{Hex, text},
};

/// The beginning of a file that is kept. The `age` header must end in it.
const KEPT_BYTES: usize = 64 * 1024;

/// How much is asked of the host at once.
const READ_AHEAD: u32 = 256 * 1024;

/// Where ciphertext comes from: the host.
pub(crate) trait Blobs: Send + Sync {
    /// At most `length` bytes of a blob; fewer only at its end. Waits for the host.
    fn read(&self, blob: Hash, offset: u64, length: u32) -> Result<Vec<u8>, Refusal>;
}

/// What opens files.
pub(crate) trait Opener: age::Identity + Send + Sync {
    /// Why it did not get to know whether it opens a file: then that says nothing of the file.
    fn refusal(&self) -> Option<Refusal>;
}

impl Opener for x25519::Identity {
    fn refusal(&self) -> Option<Refusal> {
        None
    }
}

/// Why a file could not be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileError {
    /// The host does not have it, or served something else.
    Host(Refusal),
    /// The user's file is no `age` file for the identity, or is broken.
    Invalid(&'static str),
}

/// A file that [`verify`] has seen whole.
#[derive(Clone)]
pub(crate) struct VerifiedFile {
    blobs: Arc<dyn Blobs>,
    blob: Hash,
    beginning: Arc<[u8]>,
    /// Length of the ciphertext.
    pub length: u64,
    /// Length of the plaintext.
    pub plaintext: u64,
}

/// Reads the whole ciphertext of `blob`, at most `max_bytes`, and passes its plaintext to `sink`, which may refuse it.
///
/// Whoever uses what the sink got before this has returned `Ok` uses unverified data.
pub(crate) fn verify(
    blobs: &Arc<dyn Blobs>,
    blob: Hash,
    max_bytes: u64,
    opener: &dyn Opener,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), &'static str>,
) -> Result<VerifiedFile, FileError> {
    let pass = Rc::new(RefCell::new(Pass {
        blobs: blobs.clone(),
        blob,
        max_bytes,
        length: 0,
        buffer: Vec::new(),
        used: 0,
        ended: false,
        hasher: Sha256::new(),
        beginning: Vec::new(),
        in_header: true,
        refusal: None,
    }));
    let decrypted = decrypt(&pass, opener, sink);
    let mut pass = pass.borrow_mut();
    // Whether the decryption went well or not: what was named is the whole ciphertext.
    pass.in_header = false;
    while pass.refusal.is_none() && pass.next() {}
    if let Some(refusal) = pass.refusal.take() {
        return Err(FileError::Host(refusal));
    }
    let digest: Hash = std::mem::take(&mut pass.hasher).finalize().into();
    if digest != blob {
        return Err(FileError::Host(refusal(true, text!("the host served other bytes than blob ", Hex(blob)))));
    }
    let plaintext = decrypted.map_err(|why| opener.refusal().map_or(FileError::Invalid(why), FileError::Host))?;
    let beginning = Arc::from(std::mem::take(&mut pass.beginning));
    Ok(VerifiedFile { blobs: blobs.clone(), blob, beginning, length: pass.length, plaintext })
}

fn decrypt(
    pass: &Rc<RefCell<Pass>>,
    opener: &dyn Opener,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), &'static str>,
) -> Result<u64, &'static str> {
    const BROKEN: &str = "it is not a valid age file: it is truncated or was changed";
    let mut stream = open(PassReader(pass.clone()), opener)?;
    pass.borrow_mut().in_header = false;
    let mut buffer = Zeroizing::new(vec![0; 64 * 1024]);
    let mut plaintext: u64 = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(plaintext),
            Ok(length) => {
                plaintext = plaintext.saturating_add(length as u64);
                sink(buffer.get(..length).unwrap_or_default())?;
            }
            Err(_) => return Err(BROKEN),
        }
    }
}

fn open<R: Read>(reader: R, opener: &dyn Opener) -> Result<StreamReader<ArmoredReader<BufReader<R>>>, &'static str> {
    let decryptor = Decryptor::new(ArmoredReader::new(reader)).map_err(|_| "it is not an age file")?;
    decryptor.decrypt(std::iter::once(opener as &dyn age::Identity)).map_err(|_| "it is encrypted to another recipient")
}

/// The first reading of a blob.
struct Pass {
    blobs: Arc<dyn Blobs>,
    blob: Hash,
    max_bytes: u64,
    length: u64,
    buffer: Vec<u8>,
    used: usize,
    ended: bool,
    hasher: Sha256,
    beginning: Vec<u8>,
    in_header: bool,
    refusal: Option<Refusal>,
}

impl Pass {
    /// Reads and hashes the next part. `false` at the end, or when there is a refusal.
    fn next(&mut self) -> bool {
        if self.ended || self.refusal.is_some() {
            return false;
        }
        match self.blobs.read(self.blob, self.length, READ_AHEAD) {
            Err(refusal) => {
                self.refusal = Some(refusal);
                false
            }
            Ok(bytes) if bytes.is_empty() => {
                self.ended = true;
                false
            }
            Ok(bytes) => {
                self.length = self.length.saturating_add(bytes.len() as u64);
                if self.length > self.max_bytes {
                    let (blob, announced) = (Hex(self.blob), self.max_bytes);
                    let reason = text!("blob ", blob, " is longer than the ", announced, " bytes announced");
                    self.refusal = Some(refusal(false, reason));
                    return false;
                }
                self.hasher.update(&bytes);
                let kept = KEPT_BYTES.saturating_sub(self.beginning.len()).min(bytes.len());
                self.beginning.extend_from_slice(bytes.get(..kept).unwrap_or_default());
                self.ended = bytes.len() < READ_AHEAD as usize;
                self.buffer = bytes;
                self.used = 0;
                true
            }
        }
    }
}

struct PassReader(Rc<RefCell<Pass>>);

impl Read for PassReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pass = self.0.borrow_mut();
        if pass.used == pass.buffer.len() && !pass.next() {
            return if pass.refusal.is_some() { Err(io::ErrorKind::Other.into()) } else { Ok(0) };
        }
        let end = if pass.in_header { pass.buffer.len().min(KEPT_BYTES) } else { pass.buffer.len() };
        let available = pass.buffer.get(pass.used..end).unwrap_or_default();
        if available.is_empty() {
            // The header does not end in the beginning that is kept.
            return Err(io::ErrorKind::InvalidData.into());
        }
        let length = available.len().min(buffer.len());
        copy(available, buffer, length);
        pass.used = pass.used.saturating_add(length);
        Ok(length)
    }
}

fn copy(from: &[u8], to: &mut [u8], length: usize) {
    if let (Some(from), Some(to)) = (from.get(..length), to.get_mut(..length)) {
        to.copy_from_slice(from);
    }
}

impl VerifiedFile {
    /// The plaintext, by random access.
    pub(crate) fn open(&self, opener: &Arc<dyn Opener>) -> Plaintext {
        Plaintext { file: self.clone(), opener: opener.clone(), open: None }
    }
}

/// The plaintext of a [`VerifiedFile`]. Opened by the first read, so that an unread file costs no memory.
pub(crate) struct Plaintext {
    file: VerifiedFile,
    opener: Arc<dyn Opener>,
    open: Option<Open>,
}

struct Open {
    stream: StreamReader<ArmoredReader<BufReader<KeptReader>>>,
    position: u64,
}

impl Plaintext {
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        // Taken, so that nothing is read from it again after a failure.
        let mut current = match self.open.take() {
            Some(current) => current,
            None => {
                let reader = KeptReader { file: self.file.clone(), position: 0, buffer: Vec::new(), buffer_at: 0 };
                let stream = open(reader, &*self.opener).map_err(|_| io::ErrorKind::InvalidData)?;
                Open { stream, position: 0 }
            }
        };
        if current.position != offset {
            current.stream.seek(SeekFrom::Start(offset))?;
        }
        current.stream.read_exact(buffer)?;
        current.position = offset.saturating_add(buffer.len() as u64);
        self.open = Some(current);
        Ok(())
    }
}

impl Source for Plaintext {
    fn len(&self) -> u64 {
        self.file.plaintext
    }

    /// The file has been verified: whatever fails now is the host's fault.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let rest = self.file.plaintext.saturating_sub(offset);
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..length).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        self.read_exact_at(offset, buffer)
            .map_err(|_| SourceError::Unavailable("the host serves it no more as it was verified".into()))?;
        Ok(length)
    }
}

/// The ciphertext: its beginning from memory, the rest from the host.
struct KeptReader {
    file: VerifiedFile,
    position: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl KeptReader {
    fn buffered(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.buffer_at).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.buffer.get(skip..)).unwrap_or_default()
    }
}

impl Read for KeptReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let kept = usize::try_from(self.position).ok().and_then(|start| self.file.beginning.get(start..));
        if let Some(kept) = kept.filter(|kept| !kept.is_empty()) {
            let length = kept.len().min(buffer.len());
            copy(kept, buffer, length);
            self.position = self.position.saturating_add(length as u64);
            return Ok(length);
        }
        if self.position >= self.file.length {
            return Ok(0);
        }
        if self.buffered().is_empty() {
            let bytes = self.file.blobs.read(self.file.blob, self.position, READ_AHEAD);
            let bytes = bytes.map_err(|_| io::ErrorKind::Other)?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer = bytes;
            self.buffer_at = self.position;
        }
        let rest = usize::try_from(self.file.length.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = self.buffered().len().min(buffer.len()).min(rest);
        copy(self.buffered(), buffer, length);
        self.position = self.position.saturating_add(length as u64);
        Ok(length)
    }
}

impl Seek for KeptReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.file.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MemoryBlobs, encrypt, encrypt_armored};
    use age::x25519::Identity;
    use proptest::prelude::*;

    fn check(blobs: &MemoryBlobs, blob: Hash, identity: &Identity) -> Result<(VerifiedFile, Vec<u8>), FileError> {
        let mut plaintext = Vec::new();
        let blobs: Arc<dyn Blobs> = Arc::new(blobs.clone());
        let file = verify(&blobs, blob, 1 << 40, identity, &mut |bytes| {
            plaintext.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok((file, plaintext))
    }

    fn opener(identity: &Identity) -> Arc<dyn Opener> {
        Arc::new(identity.clone())
    }

    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index.wrapping_mul(31) ^ (index >> 8)) as u8).collect()
    }

    #[test]
    fn files_of_every_size_are_read_at_random() {
        let identity = Identity::generate();
        let chunk = 64 * 1024;
        for length in [0, 1, 100, chunk - 1, chunk, chunk + 1, 2 * chunk, 10 * chunk, 700_001] {
            let plaintext = sample(length);
            for ciphertext in [encrypt(&identity, &plaintext), encrypt_armored(&identity, &plaintext)] {
                let blobs = MemoryBlobs::default();
                let blob = blobs.add(ciphertext);
                let (file, seen) = check(&blobs, blob, &identity).unwrap();
                assert_eq!((file.plaintext, seen == plaintext), (length as u64, true));
                let mut reader = file.open(&opener(&identity));
                for offset in [0, 5, length / 2, length.saturating_sub(1), length, chunk - 3, chunk, 2 * chunk, 3, 0] {
                    let mut buffer = vec![0; 70_000];
                    let read = reader.read_at(offset as u64, &mut buffer).unwrap();
                    let expected = plaintext.get(offset..).unwrap_or_default();
                    let expected = &expected[..expected.len().min(buffer.len())];
                    assert_eq!(&buffer[..read], expected, "length {length}, offset {offset}");
                }
            }
        }
    }

    #[test]
    fn other_bytes_under_a_name_are_the_hosts_fault() {
        let identity = Identity::generate();
        let blobs = MemoryBlobs::default();
        let blob = blobs.add(encrypt(&identity, b"hello"));
        blobs.replace(blob, encrypt(&identity, b"other"));
        assert!(matches!(check(&blobs, blob, &identity), Err(FileError::Host(refusal)) if refusal.retry));
        assert!(matches!(check(&blobs, [9; 32], &identity), Err(FileError::Host(_))));
    }

    #[test]
    fn broken_files_are_the_users_fault() {
        let identity = Identity::generate();
        let blobs = MemoryBlobs::default();
        let good = encrypt(&identity, &sample(200_000));
        let mut flipped = good.clone();
        flipped[150_000] ^= 1;
        let cases = [
            (b"no age file at all".to_vec(), "it is not an age file"),
            (Vec::new(), "it is not an age file"),
            (encrypt(&Identity::generate(), b"x"), "it is encrypted to another recipient"),
            (good[..good.len() - 1].to_vec(), "it is not a valid age file: it is truncated or was changed"),
            ([&good[..], b"x"].concat(), "it is not a valid age file: it is truncated or was changed"),
            (flipped, "it is not a valid age file: it is truncated or was changed"),
        ];
        for (ciphertext, reason) in cases {
            let blob = blobs.add(ciphertext);
            assert_eq!(check(&blobs, blob, &identity).err(), Some(FileError::Invalid(reason)));
        }
    }

    /// The attack that keeping the beginning prevents: after the verification the host serves another file that is
    /// just as valid, made by somebody who knows the recipient.
    #[test]
    fn a_file_cannot_be_exchanged_after_its_verification() {
        let identity = Identity::generate();
        let blobs = MemoryBlobs::default();
        let blob = blobs.add(encrypt(&identity, &sample(300_000)));
        let (file, _) = check(&blobs, blob, &identity).unwrap();
        blobs.replace(blob, encrypt(&identity, &vec![0; 300_000]));
        let mut reader = file.open(&opener(&identity));
        let mut buffer = vec![0; 1000];
        assert!(matches!(reader.read_at(200_000, &mut buffer), Err(SourceError::Unavailable(_))));
    }

    #[test]
    fn truncation_and_changes_after_the_verification_are_noticed() {
        let identity = Identity::generate();
        let ciphertext = encrypt(&identity, &sample(300_000));
        let mut changed = ciphertext.clone();
        changed[250_000] ^= 1;
        for after in [ciphertext[..200_000].to_vec(), changed] {
            let blobs = MemoryBlobs::default();
            let blob = blobs.add(ciphertext.clone());
            let (file, _) = check(&blobs, blob, &identity).unwrap();
            blobs.replace(blob, after);
            let mut reader = file.open(&opener(&identity));
            assert!(reader.read_at(0, &mut vec![0; 300_000]).is_err());
        }
    }

    #[test]
    fn a_header_that_never_ends_is_refused() {
        let blobs = MemoryBlobs::default();
        let mut file = b"age-encryption.org/v1\n".to_vec();
        for _ in 0..2_000 {
            file.extend_from_slice(b"-> x abcdefghijklmnopqrstuvwxyz0123456789\nAAAAAAAAAAAAAAAAAAAAAA\n");
        }
        let blob = blobs.add(file);
        assert!(matches!(check(&blobs, blob, &Identity::generate()), Err(FileError::Invalid(_))));
    }

    #[test]
    fn a_file_longer_than_announced_is_refused() {
        let identity = Identity::generate();
        let blobs = MemoryBlobs::default();
        let blob = blobs.add(encrypt(&identity, &sample(1000)));
        let shared: Arc<dyn Blobs> = Arc::new(blobs);
        let result = verify(&shared, blob, 100, &identity, &mut |_| Ok(()));
        assert!(matches!(result, Err(FileError::Host(refusal)) if !refusal.retry));
    }

    proptest! {
        #[test]
        fn random_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let blobs = MemoryBlobs::default();
            let blob = blobs.add([&b"age-encryption.org/v1\n"[..], &bytes].concat());
            let _ = check(&blobs, blob, &Identity::generate());
        }
    }
}
