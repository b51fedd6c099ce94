//! What the service needs of a chain.

use std::collections::BTreeMap;

use phala_attestation::{DocumentId, Policy, SignedDocument, UnixSeconds};
use phala_primitives::attestation::{DocumentSlot, EarlyDocument, KeptDocument};

/// A chain that keeps documents. Every call ends within a bounded time.
pub trait Chain {
    /// What it knows about documents at its best block.
    fn state(&self) -> impl Future<Output = Result<ChainState, ChainError>> + Send;

    /// Submits a document, and waits until it is in a block.
    fn submit_document(&self, document: SignedDocument) -> impl Future<Output = Result<(), ChainError>> + Send;
}

/// What a chain knows about documents at one block.
#[derive(Clone, Debug)]
pub struct ChainState {
    /// The block's time.
    pub now: UnixSeconds,
    /// Under whose roots documents are verified.
    pub policy: Policy,
    /// The current documents.
    pub documents: BTreeMap<DocumentId, KeptDocument>,
    /// Those of TCB recoveries.
    pub early_documents: BTreeMap<DocumentId, EarlyDocument>,
    /// How long these are early, in seconds.
    pub early_period: u64,
}

impl ChainState {
    /// What is kept under an id.
    pub fn slot(&self, id: DocumentId) -> DocumentSlot {
        DocumentSlot { current: self.documents.get(&id).cloned(), early: self.early_documents.get(&id).cloned() }
    }
}

/// Why the chain did not do what it was asked, each with its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Nobody knows whether it will.
    #[error("the chain does not answer: {0}")]
    Unreachable(String),
    /// It took the transaction and refused the document.
    #[error("the chain refuses it: {0}")]
    Refused(String),
}
