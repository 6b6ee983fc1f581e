//! `surveil try`: builds the uncommitted work of the current directory, and ends with the verdict.

use std::path::Path;

use clap::Args;

use super::flags::{Format, FormatFlags};
use super::hints::Hints;
use super::operator_flags::OperatorFlags;
use super::reconnect::note;
use super::report::present;
use super::session::Session;
use super::show::{self, Folding, build_named};
use super::stop_switch::StopSwitch;
use super::submission::{Submission, as_observed, draw_id, held, named_value};
use super::typed_place::known_place;
use super::watch::{Followed, Until};
use super::{CliError, ExitCode, Output, watch};
use crate::clock;
use crate::config::{MAX_TASK_FILE_BYTES, ObservedRepo, TASK_FILE, source_needs, work_dir};
use crate::error_chain::chain;
use crate::git::{Facts, Local, SourcePlaces, UncommittedWork, Watched};
use crate::model::{CommitId, EndingKind, JobStateKind, SourceNeeds};
use crate::protocol::operator::{BuildReport, FromOperator, SubmitOrder};
use crate::quoting::absolute;

const EXAMPLES: &str = "\
The command builds the commit that `git add --all` and `git commit` would make of the work tree now: changed and new \
files, without those that are ignored. Index, work tree, branches, stash and objects of the repository stay as they \
are. Submodules are at the commits that the index names; a warning names those with other commits or changed files. \
Files with conflicts of a merge are taken as they are, with a warning.

The build is never trusted, and moves no branch. The exit code is the verdict: 0 passed, 1 failed, 3 errored, \
4 cancelled. With --first-failure, the command ends at the first task that fails, with 1 (or 3 if it errored), and \
cancels the rest. Ctrl-C cancels the build, with 130.

Examples:
  surveil try
  surveil try --task test --first-failure";

/// Build the uncommitted work of the current directory, and exit with the verdict
#[derive(Debug, Args)]
#[command(name = "try", after_help = EXAMPLES)]
pub(crate) struct TryFlags {
    /// Run only this task, with the tasks that it needs; may be repeated [default: every task]
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<String>,
    /// Give this value to an input of the tasks; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = named_value)]
    inputs: Vec<(String, String)>,
    /// End at the first task that fails, and cancel the rest
    #[arg(long, conflicts_with = "no_wait")]
    first_failure: bool,
    /// Print the build's number, and do not wait for its end
    #[arg(long)]
    no_wait: bool,
    /// Wait for the end, as by default
    #[arg(long, hide = true, conflicts_with = "no_wait")]
    wait: bool,
    /// The repository's name at the dispatcher [default: its last path component]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Tries what is there.
pub(crate) fn run(flags: &TryFlags, mut out: Output) -> Result<ExitCode, CliError> {
    let local = Local::open(known_place(Path::new("."))?)?;
    let operator = &flags.operator;
    let stop = StopSwitch::new()?;
    let session = operator.connect().inspect_err(|error| {
        if error.is_unreachable() {
            note("without a dispatcher: `surveil run` runs tasks in the work tree, `surveil run --clean` in a tree of HEAD");
        }
    })?;
    let mut trial =
        Trial { flags, repo: as_observed(local.place(), flags.name.as_deref())?, local: &local, made: None };
    let submitted = operator.persist(session, |session| {
        stop.closes(session.stream());
        stop.unless_set(|| trial.submit(session))
    })?;
    let Some(report) = submitted.filter(|_| !stop.is_set()) else { return Ok(stop.exit_code()) };
    // The objects that only this try has are at the dispatcher now.
    trial.made = None;
    // The exit code is the verdict, whether anybody reads what is shown or not.
    out.outlive_reader();
    let hints = Hints::in_repository(operator.typed(), Some(absolute(local.root())));
    let is_json = flags.format.get() == Format::Json;
    if flags.no_wait && !is_json {
        out.line(format_args!("b{}", report.build))?;
        note(&format!("to watch it: surveil watch{} b{}", hints.connection, report.build));
        return Ok(ExitCode::Ok);
    }
    if flags.no_wait {
        present_json(&report, &hints, &mut out)?;
        return Ok(ExitCode::Ok);
    }
    let until = Until { first_failure: flags.first_failure, stop: Some(&stop) };
    // A program reads the report at the end; a person sees what happens meanwhile.
    let (shown, mut printed) = if is_json { (None, Some(out)) } else { (Some((hints.clone(), out)), None) };
    let mut print = |report: &BuildReport| printed.as_mut().map_or(Ok(()), |out| present_json(report, &hints, out));
    match watch::follow(operator, operator.connect()?, &report, until, shown)? {
        Followed::Finished(report) => {
            print(&report)?;
            ExitCode::of_build(&report).ok_or(CliError::Unexpected("`watch`"))
        }
        Followed::FirstFailure(report) => {
            cancel(operator, &report);
            print(&report)?;
            Ok(if has_failed(&report) { ExitCode::Failed } else { ExitCode::Errored })
        }
        Followed::Stopped => {
            cancel(operator, &report);
            Ok(stop.exit_code())
        }
    }
}

/// Prints the report for a program.
fn present_json(report: &BuildReport, hints: &Hints, out: &mut Output) -> Result<(), CliError> {
    present(report, Format::Json, out, |report, out| {
        show::print(report, (Folding::Matrices, clock::wall().0), hints, out)
    })
}

/// A try that is being submitted.
struct Trial<'a> {
    flags: &'a TryFlags,
    repo: ObservedRepo,
    local: &'a Local,
    /// The work and its order, from the first session on: later ones send the same.
    made: Option<(UncommittedWork, Option<Facts>, SubmitOrder)>,
}

