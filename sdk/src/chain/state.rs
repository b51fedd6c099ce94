use codec::DecodeAll;
use phala_attestation::{DocumentId, Family, Measurement, Policy, Role};
use phala_primitives::{
    AppId, GatekeeperId, JobId, WorkerId,
    attestation::{Class, EarlyDocument, HardwarePolicy, KeptDocument, SealingClaim},
    gatekeeper::{self, Beacon, CeremonyId, EpochId, NetworkKey},
    job,
    units::Balance,
    worker::{self, WorkerStatus},
};
use subxt::{
    storage::Address,
    utils::{AccountId32, Static},
};

use super::{AtBlock, Block, ChainError, api};
use crate::Account;

/// A registered worker.
pub type Worker = worker::Worker<Account, u32>;

/// A seat.
pub type Seat = gatekeeper::Seat<Account>;

/// A gatekeeper.
pub type Gatekeeper = gatekeeper::Gatekeeper<Account, u32>;

/// The account that sessions know an operator's seat by. Nobody has a key of it.
pub fn seat_id(operator: Account, index: u16) -> Account {
    use blake2::{Blake2b, Digest, digest::consts::U32};
    let parts = codec::Encode::encode(&(b"phala/seat/v1", operator.0, index));
    Account(Blake2b::<U32>::digest(parts).into())
}

/// How a network key is shared.
pub type Sharing = gatekeeper::Sharing<u32>;

/// When the key of an epoch is in use.
pub type Epoch = gatekeeper::Epoch<u32>;

/// An attempt at a ceremony.
pub type Ceremony = gatekeeper::Ceremony<u32>;

/// A job.
pub type Job = job::Job<Account, u32>;

/// Who was given a job.
pub type Holder = job::Holder<u32>;

/// A published app.
pub type App = job::App<Account>;

/// An allowed image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, codec::Encode, codec::Decode)]
pub struct Image {
    /// What it may be.
    pub role: Role,
    /// Its version, for people.
    pub version: u32,
}

/// What an account holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountBalance {
    /// How many transactions it has sent.
    pub nonce: u32,
    /// What it can spend, less what is frozen and the existential deposit.
    pub free: Balance,
    /// What is held, for instance in escrow for jobs.
    pub reserved: Balance,
    /// How much of it must stay.
    pub frozen: Balance,
}

/// The chain's state at one block.
#[derive(Clone)]
pub struct State {
    at: AtBlock,
}

/// One value of storage, decoded by our own type rather than the generated one.
macro_rules! read {
    ($self:ident, $address:expr, $key:expr, $what:literal) => {
        match $self.at.storage().try_fetch($address, $key).await? {
            Some(value) => Some(DecodeAll::decode_all(&mut value.bytes()).map_err(|_| ChainError::Malformed($what))?),
            None => None,
        }
    };
}

impl State {
    pub(crate) fn new(at: AtBlock) -> Self {
        Self { at }
    }

    /// The block.
    pub fn block(&self) -> Block {
        Block { number: self.at.block_number() as u32, hash: self.at.block_hash().0 }
    }

    /// The hash of the block with a number, if that is this block or one of the 2400 before it.
    ///
    /// # Errors
    /// See [`ChainError`], as for all that follow.
    pub async fn block_hash(&self, number: u32) -> Result<Option<[u8; 32]>, ChainError> {
        let own = self.block();
        if number >= own.number {
            return Ok((number == own.number).then_some(own.hash));
        }
        Ok(read!(self, api::storage().system().block_hash(), (number,), "block hash"))
    }

    /// The time between two blocks, in milliseconds.
    ///
    /// # Errors
    /// [`ChainError::Incompatible`], as for [`Self::receipt_grace`].
    pub fn block_ms(&self) -> Result<u64, ChainError> {
        Ok(self.at.constants().entry(api::constants().jobs().millisecs_per_block())?)
    }

    /// How many blocks a worker has beyond a job's wall time before the job goes to another.
    pub fn receipt_grace(&self) -> Result<u32, ChainError> {
        Ok(self.at.constants().entry(api::constants().jobs().receipt_grace())?)
    }

    /// For how many blocks after the beginning of the next epoch workers still get keys of an epoch.
    pub fn grace_period(&self) -> Result<u32, ChainError> {
        Ok(self.at.constants().entry(api::constants().keys().grace_period())?)
    }

    /// A worker, if it is registered.
    ///
    /// # Errors
    /// See [`ChainError`], as for all that follow.
    pub async fn worker(&self, id: WorkerId) -> Result<Option<Worker>, ChainError> {
        Ok(read!(self, api::storage().workers().workers(), (Static(id),), "worker"))
    }

