//! Jobs on a network where everything works.

use anyhow::{Context, Result, ensure};
use phala_primitives::{JobId, job::JobStatus};
use phala_sdk::{
    Signer,
    host::Hosts,
    job::{Jobs, Program, Request, Store, Until},
};
use phala_tests::{Network, binary, data_folder, guest};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
};

const TABLES: &[&str] = &["flights", "airlines", "airports", "planes", "weather"];

/// The result of the main job equals, byte for byte, what the same program prints under plain wasmtime.
#[test]
fn the_main_job_gives_what_plain_wasmtime_gives() -> Result<()> {
    let network = Network::start(3)?;
    let data = data_folder();
    let output = network.path().join("output");
    let files: Vec<String> = TABLES
        .iter()
        .map(|table| format!("{table}.csv={}", data.join(table).with_extension("csv").display()))
        .collect();
    let mut arguments = vec!["--output", output.to_str().context("text")?];
    for file in &files {
        arguments.extend(["--file", file.as_str()]);
    }
    let run = network.job("flights", &arguments)?.ok()?;

    let plain_output = network.path().join("plain");
    fs::create_dir(&plain_output)?;
    let plain = Command::new(binary("plain"))
        .arg(guest("flights"))
        .args(["--dir", &format!("{}::/input", data.display())])
        .args(["--dir", &format!("{}::/output", plain_output.display())])
        .output()?;
    ensure!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stderr));
    ensure!(plain.stdout.len() > 1000, "the program prints its tables");
    ensure!(run.stdout == plain.stdout, "the job printed other things than plain wasmtime:\n{}", run.stdout());
    for entry in fs::read_dir(&plain_output)? {
        let name = entry?.file_name();
        ensure!(fs::read(output.join(&name))? == fs::read(plain_output.join(&name))?, "{name:?} differs");
    }

    let report = run.report()?;
    ensure!(report["simulated"] == true, "SIMULATED is in plain sight: {report}");
    ensure!(report["fuel"].as_u64().is_some_and(|fuel| fuel > 100_000_000), "{report}");
    let receipt = network.phala(&["verify", "receipt", &report["job"].to_string(), "--json"])?.ok()?;
    ensure!(receipt.stdout().contains("SIMULATED") || receipt.json()?["simulated"] == true, "{}", receipt.stdout());
    Ok(())
}

/// What two users send and get at the same time does not mix, and each pays for his own.
#[test]
fn two_users_at_once() -> Result<()> {
    let network = Network::start(2)?;
    thread::scope(|scope| {
        let users = ["//Bob", "//Charlie"].map(|key| {
            let network = &network;
            scope.spawn(move || -> Result<()> {
                for turn in 0..2 {
                    let text = format!("what {key} wants to know, {turn}");
                    let stdin = network.file(&key.replace('/', "_"), &text)?;
                    let run = network.job("echo", &["--key", key, "--stdin", &stdin])?.ok()?;
                    ensure!(run.stdout() == text, "{key} got: {}", run.stdout());
                }
                Ok(())
            })
        });
        users.into_iter().try_for_each(|user| user.join().expect("no panic"))
    })?;
    for key in ["//Bob", "//Charlie"] {
        let jobs = network.phala(&["job", "list", "--json", "--key", key])?.ok()?.json()?;
        ensure!(jobs.as_array().is_some_and(|jobs| jobs.len() == 2), "{jobs}");
    }
    Ok(())
}

/// Twenty jobs of one account at once over three workers: each ends, each is paid once, all workers work, and the same
/// job gives the same fuel and output everywhere.
#[test]
fn twenty_jobs_at_once_over_three_workers() -> Result<()> {
    let network = Network::start(3)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        let jobs = Jobs::new(chain.clone(), Store::open(&network.path().join("jobs"))?);
        let signer = Signer::from_uri("//Dave")?;
        let before = total_balance(&chain.best().await?).await?;
        let stdin = network.file("stdin", "the same for all")?;
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (jobs, signer, stdin) = (jobs.clone(), signer.clone(), stdin.clone());
                tokio::spawn(async move {
                    let mut request = Request::new(Program::File { path: guest("echo"), private: false });
                    request.stdin = Some(stdin.into());
                    let mut record = jobs.submit(&signer, request, &|_| {}).await?;
                    jobs.follow(&mut record, Until::Settled, &|_| {}).await?;
                    let result = jobs.result(&record, &|_| {}).await?;
                    ensure!(result.output.stdout == b"the same for all", "wrong output");
                    anyhow::Ok(record.job)
                })
            })
            .collect();
        let mut numbers = BTreeSet::<JobId>::new();
        for task in tasks {
            numbers.insert(task.await??);
        }
        ensure!(numbers.len() == 20, "{numbers:?}");

        let state = chain.best().await?;
        let (mut workers, mut fuels) = (BTreeSet::new(), BTreeSet::new());
        for (id, job) in state.jobs().await? {
            let JobStatus::Settled(settlement) = job.status else { anyhow::bail!("job {id} is not settled") };
            ensure!(settlement.paid + settlement.treasury + settlement.refund == job.max_price, "job {id}");
            workers.insert(settlement.worker);
            fuels.insert(settlement.fuel);
        }
        ensure!(workers.len() == 3, "only {} workers worked", workers.len());
        ensure!(fuels.len() == 1, "the same job used different fuel: {fuels:?}");
        let after = total_balance(&state).await?;
        ensure!(after <= before, "users and operators together do not gain");
        Ok(())
    })
}

