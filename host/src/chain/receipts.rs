//! Receipts on their way to the chain.
//!
//! A receipt is on disk before anything else happens to it. It is submitted until a *finalized* block shows that the
//! job is settled, or that the chain does not want this receipt any more: another attempt, another worker, cancelled,
//! expired. What the chain says decides; errors of a submission only make the host wait longer before the next.

use std::{collections::BTreeMap, sync::Arc};

use codec::Encode;
use phala_primitives::{
    JobId, SignedReceipt,
    job::{JobStatus, Settlement},
};
use sha2::{Digest, Sha256};
use tokio::{sync::watch, task::JoinSet};

use super::{At, Backoff, Heads, Job, Node, NodeError, Submission, submit};
use crate::{
    blocking,
    jobs::{Jobs, ReceiptState},
    metrics::Metrics,
    store::Store,
};

/// The most submissions under way.
const CONCURRENT: usize = 32;

/// The longest pause between two submissions of a receipt, in blocks.
const MAX_PAUSE: u32 = 32;

/// How many finalized blocks a job may be unknown to the node before its receipt is given up: the node would
/// have to lag behind the enclave's light client by as much.
const UNKNOWN_JOB_BLOCKS: u32 = 2000;

/// See the module.
pub struct Receipts {
    node: Arc<dyn Node>,
    store: Arc<Store>,
    jobs: Arc<Jobs>,
    metrics: Arc<Metrics>,
    submits: bool,
    pauses: BTreeMap<Key, Pause>,
    under_way: JoinSet<(Key, bool)>,
}

/// A receipt: its job and attempt.
type Key = (JobId, u32);

/// When to look at a receipt again.
struct Pause {
    /// Not before this best block; `None` while it is being submitted.
    until: Option<u32>,
    backoff: Backoff,
}

/// What to do with a receipt, according to one state of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// The chain waits for it.
    Submit,
    /// Nothing can be said yet.
    Wait,
    /// Its fate is decided.
    Close(ReceiptState),
}

impl Receipts {
    /// Nothing is done before [`Self::run`]. Unless it `submits`, it only watches for receipts that others bring.
    pub fn new(node: Arc<dyn Node>, store: Arc<Store>, jobs: Arc<Jobs>, metrics: Arc<Metrics>, submits: bool) -> Self {
        Self { node, store, jobs, metrics, submits, pauses: BTreeMap::new(), under_way: JoinSet::new() }
    }

