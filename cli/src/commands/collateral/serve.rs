//! `phala collateral serve`: the collateral service, with a chain.

use std::collections::BTreeSet;

use phala_attestation::{DocumentId, SignedDocument, SigningKey};
use phala_collateral::{ChainError, ChainState, Config, Report, Service, Services};
use phala_sdk::{
    Signer,
    chain::{self, Chain, SubmitError, call},
};

use crate::{
    Status,
    args::ServeCollateral,
    context::Context,
    output::{Output, table},
};

/// A chain whose documents somebody keeps fresh.
struct Submitter {
    chain: Chain,
    signer: Signer,
}

impl phala_collateral::Chain for Submitter {
    async fn state(&self) -> Result<ChainState, ChainError> {
        read(&self.chain).await.map_err(|error| ChainError::Unreachable(error.to_string()))
    }

    async fn submit_document(&self, document: SignedDocument) -> Result<(), ChainError> {
        match self.chain.submit(&self.signer, call::submit_document(document)).await {
            Ok(_) => Ok(()),
            Err(SubmitError::Dispatch(error)) => Err(ChainError::Refused(error.to_string())),
            Err(error) => Err(ChainError::Unreachable(error.to_string())),
        }
    }
}

async fn read(chain: &Chain) -> Result<ChainState, chain::ChainError> {
    let state = chain.best().await?;
    Ok(ChainState {
        now: state.timestamp_ms().await? / 1000,
        policy: state.policy().await?,
        documents: state.documents().await?.into_iter().collect(),
        early_documents: state.early_documents().await?.into_iter().collect(),
        early_period: state.early_period().await?,
    })
}

pub(super) async fn run(options: ServeCollateral, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let signer = context.signer(&chain).await?;
    let mut service = Service::open(config(&options, context))?;
    let submitter = Submitter { chain, signer };
    if options.once {
        output.progress("Asking the vendors' services …");
        let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
        let report = service.step(&submitter, now).await;
        output.result(&report, || text(&report))?;
        return Ok(u8::from(!report.failing.is_empty()));
    }
    output.note("Keeping the chain's documents fresh, until you stop this.");
    service
        .run(submitter, |report| {
            // Who does not read does not stop the service.
            let _ = output.result(&report, || text(&report));
        })
        .await
}

fn config(options: &ServeCollateral, context: &Context) -> Config {
    let mut config = Config::new(options.cache.clone().unwrap_or_else(|| context.collateral_folder()));
    if let Some(pcs) = &options.pcs {
        config.services.intel = pcs.clone();
    }
    if let Some(pccs) = &options.pccs {
        config.services = Services::with_pccs(config.services, pccs);
    }
    if let Some(kds) = &options.kds {
        config.services.amd = kds.clone();
    }
    let intel = options.fmspc.iter().flat_map(|fmspc| [DocumentId::SgxTcbInfo(*fmspc), DocumentId::TdxTcbInfo(*fmspc)]);
    let amd = options.generation.iter().flat_map(|generation| {
        [SigningKey::Vcek, SigningKey::Vlek].map(|key| DocumentId::AmdIntermediate(*generation, key))
    });
    config.wanted = intel.chain(amd).collect::<BTreeSet<_>>();
    config
}

/// What was done, for people.
fn text(report: &Report) -> String {
    let submitted = report.submitted.iter().map(|done| vec![done.document.to_string(), "is kept from now on".into()]);
    let kept = report.kept.iter().filter(|kept| kept.ends_soon).map(|kept| {
        vec![kept.document.to_string(), format!("ends at {}, and nothing newer can be had", kept.valid_until)]
    });
    let missing = report.missing.iter().map(|missing| vec![missing.to_string(), "is missing on chain".into()]);
    let failing = report
        .failing
        .iter()
        .map(|failing| vec![failing.task.clone(), format!("fails for the {}. time: {}", failing.times, failing.error)]);
    let rows: Vec<_> = submitted.chain(kept).chain(missing).chain(failing).collect();
    let summary =
        format!("{} documents are on chain; the next look is at {} (Unix time).", report.kept.len(), report.next);
    match rows.is_empty() {
        true => summary,
        false => format!("{}\n{summary}", table(&["what", "how it is"], rows)),
    }
}
