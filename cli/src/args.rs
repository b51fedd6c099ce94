//! What can be typed.

use clap::{Args, Parser, Subcommand, ValueHint};
use phala_attestation::{Generation, Kind, Measurement};
use phala_primitives::{AppId, JobId, hash_from_hex, units::Balance};
use std::path::PathBuf;

/// The exit status of `job run` and `job result` when phala itself fails, as `env` and container tools have it.
pub(crate) const RUN_FAILURE: u8 = 125;

/// The exit status of `job run` and `job result` when the program did not end by itself.
pub(crate) const JOB_FAILED: u8 = 70;

/// Run programs on strangers' machines, and let nobody look inside.
///
/// A program is a WebAssembly file that any language's toolchain makes. Phala encrypts its input to an enclave whose
/// evidence it has verified, runs it there, pays for the fuel that it used, and gives back a result with a
/// receipt that proves where it comes from.
#[derive(Debug, Parser)]
#[command(
    name = "phala",
    version,
    max_term_width = 110,
    after_help = "\
Start here:
  phala dev up                          a whole network on this machine
  phala job run hello.wasm              run a program confidentially
  phala job run report.wasm --file data.csv --output results -- --by month
  phala dev down                        stop it all

Every command takes --json, and `phala COMMAND --help` has examples."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// The node to ask: ws://HOST:PORT or wss://HOST:PORT. By default the one that `phala dev up` started, else
    /// ws://127.0.0.1:9944.
    #[arg(long, global = true, env = "PHALA_NODE", value_name = "URL", help_heading = "Global options")]
    pub node: Option<String>,

    /// The key that signs and pays: the name of a key in the keystore (`phala key list`), a keystore file, a mnemonic or a
    /// development key such as //Bob. On development chains the default is //Alice.
    #[arg(long, global = true, value_name = "KEY", help_heading = "Global options")]
    pub key: Option<String>,

    /// A file whose first line is the keystore password, instead of asking for it.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Global options")]
    pub password_file: Option<PathBuf>,

    /// Print JSON instead of text.
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,

    /// A file with certificates (PEM) of private roots, for workers' hosts at https:// that have none of the system's.
    #[arg(long, global = true, env = "PHALA_TLS_CA", value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Global options")]
    pub tls_ca: Option<PathBuf>,

    /// The folder with keys and jobs. By default ~/.local/share/phala.
    #[arg(long, global = true, env = "PHALA_DATA", value_name = "FOLDER", value_hint = ValueHint::DirPath, help_heading = "Global options")]
    pub data: Option<PathBuf>,

    /// Say more about what happens; twice for even more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A whole network on this machine, for development.
    #[command(subcommand)]
    Dev(Dev),
    /// Keys of accounts.
    #[command(subcommand)]
    Key(Key),
    /// What an account holds.
    #[command(
        after_help = "Examples:\n  phala balance\n  phala balance //Bob\n  phala balance 43NrkrhCBxGWKn48mwDmqFrEbNU83c8NGgMeqsiYGWGN7dZt"
    )]
    Balance(BalanceOptions),
    /// Send PHA to an account.
    #[command(after_help = "Examples:\n  phala transfer //Bob 1.5\n  phala transfer savings 100 --key salary")]
    Transfer(TransferOptions),
    /// Workers: the machines that run jobs.
    #[command(subcommand)]
    Worker(Worker),
    /// Gatekeepers: who makes blocks and holds the network's keys together.
    #[command(subcommand)]
    Gatekeeper(Gatekeeper),
    /// The network as a whole.
    #[command(subcommand)]
    Network(Network),
    /// Images: the builds of the enclave that may work on the chain.
    #[command(subcommand)]
    Image(Image),
    /// Classes of enclaves that break together: images, platforms and their families.
    #[command(subcommand)]
    Class(Class),
    /// Collateral: what TEE vendors publish, and the chain verifies evidence with.
    #[command(subcommand)]
    Collateral(Collateral),
    /// Apps: programs that are published on the chain.
    #[command(subcommand)]
    App(App),
    /// Jobs: programs run confidentially.
    #[command(subcommand)]
    Job(Job),
    /// Encrypt a file to an app, before any worker serves it.
    ///
    /// Jobs of the app take the file with `--encrypted-file`. The gatekeepers give what opens it to the workers that the chain has given
    /// such a job, and to nobody else, not even to you. Whoever may run the app can put the file into a job of theirs, and the app's
    /// program decides what they get to see of it: encrypt only to apps whose program you trust with the data.
    ///
    /// The file is in the age format, and can be used for as long as gatekeepers keep the key of the epoch in which it was encrypted:
    /// `phala network keys` says how long that is at least.
    #[command(after_long_help = "\
Examples:
  phala encrypt --app 0x5f3c… data.csv -o data.csv.age
  tar -c photos | phala encrypt --app 0x5f3c… > photos.tar.age
  phala job run 0x5f3c… --encrypted-file data.csv.age

