//! Documents by themselves: each verified once, kept, and collected again for evidence.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use super::{
    evidence::{ALL, MILAN, SGX, TDX, TDX_15EX, VLEK, folder, lenient, load},
    forge::{Dcap, END, NOW, START, Snp},
};
use crate::{documents::verify_document_under, roots::Roots, *};

fn documents(evidence: &Evidence, collateral: &Collateral) -> Vec<SignedDocument> {
    split_collateral(evidence, collateral).unwrap()
}

thread_local! {
    static KNOWN: RefCell<BTreeSet<SignatureId>> = const { RefCell::new(BTreeSet::new()) };
    static UNKNOWN: Cell<usize> = const { Cell::new(0) };
}

/// Knows what is in [`KNOWN`], and counts what is not.
struct Memory;

impl KnownSignatures for Memory {
    fn is_known(id: &SignatureId) -> bool {
        let known = KNOWN.with_borrow(|known| known.contains(id));
        if !known {
            UNKNOWN.set(UNKNOWN.get() + 1);
        }
        known
    }
}

/// Verifies evidence with the signatures of `verified` known. How many signatures of chains and documents were verified
/// all the same comes with the verdict.
fn verify_with_known(
    roots: &Roots<'_>,
    evidence: &Evidence,
    collateral: &Collateral,
    verified: &[VerifiedDocument],
    now: UnixSeconds,
) -> (Result<VerifiedEvidence, Error>, usize) {
    KNOWN.with_borrow_mut(|known| {
        known.clear();
        known.extend(verified.iter().flat_map(VerifiedDocument::signatures));
    });
    UNKNOWN.set(0);
    (verify_under::<Memory>(roots, evidence, collateral, &lenient(), now), UNKNOWN.get())
}

#[test]
fn recorded_documents_verify_by_themselves_and_are_verified_once() {
    let Some(folder) = folder() else { return };
    let rows: [(&[&str], UnixSeconds, usize); 5] = [
        // The PCK certificate, the quoting enclave's report and the quote: what is a platform's own.
        (&SGX, 1_751_500_000, 3),
        (&TDX, 1_751_500_000, 3),
        (&TDX_15EX, 1_792_000_000, 3),
        // The endorsement's certificate and the report do not ask what is known.
        (&MILAN, 1_751_500_000, 0),
        (&VLEK, 1_751_500_000, 0),
    ];
    for (files, now, own) in rows {
        let (evidence, collateral) = load(&folder, files);
        let documents = documents(&evidence, &collateral);
        let verified: Vec<_> =
            documents.iter().map(|document| verify_document(document, &Policy::default(), now).unwrap()).collect();
        let kept: BTreeMap<_, _> = verified.iter().map(VerifiedDocument::id).zip(documents).collect();

        // What the evidence asks for is what there is.
        assert!(required_documents(&evidence).unwrap().iter().all(|id| match id {
            DocumentId::AmdCrl(_) => true,
            id => kept.contains_key(id),
        }));
        assert_eq!(collect_collateral(&evidence, |id| kept.get(&id).cloned()), Ok(collateral.clone()), "{files:?}");

        let plain = verify(&evidence, &collateral, &lenient(), now).unwrap();
        let (known, checked) = verify_with_known(&Roots::PINNED, &evidence, &collateral, &verified, now);
        assert_eq!((known.unwrap(), checked), (plain.clone(), own), "{files:?}");
        let least = verified.iter().map(VerifiedDocument::valid_until).min().unwrap();
        assert!(plain.valid_until() <= least, "{files:?}");
        for (id, document) in &kept {
            let document_verified = verify_document(document, &Policy::default(), now).unwrap();
            let until = document_verified.valid_until();
            assert!(document_verified.issued() <= now);
            assert!(verify_document(document, &Policy::default(), until).is_ok(), "{id:?}");
            assert!(verify_document(document, &Policy::default(), until + 1).is_err(), "{id:?}");
        }
    }
}

