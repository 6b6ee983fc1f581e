//! The record of held attempts and their results, for the next start of the runner. An append-only file with a line for
//! each event. When it has grown, it is rewritten without the attempts that are over. It survives the process, not a
//! power cut: nothing is synced, because an attempt whose machine lost power is lost anyway.
//!
//! Lines: `held a12 b3/test app 4f2a91c…`, then `ended {…}` (the `results` message), then `done a12`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::assignment::{Assignment, AttemptResult};
use super::limits::JOURNAL_BYTES;
use super::translate;
use crate::model::AttemptId;

/// The journal of one work directory.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// The lines of attempts that are not over, as they are in the file.
    live: BTreeMap<AttemptId, Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    held: Vec<u8>,
    ended: Vec<u8>,
}

/// The attempts of an earlier run that are not over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Undone {
    /// Attempts with a result that the dispatcher has not taken, as far as is known.
    pub(super) ended: Vec<(AttemptId, AttemptResult)>,
    /// Attempts that were executing when the runner died.
    pub(super) executing: Vec<AttemptId>,
}

impl Journal {
    /// Opens or creates the journal and reads the attempts that are not over. A torn last line is skipped.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, Undone)> {
        // Read as bytes: a torn line need not be UTF-8.
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut undone = Undone::default();
        let mut live = read_lines(&text);
        for (attempt, lines) in &mut live {
            match lines.ended.strip_prefix(ENDED).and_then(translate::read_results) {
                Some((_, report)) => undone.ended.push((*attempt, report)),
                None => {
                    lines.ended.clear();
                    undone.executing.push(*attempt);
                }
            }
        }
        let (file, bytes) = rewrite(&path, &live)?;
        Ok((Self { path, file, bytes, live }, undone))
    }

    /// Records that the attempt is held from now on.
    pub(super) fn hold(&mut self, assignment: &Assignment) -> io::Result<()> {
        let Assignment { attempt, build, repo, commit, task, .. } = assignment;
        let line = format!("held {attempt} {build}/{task} {repo} {commit}\n").into_bytes();
        self.append(&line)?;
        self.live.insert(*attempt, Lines { held: line, ended: Vec::new() });
        Ok(())
    }

    /// Records the result of the attempt.
    pub(super) fn end(&mut self, attempt: AttemptId, report: &AttemptResult) -> io::Result<()> {
        let mut line = ENDED.to_vec();
        translate::results_line(attempt, report, &mut line);
        self.append(&line)?;
        self.live.entry(attempt).or_default().ended = line;
        Ok(())
    }

    /// Records that the attempt is over. Does nothing for an attempt that was never held.
    pub(super) fn forget(&mut self, attempt: AttemptId) -> io::Result<()> {
        if self.live.remove(&attempt).is_none() {
            return Ok(());
        }
        if self.bytes > JOURNAL_BYTES {
            (self.file, self.bytes) = rewrite(&self.path, &self.live)?;
            return Ok(());
        }
        self.append(format!("done {attempt}\n").as_bytes())
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        // Somebody may have removed or cut the file. A line in a file without a name would tell the next start nothing.
        let stat = rustix::fs::fstat(&self.file)?;
        if stat.st_nlink == 0 || u64::try_from(stat.st_size).ok() != Some(self.bytes) {
            log::warn!("something removed or changed {}, which is written anew", self.path.display());
            (self.file, self.bytes) = rewrite(&self.path, &self.live)?;
        }
        if let Err(error) = self.file.write_all(line) {
            // Half a line would swallow the next one.
            drop(self.file.set_len(self.bytes));
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }
}

const HELD: &[u8] = b"held ";
const ENDED: &[u8] = b"ended ";
const DONE: &[u8] = b"done ";

fn read_lines(text: &[u8]) -> BTreeMap<AttemptId, Lines> {
    let mut live = BTreeMap::<_, Lines>::new();
    for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        if let Some(attempt) = line.strip_prefix(HELD).and_then(first_id) {
            live.insert(attempt, Lines { held: line.to_vec(), ended: Vec::new() });
        } else if let Some(attempt) = line.strip_prefix(DONE).and_then(first_id) {
            live.remove(&attempt);
        } else if let Some((attempt, _)) = line.strip_prefix(ENDED).and_then(translate::read_results) {
            live.entry(attempt).or_default().ended = line.to_vec();
        } else {
            let text = String::from_utf8_lossy(line);
            log::warn!("the journal has an unreadable line, which is skipped: {}", text.trim_end());
        }
    }
    live
}

