use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sha2::{Digest, Sha512};

/// What an enclave is for. An image is allowed for one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Role {
    /// Runs users' programs.
    Worker,
    /// Holds key shares and releases app keys.
    Gatekeeper,
}

/// What evidence is bound to: its hash is the report data that the TEE signs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Statement {
    /// The role that the enclave takes.
    pub role: Role,
    /// The enclave's Ed25519 public key, which signs its receipts. It is also the worker's id.
    pub signing_key: [u8; 32],
    /// The enclave's X25519 public key: the `age` recipient of what users send it.
    pub encryption_key: [u8; 32],
    /// The genesis hash of the chain that the enclave follows.
    pub genesis_hash: [u8; 32],
    /// The account that owns the worker.
    pub operator: [u8; 32],
    /// The number of a recent finalized block of that chain, which proves that the evidence is fresh.
    pub block_number: u32,
    /// Its hash.
    pub block_hash: [u8; 32],
}

impl Statement {
    /// The 64 bytes that the TEE's report carries: SHA-512 over a domain separator and the SCALE encoding.
    pub fn report_data(&self) -> [u8; 64] {
        Sha512::new().chain_update(b"phala/statement/v2").chain_update(self.encode()).finalize().into()
    }
}
