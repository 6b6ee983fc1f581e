//! `surveil cache`: lists, explains and removes the caches that tasks saved, and the entries of the tool cache.

use clap::Args;

use super::flags::FormatFlags;
use super::operator_flags::OperatorFlags;
use super::report::present;
use super::table::{Column, Table, one_line};
use super::{CliError, ExitCode, Output, human};
use crate::clock;
use crate::model::{CacheKey, RefName, RepoName};
use crate::protocol::caches::{CacheReport, CacheSelection, CachesReport};
use crate::protocol::operator::{FromOperator, ToOperator};
use crate::protocol::tool_entries::EntryReport;

const EXAMPLES: &str = "\
A task names its caches (`[[task.test.cache]]`). A build writes into the scope of its own ref, and reads that, then \
the one of the default branch. What an untrusted build wrote is read by untrusted builds of its ref alone. The same \
holds for the results of build tools (`tool_cache`), which are listed together for each tool.

Examples:
  surveil cache list --repo app
  surveil cache list --tool ccache --limit 20
  surveil cache why 3f2a90c1
  surveil cache rm 3f2a90c1
  surveil cache rm --repo app --tool ccache";

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
    /// Only the entries of this build tool, such as `ccache`, one by one
    #[arg(long, value_name = "TOOL")]
    tool: Option<String>,
    /// At most so many entries of the tool
    #[arg(long, value_name = "COUNT", default_value_t = 100, requires = "tool")]
    limit: u32,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Tell which attempt saved a cache or an entry of the tool cache, and which builds read it
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

