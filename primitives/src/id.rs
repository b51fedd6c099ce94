use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::fmt;
use scale_info::TypeInfo;
use sha2::{Digest, Sha256};

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
                let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
                let mut bytes = [0; 32];
                if digits.len() != 64 {
                    return Err(ParseIdError);
                }
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let pair = core::str::from_utf8(pair).map_err(|_| ParseIdError)?;
                    if pair.starts_with('+') {
                        return Err(ParseIdError);
                    }
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| ParseIdError)?;
                }
                Ok(Self(bytes))
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
    /// A published app; see [`AppId::new`].
    AppId
}

impl AppId {
    /// SHA-256 over a domain separator, the publisher's account, the code hash and the manifest hash.
    pub fn new(publisher: &Hash, code_hash: &Hash, manifest_hash: &Hash) -> Self {
        let digest = Sha256::new()
            .chain_update(b"phala/app/v1")
            .chain_update(publisher)
            .chain_update(code_hash)
            .chain_update(manifest_hash);
        Self(digest.finalize().into())
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits, with or without 0x")]
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
}
