//! A host's disk: what a crash leaves of it.
//!
//! A crash is the disk at that moment. So each host process has a folder of its own, which begins as a copy of its
//! predecessor's; what the dead process still does reaches only the old one.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::random::Dice;

/// What a crash does to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing: what was written is there.
    None,
    /// Files that were being made are cut short or gone.
    Torn,
    /// That, and files that were put in place lately are gone, or as they were before.
    Forgetful,
}

/// The disk of one host.
pub struct Disk {
    base: PathBuf,
    generation: u32,
    /// Files as they were when [`Self::remember`] was called last.
    old: BTreeMap<PathBuf, Vec<u8>>,
}

impl Disk {
    /// An empty one in `base`.
    pub fn new(base: PathBuf) -> Self {
        Self { base, generation: 0, old: BTreeMap::new() }
    }

    /// Where the host's files are now.
    pub fn folder(&self) -> PathBuf {
        self.base.join(self.generation.to_string())
    }

    /// A copy of this disk, in `base`.
    ///
    /// # Errors
    /// The real disk's.
    pub fn copy(&self, base: PathBuf) -> io::Result<Self> {
        let copy = Self::new(base);
        write_files(&copy.folder(), &files(&self.folder())?)?;
        Ok(copy)
    }

    /// Keeps a copy of every file.
    ///
    /// # Errors
    /// The real disk's.
    pub fn remember(&mut self) -> io::Result<()> {
        self.old = files(&self.folder())?;
        Ok(())
    }

    /// The host's process has ended: the next one finds what is left.
    ///
    /// # Errors
    /// The real disk's.
    pub fn crash(&mut self, damage: Damage, dice: &Dice) -> io::Result<()> {
        let mut left = files(&self.folder())?;
        if damage != Damage::None {
            left.retain(|path, bytes| {
                if !path.starts_with("partial") {
                    return true;
                }
                bytes.truncate(dice.index(bytes.len() + 1));
                !dice.chance(300)
            });
        }
        if damage == Damage::Forgetful {
            let old = &self.old;
            left.retain(|path, bytes| {
                let before = old.get(path);
                // Without its keys an enclave is another worker, which is of little interest.
                let forgotten = before != Some(&*bytes) && !is_keys(path) && dice.chance(300);
                match before {
                    Some(before) if forgotten => {
                        bytes.clone_from(before);
                        true
                    }
                    _ => !forgotten,
                }
            });
        }
        self.next(&left)
    }

    /// The host puts the remembered copies of files back whose path begins with `prefix`, and removes those of which there
    /// were none. Says how many files that changed.
    ///
    /// # Errors
    /// The real disk's.
    pub fn restore(&mut self, prefix: &str) -> io::Result<usize> {
        let mut left = files(&self.folder())?;
        let before = left.clone();
        let chosen = |path: &Path| path.to_string_lossy().starts_with(prefix);
        left.retain(|path, _| !chosen(path));
        left.extend(
            self.old.iter().filter(|(path, _)| chosen(path)).map(|(path, bytes)| (path.clone(), bytes.clone())),
        );
        let changed = before.iter().filter(|(path, bytes)| left.get(*path) != Some(*bytes)).count();
        self.next(&left)?;
        Ok(changed)
    }

    /// The host loses every file whose path begins with `prefix`. Says how many.
    ///
    /// # Errors
    /// The real disk's.
    pub fn lose(&mut self, prefix: &str) -> io::Result<usize> {
        let mut left = files(&self.folder())?;
        let before = left.len();
        left.retain(|path, _| !path.to_string_lossy().starts_with(prefix));
        self.next(&left)?;
        Ok(before - left.len())
    }

    fn next(&mut self, left: &BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
        self.generation += 1;
        write_files(&self.folder(), left)
    }
}

fn is_keys(path: &Path) -> bool {
    path.to_string_lossy().starts_with("sealed/keys-")
}

/// Every file below `folder`, but those that were only being made, by its path from there.
fn files(folder: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let entries = match fs::read_dir(folder.join(&inner)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = inner.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                if path != Path::new("tmp") {
                    folders.push(path);
                }
            } else {
                found.insert(path, fs::read(entry.path())?);
            }
        }
    }
    Ok(found)
}

fn write_files(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (path, bytes) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &Disk, path: &str, bytes: &[u8]) {
        let path = disk.folder().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn read(disk: &Disk, path: &str) -> Option<Vec<u8>> {
        fs::read(disk.folder().join(path)).ok()
    }

    #[test]
    fn a_crash_leaves_what_was_there_and_nothing_that_comes_later() {
        let base = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(base.path().to_owned());
        write(&disk, "sealed/a", b"1");
        write(&disk, "tmp/b", b"2");
        let old = disk.folder();
        disk.crash(Damage::None, &Dice::new(1, "disk")).unwrap();
        fs::write(old.join("sealed/a"), b"late").unwrap();
        assert_eq!(read(&disk, "sealed/a").as_deref(), Some(&b"1"[..]));
        assert_eq!(read(&disk, "tmp/b"), None);
    }

    #[test]
    fn old_copies_come_back() {
        let base = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(base.path().to_owned());
        write(&disk, "sealed/chain-1", b"old");
        disk.remember().unwrap();
        write(&disk, "sealed/chain-1", b"new");
        write(&disk, "receipts/1", b"new");
        assert_eq!(disk.restore("sealed/chain-").unwrap(), 1);
        assert_eq!(read(&disk, "sealed/chain-1").as_deref(), Some(&b"old"[..]));
        assert_eq!(read(&disk, "receipts/1").as_deref(), Some(&b"new"[..]));
        assert_eq!(disk.lose("receipts").unwrap(), 1);
        assert_eq!(read(&disk, "receipts/1"), None);
    }

    #[test]
    fn a_forgetful_disk_forgets_no_keys() {
        let base = tempfile::tempdir().unwrap();
        let dice = Dice::new(3, "disk");
        let mut disk = Disk::new(base.path().to_owned());
        for number in 0..40 {
            write(&disk, &format!("receipts/{number}"), b"x");
            write(&disk, &format!("sealed/keys-{number}"), b"x");
        }
        disk.crash(Damage::Forgetful, &dice).unwrap();
        let left = files(&disk.folder()).unwrap();
        let count = |prefix: &str| left.keys().filter(|path| path.to_string_lossy().starts_with(prefix)).count();
        assert_eq!(count("sealed"), 40);
        assert!((1..40).contains(&count("receipts")));
    }
}
