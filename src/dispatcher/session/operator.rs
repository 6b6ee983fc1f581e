//! An operator's session: questions answered from the store and the scheduler, wishes passed to the core.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, bounded};

use super::connection::{Session, SessionError};
use super::shared::Shared;
use super::worker::{self, Incoming, Kind};
use super::{logs, truncate};
use crate::clock;
use crate::dispatcher::core::{Question, ToCore, Watcher};
use crate::dispatcher::limits;
use crate::dispatcher::report::{self, Reports};
use crate::dispatcher::{retention, warnings};
use crate::model::{Build, BuildId, Job, Moment};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{FromOperator, RunnersReport, StatusReport, ToOperator, WhyLine, WhyReport};
use crate::scheduler::{JobCounts, Reply, Scheduler};
use crate::store::{BuildName, Reader, StoreError};
use crate::transport::{Frame, Outbox};

/// Finished builds in one status at most: more make no sense on a screen and cost a line each.
const MAX_STATUS_BUILDS: u32 = 1000;

/// Serves an operator until it leaves.
pub(super) fn serve(session: Session) -> Result<(), SessionError> {
    let kind = |message: &FromOperator| match message {
        FromOperator::Ping => Kind::Ping,
        FromOperator::Status { .. }
        | FromOperator::Show { .. }
        | FromOperator::Why { .. }
        | FromOperator::Runners
        | FromOperator::Logs { .. }
        | FromOperator::Cancel { .. }
        | FromOperator::Rerun { .. }
        | FromOperator::Drain { .. }
        | FromOperator::Watch => Kind::Plain,
    };
    worker::serve(
        session,
        kind,
        || Frame::new(&ToOperator::Ack),
        |shared, _, outbox, inbox| {
            let reader = shared.readers.open().map_err(|error| broken(&error))?;
            OperatorWorker { shared, outbox, reader }.run(inbox)
        },
    )
}

/// One operator's worker.
pub(super) struct OperatorWorker<'a> {
    pub(super) shared: &'a Shared,
    pub(super) outbox: &'a Outbox,
    pub(super) reader: Box<dyn Reader>,
}

