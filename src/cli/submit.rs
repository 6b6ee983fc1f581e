//! `surveil submit`: asks for a build of any commit of a local repository, and waits for its verdict with `--wait`.

use std::path::PathBuf;

use clap::Args;

use super::flags::{Format, FormatFlags};
use super::hints::Hints;
use super::operator_flags::OperatorFlags;
use super::reconnect::note;
use super::report::present;
use super::show::{self, Folding, build_named};
use super::submission::{Submission, as_observed, draw_id, held, named_value};
use super::typed_place::known_place;
use super::{CliError, ExitCode, Output, watch};
use crate::clock;
use crate::config::{MAX_TASK_FILE_BYTES, TASK_FILE, source_needs, work_dir};
use crate::git::{Local, SourcePlaces, Watched};
use crate::model::SourceNeeds;
use crate::protocol::operator::SubmitOrder;
use crate::quoting::absolute;

const EXAMPLES: &str = "\
The commit's source travels with the request: nothing has to be pushed, and no observer has to watch the repository, \
which is only read. Its name at the dispatcher is that which an observer would give it: a repository that is known by \
that name gets one more build. The build moves no branch.

REF is a branch, a tag, the beginning of a commit's id, or another name that git knows, such as HEAD~1. A build of a \
branch or tag is a build for that ref; one of any other name is for no ref, which is shown as HEAD.

Without --wait, it prints the build's number. With --wait, the exit code is the verdict: 0 passed, 1 failed, \
3 errored, 4 cancelled. A request that is interrupted is sent again and makes no second build.

Examples:
  surveil submit
  surveil submit release/1.2 --priority 50 --wait
  surveil submit v1.4.0 --task publish --set version=1.4.0 --repo ~/src/app";

/// Build a commit of a local repository now
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SubmitFlags {
    /// The commit: a branch, a tag, the beginning of an id, HEAD~1
    #[arg(value_name = "REF", default_value = "HEAD")]
    reference: String,
    /// The repository: its path, or any directory in it
    #[arg(long, value_name = "PATH", default_value = ".")]
    repo: PathBuf,
    /// The repository's name at the dispatcher [default: its last path component]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Run only this task, with the tasks that it needs; may be repeated [default: every task]
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<String>,
    /// Give this value to an input of the tasks; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = named_value)]
    inputs: Vec<(String, String)>,
    /// Put its jobs before or behind those of the repository's other builds: it is added to the priority of each task
    #[arg(long, value_name = "-100 to 100", default_value_t = 0, hide_default_value = true,
          value_parser = clap::value_parser!(i32).range(-100..=100), allow_negative_numbers = true)]
    priority: i32,
    /// Show what happens until the build is finished, and exit with its verdict
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Submits the commit that was typed.
pub(crate) fn run(flags: &SubmitFlags, mut out: Output) -> Result<ExitCode, CliError> {
    let local = Local::open(known_place(&flags.repo)?)?;
    let named = local.named(&flags.reference)?;
    let watched = Watched::open(local.place().location())?;
    let repo = as_observed(local.place(), flags.name.as_deref())?;
    let text = watched.describe(named.commit)?;
    let tasks = watched.read_file(named.commit, TASK_FILE, MAX_TASK_FILE_BYTES)?;
    let needs = tasks.map_or(SourceNeeds::NOTHING, |text| source_needs(&text));
    let work = work_dir(None);
    let facts = watched.facts(named.commit, needs, SourcePlaces { work: &work, base: None })?;
    let order = SubmitOrder {
        id: draw_id()?,
        trigger: "manual".into(),
        repo: repo.name.to_string(),
        source: repo.source,
        reference: named.reference.map(|reference| reference.to_string()),
        commit: named.commit.to_string(),
        tasks: flags.tasks.clone(),
        inputs: flags.inputs.iter().cloned().collect(),
        priority: flags.priority,
        subject: text.subject,
        author: text.author,
        facts: facts.as_ref().map(|facts| facts.id.to_string()),
    };
    let commit = [named.commit];
    let pack = |haves: &[_], sink: &mut dyn FnMut(&[u8]) -> bool| match &facts {
        Some(facts) => watched.pack_with_facts(&commit, haves, (facts, None), sink),
        None => watched.pack(&commit, haves, sink),
    };
    let candidates = [vec![named.commit], watched.ancestors(named.commit)?].concat();
    let submission = Submission { order, pack: &pack };
    let operator = &flags.operator;
    let report = operator.persist(operator.connect()?, |session| {
        let held = held(session, &submission.order.repo, &candidates)?;
        let build = submission.send(session, &held.commits)?;
        build_named(session, &build.to_string())
    })?;
    // The build is durable, whether anybody reads that or not.
    out.outlive_reader();
    let hints = Hints::in_repository(operator.typed(), Some(absolute(local.root())));
    if flags.format.get() == Format::Table {
        if flags.wait {
            return watch::until_finished(operator, &report, hints, out);
        }
        out.line(format_args!("b{}", report.build))?;
        note(&format!("to watch it: surveil watch{} b{}", hints.connection, report.build));
        return Ok(ExitCode::Ok);
    }
    let report = if flags.wait { show::until_finished(operator, operator.connect()?, report)? } else { report };
    present(&report, flags.format.get(), &mut out, |report, out| {
        show::print(report, (Folding::Matrices, clock::wall().0), &hints, out)
    })?;
    let verdict = if flags.wait { ExitCode::of_build(&report) } else { None };
    Ok(verdict.unwrap_or(ExitCode::Ok))
}
