//! X.509 as vendors use it: PEM chains, validity, AMD's RSASSA-PSS signatures and revocation lists (RFC 5280, RFC 8017).

use alloc::{string::String, vec::Vec};
use der::{Decode, Reader, SliceReader, asn1::ObjectIdentifier, oid::AssociatedOid};
use rsa::{BoxedUint, RsaPublicKey};
use x509_cert::{
    crl::CertificateList,
    ext::pkix::{BasicConstraints, KeyUsage, KeyUsages},
    name::Name,
    time::Time,
};

use crate::{
    Document, Error, KnownSignatures, SignatureId, UnixSeconds,
    collateral::check_size,
    signatures::{check_p256, check_pss},
};

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(crate) const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// The salt of AMD's signatures has the length of the hash, SHA-384.
const SALT_BYTES: usize = 48;
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
/// CRL number and authority key identifier: the extensions of a list that do not change what it means.
const CRL_EXTENSIONS: [ObjectIdentifier; 2] = [CRL_NUMBER, ObjectIdentifier::new_unwrap("2.5.29.35")];

/// The time in which a document counts, both ends inclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub from: UnixSeconds,
    pub until: UnixSeconds,
}

impl Validity {
    fn of_list(issued: Time, next: Time) -> Self {
        let until = next.to_unix_duration().as_secs().saturating_sub(1);
        Self { from: issued.to_unix_duration().as_secs(), until }
    }

    pub fn check(self, document: Document, now: UnixSeconds) -> Result<(), Error> {
        if now < self.from {
            Err(Error::NotYetValid(document))
        } else if now > self.until {
            Err(Error::Expired(document))
        } else {
            Ok(())
        }
    }
}

/// A parsed certificate. Nothing in it is believed before [`Self::check_issued_by`] and the like.
pub(crate) struct Certificate {
    document: Document,
    /// What the signature is over, as received: encoding it again could hide a difference.
    signed: Vec<u8>,
    inner: x509_cert::Certificate,
}

impl Certificate {
    /// Parses DER within the bound of `document`.
    pub fn parse(document: Document, der: &[u8]) -> Result<Self, Error> {
        check_size(document, der)?;
        let malformed = |_| Error::Malformed(document);
        let inner = x509_cert::Certificate::from_der(der).map_err(malformed)?;
        if inner.signature_algorithm() != inner.tbs_certificate().signature() {
            return Err(Error::Malformed(document));
        }
        Ok(Self { document, signed: signed_bytes(der).map_err(malformed)?.to_vec(), inner })
    }

    pub fn validity(&self) -> Validity {
        let validity = self.inner.tbs_certificate().validity();
        Validity {
            from: validity.not_before.to_unix_duration().as_secs(),
            until: validity.not_after.to_unix_duration().as_secs(),
        }
    }

    pub fn subject(&self) -> &Name {
        self.inner.tbs_certificate().subject()
    }

    pub fn common_name(&self) -> Result<String, Error> {
        common_name(self.subject()).ok_or(Error::Malformed(self.document))
    }

    /// Whether it says that it was issued by itself, as roots do.
    pub fn names_itself_as_issuer(&self) -> bool {
        self.inner.tbs_certificate().issuer() == self.subject()
    }

    /// The common name of who issued it.
    pub fn issuer_name(&self) -> Result<String, Error> {
        common_name(self.inner.tbs_certificate().issuer()).ok_or(Error::Malformed(self.document))
    }

    /// The content of the extension `oid`: `None` without one, an error with two.
    pub fn extension(&self, oid: ObjectIdentifier) -> Result<Option<&[u8]>, Error> {
        let mut found =
            self.inner.tbs_certificate().extensions().into_iter().flatten().filter(|found| found.extn_id == oid);
        let first = found.next().map(|extension| extension.extn_value.as_bytes());
        if found.next().is_some() { Err(Error::Malformed(self.document)) } else { Ok(first) }
    }

    /// The public key's algorithm, its parameters if they are an OID, and its bits.
    pub fn public_key(&self) -> Result<(ObjectIdentifier, Option<ObjectIdentifier>, &[u8]), Error> {
        let info = self.inner.tbs_certificate().subject_public_key_info();
        let parameters = info.algorithm.parameters.as_ref().and_then(|any| any.decode_as().ok());
        let bits = info.subject_public_key.as_bytes().ok_or(Error::Malformed(self.document))?;
        Ok((info.algorithm.oid, parameters, bits))
    }

