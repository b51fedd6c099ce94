//! Transactions: nonces, submission, and what became of them.
//!
//! A nonce is asked of the node (which counts what is in its pool) under a lock of the account, held until the pool has the
//! transaction: any number of tasks may submit for one account. Another process that uses the same account may take the
//! same nonce; the one that comes second signs again with the next.
//!
//! Nothing is done twice: a call is signed again only when the first transaction cannot get into any block. Either the pool
//! refused it when it first saw it, or in *finalized* state its nonce is used while no block since its signature has
//! its bytes, and each of these blocks was read. Where that cannot be found out in time, the error says that nobody knows.

use phala_primitives::{JobId, units::Balance};
use serde::Deserialize;
use std::{collections::HashSet, time::Duration};
use subxt::{
    config::substrate::{H256, SubstrateExtrinsicParamsBuilder},
    error as sx,
    events::Phase,
    transactions::{SubmittableTransaction, TransactionStatus},
    utils::{AccountId32, MultiSignature},
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{AtBlock, Block, Call, Chain, ChainError, Config, DispatchError, SubmitError, api};
use crate::{Account, Signer};

/// For how many blocks a transaction stays valid.
const MORTALITY: u64 = 64;

/// How long the node may take to give what a signature needs, and as long to take the transaction. The account's other
/// transactions wait meanwhile, so that one call that is never answered must not hold them up for long.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The job that it submitted, if it did.
    pub job: Option<JobId>,
    /// What it cost: the transaction fee, and the place of a job that it submitted.
    pub fee: Balance,
}

type Transaction = SubmittableTransaction<Config, subxt::client::OnlineClientAtBlockImpl<Config>>;

/// A transaction that may be submitted.
struct Signed {
    transaction: Transaction,
    nonce: u64,
    /// The finalized block at which it was signed: it can be in later blocks only, and in [`MORTALITY`] of them.
    birth: u32,
}

/// The part of `chain_getBlock`'s answer that we need.
#[derive(Deserialize)]
struct SignedBlock {
    block: Body,
}

#[derive(Clone, Deserialize)]
struct Body {
    header: Header,
    /// In hexadecimal, with `0x`.
    extrinsics: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    parent_hash: H256,
}

/// What to do about a transaction that did not get into the pool.
enum Refusal {
    /// Somebody else used the nonce.
    Nonce(String),
    /// The node was silent before anything was submitted.
    Silence,
    Final(SubmitError),
}

impl Chain {
    /// Signs a call, submits it and waits until it is in a block of the best chain. While the node is away nothing is
    /// submitted, for up to a minute.
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

    /// Gives the node's pool a call that the chain takes from anybody and for nothing: what it says is signed inside. Returns once
    /// the pool has it; what becomes of it, the state shows.
    ///
    /// # Errors
    /// See [`SubmitError`]: also when the chain has it already.
    pub async fn submit_unsigned(&self, call: Call) -> Result<(), SubmitError> {
        let at = self.client().at_current_block().await.map_err(|error| SubmitError::Chain(error.into()))?;
        let encoded = call.encode(&at).map_err(extrinsic_error)?;
        let payload = call.payload(&encoded);
        // Mortal, so that what was too early once has other bytes the next time: a pool does not take for half an hour what it has
        // refused.
        let params = SubstrateExtrinsicParamsBuilder::<Config>::new()
            .nonce(0)
            .mortal_from_unchecked(MORTALITY, at.block_number(), at.block_hash())
            .build();
        let mut general = at.transactions().create_v5_signable_offline(&payload, params).map_err(extrinsic_error)?;
        // A general transaction has no sender and no signature, and the runtime no extension that would carry them: neither is in
        // what comes out.
        let nobody = (AccountId32([0; 32]), MultiSignature::Sr25519([0; 64]));
        let transaction = general.sign_with_account_and_signature(&nobody.0, &nobody.1).map_err(extrinsic_error)?;
        let bytes = hexadecimal(&transaction);
        match self.rpc::<serde_json::Value>("author_submitExtrinsic", vec![bytes.into()]).await {
            Ok(_) => Ok(()),
            Err(ChainError::Refused(reason)) => Err(SubmitError::Invalid(reason)),
            Err(error) => Err(error.into()),
        }
    }

