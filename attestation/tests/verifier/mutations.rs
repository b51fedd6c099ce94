//! Mutations of recorded evidence, each of which has to be refused, by class.
//!
//! A mutation is killed when the quote is refused. What may change without being noticed is in [`NEUTRAL`], each with the
//! reason, and has to give the very same verdict; anything else that passes fails the test.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use super::{
    evidence::{MILAN, SGX, TDX, TDX_15EX, VLEK, cloud, folder, lenient, load},
    forge::{Dcap, NOW, Snp},
};
use crate::{roots::Roots, *};

/// Changes that the verifier does not look at, and why.
const NEUTRAL: [(&str, &str); 3] = [
    ("zeros after a DCAP quote", "padding of some drivers, which no signature covers; anything but zeros is refused"),
    ("white space and NUL around PEM in a quote", "means nothing (RFC 7468); what the certificates say is signed"),
    ("s for n - s in ECDSA", "another signature of the holder of the key over the same message, by P-256's definition"),
];

struct Specimen {
    name: &'static str,
    evidence: Evidence,
    collateral: Collateral,
    now: UnixSeconds,
    verified: VerifiedEvidence,
}

/// The folder of `scripts/mutate --evidence`: in it, each folder is a quote with its collateral, as `phala verify evidence` takes
/// them, and a file `at` with the time at which it is good, in seconds since the Unix epoch.
const GIVEN: &str = "PHALA_MUTATE_EVIDENCE";

fn given() -> Vec<Specimen> {
    let Some(folder) = std::env::var_os(GIVEN) else { return Vec::new() };
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let specimen = |folder: &PathBuf| {
        let is = |path: &Path, name: &str| path.file_name().is_some_and(|file| file == name);
        let (times, files): (Vec<_>, Vec<_>) = entries(folder).into_iter().partition(|path| is(path, "at"));
        let names: Vec<_> = files.iter().map(|path| path.to_str().expect("the path is text")).collect();
        let (evidence, collateral) = load(folder, &names);
        let at = times.first().map(|path| std::fs::read_to_string(path).expect("`at` can be read"));
        let now = at.and_then(|at| at.trim().parse().ok());
        let now = now.unwrap_or_else(|| panic!("{} has no file `at` with a time in seconds", folder.display()));
        let verified = verify(&evidence, &collateral, &lenient(), now)
            .unwrap_or_else(|error| panic!("{} is not accepted at {now}: {error}", folder.display()));
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Specimen { name: name.leak(), evidence, collateral, now, verified }
    };
    entries(Path::new(&folder)).iter().filter(|path| path.is_dir()).map(specimen).collect()
}

fn recorded() -> Option<Vec<Specimen>> {
    let folder = folder()?;
    let rows: [(&str, &[&str], UnixSeconds); 5] = [
        ("SGX v3", &SGX, 1_751_500_000),
        ("TDX v4", &TDX, 1_751_500_000),
        ("TDX v5 1.5ex", &TDX_15EX, 1_792_000_000),
        ("SNP VCEK", &MILAN, 1_751_500_000),
        ("SNP VLEK", &VLEK, 1_751_500_000),
    ];
    Some(
        rows.map(|(name, files, now)| {
            let (evidence, collateral) = load(&folder, files);
            let verified = verify(&evidence, &collateral, &lenient(), now).unwrap();
            Specimen { name, evidence, collateral, now, verified }
        })
        .into(),
    )
}

fn bytes(evidence: &Evidence) -> &[u8] {
    match evidence {
        Evidence::Dcap { quote, .. } => quote,
        Evidence::SevSnp { report, .. } => report,
        Evidence::Simulated(_) => &[],
    }
}

fn with_bytes(evidence: &Evidence, bytes: Vec<u8>) -> Evidence {
    let mut changed = evidence.clone();
    match &mut changed {
        Evidence::Dcap { quote, .. } => *quote = bytes,
        Evidence::SevSnp { report, .. } => *report = bytes,
        Evidence::Simulated(_) => {}
    }
    changed
}

type Read = fn(&Evidence, &Collateral) -> Option<Vec<u8>>;
type Replace = fn(&mut Evidence, &mut Collateral, Vec<u8>);

/// How a document is read and replaced.
type Access = (&'static str, Read, Replace);

macro_rules! access {
    ($kind:ident, $name:literal, $field:ident, $read:expr, $write:expr) => {
        (
            $name,
            |_, collateral| match collateral {
                Collateral::$kind(documents) => Some($read(&documents.$field)),
                _ => None,
            },
            |_, collateral, bytes| {
                if let Collateral::$kind(documents) = collateral {
                    documents.$field = $write(bytes)
                }
            },
        )
    };
}

/// Bytes that are not UTF-8 cannot be in a `String`: they become `U+FFFD`, which is a change as well.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn signature(mut bytes: Vec<u8>) -> [u8; 64] {
    bytes.resize(64, 0);
    bytes.try_into().unwrap()
}

