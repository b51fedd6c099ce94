//! What the fuzz targets reach of the parsers that are private here. No part of this crate's interface.

use age::x25519::Identity;
use phala_engine::Source;
use phala_primitives::{Hash, JobId};
use phala_protocol::Refusal;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};

use crate::{
    InputError,
    files::{Blobs, Opener, verify},
    input::CheckedInput,
};
use phala_enclave::host::lock;

/// A host with one blob, which may change.
struct Served(Mutex<Vec<u8>>);

impl Blobs for Served {
    fn read(&self, _blob: Hash, offset: u64, length: u32) -> Result<Vec<u8>, Refusal> {
        let blob = lock(&self.0);
        let rest = usize::try_from(offset).ok().and_then(|offset| blob.get(offset..)).unwrap_or_default();
        Ok(rest.get(..length as usize).unwrap_or(rest).to_vec())
    }
}

/// Verifies the encrypted `file`, and reads it again from a host that serves `later` by then. The plaintexts of both; no
/// second where it cannot be read, and none at all where the file is not valid.
pub fn file(file: &[u8], later: &[u8], identity: &str) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let identity: Identity = identity.parse().ok()?;
    let opener: Arc<dyn Opener> = Arc::new(identity);
    let served = Arc::new(Served(Mutex::new(file.to_vec())));
    let blobs: Arc<dyn Blobs> = served.clone();
    let mut plaintext = Vec::new();
    let mut sink = |bytes: &[u8]| {
        plaintext.extend_from_slice(bytes);
        Ok(())
    };
    let verified = verify(&blobs, Sha256::digest(file).into(), u64::MAX, &*opener, &mut sink).ok()?;
    *lock(&served.0) = later.to_vec();
    let mut source = verified.open(&opener);
    let mut read = vec![0; plaintext.len()];
    let mut position: usize = 0;
    while let Some(rest) = read.get_mut(position..).filter(|rest| !rest.is_empty()) {
        match source.read_at(position as u64, rest) {
            Ok(count) if count > 0 => position = position.saturating_add(count),
            _ => return Some((plaintext, None)),
        }
    }
    Some((plaintext, Some(read)))
}

/// Checks the plaintext of a job input.
///
/// # Errors
/// See [`InputError`].
pub fn job_input(json: &[u8], genesis_hash: &Hash, job: JobId) -> Result<(), InputError> {
    CheckedInput::new(json, genesis_hash, job).map(drop)
}
