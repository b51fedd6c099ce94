use futures::future::BoxFuture;
use phala_attestation::Role;
use phala_primitives::{Hash, worker::Performance};
use phala_protocol::{EnclaveReply, EnclaveStatus, HostNotice, HostRequest, Refusal, StartRole};
use std::sync::Arc;

use crate::{
    SealingKey, Tee,
    chain::{Chain, Guarded},
    host::Host,
    keys::Keys,
    runtime::Tasks,
};

/// An enclave whose TEE cannot seal, before it has keys.
pub struct Claimant {
    /// The TEE.
    pub tee: Arc<dyn Tee>,
    /// The host.
    pub host: Host,
    /// The chain. It may still be behind what this enclave has seen in an earlier process.
    pub chain: Arc<dyn Chain>,
    /// The account that the enclave belongs to.
    pub operator: Hash,
}

/// What a duty needs of its enclave.
pub struct Context {
    /// The TEE.
    pub tee: Arc<dyn Tee>,
    /// The host.
    pub host: Host,
    /// Where work runs.
    pub tasks: Tasks,
    /// Who the enclave is.
    pub keys: Arc<Keys>,
    /// The chain.
    pub chain: Arc<Guarded>,
}

/// What an enclave does beside proving itself and following its chain. Every process has one, for one role.
pub trait Duty: Send + Sync + 'static {
    /// The host has come back: it is told again what it may have missed.
    fn resume(&self) -> BoxFuture<'_, ()>;

    /// What is measured for a registration; `None` where nothing is.
    ///
    /// # Errors
    /// When it cannot be measured.
    fn performance(&self) -> BoxFuture<'_, Result<Option<Performance>, Refusal>>;

    /// Answers a request that is for this duty alone, or refuses one that is for another.
    ///
    /// # Errors
    /// The refusal.
    fn answer(&self, request: HostRequest) -> BoxFuture<'_, Result<EnclaveReply, Refusal>>;

    /// Hears a notice of the host's that is for a duty. The connection is not told what becomes of it.
    fn told(&self, notice: HostNotice) -> BoxFuture<'_, ()>;

    /// Adds what there is to say.
    fn report(&self, status: &mut EnclaveStatus);
}

/// Takes up a duty on a chain, as the host's start asks.
pub trait DutySource: Send + Sync + 'static {
    /// The role of who has it.
    fn role(&self) -> Role;

    /// Checks what the host asks, before anything is kept of it.
    ///
    /// # Errors
    /// When it asks for another role, or for what cannot be.
    fn check(&self, role: &StartRole) -> Result<(), Refusal>;

    /// The key with which an enclave seals whose TEE cannot, where the network gives it one; `None`: its keys end with its process.
    ///
    /// # Errors
    /// When the network should give it and does not: what was sealed with it before is not given up for that.
    fn sealing_key(&self, claimant: Claimant) -> BoxFuture<'_, Result<Option<SealingKey>, Refusal>>;

    /// Takes it up. Happens once in a process's life, unless it fails.
    ///
    /// # Errors
    /// When the environment lacks what it needs.
    fn take_up(&self, context: Context, role: &StartRole) -> BoxFuture<'_, Result<Arc<dyn Duty>, Refusal>>;
}
