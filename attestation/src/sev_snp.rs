//! AMD SEV-SNP: attestation reports of version 2 to 5, signed with a VCEK or VLEK.
//!
//! Sources: SEV Secure Nested Paging firmware ABI (56860), table 23 (report), section 4.3 (guest policy) and 2.2 (TCB);
//! Versioned Chip Endorsement Key certificate and KDS interface specification (57230), chapter 3 (extensions).

use alloc::{string::String, vec};
use der::{
    Decode,
    asn1::{Ia5StringRef, ObjectIdentifier, OctetStringRef},
};
use p384::ecdsa::{Signature, VerifyingKey, signature::Verifier};

use crate::{
    Claim, ClaimStatus, Document, Error, Generation, Hardware, Kind, KnownSignatures, Measurements, NoneKnown,
    Platform, Policy, SevSnpCollateral, SevSnpPolicy, SigningKey, SnpTcb, Tcb, UnixSeconds, VerifiedEvidence,
    certificates::{Certificate, EC_PUBLIC_KEY, RevocationList},
    platform::platform_id,
    policy::appraise_tiers,
    roots::Roots,
};

/// The size of a report with its signature.
pub(crate) const REPORT_BYTES: usize = 0x4a0;
/// Where the signature starts; it is over all before.
const SIGNED_BYTES: usize = 0x2a0;
/// `r` and `s` are little-endian with 72 bytes each, of which P-384 has 48.
const SCALAR_BYTES: usize = 48;
const ECDSA_P384_SHA384: u32 = 1;

const POLICY_SMT: u64 = 1 << 16;
/// Must be one.
const POLICY_RESERVED_ONE: u64 = 1 << 17;
const POLICY_MIGRATE_MA: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;
/// Must be zero: all above PAGE_SWAP_DISABLE.
const POLICY_RESERVED_ZERO: u64 = u64::MAX << 26;
const PLATFORM_ALIAS_CHECK_COMPLETE: u64 = 1 << 5;

const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const BOOTLOADER_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const TEE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SNP_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const MICROCODE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const FMC_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const PROVIDER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");

/// The fields of a report that are looked at, at their offsets.
pub(crate) struct Report<'a> {
    bytes: &'a [u8; REPORT_BYTES],
}

impl<'a> Report<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let report = Self { bytes: bytes.try_into().map_err(|_| Error::QuoteSize)? };
        match report.u32(0x00) {
            2..=5 => Ok(report),
            version => Err(Error::QuoteVersion(version)),
        }
    }

    /// `N` bytes at `offset`, both of which are constants: outside of the report, there are zeros.
    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.field(offset))
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.field(offset))
    }

    fn policy(&self) -> u64 {
        self.u64(0x08)
    }

    fn vmpl(&self) -> u32 {
        self.u32(0x30)
    }

    fn signing_key(&self) -> Result<SigningKey, Error> {
        match (self.u32(0x48) >> 2) & 0b111 {
            0 => Ok(SigningKey::Vcek),
            1 => Ok(SigningKey::Vlek),
            // 7 is an unsigned report.
            _ => Err(Error::QuoteKind),
        }
    }

    fn measurements(&self) -> Measurements {
        Measurements::SevSnp {
            measurement: self.field(0x90),
            host_data: self.field(0xc0),
            id_key_digest: self.field(0xe0),
            guest_svn: self.u32(0x04),
            vmpl: self.vmpl(),
        }
    }

    fn report_data(&self) -> [u8; 64] {
        self.field(0x50)
    }

    fn chip_id(&self) -> [u8; 64] {
        self.field(0x1a0)
    }

    /// The generation by CPUID, which reports have since version 3.
    fn generation(&self) -> Result<Option<Generation>, Error> {
        if self.u32(0x00) < 3 {
            return Ok(None);
        }
        let [family, model] = self.field(0x188);
        match (family, model) {
            (0x19, 0x00..=0x0f) => Ok(Some(Generation::Milan)),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Ok(Some(Generation::Genoa)),
            (0x1a, 0x00..=0x11) => Ok(Some(Generation::Turin)),
            _ => Err(Error::QuoteKind),
        }
    }

    fn tcb(&self, offset: usize, generation: Generation) -> SnpTcb {
        let bytes: [u8; 8] = self.field(offset);
        match generation {
            Generation::Milan | Generation::Genoa => {
                let [bootloader, tee, _, _, _, _, snp, microcode] = bytes;
                SnpTcb { fmc: 0, bootloader, tee, snp, microcode }
            }
            Generation::Turin => {
                let [fmc, bootloader, tee, snp, _, _, _, microcode] = bytes;
                SnpTcb { fmc, bootloader, tee, snp, microcode }
            }
        }
    }

    pub fn signature(&self) -> Result<Signature, Error> {
        let scalar = |offset: usize| {
            let padded: [u8; 72] = self.field(offset);
            let (scalar, padding) = padded.split_at(SCALAR_BYTES);
            let mut scalar: [u8; SCALAR_BYTES] = scalar.try_into().ok()?;
            scalar.reverse();
            padding.iter().all(|byte| *byte == 0).then_some(scalar)
        };
        let (r, s) = scalar(0x2a0).zip(scalar(0x2e8)).ok_or(Error::QuoteFrame)?;
        if self.bytes.iter().skip(0x330).any(|byte| *byte != 0) {
            return Err(Error::QuoteFrame);
        }
        Signature::from_scalars(r, s).map_err(|_| Error::QuoteSignature)
    }
}

