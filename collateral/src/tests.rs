//! The service against imitated vendors and a chain that keeps documents by the pallet's rule.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use phala_attestation::{
    Document, DocumentId, EndorsementId, Evidence, Generation, PckCa, Policy, SignedDocument, SigningKey,
    mint::{self, VALID_FROM, VALID_UNTIL},
    verify_document,
};
use phala_primitives::attestation::KeptDocument;
use tempfile::TempDir;

use crate::{
    Chain, ChainError, ChainState, Client, Config, EndorsementError, Failing, Freshness, Reason, Report, Request,
    Service, Services,
    imitation::{Answer, Imitation},
};

#[allow(dead_code, reason = "the names of files are for the verifier's own tests")]
#[path = "../../attestation/tests/recorded/mod.rs"]
mod recorded;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const FMSPC: [u8; 6] = [0, 0xa0, 0x67, 0x11, 0, 0];
const SGX: DocumentId = DocumentId::SgxTcbInfo(FMSPC);
const TDX: DocumentId = DocumentId::TdxTcbInfo(FMSPC);
const ASK: DocumentId = DocumentId::AmdIntermediate(Generation::Milan, SigningKey::Vcek);
const AMD_CRL: DocumentId = DocumentId::AmdCrl(Generation::Milan);
const PLATFORM_CRL: DocumentId = DocumentId::PckCrl(PckCa::Platform);
/// The time of the chain: young enough for TCB info of every age that is used here.
const NOW: u64 = VALID_FROM + 3600;
/// Enough for any answer from here, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(2);
const EARLY_PERIOD: u64 = 30 * 24 * 3600;

fn policy() -> Policy {
    Policy { simulated_vendors: Some(mint::roots()), ..Policy::default() }
}

/// A chain in memory.
struct TestChain {
    state: Mutex<ChainState>,
    /// What submissions meet.
    trouble: Mutex<Option<ChainError>>,
    away: AtomicBool,
    attempts: AtomicU32,
}

impl TestChain {
    fn new() -> Self {
        let state = ChainState {
            now: NOW,
            policy: policy(),
            documents: Default::default(),
            early_documents: Default::default(),
            early_period: EARLY_PERIOD,
        };
        Self { state: Mutex::new(state), trouble: Mutex::default(), away: false.into(), attempts: 0.into() }
    }

    fn state(&self) -> MutexGuard<'_, ChainState> {
        self.state.lock().unwrap()
    }

    fn refuse(&self, trouble: Option<ChainError>) {
        *self.trouble.lock().unwrap() = trouble;
    }

    fn keep(&self, document: &SignedDocument) -> Result<(), ChainError> {
        if let Some(trouble) = self.trouble.lock().unwrap().clone() {
            return Err(trouble);
        }
        let mut state = self.state();
        let refused = |error: &dyn std::fmt::Display| ChainError::Refused(error.to_string());
        let verified = verify_document(document, &state.policy, state.now).map_err(|error| refused(&error))?;
        let mut slot = state.slot(verified.id());
        let new = KeptDocument::new(document.clone(), &verified);
        slot.keep(verified.id(), new, state.now, state.early_period).map_err(|error| refused(&error))?;
        state.documents.extend(slot.current.map(|kept| (verified.id(), kept)));
        state.early_documents.remove(&verified.id());
        state.early_documents.extend(slot.early.map(|early| (verified.id(), early)));
        Ok(())
    }

    fn number(&self, id: DocumentId) -> Option<u64> {
        self.state().documents.get(&id).map(|kept| kept.number)
    }

    fn issued(&self, id: DocumentId) -> Option<u64> {
        self.state().documents.get(&id).map(|kept| kept.issued)
    }
}

impl Chain for TestChain {
    async fn state(&self) -> Result<ChainState, ChainError> {
        match self.away.load(Relaxed) {
            true => Err(ChainError::Unreachable("away".into())),
            false => Ok(self.state().clone()),
        }
    }