    /// Whether this certificate may sign what `usage` says: certificates or lists.
    fn may(&self, usage: KeyUsages) -> Result<bool, Error> {
        let malformed = |_| Error::Malformed(self.document);
        let constraints = self.extension(BasicConstraints::OID)?.map(BasicConstraints::from_der);
        let usages = self.extension(KeyUsage::OID)?.map(KeyUsage::from_der);
        Ok(constraints.transpose().map_err(malformed)?.is_some_and(|constraints| constraints.ca)
            && usages.transpose().map_err(malformed)?.is_none_or(|usages| usages.0.contains(usage)))
    }

    /// Whether an extension that has to be understood is none of those that are.
    fn has_unknown_critical_extension(&self) -> bool {
        let known = [BasicConstraints::OID, KeyUsage::OID];
        let extensions = self.inner.tbs_certificate().extensions();
        extensions.into_iter().flatten().any(|extension| extension.critical && !known.contains(&extension.extn_id))
    }

    /// Checks the signature by a certificate that may issue others: see [`Self::check_signature`].
    pub fn check_issued_by<K: KnownSignatures>(&self, issuer: &Certificate) -> Result<SignatureId, Error> {
        let refused = Error::Chain(self.document);
        if !issuer.may(KeyUsages::KeyCertSign)? || self.inner.tbs_certificate().issuer() != issuer.subject() {
            return Err(refused);
        }
        let signature = self.inner.signature().as_bytes().ok_or(refused.clone())?;
        let algorithm = self.inner.signature_algorithm().oid;
        let id = issuer.check_signature::<K>(algorithm, &self.signed, signature).map_err(|()| refused)?;
        if self.has_unknown_critical_extension() { Err(Error::Malformed(self.document)) } else { Ok(id) }
    }

    /// Checks a signature of this certificate's key: AMD's, RSASSA-PSS with SHA-384, or Intel's, ECDSA with P-256.
    pub fn check_signature<K: KnownSignatures>(
        &self,
        algorithm: ObjectIdentifier,
        message: &[u8],
        signature: &[u8],
    ) -> Result<SignatureId, ()> {
        match (algorithm, self.public_key().map_err(|_| ())?) {
            (RSASSA_PSS, (RSA_ENCRYPTION, _, key)) => {
                check_pss::<K>(key, || rsa_public_key(key), SALT_BYTES, message, signature)
            }
            (ECDSA_SHA256, (EC_PUBLIC_KEY, Some(SECP256R1), key)) => check_p256::<K>(key, message, signature),
            _ => Err(()),
        }
    }
}

/// RSAPublicKey (RFC 8017, appendix A.1.1). The library refuses more than 4096 bits and large exponents.
fn rsa_public_key(der: &[u8]) -> Result<RsaPublicKey, ()> {
    let mut reader = SliceReader::new(der).map_err(|_| ())?;
    let parts = reader.sequence(|reader| -> der::Result<_> {
        Ok((der::asn1::UintRef::decode(reader)?, der::asn1::UintRef::decode(reader)?))
    });
    let (modulus, exponent) = parts.map_err(|_| ())?;
    reader.finish().map_err(|_| ())?;
    RsaPublicKey::new(
        BoxedUint::from_be_slice_vartime(modulus.as_bytes()),
        BoxedUint::from_be_slice_vartime(exponent.as_bytes()),
    )
    .map_err(|_| ())
}

/// The first element of a signed structure (TBSCertificate, TBSCertList), tag and length included.
fn signed_bytes(der: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(der)?;
    let signed = reader.sequence(|reader| -> der::Result<&[u8]> {
        let signed = reader.tlv_bytes()?;
        reader.tlv_bytes()?;
        reader.tlv_bytes()?;
        Ok(signed)
    })?;
    reader.finish()?;
    Ok(signed)
}

fn common_name(name: &Name) -> Option<String> {
    Some(name.common_name().ok()??.value().into_owned())
}

/// [`RevocationList::validity`] alone: what the list revokes, which may be long, is not parsed.
pub(crate) fn list_validity(document: Document, der: &[u8]) -> Result<Validity, Error> {
    check_size(document, der)?;
    let read = || {
        SliceReader::new(signed_bytes(der)?)?.sequence(|list| -> der::Result<Validity> {
            // The version, the signature's algorithm, the issuer.
            for _ in 0..3 {
                list.tlv_bytes()?;
            }
            let validity = Validity::of_list(Time::decode(list)?, Time::decode(list)?);
            list.drain(list.remaining_len())?;
            Ok(validity)
        })
    };
    read().map_err(|_| Error::Malformed(document))
}

