//! Peers and nodes that lie: to the enclave's light client, to the host, to users. The enclave believes nothing that the
//! chain's authorities have not finalized, and the host loses no receipt.

use anyhow::{Context, Result, bail, ensure};
use codec::{DecodeAll, Encode};
use phala_primitives::{
    Limits, PHA,
    job::JobStatus,
    worker::{Liveness, SignedHeartbeat},
};
use phala_protocol::{EnclaveReply, HostRequest, Pause};
use phala_sdk::{Signer, chain::Chain};
use phala_tests::{
    Network,
    authorities::{change_authorities, short_epochs},
    lying_host::{LyingHost, chain_spec, eventually, node_address},
    lying_rpc::{Answer, LyingRpc},
    p2p::{ANNOUNCES, GRANDPA, LIGHT, LyingPeer, SYNC, WARP, WarpProof},
    proxy::{Mode, Proxy},
    user::{Assigned, User},
    verified_block,
};
use serde_json::{Value, json};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::runtime::Runtime;

const SHORT: Limits = Limits { wall_ms: 30_000, ..Limits::DEFAULT };

/// `System::BlockHash`: where a state keeps the hashes of the blocks before it.
const BLOCK_HASHES: &str = "0x26aa394eea5630e07c48ae0c9558cef7a44704b568d21667356a5a050c118746";

/// An enclave whose light client knows one peer only, which lies.
struct Eclipsed {
    chain: Chain,
    node: String,
    peer: LyingPeer,
    host: LyingHost,
    operator: Signer,
    user: User,
    canary: String,
}

impl Eclipsed {
    async fn new(chain: &Chain) -> Result<Self> {
        let node = node_address(chain).await?;
        let peer = LyingPeer::start(&node).await?;
        let operator = Signer::from_uri("//Bob")?;
        let host = LyingHost::start(&chain_spec(chain, &[peer.address()]).await?, &operator).await?;
        host.begin().await?;
        let user = User::new(chain, "//Ferdie")?;
        // Made at run time, so that no program file holds it.
        let mut random = [0; 16];
        std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut random)?;
        let canary = format!("canary-{}", hex::encode(random));
        Ok(Self { chain: chain.clone(), node, peer, host, operator, user, canary })
    }

    /// See [`signs_honest_blocks_only`].
    async fn signs_honest_blocks_only(&self) -> Result<Option<u32>> {
        signs_honest_blocks_only(&self.host, &self.chain).await
    }

    /// Waits until the honest chain has `count` more finalized blocks.
    async fn honest_blocks(&self, count: u32) -> Result<()> {
        let finalized = async || anyhow::Ok(self.chain.finalized().await?.block().number);
        let goal = finalized().await? + count;
        eventually(&format!("finalized block {goal}"), 60, async || Ok((finalized().await? >= goal).then_some(())))
            .await
    }

    async fn completes(&self, job: &Assigned) -> Result<()> {
        eventually("the enclave accepts the job", 120, async || match self.host.start_job(job).await? {
            Ok(reply) => Ok(Some(reply)),
            Err(refusal) if refusal.retry => Ok(None),
            Err(refusal) => Err(refusal.into()),
        })
        .await?;
        let (receipt, output) = self.host.ended(job.job).await?;
        job.completed(&receipt, &output, self.canary.as_bytes())?;
        self.host.settle(&self.chain, &self.operator, &receipt).await?;
        Ok(())
    }
}

#[test]
fn a_lying_peer_moves_no_enclave() -> Result<()> {
    let network = Network::start(0)?;
    Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        let (world, other) = (Eclipsed::new(&chain).await?, Eclipsed::new(&chain).await?);
        // Everything goes through the man in the middle, who passes all of it.
        for world in [&world, &other] {
            world.host.finalized_above(0).await?;
            ensure!(world.peer.seen(GRANDPA) > 0, "the peer sees no messages");
        }
        world.host.register(&chain, &world.operator, "http://127.0.0.1:1").await?;
        // Side by side: most of the time light clients wait until they trust a peer again.
        let first = Box::pin(async {
            forged_storage_proofs_are_refused(&world).await?;
            a_stale_head_pauses_the_enclave(&world).await
        });
        let second = Box::pin(async {
            forged_finality_is_refused(&other).await?;
            the_wire_can_be_cut_and_nothing_else(&other).await
        });
        tokio::try_join!(first, second)?;
        ensure!(!world.host.has_heard(&world.canary), "the canary left the enclave");
        ensure!(world.host.has_heard(&hex::encode(chain.genesis_hash())), "the search does not find what is there");
        Ok(())
    })
}

