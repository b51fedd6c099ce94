//! `phala verify`: chains of evidence, link by link.

use anyhow::Context as _;
use phala_primitives::{JobId, WorkerId, job::JobStatus};
use phala_sdk::{
    evidence::{EnclaveReport, WorkerReport, verify_gatekeeper, verify_worker},
    job::{JobError, Jobs},
    receipt::{self, Facts, ReceiptError},
};
use serde_json::json;

use crate::{
    Status, args,
    commands::{evidence, gatekeeper, worker},
    context::Context,
    output::{Output, checks, facts},
};

pub(crate) async fn run(command: args::Verify, context: &Context, output: &Output) -> Status {
    match command {
        args::Verify::Evidence(options) => evidence::run(&options, output),
        args::Verify::Worker { worker } => worker_verdict(&worker, context, output).await,
        args::Verify::Gatekeeper { gatekeeper } => gatekeeper_verdict(&gatekeeper, context, output).await,
        args::Verify::Receipt { job } => verify_receipt(job, context, output).await,
    }
}

/// The verdict in one line, which never hides that there is no TEE.
pub(crate) fn verdict(report: &EnclaveReport) -> String {
    match report.simulated {
        true => "SIMULATED: no TEE protects this enclave; whoever runs its host can read everything".into(),
        false => format!("{} TEE, genuine and up to date", worker::vendor(report.vendor)),
    }
}

async fn worker_verdict(text: &str, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let (id, _) = worker::find(&chain, text).await?;
    output.progress("Fetching the evidence from the worker's host, and challenging its enclave …");
    let hosts = context.hosts()?;
    let state = chain.best().await?;
    let verified = Box::pin(verify_worker(&chain, &hosts, &state, id)).await;
    let report = verified.with_context(|| format!("worker {id} does NOT verify"))?.report();
    output.result(&report, || proved(&[("Worker", report.worker.to_string())], &report.enclave))?;
    Ok(0)
}

async fn gatekeeper_verdict(text: &str, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let id = gatekeeper::find(&chain, text).await?;
    output.progress("Fetching the evidence from the gatekeeper's host, and challenging its enclave …");
    let hosts = context.hosts()?;
    let state = chain.best().await?;
    let verified = Box::pin(verify_gatekeeper(&chain, &hosts, &state, id)).await;
    let report = verified.with_context(|| format!("gatekeeper {id} does NOT verify"))?.report();
    output.result(&report, || {
        proved(&[("Gatekeeper", report.gatekeeper.to_string()), ("Seat", report.seat.to_string())], &report.enclave)
    })?;
    Ok(0)
}

/// Who it is, what was proved of its enclave, and each link of that.
fn proved(who: &[(&str, String)], enclave: &EnclaveReport) -> String {
    let what = [
        ("Operator", enclave.operator.to_string()),
        ("Verdict", verdict(enclave)),
        ("Image", format!("{} version {}", enclave.measurement, enclave.image_version)),
        ("Platform", enclave.platform.clone()),
    ];
    format!("{}\n{}", facts(&[who, &what].concat()), checks(&enclave.checks))
}

async fn verify_receipt(id: JobId, context: &Context, output: &Output) -> Status {
    let jobs = context.jobs().await?;
    output.progress("Fetching the receipt from the worker's host …");
    // With what this machine knows of the job, its input and output can be checked as well.
    let (receipt, found, report) = match jobs.record(id) {
        Ok(record) => {
            let result = jobs.result(&record, &|_| ()).await?;
            (result.receipt, result.checks, result.worker.ok())
        }
        Err(JobError::NotOurs(_)) => foreign(&jobs, id).await?,
        Err(error) => return Err(error.into()),
    };
    let fields = &receipt.receipt;
    let value = json!({
        "job": id,
        "worker": fields.worker,
        "measurement": format!("0x{}", hex::encode(fields.measurement)),
        "simulated": report.as_ref().map(|report| report.enclave.simulated),
        "outcome": fields.outcome,
        // At most so much: padded.
        "fuel": fields.fuel,
        "block": fields.block_number,
        "checks": found,
        "worker_checks": report.as_ref().map(|report| &report.enclave.checks),
    });
    output.result(&value, || {
        let facts = facts(&[
            ("Job", id.to_string()),
            ("Worker", fields.worker.to_string()),
            (
                "Verdict",
                report.as_ref().map_or_else(
                    || "NOT CHECKED: the worker cannot be verified now".into(),
                    |report| verdict(&report.enclave),
                ),
            ),
            ("Seen at", format!("block {} 0x{}", fields.block_number, hex::encode(fields.block_hash))),
        ]);
        let mut text = format!("{facts}\nThe receipt:\n{}\n", checks(&found));
        if let Some(report) = &report {
            text.push_str(&format!("\nThe worker:\n{}\n", checks(&report.enclave.checks)));
        }
        text
    })?;
    Ok(0)
}

/// The receipt of somebody else's job.
async fn foreign(
    jobs: &Jobs,
    id: JobId,
) -> anyhow::Result<(phala_primitives::SignedReceipt, Vec<phala_sdk::evidence::Check>, Option<WorkerReport>)> {
    let chain = jobs.chain();
    let state = chain.best().await?;
    let job = state.job(id).await?.ok_or(JobError::UnknownJob(id))?;
    let JobStatus::Settled(settlement) = &job.status else { return Err(ReceiptError::NotSettled.into()) };
    let app = jobs.settled_app(&state, &job, settlement.at).await?;
    let who: WorkerId = settlement.worker;
    let worker = state.worker(who).await?.with_context(|| format!("worker {who} is not registered any more"))?;
    let host = jobs.hosts().at(&String::from_utf8_lossy(&worker.endpoint))?;
    let receipt = host.receipt(id).await?;
    let verified = Box::pin(verify_worker(chain, jobs.hosts(), &state, who)).await;
    let verified = verified.map_err(|error| format!("the worker cannot be verified now: {error}"));
    let facts = Facts {
        genesis_hash: chain.genesis_hash(),
        id,
        job: &job,
        app: &app,
        measurement: match &verified {
            Ok(worker) => Ok(worker.verdict().measurement()),
            Err(why) => Err(why),
        },
        input_hash: None,
        output: None,
    };
    let found = receipt::verify(&receipt, &facts)?;
    Ok((receipt, found, verified.ok().map(|worker| worker.report())))
}
