//! Which platforms are good enough: data, owned by governance.

use alloc::{string::String, vec, vec::Vec};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{Error, Generation, SigningKey, SnpTcb, roots::Roots};

/// Intel's status of a TCB level (PCS API version 4, TCB info). [`Self::Revoked`] is refused under every policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub enum TcbStatus {
    /// All security updates are installed.
    UpToDate,
    /// Up to date, and the software in the TEE has to defend itself against some attack.
    SWHardeningNeeded,
    /// Up to date, and the platform's configuration leaves some attack open.
    ConfigurationNeeded,
    /// Both.
    ConfigurationAndSWHardeningNeeded,
    /// Security updates are missing.
    OutOfDate,
    /// Updates are missing, and the configuration leaves some attack open.
    OutOfDateConfigurationNeeded,
    /// The TDX guest was launched before an update and has to be launched again.
    TDRelaunchAdvised,
    /// As before, and the configuration leaves some attack open.
    TDRelaunchAdvisedConfigurationNeeded,
    /// The platform's keys are compromised.
    Revoked,
}

/// Which evidence is good enough. Debugging and migration are refused whatever it says.
///
/// The default is strict: strict enough that most clouds fail it. See the fields for what they need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Policy {
    /// The root public key (Ed25519) of the simulated vendor, from a chain's genesis. `None` refuses all simulated evidence.
    #[cfg_attr(feature = "files", serde(skip))]
    pub simulated_root: Option<[u8; 32]>,
    /// Roots in the place of the pinned ones, from the genesis of a development network. All evidence under them is simulated,
    /// and said to be.
    #[cfg_attr(feature = "files", serde(skip))]
    pub simulated_vendors: Option<VendorRoots>,
    /// For SGX and TDX.
    pub dcap: DcapPolicy,
    /// For SEV-SNP.
    pub sev_snp: SevSnpPolicy,
    /// What is asked of platforms that fail the above, to be of the [limited](Tier::Limited) tier. `None`: there is none.
    pub limited: Option<Requirements>,
}

/// What is asked of platforms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Requirements {
    /// Of SGX and TDX.
    pub dcap: DcapPolicy,
    /// Of SEV-SNP.
    pub sev_snp: SevSnpPolicy,
}

/// What a policy thinks of a platform that it accepts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Tier {
    /// Good enough to work, at a lower weight; not to be a gatekeeper.
    Limited,
    /// Good enough for every role.
    Full,
}

/// Root certificates of simulated vendors.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct VendorRoots {
    /// In the place of Intel's, DER.
    pub intel: Vec<u8>,
    /// In the place of AMD's, for every generation, DER.
    pub amd: Vec<u8>,
}

/// The best tier whose requirements `appraise` finds met, and what it gives for them. The error is that of the last.
pub(crate) fn appraise_tiers<R, T>(
    full: &R,
    limited: Option<&R>,
    appraise: impl Fn(&R) -> Result<T, Error>,
) -> Result<(Tier, T), Error> {
    match (appraise(full), limited) {
        (Ok(found), _) => Ok((Tier::Full, found)),
        (Err(_), Some(limited)) => Ok((Tier::Limited, appraise(limited)?)),
        (Err(error), None) => Err(error),
    }
}

impl Policy {
    /// The roots that evidence and documents have to lead to.
    pub(crate) fn roots(&self) -> Roots<'_> {
        match &self.simulated_vendors {
            None => Roots::PINNED,
            Some(VendorRoots { intel, amd }) => Roots { intel, milan: amd, genoa: amd, turin: amd },
        }
    }
}

/// For SGX and TDX.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct DcapPolicy {
    /// The allowed statuses. By default `UpToDate` alone. SGX servers with SMT are `SWHardeningNeeded` or
    /// `ConfigurationAndSWHardeningNeeded` at best.
    pub allowed_statuses: Vec<TcbStatus>,
    /// The advisories that a level may have. By default none; `null` allows all that are not denied.
    pub allowed_advisories: Option<Vec<String>>,
    /// The advisories that are refused in any case: those of the full tier in the limited one, too.
    pub denied_advisories: Vec<String>,
    /// The lowest `tcbEvaluationDataNumber` of the documents. By default 17, of mid 2025. Raise it with each TCB recovery,
    /// after the platforms' owners had time to update.
    pub minimum_evaluation_number: u32,
    /// Whether platforms to which packages may be added are allowed. By default not; clouds with several sockets need it.
    pub allow_dynamic_platform: bool,
    /// Whether platforms whose root keys Intel keeps are allowed. By default not; clouds with several sockets need it.
    pub allow_cached_keys: bool,
    /// Whether platforms with SMT are allowed. By default not; nearly all clouds need it.
    pub allow_smt: bool,
}

impl Default for DcapPolicy {
    fn default() -> Self {
        Self {
            allowed_statuses: vec![TcbStatus::UpToDate],
            allowed_advisories: Some(vec![]),
            denied_advisories: vec![],
            minimum_evaluation_number: 17,
            allow_dynamic_platform: false,
            allow_cached_keys: false,
            allow_smt: false,
        }
    }
}

/// For SEV-SNP.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct SevSnpPolicy {
    /// The allowed generations, and the lowest TCB of each. Leaving one out evacuates it. By default Milan alone, at the
    /// level that a large cloud reported in 2025: name others with the levels of AMD's newest bulletin.
    pub minimum_tcb: Vec<MinimumTcb>,
    /// The allowed kinds of key. By default VCEK alone. AWS signs with a VLEK, which identifies no chip.
    pub allowed_signing_keys: Vec<SigningKey>,
    /// The privilege levels that may ask for a report. By default 0, the most privileged. Where a paravisor (Azure) or SVSM
    /// runs at 0, the guest is at 1 to 3, and what runs at 0 is part of what has to be trusted.
    pub allowed_vmpls: Vec<u32>,
    /// Whether guests may run with SMT. By default not; nearly all clouds need it.
    pub allow_smt: bool,
    /// Whether the platform must have checked its memory for aliases at boot (BadRAM). By default so; firmware before
    /// 2025 cannot say.
    pub require_alias_check: bool,
    /// Whether the ARK's revocation list has to be given. By default so.
    pub require_crl: bool,
}

impl Default for SevSnpPolicy {
    fn default() -> Self {
        let milan = SnpTcb { fmc: 0, bootloader: 4, tee: 0, snp: 24, microcode: 217 };
        Self {
            minimum_tcb: vec![MinimumTcb { generation: Generation::Milan, tcb: milan }],
            allowed_signing_keys: vec![SigningKey::Vcek],
            allowed_vmpls: vec![0],
            allow_smt: false,
            require_alias_check: true,
            require_crl: true,
        }
    }
}

/// The lowest TCB of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct MinimumTcb {
    /// The generation.
    pub generation: Generation,
    /// Each component of a platform's TCB has to be at least this.
    pub tcb: SnpTcb,
}
