//! A network that loses authorities, is flooded, or is shaken by everything that `phala-chaos` knows.

use anyhow::{Context, Result, ensure};
use phala_primitives::{JobId, Limits};
use phala_sdk::{
    Signer,
    chain::Chain,
    host::UploadToken,
    job::{Jobs, Program, Request, Store, Until},
};
use phala_tests::{Network, binary, guest, wait_until};
use serde_json::Value;
use std::{
    fs,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    task::JoinSet,
    time::sleep,
};

fn four_authorities() -> Result<Network> {
    Network::start_with(&["--authorities", "4", "--workers", "2"])
}

/// The best and the finalized block.
fn blocks(network: &Network) -> Result<(u64, u64)> {
    let state = network.state()?;
    let block = |name: &str| state[name].as_u64().with_context(|| format!("no {name} in {state}"));
    Ok((block("best_block")?, block("finalized_block")?))
}

/// Whether the first node has the votes of all four authorities in the round that it votes in.
fn all_vote(network: &Network) -> Result<bool> {
    Runtime::new()?.block_on(async {
        let state: Value = Chain::connect(network.node()).await?.rpc("grandpa_roundState", vec![]).await?;
        let best = &state["best"];
        let weight = |of: &Value| of.as_u64().with_context(|| format!("no weights in {state}"));
        Ok(weight(&best["prevotes"]["currentWeight"])? == weight(&best["totalWeight"])?)
    })
}

#[test]
fn one_of_four_authorities_stopped_is_not_noticed() -> Result<()> {
    let network = four_authorities()?;
    network.job("echo", &[])?.ok()?;
    for stopped in ["node-2", "node-4"] {
        network.signal(stopped, "-STOP")?;
        let (_, before) = blocks(&network)?;
        for text in ["one", "two"] {
            let stdin = network.file("stdin", text)?;
            let begun = Instant::now();
            let run = network.job("echo", &["--stdin", &stdin])?.ok()?;
            println!("without {stopped} a job took {:.1} s", begun.elapsed().as_secs_f64());
            let report = run.report()?;
            ensure!(run.stdout() == text && report["attempt"] == 1, "without {stopped}: {report}");
        }
        wait_until("finality goes on", 60, || Ok((blocks(&network)?.1 >= before + 10).then_some(())))?;
        network.signal(stopped, "-CONT")?;
        // Only then may another one go: three of four must vote.
        wait_until(&format!("{stopped} votes again"), 300, || Ok(all_vote(&network)?.then_some(())))?;
    }
    Ok(())
}

#[test]
fn two_of_four_stopped_finality_waits_and_work_resumes() -> Result<()> {
    let network = four_authorities()?;
    // One job is under way when finality stops, another is submitted while it waits.
    let under_way = network.submit("sleep", &["--", "5000"])?;
    for node in ["node-3", "node-4"] {
        network.signal(node, "-STOP")?;
    }
    // Votes that were on their way may still finalize a block or two.
    let mut last = blocks(&network)?.1;
    let mut since = Instant::now();
    let waits_at = wait_until("finality waits", 60, || {
        let (_, finalized) = blocks(&network)?;
        if finalized != last {
            (last, since) = (finalized, Instant::now());
        }
        Ok((since.elapsed() > Duration::from_secs(10)).then_some(last))
    })?;
    let stdin = network.file("stdin", "submitted while finality waits")?;
    let echo = guest("echo");
    let mut waiting = network
        .command(&["job", "run", "--json", "--stdin", &stdin])
        .arg(echo)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (best, _) = blocks(&network)?;
    wait_until("two authorities make blocks", 120, || Ok((blocks(&network)?.0 >= best + 6).then_some(())))?;
    ensure!(blocks(&network)?.1 == waits_at, "a block was finalized without a supermajority");
    ensure!(waiting.try_wait()?.is_none(), "a job ran though its assignment is not final");

    for node in ["node-3", "node-4"] {
        network.signal(node, "-CONT")?;
    }
    let begun = Instant::now();
    wait_until("finality goes on", 90, || Ok((blocks(&network)?.1 > waits_at + 6).then_some(())))?;
    println!("finality went on after {:.1} s", begun.elapsed().as_secs_f64());
    let output = waiting.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.stdout == b"submitted while finality waits", "{}", String::from_utf8_lossy(&output.stdout));
    let result = network.phala(&["job", "result", &under_way.to_string(), "--json"])?.ok()?;
    ensure!(result.stdout().starts_with("slept "), "{}", result.stdout());
    network.job("echo", &[])?.ok()?;
    Ok(())
}

/// An answer of a host.
struct Answer {
    status: u16,
    retry_after: Option<u64>,
    body: String,
}

