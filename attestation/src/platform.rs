//! Who made a TEE, of which kind it is, and on which hardware it runs.

use alloc::{string::String, vec::Vec};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::{fmt, str::FromStr};
use scale_info::TypeInfo;
use sha2::{Digest, Sha256};

use crate::{TcbStatus, Vendor, VendorName};

/// The kind of TEE that made evidence.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Kind {
    /// Intel SGX: an enclave in a process.
    Sgx,
    /// Intel TDX: a virtual machine.
    Tdx,
    /// AMD SEV-SNP: a virtual machine.
    SevSnp,
    /// No TEE at all: development only.
    #[codec(index = 255)]
    Simulated,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::SevSnp => "sev-snp",
            Self::Simulated => "simulated",
        })
    }
}

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        match text {
            "sgx" => Ok(Self::Sgx),
            "tdx" => Ok(Self::Tdx),
            "sev-snp" => Ok(Self::SevSnp),
            "simulated" => Ok(Self::Simulated),
            _ => Err(ParseKindError),
        }
    }
}

/// The text names no [`Kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a kind of TEE is sgx, tdx, sev-snp or simulated")]
pub struct ParseKindError;

/// A generation of AMD EPYC processors, each with its own root key.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
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
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct SnpTcb {
    /// The FMC, which only Turin has; 0 elsewhere.
    #[cfg_attr(feature = "files", serde(default))]
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
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum SigningKey {
    /// The versioned chip endorsement key: one chip's.
    Vcek,
    /// The versioned loaded endorsement key: one that AMD gave to a cloud provider. It identifies no chip.
    Vlek,
}

/// The identity of one physical platform (PPID, chip id), hashed to 32 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct PlatformId(pub [u8; 32]);

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
    /// None: the evidence is simulated.
    Simulated {
        /// Who is said to have made it.
        vendor: VendorName,
        /// What its certificate says.
        tcb_level: u16,
    },
}

impl Hardware {
    /// The platforms that this one shares its weaknesses with.
    pub fn family(&self) -> Family {
        match self {
            Self::Intel { fmspc, .. } => Family::Fmspc(*fmspc),
            Self::Amd { generation, .. } => Family::Generation(*generation),
            Self::Simulated { vendor, .. } => Family::Simulated(*vendor),
        }
    }

    /// Who made it.
    pub fn vendor(&self) -> Vendor {
        match self {
            Self::Intel { .. } => Vendor::Intel,
            Self::Amd { .. } => Vendor::Amd,
            Self::Simulated { vendor, .. } => Vendor::Simulated(*vendor),
        }
    }
}

/// Platforms of one design, which a weakness of the design breaks together.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Family {
    /// Intel's, by family, model, stepping, platform and custom SKU.
    #[codec(index = 1)]
    Fmspc([u8; 6]),
    /// AMD's.
    #[codec(index = 2)]
    Generation(Generation),
    /// Without hardware: all of one simulated vendor.
    #[codec(index = 255)]
    Simulated(VendorName),
}

/// As `fmspc:00a067110000`, `generation:milan`, or `simulated:NAME`.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fmspc(fmspc) => {
                f.write_str("fmspc:")?;
                fmspc.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Generation(Generation::Milan) => f.write_str("generation:milan"),
            Self::Generation(Generation::Genoa) => f.write_str("generation:genoa"),
            Self::Generation(Generation::Turin) => f.write_str("generation:turin"),
            Self::Simulated(vendor) => write!(f, "simulated:{vendor}"),
        }
    }
}

/// The vendor's opinion of a platform's TCB.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Tcb {
    /// Intel's status. `None` elsewhere: AMD publishes none: the policy's minimum is all there is.
    pub status: Option<TcbStatus>,
    /// Intel's advisories for this level, such as `INTEL-SA-00615`, sorted.
    pub advisories: Vec<String>,
    /// The lower `tcbEvaluationDataNumber` of TCB info and QE identity.
    pub evaluation_number: Option<u32>,
}

pub(crate) fn platform_id(domain: &[u8], identity: &[u8]) -> PlatformId {
    PlatformId(Sha256::new_with_prefix(domain).chain_update(identity).finalize().into())
}
