//! `phala job`.

use anyhow::{Context as _, bail};
use phala_attestation::ClaimStatus;
use phala_primitives::{
    AppId, JobId, Limits, Outcome,
    job::{JobStatus, Settlement},
    units::Balance,
};
use phala_sdk::{
    Account, amount,
    chain::Job,
    encryption,
    evidence::{EnclaveReport, WorkerReport},
    job::{JobError, JobRecord, JobResult, Jobs, Program, Progress, Request, Until},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Status,
    args::{self, JOB_FAILED, JobOptions},
    commands::verify::verdict,
    context::Context,
    output::{Output, Submitted, bytes, facts, json as json_text, number, short, table},
};

/// The exit status of a command that was interrupted.
const INTERRUPTED: u8 = 130;

pub(crate) async fn run(command: args::Job, context: &Context, output: &Output) -> Status {
    match command {
        args::Job::Run(options) => Box::pin(run_job(options, context, output)).await,
        args::Job::Submit(options) => Box::pin(submit(options, context, output)).await,
        args::Job::Status { job } => status(job, context, output).await,
        args::Job::Result { job, output: folder, report, no_wait } => {
            let jobs = open(context, output).await?;
            let record = jobs.record(job)?;
            Box::pin(finish(&jobs, record, Destination { folder, report }, !no_wait, context, output)).await
        }
        args::Job::UploadToken { job } => upload_token(job, context, output).await,
        args::Job::Cancel { job } => cancel(job, context, output).await,
        args::Job::List { all, limit } => list(all, limit, context, output).await,
    }
}

/// Where a result goes beside standard output and error.
struct Destination {
    /// The folder for output files.
    folder: Option<PathBuf>,
    /// The file for the report.
    report: Option<PathBuf>,
}

/// Jobs of the node's chain, among them those that a command submitted which did not live to see it.
async fn open(context: &Context, output: &Output) -> anyhow::Result<Jobs> {
    let jobs = context.jobs().await?;
    match jobs.recover().await {
        Ok(recovered) => {
            for job in recovered {
                output.note(&format!("job {job} is on the chain, though the command that submitted it was cut off"));
            }
        }
        Err(error) => output.warn(&format!("cannot find out about jobs whose submission was cut off: {error}")),
    }
    Ok(jobs)
}

async fn run_job(options: JobOptions, context: &Context, output: &Output) -> Status {
    let destination = Destination { folder: options.output.clone(), report: options.report.clone() };
    let jobs = context.jobs().await?;
    let record = begin(&jobs, options, context, output).await?;
    Box::pin(finish(&jobs, record, destination, true, context, output)).await
}

async fn submit(options: JobOptions, context: &Context, output: &Output) -> Status {
    if options.output.is_some() || options.report.is_some() {
        bail!("--output and --report belong to `phala job result`, which fetches the result");
    }
    let jobs = context.jobs().await?;
    let mut record = begin(&jobs, options, context, output).await?;
    Box::pin(follow(&jobs, &mut record, Until::Started, context, output)).await.context(Submitted(record.job))?;
    let worker = record.deliveries.last().map(|delivery| &delivery.worker);
    let value = json!({
        "job": record.job,
        "app": record.app,
        "block": record.submitted_at,
        "escrow": amount::format_number(record.max_price),
        "fee": amount::format_number(record.submission_fee),
        "worker": worker,
    });
    output.result(&value, || record.job.to_string())?;
    output.note(&format!("Job {0} runs; get its result with `phala job result {0}`", record.job));
    Ok(0)
}

