//! What the chain keeps about attestation.

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use phala_attestation::{
    DcapPolicy, Family, Measurement, PlatformId, Requirements, SevSnpPolicy, SignatureId, SignedDocument, Tier,
    UnixSeconds, VerifiedDocument,
};
use scale_info::TypeInfo;

/// Which platforms are good enough. The default is strict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct HardwarePolicy {
    /// For SGX and TDX.
    pub dcap: DcapPolicy,
    /// For SEV-SNP.
    pub sev_snp: SevSnpPolicy,
    /// For platforms of the limited tier; `None`: there is none.
    pub limited: Option<Requirements>,
}

/// Enclaves that break together.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Class {
    /// All that run this image.
    Image(Measurement),
    /// All on this platform.
    Platform(PlatformId),
    /// All on platforms of this family.
    Family(Family),
}

/// What became of evidence when documents of a TCB recovery, which do not count yet, were tried on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Outlook {
    /// When the first of them begins to count.
    pub from: UnixSeconds,
    /// The tier under them; `None`: the evidence is refused.
    pub tier: Option<Tier>,
}

/// A vendor's document whose signatures were verified.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct KeptDocument {
    /// As it was submitted.
    pub document: SignedDocument,
    /// When the vendor made it.
    pub issued: UnixSeconds,
    /// The last second at which it is valid.
    pub valid_until: UnixSeconds,
    /// A list's number, or a TCB evaluation number.
    pub number: u64,
    /// Its signatures.
    pub signatures: Vec<SignatureId>,
}

impl KeptDocument {
    /// Keeps what was verified.
    pub fn new(document: SignedDocument, verified: &VerifiedDocument) -> Self {
        Self {
            document,
            issued: verified.issued(),
            valid_until: verified.valid_until(),
            number: verified.number(),
            signatures: verified.signatures().to_vec(),
        }
    }
}

/// A document of a TCB recovery.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct EarlyDocument {
    /// The document.
    pub kept: KeptDocument,
    /// When the first document of this recovery was submitted.
    pub since: UnixSeconds,
}

impl EarlyDocument {
    /// Whether it counts at `now`, and no longer the current one: `period` seconds after it came, if nobody let it end
    /// meanwhile, or as soon as the current one has ended.
    pub fn counts(&self, current: Option<&KeptDocument>, now: UnixSeconds, period: u64) -> bool {
        let is_due = now >= self.since.saturating_add(period) && now <= self.kept.valid_until;
        is_due || current.is_none_or(|current| now > current.valid_until)
    }

    /// The first second at which it counts.
    pub fn counts_from(&self, current: Option<&KeptDocument>, period: u64) -> UnixSeconds {
        let current_ended = current.map_or(0, |current| current.valid_until.saturating_add(1));
        self.since.saturating_add(period).min(current_ended)
    }

    /// The document that counts at `now`: the early one if it does, or the current one.
    pub fn choose(
        current: Option<KeptDocument>,
        early: Option<Self>,
        now: UnixSeconds,
        period: u64,
    ) -> Option<KeptDocument> {
        match early {
            Some(early) if early.counts(current.as_ref(), now, period) => Some(early.kept),
            _ => current,
        }
    }
}
