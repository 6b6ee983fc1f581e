//! When the bytes of a log were written: a file beside the log with pairs of an offset and a time. A time holds for the
//! bytes from its offset on, up to the next pair. The file is small whatever the log's size: pairs are some time apart,
//! the more so the more there are, and their number is limited. It is no record: if it cannot be written, the log has
//! fewer times and nothing else is different.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The extension of the files, in place of the log's own.
pub(crate) const TIMES_EXTENSION: &str = "times";

/// The least time between two pairs, as long as there are few.
const LEAST_INTERVAL_MS: i64 = 50;
/// After each this many pairs, the least time between two of them doubles.
const PAIRS_PER_INTERVAL: usize = 4 * 1024;
/// The most pairs of one log. Its file is 1 MiB then, after more than 100 days of output.
const MAX_PAIRS: usize = 64 * 1024;

/// An offset and the time of the byte there, in milliseconds since the Unix epoch.
pub(crate) type TimedOffset = (u64, i64);

const PAIR_BYTES: usize = 16;

/// The times of a log that is open for writing.
#[derive(Debug)]
pub(super) struct TimesFile {
    path: PathBuf,
    /// `None` until the first pair is written.
    file: Option<File>,
    count: usize,
    last: Option<TimedOffset>,
    is_broken: bool,
}

impl TimesFile {
    /// The times of the log at this path. Nothing is read or written yet.
    pub(super) fn of(log: &Path) -> Self {
        let path = log.with_extension(TIMES_EXTENSION);
        Self { path, file: None, count: 0, last: None, is_broken: false }
    }

    /// Notes the time of the bytes from `offset` on, which are appended next. Leaves it out if the last noted time is
    /// near enough.
    pub(super) fn note(&mut self, offset: u64, at_ms: i64) {
        if self.is_broken {
            return;
        }
        if let Err(error) = self.try_note(offset, at_ms) {
            log::warn!("could not note times in {}: {error}", self.path.display());
            self.is_broken = true;
        }
    }

    /// Forgets all times, because the log begins anew.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        (self.file, self.count, self.last) = (None, 0, None);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn try_note(&mut self, offset: u64, at_ms: i64) -> io::Result<()> {
        if self.file.is_none() {
            self.open(offset)?;
        }
        let Some(file) = &self.file else { return Ok(()) };
        let mut at_ms = at_ms;
        if let Some((last_offset, last_ms)) = self.last {
            let interval = LEAST_INTERVAL_MS << (self.count / PAIRS_PER_INTERVAL);
            // A clock that was set back must not make times go back within a log.
            at_ms = at_ms.max(last_ms);
            if offset <= last_offset || at_ms - last_ms < interval || self.count >= MAX_PAIRS {
                return Ok(());
            }
        }
        let mut pair = [0; PAIR_BYTES];
        pair[..8].copy_from_slice(&offset.to_be_bytes());
        pair[8..].copy_from_slice(&at_ms.to_be_bytes());
        file.write_all_at(&pair, (self.count * PAIR_BYTES) as u64)?;
        self.count += 1;
        self.last = Some((offset, at_ms));
        Ok(())
    }

    /// Makes the file, or opens it and removes what is not of the bytes before `offset`: a log that lost its end in a
    /// power cut gets it again.
    fn open(&mut self, offset: u64) -> io::Result<()> {
        // Most files are new.
        if let Ok(file) = File::options().write(true).create_new(true).open(&self.path) {
            (self.file, self.count, self.last) = (Some(file), 0, None);
            return Ok(());
        }
        let known = read_times(&self.path);
        self.count = known.partition_point(|(at, _)| *at < offset);
        self.last = self.count.checked_sub(1).and_then(|at| known.get(at)).copied();
        let file = File::options().write(true).create(true).truncate(false).open(&self.path)?;
        file.set_len((self.count * PAIR_BYTES) as u64)?;
        self.file = Some(file);
        Ok(())
    }
}

/// Returns the times of the log at this path, in ascending order; none if they were not kept.
pub(crate) fn times_of(log: &Path) -> Vec<TimedOffset> {
    read_times(&log.with_extension(TIMES_EXTENSION))
}

fn read_times(path: &Path) -> Vec<TimedOffset> {
    let bytes = fs::read(path).unwrap_or_default();
    let (pairs, _) = bytes.as_chunks::<PAIR_BYTES>();
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let pairs = pairs.iter().map(|pair| (number(&pair[..8]), number(&pair[8..]).cast_signed()));
    let mut times: Vec<TimedOffset> = pairs.take(MAX_PAIRS).collect();
    // A damaged file has times as far as they ascend.
    let end = times.windows(2).position(|two| two[1].0 <= two[0].0).map_or(times.len(), |at| at + 1);
    times.truncate(end);
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sparse_and_never_go_back() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("test.1.log");
        let mut times = TimesFile::of(&log);
        assert_eq!(times_of(&log), [], "a log of before has none");
        for (offset, at_ms) in [(0, 1000), (5, 1001), (9, 1050), (20, 900), (30, 1099), (40, 1100)] {
            times.note(offset, at_ms);
        }
        assert_eq!(times_of(&log), [(0, 1000), (9, 1050), (40, 1100)]);
        times.clear().unwrap();
        times.note(0, 7000);
        assert_eq!(times_of(&log), [(0, 7000)]);
    }

    #[test]
    fn a_log_that_lost_its_end_loses_the_times_of_the_end() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("test.1.log");
        let mut times = TimesFile::of(&log);
        [(0, 1000), (100, 2000), (200, 3000)].into_iter().for_each(|(offset, at_ms)| times.note(offset, at_ms));
        let file = File::options().append(true).open(log.with_extension(TIMES_EXTENSION)).unwrap();
        io::Write::write_all(&mut &file, b"half").unwrap();
        let mut again = TimesFile::of(&log);
        again.note(150, 5000);
        assert_eq!(times_of(&log), [(0, 1000), (100, 2000), (150, 5000)]);
    }

    /// However long a log is written, its times take 1 MiB at most.
    #[test]
    fn the_times_of_a_log_are_bounded() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("test.1.log");
        let mut times = TimesFile::of(&log);
        let (mut at_ms, mut offset) = (0, 0);
        while times.count < MAX_PAIRS {
            times.note(offset, at_ms);
            offset += 1;
            // As often as it makes a difference.
            at_ms += LEAST_INTERVAL_MS << (times.count / PAIRS_PER_INTERVAL);
        }
        assert!(at_ms > 100 * 24 * 3_600_000, "{at_ms}");
        times.note(u64::MAX, i64::MAX);
        let size = fs::metadata(log.with_extension(TIMES_EXTENSION)).unwrap().len();
        assert!(size <= 1 << 20, "{size}");
    }
}
