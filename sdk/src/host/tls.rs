use reqwest::{Client, Url, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::{Host, HostError, PATIENCE};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The system's roots. Reading them takes a while. Where there are none, no `https://` endpoint is believed.
static SYSTEM: LazyLock<RootCertStore> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
});

/// How hosts are reached. At `https://` endpoints they must have a certificate of a root; at `http://` ones anybody may
/// listen in, to ciphertext.
#[derive(Clone, Debug)]
pub struct Hosts {
    tls: ClientConfig,
}

impl Default for Hosts {
    /// With the system's roots.
    fn default() -> Self {
        Self::trusting(SYSTEM.clone())
    }
}

impl Hosts {
    /// With the system's roots and those in `pem`.
    ///
    /// # Errors
    /// [`HostError::Roots`].
    pub fn with_roots(pem: &[u8]) -> Result<Self, HostError> {
        let bad = |reason: &dyn std::fmt::Display| HostError::Roots(reason.to_string());
        let mut roots = SYSTEM.clone();
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| bad(&error))?;
            roots.add(certificate).map_err(|error| bad(&error))?;
            found = true;
        }
        if found { Ok(Self::trusting(roots)) } else { Err(bad(&"there is none in it")) }
    }

    fn trusting(roots: RootCertStore) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring has what TLS 1.2 and 1.3 need");
        Self { tls: builder.with_root_certificates(roots).with_no_client_auth() }
    }

    /// The host at an endpoint: `http://host:port` or `https://host`, with or without a trailing slash.
    ///
    /// # Errors
    /// [`HostError::Url`].
    pub fn at(&self, endpoint: &str) -> Result<Host, HostError> {
        let base = endpoint.trim_end_matches('/').to_owned();
        let url = Url::parse(&base).map_err(|_| HostError::Url(endpoint.into()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(HostError::Url(endpoint.into()));
        }
        let unreachable =
            |error: reqwest::Error| HostError::Unreachable { url: base.clone(), reason: error.to_string() };
        let http = self.client().map_err(unreachable)?;
        Ok(Host { base, http, patience: PATIENCE })
    }

    /// An HTTP client for what [`Host`] has no method for.
    ///
    /// # Errors
    /// The system's.
    pub fn client(&self) -> reqwest::Result<Client> {
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
    }
}