/// The newest block that the enclave signs for, which must be one that the honest node has finalized; `None` when it signs
/// for none.
async fn signs_honest_blocks_only(host: &LyingHost, chain: &Chain) -> Result<Option<u32>> {
    let mut newest = None;
    let named = [
        host.heartbeat()
            .await?
            .ok()
            .map(|SignedHeartbeat { heartbeat, .. }| (heartbeat.block_number, heartbeat.block_hash)),
        match host.ask(HostRequest::Challenge { nonce: [5; 32] }).await? {
            Ok(EnclaveReply::Liveness(signed)) => {
                let Liveness { block_number, block_hash, .. } = signed.liveness;
                Some((block_number, block_hash))
            }
            Ok(other) => bail!("no liveness: {other:?}"),
            Err(_) => None,
        },
    ];
    let status = host.status().await?;
    let finalized = chain.finalized().await?.block().number;
    for (number, hash) in named.into_iter().flatten() {
        ensure!(number <= finalized, "block {number} is not final: the newest is {finalized}");
        let honest = chain.at_number(number).await?.block();
        ensure!(honest.hash == hash, "block {number} is another on the honest chain");
        newest = newest.max(Some(number));
    }
    ensure!(status.finalized_block.is_none_or(|block| block <= finalized), "{status:?}");
    ensure!(host.is_alive(), "the enclave has ended");
    Ok(newest)
}

async fn forged_storage_proofs_are_refused(world: &Eclipsed) -> Result<()> {
    world.host.beat(&world.chain, &world.operator).await?;
    ensure!(world.peer.seen(LIGHT) > 0, "no storage was read");
    let job = world.user.submit("echo", world.canary.as_bytes(), &[], SHORT).await?;
    let told = Arc::new(AtomicUsize::new(0));
    let (count, mut kept) = (told.clone(), None::<Vec<u8>>);
    world.peer.lie(move |passing, mut message| {
        if !passing.is_from_node(LIGHT) {
            return vec![message];
        }
        // The proof of another block, nothing, half of it, and one with a bit flipped.
        let kind = count.fetch_add(1, Ordering::Relaxed);
        let other = kept.replace(message.clone());
        match (kind % 4, other) {
            (0, Some(other)) => message = other,
            (1, _) => message.clear(),
            (2, _) => message.truncate(message.len() / 2),
            _ => {
                let middle = message.len() / 2;
                if let Some(byte) = message.get_mut(middle) {
                    *byte ^= 1;
                }
            }
        }
        vec![message]
    });
    // The job is this worker's, and the enclave cannot know.
    world.host.finalized_above(0).await?;
    let refusal = world.host.start_job(&job).await?.err().context("a job was accepted on forged proofs")?;
    ensure!(refusal.retry, "{refusal}");
    ensure!(told.load(Ordering::Relaxed) > 0, "nothing was forged");
    ensure!(world.host.heartbeat().await?.is_err(), "a heartbeat without the chain's word about this worker");
    world.signs_honest_blocks_only().await?;
    world.peer.be_honest();
    let before = world.host.status().await?.finalized_block.context("it has followed the chain")?;
    world.host.finalized_above(before).await?;
    // Meanwhile the chain may have given the job to nobody, or anew.
    world.host.beat(&world.chain, &world.operator).await?;
    let job = world.user.submit("echo", world.canary.as_bytes(), &[], SHORT).await?;
    world.completes(&job).await
}