/// Remove the caches of a key, or all of a repository or of a build tool
#[derive(Debug, Args)]
struct RemoveFlags {
    /// The first digits of the key, as in `surveil cache list`
    #[arg(required_unless_present_any = ["repo", "tool"])]
    key: Option<String>,
    /// Only the caches of this repository
    #[arg(long, value_name = "NAME", value_parser = RepoName::new)]
    repo: Option<RepoName>,
    /// Only the entries of this build tool, such as `ccache`
    #[arg(long, value_name = "TOOL", conflicts_with = "key")]
    tool: Option<String>,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Gives the order, and prints the answer.
pub(crate) fn run(flags: CacheFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    match flags.order {
        CacheSubcommand::List(ListFlags { repo, tool, limit, format, operator }) => {
            let limit = tool.is_some().then_some(limit);
            let asked = CacheSelection { repo: name(repo), key: None, tool, limit };
            let report = ask(&operator, asked.clone())?;
            present(&report, format.get(), out, |report, out| print(report, &asked, out))?;
        }
        CacheSubcommand::Why(WhyFlags { key, repo, format, operator }) => {
            let asked = CacheSelection { repo: name(repo), key: Some(key), ..CacheSelection::default() };
            present(&ask(&operator, asked)?, format.get(), out, explain)?;
        }
        CacheSubcommand::Rm(RemoveFlags { key, repo, tool, operator }) => {
            let meant = CacheSelection { repo: name(repo), key, tool, limit: None };
            let done = operator.connect()?.order(&FromOperator::RemoveCaches(meant))?;
            out.outlive_reader();
            out.line(one_line(&done))?;
        }
    }
    Ok(ExitCode::Ok)
}

fn name(repo: Option<RepoName>) -> Option<String> {
    repo.map(|repo| repo.to_string())
}

fn ask(operator: &OperatorFlags, asked: CacheSelection) -> Result<CachesReport, CliError> {
    let ToOperator::Caches(report) = operator.connect_or_read()?.ask(&FromOperator::Caches(asked))? else {
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

const TOOL_COLUMNS: &[Column] = &[
    Column::value("TOOL", 0),
    Column::text("REPO", 0, (6, 20)),
    Column::text("REF", 0, (8, 30)),
    Column::value("ENTRIES", 0),
    Column::value("SIZE", 0),
    Column::value("USED", 0),
];

const ENTRY_COLUMNS: &[Column] = &[
    Column::value("KEY", 0),
    Column::text("NAME", 1, (10, 60)),
    Column::text("REPO", 0, (6, 20)),
    Column::text("REF", 0, (8, 30)),
    Column::text("TASK", 2, (8, 30)),
    Column::value("BUILD", 0),
    Column::value("SIZE", 0),
    Column::value("USED", 0),
];

/// Says that there is nothing of what was asked for.
fn none(asked: &CacheSelection) -> String {
    let of_repo = asked.repo.as_ref().map(|repo| format!(" of the repository {repo}")).unwrap_or_default();
    match &asked.tool {
        Some(tool) => format!("there are no entries of the build tool `{}`{of_repo}", one_line(tool)),
        None => format!(
            "there are no caches{of_repo}: a task with `[[task.NAME.cache]]` saves them when it passes, and build \
             tools of one with `tool_cache` do"
        ),
    }
}

fn print(report: &CachesReport, asked: &CacheSelection, out: &mut Output) -> Result<(), CliError> {
    let CachesReport { caches, tools, entries, .. } = report;
    if caches.is_empty() && tools.is_empty() {
        return out.line(none(asked));
    }
    let now = clock::wall().0;
    if !caches.is_empty() {
        print_caches(caches, now, out)?;
    }
    if !tools.is_empty() {
        let mut table = Table::new(TOOL_COLUMNS);
        for of in tools {
            table.row(vec![
                of.tool.clone(),
                of.repo.clone(),
                scope(&of.reference, of.trusted),
                of.entries.to_string(),
                human::bytes(of.bytes),
                human::ago(of.used_ms, now),
            ]);
        }
        table.print(out)?;
    }
    if !entries.is_empty() {
        print_entries(entries, now, out)?;
        let all: u64 = tools.iter().map(|of| of.entries).sum();
        let shown = entries.len() as u64;
        if shown < all {
            out.line(format_args!("{shown} of {all} entries, the most recently used ones: --limit shows more"))?;
        }
    }
    if report.limit_bytes > 0 && !report.more {
        let of_caches: u64 = caches.iter().map(|cache| cache.bytes).sum();
        let all = of_caches + tools.iter().map(|of| of.bytes).sum::<u64>();
        let limit = human::bytes(report.limit_bytes);
        out.line(format_args!("{} together; the dispatcher keeps {limit} in all (--keep-caches)", human::bytes(all)))?;
    }
    Ok(())
}

fn print_caches(caches: &[CacheReport], now: i64, out: &mut Output) -> Result<(), CliError> {
    let mut table = Table::new(COLUMNS);
    for cache in caches {
        table.row(vec![
            short(&cache.key).to_owned(),
            cache.repo.clone(),
            scope(&cache.reference, cache.trusted),
            cache.task.clone(),
            format!("b{}", cache.build),
            cache.files.to_string(),
            human::bytes(cache.bytes),
            human::ago(cache.saved_ms, now),
            human::ago(cache.used_ms, now),
        ]);
    }
    table.print(out)
}

fn print_entries(entries: &[EntryReport], now: i64, out: &mut Output) -> Result<(), CliError> {
    let mut table = Table::new(ENTRY_COLUMNS);
    for entry in entries {
        table.row(vec![
            short(&entry.key).to_owned(),
            entry.name.clone(),
            entry.repo.clone(),
            scope(&entry.reference, entry.trusted),
            entry.task.clone(),
            format!("b{}", entry.build),
            human::bytes(entry.bytes),
            human::ago(entry.used_ms, now),
        ]);
    }
    table.print(out)
}

/// The digits of a key that people are shown.
fn short(key: &str) -> &str {
    key.get(..CacheKey::SHORT_DIGITS).unwrap_or(key)
}

fn scope(reference: &str, is_trusted: bool) -> String {
    format!("{}{}", RefName::new(reference).short(), if is_trusted { "" } else { " (untrusted)" })
}

/// Returns who writes into a scope, and who reads what is in it.
fn builds(reference: &str, is_trusted: bool) -> (String, String) {
    let reference = RefName::new(reference).described();
    match is_trusted {
        true => (
            format!("trusted builds of {reference}"),
            format!("builds of {reference}, and every build if that is the default branch"),
        ),
        false => (format!("untrusted builds of {reference}"), format!("untrusted builds of {reference} alone")),
    }
}

fn explain(report: &CachesReport, out: &mut Output) -> Result<(), CliError> {
    let now = clock::wall().0;
    for cache in &report.caches {
        let CacheReport { repo, key, task, build, number, attempt, files, bytes, saved_ms, used_ms, .. } = cache;
        let (writers, readers) = builds(&cache.reference, cache.trusted);
        out.line(format_args!("{key} of {}", one_line(repo)))?;
        row(
            out,
            "saved",
            &format!("{} by b{build}/{task}, attempt {number} (a{attempt})", human::ago(*saved_ms, now)),
        )?;
        row(out, "scope", &writers)?;
        row(out, "read by", &readers)?;
        row(out, "used", &human::ago(*used_ms, now))?;
        row(out, "content", &format!("{}, {}", human::count(*files, "file"), human::bytes(*bytes)))?;
        for (at, line) in cache.about.lines().enumerate() {
            row(out, if at == 0 { "key of" } else { "" }, line)?;
        }
    }
    for entry in &report.entries {
        let EntryReport { repo, key, tool, name, task, build, number, attempt, bytes, saved_ms, used_ms, .. } = entry;
        let (writers, readers) = builds(&entry.reference, entry.trusted);
        out.line(format_args!("{key} of {}", one_line(repo)))?;
        row(
            out,
            "saved",
            &format!("{} by b{build}/{task}, attempt {number} (a{attempt})", human::ago(*saved_ms, now)),
        )?;
        row(out, "scope", &writers)?;
        row(out, "read by", &readers)?;
        row(out, "used", &human::ago(*used_ms, now))?;
        row(out, "content", &human::bytes(*bytes))?;
        row(out, "name", &format!("{name}, as {tool} calls it"))?;
        row(out, "blob", &entry.blob)?;
    }
    Ok(())
}

fn row(out: &mut Output, name: &str, text: &str) -> Result<(), CliError> {
    out.line(format_args!("  {name:<9}{}", one_line(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_lines_says_what_there_is_none_of() {
        let none = |repo: Option<&str>, tool: Option<&str>| {
            let [repo, tool] = [repo, tool].map(|name| name.map(str::to_owned));
            none(&CacheSelection { repo, tool, ..CacheSelection::default() })
        };
        assert!(none(None, None).starts_with("there are no caches: a task with "));
        assert!(none(Some("app"), None).starts_with("there are no caches of the repository app: "));
        assert_eq!(none(None, Some("ccache")), "there are no entries of the build tool `ccache`");
        let both = "there are no entries of the build tool `ccache` of the repository app";
        assert_eq!(none(Some("app"), Some("ccache")), both);
    }
}
