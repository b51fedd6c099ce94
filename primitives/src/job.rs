//! What a user asks for, and how a job ends.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::fmt;
use scale_info::TypeInfo;
use sha2::{Digest, Sha256};

use phala_attestation::{Family, Measurement, PlatformId};

use crate::{AppId, Balance, Hash, WorkerId, attestation::Class};

/// The largest program that can be published, in bytes.
pub const MAX_CODE_BYTES: u32 = 64 * 1024 * 1024;

/// What a job may use at most. Reaching a limit ends the job with that limit's [`FailureReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize))]
pub struct Limits {
    /// Fuel: about one for each WASM instruction, and one for each byte read or written through WASI.
    pub fuel: u64,
    /// Linear memory of the program, in bytes.
    pub memory_bytes: u64,
    /// Time the program may run, in milliseconds.
    pub wall_ms: u64,
    /// Standard output, standard error and output files together, in bytes.
    pub output_bytes: u64,
}

impl Limits {
    /// What the CLI and SDK ask for when the user says nothing.
    pub const DEFAULT: Self = Self {
        fuel: 100_000_000_000,
        memory_bytes: 256 * 1024 * 1024,
        wall_ms: 60_000,
        output_bytes: 16 * 1024 * 1024,
    };

    /// The most that any worker accepts.
    pub const MAX: Self = Self {
        fuel: 100_000_000_000_000,
        memory_bytes: 4 * 1024 * 1024 * 1024,
        wall_ms: 24 * 60 * 60 * 1000,
        output_bytes: 64 * 1024 * 1024,
    };

    /// Whether each limit is at least one and at most [`Limits::MAX`].
    pub fn is_valid(&self) -> bool {
        let within = |value: u64, max: u64| (1..=max).contains(&value);
        within(self.fuel, Self::MAX.fuel)
            && within(self.memory_bytes, Self::MAX.memory_bytes)
            && within(self.wall_ms, Self::MAX.wall_ms)
            && within(self.output_bytes, Self::MAX.output_bytes)
    }
}

/// How a job that ran came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Outcome {
    /// The program ended by itself.
    Completed {
        /// Its exit code: 0 for success.
        exit_code: u8,
    },
    /// The program did not end by itself, or never started. Fuel used until then is paid.
    Failed(FailureReason),
}

/// Why a job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum FailureReason {
    /// The program used all its fuel.
    FuelExhausted,
    /// The program asked for more memory than its limit.
    MemoryExhausted,
    /// The program ran longer than its limit.
    WallTimeExceeded,
    /// The program wrote more than its limit.
    OutputTooLarge,
    /// The program trapped (`unreachable`, out-of-bounds access, stack overflow, …).
    Trap,
    /// The code is no `wasi:cli/command` component and no WASI preview 1 command module, or it imports what no
    /// job has.
    InvalidProgram,
    /// The code does not have the hash that the app was published with.
    CodeMismatch,
    /// The input could not be decrypted, or does not belong to this job.
    InvalidInput,
}

impl FailureReason {
    /// What happened, and what to do about it.
    pub fn description(self) -> &'static str {
        match self {
            Self::FuelExhausted => "the program used all its fuel; raise the fuel limit",
            Self::MemoryExhausted => "the program asked for more memory than its limit; raise the memory limit",
            Self::WallTimeExceeded => "the program ran longer than its wall time limit; raise it",
            Self::OutputTooLarge => "the program wrote more than its output limit; raise it",
            Self::Trap => "the program trapped; its standard error may say why",
            Self::InvalidProgram => {
                "the program is neither a wasi:cli/command component nor a WASI preview 1 command module, or \
                 imports what jobs do not have"
            }
            Self::CodeMismatch => "the uploaded code is not the code that the app was published with",
            Self::InvalidInput => "the input could not be decrypted by the worker, or belongs to another job",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

/// Who may run an app, and how its code travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Visibility {
    /// Anyone may run it; workers get the code in the clear.
    Public,
    /// Only its publisher may run it; workers get the code encrypted, and only an enclave sees it.
    Private,
}

/// A published app, as the chain stores it under its [`AppId`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct App<AccountId> {
    /// Who published it.
    pub publisher: AccountId,
    /// SHA-256 of the program.
    pub code_hash: Hash,
    /// Length of the program in bytes.
    pub code_bytes: u32,
    /// SHA-256 of the manifest.
    pub manifest_hash: Hash,
    /// Who may run it.
    pub visibility: Visibility,
    /// Whether its publisher has taken it back: it gets no more jobs, and is gone when those that live have ended.
    pub retired: bool,
}