    /// What a call would cost its signer, apart from what it does.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn fee(&self, signer: &Signer, call: Call) -> Result<Balance, SubmitError> {
        let signed = self.sign(signer, &call, 0).await?;
        signed.transaction.partial_fee_estimate().await.map_err(extrinsic_error)
    }

    async fn submit_until(&self, signer: &Signer, call: &Call, finalized: bool) -> Result<Included, SubmitError> {
        let begun = Instant::now();
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
                Err(Refusal::Silence) if begun.elapsed() < IN_BLOCK_TIMEOUT => {}
                Err(Refusal::Silence) => {
                    let reason = format!("the node at {} does not answer", self.url());
                    return Err(ChainError::Unavailable(reason).into());
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
        let signing = async {
            let nonce = self.next_nonce(account).await?;
            self.sign(signer, call, nonce).await
        };
        let signed = match timeout(TURN_TIMEOUT, signing).await {
            Ok(signed) => signed.map_err(Refusal::Final)?,
            Err(_) => return Err(Refusal::Silence),
        };
        let mut progress = match timeout(TURN_TIMEOUT, signed.transaction.submit_and_watch()).await {
            Ok(Ok(progress)) => Some(progress),
            // The pool may or may not have it.
            Err(_) => None,
            Ok(Err(error)) => match pool_refusal(error, account) {
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
            let status = match timeout_at(deadline, watch.next()).await {
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
                // Only this node's pool has dropped it. It may be in a block all the same, or get into one elsewhere.
                TransactionStatus::Invalid { .. }
                | TransactionStatus::Dropped { .. }
                | TransactionStatus::Error { .. } => {
                    progress = None;
                    continue;
                }
                _ => continue,
            };
            let reading = async {
                let position = self.body(hash).await?.position(&hexadecimal(&signed.transaction));
                match position {
                    Some(position) => Ok(Some(self.outcome(&signed.transaction, hash, position).await?)),
                    None => Ok::<_, ChainError>(None),
                }
            };
            match reading.await {
                Ok(Some(outcome)) => return outcome.map_err(Refusal::Final),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "cannot read the block of a transaction yet"),
            }
            break;
        }
        Box::pin(self.search(&signed, account, finalized)).await
    }

    /// Looks for a transaction in the chain, and gives it to the node again where it got lost.
    async fn search(&self, signed: &Signed, account: Account, finalized: bool) -> Result<Included, Refusal> {
        let limit = if finalized { FINALITY_TIMEOUT } else { IN_BLOCK_TIMEOUT };
        let deadline = Instant::now() + limit;
        let wanted = hexadecimal(&signed.transaction);
        let mut search = Search { wanted: &wanted, birth: signed.birth, without: HashSet::new() };
        let mut offered = Instant::now();
        let mut trouble = String::new();
        while Instant::now() < deadline {
            // While the node is away, its calls wait.
            match timeout_at(deadline, self.look(&mut search, signed, account, finalized)).await {
                Ok(Ok(Some(end))) => return end,
                Ok(Ok(None)) => trouble.clear(),
                Ok(Err(error)) => trouble = format!(": {error}"),
                Err(_) => trouble = ": the node does not answer".into(),
            }
            if offered.elapsed() > Duration::from_secs(6) {
                offered = Instant::now();
                let offer = self.rpc::<serde_json::Value>("author_submitExtrinsic", vec![wanted.clone().into()]);
                if let Ok(Err(error)) = timeout_at(deadline, offer).await {
                    tracing::debug!(%error, "offered a transaction again");
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let last_block = signed.birth.saturating_add(MORTALITY as u32);
        Err(Refusal::Final(SubmitError::Unresolved { seconds: limit.as_secs(), last_block, trouble }))
    }

    /// One look at the chain for [`Self::search`]: how it ends, if that can be said.
    async fn look(
        &self,
        search: &mut Search<'_>,
        signed: &Signed,
        account: Account,
        finalized: bool,
    ) -> Result<Option<Result<Included, Refusal>>, ChainError> {
        let last = self.finalized().await?;
        let mut heads = vec![last.block()];
        if !finalized {
            heads.push(self.best().await?.block());
        }
        for head in heads {
            if let Some((hash, position)) = search.find(head, |hash| self.body(hash)).await? {
                let outcome = self.outcome(&signed.transaction, hash, position).await?;
                return Ok(Some(outcome.map_err(Refusal::Final)));
            }
        }
        // From here on it is known that no finalized block has it.
        if u64::from(last.balance(account).await?.nonce) > signed.nonce {
            return Ok(Some(Err(Refusal::Nonce("another transaction used the nonce".into()))));
        }
        if u64::from(last.block().number) > u64::from(signed.birth) + MORTALITY {
            return Ok(Some(Err(Refusal::Final(SubmitError::Invalid("no block took it while it was valid".into())))));
        }
        Ok(None)
    }

    async fn next_nonce(&self, account: Account) -> Result<u64, ChainError> {
        self.rpc("system_accountNextIndex", vec![account.to_string().into()]).await
    }

    async fn sign(&self, signer: &Signer, call: &Call, nonce: u64) -> Result<Signed, SubmitError> {
        let at = self.client().at_current_block().await.map_err(|error| SubmitError::Chain(error.into()))?;
        let encoded = call.encode(&at).map_err(extrinsic_error)?;
        let payload = call.payload(&encoded);
        let params = SubstrateExtrinsicParamsBuilder::<Config>::new()
            .nonce(nonce)
            .mortal_from_unchecked(MORTALITY, at.block_number(), at.block_hash())
            .build();
        let mut signable = at.transactions().create_signable_offline(&payload, params).map_err(extrinsic_error)?;
        let transaction = signable.sign(signer.pair()).map_err(extrinsic_error)?;
        Ok(Signed { transaction, nonce, birth: at.block_number() as u32 })
    }

    /// What is in a block. Not through subxt, which gives no parent.
    async fn body(&self, block: H256) -> Result<Body, ChainError> {
        let hash = format!("0x{}", hex::encode(block.0));
        let signed: Option<SignedBlock> = self.rpc("chain_getBlock", vec![hash.into()]).await?;
        Ok(signed.ok_or_else(|| ChainError::Unavailable("the node does not have the block".into()))?.block)
    }

    /// What came of the transaction at a position in a block.
    async fn outcome(
        &self,
        transaction: &Transaction,
        block: H256,
        position: u32,
    ) -> Result<Result<Included, SubmitError>, ChainError> {
        let at: AtBlock = self.client().at_block(block).await?;
        let mut included = Included {
            block: Block { number: at.block_number() as u32, hash: block.0 },
            extrinsic_hash: transaction.hash().0,
            job: None,
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
                return Ok(Err(SubmitError::Dispatch(DispatchError::new(&error))));
            }
            if let Some(Ok(fee)) = event.decode_fields_as::<api::transaction_payment::events::TransactionFeePaid>() {
                included.fee = included.fee.saturating_add(fee.actual_fee);
            }
            if let Some(Ok(submitted)) = event.decode_fields_as::<api::jobs::events::Submitted>() {
                included.job = Some(submitted.job);
                included.fee = included.fee.saturating_add(submitted.place_fee);
            }
        }
        Ok(Ok(included))
    }
}

/// A search for a transaction, along chains of blocks.
struct Search<'a> {
    /// Its bytes, in hexadecimal with `0x`.
    wanted: &'a str,
    /// See [`Signed::birth`].
    birth: u32,
    /// Blocks which do not have it, and whose ancestors down to its birth do not have it either.
    without: HashSet<H256>,
}

impl Search<'_> {
    /// Where the transaction is in the chain that ends in `head`: block and position. `None` means that each block of that
    /// chain in which it could be was read, and does not have it.
    ///
    /// # Errors
    /// When one of these blocks cannot be read.
    async fn find<F: Future<Output = Result<Body, ChainError>>>(
        &mut self,
        head: Block,
        read: impl Fn(H256) -> F,
    ) -> Result<Option<(H256, u32)>, ChainError> {
        let mut hash = H256(head.hash);
        let mut path = Vec::new();
        for _ in self.birth..head.number {
            if self.without.contains(&hash) {
                break;
            }
            let body = read(hash).await?;
            if let Some(position) = body.position(self.wanted) {
                return Ok(Some((hash, position)));
            }
            path.push(hash);
            hash = body.header.parent_hash;
        }
        self.without.extend(path);
        Ok(None)
    }
}

