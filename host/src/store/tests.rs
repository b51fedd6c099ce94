use super::*;
use phala_attestation::{Evidence, Measurement, PlatformId, Role, Statement, VendorName, simulated};
use phala_protocol::sealed_receipt_name;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tempfile::TempDir;

const SMALL: Limits = Limits {
    total_bytes: 10_000,
    upload_bytes: 9_500,
    account_bytes: 9_500,
    blob_bytes: 4_000,
    interrupted_bytes: 5_000,
    output_bytes: 3_000,
    cache_bytes: 2_000,
};

const ALICE: Account = Account([0xa1; 32]);
const BOB: Account = Account([0xb0; 32]);

fn open(limits: Limits) -> (TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), limits).unwrap();
    (folder, Arc::new(store))
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn upload(store: &Arc<Store>, bytes: &[u8]) -> Result<bool, Error> {
    upload_for(store, ALICE, bytes)
}

fn upload_for(store: &Arc<Store>, owner: Account, bytes: &[u8]) -> Result<bool, Error> {
    let mut upload = store.begin_upload(hash(bytes), owner, 0, Some(bytes.len() as u64))?;
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

fn pin(store: &Store, job: JobId, blobs: &[impl AsRef<[u8]>], needed: bool) {
    store.pin_blobs(job, blobs.iter().map(|bytes| hash(bytes.as_ref())).collect(), needed);
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
fn uploads_of_wrong_bytes_leave_nothing_behind() {
    let (folder, store) = open(SMALL);
    let bytes = [7; 500];
    // Of other bytes.
    let mut other = store.begin_upload(hash(b"other"), ALICE, 0, Some(500)).unwrap();
    other.write(&bytes).unwrap();
    assert!(matches!(other.finish(), Err(Error::HashMismatch { actual }) if actual == hash(&bytes)));
    // Too long.
    let mut long = store.begin_upload(hash(&bytes), ALICE, 0, Some(499)).unwrap();
    assert!(matches!(long.write(&bytes), Err(Error::LengthMismatch { .. })));
    drop(long);
    // Nothing came.
    drop(store.begin_upload(hash(&bytes), ALICE, 0, None).unwrap());
    assert_eq!(files(&folder), Vec::<String>::new());
    assert_eq!((store.used_bytes(), store.account_bytes()), (0, (0, 0)));
    assert_eq!((store.blob_bytes(&hash(&bytes)), store.interrupted_bytes(&hash(&bytes), ALICE)), (None, None));
}

#[test]
fn interrupted_uploads_go_on_for_their_account() {
    let (folder, store) = open(SMALL);
    let bytes: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
    let blob = hash(&bytes);
    let mut first = store.begin_upload(blob, ALICE, 0, Some(3000)).unwrap();
    first.write(&bytes[..1000]).unwrap();
    assert!(matches!(store.begin_upload(blob, ALICE, 0, Some(3000)), Err(Error::UploadUnderWay)));
    assert_eq!((store.interrupted_bytes(&blob, ALICE), store.used_bytes()), (None, 3000));
    drop(first);
    assert_eq!((store.interrupted_bytes(&blob, ALICE), store.used_bytes()), (Some(1000), 1000));
    // Another account cannot go on with it, nor be kept from its own.
    assert!(matches!(
        store.begin_upload(blob, BOB, 1000, Some(3000)),
        Err(Error::WrongOffset { offset: 1000, present: 0 })
    ));
    let mut short = store.begin_upload(blob, BOB, 0, Some(3000)).unwrap();
    short.write(&bytes[..10]).unwrap();
    assert!(matches!(short.finish(), Err(Error::LengthMismatch { received: 10, announced: 3000 })));
    assert_eq!((store.used_bytes(), store.account_bytes()), (1010, (2, 1010)));
    // A restart changes nothing.
    let store = Arc::new(Store::open(folder.path(), SMALL).unwrap());
    assert_eq!((store.interrupted_bytes(&blob, ALICE), store.account_bytes()), (Some(1000), (2, 1010)));
    for offset in [1, 999, 1001] {
        let wrong = store.begin_upload(blob, ALICE, offset, Some(3000));
        assert!(matches!(wrong, Err(Error::WrongOffset { present: 1000, .. })));
    }
    let mut rest = store.begin_upload(blob, ALICE, 1000, Some(3000)).unwrap();
    rest.write(&bytes[1000..]).unwrap();
    assert!(rest.finish().unwrap());
    assert_eq!(store.read_blob(&blob, 0, 3000).unwrap().unwrap(), bytes);
    // Who is slower finds it there.
    let mut late = store.begin_upload(blob, BOB, 10, Some(3000)).unwrap();
    late.write(&bytes[10..]).unwrap();
    assert!(!late.finish().unwrap());
    assert_eq!((store.used_bytes(), store.account_bytes(), files(&folder).len()), (3000, (1, 3000), 1));
}

#[test]
fn an_upload_that_lost_bytes_to_a_crash_is_noticed() {
    let (folder, store) = open(SMALL);
    let bytes = [7; 2000];
    let mut upload = store.begin_upload(hash(&bytes), ALICE, 0, Some(2000)).unwrap();
    upload.write(&bytes[..1000]).unwrap();
    drop(upload);
    let path = fs::read_dir(folder.path().join("partial")).unwrap().next().unwrap().unwrap().path();
    fs::write(&path, [0; 1000]).unwrap();
    let mut rest = store.begin_upload(hash(&bytes), ALICE, 1000, Some(2000)).unwrap();
    rest.write(&bytes[1000..]).unwrap();
    assert!(matches!(rest.finish(), Err(Error::HashMismatch { .. })));
    let mut upload = store.begin_upload(hash(&bytes), ALICE, 0, Some(2000)).unwrap();
    upload.write(&bytes[..1000]).unwrap();
    drop(upload);
    fs::write(&path, [7; 400]).unwrap();
    let shorter = store.begin_upload(hash(&bytes), ALICE, 1000, Some(2000));
    assert!(matches!(shorter, Err(Error::WrongOffset { offset: 1000, present: 400 })));
    assert_eq!((store.interrupted_bytes(&hash(&bytes), ALICE), store.used_bytes()), (Some(400), 400));
}

#[test]
fn interrupted_uploads_are_bounded_and_go_after_a_while() {
    let (_folder, store) = open(SMALL);
    for n in 0..4 {
        let mut upload = store.begin_upload([n; 32], ALICE, 0, Some(2000)).unwrap();
        upload.write(&[n; 2000]).unwrap();
        drop(upload);
        // The order of eviction is that of time.
        std::thread::sleep(Duration::from_millis(2));
    }
    let kept: Vec<_> = (0..4).map(|n| store.interrupted_bytes(&[n; 32], ALICE)).collect();
    assert_eq!((kept, store.used_bytes()), (vec![None, None, Some(2000), Some(2000)], 4000));
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(store.remove_interrupted_uploads(SystemTime::now() - day), 0);
    assert_eq!(store.remove_unused_blobs(SystemTime::now() + day), 0);
    assert_eq!(store.remove_interrupted_uploads(SystemTime::now() + day), 2);
    assert_eq!((store.used_bytes(), store.account_bytes()), (0, (0, 0)));
}

#[test]
fn an_account_has_its_own_quota() {
    let (folder, store) = open(Limits { account_bytes: 5_000, ..SMALL });
    let blobs: Vec<Vec<u8>> = (0..3).map(|n| vec![n; 2000]).collect();
    upload(&store, &blobs[0]).unwrap();
    upload_for(&store, BOB, &blobs[1]).unwrap();
    upload(&store, &blobs[2]).unwrap();
    let over = upload(&store, &[9; 2000]);
    assert!(matches!(over, Err(Error::AccountQuotaExceeded { limit: 5000 })));
    assert_eq!((store.used_bytes(), store.account_bytes()), (6000, (2, 6000)));
    // Only what is the account's own makes place.
    age(&store, &hash(&blobs[0]), 1);
    age(&store, &hash(&blobs[1]), 2);
    upload(&store, &[9; 2000]).unwrap();
    let present: Vec<bool> = blobs.iter().map(|bytes| store.blob_bytes(&hash(bytes)).is_some()).collect();
    assert_eq!(present, [false, true, true]);
    let store = Store::open(folder.path(), SMALL).unwrap();
    assert_eq!((store.used_bytes(), store.account_bytes()), (6000, (2, 6000)));
}

#[test]
fn blobs_over_their_limit_are_refused() {
    let (_folder, store) = open(SMALL);
    assert!(matches!(store.begin_upload([0; 32], ALICE, 0, Some(4001)), Err(Error::TooLarge { limit: 4000 })));
    assert!(matches!(store.begin_upload([0; 32], ALICE, 4001, None), Err(Error::TooLarge { limit: 4000 })));
    let mut unannounced = store.begin_upload([0; 32], ALICE, 0, None).unwrap();
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
    assert!(matches!(upload_for(&store, BOB, &[9; 3000]), Err(Error::QuotaExceeded)));
    pin(&store, 7, &blobs[1..2], true);
    age(&store, &hash(&blobs[0]), 1);
    age(&store, &hash(&blobs[1]), 3);
    age(&store, &hash(&blobs[2]), 2);
    assert!(upload_for(&store, BOB, &[9; 3000]).unwrap());
    let present: Vec<bool> = blobs.iter().map(|bytes| store.blob_bytes(&hash(bytes)).is_some()).collect();
    assert_eq!(present, [true, true, false]);
    assert_eq!(store.used_bytes(), 9000);
}

#[test]
fn uploads_leave_room_for_outputs() {
    let (_folder, store) = open(Limits { upload_bytes: 7_000, ..SMALL });
    upload(&store, &[1; 3000]).unwrap();
    upload_for(&store, BOB, &[2; 3000]).unwrap();
    assert!(matches!(upload(&store, &[3; 2000]), Err(Error::QuotaExceeded)));
    store.write_output(1, 0, &[4; 3000]).unwrap();
    assert_eq!(store.used_bytes(), 9_000);
}

#[test]
fn what_is_only_announced_takes_nothing_from_others() {
    const MEBIBYTE: u64 = 1 << 20;
    let limits = Limits {
        total_bytes: 64 * MEBIBYTE,
        upload_bytes: 64 * MEBIBYTE,
        account_bytes: 60 * MEBIBYTE,
        blob_bytes: 64 * MEBIBYTE,
        ..SMALL
    };
    let (_folder, store) = open(limits);
    let kept = vec![7; 1000];
    upload_for(&store, BOB, &kept).unwrap();
    age(&store, &hash(&kept), 1);
    let uploads = [[1; 32], [2; 32]].map(|blob| store.begin_upload(blob, ALICE, 0, Some(50 * MEBIBYTE)).unwrap());
    assert_eq!((store.used_bytes(), store.blob_bytes(&hash(&kept))), (2 * MEBIBYTE + 1000, Some(1000)));
    // More than the account may have at all.
    let more = store.begin_upload([3; 32], ALICE, 0, Some(59 * MEBIBYTE));
    assert!(matches!(more, Err(Error::AccountQuotaExceeded { .. })));
    drop(uploads);
    assert_eq!(store.used_bytes(), 1000);
}

#[test]
fn to_ask_for_a_blob_is_no_use_of_it() {
    let (_folder, store) = open(SMALL);
    upload(&store, &[1; 10]).unwrap();
    let blob = hash(&[1; 10]);
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    age(&store, &blob, 2);
    assert_eq!(store.use_blob(&blob), Some(10));
    assert_eq!(store.remove_unused_blobs(yesterday), 0);
    age(&store, &blob, 2);
    assert_eq!(store.blob_bytes(&blob), Some(10));
    assert_eq!(store.remove_unused_blobs(yesterday), 1);
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
        pin(&store, job, &[[2; 10]], true);
    }
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    assert_eq!(store.remove_unused_blobs(yesterday), 1);
    // As long as any job needs it.
    for (job, left) in [(1, Some(10)), (1, Some(10)), (2, None)] {
        store.pin_blobs(job, BTreeSet::new(), false);
        store.remove_blobs([two]).unlink();
        assert_eq!(store.blob_bytes(&two), left);
    }
    assert_eq!(store.used_bytes(), 0);
}

#[test]
fn what_is_kept_for_other_hosts_does_not_age_and_goes_last() {
    let (_folder, store) = open(SMALL);
    let blobs: Vec<Vec<u8>> = (0..3).map(|n| vec![n; 3000]).collect();
    let age_all = || {
        let ages = blobs.iter().map(|bytes| hash(bytes)).zip([9, 3, 2]);
        ages.filter(|(blob, _)| store.blob_bytes(blob).is_some()).for_each(|(blob, days)| age(&store, &blob, days));
    };
    for bytes in &blobs {
        upload(&store, bytes).unwrap();
    }
    pin(&store, 7, &blobs[..1], false);
    pin(&store, 8, &blobs[1..2], true);
    age_all();
    let present = || -> Vec<bool> { blobs.iter().map(|bytes| store.blob_bytes(&hash(bytes)).is_some()).collect() };
    store.remove_blobs([hash(&blobs[0])]).unlink();
    assert_eq!((store.remove_unused_blobs(SystemTime::now()), present()), (1, vec![true, true, false]));
    upload(&store, &blobs[2]).unwrap();
    age_all();
    // The newest that nobody needs makes place before the oldest that is kept.
    assert!(upload_for(&store, BOB, &[9; 3000]).unwrap());
    assert_eq!(present(), [true, true, false]);
    // To keep it still is no use of it.
    pin(&store, 7, &blobs[..1], false);
    assert!(upload_for(&store, BOB, &[10; 3000]).unwrap());
    assert_eq!(present(), [false, true, false]);
    assert!(matches!(upload_for(&store, BOB, &[11; 3000]), Err(Error::QuotaExceeded)));
    // When its job is refused, what it reads is as if it was used then, however long the job has waited.
    pin(&store, 8, &blobs[1..2], false);
    assert!(matches!(upload_for(&store, BOB, &[11; 3000]), Err(Error::QuotaExceeded)));
    age_all();
    // A job that comes back needs them again.
    pin(&store, 8, &blobs[1..2], true);
    age_all();
    assert!(matches!(upload_for(&store, BOB, &[11; 3000]), Err(Error::QuotaExceeded)));
    pin(&store, 8, &blobs[1..2], false);
    age_all();
    assert!(upload_for(&store, BOB, &[11; 3000]).unwrap());
    assert_eq!(present(), [false, false, false]);
}

#[test]
fn a_blob_that_is_open_can_be_read_when_it_is_gone() {
    let (_folder, store) = open(SMALL);
    upload(&store, &[1; 3000]).unwrap();
    let blob = hash(&[1; 3000]);
    age(&store, &blob, 2);
    let (file, bytes) = store.open_blob(&blob).unwrap().unwrap();
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    assert_eq!((bytes, store.remove_unused_blobs(yesterday)), (3000, 0));
    store.remove_blobs([blob]).unlink();
    assert_eq!(files::read_at(&file, 2000, 4000).unwrap(), [1; 1000]);
    assert!(store.open_blob(&blob).unwrap().is_none());
}

#[test]
fn a_restart_finds_what_is_whole_and_what_may_go_on() {
    let (folder, store) = open(SMALL);
    upload(&store, &[1; 100]).unwrap();
    store.write_output(7, 0, &[2; 50]).unwrap();
    assert!(store.finish_output(7, &hash(&[2; 50])).unwrap());
    store.write_output(8, 0, &[3; 30]).unwrap();
    store.write_cache("half", 0, &[5; 20], false).unwrap();
    let mut unfinished = store.begin_upload([0; 32], ALICE, 0, Some(200)).unwrap();
    unfinished.write(&[0; 100]).unwrap();
    // As if the process had been killed.
    std::mem::forget(unfinished);
    fs::write(folder.path().join("blobs/stranger"), b"?").unwrap();
    fs::write(folder.path().join("partial/blob-stranger"), b"?").unwrap();
    fs::write(folder.path().join("tmp/half"), b"?").unwrap();
    // From before blobs had owners.
    fs::write(folder.path().join("blobs").join(hex::encode([4; 32])), [4; 10]).unwrap();
    let store = Store::open(folder.path(), SMALL).unwrap();
    assert_eq!((store.used_bytes(), store.account_bytes()), (290, (1, 200)));
    assert_eq!((store.blob_bytes(&hash(&[1; 100])), store.blob_bytes(&[4; 32])), (Some(100), Some(10)));
    assert_eq!(store.interrupted_bytes(&[0; 32], ALICE), Some(100));
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(folder.path().join("partial")).unwrap().count(), 2);
    // A half-written output goes on where it was.
    store.write_output(8, 30, &[4; 10]).unwrap();
    assert!(store.finish_output(8, &hash(&[[3; 30].as_slice(), &[4; 10]].concat())).unwrap());
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
    // Only the output that the receipt names is put in place, and that again and again.
    assert!(!store.finish_output(1, &hash(b"other")).unwrap());
    assert!(store.open_output(1).unwrap().is_none());
    assert!(store.finish_output(1, &hash(b"hello world")).unwrap());
    assert!(store.finish_output(1, &hash(b"hello world")).unwrap());
    let (mut file, bytes) = store.open_output(1).unwrap().unwrap();
    assert_eq!((bytes, io::read_to_string(&mut file).unwrap().as_str()), (11, "hello world"));
    // Anew, with another result.
    store.write_output(1, 0, b"bye").unwrap();
    assert!(store.finish_output(1, &hash(b"bye")).unwrap());
    assert_eq!(store.used_bytes(), 3);
    // What the receipt of a later attempt does not name is nobody's.
    assert!(!store.finish_output(1, &hash(b"later")).unwrap());
    assert!(store.open_output(1).unwrap().is_none());
    assert_eq!(store.used_bytes(), 0);
    assert!(matches!(store.write_output(2, 0, &[0; 3001]), Err(Error::TooLarge { limit: 3000 })));
    assert_eq!(store.used_bytes(), 0);
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
        vendor: VendorName::DEVELOPMENT,
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
    assert_eq!(store.load_bundle(&evidence_hash(&bundle(18))).unwrap(), Some(bundle(18)));
    assert_eq!(store.load_evidence().unwrap(), None);
    assert_eq!(store.promote_bundle(&evidence_hash(&bundle(19))).unwrap(), Some(bundle(19)));
    assert_eq!(store.load_evidence().unwrap(), Some(bundle(19)));
    assert_eq!(fs::read_dir(folder.path().join("bundles")).unwrap().count(), 16);
    // What is registered outlives all that is made after it.
    (20..40).for_each(|number| store.store_bundle(&bundle(number)).unwrap());
    assert_eq!(store.load_bundle(&evidence_hash(&bundle(18))).unwrap(), None);
    assert_eq!(store.load_bundle(&evidence_hash(&bundle(19))).unwrap(), Some(bundle(19)));
    let store = Store::open(folder.path(), SMALL).unwrap();
    assert_eq!(store.promote_bundle(&evidence_hash(&bundle(19))).unwrap(), Some(bundle(19)));
}

