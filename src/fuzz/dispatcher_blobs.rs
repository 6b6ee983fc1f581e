//! Messages about blobs of two attempts in any order: pieces with gaps, overlaps, damage and wrong announcements,
//! settlements that come too early, sessions that end. For the property test below and for the fuzzer.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::{Arrived, BlobPiece, BlobStore, Form, Receiving, ToRunner};
use crate::blobs::{Entry, EntryKind, packing, sum, write_manifest};
use crate::model::{AttemptId, BlobId, SessionId};
use crate::transport::{Outbox, Stream};

const ATTEMPTS: [AttemptId; 2] = [AttemptId(7), AttemptId(8)];

/// Follows `steps`, four bytes each: an action, a blob, and two numbers. After each step every blob of the store has
/// the bytes of its name, an answer tells the truth about what is there, and nothing else is in the directory.
///
/// # Panics
///
/// If an invariant is broken.
pub fn uploads(steps: &[u8]) {
    let place = tempfile::tempdir().expect("there is room for a directory");
    let store = BlobStore::open(&place.path().join("blobs")).expect("an empty directory can be had");
    let mut stage = Stage::new(store);
    for step in steps.chunks_exact(4).take(150) {
        let [what, which, one, other] = [step[0], step[1], step[2], step[3]].map(usize::from);
        let (attempt, at) = (ATTEMPTS[which / 64 % 2], which % stage.blobs.len());
        match what % 8 {
            0 => stage.ask(attempt),
            // The next piece, of this length.
            1..=3 => stage.piece(attempt, at, (0, one * 16 + other), false),
            // A gap or an overlap.
            4 => stage.piece(attempt, at, (one as i64 - 128, other), false),
            5 => stage.piece(attempt, at, (0, one + 1), true),
            6 => stage.settle(attempt),
            _ => stage.restart(),
        }
        stage.check(place.path());
    }
}

/// A blob with its bytes, and the form in which it is sent.
struct Known {
    id: BlobId,
    bytes: Vec<u8>,
    form: Form,
    sent: Vec<u8>,
}

struct Stage {
    receiving: Receiving,
    /// The last one is the manifest of the others.
    blobs: Vec<Known>,
}

fn known(bytes: Vec<u8>, form: Form) -> Known {
    let (id, _) = sum(bytes.as_slice()).expect("bytes can be read");
    let mut sent = Vec::new();
    match form {
        Form::Plain => sent.clone_from(&bytes),
        Form::Packed => {
            drop(packing(bytes.as_slice(), bytes.len() as u64).expect("bytes can be read").read_to_end(&mut sent))
        }
    }
    Known { id, bytes, form, sent }
}

impl Stage {
    fn new(store: BlobStore) -> Self {
        let mut blobs = vec![
            known(Vec::new(), Form::Plain),
            known((0..3000_u32).map(|at| (at * at % 251) as u8).collect(), Form::Plain),
            known(b"the same again ".repeat(400), Form::Packed),
        ];
        let entry = |(at, blob): (usize, &Known)| Entry {
            path: format!("f{at}"),
            mtime_ns: 1,
            kind: EntryKind::File { blob: blob.id, bytes: blob.bytes.len() as u64, executable: false },
        };
        let entries: Vec<Entry> = blobs.iter().enumerate().map(entry).collect();
        let mut manifest = Vec::new();
        write_manifest(&entries, &mut manifest).expect("a vector takes all");
        blobs.push(known(manifest, Form::Packed));
        Self { receiving: Self::receiving(store), blobs }
    }

    fn receiving(store: BlobStore) -> Receiving {
        // Its answers are looked at before they would be sent.
        let (outbox, _) = Outbox::new(SessionId(1), Stream::pair().0);
        Receiving { store, outbox, is_over: Default::default(), spare: Default::default(), current: Default::default() }
    }

    /// Another session, or another dispatcher, on the same files.
    fn restart(&mut self) {
        self.receiving = Self::receiving(self.receiving.store.clone());
    }

    fn arrived(&self, attempt: AttemptId, at: usize) -> Arrived {
        self.receiving.store.arrived(&attempt.to_string(), self.blobs[at].id).expect("it can be read")
    }

