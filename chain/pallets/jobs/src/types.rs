use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use phala_primitives::{Hash, JobId};
use scale_info::TypeInfo;

/// What draws workers.
pub trait Lots<BlockNumber> {
    /// What draws, in the present block, for a job that waits since block `since`. Before the present block's parent,
    /// nobody but its author knew it; and in block `since` nobody at all, where the network has a source of that kind.
    /// `None` while there is nothing, as in block `since` itself. Where there are lots for a block, there are for each
    /// earlier one.
    fn after(since: BlockNumber) -> Option<Hash>;

    /// Casts lots for jobs that wait since block `since`.
    #[cfg(feature = "runtime-benchmarks")]
    fn cast(since: BlockNumber);
}

/// A queued job in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Entry<BlockNumber> {
    /// The job.
    pub job: JobId,
    /// The block since which it waits for lots: in which it was queued, or last looked at in vain.
    pub since: BlockNumber,
}

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
