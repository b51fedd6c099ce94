//! What hosts do between enclaves and gatekeepers. A gatekeeper's brings what its enclave says to the chain and to the other
//! gatekeepers, and to its enclave what they say; a worker's brings questions for keys to gatekeepers, and the answers back, and a claim
//! to the key to seal with to the chain.
//!
//! A gatekeeper's enclave says everything again at each block until the chain shows it, and a worker's asks again itself, so nothing
//! here is kept or tried twice, and what is lost costs a block.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use codec::Encode;
use futures::future::BoxFuture;
use phala_attestation::{Role, Unverified};
use phala_primitives::{
    GatekeeperId, Hash,
    gatekeeper::{GatekeeperRequest, KeyReply, SignedBeaconPart},
};
use phala_protocol::{Attestation, Refusal, Submission};
use phala_sdk::{
    Account,
    chain::{Gatekeeper, Seat, SessionKeys},
    host::{Host, HostError},
};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    chain::{self, Backoff, Node, NodeError, SubmitError},
    enclave::{Enclave, KeyQuestion, Said, SealingClaim},
    metrics::Metrics,
};

/// For how long what was submitted is not submitted again: it takes that long to be seen in a finalized block.
const AGAIN_AFTER: Duration = Duration::from_secs(8);

/// How long a list of the other gatekeepers is good for.
const PEERS_AGE: Duration = Duration::from_secs(20);

/// How long it may take to bring a part of a round to another gatekeeper: the round is over by then.
const DELIVERY: Duration = Duration::from_secs(5);

/// How long a gatekeeper may take to answer. The worker's enclave waits for no longer.
const ANSWER: Duration = Duration::from_secs(6);

/// The most hosts of gatekeepers to which connections are kept.
const MOST_HOSTS: usize = 256;

/// The most questions that one gatekeeper has not answered yet: those that are silent must not keep the others from being asked.
const MOST_UNANSWERED: usize = 8;

/// The most of the enclave's words that are under way at once.
const MOST_AT_ONCE: usize = 256;

/// What hosts need to know of gatekeepers, and what only a gatekeeper's needs of its node.
pub trait GatekeeperNode: Send + Sync + 'static {
    /// Who shares the root key at present, and where their hosts serve.
    fn peers(&self) -> BoxFuture<'_, Result<Vec<(GatekeeperId, String)>, NodeError>>;

    /// Gives the node what the chain takes without a sender.
    fn say(&self, submission: Submission) -> BoxFuture<'_, Result<(), SubmitError>>;

    /// A seat at the best block.
    fn seat(&self, seat: Account) -> BoxFuture<'_, Result<Option<Seat>, NodeError>>;

    /// A gatekeeper at the best block.
    fn gatekeeper(&self, id: GatekeeperId) -> BoxFuture<'_, Result<Option<Gatekeeper>, NodeError>>;

    /// New session keys of the node, made for a seat.
    fn session_keys(&self, seat: Account) -> BoxFuture<'_, Result<SessionKeys, NodeError>>;
}

/// Brings what the enclave says to where it belongs.
pub struct Carrier {
    node: Arc<dyn GatekeeperNode>,
    /// Signs what needs a sender.
    chain: Arc<dyn Node>,
    enclave: Arc<Enclave>,
    metrics: Arc<Metrics>,
    submitted: BTreeMap<Hash, Instant>,
    peers: Vec<(GatekeeperId, Arc<Host>)>,
    peers_at: Option<Instant>,
    hosts: Arc<Hosts>,
    claim_pauses: Arc<Mutex<ClaimPauses>>,
}

/// Hosts of gatekeepers.
#[derive(Default)]
struct Hosts {
    by_endpoint: Mutex<BTreeMap<String, Arc<Host>>>,
    places: Mutex<BTreeMap<GatekeeperId, Arc<Semaphore>>>,
}

