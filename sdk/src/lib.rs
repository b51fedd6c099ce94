//! The Rust SDK: the chain, the evidence of workers, and encrypted jobs.
//!
//! - [`chain`]: a connection that survives its node, typed state at any block, transactions from many tasks at once.
//! - [`evidence`]: fetches a worker's evidence, checks it against the chain and challenges the enclave; what passes is a
//!   [`VerifiedWorker`], and nothing else is brought anything.
//! - [`host`]: what a worker's host serves; transfers that go on where they broke off.
//! - [`job`]: everything from a program and its files to a decrypted, checked result.
//! - [`receipt`]: checks a receipt against what the chain says.
//! - [`encryption`]: `age` files, streamed; to an app before any worker serves it, with the [`network_keys`].
//! - [`key`] and [`account`]: who signs and who is paid. [`amount`]: PHA as text, exactly.
//!
//! A job from start to end; [`job::Progress`] is for whoever wants to watch:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use phala_sdk::{Signer, chain::Chain, job::{Jobs, Program, Request, Store, Until}};
//!
//! let chain = Chain::connect("ws://127.0.0.1:9944").await?;
//! let jobs = Jobs::new(chain, Store::open("phala-data".as_ref())?);
//! let alice = Signer::from_uri("//Alice")?;
//! let program = Program::File { path: "hello.wasm".into(), private: false };
//! let mut record = jobs.submit(&alice, Request::new(program), &|_| ()).await?;
//! jobs.follow(&mut record, Until::Settled, &|_| ()).await?;
//! let result = jobs.result(&record, &|_| ()).await?;
//! println!("{}", String::from_utf8_lossy(&result.output.stdout));
//! # Ok(())
//! # }
//! ```
//!
//! What is trusted: the node that is asked (it says which images are allowed, and whose keys a worker has), the
//! cryptography and, from the moment a [`VerifiedWorker`] exists, the TEE that its evidence names. For what is encrypted to an
//! app: fewer gatekeepers than it takes to use a network key are broken, and the TEE of each worker that the chain gives a job
//! of the app holds. The worker's host is not.

pub mod account;
pub mod amount;
pub mod chain;
pub mod encryption;
pub mod evidence;
pub mod exposure;
pub mod host;
pub mod job;
pub mod key;
pub mod network_keys;
pub mod receipt;

pub use account::Account;
pub use evidence::VerifiedWorker;
pub use key::Signer;
pub use network_keys::NetworkKeys;
