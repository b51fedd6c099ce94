//! Users, who run small jobs all the time and know what each must give.

use anyhow::{Context, Result, bail, ensure};
use phala_primitives::{FailureReason, Limits, Outcome};
use phala_sdk::{
    Signer,
    chain::Chain,
    job::{JobError, JobRecord, JobResult, Jobs, Program, Request, Store, Until},
};
use phala_tests::{binary, guest};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tokio::time::{Duration, Instant, sleep};

use crate::{
    plan::Dice,
    shared::{Fate, JobEnd, Shared},
};

/// Who they are.
pub const USERS: [&str; 5] = ["//Bob", "//Charlie", "//Dave", "//Eve", "//Ferdie"];

/// How long users wait before they try again.
const PAUSE: Duration = Duration::from_secs(2);

/// How long a user looks for a job whose submission was cut off.
const SEARCH: Duration = Duration::from_secs(60);

/// How long a job may take while nothing is wrong.
const QUICK: Duration = Duration::from_secs(120);

/// After how many blocks jobs expire: enough for two workers in turn.
const DEADLINE_BLOCKS: u32 = 100;

const LIMITS: Limits = Limits { fuel: 20_000_000_000, memory_bytes: 64 << 20, wall_ms: 20_000, output_bytes: 1 << 20 };

/// The argument of the compute-heavy program.
const SCALE: &str = "5";

/// One of a user's jobs at a time, one after the other.
pub struct User {
    jobs: Jobs,
    signer: Signer,
    dice: Dice,
    folder: PathBuf,
    /// What the compute-heavy program prints.
    computed: Vec<u8>,
}

/// A job and what it must give.
#[derive(Debug)]
struct Work {
    program: &'static str,
    arguments: Vec<String>,
    stdin: Option<Vec<u8>>,
    /// The content of the input file `secret`.
    file: Option<Vec<u8>>,
    fuel: u64,
    outcome: Outcome,
    stdout: Expected,
}