/// Which VCEK signed a report, and so which certificate to ask AMD for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndorsementId {
    /// The chip's generation.
    pub generation: Generation,
    /// The chip.
    pub chip_id: [u8; 64],
    /// The TCB that the key was derived for.
    pub tcb: SnpTcb,
}

impl EndorsementId {
    /// From a report, by what it says of itself: nothing is verified yet.
    ///
    /// # Errors
    /// When it cannot be parsed; [`Error::QuoteVersion`] before version 3, which does not say its generation;
    /// [`Error::SigningKeyRefused`] for a VLEK, whose certificate the cloud provider has;
    /// [`Error::NoPlatformIdentity`] where the chip is masked.
    pub fn of_report(report: &[u8]) -> Result<Self, Error> {
        let report = Report::parse(report)?;
        let generation = report.generation()?.ok_or(Error::QuoteVersion(report.u32(0x00)))?;
        match (report.signing_key()?, report.chip_id()) {
            (SigningKey::Vlek, _) => Err(Error::SigningKeyRefused(SigningKey::Vlek)),
            (SigningKey::Vcek, chip_id) if chip_id == [0; 64] => Err(Error::NoPlatformIdentity),
            (SigningKey::Vcek, chip_id) => Ok(Self { generation, chip_id, tcb: report.tcb(0x180, generation) }),
        }
    }
}

/// What a VCEK's or VLEK's certificate says of the chip.
struct Endorsement {
    key: VerifyingKey,
    kind: SigningKey,
    product: String,
    tcb: SnpTcb,
    hardware_id: Option<[u8; 64]>,
    provider: Option<String>,
}

impl Endorsement {
    fn parse(certificate: &Certificate, generation: Generation) -> Result<Self, Error> {
        let malformed = || Error::Malformed(Document::Endorsement);
        let text = |oid| -> Result<Option<String>, Error> {
            let Some(der) = certificate.extension(oid)? else { return Ok(None) };
            Ok(Some(String::from(Ia5StringRef::from_der(der).map_err(|_| malformed())?.as_str())))
        };
        let number = |oid| -> Result<u8, Error> {
            let der = certificate.extension(oid)?.ok_or_else(malformed)?;
            u8::from_der(der).map_err(|_| malformed())
        };
        let kind = match certificate.common_name()?.as_str() {
            "SEV-VCEK" => SigningKey::Vcek,
            "SEV-VLEK" => SigningKey::Vlek,
            _ => return Err(Error::Mismatch(Document::Endorsement)),
        };
        let fmc = match generation {
            Generation::Turin => number(FMC_SPL)?,
            Generation::Milan | Generation::Genoa => 0,
        };
        let hardware_id = certificate.extension(HARDWARE_ID)?;
        let provider = text(PROVIDER)?;
        match kind {
            SigningKey::Vcek if hardware_id.is_some() && provider.is_none() => {}
            SigningKey::Vlek if hardware_id.is_none() && provider.is_some() => {}
            SigningKey::Vcek | SigningKey::Vlek => return Err(malformed()),
        }
        let (EC_PUBLIC_KEY, Some(SECP384R1), point) = certificate.public_key()? else { return Err(malformed()) };
        Ok(Self {
            key: VerifyingKey::from_sec1_bytes(point).map_err(|_| malformed())?,
            kind,
            product: text(PRODUCT_NAME)?.ok_or_else(malformed)?,
            tcb: SnpTcb {
                fmc,
                bootloader: number(BOOTLOADER_SPL)?,
                tee: number(TEE_SPL)?,
                snp: number(SNP_SPL)?,
                microcode: number(MICROCODE_SPL)?,
            },
            hardware_id: hardware_id.map(|id| parse_hardware_id(id, generation).ok_or_else(malformed)).transpose()?,
            provider,
        })
    }
}

