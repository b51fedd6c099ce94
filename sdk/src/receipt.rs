//! Receipts: what an enclave signed about a job, checked against what the chain says and what the user knows.

use codec::Encode;
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use phala_attestation::Measurement;
use phala_primitives::{JobId, SignedReceipt, job::JobStatus};
use sha2::{Digest, Sha256};

use crate::{
    chain::{App, Job},
    evidence::Check,
};

/// Why a receipt is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The chain has no settlement for the job.
    #[error("the job is not settled on chain, so there is nothing to hold its receipt against")]
    NotSettled,
    /// Not signed by the worker that it names.
    #[error("the receipt is not signed by its worker's enclave")]
    Signature,
    /// Something in it differs from what the chain or the user knows.
    #[error("the receipt is wrong: its {0} differs from {1}")]
    Mismatch(&'static str, &'static str),
}

/// What to hold a receipt against.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The chain.
    pub genesis_hash: [u8; 32],
    /// The job.
    pub id: JobId,
    /// The job on chain.
    pub job: &'a Job,
    /// Its app on chain.
    pub app: &'a App,
    /// The image that the worker's evidence proved, or why that is not known.
    pub measurement: Result<Measurement, &'a str>,
    /// SHA-256 of the encrypted job input that was sent; `None` if it is not known.
    pub input_hash: Option<[u8; 32]>,
    /// The encrypted output and what is in it; `None` if there is none or it is not known.
    pub output: Option<Output<'a>>,
}

/// The result of a job, as it was downloaded.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// SHA-256 of the encrypted file.
    pub file_hash: [u8; 32],
    /// The decrypted archive.
    pub archive: &'a [u8],
    /// The job's secret.
    pub secret: &'a [u8; 32],
}