impl Hosts {
    /// A place for a question to a gatekeeper, if there is one.
    fn enter(&self, gatekeeper: GatekeeperId) -> Option<OwnedSemaphorePermit> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MOST_HOSTS {
            places.retain(|_, places| places.available_permits() < MOST_UNANSWERED);
        }
        let places = places.entry(gatekeeper).or_insert_with(|| Arc::new(Semaphore::new(MOST_UNANSWERED)));
        places.clone().try_acquire_owned().ok()
    }

    fn at(&self, endpoint: &str) -> Result<Arc<Host>, HostError> {
        let mut hosts = self.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(endpoint) {
            return Ok(host.clone());
        }
        let host = Arc::new(Host::new(endpoint)?);
        if hosts.len() >= MOST_HOSTS {
            hosts.clear();
        }
        hosts.insert(endpoint.to_owned(), host.clone());
        Ok(host)
    }
}

impl Carrier {
    /// Nothing is brought before [`Self::run`].
    pub fn new(
        node: Arc<dyn GatekeeperNode>,
        chain: Arc<dyn Node>,
        enclave: Arc<Enclave>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            node,
            chain,
            enclave,
            metrics,
            submitted: BTreeMap::new(),
            peers: Vec::new(),
            peers_at: None,
            hosts: Arc::default(),
            claim_pauses: Arc::default(),
        }
    }

    /// Works until the enclave's end is gone.
    pub async fn run(mut self, mut heard: mpsc::Receiver<Said>) {
        let mut under_way = JoinSet::new();
        while let Some(said) = heard.recv().await {
            while under_way.len() >= MOST_AT_ONCE {
                under_way.join_next().await;
            }
            while under_way.try_join_next().is_some() {}
            match said {
                Said::Submission(submission) => {
                    if let Some(submission) = self.first_time(submission) {
                        under_way.spawn(submit(self.node.clone(), self.metrics.clone(), submission));
                    }
                }
                Said::Key(question) => {
                    under_way.spawn(answer(self.node.clone(), self.hosts.clone(), self.metrics.clone(), question));
                }
                Said::SealingClaim(claim) => {
                    let pauses = self.claim_pauses.clone();
                    under_way.spawn(claim_sealing_key(self.chain.clone(), self.metrics.clone(), pauses, claim));
                }
                Said::BeaconPart(part) => {
                    self.find_peers().await;
                    let me = self.enclave.session().map(|session| session.identity.signing_key);
                    for (_, host) in self.peers.iter().filter(|(id, _)| Some(id.0) != me) {
                        under_way.spawn(deliver(host.clone(), part.clone()));
                    }
                }
            }
        }
    }

    /// `submission`, unless it was submitted a moment ago.
    fn first_time(&mut self, submission: Submission) -> Option<Submission> {
        self.submitted.retain(|_, at| at.elapsed() < AGAIN_AFTER);
        let hash = Sha256::digest(submission.encode()).into();
        if self.submitted.contains_key(&hash) {
            return None;
        }
        self.submitted.insert(hash, Instant::now());
        Some(submission)
    }

    async fn find_peers(&mut self) {
        if self.peers_at.is_some_and(|at| at.elapsed() < PEERS_AGE) {
            return;
        }
        // Also where it fails: a node that is slow must not hold everything else up again and again.
        self.peers_at = Some(Instant::now());
        match self.node.peers().await {
            Ok(peers) => {
                let host = |(id, endpoint): (GatekeeperId, String)| match self.hosts.at(&endpoint) {
                    Ok(host) => Some((id, host)),
                    Err(error) => {
                        tracing::warn!(gatekeeper = %id, %error, "another gatekeeper cannot be reached");
                        None
                    }
                };
                self.peers = peers.into_iter().filter_map(host).collect();
            }
            Err(error) => tracing::debug!(%error, "the other gatekeepers are not known"),
        }
    }
}

async fn submit(node: Arc<dyn GatekeeperNode>, metrics: Arc<Metrics>, submission: Submission) {
    let name = match &submission {
        Submission::Post(_) => "post",
        Submission::Beacon(_) => "submit_beacon",
        Submission::LostShare(_) => "report_lost_share",
        Submission::Releases(_) => "log_releases",
    };
    let label = match node.say(submission).await {
        Ok(()) => "submitted",
        // Another gatekeeper was faster, or the chain has it already: the enclave knows best.
        Err(SubmitError::Refused(error) | SubmitError::Unfit(error) | SubmitError::Permanent(error)) => {
            tracing::debug!(call = name, error, "the chain does not take what the enclave says");
            "refused"
        }
        Err(SubmitError::Unknown(error)) => {
            tracing::debug!(call = name, error, "what the enclave says does not reach the chain");
            "failed"
        }
    };
    metrics.transactions.with_label_values(&[name, label]).inc();
}