impl Trial<'_> {
    fn submit(&mut self, session: &mut Session) -> Result<BuildReport, CliError> {
        let watched = Watched::open(self.local.place().location())?;
        let repo = self.repo.name.as_str();
        let head: Vec<CommitId> = watched.head_commit()?.into_iter().map(|(_, commit)| commit).collect();
        let mut at_dispatcher = held(session, repo, &head)?;
        if let ([head], []) = (&*head, &*at_dispatcher.commits) {
            // The dispatcher may have what HEAD follows.
            at_dispatcher = held(session, repo, &watched.ancestors(*head)?)?;
        }
        if self.made.is_none() {
            let work = UncommittedWork::capture(self.local, at_dispatcher.max_file)?;
            work.warnings.iter().for_each(|warning| note(warning));
            let tasks = work.read_file(TASK_FILE, MAX_TASK_FILE_BYTES)?;
            let needs = tasks.map_or(SourceNeeds::NOTHING, |text| source_needs(&text));
            let work_dir = work_dir(None);
            let facts = work.facts(&watched, needs, SourcePlaces { work: &work_dir, base: None })?;
            let order = self.order(&work, facts.as_ref())?;
            self.made = Some((work, facts, order));
        }
        let Some((work, facts, order)) = &self.made else { return Err(CliError::Unexpected("a try")) };
        let pack = |haves: &[_], sink: &mut dyn FnMut(&[u8]) -> bool| match facts {
            Some(facts) => work.pack_with_facts(haves, facts, sink),
            None => work.pack(haves, sink),
        };
        let submission = Submission { order: order.clone(), pack: &pack };
        let build = submission.send(session, &at_dispatcher.commits)?;
        build_named(session, &build.to_string())
    }

    fn order(&self, work: &UncommittedWork, facts: Option<&Facts>) -> Result<SubmitOrder, CliError> {
        Ok(SubmitOrder {
            id: draw_id()?,
            trigger: "try".into(),
            repo: self.repo.name.to_string(),
            source: self.repo.source.clone(),
            reference: work.reference.as_ref().map(ToString::to_string),
            commit: work.commit.to_string(),
            tasks: self.flags.tasks.clone(),
            inputs: self.flags.inputs.iter().cloned().collect(),
            priority: 0,
            subject: work.subject.clone(),
            author: work.author.clone(),
            facts: facts.map(|facts| facts.id.to_string()),
        })
    }
}

/// Cancels what is left of the build: nobody waits for it any more.
fn cancel(operator: &OperatorFlags, report: &BuildReport) {
    let order = FromOperator::Cancel { build: report.build.to_string(), task: None };
    match operator.connect().and_then(|mut session| session.order(&order)) {
        Ok(done) => note(&done),
        Err(error) => note(&format!("b{} is not cancelled: {}", report.build, chain(&error))),
    }
}

/// Whether a task has failed that may not fail, and not only errored.
fn has_failed(report: &BuildReport) -> bool {
    let failed = Some(JobStateKind::Finished(EndingKind::Failed));
    report.jobs.iter().any(|job| JobStateKind::of_word(&job.state) == failed && !job.allow_failure)
}
