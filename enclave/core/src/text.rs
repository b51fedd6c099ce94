//! What the enclave says in plain words: lines for the host's log, and refusals.
//!
//! A [`Text`] is put together from parts that are [`Public`]: constants of the program, numbers, hashes of public things,
//! ids, and errors made of these. A `String`, or text that is not a constant, does not compile. So no text that leaves
//! holds a user's data, and what may be in one is the list of implementations below, and of those for a duty's own types.

use phala_primitives::{AppId, GatekeeperId, Hash, WorkerId};
use phala_protocol::{Pause, Refusal};
use std::fmt::{self, Write as _};

use crate::{
    EvidenceError, UnsealError,
    chain::{ChainError, SpecError, StartError},
};

/// The most bytes of a text.
const MAX_BYTES: usize = 4096;

/// What may be part of a [`Text`]: what is public whatever its value.
pub trait Public: fmt::Display {}

impl Public for &'static str {}
impl Public for u32 {}
impl Public for u64 {}
impl Public for usize {}
impl Public for WorkerId {}
impl Public for GatekeeperId {}
impl Public for AppId {}
impl Public for Hex {}
/// These are fixed sentences with numbers.
impl Public for ChainError {}
impl Public for Pause {}
impl Public for SpecError {}
impl Public for UnsealError {}
/// The host's own words, or made of a [`Text`].
impl Public for &Refusal {}
/// The words of what never gets anything of a user's: the light client, the TEE.
impl Public for &StartError {}
impl Public for &EvidenceError {}

/// A hash of something public, in hexadecimal digits.
pub struct Hex(pub Hash);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Words that may leave the enclave.
#[derive(Default)]
pub struct Text(String);

impl Text {
    /// Adds a part at the end.
    pub fn and(mut self, part: impl Public) -> Self {
        // A `String` takes everything.
        let _ = write!(self.0, "{part}");
        self
    }

    /// What smoldot says. It gets the chain's data and its peers' bytes, and nothing of a user's.
    pub fn of_the_light_client(message: impl fmt::Display) -> Self {
        Self(format!("light client: {message}"))
    }

    /// The text, of a bounded length.
    pub fn into_string(self) -> String {
        let mut text = self.0;
        truncate(&mut text, MAX_BYTES);
        text
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

/// Cuts `text` to at most `bytes`.
pub fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
    }
}

/// A [`Text`] of its parts.
#[macro_export]
macro_rules! text {
    ($($part:expr),+ $(,)?) => {
        $crate::text::Text::default()$(.and($part))+
    };
}
pub use crate::text;

#[cfg(test)]
mod tests {
    use super::*;

    /// Does not compile when `String` is [`Public`].
    #[allow(dead_code, reason = "it is enough that it compiles")]
    fn text_of_unknown_origin_is_not_public() {
        trait AmbiguousIfPublic<A> {
            fn unique() {}
        }
        struct Public1;
        impl<T> AmbiguousIfPublic<()> for T {}
        impl<T: Public> AmbiguousIfPublic<Public1> for T {}
        let _ = <String as AmbiguousIfPublic<_>>::unique;
    }

    #[test]
    fn parts_become_one_text() {
        let text = text!("job ", 7u64, " is for ", AppId([0xab; 32]), ", block ", Hex([1; 32]));
        let expected = format!("job 7 is for 0x{}, block {}", "ab".repeat(32), "01".repeat(32));
        assert_eq!(text.into_string(), expected);
    }

    #[test]
    fn texts_are_bounded_at_whole_characters() {
        let text = Text::of_the_light_client("é".repeat(MAX_BYTES)).into_string();
        assert!((MAX_BYTES - 1..=MAX_BYTES).contains(&text.len()));
    }
}
