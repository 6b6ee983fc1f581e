//! The writing side of a spool. Beyond the limit only the newest output is kept; it is put behind the head, with a
//! marker, when the attempt has ended. It never deletes a spool.

use std::io;
use std::sync::Arc;

use crc32fast::Hasher;

use super::Spool;
use super::characters::{is_continuation, lacking};
use super::tail::SpoolTail;
use crate::model::LogSummary;
use crate::runner::masking::Masker;

/// The writing side.
#[derive(Debug)]
pub(crate) struct SpoolWriter {
    spool: Arc<Spool>,
    crc: Hasher,
    limit: u64,
    /// Bytes that may still go to the head.
    head_left: u64,
    /// The bytes that the last character of the head lacks.
    lacking: usize,
    /// Bytes by which the head is longer than its share, because a character was not cut.
    beyond: u64,
    tail: Option<SpoolTail>,
    /// The output so far ends with a whole line.
    is_line_over: bool,
    /// Bytes that were ever written.
    printed: u64,
    /// The masker of the attempt's secrets, if it has some, and the masked form of the last piece.
    masker: Option<Box<(Masker, Vec<u8>)>>,
}

/// The part of the output that the file has in the end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kept {
    /// Bytes at the beginning.
    head: u64,
    /// Bytes behind those that were left out, and the length of the marker in their place.
    left_out: u64,
    marker: u64,
}

impl Kept {
    /// Returns where in the file a position of the output is. All that was left out is where the marker begins.
    pub(crate) fn offset(&self, position: u64) -> u64 {
        match position.checked_sub(self.head) {
            Some(behind) if self.left_out > 0 && behind > 0 => match behind.checked_sub(self.left_out) {
                Some(kept) => self.head + self.marker + kept,
                None => self.head,
            },
            Some(_) | None => position,
        }
    }
}

impl SpoolWriter {
    /// A writer that keeps at most `limit` bytes: the first three quarters, and the last quarter from the end.
    pub(crate) fn new(spool: Arc<Spool>, limit: u64) -> Self {
        let head_left = limit - limit / 4;
        Self {
            spool,
            crc: Hasher::new(),
            limit,
            head_left,
            lacking: 0,
            beyond: 0,
            tail: None,
            is_line_over: true,
            printed: 0,
            masker: None,
        }
    }

    /// Masks secrets in all that is written from now on.
    pub(crate) fn mask_by(&mut self, masker: Option<Masker>) {
        self.masker = masker.map(|masker| Box::new((masker, Vec::new())));
    }

