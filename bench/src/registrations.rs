//! How long many workers take to register on a network that runs: with evidence of SGX, TDX or SEV-SNP, against simulated
//! evidence, which costs the chain one signature or two.

use anyhow::{Context, Result, ensure};
use ed25519_dalek::{Signer as _, SigningKey};
use futures::{StreamExt, TryStreamExt, stream};
use phala_attestation::{
    Evidence, Kind, Measurement, Role, Statement, VendorName,
    mint::Mint,
    simulated::{Report, development_root},
    verify_document,
};
use phala_primitives::{
    PHA, WorkerId,
    worker::{Performance, PerformanceReport, SignedPerformanceReport},
};
use phala_sdk::{
    Account, Signer,
    chain::{Block, Call, Chain, call},
};
use std::time::{Duration, Instant};

/// How many registrations are in one transaction: before they are executed, each counts for the most that it could weigh.
const BATCH: usize = 5;

/// How many transactions are on their way at once: a transaction that is in no block within a minute counts as lost.
const AT_ONCE: usize = 60;

/// The image that all of them run.
const IMAGE: [u8; 32] = [0xbe; 32];

pub fn run(node: &str, workers: usize, kind: Kind) -> Result<()> {
    ensure!(kind != Kind::Simulated, "simulated evidence is what others are compared with");
    tokio::runtime::Runtime::new()?.block_on(async {
        let chain = Chain::connect(node).await?;
        let sudo = Signer::from_uri("//Alice")?;
        let mint = prepare(&chain, &sudo, kind).await?;
        let operators = operators(&chain, &sudo, workers.div_ceil(BATCH)).await?;
        let known = register(&chain, &operators, workers, Kind::Simulated, &mint).await?;
        let measured = register(&chain, &operators, workers, kind, &mint).await?;
        println!("{:<28} {:>10} {:>10} {:>8}", format!("{workers} workers register"), "time", "blocks", "ratio");
        for (kind, (time, blocks)) in [(Kind::Simulated, known), (kind, measured)] {
            let ratio = time.as_secs_f64() / known.0.as_secs_f64();
            println!("{:<28} {:>8.1} s {blocks:>10} {ratio:>8.2}", kind.to_string(), time.as_secs_f64());
        }
        Ok(())
    })
}

/// Has the chain allow the image and keep the documents.
async fn prepare(chain: &Chain, sudo: &Signer, kind: Kind) -> Result<Mint> {
    let state = chain.best().await?;
    let mint = Mint { measurement: IMAGE, ..Mint::at(state.timestamp_ms().await? / 1000) };
    let (policy, kept) = (state.policy().await?, state.documents().await?);
    let mut calls: Vec<Call> = [mint.image(kind), Measurement(IMAGE)]
        .into_iter()
        .map(|image| call::sudo(call::allow_image(image, Role::Worker, 1)))
        .collect();
    let (_, documents) = mint.of_kind(kind, &[0; 64]).context("a kind with a vendor")?;
    for document in documents {
        let id = verify_document(&document, &policy, mint.from).context("a development network")?.id();
        if !kept.iter().any(|(other, _)| *other == id) {
            calls.push(call::submit_document(document));
        }
    }
    chain.submit_finalized(sudo, call::batch_all(calls)).await?;
    Ok(mint)
}

/// Accounts with something to pay fees with.
async fn operators(chain: &Chain, sudo: &Signer, count: usize) -> Result<Vec<Signer>> {
    let operators = (0..count).map(|number| Signer::from_uri(&format!("//Bench//{number}")));
    let operators = operators.collect::<Result<Vec<_>, _>>()?;
    let funding = operators.iter().map(|operator| call::transfer(operator.account(), 10 * PHA)).collect();
    chain.submit_finalized(sudo, call::batch_all(funding)).await?;
    Ok(operators)
}

/// Registers them all as fast as blocks take them, and says how long that took, and over how many blocks.
async fn register(
    chain: &Chain,
    operators: &[Signer],
    workers: usize,
    kind: Kind,
    mint: &Mint,
) -> Result<(Duration, u32)> {
    let block = chain.finalized().await?.block();
    let mut batches = Vec::new();
    for (first, operator) in (0..workers).step_by(BATCH).zip(operators) {
        let numbers = first..workers.min(first + BATCH);
        let enclave = |number| registration(number, operator.account(), chain.genesis_hash(), &block, kind, mint);
        batches.push((operator, call::batch_all(numbers.map(enclave).collect())));
    }
    let (before, start) = (chain.best().await?.block().number, Instant::now());
    let included = stream::iter(batches).map(|(operator, call)| chain.submit(operator, call));
    let included: Vec<_> = included.buffer_unordered(AT_ONCE).try_collect().await?;
    let last = included.iter().map(|included| included.block.number).max().unwrap_or(before);
    Ok((start.elapsed(), last - before))
}

/// The registration of one worker.
fn registration(
    number: usize,
    operator: Account,
    genesis_hash: [u8; 32],
    block: &Block,
    kind: Kind,
    mint: &Mint,
) -> Call {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    seed[8..8 + kind.to_string().len()].copy_from_slice(kind.to_string().as_bytes());
    let key = SigningKey::from_bytes(&seed);
    let statement = Statement {
        role: Role::Worker,
        signing_key: key.verifying_key().to_bytes(),
        encryption_key: [2; 32],
        genesis_hash,
        operator: operator.0,
        block_number: block.number,
        block_hash: block.hash,
    };
    let report_data = statement.report_data();
    let platform = (number as u128 + 1).to_le_bytes();
    let evidence = match (Mint { platform, ..*mint }).of_kind(kind, &report_data) {
        Some((evidence, _)) => evidence,
        None => {
            let report = Report { measurement: Measurement(IMAGE), debug: false, report_data };
            Evidence::Simulated(development_root().certify(seed, VendorName::DEVELOPMENT, 1, 0, u64::MAX).quote(report))
        }
    };
    let report = PerformanceReport {
        genesis_hash,
        worker: WorkerId(statement.signing_key),
        performance: Performance { fuel_per_second: 1, capacity: 1 },
        block_number: block.number,
    };
    let signature = key.sign(&report.signed_bytes()).to_bytes();
    call::register(statement, evidence, SignedPerformanceReport { report, signature }, "http://localhost:1", PHA)
}
