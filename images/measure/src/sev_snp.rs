//! SEV-SNP: the launch digest of a guest that QEMU starts with its kernel (`-kernel`, `kernel-hashes=on`).
//!
//! The firmware of the secure processor hashes each page that the guest begins with, in order: OVMF, the pages that OVMF's
//! metadata asks for, and the initial registers of each processor. One of the pages has the hashes of kernel, initramfs and
//! command line, which OVMF compares with what QEMU hands to it.
//!
//! Sources: SEV Secure Nested Paging firmware ABI (56860), section 8.17 (SNP_LAUNCH_UPDATE); AMD64 APM volume 2, table B-4
//! (VMSA); edk2, OvmfPkg/ResetVector; QEMU, target/i386/sev.c. The same as virtee's sev-snp-measure computes, see the tests.

use phala_attestation::Measurements;
use sha2::{Digest, Sha256, Sha384};

const PAGE_BYTES: usize = 4096;
const FOUR_GIB: u64 = 1 << 32;
/// The firmware's largest size that QEMU takes.
const MAX_FIRMWARE_BYTES: usize = 64 << 20;
/// The most pages of one section of the metadata: none of OVMF's has a hundred.
const MAX_SECTION_PAGES: u32 = 1 << 14;

/// Types of pages (table 69).
const NORMAL: u8 = 1;
const VMSA: u8 = 2;
const ZERO: u8 = 3;
const SECRETS: u8 = 5;
const CPUID: u8 = 6;

/// Where the registers are said to lie.
const VMSA_ADDRESS: u64 = 0xffff_ffff_f000;

/// 96b582de-1fb2-45f7-baea-a366c55a082d
const FOOTER: [u8; 16] = guid(0x96b582de_1fb2_45f7_baea_a366c55a082d);
/// 7255371f-3a3b-4b04-927b-1da6efa8d454
const HASH_TABLE: [u8; 16] = guid(0x7255371f_3a3b_4b04_927b_1da6efa8d454);
/// 00f771de-1a7e-4fcb-890e-68c77e2fb44e
const RESET_BLOCK: [u8; 16] = guid(0x00f771de_1a7e_4fcb_890e_68c77e2fb44e);
/// dc886566-984a-4798-a75e-5585a7bf67cc
const METADATA: [u8; 16] = guid(0xdc886566_984a_4798_a75e_5585a7bf67cc);

/// 9438d606-4f22-4cc9-b479-a793d411fd21
const HASHES: [u8; 16] = guid(0x9438d606_4f22_4cc9_b479_a793d411fd21);
/// 4de79437-abd2-427f-b835-d5b172d2045b
const KERNEL: [u8; 16] = guid(0x4de79437_abd2_427f_b835_d5b172d2045b);
/// 44baf731-3a2f-4bd7-9af1-41e29169781d
const INITRAMFS: [u8; 16] = guid(0x44baf731_3a2f_4bd7_9af1_41e29169781d);
/// 97d02dd8-bd20-4c94-aa78-e7714d36ab2a
const COMMAND_LINE: [u8; 16] = guid(0x97d02dd8_bd20_4c94_aa78_e7714d36ab2a);

/// How QEMU starts a guest: all that is measured of it.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    /// OVMF, the build of edk2's `OvmfPkg/AmdSev`, as it is given to `-bios`.
    pub firmware: &'a [u8],
    /// The kernel, as it is given to `-kernel`.
    pub kernel: &'a [u8],
    /// The initramfs, as it is given to `-initrd`.
    pub initramfs: &'a [u8],
    /// The command line, as it is given to `-append`.
    pub command_line: &'a str,
    /// How many virtual processors it has.
    pub processors: u32,
    /// Their model, as it is given to `-cpu`.
    pub model: Model,
    /// SEV_FEATURES of the processors: 1 is SEV-SNP alone. Newer versions of KVM add 0x20 (debug swap) where they are told to.
    pub features: u64,
}

/// QEMU's models of AMD's processors, of all versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// `EPYC`.
    Epyc,
    /// `EPYC-Rome`.
    Rome,
    /// `EPYC-Milan`.
    Milan,
    /// `EPYC-Genoa`.
    Genoa,
    /// `EPYC-Turin`.
    Turin,
}

/// The files do not make a guest that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The firmware is none.
    #[error("this is no firmware: its length has to be a multiple of 4096, at most 64 MiB")]
    FirmwareSize,
    /// The firmware is not for SEV-SNP.
    #[error("the firmware is no OVMF with metadata for SEV-SNP: {0}")]
    Firmware(&'static str),
    /// The firmware does not look at the kernel.
    #[error(
        "the firmware does not measure the kernel that it is given: take the build of edk2's OvmfPkg/AmdSev/AmdSevX64.dsc"
    )]
    NoKernelHashes,
    /// A guest has at least one processor.
    #[error("a guest has between 1 and 4096 processors")]
    Processors,
}

