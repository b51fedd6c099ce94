//! DER, written.

use alloc::{vec, vec::Vec};

pub(crate) fn tlv(tag: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let length = (content.len() as u64).to_be_bytes();
    let header = match content.len() {
        0..128 => vec![tag, content.len() as u8],
        128..256 => vec![tag, 0x81, length[7]],
        _ => vec![tag, 0x82, length[6], length[7]],
    };
    [header.as_slice(), content].concat()
}

pub(crate) fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, parts.concat())
}

pub(crate) fn oid(text: &str) -> Vec<u8> {
    tlv(0x06, der::asn1::ObjectIdentifier::new_unwrap(text).as_bytes())
}

pub(crate) fn integer(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let start = (0..7).find(|index| bytes[*index] != 0 || bytes[*index + 1] >= 128).unwrap_or(7);
    let sign: &[u8] = if bytes[start] >= 128 { &[0] } else { &[] };
    tlv(0x02, [sign, &bytes[start..]].concat())
}

pub(crate) fn big_integer(bytes: &[u8]) -> Vec<u8> {
    tlv(0x02, [&[0], bytes].concat())
}

pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(0x04, bytes)
}

pub(crate) fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(0x03, [&[0], bytes].concat())
}

pub(crate) fn name(common_name: &str) -> Vec<u8> {
    seq(&[tlv(0x31, seq(&[oid("2.5.4.3"), tlv(0x0c, common_name)]))])
}

pub(crate) fn extension(id: &str, value: &[u8]) -> Vec<u8> {
    seq(&[oid(id), octets(value)])
}

/// Key usage: `0x04` for certificates, `0x02` for lists.
pub(crate) fn key_usage(usages: u8) -> Vec<u8> {
    seq(&[oid("2.5.29.15"), tlv(0x01, [0xff]), octets(&tlv(0x03, [usages.trailing_zeros() as u8, usages]))])
}

/// An extension that nobody knows, and has to be understood.
pub(crate) fn critical() -> Vec<u8> {
    seq(&[oid("1.2.3.4"), tlv(0x01, [0xff]), octets(&[])])
}
