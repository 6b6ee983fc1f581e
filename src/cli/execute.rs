//! `surveil run`: executes tasks here and now, in the current work tree or in a clean one (`run_place.rs`). Processes
//! and environment are those of an attempt, but there is no server and no log file. The tasks' output goes to standard
//! output as they write it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, bounded};

use super::image_flags::ImageFlags;
use super::local_build::LocalBuild;
use super::local_outcomes::{failure, judged, summarize};
use super::local_services::{LocalContainers, LocalServices};
use super::output::{bold, painted};
use super::run_place::{Origin, Prepared, RunPlace};
use super::task_output::pass_on;
use super::{CliError, ExitCode, Output, human, interrupt};
use crate::clock;
use crate::config::{default_runner_name, defaults, parse_written, work_dir};
use crate::model::output::add_outputs;
use crate::model::reason::{ErrorReason, TimeoutReason};
use crate::model::recipe::WantedSecret;
use crate::model::words::{attempt_detail, outcome_detail};
use crate::model::{Ability, Ending, Outcome, Outputs, TaskName, TaskSpec};
use crate::process::{Command, Limits, ProgressCallbacks, Supervisor, detect_isolation};
use crate::quoting::shell_word;
use crate::runner::{
    AttemptFacts, AttemptPlaces, AttemptSecrets, NextCommand, OUTPUT_FILE, OutputFile, OwnTemporary, SecretValues,
    StepEnv, StepRun, WRITTEN_TASKS, WrittenTasks, attempt_environment, inherited, outcome_of, set_all,
    step_environment, working_directory,
};

/// The event of which a local run's tasks are told.
const TRY: &str = "try";

const EXAMPLES: &str = "\
Tasks run one after the other, each after the tasks that it needs. Without names, those run that a push to the \
current branch would run if everything had changed; tasks that are named run whatever their `when` says. Labels are \
ignored. They run in the work tree as it is, with everything that is in it: changes, untracked files, products of \
earlier tasks. As on a runner they run at the root of the tree, whatever directory of the repository is the current \
one. With --clean, each runs in a fresh tree of the commit alone, as on a runner, with a .git of its own and the \
artifacts of the tasks that it needs, and nothing else that another task has made. The exit code is that of a build: \
0 passed, 1 failed, 3 errored; 130 after Ctrl-C and 143 after SIGTERM, which end the task with all its processes. The \
tasks run to their end also if nobody reads the \
output.

Examples:
  surveil run
  surveil run test lint
  surveil run --clean test
  surveil run --clean --commit HEAD~1 test
  surveil run --dir ../app build";

/// Run tasks here and now, in the current work tree and without a server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExecuteFlags {
    /// Tasks to run, with all tasks that they need [default: every task that a push to this branch would run]
    #[arg(value_name = "TASK")]
    tasks: Vec<String>,
    /// Run in a tree such as a runner makes: the commit's files and nothing else
    #[arg(long)]
    clean: bool,
    /// The commit for the clean tree: an id, a branch, HEAD~1 [default: HEAD]
    #[arg(long, value_name = "COMMIT", requires = "clean")]
    commit: Option<String>,
    /// The work tree: its root, or any directory in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Directory for clean trees, and for files that tell which containers are in use [default: ~/.cache/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_WORK")]
    work: Option<PathBuf>,
    /// Time that processes have to end before they are killed
    #[arg(long, value_name = "TIME", default_value_t = super::quantity::Millis(defaults::GRACE_MS))]
    grace: super::quantity::Millis,
    #[command(flatten)]
    images: ImageFlags,
}

