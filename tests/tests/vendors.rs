//! Workers on TEEs of several vendors, simulated ones: evidence, documents, TCB recoveries, and what breaks.

use anyhow::{Context, Result, ensure};
use phala_attestation::{DocumentId, Family, SignedDocument, mint::Mint};
use phala_collateral::{
    Request,
    imitation::{Answer, Imitation},
};
use phala_primitives::job::JobStatus;
use phala_sdk::chain::{Chain, call};
use phala_tests::{Network, guest, wait_until};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    process::{Child, Stdio},
};
use tokio::runtime::Runtime;

/// What every simulated platform of Intel's and AMD's says of itself.
const INTEL: &str = "fmspc:00a067110000";
const AMD: &str = "generation:milan";
const FMSPC: [u8; 6] = [0, 0xa0, 0x67, 0x11, 0, 0];

fn list(network: &Network) -> Result<Vec<Value>> {
    let workers = network.phala(&["worker", "list", "--all", "--json"])?.ok()?.json()?;
    workers.as_array().cloned().context("a list of workers")
}

fn of_family(network: &Network, family: &str) -> Result<Value> {
    let worker = list(network)?.into_iter().find(|worker| worker["family"] == family);
    worker.with_context(|| format!("no worker of {family}"))
}

fn id(worker: &Value) -> Result<String> {
    Ok(worker["worker"].as_str().context("a worker has an id")?.to_owned())
}

async fn now(chain: &Chain) -> Result<u64> {
    Ok(chain.best().await?.timestamp_ms().await? / 1000)
}

#[test]
fn workers_prove_themselves_with_evidence_of_each_vendor() -> Result<()> {
    let network = Network::start_with(&["--workers", "3", "--tee", "sgx,tdx,sev-snp"])?;
    let workers = list(&network)?;
    let mut families: Vec<_> = workers.iter().map(|worker| worker["family"].as_str().unwrap_or_default()).collect();
    families.sort_unstable();
    ensure!(families == [INTEL, INTEL, AMD], "{families:?}");
    for worker in &workers {
        ensure!(worker["status"] == "active" && worker["tier"] == "full", "{worker}");
        // Whatever it imitates.
        let vendor = if worker["family"] == AMD { "simulated:amd" } else { "simulated:intel" };
        ensure!(worker["simulated"] == true && worker["vendor"] == vendor, "{worker}");
        let verdict = network.phala(&["verify", "worker", &id(worker)?])?.ok()?;
        ensure!(verdict.stdout().contains("SIMULATED root"), "{}", verdict.stdout());
    }
    let stdin = network.file("stdin", "hello")?;
    ensure!(network.job("echo", &["--stdin", &stdin])?.ok()?.stdout() == "hello");

    // Their documents are on chain, and those of no TEE that nobody imitates.
    let documents = network.phala(&["collateral", "list", "--json"])?.ok()?.json()?;
    let documents: Vec<_> = documents.as_array().into_iter().flatten().map(|kept| kept["document"].clone()).collect();
    for name in ["TCB info for SGX, FMSPC 00A067110000", "TCB info for TDX, FMSPC 00A067110000", "ASK of Milan"] {
        ensure!(documents.iter().any(|document| document == name), "no {name} in {documents:?}");
    }
    Ok(())
}