/// A parsed revocation list. Nothing in it is believed before [`Self::check_issued_by`].
pub(crate) struct RevocationList {
    document: Document,
    signed: Vec<u8>,
    inner: CertificateList,
}

impl RevocationList {
    /// Parses DER within the bound of `document`.
    pub fn parse(document: Document, der: &[u8]) -> Result<Self, Error> {
        check_size(document, der)?;
        let malformed = |_| Error::Malformed(document);
        let inner = CertificateList::from_der(der).map_err(malformed)?;
        if inner.signature_algorithm != inner.tbs_cert_list.signature {
            return Err(Error::Malformed(document));
        }
        Ok(Self { document, signed: signed_bytes(der).map_err(malformed)?.to_vec(), inner })
    }

    /// A list without an end never ends, and vendors' lists all have one: the second at which the next has to be there.
    pub fn validity(&self) -> Result<Validity, Error> {
        let list = &self.inner.tbs_cert_list;
        Ok(Validity::of_list(list.this_update, list.next_update.ok_or(Error::Malformed(self.document))?))
    }

    pub fn issuer(&self) -> Option<String> {
        common_name(&self.inner.tbs_cert_list.issuer)
    }

    /// The number of the list, which grows with each (RFC 5280, section 5.2.3): at most 8 bytes are.
    pub fn number(&self) -> Result<u64, Error> {
        let malformed = Error::Malformed(self.document);
        let mut found =
            self.inner.tbs_cert_list.crl_extensions.iter().flatten().filter(|found| found.extn_id == CRL_NUMBER);
        match (found.next(), found.next()) {
            (Some(number), None) => u64::from_der(number.extn_value.as_bytes()).map_err(|_| malformed),
            _ => Err(malformed),
        }
    }

    /// Checks the signature and that the list is a whole one.
    pub fn check_issued_by<K: KnownSignatures>(&self, issuer: &Certificate) -> Result<SignatureId, Error> {
        let refused = Error::DocumentSignature(self.document);
        let list = &self.inner.tbs_cert_list;
        if !issuer.may(KeyUsages::CRLSign)? || list.issuer != *issuer.subject() {
            return Err(refused);
        }
        let signature = self.inner.signature.as_bytes().ok_or(refused.clone())?;
        let algorithm = self.inner.signature_algorithm.oid;
        let id = issuer.check_signature::<K>(algorithm, &self.signed, signature).map_err(|()| refused)?;
        // Deltas and lists for some certificates only carry a critical extension.
        let unknown = |critical: bool, oid| critical && !CRL_EXTENSIONS.contains(&oid);
        if list.crl_extensions.iter().flatten().any(|extension| unknown(extension.critical, extension.extn_id)) {
            return Err(Error::Malformed(self.document));
        }
        Ok(id)
    }

    pub fn revokes(&self, certificate: &Certificate) -> bool {
        let serial = certificate.inner.tbs_certificate().serial_number();
        self.inner.tbs_cert_list.revoked_certificates.iter().flatten().any(|entry| entry.serial_number == *serial)
    }
}

/// One PEM document (RFC 7468).
pub(crate) struct Pem {
    pub label: String,
    pub der: Vec<u8>,
}

/// Parses at most `most` PEM documents, with nothing but white space and NUL between and after them.
pub(crate) fn parse_pem(text: &[u8], most: usize) -> Option<Vec<Pem>> {
    const END: &[u8] = b"-----END ";
    let mut documents = Vec::new();
    let mut rest = trim(text);
    while !rest.is_empty() {
        if documents.len() == most || !rest.starts_with(b"-----BEGIN ") {
            return None;
        }
        let end = rest.windows(END.len()).position(|window| window == END)?;
        let after = end.checked_add(END.len())?;
        let dashes = rest.get(after..)?.windows(5).position(|window| window == b"-----")?;
        let (document, next) = rest.split_at_checked(after.checked_add(dashes)?.checked_add(5)?)?;
        let (label, der) = der::pem::decode_vec(document).ok()?;
        documents.push(Pem { label: String::from(label), der });
        rest = trim(next);
    }
    Some(documents)
}

/// A PEM certificate with lines of 64 characters.
pub(crate) fn encode_pem(der: &[u8]) -> Option<String> {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).ok()
}

fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last.saturating_add(1));
    text.get(start..end).unwrap_or_default()
}
