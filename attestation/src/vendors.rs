//! Verification of real vendors' evidence: Intel SGX and TDX through DCAP, AMD SEV-SNP.
//!
//! A [`Quote`] is what the hardware signed, [`Collateral`] what the vendor published about it, [`Policy`] what is good
//! enough, and the time an argument. [`verify`] gives [`Verified`] or the first check that failed.
//!
//! # How
//! 1. Sizes are bounded and frames parsed strictly, so that the work before the first signature check is linear in
//!    few kilobytes, and no byte of a quote is left that no check looks at.
//! 2. Chains lead to the roots in this source, are within their validity and not revoked.
//! 3. The quote is signed by the certified key, directly (SEV-SNP) or through the quoting enclave (DCAP).
//! 4. The platform's TCB is matched with the vendor's document or certificate, and appraised under the policy.
//! 5. Modes in which the host reads or moves the guest are refused under every policy.
//!
//! # Invariants
//! - [`Verified`] has no public constructor: whoever holds one knows that [`verify`] ran.
//! - Kinds and generations are matched exhaustively; what the policy does not name is refused.
//! - A claim is listed as checked only where the code checked it; see [`Claim`].
//!
//! # What it does not prove
//! Whether the measurement is *allowed*, whether the report data binds the right statement and is fresh, and that nobody
//! with physical access took the attestation keys out of the hardware (WireTap, Battering RAM, TEE.fail).

mod certificates;
mod collateral;
mod dcap;
mod error;
#[cfg(feature = "std")]
pub mod files;
mod policy;
mod sev_snp;
// They read files and the environment, which nothing in `src` does.
#[cfg(test)]
#[path = "../tests/vendors/mod.rs"]
mod tests;

pub use collateral::{Collateral, DcapCollateral, SevSnpCollateral};
pub use error::{Document, Error};
pub use policy::{DcapPolicy, MinimumTcb, Policy, SevSnpPolicy, TcbStatus};

use alloc::{string::String, vec::Vec};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sha2::{Digest, Sha256};

use crate::{ClaimStatus, Measurement, PlatformId, UnixSeconds};

/// The largest quote that [`verify`] looks at, in bytes. Intel's are 5 KiB, and some clouds pad them to 8.
pub const MAX_QUOTE_BYTES: usize = 16 * 1024;

/// What the hardware signed, as its driver hands it out. Nothing in it is believed before [`verify`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub enum Quote {
    /// An ECDSA quote of Intel's, version 3 to 5, of an SGX enclave or a TDX guest.
    #[codec(index = 1)]
    Dcap(Vec<u8>),
    /// An attestation report of an SEV-SNP guest: 1184 bytes.
    #[codec(index = 2)]
    SevSnp(Vec<u8>),
}

/// The kind of TEE that made a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Kind {
    /// Intel SGX: an enclave in a process.
    Sgx,
    /// Intel TDX: a virtual machine.
    Tdx,
    /// AMD SEV-SNP: a virtual machine.
    SevSnp,
}

/// A generation of AMD EPYC processors, each with its own root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Generation {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004, Bergamo and Siena included.
    Genoa,
    /// EPYC 9005.
    Turin,
}

/// The security versions of an AMD platform's firmware (TCB_VERSION, firmware ABI 56860, section 2.2).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct SnpTcb {
    /// The FMC, which only Turin has; 0 elsewhere.
    #[cfg_attr(feature = "std", serde(default))]
    pub fmc: u8,
    /// The boot loader of the secure processor.
    pub bootloader: u8,
    /// The operating system of the secure processor.
    pub tee: u8,
    /// The SEV-SNP firmware.
    pub snp: u8,
    /// The lowest microcode patch level of all cores.
    pub microcode: u8,
}

/// Which of AMD's two kinds of key signed a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum SigningKey {
    /// The versioned chip endorsement key: one chip's.
    Vcek,
    /// The versioned loaded endorsement key: one that AMD gave to a cloud provider. It identifies no chip.
    Vlek,
}

