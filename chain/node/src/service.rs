//! The parts of a node and how they fit together.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use phala_runtime::{Hash, Header, RuntimeApi};
use sc_client_api::{Backend as _, BlockBackend as _};
use sc_consensus_babe::{BabeLink, BabeWorkerHandle, SlotProportion};
use sc_consensus_grandpa::{GrandpaPruningFilter, SharedVoterState, warp_proof};
use sc_executor::WasmExecutor;
use sc_network::{NetworkBackend, config::FullNetworkConfiguration};
use sc_service::{Configuration, Error, TaskManager, WarpSyncConfig};
use sc_telemetry::{Telemetry, TelemetryWorker};
use sc_transaction_pool_api::OffchainTransactionPoolFactory;
use sp_consensus_babe::inherents::BabeCreateInherentDataProviders;

use crate::rpc;

/// A block as the node sees it: extrinsics are bytes, which JSON-RPC writes in hexadecimal. What they mean is the runtime's
/// business, and may change with it.
pub type Block = sp_runtime::generic::Block<Header, sp_runtime::OpaqueExtrinsic>;

/// The chain's database and state.
pub type Client = sc_service::TFullClient<Block, RuntimeApi, WasmExecutor<sp_io::SubstrateHostFunctions>>;
/// The database.
pub type Backend = sc_service::TFullBackend<Block>;
/// The longest chain, on which BABE builds and GRANDPA votes.
pub type SelectChain = sc_consensus::LongestChain<Backend, Block>;
/// Extrinsics that wait for a block.
pub type Pool = sc_transaction_pool::TransactionPoolHandle<Block, Client>;

type GrandpaBlockImport = sc_consensus_grandpa::GrandpaBlockImport<Backend, Block, Client, SelectChain>;
type GrandpaLink = sc_consensus_grandpa::LinkHalf<Block, Client, SelectChain>;
type BabeBlockImport = sc_consensus_babe::BabeBlockImport<
    Block,
    Client,
    GrandpaBlockImport,
    BabeCreateInherentDataProviders<Block>,
    SelectChain,
>;

/// At least every so many blocks GRANDPA's justification is stored, so that it can be given to clients which
/// follow finality by warp proofs: 16 seconds.
const JUSTIFICATION_PERIOD: u32 = 8;

/// How long a GRANDPA message needs to reach the other authorities.
const GRANDPA_GOSSIP_DURATION: Duration = Duration::from_millis(333);

/// The part of a slot in which its block is made. The rest is for the network.
const PROPOSAL_PORTION: f32 = 0.5;

/// The parts of a node that need no network.
pub struct Parts {
    pub client: Arc<Client>,
    pub backend: Arc<Backend>,
    pub task_manager: TaskManager,
    pub import_queue: sc_consensus::DefaultImportQueue<Block>,
    keystore: sc_service::KeystoreContainer,
    select_chain: SelectChain,
    pool: Arc<Pool>,
    block_import: BabeBlockImport,
    babe_link: BabeLink<Block>,
    babe_worker: BabeWorkerHandle<Block>,
    grandpa_link: GrandpaLink,
    telemetry: Option<Telemetry>,
}

