use super::{receipts::Advice, registration::is_renewal_due, *};
use crate::{
    jobs::{Jobs, Phase, ReceiptState},
    store::{Limits as StoreLimits, Store},
    testing::{
        FakeEnclave, FakeHost, FakeNode, HEARTBEAT_BLOCK, OPERATOR, WORKER, assigned, eventually, job, receipt,
        receipt_of_attempt, settled, worker,
    },
};
use phala_primitives::{attestation::Outlook, gatekeeper, job::JobStatus, worker::WorkerStatus};
use phala_protocol::EnclaveNotice;

const ENDPOINT: &str = "http://localhost:1";

fn config(submits: Submits) -> OperatorConfig {
    OperatorConfig { operator: OPERATOR, endpoint: ENDPOINT.into(), price: 7, submits }
}

struct Bench {
    host: FakeHost,
    _enclave: FakeEnclave,
    node: Arc<FakeNode>,
    registration: Registration,
}

async fn bench(config: OperatorConfig) -> Bench {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let node = FakeNode::new();
    let registration =
        Registration::new(node.clone(), host.enclave.clone(), host.store.clone(), host.metrics.clone(), config);
    Bench { host, _enclave: enclave, node, registration }
}

impl Bench {
    async fn step(&mut self) -> Result<(), registration::StepError> {
        let heads = self.node.state().heads;
        self.registration.step(heads).await
    }

    /// The chain takes what was registered or renewed last.
    fn register_on_chain(&self, number: u8) {
        self.node.state().worker = Some(worker(number));
    }
}