/// Checks a receipt against everything that is known.
///
/// # Errors
/// The first thing that does not hold; see [`ReceiptError`].
pub fn verify(signed: &SignedReceipt, facts: &Facts<'_>) -> Result<Vec<Check>, ReceiptError> {
    let receipt = &signed.receipt;
    let JobStatus::Settled(settlement) = &facts.job.status else { return Err(ReceiptError::NotSettled) };
    let mut checks = Checks::default();
    let hash = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));

    let key = VerifyingKey::from_bytes(&receipt.worker.0).map_err(|_| ReceiptError::Signature)?;
    key.verify_strict(&receipt.signed_bytes(), &Signature::from_bytes(&signed.signature))
        .map_err(|_| ReceiptError::Signature)?;
    checks.must(true, "signature", "", format!("Ed25519, by worker {}", receipt.worker))?;

    let chain = "the chain's";
    checks.must(receipt.genesis_hash == facts.genesis_hash, "genesis hash", chain, hash(&receipt.genesis_hash))?;
    checks.must(receipt.job == facts.id, "job", chain, receipt.job.to_string())?;
    checks.must(receipt.worker == settlement.worker, "worker", chain, receipt.worker.to_string())?;
    checks.must(receipt.attempt == facts.job.attempts, "attempt", chain, receipt.attempt.to_string())?;
    checks.must(receipt.app == facts.job.app, "app", chain, receipt.app.to_string())?;
    checks.must(receipt.code_hash == facts.app.code_hash, "code hash", chain, hash(&receipt.code_hash))?;
    checks.must(receipt.outcome == settlement.outcome, "outcome", chain, format!("{:?}", receipt.outcome))?;
    checks.must(receipt.fuel == settlement.fuel, "fuel", chain, receipt.fuel.to_string())?;
    checks.must(
        receipt.input_hash == settlement.input_hash,
        "input hash on chain",
        chain,
        hash(&receipt.input_hash),
    )?;
    checks.must(
        receipt.output_hash == settlement.output_hash,
        "output hash on chain",
        chain,
        hash(&receipt.output_hash),
    )?;
    let receipt_hash: [u8; 32] = Sha256::digest(signed.encode()).into();
    checks.must(receipt_hash == settlement.receipt_hash, "receipt hash", chain, hash(&receipt_hash))?;

    match facts.measurement {
        Ok(Measurement(measurement)) => checks.must(
            receipt.measurement == measurement,
            "measurement",
            "that of the evidence",
            format!("{}, as in the worker's evidence", hash(&measurement)),
        )?,
        Err(why) => checks.0.push(Check::not_checked("measurement", why)),
    }
    if let Some(input_hash) = facts.input_hash {
        checks.must(receipt.input_hash == input_hash, "input", "what was sent", "exactly what was sent from here")?;
    }
    if let Some(output) = &facts.output {
        let downloaded = "what was downloaded";
        checks.must(
            receipt.output_file_hash == output.file_hash,
            "output file",
            downloaded,
            "the encrypted file as downloaded",
        )?;
        let mac = Hmac::<Sha256>::new_from_slice(output.secret).map_err(|_| ReceiptError::Signature)?;
        let holds = mac.chain_update(output.archive).verify_slice(&receipt.output_hash).is_ok();
        checks.must(holds, "output", downloaded, "HMAC-SHA-256 of the decrypted archive under the job's secret")?;
    }
    if facts.input_hash.is_none() {
        checks.0.push(Check::not_checked("input", "this machine did not submit the job"));
    }
    if facts.output.is_none() {
        let why =
            if receipt.output_file_hash == [0; 32] { "the job has no output" } else { "the output was not opened" };
        checks.0.push(Check::not_checked("output", why));
    }
    checks.0.push(Check::not_checked("re-execution", "nobody ran the job a second time"));
    Ok(checks.0)
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    /// Adds the check that `what` is as `whose`, if it is.
    fn must(
        &mut self,
        holds: bool,
        what: &'static str,
        whose: &'static str,
        detail: impl Into<String>,
    ) -> Result<(), ReceiptError> {
        if !holds {
            return Err(ReceiptError::Mismatch(what, whose));
        }
        self.0.push(Check::checked(&what.replace(' ', "-"), detail));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Account;
    use ed25519_dalek::{Signer as _, SigningKey};
    use phala_attestation::ClaimStatus;
    use phala_primitives::{
        AppId, Limits, Outcome, Receipt, WorkerId,
        job::{Settlement, Visibility},
    };

    const SECRET: [u8; 32] = [7; 32];
    const ARCHIVE: &[u8] = b"archive";

    fn sign(receipt: Receipt) -> SignedReceipt {
        let key = SigningKey::from_bytes(&[1; 32]);
        let signature = key.sign(&receipt.signed_bytes()).to_bytes();
        SignedReceipt { receipt, signature }
    }

    fn receipt() -> Receipt {
        Receipt {
            genesis_hash: [2; 32],
            job: 5,
            attempt: 1,
            app: AppId([3; 32]),
            worker: WorkerId(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes()),
            measurement: [4; 32],
            code_hash: [5; 32],
            input_hash: [6; 32],
            output_hash: {
                let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&SECRET).unwrap();
                mac.chain_update(ARCHIVE).finalize().into_bytes().into()
            },
            output_file_hash: [8; 32],
            outcome: Outcome::Completed { exit_code: 0 },
            fuel: 100,
            input_bytes: 1,
            output_bytes: 2,
            block_number: 9,
            block_hash: [9; 32],
        }
    }

    fn job(signed: &SignedReceipt) -> Job {
        let receipt = &signed.receipt;
        Job {
            owner: Account([1; 32]),
            app: AppId([3; 32]),
            limits: Limits::DEFAULT,
            max_price: 1,
            deadline: 100,
            redundancy: 1,
            secret_commitment: [0; 32],
            submitted_at: 1,
            submitted_at_ms: 1,
            attempts: 1,
            status: JobStatus::Settled(Settlement {
                worker: receipt.worker,
                operator: Account([2; 32]),
                outcome: receipt.outcome,
                fuel: receipt.fuel,
                paid: 1,
                treasury: 0,
                refund: 0,
                input_hash: receipt.input_hash,
                output_hash: receipt.output_hash,
                receipt_hash: Sha256::digest(signed.encode()).into(),
                at: 10,
            }),
        }
    }

    const APP: App = App {
        publisher: Account([1; 32]),
        code_hash: [5; 32],
        code_bytes: 1,
        manifest_hash: [0; 32],
        visibility: Visibility::Public,
        retired: false,
    };

    fn check(signed: &SignedReceipt, job: &Job, archive: &[u8]) -> Result<Vec<Check>, ReceiptError> {
        let output = Some(Output { file_hash: [8; 32], archive, secret: &SECRET });
        let facts = Facts {
            genesis_hash: [2; 32],
            id: 5,
            job,
            app: &APP,
            measurement: Ok(Measurement([4; 32])),
            input_hash: Some([6; 32]),
            output,
        };
        verify(signed, &facts)
    }

    #[test]
    fn a_worker_that_cannot_be_verified_any_more_is_no_fault_of_its_receipt() {
        let signed = sign(receipt());
        let on_chain = job(&signed);
        let facts = Facts {
            genesis_hash: [2; 32],
            id: 5,
            job: &on_chain,
            app: &APP,
            measurement: Err("it is gone"),
            input_hash: Some([6; 32]),
            output: None,
        };
        let checks = verify(&signed, &facts).unwrap();
        let measurement = checks.iter().find(|check| check.claim == "measurement").unwrap();
        assert_eq!((measurement.status, measurement.detail.as_str()), (ClaimStatus::NotChecked, "it is gone"));
        let other = Facts { measurement: Ok(Measurement([5; 32])), ..facts };
        let refused = Err(ReceiptError::Mismatch("measurement", "that of the evidence"));
        assert_eq!(verify(&signed, &other), refused);
    }

    #[test]
    fn a_good_receipt_passes_and_says_what_nobody_checked() {
        let signed = sign(receipt());
        let checks = check(&signed, &job(&signed), ARCHIVE).unwrap();
        let open: Vec<_> = checks.iter().filter(|check| check.status == ClaimStatus::NotChecked).collect();
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].claim, "re-execution");
    }

    #[test]
    fn every_field_is_held_against_something() {
        let good = sign(receipt());
        let on_chain = job(&good);
        type Change = fn(&mut Receipt);
        let changes: Vec<(&str, Change)> = vec![
            ("genesis hash", |r| r.genesis_hash[0] ^= 1),
            ("job", |r| r.job += 1),
            ("attempt", |r| r.attempt += 1),
            ("app", |r| r.app.0[0] ^= 1),
            ("code hash", |r| r.code_hash[0] ^= 1),
            ("outcome", |r| r.outcome = Outcome::Completed { exit_code: 1 }),
            ("fuel", |r| r.fuel -= 1),
            ("input hash on chain", |r| r.input_hash[0] ^= 1),
            ("output hash on chain", |r| r.output_hash[0] ^= 1),
            ("receipt hash", |r| r.measurement[0] ^= 1),
            ("receipt hash", |r| r.output_file_hash[0] ^= 1),
            ("receipt hash", |r| r.block_number += 1),
        ];
        for (what, change) in changes {
            let mut changed = receipt();
            change(&mut changed);
            let result = check(&sign(changed), &on_chain, ARCHIVE);
            assert!(matches!(result, Err(ReceiptError::Mismatch(field, _)) if field == what), "{what}: {result:?}");
        }
    }

    #[test]
    fn forged_signatures_and_other_outputs_are_refused() {
        let mut signed = sign(receipt());
        let on_chain = job(&signed);
        assert_eq!(check(&signed, &on_chain, b"other"), Err(ReceiptError::Mismatch("output", "what was downloaded")));
        signed.signature[0] ^= 1;
        assert_eq!(check(&signed, &on_chain, ARCHIVE), Err(ReceiptError::Signature));
    }

    #[test]
    fn a_job_that_is_not_settled_has_no_receipt() {
        let signed = sign(receipt());
        let unsettled = Job { status: JobStatus::Queued, ..job(&signed) };
        assert_eq!(check(&signed, &unsettled, ARCHIVE), Err(ReceiptError::NotSettled));
    }
}