/// Makes sense of the options and submits the job.
async fn begin(jobs: &Jobs, options: JobOptions, context: &Context, output: &Output) -> anyhow::Result<JobRecord> {
    let signer = context.signer(jobs.chain()).await?;
    let path = PathBuf::from(&options.program);
    let program = match options.program.parse::<AppId>() {
        Ok(app) if !path.exists() => {
            if options.private {
                bail!("--private is for a program that is published now; {app} is what it was published as");
            }
            Program::App(app)
        }
        _ => Program::File { path, private: options.private },
    };
    let mut files = Vec::new();
    for (name, path) in options.files {
        files.push((name, absolute(path)?));
    }
    let mut encrypted_files = Vec::new();
    for (name, path) in options.encrypted_files {
        encrypted_files.push((name, absolute(path)?));
    }
    let recipients = options.recipients.iter().map(|text| encryption::parse_recipient(text));
    let recipients = recipients.collect::<Result<_, _>>()?;
    let stdin = match options.stdin {
        Some(path) if path == Path::new("-") => {
            output.progress("Reading standard input …");
            Some(jobs.store().keep_stdin(&mut std::io::stdin().lock())?)
        }
        // A pipe by name, as the shell's `<(…)` is.
        Some(path) if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) => {
            let mut pipe = fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Some(jobs.store().keep_stdin(&mut pipe)?)
        }
        Some(path) => Some(absolute(path)?),
        None => None,
    };
    const MIB: u64 = 1024 * 1024;
    let request = Request {
        program,
        arguments: options.arguments,
        stdin,
        files,
        encrypted_files,
        limits: Limits {
            fuel: options.fuel,
            memory_bytes: options.memory * MIB,
            wall_ms: options.wall_time * 1000,
            output_bytes: options.output_limit * MIB,
        },
        max_price: options.max_price,
        deadline_blocks: options.deadline,
        recipients,
    };
    output.progress("Submitting the job …");
    Ok(jobs.submit(&signer, request, &|progress| show(progress, output)).await?)
}

/// The job may go on in another folder.
fn absolute(path: PathBuf) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot read {}", path.display()))
}

/// Sees a job through, signs what may have to be signed for it, and forgets what was kept for one that came to nothing.
async fn follow(
    jobs: &Jobs,
    record: &mut JobRecord,
    until: Until,
    context: &Context,
    output: &Output,
) -> anyhow::Result<()> {
    loop {
        match Box::pin(jobs.follow(record, until, &|progress| show(progress, output))).await {
            Err(error @ JobError::NoUploadToken(_)) => {
                output.clear();
                let signer = context.signer(jobs.chain()).await.with_context(|| error.to_string())?;
                jobs.sign_uploads(&signer, record).await?;
            }
            Err(error @ (JobError::Cancelled(_) | JobError::Expired(..))) => {
                jobs.forget_inputs(record);
                return Err(error.into());
            }
            result => return Ok(result?),
        }
    }
}

