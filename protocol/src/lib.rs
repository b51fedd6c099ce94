//! The protocol between an enclave and its host: SCALE messages in length-prefixed frames over a byte stream.
//!
//! The two sides are peers: each may send [`Message::Request`]s, which the other answers in any order with the same
//! id, and [`Message::Notice`]s, which have no answer. The first message on a connection is a [`Hello`] from
//! each side; a side that meets an unknown version hangs up. A connection that breaks is made anew by the enclave,
//! and every request without an answer is lost: whoever still wants one asks again.
//!
//! [`wire`] reads and writes frames. Everything here is attacker-controlled for the enclave: lengths are
//! bounded before anything is allocated.

mod message;
pub mod wire;

use phala_primitives::{Hash, JobId};

pub use message::{
    Attestation, ConnectionId, EnclaveMessage, EnclaveNotice, EnclaveReply, EnclaveRequest, EnclaveStatus,
    GatekeeperStatus, Hello, HostMessage, HostNotice, HostReply, HostRequest, JobState, LogLevel, Message, Pause,
    Refusal, Registration, Start, StartRole, Submission,
};

/// The version of this protocol. Both sides must have the same.
pub const VERSION: u16 = 5;

/// The largest frame, in bytes, without its length prefix.
pub const MAX_FRAME_BYTES: u32 = 8 * 1024 * 1024;

/// The most bytes of a blob, an output or a network stream in one message.
pub const MAX_CHUNK_BYTES: u32 = 1024 * 1024;

/// The largest sealed blob, in bytes.
pub const MAX_SEALED_BYTES: u32 = 4 * 1024 * 1024;

/// The name under which the enclave seals the receipt of a job. Once the chain has decided about the job, the host may
/// remove it.
pub fn sealed_receipt_name(genesis_hash: &Hash, job: JobId) -> String {
    let genesis: String = genesis_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("job-{genesis}-{job}")
}