/// What a program must print.
#[derive(Debug)]
enum Expected {
    Exactly(Vec<u8>),
    Beginning(&'static [u8]),
}

/// What the compute-heavy program prints, by plain wasmtime.
///
/// # Errors
/// When it does not run.
pub fn computed() -> Result<Vec<u8>> {
    let output =
        Command::new(binary("plain")).arg(guest("compute")).args(["--", SCALE]).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

impl User {
    /// A user with a folder of his own.
    ///
    /// # Errors
    /// When there is no such key, or the folder cannot be used.
    pub fn new(chain: Chain, key: &str, folder: &Path, seed: u64, computed: Vec<u8>) -> Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            jobs: Jobs::new(chain, Store::open(&folder.join("store"))?),
            signer: Signer::from_uri(key)?,
            dice: Dice::new(seed),
            folder: folder.to_owned(),
            computed,
        })
    }

    /// Runs jobs until the run closes.
    ///
    /// # Errors
    /// When a job does not end as it must.
    pub async fn work(mut self, shared: &Shared) -> Result<()> {
        while !shared.is_closing() {
            let work = Work::draw(&mut self.dice, &shared.canary, &self.computed);
            let program = work.program;
            let job = Box::pin(self.job(work, shared)).await;
            job.with_context(|| format!("a job of {} with program `{program}`", self.signer))?;
        }
        Ok(())
    }

    async fn job(&self, work: Work, shared: &Shared) -> Result<()> {
        let begun = Instant::now();
        let request = work.request(&self.folder)?;
        let Some(mut record) = self.submit(request, shared).await? else { return Ok(()) };
        let mut end = JobEnd { submitted: begun, seconds: 0.0, fate: Fate::Right, worker: None };
        let result = self.result(&mut record, begun, shared).await.with_context(|| format!("job {}", record.job))?;
        end.seconds = begun.elapsed().as_secs_f64();
        match result {
            Err(fate) => end.fate = fate,
            Ok(result) => {
                let outcome = result.settlement.outcome;
                end.worker = Some(result.settlement.worker);
                if outcome == Outcome::Failed(FailureReason::WallTimeExceeded) {
                    shared.forgive(begun, || format!("job {} had no more wall time", record.job))?;
                    end.fate = Fate::OutOfTime;
                } else if outcome != work.outcome || !work.stdout.fits(&result.output.stdout) {
                    let start = result.output.stdout.len().min(100);
                    // Less what is secret, which must not be in a log.
                    let printed = String::from_utf8_lossy(&result.output.stdout[..start]).replace(&shared.canary, "…");
                    bail!("job {} ended with {outcome:?}, not {:?}, and printed {printed}", record.job, work.outcome);
                } else if begun.elapsed() > QUICK {
                    shared.forgive(begun, || format!("job {} took {:.0} s", record.job, end.seconds))?;
                }
            }
        }
        shared.ended(end);
        Ok(())
    }

    /// Submits a job, patiently. `None` when it is not on chain and nobody waits for it any more.
    async fn submit(&self, request: Request, shared: &Shared) -> Result<Option<JobRecord>> {
        loop {
            let tried = Instant::now();
            let end = |fate| shared.ended(JobEnd { submitted: tried, seconds: 0.0, fate, worker: None });
            match Box::pin(self.jobs.submit(&self.signer, request.clone(), &|_| {})).await {
                Ok(record) => return Ok(Some(record)),
                Err(error) => {
                    let unresolved = matches!(error, JobError::Unresolved(_));
                    shared.forgive(tried, || format!("it was not submitted: {error}"))?;
                    if unresolved && let Some(record) = self.recover().await? {
                        return Ok(Some(record));
                    }
                    end(Fate::NotSubmitted);
                }
            }
            if shared.is_closing() {
                return Ok(None);
            }
            sleep(PAUSE).await;
        }
    }

    /// A job that is on chain though its submission was cut off.
    async fn recover(&self) -> Result<Option<JobRecord>> {
        let begun = Instant::now();
        while begun.elapsed() < SEARCH {
            if let Ok(found) = self.jobs.recover().await
                && let Some(job) = found.first()
            {
                return Ok(Some(self.jobs.record(*job)?));
            }
            sleep(PAUSE).await;
        }
        Ok(None)
    }

    /// The result of a job, or what became of it instead.
    async fn result(
        &self,
        record: &mut JobRecord,
        begun: Instant,
        shared: &Shared,
    ) -> Result<Result<Box<JobResult>, Fate>> {
        loop {
            let tried = Instant::now();
            let all = async {
                Box::pin(self.jobs.follow(record, Until::Settled, &|_| {})).await?;
                Box::pin(self.jobs.result(record, &|_| {})).await
            };
            match all.await {
                Ok(result) => return Ok(Ok(Box::new(result))),
                Err(JobError::Expired(block, why)) => {
                    shared.forgive(begun, || format!("it expired in block {block}: {why}"))?;
                    return Ok(Err(Fate::Expired));
                }
                Err(JobError::UnknownJob(_)) => {
                    shared.forgive(begun, || "the chain does not know it any more".into())?;
                    return Ok(Err(Fate::Replaced));
                }
                // A fork gave it another number, as may be at any time, or its submission was cut off, or its token's time is over.
                Err(JobError::NoUploadToken(_)) => {
                    if let Err(error) = self.jobs.sign_uploads(&self.signer, record).await {
                        shared.forgive(tried, || format!("its uploads cannot be signed for: {error}"))?;
                    }
                }
                Err(error @ (JobError::Chain(_) | JobError::Host(_) | JobError::NotEnded)) => {
                    shared.forgive(tried, || format!("its result is not to be had: {error}"))?;
                }
                Err(error) => return Err(error.into()),
            }
            sleep(PAUSE).await;
        }
    }
}

