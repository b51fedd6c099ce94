//! The key to seal with, for enclaves on platforms that have none: the one signature that the root key makes over image, platform
//! and version.
//!
//! It is the same at each start, on this platform and for this image alone, as a platform's own sealing key is, until governance replaces the
//! keys of a class. A threshold of
//! gatekeepers can make it without the enclave: so could whoever breaks as many, who has the keys of all apps then, too.

use phala_primitives::attestation::SealingKeyId;
use zeroize::Zeroizing;

use crate::{
    app_key::derive,
    sharing::{CombineError, Message, VerifiedPartial, VerifiedSharing},
};

/// Puts the parts of a sealing key together, verifies what comes out, and gives the secret to seal with.
///
/// # Errors
/// When they are too few, or one is of another sharing or key.
pub fn combine_sealing_key(
    sharing: &VerifiedSharing,
    key: SealingKeyId,
    partials: &[VerifiedPartial],
) -> Result<Zeroizing<[u8; 32]>, CombineError> {
    let signature = sharing.combine(&Message::SealingKey(key), partials)?;
    Ok(derive(&sharing.public_key(), &signature, b"phala/sealing-key/secret/v1"))
}
