//! Machines that fail: each job ends all the same, and is paid once.

use anyhow::{Context, Result, ensure};
use phala_primitives::JobId;
use phala_tests::{Network, wait_until};
use serde_json::Value;

/// Arguments of the compute-heavy program that keep it busy for a good many seconds.
const LONG: &[&str] = &["--wall-time", "120", "--fuel", "10T", "--", "4000"];

fn status(network: &Network, job: JobId) -> Result<Value> {
    network.phala(&["job", "status", &job.to_string(), "--json"])?.ok()?.json()
}

/// The index of the worker that has the job, as `phala dev` counts them.
fn assigned(network: &Network, job: JobId) -> Result<usize> {
    let worker = status(network, job)?["worker"].as_str().context("the job is assigned")?.to_owned();
    let state = network.state()?;
    let processes = state["processes"].as_array().context("the state lists processes")?;
    let host = processes.iter().find(|process| process["worker"] == worker.as_str());
    let host =
        host.with_context(|| format!("worker {worker} is not in {state}"))?["name"].as_str().context("a name")?;
    Ok(host.trim_start_matches("host-").parse()?)
}

fn settled(network: &Network, job: JobId) -> Result<Value> {
    wait_until("the job is settled", 240, || {
        let status = status(network, job)?;
        Ok(status["settled_at"].is_u64().then_some(status))
    })
}

#[test]
fn a_worker_killed_in_the_middle_of_a_job_is_replaced_and_not_paid() -> Result<()> {
    let network = Network::start(2)?;
    let job = network.submit("compute", LONG)?;
    let first = assigned(&network, job)?;
    network.signal(&format!("enclave-{first}"), "-KILL")?;
    network.signal(&format!("host-{first}"), "-KILL")?;

    // Whoever waits for the result brings the input to the next worker.
    let result = network.phala(&["job", "result", &job.to_string(), "--json"])?.ok()?;
    let report = result.report()?;
    ensure!(report["attempt"] == 2, "{report}");
    let status = settled(&network, job)?;
    ensure!(status["attempts"] == 2, "{status}");
    let second = format!("//Worker{}", 3 - first);
    let operator = network.phala(&["key", "show", &second, "--json"])?.ok()?;
    let paid_to = status["operator"].as_str().context("operator")?;
    ensure!(operator.stdout().contains(paid_to), "{paid_to} was paid, not {second}: {}", operator.stdout());
    Ok(())
}

/// Each is killed in the middle of a job and started again: the same worker ends the job, and is paid once.
#[test]
fn host_enclave_and_node_may_restart_in_the_middle_of_a_job() -> Result<()> {
    let network = Network::start(1)?;
    for process in ["host-1", "enclave-1", "node-1"] {
        let job = network.submit("compute", &["--wall-time", "120", "--fuel", "10T", "--", "1500"])?;
        network.restart(process, "-KILL")?;
        // A node takes a moment until it answers.
        wait_until("the node answers", 60, || {
            Ok((network.phala(&["balance", "//Alice"])?.status == Some(0)).then_some(()))
        })?;
        let result = network.phala(&["job", "result", &job.to_string(), "--json"])?.ok();
        let report = result.with_context(|| format!("after {process} was killed"))?.report()?;
        ensure!(report["attempt"] == 1, "after {process} was killed: {report}");
    }
    Ok(())
}

#[test]
fn processes_stop_cleanly_when_asked() -> Result<()> {
    let network = Network::start(1)?;
    // Each of these is a child of this test from its first restart on, which so learns its exit status at the second.
    for _ in 0..2 {
        for process in ["enclave-1", "host-1", "node-1"] {
            let status = network.restart(process, "-TERM")?;
            // The enclave has nothing to clean up, and lets the signal end it.
            let expected = if process == "enclave-1" { None } else { Some(0) };
            ensure!(status.is_none_or(|status| status.code() == expected), "{process} ended with {status:?}");
        }
        wait_until("the worker is active again", 120, || {
            let workers = network.phala(&["worker", "list", "--json"])?;
            Ok((workers.status == Some(0) && workers.json()?[0].is_object()).then_some(()))
        })?;
    }
    network.job("echo", &[])?.ok()?;
    Ok(())
}
