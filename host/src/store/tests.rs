use super::*;
use phala_attestation::{Evidence, Measurement, PlatformId, Role, Statement, simulated};
use phala_protocol::sealed_receipt_name;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tempfile::TempDir;

const SMALL: Limits = Limits { total_bytes: 10_000, blob_bytes: 4_000, output_bytes: 3_000, cache_bytes: 2_000 };

fn open(limits: Limits) -> (TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), limits).unwrap();
    (folder, Arc::new(store))
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn upload(store: &Arc<Store>, bytes: &[u8]) -> Result<bool, Error> {
    let mut upload = store.begin_upload(hash(bytes), Some(bytes.len() as u64))?;
    bytes.chunks(100).try_for_each(|chunk| upload.write(chunk))?;
    upload.finish()
}

fn files(folder: &TempDir) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path().display().to_string()));
        } else {
            names.push(path.display().to_string());
        }
    }
    names
}

/// Makes a blob look as if nobody had used it for a day.
fn age(store: &Store, blob: &Hash, days: u64) {
    let used_at = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
    store.state().blobs.get_mut(blob).unwrap().used_at = used_at;
}

#[test]
fn blobs_are_read_back_in_chunks() {
    let (_folder, store) = open(SMALL);
    let bytes: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
    assert!(upload(&store, &bytes).unwrap());
    assert!(!upload(&store, &bytes).unwrap());
    let blob = hash(&bytes);
    assert_eq!(store.blob_bytes(&blob), Some(3000));
    assert_eq!(store.read_blob(&blob, 0, 1000).unwrap().unwrap(), bytes[..1000]);
    assert_eq!(store.read_blob(&blob, 2900, 1000).unwrap().unwrap(), bytes[2900..]);
    assert_eq!(store.read_blob(&blob, u64::MAX, 1000).unwrap().unwrap(), b"");
    assert_eq!(store.read_blob(&[0; 32], 0, 1).unwrap(), None);
    assert_eq!(store.used_bytes(), 3000);
}

#[test]
fn uploads_that_fail_leave_nothing_behind() {
    let (folder, store) = open(SMALL);
    let bytes = [7; 500];
    // Of other bytes.
    let mut other = store.begin_upload(hash(b"other"), Some(500)).unwrap();
    other.write(&bytes).unwrap();
    assert!(matches!(other.finish(), Err(Error::HashMismatch { actual }) if actual == hash(&bytes)));
    // Too short, too long.
    let mut short = store.begin_upload(hash(&bytes), Some(501)).unwrap();
    short.write(&bytes).unwrap();
    assert!(matches!(short.finish(), Err(Error::LengthMismatch { received: 500, announced: 501 })));
    let mut long = store.begin_upload(hash(&bytes), Some(499)).unwrap();
    assert!(matches!(long.write(&bytes), Err(Error::LengthMismatch { .. })));
    drop(long);
    // Given up.
    let mut dropped = store.begin_upload(hash(&bytes), None).unwrap();
    dropped.write(&bytes[..100]).unwrap();
    drop(dropped);
    assert_eq!(files(&folder), Vec::<String>::new());
    assert_eq!(store.used_bytes(), 0);
    assert_eq!(store.blob_bytes(&hash(&bytes)), None);
}

#[test]
fn blobs_over_their_limit_are_refused() {
    let (_folder, store) = open(SMALL);
    assert!(matches!(store.begin_upload([0; 32], Some(4001)), Err(Error::TooLarge { limit: 4000 })));
    let mut unannounced = store.begin_upload([0; 32], None).unwrap();
    unannounced.write(&[0; 4000]).unwrap();
    assert!(matches!(unannounced.write(&[0]), Err(Error::TooLarge { .. })));
}