impl Work {
    fn draw(dice: &mut Dice, canary: &str, computed: &[u8]) -> Self {
        let number = dice.below(1 << 32);
        let text = format!("{canary} {number}");
        let work = |program, stdout| Self {
            program,
            arguments: vec![],
            stdin: None,
            file: None,
            fuel: LIMITS.fuel,
            outcome: Outcome::Completed { exit_code: 0 },
            stdout,
        };
        let bytes = text.clone().into_bytes();
        match dice.below(9) {
            0 => Self { stdin: Some(bytes.clone()), ..work("echo", Expected::Exactly(bytes)) },
            1 => Self {
                arguments: vec!["secret".into()],
                file: Some(bytes.clone()),
                ..work("cat", Expected::Exactly(bytes))
            },
            2 => Self {
                stdin: Some(bytes),
                arguments: vec![text.clone()],
                ..work("arguments", Expected::Exactly((text + "\n").into()))
            },
            3 => Self {
                arguments: vec![SCALE.into()],
                stdin: Some(bytes),
                ..work("compute", Expected::Exactly(computed.to_vec()))
            },
            4 => {
                let input: Vec<u8> = bytes.iter().copied().cycle().take(1 << 20).collect();
                let hash = input.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
                });
                let printed = format!("{} bytes, fnv1a {hash:016x}\n", input.len());
                Self { stdin: Some(input), ..work("count", Expected::Exactly(printed.into())) }
            }
            5 => Self {
                arguments: vec!["1500".into()],
                stdin: Some(bytes),
                ..work("sleep", Expected::Beginning(b"slept "))
            },
            6 => Self {
                arguments: vec!["7".into()],
                stdin: Some(bytes),
                outcome: Outcome::Completed { exit_code: 7 },
                ..work("exit", Expected::Exactly(b"to standard output\n".to_vec()))
            },
            7 => Self {
                stdin: Some(bytes),
                outcome: Outcome::Failed(FailureReason::Trap),
                ..work("trap", Expected::Beginning(b""))
            },
            _ => Self {
                stdin: Some(bytes),
                fuel: 500_000_000,
                outcome: Outcome::Failed(FailureReason::FuelExhausted),
                ..work("spin", Expected::Beginning(b""))
            },
        }
    }

    /// What the SDK is asked for, with inputs in files of the user's.
    fn request(&self, folder: &Path) -> Result<Request> {
        let keep = |name: &str, bytes: &Option<Vec<u8>>| {
            let path = folder.join(name);
            bytes.as_ref().map(|bytes| fs::write(&path, bytes).map(|()| path)).transpose()
        };
        let stdin = keep("stdin", &self.stdin)?;
        let file = keep("secret", &self.file)?;
        Ok(Request {
            arguments: self.arguments.clone(),
            stdin,
            files: file.into_iter().map(|path| ("secret".to_owned(), path)).collect(),
            limits: Limits { fuel: self.fuel, ..LIMITS },
            deadline_blocks: Some(DEADLINE_BLOCKS),
            ..Request::new(Program::File { path: guest(self.program), private: false })
        })
    }
}

impl Expected {
    fn fits(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Exactly(expected) => bytes == expected,
            Self::Beginning(beginning) => bytes.starts_with(beginning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn users_run_every_program_and_each_input_has_the_secret() {
        let mut dice = Dice::new(1);
        let mut programs = BTreeSet::new();
        for _ in 0..200 {
            let work = Work::draw(&mut dice, "canary-0", b"computed");
            let holds = |bytes: &Option<Vec<u8>>| bytes.as_ref().is_some_and(|bytes| bytes.starts_with(b"canary-0"));
            assert!(holds(&work.stdin) || holds(&work.file), "{}", work.program);
            programs.insert(work.program);
        }
        let all = ["arguments", "cat", "compute", "count", "echo", "exit", "sleep", "spin", "trap"];
        assert_eq!(programs, BTreeSet::from(all));
    }

    #[test]
    fn the_hash_of_a_stream_is_that_of_the_program() {
        let mut dice = Dice::new(3);
        let work = std::iter::repeat_with(|| Work::draw(&mut dice, "x", b"")).find(|work| work.program == "count");
        let Expected::Exactly(printed) = work.unwrap().stdout else { panic!("an exact output") };
        assert!(printed.starts_with(b"1048576 bytes, fnv1a "));
    }
}