/// Runs the requested tasks.
pub(crate) fn run(flags: &ExecuteFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let work = work_dir(flags.work.clone());
    let Prepared { place, tasks, settings, origin } = if flags.clean {
        RunPlace::clean(&flags.dir, flags.commit.as_deref().unwrap_or("HEAD"), &work)?
    } else {
        RunPlace::as_it_is(&flags.dir)?
    };
    let mut build = LocalBuild::new(&tasks, &flags.tasks, origin.reference.clone(), settings.fail_fast)?;
    let program = std::env::current_exe().map_err(CliError::machine("find this program's own file"))?;
    let (cancel, signal) = interrupt::noted_and_answered_by(vec![()])?;
    // The exit code is the verdict, so the tasks run to their end also if nobody reads.
    out.outlive_reader();
    let mut local = LocalRun {
        outputs: HashMap::new(),
        writes_to: None,
        written: None,
        joined: Vec::new(),
        containers: LocalContainers::new(flags.images.clone(), work, program.clone()),
        supervisor: Supervisor::new(program, detect_isolation()),
        cancel,
        origin,
        place,
        temporary: OwnTemporary::new(&std::env::temp_dir()).map_err(CliError::machine("make a temporary directory"))?,
        grace_ms: flags.grace.0,
    };
    let begun = clock::now();
    let (mut has_tool_cache, mut has_cache) = (false, false);
    while let Some(task) = build.next() {
        if !task.recipe.caches.is_empty() && !std::mem::replace(&mut has_cache, true) {
            log::warn!("`surveil run` has no `cache`: those are kept by a dispatcher");
        }
        if task.recipe.tool_cache && !std::mem::replace(&mut has_tool_cache, true) {
            log::warn!("`surveil run` has no `tool_cache`: build tools use the caches that they have by themselves");
        }
        let (ending, word) = local.run(&task, out)?;
        build.end(task, ending, word);
        build.join(&std::mem::take(&mut local.joined))?;
    }
    for held in build.held() {
        let name = &held.task.name;
        let why = match held.needs.as_slice() {
            [] if tasks.iter().any(|task| task.name == *name) => format!("to run it: surveil run {}", shell_word(name)),
            [] => "a task that a task wrote is started in a build of a dispatcher".to_owned(),
            needs => format!("needs {}", needs.iter().map(|name| &**name).collect::<Vec<_>>().join(", ")),
        };
        out.line(format_args!("{}: held ({why})", bold(name)))?;
    }
    let verdict = summarize(build.done(), clock::now().0.saturating_sub(begun.0), out)?;
    Ok(if build.is_interrupted() { signal.exit_code() } else { verdict.into() })
}

