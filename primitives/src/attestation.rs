//! What the chain keeps about attestation.

use alloc::vec::Vec;
use core::{fmt, str::FromStr};

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use phala_attestation::{
    DcapPolicy, DocumentId, Family, Generation, Measurement, PlatformId, Requirements, SevSnpPolicy, SignatureId,
    SignedDocument, Tier, UnixSeconds, VerifiedDocument, parse_fmspc,
};
use scale_info::TypeInfo;

use crate::hash_from_hex;

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

/// How much newer than the kept one a document has to be for its submission to cost nothing, in seconds: a day. Vendors sign
/// most of them anew each hour.
pub const FREE_DOCUMENT_INTERVAL: u64 = 24 * 60 * 60;

/// What the chain keeps under one id: the current document, and that of a TCB recovery beside it, which has the higher number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentSlot {
    /// The current document.
    pub current: Option<KeptDocument>,
    /// That of a TCB recovery.
    pub early: Option<EarlyDocument>,
}

/// Why the chain would not keep a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// One as new is kept, or a newer one.
    #[error("one as new is kept, or a newer one")]
    NotNewer,
    /// The document of an earlier recovery does not count yet.
    #[error("the document of an earlier TCB recovery does not count yet")]
    EarlyDocumentWaits,
}

impl DocumentSlot {
    /// Keeps `new` at `now`, as the chain does where documents are early for `early_period` seconds; gives the document that it
    /// took the place of. What counts already becomes the current one. Nothing changes where it is refused.
    ///
    /// # Errors
    /// See [`NotKept`].
    pub fn keep(
        &mut self,
        id: DocumentId,
        new: KeptDocument,
        now: UnixSeconds,
        early_period: u64,
    ) -> Result<Option<KeptDocument>, NotKept> {
        let is_due = self.early.as_ref().is_some_and(|early| early.counts(self.current.as_ref(), now, early_period));
        let (current, early) = match (&self.current, &self.early) {
            (_, Some(early)) if is_due => (Some(&early.kept), None),
            (current, early) => (current.as_ref(), early.as_ref()),
        };
        let since = match current {
            Some(current) if id.has_recoveries() && new.number > current.number => match early {
                // Waiting is for one recovery; who refreshes it does not get more time.
                Some(early) if now <= early.kept.valid_until => {
                    if new.number != early.kept.number {
                        return Err(NotKept::EarlyDocumentWaits);
                    }
                    Some(early.since)
                }
                _ => Some(now),
            },
            _ => None,
        };
        let replaced = if since.is_some() { early.map(|early| &early.kept) } else { current };
        if replaced.is_some_and(|old| new.number < old.number || new.issued <= old.issued) {
            return Err(NotKept::NotNewer);
        }
        if is_due {
            self.current = self.early.take().map(|early| early.kept);
        }
        Ok(match since {
            Some(since) => self.early.replace(EarlyDocument { kept: new, since }).map(|early| early.kept),
            None => self.current.replace(new),
        })
    }

    /// The document that counts at `now`.
    pub fn counting(&self, now: UnixSeconds, early_period: u64) -> Option<&KeptDocument> {
        match &self.early {
            Some(early) if early.counts(self.current.as_ref(), now, early_period) => Some(&early.kept),
            _ => self.current.as_ref(),
        }
    }

    /// The signatures of both documents.
    pub fn signatures(&self) -> Vec<SignatureId> {
        let early = self.early.iter().map(|early| &early.kept);
        self.current.iter().chain(early).flat_map(|kept| kept.signatures.iter().copied()).collect()
    }
}

/// For how long at most the chain's record of a claim lets gatekeepers give the key to seal with, in seconds: an enclave asks them as it
/// starts.
pub const SEALING_CLAIM_SECONDS: u64 = 10 * 60;

/// Which key to seal with: there is one for each image on each platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SealingKeyId {
    /// The image.
    pub measurement: Measurement,
    /// Where it runs.
    pub platform: PlatformId,
    /// How often the keys of a class that these are of were replaced by others.
    pub version: u32,
}

