//! The network's keys, as far as users need them: the key that inputs to apps are encrypted under, and which epochs' keys
//! workers still get.
//!
//! They come from the finalized chain, or from a file that `phala network keys --json` wrote, for machines that reach no node.
//! *Nothing in such a file shows that it is right*: whoever gives somebody a key of one's own in the network's place reads what
//! is encrypted under it.

use phala_app_encryption::{AppRecipient, InvalidPublicKey, Purpose, Target};
use phala_primitives::{
    AppId,
    gatekeeper::{APP_KEY_VERSION, EpochId, NetworkKey, PublicKey},
};
use serde::{Deserialize, Serialize};

use crate::chain::{Chain, ChainError};

/// The key that inputs to apps are encrypted under at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkKeys {
    /// The chain.
    #[serde(with = "hex_text")]
    pub genesis_hash: [u8; 32],
    /// The epoch whose key it is.
    pub epoch: EpochId,
    /// The oldest epoch whose key gatekeepers still give to workers.
    pub oldest_epoch: EpochId,
    /// The key.
    #[serde(with = "public_key_text")]
    pub public_key: PublicKey,
    /// The version of apps' keys.
    pub app_key_version: u32,
    /// Until which block, at least, workers get what opens inputs under it.
    pub usable_until_block: u32,
    /// About when that block is, in seconds since the Unix epoch.
    pub usable_until: u64,
}

/// Why a file with a network's keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkKeysError {
    /// Something else is in it.
    #[error("it is not what `phala network keys --json` prints: {0}")]
    Format(String),
    /// There was no key then.
    #[error(
        "the network had no keys when it was made; make it anew once `phala network keys` shows the key of an epoch"
    )]
    NoKeys,
    /// The key is none.
    #[error(transparent)]
    PublicKey(#[from] InvalidPublicKey),
    /// Its epochs cannot be.
    #[error("its oldest epoch {oldest} is after its current epoch {current}")]
    Epochs {
        /// The oldest.
        oldest: EpochId,
        /// The current one.
        current: EpochId,
    },
    /// Apps' keys have another version there.
    #[error("apps' keys have version {0} in it, and this phala knows version {APP_KEY_VERSION} only; use a newer one")]
    Version(u32),
}

impl NetworkKeys {
    /// Those of the finalized chain; `None` before gatekeepers have made the first. The key of a block that a fork can still
    /// replace may be nobody's in the end.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn read(chain: &Chain) -> Result<Option<Self>, ChainError> {
        let state = chain.finalized().await?;
        let Some(epoch) = state.current_epoch().await? else { return Ok(None) };
        let sharing = state.sharing(NetworkKey::Epoch(epoch)).await?.ok_or(ChainError::Malformed("epoch"))?;
        // Should the next epoch begin in the next block.
        let (grace, block_ms) = (state.grace_period()?, state.block_ms()?);
        let left_ms = u64::from(grace).saturating_mul(block_ms);
        Ok(Some(Self {
            genesis_hash: chain.genesis_hash(),
            epoch,
            oldest_epoch: state.oldest_epoch().await?,
            public_key: sharing.public_key,
            app_key_version: APP_KEY_VERSION,
            usable_until_block: state.block().number.saturating_add(grace),
            usable_until: state.timestamp_ms().await?.saturating_add(left_ms) / 1000,
        }))
    }

    /// Those in the JSON that `phala network keys --json` printed. The caller answers for where it comes from.
    ///
    /// # Errors
    /// See [`NetworkKeysError`].
    pub fn from_json(json: &[u8]) -> Result<Self, NetworkKeysError> {
        #[derive(Deserialize)]
        struct File {
            // With a function of its own, a field must be there.
            #[serde(deserialize_with = "Option::deserialize")]
            input_key: Option<NetworkKeys>,
        }
        let file: File = serde_json::from_slice(json).map_err(|error| NetworkKeysError::Format(error.to_string()))?;
        let keys = file.input_key.ok_or(NetworkKeysError::NoKeys)?;
        if keys.app_key_version != APP_KEY_VERSION {
            return Err(NetworkKeysError::Version(keys.app_key_version));
        }
        if keys.oldest_epoch > keys.epoch {
            return Err(NetworkKeysError::Epochs { oldest: keys.oldest_epoch, current: keys.epoch });
        }
        // Whatever app it is for.
        keys.recipient(Purpose::File, AppId([0; 32]))?;
        Ok(keys)
    }

    /// Who to encrypt to, so that workers that have a job of the app can read it.
    ///
    /// # Errors
    /// When the key is none.
    pub fn recipient(&self, purpose: Purpose, app: AppId) -> Result<AppRecipient, InvalidPublicKey> {
        let target = Target { purpose, epoch: self.epoch, app, version: self.app_key_version };
        AppRecipient::new(target, &self.public_key)
    }

    /// Whether workers get keys of an epoch.
    pub fn gives(&self, epoch: EpochId) -> bool {
        (self.oldest_epoch..=self.epoch).contains(&epoch)
    }
}

