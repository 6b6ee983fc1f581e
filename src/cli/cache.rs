//! `surveil cache`: lists, explains and removes the caches that tasks saved.

use clap::Args;

use super::flags::FormatFlags;
use super::operator_flags::OperatorFlags;
use super::report::present;
use super::table::{Column, Table, one_line};
use super::{CliError, ExitCode, Output, human};
use crate::clock;
use crate::model::{CacheKey, RefName, RepoName};
use crate::protocol::caches::{CacheReport, CachesReport};
use crate::protocol::operator::{FromOperator, ToOperator};

const EXAMPLES: &str = "\
A task names its caches (`[[task.test.cache]]`). A build writes into the scope of its own ref, and reads that, then \
the one of the default branch. What an untrusted build wrote is read by untrusted builds of its ref alone.

Examples:
  surveil cache list --repo app
  surveil cache why 3f2a90c1
  surveil cache rm 3f2a90c1
  surveil cache rm --repo app";

/// List, explain and remove the caches that tasks saved
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CacheFlags {
    #[command(subcommand)]
    order: CacheSubcommand,
}

#[derive(Debug, clap::Subcommand)]
enum CacheSubcommand {
    List(ListFlags),
    Why(WhyFlags),
    #[command(visible_alias = "remove")]
    Rm(RemoveFlags),
}

/// List caches, the most recently used one first
#[derive(Debug, Args)]
struct ListFlags {
    /// Only the caches of this repository
    #[arg(long, value_name = "NAME", value_parser = RepoName::new)]
    repo: Option<RepoName>,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Tell which attempt saved a cache, what its key was made of, and which builds read it
#[derive(Debug, Args)]
struct WhyFlags {
    /// The first digits of the key, as in `surveil cache list` and in the log of a task
    key: String,
    /// Only the caches of this repository
    #[arg(long, value_name = "NAME", value_parser = RepoName::new)]
    repo: Option<RepoName>,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Remove the caches of a key, or all of a repository
#[derive(Debug, Args)]
struct RemoveFlags {
    /// The first digits of the key, as in `surveil cache list`
    #[arg(required_unless_present = "repo")]
    key: Option<String>,
    /// Only the caches of this repository
    #[arg(long, value_name = "NAME", value_parser = RepoName::new)]
    repo: Option<RepoName>,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Gives the order, and prints the answer.
pub(crate) fn run(flags: CacheFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    match flags.order {
        CacheSubcommand::List(ListFlags { repo, format, operator }) => {
            present(&ask(&operator, repo, None)?, format.get(), out, print)?;
        }
        CacheSubcommand::Why(WhyFlags { key, repo, format, operator }) => {
            present(&ask(&operator, repo, Some(key))?, format.get(), out, explain)?;
        }
        CacheSubcommand::Rm(RemoveFlags { key, repo, operator }) => {
            let repo = repo.map(|repo| repo.to_string());
            let done = operator.connect()?.order(&FromOperator::RemoveCaches { repo, key })?;
            out.outlive_reader();
            out.line(one_line(&done))?;
        }
    }
    Ok(ExitCode::Ok)
}

fn ask(operator: &OperatorFlags, repo: Option<RepoName>, key: Option<String>) -> Result<CachesReport, CliError> {
    let repo = repo.map(|repo| repo.to_string());
    let ToOperator::Caches(report) = operator.connect_or_read()?.ask(&FromOperator::Caches { repo, key })? else {
        return Err(CliError::Unexpected("`caches`"));
    };
    Ok(report)
}

const COLUMNS: &[Column] = &[
    Column::value("KEY", 0),
    Column::text("REPO", 0, (6, 20)),
    Column::text("REF", 0, (8, 30)),
    Column::text("TASK", 1, (8, 30)),
    Column::value("BUILD", 0),
    Column::value("FILES", 2),
    Column::value("SIZE", 0),
    Column::value("SAVED", 3),
    Column::value("USED", 0),
];

fn print(report: &CachesReport, out: &mut Output) -> Result<(), CliError> {
    if report.caches.is_empty() {
        return out.line("there are no caches: a task with `[[task.NAME.cache]]` saves them when it passes");
    }
    let now = clock::wall().0;
    let mut table = Table::new(COLUMNS);
    for cache in &report.caches {
        table.row(vec![
            short(&cache.key).to_owned(),
            cache.repo.clone(),
            scope(cache),
            cache.task.clone(),
            format!("b{}", cache.build),
            cache.files.to_string(),
            human::bytes(cache.bytes),
            human::ago(cache.saved_ms, now),
            human::ago(cache.used_ms, now),
        ]);
    }
    table.print(out)?;
    if report.limit_bytes > 0 && !report.more {
        let all: u64 = report.caches.iter().map(|cache| cache.bytes).sum();
        let limit = human::bytes(report.limit_bytes);
        out.line(format_args!("{} together; the dispatcher keeps {limit} in all (--keep-caches)", human::bytes(all)))?;
    }
    Ok(())
}

/// The digits of a key that people are shown.
fn short(key: &str) -> &str {
    key.get(..CacheKey::SHORT_DIGITS).unwrap_or(key)
}

fn scope(cache: &CacheReport) -> String {
    let reference = RefName::new(&cache.reference);
    format!("{}{}", reference.short(), if cache.trusted { "" } else { " (untrusted)" })
}

fn explain(report: &CachesReport, out: &mut Output) -> Result<(), CliError> {
    let now = clock::wall().0;
    for cache in &report.caches {
        let CacheReport { repo, key, task, build, number, attempt, files, bytes, saved_ms, used_ms, .. } = cache;
        let reference = RefName::new(&cache.reference).described();
        let (writers, readers) = match cache.trusted {
            true => ("trusted builds", format!("builds of {reference}, and every build if that is the default branch")),
            false => ("untrusted builds", format!("untrusted builds of {reference} alone")),
        };
        out.line(format_args!("{key} of {}", one_line(repo)))?;
        let mut row = |name: &str, text: &str| out.line(format_args!("  {name:<9}{}", one_line(text)));
        row("saved", &format!("{} by b{build}/{task}, attempt {number} (a{attempt})", human::ago(*saved_ms, now)))?;
        row("scope", &format!("{writers} of {reference}"))?;
        row("read by", &readers)?;
        row("used", &human::ago(*used_ms, now))?;
        row("content", &format!("{files} files, {}", human::bytes(*bytes)))?;
        for (at, line) in cache.about.lines().enumerate() {
            row(if at == 0 { "key of" } else { "" }, line)?;
        }
    }
    Ok(())
}