async fn forged_finality_is_refused(world: &Eclipsed) -> Result<()> {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    world.peer.lie(move |passing, mut message| {
        // A commit: kind, round, set, and then the hash of the block that is said to be final.
        let is_commit = passing.is_from_node(GRANDPA) && passing.position > 0 && message.first() == Some(&1);
        if is_commit && message.len() > 60 {
            message[17..49].iter_mut().for_each(|byte| *byte ^= 0xaa);
            count.fetch_add(1, Ordering::Relaxed);
        } else if passing.is_from_node(WARP) {
            forge_warp(&mut message, |proof| {
                for fragment in &mut proof.fragments {
                    fragment.precommits.iter_mut().for_each(|vote| vote.signature[7] ^= 1);
                }
            });
            count.fetch_add(1, Ordering::Relaxed);
        }
        vec![message]
    });
    // While it runs, and from its start.
    let before = world.host.status().await?.finalized_block.context("it has followed the chain")?;
    world.honest_blocks(5).await?;
    world.signs_honest_blocks_only().await?;
    let now = world.host.status().await?.finalized_block.context("it has followed the chain")?;
    // Commits that were on their way.
    ensure!(now <= before + 3, "from {before} to {now} on forged commits");
    let told_before = told.load(Ordering::Relaxed);
    world.host.restart().await?;
    eventually("something is forged", 60, async || Ok((told.load(Ordering::Relaxed) > told_before).then_some(())))
        .await?;
    world.honest_blocks(4).await?;
    // Every eighth header comes with a true justification.
    world.signs_honest_blocks_only().await?;
    world.peer.be_honest();
    world.host.finalized_above(now).await?;
    ensure!(world.signs_honest_blocks_only().await?.is_some());
    Ok(())
}

/// Changes an answer to a warp sync request; requests of another form stay as they are.
fn forge_warp(message: &mut Vec<u8>, forge: impl FnOnce(&mut WarpProof)) {
    if let Ok(mut proof) = WarpProof::decode_all(&mut &message[..]) {
        forge(&mut proof);
        *message = proof.encode();
    }
}

/// Between an enclave and an honest peer: who carries the bytes has no key.
async fn the_wire_can_be_cut_and_nothing_else(world: &Eclipsed) -> Result<()> {
    let parts: Vec<_> = world.node.split('/').collect();
    let ["", "ip4", ip, "tcp", port, "p2p", id] = parts[..] else { bail!("{}", world.node) };
    let proxy = Proxy::start(&format!("{ip}:{port}")).await?;
    let address = format!("/ip4/127.0.0.1/tcp/{}/p2p/{id}", proxy.port());
    let spec = chain_spec(&world.chain, &[&address]).await?;
    let host = LyingHost::start(&spec, &world.operator).await?;
    host.begin().await?;
    let mut last = host.finalized_above(0).await?;
    for mode in [Mode::Garble, Mode::Replay, Mode::Cut] {
        let connections = proxy.connections();
        proxy.set(mode);
        eventually(&format!("a new connection in {mode:?}"), 90, async || {
            Ok((proxy.connections() > connections).then_some(()))
        })
        .await?;
        let finalized = world.chain.finalized().await?.block().number;
        ensure!(host.status().await?.finalized_block.is_none_or(|block| block <= finalized));
        proxy.set(Mode::Carry);
        last = host.finalized_above(last).await.with_context(|| format!("after {mode:?}"))?;
    }
    ensure!(host.is_alive());
    Ok(())
}

