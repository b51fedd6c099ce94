//! What is asked, of which service, under which path.
//!
//! Sources: Intel's API for the Provisioning Certification Service, version 4; the design guide of its caching service
//! (PCCS), which has the same paths; AMD's VCEK certificate and KDS interface specification (57230), chapter 4.

use std::{collections::BTreeSet, fmt};

use phala_attestation::{DocumentId, EndorsementId, Generation, PckCa, SigningKey};
use serde::{Serialize, Serializer};

/// A service that publishes documents, and that may be away while the others are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Intel's Provisioning Certification Service (PCS), or a cache of it (PCCS).
    Intel,
    /// Where the revocation list of Intel's root lies, which is not in the PCS.
    IntelRoot,
    /// AMD's Key Distribution Service (KDS).
    Amd,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Intel => "Intel's certification service",
            Self::IntelRoot => "the service with the list of Intel's root",
            Self::Amd => "AMD's key distribution service",
        })
    }
}

/// Which of Intel's two versions of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Update {
    /// The one that Intel enforces, and the only one of documents that know no TCB recovery.
    Standard,
    /// The one of the newest TCB recovery, from its first day on: the same as the other where there is none.
    Early,
}

/// One thing to ask for. Displayed as a word, such as `sgx-tcb-info-00a067110000-early`, which is also its name on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// The document.
    pub id: DocumentId,
    /// Its version.
    pub update: Update,
}

impl Request {
    /// For the version that is in force.
    pub fn standard(id: DocumentId) -> Self {
        Self { id, update: Update::Standard }
    }

    /// For the version of the newest TCB recovery.
    pub fn early(id: DocumentId) -> Self {
        Self { id, update: Update::Early }
    }

    /// For all versions of a document.
    pub fn all(id: DocumentId) -> impl Iterator<Item = Self> {
        [Some(Self::standard(id)), id.has_recoveries().then(|| Self::early(id))].into_iter().flatten()
    }

    /// Who is asked.
    pub fn source(self) -> Source {
        match self.id {
            DocumentId::IntelRootCrl => Source::IntelRoot,
            DocumentId::PckCrl(_)
            | DocumentId::SgxTcbInfo(_)
            | DocumentId::TdxTcbInfo(_)
            | DocumentId::SgxQeIdentity
            | DocumentId::TdxQeIdentity => Source::Intel,
            DocumentId::AmdIntermediate(..) | DocumentId::AmdCrl(_) => Source::Amd,
        }
    }

    /// What follows the source's base URL. The list of Intel's root has a URL of its own.
    pub(crate) fn path(self) -> String {
        let update = match self.update {
            Update::Standard => "standard",
            Update::Early => "early",
        };
        match self.id {
            DocumentId::IntelRootCrl => String::new(),
            DocumentId::PckCrl(ca) => {
                let ca = match ca {
                    PckCa::Platform => "platform",
                    PckCa::Processor => "processor",
                };
                format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der")
            }
            DocumentId::SgxTcbInfo(fmspc) => {
                format!("/sgx/certification/v4/tcb?fmspc={}&update={update}", hex::encode_upper(fmspc))
            }
            DocumentId::TdxTcbInfo(fmspc) => {
                format!("/tdx/certification/v4/tcb?fmspc={}&update={update}", hex::encode_upper(fmspc))
            }
            DocumentId::SgxQeIdentity => format!("/sgx/certification/v4/qe/identity?update={update}"),
            DocumentId::TdxQeIdentity => format!("/tdx/certification/v4/qe/identity?update={update}"),
            DocumentId::AmdIntermediate(generation, key) => {
                format!("/{}/v1/{}/cert_chain", key_name(key), product(generation))
            }
            DocumentId::AmdCrl(generation) => format!("/vcek/v1/{}/crl", product(generation)),
        }
    }

    /// The headers that may have the certificates of whoever signed: the first is Intel's, the second some caches'.
    pub(crate) fn issuer_chain_headers(self) -> &'static [&'static str] {
        match self.id {
            DocumentId::SgxTcbInfo(_) | DocumentId::TdxTcbInfo(_) => {
                &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"]
            }
            DocumentId::SgxQeIdentity | DocumentId::TdxQeIdentity => &["SGX-Enclave-Identity-Issuer-Chain"],
            DocumentId::PckCrl(_) => &["SGX-PCK-CRL-Issuer-Chain"],
            DocumentId::IntelRootCrl | DocumentId::AmdIntermediate(..) | DocumentId::AmdCrl(_) => &[],
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            DocumentId::IntelRootCrl => formatter.write_str("intel-root-crl"),
            DocumentId::PckCrl(PckCa::Platform) => formatter.write_str("pck-crl-platform"),
            DocumentId::PckCrl(PckCa::Processor) => formatter.write_str("pck-crl-processor"),
            DocumentId::SgxTcbInfo(fmspc) => write!(formatter, "sgx-tcb-info-{}", hex::encode(fmspc)),
            DocumentId::TdxTcbInfo(fmspc) => write!(formatter, "tdx-tcb-info-{}", hex::encode(fmspc)),
            DocumentId::SgxQeIdentity => formatter.write_str("sgx-qe-identity"),
            DocumentId::TdxQeIdentity => formatter.write_str("tdx-qe-identity"),
            DocumentId::AmdIntermediate(generation, key) => {
                write!(formatter, "amd-intermediate-{}-{}", product(generation).to_lowercase(), key_name(key))
            }
            DocumentId::AmdCrl(generation) => write!(formatter, "amd-crl-{}", product(generation).to_lowercase()),
        }?;
        match self.update {
            Update::Standard => Ok(()),
            Update::Early => formatter.write_str("-early"),
        }
    }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The path of a chip's certificate at the KDS.
