use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{Error, Statement, UnixSeconds};

/// The identity of an image: what a TEE measured when it started the enclave.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Measurement(pub [u8; 32]);

/// The identity of one physical platform (PPID, chip id), hashed to 32 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct PlatformId(pub [u8; 32]);

/// Who made the TEE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Vendor {
    /// No TEE at all: development only.
    #[codec(index = 255)]
    Simulated,
}

/// One thing that evidence can prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Claim {
    /// The certificate chain leads to the vendor's root.
    CertificateChain,
    /// The certificates are valid at the time of the verification.
    CertificateValidity,
    /// The certificates are not revoked.
    Revocation,
    /// The report is signed by the certified key.
    ReportSignature,
    /// The platform's TCB is one that the policy allows.
    TcbStatus,
    /// The enclave is not in debug mode.
    NotDebug,
    /// The memory of the enclave is protected by hardware.
    HardwareIsolation,
}

/// Whether a [`Claim`] was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum ClaimStatus {
    /// Checked, and it holds.
    Checked,
    /// Not checked, or the vendor gives no means to: nothing may rest on it.
    NotChecked,
}

/// Evidence whose signatures, validity and policy hold. Its statement is not bound yet: see [`Self::bind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEvidence {
    pub(crate) vendor: Vendor,
    pub(crate) measurement: Measurement,
    pub(crate) platform: PlatformId,
    pub(crate) report_data: [u8; 64],
    pub(crate) valid_until: UnixSeconds,
    pub(crate) claims: Vec<(Claim, ClaimStatus)>,
}

impl VerifiedEvidence {
    /// Checks that the evidence was made for `statement` and ends the verification.
    ///
    /// # Errors
    /// [`Error::StatementMismatch`] when the report data is not the hash of `statement`.
    pub fn bind(self, statement: &Statement) -> Result<Verdict, Error> {
        if self.report_data != statement.report_data() {
            return Err(Error::StatementMismatch);
        }
        Ok(Verdict {
            vendor: self.vendor,
            measurement: self.measurement,
            platform: self.platform,
            statement: statement.clone(),
            valid_until: self.valid_until,
            claims: self.claims,
        })
    }
}

/// The outcome of a whole verification: which image runs on which platform and which keys it holds.
///
/// Whether the image is *allowed*, and whether the statement's genesis, operator and block hash are the right
/// ones, is for the caller, who knows the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    vendor: Vendor,
    measurement: Measurement,
    platform: PlatformId,
    statement: Statement,
    valid_until: UnixSeconds,
    claims: Vec<(Claim, ClaimStatus)>,
}

impl Verdict {
    /// Who made the TEE.
    pub fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// The image that runs.
    pub fn measurement(&self) -> Measurement {
        self.measurement
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
        self.valid_until
    }

    /// Every claim, and whether it was checked.
    pub fn claims(&self) -> &[(Claim, ClaimStatus)] {
        &self.claims
    }
}