Without a node:
  phala network keys --json > keys.json                            where a node is
  phala encrypt --app 0x5f3c… --network-keys keys.json data.csv -o data.csv.age")]
    Encrypt(Encrypt),
    /// Check a chain of evidence, link by link.
    #[command(subcommand)]
    Verify(Verify),
    /// Print completions for a shell.
    #[command(
        after_help = "Examples:\n  phala completions bash > ~/.local/share/bash-completion/completions/phala\n  phala completions zsh > ~/.zfunc/_phala\n  phala completions fish > ~/.config/fish/completions/phala.fish"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// The exit status when phala itself fails, where that is not 1.
    pub(crate) fn failure_status(&self) -> Option<u8> {
        matches!(self, Self::Job(Job::Run(_) | Job::Result { .. })).then_some(RUN_FAILURE)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dev {
    /// Start a network: nodes, gatekeepers and workers, the latter two with an enclave and a host each.
    ///
    /// Evidence is SIMULATED: it exercises every check, but nothing is hidden from this machine. The accounts //Alice, //Bob,
    /// //Charlie, //Dave, //Eve and //Ferdie hold PHA.
    #[command(
        after_help = "Examples:\n  phala dev up\n  phala dev up --workers 1 --dir /tmp/network\n  phala dev up --gatekeepers 0     one node, for a small machine: jobs are encrypted to their workers"
    )]
    Up(DevUp),
    /// Say what runs, where, and how it is.
    Status(DevFolder),
    /// Show what the processes logged.
    #[command(
        after_help = "Examples:\n  phala dev logs                 the end of each log\n  phala dev logs node-1 -f       follow one\n  phala dev logs host-2 -n 500"
    )]
    Logs(DevLogs),
    /// Stop the network. Its data stay, and `phala dev up` goes on with them.
    #[command(after_help = "Examples:\n  phala dev down\n  phala dev down --purge     forget the chain, too")]
    Down(DevDown),
}

impl DevUp {
    /// How many nodes and gatekeepers.
    pub(crate) fn sizes(&self) -> (u8, u8) {
        match (self.authorities, self.gatekeepers) {
            (Some(1), None) | (None, Some(0)) => (1, 0),
            (authorities, gatekeepers) => (authorities.unwrap_or(4), gatekeepers.unwrap_or(4)),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DevFolder {
    /// The network's folder: a new or an empty one, or one of an earlier network. By default ~/.local/share/phala/dev.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DevUp {
    #[command(flatten)]
    pub folder: DevFolder,
    /// How many workers.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=32))]
    pub workers: u8,
    /// How many nodes make blocks: 1, or 4 (the fewest that go on without one of them). By default 4 with gatekeepers, and 1 without.
    #[arg(long, value_name = "N", value_parser = parse_authorities)]
    pub authorities: Option<u8>,
    /// How many of these nodes also get a gatekeeper, with a host and an enclave: by default all four. They are elected after some
    /// two minutes, make blocks from then on, and share the network's keys a minute later (`phala network keys`).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=4))]
    pub gatekeepers: Option<u8>,
    /// The chain: a built-in one or a chain specification file. By default `dev`, or with four nodes `local`, where gatekeepers get
    /// sessions of a minute.
    #[arg(long, value_name = "CHAIN", value_hint = ValueHint::FilePath)]
    pub chain: Option<String>,
    /// How many jobs each worker runs at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub capacity: u32,
    /// What each worker asks for 10⁹ fuel, in PHA.
    #[arg(long, value_name = "PHA", default_value = "0.01", value_parser = parse_amount)]
    pub price: Balance,
    /// The kinds of TEE that the workers imitate, in turn: sgx, tdx, sev-snp, or simulated for none of them. Evidence is SIMULATED
    /// all the same, under roots of simulated vendors.
    #[arg(long, value_name = "KIND", value_delimiter = ',', default_value = "simulated")]
    pub tee: Vec<Kind>,
    /// The port of the first node's JSON-RPC. If it is taken, a free one is used.
    #[arg(long, value_name = "PORT", default_value_t = 9944)]
    pub rpc_port: u16,
    /// Where phala-node, phala-host and phala-enclave are. By default beside this program.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub bin_dir: Option<PathBuf>,
    /// How long to wait for the workers, in seconds.
    #[arg(long, value_name = "S", default_value_t = 180)]
    pub timeout: u64,
}

/// `phala gatekeeper`.
#[derive(Debug, Subcommand)]
pub(crate) enum Gatekeeper {
    /// All seats: whose they are, whether they stand, whether they are in the set.
    #[command(after_help = "Examples:\n  phala gatekeeper list\n  phala gatekeeper list --json")]
    List,
    /// A seat of yours: whether it stands and is in the set, its bond and backing, its enclave and verdict, its shares.
    #[command(
        after_help = "Examples:\n  phala gatekeeper status --key operator\n  phala gatekeeper status --seat 1 --json"
    )]
    Status {
        /// Which of your seats.
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        seat: u16,
    },
    /// Register a seat whose operator's key is not on its host.
    ///
    /// A host that runs with its operator's key registers by itself. This is for operators who keep the key elsewhere: the host hands
    /// out fresh evidence, the gatekeeper's own node makes session keys, and this command signs and submits both. For a seat that is
    /// registered it renews the verdict, which must happen before it ends, or gives the seat the host's new enclave.
    #[command(
        after_help = "Examples:\n  phala gatekeeper register --host http://10.0.0.5:8640 --bond 10000 --key operator\n  phala gatekeeper register --host http://10.0.0.5:8640 --bond 10000 --session-keys-of ws://10.0.0.5:9944 --key operator"
    )]
    Register(RegisterGatekeeper),
    /// Have a seat of yours stand in elections again, after it rested.
    #[command(after_help = "Example:\n  phala gatekeeper stand --key operator")]
    Stand {
        /// Which of your seats.
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        seat: u16,
    },
    /// Give a seat of yours up.
    #[command(after_help = "Example:\n  phala gatekeeper leave --key operator")]
    Leave {
        /// Which of your seats.
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        seat: u16,
    },
    /// Remove a seat that you gave up, and get its bond back, once its unbonding period is over.
    Withdraw {
        /// Which of your seats.
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        seat: u16,
    },
    /// Back seats with PHA of yours, instead of those that you backed before.
    #[command(after_help = "Example:\n  phala gatekeeper back 1000 43NrkrhCBxGWKn48mwDmqFrEbNU83c8NGgMeqsiYGWGN7dZt")]
    Back {
        /// How much, which is on hold from then on.
        #[arg(value_name = "PHA", value_parser = parse_amount)]
        amount: Balance,
        /// The seats, as `phala gatekeeper list --json` names them.
        #[arg(value_name = "SEAT", required = true, num_args = 1..=16)]
        seats: Vec<phala_sdk::Account>,
    },
    /// Back no seat any more.
    StopBacking,
}