/// A third of the network is behind when Intel raises the TCB evaluation number. Nobody is refused by surprise: its operator is
/// warned, its jobs go to others first, and it is out when the time that the chain gives is over.
#[test]
fn a_tcb_recovery_is_announced_and_drains_who_is_behind() -> Result<()> {
    let network = Network::start_with(&["--workers", "3", "--tee", "sgx,tdx,sev-snp"])?;
    let recovered = Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        chain.submit_finalized(&network.sudo(), call::sudo(call::set_early_period(60))).await?;
        let recovery = Mint::at(now(&chain).await?).tcb_recovery(21);
        chain.submit_finalized(&network.sudo(), call::submit_document(recovery)).await?;
        now(&chain).await
    })?;
    // Its host has its evidence looked at by itself.
    let behind = wait_until("the worker that is behind is warned", 60, || {
        Ok(list(&network)?.into_iter().find(|worker| !worker["outlook"].is_null()))
    })?;
    let from = behind["outlook"]["from"].as_u64().context("when")?;
    ensure!(behind["family"] == INTEL && behind["outlook"]["tier"].is_null(), "{behind}");
    ensure!((recovered..=recovered + 60).contains(&from) && behind["verdict_expires"] == from, "{behind}");
    ensure!(behind["status"] == "active", "{behind}");
    let shown = network.phala(&["worker", "list"])?.ok()?.stdout();
    ensure!(shown.contains("active, to be updated"), "{shown}");
    let early = network.phala(&["collateral", "list"])?.ok()?.stdout();
    ensure!(early.contains("a TCB recovery"), "{early}");

    let others_work = |network: &Network| -> Result<()> {
        for _ in 0..3 {
            let report = network.job("empty", &[])?.ok()?.report()?;
            ensure!(report["worker"]["worker"] != behind["worker"], "{report}");
        }
        let others = list(network)?.into_iter().filter(|worker| worker["worker"] != behind["worker"]);
        let statuses: Vec<_> = others.map(|worker| (worker["status"].clone(), worker["outlook"].clone())).collect();
        ensure!(statuses == [("active".into(), Value::Null), ("active".into(), Value::Null)], "{statuses:?}");
        Ok(())
    };
    others_work(&network)?;
    wait_until("the worker that is behind is out", 120, || {
        Ok(list(&network)?
            .into_iter()
            .find(|worker| worker["worker"] == behind["worker"] && worker["status"] == "expired"))
    })?;
    others_work(&network)
}

/// The list of what Intel has revoked, that of the CA of platforms.
fn revocation_list(mint: &Mint) -> Result<SignedDocument> {
    let list = mint.sgx(&[0; 64]).1.into_iter().find(|document| matches!(document, SignedDocument::PckCrl { .. }));
    list.context("SGX has a revocation list")
}

/// The next list is late. Nothing of the vendor is believed from the end of the last one on, and not sooner; others work on; hosts that
/// wait pay nothing for it, and their workers are back by themselves when the list is there.
#[test]
fn a_revocation_list_that_is_late_costs_nothing_but_the_wait() -> Result<()> {
    let network = Network::start_with(&["--workers", "2", "--tee", "sgx,sev-snp"])?;
    let runtime = Runtime::new()?;
    let chain = runtime.block_on(network.chain())?;
    let submit = |document| {
        let submit = call::submit_document(document);
        runtime.block_on(async { Box::pin(chain.submit_finalized(&network.sudo(), submit)).await })
    };
    let start = runtime.block_on(now(&chain))?;
    let end = start + 60;
    submit(revocation_list(&Mint { until: end, ..Mint::at(start) })?)?;
    // A recovery that the platform is good enough for: its host has the evidence verified anew.
    submit(Mint::at(start).tcb_info(21))?;
    wait_until("the verdict ends with the list", 60, || {
        Ok((of_family(&network, INTEL)?["verdict_expires"].as_u64().is_some_and(|expires| expires < end)).then_some(()))
    })?;
    ensure!(of_family(&network, INTEL)?["status"] == "active", "out before the list has ended");
    wait_until("the worker is out", 120, || Ok((of_family(&network, INTEL)?["status"] == "expired").then_some(())))?;
    ensure!(runtime.block_on(now(&chain))? + 2 >= end, "out before the list has ended");
    let report = network.job("empty", &[])?.ok()?.report()?;
    ensure!(report["worker"]["worker"] == of_family(&network, AMD)?["worker"], "{report}");

    let balance = || {
        runtime.block_on(async {
            let state = chain.best().await?;
            let mut workers = state.workers().await?.into_iter();
            let waits = workers.find(|(_, worker)| worker.family == Family::Fmspc(FMSPC)).context("a worker")?.1;
            anyhow::Ok((state.block().number, state.balance(waits.operator).await?.free))
        })
    };
    let (block, before) = balance()?;
    let after = wait_until("some blocks", 60, || Ok(Some(balance()?).filter(|(later, _)| *later >= block + 10)))?.1;
    ensure!(after >= before, "waiting has cost {}", before - after);

    submit(revocation_list(&Mint::at(runtime.block_on(now(&chain))?))?)?;
    wait_until("the worker is back", 240, || Ok((of_family(&network, INTEL)?["status"] == "active").then_some(())))
}

