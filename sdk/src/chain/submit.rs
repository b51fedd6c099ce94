//! Transactions: nonces, submission, and what became of them.
//!
//! A nonce is asked of the node (which counts what is in its pool) under a lock of the account, held until the pool has the
//! transaction: any number of tasks may submit for one account. Another process that uses the same account may take the
//! same nonce; the one that comes second signs again with the next.

use phala_primitives::units::Balance;
use serde::Deserialize;
use std::time::Duration;
use subxt::{
    config::substrate::{H256, SubstrateExtrinsicParamsBuilder},
    error as sx,
    events::Phase,
    transactions::{SubmittableTransaction, TransactionStatus},
};
use tokio::time::Instant;

use super::{AtBlock, Block, Call, Chain, ChainError, Config, DispatchError, Event, SubmitError, api};
use crate::{Account, Signer};

/// For how many blocks a transaction stays valid.
const MORTALITY: u64 = 64;

/// How long to wait for a block.
const IN_BLOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait for finality after that.
const FINALITY_TIMEOUT: Duration = Duration::from_secs(120);

/// How often to sign anew when somebody else was faster with a nonce.
const NONCE_ATTEMPTS: u32 = 12;

/// Where a transaction ended up, and what it brought about.
#[derive(Clone, Debug)]
pub struct Included {
    /// The block.
    pub block: Block,
    /// The transaction's hash.
    pub extrinsic_hash: [u8; 32],
    /// Its events.
    pub events: Vec<Event>,
    /// What it cost.
    pub fee: Balance,
}

type Transaction = SubmittableTransaction<Config, subxt::client::OnlineClientAtBlockImpl<Config>>;

/// The part of `chain_getBlock`'s answer that we need.
#[derive(Deserialize)]
struct SignedBlock {
    block: Body,
}

#[derive(Deserialize)]
struct Body {
    extrinsics: Vec<Bytes>,
}

/// Bytes as nodes write them: in hexadecimal, or as a list of numbers where the node does not hide their type.
#[derive(Deserialize)]
#[serde(untagged)]
enum Bytes {
    Hex(String),
    List(Vec<u8>),
}

impl Bytes {
    fn is(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Hex(text) => hex::decode(text.trim_start_matches("0x")).is_ok_and(|decoded| decoded == bytes),
            Self::List(list) => list == bytes,
        }
    }
}

/// What to do about a transaction that did not get into the pool.
enum Refusal {
    /// Somebody else used the nonce.
    Nonce(String),
    Final(SubmitError),
}