#[tokio::test]
async fn an_unknown_worker_is_registered_once_its_image_is_allowed() {
    let mut bench = bench(config(Submits::Everything)).await;
    bench.node.state().image_allowed = false;
    bench.step().await.unwrap();
    assert_eq!(bench.node.taken(), Vec::<&str>::new());
    bench.node.state().image_allowed = true;
    bench.step().await.unwrap();
    let submissions: Vec<_> = bench.node.state().submissions.drain(..).collect();
    let [Submission::Register { registration, endpoint, price }] = &submissions[..] else {
        panic!("submitted {submissions:?}")
    };
    assert_eq!((endpoint.as_str(), *price), (ENDPOINT, 7));
    assert_eq!(bench.host.store.load_evidence().unwrap(), None);
    // What users get is what the chain has.
    bench.register_on_chain(1);
    bench.step().await.unwrap();
    let evidence = bench.host.store.load_evidence().unwrap().unwrap();
    assert_eq!(evidence, (registration.statement.clone(), registration.evidence.clone()));
    assert_eq!(bench.node.taken(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_verdict_is_renewed_when_two_thirds_are_over_or_its_evidence_is_lost() {
    let worker = Worker { verified_at: 1000, verdict_expires: 1900, ..crate::testing::worker(1) };
    assert!(!is_renewal_due(1599, &worker, None));
    assert!(is_renewal_due(1600, &worker, None));
    assert!(is_renewal_due(1901, &worker, None));
    // A TCB recovery: once, whatever comes of it.
    assert!(!is_renewal_due(1200, &worker, Some(999)));
    assert!(is_renewal_due(1200, &worker, Some(1000)));
    assert!(is_renewal_due(1200, &worker, Some(1100)));
    // With a bad outlook, once a day, as there is nothing to gain before the platform is updated.
    let exposed = Worker { outlook: Some(Outlook { from: 1900, tier: None }), ..worker };
    assert!(!is_renewal_due(1899, &exposed, None) && !is_renewal_due(1000 + 86_399, &exposed, None));
    assert!(is_renewal_due(1000 + 86_400, &exposed, None));
    assert!(is_renewal_due(1200, &exposed, Some(1100)));
    // A gatekeeper, for whom a weaker tier is as bad as none.
    let gatekeeper = gatekeeper::Gatekeeper {
        seat: worker.operator,
        operator: worker.operator,
        encryption_key: [0; 32],
        endpoint: Vec::new(),
        measurement: worker.measurement,
        platform: worker.platform,
        family: worker.family,
        vendor: worker.vendor,
        tier: worker.tier,
        verified_at: 1000,
        verdict_expires: 1900,
        outlook: None,
        evidence_hash: [0; 32],
        registered_at: 1,
    };
    assert!(!is_renewal_due(1599, &gatekeeper, Some(999)) && is_renewal_due(1600, &gatekeeper, None));
    assert!(is_renewal_due(1200, &gatekeeper, Some(1000)));
    let outlook = Some(Outlook { from: 1900, tier: Some(phala_attestation::Tier::Limited) });
    assert!(!is_renewal_due(1899, &gatekeeper::Gatekeeper { outlook, ..gatekeeper }, None));

    let mut bench = bench(config(Submits::Everything)).await;
    // Registered by an earlier host whose disk is gone.
    bench.register_on_chain(9);
    bench.step().await.unwrap();
    assert_eq!(bench.node.taken(), ["renew"]);
    bench.register_on_chain(1);
    bench.step().await.unwrap();
    assert_eq!(bench.node.taken(), Vec::<&str>::new());
    bench.node.state().heads.now = 10_000 - 300;
    bench.step().await.unwrap();
    assert_eq!(bench.node.taken(), ["renew"]);
    bench.node.state().image_allowed = false;
    bench.step().await.unwrap();
    assert_eq!(bench.node.taken(), Vec::<&str>::new());
}

#[tokio::test]
async fn price_and_endpoint_are_compared_once() {
    let mut bench = bench(config(Submits::Everything)).await;
    bench.step().await.unwrap();
    bench.register_on_chain(1);
    bench.node.taken();
    // A new host process with other options.
    let config = OperatorConfig { price: 8, endpoint: "http://localhost:2".into(), ..config(Submits::Everything) };
    let (host, node) = (&bench.host, bench.node.clone());
    bench.registration =
        Registration::new(node, host.enclave.clone(), host.store.clone(), host.metrics.clone(), config);
    bench.step().await.unwrap();
    assert_eq!(bench.node.taken(), ["set_price", "set_endpoint"]);
    // From now on the operator may change them by other means.
    bench.step().await.unwrap();
    assert_eq!(bench.node.taken(), Vec::<&str>::new());
}

#[tokio::test]
async fn nothing_is_submitted_without_a_key_or_for_another_operator() {
    for submits in [Submits::Nothing, Submits::HeartbeatsAndReceipts] {
        let mut external = bench(config(submits)).await;
        external.step().await.unwrap();
        assert_eq!(external.node.taken(), Vec::<&str>::new());
    }
    let mut foreign = bench(OperatorConfig { operator: Account([8; 32]), ..config(Submits::Everything) }).await;
    foreign.register_on_chain(1);
    foreign.step().await.unwrap();
    assert_eq!(foreign.node.taken(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_node_that_is_away_changes_nothing() {
    let mut bench = bench(config(Submits::Everything)).await;
    bench.node.state().reachable = false;
    assert!(matches!(bench.step().await, Err(registration::StepError::Node(_))));
    bench.node.state().reachable = true;
    bench.node.state().result = Err(SubmitError::Refused("no".into()));
    assert!(matches!(bench.step().await, Err(registration::StepError::Submit(_))));
    bench.node.state().result = Ok(12);
    bench.node.taken();
    bench.step().await.unwrap();
    assert_eq!(bench.node.taken(), ["register"]);
}

/// Runs a bench over blocks, and gives the names of what was submitted.
async fn run(bench: Bench, blocks: std::ops::Range<u32>) -> Vec<&'static str> {
    let (node, heads) = (bench.node.clone(), watch::Sender::new(None));
    let running = tokio::spawn(bench.registration.run(heads.subscribe()));
    for best in blocks {
        heads.send_replace(Some(Heads { best, finalized: best - 2, now: 100 }));
        sleep(Duration::from_millis(100)).await;
    }
    running.abort();
    node.taken()
}

#[tokio::test]
async fn any_account_brings_heartbeats() {
    let bench = bench(config(Submits::HeartbeatsAndReceipts)).await;
    // The evidence of an earlier host, which only the operator can renew.
    bench.register_on_chain(9);
    assert_eq!(run(bench, 11..15).await, ["heartbeat"]);
}

#[tokio::test]
async fn what_the_chain_will_never_take_is_tried_once() {
    let bench = bench(config(Submits::Everything)).await;
    bench.node.state().result = Err(SubmitError::Permanent("no".into()));
    assert_eq!(run(bench, 11..16).await, ["register"]);
}

#[tokio::test]
async fn a_refused_registration_is_tried_again_with_growing_pauses() {
    let bench = bench(config(Submits::Everything)).await;
    bench.node.state().result = Err(SubmitError::Refused("no".into()));
    // In blocks 11, 13, 17 and 25.
    assert_eq!(run(bench, 11..27).await, ["register"; 4]);
}

#[tokio::test]
async fn a_heartbeat_that_would_cost_a_fee_is_kept_back() {
    let bench = bench(config(Submits::HeartbeatsAndReceipts)).await;
    bench.register_on_chain(1);
    bench.node.state().worker.as_mut().unwrap().last_heartbeat = HEARTBEAT_BLOCK - 2;
    let best = HEARTBEAT_BLOCK + 20;
    assert!(run(bench, best..best + 4).await.is_empty());
}

#[tokio::test]
async fn a_challenge_is_answered_once_its_block_is_final_though_no_heartbeat_is_due() {
    let challenged = async |challenge| {
        let bench = bench(config(Submits::HeartbeatsAndReceipts)).await;
        bench.register_on_chain(1);
        bench.node.state().worker.as_mut().unwrap().last_heartbeat = HEARTBEAT_BLOCK - 1;
        bench.node.state().challenged = challenge;
        bench
    };
    let is_final = HEARTBEAT_BLOCK + 2;
    assert!(run(challenged(None).await, is_final - 3..is_final + 6).await.is_empty());
    assert!(run(challenged(Some(HEARTBEAT_BLOCK)).await, is_final - 3..is_final).await.is_empty());
    // Once, though the node does not know yet that it is answered.
    assert_eq!(run(challenged(Some(HEARTBEAT_BLOCK)).await, is_final - 3..is_final + 6).await, ["heartbeat"]);
    // The enclave lags: what it gives is no answer, and would cost a fee.
    assert!(run(challenged(Some(HEARTBEAT_BLOCK + 1)).await, is_final - 3..is_final + 6).await.is_empty());
}

#[test]
fn pauses_double_up_to_a_bound() {
    let mut backoff = Backoff::default();
    let pauses: Vec<_> = (0..6).map(|_| backoff.failed(20)).collect();
    assert_eq!(pauses, [2, 4, 8, 16, 20, 20]);
    for _ in 0..100 {
        assert_eq!(backoff.failed(20), 20);
    }
    backoff.succeeded();
    assert_eq!(backoff.failed(20), 2);
}

#[tokio::test]
async fn a_cordoned_worker_is_renewed_once_its_class_is_no_longer_declared_broken() {
    let mut bench = bench(config(Submits::Everything)).await;
    bench.host.store.store_bundle(&bundle(1)).unwrap();
    bench.register_on_chain(1);
    let class = bench.node.state().worker.as_ref().unwrap().classes()[2];
    bench.node.state().worker.as_mut().unwrap().status = WorkerStatus::Cordoned;
    bench.node.state().compromised.push(class);
    bench.step().await.unwrap();
    assert!(bench.node.taken().is_empty());
    bench.node.state().compromised.clear();
    bench.step().await.unwrap();
    assert_eq!(bench.node.taken(), ["renew"]);
}

#[tokio::test]
async fn heartbeats_come_when_the_chain_will_take_them() {
    let bench = bench(config(Submits::Everything)).await;
    bench.host.store.store_bundle(&bundle(1)).unwrap();
    bench.register_on_chain(1);
    let (node, heads) = (bench.node.clone(), watch::Sender::new(None));
    node.state().worker.as_mut().unwrap().last_heartbeat = 10;
    let running = tokio::spawn(bench.registration.run(heads.subscribe()));
    let advance = async |blocks: std::ops::Range<u32>| {
        let mut beats = Vec::new();
        for best in blocks {
            heads.send_replace(Some(Heads { best, finalized: best - 2, now: 100 }));
            sleep(Duration::from_millis(100)).await;
            let mut state = node.state();
            if state.submissions.drain(..).any(|submission| submission.name() == "heartbeat") {
                beats.push(best);
                if state.result.is_ok() {
                    state.worker.as_mut().unwrap().last_heartbeat = best + 1;
                }
            }
        }
        beats
    };
    // Not sooner than five blocks after the last; the chain's record of the worker is read one block late.
    assert_eq!(advance(11..26).await, [14, 19, 24]);
    // The chain would refuse these, and take a fee.
    node.state().image_allowed = false;
    assert!(advance(26..36).await.is_empty());
    node.state().image_allowed = true;
    node.state().worker.as_mut().unwrap().verdict_expires = 99;
    advance(36..37).await;
    assert!(advance(37..46).await.is_empty());
    node.state().worker.as_mut().unwrap().verdict_expires = 10_000;
    // It refuses for another reason.
    node.state().result = Err(SubmitError::Refused("no".into()));
    advance(46..47).await;
    let beats = advance(47..80).await;
    assert!((4..=6).contains(&beats.len()), "{beats:?}");
    running.abort();
}

fn bundle(number: u8) -> crate::store::EvidenceBundle {
    let registration = crate::testing::registration(number);
    (registration.statement, registration.evidence)
}

#[test]
fn the_chain_decides_about_a_receipt() {
    let receipt = receipt(5);
    let advise = |status| receipts::advise(Some(&job(status)), &receipt);
    assert_eq!(receipts::advise(None, &receipt), Advice::Wait);
    assert_eq!(advise(assigned(WORKER)), Advice::Submit);
    assert_eq!(advise(settled(&receipt, 9)), Advice::Close(ReceiptState::Settled { block: 9 }));
    let other = SignedReceipt { signature: [1; 64], ..receipt.clone() };
    for status in [
        assigned(WorkerId([7; 32])),
        settled(&other, 9),
        JobStatus::Queued,
        JobStatus::Cancelled { at: 3 },
        JobStatus::Expired { at: 3 },
    ] {
        assert!(matches!(advise(status.clone()), Advice::Close(ReceiptState::Abandoned { .. })), "{status:?}");
    }
    // The node lags: it has not seen the assignment yet.
    let early = Job { attempts: 0, ..job(JobStatus::Queued) };
    assert_eq!(receipts::advise(Some(&early), &receipt), Advice::Wait);
    // Another attempt by the same worker.
    let later = Job { attempts: 2, ..job(assigned(WORKER)) };
    assert!(matches!(receipts::advise(Some(&later), &receipt), Advice::Close(_)));
}

struct ReceiptBench {
    folder: tempfile::TempDir,
    store: Arc<Store>,
    jobs: Arc<Jobs>,
    node: Arc<FakeNode>,
    receipts: Receipts,
}

fn receipt_bench(ids: &[JobId]) -> ReceiptBench {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path(), StoreLimits::default()).unwrap());
    let jobs = Arc::new(Jobs::load(store.clone(), Arc::default()).unwrap());
    let node = FakeNode::new();
    for id in ids {
        jobs.ended(*id, &receipt(*id)).unwrap();
        node.state().best.insert(*id, job(assigned(WORKER)));
        node.state().finalized.insert(*id, job(assigned(WORKER)));
    }
    let receipts = Receipts::new(node.clone(), store.clone(), jobs.clone(), Arc::default(), true);
    ReceiptBench { folder, store, jobs, node, receipts }
}

impl ReceiptBench {
    async fn block(&mut self, best: u32) -> usize {
        let heads = Heads { best, finalized: best - 2, now: 0 };
        self.receipts.step(heads).await;
        self.receipts.settle(heads).await;
        self.node.taken().len()
    }
}

#[tokio::test]
async fn receipts_are_submitted_together_and_closed_when_final() {
    let mut bench = receipt_bench(&[1, 2, 3]);
    assert_eq!(bench.block(10).await, 3);
    for id in [1, 2, 3] {
        bench.node.state().best.insert(id, job(settled(&receipt(id), 11)));
    }
    assert_eq!(bench.block(12).await, 0);
    assert_eq!(bench.jobs.open_receipts(), [(1, 1), (2, 1), (3, 1)]);
    for id in [1, 2] {
        bench.node.state().finalized.insert(id, job(settled(&receipt(id), 11)));
    }
    bench.node.state().finalized.insert(3, job(JobStatus::Expired { at: 11 }));
    assert_eq!(bench.block(14).await, 0);
    assert_eq!(bench.jobs.open_receipts(), []);
    assert_eq!(bench.jobs.report(1).receipt_block, Some(11));
    assert_eq!(bench.jobs.report(3).receipt_block, None);
    assert_eq!(bench.jobs.report(3).state, Phase::Ended);
}

#[tokio::test]
async fn a_refused_receipt_is_tried_again_with_growing_pauses() {
    let mut bench = receipt_bench(&[1]);
    bench.node.state().result = Err(SubmitError::Unknown("timeout".into()));
    let mut blocks = Vec::new();
    for best in 10..120 {
        if bench.block(best).await > 0 {
            blocks.push(best);
        }
    }
    assert_eq!(blocks, [10, 12, 16, 24, 40, 72, 104]);
    // A fork took the receipt out of the chain again.
    bench.node.state().result = Ok(136);
    assert_eq!(bench.block(136).await, 1);
    assert_eq!(bench.block(137).await, 1);
}

#[tokio::test]
async fn a_receipt_of_one_attempt_never_closes_or_holds_back_anothers() {
    let mut bench = receipt_bench(&[1]);
    // The first is refused for now, and waits.
    bench.node.state().result = Err(SubmitError::Refused("no".into()));
    assert_eq!(bench.block(10).await, 1);
    assert_eq!(bench.block(11).await, 0);
    // The job comes back to this worker: the second receipt does not wait for the first one's pause.
    bench.node.state().result = Ok(12);
    let second = receipt_of_attempt(1, 2);
    bench.jobs.ended(1, &second).unwrap();
    let again = Job { attempts: 2, ..job(assigned(WORKER)) };
    bench.node.state().best.insert(1, again.clone());
    bench.node.state().finalized.insert(1, again);
    assert_eq!(bench.block(11).await, 1);
    // What becomes of the first is nothing to the second.
    bench.jobs.close_receipt(1, 1, ReceiptState::Abandoned { reason: "late".into() }).unwrap();
    assert_eq!(bench.jobs.open_receipts(), [(1, 2)]);
    bench.node.state().finalized.insert(1, job(settled(&second, 13)));
    assert_eq!(bench.block(16).await, 0);
    assert_eq!(bench.jobs.report(1).receipt_block, Some(13));
}

#[tokio::test]
async fn a_fate_that_cannot_be_recorded_is_asked_for_again() {
    let mut bench = receipt_bench(&[1]);
    bench.node.state().finalized.insert(1, job(settled(&receipt(1), 9)));
    let (records, away) = (bench.folder.path().join("jobs"), bench.folder.path().join("away"));
    std::fs::rename(&records, &away).unwrap();
    bench.block(10).await;
    assert_eq!(bench.jobs.open_receipts(), [(1, 1)]);
    std::fs::rename(&away, &records).unwrap();
    bench.block(11).await;
    assert_eq!(bench.jobs.report(1).receipt_block, Some(9));
}

#[tokio::test]
async fn open_receipts_survive_a_restart() {
    let bench = receipt_bench(&[1, 2]);
    bench.jobs.close_receipt(2, 1, ReceiptState::Settled { block: 9 }).unwrap();
    let jobs = Arc::new(Jobs::load(bench.store.clone(), Arc::default()).unwrap());
    assert_eq!(jobs.open_receipts(), [(1, 1)]);
    assert_eq!(jobs.report(2).receipt_block, Some(9));
    let receipts = Receipts::new(bench.node.clone(), bench.store.clone(), jobs, Arc::default(), true);
    let mut bench = ReceiptBench { receipts, ..bench };
    assert_eq!(bench.block(10).await, 1);
}

#[tokio::test]
async fn a_receipt_whose_record_was_lost_in_a_crash_is_found() {
    let bench = receipt_bench(&[]);
    bench.jobs.begin(4, 1).accepted([1; 32], &[]);
    bench.jobs.keep(4).unwrap();
    // The receipt was written, the record was not.
    bench.store.store_receipt(4, &receipt(4)).unwrap();
    let jobs = Jobs::load(bench.store.clone(), Arc::default()).unwrap();
    assert_eq!(jobs.open_receipts(), [(4, 1)]);
    assert_eq!(jobs.report(4).state, Phase::Ended);
}

#[tokio::test]
async fn a_host_without_a_key_only_watches() {
    let mut bench = receipt_bench(&[1]);
    bench.receipts = Receipts::new(bench.node.clone(), bench.store.clone(), bench.jobs.clone(), Arc::default(), false);
    assert_eq!(bench.block(10).await, 0);
    bench.node.state().finalized.insert(1, job(settled(&receipt(1), 11)));
    assert_eq!(bench.block(14).await, 0);
    assert_eq!(bench.jobs.report(1).receipt_block, Some(11));
}

#[tokio::test]
async fn a_new_receipt_does_not_wait_for_the_next_block() {
    let host = FakeHost::new().await;
    let enclave = host.connect().await;
    let node = FakeNode::new();
    node.state().best.insert(5, job(assigned(WORKER)));
    node.state().finalized.insert(5, job(assigned(WORKER)));
    let (_sender, heads) = watch::channel(Some(node.state().heads));
    let receipts = Receipts::new(node.clone(), host.store.clone(), host.jobs.clone(), Arc::default(), true);
    let running = tokio::spawn(receipts.run(heads, std::future::pending()));
    enclave.notice(EnclaveNotice::JobEnded { job: 5, receipt: Box::new(receipt(5)) });
    eventually("the receipt is submitted", || !node.state().submissions.is_empty()).await;
    running.abort();
}
