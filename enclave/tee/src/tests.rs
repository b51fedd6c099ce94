//! Whole TEEs in faked trees, whose evidence is minted, and verified under the minted roots.

use phala_attestation::{Policy, SignedDocument, collect_collateral, mint, required_documents, verify};

use super::*;
use crate::testing::{Reply, Tree, parts, table};

const VCEK: [u8; 16] = 0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes();
const AUXBLOB: &str = "sys/kernel/config/tsm/report/phala/auxblob";

type Mint = fn(&[u8; 64]) -> (Evidence, Vec<SignedDocument>);

fn once(blob: Vec<u8>) -> Reply {
    Reply { blob, writes: 1 }
}

fn gramine() -> Tree {
    Tree::gramine(|data, _| parts(mint::sgx(data).0).0)
}

fn tdx() -> Tree {
    Tree::tsm("tdx_guest\n", |data, _| once(parts(mint::tdx(data).0).0))
}

fn sev_snp() -> Tree {
    let tree = Tree::tsm("sev_guest\n", |data, _| once(parts(mint::sev_snp(data).0).0));
    let (_, endorsement) = parts(mint::sev_snp(&[0; 64]).0);
    tree.set(AUXBLOB, &table(&[(VCEK, &endorsement)]));
    tree
}

fn measurement(mint: Mint) -> Measurement {
    Unverified::parse(&mint(&[0; 64]).0).unwrap().measurements.fold()
}

#[test]
fn evidence_of_each_tee_verifies_and_binds_what_was_asked_for() {
    let policy = Policy { simulated_vendors: Some(mint::roots()), ..Policy::default() };
    let tees: [(Tree, Kind, Mint); 3] =
        [(gramine(), Kind::Sgx, mint::sgx), (tdx(), Kind::Tdx, mint::tdx), (sev_snp(), Kind::SevSnp, mint::sev_snp)];
    for (tree, kind, mint) in tees {
        let attester = Attester::find(tree.root(), Some(kind)).unwrap();
        for data in [[1; 64], [2; 64]] {
            let evidence = attester.evidence(&data).unwrap();
            let documents: Vec<_> = required_documents(&evidence).unwrap().into_iter().zip(mint(&data).1).collect();
            let kept = |id| documents.iter().find(|(kept, _)| *kept == id).map(|(_, document)| document.clone());
            let collateral = collect_collateral(&evidence, kept).unwrap();
            let verified = verify(&evidence, &collateral, &policy, mint::VALID_FROM).unwrap();
            assert_eq!((verified.kind(), verified.report_data()), (kind, &data));
            assert_eq!(verified.measurement(), attester.measurement());
        }
    }
}

#[test]
fn the_tee_is_found_without_being_named() {
    for (tree, kind) in [(gramine(), Kind::Sgx), (tdx(), Kind::Tdx), (sev_snp(), Kind::SevSnp)] {
        assert_eq!(Attester::find(tree.root(), None).unwrap().kind(), kind);
    }
}

#[test]
fn no_tee_two_tees_and_another_tee_are_refused() {
    let refused = |tree: &Tree, expected| Attester::find(tree.root(), expected).err().unwrap();
    assert!(matches!(refused(&Tree::empty(), None), Error::NoTee));
    let both = gramine();
    both.set("sys/kernel/config/tsm/report/phala/provider", b"tdx_guest");
    assert!(matches!(refused(&both, None), Error::TwoTees));
    assert!(matches!(refused(&both, Some(Kind::Tdx)), Error::TwoTees));
    let other = Error::OtherTee { expected: Kind::SevSnp, found: Kind::Tdx }.to_string();
    assert_eq!(refused(&tdx(), Some(Kind::SevSnp)).to_string(), other);
    assert!(matches!(refused(&gramine(), Some(Kind::Simulated)), Error::OtherTee { .. }));
}

#[test]
fn evidence_of_other_data_is_refused() {
    let trees = [
        Tree::gramine(|_, _| parts(mint::sgx(&[9; 64]).0).0),
        Tree::tsm("tdx_guest", |_, _| once(parts(mint::tdx(&[9; 64]).0).0)),
        Tree::tsm("sev_guest", |_, _| once(parts(mint::sev_snp(&[9; 64]).0).0)),
    ];
    for tree in trees {
        assert!(matches!(Attester::find(tree.root(), None), Err(Error::ReportData)));
    }
}

#[test]
fn evidence_of_another_image_than_at_the_start_is_refused() {
    let tree = Tree::tsm("tdx_guest", |data, asked| {
        let (mut quote, _) = parts(mint::tdx(data).0);
        // RTMR3, behind the header of 48 bytes.
        quote[48 + 472] = u8::try_from(asked).unwrap();
        once(quote)
    });
    let attester = Attester::find(tree.root(), None).unwrap();
    assert!(matches!(attester.evidence(&[1; 64]), Err(Error::OtherMeasurement)));
}

