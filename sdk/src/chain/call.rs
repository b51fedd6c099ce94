//! Calls of the runtime.

use codec::{Compact, Encode};
use phala_attestation::{Evidence, Measurement, Role, SignedDocument, Statement};
use phala_primitives::{
    AppId, JobId, Limits, SignedReceipt, WorkerId,
    attestation::{Class, HardwarePolicy},
    gatekeeper::{SignedBeacon, SignedLostShare, SignedPost, SignedReleases},
    job::Visibility,
    units::Balance,
    worker::{SignedHeartbeat, SignedPerformanceReport},
};
use std::{fmt, sync::Arc};
use subxt::{
    error::ExtrinsicError,
    ext::{
        scale_encode::{EncodeAsFields, Error as EncodeError, FieldIter},
        scale_type_resolver::TypeResolver,
    },
    transactions::StaticPayload,
    utils::{AccountId32, MultiAddress, Static},
};

use super::{AtBlock, api};
use crate::Account;

type EncodeFn = dyn Fn(&AtBlock) -> Result<Vec<u8>, ExtrinsicError> + Send + Sync;

/// A call of the runtime, which [`Chain::submit`](super::Chain::submit) signs and submits.
///
/// It is encoded for, and checked against, the metadata of the node when it is submitted.
#[derive(Clone)]
pub struct Call {
    pallet: String,
    name: String,
    encode: Arc<EncodeFn>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.pallet, self.name)
    }
}

impl Call {
    /// The SCALE encoding: pallet index, call index, arguments.
    pub(crate) fn encode(&self, at: &AtBlock) -> Result<Vec<u8>, ExtrinsicError> {
        (self.encode)(at)
    }

    /// What a transaction is made of, from [`Call::encode`]'s bytes.
    pub(crate) fn payload(&self, encoded: &[u8]) -> StaticPayload<Raw> {
        StaticPayload::new(&*self.pallet, &*self.name, Raw(encoded[2..].to_vec()))
    }
}

impl<D: EncodeAsFields + Send + Sync + 'static> From<StaticPayload<D>> for Call {
    fn from(payload: StaticPayload<D>) -> Self {
        Self {
            pallet: payload.pallet_name().into(),
            name: payload.call_name().into(),
            encode: Arc::new(move |at| at.transactions().call_data(&payload)),
        }
    }
}

/// A node's session keys, as it makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKeys {
    /// Their public halves, encoded.
    pub public: Vec<u8>,
    /// That their owner is who they were made for.
    pub proof: Vec<u8>,
}

/// Arguments that are encoded already.
pub(crate) struct Raw(Vec<u8>);

impl EncodeAsFields for Raw {
    fn encode_as_fields_to<R: TypeResolver>(
        &self,
        _fields: &mut dyn FieldIter<'_, R::TypeId>,
        _types: &R,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.0);
        Ok(())
    }
}

/// A call whose arguments are other calls: `arguments` turns their encodings into its own.
fn nested(
    pallet: &'static str,
    name: &'static str,
    calls: Vec<Call>,
    prefix: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
) -> Call {
    let encode = move |at: &AtBlock| {
        let mut arguments = prefix(calls.len());
        for call in &calls {
            arguments.extend(call.encode(at)?);
        }
        at.transactions().call_data(&StaticPayload::new(pallet, name, Raw(arguments)))
    };
    Call { pallet: pallet.into(), name: name.into(), encode: Arc::new(encode) }
}

/// A list as the runtime's interface has it; the chain says when it is too long.
fn bounded<T>(list: Vec<T>) -> api::runtime_types::bounded_collections::bounded_vec::BoundedVec<T> {
    api::runtime_types::bounded_collections::bounded_vec::BoundedVec(list)
}

/// Registers a worker; the signer must be the statement's operator.
pub fn register(
    statement: Statement,
    evidence: Evidence,
    performance: SignedPerformanceReport,
    endpoint: &str,
    price: Balance,
) -> Call {
    api::transactions()
        .workers()
        .register(
            Static(statement),
            Static(evidence),
            Static(performance),
            bounded(endpoint.as_bytes().to_vec()),
            price,
        )
        .into()
}

/// Replaces a worker's verdict by a newer one.
pub fn renew(statement: Statement, evidence: Evidence, performance: SignedPerformanceReport) -> Call {
    api::transactions().workers().renew(Static(statement), Static(evidence), Static(performance)).into()
}

/// A worker's sign of life.
pub fn heartbeat(heartbeat: SignedHeartbeat) -> Call {
    api::transactions().workers().heartbeat(Static(heartbeat)).into()
}

