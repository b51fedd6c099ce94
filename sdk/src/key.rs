//! Keys of accounts: secret URIs, mnemonics and keystore files.
//!
//! Keystore files are the JSON files that polkadot-js and the wallets built on it export: a key encrypted with a password
//! (scrypt, XSalsa20-Poly1305). Ours open there and theirs open here.

use base64::{Engine, prelude::BASE64_STANDARD};
use crypto_secretbox::{KeyInit, XSalsa20Poly1305, aead::Aead};
use hmac::{Hmac, Mac};
use schnorrkel::{
    ExpansionMode, MiniSecretKey, SecretKey,
    derive::{ChainCode, Derivation},
};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha512;
use std::{fmt, str::FromStr};
use subxt_signer::{DeriveJunction, SecretUri, bip39::Mnemonic, sr25519::Keypair};
use zeroize::{Zeroize, Zeroizing};

use crate::Account;

/// Why a key could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no secret URI.
    #[error("not a key: expected a mnemonic, 0x and a 64-digit seed, or a development name such as //Alice")]
    Uri,
    /// The file is no keystore.
    #[error("not a keystore file (the JSON that polkadot-js and `phala key` write): {0}")]
    Keystore(String),
    /// Wrong password, or the file was changed.
    #[error("wrong password, or the keystore file is damaged")]
    Password,
    /// No randomness.
    #[error("the system gave no randomness: {0}")]
    Randomness(String),
}

/// An sr25519 key that signs transactions. Prints as its account only.
#[derive(Clone)]
pub struct Signer {
    pair: Keypair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.account())
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.account(), f)
    }
}

impl Signer {
    /// The key of a secret URI: a mnemonic or `0x` seed, with derivations (`//hard`, `/soft`) and a password
    /// (`///password`). Derivations alone mean the public development mnemonic: `//Alice`.
    ///
    /// # Errors
    /// [`KeyError::Uri`].
    pub fn from_uri(uri: &str) -> Result<Self, KeyError> {
        if uri.trim().is_empty() {
            return Err(KeyError::Uri);
        }
        let uri = SecretUri::from_str(uri.trim()).map_err(|_| KeyError::Uri)?;
        Keypair::from_uri(&uri).map(|pair| Self { pair }).map_err(|_| KeyError::Uri)
    }

    /// The key in a keystore file's text.
    ///
    /// # Errors
    /// [`KeyError::Keystore`] and [`KeyError::Password`].
    pub fn from_keystore_json(json: &str, password: &str) -> Result<Self, KeyError> {
        keystore_account(json)?;
        subxt_signer::polkadot_js_compat::decrypt_json(json, password).map(|pair| Self { pair }).map_err(|error| {
            use subxt_signer::polkadot_js_compat::Error;
            match error {
                Error::Secretbox(_) | Error::InvalidKeys => KeyError::Password,
                other => KeyError::Keystore(other.to_string()),
            }
        })
    }

    /// The account that signs.
    pub fn account(&self) -> Account {
        Account(self.pair.public_key().0)
    }

    pub(crate) fn pair(&self) -> &Keypair {
        &self.pair
    }
}

/// A new mnemonic of twelve words.
///
/// # Errors
/// [`KeyError::Randomness`].
pub fn generate_mnemonic() -> Result<SecretString, KeyError> {
    let mut entropy = Zeroizing::new([0; 16]);
    getrandom::fill(&mut *entropy).map_err(|error| KeyError::Randomness(error.to_string()))?;
    let mnemonic = Mnemonic::from_entropy(&*entropy).expect("16 bytes are a valid entropy");
    Ok(mnemonic.to_string().into())
}

