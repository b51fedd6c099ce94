//! Certificates and revocation lists, signed.

use alloc::{vec, vec::Vec};

use super::{
    der::{bits, extension, integer, name, octets, oid, seq, tlv},
    keys::Key,
};

/// As in X.509, and as in Intel's JSON.
pub(crate) const START_TEXT: (&str, &str) = ("270115080000Z", "2027-01-15T08:00:00Z");
pub(crate) const END_TEXT: (&str, &str) = ("270116080000Z", "2027-01-16T08:00:00Z");

/// A certificate before it is signed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub serial: u64,
    pub issuer: &'static str,
    pub subject: &'static str,
    pub from: &'static str,
    pub until: &'static str,
    pub authority: bool,
    pub extensions: Vec<Vec<u8>>,
}

impl Draft {
    pub fn new(issuer: &'static str, subject: &'static str) -> Self {
        let (from, until) = (START_TEXT.0, END_TEXT.0);
        Self { serial: 7, issuer, subject, from, until, authority: false, extensions: vec![] }
    }

    pub fn authority(issuer: &'static str, subject: &'static str) -> Self {
        Self { authority: true, ..Self::new(issuer, subject) }
    }

    pub fn sign(&self, key: &Key, issuer: &Key) -> Vec<u8> {
        let constraints = if self.authority { tlv(0x01, [0xff]) } else { vec![] };
        let mut extensions = self.extensions.clone();
        extensions.push(seq(&[oid("2.5.29.19"), tlv(0x01, [0xff]), octets(&tlv(0x30, constraints))]));
        let signed = seq(&[
            tlv(0xa0, integer(2)),
            integer(self.serial),
            issuer.algorithm(),
            name(self.issuer),
            seq(&[tlv(0x17, self.from), tlv(0x17, self.until)]),
            name(self.subject),
            key.info(),
            tlv(0xa3, seq(&extensions)),
        ]);
        seq(&[signed.clone(), issuer.algorithm(), bits(&issuer.sign_der(&signed))])
    }
}

/// A revocation list of certificates with the serials `revoked`.
pub(crate) fn list(issuer: &str, key: &Key, revoked: &[u64]) -> Vec<u8> {
    list_with(issuer, key, revoked, (START_TEXT.0, END_TEXT.0), &[])
}

pub(crate) fn list_with(issuer: &str, key: &Key, revoked: &[u64], dates: (&str, &str), others: &[Vec<u8>]) -> Vec<u8> {
    let entries: Vec<_> = revoked.iter().map(|serial| seq(&[integer(*serial), tlv(0x17, START_TEXT.0)])).collect();
    let signed = seq(&[
        integer(1),
        key.algorithm(),
        name(issuer),
        tlv(0x17, dates.0),
        tlv(0x17, dates.1),
        if revoked.is_empty() { vec![] } else { seq(&entries) },
        tlv(0xa0, seq(&[vec![extension("2.5.29.20", &integer(1))], others.to_vec()].concat())),
    ]);
    seq(&[signed.clone(), key.algorithm(), bits(&key.sign_der(&signed))])
}
