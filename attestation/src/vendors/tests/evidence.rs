//! Recorded evidence of real hardware, whose verdicts are known. It lies outside the repository: without the folder,
//! these tests say so and pass.

use std::path::{Path, PathBuf};

use super::super::{files::Files, *};

/// The folder with recorded evidence: `PHALA_EVIDENCE`, or `shared/evidence` beside the workspace.
pub fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/evidence");
    let folder = std::env::var_os("PHALA_EVIDENCE").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no recorded evidence in {} (set PHALA_EVIDENCE)", folder.display());
    None
}

/// The quote and collateral in `names`, the files of one piece of evidence.
pub fn load(folder: &Path, names: &[&str]) -> (Quote, Collateral) {
    let mut files = Files::default();
    for name in names {
        files.read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    files.finish().unwrap_or_else(|error| panic!("{names:?}: {error}"))
}

/// What real clouds need.
pub fn cloud() -> Policy {
    Policy {
        dcap: DcapPolicy {
            minimum_evaluation_number: 0,
            allow_dynamic_platform: true,
            allow_cached_keys: true,
            allow_smt: true,
            ..DcapPolicy::default()
        },
        sev_snp: SevSnpPolicy {
            minimum_tcb: [Generation::Milan, Generation::Genoa, Generation::Turin]
                .map(|generation| MinimumTcb { generation, tcb: SnpTcb::default() })
                .to_vec(),
            allowed_signing_keys: vec![SigningKey::Vcek, SigningKey::Vlek],
            allowed_vmpls: vec![0, 1],
            allow_smt: true,
            require_alias_check: false,
            require_crl: false,
        },
    }
}

/// As [`cloud`], and servers whose configuration leaves some attack open.
pub fn lenient() -> Policy {
    let mut policy = cloud();
    policy.dcap.allowed_statuses.push(TcbStatus::ConfigurationAndSWHardeningNeeded);
    policy.dcap.allowed_advisories = None;
    policy
}

pub const SGX: [&str; 2] = ["dcap-qvl/sgx_quote", "dcap-qvl/sgx_quote_collateral.json"];
pub const TDX: [&str; 2] = ["dcap-qvl/tdx_quote", "dcap-qvl/tdx_quote_collateral.json"];
pub const TDX_15EX: [&str; 2] = ["dcap-qvl/tdx_quote_td15ex", "dcap-qvl/tdx_quote_td15ex_collateral.json"];
pub const TDX_15: [&str; 2] = ["dcap-qvl/tdx_quote_outdated", "dcap-qvl/tdx_quote_outdated_collateral.json"];
pub const MILAN: [&str; 3] = ["virtee-sev/report_milan.hex", "virtee-sev/vcek_milan.der", "virtee-sev/cert_chain_milan"];
pub const VLEK: [&str; 3] =
    ["trustee/test-vlek-report.bin", "trustee/test-vlek.der", "go-sev-guest/ask_ark_milan_vlek.pem"];

fn check(names: &[&str], policy: &Policy, now: u64) -> Option<Result<Verified, Error>> {
    let (quote, collateral) = load(&folder()?, names);
    let result = verify(&quote, &collateral, policy, now);
    eprintln!("{:<40} {now} {:?}", names[0], result.as_ref().map(|verified| verified.tcb().status));
    Some(result)
}

#[test]
fn try_all() {
    let p = lenient();
    for (names, now) in [
        (&SGX[..], 1751500000),
        (&TDX, 1751500000),
        (&TDX_15EX, 1792000000),
        (&TDX_15, 1772000000),
        (&["phala/dcap_quote", "phala/dcap_quote_collateral"], 1701000000),
        (&["phala/dcap_quote", "derived/phala_dcap_collateral.json"], 1701000000),
        (&["mobilecoin/hw_quote.dat", "derived/mobilecoin_collateral.json"], 1690000000),
        (&["automata/quote_tdx_00806f050000.dat", "automata/tcbinfov3_00806f050000.json", "automata/qeidentityv2_apiv4.json", "automata/signing_cert.pem", "automata/intel_root_ca_crl.der", "automata/pck_platform_crl.pem", "automata/pck_processor_crl.der"], 1726300000),
        (&MILAN, 1751500000),
        (&VLEK, 1751500000),
        (&["go-sev-guest/attestation.bin", "go-sev-guest/vcek.testcer", "go-sev-guest/ask_ark_milan.pem"], 1751500000),
        (&["virtee-sev/report_milan.hex", "virtee-sev/vcek_turin.der", "virtee-sev/cert_chain_turin"], 1751500000),
        (&["azure/hcl-report-snp.bin", "azure/certs.pem"], 1751500000),
    ] {
        if let Some(r) = check(names, &p, now) { eprintln!("   {r:?}"); }
    }
}
