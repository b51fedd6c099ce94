//! The real runtime, executed natively on a map of keys and values.
//!
//! Blocks are initialized and extrinsics applied by the runtime's own `Executive`: signatures, nonces, fees, weights, hooks
//! and sessions are the real ones. Two things are left out: the storage root, which nobody here looks at and which would cost more than
//! everything else, and the verifiable random output of authors: the parent's hash stands in for its author's.

use codec::{Decode, Encode};
use frame_support::{genesis_builder_helper::build_state, storage::storage_prefix, traits::OnFinalize};
use phala_host::chain::Job;
use phala_primitives::{Hash, JobId, job::JobStatus};
use phala_runtime::{
    AllPalletsWithSystem, Executive, Header, Runtime, RuntimeCall, RuntimeEvent, RuntimeGenesisConfig, SignedPayload,
    System, TxExtension, UncheckedExtrinsic, genesis,
};
use sp_consensus_babe::digests::{CompatibleDigestItem, PreDigest, SecondaryPlainPreDigest};
use sp_core::storage::Storage;
use sp_keyring::Sr25519Keyring;
use sp_runtime::{
    generic::{Digest, DigestItem, Era},
    traits::Header as _,
};
use sp_state_machine::BasicExternalities;
use std::collections::BTreeMap;

/// The length of a slot, in milliseconds.
pub const SLOT_MS: u64 = phala_runtime::MILLISECS_PER_BLOCK;

/// All storage of a block.
pub type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// A block to be made.
pub struct Draft<'a> {
    /// Its number.
    pub number: u32,
    /// Its parent's hash.
    pub parent_hash: Hash,
    /// Its slot.
    pub slot: u64,
    /// Who calls what, in this order.
    pub calls: &'a [(Sr25519Keyring, RuntimeCall)],
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in the block and did what it should.
    Done,
    /// It is in the block and failed.
    Failed(String),
    /// It is in no block.
    Invalid(String),
}

/// A block that was made.
pub struct Made {
    /// Its state.
    pub state: State,
    /// What became of each call.
    pub applied: Vec<Applied>,
    /// What our pallets said.
    pub events: Vec<String>,
}

/// The state of the first block: the development preset.
///
/// # Panics
/// When the preset does not build.
pub fn genesis_state() -> State {
    let mut storage = Storage::default();
    BasicExternalities::execute_with_storage(&mut storage, || {
        let mut config = serde_json::to_value(RuntimeGenesisConfig::default()).expect("a configuration is JSON");
        let patch = genesis::preset(&"development".into()).expect("there is such a preset");
        merge(&mut config, serde_json::from_slice(&patch).expect("a preset is JSON"));
        let config = serde_json::to_vec(&config).expect("JSON is text");
        build_state::<RuntimeGenesisConfig>(config).expect("the preset builds");
    });
    storage.top
}

