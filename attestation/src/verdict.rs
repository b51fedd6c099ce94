use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode};
use scale_info::TypeInfo;

use crate::{Error, Kind, Measurement, Measurements, Platform, PlatformId, Statement, Tcb, Tier, UnixSeconds, Vendor};

/// One thing that evidence can prove. What each means for a vendor is said where it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
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
    /// Hardware protects the memory: of simulated evidence, where nothing does. All other evidence is by hardware.
    HardwareIsolation,
    /// Nobody took the attestation keys out of the hardware: no vendor gives means to check.
    PhysicalCustody,
}

/// Whether a [`Claim`] was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum ClaimStatus {
    /// Checked, and it holds.
    Checked,
    /// Not checked, or the vendor gives no means to: nothing may rest on it.
    NotChecked,
}

/// Evidence whose signatures, validity and policy hold. Made by [`verify`](crate::verify) alone.
///
/// Its statement is not bound yet: see [`Self::bind`].
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub struct VerifiedEvidence {
    pub(crate) kind: Kind,
    /// Under simulated roots, whatever the kind.
    pub(crate) simulated: bool,
    pub(crate) measurements: Measurements,
    pub(crate) platform: Platform,
    pub(crate) tier: Tier,
    pub(crate) tcb: Tcb,
    pub(crate) report_data: [u8; 64],
    pub(crate) valid_until: UnixSeconds,
    pub(crate) claims: Vec<(Claim, ClaimStatus)>,
}

impl VerifiedEvidence {
    /// The kind of TEE.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Who made the TEE. Evidence under simulated roots is a [simulated](Vendor::Simulated) vendor's, of whatever kind.
    pub fn vendor(&self) -> Vendor {
        let vendor = self.platform.hardware.vendor();
        if self.simulated { vendor.imitated() } else { vendor }
    }

    /// Says that the roots were simulated ones.
    pub(crate) fn simulated(mut self) -> Self {
        self.simulated = true;
        self.claims.retain(|(claim, _)| *claim != Claim::HardwareIsolation);
        self.claims.push((Claim::HardwareIsolation, ClaimStatus::NotChecked));
        self.claims.sort_by_key(|(claim, _)| *claim);
        self
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

    /// What the policy thinks of the platform.
    pub fn tier(&self) -> Tier {
        self.tier
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

    /// Checks that the evidence was made for `statement`, and on a platform with an identity, and ends the verification.
    ///
    /// # Errors
    /// [`Error::StatementMismatch`] when the report data is not the hash of `statement`, [`Error::NoPlatformIdentity`].
    pub fn bind(mut self, statement: &Statement) -> Result<Verdict, Error> {
        if self.report_data != statement.report_data() {
            return Err(Error::StatementMismatch);
        }
        let platform = self.platform.id.ok_or(Error::NoPlatformIdentity)?;
        for (claim, status) in &mut self.claims {
            if *claim == Claim::ReportData {
                *status = ClaimStatus::Checked;
            }
        }
        Ok(Verdict { evidence: self, platform, statement: statement.clone() })
    }
}

/// The outcome of a whole verification: which image runs on which platform and which keys it holds.
///
/// Whether the image is *allowed*, and whether the statement's genesis, operator and block hash are the right
/// ones, is for the caller, who knows the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    evidence: VerifiedEvidence,
    platform: PlatformId,
    statement: Statement,
}

impl Verdict {
    /// What the evidence says beside the statement.
    pub fn evidence(&self) -> &VerifiedEvidence {
        &self.evidence
    }

    /// Who made the TEE.
    pub fn vendor(&self) -> Vendor {
        self.evidence.vendor()
    }

    /// The image that runs.
    pub fn measurement(&self) -> Measurement {
        self.evidence.measurement()
    }

    /// The platform it runs on.
    pub fn platform(&self) -> PlatformId {
        self.platform
    }

    /// The statement that the evidence is bound to.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// When the evidence itself stops being valid. A chain may end a verdict earlier.
    pub fn valid_until(&self) -> UnixSeconds {
        self.evidence.valid_until()
    }

    /// Every claim, and whether it was checked.
    pub fn claims(&self) -> &[(Claim, ClaimStatus)] {
        self.evidence.claims()
    }
}