#[test]
fn all_recorded_evidence_says_which_documents_it_needs() {
    let Some(folder) = folder() else { return };
    for (names, _) in ALL {
        let (evidence, collateral) = load(&folder, names);
        let needed: Vec<_> = required_documents(&evidence).unwrap().into_iter().map(DocumentId::document).collect();
        let kinds = match collateral {
            Collateral::Dcap(_) => {
                vec![Document::RootCaCrl, Document::PckCrl, Document::TcbInfo, Document::QeIdentity]
            }
            _ => vec![Document::AmdIntermediate, Document::AmdCrl],
        };
        assert_eq!(needed, kinds, "{names:?}");
    }
}

#[test]
fn every_byte_of_a_document_counts() {
    let (intel, evidence, collateral) = Dcap::tdx().build();
    let intel = Roots { intel: &intel, ..Roots::PINNED };
    let (amd, report, of_amd) = Snp::milan().build();
    let amd = Roots { milan: &amd, ..Roots::PINNED };
    let all = documents(&evidence, &collateral).into_iter().map(|document| (&intel, document));
    for (roots, document) in all.chain(documents(&report, &of_amd).into_iter().map(|document| (&amd, document))) {
        let verified = verify_document_under(roots, &document, NOW).unwrap();
        assert_eq!((verified.issued(), verified.valid_until() <= END), (START, true));
        assert!(verify_document(&document, &Policy::default(), NOW).is_err(), "under the pinned roots");
        let original = document.encode();
        for index in 0..original.len() {
            let mut changed = original.clone();
            changed[index] ^= 1 << (index % 8);
            let Ok(changed) = SignedDocument::decode(&mut &changed[..]) else { continue };
            let result = verify_document_under(roots, &changed, NOW);
            assert!(result.is_err(), "{:?}: byte {index}", verified.id());
        }
        for index in (0..original.len()).step_by(7) {
            let _ = SignedDocument::decode(&mut &original[..index])
                .map(|document| assert!(verify_document_under(roots, &document, NOW).is_err()));
        }
    }
}

/// A signature that is known is not verified again; one of the same key over another message is.
#[test]
fn known_signatures_are_known_for_their_message_alone() {
    let (intel, evidence, collateral) = Dcap::sgx().build();
    let roots = Roots { intel: &intel, ..Roots::PINNED };
    let verified: Vec<_> = documents(&evidence, &collateral)
        .iter()
        .map(|document| verify_document_under(&roots, document, NOW).unwrap())
        .collect();
    let (result, checked) = verify_with_known(&roots, &evidence, &collateral, &verified, NOW);
    assert!(result.is_ok());
    assert_eq!(checked, 3);
    let (result, checked) = verify_with_known(&roots, &evidence, &collateral, &[], NOW);
    assert!(result.is_ok());
    // TCB info and its signer, QE identity, both lists, the CA, and the platform's own three.
    assert!(checked >= 8, "{checked}");

    let Collateral::Dcap(mut changed) = collateral else { unreachable!() };
    changed.tcb_info = changed.tcb_info.replace("UpToDate", "OutOfDate");
    let (result, _) = verify_with_known(&roots, &evidence, &Collateral::Dcap(changed), &verified, NOW);
    assert_eq!(result, Err(Error::DocumentSignature(Document::TcbInfo)));
}