/// The text of a keystore file that holds the key of `uri`, encrypted with `password`.
///
/// # Errors
/// [`KeyError::Uri`] and [`KeyError::Randomness`].
pub fn encrypt_keystore(uri: &str, name: &str, password: &str) -> Result<String, KeyError> {
    // 2¹⁷ rounds and 128 MiB: the strongest setting that polkadot-js reads.
    const LOG_N: u8 = 17;
    const P: u32 = 1;
    const R: u32 = 8;
    let secret = expand(uri)?;
    let account = Signer::from_uri(uri)?.account();
    let mut random = [0; 32 + 24];
    getrandom::fill(&mut random).map_err(|error| KeyError::Randomness(error.to_string()))?;
    let (salt, nonce) = random.split_at(32);

    let mut plain = Zeroizing::new(Vec::with_capacity(117));
    plain.extend_from_slice(&[48, 83, 2, 1, 1, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32]);
    plain.extend_from_slice(&*Zeroizing::new(secret.to_ed25519_bytes()));
    plain.extend_from_slice(&[161, 35, 3, 33, 0]);
    plain.extend_from_slice(&account.0);

    let mut key = Zeroizing::new([0; 32]);
    let params = scrypt::Params::new(LOG_N, R, P, 32).expect("the parameters are valid");
    scrypt::scrypt(password.as_bytes(), salt, &params, &mut *key).expect("32 bytes are a valid length");
    let cipher = XSalsa20Poly1305::new((&*key).into());
    let sealed = cipher.encrypt(nonce.into(), plain.as_slice()).expect("117 bytes can be encrypted");

    let mut encoded = salt.to_vec();
    for parameter in [1u32 << LOG_N, P, R] {
        encoded.extend_from_slice(&parameter.to_le_bytes());
    }
    encoded.extend_from_slice(nonce);
    encoded.extend_from_slice(&sealed);
    let json = serde_json::json!({
        "encoded": BASE64_STANDARD.encode(encoded),
        "encoding": { "content": ["pkcs8", "sr25519"], "type": ["scrypt", "xsalsa20-poly1305"], "version": "3" },
        "address": account,
        "meta": { "name": name },
    });
    Ok(serde_json::to_string_pretty(&json).expect("the value is plain JSON"))
}

/// The account of a keystore file's text, which is not encrypted.
///
/// # Errors
/// [`KeyError::Keystore`].
pub fn keystore_account(json: &str) -> Result<Account, KeyError> {
    #[derive(serde::Deserialize)]
    struct Keystore {
        encoded: String,
        address: Account,
    }
    let keystore: Keystore = serde_json::from_str(json).map_err(|error| KeyError::Keystore(error.to_string()))?;
    // The decryption in `subxt-signer` slices the first 68 bytes off without looking.
    match BASE64_STANDARD.decode(keystore.encoded) {
        Ok(bytes) if bytes.len() > 68 => Ok(keystore.address),
        _ => Err(KeyError::Keystore("its encrypted part is malformed".into())),
    }
}

/// The secret key of a URI, as `Keypair::from_uri` derives it, which keeps it to itself.
fn expand(uri: &str) -> Result<SecretKey, KeyError> {
    let uri = SecretUri::from_str(uri.trim()).map_err(|_| KeyError::Uri)?;
    let phrase = uri.phrase.expose_secret();
    let mut seed = Zeroizing::new([0; 32]);
    if let Some(digits) = phrase.strip_prefix("0x") {
        hex::decode_to_slice(digits, &mut *seed).map_err(|_| KeyError::Uri)?;
    } else {
        let mnemonic = Mnemonic::from_str(phrase).map_err(|_| KeyError::Uri)?;
        let (entropy, length) = mnemonic.to_entropy_array();
        let password = uri.password.as_ref().map_or("", |password| password.expose_secret());
        seed.copy_from_slice(&stretch(&entropy[..length], password)[..32]);
    }
    let root = MiniSecretKey::from_bytes(&*seed).map_err(|_| KeyError::Uri)?.expand(ExpansionMode::Ed25519);
    Ok(uri.junctions.iter().fold(root, |secret, junction| match junction {
        DeriveJunction::Soft(code) => secret.derived_key_simple(ChainCode(*code), []).0,
        DeriveJunction::Hard(code) => {
            let (mini, _) = secret.hard_derive_mini_secret_key(Some(ChainCode(*code)), b"");
            mini.expand(ExpansionMode::Ed25519)
        }
    }))
}

