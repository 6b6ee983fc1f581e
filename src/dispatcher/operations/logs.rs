//! Reads logs from any offset. Logs of running and of finished attempts are read the same way.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use crossbeam_channel::{Receiver, bounded};

use super::error::OperationError;
use super::questions::Operations;
use crate::dispatcher::data_dir::LogPlace;
use crate::dispatcher::logs::{Following, times_of};
use crate::model::{Attempt, Build, Job, StreamKind};

/// The largest piece of a log that is read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// The attempt whose log is meant.
pub(crate) enum AttemptOfLog {
    There(Attempt),
    /// There is no attempt yet, but one may come. The error is for a caller that does not wait.
    NotYet(OperationError),
}

/// A log that is being read.
pub(crate) struct OpenLog<'a> {
    operations: &'a Operations,
    path: PathBuf,
    /// The attempt as it was at the last [`OpenLog::refresh`].
    pub(crate) attempt: Attempt,
    offset: u64,
    /// Whether pieces are cut where another time begins.
    with_times: bool,
    /// Woken when the log grows or ends, if it is followed.
    pub(crate) woken: Receiver<()>,
    /// Keeps the subscription at the logs thread.
    following: Option<Following>,
}

impl Operations {
    /// Returns the job whose log is meant. The task may be left out if the build has a single one.
    pub(crate) fn job_for_log(&self, name: &str, task: Option<&str>) -> Result<(Build, Job), OperationError> {
        let build = self.find(name)?;
        if let Some(task) = task {
            let job = self.job_of(&build, task)?;
            return Ok((build, job));
        }
        let mut jobs = self.reader.jobs(build.id)?;
        match jobs.len() {
            0 => Err(OperationError::NoTasks { build: build.id, problem: build.problem }),
            1 => Ok((build, jobs.remove(0))),
            _ => {
                let tasks = jobs.into_iter().map(|job| job.task.name.clone()).collect();
                Err(OperationError::SeveralTasks { build: build.id, tasks })
            }
        }
    }

    /// Returns the attempt of that number, or the newest one.
    pub(crate) fn attempt_for_log(&self, job: &Job, number: Option<u32>) -> Result<AttemptOfLog, OperationError> {
        let attempts = self.reader.attempts(job.build)?;
        let mut of_job = attempts.into_iter().filter(|attempt| attempt.job == job.id);
        let found = match number {
            Some(number) => of_job.find(|attempt| attempt.number == number),
            None => of_job.next_back(),
        };
        if let Some(attempt) = found {
            return Ok(AttemptOfLog::There(attempt));
        }
        let (build, task) = (job.build, job.task.name.clone());
        let none = match number {
            Some(number) => OperationError::NoAttempt { build, task, number },
            None => OperationError::NotAttempted { build, task },
        };
        // A build that is finished, or removed meanwhile, gets no further attempt.
        let may_come = !self.core.is_absent() && self.reader.build(build)?.is_some_and(|build| build.verdict.is_none());
        if may_come { Ok(AttemptOfLog::NotYet(none)) } else { Err(none) }
    }

    /// Returns the stream that is meant: the log of the job's service of that name, else that of its task.
    pub(crate) fn stream_for_log(&self, job: &Job, service: Option<&str>) -> Result<StreamKind, OperationError> {
        let Some(name) = service else { return Ok(StreamKind::Log) };
        if job.task.recipe.services.iter().any(|service| service.name == name) {
            return Ok(StreamKind::of_service(name));
        }
        Err(OperationError::NoService { build: job.build, task: job.task.name.clone(), service: name.to_owned() })
    }

    /// Opens a stream of an attempt at the offset `at`; with `follow`, it is woken as long as the attempt is executing.
    pub(crate) fn open_log(
        &self,
        place: &LogPlace,
        attempt: Attempt,
        at: u64,
        follow: bool,
        with_times: bool,
    ) -> OpenLog<'_> {
        let (wake, woken) = bounded(1);
        let follow = follow && attempt.outcome.is_none() && !self.core.is_absent();
        let following = follow.then(|| self.logs.follow(attempt.id, wake));
        let path = self.data.log(place);
        OpenLog { operations: self, path, attempt, offset: at, with_times, woken, following }
    }
}

impl OpenLog<'_> {
    /// Reads the attempt's state again. Returns true if there is no more to follow. Call this before reading pieces:
    /// output is written before the outcome is recorded, so everything is there once the outcome was seen.
    pub(crate) fn refresh(&mut self) -> Result<bool, OperationError> {
        if let Some(attempt) = self.operations.reader.attempt(self.attempt.id)? {
            self.attempt = attempt;
        }
        Ok(self.following.is_none() || self.attempt.outcome.is_some())
    }

    /// Reads the rest of the log in pieces, each with its offset, and its time if that is wanted and known, until
    /// `each` returns false. Returns true if the present end was reached.
    pub(crate) fn read(
        &mut self,
        mut each: impl FnMut(u64, Vec<u8>, Option<i64>) -> bool,
    ) -> Result<bool, OperationError> {
        let path = self.path.clone();
        let fail = |source: io::Error| OperationError::Log { path: path.clone(), source };
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            // A task that has printed nothing has no file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(fail(error)),
        };
        // A file system refuses to seek far beyond what a file may have.
        let len = file.metadata().map_err(fail)?.len();
        if len <= self.offset {
            return Ok(true);
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(fail)?;
        // Read after the length, because times are written before their bytes. Bytes that come later have later times.
        let end = if self.with_times { len } else { u64::MAX };
        let times = if self.with_times { times_of(&self.path) } else { Vec::new() };
        loop {
            let next = times.partition_point(|(at, _)| *at <= self.offset);
            let at_ms = next.checked_sub(1).and_then(|last| times.get(last)).map(|(_, at_ms)| *at_ms);
            let room = times.get(next).map_or(end, |(at, _)| *at).min(end) - self.offset;
            let mut bytes = vec![0; usize::try_from(room).unwrap_or(usize::MAX).min(PIECE_BYTES)];
            let count = file.read(&mut bytes).map_err(fail)?;
            if count == 0 {
                return Ok(true);
            }
            bytes.truncate(count);
            self.offset += count as u64;
            if !each(self.offset - count as u64, bytes, at_ms) {
                return Ok(false);
            }
        }
    }
}
