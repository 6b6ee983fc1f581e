//! Blobs that arrive, are stored and are delivered (S43).

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::clock;
use crate::model::WallTime;

/// Returns the bytes of a stored blob as a peer puts them together; `None` if the last piece did not come.
fn delivered(store: &BlobStore, id: BlobId, length: usize) -> Option<Vec<u8>> {
    let (mut stored, mut form, mut is_whole) = (Vec::new(), Form::Plain, false);
    let found = store.pieces(id, length, &mut |of, piece, last| {
        stored.extend(piece);
        (form, is_whole) = (of, last);
        true
    });
    assert_eq!(found.unwrap(), is_whole);
    let mut unpacking = Unpacking::new(form, Vec::new(), u64::MAX).unwrap();
    unpacking.take(&stored).ok()?;
    is_whole.then(|| unpacking.finish().unwrap().0)
}

#[test]
fn a_blob_is_there_when_it_is_settled_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let id = put(&store, "a1", b"hello");
    assert!(store.read(id).unwrap().is_none() && !store.renew(id).unwrap());
    assert_eq!(store.arrived("a1", id).unwrap(), Arrived::Whole);
    assert_eq!(store.arrived("a2", id).unwrap(), Arrived::Part(0), "it is another owner's");
    store.settle("a1").unwrap();
    assert!(store.renew(id).unwrap());
    assert_eq!(delivered(&store, id, 1024), Some(b"hello".to_vec()));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let above = directory.path().join("blobs").join(&id.to_string()[..2]);
    assert_eq!((mode(&above), mode(&above.join(&id.to_string()[2..]))), (0o700, 0o600));
    // The same again is stored once.
    put(&store, "a3", b"hello");
    store.settle("a3").unwrap();
    store.clear("a3");
    assert_eq!(fs::read_dir(above).unwrap().count(), 1);
}

/// Found by fuzzing: a compressed form without its last bytes was taken if all bytes of the blob had come out of it,
/// and could not be read afterwards.
#[test]
fn a_compressed_form_that_is_cut_anywhere_is_no_blob() {
    for bytes in [&b""[..], b"hello", &[7; 300_000]] {
        let (id, sent) = (id_of(bytes), packed(bytes));
        for cut in 0..=sent.len() {
            let directory = tempfile::tempdir().unwrap();
            let store = open(directory.path());
            let mut arriving = store.receive("a1", (id, bytes.len() as u64), Form::Packed, 0).unwrap();
            arriving.add(0, &sent[..cut]).unwrap();
            let finished = arriving.finish();
            assert_eq!(finished.is_ok(), cut == sent.len(), "{cut} of {} bytes: {finished:?}", sent.len());
        }
    }
}

#[test]
fn many_blobs_are_settled_together() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ids: Vec<BlobId> = (0..100u32).map(|number| put(&store, "a1", &number.to_be_bytes())).collect();
    store.settle("a1").unwrap();
    assert!(ids.iter().all(|id| store.renew(*id).unwrap()));
}

/// An interruption at any byte: the rest alone is sent, also by a dispatcher that was started anew.
#[test]
fn a_blob_goes_on_where_it_was_interrupted() {
    let bytes: Vec<u8> = (0..20_000u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
    let id = id_of(&bytes);
    for (form, sent) in [(Form::Plain, bytes.clone()), (Form::Packed, packed(&bytes))] {
        for cut in [1, 100, sent.len() / 2, sent.len() - 1] {
            let directory = tempfile::tempdir().unwrap();
            let store = open(directory.path());
            let mut first = store.receive("a1", (id, bytes.len() as u64), form, 0).unwrap();
            assert_eq!(first.add(0, &sent[..cut]).unwrap(), cut as u64);
            drop(first);
            let store = open(directory.path());
            assert_eq!(store.arrived("a1", id).unwrap(), Arrived::Part(cut as u64));
            let mut rest = store.receive("a1", (id, bytes.len() as u64), form, cut as u64).unwrap();
            rest.add(cut as u64, &sent[cut..]).unwrap();
            rest.finish().unwrap();
            store.settle("a1").unwrap();
            assert_eq!(delivered(&store, id, 4096).as_ref(), Some(&bytes), "{form:?} at {cut}");
        }
    }
}

#[test]
fn bytes_that_are_not_those_of_the_name_are_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let id = id_of(b"hello");
    let receive = |form, size| store.receive("a1", (id, size), form, 0).unwrap();
    let mut wrong = receive(Form::Plain, 5);
    wrong.add(0, b"hallo").unwrap();
    assert!(matches!(wrong.finish(), Err(ArrivingError::Wrong { .. })));
    assert!(matches!(receive(Form::Plain, 5).finish(), Err(ArrivingError::Wrong { .. })), "it is cut");
    assert!(matches!(receive(Form::Plain, 4).add(0, b"hello"), Err(ArrivingError::Wrong { .. })), "it is too long");
    assert!(matches!(receive(Form::Packed, 5).add(0, b"hello"), Err(ArrivingError::Wrong { .. })));
    let mut gap = receive(Form::Plain, 5);
    gap.add(0, b"he").unwrap();
    assert!(matches!(gap.add(3, b"lo"), Err(ArrivingError::Gap { stored: 2, offset: 3, .. })));
    // A blob that was announced with 5 bytes does not become a gigabyte.
    let bomb = packed(&vec![0; 64 << 20]);
    let mut arriving = receive(Form::Packed, 5);
    assert!(matches!(arriving.add(0, &bomb), Err(ArrivingError::Wrong { .. })));
    store.settle("a1").unwrap();
    assert!(!store.renew(id).unwrap());
}

