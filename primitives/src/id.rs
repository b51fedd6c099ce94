use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::fmt;
use scale_info::TypeInfo;
use sha2::{Digest, Sha256};

use crate::job::Visibility;

/// A SHA-256 digest, a block hash or an account, as the field's name says.
pub type Hash = [u8; 32];

/// The number of a job: 0, 1, 2, … in order of submission.
pub type JobId = u64;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
        pub struct $name(pub [u8; 32]);

        /// Lower-case hexadecimal with `0x`.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        /// The inverse of `Display`; the `0x` may be left out.
        impl core::str::FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                hash_from_hex(text.strip_prefix("0x").unwrap_or(text)).map(Self)
            }
        }

        #[cfg(feature = "std")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        #[cfg(feature = "std")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// A worker: the Ed25519 public key that its enclave signs with.
    WorkerId
}

id! {
    /// A gatekeeper: the Ed25519 public key that its enclave signs with.
    GatekeeperId
}

id! {
    /// A published app; see [`AppId::new`].
    AppId
}

impl AppId {
    /// SHA-256 over the SCALE encoding of a domain separator, the publisher's account, and what it publishes: the hash and
    /// length in bytes of the program, the manifest's hash, and who may run it.
    pub fn new(
        publisher: &Hash,
        code_hash: &Hash,
        code_bytes: u32,
        manifest_hash: &Hash,
        visibility: Visibility,
    ) -> Self {
        let parts = (b"phala/app/v2", publisher, code_hash, code_bytes, manifest_hash, visibility);
        Self(Sha256::digest(parts.encode()).into())
    }
}

/// Reads 32 bytes from 64 hexadecimal digits of either case, without `0x`.
///
/// # Errors
/// When the text is anything else.
pub fn hash_from_hex(digits: &str) -> Result<Hash, ParseIdError> {
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(ParseIdError);
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let pair = core::str::from_utf8(pair).map_err(|_| ParseIdError)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| ParseIdError)?;
    }
    Ok(bytes)
}

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct ParseIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_through_text() {
        let id = WorkerId([0xa5; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().trim_start_matches("0x").parse(), Ok(id));
        for bad in ["", "0x", "0xzz", &"+1".repeat(32), &"é".repeat(32), &"0".repeat(65)] {
            assert_eq!(bad.parse::<WorkerId>(), Err(ParseIdError));
        }
    }

    #[test]
    fn hashes_are_read_from_digits_alone() {
        assert_eq!(hash_from_hex(&"aB".repeat(32)), Ok([0xab; 32]));
        for bad in ["", &"0x".repeat(32), &format!("0x{}", "0".repeat(64)), &"-1".repeat(32), &"0".repeat(63)] {
            assert_eq!(hash_from_hex(bad), Err(ParseIdError));
        }
    }

    #[test]
    fn an_app_is_all_that_was_published() {
        let id = AppId::new(&[1; 32], &[2; 32], 3, &[4; 32], Visibility::Private);
        assert_eq!(id.to_string(), "0x1ecf11de58c80e3cc6c6fe3165bb793a69f936981bca1b90ef770161b98426ac");
        for other in [
            AppId::new(&[0; 32], &[2; 32], 3, &[4; 32], Visibility::Private),
            AppId::new(&[1; 32], &[0; 32], 3, &[4; 32], Visibility::Private),
            AppId::new(&[1; 32], &[2; 32], 0, &[4; 32], Visibility::Private),
            AppId::new(&[1; 32], &[2; 32], 3, &[0; 32], Visibility::Private),
            AppId::new(&[1; 32], &[2; 32], 3, &[4; 32], Visibility::Public),
        ] {
            assert_ne!(other, id);
        }
    }
}