    async fn submit_document(&self, document: SignedDocument) -> Result<(), ChainError> {
        self.attempts.fetch_add(1, Relaxed);
        self.keep(&document)
    }
}

/// Both vendors, a chain, and a service that wants documents for SGX, TDX and Milan.
struct World {
    intel: Imitation,
    amd: Imitation,
    chain: TestChain,
    service: Service,
    config: Config,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        Self::wanting([SGX, TDX, ASK]).await
    }

    async fn wanting(wanted: impl IntoIterator<Item = DocumentId>) -> Self {
        let (intel, amd) = (Imitation::start(LOOPBACK).await.unwrap(), Imitation::start(LOOPBACK).await.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            services: Services { amd: amd.services().amd, ..intel.services() },
            wanted: wanted.into_iter().collect(),
            patience: PATIENCE,
            ..Config::new(folder.path())
        };
        let service = Service::open(config.clone()).unwrap();
        let world = Self { chain: TestChain::new(), service, config, intel, amd, _folder: folder };
        for document in [mint::sgx(&[0; 64]).1, mint::tdx(&[0; 64]).1, mint::sev_snp(&[0; 64]).1].concat() {
            let id = verify_document(&document, &policy(), NOW).unwrap().id();
            Request::all(id).for_each(|request| world.serve(request, &document));
        }
        // The mint has only one PCK CA.
        world.serve(Request::standard(DocumentId::PckCrl(PckCa::Processor)), &mint::sgx(&[0; 64]).1[1]);
        world
    }

    fn serve(&self, request: Request, document: &SignedDocument) {
        self.vendor(request.id).serve(request, document);
    }

    fn answer(&self, request: Request, answer: Answer) {
        self.vendor(request.id).answer(request, answer);
    }

    fn vendor(&self, id: DocumentId) -> &Imitation {
        match id {
            DocumentId::AmdIntermediate(..) | DocumentId::AmdCrl(_) => &self.amd,
            _ => &self.intel,
        }
    }

    /// TCB info for SGX of both versions.
    fn serve_tcb_info(&self, (standard, age): (u32, u32), (early, early_age): (u32, u32)) {
        self.serve(Request::standard(SGX), &mint::tcb_info(standard, age));
        self.serve(Request::early(SGX), &mint::tcb_info(early, early_age));
    }

    async fn step(&mut self, now: u64) -> Report {
        self.service.step(&self.chain, now).await
    }

    /// The process ends and starts again.
    fn restart(&mut self) {
        self.service = Service::open(self.config.clone()).unwrap();
    }

    /// A client for what goes wrong with a single request.
    async fn fetch(&self, request: Request) -> Result<KeptDocument, crate::FetchError> {
        let Config { services, patience, .. } = self.config.clone();
        Client::new(services, patience).unwrap().fetch(request, &policy(), NOW).await
    }

    /// What is wrong with TCB info for SGX when it is answered like this.
    async fn refusal(&self, answer: Answer) -> Reason {
        self.answer(Request::standard(SGX), answer);
        self.fetch(Request::standard(SGX)).await.unwrap_err().reason
    }
}

fn failing<'a>(report: &'a Report, task: &str) -> &'a Failing {
    report.failing.iter().find(|failing| failing.task == task).unwrap_or_else(|| panic!("{task} is fine: {report:#?}"))
}

fn is_fine(report: &Report) -> bool {
    // The only thing that the mint has not.
    report.failing.iter().all(|failing| failing.task == "fetch pck-crl-processor")
}

fn sgx_answer(change: impl FnOnce(&mut u16, &mut Vec<(String, String)>, &mut Vec<u8>)) -> Answer {
    let mut answer = Answer::with(Request::standard(SGX), &mint::tcb_info(20, 0));
    let Answer::Whole { status, headers, body } = &mut answer else { unreachable!() };
    change(status, headers, body);
    answer
}

