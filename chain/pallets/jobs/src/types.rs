use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// Why a worker lost a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum RequeueReason {
    /// It sent no receipt in time.
    Overdue,
    /// It sent no heartbeats.
    WorkerUnresponsive,
    /// Its image, platform or family was declared broken.
    WorkerCordoned,
}

/// What the hook does with a job next, and in which block.
pub(crate) enum Next<BlockNumber> {
    /// It looks at a live one: it may be overdue, or have no more time.
    Wake(BlockNumber),
    /// It forgets an ended one.
    Forget(BlockNumber),
}
