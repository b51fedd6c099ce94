//! Asks services, and believes nothing that they answer before it is verified.

use std::{fmt, sync::Arc, time::Duration};

use phala_attestation::{
    Document, DocumentId, EndorsementId, Evidence, Policy, SigningKey, UnixSeconds, required_documents, verify_document,
};
use phala_primitives::attestation::KeptDocument;
use reqwest::{Response, StatusCode, Url, redirect};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::{
    Request, Source,
    answer::{self, MAX_CHAIN_HEADER_BYTES},
    request::endorsement_path,
};

/// Where the vendors' services are. `http://` will do: documents are signed, and what is asked for is no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// The base of Intel's PCS, or of a PCCS.
    pub intel: String,
    /// The whole URL of the list of Intel's root: DER, or hexadecimal.
    pub intel_root_crl: String,
    /// The base of AMD's KDS.
    pub amd: String,
}

impl Default for Services {
    /// The vendors' own.
    fn default() -> Self {
        Self {
            intel: "https://api.trustedservices.intel.com".into(),
            intel_root_crl: "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der".into(),
            amd: "https://kdsintf.amd.com".into(),
        }
    }
}

impl Services {
    /// With a PCCS at `base` in the place of Intel's services.
    pub fn with_pccs(self, base: &str) -> Self {
        let base = base.trim_end_matches('/');
        Self { intel: base.into(), intel_root_crl: format!("{base}/sgx/certification/v4/rootcacrl"), ..self }
    }

    fn url(&self, source: Source, path: &str) -> String {
        let base = match source {
            Source::Intel => &self.intel,
            Source::IntelRoot => &self.intel_root_crl,
            Source::Amd => &self.amd,
        };
        format!("{}{path}", base.trim_end_matches('/'))
    }
}

/// Why a [`Client`] could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not the URL of a service.
    #[error("{0} is not the URL of a service: give one with http:// or https://")]
    Url(String),
    /// The system's.
    #[error("HTTP cannot be set up")]
    Http(#[source] reqwest::Error),
}

/// Why there is no document: what was asked, what came, and what was wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// What was asked for.
    pub url: String,
    /// The status of the answer; `None` where none came.
    pub status: Option<u16>,
    /// What was wrong.
    pub reason: Reason,
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(formatter, "{} answered {status}: {}", self.url, self.reason),
            None => write!(formatter, "{} did not answer: {}", self.url, self.reason),
        }
    }
}

// Its text has the reason already.
impl std::error::Error for FetchError {}

/// What was wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    // The service's, or the network's.
    /// The service cannot be reached, or breaks off.
    #[error("{0}")]
    Unreachable(String),
    /// The answer was not whole in time.
    #[error("no whole answer in {0:?}")]
    Late(Duration),
    /// Not the status of an answer with a document.
    #[error("it has no document for this request, or no time")]
    Status,
    /// It points elsewhere.
    #[error("it points elsewhere, where nobody is asked: configure the URL of the service itself")]
    Redirect,

    // Of what it says.
    /// The body is larger than that of any such document.
    #[error("the body is larger than {0} bytes, and so than any such document")]
    TooLarge(usize),
    /// The certificates of whoever signed are missing, or more than anybody has.
    #[error("it lacks the header {0}, with the certificates of who signed")]
    NoIssuerChain(&'static str),
    /// They cannot be read.
    #[error("the certificates of who signed cannot be read")]
    IssuerChain,
    /// The body is not of the form that the vendor describes.
    #[error("the body is not a {0}")]
    Malformed(Document),
    /// The document is not the vendor's, or out of date.
    #[error(transparent)]
    Refused(phala_attestation::Error),
    /// A good document, but not the one that was asked for.
    #[error("it is another document than the one that was asked for: {0}")]
    OtherDocument(Request),
    /// A certificate of another key than the one that was asked for.
    #[error("the certificate is another key's than the one that was asked for")]
    OtherKey,
}

impl FetchError {
    /// Whether other requests to the same service would fare no better.
    pub fn is_outage(&self) -> bool {
        match self.reason {
            Reason::Unreachable(_) | Reason::Late(_) => true,
            Reason::Status => matches!(self.status, Some(429 | 502..=504)),
            Reason::Redirect
            | Reason::TooLarge(_)
            | Reason::NoIssuerChain(_)
            | Reason::IssuerChain
            | Reason::Malformed(_)
            | Reason::Refused(_)
            | Reason::OtherDocument(_)
            | Reason::OtherKey => false,
        }
    }
}

