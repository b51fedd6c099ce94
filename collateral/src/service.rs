//! The service: fetches, plans and submits, step by step.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use futures::future::join_all;
use phala_attestation::{DocumentId, UnixSeconds};
use phala_primitives::attestation::KeptDocument;

use crate::{
    Backoff, Chain, ChainError, ChainState, Client, ClientError, Early, Failing, FetchError, Fetched, Freshness, Kept,
    Report, Request, Services, Source, Submitted, Update,
    cache::Cache,
    plan::{Newest, Times, ends_soon_from, plan},
    schedule::{Failures, Schedule},
    with_implied,
};

/// How a [`Service`] does its work.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the vendors' services are.
    pub services: Services,
    /// The folder in which the newest good documents are, for the time after a start and outages.
    pub cache: PathBuf,
    /// The documents that are wanted beside those that the chain keeps already, and what either implies.
    pub wanted: BTreeSet<DocumentId>,
    /// How long after a good answer a service is asked again, in seconds.
    pub period: u64,
    /// How long after failures.
    pub backoff: Backoff,
    /// How long before its end a document is replaced even for a fee, in seconds: at most a third of its life.
    pub margin: u64,
    /// How long a service has for a whole answer.
    pub patience: Duration,
}

impl Config {
    /// The vendors' services, and nothing wanted but what the chain keeps: asked each hour, for half a minute at most, with
    /// a margin of three days.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            services: Services::default(),
            cache: cache.into(),
            wanted: BTreeSet::new(),
            period: 60 * 60,
            backoff: Backoff::default(),
            margin: 3 * 24 * 60 * 60,
            patience: Duration::from_secs(30),
        }
    }
}

/// Why a service could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The cache's folder.
    #[error("the folder {0} cannot be used")]
    Cache(PathBuf, #[source] io::Error),
    /// The services.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Something that is tried, and may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    ReachChain,
    Reach(Source),
    Fetch(Request),
    Submit(Request),
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReachChain => formatter.write_str("reach the chain"),
            Self::Reach(source) => write!(formatter, "reach {source}"),
            Self::Fetch(request) => write!(formatter, "fetch {request}"),
            Self::Submit(request) => write!(formatter, "submit {request}"),
        }
    }
}

/// Keeps a chain's documents fresh.
#[derive(Debug)]
pub struct Service {
    config: Config,
    client: Client,
    cache: Cache,
    /// What was tried. Whatever is not in it is due.
    tasks: BTreeMap<Task, Schedule>,
}

