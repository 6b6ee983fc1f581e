//! A slot executes one attempt after the other, in its own work tree under its own supervisor. Its thread `slot<N>` may
//! wait for git, for the dispatcher's pack and for processes; a cancel ends each of these waits. The core gives it
//! attempts and gets reports.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::assignment::{Assignment, AttemptResult, Leavings, SourceAhead};
use super::attempt_command::AttemptCommands;
use super::attempt_log::{AttemptLog, notes};
use super::blobs::{AttemptCaches, Copying, Keeping, KeptTree, keep_artifacts, take_artifacts};
use super::boottime;
use super::command_places::{CommandPlaces, Directories, make_directories};
use super::executor::Execute;
use super::guard::{AttemptGuard, Scratch, guard_note};
use super::images::{ImageMeans, ImageRun};
use super::limit_notes::limit_notes;
use super::limits;
use super::output::SlotOutput;
use super::output_file::OutputFile;
use super::secret_request::secrets_of;
use super::secrets::AttemptSecrets;
use super::services::{AttemptServices, ServicePlace};
use super::slot_common::{Common, SlotReport, SlotWork};
use super::spool::{Spool, SpoolWriter};
use super::step_env::{StepEnv, set_all};
use super::steps::{StepRun, outcome_of};
use super::temporary::Temporary;
use super::tool_cache::{Surroundings, ToolCache};
use super::workspace::Workspace;
use super::written_tasks::WrittenTasks;
use crate::clock;
use crate::error_chain::chain;
use crate::model::reason::{LossReason, TimeoutReason};
use crate::model::{Ability, AttemptId, ExecutionRecord, LogSummary, Outcome, Outputs, StreamId};
use crate::process::{Command, Ended, Enforcement, Exit, ProcessError, ProgressCallbacks, Usage};
use crate::threads::{self, Thread};

/// The next thing that a slot does.
enum Work {
    Attempt(SlotWork),
    Ahead(Box<SourceAhead>),
}

/// The core's handle. Dropping it ends the thread after the current attempt.
pub(super) struct Slot {
    /// Declared first, so that it is dropped before the thread is joined.
    work: Sender<Work>,
    _thread: Thread<()>,
}

impl Slot {
    pub(super) fn start(number: usize, common: Arc<Common>) -> io::Result<Self> {
        // Room for an attempt, and for the source that comes before it.
        let (work, waiting) = bounded(2);
        let body = move || Slotted::new(number, common).run(&waiting);
        Ok(Self { work, _thread: threads::spawn_large(&format!("slot{number}"), body)? })
    }

    /// Gives the slot an attempt. Returns false if the slot's thread has ended.
    pub(super) fn execute(&self, attempt: SlotWork) -> bool {
        self.work.try_send(Work::Attempt(attempt)).is_ok()
    }

    /// Gives the slot the source of a lease to come, unless it has other work.
    pub(super) fn take_ahead(&self, ahead: Box<SourceAhead>) {
        if self.work.is_empty() {
            drop(self.work.try_send(Work::Ahead(ahead)));
        }
    }
}

struct Slotted {
    number: usize,
    common: Arc<Common>,
    workspace: Workspace,
    temporary: Temporary,
    scratch: Scratch,
    copying: Arc<Copying>,
    executor: Box<Execute>,
    /// The locked file that the executor's process keeps open.
    attempts: Arc<File>,
    /// Started at the first attempt, and again after a panic.
    output: Option<SlotOutput>,
}

impl Slotted {
    fn new(number: usize, common: Arc<Common>) -> Self {
        let (layout, repos) = (common.layout.clone(), common.repos.clone());
        let workspace = Workspace::new(layout, repos, number, common.local_source.clone());
        let (attempts, executor) = (common.layout.attempts(), (common.executors.tasks)(&common.layout));
        let (temporary, scratch) = (common.layout.temporary(number), Scratch::new(&common.layout, number));
        let disk = common.clone();
        let copying = Arc::new(Copying::new(common.copies.clone(), Arc::new(move || disk.check_disk().is_ok())));
        Self { number, common, workspace, temporary, scratch, copying, executor, attempts, output: None }
    }

