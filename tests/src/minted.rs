//! Workers that do not exist. Where a chain accepts simulated evidence, anybody mints it, for any image: a test that does has the
//! worker's key, and signs whatever its enclave could.

use anyhow::{Context, Result};
use ed25519_dalek::{Signer as _, SigningKey};
use phala_attestation::{
    Evidence, Measurement, Role, Statement, VendorName,
    simulated::{Report, development_root},
};
use phala_keys::PendingRequest;
use phala_primitives::{
    AppId, GatekeeperId, JobId, WorkerId,
    gatekeeper::{APP_KEY_VERSION, KeyRequest, NetworkKey, SignedKeyRequest},
    units::Balance,
    worker::{Heartbeat, Performance, PerformanceReport, SignedHeartbeat, SignedPerformanceReport},
};
use phala_sdk::{
    Signer,
    chain::{Block, Call, Chain, call},
    host::Host,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::sync::{Mutex, PoisonError};

use crate::lying_host::eventually;

/// A worker on a simulated platform of its own.
pub struct Minted {
    signing: SigningKey,
    platform: [u8; 32],
    operator: Signer,
    random: Mutex<ChaCha20Rng>,
}

impl Minted {
    /// The worker with this number, which `operator` owns.
    ///
    /// # Errors
    /// When the key is none.
    pub fn new(number: u8, operator: &str) -> Result<Self> {
        Ok(Self {
            signing: SigningKey::from_bytes(&[number; 32]),
            platform: [!number; 32],
            operator: Signer::from_uri(operator)?,
            random: Mutex::new(ChaCha20Rng::from_seed([number; 32])),
        })
    }

    /// Its id.
    pub fn id(&self) -> WorkerId {
        WorkerId(self.signing.verifying_key().to_bytes())
    }

    /// Who owns it.
    pub fn operator(&self) -> &Signer {
        &self.operator
    }

    /// What registers it with evidence that it runs an image, on a platform whose certificate ends at `until`, in seconds since the
    /// Unix epoch.
    ///
    /// # Errors
    /// The chain's.
    pub async fn registration(
        &self,
        chain: &Chain,
        measurement: Measurement,
        until: u64,
        price: Balance,
    ) -> Result<Call> {
        let block = recent_block(chain).await?;
        let statement = Statement {
            role: Role::Worker,
            signing_key: self.id().0,
            encryption_key: [7; 32],
            genesis_hash: chain.genesis_hash(),
            operator: self.operator.account().0,
            block_number: block.number,
            block_hash: block.hash,
        };
        let platform = development_root().certify(self.platform, VendorName::DEVELOPMENT, 1, 0, until);
        let quote = platform.quote(Report { measurement, debug: false, report_data: statement.report_data() });
        let report = PerformanceReport {
            genesis_hash: chain.genesis_hash(),
            worker: self.id(),
            performance: Performance { fuel_per_second: 1_000_000_000, capacity: 4 },
            block_number: block.number,
        };
        let signature = self.signing.sign(&report.signed_bytes()).to_bytes();
        let performance = SignedPerformanceReport { report, signature };
        Ok(call::register(statement, Evidence::Simulated(quote), performance, "http://127.0.0.1:1", price))
    }

    /// Gives the chain a sign of life.
    ///
    /// # Errors
    /// The chain's.
    pub async fn beat(&self, chain: &Chain) -> Result<()> {
        let block = recent_block(chain).await?;
        let heartbeat = Heartbeat {
            genesis_hash: chain.genesis_hash(),
            worker: self.id(),
            block_number: block.number,
            block_hash: block.hash,
        };
        let signature = self.signing.sign(&heartbeat.signed_bytes()).to_bytes();
        let heartbeat = call::heartbeat(SignedHeartbeat { heartbeat, signature });
        Box::pin(chain.submit(&self.operator, heartbeat)).await?;
        Ok(())
    }

    /// What it asks of gatekeepers for the first attempt at its job, but for the reply key.
    pub fn request(&self, chain: &Chain, job: JobId, app: AppId, key: NetworkKey) -> KeyRequest {
        KeyRequest {
            genesis_hash: chain.genesis_hash(),
            worker: self.id(),
            job,
            attempt: 1,
            app,
            version: APP_KEY_VERSION,
            key,
            reply_key: [1; 32],
        }
    }

    /// A request of its own for parts of an app key, and what opens the answers. Worker and reply key in `request` are replaced.
    ///
    /// # Errors
    /// None: the request is its own.
    pub fn ask(&self, request: KeyRequest) -> Result<(PendingRequest, SignedKeyRequest)> {
        let request = KeyRequest { worker: self.id(), ..request };
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        PendingRequest::new(request, &self.signing, &mut *random).context("another worker's request")
    }

    /// A request in whosever name, with this worker's signature.
    pub fn sign(&self, request: KeyRequest) -> SignedKeyRequest {
        let signature = self.signing.sign(&request.signed_bytes()).to_bytes();
        SignedKeyRequest { request, signature }
    }
}

/// All gatekeepers of a chain, and their hosts.
///
/// # Errors
/// The chain's, and where one's endpoint is none.
pub async fn gatekeepers(chain: &Chain) -> Result<Vec<(GatekeeperId, Host)>> {
    let all = chain.read(async |state| state.gatekeepers().await).await?;
    let host = |endpoint| anyhow::Ok(Host::new(&String::from_utf8(endpoint)?)?);
    all.into_iter().map(|(id, record)| Ok((id, host(record.endpoint)?))).collect()
}

/// A block that is so new that a statement may name it, and not so new that a fork is likely to replace it.
async fn recent_block(chain: &Chain) -> Result<Block> {
    let number = eventually("some blocks", 60, async || {
        Ok(Some(chain.best().await?.block().number).filter(|number| *number > 3))
    })
    .await?;
    Ok(chain.at_number(number - 3).await?.block())
}
