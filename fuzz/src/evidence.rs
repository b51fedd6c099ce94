use codec::Encode;
use phala_attestation::{
    Collateral, Error, Evidence, Measurement, Policy, Role, Statement, UnixSeconds, VendorName,
    simulated::{Report, Root, development_root},
    verify,
};
use std::sync::LazyLock;

use crate::{Target, canonical};

pub(crate) const TARGETS: &[Target] = &[Target {
    name: "evidence",
    run: evidence,
    seeds,
    tokens: &[&[0], &[1], &[255], &[0, 255], &[1, 0], &NOW_BYTES],
    memory_per_byte: Some(64),
}];

/// The time of the verification.
const NOW: UnixSeconds = 1_800_000_000;

const NOW_BYTES: [u8; 8] = NOW.to_le_bytes();

static ROOT: LazyLock<[u8; 32]> = LazyLock::new(|| development_root().public());

/// The only evidence that may be believed.
static MINTED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let roles = [Role::Worker, Role::Gatekeeper];
    let bundles = roles.map(|role| bundle(&statement(role), &development_root(), 1, NOW + 10, false));
    bundles.into_iter().map(|bundle| bundle.encode()).collect()
});

/// What the host hands over to prove a worker: a statement and its evidence. It is believed only if the development root's
/// platform made it, for this statement.
pub fn evidence(data: &[u8]) {
    let Some((statement, evidence)) = canonical::<(Statement, Evidence)>(data) else { return };
    let collateral = Collateral::default();
    let verify_with =
        |simulated_root, now| verify(&evidence, &collateral, &Policy { simulated_root, ..Policy::default() }, now);
    match (&evidence, verify_with(None, NOW)) {
        (Evidence::Simulated(_), refused) => assert_eq!(refused, Err(Error::SimulatedForbidden)),
        (_, refused) => assert!(refused.is_err(), "evidence was believed without its collateral"),
    }
    assert!(verify_with(Some(*ROOT), NOW + 10).is_err(), "evidence was believed after its certificate's end");
    if let Ok(verdict) = verify_with(Some(*ROOT), NOW).and_then(|verified| verified.bind(&statement)) {
        assert!(MINTED.iter().any(|minted| minted == data), "evidence that nobody made was believed");
        assert_eq!(verdict.statement(), &statement);
    }
}

pub(crate) fn statement(role: Role) -> Statement {
    Statement {
        role,
        signing_key: [1; 32],
        encryption_key: [2; 32],
        genesis_hash: [3; 32],
        operator: [4; 32],
        block_number: 6,
        block_hash: [5; 32],
    }
}

/// A statement and evidence for it, of a platform that `root` has certified.
pub(crate) fn bundle(
    statement: &Statement,
    root: &Root,
    tcb_level: u16,
    not_after: UnixSeconds,
    debug: bool,
) -> (Statement, Evidence) {
    let report = Report { measurement: Measurement([9; 32]), debug, report_data: statement.report_data() };
    let platform = root.certify([7; 32], VendorName::DEVELOPMENT, tcb_level, NOW - 10, not_after);
    (statement.clone(), Evidence::Simulated(platform.quote(report)))
}

fn seeds() -> Vec<Vec<u8>> {
    let (worker, root) = (statement(Role::Worker), development_root());
    let mut seeds = MINTED.clone();
    seeds.extend(
        [
            bundle(&worker, &root, 0, NOW + 10, false),
            bundle(&worker, &root, 1, NOW, false),
            bundle(&worker, &root, 1, NOW + 10, true),
            bundle(&worker, &Root::from_seed([1; 32]), 1, NOW + 10, false),
        ]
        .map(|bundle| bundle.encode()),
    );
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_minted_is_believed_and_nothing_else() {
        for seed in seeds() {
            let (statement, evidence) = canonical::<(Statement, Evidence)>(&seed).unwrap();
            let policy = Policy { simulated_root: Some(*ROOT), ..Policy::default() };
            let verdict = verify(&evidence, &Collateral::default(), &policy, NOW).and_then(|e| e.bind(&statement));
            assert_eq!(verdict.is_ok(), MINTED.contains(&seed));
        }
    }
}