/// `phala gatekeeper register`.
#[derive(Debug, Args)]
pub(crate) struct RegisterGatekeeper {
    /// The host's URL.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub host: String,
    /// What is put on hold for a new seat, in PHA.
    #[arg(long, value_name = "PHA", value_parser = parse_amount)]
    pub bond: Balance,
    /// Which of your seats.
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub seat: u16,
    /// The JSON-RPC of the gatekeeper's own node, which makes the session keys of a new seat: it has to allow unsafe methods. By
    /// default the node that this command uses.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub session_keys_of: Option<String>,
    /// Where workers and other gatekeepers reach the host, if not where this command does.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub endpoint: Option<String>,
}

/// `phala network`.
#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// The network's keys: who shares them, what ceremonies go on, how far the random beacon is.
    #[command(after_help = "Examples:\n  phala network keys\n  phala network keys --json")]
    Keys,
}

#[derive(Debug, Args)]
pub(crate) struct DevLogs {
    #[command(flatten)]
    pub folder: DevFolder,
    /// A process, as `phala dev status` names it. By default all.
    pub name: Option<String>,
    /// Go on as the logs grow.
    #[arg(short, long)]
    pub follow: bool,
    /// How many lines of each log to begin with.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 40)]
    pub lines: usize,
}

