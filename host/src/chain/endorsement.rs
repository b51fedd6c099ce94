//! AMD's certificates for reports whose machine gave none.
//!
//! An SEV-SNP guest gets the certificate of the key that signs its reports from its machine, where the machine has it. Elsewhere the
//! host asks AMD's key distribution service (KDS). That needs no trust: the chain verifies the certificate, and that it is the report's.

use std::time::Duration;

use phala_attestation::{EndorsementId, Evidence};
use phala_collateral::{Client, ClientError, EndorsementError, Services};
use tokio::sync::Mutex;

/// How long a whole answer may take. The enclave's evidence names a block, and is fresh for longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks for certificates, and keeps the last: it changes only with the chip and its firmware, and AMD answers few questions.
#[derive(Default)]
pub struct Endorsements {
    client: Option<Client>,
    last: Mutex<Option<(EndorsementId, Vec<u8>)>>,
}

impl Endorsements {
    /// Those of the KDS at the base URL `kds`; `None` for AMD's own.
    ///
    /// # Errors
    /// When it is no URL of a service.
    pub fn new(kds: Option<&str>) -> Result<Self, ClientError> {
        let services = match kds {
            Some(kds) => Services { amd: kds.into(), ..Services::default() },
            None => Services::default(),
        };
        Ok(Self { client: Some(Client::new(services, PATIENCE)?), last: Mutex::default() })
    }

    /// Adds the certificate to evidence that lacks it. All other evidence stays as it is.
    ///
    /// # Errors
    /// When the service does not have it, or cannot be asked.
    pub async fn complete(&self, evidence: &mut Evidence) -> Result<(), EndorsementError> {
        let (Some(client), Evidence::SevSnp { report, endorsement }) = (&self.client, evidence) else { return Ok(()) };
        if !endorsement.is_empty() {
            return Ok(());
        }
        let id = EndorsementId::of_report(report).map_err(EndorsementError::Report)?;
        // One question at a time.
        let mut last = self.last.lock().await;
        *endorsement = match &*last {
            Some((known, certificate)) if *known == id => certificate.clone(),
            _ => {
                let certificate = client.endorsement(report).await?;
                tracing::info!("got the certificate of the key that signs this chip's reports from AMD");
                *last = Some((id, certificate.clone()));
                certificate
            }
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phala_attestation::mint;
    use phala_collateral::imitation::{Answer, Imitation};

    /// Evidence as of a machine without certificates, and the certificate that it lacks.
    fn lacking() -> (Evidence, Vec<u8>) {
        let (Evidence::SevSnp { report, endorsement }, _) = mint::sev_snp(&[7; 64]) else { panic!("it is of SEV-SNP") };
        (Evidence::SevSnp { report, endorsement: Vec::new() }, endorsement)
    }

    #[tokio::test]
    async fn what_a_machine_lacks_is_asked_for_once() {
        let kds = Imitation::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let endorsements = Endorsements::new(Some(&format!("http://{}", kds.address()))).unwrap();
        let (mut evidence, certificate) = lacking();
        let Evidence::SevSnp { report, .. } = &evidence else { panic!("it is of SEV-SNP") };
        kds.serve_endorsement(&EndorsementId::of_report(report).unwrap(), &certificate);
        let whole = mint::sev_snp(&[7; 64]).0;
        for _ in 0..2 {
            endorsements.complete(&mut evidence).await.unwrap();
            assert_eq!(evidence, whole);
            evidence = lacking().0;
        }
        assert_eq!(kds.asked().len(), 1);
        // What has its certificate, and what needs none.
        for (complete, _) in [mint::sev_snp(&[7; 64]), mint::sgx(&[7; 64])] {
            let mut same = complete.clone();
            endorsements.complete(&mut same).await.unwrap();
            assert_eq!(same, complete);
        }
        assert!(kds.asked().is_empty());
    }

    #[tokio::test]
    async fn an_outage_and_garbage_leave_evidence_as_it_is() {
        let kds = Imitation::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let endorsements = Endorsements::new(Some(&format!("http://{}/", kds.address()))).unwrap();
        let (before, certificate) = lacking();
        let Evidence::SevSnp { report, .. } = &before else { panic!("it is of SEV-SNP") };
        let id = EndorsementId::of_report(report).unwrap();
        let mut evidence = before.clone();
        assert!(endorsements.complete(&mut evidence).await.is_err(), "it has none");
        kds.serve_endorsement(&id, b"garbage");
        assert!(endorsements.complete(&mut evidence).await.is_err());
        kds.serve_endorsement(&id, &certificate);
        kds.break_down(Answer::status(503));
        assert!(endorsements.complete(&mut evidence).await.is_err());
        assert_eq!(evidence, before);
        kds.recover();
        endorsements.complete(&mut evidence).await.unwrap();
        assert_eq!(evidence, mint::sev_snp(&[7; 64]).0);
        assert!(Endorsements::new(Some("kds")).is_err());
    }
}
