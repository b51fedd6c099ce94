//! What is exposed if a class of enclaves is broken.
//!
//! Whoever was given a job could read all of it: its program, its input and its output. The chain keeps who that was, and on what
//! image, platform and family it ran then, for as long as it keeps the job; what becomes of the worker later changes
//! nothing of that.
//!
//! As long as it had the job, it could also ask the gatekeepers for the app's keys of all epochs that were in use: whoever has those can
//! read what else was encrypted to the app in these epochs, files and the inputs of other jobs.

use std::collections::BTreeMap;

use phala_primitives::{AppId, JobId, WorkerId, attestation::Class, gatekeeper::EpochId, job::JobStatus};

use crate::{
    Account,
    chain::{ChainError, Epoch, Job, State},
};

/// One time that a job was given to a worker of the class.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Exposed {
    /// The job.
    pub job: JobId,
    /// What it ran.
    pub app: AppId,
    /// Whose it was.
    pub owner: Account,
    /// Who had it.
    pub worker: WorkerId,
    /// The block in which it got it.
    pub since: u32,
    /// The block by which it had it no more; `None` while it has it.
    pub until: Option<u32>,
    /// The epochs whose key of the app it could ask for, ascending; none on a network without gatekeepers. Of epochs that ended long ago,
    /// the chain does not know any more when they were: 1024 are known.
    pub epochs: Vec<EpochId>,
}

/// Every time that a job was given to a worker of `class`, by number of the job: of all jobs that the chain still keeps.
///
/// # Errors
/// See [`ChainError`].
pub async fn exposure(state: &State, class: Class) -> Result<Vec<Exposed>, ChainError> {
    let mut exposed = Vec::new();
    let jobs: BTreeMap<_, _> = state.jobs().await?.into_iter().collect();
    let known = state.epochs().await?;
    for (job, holders) in state.holders().await? {
        let Some(record) = jobs.get(&job) else { return Err(ChainError::Malformed("job")) };
        for (turn, holder) in holders.iter().enumerate() {
            if !holder.classes().contains(&class) {
                continue;
            }
            let next = holders.get(turn.saturating_add(1)).map(|next| next.since);
            let until = next.or_else(|| ended_at(record));
            exposed.push(Exposed {
                job,
                app: record.app,
                owner: record.owner,
                worker: holder.worker,
                since: holder.since,
                until,
                epochs: in_use(&known, holder.since, until),
            });
        }
    }
    Ok(exposed)
}

/// In which block a job ended.
fn ended_at(job: &Job) -> Option<u32> {
    match &job.status {
        JobStatus::Queued | JobStatus::Assigned(_) => None,
        JobStatus::Settled(settlement) => Some(settlement.at),
        JobStatus::Cancelled { at } | JobStatus::Expired { at } => Some(*at),
    }
}

/// The epochs that were in use, or in their grace period, in some block from `since` to `until`.
fn in_use(epochs: &[(EpochId, Epoch)], since: u32, until: Option<u32>) -> Vec<EpochId> {
    let was =
        |epoch: &Epoch| until.is_none_or(|until| epoch.started <= until) && epoch.ends.is_none_or(|ends| ends >= since);
    epochs.iter().filter(|(_, epoch)| was(epoch)).map(|(id, _)| *id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_count_that_were_in_use_at_some_time() {
        let epoch = |started, ends| Epoch { started, ends };
        let epochs = [(4, epoch(10, Some(25))), (5, epoch(20, Some(35))), (6, epoch(30, None))];
        for (since, until, expected) in [
            (1, Some(9), vec![]),
            (1, Some(10), vec![4]),
            (10, Some(19), vec![4]),
            (19, Some(20), vec![4, 5]),
            (25, Some(29), vec![4, 5]),
            (26, Some(26), vec![5]),
            (25, Some(30), vec![4, 5, 6]),
            (36, Some(40), vec![6]),
            (19, None, vec![4, 5, 6]),
            (36, None, vec![6]),
        ] {
            assert_eq!(in_use(&epochs, since, until), expected, "{since} to {until:?}");
        }
        assert!(in_use(&[], 1, None).is_empty());
    }
}