/// Sees a job through to its end, and prints what came of it. Whatever goes wrong names the job.
async fn finish(
    jobs: &Jobs,
    mut record: JobRecord,
    to: Destination,
    wait: bool,
    context: &Context,
    output: &Output,
) -> Status {
    if wait {
        let ended = tokio::select! {
            result = Box::pin(follow(jobs, &mut record, Until::Settled, context, output)) => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(result) = ended else {
            output.clear();
            output.note(&format!("interrupted; job {0} goes on: `phala job result {0}` gets its result", record.job));
            return Ok(INTERRUPTED);
        };
        result.context(Submitted(record.job))?;
    }
    let submitted = Submitted(record.job);
    output.progress("Fetching the result …");
    let result = Box::pin(jobs.result(&record, &|progress| show(progress, output))).await.context(submitted)?;
    print(&record, &result, &to, output).context(submitted)?;
    Ok(match result.settlement.outcome {
        Outcome::Completed { exit_code } => exit_code,
        Outcome::Failed(_) => JOB_FAILED,
    })
}

/// Puts everything about a result where it belongs.
fn print(record: &JobRecord, result: &JobResult, to: &Destination, output: &Output) -> anyhow::Result<()> {
    output.stdout(&result.output.stdout)?;
    output.stderr(&result.output.stderr)?;
    if let Some(folder) = &to.folder {
        result.output.write_files(folder).with_context(|| format!("cannot write to {}", folder.display()))?;
    }
    let value = report_json(record, result, to.folder.as_deref());
    if let Some(path) = &to.report {
        fs::write(path, format!("{}\n", json_text(&value)))
            .with_context(|| format!("cannot write {}", path.display()))?;
        if output.is_json() {
            return Ok(());
        }
    }
    output.report(&value, || {
        let separator =
            if result.output.stderr.is_empty() || result.output.stderr.ends_with(b"\n") { "" } else { "\n" };
        format!("{separator}{}", report_text(record, result, to.folder.as_deref()))
    })?;
    Ok(())
}

/// Tells a person what happens.
fn show(progress: Progress, output: &Output) {
    match progress {
        Progress::Publishing { bytes: size } => output.progress(&format!("Publishing the program ({}) …", bytes(size))),
        Progress::Published(published) => {
            if let Some((block, _)) = published.included {
                output.progress(&format!("Published as {} in block {block}", short(&published.app)));
            }
        }
        Progress::Submitted { job, block, .. } => output.progress(&format!("Job {job} submitted in block {block}")),
        Progress::Renumbered { from, to } => {
            output.note(&format!("the chain gave job {from} another number: it is job {to} now"));
        }
        Progress::Busy { retry_after } => {
            let seconds = retry_after.as_secs().max(1);
            output.progress(&format!("The worker's host is busy; trying again in {seconds} s"));
        }
        Progress::Queued { hint: None } => output.progress("Waiting for the chain to assign a worker …"),
        Progress::Queued { hint: Some(hint) } => output.warn(&format!("the job still waits for a worker: {hint}")),
        Progress::Assigned { worker, attempt, block } => {
            if attempt > 1 {
                output.note(&format!(
                    "the chain gave the job to another worker: {worker} (attempt {attempt}, block {block})"
                ));
            }
            output.progress(&format!("Verifying worker {} …", short(&worker)));
        }
        Progress::Verified(report) => output.progress(&format!("Verified worker {}", short(&report.worker))),
        Progress::Copying { name } => output.progress(&format!("Copying {name} …")),
        Progress::Encrypting { name } => output.progress(&format!("Encrypting {name} …")),
        Progress::Uploading { name, sent, total } => {
            output.progress(&format!("Uploading {name}: {} of {}", bytes(sent), bytes(total)));
        }
        Progress::Delivered { .. } => output.progress("Starting the job …"),
        Progress::Started => output.progress("The enclave has the job"),
        Progress::State(state) => output.progress(&format!("The job is {state} …")),
        Progress::Settled { block } => output.progress(&format!("Settled in block {block}")),
        Progress::Downloading { received, total } => {
            let of = total.map_or_else(String::new, |total| format!(" of {}", bytes(total)));
            output.progress(&format!("Downloading the result: {}{of}", bytes(received)));
        }
        Progress::Warning(message) => output.warn(&message),
    }
}

/// One sentence about how a job ended.
fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Completed { exit_code: 0 } => "completed".into(),
        Outcome::Completed { exit_code } => format!("completed with exit code {exit_code}"),
        Outcome::Failed(reason) => format!("FAILED: {reason}"),
    }
}

fn open_claims(enclave: &EnclaveReport) -> String {
    let open = enclave.checks.iter().filter(|check| check.status == ClaimStatus::NotChecked);
    open.map(|check| check.claim.as_str()).collect::<Vec<_>>().join(", ")
}

fn plain_output(result: &JobResult) -> u64 {
    let files = result.output.files.values().map(Vec::len).sum::<usize>();
    (result.output.stdout.len() + result.output.stderr.len() + files) as u64
}

fn assigned_at(result: &JobResult) -> u32 {
    result.receipt.receipt.block_number
}

