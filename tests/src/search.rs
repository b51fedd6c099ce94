//! Searching for a string where it must not be: in processes' memory, on disk, on the wire.

use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The forms in which a string is looked for: as it is, in hexadecimal and in UTF-16.
pub fn forms(needle: &str) -> Vec<Vec<u8>> {
    let utf16 = needle.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![needle.as_bytes().to_vec(), hex::encode(needle).into_bytes(), utf16]
}

fn contains(haystack: &[u8], forms: &[Vec<u8>]) -> bool {
    forms.iter().any(|form| memchr::memmem::find(haystack, form).is_some())
}

/// Whether `haystack` holds `needle` in any form.
pub fn bytes(haystack: &[u8], needle: &str) -> bool {
    contains(haystack, &forms(needle))
}

/// Whether the memory of process `pid` holds `needle` in any form. Needs the right to read it (root).
///
/// # Errors
/// When the process is gone or its memory may not be read.
pub fn memory(pid: u32, needle: &str) -> Result<bool> {
    let forms = forms(needle);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).with_context(|| format!("reading the maps of {pid}"))?;
    let mut memory = File::open(format!("/proc/{pid}/mem")).with_context(|| format!("opening the memory of {pid}"))?;
    let mut read_any = false;
    let mut buffer = vec![0; 8 * 1024 * 1024];
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(permissions)) = (fields.next(), fields.next()) else { continue };
        let Some((start, end)) = range.split_once('-') else { continue };
        if !permissions.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
            continue;
        }
        let (mut position, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
        // Chunks overlap by the longest form, so that none is cut in two.
        let overlap = forms.iter().map(Vec::len).max().unwrap_or(0) as u64;
        while position < end {
            let length = buffer.len().min((end - position) as usize);
            let Some(read) = memory
                .seek(SeekFrom::Start(position))
                .and_then(|_| memory.read(&mut buffer[..length]))
                .ok()
                .filter(|read| *read > 0)
            else {
                break;
            };
            read_any = true;
            if contains(&buffer[..read], &forms) {
                return Ok(true);
            }
            position += read as u64;
            if position < end && read as u64 > overlap {
                position -= overlap;
            }
        }
    }
    anyhow::ensure!(read_any, "nothing of the memory of {pid} could be read; run as root");
    Ok(false)
}

/// The files under `folder` that hold `needle` in any form, in their content or name.
///
/// # Errors
/// When the folder cannot be listed. Files that vanish meanwhile are passed over.
pub fn disk(folder: &Path, needle: &str) -> Result<Vec<PathBuf>> {
    let forms = forms(needle);
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let path = entry?.path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if contains(path.as_os_str().as_encoded_bytes(), &forms)
                || fs::read(&path).is_ok_and(|content| contains(&content, &forms))
            {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Everything that crosses the loopback interface from [`Wire::start`] to [`Wire::stop`].
pub struct Wire {
    process: Child,
    file: PathBuf,
}

impl Wire {
    /// Starts to capture into `file`.
    ///
    /// # Errors
    /// When `tcpdump` is missing or may not capture.
    pub fn start(file: &Path) -> Result<Self> {
        let process = Command::new("tcpdump")
            .args(["-i", "lo", "-s", "0", "-U", "-Z", "root", "-B", "65536", "-w"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting tcpdump; scripts/setup.sh installs it, and capturing needs root")?;
        let mut wire = Self { process, file: file.to_owned() };
        let begin = Instant::now();
        // tcpdump writes the file's header once it listens.
        while fs::metadata(file).map(|meta| meta.len()).unwrap_or(0) == 0 {
            if let Some(status) = wire.process.try_wait()? {
                anyhow::bail!("tcpdump ended at once ({status}); capturing needs root");
            }
            anyhow::ensure!(begin.elapsed() < Duration::from_secs(20), "tcpdump does not start to capture");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(wire)
    }

    /// Stops, and says whether `needle` crossed the wire in any form.
    ///
    /// # Errors
    /// When the capture cannot be read.
    pub fn stop(mut self, needles: &[&str]) -> Result<Vec<bool>> {
        // Lets tcpdump write what the kernel has already given it.
        let _ = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        self.process.wait()?;
        let capture = fs::read(&self.file).context("reading the capture")?;
        Ok(needles.iter().map(|needle| contains(&capture, &forms(needle))).collect())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