    /// Works on every new block and every new receipt until `stop`; then submissions that are under way may end. What is
    /// cut off is on disk, and goes on after the next start.
    pub async fn run(mut self, mut heads: watch::Receiver<Option<Heads>>, stop: impl Future<Output = ()>) {
        let jobs = self.jobs.clone();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                changed = heads.changed() => if changed.is_err() { break },
                () = jobs.receipt_added() => {}
                Some(done) = self.under_way.join_next() => match done {
                    Ok((key, succeeded)) => self.submitted(key, succeeded, *heads.borrow()),
                    Err(error) => tracing::error!(%error, "a submission's task failed"),
                },
            }
            let now = *heads.borrow_and_update();
            if let Some(heads) = now {
                self.step(heads).await;
            }
        }
        while self.under_way.join_next().await.is_some() {}
    }

    /// Looks at every open receipt whose pause is over.
    pub(super) async fn step(&mut self, heads: Heads) {
        let open = self.jobs.open_receipts();
        self.pauses.retain(|key, _| open.binary_search(key).is_ok());
        for key in open {
            let due = self.pauses.get(&key).is_none_or(|pause| pause.until.is_some_and(|until| heads.best >= until));
            if !due || self.under_way.len() >= CONCURRENT {
                continue;
            }
            if let Err(error) = self.consider(key, heads).await {
                tracing::debug!(job = key.0, %error, "cannot read the chain about a receipt");
                return;
            }
        }
    }

    async fn consider(&mut self, key: Key, heads: Heads) -> Result<(), NodeError> {
        let (job, attempt) = key;
        let store = self.store.clone();
        let receipt = match blocking::run(move || store.load_receipt(job)).await {
            Ok(Some(receipt)) if receipt.receipt.attempt == attempt => receipt,
            // A later attempt's has come meanwhile, which is looked at by itself.
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {
                let reason = "the receipt is not on disk any more".into();
                self.close(key, ReceiptState::Abandoned { reason }).await;
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(job, attempt, %error, "cannot read a receipt");
                return Ok(());
            }
        };
        let finalized = advise(self.node.job(job, At::Finalized).await?.as_ref(), &receipt);
        let lost = heads.finalized > receipt.receipt.block_number.saturating_add(UNKNOWN_JOB_BLOCKS);
        match finalized {
            Advice::Close(state) => self.close(key, state).await,
            Advice::Wait if lost && self.node.job(job, At::Best).await?.is_none() => {
                self.close(key, ReceiptState::Abandoned { reason: "the chain does not know the job".into() }).await;
            }
            Advice::Submit | Advice::Wait => {
                let best = advise(self.node.job(job, At::Best).await?.as_ref(), &receipt);
                if best == Advice::Submit && self.submits {
                    self.submit(key, receipt);
                }
            }
        }
        Ok(())
    }

    fn submit(&mut self, key: Key, receipt: SignedReceipt) {
        self.pauses.entry(key).or_insert(Pause { until: None, backoff: Backoff::default() }).until = None;
        let (node, metrics) = (self.node.clone(), self.metrics.clone());
        self.under_way.spawn(async move {
            let result = submit(&*node, &metrics, Submission::Receipt(Box::new(receipt))).await;
            if let Ok(block) = result {
                tracing::info!(job = key.0, block, "a receipt is in a block");
            }
            (key, result.is_ok())
        });
    }

    fn submitted(&mut self, key: Key, succeeded: bool, heads: Option<Heads>) {
        let Some(pause) = self.pauses.get_mut(&key) else { return };
        let blocks = if succeeded {
            pause.backoff.succeeded();
            // The chain is only asked whether the block was finalized.
            1
        } else {
            pause.backoff.failed(MAX_PAUSE)
        };
        pause.until = Some(heads.map_or(0, |heads| heads.best.saturating_add(blocks)));
    }

    async fn close(&mut self, key: Key, state: ReceiptState) {
        let (job, attempt) = key;
        match &state {
            ReceiptState::Settled { block } => tracing::info!(job, block, "the chain settled a job with our receipt"),
            ReceiptState::Abandoned { reason } => tracing::warn!(job, reason, "a receipt is given up"),
            ReceiptState::Open => {}
        }
        let jobs = self.jobs.clone();
        match blocking::run(move || jobs.close_receipt(job, attempt, state)).await {
            Ok(()) => drop(self.pauses.remove(&key)),
            Err(error) => tracing::error!(job, %error, "could not record a receipt's fate; trying again"),
        }
    }

    /// Waits for the submissions that are under way.
    #[cfg(test)]
    pub(super) async fn settle(&mut self, heads: Heads) {
        while let Some(done) = self.under_way.join_next().await {
            let (key, succeeded) = done.unwrap();
            self.submitted(key, succeeded, Some(heads));
        }
    }
}

/// What one state of the chain says about a receipt.
pub(super) fn advise(job: Option<&Job>, signed: &SignedReceipt) -> Advice {
    let receipt = &signed.receipt;
    let abandon = |reason: &str| Advice::Close(ReceiptState::Abandoned { reason: reason.into() });
    let Some(job) = job else { return Advice::Wait };
    match &job.status {
        JobStatus::Settled(settlement) if is_ours(settlement, signed) => {
            Advice::Close(ReceiptState::Settled { block: settlement.at })
        }
        JobStatus::Settled(_) => abandon("another receipt settled the job"),
        JobStatus::Cancelled { .. } => abandon("the job was cancelled"),
        JobStatus::Expired { .. } => abandon("the job expired"),
        // The node lags behind the enclave's light client.
        _ if job.attempts < receipt.attempt => Advice::Wait,
        JobStatus::Assigned(assignment) if job.attempts == receipt.attempt && assignment.worker == receipt.worker => {
            Advice::Submit
        }
        JobStatus::Assigned(_) | JobStatus::Queued => {
            abandon("the job was taken away from this worker: it was too late")
        }
    }
}

fn is_ours<AccountId, BlockNumber>(settlement: &Settlement<AccountId, BlockNumber>, signed: &SignedReceipt) -> bool {
    let hash: [u8; 32] = Sha256::digest(signed.encode()).into();
    settlement.worker == signed.receipt.worker && settlement.receipt_hash == hash
}