fn first_id(rest: &[u8]) -> Option<AttemptId> {
    let word = rest.split(|byte| byte.is_ascii_whitespace()).next()?;
    let number = std::str::from_utf8(word).ok()?.strip_prefix('a')?;
    Some(AttemptId(number.parse().ok()?))
}

/// Writes the live lines to a new file, which then replaces the old one.
fn rewrite(path: &PathBuf, live: &BTreeMap<AttemptId, Lines>) -> io::Result<(File, u64)> {
    let fresh = path.with_extension("new");
    let text: Vec<u8> = live.values().flat_map(|it| [&it.held[..], &it.ended[..]]).flatten().copied().collect();
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    // A directory at either place is not of this runner, and a file cannot replace it.
    for place in [&fresh, path] {
        if fs::symlink_metadata(place).is_ok_and(|meta| meta.is_dir()) {
            fs::remove_dir_all(place)?;
        }
    }
    fs::write(&fresh, &text)?;
    fs::rename(&fresh, path)?;
    Ok((File::options().append(true).open(path)?, text.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LogSummary, Outcome};
    use crate::runner::tests::assignment;

    fn report() -> AttemptResult {
        let log = LogSummary { bytes: 3, crc32: 4, missing: None };
        AttemptResult::new(Outcome::Failed(1), Some(2), log)
    }

    #[test]
    fn the_next_start_finds_what_was_held_and_how_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, undone) = Journal::open(path.clone()).unwrap();
        assert_eq!(undone, Undone::default());
        for attempt in 1..=3 {
            journal.hold(&assignment(attempt)).unwrap();
        }
        journal.end(AttemptId(1), &report()).unwrap();
        journal.end(AttemptId(2), &report()).unwrap();
        journal.forget(AttemptId(1)).unwrap();
        drop(journal);
        let wanted = Undone { ended: vec![(AttemptId(2), report())], executing: vec![AttemptId(3)] };
        let (journal, undone) = Journal::open(path.clone()).unwrap();
        assert_eq!(undone, wanted);
        drop(journal);
        assert_eq!(Journal::open(path).unwrap().1, wanted, "and so does the one after that");
    }

    #[test]
    fn a_line_torn_by_the_runners_death_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, _) = Journal::open(path.clone()).unwrap();
        journal.hold(&assignment(7)).unwrap();
        journal.file.write_all(b"ended {\"type\":\"resu").unwrap();
        let (mut journal, undone) = Journal::open(path.clone()).unwrap();
        assert_eq!(undone.executing, [AttemptId(7)]);
        journal.end(AttemptId(7), &report()).unwrap();
        assert_eq!(Journal::open(path).unwrap().1.ended, [(AttemptId(7), report())]);
    }

    /// S13: fails if lines are written to a file that has no name any more.
    #[test]
    fn a_journal_that_is_removed_or_cut_is_written_anew_with_what_is_live() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("work/journal");
        let harms: [&dyn Fn(); 5] = [
            &|| fs::remove_file(&path).unwrap(),
            &|| fs::remove_dir_all(directory.path().join("work")).unwrap(),
            &|| File::options().write(true).open(&path).and_then(|file| file.set_len(3)).unwrap(),
            &|| fs::write(directory.path().join("other"), "no journal\n").unwrap(),
            &|| fs::remove_file(&path).and_then(|()| fs::create_dir_all(path.join("full"))).unwrap(),
        ];
        for (number, harm) in harms.iter().enumerate() {
            fs::remove_dir_all(directory.path().join("work")).ok();
            let (mut journal, _) = Journal::open(path.clone()).unwrap();
            journal.hold(&assignment(1)).unwrap();
            journal.hold(&assignment(2)).unwrap();
            harm();
            journal.end(AttemptId(1), &report()).unwrap();
            let wanted = Undone { ended: vec![(AttemptId(1), report())], executing: vec![AttemptId(2)] };
            assert_eq!(Journal::open(path.clone()).unwrap().1, wanted, "after harm {number}");
        }
    }

    #[test]
    fn a_long_journal_is_written_anew_without_what_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, _) = Journal::open(path.clone()).unwrap();
        journal.hold(&assignment(1)).unwrap();
        for attempt in 2..8000 {
            journal.hold(&assignment(attempt)).unwrap();
            journal.end(AttemptId(attempt), &report()).unwrap();
            journal.forget(AttemptId(attempt)).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() <= JOURNAL_BYTES + 1000);
        assert_eq!(Journal::open(path).unwrap().1.executing, [AttemptId(1)]);
    }
}
