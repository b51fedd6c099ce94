//! `phala worker`.

use anyhow::{Context as _, bail};
use codec::Encode;
use phala_attestation::{Tier, Vendor, VendorName};
use phala_primitives::{WorkerId, attestation::Outlook, worker::WorkerStatus};
use phala_sdk::{
    amount,
    chain::{Call, Chain, Worker, call},
    host::{HostError, HostWorker, Hosts},
};
use serde_json::{Value, json};
use std::time::Duration;

use super::find_by_prefix;
use crate::{
    Status, args,
    context::Context,
    output::{Output, facts, number, short, table},
};

pub(crate) async fn run(command: args::Worker, context: &Context, output: &Output) -> Status {
    match command {
        args::Worker::List { all } => list(all, context, output).await,
        args::Worker::Show { worker } => show(&worker, context, output).await,
        args::Worker::Register { host, price, endpoint } => register(&host, price, endpoint, context, output).await,
        args::Worker::Drain { worker } => change(&worker, call::drain, "gets no more jobs", context, output).await,
        args::Worker::Resume { worker } => change(&worker, call::resume, "gets jobs again", context, output).await,
        args::Worker::SetPrice { worker, price } => {
            let effect = format!("asks {} for 10⁹ fuel", amount::format(price));
            change(&worker, |id| call::set_price(id, price), &effect, context, output).await
        }
        args::Worker::SetEndpoint { worker, endpoint } => {
            let endpoint = endpoint.trim_end_matches('/');
            let effect = format!("is at {endpoint}");
            change(&worker, |id| call::set_endpoint(id, endpoint), &effect, context, output).await
        }
        args::Worker::Deregister { worker } => {
            change(&worker, call::deregister, "is registered no more", context, output).await
        }
    }
}

/// How long a host is asked about its worker where the answer is only good to know.
const HOST_PATIENCE: Duration = Duration::from_secs(5);

/// The worker with an id, or with one that begins so.
pub(crate) async fn find(chain: &Chain, text: &str) -> anyhow::Result<(WorkerId, Worker)> {
    if let Ok(id) = text.parse::<WorkerId>() {
        let worker = chain.read(async |state| state.worker(id).await).await?;
        return Ok((id, worker.with_context(|| format!("the chain knows no worker {id}"))?));
    }
    let workers = chain.read(async |state| state.workers().await).await?;
    find_by_prefix(workers, |(id, _)| id.0, text, ("worker", "phala worker list --all"))
}

/// A worker's status, with what the chain does not store as one.
fn status(worker: &Worker, now: u64) -> &'static str {
    match worker.status {
        _ if worker.verdict_expires <= now => "expired",
        WorkerStatus::Active => "active",
        WorkerStatus::Cordoned => "cordoned",
        WorkerStatus::Draining => "draining",
        WorkerStatus::Unresponsive => "unresponsive",
    }
}

fn endpoint(worker: &Worker) -> String {
    String::from_utf8_lossy(&worker.endpoint).chars().filter(|c| !c.is_control()).collect()
}

fn value(id: &WorkerId, worker: &Worker, now: u64) -> Value {
    json!({
        "worker": id,
        "operator": worker.operator,
        "status": status(worker, now),
        "endpoint": endpoint(worker),
        "price": amount::format_number(worker.price),
        "fuel_per_second": worker.performance.fuel_per_second,
        "capacity": worker.performance.capacity,
        "running": worker.running,
        "vendor": worker.vendor,
        "simulated": worker.vendor.is_simulated(),
        "measurement": format!("0x{}", hex::encode(worker.measurement.0)),
        "platform": format!("0x{}", hex::encode(worker.platform.0)),
        "family": worker.family.to_string(),
        "tier": worker.tier,
        "encryption_key": phala_sdk::encryption::recipient(&worker.encryption_key).to_string(),
        "verified_at": worker.verified_at,
        "verdict_expires": worker.verdict_expires,
        "outlook": worker.outlook.map(|outlook| json!({ "from": outlook.from, "tier": outlook.tier })),
        "evidence_hash": format!("0x{}", hex::encode(worker.evidence_hash)),
        "registered_at": worker.registered_at,
        "last_heartbeat": worker.last_heartbeat,
    })
}

