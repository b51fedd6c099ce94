use codec::{Decode, Encode};
use phala_attestation::{
    Collateral, DocumentId, Evidence, Policy, Role, SignedDocument, Statement, UnixSeconds, Unverified,
    VerifiedEvidence, collect_collateral, files::Files, mint, verify, verify_document,
};
use phala_primitives::attestation::KeptDocument;
use std::{collections::BTreeMap, sync::LazyLock};

use crate::{Target, canonical};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "vendor_evidence",
        run: vendor_evidence,
        seeds: evidence_seeds,
        tokens: &[&[1], &[2], b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----", b"\"tcbLevels\":["],
        memory_per_byte: Some(512),
    },
    Target {
        name: "documents",
        run: documents,
        seeds: || DOCUMENTS.values().map(Encode::encode).collect(),
        tokens: &[&[0], &[1], &[2], &[3], &[0x30, 0x82], b"\"tcbLevels\":[", b"\"svn\":", b"Z\""],
        memory_per_byte: Some(512),
    },
    Target {
        name: "evidence_files",
        run: evidence_files,
        seeds: file_seeds,
        tokens: &[b"-----BEGIN CERTIFICATE-----", b"-----BEGIN X509 CRL-----", b"HCLA", b"{\"tcbInfo\":", b"0x"],
        memory_per_byte: Some(512),
    },
    Target {
        name: "browser_requests",
        run: browser_requests,
        seeds: browser_seeds,
        tokens: &[&[0], &[1], b"-----BEGIN CERTIFICATE-----", b"{\"dcap\":{", b"{\"tcbInfo\":"],
        memory_per_byte: Some(512),
    },
];

/// The time of the verification.
const NOW: UnixSeconds = mint::VALID_FROM + 1000;

static POLICY: LazyLock<Policy> =
    LazyLock::new(|| Policy { simulated_vendors: Some(mint::roots()), ..Policy::default() });

/// What the mint made, with what is proven by it.
static MINTED: LazyLock<Vec<(Evidence, Collateral, VerifiedEvidence)>> = LazyLock::new(|| {
    let minted = [mint::sgx(&[7; 64]), mint::tdx(&[7; 64]), mint::sev_snp(&[7; 64])];
    let verified = minted.map(|(evidence, documents)| {
        let kept: BTreeMap<_, _> = documents.into_iter().map(|document| (id(&document), document)).collect();
        let collateral =
            collect_collateral(&evidence, |id| kept.get(&id).cloned()).expect("the mint makes all of them");
        let verified = verify(&evidence, &collateral, &POLICY, NOW).expect("what is minted is good");
        (evidence, collateral, verified)
    });
    verified.into()
});

pub(crate) static DOCUMENTS: LazyLock<BTreeMap<DocumentId, SignedDocument>> = LazyLock::new(|| {
    let minted = [mint::sgx(&[7; 64]), mint::tdx(&[7; 64]), mint::sev_snp(&[7; 64])];
    minted.into_iter().flat_map(|(_, documents)| documents).map(|document| (id(&document), document)).collect()
});

fn id(document: &SignedDocument) -> DocumentId {
    verify_document(document, &POLICY, NOW).expect("what is minted is good").id()
}

/// Evidence of SGX, TDX or SEV-SNP, and its collateral. Whatever passes proves what was minted, and nothing does under the
/// vendors' own roots.
pub fn vendor_evidence(data: &[u8]) {
    let Some((evidence, collateral)) = canonical::<(Evidence, Collateral)>(data) else { return };
    let _ = phala_attestation::required_documents(&evidence);
    assert!(
        matches!(evidence, Evidence::Simulated(_)) || verify(&evidence, &collateral, &Policy::default(), NOW).is_err(),
        "evidence of nobody's was believed"
    );
    let said = Unverified::parse(&evidence);
    if let Ok(verified) = verify(&evidence, &collateral, &POLICY, NOW) {
        assert!(said.is_ok_and(|said| said.measurements == *verified.measurements()), "it was read as something else");
        assert!(MINTED.iter().any(|(_, _, minted)| *minted == verified), "evidence that nobody made was believed");
    }
}

/// A vendor's document by itself: only what was minted is believed.
pub fn documents(data: &[u8]) {
    let Some(document) = canonical::<SignedDocument>(data) else { return };
    assert!(verify_document(&document, &Policy::default(), NOW).is_err(), "a document of nobody's was believed");
    if let Ok(verified) = verify_document(&document, &POLICY, NOW) {
        let minted = DOCUMENTS.get(&verified.id()).map(|minted| verify_document(minted, &POLICY, NOW));
        assert_eq!(minted, Some(Ok(verified)), "a document that nobody made was believed");
    }
}