fn report_text(record: &JobRecord, result: &JobResult, folder: Option<&Path>) -> String {
    let (settlement, delivery, id) = (&result.settlement, &result.delivery, record.job);
    let fee: Balance = settlement.paid + settlement.treasury;
    let attempt = result.receipt.receipt.attempt;
    let mut rows =
        vec![("Worker", format!("{} (attempt {attempt}, operator {})", settlement.worker, settlement.operator))];
    match &result.worker {
        Ok(WorkerReport { enclave, .. }) => {
            let checked = enclave.checks.iter().filter(|check| check.status == ClaimStatus::Checked).count();
            let when =
                if result.taken_over { "\nverified now: its host took the input over from another's" } else { "" };
            rows.extend([
                (
                    "Verdict",
                    format!(
                        "{}\n{checked} claims checked; NOT checked: {}{when}",
                        verdict(enclave),
                        open_claims(enclave)
                    ),
                ),
                ("Image", format!("{} version {}", enclave.measurement, enclave.image_version)),
            ]);
        }
        Err(why) => rows.push(("Verdict", format!("NOT CHECKED: {why}"))),
    }
    rows.extend([
        (
            "Input",
            format!(
                "{} in the clear, {} encrypted and sent",
                bytes(delivery.plain_bytes),
                bytes(delivery.cipher_bytes)
            ),
        ),
        (
            "Output",
            format!(
                "{} in the clear, {} encrypted and received",
                bytes(plain_output(result)),
                bytes(result.output_cipher_bytes)
            ),
        ),
        ("Fuel", format!("at most {}, of {}", number(settlement.fuel), number(record.limits.fuel))),
        (
            "Fee",
            format!(
                "{} ({} to the operator, {} to the treasury)",
                amount::format(fee),
                amount::format(settlement.paid),
                amount::format(settlement.treasury)
            ),
        ),
        ("Refund", format!("{} of {} in escrow", amount::format(settlement.refund), amount::format(record.max_price))),
        ("Submission", format!("{} for the transaction and the place", amount::format(record.submission_fee))),
        (
            "Blocks",
            format!(
                "submitted in {}, seen by the enclave at {} (finalized), settled in {}",
                record.submitted_at,
                assigned_at(result),
                settlement.at
            ),
        ),
        (
            "Receipt",
            format!(
                "signed by the enclave; {} links checked",
                result.checks.iter().filter(|check| check.status == ClaimStatus::Checked).count()
            ),
        ),
    ]);
    if !result.output.files.is_empty() {
        let names =
            result.output.files.iter().map(|(name, content)| format!("{name} ({})", bytes(content.len() as u64)));
        let names = names.collect::<Vec<_>>().join(", ");
        rows.push(match folder {
            Some(folder) => ("Files", format!("{names} in {}", folder.display())),
            None => ("Files", format!("{names}\nget them with `phala job result {id} --output FOLDER`")),
        });
    }
    let short_id: String = settlement.worker.to_string().chars().take(14).collect();
    rows.push((
        "Look further",
        format!("phala job status {id}\nphala verify receipt {id}\nphala verify worker {short_id}"),
    ));
    format!("Job {id} {}\n{}", outcome(settlement.outcome), facts(&rows))
}

/// How a job was paid, for JSON.
fn settlement_json(settlement: &Settlement<Account, u32>) -> Value {
    json!({
        "worker": settlement.worker,
        "operator": settlement.operator,
        "outcome": settlement.outcome,
        "fuel": settlement.fuel,
        "fee": amount::format_number(settlement.paid + settlement.treasury),
        "paid": amount::format_number(settlement.paid),
        "treasury": amount::format_number(settlement.treasury),
        "refund": amount::format_number(settlement.refund),
        "input_hash": format!("0x{}", hex::encode(settlement.input_hash)),
        "output_hash": format!("0x{}", hex::encode(settlement.output_hash)),
        "receipt_hash": format!("0x{}", hex::encode(settlement.receipt_hash)),
        "settled_at": settlement.at,
    })
}

/// Adds the members of one JSON object to another, in place of those with the same name.
fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}