#[tokio::test]
async fn all_that_platforms_need_is_fetched_and_submitted_once() {
    let mut world = World::new().await;
    let report = world.step(0).await;
    assert!(is_fine(&report), "{report:#?}");
    let kept: Vec<_> = world.chain.state().documents.keys().copied().collect();
    let identities = [DocumentId::SgxQeIdentity, DocumentId::TdxQeIdentity];
    assert_eq!(kept, [&[DocumentId::IntelRootCrl, PLATFORM_CRL, SGX, TDX], &identities[..], &[ASK, AMD_CRL]].concat());
    assert_eq!(report.submitted.len(), kept.len());
    assert_eq!(report.kept.len(), kept.len());
    assert_eq!(report.missing, [Request::standard(DocumentId::PckCrl(PckCa::Processor))]);
    assert!(report.kept.iter().all(|kept| kept.issued == VALID_FROM && !kept.ends_soon));

    // Until the period is over, only what failed is asked for again.
    world.intel.asked();
    let report = world.step(60).await;
    assert_eq!(report.submitted, []);
    assert_eq!(world.intel.asked(), ["/sgx/certification/v4/pckcrl?ca=processor&encoding=der"]);
    let report = world.step(3600).await;
    assert!(report.fetched.len() > 8 && report.fetched.iter().all(|fetched| fetched.freshness == Freshness::Same));
    assert_eq!(report.submitted, []);
}

#[tokio::test]
async fn what_the_chain_keeps_already_is_kept_fresh_without_configuration() {
    let mut world = World::wanting([]).await;
    assert_eq!(world.step(0).await.kept, []);
    world.chain.keep(&mint::tcb_info(20, 0)).unwrap();
    let report = world.step(1).await;
    assert!(world.chain.number(DocumentId::SgxQeIdentity).is_some(), "{report:#?}");
    assert!(world.chain.number(ASK).is_none());
}

#[tokio::test]
async fn one_vendors_outage_does_not_stop_the_others_documents() {
    let mut world = World::new().await;
    for outage in [Answer::status(503), Answer::Never] {
        world.intel.break_down(outage);
        let report = world.step(0).await;
        assert!(world.chain.number(ASK).is_some() && world.chain.number(AMD_CRL).is_some());
        assert_eq!(world.chain.number(SGX), None);
        assert!(failing(&report, "reach Intel's certification service").error.contains("/certification/v4/"));
        // One question is enough to find out.
        assert_eq!(world.intel.asked().len(), 2, "one for the list of the root, one for the rest");
        world.restart();
    }
}