/// Why there is no certificate for a report.
#[derive(Debug, thiserror::Error)]
pub enum EndorsementError {
    /// The report does not say what to ask for.
    #[error("the report does not name a certificate of AMD's")]
    Report(#[source] phala_attestation::Error),
    /// The service's fault.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Asks the vendors' services.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    services: Services,
    patience: Duration,
}

impl Client {
    /// Asks `services`, and waits for a whole answer for `patience`.
    ///
    /// # Errors
    /// See [`ClientError`].
    #[allow(clippy::expect_used, reason = "of constants")]
    pub fn new(services: Services, patience: Duration) -> Result<Self, ClientError> {
        for url in [&services.intel, &services.intel_root_crl, &services.amd] {
            let good = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
            Url::parse(url).ok().filter(good).ok_or_else(|| ClientError::Url(url.clone()))?;
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .timeout(patience)
            .build()
            .map_err(ClientError::Http)?;
        Ok(Self { http, services, patience })
    }

    /// The document, verified under the roots of `policy` at the time `now`.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, request: Request, policy: &Policy, now: UnixSeconds) -> Result<KeptDocument, FetchError> {
        let url = self.services.url(request.source(), &request.path());
        let answer = self.get(&url, answer::max_body_bytes(request.id)).await?;
        answer.check(|headers, body| {
            let chain = match request.issuer_chain_headers() {
                [] => &[],
                names @ [name, ..] => names
                    .iter()
                    .find_map(|name| headers.get(*name))
                    .map(|value| value.as_bytes())
                    .filter(|value| value.len() <= MAX_CHAIN_HEADER_BYTES)
                    .ok_or(Reason::NoIssuerChain(name))?,
            };
            let document = answer::decode(request, chain, body)?;
            let verified = verify_document(&document, policy, now).map_err(Reason::Refused)?;
            match verified.id() {
                id if id == request.id => Ok(KeptDocument::new(document, &verified)),
                other => Err(Reason::OtherDocument(Request::standard(other))),
            }
        })
    }

    /// The certificate of the VCEK that signed an SEV-SNP report, DER.
    ///
    /// Of the certificate only the issuer's name is looked at. Whether it is genuine and the report's, the verification of
    /// the evidence with both in it says.
    ///
    /// # Errors
    /// See [`EndorsementError`].
    pub async fn endorsement(&self, report: &[u8]) -> Result<Vec<u8>, EndorsementError> {
        let id = EndorsementId::of_report(report).map_err(EndorsementError::Report)?;
        let url = self.services.url(Source::Amd, &endorsement_path(&id));
        let answer = self.get(&url, Document::Endorsement.max_bytes()).await?;
        Ok(answer.check(|_, endorsement| {
            let evidence = Evidence::SevSnp { report: report.to_vec(), endorsement: endorsement.clone() };
            let needed = required_documents(&evidence).map_err(Reason::Refused)?;
            let issuer = DocumentId::AmdIntermediate(id.generation, SigningKey::Vcek);
            if needed.contains(&issuer) { Ok(endorsement) } else { Err(Reason::OtherKey) }
        })?)
    }

    async fn get(&self, url: &str, limit: usize) -> Result<Answer, FetchError> {
        let failed = |status: Option<StatusCode>, reason| FetchError {
            url: url.into(),
            status: status.map(|status| status.as_u16()),
            reason,
        };
        let response = self.http.get(url).send().await.map_err(|error| failed(None, self.broken_off(&error)))?;
        let status = response.status();
        match status {
            StatusCode::OK => {}
            _ if status.is_redirection() => return Err(failed(Some(status), Reason::Redirect)),
            _ => return Err(failed(Some(status), Reason::Status)),
        }
        let headers = response.headers().clone();
        let body = self.bounded(response, limit).await.map_err(|reason| failed(Some(status), reason))?;
        Ok(Answer { url: url.into(), status, headers, body })
    }

    /// The body, of which no more than `limit` bytes are ever held.
    async fn bounded(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, Reason> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken_off(&error))? {
            if chunk.len() > limit.saturating_sub(body.len()) {
                return Err(Reason::TooLarge(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn broken_off(&self, error: &reqwest::Error) -> Reason {
        if error.is_timeout() {
            return Reason::Late(self.patience);
        }
        // The outermost error only repeats the URL; the innermost says what happened.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Reason::Unreachable(cause.to_string())
    }
}

/// What a service answered, within bounds.
struct Answer {
    url: String,
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// What `read` makes of it.
    fn check<T>(
        self,
        read: impl FnOnce(&reqwest::header::HeaderMap, Vec<u8>) -> Result<T, Reason>,
    ) -> Result<T, FetchError> {
        let Self { url, status, headers, body } = self;
        read(&headers, body).map_err(|reason| FetchError { url, status: Some(status.as_u16()), reason })
    }
}