#[test]
fn the_quota_evicts_the_oldest_unused_blobs_only() {
    let (_folder, store) = open(SMALL);
    let blobs: Vec<Vec<u8>> = (0..3).map(|n| vec![n; 3000]).collect();
    for bytes in &blobs {
        upload(&store, bytes).unwrap();
    }
    // All were used just now.
    assert!(matches!(upload(&store, &[9; 3000]), Err(Error::QuotaExceeded)));
    age(&store, &hash(&blobs[0]), 1);
    age(&store, &hash(&blobs[1]), 3);
    age(&store, &hash(&blobs[2]), 2);
    store.pin_blobs(7, [hash(&blobs[1])]);
    assert!(upload(&store, &[9; 3000]).unwrap());
    let present: Vec<bool> = blobs.iter().map(|bytes| store.blob_bytes(&hash(bytes)).is_some()).collect();
    assert_eq!(present, [true, true, false]);
    assert_eq!(store.used_bytes(), 9000);
}

#[test]
fn unused_blobs_go_and_pinned_ones_stay() {
    let (_folder, store) = open(SMALL);
    let (one, two) = (hash(&[1; 10]), hash(&[2; 10]));
    upload(&store, &[1; 10]).unwrap();
    upload(&store, &[2; 10]).unwrap();
    age(&store, &one, 2);
    age(&store, &two, 2);
    for job in [1, 2] {
        store.pin_blobs(job, [two]);
    }
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    assert_eq!(store.remove_unused_blobs(yesterday), 1);
    // As long as any job needs it.
    for (job, left) in [(1, Some(10)), (1, Some(10)), (2, None)] {
        store.unpin_blobs(job);
        store.remove_blob(&two);
        assert_eq!(store.blob_bytes(&two), left);
    }
    assert_eq!(store.used_bytes(), 0);
}

#[test]
fn a_restart_finds_what_is_whole_and_drops_the_rest() {
    let (folder, store) = open(SMALL);
    upload(&store, &[1; 100]).unwrap();
    store.write_output(7, 0, &[2; 50]).unwrap();
    store.finish_output(7).unwrap();
    store.write_output(8, 0, &[3; 30]).unwrap();
    let mut unfinished = store.begin_upload([0; 32], Some(200)).unwrap();
    unfinished.write(&[0; 100]).unwrap();
    // As if the process had been killed.
    std::mem::forget(unfinished);
    fs::write(folder.path().join("blobs/stranger"), b"?").unwrap();
    let store = Store::open(folder.path(), SMALL).unwrap();
    assert_eq!(store.used_bytes(), 180);
    assert_eq!(store.blob_bytes(&hash(&[1; 100])), Some(100));
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    // A half-written output goes on where it was.
    store.write_output(8, 30, &[4; 10]).unwrap();
    store.finish_output(8).unwrap();
    assert_eq!(store.open_output(8).unwrap().unwrap().1, 40);
}

#[test]
fn outputs_are_contiguous_and_a_chunk_may_come_twice() {
    let (_folder, store) = open(SMALL);
    store.write_output(1, 0, b"hello ").unwrap();
    store.write_output(1, 6, b"worl").unwrap();
    store.write_output(1, 6, b"world").unwrap();
    assert!(matches!(store.write_output(1, 12, b"!"), Err(Error::NotContiguous { offset: 12, present: 11 })));
    assert!(store.open_output(1).unwrap().is_none());
    assert_eq!(store.used_bytes(), 11);
    store.finish_output(1).unwrap();
    store.finish_output(1).unwrap();
    let (mut file, bytes) = store.open_output(1).unwrap().unwrap();
    assert_eq!((bytes, io::read_to_string(&mut file).unwrap().as_str()), (11, "hello world"));
    // Anew, with another result.
    store.write_output(1, 0, b"bye").unwrap();
    store.finish_output(1).unwrap();
    assert_eq!(store.used_bytes(), 3);
    assert!(matches!(store.write_output(2, 0, &[0; 3001]), Err(Error::TooLarge { limit: 3000 })));
    assert_eq!(store.used_bytes(), 3);
    store.remove_job(1).unwrap();
    store.remove_job(2).unwrap();
    assert_eq!(store.used_bytes(), 0);
}