/// A certificate of the chain beside the quote, which the quote carries as well.
macro_rules! chain {
    ($name:literal, $index:tt) => {
        (
            $name,
            |evidence, _| match evidence {
                Evidence::Dcap { pck_chain: Some(chain), .. } => Some(chain.$index.clone()),
                _ => None,
            },
            |evidence, _, bytes| {
                if let Evidence::Dcap { pck_chain: Some(chain), .. } = evidence {
                    chain.$index = bytes
                }
            },
        )
    };
}

const DOCUMENTS: [Access; 12] = [
    chain!("PCK certificate", 0),
    chain!("PCK CA", 1),
    access!(Dcap, "TCB info", tcb_info, |text: &String| text.clone().into_bytes(), text),
    access!(Dcap, "TCB info's signature", tcb_info_signature, |bytes: &[u8; 64]| bytes.to_vec(), signature),
    access!(Dcap, "TCB info's signer", tcb_info_signer, Vec::clone, |bytes| bytes),
    access!(Dcap, "QE identity", qe_identity, |text: &String| text.clone().into_bytes(), text),
    access!(Dcap, "QE identity's signature", qe_identity_signature, |bytes: &[u8; 64]| bytes.to_vec(), signature),
    access!(Dcap, "QE identity's signer", qe_identity_signer, Vec::clone, |bytes| bytes),
    access!(Dcap, "root CA CRL", root_ca_crl, Vec::clone, |bytes| bytes),
    access!(Dcap, "PCK CRL", pck_crl, Vec::clone, |bytes| bytes),
    access!(SevSnp, "ASK or ASVK", intermediate, Vec::clone, |bytes| bytes),
    (
        "VCEK or VLEK",
        |evidence, _| match evidence {
            Evidence::SevSnp { endorsement, .. } => Some(endorsement.clone()),
            _ => None,
        },
        |evidence, _, bytes| {
            if let Evidence::SevSnp { endorsement, .. } = evidence {
                *endorsement = bytes
            }
        },
    ),
];

/// Counts of mutations by class and specimen.
#[derive(Default)]
struct Table {
    rows: BTreeMap<(&'static str, &'static str), (usize, usize, usize)>,
    survivors: Vec<String>,
}

impl Table {
    fn count(&mut self, class: &'static str, specimen: &Specimen, detail: impl FnOnce() -> String, outcome: Outcome) {
        let (killed, neutral, total) = self.rows.entry((class, specimen.name)).or_default();
        *total += 1;
        match outcome {
            Outcome::Killed => *killed += 1,
            Outcome::Neutral => *neutral += 1,
            Outcome::Survived => self.survivors.push(format!("{class}, {}: {}", specimen.name, detail())),
        }
    }

    fn print(&self) {
        let mut text =
            format!("{:<44} {:<14} {:>7} {:>7} {:>7}\n", "mutation", "evidence", "killed", "neutral", "total");
        let mut sums = (0, 0, 0);
        for ((class, specimen), (killed, neutral, total)) in &self.rows {
            writeln!(text, "{class:<44} {specimen:<14} {killed:>7} {neutral:>7} {total:>7}").unwrap();
            sums = (sums.0 + killed, sums.1 + neutral, sums.2 + total);
        }
        writeln!(text, "{:<59} {:>7} {:>7} {:>7}", "all", sums.0, sums.1, sums.2).unwrap();
        for (what, why) in NEUTRAL {
            writeln!(text, "neutral: {what}: {why}").unwrap();
        }
        eprintln!("{text}");
    }
}

enum Outcome {
    Killed,
    Neutral,
    Survived,
}

/// `neutral` is whether the mutation is one of [`NEUTRAL`].
fn outcome(specimen: &Specimen, evidence: &Evidence, collateral: &Collateral, neutral: bool) -> Outcome {
    match verify(evidence, collateral, &lenient(), specimen.now) {
        Err(_) => Outcome::Killed,
        Ok(verified) if neutral && verified == specimen.verified => Outcome::Neutral,
        Ok(_) => Outcome::Survived,
    }
}