    fn ask(&mut self, attempt: AttemptId) {
        let asked: Vec<BlobId> = self.blobs.iter().map(|blob| blob.id).collect();
        let Ok(ToRunner::Lacks { blobs: lacking, .. }) = self.receiving.lacking(attempt, &asked) else {
            panic!("a question is answered")
        };
        for (at, Known { id, .. }) in self.blobs.iter().enumerate() {
            let offset = lacking.iter().find(|lacks| lacks.blob == id.to_string()).map(|lacks| lacks.offset);
            let expected = match (self.receiving.store.read(*id), self.arrived(attempt, at)) {
                (Ok(Some(_)), _) | (_, Arrived::Whole) => None,
                (_, Arrived::Part(offset)) => Some(offset),
            };
            assert_eq!(offset, expected, "{id}");
        }
    }

    /// Sends the piece at this distance from the next one, of this length. One that is spoiled has another byte, or an
    /// announcement that is not true.
    fn piece(&mut self, attempt: AttemptId, at: usize, (distance, length): (i64, usize), is_spoiled: bool) {
        let next = match self.arrived(attempt, at) {
            Arrived::Whole => 0,
            Arrived::Part(offset) => offset,
        };
        let Known { id, bytes, form, sent } = &self.blobs[at];
        let offset = next.saturating_add_signed(distance).min(sent.len() as u64 + 5);
        let from = (offset as usize).min(sent.len());
        let mut piece = sent[from..(from + length).min(sent.len())].to_vec();
        let mut message = BlobPiece {
            attempt: attempt.0,
            blob: id.to_string(),
            size: bytes.len() as u64,
            zstd: *form == Form::Packed,
            offset,
            last: from + piece.len() == sent.len(),
            bytes: piece.len() as u64,
        };
        match (is_spoiled, length % 4) {
            (false, _) => {}
            (true, 0) => message.size = message.size.wrapping_add(1),
            (true, 1) => message.zstd = !message.zstd,
            (true, 2) => message.last = true,
            (true, _) => piece.iter_mut().take(1).for_each(|byte| *byte ^= 0x55),
        }
        let id = *id;
        let is_there = self.receiving.store.read(id).is_ok_and(|blob| blob.is_some());
        if let Ok(ToRunner::BlobAck { offset: acknowledged, .. }) = self.receiving.take(attempt, id, &message, &piece) {
            assert_eq!(acknowledged, offset + piece.len() as u64);
        }
        // A piece makes no blob: that is durable only when it is settled.
        assert_eq!(self.receiving.store.read(id).is_ok_and(|blob| blob.is_some()), is_there);
    }

    fn settle(&mut self, attempt: AttemptId) {
        let manifest = self.blobs[self.blobs.len() - 1].id;
        let is_settled = self.receiving.settle(attempt, &[manifest]).is_ok();
        let is_whole = self.blobs.iter().all(|blob| self.receiving.store.read(blob.id).is_ok_and(|it| it.is_some()));
        assert_eq!(is_settled, is_whole, "an artifact is settled exactly if all of it is there");
    }

    /// Checks the whole directory.
    fn check(&self, root: &Path) {
        for Known { id, bytes, .. } in &self.blobs {
            let Some(blob) = self.receiving.store.read(*id).expect("it can be read") else { continue };
            let mut found = Vec::new();
            blob.bytes().and_then(|mut reader| reader.read_to_end(&mut found)).expect("a blob can be read");
            assert!(found == *bytes, "{id} has other bytes");
        }
        assert_eq!(fs::read_dir(root).expect("it is there").count(), 1, "something is beside the blobs");
        let names: Vec<String> = self.blobs.iter().map(|blob| blob.id.to_string()).collect();
        for directory in fs::read_dir(root.join("blobs")).expect("it is there").flatten() {
            let name = directory.file_name().into_string().expect("it is ours");
            assert!(name == crate::blobs::ARRIVING || names.iter().any(|known| known.starts_with(&name)), "{name}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn no_order_of_messages_makes_a_blob_of_other_bytes(steps in prop::collection::vec(any::<u8>(), 0..400)) {
            uploads(&steps);
        }
    }

    #[test]
    fn an_upload_in_order_is_settled() {
        // Each blob in pieces of 1,000 bytes, the empty one included, and then the settlement.
        let mut steps = vec![0, 0, 0, 0];
        for at in [0, 1, 1, 1, 1, 2, 3] {
            steps.extend([1, at, 62, 8]);
        }
        steps.extend([6, 0, 0, 0]);
        uploads(&steps);
    }
}