/// What a worker asks for 10⁹ fuel from now on.
pub fn set_price(worker: WorkerId, price: Balance) -> Call {
    api::transactions().workers().set_price(Static(worker), price).into()
}

/// Registers a gatekeeper's enclave for a seat of the signer's, with session keys and the proof that the seat has them.
pub fn register_gatekeeper(
    index: u16,
    bond: Balance,
    statement: Statement,
    evidence: Evidence,
    endpoint: &str,
    keys: SessionKeys,
) -> Call {
    let endpoint = endpoint.as_bytes().to_vec();
    // Their public halves are opaque here: what the node gave is what the chain takes.
    let encode = move |at: &AtBlock| {
        let mut arguments = (index, Compact(bond), &statement, &evidence, &endpoint).encode();
        arguments.extend(&keys.public);
        keys.proof.encode_to(&mut arguments);
        at.transactions().call_data(&StaticPayload::new("Gatekeepers", "register", Raw(arguments)))
    };
    Call { pallet: "Gatekeepers".into(), name: "register".into(), encode: Arc::new(encode) }
}

/// Claims the key to seal with for an enclave on a platform that cannot seal.
pub fn claim_sealing_key(statement: Statement, evidence: Evidence) -> Call {
    api::transactions().attestation().claim_sealing_key(Static(statement), Static(evidence)).into()
}

/// Root: has gatekeepers give enclaves of a class other keys to seal with, for keys that may have leaked.
pub fn replace_sealing_keys(class: Class) -> Call {
    api::transactions().attestation().replace_sealing_keys(Static(class)).into()
}

/// Replaces a gatekeeper's verdict by a newer one.
pub fn renew_gatekeeper(statement: Statement, evidence: Evidence) -> Call {
    api::transactions().gatekeepers().renew(Static(statement), Static(evidence)).into()
}

/// Gives a seat of the signer's another enclave, from the next election on.
pub fn replace_gatekeeper(index: u16, statement: Statement, evidence: Evidence, endpoint: &str) -> Call {
    api::transactions()
        .gatekeepers()
        .replace(index, Static(statement), Static(evidence), bounded(endpoint.as_bytes().to_vec()))
        .into()
}

/// Where other gatekeepers and workers reach the host of a seat of the signer's from now on.
pub fn set_gatekeeper_endpoint(index: u16, endpoint: &str) -> Call {
    api::transactions().gatekeepers().set_endpoint(index, bounded(endpoint.as_bytes().to_vec())).into()
}

/// Has a seat of the signer's stand in elections again.
pub fn stand(index: u16) -> Call {
    api::transactions().gatekeepers().stand(index).into()
}

/// Gives a seat of the signer's up: it is out at the next election, and its bond comes back after the unbonding period.
pub fn leave(index: u16) -> Call {
    api::transactions().gatekeepers().leave(index).into()
}

/// Removes a seat that was left, once its unbonding period is over.
pub fn withdraw_seat(seat: Account) -> Call {
    api::transactions().gatekeepers().withdraw(AccountId32(seat.0)).into()
}

/// Backs these seats, instead of those that the signer backed before, with an amount.
pub fn back(seats: &[Account], amount: Balance) -> Call {
    let seats = seats.iter().map(|seat| AccountId32(seat.0)).collect();
    api::transactions().gatekeepers().back(bounded(seats), amount).into()
}

/// Ends [`back`].
pub fn stop_backing() -> Call {
    api::transactions().gatekeepers().stop_backing().into()
}

/// Root: has an election of gatekeepers in the next session.
pub fn force_era() -> Call {
    api::transactions().gatekeepers().force_era().into()
}

/// A gatekeeper's post in a ceremony; takes no sender.
pub fn post(post: SignedPost) -> Call {
    api::transactions().keys().post(Static(post)).into()
}

/// A round of the random beacon; takes no sender.
pub fn submit_beacon(beacon: SignedBeacon) -> Call {
    api::transactions().keys().submit_beacon(Static(beacon)).into()
}

/// A gatekeeper's request for a new dealing of a key; takes no sender.
pub fn report_lost_share(request: SignedLostShare) -> Call {
    api::transactions().keys().report_lost_share(Static(request)).into()
}

/// A gatekeeper's log of what it released; takes no sender.
pub fn log_releases(releases: SignedReleases) -> Call {
    api::transactions().keys().log_releases(Static(releases)).into()
}

/// Where users reach a worker's host from now on.
pub fn set_endpoint(worker: WorkerId, endpoint: &str) -> Call {
    api::transactions().workers().set_endpoint(Static(worker), bounded(endpoint.as_bytes().to_vec())).into()
}

