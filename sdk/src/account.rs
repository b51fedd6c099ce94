//! Accounts and their addresses.

use base58::{FromBase58, ToBase58};
use blake2::{Blake2b512, Digest};
use codec::{Decode, Encode};
use phala_primitives::units::SS58_PREFIX;
use std::{fmt, str::FromStr};

/// An account of the chain: an sr25519, Ed25519 or derived public key.
///
/// Displayed as an SS58 address with Phala's prefix. Parsed from an SS58 address of any chain (the account is the same
/// everywhere) or from 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Account(pub [u8; 32]);

/// The text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAccountError {
    /// Neither base58 nor hexadecimal.
    #[error("not an address: expected SS58 (like 43mf…) or 64 hexadecimal digits")]
    Format,
    /// The text is base58 but too short or too long.
    #[error("not an address: it has the wrong length")]
    Length,
    /// The checksum does not match: there is a typo.
    #[error("the address has a typo: its checksum does not match")]
    Checksum,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![SS58_PREFIX as u8];
        const { assert!(SS58_PREFIX < 64, "larger prefixes take two bytes") };
        bytes.extend_from_slice(&self.0);
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        f.pad(&bytes.to_base58())
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Account {
    type Err = ParseAccountError;

    fn from_str(text: &str) -> Result<Self, ParseAccountError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() == 64 {
            let bytes = hex::decode(digits).map_err(|_| ParseAccountError::Format)?;
            return bytes.try_into().map(Self).map_err(|_| ParseAccountError::Length);
        }
        let bytes = text.from_base58().map_err(|_| ParseAccountError::Format)?;
        let prefix = match bytes.first() {
            Some(0..=63) => 1,
            Some(64..=127) => 2,
            _ => return Err(ParseAccountError::Format),
        };
        if bytes.len() != prefix + 34 {
            return Err(ParseAccountError::Length);
        }
        let (body, sum) = bytes.split_at(prefix + 32);
        if sum != checksum(body) {
            return Err(ParseAccountError::Checksum);
        }
        body[prefix..].try_into().map(Self).map_err(|_| ParseAccountError::Length)
    }
}

impl serde::Serialize for Account {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Account {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let digest = Blake2b512::new().chain_update(b"SS58PRE").chain_update(bytes).finalize();
    [digest[0], digest[1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";

    #[test]
    fn addresses_round_trip() {
        let alice: Account = ALICE.parse().unwrap();
        assert_eq!(alice.to_string().parse(), Ok(alice));
        assert_eq!(format!("0x{ALICE}").parse(), Ok(alice));
    }

    #[test]
    fn addresses_of_other_chains_name_the_same_account() {
        let generic: Account = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY".parse().unwrap();
        assert_eq!(generic, ALICE.parse().unwrap());
    }

    #[test]
    fn typos_are_noticed() {
        let bad = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQZ";
        assert_eq!(bad.parse::<Account>(), Err(ParseAccountError::Checksum));
        for bad in ["", "0x", "alice", "1", "é"] {
            assert!(bad.parse::<Account>().is_err());
        }
    }
}