impl Guest<'_> {
    /// What the secure processor will measure, for a guest without host data and identity block.
    ///
    /// # Errors
    /// When the firmware is not one that measures its kernel.
    pub fn measure(&self) -> Result<Measurements, Error> {
        if !(1..=4096).contains(&self.processors) {
            return Err(Error::Processors);
        }
        let firmware = Firmware::parse(self.firmware)?;
        let mut digest = LaunchDigest([0; 48]);
        let begin = FOUR_GIB - self.firmware.len() as u64;
        digest.add_normal(begin, self.firmware);
        for section in &firmware.sections {
            match section.kind {
                SectionKind::Zero => digest.add_unread(ZERO, section.address, section.bytes),
                SectionKind::Secrets => digest.add_unread(SECRETS, section.address, PAGE_BYTES as u32),
                SectionKind::Cpuid => digest.add_unread(CPUID, section.address, PAGE_BYTES as u32),
                SectionKind::Hashes => digest.add_normal(section.address, &self.hashes(firmware.hash_table)?),
            }
        }
        for index in 0..self.processors {
            let start = if index == 0 { 0xffff_fff0 } else { firmware.reset };
            digest.add(VMSA, VMSA_ADDRESS, Sha384::digest(self.registers(start)).into());
        }
        Ok(Measurements::SevSnp {
            measurement: digest.0,
            host_data: [0; 32],
            id_key_digest: [0; 48],
            guest_svn: 0,
            vmpl: 0,
        })
    }

    /// The page with the hashes, as QEMU writes it to where the firmware has room for it.
    fn hashes(&self, table: u32) -> Result<[u8; PAGE_BYTES], Error> {
        let command_line = [self.command_line.as_bytes(), &[0]].concat();
        let entries = [(COMMAND_LINE, &command_line[..]), (INITRAMFS, self.initramfs), (KERNEL, self.kernel)];
        let mut bytes = HASHES.to_vec();
        bytes.extend_from_slice(&168_u16.to_le_bytes());
        for (name, content) in entries {
            bytes.extend_from_slice(&name);
            bytes.extend_from_slice(&50_u16.to_le_bytes());
            bytes.extend_from_slice(&Sha256::digest(content));
        }
        let mut page = [0; PAGE_BYTES];
        let at = table as usize % PAGE_BYTES;
        // Padded to 16 bytes.
        let room = page.get_mut(at..at + 176).ok_or(Error::Firmware("its table of hashes crosses a page"))?;
        room[..bytes.len()].copy_from_slice(&bytes);
        Ok(page)
    }

    /// The state save area of a processor that starts at `start`, as KVM and QEMU fill it.
    fn registers(&self, start: u32) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        let mut set = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        // Selector, attributes, limit, base.
        let mut set_segment = |at: usize, selector: u16, attributes: u16, base: u32| {
            set(at, &selector.to_le_bytes());
            set(at + 2, &attributes.to_le_bytes());
            set(at + 4, &0xffff_u32.to_le_bytes());
            set(at + 8, &u64::from(base).to_le_bytes());
        };
        // ES, SS, DS, FS, GS.
        for at in [0x00, 0x20, 0x30, 0x40, 0x50] {
            set_segment(at, 0, 0x93, 0);
        }
        // CS.
        set_segment(0x10, 0xf000, 0x9b, start & 0xffff_0000);
        // GDTR, LDTR, IDTR, TR.
        for (at, attributes) in [(0x60, 0), (0x70, 0x82), (0x80, 0), (0x90, 0x8b)] {
            set_segment(at, 0, attributes, 0);
        }
        for (at, value) in [
            (0x0d0, 0x1000),      // EFER: SVME
            (0x148, 0x40),        // CR4: MCE
            (0x158, 0x10),        // CR0: ET
            (0x160, 0x400),       // DR7
            (0x168, 0xffff_0ff0), // DR6
            (0x170, 0x2),         // RFLAGS
            (0x178, u64::from(start & 0xffff)),
            (0x268, 0x0007_0406_0007_0406), // PAT
            (0x310, u64::from(self.model.signature())),
            (0x3b0, self.features),
            (0x3e8, 0x1), // XCR0
        ] {
            set(at, &value.to_le_bytes());
        }
        set(0x408, &0x1f80_u32.to_le_bytes()); // MXCSR
        set(0x410, &0x37f_u16.to_le_bytes()); // FCW
        page
    }
}

impl Model {
    /// What CPUID says (publication 25481, Fn0000_0001_EAX), and RDX has at the start.
    fn signature(self) -> u32 {
        let (family, model, stepping): (u32, u32, u32) = match self {
            Self::Epyc => (0x17, 0x01, 2),
            Self::Rome => (0x17, 0x31, 0),
            Self::Milan => (0x19, 0x01, 1),
            Self::Genoa => (0x19, 0x11, 0),
            Self::Turin => (0x1a, 0x00, 0),
        };
        ((family - 0xf) << 20) | ((model >> 4) << 16) | (0xf << 8) | ((model & 0xf) << 4) | stepping
    }
}

/// What the secure processor makes of the pages so far.
struct LaunchDigest([u8; 48]);