#[derive(Debug, Args)]
pub(crate) struct DevDown {
    #[command(flatten)]
    pub folder: DevFolder,
    /// Remove everything of the network's, and its folder if nothing else is in it.
    #[arg(long)]
    pub purge: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a new key and show its mnemonic once.
    #[command(after_help = "Examples:\n  phala key generate savings")]
    Generate {
        /// What to call it.
        name: String,
    },
    /// Put a key into the keystore: from a keystore file of any polkadot-js wallet, or from a mnemonic that is asked for.
    #[command(
        after_help = "Examples:\n  phala key import savings --from wallet.json\n  phala key import savings            asks for the mnemonic"
    )]
    Import {
        /// What to call it.
        name: String,
        /// A keystore file.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        from: Option<PathBuf>,
    },
    /// List the keys in the keystore.
    List,
    /// Show a key's address in its forms.
    #[command(after_help = "Examples:\n  phala key show savings\n  phala key show //Alice")]
    Show {
        /// A key's name, or a development key.
        key: String,
    },
    /// Print a key's keystore file, which stays encrypted with its password. Any polkadot-js wallet reads it.
    #[command(after_help = "Examples:\n  phala key export savings > savings.json")]
    Export {
        /// A key's name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BalanceOptions {
    /// An address, a key's name or a development key. By default the one that signs.
    pub account: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TransferOptions {
    /// Who gets it: an address, a key's name or a development key.
    pub to: String,
    /// How much, in PHA: 1.5
    #[arg(value_parser = parse_amount)]
    pub amount: Balance,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// List workers.
    #[command(after_help = "Examples:\n  phala worker list\n  phala worker list --all --json")]
    List {
        /// Also those that get no jobs.
        #[arg(long)]
        all: bool,
    },
    /// Show everything about a worker.
    Show {
        /// Its id: 0x and 64 digits, or the first few of them.
        worker: String,
    },
    /// Register a worker whose operator's key is not on its host.
    ///
    /// A host that runs with its operator's key registers by itself. This is for operators who keep the key elsewhere: the
    /// host hands out fresh evidence, and this command signs and submits it. For a worker that is registered it renews the
    /// verdict, which must happen before it ends: see `phala worker show`.
    #[command(
        after_help = "Examples:\n  phala worker register --host http://10.0.0.5:8640 --price 0.01 --key operator"
    )]
    Register {
        /// The host's URL.
        #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
        host: String,
        /// What the worker asks for 10⁹ fuel, in PHA.
        #[arg(long, value_name = "PHA", value_parser = parse_amount)]
        price: Balance,
        /// Where users reach the host, if not where this command does.
        #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
        endpoint: Option<String>,
    },
    /// Give a worker no more jobs; it ends those that it has.
    Drain {
        /// Its id: 0x and 64 digits, or the first few of them.
        worker: String,
    },
    /// Give a drained worker jobs again.
    Resume {
        /// Its id: 0x and 64 digits, or the first few of them.
        worker: String,
    },
    /// Change what a worker asks for its next jobs. Its host sets its own --price again when it is restarted.
    #[command(after_help = "Examples:\n  phala worker set-price 0x5f3c 0.02 --key operator")]
    SetPrice {
        /// Its id: 0x and 64 digits, or the first few of them.
        worker: String,
        /// What it asks for 10⁹ fuel, in PHA.
        #[arg(value_parser = parse_amount)]
        price: Balance,
    },
    /// Change where users reach a worker's host. The host sets its own --endpoint again when it is restarted.
    #[command(after_help = "Examples:\n  phala worker set-endpoint 0x5f3c https://worker.example.org --key operator")]
    SetEndpoint {
        /// Its id: 0x and 64 digits, or the first few of them.
        worker: String,
        /// The host's URL.
        #[arg(value_hint = ValueHint::Url)]
        endpoint: String,
    },
    /// Remove a worker that has no jobs, and free its platform for another. Stop its host first, which would register it again.
    #[command(
        after_help = "Examples:\n  phala worker drain 0x5f3c --key operator\n  phala worker deregister 0x5f3c --key operator"
    )]
    Deregister {
        /// Its id: 0x and 64 digits, or the first few of them.
        worker: String,
    },
}

