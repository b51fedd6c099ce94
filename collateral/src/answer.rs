//! Documents from what services answer. Nothing is verified here but its form; the bytes may be anybody's.

use phala_attestation::{Document, DocumentId, SignedDocument, SignedJson};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::value::RawValue;

use crate::{Reason, Request};

/// The names around JSON of Intel's, and its signature.
const ENVELOPE_BYTES: usize = 1024;

/// The most bytes of an answer's body that are read.
pub(crate) fn max_body_bytes(id: DocumentId) -> usize {
    let document = id.document().max_bytes();
    match id {
        DocumentId::SgxTcbInfo(_)
        | DocumentId::TdxTcbInfo(_)
        | DocumentId::SgxQeIdentity
        | DocumentId::TdxQeIdentity => document.saturating_add(ENVELOPE_BYTES),
        // Some caches write lists in hexadecimal.
        DocumentId::IntelRootCrl | DocumentId::PckCrl(_) => document.saturating_mul(2),
        // Two certificates in PEM.
        DocumentId::AmdIntermediate(..) => document.saturating_mul(3),
        DocumentId::AmdCrl(_) => document,
    }
}

/// The most bytes of a header with certificates: each may be escaped to three.
pub(crate) const MAX_CHAIN_HEADER_BYTES: usize = 3 * Document::PckChain.max_bytes();

/// The document in an answer, unverified. `issuer_chain` is the value of a header, for requests that have such.
///
/// # Errors
/// [`Reason::Malformed`] and [`Reason::IssuerChain`].
pub fn decode(request: Request, issuer_chain: &[u8], body: Vec<u8>) -> Result<SignedDocument, Reason> {
    let malformed = Reason::Malformed(request.id.document());
    Ok(match request.id {
        DocumentId::IntelRootCrl => SignedDocument::IntelRootCrl(binary(body)),
        DocumentId::PckCrl(_) => SignedDocument::PckCrl { list: binary(body), issuer: first_of_header(issuer_chain)? },
        DocumentId::SgxTcbInfo(_) | DocumentId::TdxTcbInfo(_) => {
            #[derive(serde::Deserialize)]
            struct Answer<'a> {
                #[serde(borrow, rename = "tcbInfo")]
                json: &'a RawValue,
                signature: &'a str,
            }
            let Answer { json, signature } = serde_json::from_slice(&body).map_err(|_| malformed.clone())?;
            SignedDocument::TcbInfo(signed_json(json, signature, issuer_chain, malformed)?)
        }
        DocumentId::SgxQeIdentity | DocumentId::TdxQeIdentity => {
            #[derive(serde::Deserialize)]
            struct Answer<'a> {
                #[serde(borrow, rename = "enclaveIdentity")]
                json: &'a RawValue,
                signature: &'a str,
            }
            let Answer { json, signature } = serde_json::from_slice(&body).map_err(|_| malformed.clone())?;
            SignedDocument::QeIdentity(signed_json(json, signature, issuer_chain, malformed)?)
        }
        // The root follows, which is pinned.
        DocumentId::AmdIntermediate(..) => SignedDocument::AmdIntermediate(first_certificate(&body).ok_or(malformed)?),
        DocumentId::AmdCrl(_) => SignedDocument::AmdCrl(body),
    })
}

fn signed_json(json: &RawValue, signature: &str, issuer_chain: &[u8], malformed: Reason) -> Result<SignedJson, Reason> {
    let mut bytes = [0; 64];
    hex::decode_to_slice(signature, &mut bytes).map_err(|_| malformed)?;
    Ok(SignedJson { json: json.get().into(), signature: bytes, signer: first_of_header(issuer_chain)? })
}

/// The certificate of whoever signed; the ones above follow. PEM, percent-encoded.
fn first_of_header(issuer_chain: &[u8]) -> Result<Vec<u8>, Reason> {
    let pem: Vec<u8> = percent_encoding::percent_decode(issuer_chain).collect();
    first_certificate(&pem).ok_or(Reason::IssuerChain)
}