#[test]
fn documents_of_the_wrong_kind_are_refused() {
    let (intel, evidence, collateral) = Dcap::sgx().build();
    let roots = Roots { intel: &intel, ..Roots::PINNED };
    let [root_crl, pck_crl, tcb_info, qe_identity] = documents(&evidence, &collateral).try_into().unwrap();
    let refused = |document: SignedDocument| verify_document_under(&roots, &document, NOW).unwrap_err();
    let (SignedDocument::IntelRootCrl(root_list), SignedDocument::PckCrl { list, issuer }) = (&root_crl, &pck_crl)
    else {
        unreachable!()
    };
    assert_eq!(refused(SignedDocument::IntelRootCrl(list.clone())), Error::DocumentSignature(Document::RootCaCrl));
    assert_eq!(
        refused(SignedDocument::PckCrl { list: root_list.clone(), issuer: issuer.clone() }),
        Error::DocumentSignature(Document::PckCrl)
    );
    let (SignedDocument::TcbInfo(info), SignedDocument::QeIdentity(identity)) = (&tcb_info, &qe_identity) else {
        unreachable!()
    };
    assert_eq!(refused(SignedDocument::TcbInfo(identity.clone())), Error::Malformed(Document::TcbInfo));
    assert_eq!(refused(SignedDocument::QeIdentity(info.clone())), Error::Malformed(Document::QeIdentity));
    assert_eq!(
        refused(SignedDocument::PckCrl { list: list.clone(), issuer: info.signer.clone() }),
        Error::Mismatch(Document::PckCa)
    );
    let signed_by_ca = SignedJson { signer: issuer.clone(), ..info.clone() };
    assert_eq!(refused(SignedDocument::TcbInfo(signed_by_ca)), Error::Mismatch(Document::TcbInfoSigner));

    // Whoever keeps documents gives another than it was asked for, or none.
    let missing = collect_collateral(&evidence, |_| None);
    assert_eq!(missing, Err(Error::DocumentMissing(Document::RootCaCrl)));
    let other = collect_collateral(&evidence, |_| Some(root_crl.clone()));
    assert_eq!(other, Err(Error::CollateralKind));
    let (_, report, of_amd) = Snp::milan().change(|snp| snp.crl = None).build();
    let [intermediate] = documents(&report, &of_amd).try_into().unwrap();
    let without_list = collect_collateral(&report, |id| match id {
        DocumentId::AmdIntermediate(Generation::Milan, SigningKey::Vcek) => Some(intermediate.clone()),
        _ => None,
    });
    assert_eq!(without_list, Ok(of_amd));
}

/// Another's document under an id: the platform's own decides which it is.
#[test]
fn documents_are_asked_for_by_platform() {
    let ids = |evidence: &Evidence| required_documents(evidence).unwrap();
    let fmspc = [0, 0xa0, 0x67, 0x11, 0, 0];
    let (_, sgx, _) = Dcap::sgx().build();
    assert_eq!(
        ids(&sgx),
        [
            DocumentId::IntelRootCrl,
            DocumentId::PckCrl(PckCa::Platform),
            DocumentId::SgxTcbInfo(fmspc),
            DocumentId::SgxQeIdentity
        ]
    );
    let (_, tdx, _) = Dcap::tdx().change(|dcap| dcap.fmspc = [1, 2, 3, 4, 5, 6]).build();
    assert_eq!(ids(&tdx)[2..], [DocumentId::TdxTcbInfo([1, 2, 3, 4, 5, 6]), DocumentId::TdxQeIdentity]);
    let (_, turin, _) = Snp::turin().build();
    let turin_ids =
        [DocumentId::AmdIntermediate(Generation::Turin, SigningKey::Vcek), DocumentId::AmdCrl(Generation::Turin)];
    assert_eq!(ids(&turin), turin_ids);
    let (_, vlek, _) = Snp::milan_vlek().build();
    assert_eq!(ids(&vlek)[0], DocumentId::AmdIntermediate(Generation::Milan, SigningKey::Vlek));
    let noise = Evidence::SevSnp { report: vec![], endorsement: vec![0x30, 0] };
    assert_eq!(required_documents(&noise), Err(Error::Malformed(Document::Endorsement)));
    let noise = Evidence::Dcap { quote: vec![1; 100], pck_chain: None };
    assert!(required_documents(&noise).is_err());
}

#[test]
fn a_report_names_the_certificate_of_its_key() {
    let of = |snp: Snp| match snp.build().1 {
        Evidence::SevSnp { report, .. } => EndorsementId::of_report(&report),
        _ => unreachable!(),
    };
    let tcb = SnpTcb { fmc: 0, bootloader: 4, tee: 1, snp: 24, microcode: 220 };
    let id = EndorsementId { generation: Generation::Milan, chip_id: [0x44; 64], tcb };
    assert_eq!(of(Snp::milan()), Ok(id));
    let turin = of(Snp::turin()).unwrap();
    assert_eq!(turin.tcb, SnpTcb { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 70 });
    assert_eq!(turin.chip_id[..9], [0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0]);
    // The provider has it; the generation is not said; the chip is not.
    assert_eq!(of(Snp::milan_vlek()), Err(Error::SigningKeyRefused(SigningKey::Vlek)));
    assert_eq!(of(Snp::milan().change(|snp| snp.report[0] = 2)), Err(Error::QuoteVersion(2)));
    let masked = Snp::milan().change(|snp| snp.report[0x1a0..0x1e0].fill(0));
    assert_eq!(of(masked), Err(Error::NoPlatformIdentity));
}

