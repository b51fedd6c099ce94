//! `phala dev up`.

use anyhow::{Context as _, bail};
use phala_attestation::{DocumentId, Kind, Measurement, Role as ImageRole, SignedDocument, mint::Mint};
use phala_primitives::{
    attestation::KeptDocument,
    units::{Balance, PHA},
};
use phala_sdk::{
    Signer, amount,
    chain::{Chain, State, call, seat_id},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs, io,
    net::TcpListener,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::{
    process::{Process, tail},
    state::{self, DevWorker, Network, Role},
    stop,
};
use crate::{Status, args::DevUp, context::Context, output::Output};

/// What each operator gets.
const FUNDING: Balance = 10_000 * PHA;

/// What each gatekeeper's seat has on hold: more than the least, which it must still have after it was silent for a while.
const BOND: Balance = 11_000 * PHA;

/// The accounts that make blocks, as the node's options call them.
const AUTHORITIES: [&str; 4] = ["alice", "bob", "charlie", "dave"];

/// How many slots a session of a network with gatekeepers has: one minute.
const SESSION_SLOTS: u64 = 30;

/// Where genesis says so: twox128 of `:EpochDuration:`.
const SESSION_LENGTH: &str = "0x695ec709ce0439fb6d6db345d9653648";

/// Of the folder of a host's socket. An enclave that root starts enters it as root, and goes on as another user in its group.
const SOCKET_FOLDER_MODE: u32 = 0o710;

/// Advice for those who change the chain itself.
const REBUILT: &str =
    "\nif the node was built anew since this chain began, `phala dev down --purge` forgets the old chain";

/// How often conditions are looked at.
const POLL: Duration = Duration::from_millis(250);

pub(crate) async fn up(options: DevUp, context: &Context, output: &Output) -> Status {
    let folder = super::folder(&options.folder, context);
    let lock = state::lock(&folder)?;
    let folder = folder.canonicalize().with_context(|| format!("cannot use {}", folder.display()))?;
    if let Some(network) = Network::load(&folder)? {
        if network.is_running() {
            drop(lock);
            output.note("A network runs already; `phala dev down` stops it.");
            return super::status(&folder, output).await;
        }
        output.note("Not everything of the network runs any more; starting it again.");
        stop(&network, output).await?;
        network.forget(&folder)?;
    }
    let binaries = Binaries::find(options.bin_dir.as_deref())?;
    let (authorities, gatekeepers) = options.sizes();
    let mut builder = Builder {
        authorities,
        gatekeepers,
        network: Network {
            version: 1,
            node: String::new(),
            genesis_hash: String::new(),
            measurement: String::new(),
            processes: vec![],
            workers: vec![],
            gatekeepers: vec![],
        },
        began: Instant::now(),
        folder,
        binaries,
        options,
        output,
        nodes: vec![],
    };
    let result = tokio::select! {
        result = Box::pin(builder.build()) => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Err(error) = result {
        output.clear();
        stop(&builder.network, output).await?;
        // There is nothing to forget if it failed early.
        let _ = builder.network.forget(&builder.folder);
        return Err(error.context("the network did not come up, and was stopped"));
    }
    builder.report()?;
    Ok(0)
}

/// The programs that a network is made of.
struct Binaries {
    node: PathBuf,
    host: PathBuf,
    enclave: PathBuf,
    gatekeeper: PathBuf,
}

impl Binaries {
    fn find(folder: Option<&Path>) -> anyhow::Result<Self> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => {
                let own = std::env::current_exe().context("cannot find this program's folder")?;
                own.parent().context("this program has no folder")?.to_owned()
            }
        };
        let find = |name: &str| {
            let path = folder.join(name);
            if !path.is_file() {
                bail!("{name} is not in {}; build it, or say where it is with --bin-dir", folder.display());
            }
            path.canonicalize().with_context(|| format!("cannot use {}", path.display()))
        };
        Ok(Self {
            node: find("phala-node")?,
            host: find("phala-host")?,
            enclave: find("phala-enclave")?,
            gatekeeper: find("phala-gatekeeper-enclave")?,
        })
    }
}

struct Builder<'a> {
    network: Network,
    began: Instant,
    folder: PathBuf,
    binaries: Binaries,
    options: DevUp,
    /// How many nodes make blocks.
    authorities: u8,
    /// How many of them get a gatekeeper.
    gatekeepers: u8,
    output: &'a Output,
    /// The JSON-RPC of each node.
    nodes: Vec<String>,
}