fn first_certificate(pem: &[u8]) -> Option<Vec<u8>> {
    CertificateDer::from_pem_slice(pem).ok().map(|certificate| certificate.to_vec())
}

/// DER starts with bytes that no hexadecimal text has.
fn binary(body: Vec<u8>) -> Vec<u8> {
    hex::decode(body.trim_ascii()).unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use phala_attestation::{Generation, PckCa, SigningKey};
    use proptest::prelude::*;

    const TCB_INFO: Request = Request { id: DocumentId::SgxTcbInfo([0; 6]), update: crate::Update::Standard };

    fn header() -> String {
        let pem = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
        percent_encoding::utf8_percent_encode(pem, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    fn answer(json: &str) -> Vec<u8> {
        format!(r#"{{"tcbInfo":{json},"signature":"{}"}}"#, "ab".repeat(64)).into_bytes()
    }

    #[test]
    fn json_is_kept_exactly_as_signed() {
        let json = r#"{ "id" : "SGX",  "issueDate":"2027" }"#;
        let SignedDocument::TcbInfo(signed) = decode(TCB_INFO, header().as_bytes(), answer(json)).unwrap() else {
            panic!("not TCB info");
        };
        assert_eq!((signed.json.as_str(), signed.signature), (json, [0xab; 64]));
        assert_eq!(signed.signer, [0x30, 3, 2, 1, 1]);
    }

    #[test]
    fn the_first_certificate_of_a_chain_is_the_signers() {
        let pem = |der: &str| format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
        let chain = pem("MAMCAQE=") + &pem("MAMCAQI=");
        let id = DocumentId::AmdIntermediate(Generation::Milan, SigningKey::Vcek);
        let document = decode(Request::standard(id), b"", chain.into_bytes()).unwrap();
        assert_eq!(document, SignedDocument::AmdIntermediate(vec![0x30, 3, 2, 1, 1]));
    }

    #[test]
    fn lists_are_binary_or_hexadecimal() {
        let list = vec![0x30, 0x82, 0, 0];
        let request = Request::standard(DocumentId::IntelRootCrl);
        for body in [list.clone(), b"30820000\n".to_vec()] {
            assert_eq!(decode(request, b"", body), Ok(SignedDocument::IntelRootCrl(list.clone())));
        }
    }

    #[test]
    fn a_body_without_a_whole_signature_is_malformed() {
        for body in [
            &b"not json"[..],
            br#"{"tcbInfo":{},"signature":"abcd"}"#,
            br#"{"tcbInfo":{}}"#,
            br#"{"enclaveIdentity":{},"signature":""}"#,
        ] {
            let refused = decode(TCB_INFO, header().as_bytes(), body.to_vec());
            assert_eq!(refused, Err(Reason::Malformed(Document::TcbInfo)));
        }
    }

    #[test]
    fn a_garbled_chain_is_told_from_a_garbled_body() {
        for chain in [&b""[..], b"%", b"%ff%fe", b"-----BEGIN%20CERTIFICATE-----"] {
            assert_eq!(decode(TCB_INFO, chain, answer("{}")), Err(Reason::IssuerChain));
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            chain in proptest::collection::vec(any::<u8>(), 0..300),
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            for id in [
                DocumentId::IntelRootCrl,
                DocumentId::PckCrl(PckCa::Platform),
                DocumentId::SgxTcbInfo([0; 6]),
                DocumentId::TdxQeIdentity,
                DocumentId::AmdIntermediate(Generation::Milan, SigningKey::Vcek),
                DocumentId::AmdCrl(Generation::Milan),
            ] {
                let _ = decode(Request::standard(id), &chain, body.clone());
                let _ = decode(Request::standard(id), header().as_bytes(), answer(&String::from_utf8_lossy(&body)));
            }
        }
    }
}
