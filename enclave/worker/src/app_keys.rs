//! What is encrypted to an app, and the app's keys that open it.
//!
//! A user who does not know which worker will have a job encrypts to the app, under the key of an epoch
//! ([`phala_app_encryption`]). Nobody has the app's key of that epoch: the gatekeepers make it together, for a worker that the chain
//! gave a job of the app. Whether it did, each of them sees for itself; the host carries requests and answers, and cannot read or
//! change them.
//!
//! # Invariants
//! - A key is asked for only when a file of the job needs it, and lives as long as the job: a worker that is broken tomorrow has no
//!   keys of yesterday's apps.
//! - Only parts that verify against the chain's sharing are put together, and what comes out verifies against its public key.
//! - Gatekeepers that do not answer refuse the job, and say nothing of its files; nor does it when the time of a file's epoch is over, which
//!   a host may have waited for. A file in an epoch that the chain has not come to is the user's fault.
//! - A job input opens as nothing but a job input, and a file as nothing but a file ([`Purpose`]): nobody reads another's job input
//!   by naming it as a file of his own job.

use age::{DecryptError, x25519};
use age_core::format::{FileKey, Stanza};
use phala_app_encryption::{AppIdentity, Purpose, Target};
use phala_keys::AppKey;
use phala_primitives::{
    AppId, JobId,
    gatekeeper::{APP_KEY_VERSION, EpochId, KeyRequest, NetworkKey},
    input::MAX_EPOCHS,
};
use phala_protocol::{LogLevel, Refusal};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use phala_enclave::{
    chain::{Chain, no_finality, oldest_epoch_key, read},
    host::{lock, refusal},
    text::text,
};

use crate::{
    files::Opener,
    jobs::Context,
    parts::{self, Said},
};

/// The keys of a job's app, as far as the job needed them.
pub(crate) struct AppKeys {
    context: Arc<Context>,
    job: JobId,
    attempt: u32,
    app: AppId,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By epoch.
    identities: BTreeMap<EpochId, Arc<Identities>>,
    /// Epochs that the chain has not come to, as far as it was looked.
    future: BTreeSet<EpochId>,
    /// Why one could not be had, the last time.
    refusal: Option<Refusal>,
}

/// An app's key in an epoch, for both purposes.
struct Identities {
    job_input: AppIdentity,
    file: AppIdentity,
}

impl AppKeys {
    /// Those of an attempt at a job. Nobody is asked yet.
    pub(crate) fn new(context: Arc<Context>, job: JobId, attempt: u32, app: AppId) -> Arc<Self> {
        Arc::new(Self { context, job, attempt, app, known: Mutex::default() })
    }

    /// The key of an epoch; `None` if there is none. Waits for the gatekeepers, the first time.
    fn identities(&self, epoch: EpochId) -> Result<Option<Arc<Identities>>, Refusal> {
        {
            let known = lock(&self.known);
            if let Some(identities) = known.identities.get(&epoch) {
                return Ok(Some(identities.clone()));
            }
            if known.future.contains(&epoch) || known.future.len() >= MAX_EPOCHS || known.identities.len() >= MAX_EPOCHS
            {
                return Ok(None);
            }
        }
        let Some(key) = self.context.tasks.block_on(self.ask(epoch))? else {
            lock(&self.known).future.insert(epoch);
            return Ok(None);
        };
        let of = |purpose| key.inputs(purpose, epoch);
        let both = of(Purpose::JobInput).and_then(|job_input| Ok((job_input, of(Purpose::File)?)));
        let (job_input, file) = both.map_err(|_| refusal(true, "the app's key does not verify"))?;
        let identities = Arc::new(Identities { job_input, file });
        lock(&self.known).identities.insert(epoch, identities.clone());
        Ok(Some(identities))
    }

    /// Asks the gatekeepers. `None` for an epoch that the chain has not come to.
    async fn ask(&self, epoch: EpochId) -> Result<Option<AppKey>, Refusal> {
        let phala_enclave::Context { tee, host, keys, chain, .. } = &self.context.enclave;
        let block = chain.finalized().ok_or_else(no_finality)?;
        let key = NetworkKey::Epoch(epoch);
        let Some(sharing) = parts::sharing(&**chain, block.hash, key).await? else {
            let oldest = read::<EpochId>(&**chain, block.hash, oldest_epoch_key(), "epoch").await;
            if epoch < oldest.map_err(parts::unreadable)?.unwrap_or_default() {
                return Err(refusal(false, text!("the time of epoch ", epoch, " is over: encrypt anew")));
            }
            return Ok(None);
        };
        let request = KeyRequest {
            genesis_hash: chain.genesis_hash(),
            worker: keys.worker(),
            job: self.job,
            attempt: self.attempt,
            app: self.app,
            version: APP_KEY_VERSION,
            key,
            // Replaced by a fresh one.
            reply_key: [0; 32],
        };
        let request = parts::request(&**tee, request, keys.signing_key())?;
        let parts = parts::collect((&**tee, host), &sharing, &request).await?;
        let key = phala_keys::combine_app_key(&sharing, self.app, APP_KEY_VERSION, &parts);
        let key = key.map_err(|error| refusal(true, text!(Said(error))))?;
        let message = text!(
            "got the key of app ",
            self.app,
            " in epoch ",
            epoch,
            " from ",
            parts.len(),
            " gatekeepers, for job ",
            self.job
        );
        host.log(LogLevel::Info, message);
        Ok(Some(key))
    }
}

/// What opens the job input, or the files, of one job: an identity of its own, or its app's key.
pub(crate) struct JobOpener {
    own: x25519::Identity,
    purpose: Purpose,
    keys: Arc<AppKeys>,
}

impl JobOpener {
    /// `own` is the worker's identity for a job input, and that in the job input for files.
    pub(crate) fn new(own: x25519::Identity, purpose: Purpose, keys: Arc<AppKeys>) -> Self {
        Self { own, purpose, keys }
    }
}

impl age::Identity for JobOpener {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let target = match Target::of(stanza) {
            None => return self.own.unwrap_stanza(stanza),
            Some(Err(_)) => return Some(Err(DecryptError::InvalidHeader)),
            Some(Ok(target)) => target,
        };
        let ours = Target { purpose: self.purpose, epoch: target.epoch, app: self.keys.app, version: APP_KEY_VERSION };
        if target != ours {
            return None;
        }
        let identities = self.keys.identities(target.epoch);
        let identities = match (identities, self.purpose) {
            // The user's node may be ahead of this enclave.
            (Ok(None), Purpose::JobInput) => Err(refusal(
                true,
                text!("the chain has not come to epoch ", target.epoch, " as far as it is known here"),
            )),
            (identities, _) => identities,
        };
        match identities {
            Ok(identities) => {
                let identities = identities?;
                let identity = match self.purpose {
                    Purpose::JobInput => &identities.job_input,
                    Purpose::File => &identities.file,
                };
                identity.unwrap_stanza(stanza)
            }
            Err(refusal) => {
                lock(&self.keys.known).refusal = Some(refusal);
                Some(Err(DecryptError::KeyDecryptionFailed))
            }
        }
    }
}

impl Opener for JobOpener {
    fn refusal(&self) -> Option<Refusal> {
        lock(&self.keys.known).refusal.take()
    }
}
