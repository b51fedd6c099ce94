//! Which jobs are exposed if a class of enclaves is broken.
//!
//! Whoever was given a job could read all of it: its program, its input and its output. The chain keeps who that was, and on what
//! image, platform and family it ran then, for as long as it keeps the job; what becomes of the worker later changes
//! nothing of that.

use std::collections::BTreeMap;

use phala_primitives::{AppId, JobId, WorkerId, attestation::Class};

use crate::{
    Account,
    chain::{ChainError, State},
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
}

/// Every time that a job was given to a worker of `class`, by number of the job: of all jobs that the chain still keeps.
///
/// # Errors
/// See [`ChainError`].
pub async fn exposure(state: &State, class: Class) -> Result<Vec<Exposed>, ChainError> {
    let mut exposed = Vec::new();
    let jobs: BTreeMap<_, _> = state.jobs().await?.into_iter().collect();
    for (job, mut holders) in state.holders().await? {
        holders.retain(|holder| holder.classes().contains(&class));
        let Some(record) = jobs.get(&job) else { return Err(ChainError::Malformed("job")) };
        exposed.extend(holders.iter().map(|holder| Exposed {
            job,
            app: record.app,
            owner: record.owner,
            worker: holder.worker,
            since: holder.since,
        }));
    }
    Ok(exposed)
}
