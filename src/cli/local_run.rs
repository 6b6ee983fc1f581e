//! The attempts of `surveil run`: each task after the other, with the processes and the environment that a runner would
//! give it. Their output goes to standard output.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::local_containers::LocalContainers;
use super::local_outcomes::{failure, judged};
use super::local_services::LocalServices;
use super::output::{bold, painted};
use super::run_place::{Origin, RunPlace};
use super::task_output::pass_on;
use super::{CliError, Output, human};
use crate::clock;
use crate::config::{default_runner_name, parse_written};
use crate::error_chain::chain;
use crate::model::output::add_outputs;
use crate::model::reason::{ErrorReason, TimeoutReason};
use crate::model::recipe::WantedSecret;
use crate::model::words::{attempt_detail, outcome_detail};
use crate::model::{Ability, AttemptId, Ending, Outcome, Outputs, TaskName, TaskSpec};
use crate::process::{Command, Limits, ProgressCallbacks, Supervisor};
use crate::runner::{
    AttemptFacts, AttemptPlaces, AttemptSecrets, ContainerTool, ImageMeans, ImageRun, NextCommand, OUTPUT_FILE,
    OutputFile, OwnTemporary, SecretValues, StepEnv, StepRun, WRITTEN_TASKS, WrittenTasks, attempt_environment,
    inherited, outcome_of, set_all, step_environment, working_directory,
};

/// The event of which a local run's tasks are told.
const TRY: &str = "try";

/// The abilities that a local run has beside those of the program. A task with an image has got its tool.
const OFFERED: [Ability; 3] = [Ability::Limits, Ability::Image, Ability::ServiceImages];

/// The place and the supervisor for the tasks of one run.
pub(crate) struct LocalRun {
    supervisor: Supervisor,
    containers: LocalContainers,
    /// Gets a message on Ctrl-C.
    cancel: Receiver<()>,
    place: RunPlace,
    origin: Origin,
    temporary: OwnTemporary,
    grace_ms: u64,
    /// The outputs of the newest attempt of each task that has run.
    outputs: HashMap<TaskName, Outputs>,
    /// The file for further tasks of the present attempt, if its task may write some.
    writes_to: Option<WrittenTasks>,
    /// The text of that file, once the attempt has passed.
    written: Option<Result<String, String>>,
    /// The tasks in it, once it is read.
    joined: Vec<TaskSpec>,
}

/// The surroundings of an attempt beside its work tree.
struct Surroundings {
    temporary: PathBuf,
    /// The tool for its image, and those of its services.
    tool: Option<ContainerTool>,
    image: Option<ImageRun>,
}

/// The files beside an attempt, and the variables that its steps have set so far.
#[derive(Clone, Copy)]
struct CommandFiles<'a> {
    temporary: &'a Path,
    outputs: &'a OutputFile,
    /// `SURVEIL_ENV`, if the task has steps.
    file: Option<&'a StepEnv>,
    changes: &'a [(OsString, OsString)],
    secrets: &'a AttemptSecrets,
}

impl LocalRun {
    pub(crate) fn new(
        supervisor: Supervisor,
        containers: LocalContainers,
        cancel: Receiver<()>,
        (place, origin): (RunPlace, Origin),
        (temporary, grace_ms): (OwnTemporary, u64),
    ) -> Self {
        Self {
            supervisor,
            containers,
            cancel,
            place,
            origin,
            temporary,
            grace_ms,
            outputs: HashMap::new(),
            writes_to: None,
            written: None,
            joined: Vec::new(),
        }
    }