/// Bytes as lower-case hexadecimal with `0x`.
mod hex_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0x{}", hex::encode(bytes)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(&text), &mut bytes)
            .map_err(|_| D::Error::custom(format_args!("expected 0x and {} hexadecimal digits", 2 * N)))?;
        Ok(bytes)
    }
}

/// The same of a public key.
mod public_key_text {
    use phala_primitives::gatekeeper::PublicKey;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
        super::hex_text::serialize(&key.0, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        super::hex_text::deserialize(deserializer).map(PublicKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::testing::network_keys;
    use serde_json::{Value, json};

    fn file() -> Value {
        json!({ "block": 7, "keys": [], "input_key": network_keys() })
    }

    fn read(file: &Value) -> Result<NetworkKeys, NetworkKeysError> {
        NetworkKeys::from_json(file.to_string().as_bytes())
    }

    #[test]
    fn keys_go_through_a_file() {
        let file = file();
        assert_eq!(read(&file), Ok(network_keys()));
        let public_key = file["input_key"]["public_key"].as_str().unwrap();
        assert_eq!(public_key, network_keys().public_key.to_string());
        assert_eq!(file["input_key"]["genesis_hash"], format!("0x{}", "01".repeat(32)));
        assert_eq!(file["input_key"]["epoch"], 4);
        let target = read(&file).unwrap().recipient(Purpose::File, AppId([7; 32])).unwrap().target();
        assert_eq!(target, Target { purpose: Purpose::File, epoch: 4, app: AppId([7; 32]), version: 0 });
    }

    #[test]
    fn malformed_files_are_refused_each_with_its_reason() {
        let with = |field: &str, value: Value| {
            let mut file = file();
            file["input_key"][field] = value;
            read(&file)
        };
        for text in ["", "[]", "{}", "age-encryption.org/v1", r#"{"keys":[]}"#, r#"{"input_key":7}"#] {
            let refused = NetworkKeys::from_json(text.as_bytes());
            assert!(matches!(refused, Err(NetworkKeysError::Format(_))), "{text}: {refused:?}");
        }
        assert_eq!(read(&json!({ "input_key": null })), Err(NetworkKeysError::NoKeys));
        for (field, value) in [
            ("genesis_hash", json!("0x01")),
            ("genesis_hash", json!(null)),
            ("epoch", json!(-1)),
            ("epoch", json!("4")),
            ("epoch", json!(4_294_967_296_u64)),
            ("public_key", json!("0x")),
            ("public_key", json!("zz".repeat(96))),
            ("public_key", json!("00".repeat(97))),
            ("usable_until", json!("soon")),
        ] {
            let refused = with(field, value.clone());
            assert!(matches!(refused, Err(NetworkKeysError::Format(_))), "{field} {value}: {refused:?}");
        }
        for no_point in ["00".repeat(96), "ff".repeat(96), format!("c0{}", "00".repeat(95))] {
            let refused = with("public_key", json!(no_point));
            assert_eq!(refused, Err(NetworkKeysError::PublicKey(InvalidPublicKey)));
        }
        assert_eq!(with("oldest_epoch", json!(5)), Err(NetworkKeysError::Epochs { oldest: 5, current: 4 }));
        assert_eq!(with("app_key_version", json!(1)), Err(NetworkKeysError::Version(1)));
        for field in ["genesis_hash", "epoch", "oldest_epoch", "public_key", "app_key_version", "usable_until_block"] {
            let mut file = file();
            file["input_key"].as_object_mut().unwrap().remove(field);
            assert!(matches!(read(&file), Err(NetworkKeysError::Format(_))), "without {field}");
        }
    }

    #[test]
    fn keys_are_given_from_the_oldest_epoch_to_the_current_one() {
        let keys = NetworkKeys { oldest_epoch: 2, epoch: 4, ..network_keys() };
        assert_eq!([1, 2, 4, 5].map(|epoch| keys.gives(epoch)), [false, true, true, false]);
    }
}