/// An enclave on a platform that cannot seal has proven itself to the chain, so that the gatekeepers give it the key to seal with. It is
/// known by a key that it made for that alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SealingClaim {
    /// What it claims.
    pub key: SealingKeyId,
    /// The platform's family.
    pub family: Family,
    /// The block that its evidence names.
    pub block_number: u32,
    /// The last second at which the key is given.
    pub until: UnixSeconds,
}

impl SealingClaim {
    /// The classes that the enclave is of.
    pub fn classes(&self) -> [Class; 3] {
        Class::all_of(self.key.measurement, self.key.platform, self.family)
    }

    /// Whether the key is given at `now`.
    pub fn counts(&self, now: UnixSeconds) -> bool {
        now <= self.until
    }
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

impl Class {
    /// All classes of an enclave.
    pub fn all_of(measurement: Measurement, platform: PlatformId, family: Family) -> [Self; 3] {
        [Self::Image(measurement), Self::Platform(platform), Self::Family(family)]
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"));
        match self {
            Self::Image(measurement) => f.write_str("image:0x").and_then(|()| hex(f, &measurement.0)),
            Self::Platform(platform) => f.write_str("platform:0x").and_then(|()| hex(f, &platform.0)),
            Self::Family(family) => family.fmt(f),
        }
    }
}

impl FromStr for Class {
    type Err = ParseClassError;

    fn from_str(text: &str) -> Result<Self, ParseClassError> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let hash = || hash_from_hex(name.strip_prefix("0x").unwrap_or(name)).map_err(|_| ParseClassError);
        Ok(match (kind, name) {
            ("image", _) => Self::Image(Measurement(hash()?)),
            ("platform", _) => Self::Platform(PlatformId(hash()?)),
            ("fmspc", _) => Self::Family(Family::Fmspc(parse_fmspc(name).ok_or(ParseClassError)?)),
            ("generation", "milan") => Self::Family(Family::Generation(Generation::Milan)),
            ("generation", "genoa") => Self::Family(Family::Generation(Generation::Genoa)),
            ("generation", "turin") => Self::Family(Family::Generation(Generation::Turin)),
            ("simulated", _) => Self::Family(Family::Simulated(name.parse().map_err(|_| ParseClassError)?)),
            _ => return Err(ParseClassError),
        })
    }
}

/// The text names no class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a class is image:0x and 64 hexadecimal digits, platform:0x and 64, fmspc: and 12, generation:milan, generation:genoa, \
     generation:turin, or simulated: and a vendor's name"
)]
pub struct ParseClassError;

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

#[cfg(test)]
mod tests {
    use super::*;
    use phala_attestation::VendorName;

    #[test]
    fn a_class_is_read_as_it_is_written() {
        let family = |family| Class::Family(family);
        for class in [
            Class::Image(Measurement([0xa1; 32])),
            Class::Platform(PlatformId([0xb2; 32])),
            family(Family::Fmspc([0, 0xa0, 0x67, 0x11, 0, 0])),
            family(Family::Generation(Generation::Milan)),
            family(Family::Generation(Generation::Genoa)),
            family(Family::Generation(Generation::Turin)),
            family(Family::Simulated(VendorName::DEVELOPMENT)),
        ] {
            assert_eq!(alloc::format!("{class}").parse(), Ok(class));
        }
        assert_eq!("fmspc:00A067110000".parse(), Ok(family(Family::Fmspc([0, 0xa0, 0x67, 0x11, 0, 0]))));
        for text in [
            "",
            "image:",
            "image:0x12",
            "fmspc:00",
            "fmspc:+0A067110000",
            "generation:rome",
            "simulated",
            "simulated:A",
            "x",
        ] {
            assert_eq!(text.parse::<Class>(), Err(ParseClassError), "{text}");
        }
    }
}