/// The outcome with one document replaced.
fn outcome_with(specimen: &Specimen, write: Replace, document: Vec<u8>) -> Outcome {
    let (mut evidence, mut collateral) = (specimen.evidence.clone(), specimen.collateral.clone());
    write(&mut evidence, &mut collateral, document);
    outcome(specimen, &evidence, &collateral, false)
}

/// Where the quote has its certificates in PEM.
fn pem_range(evidence: &Evidence) -> core::ops::Range<usize> {
    let Evidence::Dcap { quote, .. } = evidence else { return 0..0 };
    let chain = dcap::parse_frame(quote).unwrap().chain.unwrap();
    let start = chain.as_ptr() as usize - quote.as_ptr() as usize;
    start..start + chain.len()
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0
}

fn flip_quote(table: &mut Table, specimen: &Specimen) {
    let original = bytes(&specimen.evidence);
    let pem = pem_range(&specimen.evidence);
    for index in 0..original.len() {
        let mut changed = original.to_vec();
        let bit = index % 8;
        changed[index] ^= 1 << bit;
        let neutral = pem.contains(&index) && is_blank(original[index]) && is_blank(changed[index]);
        let quote = with_bytes(&specimen.evidence, changed);
        let outcome = outcome(specimen, &quote, &specimen.collateral, neutral);
        table.count("quote: a bit in each byte", specimen, || format!("byte {index} bit {bit}"), outcome);
    }
}

fn resize_quote(table: &mut Table, specimen: &Specimen) {
    let original = bytes(&specimen.evidence);
    let significant = original.len() - original.iter().rev().take_while(|byte| **byte == 0).count();
    let padded = matches!(specimen.evidence, Evidence::Dcap { .. });
    for length in (0..original.len()).step_by(61).chain(original.len().saturating_sub(8)..original.len()) {
        let quote = with_bytes(&specimen.evidence, original[..length].to_vec());
        let outcome = outcome(specimen, &quote, &specimen.collateral, padded && length >= significant);
        table.count("quote: cut short", specimen, || format!("to {length} bytes"), outcome);
    }
    for (byte, count) in [(0, 1), (0, 100), (1, 1), (0xff, 100)] {
        let longer = [original, &vec![byte; count]].concat();
        let outcome =
            outcome(specimen, &with_bytes(&specimen.evidence, longer), &specimen.collateral, padded && byte == 0);
        table.count("quote: longer", specimen, || format!("by {count} times {byte}"), outcome);
    }
}

fn change_documents(table: &mut Table, specimen: &Specimen) {
    for (name, read, write) in DOCUMENTS {
        let Some(original) = read(&specimen.evidence, &specimen.collateral) else { continue };
        let mut verify = |class, changed: Vec<u8>, detail: &dyn Fn() -> String| {
            let outcome = outcome_with(specimen, write, changed);
            table.count(class, specimen, || format!("{name}, {}", detail()), outcome);
        };
        // Every byte of certificates, lists and signatures; every third of long text, which hits each field.
        let step = if original.len() > 3000 { 3 } else { 1 };
        for index in (0..original.len()).step_by(step) {
            let mut changed = original.clone();
            let bit = if name.ends_with("signature") { index % 8 } else { index % 7 };
            changed[index] ^= 1 << bit;
            verify("collateral: a bit in each byte", changed, &|| format!("byte {index} bit {bit}"));
        }
        for length in (0..original.len()).step_by(97).chain([original.len() - 1]) {
            verify("collateral: cut short", original[..length].to_vec(), &|| format!("to {length} bytes"));
        }
        if !name.ends_with("signature") {
            for byte in [0, b' ', 0x30] {
                verify("collateral: longer", [&original[..], &[byte]].concat(), &|| format!("by {byte}"));
            }
        }
    }
}

/// Each document, and all of them, of each other platform.
fn swap_documents(table: &mut Table, specimen: &Specimen, others: &[Specimen]) {
    for other in others.iter().filter(|other| other.collateral != specimen.collateral) {
        let whole = outcome(specimen, &specimen.evidence, &other.collateral, false);
        table.count("collateral: another platform's", specimen, || other.name.into(), whole);
        for (name, read, write) in DOCUMENTS {
            let (Some(own), Some(theirs)) =
                (read(&specimen.evidence, &specimen.collateral), read(&other.evidence, &other.collateral))
            else {
                continue;
            };
            // Intel's signers sign for all platforms, and AMD's ASK issues for all chips.
            if own == theirs {
                continue;
            }
            let result = outcome_with(specimen, write, theirs);
            table.count(
                "collateral: a document of another platform",
                specimen,
                || format!("{name} of {}", other.name),
                result,
            );
        }
    }
}

