//! The key to seal with, for a worker whose TEE has none: TDX.
//!
//! The enclave makes a key pair for this alone, and has its host bring evidence that names it to the chain, which verifies it as for a
//! registration. Gatekeepers give their parts to whoever has that key; together they are the same for the same image on the same
//! platform at each start, until governance replaces the keys of a class. So the worker's own keys, its floor and its receipts outlive its
//! process, as where the TEE seals.
//!
//! # Invariants
//! - The pair signs requests for the sealing key and nothing else, and ends with the process, or when it has had its use. A start that
//!   fails leaves it to the next, with what its host was given: where nobody knows whether the chain has the claim, the same is brought
//!   again, which the chain takes once.
//! - Where the network has a root key, what was sealed before is not given up for keys that end with the process: without the gatekeepers'
//!   parts the start fails, and is tried again. Only a host that says for good that it cannot bring the claim gets a new worker, or one that
//!   sets the clock back and hides the chain's newer blocks, as one that removes what is sealed does.

use ed25519_dalek::SigningKey;
use futures::future::{Either, select};
use phala_attestation::{Role, Statement};
use phala_enclave::{
    Claimant, SealingKey, Tee,
    chain::{Block, Chain, ChainError, no_finality, read, sealing_claim_key, time_key},
    host::refusal,
    text::text,
};
use phala_primitives::{
    attestation::SealingClaim,
    gatekeeper::{NetworkKey, SealingKeyRequest},
};
use phala_protocol::{Attestation, EnclaveRequest, LogLevel, Refusal};
use std::{future::Future, time::Duration};
use zeroize::Zeroizing;

use crate::parts::{self, Said};

/// An enclave that has just started may not have come to the chain's end: a state without a root key says little when it is so old.
const BEHIND: Duration = Duration::from_secs(60);

/// How long the chain may take to show something. A host asks again after a minute.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many blocks later a claim is not brought again that no finalized block has: another may have come before it.
const AGAIN_WITHIN: u32 = 100;

/// The claim that has not had its use.
pub(crate) type Kept = futures::lock::Mutex<Option<Claim>>;

/// A claim, with the key pair that it names.
#[derive(Clone)]
pub(crate) struct Claim {
    signing: SigningKey,
    attestation: Attestation,
}

/// The key, from the gatekeepers. `None` where the network has no root key, or the host cannot bring the claim to the chain.
///
/// # Errors
/// When the chain or the gatekeepers do not answer in time.
pub(crate) async fn sealing_key(claimant: &Claimant, kept: &Kept) -> Result<Option<SealingKey>, Refusal> {
    let Claimant { tee, host, chain, .. } = claimant;
    let Some(block) = with_root_key(claimant).await? else {
        host.log(LogLevel::Info, text!("the network has no root key yet, and so no key to seal with"));
        return Ok(None);
    };
    let mut kept = kept.lock().await;
    let last = match &*kept {
        Some(claim) if is_of_use(&**chain, claim, block).await? => Some(claim.clone()),
        _ => None,
    };
    let claim = last.map_or_else(|| new_claim(claimant, block), Ok)?;
    let Claim { signing, attestation } = kept.insert(claim).clone();
    let (block, claim) = match read_claim(&**chain, &signing, block).await? {
        Some(claim) => (block, claim),
        None => {
            if let Err(refusal) = host.done(&EnclaveRequest::ClaimSealingKey(Box::new(attestation))).await {
                if refusal.retry {
                    return Err(refusal);
                }
                host.log(LogLevel::Warn, text!("the host cannot claim the key to seal with: ", &refusal));
                return Ok(None);
            }
            within(&**tee, claimed(&**chain, &signing, block))
                .await
                .ok_or_else(|| refusal(true, "the claim to the key to seal with is in no finalized block yet"))??
        }
    };
    let sharing = parts::sharing(&**chain, block.hash, NetworkKey::Root).await?;
    let sharing = sharing.ok_or_else(|| refusal(true, "the network has lost its root key"))?;
    let measurement = tee.measurement();
    if claim.key.measurement != measurement {
        return Err(refusal(true, "the chain has the claim of another image"));
    }
    let request = SealingKeyRequest {
        genesis_hash: chain.genesis_hash(),
        claimant: signing.verifying_key().to_bytes(),
        key: claim.key,
        // Replaced by a fresh one.
        reply_key: [0; 32],
    };
    let request = parts::request(&**tee, request, &signing)?;
    let parts = parts::collect((&**tee, host), &sharing, &request).await?;
    let secret = phala_keys::combine_sealing_key(&sharing, claim.key, &parts);
    let secret = secret.map_err(|error| refusal(true, text!(Said(error))))?;
    host.log(LogLevel::Info, text!("got the key to seal with from ", parts.len(), " gatekeepers"));
    *kept = None;
    Ok(Some(SealingKey::derive(b"phala/gatekeepers/seal/v1", &*secret, &measurement)))
}