/// S43. Sabotage tried: pieces that are not summed up; the damaged bytes are delivered.
#[test]
fn a_blob_that_rotted_is_found_and_never_delivered_whole() {
    let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    for form in [Form::Plain, Form::Packed] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let id = id_of(&bytes);
        let sent = if form == Form::Plain { bytes.clone() } else { packed(&bytes) };
        let mut arriving = store.receive("a1", (id, bytes.len() as u64), form, 0).unwrap();
        arriving.add(0, &sent).unwrap();
        arriving.finish().unwrap();
        store.settle("a1").unwrap();
        let path = directory.path().join("blobs").join(&id.to_string()[..2]).join(&id.to_string()[2..]);
        let path = if form == Form::Plain { path } else { path.with_added_extension("zst") };
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, sent.len() as u64 / 2).unwrap();
        file.write_all_at(&[byte[0] ^ 1], sent.len() as u64 / 2).unwrap();
        assert_eq!(delivered(&store, id, 1000), None, "{form:?}");
        assert!(!store.renew(id).unwrap(), "it is asked for again");
        put(&store, "a2", &bytes);
        store.settle("a2").unwrap();
        assert_eq!(delivered(&store, id, 1000), Some(bytes.clone()));
    }
}

#[test]
fn a_sweep_removes_what_is_old_and_not_marked() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (kept, gone) = (put(&store, "a1", b"kept"), put(&store, "a1", b"gone"));
    store.settle("a1").unwrap();
    let begun = put(&store, "a2", b"begun");
    let marked = HashSet::from([kept]);
    let before = WallTime(clock::wall().0 - 3_600_000);
    assert_eq!(store.sweep(&marked, before).unwrap(), Swept::default(), "nothing is old");
    let later = WallTime(clock::wall().0 + 1000);
    assert_eq!(store.sweep(&marked, later).unwrap(), Swept { blobs: 1, bytes: 4 });
    assert!(store.renew(kept).unwrap() && !store.renew(gone).unwrap());
    assert_eq!(store.arrived("a2", begun).unwrap(), Arrived::Part(0));
}

/// A blob that is found to be there outlives the next sweep, whatever its age.
#[test]
fn a_blob_that_is_used_again_counts_as_new() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let id = put(&store, "a1", b"old");
    store.settle("a1").unwrap();
    let path = directory.path().join("blobs").join(&id.to_string()[..2]).join(&id.to_string()[2..]);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    assert!(store.renew(id).unwrap());
    let before = WallTime(clock::wall().0 - 3_600_000);
    assert_eq!(store.sweep(&HashSet::new(), before).unwrap(), Swept::default());
}

proptest! {
    #[test]
    fn pieces_of_any_length_make_the_blob(
        bytes in prop::collection::vec(any::<u8>(), 0..5000),
        length in 1usize..3000,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let id = put(&store, "a1", &bytes);
        store.settle("a1").unwrap();
        prop_assert_eq!(delivered(&store, id, length), Some(bytes));
    }
}

/// A peer that asks for pieces at any offsets gets those of the stored form; what rotted is set aside once it is
/// checked.
#[test]
fn pieces_at_any_offset_are_those_of_the_stored_form() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let bytes: Vec<u8> = (0..1000u32).flat_map(u32::to_be_bytes).collect();
    let id = put(&store, "a1", &bytes);
    store.settle("a1").unwrap();
    let piece = |offset, length| store.piece(id, offset, length).unwrap().unwrap();
    assert_eq!(piece(0, 100), (Form::Plain, bytes[..100].to_vec(), false));
    assert_eq!(piece(3900, 100), (Form::Plain, bytes[3900..].to_vec(), true));
    assert_eq!(piece(3900, 5000), (Form::Plain, bytes[3900..].to_vec(), true));
    for behind in [4000, 4001, u64::MAX] {
        assert_eq!(piece(behind, 100), (Form::Plain, Vec::new(), true));
    }
    assert!(store.is_sound(id).unwrap() && !store.is_sound(id_of(b"other")).unwrap());
    assert_eq!(store.piece(id_of(b"other"), 0, 1).unwrap(), None);
    let path = directory.path().join("blobs").join(&id.to_string()[..2]).join(&id.to_string()[2..]);
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"x", 2000).unwrap();
    assert_eq!(piece(0, 100), (Form::Plain, bytes[..100].to_vec(), false), "nothing is verified here");
    assert!(!store.is_sound(id).unwrap());
    assert_eq!(store.piece(id, 0, 100).unwrap(), None);
}