/// What the accounts that take part hold together.
async fn total_balance(state: &phala_sdk::chain::State) -> Result<u128> {
    let mut total = 0;
    for key in ["//Dave", "//Worker1", "//Worker2", "//Worker3"] {
        let balance = state.balance(Signer::from_uri(key)?.account()).await?;
        total += balance.free + balance.reserved;
    }
    Ok(total)
}

/// A private app's code reaches the worker encrypted; standard input may come from a pipe; the program's exit code is
/// the command's; arguments, input files and output files work.
#[test]
fn everything_a_job_can_be() -> Result<()> {
    let network = Network::start(1)?;

    let echo = guest("echo");
    let mut child = network
        .command(&["job", "run", "--private", "--stdin", "-"])
        .arg(&echo)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("piped")?.write_all(b"from a pipe")?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success() && output.stdout == b"from a pipe", "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(String::from_utf8_lossy(&output.stderr).contains("SIMULATED"), "the report says SIMULATED");

    network.job("exit", &["--", "3"])?.exited(3)?;
    let run = network.job("arguments", &["--", "--by", "month"])?.ok()?;
    ensure!(run.stdout().contains("--by") && run.stdout().contains("month"), "{}", run.stdout());

    let input = format!("a.txt={}", network.file("input", "content")?);
    let run = network.job("list", &["--file", &input])?.ok()?;
    ensure!(run.stdout().starts_with("a.txt 7 "), "{}", run.stdout());

    // Output files; and the report in a file of its own.
    let (folder, report) = (network.path().join("files"), network.path().join("report.json"));
    let arguments = ["--output", text(&folder)?, "--report", text(&report)?, "--", "more.txt=more"];
    let run = network.job("files", &arguments)?.ok()?;
    ensure!(fs::read(folder.join("hello.txt"))? == b"hello, world\n");
    ensure!(fs::read(folder.join("more.txt"))? == b"more");
    ensure!(run.stderr.is_empty(), "the report is in its file only: {}", run.stderr);
    let report: Value = serde_json::from_slice(&fs::read(&report)?)?;
    let names = report["output"]["files"].as_array().context("files")?;
    ensure!(names.len() == 2, "{report}");
    Ok(())
}

/// A job whose user leaves and comes back, and a second reader of its result, who has nothing but the stock age and
/// tar commands and a key of his own.
#[test]
fn a_stock_age_opens_a_result_made_for_another_recipient() -> Result<()> {
    let network = Network::start(1)?;
    let identity = network.path().join("age.txt");
    let keygen = run(Command::new("age-keygen").arg("-o").arg(&identity))?;
    let recipient =
        keygen.lines().find_map(|line| line.strip_prefix("Public key: ")).context("a recipient")?.to_owned();
    let stdin = network.file("later", "later")?;
    let job = network.submit("echo", &["--stdin", &stdin, "--recipient", &recipient])?;
    let result = network.phala(&["job", "result", &job.to_string(), "--json"])?.ok()?;
    ensure!(result.stdout() == "later", "{}", result.stdout());
    let status = network.phala(&["job", "status", &job.to_string(), "--json"])?.ok()?.json()?;
    ensure!(status["status"] == "completed", "{status}");

    let report = result.report()?;
    let endpoint = report["worker"]["endpoint"].as_str().with_context(|| format!("no endpoint in {report}"))?;
    let cipher = network.path().join("output.age");
    let bytes = tokio::runtime::Runtime::new()?.block_on(async {
        let response = Hosts::default()
            .client()?
            .get(format!("{endpoint}/v1/jobs/{job}/output"))
            .send()
            .await?
            .error_for_status()?;
        anyhow::Ok(response.bytes().await?)
    })?;
    fs::write(&cipher, bytes)?;
    let (archive, opened) = (network.path().join("output.tar"), network.path().join("opened"));
    run(Command::new("age").args(["--decrypt", "-i"]).arg(&identity).arg("-o").arg(&archive).arg(&cipher))?;
    fs::create_dir(&opened)?;
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&opened))?;
    ensure!(fs::read(opened.join("stdout"))? == b"later");

    // Who is no recipient opens nothing.
    let other = network.path().join("other.txt");
    run(Command::new("age-keygen").arg("-o").arg(&other))?;
    ensure!(!Command::new("age").args(["--decrypt", "-i"]).arg(&other).arg(&cipher).output()?.status.success());
    Ok(())
}

/// Runs a command that must succeed, and gives what it says on standard error.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}; scripts/setup.sh installs it"))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {stderr}");
    Ok(stderr)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the path is text")
}

/// A gibibyte of input goes through a host and an enclave that need less than 512 MiB each.
#[test]
fn a_gibibyte_of_input_streams() -> Result<()> {
    let network = Network::start(1)?;
    let path = network.path().join("large");
    let mut file = fs::File::create(&path)?;
    let block: Vec<u8> = (0u32..1 << 18).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for _ in 0..1024 {
        file.write_all(&block)?;
    }
    let stdin = path.to_str().context("text")?;
    let run = network.job("count", &["--stdin", stdin, "--wall-time", "300"])?.ok()?;
    ensure!(run.stdout().contains(&(1u64 << 30).to_string()), "{}", run.stdout());
    for process in ["host-1", "enclave-1"] {
        let status = fs::read_to_string(format!("/proc/{}/status", network.pid(process)?))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse()?;
        println!("{process}: {} MiB at its peak", kib / 1024);
        ensure!(kib < 512 * 1024, "{process} needed {} MiB", kib / 1024);
    }
    Ok(())
}
