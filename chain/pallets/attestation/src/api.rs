//! What the runtime answers about evidence.

use alloc::vec::Vec;
use phala_attestation::{Collateral, Error, Evidence, Policy, UnixSeconds};

sp_api::decl_runtime_apis! {
    /// Verification of evidence by the chain's own code.
    pub trait AttestationApi {
        /// Verifies `evidence` with this collateral, under this policy and at this time: no state is read. Gives the encoding
        /// of [`VerifiedEvidence`](phala_attestation::VerifiedEvidence).
        fn verify_evidence(
            evidence: Evidence,
            collateral: Collateral,
            policy: Policy,
            at: UnixSeconds,
        ) -> Result<Vec<u8>, Error>;
    }
}
