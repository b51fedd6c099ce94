//! TLS, with the operator's certificate.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
    },
};

/// A certificate and its key, in files.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// When the files were changed that this was made of.
    changed: [SystemTime; 2],
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file holds no certificate, or no key.
    #[error("{} holds no {what} as PEM: {error}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why not.
        error: pem::Error,
    },
    /// The certificate and the key do not go together, or are of a kind that is not supported.
    #[error("the certificate or its key cannot be used: {0}")]
    Rejected(#[from] rustls::Error),
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and the key of the first. Both are PEM.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = Mutex::new(read(certificate, key)?);
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// Reads the files again if they were changed. What cannot be used is not taken: the old certificate stays.
    /// Blocks.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn reload(&self) -> Result<bool, TlsError> {
        let changed = [changed(&self.certificate)?, changed(&self.key)?];
        if self.current.lock().unwrap_or_else(PoisonError::into_inner).changed == changed {
            return Ok(false);
        }
        let new = read(&self.certificate, &self.key)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }

    /// Greets with the certificate that is current.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).config.clone().into()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Current, TlsError> {
    // A file that changes from here on is read again the next time.
    let changed = [changed(certificate)?, changed(key)?];
    let bad = |path: &Path, what| {
        let path = path.to_owned();
        move |error| TlsError::Pem { path, what, error }
    };
    let chain = CertificateDer::pem_slice_iter(&bytes(certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(bad(certificate, "certificate"))?;
    if chain.is_empty() {
        return Err(bad(certificate, "certificate")(pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(bad(key, "private key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Current { config: Arc::new(config), changed })
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Io { path: path.to_owned(), error })
}

fn changed(path: &Path) -> Result<SystemTime, TlsError> {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.map_err(|error| TlsError::Io { path: path.to_owned(), error })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::Duration;

    /// A folder with `certificate.pem` and `key.pem` for `localhost`.
    pub(crate) fn certificate() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        folder
    }

    fn write_certificate(folder: &Path) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    fn open(folder: &Path) -> Result<Tls, TlsError> {
        Tls::open(&folder.join("certificate.pem"), &folder.join("key.pem"))
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let (folder, other) = (certificate(), certificate());
        assert!(open(folder.path()).is_ok());
        fs::copy(other.path().join("key.pem"), folder.path().join("key.pem")).unwrap();
        assert!(matches!(open(folder.path()), Err(TlsError::Rejected(_))));
        fs::write(folder.path().join("key.pem"), "none").unwrap();
        assert!(matches!(open(folder.path()), Err(TlsError::Pem { .. })));
        fs::write(folder.path().join("certificate.pem"), "").unwrap();
        assert!(matches!(open(folder.path()), Err(TlsError::Pem { .. })));
        assert!(matches!(open(&folder.path().join("nowhere")), Err(TlsError::Io { .. })));
    }

    #[test]
    fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
        let folder = certificate();
        let tls = open(folder.path()).unwrap();
        let current = || tls.current.lock().unwrap().config.clone();
        let first = current();
        assert!(!tls.reload().unwrap());
        let later = |name: &str, seconds| {
            let changed = SystemTime::now() + Duration::from_secs(seconds);
            fs::File::options().append(true).open(folder.path().join(name)).unwrap().set_modified(changed).unwrap();
        };
        fs::write(folder.path().join("key.pem"), "none").unwrap();
        later("key.pem", 10);
        tls.reload().unwrap_err();
        assert!(Arc::ptr_eq(&first, &current()));
        write_certificate(folder.path());
        later("key.pem", 20);
        assert!(tls.reload().unwrap());
        assert!(!Arc::ptr_eq(&first, &current()));
    }
}