impl Builder<'_> {
    async fn build(&mut self) -> anyhow::Result<()> {
        let mut ports = Ports::default();
        fs::create_dir_all(self.folder.join(state::LOGS)).context("cannot make the folder of the logs")?;
        if self.gatekeepers > self.authorities {
            bail!("each gatekeeper has a node of its own: give --authorities 4, or fewer --gatekeepers");
        }
        let executable = measure(&self.binaries.enclave)?;
        let gatekeeper = measure(&self.binaries.gatekeeper)?;
        self.network.measurement = format!("0x{}", hex::encode(executable));
        self.forget_old_enclaves(&gatekeeper)?;

        let chain = self.start_nodes(&mut ports).await?;
        self.network.genesis_hash = format!("0x{}", hex::encode(chain.genesis_hash()));
        self.network.save(&self.folder)?;
        self.wait_for("the first finalized block", async || Ok(chain.finalized().await?.block().number > 0)).await?;
        self.prepare_chain(&chain, executable, gatekeeper).await?;
        self.start_gatekeepers(&mut ports)?;
        self.start_workers(&mut ports)?;
        self.network.save(&self.folder)?;
        self.wait_for_gatekeepers(&chain).await?;
        self.wait_for_workers(&chain).await
    }

    /// Another image cannot open what an older one sealed, and a platform backs one worker only: after a rebuild, workers
    /// start on new platforms.
    fn forget_old_enclaves(&self, gatekeeper: &[u8; 32]) -> anyhow::Result<()> {
        let path = self.folder.join(state::MEASUREMENT);
        let old = fs::read_to_string(&path).unwrap_or_default();
        let mut old = old.split_whitespace();
        let gatekeeper = format!("0x{}", hex::encode(gatekeeper));
        if old.next().is_some_and(|old| old != self.network.measurement) {
            self.output.note("The enclave was built anew: its workers start with new identities.");
            state::remove_workers(&self.folder).context("cannot remove the old workers")?;
        }
        if old.next().is_some_and(|old| old != gatekeeper) && state::has_gatekeepers(&self.folder)? {
            bail!(
                "the gatekeepers' enclave was built anew, and cannot open the shares of the network's keys that the old build \
                 sealed; `phala dev down --purge` forgets this chain and its keys"
            );
        }
        fs::write(&path, format!("{} {gatekeeper}", self.network.measurement)).context("cannot write the measurement")
    }

    async fn start_nodes(&mut self, ports: &mut Ports) -> anyhow::Result<Chain> {
        let count = usize::from(self.authorities);
        let specification = match &self.options.chain {
            None if count == 1 => "dev".to_owned(),
            None if self.gatekeepers == 0 => "local".to_owned(),
            None => self.chain_with_short_sessions()?.display().to_string(),
            // The node runs in another folder.
            Some(file) if Path::new(file).is_file() => {
                fs::canonicalize(file).with_context(|| format!("cannot use {file}"))?.display().to_string()
            }
            Some(name) => name.clone(),
        };
        let mut first: Option<(Chain, String)> = None;
        for (index, name) in AUTHORITIES.iter().take(count).enumerate() {
            let number = index + 1;
            let base = self.folder.join(state::node_folder(number));
            fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
            let key = base.join("network-key");
            if !key.exists() {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
                phala_sdk::job::write_private(&key, &secret)?;
            }
            let rpc_port = ports.take(if index == 0 { self.options.rpc_port } else { 0 })?;
            let p2p_port = ports.take(0)?;
            let mut arguments = strings(&[
                "--chain",
                &specification,
                "--validator",
                &format!("--{name}"),
                "--base-path",
                &base.display().to_string(),
                "--node-key-file",
                &key.display().to_string(),
                "--rpc-port",
                &rpc_port.to_string(),
                "--listen-addr",
                &format!("/ip4/127.0.0.1/tcp/{p2p_port}"),
                "--no-prometheus",
                "--no-telemetry",
                "--no-mdns",
            ]);
            if let Some((_, address)) = &first {
                arguments.extend(strings(&["--bootnodes", address]));
            }
            if number <= usize::from(self.gatekeepers) {
                // Its host has it make session keys.
                arguments.extend(strings(&["--rpc-methods", "unsafe"]));
            }
            self.start(&format!("node-{number}"), Role::Node, self.binaries.node.clone(), &arguments)?;
            let url = format!("ws://127.0.0.1:{rpc_port}");
            let chain = self.wait_for_node(&url, number).await?;
            let addresses: Vec<String> = chain.rpc("system_localListenAddresses", vec![]).await?;
            let ours = format!("/tcp/{p2p_port}/");
            let Some(address) = addresses.into_iter().find(|address| format!("{address}/").contains(&ours)) else {
                bail!(
                    "another node than ours answers at {url}, or ours could not listen on port {p2p_port}: another \
                     program took a port meanwhile; try again, with another --rpc-port"
                );
            };
            self.nodes.push(url.clone());
            if first.is_none() {
                self.network.node = url;
                first = Some((chain, address));
            }
        }
        first.map(|(chain, _)| chain).context("a network has at least one node")
    }

    /// The chain `local`, but with sessions in which one can wait for an election: a specification in the network's folder.
    fn chain_with_short_sessions(&self) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(state::CHAIN);
        if path.exists() {
            return Ok(path);
        }
        let export = ["export-chain-spec", "--chain", "local", "--raw"];
        let run = Command::new(&self.binaries.node).args(export).output().context("cannot run phala-node")?;
        if !run.status.success() {
            bail!("phala-node does not give its chain specification: {}", String::from_utf8_lossy(&run.stderr));
        }
        let mut specification: Value =
            serde_json::from_slice(&run.stdout).context("phala-node's chain specification is no JSON")?;
        let slots = format!("0x{}", hex::encode(SESSION_SLOTS.to_le_bytes()));
        specification["genesis"]["raw"]["top"][SESSION_LENGTH] = slots.into();
        phala_sdk::job::write_private(&path, specification.to_string().as_bytes())?;
        Ok(path)
    }

    async fn wait_for_node(&self, url: &str, number: usize) -> anyhow::Result<Chain> {
        let mut chain = None;
        self.wait_for(&format!("node {number}"), async || {
            chain = Chain::connect(url).await.ok();
            Ok(chain.is_some())
        })
        .await?;
        chain.context("the node was there a moment ago")
    }

    /// Allows the enclave's image, gives the operators something to pay fees with, and publishes what simulated vendors
    /// publish.
    async fn prepare_chain(&self, chain: &Chain, executable: [u8; 32], gatekeeper: [u8; 32]) -> anyhow::Result<()> {
        self.output.progress("Allowing the enclave's image and funding the operators …");
        let state = chain.best().await?;
        let mint = Mint { measurement: executable, ..Mint::at(state.timestamp_ms().await? / 1000) };
        let mut calls = vec![];
        for kind in self.tees() {
            let measurement = mint.image(kind);
            if state.image(measurement).await?.is_none() {
                calls.push(call::sudo(call::allow_image(measurement, ImageRole::Worker, 1)));
            }
        }
        let gatekeeper = Measurement(gatekeeper);
        if self.gatekeepers > 0 && state.image(gatekeeper).await?.is_none() {
            calls.push(call::sudo(call::allow_image(gatekeeper, ImageRole::Gatekeeper, 1)));
        }
        calls.extend(self.new_documents(&state, &mint).await?.into_iter().map(call::submit_document));
        for number in 1..=self.gatekeepers {
            let operator = Signer::from_uri(&gatekeeper_operator(number))?.account();
            if state.seat(seat_id(operator, 0)).await?.is_none() && state.balance(operator).await?.free <= BOND {
                calls.push(call::transfer(operator, BOND + FUNDING));
            }
        }
        for number in 1..=self.options.workers {
            let operator = Signer::from_uri(&operator(number))?.account();
            if state.balance(operator).await?.free < FUNDING / 10 {
                calls.push(call::transfer(operator, FUNDING));
            }
        }
        if !calls.is_empty() {
            let alice = Signer::from_uri("//Alice")?;
            // Finalized: of the first blocks, some are replaced.
            let submitted = chain.submit_finalized(&alice, call::batch_all(calls)).await;
            submitted.context("cannot prepare the chain")?;
        }
        Ok(())
    }

    /// The kinds of TEE that the workers imitate.
    fn tees(&self) -> BTreeSet<Kind> {
        self.options.tee.iter().copied().collect()
    }

    /// What simulated vendors publish of the TEEs that the workers imitate, and the chain does not have.
    async fn new_documents(&self, state: &State, mint: &Mint) -> anyhow::Result<Vec<SignedDocument>> {
        let mut documents = Vec::new();
        for (_, published) in self.tees().into_iter().filter_map(|kind| mint.of_kind(kind, &[0; 64])) {
            // SGX and TDX share some.
            documents
                .extend(published.into_iter().filter(|document| !documents.contains(document)).collect::<Vec<_>>());
        }
        let (policy, kept) = (state.policy().await?, state.documents().await?);
        let mut new = Vec::new();
        for document in documents {
            let verified = phala_attestation::verify_document(&document, &policy, mint.from)
                .context("the chain's genesis does not name the simulated vendors of this build")?;
            let is_kept = |(id, kept): &(DocumentId, KeptDocument)| {
                *id == verified.id() && (kept.issued >= verified.issued() || kept.number > verified.number())
            };
            if !kept.iter().any(is_kept) {
                new.push(document);
            }
        }
        Ok(new)
    }

    fn start_gatekeepers(&mut self, ports: &mut Ports) -> anyhow::Result<()> {
        for number in 1..=self.gatekeepers {
            let base = self.folder.join(state::gatekeeper_folder(number));
            let operator = gatekeeper_operator(number);
            let node = self.nodes.get(usize::from(number) - 1).context("each gatekeeper has a node")?.clone();
            let (host, enclave) = (format!("gatekeeper-host-{number}"), format!("gatekeeper-{number}"));
            let bond = amount::format_number(BOND);
            let special = strings(&["--gatekeeper", "--bond", &bond]);
            let started =
                self.start_host(ports, &host, &base, &format!("gatekeeper-{number}"), &node, &operator, &special)?;
            let StartedHost { endpoint, enclave: mut arguments } = started;
            // Who breaks one vendor has one of them.
            arguments.extend(strings(&["--vendor", &format!("vendor-{number}")]));
            self.start(&enclave, Role::Enclave, self.binaries.gatekeeper.clone(), &arguments)?;
            self.network.gatekeepers.push(DevWorker { host, operator, endpoint });
        }
        Ok(())
    }

    /// Starts a host, and gives its endpoint and the arguments of its enclave.
    #[allow(clippy::too_many_arguments, reason = "there is one call for each role")]
    fn start_host(
        &mut self,
        ports: &mut Ports,
        name: &str,
        base: &Path,
        socket: &str,
        node: &str,
        operator: &str,
        special: &[String],
    ) -> anyhow::Result<StartedHost> {
        let data = base.join("host");
        let private = fs::DirBuilder::new().recursive(true).mode(0o700).create(&data);
        private.with_context(|| format!("cannot make {}", data.display()))?;
        let socket = make_socket_folder(&sockets_folder(&self.folder), socket)?.join("enclave.sock");
        let socket = socket.display().to_string();
        let port = ports.take(0)?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut arguments = strings(&[
            "--node",
            node,
            "--socket",
            &socket,
            "--data",
            &data.display().to_string(),
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--endpoint",
            &endpoint,
            "--operator-key",
            operator,
        ]);
        arguments.extend_from_slice(special);
        self.start(name, Role::Host, self.binaries.host.clone(), &arguments)?;
        let platform = base.join("platform.seed").display().to_string();
        Ok(StartedHost { endpoint, enclave: strings(&["--socket", &socket, "--platform", &platform]) })
    }

    fn start_workers(&mut self, ports: &mut Ports) -> anyhow::Result<()> {
        for number in 1..=self.options.workers {
            let base = self.folder.join(state::worker_folder(number));
            let operator = operator(number);
            let (host, node) = (format!("host-{number}"), self.network.node.clone());
            let (price, capacity) = (amount::format_number(self.options.price), self.options.capacity.to_string());
            let special = strings(&["--price", &price, "--capacity", &capacity]);
            let started = self.start_host(ports, &host, &base, &number.to_string(), &node, &operator, &special)?;
            let StartedHost { endpoint, enclave: mut arguments } = started;
            let mut tees = self.options.tee.iter().cycle();
            if let Some(kind) = tees.nth(usize::from(number) - 1).filter(|kind| **kind != Kind::Simulated) {
                arguments.extend(strings(&["--imitate", &kind.to_string()]));
            }
            self.start(&format!("enclave-{number}"), Role::Enclave, self.binaries.enclave.clone(), &arguments)?;
            self.network.workers.push(DevWorker { host, operator, endpoint });
        }
        Ok(())
    }

    /// Waits until they are registered. What comes then takes as long as a session.
    async fn wait_for_gatekeepers(&self, chain: &Chain) -> anyhow::Result<()> {
        let wanted: Vec<_> = self
            .network
            .gatekeepers
            .iter()
            .map(|gatekeeper| Ok(seat_id(Signer::from_uri(&gatekeeper.operator)?.account(), 0)))
            .collect::<anyhow::Result<_>>()?;
        self.wait_for("the gatekeepers", async || {
            let seats = chain.read(async |state| state.seats().await).await?;
            Ok(wanted.iter().all(|wanted| seats.iter().any(|(seat, _)| seat == wanted)))
        })
        .await
    }

    async fn wait_for_workers(&self, chain: &Chain) -> anyhow::Result<()> {
        let wanted: BTreeSet<String> = self.network.workers.iter().map(|worker| worker.endpoint.clone()).collect();
        let started = Instant::now();
        loop {
            let workers = chain.read(async |state| state.active_workers().await).await?;
            let ours = |endpoint: &[u8]| wanted.contains(&*String::from_utf8_lossy(endpoint));
            let active = workers.iter().filter(|(_, worker)| ours(&worker.endpoint)).count();
            if active >= wanted.len() {
                return Ok(());
            }
            self.output.progress(&format!("Waiting for the workers: {active} of {} are active", wanted.len()));
            self.check_alive()?;
            if started.elapsed() > Duration::from_secs(self.options.timeout) {
                bail!(
                    "only {active} of {} workers were active after {} s\n{}{REBUILT}",
                    wanted.len(),
                    self.options.timeout,
                    self.last_words("host-1")
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn wait_for(
        &self,
        what: &str,
        mut condition: impl AsyncFnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        self.output.progress(&format!("Waiting for {what} …"));
        let started = Instant::now();
        loop {
            self.check_alive()?;
            if condition().await? {
                return Ok(());
            }
            if started.elapsed() > Duration::from_secs(self.options.timeout) {
                bail!("{what} was not there after {} s\n{}", self.options.timeout, self.last_words("node-1"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn start(&mut self, name: &str, role: Role, program: PathBuf, arguments: &[String]) -> anyhow::Result<()> {
        self.output.progress(&format!("Starting {name} …"));
        let log = self.folder.join(state::LOGS).join(format!("{name}.log"));
        // The log of an earlier run stays beside it.
        if log.exists() {
            let _ = fs::rename(&log, log.with_extension("log.old"));
        }
        self.network.processes.push(Process::start(name, role, &program, arguments, &log)?);
        // Should this command die, `phala dev down` still finds everything.
        self.network.save(&self.folder)
    }

    fn check_alive(&self) -> anyhow::Result<()> {
        match self.network.processes.iter().find(|process| !process.is_alive()) {
            None => Ok(()),
            Some(process) => {
                let advice = match process.role {
                    Role::Node => REBUILT,
                    _ => "",
                };
                bail!("{} ended\n{}{advice}", process.name, self.last_words(&process.name))
            }
        }
    }

    fn last_words(&self, name: &str) -> String {
        let log = self.folder.join(state::LOGS).join(format!("{name}.log"));
        format!("the end of {}:\n{}", log.display(), tail(&log, 12))
    }

    fn report(&self) -> std::io::Result<()> {
        let network = &self.network;
        let seconds = self.began.elapsed().as_secs_f32();
        let workers: Vec<_> = network
            .workers
            .iter()
            .map(|worker| json!({ "operator": worker.operator, "endpoint": worker.endpoint }))
            .collect();
        let gatekeepers: Vec<_> = network
            .gatekeepers
            .iter()
            .map(|gatekeeper| json!({ "operator": gatekeeper.operator, "endpoint": gatekeeper.endpoint }))
            .collect();
        let value = json!({
            "running": true,
            "node": network.node,
            "genesis_hash": network.genesis_hash,
            "measurement": network.measurement,
            "workers": workers,
            "gatekeepers": gatekeepers,
            "folder": self.folder,
            "seconds": seconds,
        });
        self.output.result(&value, || {
            let mut text = format!(
                "The network is up after {seconds:.0} s: {}, {} and {}.\n\n",
                count(self.authorities.into(), "node"),
                count(network.gatekeepers.len(), "gatekeeper"),
                count(network.workers.len(), "worker")
            );
            text.push_str(&format!("  Node        {}\n", network.node));
            for gatekeeper in &network.gatekeepers {
                text.push_str(&format!("  Gatekeeper  {} ({})\n", gatekeeper.endpoint, gatekeeper.operator));
            }
            for worker in &network.workers {
                text.push_str(&format!("  Worker      {} ({})\n", worker.endpoint, worker.operator));
            }
            text.push_str("  Accounts    //Alice (the default), //Bob, //Charlie, //Dave, //Eve, //Ferdie\n");
            text.push_str("  TEE         SIMULATED: every check runs, but nothing is hidden from this machine\n\n");
            text.push_str("Next:\n");
            text.push_str("  phala worker list            who computes\n");
            text.push_str("  phala job run hello.wasm     run a program confidentially\n");
            if !network.gatekeepers.is_empty() {
                text.push_str("  phala network keys           the network's keys, which it has after some minutes\n");
            }
            text.push_str("  phala dev status|logs|down");
            text
        })
    }
}

/// Where the hosts and enclaves of a network meet: in a private folder below the system's for temporary files. The network's
/// own may be too deep for the path of a socket.
fn sockets_folder(folder: &Path) -> PathBuf {
    let digest = Sha256::digest(folder.as_os_str().as_bytes());
    std::env::temp_dir().join(format!("phala-{}", hex::encode(&digest[..8])))
}

/// Makes the folder of an enclave's socket in that of all sockets, or takes what is left of an earlier run.
fn make_socket_folder(sockets: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let cannot = || format!("cannot make a folder for sockets in {}", sockets.display());
    if !make_folder(sockets).with_context(cannot)? {
        // Whoever made it before must have been us.
        let metadata = fs::symlink_metadata(sockets).with_context(cannot)?;
        let ours = metadata.uid() == rustix::process::getuid().as_raw();
        if !metadata.is_dir() || !ours || metadata.mode() & 0o077 != 0 {
            bail!("{} is not a private folder of yours; remove it, or use another --dir", sockets.display());
        }
    }
    let folder = sockets.join(name);
    make_folder(&folder).with_context(cannot)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(SOCKET_FOLDER_MODE)).with_context(cannot)?;
    Ok(folder)
}

/// Makes a private folder; `false` if something has its name.
fn make_folder(path: &Path) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the sockets of a network that does not run.
pub(super) fn remove_sockets(folder: &Path) {
    // What stays is made use of by the next run, or swept with the system's temporary files.
    let _ = folder.canonicalize().and_then(|folder| fs::remove_dir_all(sockets_folder(&folder)));
}

/// A host that was started.
struct StartedHost {
    endpoint: String,
    /// The arguments of its enclave.
    enclave: Vec<String>,
}

/// SHA-256 of a simulated enclave's executable, which is its measurement.
fn measure(path: &Path) -> anyhow::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    io::copy(&mut file, &mut HashWriter(&mut hasher)).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hasher.finalize().into())
}

/// The operator's key of a gatekeeper.
fn gatekeeper_operator(number: u8) -> String {
    format!("//Gatekeeper{number}")
}

/// The operator's key of a worker.
fn operator(number: u8) -> String {
    format!("//Worker{number}")
}

fn count(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Free ports, none given twice.
#[derive(Default)]
struct Ports {
    taken: BTreeSet<u16>,
}

impl Ports {
    /// `preferred` if it is free, else any.
    fn take(&mut self, preferred: u16) -> anyhow::Result<u16> {
        for wanted in std::iter::once(preferred).chain(std::iter::repeat_n(0, 100)) {
            let Ok(listener) = TcpListener::bind(("127.0.0.1", wanted)) else { continue };
            let port = listener.local_addr().context("cannot find a free port")?.port();
            if self.taken.insert(port) {
                return Ok(port);
            }
        }
        bail!("cannot find a free port")
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_different() {
        let mut ports = Ports::default();
        let busy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let wanted = busy.local_addr().unwrap().port();
        let first = ports.take(wanted).unwrap();
        assert_ne!(first, wanted);
        assert_ne!(ports.take(first).unwrap(), first);
    }

    #[test]
    fn sockets_are_in_a_private_folder_that_nobody_else_made() {
        let parent = tempfile::tempdir().unwrap();
        let sockets = parent.path().join("sockets");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        for _ in 0..2 {
            let folder = make_socket_folder(&sockets, "3").unwrap();
            assert_eq!((mode(&sockets), mode(&folder)), (0o700, SOCKET_FOLDER_MODE));
        }
        fs::set_permissions(&sockets, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(make_socket_folder(&sockets, "3").is_err());
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path(), &link).unwrap();
        assert!(make_socket_folder(&link, "3").is_err());
    }

    #[test]
    fn missing_programs_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Binaries::find(Some(folder.path())).err().unwrap().to_string();
        assert!(error.contains("phala-node") && error.contains("--bin-dir"), "{error}");
    }
}