#[test]
fn names_are_validated() {
    let (folder, store) = open(SMALL);
    let before = files(&folder);
    for name in ["", ".", "..", ".hidden", "a/b", "../x", "A", "a b", "a\0", "é", &"x".repeat(129)] {
        assert!(matches!(store.store_sealed(name, b"x"), Err(Error::InvalidName)), "{name:?}");
        assert!(matches!(store.load_sealed(name), Err(Error::InvalidName)), "{name:?}");
        assert!(matches!(store.read_cache(name, 0, 1), Err(Error::InvalidName)), "{name:?}");
        assert!(matches!(store.write_cache(name, 0, b"x", true), Err(Error::InvalidName)), "{name:?}");
    }
    assert_eq!(files(&folder), before);
    for name in ["keys", "floor.0a1b-2", &"x".repeat(128)] {
        store.store_sealed(name, b"x").unwrap();
    }
}

#[test]
fn a_forgotten_job_leaves_nothing_sealed() {
    let (folder, store) = open(SMALL);
    for job in [4, 14] {
        let receipt = crate::testing::receipt(job);
        store.store_sealed(&sealed_receipt_name(&receipt.receipt.genesis_hash, job), b"sealed").unwrap();
        store.store_receipt(job, &receipt).unwrap();
    }
    store.remove_job(4).unwrap();
    assert_eq!(fs::read_dir(folder.path().join("sealed")).unwrap().count(), 1);
    store.remove_job(14).unwrap();
    assert_eq!(files(&folder), Vec::<String>::new());
}

#[test]
fn sealed_blobs_are_replaced_whole() {
    let (folder, store) = open(SMALL);
    assert_eq!(store.load_sealed("keys").unwrap(), None);
    store.store_sealed("keys", b"one").unwrap();
    store.store_sealed("keys", b"two").unwrap();
    // What a crash leaves is in another folder, and never under the name.
    fs::write(folder.path().join("tmp/half"), b"thr").unwrap();
    let store = Store::open(folder.path(), SMALL).unwrap();
    assert_eq!(store.load_sealed("keys").unwrap().unwrap(), b"two");
    let large = vec![0; phala_protocol::MAX_SEALED_BYTES as usize + 1];
    assert!(matches!(store.store_sealed("keys", &large), Err(Error::TooLarge { .. })));
    assert_eq!(store.load_sealed("keys").unwrap().unwrap(), b"two");
}