    /// Writes output. An error means that the file cannot take it, mostly because the disk is full.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.masked(|masker, masked| masker.mask(bytes, masked)).unwrap_or_else(|| self.write_plain(bytes))
    }

    /// Writes what the masker holds back: the output of a command is over.
    pub(crate) fn end_output(&mut self) -> io::Result<()> {
        self.masked(Masker::finish).unwrap_or(Ok(()))
    }

    /// Writes what a masker makes. Returns `None` without one.
    fn masked(&mut self, mask: impl FnOnce(&mut Masker, &mut Vec<u8>)) -> Option<io::Result<()>> {
        let mut masker = self.masker.take()?;
        let (by, masked) = &mut *masker;
        masked.clear();
        mask(by, masked);
        let written = self.write_plain(masked);
        self.masker = Some(masker);
        Some(written)
    }

    fn write_plain(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(last) = bytes.last() {
            self.is_line_over = *last == b'\n';
        }
        self.printed += bytes.len() as u64;
        let share = bytes.len().min(usize::try_from(self.head_left).unwrap_or(usize::MAX));
        self.lacking = lacking(self.lacking, &bytes[..share]);
        self.head_left -= share as u64;
        // The head takes the rest of a character that it has begun, so that it can be shown.
        let more = if self.head_left == 0 && self.tail.is_none() {
            bytes[share..].iter().take(self.lacking).take_while(|byte| is_continuation(**byte)).count()
        } else {
            0
        };
        self.lacking -= more;
        self.beyond += more as u64;
        let (head, rest) = bytes.split_at(share + more);
        if !head.is_empty() {
            self.append(head)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let tail = match &mut self.tail {
            Some(tail) => tail,
            none => {
                let capacity = (self.limit / 4).saturating_sub(self.beyond);
                none.insert(SpoolTail::new(self.spool.path.with_added_extension("tail"), capacity)?)
            }
        };
        tail.write(rest)
    }

    /// Writes a line of Surveil's own.
    pub(crate) fn write_line(&mut self, text: &str) -> io::Result<()> {
        let line = format!("{}{text}\n", if self.is_line_over { "" } else { "\n" });
        self.write(line.as_bytes())
    }

    /// The number of bytes that were ever written: a position of the output.
    pub(crate) fn position(&self) -> u64 {
        self.printed
    }

    /// Appends the tail to the head and returns the summary of the stream, and what of the output is in it. With an
    /// error, the summary is that of the file.
    pub(crate) fn finish(mut self) -> (LogSummary, Kept, io::Result<()>) {
        let mut result = self.end_output();
        let mut missing = None;
        let mut kept = Kept { head: self.spool.len(), ..Kept::default() };
        if let Some(tail) = self.tail.take() {
            let mut left_out = tail.left_out();
            if left_out > 0 {
                // The newest output begins with a whole character.
                left_out += tail.cut_character().unwrap_or(0);
                let limit = self.limit;
                missing = Some(format!("{left_out} bytes left out: the log limit is {limit} bytes"));
                let marker = format!("\n[surveil: {left_out} bytes left out here: the log limit is {limit} bytes]\n");
                (kept.left_out, kept.marker) = (left_out, marker.len() as u64);
                result = result.and_then(|()| self.append(marker.as_bytes()));
            }
            result = result.and_then(|()| tail.read(left_out, &mut |piece| self.append(piece)));
        }
        let summary = LogSummary { bytes: self.spool.len(), crc32: self.crc.finalize(), missing };
        (summary, kept, result)
    }

    pub(crate) fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.spool.append(bytes)?;
        self.crc.update(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// Writes `output` in pieces under a limit; what is kept, and its summary.
    fn kept(output: &[u8], piece: usize, limit: u64) -> (Vec<u8>, LogSummary) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::new(directory.path().join("a1.log")));
        let mut writer = SpoolWriter::new(spool.clone(), limit);
        for bytes in output.chunks(piece) {
            writer.write(bytes).unwrap();
        }
        let (summary, _, result) = writer.finish();
        result.unwrap();
        let bytes = spool.read(0, u64::MAX).unwrap();
        assert_eq!(summary.bytes, bytes.len() as u64);
        assert_eq!(summary.crc32, crc32fast::hash(&bytes));
        (bytes, summary)
    }

    #[test]
    fn positions_of_the_output_are_found_in_the_file_whatever_was_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let positions = |limit: u64| {
            let spool = Arc::new(Spool::new(directory.path().join("a1.log")));
            let mut writer = SpoolWriter::new(spool.clone(), limit);
            let sections: Vec<_> = (b'a'..=b'e')
                .map(|letter| {
                    writer.write(&[letter; 100]).unwrap();
                    writer.position()
                })
                .collect();
            let (_, kept, result) = writer.finish();
            result.unwrap();
            let bytes = spool.read(0, u64::MAX).unwrap();
            let mut at = 0;
            sections
                .into_iter()
                .map(move |end| {
                    let from = std::mem::replace(&mut at, kept.offset(end));
                    String::from_utf8(bytes[from as usize..at as usize].to_vec()).unwrap()
                })
                .collect::<Vec<_>>()
        };
        let whole = positions(500);
        assert!(whole.iter().zip('a'..).all(|(section, letter)| *section == letter.to_string().repeat(100)));
        // 150 bytes of the head and 50 of the tail are kept.
        let cut = positions(200);
        assert_eq!((cut[0].as_str(), cut[1].as_str()), ("a".repeat(100).as_str(), "b".repeat(50).as_str()));
        assert_eq!((cut[2].as_str(), cut[3].as_str()), ("", ""));
        assert!(cut[4].contains("300 bytes left out here") && cut[4].ends_with(&"e".repeat(50)), "{cut:?}");
    }

    #[test]
    fn output_within_the_limit_is_kept_byte_for_byte() {
        let output: Vec<u8> = (0..1000u32).map(|n| (n % 251) as u8).collect();
        for (piece, limit) in [(1, 1000), (7, 1000), (1000, 1000), (333, 5000)] {
            assert_eq!(kept(&output, piece, limit), (output.clone(), kept(&output, 1000, 5000).1));
        }
    }

    #[test]
    fn output_past_the_limit_keeps_its_head_and_its_newest_tail() {
        let output: Vec<u8> = (0..5000u32).map(|n| (n % 251) as u8).collect();
        for piece in [1, 13, 299, 1000, 5000] {
            let (bytes, summary) = kept(&output, piece, 400);
            let marker = b"\n[surveil: 4600 bytes left out here: the log limit is 400 bytes]\n";
            let wanted = [&output[..300], marker, &output[4900..]].concat();
            assert!(bytes == wanted, "in pieces of {piece}");
            assert_eq!(summary.missing.as_deref(), Some("4600 bytes left out: the log limit is 400 bytes"));
        }
    }

    #[test]
    fn the_limit_cuts_between_characters() {
        for text in ["ä", "€", "🦀", "aä€🦀"] {
            let output = text.repeat(400);
            for (limit, piece) in (60..84).flat_map(|limit| [1, 2, 3, 7, 5000].map(|piece| (limit, piece))) {
                let (bytes, summary) = kept(output.as_bytes(), piece, limit);
                let log = String::from_utf8(bytes).unwrap_or_else(|_| panic!("{text} in pieces of {piece} at {limit}"));
                let (head, rest) = log.split_once("\n[surveil: ").unwrap();
                let (left_out, tail) =
                    rest.split_once(&format!(" bytes left out here: the log limit is {limit} bytes]\n")).unwrap();
                assert!(output.starts_with(head) && output.ends_with(tail), "{log}");
                let sum = head.len() + tail.len() + left_out.parse::<usize>().unwrap();
                assert_eq!(sum, output.len(), "{log}");
                assert!(head.len() + tail.len() <= limit as usize, "{log}");
                assert!(summary.missing.unwrap().starts_with(&format!("{left_out} bytes left out")));
            }
        }
    }

    #[test]
    fn a_line_of_surveils_own_stands_on_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::new(directory.path().join("a1.log")));
        let mut writer = SpoolWriter::new(spool.clone(), 100);
        writer.write_line("one").unwrap();
        writer.write(b"half").unwrap();
        writer.write_line("two").unwrap();
        assert_eq!(spool.read(0, 100).unwrap(), b"one\nhalf\ntwo\n");
    }

    /// Positions are those of what is written, so that steps find their sections.
    #[test]
    fn secrets_are_masked_before_they_are_spooled_and_in_lines_of_surveils_own() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::new(directory.path().join("a1.log")));
        let mut writer = SpoolWriter::new(spool.clone(), 100);
        writer.mask_by(Masker::new(&[b"swordfish".to_vec()]));
        for piece in ["say sword", "fish\nsword"] {
            writer.write(piece.as_bytes()).unwrap();
        }
        writer.end_output().unwrap();
        assert_eq!(writer.position(), spool.len());
        writer.write_line("it said swordfish").unwrap();
        writer.write(b"fish").unwrap();
        let (summary, _, result) = writer.finish();
        result.unwrap();
        let wanted = b"say ***\nsword\nit said ***\nfish";
        assert_eq!(spool.read(0, 100).unwrap(), wanted);
        assert_eq!((summary.bytes, summary.crc32), (wanted.len() as u64, crc32fast::hash(wanted)));
    }

    #[test]
    fn a_silent_attempt_makes_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a1.log");
        let writer = SpoolWriter::new(Arc::new(Spool::new(path.clone())), 100);
        assert_eq!(writer.finish().0, LogSummary::default());
        assert!(!path.exists());
        assert!(Spool::recover(path).unwrap().is_none());
    }

    #[test]
    fn a_spool_whose_directory_is_gone_makes_it_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool/a1.log");
        let spool = Arc::new(Spool::new(path.clone()));
        let mut writer = SpoolWriter::new(spool.clone(), 8);
        writer.write(b"before").unwrap();
        fs::remove_dir_all(directory.path().join("spool")).unwrap();
        writer.write(b"after").unwrap();
        let (summary, _, result) = writer.finish();
        result.unwrap();
        let bytes = spool.read(0, u64::MAX).unwrap();
        assert!(bytes.starts_with(b"before\n[surveil: ") && bytes.ends_with(b"er"), "{}", bytes.escape_ascii());
        assert_eq!(summary.crc32, crc32fast::hash(&bytes));
    }

    #[test]
    fn a_disk_that_takes_nothing_is_an_error_and_what_was_written_stays_consistent() {
        let spool = Arc::new(Spool::new(PathBuf::from("/dev/full")));
        let mut writer = SpoolWriter::new(spool, 100);
        assert!(writer.write(b"x").is_err());
        assert_eq!(writer.finish().0, LogSummary::default());
    }
}