/// Asks a host by hand: with a connection of its own, a token if any, and a JSON body or none.
async fn ask(address: &str, method: &str, path: &str, token: Option<&UploadToken>, body: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let token = token.map(|token| format!("\r\nphala-upload: {token}")).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json{token}"
    );
    stream.write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer but `{text}`"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let field = head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    Ok(Answer {
        status: status.with_context(|| format!("no status in {head}"))?,
        retry_after: field.and_then(|seconds| seconds.parse().ok()),
        body: body.to_owned(),
    })
}

/// Whether a refusal says when to try again, in its header and in its body.
fn says_when(answer: &Answer) -> bool {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let seconds = answer.retry_after.filter(|seconds| (1..=60).contains(seconds));
    seconds.is_some() && body["error"]["retry_after"].as_u64() == seconds
}

/// `HOST:PORT` of the only worker's host.
fn address(network: &Network) -> Result<String> {
    network.option("host-1", "--listen")
}

/// The most memory that a process ever had, in MiB.
fn peak_mib(network: &Network, process: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", network.pid(process)?))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(peak.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

fn check_memory(network: &Network, processes: &[(&str, u64)]) -> Result<()> {
    for (process, bound) in processes {
        let peak = peak_mib(network, process)?;
        println!("{process}: {peak} MiB at its peak");
        ensure!(peak < *bound, "{process} needed {peak} MiB");
    }
    Ok(())
}

/// Ten times as many jobs as the worker runs at once, and then more starts than its host takes.
#[test]
fn a_flood_is_refused_honestly_and_accepted_jobs_finish() -> Result<()> {
    const CAPACITY: usize = 2;
    const STARTS: usize = 300;
    let network = Network::start_with(&["--workers", "1", "--capacity", &CAPACITY.to_string()])?;
    let address = address(&network)?;
    Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        let jobs = Jobs::new(chain.clone(), Store::open(&network.path().join("jobs"))?);
        let signer = Signer::from_uri("//Dave")?;
        let stdin = network.file("stdin", "one of many")?;
        // A job that is under way all the while.
        let mut long = Request::new(Program::File { path: guest("linger"), private: false });
        long.arguments = vec!["1000".into()];
        long.files = vec![("secret.txt".into(), network.file("secret", "a long one")?.into())];
        long.limits = Limits { fuel: 10_000_000_000_000, wall_ms: 120_000, ..Limits::DEFAULT };
        let mut long = Box::pin(jobs.submit(&signer, long, &|_| {})).await?;
        Box::pin(jobs.follow(&mut long, Until::Started, &|_| {})).await?;
        let input = long.deliveries.last().context("an input was delivered")?.input_hash;
        let mut users = JoinSet::new();
        for _ in 0..10 * CAPACITY {
            let (jobs, signer, stdin) = (jobs.clone(), signer.clone(), stdin.clone());
            users.spawn(async move {
                let mut request = Request::new(Program::File { path: guest("echo"), private: false });
                request.stdin = Some(stdin.into());
                let mut record = Box::pin(jobs.submit(&signer, request, &|_| {})).await?;
                Box::pin(jobs.follow(&mut record, Until::Settled, &|_| {})).await?;
                let result = Box::pin(jobs.result(&record, &|_| {})).await?;
                ensure!(result.output.stdout == b"one of many", "job {}: wrong output", record.job);
                anyhow::Ok::<JobId>(record.job)
            });
        }

        // Its owner starts attempts at it that never come, while the enclave takes none: places are taken at once.
        network.signal("enclave-1", "-STOP")?;
        let expires = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 3600;
        let token = UploadToken::sign(&signer, chain.genesis_hash(), long.job, expires);
        let path = format!("/v1/jobs/{}/start", long.job);
        let mut flood = JoinSet::new();
        for number in 0..STARTS {
            let (address, path, token) = (address.clone(), path.clone(), token.clone());
            let body = format!("{{\"input\": \"{}\", \"attempt\": {}}}", hex::encode(input), 2 + number);
            flood.spawn(async move { ask(&address, "POST", &path, Some(&token), &body).await });
        }
        let (mut refused, mut waited) = (0, 0);
        while let Some(answer) = flood.join_next().await {
            let answer = answer??;
            match answer.status {
                429 | 503 => {
                    ensure!(says_when(&answer), "{}: {}", answer.status, answer.body);
                    refused += 1;
                    if refused == 1 {
                        // From here on the others get their answers, too.
                        network.signal("enclave-1", "-CONT")?;
                    }
                }
                409 | 422 => {
                    ensure!(answer.status != 409 || says_when(&answer), "{}", answer.body);
                    waited += 1;
                }
                status => anyhow::bail!("a start of no attempt gave {status}: {}", answer.body),
            }
        }
        println!("of {STARTS} starts the host refused {refused}, and the enclave {waited}");
        ensure!(refused > 0, "the host took every start");

        let mut ended = Vec::new();
        while let Some(job) = users.join_next().await {
            ended.push(job??);
        }
        Box::pin(jobs.follow(&mut long, Until::Settled, &|_| {})).await?;
        ended.sort_unstable();
        ended.dedup();
        ensure!(ended.len() == 10 * CAPACITY, "{ended:?}");
        check_memory(&network, &[("host-1", 256), ("enclave-1", 512)])
    })
}