/// The place and the supervisor for the tasks of one run.
struct LocalRun {
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
    fn run(&mut self, task: &TaskSpec, out: &mut Output) -> Result<(Ending, &'static str), CliError> {
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
        let offered = [&Ability::OF_PROGRAM[..], &[Ability::Limits, Ability::ServiceImages]].concat();
        if let Some(ability) = Ability::missing_for(&task.recipe, &offered) {
            let what = ability.offer().unwrap_or(ability.word());
            let why = format!("`surveil run` offers no {what}, and a task is never run with less than it asks for");
            return Ok((Outcome::CouldNotStart(why.clone()), Some(why)));
        }
        let values = match own_secrets(&task.recipe.secrets) {
            Ok(values) => values,
            Err(why) => return Ok((Outcome::CouldNotStart(why.clone()), Some(why))),
        };
        match self.place.make_ready(task)? {
            Ok(lines) => lines.iter().try_for_each(|line| out.line(line))?,
            Err(why) => return Ok((Outcome::CouldNotStart(why.clone()), Some(why))),
        }
        let temporary = self.temporary.make().map_err(CliError::machine("make a temporary directory"))?;
        let secrets = AttemptSecrets::place(&task.recipe.secrets, values, &temporary);
        let secrets = secrets.map_err(CliError::machine("write a secret's file"))?;
        let file = (!task.recipe.steps.is_empty()).then(|| StepEnv::beside(&temporary));
        self.writes_to = task.recipe.expand.then(|| WrittenTasks::beside(&temporary));
        let (output_file, mut outputs) = (OutputFile::beside(&temporary), Outputs::new());
        let mut run = StepRun::new(&task.recipe);
        let (mut changes, mut begun) = (Vec::new(), None);
        let root = self.place.directory();
        let env = self.environment(task, number, (root, &temporary), [&[]; 2]);
        let (mut services, mut unready) = (None, None);
        if !task.recipe.services.is_empty() {
            let place = (&*env, root, self.grace_ms);
            let with = (&mut self.containers, &self.cancel);
            match LocalServices::start(&self.supervisor, &task.recipe, place, &secrets, with)? {
                Ok(started) => unready = services.insert(started).wait(&self.cancel).err(),
                Err(outcome) => unready = Some(outcome),
            }
        }
        while unready.is_none()
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
            let (mut outcome, duration_ms) = self.command(task, number, (&command, services.as_mut()), &places)?;
            let set = file.as_ref().map_or(Ok(()), |file| file.read().map(|set| set_all(&mut changes, set)));
            let told = output_file.read().and_then(|told| secrets.mask_outputs(told)).map(|told| outputs = told);
            for why in [set, told].into_iter().filter_map(Result::err) {
                log::warn!("{}: {why}", task.name);
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
            run.ended(&command, outcome, duration_ms, 0..0);
        }
        self.outputs.insert(task.name.clone(), outputs);
        let (outcome, steps) = run.finish();
        let mut outcome = unready.unwrap_or(outcome);
        if let Some(services) = services {
            services.end(&task.name, &mut outcome)?;
        }
        self.temporary.clear();
        let mut lines = Vec::new();
        let outcome = self.place.keep_artifacts(task, outcome, &self.cancel, &mut |line| lines.push(line.to_owned()));
        lines.iter().try_for_each(|line| out.line(line))?;
        let written = self.writes_to.take().filter(|_| outcome == Outcome::Passed);
        self.written = written.and_then(|file| file.read());
        for step in steps.iter().filter(|step| step.outcome.is_none()) {
            out.line(format_args!("    {}: {}", step.name, painted("left out")))?;
        }
        let detail = attempt_detail(&outcome, &steps);
        Ok((outcome, detail))
    }

    /// Runs one command of an attempt, and copies its output meanwhile. Returns how it ended, and the time it took.
    fn command(
        &mut self,
        task: &TaskSpec,
        number: u32,
        (command, services): (&NextCommand<'_>, Option<&mut LocalServices>),
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
        let mut env = self.environment(task, number, (&directory, temporary), [&needed, &task.recipe.env]);
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
        let ended = match services.and_then(LocalServices::beside) {
            Some(beside) => beside.run(&process, output, &self.cancel, progress)?,
            None => self.supervisor.run(&process, output, &self.cancel, progress)?,
        };
        // All processes of the command have ended, so the pipe has no writer any more, and the copying ends.
        let was_quiet = copy.join().map_err(|_| CliError::Panicked("copying of output"))??;
        if ended.leftovers > 0 {
            log::warn!("{}: {} processes that the task left running were ended", task.name, ended.leftovers);
        }
        if ended.enforcement.is_over_memory {
            log::warn!("{}: it used more than its `memory`, so its processes were ended", task.name);
        }
        if !ended.enforcement.gaps.is_empty() {
            log::info!("{}: not enforced here: {}", task.name, ended.enforcement.gaps.join(", "));
        }
        let quiet = quiet_ms.filter(|_| was_quiet).map(TimeoutReason::quiet);
        Ok((outcome_of(ended.exit, quiet), ended.duration_ms))
    }

    /// Makes the environment of an attempt at `task`, as a runner would.
    fn environment(
        &self,
        task: &TaskSpec,
        number: u32,
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
        let inherited = inherited(std::env::vars_os());
        let (root, ceiling) = (self.place.directory(), self.place.ceiling());
        let places = AttemptPlaces { root, directory, ceiling, temporary };
        attempt_environment(&inherited, &facts, &places, given)
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