pub(crate) fn endorsement_path(id: &EndorsementId) -> String {
    let EndorsementId { generation, chip_id, tcb } = id;
    // Turin has shorter identifiers, which reports pad with zeros, and one component more.
    let (hardware_id, fmc) = match generation {
        Generation::Milan | Generation::Genoa => (&chip_id[..], String::new()),
        Generation::Turin => (&chip_id[..8], format!("fmcSPL={:02}&", tcb.fmc)),
    };
    format!(
        "/vcek/v1/{}/{}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        product(*generation),
        hex::encode(hardware_id),
        tcb.bootloader,
        tcb.tee,
        tcb.snp,
        tcb.microcode
    )
}

/// `ids`, and what else evidence that needs one of them needs.
pub fn with_implied(ids: impl IntoIterator<Item = DocumentId>) -> BTreeSet<DocumentId> {
    ids.into_iter().flat_map(|id| [id].into_iter().chain(implied(id))).collect()
}

fn implied(id: DocumentId) -> Vec<DocumentId> {
    match id {
        // Which CA issued a platform's certificate does not follow from its FMSPC.
        DocumentId::SgxTcbInfo(_) => vec![
            DocumentId::SgxQeIdentity,
            DocumentId::IntelRootCrl,
            DocumentId::PckCrl(PckCa::Platform),
            DocumentId::PckCrl(PckCa::Processor),
        ],
        // Only servers have TDX.
        DocumentId::TdxTcbInfo(_) => {
            vec![DocumentId::TdxQeIdentity, DocumentId::IntelRootCrl, DocumentId::PckCrl(PckCa::Platform)]
        }
        DocumentId::AmdIntermediate(generation, _) => vec![DocumentId::AmdCrl(generation)],
        DocumentId::IntelRootCrl
        | DocumentId::PckCrl(_)
        | DocumentId::SgxQeIdentity
        | DocumentId::TdxQeIdentity
        | DocumentId::AmdCrl(_) => vec![],
    }
}

fn product(generation: Generation) -> &'static str {
    match generation {
        Generation::Milan => "Milan",
        Generation::Genoa => "Genoa",
        Generation::Turin => "Turin",
    }
}

fn key_name(key: SigningKey) -> &'static str {
    match key {
        SigningKey::Vcek => "vcek",
        SigningKey::Vlek => "vlek",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phala_attestation::SnpTcb;

    const FMSPC: [u8; 6] = [0x00, 0x80, 0x6f, 0x05, 0x00, 0xab];

    #[test]
    fn paths_are_the_vendors() {
        for (request, path) in [
            (
                Request::standard(DocumentId::SgxTcbInfo(FMSPC)),
                "/sgx/certification/v4/tcb?fmspc=00806F0500AB&update=standard",
            ),
            (
                Request::early(DocumentId::TdxTcbInfo(FMSPC)),
                "/tdx/certification/v4/tcb?fmspc=00806F0500AB&update=early",
            ),
            (Request::early(DocumentId::SgxQeIdentity), "/sgx/certification/v4/qe/identity?update=early"),
            (Request::standard(DocumentId::TdxQeIdentity), "/tdx/certification/v4/qe/identity?update=standard"),
            (
                Request::standard(DocumentId::PckCrl(PckCa::Processor)),
                "/sgx/certification/v4/pckcrl?ca=processor&encoding=der",
            ),
            (
                Request::standard(DocumentId::AmdIntermediate(Generation::Genoa, SigningKey::Vlek)),
                "/vlek/v1/Genoa/cert_chain",
            ),
            (Request::standard(DocumentId::AmdCrl(Generation::Turin)), "/vcek/v1/Turin/crl"),
        ] {
            assert_eq!(request.path(), path);
        }
    }

    #[test]
    fn a_chips_certificate_is_asked_for_by_chip_and_tcb() {
        let mut chip_id = [0; 64];
        chip_id[..8].copy_from_slice(&[0xab; 8]);
        let tcb = SnpTcb { fmc: 1, bootloader: 2, tee: 0, snp: 24, microcode: 217 };
        let turin = EndorsementId { generation: Generation::Turin, chip_id, tcb };
        let path = "/vcek/v1/Turin/abababababababab?fmcSPL=01&blSPL=02&teeSPL=00&snpSPL=24&ucodeSPL=217";
        assert_eq!(endorsement_path(&turin), path);
        let milan = EndorsementId { generation: Generation::Milan, ..turin };
        let path =
            format!("/vcek/v1/Milan/abababababababab{}?blSPL=02&teeSPL=00&snpSPL=24&ucodeSPL=217", "00".repeat(56));
        assert_eq!(endorsement_path(&milan), path);
    }

    #[test]
    fn a_platform_implies_all_that_its_evidence_needs() {
        let tdx = with_implied([DocumentId::TdxTcbInfo(FMSPC)]);
        assert!(tdx.contains(&DocumentId::TdxQeIdentity) && tdx.contains(&DocumentId::IntelRootCrl));
        assert!(tdx.contains(&DocumentId::PckCrl(PckCa::Platform)));
        assert_eq!(tdx.len(), 4);
        let amd = with_implied([DocumentId::AmdIntermediate(Generation::Milan, SigningKey::Vcek)]);
        assert!(amd.contains(&DocumentId::AmdCrl(Generation::Milan)));
        // All of it is there already.
        assert_eq!(with_implied(tdx.clone()), tdx);
    }
}
