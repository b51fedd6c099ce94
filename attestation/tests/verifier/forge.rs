//! Evidence with something wrong in it that is signed all the same.
//!
//! Flipping a bit of recorded evidence only shows that signatures are checked. Here, what the hardware or the vendor would
//! have to say is said and signed, under roots that only these tests pass in.

pub(crate) use crate::mint::{
    VALID_FROM as START, VALID_UNTIL as END,
    amd::Snp,
    certificates::list,
    der::{critical, key_usage},
    intel::{Dcap, OTHER},
    keys::Key,
};
use crate::{roots::Roots, *};

/// When it is verified.
pub const NOW: UnixSeconds = START + 1000;

impl Dcap {
    pub fn verify(&self, policy: &Policy, now: UnixSeconds) -> Result<VerifiedEvidence, Error> {
        let (intel, evidence, collateral) = self.build();
        verify_under::<NoneKnown>(&Roots { intel: &intel, ..Roots::PINNED }, &evidence, &collateral, policy, now)
    }
}

impl Snp {
    pub fn verify(&self, policy: &Policy, now: UnixSeconds) -> Result<VerifiedEvidence, Error> {
        let (ark, evidence, collateral) = self.build();
        let roots = Roots { milan: &ark, genoa: &ark, turin: &ark, ..Roots::PINNED };
        verify_under::<NoneKnown>(&roots, &evidence, &collateral, policy, now)
    }
}
