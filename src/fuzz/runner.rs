//! Fuzz entry points of the runner: messages of a dispatcher, and the state that an earlier run may have left in the
//! work directory. Property tests use them, too.

use std::fs;

use crossbeam_channel::unbounded;

use super::event::Event;
use super::journal::Journal;
use super::layout::Layout;
use super::{recovery, translate};
use crate::model::{AttemptId, StreamId};
use crate::transport::{FrameReader, Stream};

/// Reads a stream from any program that answers at the dispatcher's address: each message is understood or refused.
///
/// # Panics
///
/// If an invariant is broken.
pub(crate) fn heard_by_runner(stream: &[u8]) {
    let (here, there) = Stream::pair();
    crate::fuzz::transport::write_and_end(&here, stream);
    let mut reader = FrameReader::new(there);
    while let Ok(Some(heard)) = translate::hear(&mut reader) {
        if let translate::Heard::ForCore(Event::Leased(lease)) = heard {
            assert!(!lease.repo.as_str().contains('/') && !lease.task.contains('/'), "{lease:?}");
        }
    }
}

/// Recovers from a journal and spools with any content. The runner starts in any case, finds the same attempts at a
/// second start, and reads back what it has written since.
///
/// # Panics
///
/// If an invariant is broken.
pub(crate) fn left_by_an_earlier_run(journal: &[u8], spool: &[u8]) {
    let place = tempfile::tempdir().expect("there is room for a directory");
    let layout = Layout::open(place.path()).expect("an empty directory can be had");
    fs::write(layout.journal(), journal).expect("there is room for a file");
    for attempt in 1..=3 {
        let len = spool.len().min(attempt as usize * 7);
        fs::write(layout.spool(&StreamId::log(AttemptId(attempt))), &spool[..len]).expect("there is room for a file");
    }
    let recover = || {
        let (uploads, heard) = unbounded();
        let (journal, mut undelivered) = recovery::recover(&layout, &uploads).expect("the disk is fine");
        drop(heard);
        undelivered.sort_by_key(|(attempt, _)| *attempt);
        (journal, undelivered)
    };
    let (_, first) = recover();
    for (attempt, report) in &first {
        let spooled = fs::read(layout.spool(&StreamId::log(*attempt))).unwrap_or_default();
        assert_eq!(report.log.bytes, spooled.len() as u64, "{attempt}");
        // The checksum of an empty spool does not matter.
        assert!(spooled.is_empty() || report.log.crc32 == crc32fast::hash(&spooled), "{attempt}");
    }
    let (mut journal, second) = recover();
    assert_eq!(first, second);
    for (attempt, _) in &second {
        journal.forget(*attempt).expect("there is room for a line");
    }
    drop(journal);
    let (_, undone) = Journal::open(layout.journal()).expect("the disk is fine");
    assert_eq!(undone, super::journal::Undone::default());
}