/// Nothing new passes: the chain seems to stand still.
async fn a_stale_head_pauses_the_enclave(world: &Eclipsed) -> Result<()> {
    let before = world.host.finalized_above(0).await?;
    world.peer.lie(|passing, message| {
        let is_told = passing.position > 0 && [ANNOUNCES, GRANDPA].iter().any(|name| passing.is_from_node(name));
        let is_answered = [SYNC, WARP].iter().any(|name| passing.is_from_node(name));
        if is_told || is_answered { vec![] } else { vec![message] }
    });
    let pause =
        eventually("the enclave notices that nothing is finalized", 120, async || Ok(world.host.status().await?.pause))
            .await?;
    ensure!(matches!(pause, Pause::NoFinality { seconds: 60.. }), "{pause:?}");
    let refusal = world.host.ask(HostRequest::StartJob { job: 0, attempt: 1, input: [0; 32] }).await?;
    let refusal = refusal.err().context("a paused enclave took a job")?;
    ensure!(refusal.retry && refusal.reason.contains("no block was finalized for"), "{refusal}");
    world.signs_honest_blocks_only().await?;
    // An honest peer is there, beside the one that lies.
    let spec = chain_spec(&world.chain, &[world.peer.address(), &world.node]).await?;
    world.host.begin_with(&spec).await?;
    world.host.finalized_above(before + 10).await?;
    eventually("the pause is over", 30, async || Ok(world.host.status().await?.pause.is_none().then_some(()))).await?;
    world.signs_honest_blocks_only().await?.context("it signs again")?;
    Ok(())
}

