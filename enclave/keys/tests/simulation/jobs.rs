//! What the chain says of jobs: who has which, and whether its evidence is good. Who may have which app key follows from it.

use std::collections::BTreeMap;

use phala_keys::Facts;
use phala_primitives::{
    AppId, JobId, WorkerId,
    gatekeeper::{APP_KEY_VERSION, EpochId, KeyRequest, NetworkKey},
};

use super::board::{Finalized, GENESIS};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub app: AppId,
    /// How often it was assigned.
    pub attempt: u32,
    /// To whom it is assigned, and the last block of that.
    pub assignment: Option<(WorkerId, u32)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    pub jobs: BTreeMap<JobId, Job>,
    /// The block in which each worker's verdict ends.
    pub verdicts: BTreeMap<WorkerId, u32>,
}

impl Jobs {
    pub fn assign(&mut self, job: JobId, worker: WorkerId, due: u32) {
        let job = self.jobs.get_mut(&job).unwrap();
        job.attempt += 1;
        job.assignment = Some((worker, due));
    }
}

impl Finalized {
    /// What a gatekeeper reads for a request.
    pub fn facts(&self, request: &KeyRequest) -> Option<Facts> {
        let job = self.jobs.jobs.get(&request.job)?;
        let (worker, due) = job.assignment?;
        (self.block <= due).then_some(())?;
        let epochs: Vec<EpochId> = self.epochs().collect();
        Some(Facts {
            genesis_hash: GENESIS,
            now: self.block.into(),
            job: request.job,
            worker,
            attempt: job.attempt,
            app: job.app,
            version: APP_KEY_VERSION,
            verdict_expires: self.jobs.verdicts[&worker].into(),
            epochs: epochs.first().copied().zip(epochs.last().copied()),
        })
    }

    fn epochs(&self) -> impl Iterator<Item = EpochId> {
        self.view.sharings.keys().filter_map(|key| match key {
            NetworkKey::Root => None,
            NetworkKey::Epoch(epoch) => Some(*epoch),
        })
    }

    /// The jobs that run now, on workers whose evidence is good.
    pub fn running(&self) -> impl Iterator<Item = (WorkerId, JobId, &Job)> {
        self.jobs.jobs.iter().filter_map(|(id, job)| {
            let (worker, due) = job.assignment?;
            (self.block <= due && self.block < self.jobs.verdicts[&worker]).then_some((worker, *id, job))
        })
    }

    /// Who may have which keys of which apps now.
    pub fn granted(&self) -> impl Iterator<Item = (WorkerId, AppId, NetworkKey)> {
        self.running().flat_map(|(worker, _, job)| self.view.sharings.keys().map(move |key| (worker, job.app, *key)))
    }
}
