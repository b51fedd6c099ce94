//! Stand-ins for tests: the host's blobs, and encrypted files.

use age::{Encryptor, armor, x25519::Identity};
use phala_enclave::host::{lock, refusal};
use phala_primitives::Hash;
use phala_protocol::Refusal;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io::Write,
    sync::{Arc, Mutex},
};

use crate::files::Blobs;

/// The host's blobs, which may change under their names.
#[derive(Clone, Default)]
pub struct MemoryBlobs(Arc<Mutex<HashMap<Hash, Vec<u8>>>>);

impl MemoryBlobs {
    pub fn add(&self, bytes: Vec<u8>) -> Hash {
        let name = Sha256::digest(&bytes).into();
        self.replace(name, bytes);
        name
    }

    pub fn replace(&self, name: Hash, bytes: Vec<u8>) {
        lock(&self.0).insert(name, bytes);
    }
}

impl Blobs for MemoryBlobs {
    fn read(&self, blob: Hash, offset: u64, length: u32) -> Result<Vec<u8>, Refusal> {
        let blobs = lock(&self.0);
        let blob = blobs.get(&blob).ok_or_else(|| refusal(true, "no such blob"))?;
        let rest = blob.get(offset as usize..).unwrap_or_default();
        Ok(rest[..rest.len().min(length as usize)].to_vec())
    }
}

pub fn encrypt(identity: &Identity, plaintext: &[u8]) -> Vec<u8> {
    encrypt_to(&identity.to_public(), plaintext)
}

pub fn encrypt_to(recipient: &age::x25519::Recipient, plaintext: &[u8]) -> Vec<u8> {
    age::encrypt(recipient, plaintext).unwrap()
}

pub fn encrypt_armored(identity: &Identity, plaintext: &[u8]) -> Vec<u8> {
    let recipient = identity.to_public();
    let encryptor = Encryptor::with_recipients(std::iter::once(&recipient as _)).unwrap();
    let armor = armor::ArmoredWriter::wrap_output(Vec::new(), armor::Format::AsciiArmor).unwrap();
    let mut writer = encryptor.wrap_output(armor).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap().finish().unwrap()
}