async fn list(all: bool, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let (now, mut workers) =
        chain.read(async |state| Ok((state.timestamp_ms().await? / 1000, state.workers().await?))).await?;
    let registered = workers.len();
    workers.retain(|(_, worker)| all || status(worker, now) == "active");
    let values: Vec<_> = workers.iter().map(|(id, worker)| value(id, worker, now)).collect();
    output.result(&values, || {
        if workers.is_empty() {
            return match registered {
                0 => "No worker is registered on this chain.".into(),
                count => format!("None of {count} workers is active; `phala worker list --all` shows them."),
            };
        }
        let rows = workers.iter().map(|(id, worker)| {
            let warned = if worker.is_exposed() { ", to be updated" } else { "" };
            vec![
                short(id),
                format!("{}{warned}", status(worker, now)),
                format!("{}/{}", worker.running, worker.performance.capacity),
                amount::format(worker.price),
                format!("{} M/s", number(worker.performance.fuel_per_second / 1_000_000)),
                vendor(worker.vendor),
                endpoint(worker),
            ]
        });
        table(&["worker", "status", "jobs", "price per 10⁹ fuel", "speed", "tee", "endpoint"], rows)
    })?;
    Ok(0)
}

/// Who made a TEE, for people.
pub(crate) fn vendor(vendor: Vendor) -> String {
    match vendor {
        Vendor::Intel => "Intel".into(),
        Vendor::Amd => "AMD".into(),
        Vendor::Simulated(VendorName::DEVELOPMENT) => "SIMULATED".into(),
        Vendor::Simulated(name) => format!("SIMULATED {name}"),
    }
}

fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Full => "full",
        Tier::Limited => "limited: it gets fewer jobs, and cannot be a gatekeeper",
    }
}

/// What a TCB recovery will make of a worker, for people.
fn outlook(worker: &Worker, now: u64) -> String {
    let then = |outlook: Outlook| match outlook.tier {
        Some(other) => tier(other),
        None => "refused; its jobs go to others first",
    };
    worker.outlook.map_or_else(|| "good".into(), |outlook| by_recovery(outlook, now, then(outlook)))
}

/// What happens then, for people.
pub(crate) fn by_recovery(outlook: Outlook, now: u64, then: &str) -> String {
    let left = outlook.from.saturating_sub(now);
    format!("in {} h {} min, by a TCB recovery: {then}. Update the platform", left / 3600, left % 3600 / 60)
}

/// What a worker's host says about it, if it answers soon.
pub(crate) async fn ask(hosts: &Hosts, endpoint: &str) -> Result<HostWorker, HostError> {
    let host = hosts.at(endpoint)?;
    tokio::time::timeout(HOST_PATIENCE, host.worker()).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {} s", HOST_PATIENCE.as_secs());
        Err(HostError::Unreachable { url: endpoint.into(), reason })
    })
}