/// Opens the database and makes the parts around it.
pub fn parts(config: &Configuration) -> Result<Parts, Error> {
    let telemetry = config
        .telemetry_endpoints
        .clone()
        .filter(|endpoints| !endpoints.is_empty())
        .map(|endpoints| -> Result<_, sc_telemetry::Error> {
            let worker = TelemetryWorker::new(16)?;
            let telemetry = worker.handle().new_telemetry(endpoints);
            Ok((worker, telemetry))
        })
        .transpose()?;
    let telemetry_handle = telemetry.as_ref().map(|(_, telemetry)| telemetry.handle());

    // Blocks that carry justifications survive pruning: warp proofs consist of them.
    let (client, backend, keystore, task_manager) = sc_service::new_full_parts::<Block, RuntimeApi, _>(
        config,
        telemetry_handle.clone(),
        sc_service::new_wasm_executor(&config.executor),
        vec![Arc::new(GrandpaPruningFilter)],
    )?;
    let client = Arc::new(client);
    let telemetry = telemetry.map(|(worker, telemetry)| {
        task_manager.spawn_handle().spawn("telemetry", None, worker.run());
        telemetry
    });

    let select_chain = SelectChain::new(backend.clone());
    let pool = Arc::from(
        sc_transaction_pool::Builder::new(
            task_manager.spawn_essential_handle(),
            client.clone(),
            config.role.is_authority().into(),
        )
        .with_options(config.transaction_pool.clone())
        .with_prometheus(config.prometheus_registry())
        .build(),
    );

    let (grandpa_block_import, grandpa_link) = sc_consensus_grandpa::block_import(
        client.clone(),
        JUSTIFICATION_PERIOD,
        &client,
        select_chain.clone(),
        telemetry_handle.clone(),
    )?;
    let justification_import = grandpa_block_import.clone();

    let babe_config = sc_consensus_babe::configuration(&*client)?;
    let slot_duration = babe_config.slot_duration();
    let inherents: BabeCreateInherentDataProviders<Block> =
        Arc::new(move |_, ()| async move { Ok(inherents(slot_duration)) });
    let (block_import, babe_link) = sc_consensus_babe::block_import(
        babe_config,
        grandpa_block_import,
        client.clone(),
        inherents,
        select_chain.clone(),
        OffchainTransactionPoolFactory::new(pool.clone()),
    )?;
    let (import_queue, babe_worker) = sc_consensus_babe::import_queue(sc_consensus_babe::ImportQueueParams {
        link: babe_link.clone(),
        block_import: block_import.clone(),
        justification_import: Some(Box::new(justification_import)),
        client: client.clone(),
        slot_duration,
        spawner: &task_manager.spawn_essential_handle(),
        registry: config.prometheus_registry(),
        telemetry: telemetry_handle,
    })?;

    Ok(Parts {
        client,
        backend,
        task_manager,
        import_queue,
        keystore,
        select_chain,
        pool,
        block_import,
        babe_link,
        babe_worker,
        grandpa_link,
        telemetry,
    })
}