impl LaunchDigest {
    /// PAGE_INFO, table 67.
    fn add(&mut self, kind: u8, address: u64, content: [u8; 48]) {
        let mut hash = Sha384::new_with_prefix(self.0);
        hash.update(content);
        hash.update(0x70_u16.to_le_bytes());
        hash.update([kind, 0, 0, 0, 0, 0]);
        hash.update(address.to_le_bytes());
        self.0 = hash.finalize().into();
    }

    fn add_normal(&mut self, address: u64, bytes: &[u8]) {
        for (page, address) in bytes.chunks(PAGE_BYTES).zip((address..).step_by(PAGE_BYTES)) {
            self.add(NORMAL, address, Sha384::digest(page).into());
        }
    }

    /// Pages whose content is not the guest's.
    fn add_unread(&mut self, kind: u8, address: u64, bytes: u32) {
        for page in 0..u64::from(bytes) / PAGE_BYTES as u64 {
            self.add(kind, address + page * PAGE_BYTES as u64, [0; 48]);
        }
    }
}

/// What OVMF says of itself.
struct Firmware {
    sections: Vec<Section>,
    hash_table: u32,
    /// Where processors but the first start.
    reset: u32,
}

struct Section {
    address: u64,
    bytes: u32,
    kind: SectionKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SectionKind {
    Zero,
    Secrets,
    Cpuid,
    Hashes,
}

impl Firmware {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(PAGE_BYTES) || bytes.len() > MAX_FIRMWARE_BYTES {
            return Err(Error::FirmwareSize);
        }
        let number = |name, what| -> Result<u32, Error> {
            let entry = find(bytes, name).and_then(|entry| entry.first_chunk()).ok_or(Error::Firmware(what))?;
            Ok(u32::from_le_bytes(*entry))
        };
        let reset = number(RESET_BLOCK, "no address for further processors")?;
        let metadata = number(METADATA, "no metadata")?;
        let sections = sections(bytes, metadata).ok_or(Error::Firmware("malformed metadata"))?;
        let hash_table = number(HASH_TABLE, "").map_err(|_| Error::NoKernelHashes)?;
        let hashes =
            sections.iter().find(|section| section.kind == SectionKind::Hashes).ok_or(Error::NoKernelHashes)?;
        // QEMU writes the table to its address, the firmware reads it there: in this page alone is it measured.
        if u64::from(hash_table) / PAGE_BYTES as u64 != hashes.address / PAGE_BYTES as u64 {
            return Err(Error::NoKernelHashes);
        }
        Ok(Self { sections, hash_table, reset })
    }
}

/// The entry named `name` of the table that ends 32 bytes before the firmware does. Each entry ends with its length and name.
fn find(firmware: &[u8], name: [u8; 16]) -> Option<&[u8]> {
    let mut table = &firmware[..firmware.len() - 32];
    let (body, footer) = split_entry(table)?;
    if footer != FOOTER {
        return None;
    }
    table = body;
    while !table.is_empty() {
        let (entry, found) = split_entry(table)?;
        if found == name {
            return Some(entry);
        }
        table = &table[..table.len() - entry.len() - 18];
    }
    None
}

/// The last entry of a table, and its name.
fn split_entry(table: &[u8]) -> Option<(&[u8], [u8; 16])> {
    let (rest, name) = table.split_last_chunk::<16>()?;
    let (rest, length) = rest.split_last_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length)).checked_sub(18)?;
    Some((rest.get(rest.len().checked_sub(length)?..)?, *name))
}

/// The sections of the metadata that begins `offset` bytes before the firmware ends.
fn sections(firmware: &[u8], offset: u32) -> Option<Vec<Section>> {
    let metadata = firmware.get(firmware.len().checked_sub(offset as usize)?..)?;
    let word = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    if metadata.get(..4)? != b"ASEV" || word(metadata, 8)? != 1 {
        return None;
    }
    let bodies = metadata.get(16..word(metadata, 4)? as usize)?;
    let (bodies, []) = bodies.as_chunks::<12>() else { return None };
    if bodies.len() != word(metadata, 12)? as usize {
        return None;
    }
    let sections = bodies.iter().map(|body| {
        let (address, bytes) = (word(body, 0)?, word(body, 4)?);
        let kind = match word(body, 8)? {
            // Memory of the reset vector, and of a calling area that only a paravisor uses.
            1 | 4 => SectionKind::Zero,
            2 => SectionKind::Secrets,
            3 => SectionKind::Cpuid,
            0x10 => SectionKind::Hashes,
            _ => return None,
        };
        let pages = bytes / PAGE_BYTES as u32;
        let whole = address.is_multiple_of(PAGE_BYTES as u32) && bytes.is_multiple_of(PAGE_BYTES as u32);
        let fits = if kind == SectionKind::Zero { pages <= MAX_SECTION_PAGES } else { pages == 1 };
        (whole && fits).then_some(Section { address: address.into(), bytes, kind })
    });
    sections.collect()
}

/// How firmware writes an identifier: its first three parts little-endian.
const fn guid(number: u128) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = number.to_be_bytes();
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
mod tests;
