//! `surveil secret`: sets, lists and removes secrets. A value comes from a file or from standard input, and never from
//! an argument, which every user of the machine can see.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::flags::FormatFlags;
use super::interrupt::before_the_end;
use super::operator_flags::OperatorFlags;
use super::reconnect::note;
use super::report::present;
use super::table::{Column, Table, one_line};
use super::{CliError, ExitCode, Output, human};
use crate::clock;
use crate::model::secret::{MAX_SECRET_BYTES, wrong_value};
use crate::model::{Label, RepoName};
use crate::protocol::operator::{FromOperator, SecretOrder, SecretReport, SecretsReport, ToOperator};
use crate::transport::Frame;

const EXAMPLES: &str = "\
A task names the secrets that it needs (`secrets = [\"NPM_TOKEN\"]`). It gets them if its build is trusted and their \
rules allow it; else it ends as errored, and `surveil why` says which rule stood against it. Logs and outputs show \
*** in their place. Nobody can read a value back.

Examples:
  pass show npm | surveil secret set NPM_TOKEN --repo app --refs main
  surveil secret set GPG_KEY --file key.asc --refs 'refs/tags/v*'
  surveil secret list
  surveil secret rm NPM_TOKEN --repo app";

const SET_EXAMPLES: &str = "\
The value is read from standard input or from --file: arguments of a command can be seen by every user of the machine. \
On a terminal it is asked for, and not shown. A secret of one repository goes before one of the same name for all.

Examples:
  surveil secret set NPM_TOKEN
  pass show npm | surveil secret set NPM_TOKEN --repo app --refs main
  surveil secret set GPG_KEY --file key.asc --refs 'refs/tags/v*' --tasks 'publish*'
  surveil secret set DEPLOY_KEY --file id_ed25519 --runner-label deploy";

/// Set, list and remove the secrets that tasks may ask for
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SecretFlags {
    #[command(subcommand)]
    order: SecretSubcommand,
}

#[derive(Debug, clap::Subcommand)]
enum SecretSubcommand {
    Set(SetFlags),
    List(ListFlags),
    #[command(visible_alias = "remove")]
    Rm(RemoveFlags),
}

