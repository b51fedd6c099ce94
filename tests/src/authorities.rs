//! Chains whose authorities change: a specification with short epochs, and new session keys again and again.

use anyhow::{Context, Result, ensure};
use phala_sdk::{
    Signer,
    chain::{Chain, call},
};
use serde_json::{Value, json};
use std::process::Command;

use crate::binary;

/// Where genesis may say how many slots an epoch has: twox128 of `:EpochDuration:`.
const EPOCH_DURATION: &str = "0x695ec709ce0439fb6d6db345d9653648";
/// `Session::CurrentIndex`.
const SESSION: &str = "0xcec5070d609dd3497f72bde07fc96ba072763800a36a99fdfc7c10f6415f6ee6";
/// `Grandpa::CurrentSetId`.
const SET_ID: &str = "0x5f9cc45b7a00c5899361e1c6099678dc8a2d09463effcc78a22d75b9cb87dffc";

fn number(stored: Option<String>) -> Result<u64> {
    let Some(stored) = stored else { return Ok(0) };
    let bytes = hex::decode(stored.trim_start_matches("0x"))?;
    Ok(u64::from_le_bytes(bytes.try_into().map_err(|bytes| anyhow::anyhow!("no u64: {bytes:?}"))?))
}

/// The development chain with epochs of four slots.
///
/// # Errors
/// When the node does not give its specification.
pub fn short_epochs() -> Result<Value> {
    let output = Command::new(binary("phala-node")).args(["export-chain-spec", "--chain", "dev", "--raw"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut specification: Value = serde_json::from_slice(&output.stdout)?;
    specification["genesis"]["raw"]["top"][EPOCH_DURATION] = json!(format!("0x{}", hex::encode(4u64.to_le_bytes())));
    Ok(specification)
}

/// Gives `authority`, the only one of a chain with [`short_epochs`], new keys in each session until the set of authorities
/// has changed `changes` times since genesis. Each change takes eight seconds.
///
/// # Errors
/// The chain's, or when it takes much longer.
pub async fn change_authorities(chain: &Chain, authority: &Signer, changes: u64) -> Result<()> {
    let mut blocks = chain.best_blocks().await?;
    let (mut rotated, mut done) = (None, 0);
    while done < changes {
        let block = blocks.next().await;
        done = number(chain.rpc("state_getStorage", vec![json!(SET_ID)]).await?)?;
        // New keys in each session, in force from the next but one.
        let session: Option<String> = chain.rpc("state_getStorage", vec![json!(SESSION)]).await?;
        if rotated != session {
            rotated = session;
            let owner = json!(format!("0x{}", hex::encode(authority.account().0)));
            let new: Value = chain.rpc("author_rotateKeysWithOwner", vec![owner]).await?;
            let bytes = |name: &str| -> Result<Vec<u8>> {
                let text = new[name].as_str().with_context(|| format!("no {name} in {new}"))?;
                Ok(hex::decode(text.trim_start_matches("0x"))?)
            };
            chain.submit(authority, call::set_session_keys(bytes("keys")?, bytes("proof")?)).await?;
        }
        ensure!(block.number < 200 + 20 * changes as u32, "only {done} changes in {} blocks", block.number);
    }
    Ok(())
}