impl OperatorWorker<'_> {
    fn run(self, inbox: &Receiver<Incoming<FromOperator>>) -> Result<(), Refusal> {
        while let Ok(Incoming { message, .. }) = inbox.recv() {
            // Thousands of questions may have arrived before the peer stopped reading.
            if self.outbox.is_over() {
                break;
            }
            if message == FromOperator::Watch {
                return self.watch(inbox);
            }
            self.serve_one(message, inbox);
        }
        Ok(())
    }

    fn serve_one(&self, message: FromOperator, inbox: &Receiver<Incoming<FromOperator>>) {
        let answer = if let FromOperator::Logs { build, task, number, offset, follow } = message {
            let wanted = logs::Wanted { build, task, number, offset, follow };
            self.logs(wanted, inbox).map(|()| None)
        } else {
            self.answer(message).map(Some)
        };
        match answer {
            Ok(Some(answer)) => self.outbox.send(&truncate::frame(answer)),
            // The log's end was its answer.
            Ok(None) => {}
            Err(refusal) => self.outbox.send(&Frame::new(&ToOperator::Error(refusal))),
        }
    }

    fn answer(&self, message: FromOperator) -> Result<ToOperator, Refusal> {
        match message {
            FromOperator::Status { repo, limit } => self.status(repo.as_deref(), limit.min(MAX_STATUS_BUILDS)),
            FromOperator::Show { build } => {
                let build = self.find(&build)?;
                let report = self.reports()?.build(build).map_err(|error| broken(&error))?;
                Ok(ToOperator::Build(Box::new(report)))
            }
            FromOperator::Why { build, task } => self.why(&build, task.as_deref()),
            FromOperator::Runners => Ok(ToOperator::Runners(RunnersReport { runners: self.runners()? })),
            FromOperator::Cancel { build, task } => {
                let build = self.find(&build)?;
                let job = task.map(|task| self.job_of(&build, &task)).transpose()?.map(|job| job.id);
                self.ask(Question::Cancel { build: build.id, job })
            }
            FromOperator::Rerun { build, failed } => {
                let build = self.find(&build)?;
                self.ask(Question::Rerun { build: build.id, failed_only: failed })
            }
            FromOperator::Drain { runner } => {
                let name = runner.clone();
                if self.look(move |scheduler, _| scheduler.runner_named(&name))?.is_none() {
                    let runner = Refusal::quote(&runner);
                    let text = format!("no runner named {runner} is connected: `surveil runners` lists them");
                    return Err(Refusal { code: ErrorCode::NotFound, text });
                }
                self.ask(Question::Drain { runner })
            }
            FromOperator::Watch | FromOperator::Logs { .. } | FromOperator::Ping => Ok(ToOperator::Ack),
        }
    }

    fn reports(&self) -> Result<Reports<'_>, Refusal> {
        Reports::new(&*self.reader, &self.shared.data).map_err(|error| broken(&error))
    }

    fn status(&self, repo: Option<&str>, limit: u32) -> Result<ToOperator, Refusal> {
        let reports = self.reports()?;
        let list = || {
            let mut builds = self.reader.unfinished_builds(repo)?;
            builds.extend(self.reader.finished_builds(repo, limit)?);
            builds.into_iter().map(|build| reports.build(build)).collect::<Result<Vec<_>, StoreError>>()
        };
        let builds = list().map_err(|error| broken(&error))?;
        // What is stored can be told even while the core waits for its disk.
        let look = |scheduler: &Scheduler, now| (scheduler.runners(now), scheduler.counts(), scheduler.concerns(now));
        let (runners, counts, mut warnings) = match self.look(look) {
            Ok(live) => live,
            Err(refusal) if refusal.code == ErrorCode::Busy => (Vec::new(), JobCounts::default(), vec![refusal.text]),
            Err(refusal) => return Err(refusal),
        };
        warnings.extend(self.shared.warnings.list());
        warnings.extend(warnings::of_mirrors(&self.shared.mirrors.missing));
        warnings.extend(warnings::of_disks(&self.shared.data));
        Ok(ToOperator::Status(StatusReport {
            builds,
            runners: runners.into_iter().map(report::runner).collect(),
            queued_jobs: counts.queued as u64,
            running_jobs: counts.leased as u64,
            warnings,
        }))
    }

    fn runners(&self) -> Result<Vec<crate::protocol::operator::RunnerReport>, Refusal> {
        let views = self.look(Scheduler::runners)?;
        Ok(views.into_iter().map(report::runner).collect())
    }

    fn why(&self, build: &str, task: Option<&str>) -> Result<ToOperator, Refusal> {
        let build = self.find(build)?;
        let only = task.map(|task| self.job_of(&build, task)).transpose()?;
        let id = build.id;
        let now = self.look(move |scheduler, now| scheduler.explain(now, id))?;
        let now = now
            .into_iter()
            .filter(|(name, _)| only.as_ref().is_none_or(|job| job.task.name == *name))
            .map(|(name, text)| WhyLine { at_ms: None, task: Some(name.to_string()), text })
            .collect();
        let history = self.reports()?.history(&build, only.map(|job| job.id)).map_err(|error| broken(&error))?;
        Ok(ToOperator::Why(WhyReport { build: build.id.0, now, history }))
    }

    /// Tells of builds that change, until the operator leaves; answers questions in between.
    fn watch(self, inbox: &Receiver<Incoming<FromOperator>>) -> Result<(), Refusal> {
        let (wake, woken) = bounded(1);
        let watcher = Watcher::new(wake);
        if self.shared.core.send(ToCore::Watch(watcher.clone())).is_err() {
            return Ok(());
        }
        // The core takes messages in order: once this returns, no later change is missed.
        self.look(|_, _| ())?;
        self.outbox.send(&Frame::new(&ToOperator::Ok { text: "watching".into() }));
        loop {
            crossbeam_channel::select! {
                recv(woken) -> _ => {}
                recv(inbox) -> request => match request {
                    Ok(Incoming { message, .. }) => self.serve_one(message, inbox),
                    Err(_) => return Ok(()),
                },
            }
            if self.outbox.is_over() {
                return Ok(());
            }
            let reports = self.reports()?;
            for id in watcher.take() {
                let build = self.reader.build(id).map_err(|error| broken(&error))?;
                if let Some(build) = build {
                    let report = reports.build(build).map_err(|error| broken(&error))?;
                    self.outbox.send(&truncate::frame(ToOperator::Build(Box::new(report))));
                }
            }
        }
    }

    /// The build that a person named.
    pub(super) fn find(&self, name: &str) -> Result<Build, Refusal> {
        let not_found = || Refusal {
            code: ErrorCode::NotFound,
            text: format!(
                "no build `{}`: name one by number, by at least 4 digits of its commit, or `latest`",
                Refusal::quote(name)
            ),
        };
        let mut missing = None;
        for reading in readings(name) {
            let id = match reading {
                BuildName::Number(number) => Some(BuildId(number)),
                BuildName::Commit(_) | BuildName::Latest => {
                    self.reader.find(&reading).map_err(|error| broken(&error))?
                }
            };
            let build = id.map(|id| self.reader.build(id)).transpose().map_err(|error| broken(&error))?;
            if let Some(build) = build.flatten() {
                return Ok(build);
            }
            missing = missing.or(id);
        }
        let gone = missing.map(|id| self.gone(id)).transpose()?.flatten();
        Err(gone.unwrap_or_else(not_found))
    }

    /// What became of a build that there was once.
    fn gone(&self, id: BuildId) -> Result<Option<Refusal>, Refusal> {
        let refusal = |text| Some(Refusal { code: ErrorCode::NotFound, text });
        if let Some((rule, at)) = self.reader.forgotten(id).map_err(|error| broken(&error))? {
            let days = clock::wall().0.saturating_sub(at.0) / (24 * 60 * 60 * 1000);
            let when = match days {
                ..1 => "today".to_owned(),
                1 => "a day ago".to_owned(),
                days => format!("{days} days ago"),
            };
            let why = retention::words(rule);
            return Ok(refusal(format!("build {id} was removed {when}, with its logs: it was {why}")));
        }
        let last = self.reader.last_build().map_err(|error| broken(&error))?;
        let text = format!(
            "build {id} is not there any more: it was removed long ago, or made after the backup that this dispatcher \
             was restored from"
        );
        Ok(if id <= last && id.0 > 0 { refusal(text) } else { None })
    }

    pub(super) fn job_of(&self, build: &Build, task: &str) -> Result<Job, Refusal> {
        let jobs = self.reader.jobs(build.id).map_err(|error| broken(&error))?;
        let names: Vec<String> = jobs.iter().map(|job| job.task.name.to_string()).collect();
        jobs.into_iter().find(|job| &*job.task.name == task).ok_or_else(|| Refusal {
            code: ErrorCode::NotFound,
            text: format!("build {} has no task `{}`; it has {}", build.id, Refusal::quote(task), names.join(", ")),
        })
    }

    fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Scheduler, Moment) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, receiver) = bounded(1);
        let ending = |_| Refusal { code: ErrorCode::ShuttingDown, text: "the dispatcher is shutting down".into() };
        let look = ToCore::Look(Box::new(move |scheduler, now| drop(sender.send(look(scheduler, now)))));
        let patience = Duration::from_millis(limits::LOOK_MS);
        match self.shared.core.send_timeout(look, patience) {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => return Err(held_up()),
            Err(SendTimeoutError::Disconnected(_)) => return Err(ending(())),
        }
        match receiver.recv_timeout(patience) {
            Ok(seen) => Ok(seen),
            Err(RecvTimeoutError::Timeout) => Err(held_up()),
            Err(RecvTimeoutError::Disconnected) => Err(ending(())),
        }
    }

    fn ask(&self, question: Question) -> Result<ToOperator, Refusal> {
        let (answer, reply) = bounded(1);
        let ending = |()| Refusal { code: ErrorCode::ShuttingDown, text: "the dispatcher is shutting down".into() };
        self.shared.core.send(ToCore::Ask { question: Box::new(question), answer }).map_err(|_| ending(()))?;
        match self.shared.wait_for(&reply).ok_or_else(|| ending(()))? {
            Reply::Done(text) => Ok(ToOperator::Ok { text }),
            Reply::Refused(text) => Err(Refusal { code: ErrorCode::Refused, text }),
            Reply::Accepted { .. } | Reply::Stale { .. } => Ok(ToOperator::Ok { text: "done".into() }),
        }
    }
}

