//! Machines that fail: each job ends all the same, and is paid once.

use anyhow::{Context, Result, ensure};
use phala_tests::{Network, wait_until};

/// Arguments of the compute-heavy program that keep it busy for a good many seconds.
const LONG: &[&str] = &["--wall-time", "120", "--fuel", "10T", "--", "4000"];

#[test]
fn a_worker_killed_in_the_middle_of_a_job_is_replaced_and_not_paid() -> Result<()> {
    let network = Network::start(2)?;
    let job = network.submit("compute", LONG)?;
    let first = network.assigned(job)?;
    network.signal(&format!("enclave-{first}"), "-KILL")?;
    network.signal(&format!("host-{first}"), "-KILL")?;

    // Whoever waits for the result brings the input to the next worker.
    let result = network.phala(&["job", "result", &job.to_string(), "--json"])?.ok()?;
    let report = result.report()?;
    ensure!(report["attempt"] == 2, "{report}");
    let status = network.settled(job)?;
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