impl Chain {
    /// Signs a call, submits it and waits until it is in a block of the best chain.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit(&self, signer: &Signer, call: Call) -> Result<Included, SubmitError> {
        self.submit_until(signer, &call, false).await
    }

    /// The same, but waits until the block is finalized.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit_finalized(&self, signer: &Signer, call: Call) -> Result<Included, SubmitError> {
        self.submit_until(signer, &call, true).await
    }

    /// What a call would cost its signer, apart from what it does.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn fee(&self, signer: &Signer, call: Call) -> Result<Balance, SubmitError> {
        let transaction = self.sign(signer, &call, 0).await?;
        transaction.partial_fee_estimate().await.map_err(extrinsic_error)
    }

    async fn submit_until(&self, signer: &Signer, call: &Call, finalized: bool) -> Result<Included, SubmitError> {
        let mut reason = String::new();
        for attempt in 0..NONCE_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(u64::from(50 * attempt + jitter()))).await;
            }
            match self.attempt(signer, call, finalized).await {
                Ok(included) => return Ok(included),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Nonce(message)) => {
                    tracing::debug!(account = %signer.account(), message, "the nonce was taken; signing again");
                    reason = message;
                }
            }
        }
        Err(SubmitError::Invalid(reason))
    }

    async fn attempt(&self, signer: &Signer, call: &Call, finalized: bool) -> Result<Included, Refusal> {
        let account = signer.account();
        let lock = {
            let mut locks = self.inner.nonces.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            locks.entry(account).or_default().clone()
        };
        let guard = lock.lock_owned().await;
        let nonce = self.next_nonce(account).await.map_err(|error| Refusal::Final(error.into()))?;
        let transaction = self.sign(signer, call, nonce).await.map_err(Refusal::Final)?;
        let mut progress = match transaction.submit_and_watch().await {
            Ok(progress) => Some(progress),
            Err(error) => match pool_refusal(error, account) {
                // The connection broke: the pool may or may not have it.
                Refusal::Final(SubmitError::Chain(ChainError::Unavailable(reason))) => {
                    tracing::debug!(reason, "the connection broke during a submission");
                    None
                }
                refusal => return Err(refusal),
            },
        };
        drop(guard);

        let mut deadline = Instant::now() + IN_BLOCK_TIMEOUT;
        let mut seen = false;
        while let Some(watch) = &mut progress {
            let status = match tokio::time::timeout_at(deadline, watch.next()).await {
                Ok(Some(Ok(status))) => status,
                // The subscription is lost, or slow: look for the transaction ourselves.
                Ok(_) | Err(_) => break,
            };
            let hash = match status {
                TransactionStatus::InBestBlock(block) if !finalized => block.block_hash(),
                TransactionStatus::InFinalizedBlock(block) => block.block_hash(),
                TransactionStatus::InBestBlock(_) => {
                    if !std::mem::replace(&mut seen, true) {
                        deadline = Instant::now() + FINALITY_TIMEOUT;
                    }
                    continue;
                }
                TransactionStatus::Invalid { message } if message.contains("usurped") => {
                    return Err(Refusal::Nonce(message));
                }
                // After a fork the pool may call a transaction invalid that is in a block already.
                TransactionStatus::Invalid { .. }
                | TransactionStatus::Dropped { .. }
                | TransactionStatus::Error { .. } => {
                    progress = None;
                    continue;
                }
                _ => continue,
            };
            match self.outcome(&transaction, hash).await {
                Ok(Some(outcome)) => return outcome.map_err(Refusal::Final),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "cannot read the block of a transaction yet"),
            }
            break;
        }
        self.search(&transaction, account, nonce, finalized).await
    }

    /// Looks for a transaction in the newest blocks, and gives it to the node again where it got lost.
    async fn search(
        &self,
        transaction: &Transaction,
        account: Account,
        nonce: u64,
        finalized: bool,
    ) -> Result<Included, Refusal> {
        let timeout = if finalized { FINALITY_TIMEOUT } else { IN_BLOCK_TIMEOUT };
        let deadline = Instant::now() + timeout;
        let mut next: Option<u32> = None;
        let mut offered = Instant::now();
        loop {
            let state = if finalized { self.finalized().await } else { self.best().await };
            if let Ok(state) = state {
                let newest = state.block().number;
                for number in next.unwrap_or(newest.saturating_sub(MORTALITY as u32))..=newest {
                    let Ok(at) = self.client().at_block(number).await else { break };
                    match self.outcome(transaction, at.block_hash()).await {
                        Ok(Some(outcome)) => return outcome.map_err(Refusal::Final),
                        Ok(None) => next = Some(number.saturating_add(1)),
                        Err(_) => break,
                    }
                }
                // A block behind the newest may still be replaced: look at the last few again.
                next = next.map(|next| if finalized { next } else { next.saturating_sub(3) });
                let used = state.balance(account).await.is_ok_and(|balance| u64::from(balance.nonce) > nonce);
                if used
                    && next.is_some_and(|next| next.saturating_add(4) > newest)
                    && offered.elapsed() > Duration::from_secs(4)
                {
                    return Err(Refusal::Nonce("another transaction used the nonce".into()));
                }
            }
            if offered.elapsed() > Duration::from_secs(6) {
                offered = Instant::now();
                let bytes = format!("0x{}", hex::encode(transaction.encoded()));
                if let Err(ChainError::Refused(reason)) =
                    self.rpc::<serde_json::Value>("author_submitExtrinsic", vec![bytes.into()]).await
                {
                    tracing::debug!(reason, "offered a transaction again");
                    if reason.contains("ancient birth block") || reason.contains("bad signature") {
                        return Err(Refusal::Final(SubmitError::Invalid(reason)));
                    }
                    if reason.contains("Inability to pay") {
                        return Err(Refusal::Final(SubmitError::CannotPay(account)));
                    }
                }
            }
            if Instant::now() > deadline {
                return Err(Refusal::Final(SubmitError::Timeout(timeout.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn next_nonce(&self, account: Account) -> Result<u64, ChainError> {
        self.rpc("system_accountNextIndex", vec![account.to_string().into()]).await
    }

    async fn sign(&self, signer: &Signer, call: &Call, nonce: u64) -> Result<Transaction, SubmitError> {
        let at = self.client().at_current_block().await.map_err(|error| SubmitError::Chain(error.into()))?;
        let encoded = call.encode(&at).map_err(extrinsic_error)?;
        let payload = call.payload(&encoded);
        let params = SubstrateExtrinsicParamsBuilder::<Config>::new()
            .nonce(nonce)
            .mortal_from_unchecked(MORTALITY, at.block_number(), at.block_hash())
            .build();
        let mut signable = at.transactions().create_signable_offline(&payload, params).map_err(extrinsic_error)?;
        signable.sign(signer.pair()).map_err(extrinsic_error)
    }

    /// What came of a transaction in a block; `None` if it is not there.
    async fn outcome(
        &self,
        transaction: &Transaction,
        block: H256,
    ) -> Result<Option<Result<Included, SubmitError>>, ChainError> {
        // Not through subxt, which cannot read the blocks that carry a justification.
        let hash = format!("0x{}", hex::encode(block.0));
        let signed: Option<SignedBlock> = self.rpc("chain_getBlock", vec![hash.into()]).await?;
        let signed = signed.ok_or_else(|| ChainError::Unavailable("the node does not have the block".into()))?;
        let position = signed.block.extrinsics.iter().position(|bytes| bytes.is(transaction.encoded()));
        let Some(position) = position.and_then(|position| u32::try_from(position).ok()) else { return Ok(None) };
        let at: AtBlock = self.client().at_block(block).await?;
        let mut included = Included {
            block: Block { number: at.block_number() as u32, hash: block.0 },
            extrinsic_hash: transaction.hash().0,
            events: Vec::new(),
            fee: 0,
        };
        for event in at.events().fetch().await?.iter() {
            let event = event?;
            if event.phase() != Phase::ApplyExtrinsic(position) {
                continue;
            }
            let failure = match (event.pallet_name(), event.event_name(), event.field_bytes()) {
                ("System", "ExtrinsicFailed", bytes) => Some(bytes.to_vec()),
                // The first field is a `Result`: 1 is an error.
                ("Sudo", "Sudid", [1, bytes @ ..]) => Some(bytes.to_vec()),
                _ => None,
            };
            if let Some(bytes) = failure {
                let error = sx::DispatchError::decode_from(bytes, at.metadata())
                    .map_err(|error| ChainError::Incompatible(error.to_string()))?;
                return Ok(Some(Err(SubmitError::Dispatch(DispatchError::new(&error)))));
            }
            if let Some(Ok(fee)) = event.decode_fields_as::<api::transaction_payment::events::TransactionFeePaid>() {
                included.fee = fee.actual_fee;
            }
            included.events.push(Event::decode(&event));
        }
        Ok(Some(Ok(included)))
    }
}

/// Sorts out why the pool did not take a transaction.
fn pool_refusal(error: sx::ExtrinsicError, account: Account) -> Refusal {
    let sx::ExtrinsicError::ErrorSubmittingTransaction(sx::BackendError::Rpc(sx::RpcError::ClientError(
        subxt::rpcs::Error::User(error),
    ))) = &error
    else {
        return Refusal::Final(extrinsic_error(error));
    };
    let reason = super::user_error(error);
    match error.code {
        // Already known, replaced by a better one, or banned because it was invalid a moment ago.
        1012..=1014 => Refusal::Nonce(reason),
        1010 if reason.contains("outdated") || reason.contains("in the future") => Refusal::Nonce(reason),
        1010 if reason.contains("Inability to pay") => Refusal::Final(SubmitError::CannotPay(account)),
        _ => Refusal::Final(SubmitError::Invalid(reason)),
    }
}

fn extrinsic_error(error: sx::ExtrinsicError) -> SubmitError {
    match error {
        sx::ExtrinsicError::ErrorSubmittingTransaction(error)
        | sx::ExtrinsicError::CannotGetFeeInfo(error)
        | sx::ExtrinsicError::TransactionStatusStreamError(error) => SubmitError::Chain(error.into()),
        error => SubmitError::Chain(ChainError::Incompatible(error.to_string())),
    }
}

/// A few random milliseconds, so that two processes do not collide again and again.
fn jitter() -> u32 {
    let mut byte = [0];
    // Without randomness the pauses are merely equal.
    let _ = getrandom::fill(&mut byte);
    byte[0].into()
}
