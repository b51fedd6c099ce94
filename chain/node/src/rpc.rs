//! What clients may ask beside the interfaces that every Polkadot SDK node has: accounts' nonces, fees, the
//! schedule of authors, finality and its justifications, and checkpoints for light clients.

use std::{error::Error, sync::Arc};

use jsonrpsee::RpcModule;
use pallet_transaction_payment_rpc::{TransactionPayment, TransactionPaymentApiServer as _};
use phala_runtime::{BlockNumber, Hash};
use sc_consensus_babe::BabeWorkerHandle;
use sc_consensus_babe_rpc::{Babe, BabeApiServer as _};
use sc_consensus_grandpa::{FinalityProofProvider, GrandpaJustificationStream, SharedAuthoritySet, SharedVoterState};
use sc_consensus_grandpa_rpc::{Grandpa, GrandpaApiServer as _};
use sc_rpc::SubscriptionTaskExecutor;
use sc_sync_state_rpc::{SyncState, SyncStateApiServer as _};
use sp_keystore::KeystorePtr;
use substrate_frame_rpc_system::{System, SystemApiServer as _};

use crate::service::{Backend, Block, Client, Pool, SelectChain};

/// What the handlers need.
pub struct Deps {
    pub client: Arc<Client>,
    pub pool: Arc<Pool>,
    pub select_chain: SelectChain,
    pub chain_spec: Box<dyn sc_chain_spec::ChainSpec>,
    pub keystore: KeystorePtr,
    pub babe_worker: BabeWorkerHandle<Block>,
    pub voter_state: SharedVoterState,
    pub authority_set: SharedAuthoritySet<Hash, BlockNumber>,
    pub justification_stream: GrandpaJustificationStream<Block>,
    pub finality_proofs: Arc<FinalityProofProvider<Backend, Block>>,
}

/// The handlers.
pub fn module(deps: &Deps, executor: SubscriptionTaskExecutor) -> Result<RpcModule<()>, Box<dyn Error + Send + Sync>> {
    let client = &deps.client;
    let mut module = RpcModule::new(());
    module.merge(System::new(client.clone(), deps.pool.clone()).into_rpc())?;
    module.merge(TransactionPayment::new(client.clone()).into_rpc())?;
    module.merge(
        Babe::new(client.clone(), deps.babe_worker.clone(), deps.keystore.clone(), deps.select_chain.clone())
            .into_rpc(),
    )?;
    module.merge(
        Grandpa::new(
            executor,
            deps.authority_set.clone(),
            deps.voter_state.clone(),
            deps.justification_stream.clone(),
            deps.finality_proofs.clone(),
        )
        .into_rpc(),
    )?;
    module.merge(
        SyncState::new(
            deps.chain_spec.cloned_box(),
            client.clone(),
            deps.authority_set.clone(),
            deps.babe_worker.clone(),
        )?
        .into_rpc(),
    )?;
    Ok(module)
}