/// A finalized block in whose state the root key is shared; `None` where it is not, as far as the chain is known by now.
async fn with_root_key(claimant: &Claimant) -> Result<Option<Block>, Refusal> {
    let Claimant { tee, chain, .. } = claimant;
    let mut seen = None;
    loop {
        let next = chain.finalized_after(seen);
        let block = within(&**tee, next).await.ok_or_else(no_finality)?;
        if parts::sharing(&**chain, block.hash, NetworkKey::Root).await?.is_some() {
            return Ok(Some(block));
        }
        let time = read::<u64>(&**chain, block.hash, time_key(), "time").await.map_err(unreadable)?;
        let is_behind = time.is_none_or(|ms| Duration::from_millis(ms).saturating_add(BEHIND) < tee.unix_time());
        if !is_behind {
            return Ok(None);
        }
        seen = Some(block.number);
    }
}

fn unreadable(error: ChainError) -> Refusal {
    refusal(true, text!("the chain could not be read: ", error))
}

/// A claim under a new key pair.
fn new_claim(claimant: &Claimant, block: Block) -> Result<Claim, Refusal> {
    let Claimant { tee, chain, operator, .. } = claimant;
    let mut seed = Zeroizing::new([0; 32]);
    tee.fill_random(&mut *seed);
    let signing = SigningKey::from_bytes(&seed);
    let statement = Statement {
        role: Role::Worker,
        signing_key: signing.verifying_key().to_bytes(),
        // Nobody encrypts to it.
        encryption_key: [0; 32],
        genesis_hash: chain.genesis_hash(),
        operator: *operator,
        block_number: block.number,
        block_hash: block.hash,
    };
    let evidence = tee.evidence(statement.report_data()).map_err(|error| refusal(true, text!(&error)))?;
    Ok(Claim { signing, attestation: Attestation { statement, evidence } })
}

/// Whether gatekeepers give the key for a claim, or it may still come to that.
async fn is_of_use(chain: &dyn Chain, claim: &Claim, at: Block) -> Result<bool, Refusal> {
    let time = read::<u64>(chain, at.hash, time_key(), "time").await.map_err(unreadable)?.unwrap_or(u64::MAX);
    Ok(match read_claim(chain, &claim.signing, at).await? {
        Some(known) => known.counts(time / 1000),
        None => at.number <= claim.attestation.statement.block_number.saturating_add(AGAIN_WITHIN),
    })
}

/// The claim that was made with `signing`, in the state of a finalized block.
async fn read_claim(chain: &dyn Chain, signing: &SigningKey, at: Block) -> Result<Option<SealingClaim>, Refusal> {
    let key = sealing_claim_key(signing.verifying_key().as_bytes());
    read(chain, at.hash, key, "claim to a sealing key").await.map_err(unreadable)
}

/// The same, once a finalized block from `block` on has it.
async fn claimed(chain: &dyn Chain, signing: &SigningKey, mut block: Block) -> Result<(Block, SealingClaim), Refusal> {
    loop {
        if let Some(claim) = read_claim(chain, signing, block).await? {
            return Ok((block, claim));
        }
        block = chain.finalized_after(Some(block.number)).await;
    }
}

/// What comes of `work`, if that is in time.
async fn within<T>(tee: &dyn Tee, work: impl Future<Output = T>) -> Option<T> {
    match select(Box::pin(work), tee.sleep(PATIENCE)).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}