/// A file of evidence or collateral, as people give it: whatever is found in it can be encoded.
pub fn evidence_files(data: &[u8]) {
    let mut files = Files::default();
    if files.add(data).is_err() {
        return;
    }
    for document in files.clone().documents() {
        assert_eq!(SignedDocument::decode(&mut &document.encode()[..]), Ok(document));
    }
    if let Ok((evidence, collateral)) = files.finish() {
        let _ = verify(&evidence, &collateral, &Policy::default(), NOW);
    }
}

/// What a page asks the module for browsers: the answer is JSON, and files of nobody's are never accepted.
pub fn browser_requests(data: &[u8]) {
    let answer = phala_attestation_browser::answer(data);
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("the answer is JSON");
    assert!(data.first() != Some(&0) || answer["accepted"] != true, "files of nobody's were accepted");
}

fn evidence_seeds() -> Vec<Vec<u8>> {
    let seeds = MINTED.iter().map(|(evidence, collateral, _)| (evidence, collateral).encode());
    let swapped =
        MINTED.iter().zip(MINTED.iter().skip(1)).map(|((evidence, ..), (_, other, _))| (evidence, other).encode());
    seeds.chain(swapped).collect()
}

fn file_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (evidence, ..) in MINTED.iter() {
        match evidence {
            Evidence::Dcap { quote, .. } => seeds.push(quote.clone()),
            Evidence::SevSnp { report, endorsement } => seeds.extend([report.clone(), endorsement.clone()]),
            Evidence::Simulated(_) => {}
        }
    }
    for document in DOCUMENTS.values() {
        match document {
            SignedDocument::TcbInfo(signed) => {
                let signature = hex::encode(signed.signature);
                seeds.push(format!(r#"{{"tcbInfo":{},"signature":"{signature}"}}"#, signed.json).into_bytes());
                seeds.push(signed.signer.clone());
            }
            SignedDocument::QeIdentity(signed) => {
                let signature = hex::encode(signed.signature);
                seeds.push(format!(r#"{{"enclaveIdentity":{},"signature":"{signature}"}}"#, signed.json).into_bytes());
            }
            SignedDocument::PckCrl { list, issuer } => seeds.extend([hex::encode(list).into_bytes(), issuer.clone()]),
            SignedDocument::IntelRootCrl(bytes)
            | SignedDocument::AmdIntermediate(bytes)
            | SignedDocument::AmdCrl(bytes) => seeds.push(bytes.clone()),
        }
    }
    seeds
}

/// Files, and workers with the documents of a chain.
fn browser_seeds() -> Vec<Vec<u8>> {
    let kept = |(_, document): (&DocumentId, &SignedDocument)| {
        let verified = verify_document(document, &POLICY, NOW).expect("what is minted is good");
        KeptDocument::new(document.clone(), &verified).encode()
    };
    let documents: Vec<_> = DOCUMENTS.iter().map(kept).collect();
    let policy = br#"{"dcap":{"minimum_evaluation_number":20}}"#.to_vec();
    let mut seeds = vec![(0u8, file_seeds(), Some(policy), NOW).encode()];
    let statement = Statement {
        role: Role::Worker,
        signing_key: [1; 32],
        encryption_key: [2; 32],
        genesis_hash: [3; 32],
        operator: [4; 32],
        block_number: 5,
        block_hash: [6; 32],
    };
    let report_data = statement.report_data();
    for (evidence, _) in [mint::sgx(&report_data), mint::tdx(&report_data), mint::sev_snp(&report_data)] {
        let chain = (None::<Vec<u8>>, None::<Vec<u8>>, Some(mint::roots().encode()), documents.clone());
        seeds.push((1u8, statement.encode(), evidence.encode(), chain, NOW).encode());
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_minted_is_believed() {
        for (evidence, collateral, verified) in MINTED.iter() {
            let seed = (evidence, collateral).encode();
            let (evidence, collateral) = canonical::<(Evidence, Collateral)>(&seed).unwrap();
            assert_eq!(verify(&evidence, &collateral, &POLICY, NOW).as_ref(), Ok(verified));
        }
        assert_eq!(DOCUMENTS.len(), 8);
    }

    #[test]
    fn minted_workers_are_accepted_in_a_browser() {
        for seed in browser_seeds().iter().skip(1) {
            let answer: serde_json::Value = serde_json::from_str(&phala_attestation_browser::answer(seed)).unwrap();
            assert_eq!(answer["accepted"], true, "{answer}");
        }
    }
}
