use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// Why a worker lost a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum RequeueReason {
    /// It sent no receipt in time.
    Overdue,
    /// It sent no heartbeats.
    WorkerUnresponsive,
}