impl Service {
    /// A service that has asked nobody yet.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let client = Client::new(config.services.clone(), config.patience)?;
        let cache = Cache::open(&config.cache).map_err(|error| OpenError::Cache(config.cache.clone(), error))?;
        Ok(Self { config, client, cache, tasks: BTreeMap::new() })
    }

    /// Does one step after the other, for ever, by the system's clock.
    pub async fn run(mut self, chain: impl Chain, mut report: impl FnMut(Report)) -> ! {
        loop {
            let step = self.step(&chain, unix_now()).await;
            let next = step.next;
            report(step);
            tokio::time::sleep(Duration::from_secs(next.saturating_sub(unix_now()).max(1))).await;
        }
    }

    /// Does all that is due at `now`. Documents are looked at by the chain's time, which may be another.
    pub async fn step(&mut self, chain: &impl Chain, now: UnixSeconds) -> Report {
        let mut report = Report { at: now, next: now.saturating_add(self.config.period), ..Report::default() };
        // Nothing waits longer, unless the clock was set back.
        let latest = now.saturating_add(self.config.period.max(self.config.backoff.most));
        self.tasks.retain(|_, schedule| schedule.due <= latest);
        match chain.state().await {
            Ok(state) => {
                self.tasks.remove(&Task::ReachChain);
                self.serve(chain, &state, now, &mut report).await;
            }
            Err(error) => self.failed(Task::ReachChain, now, &error),
        }
        for (task, Schedule { failures, .. }) in &self.tasks {
            let retry = self.due(*task);
            report.next = report.next.min(retry);
            report.failing.extend(failures.clone().map(|Failures { since, times, error }| Failing {
                task: task.to_string(),
                since,
                times,
                error,
                retry,
            }));
        }
        report
    }

    async fn serve(&mut self, chain: &impl Chain, state: &ChainState, now: UnixSeconds, report: &mut Report) {
        let kept = state.documents.keys().chain(state.early_documents.keys());
        let wanted = with_implied(self.config.wanted.iter().chain(kept).copied());
        self.tasks.retain(|task, _| match task {
            Task::ReachChain | Task::Reach(_) => true,
            Task::Fetch(request) | Task::Submit(request) => wanted.contains(&request.id),
        });
        let mut documents = self.fetch(&wanted, state, now, report).await;
        for id in wanted {
            let newest = Newest {
                standard: documents.remove(&Request::standard(id)),
                early: documents.remove(&Request::early(id)),
            };
            self.submit(chain, id, newest, state, now, report).await;
        }
    }

    /// The newest good documents, of those that are cached and those that are due and can be had.
    async fn fetch(
        &mut self,
        wanted: &BTreeSet<DocumentId>,
        state: &ChainState,
        now: UnixSeconds,
        report: &mut Report,
    ) -> BTreeMap<Request, KeptDocument> {
        let requests: Vec<Request> = wanted.iter().copied().flat_map(Request::all).collect();
        let load = |request: &Request| Some((*request, self.cache.load(*request, &state.policy, state.now)?));
        let mut documents: BTreeMap<Request, KeptDocument> = requests.iter().filter_map(load).collect();

        let mut due: BTreeMap<Source, Vec<Request>> = BTreeMap::new();
        for request in requests {
            if self.due(Task::Fetch(request)) <= now {
                due.entry(request.source()).or_default().push(request);
            }
        }
        let answers = join_all(due.into_values().map(|mut requests| {
            // The one that failed last comes last, so that it keeps no other from its turn.
            requests.sort_by_key(|request| self.tasks.get(&Task::Fetch(*request)).map(|schedule| schedule.due));
            ask(&self.client, requests, state)
        }))
        .await;
        for (request, answer) in answers.into_iter().flatten() {
            match answer {
                Ok(new) => {
                    self.tasks.remove(&Task::Reach(request.source()));
                    let next = now.saturating_add(self.config.period);
                    self.tasks.insert(Task::Fetch(request), Schedule::after_success(next));
                    let current = state.documents.get(&request.id);
                    let freshness = freshness(request, &new, documents.get(&request), current);
                    let (number, issued) = (new.number, new.issued);
                    report.fetched.push(Fetched { document: request, number, issued, freshness });
                    if freshness == Freshness::Newer {
                        tracing::info!(%request, number, "a newer document");
                        if let Err(error) = self.cache.store(request, &new.document) {
                            // It is good for this step, and fetched again for the next.
                            self.failed(Task::Fetch(request), now, &format_args!("it cannot be stored: {error}"));
                        }
                        documents.insert(request, new);
                    }
                }
                Err(error) => {
                    if error.is_outage() {
                        self.failed(Task::Reach(request.source()), now, &error);
                    }
                    self.failed(Task::Fetch(request), now, &error);
                }
            }
        }
        documents
    }

    /// Submits what is worth it, and looks at what the chain keeps then.
    async fn submit(
        &mut self,
        chain: &impl Chain,
        id: DocumentId,
        newest: Newest,
        state: &ChainState,
        now: UnixSeconds,
        report: &mut Report,
    ) {
        let request = Request::standard(id);
        let task = Task::Submit(request);
        let times = Times { now: state.now, early_period: state.early_period, margin: self.config.margin };
        let mut slot = state.slot(id);
        let plan = plan(id, &slot, newest, times);
        if plan.submit.is_empty() {
            self.tasks.remove(&task);
        }
        if let Some(then) = plan.look_again {
            report.next = report.next.min(now.saturating_add(then.saturating_sub(state.now)));
        }
        for new in plan.submit {
            if self.due(task) > now {
                break;
            }
            if let Err(error) = chain.submit_document(new.document.clone()).await {
                if matches!(error, ChainError::Unreachable(_)) {
                    self.failed(Task::ReachChain, now, &error);
                }
                self.failed(task, now, &error);
                // The next one may build on this one.
                break;
            }
            tracing::info!(%request, number = new.number, "submitted");
            self.tasks.remove(&task);
            report.submitted.push(Submitted { document: request, number: new.number, valid_until: new.valid_until });
            let _ = slot.keep(id, new, state.now, state.early_period);
        }
        match slot.counting(state.now, state.early_period) {
            None => report.missing.push(request),
            Some(counting) => {
                let ends_soon = state.now >= ends_soon_from(counting, self.config.margin);
                let KeptDocument { number, issued, valid_until, .. } = *counting;
                if ends_soon {
                    tracing::warn!(%request, valid_until, "the chain's document ends soon, and there is no newer one");
                }
                report.kept.push(Kept { document: request, number, issued, valid_until, ends_soon });
            }
        }
        report.early.extend(slot.early.map(|early| Early {
            document: request,
            number: early.kept.number,
            counts_from: early.since.saturating_add(state.early_period),
        }));
    }

    /// When a task is due: not before what it takes.
    fn due(&self, task: Task) -> UnixSeconds {
        let own = self.tasks.get(&task).map_or(0, |schedule| schedule.due);
        own.max(match task {
            Task::ReachChain => 0,
            Task::Reach(_) | Task::Submit(_) => self.due(Task::ReachChain),
            Task::Fetch(request) => self.due(Task::Reach(request.source())),
        })
    }

    fn failed(&mut self, task: Task, now: UnixSeconds, error: &dyn fmt::Display) {
        tracing::warn!(%task, %error, "failed");
        self.tasks.entry(task).or_default().fail(now, self.config.backoff, error.to_string());
    }
}

/// How new an answer is beside the cached document, if there is one, and the chain's current one.
fn freshness(
    request: Request,
    new: &KeptDocument,
    cached: Option<&KeptDocument>,
    current: Option<&KeptDocument>,
) -> Freshness {
    let Some(cached) = cached else { return Freshness::Newer };
    let is_current = request.update == Update::Standard && current.is_some_and(|kept| kept.number == new.number);
    match (new.number, new.issued).cmp(&(cached.number, cached.issued)) {
        Ordering::Greater => Freshness::Newer,
        Ordering::Equal => Freshness::Same,
        // Whoever answered with a recovery's document before must not keep the current one from being refreshed.
        Ordering::Less if is_current && new.issued > cached.issued => Freshness::Newer,
        Ordering::Less => Freshness::Older,
    }
}

/// Asks one service for one document after the other, until it turns out to be away.
async fn ask(
    client: &Client,
    requests: Vec<Request>,
    state: &ChainState,
) -> Vec<(Request, Result<KeptDocument, FetchError>)> {
    let mut answers = Vec::new();
    for request in requests {
        let answer = client.fetch(request, &state.policy, state.now).await;
        let is_outage = answer.as_ref().is_err_and(FetchError::is_outage);
        answers.push((request, answer));
        if is_outage {
            break;
        }
    }
    answers
}

fn unix_now() -> UnixSeconds {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
