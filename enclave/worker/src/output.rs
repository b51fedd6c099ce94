//! Results: one tar archive, hashed for comparison, encrypted to the user's recipients, handed to the host in chunks.
//!
//! The archive is followed by zero bytes up to a [`padded`] length, inside hash and encryption: what the host sees of its
//! length tells less of what the program wrote. A tar archive ends before them, whoever reads it.

use age::{Encryptor, x25519::Recipient};
use hmac::{Hmac, KeyInit, Mac};
use phala_primitives::{Hash, padding::padded};
use phala_protocol::Refusal;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};

/// How much is handed to the host at once.
const CHUNK_BYTES: usize = 512 * 1024;

/// What a program wrote.
pub(crate) struct Output<'a> {
    pub stdout: &'a [u8],
    pub stderr: &'a [u8],
    /// Path below the output folder, and content; in the order of the paths.
    pub files: Vec<(&'a str, &'a [u8])>,
}

/// The hashes that go into the receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputHashes {
    /// HMAC-SHA-256 of the padded archive under the job's secret.
    pub archive: Hash,
    /// SHA-256 of the encrypted archive.
    pub file: Hash,
}

/// Archives, encrypts and passes the result to `upload`, as offsets and bytes.
pub(crate) fn deliver(
    output: &Output<'_>,
    secret: &Hash,
    recipients: &[Recipient],
    upload: &mut dyn FnMut(u64, Vec<u8>) -> Result<(), Refusal>,
) -> Result<OutputHashes, Refusal> {
    let mut chunks = Chunks { upload, buffer: Vec::new(), offset: 0, hasher: Sha256::new(), refusal: None };
    let archive = encrypt(output, secret, recipients, &mut chunks);
    let Chunks { refusal, hasher, .. } = chunks;
    match (archive, refusal) {
        (_, Some(refusal)) => Err(refusal),
        (Err(_), None) => Err(phala_enclave::host::refusal(true, "the result could not be encrypted")),
        (Ok(archive), None) => Ok(OutputHashes { archive, file: hasher.finalize().into() }),
    }
}

fn encrypt(output: &Output<'_>, secret: &Hash, recipients: &[Recipient], chunks: &mut Chunks<'_>) -> io::Result<Hash> {
    let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
    let mac = Hmac::<Sha256>::new_from_slice(secret).map_err(io::Error::other)?;
    let mut hashed = Hashed { mac, length: 0, inner: encryptor.wrap_output(&mut *chunks)? };
    archive(output, &mut hashed)?;
    let padding = padded(hashed.length).saturating_sub(hashed.length);
    io::copy(&mut io::repeat(0).take(padding), &mut hashed)?;
    let Hashed { mac, inner, .. } = hashed;
    inner.finish()?.hand_over()?;
    Ok(mac.finalize().into_bytes().into())
}

/// Writes the archive: the same bytes for the same content, always.
fn archive(output: &Output<'_>, writer: &mut dyn Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(writer);
    let mut add = |path: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content)
    };
    add("stdout", output.stdout)?;
    add("stderr", output.stderr)?;
    for (path, content) in &output.files {
        add(&format!("files/{path}"), content)?;
    }
    archive.finish()
}

struct Hashed<W> {
    mac: Hmac<Sha256>,
    /// Bytes so far.
    length: u64,
    inner: W,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write_all(bytes)?;
        self.mac.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Chunks<'a> {
    upload: &'a mut dyn FnMut(u64, Vec<u8>) -> Result<(), Refusal>,
    buffer: Vec<u8>,
    offset: u64,
    hasher: Sha256,
    refusal: Option<Refusal>,
}

impl Chunks<'_> {
    fn hand_over(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        if bytes.is_empty() {
            return Ok(());
        }
        let length = bytes.len() as u64;
        self.hasher.update(&bytes);
        (self.upload)(self.offset, bytes).map_err(|refusal| {
            self.refusal = Some(refusal);
            io::Error::other("the host refused")
        })?;
        self.offset = self.offset.saturating_add(length);
        Ok(())
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(output: &Output<'_>, secret: &Hash, recipients: &[Recipient]) -> (OutputHashes, Vec<u8>) {
        let mut file = Vec::new();
        let hashes = deliver(output, secret, recipients, &mut |offset, bytes| {
            assert_eq!(offset, file.len() as u64);
            file.extend_from_slice(&bytes);
            Ok(())
        });
        (hashes.unwrap(), file)
    }

    #[test]
    fn results_open_with_age_and_tar() {
        let identity = age::x25519::Identity::generate();
        let name = "n".repeat(255);
        let big = vec![7; 2_000_000];
        let output = Output { stdout: b"out", stderr: b"", files: vec![("a.csv", b"1,2"), (&name, &big)] };
        let (hashes, file) = run(&output, &[1; 32], &[identity.to_public()]);
        assert_eq!(hashes.file, <Hash>::from(Sha256::digest(&file)));
        let plaintext = age::decrypt(&identity, &file).unwrap();
        let mut entries = Vec::new();
        for entry in tar::Archive::new(&plaintext[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            entries.push((path, content));
        }
        let expected =
            [("stdout", &b"out"[..]), ("stderr", b""), ("files/a.csv", b"1,2"), (&format!("files/{name}"), &big)];
        assert_eq!(entries, expected.map(|(path, content)| (path.to_owned(), content.to_vec())));
        let mut mac = Hmac::<Sha256>::new_from_slice(&[1; 32]).unwrap();
        mac.update(&plaintext);
        assert_eq!(hashes.archive, <Hash>::from(mac.finalize().into_bytes()));
    }

    #[test]
    fn the_same_result_has_the_same_hash_under_the_same_secret_only() {
        let recipient = age::x25519::Identity::generate().to_public();
        let output = Output { stdout: b"out", stderr: b"err", files: Vec::new() };
        let (first, file) = run(&output, &[1; 32], std::slice::from_ref(&recipient));
        let (second, other_file) = run(&output, &[1; 32], std::slice::from_ref(&recipient));
        assert_eq!(first.archive, second.archive);
        assert_ne!(file, other_file);
        assert_ne!(run(&output, &[2; 32], &[recipient]).0.archive, first.archive);
    }

    #[test]
    fn lengths_of_results_tell_little() {
        let identity = age::x25519::Identity::generate();
        let lengths = (0..200).map(|length| {
            let stdout = vec![1; 150_000 + 10 * length];
            let output = Output { stdout: &stdout, stderr: b"", files: Vec::new() };
            let (_, file) = run(&output, &[1; 32], &[identity.to_public()]);
            let plaintext = age::decrypt(&identity, &file).unwrap();
            assert_eq!(plaintext.len() as u64, padded(plaintext.len() as u64));
            plaintext.len()
        });
        let lengths: std::collections::BTreeSet<_> = lengths.collect();
        assert!(lengths.len() <= 2, "{lengths:?}");
    }

    #[test]
    fn a_host_that_refuses_ends_it() {
        let recipient = age::x25519::Identity::generate().to_public();
        let output = Output { stdout: b"out", stderr: b"", files: Vec::new() };
        let refused =
            deliver(&output, &[1; 32], &[recipient], &mut |_, _| Err(phala_enclave::host::refusal(true, "disk full")));
        assert_eq!(refused.unwrap_err().reason, "disk full");
    }
}