/// Proofs of changed authorities that leave one out, put them into another order, or end too early.
#[test]
fn authority_sets_out_of_order_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("chain.json");
    fs::write(&path, serde_json::to_vec(&short_epochs()?)?)?;
    let network = Network::start_with(&["--workers", "0", "--chain", path.to_str().context("a path in UTF-8")?])?;
    Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        change_authorities(&chain, &network.sudo(), 3).await?;
        // Who is at most 32 blocks behind asks for headers, and for no proof.
        eventually("a chain that is entered by proofs", 150, async || {
            Ok((chain.finalized().await?.block().number > 48).then_some(()))
        })
        .await?;
        let forgeries: [fn(&mut WarpProof); 4] = [
            |proof| drop(proof.fragments.remove(0)),
            |proof| proof.fragments.swap(0, 1),
            |proof| {
                let header = proof.fragments[1].header.clone();
                proof.fragments[0].header = header;
            },
            |proof| {
                let votes = proof.fragments[0].precommits.clone();
                proof.fragments[1].precommits = votes;
            },
        ];
        let mut worlds = Vec::new();
        for forge in forgeries {
            let node = node_address(&chain).await?;
            let peer = LyingPeer::start(&node).await?;
            let told = Arc::new(AtomicUsize::new(0));
            let count = told.clone();
            peer.lie(move |passing, mut message| {
                // Finality comes by these proofs alone.
                if passing.is_from_node(GRANDPA) && passing.position > 0 {
                    return vec![];
                }
                if passing.is_from_node(WARP) {
                    forge_warp(&mut message, |proof| {
                        if proof.fragments.len() > 1 {
                            forge(proof);
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
                vec![message]
            });
            let spec = chain_spec(&chain, &[peer.address()]).await?;
            let host = LyingHost::start(&spec, &network.sudo()).await?;
            host.begin().await?;
            worlds.push((peer, host, told));
        }
        for (number, (_, _, told)) in worlds.iter().enumerate() {
            eventually(&format!("proof {number} is forged"), 60, async || {
                Ok((told.load(Ordering::Relaxed) > 0).then_some(()))
            })
            .await?;
        }
        let finalized = chain.finalized().await?.block().number;
        eventually("the honest chain goes on", 60, async || {
            Ok((chain.finalized().await?.block().number > finalized + 5).then_some(()))
        })
        .await?;
        for (number, (peer, host, _)) in worlds.iter().enumerate() {
            let named = signs_honest_blocks_only(host, &chain).await;
            named.with_context(|| format!("forged proof {number} was taken"))?;
            peer.be_honest();
        }
        for (_, host, _) in &worlds {
            host.finalized_above(finalized).await?;
        }
        Ok(())
    })
}

/// The same genesis and the same authorities, who began anew: what they finalize now is not what the enclave has seen.
#[test]
fn a_fork_of_the_same_genesis_is_refused() -> Result<()> {
    let network = Network::start(0)?;
    let runtime = Runtime::new()?;
    let (chain, host, first) = runtime.block_on(async {
        let chain = network.chain().await?;
        let first = chain_spec(&chain, &[&node_address(&chain).await?]).await?;
        let host = LyingHost::start(&first, &network.sudo()).await?;
        host.begin().await?;
        host.finalized_above(20).await?;
        anyhow::Ok((chain, host, first))
    })?;
    let other = Network::start(0)?;
    runtime.block_on(async {
        let fork = other.chain().await?;
        ensure!(fork.genesis_hash() == chain.genesis_hash(), "the other chain is no fork");
        let identity = host.begin().await?;
        // What the enclave names is on the host's disk, and so known to the next process.
        let named = host.heartbeat().await??.heartbeat.block_number;
        let second = chain_spec(&fork, &[&node_address(&fork).await?]).await?;
        host.kill().await?;
        host.revive().await?;
        ensure!(host.begin_with(&second).await? == identity, "another worker on the same genesis");
        let begin = fork.finalized().await?.block().number;
        eventually("the enclave is connected to the fork, which goes on", 60, async || {
            let connected = host.status().await?.peers > 0;
            Ok((connected && fork.finalized().await?.block().number > begin + 2).then_some(()))
        })
        .await?;
        let (status, head) = (host.status().await?, fork.finalized().await?.block().number);
        ensure!(head < named, "the fork at {head} is as long as the chain was at {named}: the test is too slow");
        ensure!(status.finalized_block.is_none(), "a block of the fork is reported: {status:?}");
        ensure!(host.heartbeat().await?.is_err(), "a heartbeat for a fork");
        ensure!(host.ask(HostRequest::Challenge { nonce: [1; 32] }).await?.is_err(), "an answer for a fork");
        host.kill().await?;
        host.revive().await?;
        host.begin_with(&first).await?;
        host.finalized_above(named).await?;
        Ok(())
    })
}

/// Whether a call submits a receipt: the longest of what a host submits once its worker is registered. Heartbeats pass, so
/// that the worker keeps its job.
fn is_receipt(method: &str, params: &Value) -> bool {
    ["author_submitAndWatchExtrinsic", "author_submitExtrinsic"].contains(&method)
        && params[0].as_str().is_some_and(|transaction| transaction.len() > 800)
}

/// The node that a host asks lies to it: the worker may stand still meanwhile, but nothing is lost and little is paid.
#[test]
fn a_lying_rpc_node_loses_no_receipt() -> Result<()> {
    let network = Network::start(1)?;
    let runtime = Runtime::new()?;
    let node = runtime.block_on(LyingRpc::start(network.node()))?;
    network.set_option("host-1", "--node", Some(node.url()))?;
    network.restart("host-1", "-TERM")?;
    let (worker, endpoint, before) = runtime.block_on(async {
        let chain = network.chain().await?;
        let state = chain.best().await?;
        let (id, worker) = state.workers().await?.into_iter().next().context("a worker")?;
        let before = state.balance(worker.operator).await?;
        anyhow::Ok((id, String::from_utf8(worker.endpoint)?, before))
    })?;
    let verified = || -> Result<u32> { Ok(runtime.block_on(verified_block(&endpoint))?.unwrap_or(0)) };
    phala_tests::wait_until("the worker's host is back", 60, || Ok(verified().ok().filter(|block| *block > 0)))?;
    let offered = Arc::new(AtomicUsize::new(0));
    let count = offered.clone();
    node.lie(move |method, params| {
        if is_receipt(method, params) {
            count.fetch_add(1, Ordering::Relaxed);
            return Answer::Refused("1014: Priority is too low");
        }
        Answer::Honest
    });
    let job = network.submit("echo", &["--wall-time", "300"])?;
    phala_tests::wait_until("the host offers the receipt", 120, || {
        Ok((offered.load(Ordering::Relaxed) > 0).then_some(()))
    })?;
    network.wait_blocks(3)?;
    // Not again and again: it waits longer each time.
    let offers = offered.load(Ordering::Relaxed);
    ensure!(offers < 12, "{offers} offers");

    // A worker that is lied to for longer than the chain waits for a sign of life loses its jobs, and should. So truth and
    // heartbeats come between the lies.
    let heartbeat = || -> Result<()> {
        node.be_honest();
        let last = || {
            runtime.block_on(async {
                let worker = network.chain().await?.best().await?.worker(worker).await?;
                anyhow::Ok(worker.context("the worker is registered")?.last_heartbeat)
            })
        };
        let before = last()?;
        phala_tests::wait_until("a heartbeat after a lie", 60, || Ok((last()? > before).then_some(())))
    };

    // A chain that stands still, has finalized what nobody knows, and has never heard of anything.
    node.lie(|method, params| match method {
        "chain_getBlockHash" if params.as_array().is_none_or(|params| params.iter().all(Value::is_null)) => {
            Answer::Refused("no best block")
        }
        "chain_getFinalizedHead" => Answer::Instead(json!(format!("0x{}", "ab".repeat(32)))),
        "state_getStorage" => Answer::Instead(Value::Null),
        _ => Answer::Honest,
    });
    // The enclave sees the chain with its own eyes.
    let then = verified()?;
    phala_tests::wait_until("the enclave follows the chain all the same", 60, || {
        Ok((verified()? > then + 4).then_some(()))
    })?;

    heartbeat()?;

    // Storage that is not there, at heads that are.
    node.lie(|method, _| match method {
        "state_getStorage" => Answer::Instead(Value::Null),
        _ => Answer::Honest,
    });
    network.wait_blocks(3)?;
    heartbeat()?;

    // Calls that never end.
    node.lie(|method, _| match method {
        "chain_getFinalizedHead" | "chain_getBlockHash" => Answer::Nothing,
        _ => Answer::Honest,
    });
    network.wait_blocks(3)?;
    heartbeat()?;

    // Transactions that are taken and forgotten.
    node.lie(|method, params| match method {
        _ if !is_receipt(method, params) => Answer::Honest,
        "author_submitAndWatchExtrinsic" => Answer::Instead(json!("forgotten")),
        _ => Answer::Instead(json!(format!("0x{}", "cd".repeat(32)))),
    });
    network.wait_blocks(5)?;

    node.be_honest();
    runtime.block_on(async {
        let chain = network.chain().await?;
        let settled = eventually("the receipt is settled", 240, async || {
            let state = chain.best().await?;
            let job = state.job(job).await?.context("the job is on chain")?;
            Ok(matches!(job.status, JobStatus::Settled(_)).then_some((state, job.attempts)))
        });
        let (state, attempts) = settled.await?;
        ensure!(attempts == 1, "it took {attempts} attempts");
        let operator = state.worker(worker).await?.context("the worker is registered")?.operator;
        let after = state.balance(operator).await?;
        ensure!(after.nonce - before.nonce < 40, "{} transactions", after.nonce - before.nonce);
        ensure!(after.free + PHA / 10 > before.free, "from {} to {}", before.free, after.free);
        Ok(())
    })?;
    network.job("echo", &[])?.ok()?;
    a_node_that_shows_other_blocks_is_contradicted_by_the_enclave(&network, &node, &worker.to_string())
}

/// A user who asks a lying node: the enclave's signed answer does not fit.
fn a_node_that_shows_other_blocks_is_contradicted_by_the_enclave(
    network: &Network,
    node: &LyingRpc,
    worker: &str,
) -> Result<()> {
    let verify = || network.command(&["verify", "worker", worker]).env("PHALA_NODE", node.url()).output();
    let honest = verify()?;
    ensure!(honest.status.success(), "{}", String::from_utf8_lossy(&honest.stderr));
    node.lie(|method, params| match method {
        "state_getStorage" if params[0].as_str().is_some_and(|key| key.starts_with(BLOCK_HASHES)) => {
            Answer::Changed(Box::new(|_| json!(format!("0x{}", "11".repeat(32)))))
        }
        _ => Answer::Honest,
    });
    // Where enclave and node are at the very same block, there is nothing to compare.
    phala_tests::wait_until("the enclave contradicts the node", 60, || {
        let lied = verify()?;
        let says = String::from_utf8_lossy(&lied.stderr).contains("different blocks");
        Ok((!lied.status.success() && says).then_some(()))
    })?;
    node.be_honest();
    Ok(())
}
