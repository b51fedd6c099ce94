//! The chain specification that the host gives.

use serde_json::{Map, Value};

/// The most boot nodes.
const MAX_BOOT_NODES: usize = 64;

/// The most values in a specification, which would take a hundred times the memory of their text. Its length is bounded
/// by the frame that it comes in, its depth by the parser: 128.
const MAX_VALUES: usize = 100_000;

/// A specification reduced to what identifies the chain and how to reach it. Without any checkpoint: finality is verified from
/// genesis, so that the genesis hash, which users and the chain compare, decides which chain this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    json: String,
}

/// Why a specification was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not a JSON object.
    #[error("the chain specification is not a JSON object")]
    Syntax,
    /// It has too many values.
    #[error("the chain specification has more than {MAX_VALUES} values")]
    TooLarge,
    /// A needed part is missing.
    #[error("the chain specification lacks `{0}`")]
    Missing(&'static str),
    /// It describes a parachain.
    #[error("parachains are not supported by this enclave")]
    Parachain,
}

impl ChainSpec {
    /// Takes from `specification` (raw JSON, as nodes export it) what is needed, and drops the rest.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn new(specification: &str) -> Result<Self, SpecError> {
        // Each value but the first follows one of these; some of them may stand in strings, where they are few.
        if specification.bytes().filter(|byte| b",[{".contains(byte)).count() > MAX_VALUES {
            return Err(SpecError::TooLarge);
        }
        let Ok(Value::Object(mut full)) = serde_json::from_str(specification) else {
            return Err(SpecError::Syntax);
        };
        for field in ["relayChain", "relay_chain", "paraId", "para_id"] {
            if full.get(field).is_some_and(|value| !value.is_null()) {
                return Err(SpecError::Parachain);
            }
        }
        let mut spec = Map::new();
        for field in ["name", "id", "genesis"] {
            spec.insert(field.into(), full.remove(field).ok_or(SpecError::Missing(field))?);
        }
        if let Some(fork_id) = full.remove("forkId").filter(|value| !value.is_null()) {
            spec.insert("forkId".into(), fork_id);
        }
        let Some(Value::Array(mut boot_nodes)) = full.remove("bootNodes") else {
            return Err(SpecError::Missing("bootNodes"));
        };
        boot_nodes.truncate(MAX_BOOT_NODES);
        spec.insert("bootNodes".into(), Value::Array(boot_nodes));
        Ok(Self { json: Value::Object(spec).to_string() })
    }

    /// Whether `other` describes the same chain, however it is reached.
    pub fn same_chain(&self, other: &Self) -> bool {
        let identity = |spec: &Self| {
            let json: Value = serde_json::from_str(&spec.json).ok()?;
            Some((json.get("genesis")?.clone(), json.get("forkId").cloned()))
        };
        identity(self).is_some() && identity(self) == identity(other)
    }

    /// The reduced specification.
    pub fn json(&self) -> &str {
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_and_unknown_fields_are_dropped() {
        let spec = ChainSpec::new(
            r#"{"name":"n","id":"i","bootNodes":["/ip4/1.2.3.4/tcp/1/p2p/x"],"genesis":{"raw":{}},"forkId":null,
                "lightSyncState":{"finalizedBlockHeader":"0x00"},"codeSubstitutes":{"1":"0x00"},"properties":null}"#,
        )
        .unwrap();
        let json: Value = serde_json::from_str(spec.json()).unwrap();
        let fields: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["bootNodes", "genesis", "id", "name"]);
    }

    #[test]
    fn chains_are_told_apart_by_genesis() {
        let spec = |id: u8, boot: &str| {
            let json = format!(
                r#"{{"name":"n","id":"i","bootNodes":["{boot}"],"genesis":{{"raw":{{"top":{{"0x00":"0x0{id}"}}}}}}}}"#
            );
            ChainSpec::new(&json).unwrap()
        };
        assert!(spec(1, "a").same_chain(&spec(1, "b")));
        assert!(!spec(1, "a").same_chain(&spec(2, "a")));
    }

    #[test]
    fn bad_specifications_are_refused() {
        assert_eq!(ChainSpec::new("[]"), Err(SpecError::Syntax));
        assert_eq!(ChainSpec::new("{"), Err(SpecError::Syntax));
        assert_eq!(ChainSpec::new(r#"{"name":"n","id":"i","bootNodes":[]}"#), Err(SpecError::Missing("genesis")));
        assert_eq!(ChainSpec::new(r#"{"relay_chain":"x"}"#), Err(SpecError::Parachain));
    }

    #[test]
    fn specifications_of_too_many_or_too_deep_values_are_refused() {
        let many = format!(r#"{{"x":[{}0]}}"#, "0,".repeat(MAX_VALUES));
        assert_eq!(ChainSpec::new(&many), Err(SpecError::TooLarge));
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(ChainSpec::new(&deep), Err(SpecError::Syntax));
    }
}