/// Gives a worker no more jobs.
pub fn drain(worker: WorkerId) -> Call {
    api::transactions().workers().drain(Static(worker)).into()
}

/// Gives a drained worker jobs again.
pub fn resume(worker: WorkerId) -> Call {
    api::transactions().workers().resume(Static(worker)).into()
}

/// Removes a worker that has no job.
pub fn deregister(worker: WorkerId) -> Call {
    api::transactions().workers().deregister(Static(worker)).into()
}

/// Publishes an app.
pub fn publish(code_hash: [u8; 32], code_bytes: u32, manifest_hash: [u8; 32], visibility: Visibility) -> Call {
    api::transactions().apps().publish(code_hash, code_bytes, manifest_hash, Static(visibility)).into()
}

/// Takes an app back.
pub fn unpublish(app: AppId) -> Call {
    api::transactions().apps().unpublish(Static(app)).into()
}

/// Submits a job; see [`phala_primitives::job::Job`] for what the arguments mean.
pub fn submit_job(
    app: AppId,
    limits: Limits,
    max_price: Balance,
    deadline: u32,
    redundancy: u8,
    secret_commitment: [u8; 32],
) -> Call {
    api::transactions()
        .jobs()
        .submit(Static(app), Static(limits), max_price, deadline, redundancy, secret_commitment)
        .into()
}

/// Cancels a job that no worker has yet.
pub fn cancel_job(job: JobId) -> Call {
    api::transactions().jobs().cancel(job).into()
}

/// Settles a job.
pub fn submit_receipt(receipt: SignedReceipt) -> Call {
    api::transactions().jobs().submit_receipt(Static(receipt)).into()
}

/// Transfers PHA, unless that would empty the sender's account below the existential deposit.
pub fn transfer(to: Account, amount: Balance) -> Call {
    api::transactions().balances().transfer_keep_alive(MultiAddress::Id(AccountId32(to.0)), amount).into()
}

/// Root: allows an image.
pub fn allow_image(measurement: Measurement, role: Role, version: u32) -> Call {
    api::transactions().attestation().allow_image(Static(measurement), Static(role), version).into()
}

/// Root: forbids an image.
pub fn forbid_image(measurement: Measurement) -> Call {
    api::transactions().attestation().forbid_image(Static(measurement)).into()
}

/// Keeps a vendor's document that is newer than what the chain has.
pub fn submit_document(document: SignedDocument) -> Call {
    api::transactions().attestation().submit_document(Static(document)).into()
}

/// Root: which platforms are good enough for evidence from now on.
pub fn set_hardware_policy(policy: HardwarePolicy) -> Call {
    api::transactions().attestation().set_hardware_policy(Static(policy)).into()
}

/// Root: declares a class of enclaves broken: its workers get nothing more, and lose what they have.
pub fn compromise(class: Class) -> Call {
    api::transactions().attestation().compromise(Static(class)).into()
}

/// Root: takes [`compromise`] back. Workers of the class come back by new evidence.
pub fn restore(class: Class) -> Call {
    api::transactions().attestation().restore(Static(class)).into()
}

/// Root: for how long documents of a TCB recovery are early, in seconds.
pub fn set_early_period(seconds: u64) -> Call {
    api::transactions().attestation().set_early_period(seconds).into()
}

/// Root: how long verdicts given from now on last, in seconds.
pub fn set_verdict_lifetime(seconds: u64) -> Call {
    api::transactions().attestation().set_verdict_lifetime(seconds).into()
}

/// Replaces the session keys of the signer, an authority: with what the node's `author_rotateKeysWithOwner` gave for
/// the signer's account. They are in force from the next session but one.
pub fn set_session_keys(keys: Vec<u8>, proof: Vec<u8>) -> Call {
    let mut arguments = keys;
    proof.encode_to(&mut arguments);
    StaticPayload::new("Session", "set_keys", Raw(arguments)).into()
}

/// Does `call` as Root; the signer must be the sudo key.
pub fn sudo(call: Call) -> Call {
    nested("Sudo", "sudo", vec![call], |_| Vec::new())
}

/// Does all calls, or none if one fails.
pub fn batch_all(calls: Vec<Call>) -> Call {
    nested("Utility", "batch_all", calls, |count| Compact(count as u32).encode())
}

/// Puts bytes on record: they are in the block and nowhere in the state.
pub fn remark(bytes: Vec<u8>) -> Call {
    api::transactions().system().remark(bytes).into()
}
