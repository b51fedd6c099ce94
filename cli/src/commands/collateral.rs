//! `phala collateral`: the documents of vendors that a chain verifies evidence with.

mod serve;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use phala_attestation::{DocumentId, Generation, PckCa, SigningKey, files::Files};
use phala_sdk::chain::{SubmitError, call};
use serde_json::json;

use super::evidence::read;
use crate::{
    Status, args,
    context::Context,
    output::{Output, table},
};

pub(crate) async fn run(command: args::Collateral, context: &Context, output: &Output) -> Status {
    match command {
        args::Collateral::List => list(context, output).await,
        args::Collateral::Submit { files } => submit(&files, context, output).await,
        args::Collateral::Serve(options) => serve::run(options, context, output).await,
    }
}

/// What a document is about, for people.
fn name(id: DocumentId) -> String {
    let generation = |generation| match generation {
        Generation::Milan => "Milan",
        Generation::Genoa => "Genoa",
        Generation::Turin => "Turin",
    };
    match id {
        DocumentId::IntelRootCrl => "revocations of Intel SGX Root CA".into(),
        DocumentId::PckCrl(PckCa::Platform) => "revocations of Intel SGX PCK Platform CA".into(),
        DocumentId::PckCrl(PckCa::Processor) => "revocations of Intel SGX PCK Processor CA".into(),
        DocumentId::SgxTcbInfo(fmspc) => format!("TCB info for SGX, FMSPC {}", hex::encode_upper(fmspc)),
        DocumentId::TdxTcbInfo(fmspc) => format!("TCB info for TDX, FMSPC {}", hex::encode_upper(fmspc)),
        DocumentId::SgxQeIdentity => "QE identity for SGX".into(),
        DocumentId::TdxQeIdentity => "QE identity for TDX".into(),
        DocumentId::AmdIntermediate(family, SigningKey::Vcek) => format!("ASK of {}", generation(family)),
        DocumentId::AmdIntermediate(family, SigningKey::Vlek) => format!("ASVK of {}", generation(family)),
        DocumentId::AmdCrl(family) => format!("revocations of ARK-{}", generation(family)),
    }
}

async fn list(context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let (current, early, period) = chain
        .read(async |state| Ok((state.documents().await?, state.early_documents().await?, state.early_period().await?)))
        .await?;
    let current = current.into_iter().map(|(id, kept)| (id, kept, None));
    let early = early.into_iter().map(|(id, early)| (id, early.kept, Some(early.since.saturating_add(period))));
    let mut documents: Vec<_> = current.chain(early).collect();
    documents.sort_by_key(|(id, _, counts_from)| (*id, *counts_from));
    let values: Vec<_> = documents
        .iter()
        .map(|(id, kept, counts_from)| {
            json!({
                "document": name(*id),
                "number": kept.number,
                "issued": kept.issued,
                "valid_until": kept.valid_until,
                "counts_from": counts_from,
            })
        })
        .collect();
    output.result(&values, || match documents.is_empty() {
        true => "This chain keeps no document of a vendor's, so only simulated workers can register.".into(),
        false => {
            let rows = documents.iter().map(|(id, kept, counts_from)| {
                vec![
                    name(*id),
                    kept.number.to_string(),
                    kept.issued.to_string(),
                    kept.valid_until.to_string(),
                    counts_from.map_or_else(|| "now".into(), |from| format!("from {from}: a TCB recovery")),
                ]
            });
            table(&["document", "number", "issued", "valid until", "counts"], rows)
        }
    })?;
    Ok(0)
}

async fn submit(files: &[PathBuf], context: &Context, output: &Output) -> Status {
    let mut found = Files::default();
    for path in files {
        found.add(&read(path)?).with_context(|| path.display().to_string())?;
    }
    let documents = found.documents();
    if documents.is_empty() {
        bail!("no document is whole: JSON needs the certificate of its signer, and a list of a PCK CA that CA's");
    }
    let chain = context.chain().await?;
    let (policy, now, current, early) = chain
        .read(async |state| {
            let (policy, now) = (state.policy().await?, state.timestamp_ms().await? / 1000);
            Ok((policy, now, state.documents().await?, state.early_documents().await?))
        })
        .await?;
    let kept = [current, early.into_iter().map(|(id, early)| (id, early.kept)).collect()].concat();
    let signer = context.signer(&chain).await?;
    let mut results = Vec::new();
    for document in documents {
        let verified = phala_attestation::verify_document(&document, &policy, now)?;
        let (id, number, issued) = (verified.id(), verified.number(), verified.issued());
        let as_new = kept.iter().any(|(kept, old)| *kept == id && old.number == number && old.issued >= issued);
        let outcome = if as_new {
            "is kept already, or a newer one"
        } else {
            output.progress(&format!("Submitting {} …", name(id)));
            match chain.submit(&signer, call::submit_document(document)).await {
                Ok(_) => "is kept",
                Err(SubmitError::Dispatch(error)) if error.error == "DocumentNotNewer" => {
                    "is kept already, or a newer one"
                }
                Err(error) => return Err(error).with_context(|| name(id)),
            }
        };
        results.push((name(id), verified.number(), verified.valid_until(), outcome));
    }
    let values: Vec<_> = results
        .iter()
        .map(|(document, number, valid_until, outcome)| {
            json!({ "document": document, "number": number, "valid_until": valid_until, "outcome": outcome })
        })
        .collect();
    output.result(&values, || {
        let rows = results.iter().map(|(document, number, valid_until, outcome)| {
            vec![document.clone(), number.to_string(), valid_until.to_string(), (*outcome).into()]
        });
        table(&["document", "number", "valid until", "outcome"], rows)
    })?;
    Ok(0)
}
