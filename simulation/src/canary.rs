//! What must not leave an enclave, looked for in every byte that does.

use base64::{
    Engine,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::general_purpose::{GeneralPurpose, NO_PAD},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// The shortest secret: a shorter one would turn up by chance.
const LEAST_BYTES: usize = 12;

/// Secrets, and what each looks like.
#[derive(Default)]
pub struct Canary(Mutex<Needles>);

/// What is looked for, by its first eight bytes: how long a search takes does not depend on how many there are.
struct Needles {
    /// Which pairs of bytes one begins with.
    beginnings: Vec<bool>,
    needles: BTreeMap<[u8; 8], Vec<(String, Vec<u8>)>>,
}

impl Default for Needles {
    fn default() -> Self {
        Self { beginnings: vec![false; 1 << 16], needles: BTreeMap::new() }
    }
}

impl Canary {
    /// From now on `secret` must not be seen: as it is, in hexadecimal of either case, or in base64 of either alphabet at
    /// any offset.
    ///
    /// # Panics
    /// When it is so short that it could turn up by chance.
    pub fn add(&self, what: &str, secret: &[u8]) {
        assert!(secret.len() >= LEAST_BYTES, "a secret of {} bytes is too short to be looked for", secret.len());
        let mut forms = vec![secret.to_vec(), hex::encode(secret).into_bytes(), hex::encode_upper(secret).into_bytes()];
        for alphabet in [&STANDARD, &URL_SAFE] {
            forms.extend((0..3).map(|shift| base64_at(alphabet, shift, secret)));
        }
        let mut needles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for form in forms {
            let beginning: [u8; 8] = *form.first_chunk().expect("every form is longer than that");
            needles.beginnings[usize::from(u16::from_le_bytes([beginning[0], beginning[1]]))] = true;
            let alike = needles.needles.entry(beginning).or_default();
            if !alike.iter().any(|(_, needle)| *needle == form) {
                alike.push((what.to_owned(), form));
            }
        }
    }

    /// Which secret is in `bytes`, if any.
    pub fn find(&self, bytes: &[u8]) -> Option<String> {
        let needles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |from: usize| -> Option<&String> {
            let rest = bytes.get(from..)?;
            let alike = needles.needles.get(rest.first_chunk::<8>()?)?;
            alike.iter().find(|(_, needle)| rest.starts_with(needle)).map(|(what, _)| what)
        };
        let begins = |pair: &[u8]| needles.beginnings[usize::from(u16::from_le_bytes([pair[0], pair[1]]))];
        let mut places = bytes.windows(2).enumerate().filter(|(_, pair)| begins(pair));
        places.find_map(|(from, _)| at(from)).cloned()
    }
}

/// The digits that depend on `secret` alone, where it begins `shift` bytes after a group of three.
fn base64_at(alphabet: &Alphabet, shift: usize, secret: &[u8]) -> Vec<u8> {
    let shifted = [&[0; 2][..shift], secret].concat();
    let digits = GeneralPurpose::new(alphabet, NO_PAD).encode(&shifted).into_bytes();
    digits[(shift * 8).div_ceil(6)..shifted.len() * 8 / 6].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_dress() {
        let canary = Canary::default();
        canary.add("the secret", b"0123456789abcdef!?");
        let mut dresses = vec![b"0123456789abcdef!?".to_vec(), hex::encode("0123456789abcdef!?").into_bytes()];
        for before in ["", "x", "xy", "xyz"] {
            let text = format!("{before}0123456789abcdef!?and more");
            dresses.push(GeneralPurpose::new(&STANDARD, NO_PAD).encode(text).into_bytes());
        }
        for dress in dresses {
            let around = [b"before ".as_slice(), &dress, b" behind"].concat();
            assert_eq!(canary.find(&around).as_deref(), Some("the secret"), "{}", String::from_utf8_lossy(&around));
        }
        assert_eq!(canary.find(b"0123456789abcdef and something else"), None);
    }
}
