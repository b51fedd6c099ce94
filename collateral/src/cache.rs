//! The newest good documents, on disk: what is submitted while a vendor's service is away.
//!
//! One file for each [`Request`], the SCALE encoding of the document. Files are verified anew whenever they are read, so
//! that a changed or outdated one is as good as none.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use codec::{DecodeAll, Encode};
use phala_attestation::{Document, Policy, SignedDocument, UnixSeconds, verify_document};
use phala_primitives::attestation::KeptDocument;

use crate::Request;

/// More than any document and its signer have.
const MAX_FILE_BYTES: u64 = 2 * Document::PckCrl.max_bytes() as u64;

/// A folder of documents.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in `folder`, which is made if there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The document, if there is one that is good under `policy` at the time `now`.
    pub fn load(&self, request: Request, policy: &Policy, now: UnixSeconds) -> Option<KeptDocument> {
        let path = self.path(request);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a cached document cannot be read");
                return None;
            }
        };
        let document = SignedDocument::decode_all(&mut &bytes[..]).ok()?;
        let verified = verify_document(&document, policy, now).ok()?;
        (verified.id() == request.id).then(|| KeptDocument::new(document, &verified))
    }

    /// Keeps a document in the place of an older one. Whatever happens meanwhile, one of the two is there.
    ///
    /// # Errors
    /// The disk's.
    pub fn store(&self, request: Request, document: &SignedDocument) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&document.encode())?;
        file.as_file().sync_all()?;
        file.persist(self.path(request)).map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()
    }

    fn path(&self, request: Request) -> PathBuf {
        self.folder.join(format!("{request}.scale"))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use phala_attestation::{
        DocumentId,
        mint::{self, VALID_FROM, VALID_UNTIL},
    };

    fn policy() -> Policy {
        Policy { simulated_vendors: Some(mint::roots()), ..Policy::default() }
    }

    #[test]
    fn only_what_is_whole_genuine_and_valid_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("made")).unwrap();
        let request = Request::standard(DocumentId::IntelRootCrl);
        assert_eq!(cache.load(request, &policy(), VALID_FROM), None);

        let list = mint::sgx(&[0; 64]).1.swap_remove(0);
        cache.store(request, &list).unwrap();
        assert_eq!(cache.load(request, &policy(), VALID_FROM).unwrap().document, list);
        assert_eq!(cache.load(request, &policy(), VALID_UNTIL + 1), None);
        // Under the real roots it is nobody's.
        assert_eq!(cache.load(request, &Policy::default(), VALID_FROM), None);

        let path = cache.path(request);
        let bytes = fs::read(&path).unwrap();
        for broken in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), b""] {
            fs::write(&path, broken).unwrap();
            assert_eq!(cache.load(request, &policy(), VALID_FROM), None);
        }
    }

    #[test]
    fn a_document_under_the_name_of_another_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let [list, _, tcb_info, _] = mint::sgx(&[0; 64]).1.try_into().unwrap();
        let request = Request::standard(DocumentId::IntelRootCrl);
        cache.store(request, &tcb_info).unwrap();
        assert_eq!(cache.load(request, &policy(), VALID_FROM), None);
        cache.store(request, &list).unwrap();
        assert!(cache.load(request, &policy(), VALID_FROM).is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
