//! The expected digests are what sev-snp-measure 0.0.13 says of the same files (`--mode snp --vmm-type QEMU`).

use super::*;

/// 8 KiB with the tables that OVMF has, and an instruction or two.
fn firmware(sections: &[[u32; 3]]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..8192_u32).map(|index| (index * 7 % 251) as u8).collect();
    let length = bytes.len();
    let mut metadata = b"ASEV".to_vec();
    for word in [16 + 12 * sections.len() as u32, 1, sections.len() as u32] {
        metadata.extend_from_slice(&word.to_le_bytes());
    }
    for word in sections.iter().flatten() {
        metadata.extend_from_slice(&word.to_le_bytes());
    }
    let mut table = vec![];
    for (value, name) in [(0x80_f0_04_u32, RESET_BLOCK), (0x1000, METADATA), (0x80_fc_00, HASH_TABLE)] {
        table.extend_from_slice(&value.to_le_bytes());
        table.extend_from_slice(&22_u16.to_le_bytes());
        table.extend_from_slice(&name);
    }
    table.extend_from_slice(&(table.len() as u16 + 18).to_le_bytes());
    table.extend_from_slice(&FOOTER);
    bytes[length - 0x1000..length - 0x1000 + metadata.len()].copy_from_slice(&metadata);
    bytes[length - 32 - table.len()..length - 32].copy_from_slice(&table);
    bytes
}

const SECTIONS: [[u32; 3]; 6] = [
    [0x80_0000, 0x9000, 1],
    [0x80_a000, 0x3000, 1],
    [0x80_d000, 0x1000, 2],
    [0x80_e000, 0x1000, 3],
    [0x80_f000, 0x1000, 0x10],
    [0x81_0000, 0x1_0000, 4],
];

fn guest(firmware: &[u8]) -> Guest<'_> {
    Guest {
        firmware,
        kernel: b"kernel",
        initramfs: b"initramfs",
        command_line: "console=ttyS0 panic=-1",
        processors: 4,
        model: Model::Milan,
        features: 1,
    }
}

fn digest(guest: &Guest<'_>) -> String {
    match guest.measure() {
        Ok(Measurements::SevSnp { measurement, .. }) => hex::encode(measurement),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_digest_is_that_of_the_reference() {
    let firmware = firmware(&SECTIONS);
    let guest = guest(&firmware);
    for (guest, expected) in [
        (guest, "38ecaa2d79a8276b19a69af976b91273b7f3e796825bc43540b9f8654e2deec64571c80d7e510300b97e2501696cb6bb"),
        (
            Guest { processors: 1, model: Model::Epyc, command_line: "", ..guest },
            "8104f99e2e615b26f465d3a3f0c4203489514711c82504bae1afb59faed8eb27ff21dd19936e5c07d50fd10daa1ed5ce",
        ),
        (
            Guest { model: Model::Rome, features: 0x21, ..guest },
            "dcdca8c320092a7d907c01c90a122e10441aa22ae7bdcf95d200d1f3b784549557acd50a346a27dd4b40e84b0423052f",
        ),
        (
            Guest { model: Model::Genoa, initramfs: b"", ..guest },
            "c574a9c26dafb79c5be9af557e6d8faebd67a02a76f5e15cd0ff212399fe022508c295088ee4bebb20751a6ec0c5f0e6",
        ),
        (
            Guest { model: Model::Turin, kernel: b"", ..guest },
            "ddc3a05d55af5c33f3dff17f4b302b72db8d95044b942cf1a26f562d9518049769562b3acf6d296dbf06b7aed0c55e03",
        ),
    ] {
        assert_eq!(digest(&guest), expected, "{:?}", guest.model);
    }
}

#[test]
fn everything_that_starts_a_guest_counts() {
    let firmware = firmware(&SECTIONS);
    let mut other_firmware = firmware.clone();
    other_firmware[0] ^= 1;
    let guest = guest(&firmware);
    let expected = digest(&guest);
    for other in [
        Guest { firmware: &other_firmware, ..guest },
        Guest { kernel: b"kernem", ..guest },
        Guest { initramfs: b"initramft", ..guest },
        Guest { command_line: "console=ttyS0 panic=-2", ..guest },
        Guest { processors: 5, ..guest },
        Guest { model: Model::Genoa, ..guest },
        Guest { features: 0, ..guest },
    ] {
        assert_ne!(digest(&other), expected);
    }
}

#[test]
fn firmware_that_does_not_measure_its_kernel_is_refused() {
    let mut without = SECTIONS.to_vec();
    without.remove(4);
    assert_eq!(guest(&firmware(&without)).measure(), Err(Error::NoKernelHashes));
    // Hashes in a page that is not measured.
    let mut elsewhere = SECTIONS;
    elsewhere[4][0] = 0x82_0000;
    assert_eq!(guest(&firmware(&elsewhere)).measure(), Err(Error::NoKernelHashes));
    let mut unnamed = firmware(&SECTIONS);
    let at = unnamed.windows(16).position(|bytes| bytes == HASH_TABLE).unwrap();
    unnamed[at] ^= 1;
    assert_eq!(guest(&unnamed).measure(), Err(Error::NoKernelHashes));
}

#[test]
fn malformed_firmware_is_refused() {
    for size in [0, 1, 4095, 4097, MAX_FIRMWARE_BYTES + PAGE_BYTES] {
        assert_eq!(guest(&vec![0; size]).measure(), Err(Error::FirmwareSize));
    }
    assert!(matches!(guest(&[0; PAGE_BYTES]).measure(), Err(Error::Firmware(_))));
    for section in [[0x80_0001, 0x1000, 1], [0x80_0000, 0x1001, 1], [0x80_0000, 0x1000, 9], [0x80_0000, 0x2000, 2]] {
        let bytes = firmware(&[section, SECTIONS[4]]);
        assert_eq!(guest(&bytes).measure(), Err(Error::Firmware("malformed metadata")), "{section:x?}");
    }
    let bytes = firmware(&[[0x80_0000, (MAX_SECTION_PAGES + 1) << 12, 1], SECTIONS[4]]);
    assert_eq!(guest(&bytes).measure(), Err(Error::Firmware("malformed metadata")));
}

#[test]
fn no_change_of_the_tables_makes_it_panic() {
    let firmware = firmware(&SECTIONS);
    for at in (4096..4096 + 100).chain(8192 - 120..8192) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = firmware.clone();
            changed[at] = value;
            let _ = guest(&changed).measure();
        }
    }
}

#[test]
fn a_guest_has_processors() {
    let firmware = firmware(&SECTIONS);
    for processors in [0, 4097] {
        assert_eq!(Guest { processors, ..guest(&firmware) }.measure(), Err(Error::Processors));
    }
}
