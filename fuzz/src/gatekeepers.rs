//! What gatekeepers and workers read of each other: requests for keys, and what is encrypted to an app.

use age::Decryptor;
use codec::Encode;
use commonware_codec::Encode as _;
use commonware_cryptography::bls12381::primitives::{ops, variant::MinSig};
use ed25519_dalek::{Signer, SigningKey};
use phala_app_encryption::{AppIdentity, AppRecipient, Purpose, Target as AppTarget};
use phala_attestation::{Measurement, PlatformId};
use phala_keys::VerifiedRequest;
use phala_primitives::{
    AppId, WorkerId,
    attestation::SealingKeyId,
    gatekeeper::{
        APP_KEY_NAMESPACE, GatekeeperRequest, KeyRequest, NetworkKey, PublicKey, SealingKeyRequest, SignedRequest,
        app_key_message,
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{io::Read, sync::LazyLock};

use crate::{Target, canonical};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "app_files", run: app_files, seeds: app_file_seeds, tokens: TOKENS, memory_per_byte: None },
    Target {
        name: "key_requests",
        run: key_requests,
        seeds: || KEY_REQUESTS.clone(),
        tokens: &[],
        memory_per_byte: Some(64),
    },
];

const TOKENS: &[&[u8]] = &[b"age-encryption.org/v1\n", b"-> phala ", b" job ", b" file ", b"--- "];
const PLAINTEXT: &[u8] = b"what nobody else reads";
const TARGET: AppTarget = AppTarget { purpose: Purpose::File, epoch: 7, app: AppId([3; 32]), version: 0 };

/// Every request that was signed.
static KEY_REQUESTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let key = SigningKey::from_bytes(&[7; 32]);
    let sign = |key_asked| {
        let request = KeyRequest {
            genesis_hash: [1; 32],
            worker: WorkerId(key.verifying_key().to_bytes()),
            job: 5,
            attempt: 1,
            app: AppId([3; 32]),
            version: 0,
            key: key_asked,
            reply_key: [4; 32],
        };
        let signature = key.sign(&request.signed_bytes()).to_bytes();
        GatekeeperRequest::AppKey(SignedRequest { signature, request })
    };
    let request = SealingKeyRequest {
        genesis_hash: [1; 32],
        claimant: key.verifying_key().to_bytes(),
        key: SealingKeyId { measurement: Measurement([6; 32]), platform: PlatformId([5; 32]), version: 2 },
        reply_key: [4; 32],
    };
    let signature = key.sign(&request.signed_bytes()).to_bytes();
    let sealing = GatekeeperRequest::SealingKey(SignedRequest { signature, request });
    [sign(NetworkKey::Root), sign(NetworkKey::Epoch(7)), sealing].map(|request| request.encode()).into()
});

/// An app's key, made of a network key that one knows whole.
static APP: LazyLock<(AppRecipient, AppIdentity)> = LazyLock::new(|| {
    let (private, public) = ops::keypair::<_, MinSig>(&mut ChaCha20Rng::from_seed([1; 32]));
    let public = PublicKey(public.encode().to_vec().try_into().expect("a point of G2 has 96 bytes"));
    let message = app_key_message(&TARGET.app, TARGET.version);
    let signature = ops::sign_message::<MinSig>(&private, APP_KEY_NAMESPACE, &message).encode().to_vec();
    let signature = signature.try_into().expect("a point of G1 has 48 bytes");
    let identity = AppIdentity::new(TARGET, &public, &signature).expect("the key signs for the app");
    (AppRecipient::new(TARGET, &public).expect("a good key"), identity)
});

fn app_file_seeds() -> Vec<Vec<u8>> {
    vec![age::encrypt(&APP.0, PLAINTEXT).expect("encryption to memory")]
}

/// Files that are encrypted to an app, as anybody may name them in a job.
pub fn app_files(data: &[u8]) {
    let Ok(decryptor) = Decryptor::new_buffered(data) else { return };
    let Ok(mut plaintext) = decryptor.decrypt(std::iter::once(&APP.1 as &dyn age::Identity)) else { return };
    let mut read = Vec::new();
    if plaintext.read_to_end(&mut read).is_ok() {
        assert_eq!(read, PLAINTEXT, "a file that nobody encrypted opens");
    }
}

/// Requests for keys, as strangers bring them to a gatekeeper.
pub fn key_requests(data: &[u8]) {
    let Some(signed) = canonical::<GatekeeperRequest>(data) else { return };
    let is_signed = match &signed {
        GatekeeperRequest::AppKey(signed) => VerifiedRequest::new(signed).is_ok(),
        GatekeeperRequest::SealingKey(signed) => VerifiedRequest::new(signed).is_ok(),
    };
    if is_signed {
        assert!(KEY_REQUESTS.iter().any(|request| request == data), "a request that nobody signed was believed");
    }
}

pub(crate) fn key_request() -> GatekeeperRequest {
    canonical(&KEY_REQUESTS[0]).expect("it was encoded here")
}
