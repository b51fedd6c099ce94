//! The key to seal with, for enclaves on platforms that have none: the one signature that the root key makes over platform and image.
//!
//! It is the same at each start, on this platform and for this image alone, as a platform's own sealing key is. A threshold of
//! gatekeepers can make it without the enclave: so could whoever breaks as many, who has the keys of all apps then, too.

use phala_attestation::{Measurement, PlatformId};
use zeroize::Zeroizing;

use crate::{
    app_key::derive,
    sharing::{CombineError, Message, VerifiedPartial, VerifiedSharing},
};

/// Puts the parts of a sealing key together, verifies what comes out, and gives the secret to seal with.
///
/// # Errors
/// When they are too few, or one is of another sharing, platform or image.
pub fn combine_sealing_key(
    sharing: &VerifiedSharing,
    platform: PlatformId,
    measurement: Measurement,
    partials: &[VerifiedPartial],
) -> Result<Zeroizing<[u8; 32]>, CombineError> {
    let signature = sharing.combine(&Message::SealingKey { platform, measurement }, partials)?;
    Ok(derive(&sharing.public_key(), &signature, b"phala/sealing-key/secret/v1"))
}