async fn show(text: &str, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let (id, worker) = find(&chain, text).await?;
    let (block, now, challenged) = chain
        .read(async |state| Ok((state.block().number, state.timestamp_ms().await? / 1000, state.challenged(id).await?)))
        .await?;
    output.progress("Asking the worker's host …");
    let said = ask(&context.hosts()?, &endpoint(&worker)).await;
    let mut json = value(&id, &worker, now);
    json["challenged"] = challenged.into();
    json["pause"] = said.as_ref().ok().and_then(|said| said.pause.as_deref()).into();
    json["host_error"] = said.as_ref().err().map(ToString::to_string).into();
    output.result(&json, || {
        let left = worker.verdict_expires.saturating_sub(now);
        facts(&[
            ("Worker", id.to_string()),
            ("Operator", worker.operator.to_string()),
            ("Status", status(&worker, now).into()),
            ("Enclave", enclave(&said)),
            ("Endpoint", endpoint(&worker)),
            ("Price", format!("{} per 10⁹ fuel", amount::format(worker.price))),
            ("Speed", format!("{} fuel per second and job", number(worker.performance.fuel_per_second))),
            ("Jobs", format!("{} of {}", worker.running, worker.performance.capacity)),
            ("TEE", vendor(worker.vendor)),
            ("Image", format!("0x{}", hex::encode(worker.measurement.0))),
            ("Platform", format!("0x{}", hex::encode(worker.platform.0))),
            ("Family", worker.family.to_string()),
            ("Tier", tier(worker.tier).into()),
            ("Recipient", phala_sdk::encryption::recipient(&worker.encryption_key).to_string()),
            ("Verdict", format!("ends in {} h {} min", left / 3600, left % 3600 / 60)),
            ("Outlook", outlook(&worker, now)),
            ("Registered", format!("in block {}", worker.registered_at)),
            ("Heartbeat", format!("in block {} of {block}", worker.last_heartbeat)),
            ("Challenge", challenged.map_or("none is open".into(), |at| format!("of block {at}, not answered yet"))),
            ("Evidence", format!("check it with `phala verify worker {}`", &id.to_string()[..14])),
        ])
    })?;
    Ok(0)
}

/// What a host says about its enclave, for people.
fn enclave(said: &Result<HostWorker, HostError>) -> String {
    match said {
        Ok(HostWorker { pause: None }) => "takes work, as its host says".into(),
        Ok(HostWorker { pause: Some(why) }) => format!("takes NO work: {why}"),
        Err(error) => format!("unknown: {error}"),
    }
}

async fn register(host: &str, price: u128, endpoint: Option<String>, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let signer = context.signer(&chain).await?;
    output.progress("Asking the host for fresh evidence …");
    let host = context.hosts()?.at(host)?;
    let bundle = host.registration().await?;
    if bundle.statement.genesis_hash != chain.genesis_hash() {
        bail!("the host's enclave follows another chain than the node at {}", chain.url());
    }
    if bundle.statement.operator != signer.account().0 {
        bail!(
            "the enclave works for {}, not for {}; start its host with --operator {}",
            phala_sdk::Account(bundle.statement.operator),
            signer.account(),
            signer.account()
        );
    }
    let id = WorkerId(bundle.statement.signing_key);
    let endpoint = endpoint.or(bundle.endpoint).unwrap_or_else(|| host.url().into());
    let evidence_bytes = bundle.evidence.encode().len();
    let known = chain.read(async |state| state.worker(id).await).await?;
    let call = match known {
        Some(_) => call::renew(bundle.statement, bundle.evidence, bundle.performance),
        None => call::register(bundle.statement, bundle.evidence, bundle.performance, &endpoint, price),
    };
    output.progress("Registering …");
    let included = chain.submit(&signer, call).await?;
    let what = if known.is_some() { "renewed" } else { "registered" };
    let value = json!({
        "worker": id,
        "operator": signer.account(),
        "action": what,
        "endpoint": endpoint,
        "evidence_bytes": evidence_bytes,
        "block": included.block.number,
        "fee": amount::format_number(included.fee),
    });
    output.result(&value, || {
        format!("Worker {id} {what} in block {} (fee {})", included.block.number, amount::format(included.fee))
    })?;
    Ok(0)
}

async fn change(
    text: &str,
    call: impl FnOnce(WorkerId) -> Call,
    effect: &str,
    context: &Context,
    output: &Output,
) -> Status {
    let chain = context.chain().await?;
    let signer = context.signer(&chain).await?;
    let (id, _) = find(&chain, text).await?;
    output.progress("Submitting …");
    let included = chain.submit(&signer, call(id)).await?;
    let value = json!({ "worker": id, "block": included.block.number, "fee": amount::format_number(included.fee) });
    output.result(&value, || format!("Worker {id} {effect} from block {} on", included.block.number))?;
    Ok(0)
}