/// Set a secret, in place of one of that name for the same repository
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
struct SetFlags {
    /// The name, and that of the variable in which a task gets it
    name: String,
    /// The repository whose tasks may have it [default: all]
    #[arg(long, value_name = "NAME", value_parser = RepoName::new)]
    repo: Option<RepoName>,
    /// Branches whose builds may have it, as a glob, or full names of refs such as `refs/tags/v*`; may be repeated
    /// [default: all refs that are trusted]
    #[arg(long, value_name = "GLOB")]
    refs: Vec<String>,
    /// Tasks that may have it, as a glob; may be repeated [default: all that name it]
    #[arg(long, value_name = "GLOB")]
    tasks: Vec<String>,
    /// Label that the credential of the runner must have; may be repeated [default: every runner]
    #[arg(long = "runner-label", value_name = "LABEL", value_parser = Label::new)]
    labels: Vec<Label>,
    /// File with the value, byte for byte [default: standard input]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Take a value of fewer than 8 bytes, although masking it may eat the log
    #[arg(long)]
    short: bool,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// List names, rules and the last use of secrets, and never a value
#[derive(Debug, Args)]
struct ListFlags {
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Remove a secret
#[derive(Debug, Args)]
struct RemoveFlags {
    /// The name, as in `surveil secret list`
    name: String,
    /// The repository that it is for [default: all]
    #[arg(long, value_name = "NAME", value_parser = RepoName::new)]
    repo: Option<RepoName>,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Gives the order, and prints the answer.
pub(crate) fn run(flags: SecretFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    match flags.order {
        SecretSubcommand::Set(flags) => set(flags, out),
        SecretSubcommand::List(flags) => list(&flags, out),
        SecretSubcommand::Rm(RemoveFlags { name, repo, operator }) => {
            let repo = repo.map(|repo| repo.to_string());
            let done = operator.connect()?.order(&FromOperator::RemoveSecret { name, repo })?;
            out.outlive_reader();
            out.line(one_line(&done))?;
            Ok(ExitCode::Ok)
        }
    }
}

fn set(flags: SetFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let SetFlags { name, repo, refs, tasks, labels, file, short, operator } = flags;
    let value = match &file {
        Some(path) => read_file(path)?,
        None => read_input(&name)?,
    };
    if let Some(why) = wrong_value(&value, short) {
        return Err(CliError::Usage(why));
    }
    let order = FromOperator::SetSecret(SecretOrder {
        name,
        repo: repo.map(|repo| repo.to_string()),
        refs,
        tasks,
        labels: labels.iter().map(ToString::to_string).collect(),
        short,
        bytes: value.len() as u64,
    });
    let mut session = operator.connect()?;
    session.send_frame(&Frame::with_payload(&order, value))?;
    let ToOperator::Ok { text } = session.next()? else { return Err(CliError::Unexpected("`set_secret`")) };
    out.outlive_reader();
    out.line(one_line(&text))?;
    Ok(ExitCode::Ok)
}

fn read_file(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |error: io::Error| CliError::Usage(format!("the file {} cannot be read: {error}", path.display()));
    read_bounded(fs::File::open(path).map_err(failed)?).map_err(failed)
}

/// Reads one byte more than a secret may have, so that a longer value is refused and not cut.
fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    from.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut value)?;
    Ok(value)
}

/// Reads the value from standard input: all of it, or one line that a person types and that is not shown.
fn read_input(name: &str) -> Result<Vec<u8>, CliError> {
    let failed = CliError::machine("read the value from standard input");
    let input = io::stdin();
    if !input.is_terminal() {
        return read_bounded(input.lock()).map_err(failed);
    }
    let shown = tcgetattr(&input).map_err(|error| CliError::machine("read the value")(error.into()))?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    // The terminal shows again what is typed, whatever becomes of the value. It cannot be told if that fails.
    let show = move || {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &shown);
    };
    before_the_end(show.clone())?;
    tcsetattr(&input, OptionalActions::Flush, &hidden)
        .map_err(|error| CliError::machine("read the value")(error.into()))?;
    note(&format!("type the value of {name} and Enter; it is not shown (--file takes a value of several lines)"));
    let mut line = Vec::new();
    let read = input.lock().read_until(b'\n', &mut line);
    show();
    read.map_err(failed)?;
    Ok(line)
}

fn list(flags: &ListFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let ToOperator::Secrets(report) = flags.operator.connect()?.ask(&FromOperator::Secrets)? else {
        return Err(CliError::Unexpected("`secrets`"));
    };
    present(&report, flags.format.get(), out, print)?;
    Ok(ExitCode::Ok)
}

const COLUMNS: &[Column] = &[
    Column::text("NAME", 0, (10, 30)),
    Column::value("REPO", 0),
    Column::text("REFS", 1, (10, 24)),
    Column::text("TASKS", 2, (10, 20)),
    Column::text("RUNNERS", 3, (7, 20)),
    Column::value("SET", 4),
    Column::value("USED", 0),
    Column::value("BY", 2),
];

fn print(report: &SecretsReport, out: &mut Output) -> Result<(), CliError> {
    if report.secrets.is_empty() {
        return out.line("there are no secrets: `surveil secret set NAME` makes one");
    }
    let now = clock::wall().0;
    let mut table = Table::new(COLUMNS);
    for secret in &report.secrets {
        table.row(row(secret, now));
    }
    table.print(out)
}

fn row(secret: &SecretReport, now: i64) -> Vec<String> {
    let list = |items: &[String], all: &str| if items.is_empty() { all.to_owned() } else { items.join(" ") };
    vec![
        secret.name.clone(),
        secret.repo.clone().unwrap_or_else(|| "all".to_owned()),
        list(&secret.refs, "trusted"),
        list(&secret.tasks, "all"),
        list(&secret.labels, "all"),
        human::ago(secret.set_ms, now),
        secret.used_ms.map_or_else(|| "never".to_owned(), |used| human::ago(used, now)),
        secret.used_by.clone().unwrap_or_default(),
    ]
}