fn report_json(record: &JobRecord, result: &JobResult, folder: Option<&Path>) -> Value {
    let (settlement, delivery) = (&result.settlement, &result.delivery);
    let files = result.output.files.iter().map(|(name, content)| json!({ "name": name, "bytes": content.len() }));
    let mut value = settlement_json(settlement);
    let more = json!({
        "job": record.job,
        "app": record.app,
        "reason": match settlement.outcome {
            Outcome::Failed(reason) => Some(reason.description()),
            Outcome::Completed { .. } => None,
        },
        "attempt": result.receipt.receipt.attempt,
        "worker": match &result.worker {
            Ok(worker) => json!(worker),
            Err(why) => json!({ "worker": settlement.worker, "operator": settlement.operator, "unverified": why }),
        },
        "simulated": result.worker.as_ref().ok().map(|worker| worker.enclave.simulated),
        "taken_over": result.taken_over,
        "input": { "plain_bytes": delivery.plain_bytes, "cipher_bytes": delivery.cipher_bytes },
        "output": {
            "plain_bytes": plain_output(result),
            "cipher_bytes": result.output_cipher_bytes,
            "stdout_bytes": result.output.stdout.len(),
            "stderr_bytes": result.output.stderr.len(),
            "files": files.collect::<Vec<_>>(),
            "folder": folder,
        },
        "fuel_limit": record.limits.fuel,
        "escrow": amount::format_number(record.max_price),
        "submission_fee": amount::format_number(record.submission_fee),
        "blocks": {
            "submitted": record.submitted_at,
            "seen_by_enclave": assigned_at(result),
            "settled": settlement.at,
        },
        "receipt_checks": result.checks,
    });
    extend(&mut value, more);
    value
}

fn status_name(job: &Job) -> &'static str {
    match &job.status {
        JobStatus::Queued => "queued",
        JobStatus::Assigned(_) => "assigned",
        JobStatus::Settled(settlement) => match settlement.outcome {
            Outcome::Completed { .. } => "completed",
            Outcome::Failed(_) => "failed",
        },
        JobStatus::Cancelled { .. } => "cancelled",
        JobStatus::Expired { .. } => "expired",
    }
}

fn job_json(id: JobId, job: &Job) -> Value {
    let mut value = json!({
        "job": id,
        "status": status_name(job),
        "owner": job.owner,
        "app": job.app,
        "limits": job.limits,
        "max_price": amount::format_number(job.max_price),
        "submitted_at": job.submitted_at,
        "deadline": job.deadline,
        "attempts": job.attempts,
    });
    let more = match &job.status {
        JobStatus::Queued => json!({}),
        JobStatus::Assigned(assignment) => json!({
            "worker": assignment.worker,
            "price": amount::format_number(assignment.price),
            "assigned_at": assignment.assigned_at,
            "due": assignment.due,
        }),
        JobStatus::Settled(settlement) => settlement_json(settlement),
        JobStatus::Cancelled { at } | JobStatus::Expired { at } => json!({ "ended_at": at }),
    };
    extend(&mut value, more);
    value
}