/// Starts a node, which runs until its task manager ends.
pub fn start<N: NetworkBackend<Block, Hash>>(mut config: Configuration) -> Result<TaskManager, Error> {
    // The genesis state is computed once, here, and not by the runtime again for each `sync_state_genSyncSpec`.
    let genesis = config.chain_spec.as_storage_builder().build_storage().map_err(Error::Other)?;
    config.chain_spec.set_storage(genesis);

    let Parts {
        client,
        backend,
        mut task_manager,
        import_queue,
        keystore,
        select_chain,
        pool,
        block_import,
        babe_link,
        babe_worker,
        grandpa_link,
        mut telemetry,
    } = parts(&config)?;
    let keystore = keystore.keystore();
    let registry = config.prometheus_registry().cloned();
    let role = config.role;
    let name = config.network.node_name.clone();
    let force_authoring = config.force_authoring;
    let telemetry_handle = telemetry.as_ref().map(Telemetry::handle);
    let authority_set = grandpa_link.shared_authority_set().clone();
    let genesis_hash = client.block_hash(0)?.ok_or_else(|| Error::Other("the database has no genesis block".into()))?;

    let mut network_config = FullNetworkConfiguration::<_, _, N>::new(&config.network, registry.clone());
    let metrics = N::register_notification_metrics(registry.as_ref());
    let grandpa_protocol = sc_consensus_grandpa::protocol_standard_name(&genesis_hash, &config.chain_spec);
    let (grandpa_set, grandpa_notifications) = sc_consensus_grandpa::grandpa_peers_set_config::<_, N>(
        grandpa_protocol.clone(),
        metrics.clone(),
        network_config.peer_store_handle(),
    );
    network_config.add_notification_protocol(grandpa_set);
    let warp_sync = Arc::new(warp_proof::NetworkProvider::new(backend.clone(), authority_set.clone(), Vec::new()));

    let (network, system_rpc_tx, tx_handler_controller, sync, _bitswap) =
        sc_service::build_network(sc_service::BuildNetworkParams {
            config: &config,
            net_config: network_config,
            client: client.clone(),
            transaction_pool: pool.clone(),
            spawn_handle: task_manager.spawn_handle(),
            spawn_essential_handle: task_manager.spawn_essential_handle(),
            import_queue,
            block_announce_validator_builder: None,
            warp_sync_config: Some(WarpSyncConfig::WithProvider(warp_sync)),
            block_relay: None,
            metrics,
            gap_sync_body_policy: None,
        })?;

    if config.offchain_worker.enabled {
        let workers = sc_offchain::OffchainWorkers::new(sc_offchain::OffchainWorkerOptions {
            runtime_api_provider: client.clone(),
            is_validator: role.is_authority(),
            keystore: Some(keystore.clone()),
            offchain_db: backend.offchain_storage(),
            transaction_pool: Some(OffchainTransactionPoolFactory::new(pool.clone())),
            network_provider: Arc::new(network.clone()),
            enable_http_requests: false,
            custom_extensions: |_| Vec::new(),
        })?;
        task_manager.spawn_handle().spawn(
            "offchain-workers-runner",
            "offchain-worker",
            workers.run(client.clone(), task_manager.spawn_handle()).boxed(),
        );
    }

    let voter_state = SharedVoterState::empty();
    let rpc_deps = rpc::Deps {
        client: client.clone(),
        pool: pool.clone(),
        select_chain: select_chain.clone(),
        chain_spec: config.chain_spec.cloned_box(),
        keystore: keystore.clone(),
        babe_worker,
        voter_state: voter_state.clone(),
        authority_set: authority_set.clone(),
        justification_stream: grandpa_link.justification_stream(),
        finality_proofs: sc_consensus_grandpa::FinalityProofProvider::new_for_service(
            backend.clone(),
            Some(authority_set),
        ),
    };
    let enable_grandpa = !config.disable_grandpa;
    sc_service::spawn_tasks(sc_service::SpawnTasksParams {
        config,
        client: client.clone(),
        backend,
        task_manager: &mut task_manager,
        keystore: keystore.clone(),
        transaction_pool: pool.clone(),
        rpc_builder: Box::new(move |executor| rpc::module(&rpc_deps, executor).map_err(Error::Application)),
        network: network.clone(),
        system_rpc_tx,
        tx_handler_controller,
        sync_service: sync.clone(),
        telemetry: telemetry.as_mut(),
        tracing_execute_block: None,
    })?;

    if role.is_authority() {
        let proposer = sc_basic_authorship::ProposerFactory::new(
            task_manager.spawn_handle(),
            client.clone(),
            pool.clone(),
            registry.as_ref(),
            telemetry_handle.clone(),
        );
        let slot_duration = babe_link.config().slot_duration();
        let babe = sc_consensus_babe::start_babe(sc_consensus_babe::BabeParams {
            keystore: keystore.clone(),
            client,
            select_chain,
            env: proposer,
            block_import,
            sync_oracle: sync.clone(),
            justification_sync_link: sync.clone(),
            create_inherent_data_providers: move |_, ()| async move { Ok(inherents(slot_duration)) },
            force_authoring,
            // Without finality, authors slow down instead of growing a chain that nobody can rely on.
            backoff_authoring_blocks: Some(sc_consensus_slots::BackoffAuthoringOnFinalizedHeadLagging::default()),
            babe_link,
            block_proposal_slot_portion: SlotProportion::new(PROPOSAL_PORTION),
            max_block_proposal_slot_portion: None,
            telemetry: telemetry_handle.clone(),
        })?;
        task_manager.spawn_essential_handle().spawn_blocking("babe-proposer", Some("block-authoring"), babe);
    }

    if enable_grandpa {
        let voter = sc_consensus_grandpa::run_grandpa_voter(sc_consensus_grandpa::GrandpaParams {
            config: sc_consensus_grandpa::Config {
                gossip_duration: GRANDPA_GOSSIP_DURATION,
                justification_generation_period: JUSTIFICATION_PERIOD,
                // Nodes without keys follow the votes too, and so finalize at once.
                observer_enabled: true,
                local_role: role,
                name: Some(name),
                keystore: role.is_authority().then_some(keystore),
                telemetry: telemetry_handle.clone(),
                protocol_name: grandpa_protocol,
            },
            link: grandpa_link,
            network,
            sync: Arc::new(sync),
            notification_service: grandpa_notifications,
            // The SDK's default also stays two blocks behind the best one, so that short forks cost no votes. Here that
            // would be four seconds of every job: where authorities see different forks, their common block is finalized.
            voting_rule: sc_consensus_grandpa::VotingRulesBuilder::new()
                .add(sc_consensus_grandpa::ThreeQuartersOfTheUnfinalizedChain)
                .build(),
            prometheus_registry: registry,
            shared_voter_state: voter_state,
            telemetry: telemetry_handle,
            offchain_tx_pool_factory: OffchainTransactionPoolFactory::new(pool),
        })?;
        task_manager.spawn_essential_handle().spawn_blocking("grandpa-voter", None, voter);
    }

    Ok(task_manager)
}

/// What a block's author adds to it: the time, and the slot that follows from it.
fn inherents(
    slot_duration: sp_consensus_babe::SlotDuration,
) -> (sp_consensus_babe::inherents::InherentDataProvider, sp_timestamp::InherentDataProvider) {
    let timestamp = sp_timestamp::InherentDataProvider::from_system_time();
    let slot =
        sp_consensus_babe::inherents::InherentDataProvider::from_timestamp_and_slot_duration(*timestamp, slot_duration);
    (slot, timestamp)
}