/// Milan and Genoa have 64 bytes, Turin 8, which the report pads with zeros. Some certificates have them bare, some as an
/// OCTET STRING.
fn parse_hardware_id(value: &[u8], generation: Generation) -> Option<[u8; 64]> {
    let bytes = match generation {
        Generation::Milan | Generation::Genoa => 64,
        Generation::Turin => 8,
    };
    let id = if value.len() == bytes { value } else { <&OctetStringRef>::from_der(value).ok()?.as_bytes() };
    let mut padded = [0; 64];
    padded.get_mut(..bytes).filter(|_| id.len() == bytes)?.copy_from_slice(id);
    Some(padded)
}

/// The generation and kind of key that an ASK or ASVK issues certificates for, by its name. Its signature follows.
pub(crate) fn parse_intermediate_name(name: &str) -> Option<(Generation, SigningKey)> {
    Some(match name {
        "SEV-Milan" => (Generation::Milan, SigningKey::Vcek),
        "SEV-Genoa" => (Generation::Genoa, SigningKey::Vcek),
        "SEV-Turin" => (Generation::Turin, SigningKey::Vcek),
        "SEV-VLEK-Milan" => (Generation::Milan, SigningKey::Vlek),
        "SEV-VLEK-Genoa" => (Generation::Genoa, SigningKey::Vlek),
        "SEV-VLEK-Turin" => (Generation::Turin, SigningKey::Vlek),
        _ => return None,
    })
}

/// The generation of an ARK, by its name.
pub(crate) fn parse_root_name(name: &str) -> Option<Generation> {
    Some(match name {
        "ARK-Milan" => Generation::Milan,
        "ARK-Genoa" => Generation::Genoa,
        "ARK-Turin" => Generation::Turin,
        _ => return None,
    })
}

#[cfg(feature = "files")]
pub(crate) fn is_intermediate(name: &str) -> bool {
    parse_intermediate_name(name).is_some()
}

fn is_product_of(product: &str, generation: Generation) -> bool {
    let family = match generation {
        Generation::Milan => "Milan",
        Generation::Genoa => "Genoa",
        Generation::Turin => "Turin",
    };
    // The stepping may follow: Milan-B0.
    product.split('-').next() == Some(family)
}

/// What a report says of itself: nothing is verified.
pub(crate) fn parse_unverified(report: &[u8]) -> Result<(Measurements, [u8; 64]), Error> {
    let report = Report::parse(report)?;
    Ok((report.measurements(), report.report_data()))
}