async fn status(id: JobId, context: &Context, output: &Output) -> Status {
    let jobs = open(context, output).await?;
    let (block, job) = jobs.chain().read(async |state| Ok((state.block().number, state.job(id).await?))).await?;
    let job = job.ok_or(JobError::UnknownJob(id))?;
    let ours = jobs.record(id).is_ok();
    output.result(&job_json(id, &job), || {
        let mut rows = vec![
            ("Job", id.to_string()),
            ("Status", status_name(&job).into()),
            ("Owner", job.owner.to_string()),
            ("App", job.app.to_string()),
            ("Submitted", format!("in block {}", job.submitted_at)),
            ("Deadline", format!("block {} (now {block})", job.deadline)),
            ("Escrow", amount::format(job.max_price)),
            (
                "Limits",
                format!(
                    "{} fuel, {} memory, {} s, {} output",
                    number(job.limits.fuel),
                    bytes(job.limits.memory_bytes),
                    job.limits.wall_ms.div_ceil(1000),
                    bytes(job.limits.output_bytes)
                ),
            ),
            ("Attempts", job.attempts.to_string()),
        ];
        match &job.status {
            JobStatus::Queued => {}
            JobStatus::Assigned(assignment) => rows.extend([
                ("Worker", assignment.worker.to_string()),
                ("Assigned", format!("in block {}; due in block {}", assignment.assigned_at, assignment.due)),
            ]),
            JobStatus::Settled(settlement) => rows.extend([
                ("Worker", settlement.worker.to_string()),
                ("Outcome", outcome(settlement.outcome)),
                ("Fuel", format!("at most {}", number(settlement.fuel))),
                ("Fee", amount::format(settlement.paid + settlement.treasury)),
                ("Refund", amount::format(settlement.refund)),
                ("Settled", format!("in block {}", settlement.at)),
                ("Input hash", format!("0x{}", hex::encode(settlement.input_hash))),
                ("Output hash", format!("0x{}", hex::encode(settlement.output_hash))),
            ]),
            JobStatus::Cancelled { at } | JobStatus::Expired { at } => {
                rows.push(("Ended", format!("in block {at}; the escrow was returned")));
            }
        }
        if ours && !matches!(job.status, JobStatus::Cancelled { .. } | JobStatus::Expired { .. }) {
            rows.push(("Result", format!("phala job result {id}")));
        }
        facts(&rows)
    })?;
    Ok(0)
}

async fn upload_token(id: JobId, context: &Context, output: &Output) -> Status {
    let jobs = context.jobs().await?;
    let signer = context.signer(jobs.chain()).await?;
    let token = jobs.upload_token(&signer, id).await?;
    let value = json!({ "job": id, "token": token.to_string(), "expires": token.expires() });
    output.result(&value, || token.to_string())?;
    Ok(0)
}

async fn cancel(id: JobId, context: &Context, output: &Output) -> Status {
    let jobs = context.jobs().await?;
    let signer = context.signer(jobs.chain()).await?;
    output.progress("Cancelling …");
    let included = jobs.cancel(&signer, id).await?;
    let value = json!({ "job": id, "block": included.block.number, "fee": amount::format_number(included.fee) });
    output.result(&value, || format!("Job {id} cancelled in block {}; its escrow is back", included.block.number))?;
    Ok(0)
}

async fn list(all: bool, limit: usize, context: &Context, output: &Output) -> Status {
    let chain = open(context, output).await?.chain().clone();
    let mut jobs = chain.read(async |state| state.jobs().await).await?;
    if !all {
        let own = context.own_account(&chain).await?;
        jobs.retain(|(_, job)| job.owner == own);
    }
    jobs.reverse();
    jobs.truncate(limit);
    let values: Vec<_> = jobs.iter().map(|(id, job)| job_json(*id, job)).collect();
    output.result(&values, || match jobs.is_empty() {
        true if all => "No jobs.".into(),
        true => "No jobs of this account; `phala job list --all` shows everybody's.".into(),
        false => {
            let rows = jobs.iter().map(|(id, job)| {
                let (worker, fuel, fee) = match &job.status {
                    JobStatus::Settled(settlement) => (
                        short(&settlement.worker),
                        number(settlement.fuel),
                        amount::format(settlement.paid + settlement.treasury),
                    ),
                    JobStatus::Assigned(assignment) => (short(&assignment.worker), String::new(), String::new()),
                    _ => Default::default(),
                };
                vec![
                    id.to_string(),
                    status_name(job).into(),
                    short(&job.app),
                    worker,
                    fuel,
                    fee,
                    job.submitted_at.to_string(),
                ]
            });
            table(&["job", "status", "app", "worker", "fuel", "fee", "block"], rows)
        }
    })?;
    Ok(0)
}