#[derive(Clone, Debug)]
enum Operation {
    Upload { seed: u8, bytes: u16, right: bool },
    Interrupt { seed: u8, bytes: u16, offset: u16 },
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
        (0..3u8, 0..3000u16, prop_oneof![Just(0), Just(1000)]).prop_map(|(seed, bytes, offset)| Operation::Interrupt {
            seed,
            bytes,
            offset
        }),
        (0..3u8).prop_map(|seed| Operation::Interrupt { seed, bytes: 1000, offset: 0 }),
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
                    } else if let Ok(mut upload) = store.begin_upload([0xff; 32], BOB, 0, None) {
                        let _ = upload.write(&bytes);
                        prop_assert!(upload.finish().is_err());
                    }
                }
                Operation::WriteOutput { job, offset, bytes } => {
                    let _ = store.write_output(job, offset.into(), &vec![0; bytes.into()]);
                }
                Operation::FinishOutput { job } => {
                    let partial = fs::read(folder.path().join(format!("partial/output-{job}"))).unwrap_or_default();
                    store.finish_output(job, &hash(&partial)).unwrap();
                }
                Operation::Interrupt { seed, bytes, offset } => {
                    if let Ok(mut upload) = store.begin_upload([seed; 32], BOB, offset.into(), None) {
                        let _ = upload.write(&vec![seed; bytes.into()]);
                    }
                }
                Operation::RemoveJob { job } => store.remove_job(job).unwrap(),
                Operation::RemoveBlobs => {
                    store.remove_unused_blobs(SystemTime::now() - Duration::from_secs(60));
                    store.remove_interrupted_uploads(SystemTime::now() - Duration::from_secs(60));
                }
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
            let outputs: u64 = fs::read_dir(folder.path().join("partial"))
                .unwrap()
                .chain(fs::read_dir(folder.path().join("outputs")).unwrap())
                .map(|entry| entry.unwrap())
                .filter(|entry| !entry.file_name().to_str().unwrap().starts_with("blob-"))
                .map(|entry| entry.metadata().unwrap().len())
                .sum();
            prop_assert_eq!(store.account_bytes().1, on_disk - outputs);
            prop_assert!(on_disk <= SMALL.total_bytes);
        }
    }
}
