use codec::{DecodeAll, Encode};
use phala_attestation::DocumentId;
use phala_collateral::{Request, decode_answer, imitation::Answer};

use crate::{
    Target,
    vendors::{DOCUMENTS, documents},
};

pub(crate) const TARGETS: &[Target] = &[Target {
    name: "collateral_answers",
    run: collateral_answers,
    seeds,
    tokens: &[
        b"-----BEGIN%20CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----",
        b"%0A",
        b"\"signature\":\"",
        b"{\"tcbInfo\":",
    ],
    memory_per_byte: Some(512),
}];

/// What a vendor's service, or somebody in its place, answers: the document asked for, the header with certificates, the body. What is
/// read in it has an encoding, and is believed only if it was minted.
pub fn collateral_answers(data: &[u8]) {
    let Ok((id, issuer_chain, body)) = <(DocumentId, Vec<u8>, Vec<u8>)>::decode_all(&mut &data[..]) else { return };
    if let Ok(document) = decode_answer(Request::standard(id), &issuer_chain, body) {
        documents(&document.encode());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let answers = DOCUMENTS.iter().filter_map(|(id, document)| match Answer::with(Request::standard(*id), document) {
        Answer::Whole { headers, body, .. } => {
            let issuer_chain = headers.into_iter().next().map(|(_, value)| value.into_bytes()).unwrap_or_default();
            Some((*id, issuer_chain, body).encode())
        }
        Answer::Never => None,
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_services_answer_is_read() {
        assert_eq!(seeds().len(), DOCUMENTS.len());
        for (seed, document) in seeds().into_iter().zip(DOCUMENTS.values()) {
            let (id, issuer_chain, body) = <(DocumentId, Vec<u8>, Vec<u8>)>::decode_all(&mut &seed[..]).unwrap();
            assert_eq!(decode_answer(Request::standard(id), &issuer_chain, body).as_ref(), Ok(document));
        }
    }
}