/// Pauses between claims to a key to seal with that the chain refuses: each costs a fee.
#[derive(Default)]
struct ClaimPauses {
    backoff: Backoff,
    until: Option<Instant>,
}

/// The most of them.
const LONGEST_CLAIM_PAUSE: Duration = Duration::from_secs(15 * 60);

impl ClaimPauses {
    fn refused(&mut self, error: &SubmitError) {
        // In minutes.
        let most = (LONGEST_CLAIM_PAUSE.as_secs() / 60) as u32;
        let pause = match error {
            SubmitError::Refused(_) => self.backoff.failed(most),
            SubmitError::Unfit(_) | SubmitError::Permanent(_) => most,
            // Whether it is in a block, the chain says before the next is submitted.
            SubmitError::Unknown(_) => return,
        };
        self.until = Some(Instant::now() + Duration::from_secs(60) * pause);
    }
}

/// Brings the claim to the chain, and tells the enclave once it is in a block.
async fn claim_sealing_key(
    node: Arc<dyn Node>,
    metrics: Arc<Metrics>,
    pauses: Arc<Mutex<ClaimPauses>>,
    claim: SealingClaim,
) {
    let SealingClaim { attestation, answer } = claim;
    drop(answer.send(bring_claim(&*node, &metrics, &pauses, attestation).await));
}

/// # Errors
/// For good where the chain takes no claim of this host's, whatever changes: the enclave goes on as a new worker, without a key to seal with.
async fn bring_claim(
    node: &dyn Node,
    metrics: &Metrics,
    pauses: &Mutex<ClaimPauses>,
    attestation: Box<Attestation>,
) -> Result<(), Refusal> {
    let later = |reason: String| Refusal { reason, retry: true };
    let until = pauses.lock().unwrap_or_else(PoisonError::into_inner).until;
    let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
    if !left.is_zero() {
        let seconds = left.as_millis().div_ceil(1000);
        return Err(later(format!(
            "the chain refused the last claim, and the next is brought to it in {seconds} s; the host's log says why"
        )));
    }
    let unknown = |error: NodeError| later(error.to_string());
    if node.has_claim(attestation.statement.signing_key).await.map_err(unknown)? {
        return Ok(());
    }
    let evidence = Unverified::parse(&attestation.evidence);
    let measurement = evidence.map_err(|error| later(error.to_string()))?.measurements.fold();
    if !node.image_allowed(measurement, Role::Worker).await.map_err(unknown)? {
        return Err(later(format!(
            "the chain does not allow the image 0x{} for workers; it is claimed for nothing, nor a fee paid, until then",
            hex::encode(measurement.0)
        )));
    }
    let submitted = chain::submit(node, metrics, chain::Submission::ClaimSealingKey(attestation)).await;
    let mut pauses = pauses.lock().unwrap_or_else(PoisonError::into_inner);
    match submitted {
        Ok(_) => {
            *pauses = ClaimPauses::default();
            Ok(())
        }
        Err(error) => {
            pauses.refused(&error);
            Err(Refusal { reason: error.to_string(), retry: !matches!(error, SubmitError::Permanent(_)) })
        }
    }
}

/// Asks the gatekeeper, and tells the enclave what it says. An answer that comes too late is for nobody.
async fn answer(node: Arc<dyn GatekeeperNode>, hosts: Arc<Hosts>, metrics: Arc<Metrics>, question: KeyQuestion) {
    let KeyQuestion { gatekeeper, request, answer } = question;
    let refusal = |reason, retry| Err(Refusal { reason, retry });
    let Some(_place) = hosts.enter(gatekeeper) else {
        drop(answer.send(refusal(format!("gatekeeper {gatekeeper} has not answered others yet"), true)));
        return;
    };
    let begun = Instant::now();
    let asked = timeout(ANSWER, ask(&*node, &hosts, gatekeeper, &request)).await;
    let reply = asked.unwrap_or_else(|_| refusal(format!("gatekeeper {gatekeeper} did not answer in time"), true));
    let result = if reply.is_ok() { "given" } else { "refused" };
    metrics.key_parts.with_label_values(&[result]).observe(begun.elapsed().as_secs_f64());
    if let Err(refusal) = &reply {
        tracing::debug!(%gatekeeper, %refusal, "a gatekeeper gave no part of a key");
    }
    drop(answer.send(reply));
}

