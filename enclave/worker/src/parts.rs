//! The gatekeepers' parts of a key, which the host carries and cannot read or change.

use futures::{
    StreamExt,
    future::{Either, select},
    stream::FuturesUnordered,
};
use phala_enclave::{
    Tee, TeeRng,
    chain::{Chain, ChainError, read, sharing_key},
    host::{Host, refusal},
    text::{Public, Text, text},
};
use phala_keys::{CombineError, OpenError, PendingRequest, Request, SharingError, VerifiedPartial, VerifiedSharing};
use phala_primitives::{
    GatekeeperId, Hash,
    gatekeeper::{GatekeeperRequest, NetworkKey, Sharing, SignedRequest},
};
use phala_protocol::{EnclaveRequest, HostReply, Refusal};
use std::{fmt, time::Duration};

/// How long the gatekeepers are asked for one key. A host waits for a start of a job for a minute and a half.
const PATIENCE: Duration = Duration::from_secs(8);

/// The pause before one is asked again that may know more by then: its view of the chain may be a block behind.
const PAUSE: Duration = Duration::from_secs(1);

/// Fixed sentences with numbers and ids.
pub(crate) struct Said<T>(pub T);

impl Public for Said<SharingError> {}
impl Public for Said<OpenError> {}
impl Public for Said<CombineError> {}

impl<T: fmt::Display> fmt::Display for Said<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a network key is shared in the state of the finalized block `at`; `None` where it is not.
///
/// # Errors
/// When the chain cannot be read, or says what does not fit together.
pub(crate) async fn sharing(chain: &dyn Chain, at: Hash, key: NetworkKey) -> Result<Option<VerifiedSharing>, Refusal> {
    let sharing = read::<Sharing<u32>>(chain, at, sharing_key(key), "sharing").await.map_err(unreadable)?;
    let verified = sharing.map(|sharing| VerifiedSharing::new(&sharing)).transpose();
    verified.map_err(|error| refusal(true, text!(Said(error))))
}

pub(crate) fn unreadable(error: ChainError) -> Refusal {
    refusal(true, text!("how the network's key is shared could not be read: ", error))
}

/// Asks all who have a share, until a threshold has answered.
///
/// # Errors
/// When fewer give theirs in time; with what one of them said, if one refused.
pub(crate) async fn collect<R>(
    (tee, host): (&dyn Tee, &Host),
    sharing: &VerifiedSharing,
    (pending, signed): &(PendingRequest<R>, SignedRequest<R>),
) -> Result<Vec<VerifiedPartial>, Refusal>
where
    R: Request,
    SignedRequest<R>: Into<GatekeeperRequest>,
{
    let request: GatekeeperRequest = signed.clone().into();
    let ask = |gatekeeper: &GatekeeperId| part((tee, host), sharing, pending, request.clone(), *gatekeeper);
    let mut asked: FuturesUnordered<_> = sharing.players().iter().map(ask).collect();
    let (mut parts, mut why) = (Vec::new(), None);
    let mut time = tee.sleep(PATIENCE);
    loop {
        match select(asked.next(), time).await {
            Either::Left((Some(Ok(part)), rest)) => {
                parts.push(part);
                time = rest;
            }
            Either::Left((Some(Err(reason)), rest)) => {
                why = Some(reason);
                time = rest;
            }
            Either::Left((None, _)) | Either::Right(_) => break,
        }
        if parts.len() >= sharing.threshold() as usize {
            return Ok(parts);
        }
    }
    let found =
        text!(parts.len(), " gatekeepers gave their part of the key, and ", sharing.threshold(), " are needed: ");
    let why = why.unwrap_or_else(|| refusal(true, "the others did not answer in time"));
    Err(refusal(true, found.and(&why)))
}

/// One gatekeeper's part. One that may give it later is asked again.
async fn part<R: Request>(
    (tee, host): (&dyn Tee, &Host),
    sharing: &VerifiedSharing,
    pending: &PendingRequest<R>,
    request: GatekeeperRequest,
    gatekeeper: GatekeeperId,
) -> Result<VerifiedPartial, Refusal> {
    let request = EnclaveRequest::Key { gatekeeper, request: Box::new(request) };
    loop {
        match host.request(&request).await {
            Ok(HostReply::Key(reply)) => {
                let part = pending.open(sharing, gatekeeper, &reply);
                return part.map_err(|error| refusal(true, text!(Said(error))));
            }
            Ok(_) => return Err(refusal(true, Text::from("the host gave another answer than was asked for"))),
            Err(refusal) if refusal.retry => tee.sleep(PAUSE).await,
            Err(refusal) => return Err(refusal),
        }
    }
}

/// Makes a request of `signing`, the key of who asks.
pub(crate) fn request<R: Request>(
    tee: &dyn Tee,
    request: R,
    signing: &ed25519_dalek::SigningKey,
) -> Result<(PendingRequest<R>, SignedRequest<R>), Refusal> {
    PendingRequest::new(request, signing, &mut TeeRng(tee))
        .ok_or_else(|| refusal(false, "this enclave has not the key that it asks with"))
}