/// What the core's silence means.
fn held_up() -> Refusal {
    let text =
        "the dispatcher cannot write to its disk, or is very busy: nothing is accepted until this passes (see its log)";
    Refusal { code: ErrorCode::Busy, text: text.into() }
}

pub(super) fn broken(error: &StoreError) -> Refusal {
    log::error!("the store could not be read: {error}");
    Refusal { code: ErrorCode::Internal, text: format!("the dispatcher's store could not be read: {error}") }
}

/// What a named build may be, in the order to be tried: `b12`, `#12` and `12` are the build 12, but `b1234` and `1234`
/// may also be the beginning of a commit.
fn readings(text: &str) -> Vec<BuildName> {
    if text == "latest" {
        return vec![BuildName::Latest];
    }
    let number = text.strip_prefix(['b', '#']).unwrap_or(text).parse().ok().map(BuildName::Number);
    let is_hex = text.len() >= 4 && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let commit = is_hex.then(|| BuildName::Commit(text.to_ascii_lowercase()));
    number.into_iter().chain(commit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_named_by_number_by_commit_or_as_the_latest() {
        let number = BuildName::Number;
        let commit = |text: &str| BuildName::Commit(text.to_owned());
        assert_eq!(readings("latest"), [BuildName::Latest]);
        for text in ["12", "b12", "#12"] {
            assert_eq!(readings(text), [number(12)], "{text}");
        }
        assert_eq!(readings("1234"), [number(1234), commit("1234")]);
        assert_eq!(readings("b185027123"), [number(185_027_123), commit("b185027123")]);
        assert_eq!(readings("#1234"), [number(1234)]);
        assert_eq!(readings("4F2A91C"), [commit("4f2a91c")]);
        assert_eq!(readings(&"7".repeat(40)), [commit(&"7".repeat(40))], "larger than any number");
        for text in ["", "b", "#", "b12f/x", "4f2", "nonsense"] {
            assert_eq!(readings(text), [], "{text}");
        }
    }
}