#[tokio::test]
async fn a_service_that_is_gone_is_told_from_one_that_is_late() {
    let world = World::new().await;
    let request = Request::standard(SGX);
    world.answer(request, Answer::Never);
    let error = world.fetch(request).await.unwrap_err();
    assert!(error.is_outage() && error.reason == Reason::Late(PATIENCE));

    let gone = Imitation::start(LOOPBACK).await.unwrap();
    let services = gone.services();
    drop(gone);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let client = Client::new(services, Duration::from_secs(5)).unwrap();
    let error = client.fetch(request, &policy(), NOW).await.unwrap_err();
    assert!(error.is_outage() && error.status.is_none());
    assert!(error.to_string().contains("/sgx/certification/v4/tcb?fmspc=00A067110000"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn an_outage_is_asked_about_less_and_less_and_ends_with_the_first_answer() {
    let mut world = World::new().await;
    let amd = "reach AMD's key distribution service";
    world.amd.break_down(Answer::status(503));
    for (now, times, retry) in [(0, 1, 60), (60, 2, 180), (180, 3, 420)] {
        let report = world.step(now).await;
        let failing = failing(&report, amd);
        assert_eq!((failing.since, failing.times, failing.retry), (0, times, retry));
        assert_eq!(world.amd.asked().len(), 1);
        // Nobody asks meanwhile.
        world.step(retry - 1).await;
        assert_eq!(world.amd.asked().len(), 0);
    }
    world.amd.recover();
    world.step(420).await;
    let report = world.step(1000).await;
    assert!(is_fine(&report), "{report:#?}");
    assert!(world.chain.number(ASK).is_some() && world.chain.number(AMD_CRL).is_some());
    // A new outage begins with short waits again.
    world.amd.break_down(Answer::status(503));
    assert_eq!(failing(&world.step(5000).await, amd).retry, 5060);
}

#[tokio::test]
async fn the_next_step_is_when_something_is_due() {
    let mut world = World::wanting([ASK]).await;
    assert_eq!(world.step(0).await.next, 3600);
    world.amd.break_down(Answer::status(503));
    assert_eq!(world.step(3600).await.next, 3660);
    assert_eq!(world.step(3630).await.next, 3660);
}

#[tokio::test]
async fn garbage_is_refused_with_its_place_and_reason() {
    let world = World::new().await;
    let malformed = Reason::Malformed(Document::TcbInfo);
    assert_eq!(world.refusal(Answer::status(404)).await, Reason::Status);
    assert_eq!(world.refusal(sgx_answer(|_, _, body| *body = b"<html>".into())).await, malformed);
    assert_eq!(world.refusal(sgx_answer(|_, _, body| body.truncate(body.len() - 1))).await, malformed);
    let error = world.fetch(Request::standard(SGX)).await.unwrap_err();
    let path = "/sgx/certification/v4/tcb?fmspc=00A067110000&update=standard";
    let expected = format!("http://{}{path} answered 200: the body is not a TCB info", world.intel.address());
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn an_oversized_body_is_not_read_to_its_end() {
    let world = World::new().await;
    let oversized = sgx_answer(|_, _, body| body.resize(64 * 1024 * 1024, b' '));
    assert_eq!(world.refusal(oversized).await, Reason::TooLarge(65 * 1024));
}

#[tokio::test]
async fn a_chain_of_certificates_that_is_missing_garbled_or_too_long_is_refused() {
    let world = World::new().await;
    let missing = Reason::NoIssuerChain("TCB-Info-Issuer-Chain");
    assert_eq!(world.refusal(sgx_answer(|_, headers, _| headers.clear())).await, missing);
    let long = sgx_answer(|_, headers, _| headers[0].1 = "%41".repeat(13 * 1024));
    assert_eq!(world.refusal(long).await, missing);
    for garbled in ["", "garbage", "%", "-----BEGIN%20CERTIFICATE-----%0AMAM%3D"] {
        let answer = sgx_answer(|_, headers, _| headers[0].1 = garbled.into());
        assert_eq!(world.refusal(answer).await, Reason::IssuerChain, "{garbled}");
    }
    // The name that some caches give it.
    let renamed = sgx_answer(|_, headers, _| headers[0].0 = "sgx-tcb-info-issuer-chain".into());
    world.answer(Request::standard(SGX), renamed);
    assert!(world.fetch(Request::standard(SGX)).await.is_ok());
}

#[tokio::test]
async fn what_the_vendor_did_not_sign_is_refused() {
    let world = World::new().await;
    let changed = sgx_answer(|_, _, body| {
        let text =
            String::from_utf8_lossy(body).replace(r#""tcbEvaluationDataNumber":20"#, r#""tcbEvaluationDataNumber":99"#);
        *body = text.into_bytes();
    });
    let forged = phala_attestation::Error::DocumentSignature(Document::TcbInfo);
    assert_eq!(world.refusal(changed).await, Reason::Refused(forged));
    // Under the real roots, all of it is foreign.
    let client = Client::new(world.intel.services(), Duration::from_secs(5)).unwrap();
    assert!(client.fetch(Request::standard(TDX), &Policy::default(), NOW).await.is_err());
}

#[tokio::test]
async fn a_good_document_of_another_platform_is_refused() {
    let world = World::new().await;
    let other = Request::standard(DocumentId::SgxTcbInfo([1; 6]));
    world.serve(other, &mint::tcb_info(20, 0));
    assert_eq!(world.fetch(other).await.unwrap_err().reason, Reason::OtherDocument(Request::standard(SGX)));
    let request = Request::standard(DocumentId::PckCrl(PckCa::Processor));
    let reason = world.fetch(request).await.unwrap_err().reason;
    assert_eq!(reason, Reason::OtherDocument(Request::standard(PLATFORM_CRL)));
}

#[tokio::test]
async fn nobody_is_asked_elsewhere() {
    let world = World::new().await;
    let elsewhere = format!("http://{}/vcek/v1/Milan/crl", world.amd.address());
    let answer = sgx_answer(|status, headers, _| {
        *status = 302;
        headers.push(("location".into(), elsewhere));
    });
    assert_eq!(world.refusal(answer).await, Reason::Redirect);
    assert!(world.amd.asked().is_empty());
}

#[tokio::test]
async fn an_older_document_replaces_nothing_and_is_not_submitted() {
    let mut world = World::new().await;
    world.serve_tcb_info((20, 600), (20, 600));
    world.step(0).await;
    assert_eq!(world.chain.issued(SGX), Some(VALID_FROM + 600));

    for older in [(20, 0), (19, 1200)] {
        world.serve_tcb_info(older, older);
        world.restart();
        let report = world.step(4000).await;
        let fetched = report.fetched.iter().find(|fetched| fetched.document == Request::standard(SGX)).unwrap();
        assert_eq!(fetched.freshness, Freshness::Older);
        assert_eq!((report.submitted.len(), world.chain.number(SGX)), (0, Some(20)));
    }
    // What is on disk is still the newest: a chain without documents gets that.
    world.chain = TestChain::new();
    world.step(8000).await;
    assert_eq!(world.chain.issued(SGX), Some(VALID_FROM + 600));
}

#[tokio::test]
async fn bad_answers_leave_the_good_document_in_the_cache() {
    let mut world = World::new().await;
    world.step(0).await;
    world.answer(Request::standard(SGX), Answer::body("garbage"));
    world.answer(Request::early(SGX), Answer::status(404));
    world.chain = TestChain::new();
    let report = world.step(3600).await;
    assert!(failing(&report, "fetch sgx-tcb-info-00a067110000").error.contains("answered 200"));
    assert!(failing(&report, "fetch sgx-tcb-info-00a067110000-early").error.contains("answered 404"));
    assert_eq!(world.chain.number(SGX), Some(20));
}

#[tokio::test]
async fn a_recovery_is_submitted_as_early_and_the_current_document_goes_on() {
    let mut world = World::new().await;
    world.step(0).await;
    world.serve_tcb_info((20, 600), (21, 600));
    let report = world.step(3600).await;
    let submitted: Vec<_> = report.submitted.iter().map(|new| (new.document, new.number)).collect();
    assert_eq!(submitted, [(Request::standard(SGX), 21)], "the current one is not a day newer");
    assert_eq!((report.early[0].number, report.early[0].counts_from), (21, NOW + EARLY_PERIOD));
    assert_eq!((world.chain.number(SGX), world.chain.issued(SGX)), (Some(20), Some(VALID_FROM)));

    // The recovery is in force at Intel before it is on chain: it is still the same early document.
    world.serve_tcb_info((21, 1200), (21, 1200));
    let report = world.step(7200).await;
    assert_eq!((report.submitted.len(), report.early[0].number), (0, 21));
}

#[tokio::test]
async fn a_recovery_in_the_place_of_the_current_document_does_not_stop_its_refresh() {
    let mut world = World::new().await;
    world.step(0).await;
    for (standard, freshness) in
        [((21, 600), Freshness::Newer), ((20, 1200), Freshness::Newer), ((19, 1800), Freshness::Older)]
    {
        world.serve_tcb_info(standard, (21, 600));
        world.restart();
        let report = world.step(4000).await;
        let fetched = report.fetched.iter().find(|fetched| fetched.document == Request::standard(SGX)).unwrap();
        assert_eq!(fetched.freshness, freshness, "{standard:?}");
        assert_eq!((world.chain.number(SGX), report.early[0].number), (Some(20), 21));
    }
}

#[tokio::test]
async fn a_chain_without_documents_never_starts_with_a_recovery() {
    let mut world = World::new().await;
    world.serve_tcb_info((20, 0), (21, 0));
    world.answer(Request::standard(SGX), Answer::status(404));
    let report = world.step(0).await;
    assert_eq!(world.chain.number(SGX), None);
    assert!(report.missing.contains(&Request::standard(SGX)));
    world.serve_tcb_info((20, 0), (21, 0));
    world.step(60).await;
    let state = world.chain.state();
    assert_eq!((state.documents[&SGX].number, state.early_documents[&SGX].kept.number), (20, 21));
}

#[tokio::test]
async fn what_the_chain_refuses_is_reported_and_tried_again() {
    let mut world = World::wanting([ASK]).await;
    world.chain.refuse(Some(ChainError::Refused("OutOfFunds".into())));
    let report = world.step(0).await;
    let task = "submit amd-intermediate-milan-vcek";
    assert_eq!(failing(&report, task).error, "the chain refuses it: OutOfFunds");
    assert_eq!((report.submitted.len(), report.next), (0, 60));
    let report = world.step(59).await;
    assert_eq!(failing(&report, task).times, 1);
    let report = world.step(60).await;
    assert_eq!((failing(&report, task).times, failing(&report, task).retry), (2, 180));
    world.chain.refuse(None);
    let report = world.step(180).await;
    assert!(report.failing.is_empty() && report.submitted.iter().any(|new| new.document == Request::standard(ASK)));
}

#[tokio::test]
async fn a_chain_that_is_away_is_asked_again_and_nobody_else_meanwhile() {
    let mut world = World::new().await;
    world.chain.away.store(true, Relaxed);
    let report = world.step(0).await;
    assert_eq!(failing(&report, "reach the chain").error, "the chain does not answer: away");
    assert_eq!(report.next, 60);
    assert!(world.intel.asked().is_empty());
    world.chain.away.store(false, Relaxed);
    assert!(is_fine(&world.step(60).await));
    // Although more is due then.
    world.chain.away.store(true, Relaxed);
    assert_eq!(world.step(10_000).await.next, 10_060);
}

#[tokio::test]
async fn a_chain_that_takes_no_transaction_is_tried_once_in_a_step() {
    let mut world = World::new().await;
    world.chain.refuse(Some(ChainError::Unreachable("late".into())));
    let report = world.step(0).await;
    assert_eq!(failing(&report, "reach the chain").error, "the chain does not answer: late");
    assert_eq!((world.chain.attempts.load(Relaxed), report.next), (1, 60));
    world.chain.refuse(None);
    assert!(is_fine(&world.step(60).await));
    assert!(world.chain.number(ASK).is_some());
}

#[tokio::test]
async fn a_clock_that_is_set_back_stops_nothing() {
    let mut world = World::wanting([ASK]).await;
    world.step(1_000_000).await;
    world.amd.asked();
    world.step(1_000).await;
    assert_eq!(world.amd.asked().len(), 2);
}

#[tokio::test]
async fn what_somebody_else_submitted_is_not_submitted_again() {
    let mut world = World::new().await;
    world.chain.keep(&mint::tcb_info(20, 0)).unwrap();
    assert!(world.step(0).await.submitted.iter().all(|new| new.document != Request::standard(SGX)));
}

#[tokio::test]
async fn the_cache_outlives_the_process_and_the_vendors() {
    let mut world = World::new().await;
    world.step(0).await;
    let kept = world.chain.state().documents.clone();
    world.restart();
    world.intel.break_down(Answer::status(503));
    world.amd.break_down(Answer::Never);
    world.chain = TestChain::new();
    let report = world.step(4000).await;
    assert_eq!(report.fetched, []);
    assert_eq!(world.chain.state().documents, kept);

    // Not beyond the documents' own end.
    world.chain = TestChain::new();
    world.chain.state().now = VALID_UNTIL + 1;
    assert_eq!(world.step(8000).await.kept, []);
}

#[tokio::test]
async fn what_ends_without_a_successor_is_reported() {
    let mut world = World::wanting([ASK]).await;
    world.step(0).await;
    world.chain.state().now = VALID_UNTIL - 8 * 3600 - 2;
    assert!(world.step(1).await.kept.iter().all(|kept| !kept.ends_soon));
    world.chain.state().now = VALID_UNTIL - 8 * 3600;
    let report = world.step(3600).await;
    assert!(report.kept.iter().all(|kept| kept.ends_soon), "{report:#?}");
}

#[tokio::test]
async fn a_disk_that_takes_nothing_costs_the_cache_alone() {
    let mut world = World::wanting([ASK]).await;
    std::fs::remove_dir_all(&world.config.cache).unwrap();
    let report = world.step(0).await;
    assert!(failing(&report, "fetch amd-crl-milan").error.contains("it cannot be stored"));
    assert!(world.chain.number(ASK).is_some() && world.chain.number(AMD_CRL).is_some());
    std::fs::create_dir(&world.config.cache).unwrap();
    assert!(world.step(60).await.failing.is_empty());
}

#[tokio::test]
async fn it_runs_until_it_is_dropped() {
    let World { service, chain, intel: _intel, amd: _amd, .. } = World::wanting([ASK]).await;
    let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
    tokio::select! {
        _ = service.run(chain, |report| sender.send(report).unwrap()) => {}
        report = reports.recv() => assert_eq!(report.unwrap().submitted.len(), 2),
    }
}

#[tokio::test]
async fn reports_are_json_with_names_of_documents() {
    let mut world = World::new().await;
    let json = serde_json::to_value(world.step(0).await).unwrap();
    assert_eq!(json["missing"][0], "pck-crl-processor");
    assert_eq!(json["failing"][0]["task"], "fetch pck-crl-processor");
    assert_eq!(json["fetched"][0]["freshness"], "newer");
}

#[tokio::test]
async fn a_reports_certificate_is_fetched_by_chip_and_tcb() {
    let amd = Imitation::start(LOOPBACK).await.unwrap();
    let client = Client::new(amd.services(), Duration::from_secs(5)).unwrap();
    let (Evidence::SevSnp { report, endorsement }, documents) = mint::sev_snp(&[0; 64]) else { unreachable!() };
    let error = client.endorsement(&report).await.unwrap_err();
    assert!(error.to_string().contains("?blSPL=04&teeSPL=01&snpSPL=24&ucodeSPL=220 answered 404"), "{error}");

    let id = EndorsementId::of_report(&report).unwrap();
    amd.serve_endorsement(&id, &endorsement);
    assert_eq!(client.endorsement(&report).await.unwrap(), endorsement);

    let SignedDocument::AmdIntermediate(other) = &documents[0] else { unreachable!() };
    for (wrong, expected) in [
        (&other[..], Reason::Refused(phala_attestation::Error::Mismatch(Document::Endorsement))),
        (b"garbage", Reason::Refused(phala_attestation::Error::Malformed(Document::Endorsement))),
        (&[0; 4097], Reason::TooLarge(4096)),
    ] {
        amd.serve_endorsement(&id, wrong);
        let Err(EndorsementError::Fetch(error)) = client.endorsement(&report).await else { panic!("accepted") };
        assert_eq!(error.reason, expected);
    }
}

#[tokio::test]
async fn a_report_that_names_no_chip_is_not_asked_about() {
    let amd = Imitation::start(LOOPBACK).await.unwrap();
    let client = Client::new(amd.services(), Duration::from_secs(5)).unwrap();
    let (Evidence::SevSnp { report, .. }, _) = mint::sev_snp(&[0; 64]) else { unreachable!() };
    let changed = |at: std::ops::Range<usize>, value: u8| {
        let mut report = report.clone();
        report[at].fill(value);
        report
    };
    for report in [vec![], changed(0..1, 2), changed(0x48..0x49, 1 << 2), changed(0x1a0..0x1e0, 0)] {
        assert!(matches!(client.endorsement(&report).await, Err(EndorsementError::Report(_))));
    }
    assert!(amd.asked().is_empty());
}

#[test]
fn only_urls_of_services_are_taken() {
    for url in ["", "api.trustedservices.intel.com", "file:///etc/passwd", "http://"] {
        let services = Services { amd: url.into(), ..Services::default() };
        assert!(Client::new(services, Duration::from_secs(1)).is_err(), "{url}");
    }
    assert!(Client::new(Services::default().with_pccs("https://pccs.example/"), Duration::from_secs(1)).is_ok());
}

/// Answers of the vendors' own services, under the pinned roots.
#[tokio::test]
async fn recorded_answers_are_understood() {
    let Some(folder) = recorded::folder() else { return };
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let escaped = |pem: &[u8]| percent_encoding::percent_encode(pem, percent_encoding::NON_ALPHANUMERIC).to_string();
    let signers = escaped(&read("automata/tcb_signing_cert.pem"));
    let chain = read("automata/pck_certchain.pem");
    let pck_ca = chain.windows(10).enumerate().filter(|(_, text)| text == b"-----BEGIN").nth(1).unwrap().0;
    let pck_ca = escaped(&chain[pck_ca..]);
    // 20 May and 15 September 2024.
    let (may, september) = (1_716_163_200, 1_726_358_400);
    let tdx = DocumentId::TdxTcbInfo([0, 0x80, 0x6f, 5, 0, 0]);
    let intermediate = |generation, key| DocumentId::AmdIntermediate(generation, key);
    let imitation = Imitation::start(LOOPBACK).await.unwrap();
    let client = Client::new(imitation.services(), Duration::from_secs(5)).unwrap();
    for (id, file, chain, now) in [
        (tdx, "automata/tcbinfov3_00806f050000.json", Some(&signers), september),
        (DocumentId::TdxQeIdentity, "automata/qeidentityv2_apiv4.json", Some(&signers), september),
        (DocumentId::SgxQeIdentity, "automata/qeidentityv2.json", Some(&signers), september),
        (DocumentId::IntelRootCrl, "automata/intel_root_ca_crl.der", None, september),
        (PLATFORM_CRL, "automata/pck_platform_crl.der", Some(&pck_ca), may),
        (intermediate(Generation::Milan, SigningKey::Vcek), "go-sev-guest/ask_ark_milan.pem", None, may),
        (intermediate(Generation::Milan, SigningKey::Vlek), "go-sev-guest/ask_ark_milan_vlek.pem", None, may),
        (intermediate(Generation::Genoa, SigningKey::Vcek), "go-sev-guest/ask_ark_genoa.pem", None, may),
        (intermediate(Generation::Turin, SigningKey::Vcek), "virtee-sev/cert_chain_turin", None, may),
    ] {
        let request = Request::standard(id);
        let name = request.issuer_chain_headers().first().map(|name| (*name).to_owned());
        let headers = name.zip(chain.cloned()).into_iter().collect();
        imitation.answer(request, Answer::Whole { status: 200, headers, body: read(file) });
        client.fetch(request, &Policy::default(), now).await.unwrap();
    }
}