/// What was measured when the TEE started.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Measurements {
    /// Of an SGX enclave (SDM volume 3D, section 38.15).
    Sgx {
        /// Code and data of the enclave.
        mr_enclave: [u8; 32],
        /// The key that signed the enclave.
        mr_signer: [u8; 32],
        /// The signer's product.
        isv_prod_id: u16,
        /// The product's security version.
        isv_svn: u16,
        /// The configuration given at start (KSS), zero without.
        config_id: [u8; 64],
    },
    /// Of a TDX guest (TDX module ABI 348551, TDINFO).
    Tdx {
        /// The initial memory.
        mr_td: [u8; 48],
        /// What firmware, boot loader, kernel and applications measured at run time.
        rt_mrs: [[u8; 48]; 4],
        /// The owner's configuration that does not change the image.
        mr_config_id: [u8; 48],
        /// The owner.
        mr_owner: [u8; 48],
        /// The owner's configuration of the image.
        mr_owner_config: [u8; 48],
    },
    /// Of an SEV-SNP guest (firmware ABI 56860, table 23).
    SevSnp {
        /// The initial memory.
        measurement: [u8; 48],
        /// What the host gave at launch.
        host_data: [u8; 32],
        /// The digest of the key that signed the identity block, zero without.
        id_key_digest: [u8; 48],
        /// The security version of the guest, from the identity block.
        guest_svn: u32,
        /// The privilege level that asked for the report.
        vmpl: u32,
    },
}

impl Measurements {
    /// What identifies the image, folded to 32 bytes: SHA-256 over a domain and fields of fixed length.
    ///
    /// | kind | domain | fields |
    /// |---|---|---|
    /// | SGX | `phala/measurement/sgx/v1` | MRENCLAVE, CONFIGID |
    /// | TDX | `phala/measurement/tdx/v1` | MRTD, RTMR0 to 3, MRCONFIGID, MROWNER, MROWNERCONFIG |
    /// | SEV-SNP | `phala/measurement/sev-snp/v1` | MEASUREMENT, HOST_DATA |
    pub fn fold(&self) -> Measurement {
        let hash = match self {
            Self::Sgx { mr_enclave, config_id, .. } => {
                Sha256::new_with_prefix(b"phala/measurement/sgx/v1").chain_update(mr_enclave).chain_update(config_id)
            }
            Self::Tdx { mr_td, rt_mrs, mr_config_id, mr_owner, mr_owner_config } => {
                Sha256::new_with_prefix(b"phala/measurement/tdx/v1")
                    .chain_update(mr_td)
                    .chain_update(rt_mrs.as_flattened())
                    .chain_update(mr_config_id)
                    .chain_update(mr_owner)
                    .chain_update(mr_owner_config)
            }
            Self::SevSnp { measurement, host_data, .. } => Sha256::new_with_prefix(b"phala/measurement/sev-snp/v1")
                .chain_update(measurement)
                .chain_update(host_data),
        };
        Measurement(hash.finalize().into())
    }
}

/// The hardware that signed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Platform {
    /// One physical platform: SHA-256 over `phala/platform/dcap/v1` and the PPID, or over `phala/platform/sev-snp/v1` and
    /// the chip id. `None` where the quote identifies no chip (VLEK with a masked chip id).
    pub id: Option<PlatformId>,
    /// What is known of its kind.
    pub hardware: Hardware,
}

/// What a certificate says of a platform's kind.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub enum Hardware {
    /// From the PCK certificate. Flags are `None` on platforms with a single package, whose certificates have none.
    Intel {
        /// Family, model, stepping, platform and custom SKU.
        fmspc: [u8; 6],
        /// 0 standard (client), 1 scalable (server), 2 scalable with integrity.
        sgx_type: u8,
        /// Whether packages may be added.
        dynamic_platform: Option<bool>,
        /// Whether Intel keeps the platform's root keys.
        cached_keys: Option<bool>,
        /// Whether two threads share a core.
        smt: Option<bool>,
    },
    /// From the certificate of the endorsement key.
    Amd {
        /// The generation.
        generation: Generation,
        /// The product's name, such as `Milan-B0`.
        product: String,
        /// The TCB that the key was derived for.
        tcb: SnpTcb,
        /// The kind of key.
        signing_key: SigningKey,
        /// The cloud provider that the VLEK was given to.
        provider: Option<String>,
    },
}

/// The vendor's opinion of a platform's TCB.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Tcb {
    /// Intel's status. `None` for AMD, which publishes none: the policy's minimum is all there is.
    pub status: Option<TcbStatus>,
    /// Intel's advisories for this level, such as `INTEL-SA-00615`, sorted.
    pub advisories: Vec<String>,
    /// The lower `tcbEvaluationDataNumber` of TCB info and QE identity.
    pub evaluation_number: Option<u32>,
}