    /// Returns the tasks that the task before wrote.
    pub(crate) fn take_joined(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.joined)
    }

    /// Reads the tasks that a passed task wrote. Returns the ending of that task.
    fn expand(&mut self, task: &TaskSpec, out: &mut Output) -> Result<Ending, CliError> {
        let Some(written) = self.written.take() else { return Ok(Ending::Passed) };
        let plan = written.and_then(|text| parse_written(task, text.as_bytes()).map_err(|mistake| mistake.text));
        match plan {
            Ok(plan) => {
                self.joined = plan.tasks.into_iter().map(|task| task.spec).collect();
                Ok(Ending::Passed)
            }
            Err(text) => {
                text.lines().try_for_each(|line| out.line(line))?;
                Ok(Ending::Errored(Box::new(ErrorReason::BrokenTasks { text })))
            }
        }
    }

    /// Runs one task, again after a failure if it allows retries. Returns its ending, and the word that tells it best.
    pub(crate) fn run(&mut self, task: &TaskSpec, out: &mut Output) -> Result<(Ending, &'static str), CliError> {
        let mut number = 1;
        loop {
            let again = if number > 1 { format!(", attempt {number}") } else { String::new() };
            out.line(bold(format_args!("==> {}{again}", task.name)))?;
            let begun = clock::now();
            let (outcome, detail) = self.attempt(task, number, out)?;
            let took = human::duration(clock::now().0.saturating_sub(begun.0));
            let (mut ending, mut word, mut how) = judged(&outcome, detail);
            if ending == Ending::Passed {
                ending = self.expand(task, out)?;
                word = if ending == Ending::Passed { word } else { ending.word() };
            }
            if number > 1 && ending == Ending::Passed {
                how.push_str(&format!(" ({})", painted("flaky")));
            }
            let preposition = if matches!(outcome, Outcome::TimedOut(_)) { "after" } else { "in" };
            out.line(format_args!("{}: {} {preposition} {took}{how}", bold(&task.name), painted(word)))?;
            // Only a failure is tried again, as in a build; a task that could not start would not start the second
            // time.
            let is_again = failure(&outcome).is_some_and(|failure| task.placement.retry.names(&failure));
            if !is_again || number > task.placement.retries {
                return Ok((ending, word));
            }
            number += 1;
        }
    }

    /// Runs one attempt. Returns its outcome, and the exit code, signal or reason in words.
    fn attempt(
        &mut self,
        task: &TaskSpec,
        number: u32,
        out: &mut Output,
    ) -> Result<(Outcome, Option<String>), CliError> {
        let offered = [&Ability::OF_PROGRAM[..], &OFFERED].concat();
        if let Some(ability) = Ability::missing_for(&task.recipe, &offered) {
            let what = ability.offer().unwrap_or(ability.word());
            let why = format!("`surveil run` offers no {what}, and a task is never run with less than it asks for");
            return Ok(not_started(Outcome::CouldNotStart(why)));
        }
        let values = match own_secrets(&task.recipe.secrets) {
            Ok(values) => values,
            Err(why) => return Ok(not_started(Outcome::CouldNotStart(why))),
        };
        let Surroundings { temporary, tool, mut image } = match self.surroundings(task, out)? {
            Ok(surroundings) => surroundings,
            Err(outcome) => return Ok(not_started(outcome)),
        };
        let beside = image.as_ref().map_or_else(|| temporary.clone(), ImageRun::beside);
        let secrets = AttemptSecrets::place(&task.recipe.secrets, values, &beside);
        let secrets = secrets.map_err(CliError::machine("write a secret's file"))?;
        let file = (!task.recipe.steps.is_empty()).then(|| StepEnv::beside(&beside));
        self.writes_to = task.recipe.expand.then(|| WrittenTasks::beside(&beside));
        let (output_file, mut outputs) = (OutputFile::beside(&beside), Outputs::new());
        let mut run = StepRun::new(&task.recipe);
        let (mut changes, mut begun) = (Vec::new(), None);
        let root = self.place.directory();
        let env = self.environment((task, number, true), (root, &temporary), [&[]; 2]);
        let (mut services, mut lost) = (None, None);
        if !task.recipe.services.is_empty() {
            let place = (&*env, root, self.grace_ms);
            let with = (tool.as_ref(), &self.cancel);
            match LocalServices::start(&self.supervisor, &task.recipe, place, &secrets, with)? {
                Ok(started) => lost = services.insert(started).wait(&self.cancel).err(),
                Err(outcome) => lost = Some(outcome),
            }
        }
        while lost.is_none()
            && let Some(command) = run.next(begun.map_or(0, |begun| clock::now().since(begun)))
        {
            begun = begun.or_else(|| Some(clock::now()));
            if let Some(heading) = run.heading() {
                out.line(bold(format_args!("--> {heading}")))?;
            }
            let places = CommandFiles {
                temporary: &temporary,
                outputs: &output_file,
                file: file.as_ref(),
                changes: &changes,
                secrets: &secrets,
            };
            let means = (services.as_mut(), image.as_mut());
            let (mut outcome, duration_ms) = self.command((task, number), &command, means, &places)?;
            let set = file.as_ref().map_or(Ok(()), |file| file.read().map(|set| set_all(&mut changes, set)));
            let told = output_file.read().and_then(|told| secrets.mask_outputs(told)).map(|told| outputs = told);
            for why in [set, told].into_iter().filter_map(Result::err) {
                log::warn!("{}: {}", task.name, secrets.mask_text(&why));
                if outcome == Outcome::Passed {
                    outcome = Outcome::Failed(1);
                }
            }
            if let Some(step) = command.step {
                let (_, word, how) = judged(&outcome, outcome_detail(&outcome));
                out.line(format_args!(
                    "    {}: {} in {}{how}",
                    step.name,
                    painted(word),
                    human::duration(duration_ms)
                ))?;
            }
            // The container is gone, or never was, so the steps that always run have no place.
            lost = Some(outcome.clone()).filter(|outcome| matches!(outcome, Outcome::Lost(_)));
            run.ended(&command, outcome, duration_ms, 0..0);
        }
        self.outputs.insert(task.name.clone(), outputs);
        let (outcome, steps) = run.finish();
        let mut outcome = lost.unwrap_or(outcome);
        if let Some(services) = services {
            services.end(&task.name, &mut outcome)?;
        }
        let written = self.writes_to.take().and_then(|file| file.read());
        // The directories are removed when no container uses them.
        drop(image);
        self.temporary.clear();
        let mut lines = Vec::new();
        let outcome = self.place.keep_artifacts(task, outcome, &self.cancel, &mut |line| lines.push(line.to_owned()));
        lines.iter().try_for_each(|line| out.line(secrets.mask_text(line)))?;
        self.written = written.filter(|_| outcome == Outcome::Passed);
        for step in steps.iter().filter(|step| step.outcome.is_none()) {
            out.line(format_args!("    {}: {}", step.name, painted("left out")))?;
        }
        let detail = attempt_detail(&outcome, &steps);
        Ok((outcome, detail))
    }

    /// Makes the surroundings of the next attempt, and prints lines about them. Returns the outcome of an attempt that
    /// cannot have them.
    fn surroundings(&mut self, task: &TaskSpec, out: &mut Output) -> Result<Result<Surroundings, Outcome>, CliError> {
        let tool = match self.containers.tool_for(task, &self.cancel)? {
            Ok(tool) => tool,
            Err(outcome) => return Ok(Err(outcome)),
        };
        match self.place.make_ready(task)? {
            Ok(lines) => lines.iter().try_for_each(|line| out.line(line))?,
            Err(why) => return Ok(Err(Outcome::CouldNotStart(why))),
        }
        let temporary = self.temporary.make().map_err(CliError::machine("make a temporary directory"))?;
        let mut image = None;
        if let Some(tool) = &tool {
            let (tree, objects) = (self.place.directory(), self.place.objects());
            // No dispatcher has numbered this attempt.
            let means = ImageMeans { tool, attempt: AttemptId(0), tree, objects, temporary: &temporary };
            image = match ImageRun::prepare(&task.recipe, means, &self.cancel) {
                Ok(image) => image,
                Err(outcome) => return Ok(Err(outcome)),
            };
        }
        if let Some(image) = &image {
            for line in [Some(image.heading()), image.note()].iter().flatten() {
                out.line(format_args!("surveil: {line}"))?;
            }
            tell_gaps(task, &image.record(&task.recipe).not_enforced);
        }
        Ok(Ok(Surroundings { temporary, tool, image }))
    }

    /// Runs one command of an attempt, and copies its output meanwhile. Returns how it ended, and the time it took.
    fn command(
        &mut self,
        (task, number): (&TaskSpec, u32),
        command: &NextCommand<'_>,
        (services, image): (Option<&mut LocalServices>, Option<&mut ImageRun>),
        places: &CommandFiles<'_>,
    ) -> Result<(Outcome, u64), CliError> {
        let CommandFiles { temporary, outputs, file, changes, secrets } = *places;
        let could_not_start = |why| Ok((Outcome::CouldNotStart(why), 0));
        let directory = match working_directory(self.place.directory(), command.dir) {
            Ok(directory) => directory,
            Err(why) => return could_not_start(why),
        };
        let mut needed = Outputs::new();
        let of_needs = task.placement.needs.iter().filter_map(|need| self.outputs.get(&need.task));
        of_needs.for_each(|outputs| add_outputs(&mut needed, outputs.clone()));
        let given = [&*needed, &task.recipe.env];
        let mut env = self.environment((task, number, image.is_none()), (&directory, temporary), given);
        set_all(&mut env, vec![(OUTPUT_FILE.into(), outputs.path().into())]);
        set_all(&mut env, secrets.variables().to_vec());
        set_all(&mut env, services.as_ref().map_or(Vec::new(), |services| services.variables().to_vec()));
        if let (Some(step), Some(file)) = (command.step, file)
            && let Err(why) = step_environment(&mut env, step, file, changes)
        {
            return could_not_start(why);
        }
        if let Some(written) = &self.writes_to {
            set_all(&mut env, vec![(WRITTEN_TASKS.into(), written.path().into())]);
        }
        let (reader, writer) = io::pipe().map_err(CliError::machine("make a pipe"))?;
        let (end, quiet) = bounded(1);
        let quiet_ms = task.recipe.quiet_timeout_ms;
        let copy = pass_on(reader, quiet_ms.map(Duration::from_millis), end, secrets.masker())?;
        let process = Command {
            script: command.script.clone(),
            env,
            directory,
            timeout_ms: command.timeout_ms,
            grace_ms: self.grace_ms,
            // A person at a terminal has the machine anyway.
            view: None,
            limits: Limits::of(&task.recipe),
        };
        let output = File::from(OwnedFd::from(writer));
        let progress = ProgressCallbacks { also_cancel: Some(&quiet), ..ProgressCallbacks::default() };
        let (cancel, begun) = (&self.cancel, clock::now());
        let ended = match (image, services.and_then(LocalServices::beside)) {
            (Some(image), _) => image.execute(&process, output, cancel, progress).map_err(|error| chain(&error)),
            (None, Some(beside)) => Ok(beside.run(&process, output, cancel, progress)?),
            (None, None) => Ok(self.supervisor.run(&process, output, cancel, progress)?),
        };
        // All processes of the command have ended, so the pipe has no writer any more, and the copying ends.
        let was_quiet = copy.join().map_err(|_| CliError::Panicked("copying of output"))??;
        let ended = match ended {
            Ok(ended) => ended,
            Err(why) => return Ok((Outcome::Lost(why.into()), clock::now().since(begun))),
        };
        if ended.leftovers > 0 {
            log::warn!("{}: {} processes that the task left running were ended", task.name, ended.leftovers);
        }
        if ended.enforcement.is_over_memory {
            log::warn!("{}: it used more than its `memory`, so its processes were ended", task.name);
        }
        tell_gaps(task, &ended.enforcement.gaps);
        let quiet = quiet_ms.filter(|_| was_quiet).map(TimeoutReason::quiet);
        let mut outcome = outcome_of(ended.exit, quiet);
        secrets.mask_outcome(&mut outcome);
        Ok((outcome, ended.duration_ms))
    }

    /// Makes the environment of an attempt at `task`, as a runner would, with the variables of this process for a
    /// program of this machine.
    fn environment(
        &self,
        (task, number, is_program): (&TaskSpec, u32, bool),
        (directory, temporary): (&Path, &Path),
        given: [&[(String, String)]; 2],
    ) -> Vec<(OsString, OsString)> {
        let facts = AttemptFacts {
            // No dispatcher has numbered this build or attempt.
            build: 0,
            id: 0,
            task: &task.name,
            number,
            repo: &self.origin.repo,
            url: self.origin.url.as_deref(),
            reference: self.origin.reference.as_ref(),
            // As of a `try`, which is the same on runners, so that no task publishes what nobody has pushed.
            event: Some(TRY),
            is_trusted: Some(false),
            default_branch: self.origin.default_branch.as_deref(),
            // Nothing was pushed.
            before: None,
            commit: &self.origin.commit,
            text: self.origin.text.as_ref(),
            runner: &default_runner_name(),
            slot: 0,
            slots: task.placement.slots.0,
        };
        // A container has the variables of its image.
        let inherited = if is_program { inherited(std::env::vars_os()) } else { Vec::new() };
        let (root, ceiling) = (self.place.directory(), self.place.ceiling());
        let places = AttemptPlaces { root, directory, ceiling, temporary };
        attempt_environment(&inherited, &facts, &places, given)
    }
}

/// Returns the outcome of an attempt that was not started, with its words.
fn not_started(outcome: Outcome) -> (Outcome, Option<String>) {
    let detail = outcome_detail(&outcome);
    (outcome, detail)
}

/// Says which limits of a task do not hold.
fn tell_gaps(task: &TaskSpec, gaps: &[String]) {
    if !gaps.is_empty() {
        log::info!("{}: not enforced here: {}", task.name, gaps.join(", "));
    }
}

/// Returns the secrets that a task asks for: this user's own variables, because a local run has no dispatcher to ask.
fn own_secrets(wanted: &[WantedSecret]) -> Result<SecretValues, String> {
    let value = |WantedSecret { name, .. }: &WantedSecret| match std::env::var_os(name) {
        Some(value) => Ok((name.clone(), value.into_vec())),
        None => Err(format!(
            "it asks for the secret {name}, which `surveil run` takes from your own environment: set the variable {name}"
        )),
    };
    wanted.iter().map(value).collect::<Result<_, _>>().map(SecretValues)
}