/// A job that somebody waits for.
fn run_in_background(network: &Network, seconds: u32) -> Result<Child> {
    let mut command = network.command(&["job", "run", "--json"]);
    command.arg(guest("sleep")).args(["--", &(seconds * 1000).to_string()]);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// What every job that is assigned is assigned to.
async fn assigned(chain: &Chain) -> Result<BTreeSet<(u64, String)>> {
    let jobs = chain.best().await?.jobs().await?.into_iter();
    Ok(jobs
        .filter_map(|(job, record)| match record.status {
            JobStatus::Assigned(assignment) => Some((job, assignment.worker.to_string())),
            _ => None,
        })
        .collect())
}

/// Under load: nothing new goes there, what runs moves, and the report lists exactly what was there.
#[test]
fn a_class_that_is_declared_broken_loses_its_jobs_and_the_report_lists_them() -> Result<()> {
    let network = Network::start_with(&["--workers", "2", "--tee", "sgx,sev-snp"])?;
    let [broken, sound] = [AMD, INTEL].map(|family| of_family(&network, family));
    let [broken, sound] = [id(&broken?)?, id(&sound?)?];
    // Each has place for four.
    let mut children = (0..6).map(|_| run_in_background(&network, 15)).collect::<Result<Vec<_>>>()?;
    let runtime = Runtime::new()?;
    let chain = runtime.block_on(network.chain())?;
    let before = wait_until("all jobs are assigned", 60, || {
        let assigned = runtime.block_on(assigned(&chain))?;
        Ok((assigned.len() == 6).then_some(assigned))
    })?;
    let exposed: BTreeSet<_> = before.into_iter().filter(|(_, worker)| *worker == broken).collect();
    ensure!(exposed.len() >= 2, "{exposed:?}");

    network.phala(&["class", "compromise", AMD])?.ok()?;
    let twice = network.phala(&["class", "compromise", AMD])?;
    ensure!(twice.status == Some(1) && twice.stderr.contains("AlreadyCompromised"), "{}", twice.stderr);
    wait_until("the worker is cordoned", 60, || {
        let worker = of_family(&network, AMD)?;
        Ok((worker["status"] == "cordoned" && worker["running"] == 0).then_some(()))
    })?;
    let classes = network.phala(&["class", "list", "--json"])?.ok()?.json()?;
    ensure!(classes[0]["class"] == AMD && classes[0]["workers"] == 1, "{classes}");
    for child in &mut children {
        let status = child.wait()?;
        ensure!(status.success(), "a job that moved: {status}");
    }
    let settled = runtime.block_on(async { chain.best().await?.jobs().await.map_err(anyhow::Error::from) })?;
    for (job, record) in settled {
        let JobStatus::Settled(settlement) = record.status else { anyhow::bail!("job {job}: {:?}", record.status) };
        ensure!(settlement.worker.to_string() == sound, "job {job} was settled by the broken worker");
    }

    let report = network.phala(&["class", "exposure", AMD, "--json"])?.ok()?.json()?;
    let listed: BTreeSet<_> = report["jobs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| (row["job"].as_u64().unwrap_or(u64::MAX), row["worker"].as_str().unwrap_or_default().to_owned()))
        .collect();
    ensure!(listed == exposed, "{listed:?} instead of {exposed:?}");
    let nothing = network.phala(&["class", "exposure", "generation:turin"])?.ok()?.stdout();
    ensure!(nothing.contains("No job"), "{nothing}");

    network.phala(&["class", "restore", AMD])?.ok()?;
    wait_until("the worker is back with new evidence", 120, || {
        Ok((of_family(&network, AMD)?["status"] == "active").then_some(()))
    })
}

/// From nothing on chain: it fetches what one family needs, goes on where a vendor is out of order, and submits nothing twice.
#[test]
fn the_collateral_service_brings_what_vendors_publish() -> Result<()> {
    let network = Network::start(0)?;
    let runtime = Runtime::new()?;
    let (vendors, url) = runtime.block_on(async {
        let vendors = Imitation::start(([127, 0, 0, 1], 0).into()).await?;
        let chain = network.chain().await?;
        let mint = Mint::at(now(&chain).await?);
        let policy = chain.best().await?.policy().await?;
        for document in [mint.sgx(&[0; 64]).1, mint.sev_snp(&[0; 64]).1].concat() {
            let id = phala_attestation::verify_document(&document, &policy, mint.from)?.id();
            vendors.serve(Request::standard(id), &document);
        }
        vendors.serve(Request::early(DocumentId::SgxTcbInfo(FMSPC)), &mint.tcb_recovery(21));
        let url = format!("http://{}", vendors.address());
        anyhow::Ok((vendors, url))
    })?;
    let serve = |options: &[&str]| {
        let all = ["collateral", "serve", "--once", "--json", "--pccs", &url, "--kds", &url];
        network.phala(&[&all, options].concat())
    };
    // Nobody said what is wanted.
    let nothing = serve(&[])?.ok()?.json()?;
    ensure!(nothing["kept"] == Value::Array(vec![]), "{nothing}");

    // TDX, VLEKs and the early QE identity are not to be had here.
    let wanted = ["--fmspc", "00A067110000", "--generation", "milan"];
    let first = serve(&wanted)?.exited(1)?.json()?;
    let names = |report: &Value, what: &str| -> Vec<String> {
        let rows = report[what].as_array().into_iter().flatten();
        rows.map(|row| row["document"].as_str().or(row.as_str()).unwrap_or_default().to_owned()).collect()
    };
    let submitted = names(&first, "submitted");
    for name in ["sgx-tcb-info-00a067110000", "sgx-qe-identity", "amd-crl-milan"] {
        ensure!(submitted.iter().any(|document| document == name), "no {name} in {first}");
    }
    ensure!(submitted.len() == 7, "{first}");
    ensure!(names(&first, "early") == ["sgx-tcb-info-00a067110000"] && first["early"][0]["number"] == 21, "{first}");
    let kept = network.phala(&["collateral", "list", "--json"])?.ok()?.json()?;
    ensure!(kept.as_array().map(Vec::len) == Some(7), "{kept}");

    // Out of order, and started anew: nothing is lost, and what fails is told.
    vendors.break_down(Answer::status(503));
    let outage = serve(&wanted)?.exited(1)?.json()?;
    ensure!(names(&outage, "submitted").is_empty() && names(&outage, "kept").len() == 6, "{outage}");
    ensure!(outage["failing"].to_string().contains("503"), "{outage}");
    vendors.recover();
    let again = serve(&wanted)?.exited(1)?.json()?;
    ensure!(names(&again, "submitted").is_empty() && names(&again, "kept").len() == 6, "{again}");

    let bad = network.phala(&["collateral", "serve", "--once", "--fmspc", "12"])?.exited(2)?;
    ensure!(bad.stderr.contains("12 hexadecimal digits"), "{}", bad.stderr);
    let bad = network.phala(&["collateral", "serve", "--once", "--kds", "ftp://kds"])?.exited(1)?;
    ensure!(bad.stderr.contains("http://"), "{}", bad.stderr);
    Ok(())
}
