//! A network's keys of a test's making.

use commonware_codec::Encode;
use commonware_cryptography::bls12381::primitives::{group::Private, ops, variant::MinSig};
use phala_app_encryption::{AppIdentity, Purpose, Target};
use phala_primitives::{
    AppId,
    gatekeeper::{APP_KEY_NAMESPACE, APP_KEY_VERSION, PublicKey, app_key_message},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::network_keys::NetworkKeys;

fn pair() -> (Private, PublicKey) {
    let (private, public) = ops::keypair::<_, MinSig>(&mut ChaCha20Rng::from_seed([1; 32]));
    (private, PublicKey(public.encode().to_vec().try_into().unwrap()))
}

/// The keys of a network in epoch 4, whose oldest is 3. Each epoch has the same.
pub(crate) fn network_keys() -> NetworkKeys {
    NetworkKeys {
        genesis_hash: [1; 32],
        epoch: 4,
        oldest_epoch: 3,
        public_key: pair().1,
        app_key_version: APP_KEY_VERSION,
        usable_until_block: 1_000,
        usable_until: 1_900_000_000,
    }
}

/// What gatekeepers would give to a worker for what is encrypted to an app in the current epoch of `keys`.
pub(crate) fn app_identity(keys: &NetworkKeys, purpose: Purpose, app: AppId) -> AppIdentity {
    let (private, public_key) = pair();
    let message = app_key_message(&app, keys.app_key_version);
    let signature = ops::sign_message::<MinSig>(&private, APP_KEY_NAMESPACE, &message);
    let target = Target { purpose, epoch: keys.epoch, app, version: keys.app_key_version };
    AppIdentity::new(target, &public_key, &signature.encode().to_vec().try_into().unwrap()).unwrap()
}
