//! What goes wrong with a TEE.

use phala_attestation::Kind;
use std::{io, path::PathBuf};

/// The TEE is not there, or does not do what it should. The texts hold nothing but names of files and of kinds.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This process runs in no TEE that is known here.
    #[error(
        "there is no TEE here: neither Gramine's /dev/attestation nor Linux's /sys/kernel/config/tsm/report; run the enclave \
         under gramine-sgx, or in a TDX or SEV-SNP guest with Linux 6.7 or newer and configfs mounted"
    )]
    NoTee,
    /// Files of two TEEs, of which one must be an imitation.
    #[error("both /dev/attestation and /sys/kernel/config/tsm/report are here, and only one can be real")]
    TwoTees,
    /// Another TEE than the one that was asked for.
    #[error("this is {found:?}, not {expected:?}")]
    OtherTee {
        /// What was asked for.
        expected: Kind,
        /// What is here.
        found: Kind,
    },

    /// A file of the TEE's cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file of the TEE's has not what it should.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// Somebody else uses this enclave's entry in configfs-tsm.
    #[error("the report's entry in configfs-tsm was written to by another process, again and again")]
    Contended,

    /// The evidence is not a quote or report.
    #[error("the TEE gave no proper evidence: {0}")]
    Malformed(#[source] phala_attestation::Error),
    /// The evidence was made for something else.
    #[error("the TEE gave evidence that binds other data than it was asked for")]
    ReportData,
    /// The evidence is of another enclave than the one that started.
    #[error("the TEE gave evidence of another measurement than at the start")]
    OtherMeasurement,
    /// What the host gave beside the report is no table of certificates.
    #[error("the host gave a malformed table of certificates")]
    Certificates,

    /// The secure processor gave no key.
    #[error("the secure processor gave no key to seal with: status {0:#x}")]
    NoKey(u64),
}