    fn run(mut self, waiting: &Receiver<Work>) {
        while let Some(work) = self.wait(waiting) {
            let work = match work {
                Work::Attempt(attempt) => attempt,
                Work::Ahead(ahead) => {
                    if catch_unwind(AssertUnwindSafe(|| self.take_ahead(&ahead))).is_err() {
                        self = Self::new(self.number, self.common.clone());
                    }
                    continue;
                }
            };
            let attempt = work.assignment.attempt;
            let place = (work.assignment.repo.clone(), work.assignment.commit);
            let (report, warm) = match catch_unwind(AssertUnwindSafe(|| self.attempt(&work))) {
                Ok(Ok(report)) => (report, Some(place)),
                Ok(Err(outcome)) => (AttemptResult::new(outcome, None, LogSummary::default()), None),
                // The panic itself was printed. The slot begins anew, because its state may be torn.
                Err(_) => {
                    self = Self::new(self.number, self.common.clone());
                    (AttemptResult::lost("the runner's slot panicked"), None)
                }
            };
            let is_cancelled = report.outcome == Outcome::Cancelled;
            if !is_cancelled {
                self.copying.keep_passing();
            }
            // Before the end is told: nothing of the attempt outlives it.
            self.temporary.clear();
            self.scratch.clear();
            if self.common.reports.send(SlotReport::Ended { attempt, report, warm }).is_err() {
                return;
            }
            // The runner may be about to end.
            if is_cancelled {
                self.copying.abandon()
            } else {
                self.copying.finish()
            }
            self.workspace.save();
        }
    }