/// Roots of a development network: the evidence is said to be simulated.
#[test]
fn evidence_under_simulated_roots_is_simulated() {
    let (intel, evidence, collateral) = Dcap::tdx().build();
    let (amd, report, of_amd) = Snp::milan().build();
    let policy = Policy { simulated_vendors: Some(VendorRoots { intel, amd }), ..Policy::default() };
    for (kind, vendor, evidence, collateral) in
        [(Kind::Tdx, "simulated:intel", evidence, collateral), (Kind::SevSnp, "simulated:amd", report, of_amd)]
    {
        for document in documents(&evidence, &collateral) {
            assert!(verify_document(&document, &policy, NOW).is_ok());
        }
        let verified = verify(&evidence, &collateral, &policy, NOW).unwrap();
        assert_eq!((verified.kind(), verified.vendor().to_string()), (kind, vendor.to_owned()));
        assert!(verified.claims().contains(&(Claim::HardwareIsolation, ClaimStatus::NotChecked)));
    }
    let Some(folder) = folder() else { return };
    let (evidence, collateral) = load(&folder, &MILAN);
    assert_eq!(verify(&evidence, &collateral, &policy, 1_751_500_000), Err(Error::Chain(Document::AmdIntermediate)));
}

/// As large as they may be, and newer ones.
#[test]
fn minted_documents_have_the_size_and_age_that_was_asked_for() {
    let policy = Policy { simulated_vendors: Some(mint::roots()), ..Policy::default() };
    for kib in [1, 20, 60] {
        let (tcb_info, list) = mint::large_documents(kib, kib);
        let sizes = [tcb_info.encoded_size(), list.encoded_size()];
        assert!(sizes.iter().all(|size| size.abs_diff(kib as usize * 1024) < 2048), "{kib} KiB: {sizes:?}");
        for document in [tcb_info, list] {
            verify_document(&document, &policy, NOW).unwrap();
        }
    }
    for (number, age) in [(20, 0), (21, 999)] {
        let verified = verify_document(&mint::tcb_info(number, age), &policy, NOW).unwrap();
        assert_eq!((verified.number(), verified.issued()), (number.into(), START + u64::from(age)));
    }
}

/// What is known is that signatures are good, and nothing else.
#[test]
fn known_signatures_make_nothing_else_good() {
    let verify = |dcap: &Dcap, now| {
        let (intel, evidence, collateral) = dcap.build();
        let roots = Roots { intel: &intel, ..Roots::PINNED };
        let documents = documents(&evidence, &collateral);
        let verified: Vec<_> =
            documents.iter().map(|document| verify_document_under(&roots, document, NOW).unwrap()).collect();
        verify_with_known(&roots, &evidence, &collateral, &verified, now).0.map(drop)
    };
    let good = Dcap::sgx();
    assert_eq!(verify(&good, NOW), Ok(()));
    assert_eq!(verify(&good, END + 1), Err(Error::Expired(Document::TcbInfoSigner)));
    assert_eq!(verify(&good.clone().change(|dcap| dcap.revoked_by_ca = vec![7]), NOW), Err(Error::Revoked));
    assert_eq!(verify(&good.clone().change(|dcap| dcap.revoked_by_root = vec![7]), NOW), Err(Error::Revoked));
    let other = good.change(|dcap| dcap.fmspc = [1; 6]);
    assert_eq!(verify(&other, NOW), Err(Error::Mismatch(Document::TcbInfo)));
}

/// The library asserts that its root is issued by itself.
#[test]
fn a_root_that_somebody_else_issued_is_refused() {
    let issued = Dcap::sgx().change(|dcap| dcap.root.issuer = "Another CA");
    assert_eq!(issued.verify(&Policy::default(), NOW).map(drop), Err(Error::Chain(Document::IntelRoot)));
}
