use futures::future::BoxFuture;
use phala_attestation::Role;
use phala_enclave::{
    Claimant, Duty, DutySource, SealingKey,
    host::refusal,
    text::{Public, text},
};
use phala_engine::{Engine, SetupError};
use phala_primitives::worker::{MAX_CAPACITY, Performance};
use phala_protocol::{EnclaveReply, EnclaveStatus, HostNotice, HostRequest, Refusal, StartRole};
use std::{fmt, sync::Arc};

use crate::{
    InputError,
    jobs::{Context, Jobs},
    programs::Programs,
    sealing,
};

/// The duty of a worker, on an engine that is set up by `engine`, but for its capacity: that comes with the host's start.
#[derive(Default)]
pub struct Worker {
    engine: phala_engine::Config,
    claim: sealing::Kept,
}

impl Worker {
    /// With an engine that is set up by `engine`.
    pub fn new(engine: phala_engine::Config) -> Self {
        Self { engine, claim: sealing::Kept::default() }
    }
}

/// Fixed sentences.
impl Public for InputError {}

/// The words of the set-up of the engine, which never gets anything of a user's.
struct SetupFailed(SetupError);

impl Public for SetupFailed {}

impl fmt::Display for SetupFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl DutySource for Worker {
    fn role(&self) -> Role {
        Role::Worker
    }

    fn check(&self, role: &StartRole) -> Result<(), Refusal> {
        capacity(role).map(drop)
    }

    fn sealing_key(&self, claimant: Claimant) -> BoxFuture<'_, Result<Option<SealingKey>, Refusal>> {
        Box::pin(async move { sealing::sealing_key(&claimant, &self.claim).await })
    }

    fn take_up(
        &self,
        enclave: phala_enclave::Context,
        role: &StartRole,
    ) -> BoxFuture<'_, Result<Arc<dyn Duty>, Refusal>> {
        let capacity = capacity(role);
        Box::pin(async move {
            let capacity = capacity?;
            // One place more than jobs: for the benchmark.
            let config = phala_engine::Config { capacity: capacity.saturating_add(1), ..self.engine.clone() };
            let engine = Engine::new(config).map_err(|error| refusal(false, text!(SetupFailed(error))))?;
            let phala_enclave::Context { tee, host, tasks, keys, .. } = &enclave;
            let programs = Programs::new(engine.clone(), host.clone(), tee.clone(), tasks.clone(), keys.clone());
            let context = Arc::new(Context { enclave, engine, programs });
            let jobs = Jobs::new(context.clone(), capacity);
            Ok(Arc::new(Running { context, jobs, capacity, performance: futures::lock::Mutex::new(None) })
                as Arc<dyn Duty>)
        })
    }
}

/// How many jobs run at once.
fn capacity(role: &StartRole) -> Result<u32, Refusal> {
    match role {
        StartRole::Worker { capacity } if (1..=MAX_CAPACITY).contains(capacity) => Ok(*capacity),
        StartRole::Worker { .. } => {
            Err(refusal(false, text!("the capacity must be between 1 and ", MAX_CAPACITY, " jobs")))
        }
        StartRole::Gatekeeper => {
            Err(refusal(false, "this enclave is a worker's; start the gatekeeper's enclave with this host"))
        }
    }
}

/// A worker that has taken up its duty.
struct Running {
    context: Arc<Context>,
    jobs: Arc<Jobs>,
    capacity: u32,
    /// Measured once.
    performance: futures::lock::Mutex<Option<Performance>>,
}

impl Running {
    async fn measured(&self) -> Result<Performance, Refusal> {
        let mut measured = self.performance.lock().await;
        if let Some(performance) = *measured {
            return Ok(performance);
        }
        let (engine, tee) = (self.context.engine.clone(), self.context.tee.clone());
        let measure = move || phala_engine::benchmark(&engine, &|| tee.now());
        let fuel_per_second = self.context.tasks.blocking("benchmark", measure).await.unwrap_or(0);
        if fuel_per_second == 0 {
            return Err(refusal(true, "the enclave could not measure its performance"));
        }
        let performance = Performance { fuel_per_second, capacity: self.capacity };
        *measured = Some(performance);
        Ok(performance)
    }
}

impl Duty for Running {
    fn resume(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.jobs.announce_ended())
    }

    fn performance(&self) -> BoxFuture<'_, Result<Option<Performance>, Refusal>> {
        Box::pin(async { self.measured().await.map(Some) })
    }

    fn answer(&self, request: HostRequest) -> BoxFuture<'_, Result<EnclaveReply, Refusal>> {
        Box::pin(async move {
            match request {
                HostRequest::StartJob { job, attempt, input } => {
                    let blobs = self.jobs.start(job, attempt, input).await?;
                    Ok(EnclaveReply::JobAccepted { blobs })
                }
                _ => Err(refusal(false, "this enclave is a worker's, and this request is not for a worker")),
            }
        })
    }

    fn told(&self, _notice: HostNotice) -> BoxFuture<'_, ()> {
        // All there are are for gatekeepers.
        Box::pin(async {})
    }

    fn report(&self, status: &mut EnclaveStatus) {
        let counts = self.jobs.counts();
        let (compile_cache_hits, compile_cache_misses) = self.context.programs.counts();
        *status = EnclaveStatus {
            running_jobs: counts.running,
            queued_jobs: counts.queued,
            ended_jobs: counts.ended,
            compile_cache_hits,
            compile_cache_misses,
            ..status.clone()
        };
    }
}