/// Documents in the place of others of the same specimen.
fn permute_documents(table: &mut Table, specimen: &Specimen) {
    for (name, read, write) in DOCUMENTS {
        for (other, read_other, _) in DOCUMENTS {
            let (Some(own), Some(theirs)) =
                (read(&specimen.evidence, &specimen.collateral), read_other(&specimen.evidence, &specimen.collateral))
            else {
                continue;
            };
            if own == theirs {
                continue;
            }
            let result = outcome_with(specimen, write, theirs);
            table.count("collateral: documents exchanged", specimen, || format!("{other} as {name}"), result);
        }
    }
}

/// The same evidence at another time.
fn replay(table: &mut Table, specimen: &Specimen) {
    let until = specimen.verified.valid_until();
    let week = 7 * 86_400;
    let later = (0..60).map(|weeks| until + 1 + weeks * week);
    let earlier = [0, 1, 1_000_000_000, 1_500_000_000, 1_600_000_000];
    for (class, times) in [("replayed later", later.collect::<Vec<_>>()), ("before its time", earlier.to_vec())] {
        for now in times.into_iter().chain((class == "replayed later").then_some(UnixSeconds::MAX)) {
            let killed = verify(&specimen.evidence, &specimen.collateral, &lenient(), now).is_err();
            let outcome = if killed { Outcome::Killed } else { Outcome::Survived };
            table.count(class, specimen, || format!("at {now}"), outcome);
        }
    }
}

/// Recorded evidence under roots of ours: a verifier that took any root would accept both.
fn other_roots(table: &mut Table, specimen: &Specimen) {
    let (intel, _, _) = Dcap::sgx().build();
    let (amd, _, _) = Snp::milan().build();
    let ours = Roots { intel: &intel, milan: &amd, genoa: &amd, turin: &amd };
    let exchanged = Roots { intel: Roots::PINNED.milan, milan: Roots::PINNED.genoa, ..Roots::PINNED };
    for (name, roots) in [("ours", ours), ("exchanged", exchanged)] {
        let killed =
            verify_under::<NoneKnown>(&roots, &specimen.evidence, &specimen.collateral, &lenient(), specimen.now)
                .is_err();
        let outcome = if killed { Outcome::Killed } else { Outcome::Survived };
        table.count("under another root", specimen, || name.into(), outcome);
    }
}

/// Quotes with the parts of another platform's.
fn splice_quotes(table: &mut Table, specimen: &Specimen, others: &[Specimen]) {
    let own = bytes(&specimen.evidence);
    for other in others.iter().filter(|other| other.name != specimen.name) {
        let theirs = bytes(&other.evidence);
        for at in (16..own.len().min(theirs.len())).step_by(16) {
            let spliced = [&own[..at], &theirs[at..]].concat();
            if spliced == own || spliced == theirs {
                continue;
            }
            let result = outcome(specimen, &with_bytes(&specimen.evidence, spliced), &specimen.collateral, false);
            table.count("quote: the end of another's", specimen, || format!("{} from {at}", other.name), result);
        }
    }
}

/// Other blanks after the last certificate in the quote.
fn blank_pem(table: &mut Table, specimen: &Specimen) {
    let Some(last) = pem_range(&specimen.evidence).last() else { return };
    for byte in *b" \t\n\0x" {
        let mut changed = bytes(&specimen.evidence).to_vec();
        changed[last] = byte;
        let quote = with_bytes(&specimen.evidence, changed);
        let result = outcome(specimen, &quote, &specimen.collateral, is_blank(byte));
        table.count("quote: blanks after the certificates", specimen, || format!("byte {byte}"), result);
    }
}

/// The other signature of the same message.
fn negate_signature(table: &mut Table, specimen: &Specimen) {
    let original = bytes(&specimen.evidence);
    let mut changed = original.to_vec();
    match specimen.evidence {
        Evidence::Dcap { .. } => {
            let body = match original[0] {
                3 => 384,
                4 => 584,
                _ => 6 + 885,
            };
            let at = 48 + body + 4;
            let signature = p256::ecdsa::Signature::from_slice(&original[at..at + 64]).unwrap();
            let other = p256::ecdsa::Signature::from_scalars(*signature.r(), -*signature.s()).unwrap();
            changed[at..at + 64].copy_from_slice(&other.to_bytes());
        }
        Evidence::SevSnp { .. } => {
            let scalar = |at: usize| original[at..at + 48].iter().rev().copied().collect::<Vec<_>>();
            let both = [scalar(0x2a0), scalar(0x2e8)].concat();
            let signature = p384::ecdsa::Signature::from_slice(&both).unwrap();
            let other = p384::ecdsa::Signature::from_scalars(*signature.r(), -*signature.s()).unwrap();
            let bytes: Vec<u8> = other.to_bytes()[48..].iter().rev().copied().collect();
            changed[0x2e8..0x318].copy_from_slice(&bytes);
        }
        Evidence::Simulated(_) => return,
    }
    let result = outcome(specimen, &with_bytes(&specimen.evidence, changed), &specimen.collateral, true);
    table.count("quote: n - s for s", specimen, || "signature".into(), result);
}