/// A job, as the chain stores it under its [`JobId`](crate::JobId).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Job<AccountId, BlockNumber> {
    /// Who submitted it and pays.
    pub owner: AccountId,
    /// The app to run.
    pub app: AppId,
    /// What it may use at most.
    pub limits: Limits,
    /// The most that the owner pays, in escrow until the job ends.
    pub max_price: Balance,
    /// The last block in which a receipt is accepted.
    pub deadline: BlockNumber,
    /// How many workers run it: always 1 until redundant execution exists.
    pub redundancy: u8,
    /// [`secret_commitment`] of the job's secret.
    pub secret_commitment: Hash,
    /// The block of its submission.
    pub submitted_at: BlockNumber,
    /// That block's timestamp in milliseconds since the Unix epoch: what the program sees as the current time.
    pub submitted_at_ms: u64,
    /// How often it has been assigned to a worker.
    pub attempts: u32,
    /// Where it stands.
    pub status: JobStatus<AccountId, BlockNumber>,
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum JobStatus<AccountId, BlockNumber> {
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Assigned(Assignment<BlockNumber>),
    /// A receipt settled it.
    Settled(Settlement<AccountId, BlockNumber>),
    /// The owner cancelled it while it was queued; the whole escrow was returned.
    Cancelled {
        /// In which block.
        at: BlockNumber,
    },
    /// No worker ended it by its deadline, or could any more, or too many lost it; the whole escrow was returned.
    Expired {
        /// In which block.
        at: BlockNumber,
    },
}

/// A worker's duty to run a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Assignment<BlockNumber> {
    /// The worker.
    pub worker: WorkerId,
    /// The worker's price at the time, per [10⁹ fuel](crate::units::FUEL_PER_PRICE_UNIT).
    pub price: Balance,
    /// In which block.
    pub assigned_at: BlockNumber,
    /// The last block in which this worker's receipt is accepted; then the job goes to another.
    pub due: BlockNumber,
}

/// Who was given a job's secrets by an assignment, and on what it ran then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Holder<BlockNumber> {
    /// The worker.
    pub worker: WorkerId,
    /// Its image.
    pub measurement: Measurement,
    /// Its platform.
    pub platform: PlatformId,
    /// The platform's family.
    pub family: Family,
    /// The block of the assignment.
    pub since: BlockNumber,
}

impl<BlockNumber> Holder<BlockNumber> {
    /// The classes that it was of.
    pub fn classes(&self) -> [Class; 3] {
        Class::all_of(self.measurement, self.platform, self.family)
    }
}

/// How a job was paid.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Settlement<AccountId, BlockNumber> {
    /// Who ran it.
    pub worker: WorkerId,
    /// Who was paid for it.
    pub operator: AccountId,
    /// How it ended.
    pub outcome: Outcome,
    /// Fuel used.
    pub fuel: u64,
    /// What the operator got.
    pub paid: Balance,
    /// What the treasury got.
    pub treasury: Balance,
    /// What went back to the owner.
    pub refund: Balance,
    /// See [`Receipt::input_hash`](crate::Receipt::input_hash).
    pub input_hash: Hash,
    /// See [`Receipt::output_hash`](crate::Receipt::output_hash).
    pub output_hash: Hash,
    /// SHA-256 of the SCALE encoding of the [`SignedReceipt`](crate::SignedReceipt).
    pub receipt_hash: Hash,
    /// In which block.
    pub at: BlockNumber,
}

/// What a job's submission carries of its secret: whoever knows the secret may start the job, nobody else.
///
/// SHA-256 over a domain separator and the job secret; see [`crate::input`].
pub fn secret_commitment(secret: &Hash) -> Hash {
    Sha256::new().chain_update(b"phala/job-secret/v1").chain_update(secret).finalize().into()
}
