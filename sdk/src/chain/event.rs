use phala_primitives::{AppId, JobId, Outcome, WorkerId, units::Balance};

use super::{Config, api};
use crate::Account;

/// What a block or a transaction brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something happened to a job.
    Job(JobEvent),
    /// Anything else.
    Other {
        /// The pallet.
        pallet: String,
        /// The event's name.
        name: String,
    },
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// It was submitted and waits for a worker.
    Submitted {
        /// The job.
        job: JobId,
        /// Who pays.
        owner: Account,
        /// The app.
        app: AppId,
    },
    /// A worker got it.
    Assigned {
        /// The job.
        job: JobId,
        /// The worker.
        worker: WorkerId,
        /// 1 for the first assignment.
        attempt: u32,
    },
    /// Its worker lost it; another will get it.
    Requeued {
        /// The job.
        job: JobId,
        /// The worker that had it.
        worker: WorkerId,
        /// Why, by the runtime's name for it.
        reason: String,
    },
    /// A receipt settled it.
    Settled {
        /// The job.
        job: JobId,
        /// Who ran it.
        worker: WorkerId,
        /// How it ended.
        outcome: Outcome,
        /// Fuel used.
        fuel: u64,
        /// What the operator got.
        paid: Balance,
        /// What the treasury got.
        treasury: Balance,
        /// What the owner got back.
        refund: Balance,
    },
    /// Its owner cancelled it.
    Cancelled {
        /// The job.
        job: JobId,
    },
    /// Its deadline passed.
    Expired {
        /// The job.
        job: JobId,
    },
}

impl Event {
    pub(crate) fn decode(event: &subxt::events::Event<'_, Config>) -> Self {
        use api::jobs::events as jobs;
        macro_rules! decode {
            ($($ty:ident => $map:expr),* $(,)?) => {
                $(if let Some(Ok(decoded)) = event.decode_fields_as::<jobs::$ty>() {
                    let map: fn(jobs::$ty) -> JobEvent = $map;
                    return Self::Job(map(decoded));
                })*
            };
        }
        decode! {
            Submitted => |e| JobEvent::Submitted { job: e.job, owner: Account(e.owner.0), app: e.app.0 },
            Assigned => |e| JobEvent::Assigned { job: e.job, worker: e.worker.0, attempt: e.attempt },
            Requeued => |e| JobEvent::Requeued { job: e.job, worker: e.worker.0, reason: format!("{:?}", e.reason) },
            Settled => |e| JobEvent::Settled {
                job: e.job,
                worker: e.worker.0,
                outcome: e.outcome.0,
                fuel: e.fuel,
                paid: e.paid,
                treasury: e.treasury,
                refund: e.refund,
            },
            Cancelled => |e| JobEvent::Cancelled { job: e.job },
            Expired => |e| JobEvent::Expired { job: e.job },
        }
        Self::Other { pallet: event.pallet_name().into(), name: event.event_name().into() }
    }
}