impl Body {
    /// Where in the block a transaction is, by its bytes in hexadecimal with `0x`.
    fn position(&self, transaction: &str) -> Option<u32> {
        let position = self.extrinsics.iter().position(|extrinsic| extrinsic.eq_ignore_ascii_case(transaction))?;
        u32::try_from(position).ok()
    }
}

fn hexadecimal(transaction: &Transaction) -> String {
    format!("0x{}", hex::encode(transaction.encoded()))
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
        // The pool has another transaction with this nonce, and does not replace it.
        1014 => Refusal::Nonce(reason),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, collections::HashMap, future::ready};

    /// A chain of blocks that end in a head, and which of them were read.
    #[derive(Default)]
    struct Blocks {
        bodies: HashMap<H256, Body>,
        read: RefCell<Vec<u8>>,
    }

    impl Blocks {
        /// A block is named by one byte here.
        fn add(&mut self, name: u8, parent: u8, extrinsics: &[&str]) {
            let header = Header { parent_hash: H256([parent; 32]) };
            let extrinsics = extrinsics.iter().map(|text| (*text).to_owned()).collect();
            self.bodies.insert(H256([name; 32]), Body { header, extrinsics });
        }

        async fn find(
            &self,
            search: &mut Search<'_>,
            number: u32,
            name: u8,
        ) -> Result<Option<(H256, u32)>, ChainError> {
            self.read.borrow_mut().clear();
            let read = |hash: H256| {
                self.read.borrow_mut().push(hash.0[0]);
                let body = self.bodies.get(&hash).cloned();
                ready(body.ok_or_else(|| ChainError::Unavailable("no such block".into())))
            };
            search.find(Block { number, hash: [name; 32] }, read).await
        }
    }

    fn search() -> Search<'static> {
        Search { wanted: "0xabcd", birth: 10, without: HashSet::new() }
    }

    #[tokio::test]
    async fn a_transaction_is_found_along_its_chain() {
        let (mut blocks, mut search) = (Blocks::default(), search());
        blocks.add(11, 10, &["0x01", "0xABCD"]);
        blocks.add(12, 11, &["0xabcdef"]);
        blocks.add(13, 12, &[]);
        assert_eq!(blocks.find(&mut search, 13, 13).await.unwrap(), Some((H256([11; 32]), 1)));
        assert_eq!(*blocks.read.borrow(), [13, 12, 11]);
    }

    #[tokio::test]
    async fn nothing_is_concluded_while_a_block_cannot_be_read() {
        let (mut blocks, mut search) = (Blocks::default(), search());
        blocks.add(13, 12, &[]);
        blocks.add(11, 10, &["0xabcd"]);
        for _ in 0..2 {
            assert!(blocks.find(&mut search, 13, 13).await.is_err());
            assert_eq!(*blocks.read.borrow(), [13, 12]);
        }
        // It was in the block below the one that could not be read.
        blocks.add(12, 11, &[]);
        assert_eq!(blocks.find(&mut search, 13, 13).await.unwrap(), Some((H256([11; 32]), 0)));
    }

    #[tokio::test]
    async fn a_block_is_read_once_and_each_fork_down_to_the_birth() {
        let (mut blocks, mut search) = (Blocks::default(), search());
        blocks.add(11, 10, &[]);
        blocks.add(12, 11, &[]);
        assert_eq!(blocks.find(&mut search, 12, 12).await.unwrap(), None);
        assert_eq!(*blocks.read.borrow(), [12, 11]);
        // Another chain since block 11, whose block 12 has it.
        blocks.add(22, 11, &["0xabcd"]);
        blocks.add(23, 22, &[]);
        assert_eq!(blocks.find(&mut search, 13, 23).await.unwrap(), Some((H256([22; 32]), 0)));
        // The first chain grows.
        blocks.add(13, 12, &[]);
        assert_eq!(blocks.find(&mut search, 13, 13).await.unwrap(), None);
        assert_eq!(*blocks.read.borrow(), [13]);
    }
}