/// One thing that evidence can prove. What each means for a vendor is said where it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Claim {
    /// The certificate chains lead to the vendor's pinned root.
    CertificateChain,
    /// All certificates and documents are valid at the time of the verification.
    Validity,
    /// No certificate of the chain is on the vendor's current revocation list.
    Revocation,
    /// The quote is signed by the certified key, and has no unsigned content.
    QuoteSignature,
    /// The quoting enclave is Intel's.
    QuotingEnclave,
    /// The platform's TCB was matched with what the vendor signed, and the policy allows it.
    Tcb,
    /// The policy allows the vendor's advisories.
    Advisories,
    /// The TDX module is Intel's.
    TdxModule,
    /// The host cannot read the guest: no debugging, no profiling.
    NotDebug,
    /// The guest cannot be moved to another platform.
    NotMigratable,
    /// The policy allows dynamic platforms, cached keys, SMT and memory checks as they are.
    PlatformConfiguration,
    /// The certificate names the chip, or platform, that the quote is of.
    PlatformIdentity,
    /// The certificate names the generation of the root.
    ProductFamily,
    /// The privilege level that asked is one that the policy allows.
    PrivilegeLevel,
    /// The image is an allowed one: for the caller.
    Measurement,
    /// The report data binds a statement, and is fresh: for the caller.
    ReportData,
    /// Nobody took the attestation keys out of the hardware: no vendor gives means to check.
    PhysicalCustody,
}

/// A quote that passed every check. Made by [`verify`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    kind: Kind,
    measurements: Measurements,
    platform: Platform,
    tcb: Tcb,
    report_data: [u8; 64],
    valid_until: UnixSeconds,
    claims: Vec<(Claim, ClaimStatus)>,
}

impl Verified {
    /// The kind of TEE.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What identifies the image, folded to 32 bytes: see [`Measurements::fold`].
    pub fn measurement(&self) -> Measurement {
        self.measurements.fold()
    }

    /// What was measured, in the vendor's terms.
    pub fn measurements(&self) -> &Measurements {
        &self.measurements
    }

    /// The hardware that signed.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The vendor's opinion of the TCB.
    pub fn tcb(&self) -> &Tcb {
        &self.tcb
    }

    /// What the guest chose to be signed.
    pub fn report_data(&self) -> &[u8; 64] {
        &self.report_data
    }

    /// The last second at which every certificate and document is valid.
    pub fn valid_until(&self) -> UnixSeconds {
        self.valid_until
    }

    /// Every claim that concerns this kind of TEE, and whether it was checked.
    pub fn claims(&self) -> &[(Claim, ClaimStatus)] {
        &self.claims
    }
}

/// The vendors' root certificates, DER.
#[derive(Clone, Copy, Debug)]
struct Roots<'a> {
    /// Intel SGX Root CA, of SGX and TDX alike.
    intel: &'a [u8],
    milan: &'a [u8],
    genoa: &'a [u8],
    turin: &'a [u8],
}

impl Roots<'static> {
    /// As published: SHA-256 `44a0196b…`, `69d063b4…`, `4c6598d1…`, `1f084161…`. A test holds the whole hashes.
    const PINNED: Self = Self {
        intel: include_bytes!("vendors/roots/intel-sgx-root-ca.der"),
        milan: include_bytes!("vendors/roots/ark-milan.der"),
        genoa: include_bytes!("vendors/roots/ark-genoa.der"),
        turin: include_bytes!("vendors/roots/ark-turin.der"),
    };
}

impl<'a> Roots<'a> {
    fn amd(&self, generation: Generation) -> &'a [u8] {
        match generation {
            Generation::Milan => self.milan,
            Generation::Genoa => self.genoa,
            Generation::Turin => self.turin,
        }
    }
}

/// Verifies `quote` at the time `now`, under the roots pinned in this source.
///
/// # Errors
/// The first check that failed; see [`Error`].
pub fn verify(quote: &Quote, collateral: &Collateral, policy: &Policy, now: UnixSeconds) -> Result<Verified, Error> {
    verify_under(&Roots::PINNED, quote, collateral, policy, now)
}

fn verify_under(
    roots: &Roots<'_>,
    quote: &Quote,
    collateral: &Collateral,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<Verified, Error> {
    match (quote, collateral) {
        (Quote::Dcap(quote), Collateral::Dcap(collateral)) => {
            dcap::verify(roots.intel, quote, collateral, &policy.dcap, now)
        }
        (Quote::SevSnp(report), Collateral::SevSnp(collateral)) => {
            sev_snp::verify(roots, report, collateral, &policy.sev_snp, now)
        }
        (Quote::Dcap(_), Collateral::SevSnp(_)) | (Quote::SevSnp(_), Collateral::Dcap(_)) => Err(Error::CollateralKind),
    }
}

fn platform_id(domain: &[u8], identity: &[u8]) -> PlatformId {
    PlatformId(Sha256::new_with_prefix(domain).chain_update(identity).finalize().into())
}