/// Connections to a host that send nothing, and are opened again when the host closes them.
async fn idle(address: String, open: Arc<AtomicUsize>) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            open.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read_u8().await;
            open.fetch_sub(1, Ordering::Relaxed);
        } else {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// One request after the other. Counts those that were served.
async fn busy(address: String, served: Arc<AtomicUsize>) -> Result<()> {
    loop {
        let answer = ask(&address, "GET", "/v1/worker", None, "").await?;
        match answer.status {
            200 => {
                served.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
            }
            status => {
                ensure!(says_when(&answer), "{status}: {}", answer.body);
                sleep(Duration::from_secs(answer.retry_after.unwrap_or(1))).await;
            }
        }
    }
}

#[test]
fn a_thousand_idle_and_a_hundred_busy_connections_do_not_hurt_a_job() -> Result<()> {
    const IDLE: usize = 1000;
    const BUSY: usize = 100;
    let network = Network::start(1)?;
    let address = address(&network)?;
    network.job("compute", &["--", "100"])?.ok()?;
    let begun = Instant::now();
    let alone = network.job("compute", &["--", "100"])?.ok()?.stdout();
    let usual = begun.elapsed();

    // Two files for each connection would be enough; not every system allows as many by default.
    let limit = Command::new("prlimit").args(["--nofile=4096:", "--pid", &std::process::id().to_string()]).status()?;
    ensure!(limit.success(), "1100 connections need a higher limit on open files");
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let (open, served) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (mut idlers, mut askers) = (JoinSet::new(), JoinSet::new());
    for _ in 0..IDLE {
        idlers.spawn(idle(address.clone(), open.clone()));
    }
    wait_until("the connections are open", 60, || Ok((open.load(Ordering::Relaxed) >= IDLE).then_some(())))?;
    for _ in 0..BUSY {
        askers.spawn(busy(address.clone(), served.clone()));
    }
    wait_until("each is busy", 60, || Ok((served.load(Ordering::Relaxed) > BUSY).then_some(())))?;

    let begun = Instant::now();
    let crowded = network.job("compute", &["--", "100"])?.ok()?;
    let took = begun.elapsed();
    let count = served.load(Ordering::Relaxed);
    println!(
        "a job took {usual:.1?} alone, and {took:.1?} beside {IDLE} idle and {BUSY} busy connections ({count} answers)"
    );
    ensure!(crowded.stdout() == alone && crowded.report()?["attempt"] == 1, "{}", crowded.stderr);
    ensure!(took < usual * 3 + Duration::from_secs(15), "the connections hurt the job: {took:?}, {usual:?} without");
    if let Some(failed) = askers.try_join_next() {
        failed??;
    }
    check_memory(&network, &[("host-1", 256)])
}

/// Runs `phala-chaos`, and looks at its report.
fn chaos(minutes: u64, seed: u64) -> Result<()> {
    let (minutes, seed) = (minutes.to_string(), seed.to_string());
    let mut command = Command::new(binary("phala-chaos"));
    let output = command.args(["--json", "--minutes", &minutes, "--seed", &seed]).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(report["passed"] == true && report["violations"].as_array().is_some_and(Vec::is_empty), "{report}");
    for figure in ["audits", "searches", "blocks"] {
        ensure!(report[figure].as_u64().is_some_and(|count| count > 0), "no {figure}: {report}");
    }
    let right = report["jobs"]["right"].as_u64().unwrap_or_default();
    let inflicted = report["schedule"].as_array().map_or(0, Vec::len);
    println!("{right} jobs ended right under {inflicted} faults; recovery {}", report["recovery_seconds"]);
    ensure!(right > 0 && inflicted > 0, "{report}");
    Ok(())
}

#[test]
fn two_minutes_of_chaos() -> Result<()> {
    chaos(2, 2026)
}

/// Of the slow ring: `cargo nextest run -p phala-tests --run-ignored only -E 'test(fifteen_minutes_of_chaos)'`.
#[test]
#[ignore = "takes about eighteen minutes"]
fn fifteen_minutes_of_chaos() -> Result<()> {
    chaos(15, 15)
}