async fn ask(
    node: &dyn GatekeeperNode,
    hosts: &Hosts,
    gatekeeper: GatekeeperId,
    request: &GatekeeperRequest,
) -> Result<KeyReply, Refusal> {
    let refused = |reason, retry| Refusal { reason, retry };
    let record = node.gatekeeper(gatekeeper).await.map_err(|error| refused(error.to_string(), true))?;
    let record = record.ok_or_else(|| refused(format!("the chain has no gatekeeper {gatekeeper}"), true))?;
    let endpoint = String::from_utf8_lossy(&record.endpoint);
    let host = hosts.at(&endpoint).map_err(|error| refused(error.to_string(), false))?;
    host.ask(request).await.map_err(|error| refused(error.to_string(), error.is_transient()))
}

async fn deliver(host: Arc<Host>, part: SignedBeaconPart) {
    match timeout(DELIVERY, host.beacon_part(&part)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(host = host.url(), %error, "a part of a round was not taken"),
        Err(_) => tracing::debug!(host = host.url(), "a part of a round was not taken in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeNode;
    use phala_attestation::{
        Evidence, Measurement, Statement, VendorName,
        simulated::{Report, development_root},
    };

    fn claim() -> Box<Attestation> {
        let statement = Statement {
            role: Role::Worker,
            signing_key: [1; 32],
            encryption_key: [0; 32],
            genesis_hash: [5; 32],
            operator: [2; 32],
            block_number: 7,
            block_hash: [7; 32],
        };
        let platform = development_root().certify([7; 32], VendorName::DEVELOPMENT, 1, 0, 1000);
        let report = Report { measurement: Measurement([9; 32]), debug: false, report_data: statement.report_data() };
        Box::new(Attestation { statement, evidence: Evidence::Simulated(platform.quote(report)) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_to_a_sealing_key_costs_no_more_fees_than_it_must() {
        let (node, metrics, pauses) = (FakeNode::new(), Metrics::default(), Mutex::default());
        let bring = async || bring_claim(&*node, &metrics, &pauses, claim()).await;

        node.state().image_allowed = false;
        let refused = bring().await.unwrap_err();
        assert!(refused.retry && refused.reason.contains("does not allow the image"), "{refused:?}");
        assert!(node.taken().is_empty());
        node.state().image_allowed = true;

        // What was refused is brought again after pauses that grow, or after a long one.
        node.state().result = Err(SubmitError::Refused("no".into()));
        for minutes in [2, 4, 8, 15, 15] {
            assert!(bring().await.unwrap_err().retry);
            assert_eq!(node.taken(), ["claim_sealing_key"]);
            tokio::time::advance(Duration::from_secs(minutes * 60 - 1)).await;
            assert!(bring().await.unwrap_err().reason.contains("in 1 s"));
            assert!(node.taken().is_empty());
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        node.state().result = Err(SubmitError::Unfit("TCB".into()));
        assert!(bring().await.unwrap_err().retry, "what was sealed is not given up for that");
        assert_eq!(node.taken().len(), 1);
        tokio::time::advance(LONGEST_CLAIM_PAUSE).await;

        // What may be in a block is not paid again.
        node.state().result = Err(SubmitError::Unknown("no answer".into()));
        assert!(bring().await.unwrap_err().retry);
        assert_eq!(node.taken().len(), 1);
        node.state().claimants.push([1; 32]);
        assert_eq!(bring().await, Ok(()));
        assert!(node.taken().is_empty());

        node.state().claimants.clear();
        node.state().result = Err(SubmitError::Permanent("no key".into()));
        assert!(!bring().await.unwrap_err().retry);
    }
}
