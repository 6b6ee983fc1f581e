//! Logs for operators: from any offset, live or long finished, by the same path.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::operator::{OperatorWorker, broken};
use super::worker::Incoming;
use crate::dispatcher::data_dir::LogPlace;
use crate::model::{Attempt, Build, Job};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{FromOperator, ToOperator};
use crate::transport::Frame;

/// A piece of a log on its way to an operator.
const PIECE_BYTES: usize = 256 * 1024;
/// A follower that was not woken looks by itself after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What was asked for.
pub(super) struct Wanted {
    pub(super) build: String,
    pub(super) task: Option<String>,
    pub(super) number: Option<u32>,
    pub(super) offset: u64,
    pub(super) follow: bool,
}

impl OperatorWorker<'_> {
    pub(super) fn logs(&self, wanted: Wanted, inbox: &Receiver<Incoming<FromOperator>>) -> Result<(), Refusal> {
        let build = self.find(&wanted.build)?;
        let job = self.job_for_log(&build, wanted.task.as_deref())?;
        let Some(attempt) = self.attempt_for_log(&build, &job, &wanted, inbox)? else { return Ok(()) };
        let place = LogPlace::of(&build, &job, attempt.number);
        let (wake, woken) = bounded(1);
        let follow = wanted.follow && attempt.outcome.is_none();
        let _following = follow.then(|| self.shared.logs.follow(attempt.id, wake));
        let mut offset = wanted.offset;
        let last = loop {
            // The outcome is looked at before the file: what is written before the outcome is recorded is then read.
            let now =
                self.reader.attempt(attempt.id).map_err(|error| broken(&error))?.unwrap_or_else(|| attempt.clone());
            if !self.send_from(&place, &mut offset)? {
                return Ok(());
            }
            if !follow || now.outcome.is_some() {
                break now;
            }
            crossbeam_channel::select! {
                recv(woken) -> _ => {}
                recv(inbox) -> request => match request {
                    // The next question ends the following.
                    Ok(_) => break now,
                    Err(_) => return Ok(()),
                },
                default(LOOK_AGAIN) => {}
            }
        };
        self.outbox.send_bulk(&Frame::new(&ToOperator::LogEnd {
            build: build.id.0,
            task: job.task.name.to_string(),
            number: attempt.number,
            outcome: last.outcome.as_ref().map(|outcome| outcome.word().to_owned()),
            missing: last.log.missing,
        }));
        Ok(())
    }

    fn job_for_log(&self, build: &Build, task: Option<&str>) -> Result<Job, Refusal> {
        if let Some(task) = task {
            return self.job_of(build, task);
        }
        let mut jobs = self.reader.jobs(build.id).map_err(|error| broken(&error))?;
        if jobs.len() == 1 {
            return Ok(jobs.remove(0));
        }
        let names: Vec<&str> = jobs.iter().map(|job| &*job.task.name).collect();
        let text = match (names.as_slice(), &build.problem) {
            ([], Some(problem)) => format!("build {} has no tasks: {problem}", build.id),
            ([], None) => format!("build {} has no tasks", build.id),
            (names, _) => format!("build {} has several tasks, name one: {}", build.id, names.join(", ")),
        };
        Err(Refusal { code: ErrorCode::NotFound, text })
    }

    /// The attempt whose log is meant; waits for the first one where the log is to be followed. `None` when the
    /// operator leaves meanwhile.
    fn attempt_for_log(
        &self,
        build: &Build,
        job: &Job,
        wanted: &Wanted,
        inbox: &Receiver<Incoming<FromOperator>>,
    ) -> Result<Option<Attempt>, Refusal> {
        loop {
            let attempts = self.reader.attempts(build.id).map_err(|error| broken(&error))?;
            let mut of_job = attempts.into_iter().filter(|attempt| attempt.job == job.id);
            let found = match wanted.number {
                Some(number) => of_job.find(|attempt| attempt.number == number),
                None => of_job.next_back(),
            };
            if found.is_some() {
                return Ok(found);
            }
            let current = self.reader.build(build.id).map_err(|error| broken(&error))?;
            if !wanted.follow || current.is_none_or(|build| build.verdict.is_some()) {
                let text = match wanted.number {
                    Some(number) => format!("task {} of build {} has no attempt {number}", job.task.name, build.id),
                    None => format!(
                        "task {} of build {} has not been attempted: see `surveil why {}`",
                        job.task.name, build.id, build.id
                    ),
                };
                return Err(Refusal { code: ErrorCode::NotFound, text });
            }
            crossbeam_channel::select! {
                recv(inbox) -> request => if request.is_err() { return Ok(None) },
                default(LOOK_AGAIN / 10) => {}
            }
        }
    }

    /// Sends what is in the file from `offset` on; false when the operator has left.
    fn send_from(&self, place: &LogPlace, offset: &mut u64) -> Result<bool, Refusal> {
        let path = self.shared.data.log(place);
        let fail = |error: std::io::Error| Refusal {
            code: ErrorCode::Internal,
            text: format!("the log {} could not be read: {error}", path.display()),
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            // A task that has printed nothing has no file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(fail(error)),
        };
        file.seek(SeekFrom::Start(*offset)).map_err(fail)?;
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let count = file.read(&mut piece).map_err(fail)?;
            if count == 0 {
                return Ok(true);
            }
            piece.truncate(count);
            let message = ToOperator::Log {
                build: place.build.0,
                task: place.task.to_string(),
                number: place.number,
                offset: *offset,
                bytes: count as u64,
            };
            *offset += count as u64;
            if !self.outbox.send_bulk(&Frame::with_payload(&message, piece)) {
                return Ok(false);
            }
        }
    }
}
