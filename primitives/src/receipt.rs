//! What an enclave signs about a job it ran.

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{AppId, Hash, JobId, Outcome, WorkerId};

/// What ran, on what, with which result and at which cost. Two receipts of honest workers for the same job and
/// input agree in `code_hash`, `output_hash`, `outcome` and `fuel`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Receipt {
    /// The chain that the enclave follows.
    pub genesis_hash: Hash,
    /// The job.
    pub job: JobId,
    /// Which assignment of the job this answers: 1 for the first.
    pub attempt: u32,
    /// The app that ran.
    pub app: AppId,
    /// Who ran it; its key signs the receipt.
    pub worker: WorkerId,
    /// The image of the enclave.
    pub measurement: [u8; 32],
    /// SHA-256 of the program.
    pub code_hash: Hash,
    /// SHA-256 of the encrypted job input, which itself names the hash of every encrypted file.
    pub input_hash: Hash,
    /// HMAC-SHA-256 of the output archive under the job's secret: comparable between workers, meaningless to others.
    pub output_hash: Hash,
    /// SHA-256 of the encrypted output, as users download it. Zero when there is none.
    pub output_file_hash: Hash,
    /// How it ended.
    pub outcome: Outcome,
    /// Fuel used, [padded](crate::padding::padded) but at most the job's limit.
    pub fuel: u64,
    /// Bytes of plaintext that the program could read, padded: standard input and files.
    pub input_bytes: u64,
    /// Bytes of plaintext that it wrote, padded: standard output, standard error and files.
    pub output_bytes: u64,
    /// The finalized block at which the enclave saw the assignment.
    pub block_number: u32,
    /// Its hash.
    pub block_hash: Hash,
}

impl Receipt {
    /// The bytes that the enclave signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        (b"phala/receipt/v1", self).encode()
    }
}

/// A receipt with its enclave's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SignedReceipt {
    /// What is signed.
    pub receipt: Receipt,
    /// Ed25519, by `receipt.worker`, over [`Receipt::signed_bytes`].
    pub signature: [u8; 64],
}