    /// Waits for work. If none comes for a while, the store is repacked meanwhile.
    fn wait(&mut self, waiting: &Receiver<Work>) -> Option<Work> {
        if self.workspace.untidied < limits::UNTIDIED_FETCHES {
            let wait = if self.workspace.untidied == 0 { Duration::MAX } else { limits::QUIET };
            match waiting.recv_timeout(wait) {
                Ok(work) => return Some(work),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.workspace.tidy();
        waiting.recv().ok()
    }

    fn take_ahead(&mut self, ahead: &SourceAhead) {
        if self.common.check_disk().is_ok() {
            self.workspace.take_ahead(ahead);
        }
    }

    /// Executes an attempt. Returns `Err` with the outcome if its process was not started.
    fn attempt(&mut self, work: &SlotWork) -> Result<AttemptResult, Outcome> {
        self.common.check_disk()?;
        // The dispatcher gives no such job to this runner, unless it is a foreign program. Another runner may offer it.
        if let Some(ability) = Ability::missing_for(&work.assignment.recipe, &self.common.abilities) {
            let what = ability.offer().unwrap_or(ability.word());
            return Err(Outcome::Lost(format!("this runner does not offer {what}").into()));
        }
        // The file was removed and made anew: the next runner waits for the new one.
        if !Arc::ptr_eq(&self.attempts, &self.common.layout.attempts()) {
            self.executor = (self.common.executors.tasks)(&self.common.layout);
            self.attempts = self.common.layout.attempts();
        }
        let assignment = &*work.assignment;
        let attempt = assignment.attempt;
        let reports = &self.common.reports;
        let ask = |haves, pieces| {
            // If the core is gone, the pieces' sender is dropped, and the cancel that follows ends the attempt.
            drop(reports.send(SlotReport::SourceWanted { attempt, haves, pieces }));
        };
        let tree = self.workspace.prepare(assignment, &ask, &work.cancelled)?;
        let in_the_way = |path: &str, is_directory| self.workspace.in_the_way(path, is_directory);
        let taken = take_artifacts(&self.common, &self.copying, work, &tree, &in_the_way)?;
        let own = (&mut self.temporary, &mut self.scratch);
        let directories = make_directories(&self.common, own, &tree, assignment).map_err(|error| {
            let is_full = error.kind() == io::ErrorKind::StorageFull;
            let other = || format!("could not make the attempt's temporary directory: {error}").into();
            Outcome::Lost(if is_full { LossReason::disk_full() } else { other() })
        })?;
        let tool = &self.common.container_tool();
        let temporary = &directories.temporary;
        let objects = &self.common.layout.objects(&assignment.repo);
        let means = ImageMeans { tool, attempt, tree: &tree, objects: Some(objects), temporary };
        let image = ImageRun::prepare(&assignment.recipe, means, &work.cancelled);
        let image = image.inspect_err(|outcome| self.count_loss(attempt, outcome))?;
        let spool = Arc::new(Spool::new(self.common.layout.spool(&StreamId::log(attempt))));
        let mut writer = SpoolWriter::new(spool, self.common.log_limit);
        let beside = image.as_ref().map_or_else(|| directories.beside.clone(), ImageRun::beside);
        let secrets = secrets_of(&self.common, work, &beside)?;
        writer.mask_by(secrets.as_ref().and_then(AttemptSecrets::masker));
        self.execute(work, (&tree, &directories, &beside), image, writer, secrets, &taken)
    }

    /// Executes the commands of an attempt one after the other.
    fn execute(
        &mut self,
        work: &SlotWork,
        (tree, directories, beside): (&Path, &Directories, &Path),
        mut image: Option<ImageRun>,
        writer: SpoolWriter,
        secrets: Option<AttemptSecrets>,
        taken: &[String],
    ) -> Result<AttemptResult, Outcome> {
        let assignment = &*work.assignment;
        let recipe = &*assignment.recipe;
        let file = (!recipe.steps.is_empty()).then(|| StepEnv::beside(beside));
        let written = recipe.expand.then(|| WrittenTasks::beside(beside));
        let (output_file, mut outputs) = (OutputFile::beside(beside), Outputs::new());
        let mut run = StepRun::new(recipe);
        let mut log = AttemptLog::new(assignment.attempt, writer, self.common.uploads.clone());
        if let Some(image) = &image {
            [Some(image.heading()), image.note()]
                .iter()
                .flatten()
                .for_each(|line| log.line(&format!("surveil: {line}")));
        }
        taken.iter().for_each(|line| log.line(line));
        let (common, copying, homes) = (self.common.clone(), self.copying.clone(), &directories.homes);
        let repositories = self.workspace.repositories();
        let kept = KeptTree { path: tree, repositories: &repositories };
        let caches = AttemptCaches { common: &common, copying: &copying, work, tree: kept, homes };
        let unsaved = caches.restore(&mut |line| log.line(line))?;
        self.common.check_exclusive(assignment, boottime::now())?;
        let temporary = &*directories.temporary;
        let surroundings =
            Surroundings { beside, temporary, inherited: &common.inherited, view: directories.view.as_ref() };
        let mut tell = |line: &str| log.line(line);
        let tool_cache = ToolCache::of(assignment, &common.tool_cache, surroundings, &mut tell);
        self.workspace.notes().for_each(|note| log.line(&format!("surveil: {note}")));
        let text = self.workspace.text().cloned();
        let commands =
            AttemptCommands { common: &common, assignment, slot: self.number, text: text.as_ref(), tree, temporary };
        let mut services = None;
        let (mut changes, mut begun, mut duration_ms, mut lost) = (Vec::new(), None, None, None);
        if !recipe.services.is_empty() {
            let (attempt, view, env) =
                (assignment.attempt, directories.view.as_ref(), commands.environment(tree, true, &[], [&[]; 2]));
            let place = ServicePlace { attempt, recipe, env, tree, view, secrets: secrets.as_ref() };
            let started = AttemptServices::start(&common, &place, &work.cancelled);
            let started = services.insert(started.inspect_err(|outcome| self.count_loss(attempt, outcome))?);
            let waited = started.wait(&work.cancelled).inspect_err(|outcome| self.count_loss(attempt, outcome));
            lost = waited.and_then(|()| common.check_exclusive(assignment, boottime::now())).err();
        }
        let (mut used, mut enforcement): (Option<Usage>, _) = (None, Enforcement::default());
        while lost.is_none()
            && let Some(command) = run.next(begun.map_or(0, |begun| clock::now().since(begun)))
        {
            if let Some(heading) = run.heading() {
                log.line(&format!("surveil: {heading}"));
            }
            let begun = *begun.get_or_insert_with(clock::now);
            let from = log.position();
            let (file_of_step, written) = (file.as_ref(), written.as_ref());
            let places = CommandPlaces {
                directories,
                file: file_of_step,
                outputs: &output_file,
                written,
                tool_cache: tool_cache.as_ref().map_or(&[], ToolCache::variables),
                secrets: secrets.as_ref().map_or(&[], AttemptSecrets::variables),
                ports: services.as_ref().map_or(&[], AttemptServices::variables),
            };
            let (ended, was_quiet) = match commands.command(&command, &places, &changes) {
                Ok(process) => self.run_process(work, &process, (image.as_mut(), services.as_mut()), &mut log)?,
                Err(why) => (Ok(Ended::before_start(Exit::CouldNotStart(why))), false),
            };
            let section = from..log.position();
            let quiet = recipe.quiet_timeout_ms.filter(|_| was_quiet).map(TimeoutReason::quiet);
            let noun = if command.step.is_some() { "step" } else { "task" };
            let notes = notes(noun, &ended, quiet.as_ref()).into_iter();
            notes.chain(limit_notes(noun, recipe, &ended)).for_each(|note| log.line(&note));
            if matches!(&ended, Ok(Ended { exit: Exit::Code(code), .. }) if *code != 0) {
                let view = directories.view.as_ref().filter(|_| image.is_none());
                view.and_then(guard_note).iter().for_each(|note| log.line(note));
            }
            let ended = match ended {
                Ok(ended) => ended,
                Err(error) => {
                    (duration_ms, lost) = (None, Some(Outcome::Lost(chain(&error).into())));
                    break;
                }
            };
            let is_started = !matches!(ended.exit, Exit::CouldNotStart(_));
            used = used.map(|before| before.and(ended.usage)).or(Some(ended.usage).filter(|_| is_started));
            enforcement = enforcement.and(ended.enforcement);
            // The time of steps is that from the first to the last.
            let whole_ms = if command.step.is_some() { clock::now().since(begun) } else { ended.duration_ms };
            duration_ms = Some(whole_ms);
            let mut outcome = self.outcome(ended.exit, quiet);
            secrets.iter().for_each(|secrets| secrets.mask_outcome(&mut outcome));
            if matches!(outcome, Outcome::Lost(_)) || log.failure.is_some() {
                lost = Some(outcome);
                break;
            }
            let set = file.as_ref().map_or(Ok(()), |file| file.read().map(|set| set_all(&mut changes, set)));
            let told = output_file.read().and_then(|told| match &secrets {
                Some(secrets) => secrets.mask_outputs(told),
                None => Ok(told),
            });
            let told = told.map(|told| outputs = told);
            for why in [set, told].into_iter().filter_map(Result::err) {
                if outcome == Outcome::Passed {
                    log.line(&format!("surveil: {why}; so the {noun} has failed"));
                    outcome = Outcome::Failed(1);
                } else {
                    log.line(&format!("surveil: {why}"));
                }
            }
            run.ended(&command, outcome, ended.duration_ms, section);
        }
        let (outcome, steps) = run.finish();
        let mut outcome = lost.unwrap_or(outcome);
        // Before the artifacts are read: nothing of the attempt writes any more.
        let ended = services.map(|services| services.end(&mut outcome)).unwrap_or_default();
        ended.notes(&outcome).iter().for_each(|note| log.line(note));
        let mut artifacts = Vec::new();
        if log.failure.is_none() && !recipe.artifacts.is_empty() {
            let Common { artifact_limits: limits, reports, .. } = &*self.common;
            let (attempt, rules, limits) = (assignment.attempt, &recipe.artifacts[..], *limits);
            let keeping = Keeping { attempt, rules, tree: kept, limits, reports, cancelled: &work.cancelled };
            (outcome, artifacts) = keep_artifacts(&keeping, outcome, &mut |line| log.line(line));
        }
        let is_over = matches!(outcome, Outcome::Lost(_) | Outcome::Cancelled);
        tool_cache.into_iter().for_each(|cache| cache.end(!is_over, &mut |line| log.line(line)));
        if log.failure.is_none() && outcome == Outcome::Passed {
            outcome = caches.save(unsaved, &mut |line| log.line(line));
        }
        let mut result = log.report(outcome, duration_ms, steps);
        let guard = self.common.guard.as_ref().filter(|_| directories.view.is_some());
        let execution = image.as_ref().map(|image| image.record(recipe));
        let execution = execution.unwrap_or_else(|| AttemptGuard::record(guard, recipe, used, enforcement));
        result.execution = Some(Box::new(ExecutionRecord { services: ended.records, ..execution }));
        result.streams = ended.streams;
        if result.outcome == Outcome::Passed {
            result.written = written.and_then(|written| written.read()).map(Box::new);
            if let (Some(text), Some(secrets)) = (&mut result.written, &secrets) {
                secrets.mask(text);
            }
        }
        if !matches!(result.outcome, Outcome::Lost(_) | Outcome::Cancelled) {
            result.left = Leavings::of(outputs, artifacts);
        }
        Ok(result)
    }

    /// Executes one command and takes its output. Returns how it ended, and whether it was ended because it printed
    /// nothing.
    fn run_process(
        &mut self,
        work: &SlotWork,
        command: &Command,
        (image, services): (Option<&mut ImageRun>, Option<&mut AttemptServices>),
        log: &mut AttemptLog,
    ) -> Result<(Result<Ended, ProcessError>, bool), Outcome> {
        let assignment = &*work.assignment;
        let no_output = |error| Outcome::Lost(format!("could not take the output: {error}").into());
        let mut output = match self.output.take() {
            Some(output) => output,
            None => {
                SlotOutput::new(&format!("slot{}-out", self.number), self.common.uploads.clone()).map_err(no_output)?
            }
        };
        let (end, ended_by_output) = bounded(1);
        let quiet = assignment.recipe.quiet_timeout_ms.map(Duration::from_millis);
        let stream = StreamId::log(assignment.attempt);
        let pipe = output.start(stream, log.take_writer(), end.clone(), quiet).map_err(no_output)?;
        let started = (!log.has_started).then(|| self.started(assignment));
        let mut lasting = || output.follow();
        let progress = ProgressCallbacks { started, lasting: Some(&mut lasting), also_cancel: Some(&ended_by_output) };
        let (pipe, cancelled) = (File::from(OwnedFd::from(pipe)), &work.cancelled);
        let ended = match (image, services.and_then(AttemptServices::beside)) {
            (Some(image), _) => image.execute(command, pipe, cancelled, progress),
            (None, Some(beside)) => beside.run(command, pipe, cancelled, progress),
            (None, None) => (self.executor)(command, pipe, cancelled, progress),
        };
        // Until here, so that the end of the output is not taken for a message.
        drop(end);
        log.has_started |= !matches!(&ended, Ok(Ended { exit: Exit::CouldNotStart(_), .. }));
        let Some(taken) = output.finish() else {
            return Err(Outcome::Lost("the runner's output thread panicked".into()));
        };
        self.output = Some(output);
        Ok((ended, log.take_output(taken)))
    }

    /// Lets a loss count among those after the start, which are limited: an image may be nowhere.
    fn count_loss(&self, attempt: AttemptId, outcome: &Outcome) {
        if matches!(outcome, Outcome::Lost(_)) {
            drop(self.common.reports.send(SlotReport::Started(attempt)));
        }
    }

    /// Returns the function that tells the core that the attempt's process has started.
    fn started(&self, assignment: &Assignment) -> Box<dyn FnOnce() + Send> {
        let (attempt, build, slot) = (assignment.attempt, assignment.build, self.number);
        let (task, reports) = (assignment.task.clone(), self.common.reports.clone());
        Box::new(move || {
            log::info!("attempt {attempt} of {build}/{task} started in slot {slot}");
            drop(reports.send(SlotReport::Started(attempt)));
        })
    }

    fn outcome(&self, exit: Exit, quiet: Option<TimeoutReason>) -> Outcome {
        let outcome = outcome_of(exit, quiet);
        let is_failure = matches!(outcome, Outcome::Failed(_) | Outcome::Killed(_));
        if is_failure && self.common.layout.is_full() { Outcome::Lost(LossReason::disk_full()) } else { outcome }
    }
}