    /// All workers, by id.
    pub async fn workers(&self) -> Result<Vec<(WorkerId, Worker)>, ChainError> {
        self.all(api::storage().workers().workers(), 16, "worker").await
    }

    /// In which block a worker was challenged, if it has not answered yet: it has to name that block or a newer one.
    pub async fn challenged(&self, id: WorkerId) -> Result<Option<u32>, ChainError> {
        Ok(read!(self, api::storage().workers().challenged(), (Static(id),), "challenge"))
    }

    /// The workers that may get jobs: active, with a verdict that has not ended. By id.
    pub async fn active_workers(&self) -> Result<Vec<(WorkerId, Worker)>, ChainError> {
        let now = self.timestamp_ms().await? / 1000;
        let mut workers = self.workers().await?;
        workers.retain(|(_, worker)| worker.status == WorkerStatus::Active && worker.verdict_expires > now);
        Ok(workers)
    }

    /// A seat, if there is one.
    pub async fn seat(&self, id: Account) -> Result<Option<Seat>, ChainError> {
        Ok(read!(self, api::storage().gatekeepers().seats(), (AccountId32(id.0),), "seat"))
    }

    /// All seats, by id.
    pub async fn seats(&self) -> Result<Vec<(Account, Seat)>, ChainError> {
        self.all(api::storage().gatekeepers().seats(), 16, "seat").await
    }

    /// A gatekeeper, if it is registered.
    pub async fn gatekeeper(&self, id: GatekeeperId) -> Result<Option<Gatekeeper>, ChainError> {
        Ok(read!(self, api::storage().gatekeepers().gatekeepers(), (Static(id),), "gatekeeper"))
    }

    /// All gatekeepers, by id.
    pub async fn gatekeepers(&self) -> Result<Vec<(GatekeeperId, Gatekeeper)>, ChainError> {
        self.all(api::storage().gatekeepers().gatekeepers(), 16, "gatekeeper").await
    }

    /// The present set: seats, and their enclaves.
    pub async fn elected(&self) -> Result<Vec<(Account, GatekeeperId)>, ChainError> {
        Ok(read!(self, api::storage().gatekeepers().elected(), (), "set of gatekeepers").unwrap_or_default())
    }

    /// The number of the present era of gatekeepers.
    pub async fn era(&self) -> Result<u32, ChainError> {
        Ok(read!(self, api::storage().gatekeepers().era(), (), "era").unwrap_or_default())
    }

    /// What backs a seat, beside its own bond.
    pub async fn backing(&self, seat: Account) -> Result<Balance, ChainError> {
        Ok(read!(self, api::storage().gatekeepers().backing(), (AccountId32(seat.0),), "backing").unwrap_or_default())
    }

    /// How a network key is shared.
    pub async fn sharing(&self, key: NetworkKey) -> Result<Option<Sharing>, ChainError> {
        Ok(read!(self, api::storage().keys().sharings(), (Static(key),), "sharing"))
    }

    /// The epoch under whose key inputs are encrypted now; `None` before the first.
    pub async fn current_epoch(&self) -> Result<Option<EpochId>, ChainError> {
        Ok(read!(self, api::storage().keys().current_epoch(), (), "epoch"))
    }

    /// The oldest epoch whose key is still shared.
    pub async fn oldest_epoch(&self) -> Result<EpochId, ChainError> {
        Ok(read!(self, api::storage().keys().oldest_epoch(), (), "epoch").unwrap_or_default())
    }

    /// The ceremonies that run, with the attempts' numbers.
    pub async fn running_ceremonies(&self) -> Result<Vec<(CeremonyId, Ceremony)>, ChainError> {
        let running: Vec<CeremonyId> =
            read!(self, api::storage().keys().running(), (), "list of ceremonies").unwrap_or_default();
        let mut found = Vec::new();
        for id in running {
            let ceremony: Option<Ceremony> = read!(self, api::storage().keys().ceremonies(), (id,), "ceremony");
            found.extend(ceremony.map(|ceremony| (id, ceremony)));
        }
        Ok(found)
    }

    /// The newest round of the random beacon.
    pub async fn latest_beacon(&self) -> Result<Option<Beacon>, ChainError> {
        Ok(read!(self, api::storage().keys().latest_beacon(), (), "beacon"))
    }

    /// Whether the beacon is late.
    pub async fn beacon_stalled(&self) -> Result<bool, ChainError> {
        Ok(read!(self, api::storage().keys().stalled(), (), "state of the beacon").unwrap_or_default())
    }

    /// How many parts of app keys a gatekeeper has logged.
    pub async fn logged_releases(&self, id: GatekeeperId) -> Result<u64, ChainError> {
        let log: Option<(u64, [u8; 32], u32)> =
            read!(self, api::storage().keys().release_logs(), (Static(id),), "log of releases");
        Ok(log.map_or(0, |(count, ..)| count))
    }