#[test]
fn garbage_and_what_is_too_short_or_too_long_are_refused() {
    for length in [0, 1, 1183, 1184, 1185, 1_000_000] {
        for tree in [
            Tree::gramine(move |_, _| vec![3; length]),
            Tree::tsm("tdx_guest", move |_, _| once(vec![4; length])),
            Tree::tsm("sev_guest", move |_, _| once(vec![9; length])),
        ] {
            let error = Attester::find(tree.root(), None).err().unwrap();
            assert!(matches!(error, Error::Malformed(_) | Error::Content { .. }), "{length}: {error}");
        }
    }
}

#[test]
fn another_provider_or_kind_of_attestation_is_refused() {
    for provider in ["arm_cca_guest", "", "tdx_guest2", &"x".repeat(100)] {
        let tree = Tree::empty();
        tree.set("sys/kernel/config/tsm/report/phala/provider", provider.as_bytes());
        assert!(matches!(Attester::find(tree.root(), None), Err(Error::Content { .. })), "{provider}");
    }
    for kind in [&b"none"[..], b"epid", b"", b"\xff"] {
        let tree = gramine();
        tree.set("dev/attestation/attestation_type", kind);
        assert!(matches!(Attester::find(tree.root(), None), Err(Error::Content { .. })));
    }
}

#[test]
fn a_generation_that_is_no_number_is_refused() {
    let tree = tdx();
    tree.set("sys/kernel/config/tsm/report/phala/generation", b"many");
    assert!(matches!(Attester::find(tree.root(), None), Err(Error::Content { .. })));
}

#[test]
fn a_report_between_which_somebody_wrote_is_asked_for_again() {
    let tree = Tree::tsm("tdx_guest", |data, asked| match asked {
        0 => Reply { blob: parts(mint::tdx(&[9; 64]).0).0, writes: 2 },
        // The kernel took no bytes.
        1 => Reply { blob: parts(mint::tdx(&[9; 64]).0).0, writes: 0 },
        _ => once(parts(mint::tdx(data).0).0),
    });
    assert_eq!(Attester::find(tree.root(), None).unwrap().measurement(), measurement(mint::tdx));
    let tree = Tree::tsm("tdx_guest", |data, _| Reply { blob: parts(mint::tdx(data).0).0, writes: 2 });
    assert!(matches!(Attester::find(tree.root(), None), Err(Error::Contended)));
}

#[test]
fn a_report_without_a_certificate_leaves_the_endorsement_to_the_host() {
    let tree = sev_snp();
    let endorsement = |tree: &Tree| {
        let attester = Attester::find(tree.root(), None)?;
        Ok::<_, Error>(parts(attester.evidence(&[1; 64])?).1)
    };
    assert!(!endorsement(&tree).unwrap().is_empty());
    for nothing in [vec![], table(&[]), table(&[([1; 16], b"another")])] {
        tree.set(AUXBLOB, &nothing);
        assert!(endorsement(&tree).unwrap().is_empty());
    }
    tree.set(AUXBLOB, &[1; 30]);
    assert!(matches!(endorsement(&tree), Err(Error::Certificates)));
    tree.set(AUXBLOB, &vec![0; 32 * 1024 + 1]);
    assert!(matches!(endorsement(&tree), Err(Error::Content { .. })));
    std::fs::remove_file(tree.root().join(AUXBLOB)).unwrap();
    assert!(endorsement(&tree).unwrap().is_empty());
}

#[test]
fn sgx_has_gramines_secret_to_seal_with_and_tdx_has_none() {
    let tree = gramine();
    let attester = Attester::find(tree.root(), None).unwrap();
    let before = attester.sealing_secret().unwrap().unwrap();
    assert_eq!(before.domain, b"phala/sgx/seal/v1");
    assert_eq!(attester.sealing_secret().unwrap().unwrap().secret, before.secret);
    tree.set("dev/attestation/keys/_sgx_mrenclave", &[8; 16]);
    assert_ne!(attester.sealing_secret().unwrap().unwrap().secret, before.secret);
    for no_key in [&[0; 16][..], &[7; 15], &[7; 17], &[]] {
        tree.set("dev/attestation/keys/_sgx_mrenclave", no_key);
        assert!(matches!(attester.sealing_secret(), Err(Error::Content { .. })));
    }
    let tdx = tdx();
    assert!(Attester::find(tdx.root(), None).unwrap().sealing_secret().unwrap().is_none());
}

#[test]
fn an_sev_snp_guest_without_its_device_does_not_go_on_without_sealing() {
    let tree = sev_snp();
    assert!(matches!(Attester::find(tree.root(), None).unwrap().sealing_secret(), Err(Error::File { .. })));
}
