//! Files that came encrypted to an app: what their headers say, before anybody pays for a job that cannot open them.
//!
//! A header is read, not verified: only who can open the file can do that. What passes may still be refused by the enclave.

use age::{DecryptError, Decryptor, armor::ArmoredReader};
use age_core::format::{FileKey, Stanza};
use phala_app_encryption::{MalformedStanza, Purpose, Target};
use phala_primitives::{
    AppId,
    gatekeeper::{APP_KEY_VERSION, EpochId},
};
use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use crate::network_keys::NetworkKeys;

/// In how many bytes of a file its header must end. Enclaves keep no more.
const HEADER_BYTES: u64 = 64 * 1024;

/// Why a file cannot be given to jobs of an app as it is.
#[derive(Debug, thiserror::Error)]
pub enum AppFileError {
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    /// It is something else.
    #[error("it is not an age file, or its header is too long: {0}")]
    NotAge(String),
    /// Its header is none that we make.
    #[error(transparent)]
    Malformed(#[from] MalformedStanza),
    /// Nobody encrypted it to an app.
    #[error(
        "it is not encrypted to an app: `phala encrypt --app {0}` makes such files, and `--file` takes those that are not \
         encrypted"
    )]
    NotToApp(AppId),
    /// It is for another app.
    #[error("it is encrypted to app {file}, and the job is of app {job}")]
    OtherApp {
        /// Whose it is.
        file: AppId,
        /// The job's.
        job: AppId,
    },
    /// It is for the enclave alone.
    #[error("it is a job's input, which no program gets")]
    JobInput,
    /// It is encrypted to a key that apps do not have.
    #[error("it is encrypted to version {0} of the app's key, and apps' keys have version {APP_KEY_VERSION}")]
    Version(u32),
    /// What opens it is erased.
    #[error(
        "it was encrypted in epoch {epoch}, and workers get keys from epoch {oldest} on: nobody can open it any more; encrypt \
         the data again with `phala encrypt`"
    )]
    Over {
        /// The file's epoch.
        epoch: EpochId,
        /// The oldest whose keys are given.
        oldest: EpochId,
    },
    /// Its epoch has not begun.
    #[error("it is encrypted in epoch {epoch}, and this network is in epoch {current}: is it for another network?")]
    NotBegun {
        /// The file's epoch.
        epoch: EpochId,
        /// The network's.
        current: EpochId,
    },
    /// There is nothing that it could be encrypted to.
    #[error("this network has no keys yet, so nobody can open it")]
    NoKeys,
}