#[test]
fn every_mutation_of_recorded_evidence_is_killed() {
    let specimens: Vec<_> = recorded().into_iter().flatten().chain(given()).collect();
    let mut tables = std::thread::scope(|scope| {
        let all = &specimens;
        let threads: Vec<_> = all
            .iter()
            .map(|specimen| {
                scope.spawn(move || {
                    let mut table = Table::default();
                    flip_quote(&mut table, specimen);
                    resize_quote(&mut table, specimen);
                    splice_quotes(&mut table, specimen, all);
                    blank_pem(&mut table, specimen);
                    negate_signature(&mut table, specimen);
                    change_documents(&mut table, specimen);
                    swap_documents(&mut table, specimen, all);
                    permute_documents(&mut table, specimen);
                    replay(&mut table, specimen);
                    other_roots(&mut table, specimen);
                    table
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut table = Table::default();
    for part in &mut tables {
        table.rows.append(&mut part.rows);
        table.survivors.append(&mut part.survivors);
    }
    table.print();
    assert!(table.survivors.is_empty(), "{} survive: {:#?}", table.survivors.len(), table.survivors);
}

/// No revocation list of AMD's was recorded: a forged one has to do.
#[test]
fn every_bit_of_a_revocation_list_is_checked() {
    let (amd, quote, collateral) = Snp::milan().build();
    let Collateral::SevSnp(collateral) = collateral else { unreachable!() };
    let roots = Roots { milan: &amd, ..Roots::PINNED };
    let list = collateral.crl.clone().unwrap();
    let verify = |list: Vec<u8>| {
        let collateral = Collateral::SevSnp(SevSnpCollateral { crl: Some(list), ..collateral.clone() });
        verify_under::<NoneKnown>(&roots, &quote, &collateral, &Policy::default(), NOW)
    };
    assert!(verify(list.clone()).is_ok());
    for index in 0..list.len() {
        for bit in 0..8 {
            let mut changed = list.clone();
            changed[index] ^= 1 << bit;
            assert!(verify(changed).is_err(), "byte {index} bit {bit}");
        }
    }
}

/// Forged evidence, whose signatures all hold, is refused under the pinned roots.
#[test]
fn forged_evidence_is_refused_under_the_vendors_roots() {
    for (_, quote, collateral) in [Dcap::sgx().build(), Dcap::tdx().build(), Dcap::tdx_15().build()] {
        assert_eq!(verify(&quote, &collateral, &cloud(), NOW), Err(Error::IntelChain));
    }
    for (_, quote, collateral) in [Snp::milan().build(), Snp::milan_vlek().build(), Snp::turin().build()] {
        assert_eq!(verify(&quote, &collateral, &cloud(), NOW), Err(Error::Chain(Document::AmdIntermediate)));
    }
}

proptest::proptest! {
    /// Random bytes in every place are refused without a panic, and so are quotes with random bytes in them.
    #[test]
    fn random_bytes_are_refused(
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2048),
        at in 0_usize..4000,
    ) {
        for (_, quote, collateral) in [Dcap::sgx().build(), Dcap::tdx_15().build()] {
            let mut changed = bytes(&quote).to_vec();
            let at = at.min(changed.len());
            changed.splice(at..changed.len().min(at + noise.len()), noise.iter().copied());
            for bytes in [noise.clone(), changed] {
                let changed = Evidence::Dcap { quote: bytes, pck_chain: None };
                proptest::prop_assert!(verify(&changed, &collateral, &cloud(), NOW).is_err());
            }
        }
        let mut report = noise.clone();
        report.resize(0x4a0, 0);
        let _ = sev_snp::Report::parse(&report).map(|report| report.signature().is_ok());
        let mut files = files::Files::default();
        let _ = files.add(&noise);
        for document in [Document::Pck, Document::Endorsement] {
            let _ = certificates::Certificate::parse(document, &noise);
        }
        let _ = certificates::RevocationList::parse(Document::PckCrl, &noise);
        let _ = certificates::parse_pem(&noise, 3);
    }
}
