//! Recorded evidence, and a policy under which most of it is accepted.

#[path = "../../../attestation/tests/recorded/mod.rs"]
mod evidence;

pub use evidence::*;

/// Allows what clouds need, and platforms whose configuration leaves some attack open.
pub const LENIENT: &str = r#"{
    "dcap": {
        "allowed_statuses": ["UpToDate", "ConfigurationAndSWHardeningNeeded"], "allowed_advisories": null,
        "minimum_evaluation_number": 0, "allow_dynamic_platform": true, "allow_cached_keys": true, "allow_smt": true
    },
    "sev_snp": {
        "minimum_tcb": [{ "generation": "milan", "tcb": { "bootloader": 0, "tee": 0, "snp": 0, "microcode": 0 } }],
        "allowed_signing_keys": ["vcek", "vlek"], "allowed_vmpls": [0, 1], "allow_smt": true,
        "require_alias_check": false, "require_crl": false
    }
}"#;
