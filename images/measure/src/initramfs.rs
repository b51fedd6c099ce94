//! An initramfs with one program: cpio in the format `newc`, as Linux reads it (Documentation/driver-api/early-userspace/
//! buffer-format). Nothing in it but the program decides its bytes: no time, no owner, no inode of the machine that makes it.

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// The largest file that the format's length of 32 bits has.
const MAX_BYTES: usize = u32::MAX as usize;

/// An initramfs with `enclave` as `/init`, the console for what it says, and folders for what it mounts.
///
/// # Panics
/// When `enclave` has 4 GiB or more.
pub fn initramfs(enclave: &[u8]) -> Vec<u8> {
    assert!(enclave.len() < MAX_BYTES, "a program of 4 GiB does not fit into an initramfs");
    let mut archive = Archive::default();
    archive.add("dev", FOLDER, [0, 0], &[]);
    archive.add("dev/console", CHARACTER_DEVICE, [5, 1], &[]);
    archive.add("init", PROGRAM, [0, 0], enclave);
    archive.add("proc", FOLDER, [0, 0], &[]);
    archive.add("sys", FOLDER, [0, 0], &[]);
    archive.finish()
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, device: [u32; 2], content: &[u8]) {
        self.entries += 1;
        let links = if mode == FOLDER { 2 } else { 1 };
        self.entry(
            name,
            [self.entries, mode, 0, 0, links, 0, content.len() as u32, 0, 0, device[0], device[1]],
            content,
        );
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], &[]);
        self.bytes
    }

    /// The fields are inode, mode, user, group, links, time, length, the device that it is on and the device that it is.
    fn entry(&mut self, name: &str, fields: [u32; 11], content: &[u8]) {
        self.bytes.extend_from_slice(b"070701");
        // The last is a checksum, which this format does not have.
        for field in fields.into_iter().chain([name.len() as u32 + 1, 0]) {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_same_enclave_makes_the_same_bytes() {
        let archive = initramfs(b"enclave");
        assert_eq!(archive, initramfs(b"enclave"));
        assert_ne!(archive, initramfs(b"enclavf"));
        let hash = hex::encode(Sha256::digest(&archive));
        assert_eq!(hash, "f1b7b6d25354b782d29051df7b1aeafdcef203ac448c5328841b1604e33ad976");
    }

    #[test]
    fn entries_are_aligned_and_end_with_the_trailer() {
        for length in 0..9 {
            let archive = initramfs(&vec![0xff; length]);
            assert!(archive.len().is_multiple_of(4));
            let starts: Vec<_> = archive.windows(6).enumerate().filter(|(_, bytes)| bytes == b"070701").collect();
            assert_eq!(starts.len(), 6);
            assert!(starts.iter().all(|(at, _)| at.is_multiple_of(4)));
            assert!(archive.windows(11).any(|bytes| bytes == b"TRAILER!!!\0"));
        }
    }
}
