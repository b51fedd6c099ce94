//! A faked tree: the files of a TEE below a temporary folder, and a thread in the place of whoever makes them up.

use phala_attestation::Evidence;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};
use tempfile::TempDir;

/// What the faked kernel answers a request with: from the report data, and how often it was asked before.
pub type Answer = dyn Fn(&[u8; 64], u32) -> Reply + Send;

/// What comes of a request.
pub struct Reply {
    /// The quote or report.
    pub blob: Vec<u8>,
    /// How often the entry was written to.
    pub writes: u64,
}

/// The files of Gramine's or configfs-tsm's. The file with the report is a pipe: the thread makes the report when it is
/// opened, as a kernel does.
pub struct Tree {
    root: TempDir,
}

impl Tree {
    pub fn empty() -> Self {
        Self { root: TempDir::new().unwrap() }
    }

    pub fn gramine(answer: impl Fn(&[u8; 64], u32) -> Vec<u8> + Send + 'static) -> Self {
        let tree = Self::empty();
        tree.set("dev/attestation/attestation_type", b"dcap");
        tree.set("dev/attestation/user_report_data", &[0; 64]);
        tree.set("dev/attestation/keys/_sgx_mrenclave", &[7; 16]);
        let answer = move |data: &[u8; 64], asked| Reply { blob: answer(data, asked), writes: 1 };
        tree.serve("dev/attestation", ["user_report_data", "quote"], Box::new(answer));
        tree
    }

    pub fn tsm(provider: &str, answer: impl Fn(&[u8; 64], u32) -> Reply + Send + 'static) -> Self {
        let tree = Self::empty();
        tree.set("sys/kernel/config/tsm/report/phala/provider", provider.as_bytes());
        tree.set("sys/kernel/config/tsm/report/phala/generation", b"0\n");
        tree.set("sys/kernel/config/tsm/report/phala/inblob", &[]);
        tree.serve("sys/kernel/config/tsm/report/phala", ["inblob", "outblob"], Box::new(answer));
        tree
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn set(&self, file: &str, bytes: &[u8]) {
        let path = self.root().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn serve(&self, folder: &str, [input, output]: [&str; 2], answer: Box<Answer>) {
        let folder = self.root().join(folder);
        let (input, output) = (folder.join(input), folder.join(output));
        make_pipe(&output);
        thread::spawn(move || {
            let mut generation = 0;
            for asked in 0.. {
                // Waits for whoever reads; ends when the tree is gone.
                let Ok(mut pipe) = fs::OpenOptions::new().write(true).open(&output) else { return };
                let data = fs::read(&input).unwrap().try_into().unwrap();
                let reply = answer(&data, asked);
                generation += reply.writes;
                let _ = fs::write(folder.join("generation"), format!("{generation}\n"));
                // The next request has a pipe of its own, so that this one's end is seen.
                let _ = fs::remove_file(&output);
                make_pipe(&output);
                let _ = std::io::Write::write_all(&mut pipe, &reply.blob);
            }
        });
    }
}

fn make_pipe(path: &PathBuf) {
    let _ = mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
}

/// The quote or report of evidence, and what comes with it.
pub fn parts(evidence: Evidence) -> (Vec<u8>, Vec<u8>) {
    match evidence {
        Evidence::Dcap { quote, .. } => (quote, vec![]),
        Evidence::SevSnp { report, endorsement } => (report, endorsement),
        Evidence::Simulated(_) => panic!("no vendor's"),
    }
}

/// A table of certificates.
pub fn table(certificates: &[([u8; 16], &[u8])]) -> Vec<u8> {
    let mut offset = 24 * (certificates.len() as u32 + 1);
    let (mut entries, mut bodies) = (vec![], vec![]);
    for (id, certificate) in certificates {
        let length = certificate.len() as u32;
        entries.extend([&id[..], &offset.to_le_bytes(), &length.to_le_bytes()].concat());
        bodies.extend_from_slice(certificate);
        offset += length;
    }
    [entries, vec![0; 24], bodies].concat()
}