/// A class is `image:0x…`, `platform:0x…`, `fmspc:00a067110000`, `generation:milan` (genoa, turin), or `simulated:development`, with
/// the name of a simulated vendor.
#[derive(Debug, Subcommand)]
pub(crate) enum Class {
    /// List the classes that are declared broken.
    List,
    /// Declare a class broken: from the same block on its workers get nothing, and lose what they have. For the chain's sudo
    /// key; on development chains that is //Alice, the default.
    #[command(
        after_help = "Examples:\n  phala class compromise generation:milan\n  phala class compromise fmspc:00a067110000"
    )]
    Compromise {
        /// The class.
        class: phala_primitives::attestation::Class,
    },
    /// Take that back. Workers of the class come back by new evidence. For the chain's sudo key.
    Restore {
        /// The class.
        class: phala_primitives::attestation::Class,
    },
    /// Have gatekeepers give enclaves of a class other keys to seal with: for keys that may have leaked. For the chain's sudo key.
    ///
    /// That concerns workers that cannot seal by themselves, as on TDX. With their next start, what they have sealed does not open any
    /// more: their operators remove it, and have new workers.
    #[command(after_help = "Examples:\n  phala class replace-sealing-keys fmspc:00a067110000")]
    ReplaceSealingKeys {
        /// The class.
        class: phala_primitives::attestation::Class,
    },
    /// Which jobs workers of a class had, declared broken or not, by app: what is exposed if the class is broken.
    ///
    /// The chain knows that of all jobs that it still keeps: of each for a week after its end.
    #[command(
        after_help = "Examples:\n  phala class exposure generation:milan\n  phala class exposure simulated:development --json"
    )]
    Exposure {
        /// The class.
        class: phala_primitives::attestation::Class,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Collateral {
    /// List the documents that the chain keeps, and those of a TCB recovery that do not count yet.
    List,
    /// Submit documents that are newer than what the chain keeps. The chain verifies them, and takes no fee for newer ones.
    ///
    /// Files are as vendors' services give them: JSON of Intel's PCS with the certificate chain of its signer, revocation lists
    /// and certificates in PEM or DER, collateral of dcap-qvl in JSON or SCALE.
    #[command(after_help = "Examples:
  phala collateral submit tcb_info.json qe_identity.json tcb_signer.pem root_ca.crl pck.crl pck_ca.pem
  phala collateral submit quote_collateral.json --key operator")]
    Submit {
        /// The files.
        #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
    },
    /// Keep the chain's documents fresh: fetch what vendors publish, and submit it before what the chain keeps ends.
    ///
    /// Anybody may do so, and any number of people at once: vendors sign the documents, the chain verifies them, and newer ones
    /// cost nothing. It goes on until it is stopped; what it fetched is kept on disk for outages of the vendors.
    #[command(after_help = "Examples:
  phala collateral serve --key operator
  phala collateral serve --fmspc 00a067110000 --generation milan     from the first document on
  phala collateral serve --pccs https://pccs.example:8081 --once --json")]
    Serve(ServeCollateral),
}

#[derive(Debug, Args)]
pub(crate) struct ServeCollateral {
    /// A family of Intel's platforms that documents are wanted for, beside those that the chain has some for: its FMSPC, 12
    /// hexadecimal digits.
    #[arg(long, value_name = "FMSPC", value_parser = parse_fmspc)]
    pub fmspc: Vec<[u8; 6]>,
    /// A generation of AMD's that documents are wanted for: milan, genoa or turin.
    #[arg(long, value_name = "NAME", value_parser = parse_generation)]
    pub generation: Vec<Generation>,
    /// The base URL of Intel's PCS. By default Intel's own.
    #[arg(long, value_name = "URL", conflicts_with = "pccs")]
    pub pcs: Option<String>,
    /// The base URL of a PCCS in the place of all services of Intel's.
    #[arg(long, value_name = "URL")]
    pub pccs: Option<String>,
    /// The base URL of AMD's KDS. By default AMD's own.
    #[arg(long, value_name = "URL")]
    pub kds: Option<String>,
    /// The folder for what was fetched. By default `collateral` in the folder of --data.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub cache: Option<PathBuf>,
    /// Do what is due now, and end: with status 1 if something failed.
    #[arg(long)]
    pub once: bool,
}

fn parse_fmspc(text: &str) -> Result<[u8; 6], String> {
    phala_attestation::parse_fmspc(text).ok_or_else(|| "an FMSPC has 12 hexadecimal digits".into())
}

fn parse_generation(text: &str) -> Result<Generation, String> {
    match text {
        "milan" => Ok(Generation::Milan),
        "genoa" => Ok(Generation::Genoa),
        "turin" => Ok(Generation::Turin),
        _ => Err("a generation is milan, genoa or turin".into()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// List the images that are allowed.
    List,
    /// Allow an image to work. For the chain's sudo key; on development chains that is //Alice, the default.
    #[command(
        after_help = "Examples:\n  phala image allow 0x9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    Allow {
        /// Its measurement, which phala-enclave prints when it starts: 0x and 64 digits.
        #[arg(value_parser = parse_measurement)]
        measurement: Measurement,
        /// Its version, for people.
        #[arg(long, value_name = "N", default_value_t = 1)]
        version: u32,
    },
    /// Forbid an image: its workers get no more jobs. For the chain's sudo key.
    Forbid {
        /// Its measurement: 0x and 64 digits.
        #[arg(value_parser = parse_measurement)]
        measurement: Measurement,
    },
    /// Compute from its files what a TEE will measure of an image: to allow it, or to compare what you have built yourself.
    #[command(subcommand)]
    Measure(MeasureImage),
    /// Make the initramfs of a guest whose only program is the enclave. The same enclave makes the same bytes.
    Initramfs {
        /// The enclave, statically linked.
        enclave: PathBuf,
        /// The file to make.
        #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MeasureImage {
    /// Of an SGX enclave under Gramine.
    Sgx {
        /// The `.sig` file that gramine-sgx-sign wrote.
        sigstruct: PathBuf,
    },
    /// Of an SEV-SNP guest that QEMU starts with its kernel.
    SevSnp(MeasureSevSnp),
    /// Of a TDX guest, from its registers: as another tool computed them, or `phala verify evidence` shows them of a quote.
    Tdx {
        /// The initial memory: 96 digits.
        #[arg(long, value_name = "HEX", value_parser = parse_register)]
        mrtd: [u8; 48],
        /// The firmware's configuration.
        #[arg(long, value_name = "HEX", value_parser = parse_register)]
        rtmr0: [u8; 48],
        /// The kernel.
        #[arg(long, value_name = "HEX", value_parser = parse_register)]
        rtmr1: [u8; 48],
        /// The command line and the initramfs.
        #[arg(long, value_name = "HEX", value_parser = parse_register)]
        rtmr2: [u8; 48],
    },
}

#[derive(Debug, Args)]
pub(crate) struct MeasureSevSnp {
    /// OVMF, built from OvmfPkg/AmdSev: what QEMU's -bios gets.
    #[arg(long, value_name = "FILE")]
    pub firmware: PathBuf,

    /// What -kernel gets.
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,

    /// What -initrd gets.
    #[arg(long, value_name = "FILE")]
    pub initramfs: PathBuf,

    /// What -append gets, byte by byte.
    #[arg(long, value_name = "TEXT")]
    pub command_line: String,

    /// How many virtual processors the guest has: each number is another measurement.
    #[arg(long, value_name = "N")]
    pub processors: u32,

    /// Their model: what -cpu gets, without its version.
    #[arg(long, value_enum)]
    pub model: ProcessorModel,

    /// SEV_FEATURES: 1, or 33 where KVM has debug swap on.
    #[arg(long, value_name = "BITS", default_value_t = 1)]
    pub features: u64,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum ProcessorModel {
    #[value(name = "EPYC")]
    Epyc,
    #[value(name = "EPYC-Rome")]
    Rome,
    #[value(name = "EPYC-Milan")]
    Milan,
    #[value(name = "EPYC-Genoa")]
    Genoa,
    #[value(name = "EPYC-Turin")]
    Turin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum App {
    /// Publish a program: its hash and size go on the chain, the program itself goes to the workers that run it.
    #[command(
        after_help = "Examples:\n  phala app publish report.wasm\n  phala app publish secret.wasm --private     only you may run it, only enclaves see it"
    )]
    Publish {
        /// The program.
        #[arg(value_hint = ValueHint::FilePath)]
        program: PathBuf,
        /// Only its publisher may run it, and workers get it encrypted.
        #[arg(long)]
        private: bool,
        /// A manifest, whose hash becomes part of the app's id.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        manifest: Option<PathBuf>,
    },
    /// Take an app back. It gets no more jobs; when the last one has ended it is gone, and its deposit returned.
    Unpublish {
        /// Its id: 0x and 64 digits.
        app: AppId,
    },
    /// List apps.
    List {
        /// Only those of the key that signs.
        #[arg(long)]
        mine: bool,
    },
    /// Show an app.
    Show {
        /// Its id: 0x and 64 digits.
        app: AppId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// Run a program confidentially and wait for its result.
    ///
    /// Publishes the program if need be, submits the job, verifies the evidence of the worker that the chain assigns, encrypts
    /// the input to its enclave and nobody else, uploads it, waits, fetches and decrypts the result and checks its
    /// receipt. The program's standard output goes to standard output and nothing else does; its standard
    /// error and the report go to standard error. With --json and --report, only the program's does.
    #[command(after_long_help = "\
Exit status:
  the program's own, if it ended by itself
  70   the program did not end by itself: out of fuel, memory, time or output, or a trap
  125  phala failed: no node, no worker, no evidence, no PHA, …
  2    wrong usage
  130  interrupted; the job goes on, see `phala job result`

Examples:
  phala job run hello.wasm
  phala job run report.wasm --file data.csv --output results -- --by month
  phala job run report.wasm --file data.csv=/tmp/today.csv --file rates.csv
  echo 'SELECT 1' | phala job run query.wasm --stdin - --max-price 0.5
  phala job run 0x5f3c… --fuel 500G --memory 1024 --wall-time 300
  phala job run secret.wasm --private          nobody but the enclave sees the program")]
    Run(JobOptions),
    /// Submit a job, bring it to its worker, and leave.
    #[command(
        after_long_help = "Prints the job's number. `phala job result NUMBER` waits for its end; if the worker fails in the meantime, it brings the\ninput to the next one, so input files must stay where they are."
    )]
    Submit(JobOptions),
    /// Say where a job stands.
    Status {
        /// The job's number.
        job: JobId,
    },
    /// Wait for a job that was submitted from here, and get its result.
    #[command(after_help = "\
Exit status: as that of `phala job run`.

Examples:
  phala job result 7 > answer.txt
  phala job result 7 --output results")]
    Result {
        /// The job's number.
        job: JobId,
        /// Where to put output files.
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        output: Option<PathBuf>,
        /// Write the report, as JSON, to a file.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        report: Option<PathBuf>,
        /// Fail at once if the job has not ended.
        #[arg(long)]
        no_wait: bool,
    },
    /// Print what lets another tool upload for a job and start it: the value of the header `phala-upload`. Signs with the
    /// owner's key.
    #[command(
        after_help = "Examples:\n  curl -T data.age -H \"phala-upload: $(phala job upload-token 7)\" ENDPOINT/v1/blobs/SHA256"
    )]
    UploadToken {
        /// The job's number.
        job: JobId,
    },
    /// Cancel a job that no worker has yet, and get its escrow back.
    Cancel {
        /// The job's number.
        job: JobId,
    },
    /// List jobs.
    List {
        /// Everybody's, not only those of the key that signs.
        #[arg(long)]
        all: bool,
        /// How many of the newest.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
}

#[derive(Debug, Args)]
pub(crate) struct JobOptions {
    /// The program: a .wasm file (a wasi:cli/command component or a WASI preview 1 module), or the id of a published app.
    #[arg(value_hint = ValueHint::FilePath)]
    pub program: String,

    /// A file for the program's standard input; `-` for this command's.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub stdin: Option<PathBuf>,

    /// An input file, which the program finds as /input/NAME. Without NAME= the file's own name is used.
    #[arg(long = "file", value_name = "NAME=FILE", value_parser = parse_file)]
    pub files: Vec<(String, PathBuf)>,

    /// An input file that `phala encrypt --app` has encrypted to this app. The program finds what is in it as /input/NAME. Without
    /// NAME= the file's own name is used, less `.age`.
    #[arg(long = "encrypted-file", value_name = "NAME=FILE", value_parser = parse_encrypted_file)]
    pub encrypted_files: Vec<(String, PathBuf)>,

    /// Where to put the files that the program writes to /output.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub output: Option<PathBuf>,

    /// Write the report, as JSON, to a file. With --json it is then not on standard error.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,

    /// The most to pay, in PHA. By default what all the fuel costs at twice the median price of the active workers, or at the
    /// dearest's if that is less. What is not used comes back, but for the fees of the submission.
    #[arg(long, value_name = "PHA", value_parser = parse_amount)]
    pub max_price: Option<Balance>,

    /// The most fuel: about one for each instruction. K, M, G and T are understood.
    #[arg(long, value_name = "N", default_value = "100G", value_parser = parse_fuel)]
    pub fuel: u64,

    /// The most memory, in MiB.
    #[arg(long, value_name = "MiB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub memory: u64,

    /// The most time, in seconds.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub wall_time: u64,

    /// The most output, in MiB: standard output, standard error and files together.
    #[arg(long, value_name = "MiB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub output_limit: u64,

    /// Publish the program as a private app: only you may run it, and only enclaves see it.
    #[arg(long)]
    pub private: bool,

    /// After how many blocks the job expires. By default enough for three workers in turn.
    #[arg(long, value_name = "BLOCKS")]
    pub deadline: Option<u32>,

    /// Somebody else who may read the result: age1…
    #[arg(long = "recipient", value_name = "AGE")]
    pub recipients: Vec<String>,

    /// The program's arguments.
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Encrypt {
    /// The file; standard input if there is none, or for `-`.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// The app: 0x and 64 digits.
    #[arg(long, value_name = "ID")]
    pub app: AppId,

    /// Where to write the encrypted file, whole or not at all. By default to standard output.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Write over a file that is there.
    #[arg(long, requires = "output")]
    pub force: bool,

    /// Take the network's key from a file that `phala network keys --json` wrote, and ask no node: not whether the key is the
    /// network's, nor whether there is such an app. The file must come from somebody whom you trust with the data: whoever puts
    /// another key into it can read what you encrypt.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub network_keys: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verify {
    /// Check a worker's evidence: what is proved, what is not, and whether it is SIMULATED.
    Worker {
        /// Its id: 0x and 64 digits, or the first few of them.
        worker: String,
    },
    /// Check a gatekeeper's evidence in the same way: whether the enclave that the chain has on record holds its keys, now.
    Gatekeeper {
        /// Its id: 0x and 64 digits, or the first few of them; `phala gatekeeper list` shows them.
        gatekeeper: String,
    },
    /// Check a job's receipt against the chain, and against the input and output if the job was submitted from here.
    Receipt {
        /// The job's number.
        job: JobId,
    },
    /// Check a raw quote of Intel SGX or TDX, or a report of AMD SEV-SNP. Exits with 0 only if it is accepted.
    Evidence(VerifyEvidence),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyEvidence {
    /// The quote or report: binary or hexadecimal; Azure's HCL report, too.
    pub file: PathBuf,

    /// What the vendor publishes, any number of files: TCB info, QE identity, certificates, revocation lists, in JSON,
    /// SCALE, PEM, DER or hexadecimal. What is missing is named.
    #[arg(long, value_name = "FILE")]
    pub collateral: Vec<PathBuf>,

    /// The time of the verification. By default now.
    #[arg(long, value_name = "UNIX_SECONDS")]
    pub at: Option<u64>,

    /// Which platforms are good enough, in JSON; see docs/attestation.md. By default strict: most clouds fail it.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

fn parse_amount(text: &str) -> Result<Balance, String> {
    phala_sdk::amount::parse(text).map_err(|error| error.to_string())
}

fn parse_measurement(text: &str) -> Result<Measurement, String> {
    hash_from_hex(text.strip_prefix("0x").unwrap_or(text)).map(Measurement).map_err(|error| error.to_string())
}

/// One of TDX's measurement registers.
fn parse_register(text: &str) -> Result<[u8; 48], String> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|error| error.to_string())?;
    bytes.try_into().map_err(|_| "a register has 96 digits".into())
}

fn parse_authorities(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        "4" => Ok(4),
        _ => Err("1 or 4".into()),
    }
}

/// `100G`, `5_000_000`.
fn parse_fuel(text: &str) -> Result<u64, String> {
    let text = text.trim().replace('_', "");
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'm' | 'M')) => (&text[..at], 1_000_000),
        Some((at, 'g' | 'G')) => (&text[..at], 1_000_000_000),
        Some((at, 't' | 'T')) => (&text[..at], 1_000_000_000_000),
        _ => (text.as_str(), 1u64),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number such as 5000000, 500M or 100G".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too much fuel".to_owned())
}

