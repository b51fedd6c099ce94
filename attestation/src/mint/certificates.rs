//! Certificates and revocation lists, signed.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::time::Duration;
use der::DateTime;

use super::{
    VALID_FROM, VALID_UNTIL,
    der::{bits, extension, integer, name, octets, oid, seq, tlv},
    keys::Key,
};
use crate::UnixSeconds;

/// When the roots are valid: from 2020 to the end of 2049, after which X.509 has another format.
const ROOT_VALIDITY: (UnixSeconds, UnixSeconds) = (1_577_836_800, 2_524_607_999);

/// As in Intel's JSON.
pub(crate) fn json_time(at: UnixSeconds) -> String {
    DateTime::from_unix_duration(Duration::from_secs(at)).unwrap().to_string()
}

/// As in X.509.
fn time(at: UnixSeconds) -> Vec<u8> {
    let digits: String = json_time(at).chars().filter(char::is_ascii_digit).collect();
    tlv(0x17, format!("{}Z", &digits[2..]))
}

/// A certificate before it is signed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub serial: u64,
    pub issuer: &'static str,
    pub subject: &'static str,
    pub from: UnixSeconds,
    pub until: UnixSeconds,
    pub authority: bool,
    pub extensions: Vec<Vec<u8>>,
}

impl Draft {
    pub fn new(issuer: &'static str, subject: &'static str) -> Self {
        let (from, until) = (VALID_FROM, VALID_UNTIL);
        Self { serial: 7, issuer, subject, from, until, authority: false, extensions: vec![] }
    }

    pub fn authority(issuer: &'static str, subject: &'static str) -> Self {
        Self { authority: true, ..Self::new(issuer, subject) }
    }

    pub fn root(name: &'static str) -> Self {
        let (from, until) = ROOT_VALIDITY;
        Self { from, until, ..Self::authority(name, name) }
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
            seq(&[time(self.from), time(self.until)]),
            name(self.subject),
            key.info(),
            tlv(0xa3, seq(&extensions)),
        ]);
        seq(&[signed.clone(), issuer.algorithm(), bits(&issuer.sign_der(&signed))])
    }
}

/// A revocation list of certificates with the serials `revoked`.
pub(crate) fn list(issuer: &str, key: &Key, revoked: &[u64]) -> Vec<u8> {
    list_with(issuer, key, revoked, (VALID_FROM, VALID_UNTIL), &[])
}

pub(crate) fn list_with(
    issuer: &str,
    key: &Key,
    revoked: &[u64],
    dates: (UnixSeconds, UnixSeconds),
    others: &[Vec<u8>],
) -> Vec<u8> {
    let entries: Vec<_> = revoked.iter().map(|serial| seq(&[integer(*serial), time(VALID_FROM)])).collect();
    let signed = seq(&[
        integer(1),
        key.algorithm(),
        name(issuer),
        time(dates.0),
        time(dates.1),
        if revoked.is_empty() { vec![] } else { seq(&entries) },
        tlv(0xa0, seq(&[vec![extension("2.5.29.20", &integer(1))], others.to_vec()].concat())),
    ]);
    seq(&[signed.clone(), key.algorithm(), bits(&key.sign_der(&signed))])
}