    /// A job, if there is one with that number.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, ChainError> {
        Ok(read!(self, api::storage().jobs().jobs(), (id,), "job"))
    }

    /// All jobs, by number.
    pub async fn jobs(&self) -> Result<Vec<(JobId, Job)>, ChainError> {
        self.all(api::storage().jobs().jobs(), 8, "job").await
    }

    /// The number of the next job: how many there have been.
    pub async fn next_job(&self) -> Result<JobId, ChainError> {
        Ok(read!(self, api::storage().jobs().next_job(), (), "number of jobs").unwrap_or_default())
    }

    /// An app, if it is published.
    pub async fn app(&self, id: AppId) -> Result<Option<App>, ChainError> {
        Ok(read!(self, api::storage().apps().apps(), (Static(id),), "app"))
    }

    /// All apps, by id.
    pub async fn apps(&self) -> Result<Vec<(AppId, App)>, ChainError> {
        self.all(api::storage().apps().apps(), 16, "app").await
    }

    /// An image, if it is allowed.
    pub async fn image(&self, measurement: Measurement) -> Result<Option<Image>, ChainError> {
        Ok(read!(self, api::storage().attestation().images(), (Static(measurement),), "image"))
    }

    /// All allowed images, by measurement.
    pub async fn images(&self) -> Result<Vec<(Measurement, Image)>, ChainError> {
        self.all(api::storage().attestation().images(), 16, "image").await
    }

    /// The root of simulated evidence. `None` where the chain accepts none.
    pub async fn simulated_root(&self) -> Result<Option<[u8; 32]>, ChainError> {
        // Stored either as the root or as an `Option` of it, which SCALE tells apart by length.
        let address = api::storage().attestation().simulated_root();
        let Some(value) = self.at.storage().try_fetch(address, ()).await? else { return Ok(None) };
        match value.bytes() {
            [0] => Ok(None),
            [1, root @ ..] if root.len() == 32 => Ok(root.try_into().ok()),
            root => root.try_into().map(Some).map_err(|_| ChainError::Malformed("simulated root")),
        }
    }

    /// Which evidence is good enough.
    pub async fn policy(&self) -> Result<Policy, ChainError> {
        let hardware: HardwarePolicy =
            read!(self, api::storage().attestation().hardware(), (), "hardware policy").unwrap_or_default();
        Ok(Policy {
            simulated_root: self.simulated_root().await?,
            simulated_vendors: read!(self, api::storage().attestation().simulated_vendors(), (), "simulated vendors"),
            dcap: hardware.dcap,
            sev_snp: hardware.sev_snp,
            limited: hardware.limited,
        })
    }

    /// The document of a vendor's that counts at the block's time, if the chain keeps one.
    pub async fn document(&self, id: DocumentId) -> Result<Option<KeptDocument>, ChainError> {
        let current: Option<KeptDocument> =
            read!(self, api::storage().attestation().documents(), (Static(id),), "document");
        let early: Option<EarlyDocument> =
            read!(self, api::storage().attestation().early_documents(), (Static(id),), "early document");
        Ok(EarlyDocument::choose(current, early, self.timestamp_ms().await? / 1000, self.early_period().await?))
    }

    /// How long documents of a TCB recovery are early, in seconds.
    pub async fn early_period(&self) -> Result<u64, ChainError> {
        let address = api::storage().attestation().early_period();
        match self.at.storage().fetch(address, ()).await {
            Ok(value) => DecodeAll::decode_all(&mut value.bytes()).map_err(|_| ChainError::Malformed("early period")),
            Err(error) => Err(error.into()),
        }
    }

    /// All documents of vendors that the chain keeps, by what they are about.
    pub async fn documents(&self) -> Result<Vec<(DocumentId, KeptDocument)>, ChainError> {
        self.all(api::storage().attestation().documents(), 16, "document").await
    }

    /// All documents of a TCB recovery that do not count yet, by what they are about.
    pub async fn early_documents(&self) -> Result<Vec<(DocumentId, EarlyDocument)>, ChainError> {
        self.all(api::storage().attestation().early_documents(), 16, "early document").await
    }

    /// When the latest TCB recovery that may concern platforms of a family began, in seconds since the Unix epoch.
    pub async fn last_recovery(&self, family: Family) -> Result<Option<u64>, ChainError> {
        let Family::Fmspc(fmspc) = family else { return Ok(None) };
        let mut last = None;
        for id in [
            DocumentId::SgxTcbInfo(fmspc),
            DocumentId::TdxTcbInfo(fmspc),
            DocumentId::SgxQeIdentity,
            DocumentId::TdxQeIdentity,
        ] {
            let address = api::storage().attestation().recoveries();
            last = last.max(read!(self, address, (Static(id),), "time of a TCB recovery"));
        }
        Ok(last)
    }

    /// The claim to a sealing key that was made with a key, if it is its platform's newest.
    pub async fn sealing_claim(&self, claimant: [u8; 32]) -> Result<Option<SealingClaim>, ChainError> {
        Ok(read!(self, api::storage().attestation().sealing_claims(), (claimant,), "claim to a sealing key"))
    }

    /// Since when a class is declared broken, in seconds since the Unix epoch; `None` where it is not.
    pub async fn compromised_since(&self, class: Class) -> Result<Option<u64>, ChainError> {
        Ok(read!(self, api::storage().attestation().compromised(), (Static(class),), "time of a compromise"))
    }

    /// All classes that are declared broken, and since when.
    pub async fn compromised(&self) -> Result<Vec<(Class, u64)>, ChainError> {
        self.all(api::storage().attestation().compromised(), 16, "broken class").await
    }

    /// When each epoch is in use, and when it was, as far back as the chain knows. In ascending order.
    pub async fn epochs(&self) -> Result<Vec<(EpochId, Epoch)>, ChainError> {
        self.all(api::storage().keys().epochs(), 8, "epoch").await
    }

    /// Who was given each job that the chain still knows, in turn, by number of the job.
    pub async fn holders(&self) -> Result<Vec<(JobId, Vec<Holder>)>, ChainError> {
        self.all(api::storage().jobs().holders(), 8, "holders of a job").await
    }

    /// Who was given a job, in turn.
    pub async fn holders_of(&self, id: JobId) -> Result<Vec<Holder>, ChainError> {
        Ok(read!(self, api::storage().jobs().holders(), (id,), "holders of a job").unwrap_or_default())
    }

    /// The jobs that a worker has.
    pub async fn assigned_jobs(&self, worker: WorkerId) -> Result<Vec<JobId>, ChainError> {
        /// Hashes of the pallet's name and of the map's, the worker's with the worker, and the job's.
        const BEFORE_JOB: usize = 16 + 16 + 16 + 32 + 8;
        let malformed = || ChainError::Malformed("assigned job");
        let mut jobs = Vec::new();
        let mut stream = self.at.storage().iter(api::storage().jobs().assigned(), (Static(worker),)).await?;
        while let Some(entry) = stream.next().await {
            let entry = entry?;
            let key = entry.key_bytes().get(BEFORE_JOB..).ok_or_else(malformed)?;
            jobs.push(JobId::decode_all(&mut &*key).map_err(|_| malformed())?);
        }
        jobs.sort_unstable();
        Ok(jobs)
    }

    /// What an account holds.
    pub async fn balance(&self, account: Account) -> Result<AccountBalance, ChainError> {
        let address = api::storage().system().account();
        let Some(value) = self.at.storage().try_fetch(address, (AccountId32(account.0),)).await? else {
            return Ok(AccountBalance::default());
        };
        let info = value.decode().map_err(|_| ChainError::Malformed("account"))?;
        let data = info.data;
        Ok(AccountBalance { nonce: info.nonce, free: data.free, reserved: data.reserved, frozen: data.frozen })
    }

    /// The block's timestamp, in milliseconds since the Unix epoch.
    pub async fn timestamp_ms(&self) -> Result<u64, ChainError> {
        Ok(read!(self, api::storage().timestamp().now(), (), "timestamp").unwrap_or_default())
    }

    /// All entries of a map, sorted by key. The key follows `hash` bytes of its hash.
    async fn all<A, K, V>(&self, address: A, hash: usize, what: &'static str) -> Result<Vec<(K, V)>, ChainError>
    where
        A: Address,
        A::KeyParts: Send + Sync,
        (): subxt::storage::PrefixOf<A::KeyParts>,
        K: DecodeAll + Ord,
        V: DecodeAll,
    {
        /// Two 16-byte hashes: of the pallet's name and of the map's.
        const PREFIX: usize = 32;
        let mut entries = Vec::new();
        let mut stream = self.at.storage().iter(address, ()).await?;
        while let Some(entry) = stream.next().await {
            let entry = entry?;
            let malformed = |_| ChainError::Malformed(what);
            let key = entry.key_bytes().get(PREFIX + hash..).ok_or(ChainError::Malformed(what))?;
            let key = K::decode_all(&mut &*key).map_err(malformed)?;
            entries.push((key, V::decode_all(&mut entry.value().bytes()).map_err(malformed)?));
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(entries)
    }
}
