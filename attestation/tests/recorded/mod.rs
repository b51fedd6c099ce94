//! Recorded evidence of real hardware, which lies outside the repository: where it is, and which files belong together.

use std::path::{Path, PathBuf};

/// The folder with recorded evidence: `PHALA_EVIDENCE`, or `shared/evidence` beside the workspace.
pub fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/evidence"))
        .find(|folder| folder.is_dir());
    let folder = std::env::var_os("PHALA_EVIDENCE").map(PathBuf::from).or(beside);
    if folder.is_none() {
        eprintln!("SKIPPED: there is no recorded evidence beside the workspace (set PHALA_EVIDENCE)");
    }
    folder
}

pub const SGX: [&str; 2] = ["dcap-qvl/sgx_quote", "dcap-qvl/sgx_quote_collateral.json"];
pub const TDX: [&str; 2] = ["dcap-qvl/tdx_quote", "dcap-qvl/tdx_quote_collateral.json"];
pub const TDX_15EX: [&str; 2] = ["dcap-qvl/tdx_quote_td15ex", "dcap-qvl/tdx_quote_td15ex_collateral.json"];
pub const TDX_15: [&str; 2] = ["dcap-qvl/tdx_quote_outdated", "dcap-qvl/tdx_quote_outdated_collateral.json"];
pub const MILAN: [&str; 3] =
    ["virtee-sev/report_milan.hex", "virtee-sev/vcek_milan.der", "virtee-sev/cert_chain_milan"];
pub const VLEK: [&str; 3] =
    ["trustee/test-vlek-report.bin", "trustee/test-vlek.der", "go-sev-guest/ask_ark_milan_vlek.pem"];

pub const PHALA: [&str; 2] = ["phala/dcap_quote", "phala/dcap_quote_collateral"];
pub const PHALA_JSON: [&str; 2] = ["phala/dcap_quote", "derived/phala_dcap_collateral.json"];
pub const MOBILECOIN: [&str; 2] = ["mobilecoin/hw_quote.dat", "derived/mobilecoin_collateral.json"];
pub const MOBILECOIN_FILES: [&str; 7] = [
    "mobilecoin/hw_quote.dat",
    "mobilecoin/fmspc_00906ED50000_2023_07_12.json",
    "mobilecoin/qe_identity.json",
    "mobilecoin/tcb_signer.pem",
    "mobilecoin/root_ca.pem",
    "mobilecoin/root_crl.der",
    "mobilecoin/processor_crl.der",
];
pub const AUTOMATA: [&str; 8] = [
    "automata/quote_tdx_00806f050000.dat",
    "automata/tcbinfov3_00806f050000.json",
    "automata/qeidentityv2_apiv4.json",
    "automata/signing_cert.pem",
    "automata/Intel_SGX_Provisioning_Certification_RootCA.cer",
    "automata/intel_root_ca_crl.der",
    "automata/pck_platform_crl.pem",
    "automata/pck_processor_crl.der",
];
pub const GO_SEV_GUEST: [&str; 3] =
    ["go-sev-guest/attestation.bin", "go-sev-guest/vcek.testcer", "go-sev-guest/ask_ark_milan.pem"];
pub const TURIN: [&str; 3] =
    ["virtee-sev/report_milan.hex", "virtee-sev/vcek_turin.der", "virtee-sev/cert_chain_turin"];
pub const AZURE: [&str; 2] = ["azure/hcl-report-snp.bin", "azure/certs.pem"];

/// All of these, with a time at which they are verified: one at which all collateral is valid, if there is any.
pub const ALL: [(&[&str], u64); 14] = [
    (&SGX, 1_751_500_000),
    (&TDX, 1_751_500_000),
    (&TDX_15EX, 1_792_000_000),
    (&TDX_15, 1_772_000_000),
    (&MILAN, 1_751_500_000),
    (&VLEK, 1_751_500_000),
    (&PHALA, 1_701_000_000),
    (&PHALA_JSON, 1_701_000_000),
    (&MOBILECOIN, 1_690_000_000),
    (&MOBILECOIN_FILES, 1_690_000_000),
    (&AUTOMATA, 1_726_300_000),
    (&GO_SEV_GUEST, 1_751_500_000),
    (&TURIN, 1_751_500_000),
    (&AZURE, 1_751_500_000),
];