pub(crate) fn verify<K: KnownSignatures>(
    roots: &Roots<'_>,
    report: &[u8],
    endorsement: &[u8],
    collateral: &SevSnpCollateral,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<VerifiedEvidence, Error> {
    let report = Report::parse(report)?;
    let signature = report.signature()?;

    // The chain, from the root.
    let intermediate = Certificate::parse(Document::AmdIntermediate, &collateral.intermediate)?;
    let (generation, issues) =
        parse_intermediate_name(&intermediate.common_name()?).ok_or(Error::Mismatch(Document::AmdIntermediate))?;
    let root = Certificate::parse(Document::Ark, roots.amd(generation))?;
    intermediate.check_issued_by::<K>(&root)?;
    let certificate = Certificate::parse(Document::Endorsement, endorsement)?;
    certificate.check_issued_by::<NoneKnown>(&intermediate)?;
    let mut valid_until = UnixSeconds::MAX;
    for (document, validity) in [
        (Document::Ark, root.validity()),
        (Document::AmdIntermediate, intermediate.validity()),
        (Document::Endorsement, certificate.validity()),
    ] {
        validity.check(document, now)?;
        valid_until = valid_until.min(validity.until);
    }
    let revocation = match &collateral.crl {
        Some(list) => {
            let list = RevocationList::parse(Document::AmdCrl, list)?;
            list.check_issued_by::<K>(&root)?;
            let validity = list.validity()?;
            validity.check(Document::AmdCrl, now)?;
            // The list is of what the ARK issued. Chips are revoked by their TCB: see the policy's minimum.
            if list.revokes(&intermediate) || list.revokes(&root) {
                return Err(Error::Revoked);
            }
            valid_until = valid_until.min(validity.until);
            ClaimStatus::Checked
        }
        None => ClaimStatus::NotChecked,
    };

    // The key, and what it signed.
    let endorsement = Endorsement::parse(&certificate, generation)?;
    if endorsement.kind != issues || endorsement.kind != report.signing_key()? {
        return Err(Error::SigningKeyKind);
    }
    if report.u32(0x34) != ECDSA_P384_SHA384 {
        return Err(Error::QuoteKind);
    }
    let signed = report.bytes.get(..SIGNED_BYTES).ok_or(Error::QuoteSize)?;
    endorsement.key.verify(signed, &signature).map_err(|_| Error::QuoteSignature)?;

    // The platform.
    let family = report.generation()?;
    if !is_product_of(&endorsement.product, generation) || family.is_some_and(|family| family != generation) {
        return Err(Error::ProductFamily(generation));
    }
    if endorsement.tcb != report.tcb(0x180, generation) {
        return Err(Error::CertificateTcb);
    }
    let chip_id = report.chip_id();
    if endorsement.hardware_id.is_some_and(|id| id != chip_id) {
        return Err(Error::ChipId);
    }
    check_guest(&report)?;
    let limited = policy.limited.as_ref().map(|limited| &limited.sev_snp);
    let (tier, ()) = appraise_tiers(&policy.sev_snp, limited, |policy| {
        appraise(&report, generation, endorsement.kind, revocation, policy)
    })?;

    let checked_for_vcek = match endorsement.kind {
        SigningKey::Vcek => ClaimStatus::Checked,
        SigningKey::Vlek => ClaimStatus::NotChecked,
    };
    Ok(VerifiedEvidence {
        kind: Kind::SevSnp,
        simulated: false,
        measurements: report.measurements(),
        platform: Platform {
            id: (chip_id != [0; 64]).then(|| platform_id(b"phala/platform/sev-snp/v1", &chip_id)),
            hardware: Hardware::Amd {
                generation,
                product: endorsement.product,
                tcb: endorsement.tcb,
                signing_key: endorsement.kind,
                provider: endorsement.provider,
            },
        },
        tier,
        tcb: Tcb { status: None, advisories: vec![], evaluation_number: None },
        report_data: report.report_data(),
        valid_until,
        claims: vec![
            (Claim::CertificateChain, ClaimStatus::Checked),
            (Claim::Validity, ClaimStatus::Checked),
            (Claim::Revocation, revocation),
            (Claim::QuoteSignature, ClaimStatus::Checked),
            (Claim::Tcb, ClaimStatus::Checked),
            (Claim::NotDebug, ClaimStatus::Checked),
            (Claim::NotMigratable, ClaimStatus::Checked),
            (Claim::PlatformConfiguration, ClaimStatus::Checked),
            // A VLEK's certificate names no chip.
            (Claim::PlatformIdentity, checked_for_vcek),
            (Claim::ProductFamily, ClaimStatus::Checked),
            (Claim::PrivilegeLevel, ClaimStatus::Checked),
            (Claim::Measurement, ClaimStatus::NotChecked),
            (Claim::ReportData, ClaimStatus::NotChecked),
            (Claim::PhysicalCustody, ClaimStatus::NotChecked),
        ],
    })
}

/// What is refused under every policy.
fn check_guest(report: &Report<'_>) -> Result<(), Error> {
    let guest = report.policy();
    if guest & POLICY_DEBUG != 0 {
        return Err(Error::Debug);
    }
    if guest & POLICY_MIGRATE_MA != 0 {
        return Err(Error::Migratable);
    }
    if guest & POLICY_RESERVED_ONE == 0 || guest & POLICY_RESERVED_ZERO != 0 {
        return Err(Error::ReservedBits);
    }
    Ok(())
}

fn appraise(
    report: &Report<'_>,
    generation: Generation,
    signing_key: SigningKey,
    revocation: ClaimStatus,
    policy: &SevSnpPolicy,
) -> Result<(), Error> {
    if policy.require_crl && revocation == ClaimStatus::NotChecked {
        return Err(Error::CrlMissing);
    }
    if report.policy() & POLICY_SMT != 0 && !policy.allow_smt {
        return Err(Error::Smt);
    }
    if !policy.allowed_signing_keys.contains(&signing_key) {
        return Err(Error::SigningKeyRefused(signing_key));
    }
    if !policy.allowed_vmpls.contains(&report.vmpl()) {
        return Err(Error::Vmpl(report.vmpl()));
    }
    if policy.require_alias_check && report.u64(0x40) & PLATFORM_ALIAS_CHECK_COMPLETE == 0 {
        return Err(Error::AliasCheck);
    }
    let mut minimums = policy.minimum_tcb.iter().filter(|minimum| minimum.generation == generation).peekable();
    if minimums.peek().is_none() {
        return Err(Error::GenerationRefused(generation));
    }
    // Current, reported, committed (what the host may go back to) and at launch.
    let tcbs = [0x38, 0x180, 0x1e0, 0x1f0].map(|offset| report.tcb(offset, generation));
    if minimums.any(|minimum| tcbs.iter().any(|tcb| !is_at_least(tcb, &minimum.tcb))) {
        return Err(Error::BelowMinimumTcb);
    }
    Ok(())
}

fn is_at_least(tcb: &SnpTcb, minimum: &SnpTcb) -> bool {
    tcb.fmc >= minimum.fmc
        && tcb.bootloader >= minimum.bootloader
        && tcb.tee >= minimum.tee
        && tcb.snp >= minimum.snp
        && tcb.microcode >= minimum.microcode
}