/// The seed of a mnemonic's entropy: PBKDF2-HMAC-SHA-512 with 2048 rounds, as in `substrate-bip39`. 64 bytes are one block.
fn stretch(entropy: &[u8], password: &str) -> Zeroizing<[u8; 64]> {
    let hmac = <Hmac<Sha512> as hmac::KeyInit>::new_from_slice(entropy).expect("HMAC takes keys of any length");
    let first = hmac.clone().chain_update(b"mnemonic").chain_update(password).chain_update([0, 0, 0, 1]);
    let mut round: [u8; 64] = first.finalize().into_bytes().into();
    let mut sum = Zeroizing::new(round);
    for _ in 1..2048 {
        round = hmac.clone().chain_update(round).finalize().into_bytes().into();
        sum.iter_mut().zip(round).for_each(|(sum, byte)| *sum ^= byte);
    }
    round.zeroize();
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_keys_are_the_well_known_ones() {
        let alice = Signer::from_uri("//Alice").unwrap().account();
        assert_eq!(alice, "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY".parse().unwrap());
        assert!(Signer::from_uri("Alice in Wonderland").is_err());
        assert!(Signer::from_uri(" ").is_err());
    }

    #[test]
    fn keystores_round_trip() {
        let mnemonic = generate_mnemonic().unwrap();
        let seed = format!("0x{}", "5a".repeat(32));
        for uri in [&format!("{}//worker/1///pass", mnemonic.expose_secret()), "//Alice//stash", &seed] {
            let json = encrypt_keystore(uri, "test", "secret").unwrap();
            let account = Signer::from_uri(uri).unwrap().account();
            assert_eq!(keystore_account(&json).unwrap(), account);
            assert_eq!(Signer::from_keystore_json(&json, "secret").unwrap().account(), account);
            assert!(matches!(Signer::from_keystore_json(&json, "Secret"), Err(KeyError::Password)));
        }
    }

    #[test]
    fn keystores_of_polkadot_js_open() {
        let json = r#"{"encoded":"J2FFcPHAY11Pmq/38eqbwfUv9OPitYJs+oYgahBvlagAAAIAAQAAAAgAAAB5o0DwXCWDblsH+9pc++RaBO4fpHBHzUirHFHFE9yS3sDzgAIQjhgvPqJ3ODrMR2gy7vk0VZg1fyirIvmsrfjGbWnOI8YU0joX0tYytroyWaykFKtZJMmE0pNKcJ5dJmDxscbK53Ac+7ld2UdH07yKPXxmPuYNNw3vKx8cg9CdQgifKfzQxHnC+EUpOoHPLwGlHsFEYtIlQtngqd9n",
            "encoding":{"content":["pkcs8","sr25519"],"type":["scrypt","xsalsa20-poly1305"],"version":"3"},
            "address":"5CfWTDh7XxJ2yrayqQ2aJnnZAH5v5XaF1oJFfH5QCpbfP9v8","meta":{"name":"Bob (Dev)"}}"#;
        assert_eq!(Signer::from_keystore_json(json, "whoisbob").unwrap().account(), keystore_account(json).unwrap());
    }

    #[test]
    fn damaged_keystores_are_refused_without_panic() {
        for bad in ["", "{}", r#"{"encoded":"AAAA","address":"5CfWTDh7XxJ2yrayqQ2aJnnZAH5v5XaF1oJFfH5QCpbfP9v8"}"#] {
            assert!(matches!(Signer::from_keystore_json(bad, ""), Err(KeyError::Keystore(_))));
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let signer = Signer::from_uri("//Alice").unwrap();
        assert_eq!(format!("{signer:?}"), format!("Signer({})", signer.account()));
    }
}