/// `NAME=FILE` or `FILE`.
fn parse_file(text: &str) -> Result<(String, PathBuf), String> {
    if let Some((name, path)) = text.split_once('=').filter(|(name, path)| !name.contains('/') && !path.is_empty()) {
        return Ok((name.to_owned(), path.into()));
    }
    let path = PathBuf::from(text);
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok((name.to_owned(), path)),
        None => Err("expected NAME=FILE, or a file".into()),
    }
}

/// The same of an encrypted file, whose own name says so.
fn parse_encrypted_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = parse_file(text)?;
    let is_own = path.as_os_str() == text;
    match name.strip_suffix(".age") {
        Some(plain) if is_own && !plain.is_empty() => Ok((plain.to_owned(), path)),
        _ => Ok((name, path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuel_has_units() {
        assert_eq!(parse_fuel("100G"), Ok(100_000_000_000));
        assert_eq!(parse_fuel("5_000"), Ok(5_000));
        assert_eq!(parse_fuel("2k"), Ok(2_000));
        for bad in ["", "G", "1.5G", "-1", "99999999T", "1é"] {
            assert!(parse_fuel(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_have_names() {
        assert_eq!(parse_file("a=/b/c"), Ok(("a".into(), "/b/c".into())));
        assert_eq!(parse_file("/b/c.csv"), Ok(("c.csv".into(), "/b/c.csv".into())));
        assert_eq!(parse_file("/b=c/d"), Ok(("d".into(), "/b=c/d".into())));
        assert!(parse_file("/").is_err());
    }

    #[test]
    fn encrypted_files_have_the_names_of_what_is_in_them() {
        assert_eq!(parse_encrypted_file("/b/c.csv.age"), Ok(("c.csv".into(), "/b/c.csv.age".into())));
        assert_eq!(parse_encrypted_file("/b/c.csv"), Ok(("c.csv".into(), "/b/c.csv".into())));
        assert_eq!(parse_encrypted_file("/b/.age"), Ok((".age".into(), "/b/.age".into())));
        // A name that was given stays.
        assert_eq!(parse_encrypted_file("c.age=/b/c.age"), Ok(("c.age".into(), "/b/c.age".into())));
        assert_eq!(parse_encrypted_file("a=/b/c.age"), Ok(("a".into(), "/b/c.age".into())));
        assert!(parse_encrypted_file("/").is_err());
    }

    #[test]
    fn a_file_is_encrypted_to_an_app() {
        let app = &*format!("0x{}", "0a".repeat(32));
        let parse = |words: &[&str]| Cli::try_parse_from([&["phala", "encrypt"][..], words].concat());
        let Command::Encrypt(options) = parse(&["--app", app]).unwrap().command else { panic!("not encrypt") };
        assert_eq!((options.app, options.file, options.output), (AppId([10; 32]), None, None));
        let words = ["--app", app, "a.csv", "-o", "a.csv.age", "--force", "--network-keys", "keys.json"];
        let Command::Encrypt(options) = parse(&words).unwrap().command else { panic!("not encrypt") };
        assert!(options.force && options.network_keys.is_some());
        for bad in [&["a.csv"][..], &["--app", "0x0a"], &["--app", app, "--force"], &["--app", app, "a", "b"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn job_options_end_at_two_dashes() {
        let cli = Cli::try_parse_from(["phala", "job", "run", "a.wasm", "--file", "x=y", "--", "--file", "z"]).unwrap();
        let Command::Job(Job::Run(options)) = cli.command else { panic!("not job run") };
        assert_eq!(options.arguments, ["--file", "z"]);
        assert_eq!(options.files.len(), 1);
    }

    #[test]
    fn programs_exit_codes_are_not_mixed_with_ours() {
        let status = |words: &[&str]| Cli::try_parse_from(words).unwrap().command.failure_status();
        assert_eq!(status(&["phala", "job", "run", "a.wasm"]), Some(RUN_FAILURE));
        assert_eq!(status(&["phala", "job", "result", "7", "--report", "r.json"]), Some(RUN_FAILURE));
        assert_eq!(status(&["phala", "job", "status", "7"]), None);
    }

    #[test]
    fn measurements_have_64_digits() {
        assert_eq!(parse_measurement(&format!("0x{}", "0a".repeat(32))), Ok(Measurement([10; 32])));
        assert!(parse_measurement("0x0a").is_err());
    }

    #[test]
    fn registers_have_48_bytes() {
        assert_eq!(parse_register(&format!("0x{}", "0a".repeat(48))), Ok([10; 48]));
        assert!(parse_register(&"0a".repeat(32)).is_err() && parse_register("0x").is_err());
    }
}