/// RFC 7396, as nodes apply presets.
fn merge(target: &mut serde_json::Value, patch: serde_json::Value) {
    match (target, patch) {
        (serde_json::Value::Object(target), serde_json::Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (target, patch) => *target = patch,
    }
}

/// Makes a block on the state of its parent, and checks what must hold after each.
///
/// # Errors
/// What does not hold.
pub fn make(parent: &State, draft: &Draft<'_>) -> Result<Made, String> {
    let mut storage = Storage { top: parent.clone(), ..Storage::default() };
    let made = BasicExternalities::execute_with_storage(&mut storage, || -> Result<_, String> {
        let slot = PreDigest::SecondaryPlain(SecondaryPlainPreDigest { authority_index: 0, slot: draft.slot.into() });
        let digest = Digest { logs: vec![DigestItem::babe_pre_digest(slot)] };
        let header =
            Header::new(draft.number, Default::default(), Default::default(), draft.parent_hash.into(), digest);
        pallet_babe::AuthorVrfRandomness::<Runtime>::put(Some(draft.parent_hash));
        Executive::initialize_block(&header);
        let now = draft.slot * SLOT_MS;
        let time = UncheckedExtrinsic::new_bare(RuntimeCall::Timestamp(pallet_timestamp::Call::set { now }));
        let timed = Executive::apply_extrinsic(time);
        if !matches!(timed, Ok(Ok(()))) {
            return Err(format!("the timestamp was not taken: {timed:?}"));
        }
        let applied = draft.calls.iter().map(|(who, call)| apply(*who, call.clone())).collect::<Vec<_>>();
        finish(draft.number);
        check_pallets()?;
        Ok((applied, events()))
    });
    let (applied, events) = made?;
    let state = storage.top;
    check_ended_jobs(parent, &state)?;
    Ok(Made { state, applied, events })
}

fn apply(who: Sr25519Keyring, call: RuntimeCall) -> Applied {
    let extension: TxExtension = (
        frame_system::AuthorizeCall::new(),
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckMortality::from(Era::Immortal),
        frame_system::CheckNonce::from(System::account_nonce(who.to_account_id())),
        frame_system::CheckWeight::new(),
        pallet_transaction_payment::ChargeTransactionPayment::from(0),
        frame_metadata_hash_extension::CheckMetadataHash::new(false),
        frame_system::WeightReclaim::new(),
    );
    let payload = match SignedPayload::new(call.clone(), extension.clone()) {
        Ok(payload) => payload,
        Err(error) => return Applied::Invalid(format!("{error:?}")),
    };
    let signature = payload.using_encoded(|bytes| who.sign(bytes));
    let signed = UncheckedExtrinsic::new_signed(call, who.to_account_id().into(), signature.into(), extension);
    match Executive::apply_extrinsic(signed) {
        Ok(Ok(())) => Applied::Done,
        Ok(Err(error)) => Applied::Failed(format!("{error:?}")),
        Err(error) => Applied::Invalid(format!("{error:?}")),
    }
}

/// What `Executive::finalize_block` does, without the storage root.
fn finish(number: u32) {
    if !System::inherents_applied() {
        Executive::inherents_applied();
    }
    System::note_finished_extrinsics();
    <AllPalletsWithSystem as OnFinalize<u32>>::on_finalize(number);
    frame_system::BlockSize::<Runtime>::kill();
    frame_system::InherentsApplied::<Runtime>::kill();
}

/// The pallets' own invariants, escrow among them, and the number of PHA.
fn check_pallets() -> Result<(), String> {
    let checked = [
        ("attestation", pallet_phala_attestation::Pallet::<Runtime>::do_try_state()),
        ("workers", pallet_phala_workers::Pallet::<Runtime>::do_try_state()),
        ("apps", pallet_phala_apps::Pallet::<Runtime>::do_try_state()),
        ("jobs", pallet_phala_jobs::Pallet::<Runtime>::do_try_state()),
    ];
    for (pallet, result) in checked {
        result.map_err(|error| format!("an invariant of the {pallet} pallet is broken: {error:?}"))?;
    }
    match pallet_balances::TotalIssuance::<Runtime>::get() {
        genesis::TOTAL_ISSUANCE => Ok(()),
        issued => Err(format!("PHA appeared or vanished: there are {issued} now")),
    }
}

/// A job that has ended never changes, so that none is paid twice; nor is one lost before it ends.
fn check_ended_jobs(before: &State, after: &State) -> Result<(), String> {
    for (id, old) in jobs(before) {
        match read::<Job>(after, &job_key(id)) {
            None if is_live(&old) => return Err(format!("job {id} was lost")),
            Some(new) if !is_live(&old) && new != old => return Err(format!("job {id} changed after its end")),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a job has not ended.
pub fn is_live(job: &Job) -> bool {
    matches!(job.status, JobStatus::Queued | JobStatus::Assigned(_))
}

/// Every job in a state.
pub fn jobs(state: &State) -> impl Iterator<Item = (JobId, Job)> {
    let prefix = storage_prefix(b"Jobs", b"Jobs").to_vec();
    let from = state.range(prefix.clone()..);
    from.take_while(move |(key, _)| key.starts_with(&prefix)).filter_map(|(key, value)| {
        // Twox64Concat: the number is what the key ends with.
        let id = JobId::from_le_bytes(key.last_chunk().copied()?);
        Some((id, Job::decode(&mut &value[..]).ok()?))
    })
}

/// Where a job is.
pub fn job_key(id: JobId) -> Vec<u8> {
    pallet_phala_jobs::Jobs::<Runtime>::hashed_key_for(id)
}

/// Decodes what is under `key`.
pub fn read<T: Decode>(state: &State, key: &[u8]) -> Option<T> {
    T::decode(&mut state.get(key)?.as_slice()).ok()
}

fn events() -> Vec<String> {
    let of_ours = |event| match event {
        RuntimeEvent::Attestation(event) => Some(format!("{event:?}")),
        RuntimeEvent::Workers(event) => Some(format!("{event:?}")),
        RuntimeEvent::Apps(event) => Some(format!("{event:?}")),
        RuntimeEvent::Jobs(event) => Some(format!("{event:?}")),
        _ => None,
    };
    System::events().into_iter().filter_map(|record| of_ours(record.event)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use phala_attestation::{Measurement, Role};

    #[test]
    fn blocks_are_made_by_the_real_runtime() {
        let mut state = genesis_state();
        let measurement = Measurement([1; 32]);
        let call = pallet_phala_attestation::Call::allow_image { measurement, role: Role::Worker, version: 1 };
        let call = RuntimeCall::Attestation(call);
        let sudo = RuntimeCall::Sudo(pallet_sudo::Call::sudo { call: Box::new(call.clone()) });
        let calls = [(Sr25519Keyring::Alice, sudo), (Sr25519Keyring::Bob, call)];
        // More than an epoch, so that a session ends.
        for number in 1..200 {
            let calls: &[_] = if number == 2 { &calls } else { &[] };
            let draft = Draft { number, parent_hash: [number as u8; 32], slot: 900_000_000 + u64::from(number), calls };
            let made = make(&state, &draft).unwrap();
            if number == 2 {
                assert_eq!(made.applied[0], Applied::Done);
                assert!(matches!(made.applied[1], Applied::Failed(_)), "{:?}", made.applied[1]);
                assert!(made.events.iter().any(|event| event.contains("ImageAllowed")), "{:?}", made.events);
            }
            state = made.state;
        }
        assert_eq!(jobs(&state).count(), 0);
    }
}