/// Checks that jobs of an app can open a file, as far as its header and the network's keys (`None` where it has none) tell.
/// Returns the epoch whose key they need for that.
///
/// # Errors
/// See [`AppFileError`].
pub fn check_app_file(path: &Path, app: AppId, keys: Option<&NetworkKeys>) -> Result<EpochId, AppFileError> {
    let keys = keys.ok_or(AppFileError::NoKeys)?;
    let mut fault = AppFileError::NotToApp(app);
    // It may be encrypted to others, too.
    for target in targets(File::open(path).map_err(AppFileError::Read)?)? {
        match check(target?, app, keys) {
            Ok(epoch) => return Ok(epoch),
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

fn check(target: Target, app: AppId, keys: &NetworkKeys) -> Result<EpochId, AppFileError> {
    let Target { purpose, epoch, app: file, version } = target;
    if file != app {
        Err(AppFileError::OtherApp { file, job: app })
    } else if purpose != Purpose::File {
        Err(AppFileError::JobInput)
    } else if version != APP_KEY_VERSION {
        Err(AppFileError::Version(version))
    } else if epoch > keys.epoch {
        Err(AppFileError::NotBegun { epoch, current: keys.epoch })
    } else if !keys.gives(epoch) {
        Err(AppFileError::Over { epoch, oldest: keys.oldest_epoch })
    } else {
        Ok(epoch)
    }
}

/// What the header of an `age` file, armored or not, says of apps that it is encrypted to.
fn targets(file: impl Read) -> Result<Vec<Result<Target, MalformedStanza>>, AppFileError> {
    /// Opens nothing, and remembers what it was shown.
    #[derive(Default)]
    struct Reader(RefCell<Vec<Result<Target, MalformedStanza>>>);

    impl age::Identity for Reader {
        fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
            self.0.borrow_mut().extend(Target::of(stanza));
            None
        }
    }

    let file = BufReader::new(ArmoredReader::new(file.take(HEADER_BYTES)));
    let decryptor = Decryptor::new_buffered(file).map_err(|error| AppFileError::NotAge(error.to_string()))?;
    let reader = Reader::default();
    // It fails: there is no key.
    let _ = decryptor.decrypt(std::iter::once(&reader as &dyn age::Identity));
    Ok(reader.0.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        encryption::{Identity, encrypt, encrypt_to_app, testing},
        network_keys::NetworkKeys,
    };
    use std::path::PathBuf;

    const APP: AppId = AppId([7; 32]);

    /// Workers get keys of epochs 2 to 4.
    fn keys() -> NetworkKeys {
        NetworkKeys { oldest_epoch: 2, epoch: 4, ..testing::network_keys() }
    }

    fn write(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.age");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn checked(bytes: &[u8]) -> Result<EpochId, AppFileError> {
        let (_folder, path) = write(bytes);
        check_app_file(&path, APP, Some(&keys()))
    }

    fn encrypted(purpose: Purpose, app: AppId, keys: &NetworkKeys) -> Vec<u8> {
        age::encrypt(&keys.recipient(purpose, app).unwrap(), b"data").unwrap()
    }

    #[test]
    fn files_to_the_app_pass_in_every_epoch_whose_key_is_given() {
        for epoch in [2, 3, 4] {
            let keys = NetworkKeys { epoch, ..keys() };
            let mut file = Vec::new();
            encrypt_to_app(&mut &b"data"[..], APP, &keys, &mut file).unwrap();
            assert_eq!(checked(&file).unwrap(), epoch);
        }
        let armored = age::encrypt_and_armor(&keys().recipient(Purpose::File, APP).unwrap(), b"data").unwrap();
        checked(armored.as_bytes()).unwrap();
    }

    #[test]
    fn others_may_read_them_too() {
        let app = keys().recipient(Purpose::File, APP).unwrap();
        let own = Identity::generate().recipient();
        let recipients: [&dyn age::Recipient; 2] = [&own, &app];
        let encryptor = age::Encryptor::with_recipients(recipients.into_iter()).unwrap();
        let mut file = Vec::new();
        encryptor.wrap_output(&mut file).unwrap().finish().unwrap();
        checked(&file).unwrap();
    }

    #[test]
    fn each_fault_has_its_error() {
        let keys = keys();
        let epoch = |epoch| encrypted(Purpose::File, APP, &NetworkKeys { epoch, ..keys.clone() });
        assert!(matches!(checked(&epoch(1)), Err(AppFileError::Over { epoch: 1, oldest: 2 })));
        assert!(matches!(checked(&epoch(5)), Err(AppFileError::NotBegun { epoch: 5, current: 4 })));
        let other = AppId([8; 32]);
        assert!(matches!(
            checked(&encrypted(Purpose::File, other, &keys)),
            Err(AppFileError::OtherApp { file, job: APP }) if file == other
        ));
        assert!(matches!(checked(&encrypted(Purpose::JobInput, APP, &keys)), Err(AppFileError::JobInput)));
        let version = NetworkKeys { app_key_version: 1, ..keys.clone() };
        assert!(matches!(checked(&encrypted(Purpose::File, APP, &version)), Err(AppFileError::Version(1))));
        let own = Identity::generate().recipient();
        let file = age::encrypt(&own, b"data").unwrap();
        assert!(matches!(checked(&file), Err(AppFileError::NotToApp(APP))));
        let (_folder, path) = write(&epoch(4));
        assert!(matches!(check_app_file(&path, APP, None), Err(AppFileError::NoKeys)));
        assert!(matches!(check_app_file(&path.join("x"), APP, Some(&keys)), Err(AppFileError::Read(_))));
    }

    #[test]
    fn what_is_no_age_file_is_refused() {
        let good = encrypted(Purpose::File, APP, &keys());
        for bytes in [&b""[..], b"a,b\n1,2\n", &good[..100], &[0xff; 100_000]] {
            assert!(matches!(checked(bytes), Err(AppFileError::NotAge(_))));
        }
        let at = good.windows(6).position(|bytes| bytes == b" file ").unwrap();
        let malformed = [&good[..at], b" code ", &good[at + 6..]].concat();
        assert!(matches!(checked(&malformed), Err(AppFileError::Malformed(_))));
    }

    #[test]
    fn a_header_that_enclaves_do_not_keep_is_refused() {
        let app = keys().recipient(Purpose::File, APP).unwrap();
        let crowd = vec![app; 300];
        let folder = tempfile::tempdir().unwrap();
        let cipher = encrypt(&mut &b"data"[..], &crowd, folder.path()).unwrap();
        assert!(cipher.bytes > HEADER_BYTES);
        assert!(matches!(check_app_file(cipher.path(), APP, Some(&keys())), Err(AppFileError::NotAge(_))));
    }
}
