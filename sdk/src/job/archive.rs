//! The result archive. It comes out of an enclave, but a bad program can choose names: only plain files with the names that
//! the format has are taken, and nothing is ever unpacked by path.

use phala_primitives::input::is_file_name;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::Path,
};
use tar::{Archive, EntryType};

/// What a program wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Output files by path, whose parts are joined by `/`.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is no tar archive.
    #[error("the result is not a tar archive: {0}")]
    Tar(#[from] io::Error),
    /// It holds something else than the format has.
    #[error("the result holds an unexpected entry `{0}`")]
    Unexpected(String),
    /// It holds something twice.
    #[error("the result holds `{0}` twice")]
    Twice(String),
    /// Something follows it.
    #[error("something other than zeros follows the result's archive")]
    Trailing,
}

impl Output {
    /// Reads an archive, and the zeros after it that hide how long it is.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn read(mut archive: &[u8]) -> Result<Self, ArchiveError> {
        let mut output = Self::default();
        let (mut stdout, mut stderr) = (None, None);
        for entry in Archive::new(&mut archive).entries()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let shown = || path.escape_debug().to_string();
            if entry.header().entry_type() == EntryType::Directory && path.trim_end_matches('/') == "files" {
                continue;
            }
            if entry.header().entry_type() != EntryType::Regular {
                return Err(ArchiveError::Unexpected(shown()));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            let old = match path.as_str() {
                "stdout" => stdout.replace(bytes),
                "stderr" => stderr.replace(bytes),
                path => match path.strip_prefix("files/").filter(|path| path.split('/').all(is_file_name)) {
                    Some(name) => output.files.insert(name.to_owned(), bytes),
                    None => return Err(ArchiveError::Unexpected(shown())),
                },
            };
            if old.is_some() {
                return Err(ArchiveError::Twice(shown()));
            }
        }
        // What the last entry left of it.
        if archive.iter().any(|byte| *byte != 0) {
            return Err(ArchiveError::Trailing);
        }
        output.stdout = stdout.unwrap_or_default();
        output.stderr = stderr.unwrap_or_default();
        Ok(output)
    }

    /// Writes the output files into `folder`, which is made if need be. Files of the same names are replaced.
    ///
    /// # Errors
    /// The file system's, and when a link lies where a folder should.
    pub fn write_files(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for (path, bytes) in &self.files {
            let mut parent = folder.to_owned();
            let mut parts = path.split('/').peekable();
            while let Some(part) = parts.next() {
                if parts.peek().is_some() {
                    parent.push(part);
                    make_folder(&parent)?;
                    continue;
                }
                let mut file = tempfile::NamedTempFile::new_in(&parent)?;
                io::Write::write_all(&mut file, bytes)?;
                // Replaces the name itself: a link that lies there is not followed.
                file.persist(parent.join(part)).map_err(|error| error.error)?;
            }
        }
        Ok(())
    }
}

/// Makes a folder unless it is one already; a link to one is not.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::other(format!("{} is in the way: it is no folder", path.display()))),
        Err(_) => fs::create_dir(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    fn archive(entries: &[(&str, &[u8], EntryType)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (path, bytes, kind) in entries {
            let mut header = Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_entry_type(*kind);
            // `set_path` refuses what an attacker would write.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn results_are_read_and_written() {
        let output = Output::read(&archive(&[
            ("stdout", b"out", EntryType::Regular),
            ("stderr", b"", EntryType::Regular),
            ("files/a.csv", b"1,2", EntryType::Regular),
            ("files/by/month.csv", b"3", EntryType::Regular),
        ]))
        .unwrap();
        assert_eq!((&*output.stdout, &*output.stderr), (&b"out"[..], &b""[..]));
        let folder = tempfile::tempdir().unwrap();
        output.write_files(&folder.path().join("deep/er")).unwrap();
        assert_eq!(fs::read(folder.path().join("deep/er/a.csv")).unwrap(), b"1,2");
        assert_eq!(fs::read(folder.path().join("deep/er/by/month.csv")).unwrap(), b"3");
    }

    #[test]
    fn an_archive_is_followed_by_zeros_only() {
        let plain = archive(&[("stdout", b"out", EntryType::Regular), ("files/a", &[7; 1000], EntryType::Regular)]);
        let expected = Output::read(&plain).unwrap();
        for more in [1, 511, 512, 100_000] {
            let mut padded = [&plain[..], &vec![0; more][..]].concat();
            assert_eq!(Output::read(&padded).unwrap(), expected, "{more}");
            *padded.last_mut().unwrap() = 1;
            assert!(matches!(Output::read(&padded), Err(ArchiveError::Trailing)), "{more}");
        }
        // In place of the second block of zeros, too.
        let mut changed = plain.clone();
        *changed.last_mut().unwrap() = 1;
        assert!(matches!(Output::read(&changed), Err(ArchiveError::Trailing)));
        // A second archive is not part of the first.
        let twice = [&plain[..], &plain[..]].concat();
        assert!(matches!(Output::read(&twice), Err(ArchiveError::Trailing)));
    }

    #[test]
    fn nothing_leaves_the_folder() {
        for path in [
            "../evil",
            "/etc/passwd",
            "files/../evil",
            "files/a/../b",
            "files//b",
            "files/..",
            "files/",
            "files",
            "other",
            "./stdout",
        ] {
            let bytes = archive(&[(path, b"x", EntryType::Regular)]);
            assert!(matches!(Output::read(&bytes), Err(ArchiveError::Unexpected(_))), "{path}");
        }
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo, EntryType::Directory] {
            assert!(Output::read(&archive(&[("files/a", b"", kind)])).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn links_in_the_folder_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "precious").unwrap();
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("a")).unwrap();
        Output::read(&archive(&[("files/a", b"x", EntryType::Regular)])).unwrap().write_files(&inside).unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"precious");
        assert_eq!(fs::read(inside.join("a")).unwrap(), b"x");

        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, inside.join("b")).unwrap();
        let nested = Output::read(&archive(&[("files/b/c", b"x", EntryType::Regular)])).unwrap();
        assert!(nested.write_files(&inside).is_err());
        assert!(!elsewhere.join("c").exists());
    }

    #[test]
    fn doubles_and_garbage_are_refused() {
        let twice = archive(&[("stdout", b"a", EntryType::Regular), ("stdout", b"b", EntryType::Regular)]);
        assert!(matches!(Output::read(&twice), Err(ArchiveError::Twice(_))));
        assert!(Output::read(&[1; 2048]).is_err());
        assert_eq!(Output::read(&[]).unwrap(), Output::default());
    }
}