#[test]
fn the_cache_shows_whole_programs_and_keeps_its_limit() {
    let (folder, store) = open(SMALL);
    store.write_cache("old", 0, &[1; 500], false).unwrap();
    assert_eq!(store.read_cache("old", 0, 1000).unwrap(), b"");
    store.write_cache("old", 500, &[2; 500], true).unwrap();
    assert_eq!(store.read_cache("old", 400, 200).unwrap(), [[1; 100], [2; 100]].concat());
    fs::File::open(folder.path().join("cache/old")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    store.write_cache("newer", 0, &[3; 900], true).unwrap();
    store.write_cache("newest", 0, &[4; 900], true).unwrap();
    assert_eq!(store.read_cache("old", 0, 1).unwrap(), b"");
    assert_eq!(store.read_cache("newer", 0, 1).unwrap(), [3]);
    assert!(matches!(store.write_cache("huge", 0, &[0; 2001], true), Err(Error::TooLarge { .. })));
}

fn bundle(number: u8) -> EvidenceBundle {
    let statement = Statement {
        role: Role::Worker,
        signing_key: [number; 32],
        encryption_key: [0; 32],
        genesis_hash: [0; 32],
        operator: [0; 32],
        block_number: 0,
        block_hash: [0; 32],
    };
    let certificate = simulated::Certificate {
        platform: PlatformId([0; 32]),
        platform_key: [0; 32],
        tcb_level: 1,
        not_before: 0,
        not_after: 1,
    };
    let report = simulated::Report { measurement: Measurement([0; 32]), debug: false, report_data: [0; 64] };
    let quote =
        simulated::Quote { version: 1, certificate, certificate_signature: [0; 64], report, report_signature: [0; 64] };
    (statement, Evidence::Simulated(quote))
}

#[test]
fn the_evidence_served_is_the_one_on_chain() {
    let (folder, store) = open(SMALL);
    for number in 0..20 {
        store.store_bundle(&bundle(number)).unwrap();
        // File times are coarse; the order of eviction rests on them.
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(store.load_evidence().unwrap(), None);
    assert_eq!(store.promote_bundle(&[0; 32]).unwrap(), None);
    assert_eq!(store.promote_bundle(&evidence_hash(&bundle(0))).unwrap(), None);
    assert_eq!(store.promote_bundle(&evidence_hash(&bundle(19))).unwrap(), Some(bundle(19)));
    assert_eq!(store.load_evidence().unwrap(), Some(bundle(19)));
    assert_eq!(fs::read_dir(folder.path().join("bundles")).unwrap().count(), 16);
    let store = Store::open(folder.path(), SMALL).unwrap();
    assert_eq!(store.promote_bundle(&evidence_hash(&bundle(19))).unwrap(), Some(bundle(19)));
}

#[derive(Clone, Debug)]
enum Operation {
    Upload { seed: u8, bytes: u16, right: bool },
    WriteOutput { job: u64, offset: u16, bytes: u16 },
    FinishOutput { job: u64 },
    RemoveJob { job: u64 },
    RemoveBlobs,
    Age,
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (0..6u8, 0..5000u16, any::<bool>()).prop_map(|(seed, bytes, right)| Operation::Upload { seed, bytes, right }),
        (0..3u64, 0..4000u16, 0..2000u16).prop_map(|(job, offset, bytes)| Operation::WriteOutput {
            job,
            offset,
            bytes
        }),
        (0..3u64, 0..2000u16).prop_map(|(job, bytes)| Operation::WriteOutput { job, offset: 0, bytes }),
        (0..3u64).prop_map(|job| Operation::FinishOutput { job }),
        (0..3u64).prop_map(|job| Operation::RemoveJob { job }),
        Just(Operation::RemoveBlobs),
        Just(Operation::Age),
        Just(Operation::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done in whatever order: the account of used bytes is right, and within the quota.
    #[test]
    fn used_bytes_are_what_is_on_disk(operations in proptest::collection::vec(operation(), 1..40)) {
        let (folder, mut store) = open(SMALL);
        for operation in operations {
            match operation {
                Operation::Upload { seed, bytes, right } => {
                    let bytes = vec![seed; bytes.into()];
                    if right {
                        let _ = upload(&store, &bytes);
                    } else if let Ok(mut upload) = store.begin_upload([0xff; 32], None) {
                        let _ = upload.write(&bytes);
                        prop_assert!(upload.finish().is_err());
                    }
                }
                Operation::WriteOutput { job, offset, bytes } => {
                    let _ = store.write_output(job, offset.into(), &vec![0; bytes.into()]);
                }
                Operation::FinishOutput { job } => store.finish_output(job).unwrap(),
                Operation::RemoveJob { job } => store.remove_job(job).unwrap(),
                Operation::RemoveBlobs => { store.remove_unused_blobs(SystemTime::now() - Duration::from_secs(60)); }
                Operation::Age => {
                    let blobs: Vec<Hash> = store.state().blobs.keys().copied().collect();
                    blobs.iter().for_each(|blob| age(&store, blob, 1));
                }
                Operation::Reopen => store = Arc::new(Store::open(folder.path(), SMALL).unwrap()),
            }
            let on_disk: u64 = ["blobs", "outputs", "partial"]
                .map(|name| files::folder_bytes(&folder.path().join(name)).unwrap())
                .iter()
                .sum();
            prop_assert_eq!(store.used_bytes(), on_disk);
            prop_assert!(on_disk <= SMALL.total_bytes);
        }
    }
}
