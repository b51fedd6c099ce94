//! Who makes TEEs.

use codec::{Decode, DecodeWithMemTracking, Encode, Error, Input, MaxEncodedLen};
use core::{fmt, str::FromStr};
use scale_info::TypeInfo;

/// Who made the TEE.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Vendor {
    /// Intel: SGX and TDX.
    #[codec(index = 1)]
    Intel,
    /// AMD: SEV-SNP.
    #[codec(index = 2)]
    Amd,
    /// Nobody: there is no TEE, for development only. What bears one name breaks together, as what a real vendor made does.
    #[codec(index = 255)]
    Simulated(VendorName),
}

impl Vendor {
    /// Whether there is no TEE.
    pub fn is_simulated(self) -> bool {
        matches!(self, Self::Simulated(_))
    }

    /// The simulated vendor that imitates this one, under the same name.
    pub fn imitated(self) -> Self {
        match self {
            Self::Intel => Self::Simulated(VendorName(*b"intel\0\0\0\0\0\0\0\0\0\0\0")),
            Self::Amd => Self::Simulated(VendorName(*b"amd\0\0\0\0\0\0\0\0\0\0\0\0\0")),
            Self::Simulated(_) => self,
        }
    }
}

/// As `intel`, `amd`, or `simulated:NAME`.
impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intel => f.write_str("intel"),
            Self::Amd => f.write_str("amd"),
            Self::Simulated(name) => write!(f, "simulated:{name}"),
        }
    }
}

/// The name of a simulated vendor: 1 to 16 of the characters a to z, 0 to 9 and `-`. On the wire 16 bytes, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, MaxEncodedLen, TypeInfo)]
pub struct VendorName([u8; 16]);

impl VendorName {
    /// Of platforms that nobody named.
    pub const DEVELOPMENT: Self = Self(*b"development\0\0\0\0\0");

    fn checked(padded: [u8; 16]) -> Result<Self, ParseVendorNameError> {
        let length = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
        let (name, padding) = padded.split_at(length);
        let is_allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_name = !name.is_empty() && name.iter().all(is_allowed) && padding.iter().all(|byte| *byte == 0);
        is_name.then_some(Self(padded)).ok_or(ParseVendorNameError)
    }
}

impl Default for VendorName {
    fn default() -> Self {
        Self::DEVELOPMENT
    }
}

impl Decode for VendorName {
    fn decode<I: Input>(input: &mut I) -> Result<Self, Error> {
        Self::checked(Decode::decode(input)?).map_err(|_| Error::from("malformed name of a simulated vendor"))
    }
}

impl DecodeWithMemTracking for VendorName {}

impl fmt::Display for VendorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take_while(|byte| **byte != 0).try_for_each(|byte| fmt::Write::write_char(f, char::from(*byte)))
    }
}

impl fmt::Debug for VendorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VendorName {
    type Err = ParseVendorNameError;

    fn from_str(name: &str) -> Result<Self, ParseVendorNameError> {
        let mut padded = [0; 16];
        padded.get_mut(..name.len()).ok_or(ParseVendorNameError)?.copy_from_slice(name.as_bytes());
        // A zero would end it.
        if name.contains('\0') { Err(ParseVendorNameError) } else { Self::checked(padded) }
    }
}

/// The text is no [`VendorName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a simulated vendor is 1 to 16 of the characters a to z, 0 to 9 and -")]
pub struct ParseVendorNameError;

impl FromStr for Vendor {
    type Err = ParseVendorError;

    fn from_str(text: &str) -> Result<Self, ParseVendorError> {
        match text {
            "intel" => Ok(Self::Intel),
            "amd" => Ok(Self::Amd),
            // In records of jobs from before simulated vendors had names.
            "simulated" => Ok(Self::Simulated(VendorName::DEVELOPMENT)),
            _ => {
                let name = text.strip_prefix("simulated:").and_then(|name| name.parse().ok());
                name.map(Self::Simulated).ok_or(ParseVendorError)
            }
        }
    }
}

/// The text names no [`Vendor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a vendor is intel, amd, or simulated: and a name")]
pub struct ParseVendorError;

#[cfg(feature = "files")]
impl serde::Serialize for Vendor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "files")]
impl<'de> serde::Deserialize<'de> for Vendor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = alloc::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in ["a", "vendor-3", "sixteen-letters-"] {
            let vendor = Vendor::Simulated(name.parse().unwrap());
            assert_eq!(vendor.to_string(), alloc::format!("simulated:{name}"));
            assert_eq!(vendor.to_string().parse(), Ok(vendor));
            assert_eq!(Vendor::decode(&mut &vendor.encode()[..]), Ok(vendor));
        }
        assert_eq!(VendorName::DEVELOPMENT.to_string().parse(), Ok(VendorName::DEVELOPMENT));
        for text in ["", "A", "a b", "a\0", "\0", "seventeen-letters"] {
            assert_eq!(text.parse::<VendorName>(), Err(ParseVendorNameError), "{text}");
        }
    }

    #[test]
    fn who_is_imitated_is_not_who_imitates() {
        assert_eq!(Vendor::Intel.imitated().to_string(), "simulated:intel");
        assert_eq!(Vendor::Amd.imitated().to_string(), "simulated:amd");
        for vendor in [Vendor::Intel, Vendor::Amd] {
            assert!(vendor.imitated().is_simulated() && !vendor.is_simulated());
            assert_eq!(Vendor::decode(&mut &vendor.imitated().encode()[..]), Ok(vendor.imitated()));
        }
    }

    #[test]
    fn vendors_are_read_from_text() {
        assert_eq!(("intel".parse(), "amd".parse()), (Ok(Vendor::Intel), Ok(Vendor::Amd)));
        assert_eq!("simulated".parse(), Ok(Vendor::Simulated(VendorName::DEVELOPMENT)));
        for text in ["", "Intel", "simulated:", "simulated:A"] {
            assert_eq!(text.parse::<Vendor>(), Err(ParseVendorError), "{text}");
        }
    }

    #[test]
    fn names_that_are_none_are_not_decoded() {
        for bytes in [[0; 16], *b"A\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", *b"a\0b\0\0\0\0\0\0\0\0\0\0\0\0\0", [0xff; 16]] {
            assert!(VendorName::decode(&mut &bytes[..]).is_err());
        }
    }
}
