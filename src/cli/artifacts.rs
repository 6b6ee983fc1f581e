//! `surveil artifacts`: lists the files that the tasks of a build left, and fetches them.

use std::fmt;
use std::io::{self, IsTerminal, Seek, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::artifact_entries::together;
use super::build_name::{BuildFlags, NamedBuild};
use super::flags::FormatFlags;
use super::interrupt::before_the_end;
use super::operator_flags::OperatorFlags;
use super::report::present;
use super::session::Session;
use super::table::{Column, Table};
use super::{CliError, ExitCode, Output, archive, human};
use crate::blobs::{Entry, EntryKind, Form, TreeDirectory, UnfinishedFile, Unpacking, read_manifest};
use crate::clock;
use crate::error_chain::chain;
use crate::model::BlobId;
use crate::model::glob::PathGlobs;
use crate::protocol::blobs::{ArtifactReport, ArtifactsReport, RemovedArtifact};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{FromOperator, ToOperator};
use crate::threads;

const EXAMPLES: &str = "\
Without TASK, the artifacts of all tasks are listed; with TASK, the files of its artifacts. Each task has those of its \
newest attempt that left some. Artifacts that were removed before their build are named below, with the reason.

`surveil artifacts get` writes the files below the directory of -o, at their paths in the work tree, with their times \
and executable bits. Without -o they go to standard output: one file as it is, several as a tar archive. PATH is a \
file, a directory or a glob, such as `dist/**/*.whl`. Of several cells of a matrix that left one path, the last one \
counts. Everything is verified before it is written.

Examples:
  surveil artifacts b12
  surveil artifacts b12 build
  surveil artifacts get b12 build -o out
  surveil artifacts get b12 build dist -o out
  surveil artifacts get latest test coverage.xml > coverage.xml
  surveil artifacts get b12 build | tar -t";

/// List the files that the tasks of a build left, and fetch them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, subcommand_negates_reqs = true)]
pub(crate) struct ArtifactsFlags {
    #[command(flatten)]
    named: Option<BuildFlags>,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
    #[command(subcommand)]
    command: Option<ArtifactsCommand>,
}

#[derive(Debug, Subcommand)]
enum ArtifactsCommand {
    Get(GetFlags),
}

/// Fetch files that a task left
#[derive(Debug, Args)]
pub(crate) struct GetFlags {
    #[command(flatten)]
    named: BuildFlags,
    /// Only this file, directory or glob [default: all files of the task]
    path: Option<String>,
    /// Write the files below this directory, which is made if it is missing
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Only the artifact of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// The files of the artifacts of a task, for programs.
#[derive(Debug, Serialize)]
struct FilesReport {
    build: u64,
    repo: String,
    artifacts: Vec<ArtifactFiles>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<RemovedArtifact>,
}

#[derive(Debug, Serialize)]
struct ArtifactFiles {
    #[serde(flatten)]
    artifact: ArtifactReport,
    entries: Vec<FileReport>,
}

#[derive(Debug, Serialize)]
struct FileReport {
    path: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    executable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    modified_ms: i64,
}

/// Lists artifacts, or fetches files.
pub(crate) fn run(flags: ArtifactsFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    if let Some(ArtifactsCommand::Get(mut get)) = flags.command {
        if get.operator.dispatch.is_empty() {
            get.operator = flags.operator;
        }
        return fetch(&get, out);
    }
    let Some(named) = flags.named else {
        return Err(CliError::Usage("name a build, such as `surveil artifacts latest`".into()));
    };
    named.check()?;
    let mut session = flags.operator.connect_or_read()?;
    let NamedBuild { build, task } = named.resolve(&mut session)?;
    let has_task = task.is_some();
    let report = ask(&mut session, build, task)?;
    if !has_task {
        present(&report, flags.format.get(), out, print_artifacts)?;
        return Ok(ExitCode::Ok);
    }
    let ArtifactsReport { build, repo, artifacts, removed, .. } = report;
    let mut files = FilesReport { build, repo, artifacts: Vec::new(), removed };
    for artifact in artifacts {
        let entries = manifest(&mut session, &artifact)?.iter().map(file_report).collect();
        files.artifacts.push(ArtifactFiles { artifact, entries });
    }
    present(&files, flags.format.get(), out, print_files)?;
    Ok(ExitCode::Ok)
}

fn ask(session: &mut Session, build: String, task: Option<String>) -> Result<ArtifactsReport, CliError> {
    let ToOperator::Artifacts(report) = session.ask(&FromOperator::Artifacts { build, task })? else {
        return Err(CliError::Unexpected("`artifacts`"));
    };
    Ok(report)
}

const ARTIFACT_COLUMNS: &[Column] = &[
    Column::value("OUTCOME", 0),
    Column::text("TASK", 0, (12, 40)),
    Column::text("ARTIFACT", 0, (8, 40)),
    Column::value("FILES", 0),
    Column::value("SIZE", 0),
    Column::value("ATTEMPT", 1),
];

fn print_artifacts(report: &ArtifactsReport, out: &mut Output) -> Result<(), CliError> {
    if report.artifacts.is_empty() {
        return print_none(format_args!("build b{} has no artifacts", report.build), &report.removed, out);
    }
    let mut table = Table::new(ARTIFACT_COLUMNS);
    for artifact in &report.artifacts {
        table.row(vec![
            human::words(&artifact.outcome),
            artifact.task.clone(),
            artifact.name.clone(),
            artifact.files.to_string(),
            human::bytes(artifact.bytes),
            artifact.number.to_string(),
        ]);
    }
    table.print(out)?;
    print_removed(&report.removed, out)
}

/// Says that there are no artifacts, or none any more.
fn print_none(text: fmt::Arguments<'_>, removed: &[RemovedArtifact], out: &mut Output) -> Result<(), CliError> {
    out.line(format_args!("{text}{}", if removed.is_empty() { "" } else { " any more" }))?;
    print_removed(removed, out)
}

fn print_removed(removed: &[RemovedArtifact], out: &mut Output) -> Result<(), CliError> {
    removed.iter().try_for_each(|artifact| out.line(removed_sentence(artifact)))
}

/// Says when and why an artifact was removed.
fn removed_sentence(RemovedArtifact { task, name, removed_ms, reason, .. }: &RemovedArtifact) -> String {
    let ago = human::ago(*removed_ms, clock::wall().0);
    format!("artifact `{name}` of task {task} was removed {ago}: it was {reason}")
}

const FILE_COLUMNS: &[Column] =
    &[Column::value("SIZE", 0), Column::text("PATH", 0, (20, 100)), Column::text("ARTIFACT", 1, (8, 40))];

fn print_files(report: &FilesReport, out: &mut Output) -> Result<(), CliError> {
    if report.artifacts.is_empty() {
        return print_none(format_args!("the task has no artifacts in build b{}", report.build), &report.removed, out);
    }
    let mut table = Table::new(FILE_COLUMNS);
    for ArtifactFiles { artifact, entries } in &report.artifacts {
        for entry in entries {
            let size = entry.bytes.map_or_else(|| entry.kind.to_owned(), human::bytes);
            let path = match &entry.target {
                Some(target) => format!("{} -> {target}", entry.path),
                None if entry.bytes.is_none() => format!("{}/", entry.path),
                None => entry.path.clone(),
            };
            table.row(vec![size, path, artifact.name.clone()]);
        }
    }
    table.print(out)?;
    print_removed(&report.removed, out)
}

fn file_report(entry: &Entry) -> FileReport {
    let (kind, bytes, executable, target) = match &entry.kind {
        EntryKind::File { bytes, executable, .. } => ("file", Some(*bytes), *executable, None),
        EntryKind::Link { target } => ("link", None, false, Some(target.clone())),
        EntryKind::EmptyDirectory => ("directory", None, false, None),
    };
    let modified_ms = entry.mtime_ns.div_euclid(1_000_000);
    FileReport { path: entry.path.clone(), kind, bytes, executable, target, modified_ms }
}

/// Fetches the files that the flags name.
fn fetch(flags: &GetFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    flags.named.check()?;
    if flags.output.is_none() && io::stdout().is_terminal() {
        let text = "standard output is a terminal: name a directory with -o, or redirect the output";
        return Err(CliError::Usage(text.into()));
    }
    let mut session = flags.operator.connect_or_read()?;
    let NamedBuild { build, task } = flags.named.resolve(&mut session)?;
    let Some(task) = task else {
        return Err(CliError::Usage("name the task whose files are fetched, such as `b12 build`".into()));
    };
    let mut report = ask(&mut session, build, Some(task.clone()))?;
    if let Some(name) = &flags.name {
        report.artifacts.retain(|artifact| artifact.name == *name);
        report.removed.retain(|artifact| artifact.name == *name);
    }
    let mut manifests = Vec::with_capacity(report.artifacts.len());
    for artifact in &report.artifacts {
        let mut entries = manifest(&mut session, artifact)?;
        if let Some(path) = &flags.path {
            // A file may have a name that means something else in a glob.
            let plain = path.trim_start_matches("./").to_owned();
            let globs = PathGlobs::new(std::slice::from_ref(&plain));
            entries.retain(|entry| entry.path == plain || globs.matches(&entry.path));
        }
        manifests.push(entries);
    }
    let entries = together(&report.artifacts, manifests)?;
    // Missing artifacts are told, whether anything is left or not.
    report.removed.iter().for_each(|artifact| log::warn!("{}", removed_sentence(artifact)));
    if entries.is_empty() {
        let what = match (&flags.path, &flags.name) {
            (Some(path), _) => format!("no file `{path}`"),
            (None, Some(name)) => format!("no artifact `{name}`"),
            (None, None) => "no artifacts".to_owned(),
        };
        let text = format!("task {task} of build b{} left {what}", report.build);
        return Err(CliError::Refused(Refusal::new(ErrorCode::NotFound, text)));
    }
    match (&flags.output, entries.as_slice()) {
        (Some(directory), entries) => write_below(&mut session, directory, entries)?,
        (None, [Entry { kind: EntryKind::File { blob, bytes, .. }, .. }]) if flags.path.is_some() => {
            let mut file = in_temporary(&mut session, &entries[0].path, (*blob, *bytes))?;
            copy(&mut file, &mut |piece| out.bytes(piece))?;
        }
        (None, entries) => write_archive(&mut session, entries, out)?,
    }
    Ok(ExitCode::Ok)
}

/// Writes entries below a directory.
fn write_below(session: &mut Session, directory: &PathBuf, entries: &[Entry]) -> Result<(), CliError> {
    let shown = directory.display();
    std::fs::create_dir_all(directory).map_err(CliError::machine(format!("make {shown}")))?;
    let root = TreeDirectory::open(directory).map_err(CliError::machine(format!("open {shown}")))?;
    // A signal leaves no part of a file there.
    let begun: Arc<Mutex<Option<UnfinishedFile>>> = Arc::default();
    let removed = begun.clone();
    before_the_end(move || {
        let begun = threads::lock(&removed);
        begun.iter().for_each(UnfinishedFile::remove);
        // No other file is begun until the process ends.
        std::mem::forget(begun);
    })?;
    for Entry { path, mtime_ns, kind } in entries {
        let failed = || CliError::machine(format!("write {path} below {shown}"));
        match kind {
            EntryKind::File { blob, bytes, executable } => {
                let placing = {
                    let mut begun = threads::lock(&begun);
                    let placing = root.begin_file(path, *executable).map_err(failed())?;
                    *begun = Some(placing.unfinished());
                    placing
                };
                receive_file(session, path, (*blob, *bytes), placing)?.finish(*mtime_ns).map_err(failed())?;
            }
            EntryKind::Link { target } => root.make_link(path, target, *mtime_ns).map_err(failed())?,
            EntryKind::EmptyDirectory => root.make_directory(path, *mtime_ns).map_err(failed())?,
        }
    }
    Ok(())
}

/// Writes entries as a tar archive. Each file is verified before the first of its bytes is written.
fn write_archive(session: &mut Session, entries: &[Entry], out: &mut Output) -> Result<(), CliError> {
    for entry in entries {
        let head = archive::head(entry).map_err(CliError::machine("make the archive"))?;
        let EntryKind::File { blob, bytes, .. } = entry.kind else {
            out.bytes(&head)?;
            continue;
        };
        let mut file = in_temporary(session, &entry.path, (blob, bytes))?;
        out.bytes(&head)?;
        copy(&mut file, &mut |piece| out.bytes(piece))?;
        out.bytes(archive::padding(bytes))?;
    }
    out.bytes(&archive::END)
}

/// Returns the entries of an artifact.
fn manifest(session: &mut Session, artifact: &ArtifactReport) -> Result<Vec<Entry>, CliError> {
    let id = artifact.manifest.parse().map_err(|_| CliError::Unexpected("`artifacts`"))?;
    let text = receive(session, id, u64::MAX, Vec::new())?;
    let mut entries = Vec::new();
    let read = read_manifest(text.as_slice(), &mut |entry| {
        entries.push(entry);
        Ok(())
    });
    read.map_err(|error| broken(format!("artifact `{}` cannot be read: {}", artifact.name, chain(&error))))?;
    Ok(entries)
}

/// Receives the file at this path into a temporary one, and returns that at its beginning.
fn in_temporary(session: &mut Session, path: &str, blob: (BlobId, u64)) -> Result<std::fs::File, CliError> {
    let failed = || CliError::machine("write a temporary file");
    let mut file = receive_file(session, path, blob, tempfile::tempfile().map_err(failed())?)?;
    file.rewind().map_err(failed())?;
    Ok(file)
}

/// Receives the blob of the file at this path, which the error names if the dispatcher does not have it any more.
fn receive_file<W: Write + 'static>(
    session: &mut Session,
    path: &str,
    (id, bytes): (BlobId, u64),
    to: W,
) -> Result<W, CliError> {
    receive(session, id, bytes, to).map_err(|error| {
        let CliError::Refused(mut refusal) = error else { return error };
        if refusal.code == ErrorCode::NotFound {
            refusal.text = format!("`{path}` cannot be had: {}; a rerun of its task makes it anew", refusal.text);
        }
        CliError::Refused(refusal)
    })
}

/// Receives a blob, and passes its bytes on. It is an error if they are not those of its name.
fn receive<W: Write + 'static>(session: &mut Session, id: BlobId, limit: u64, to: W) -> Result<W, CliError> {
    let failed = || CliError::machine("write a file");
    let damaged = || broken(format!("blob {id} did not arrive as it was stored"));
    let mut to = Some(to);
    let mut unpacking: Option<Unpacking<W>> = None;
    let mut payload = Vec::new();
    let mut message = session.ask(&FromOperator::Fetch { blob: id.to_string() })?;
    loop {
        let ToOperator::Blob { zstd, last, bytes, .. } = message else {
            return Err(CliError::Unexpected("`fetch`"));
        };
        session.payload(bytes, &mut payload)?;
        if let Some(to) = to.take() {
            let form = if zstd { Form::Packed } else { Form::Plain };
            unpacking = Some(Unpacking::new(form, to, limit).map_err(failed())?);
        }
        let Some(open) = &mut unpacking else { return Err(damaged()) };
        if let Err(error) = open.take(&payload) {
            let is_damage = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other);
            return Err(if is_damage { damaged() } else { failed()(error) });
        }
        if last {
            break;
        }
        message = session.next()?;
    }
    let Some(open) = unpacking else { return Err(damaged()) };
    match open.finish() {
        Ok((to, found, _)) if found == id => Ok(to),
        Ok(_) | Err(_) => Err(damaged()),
    }
}

fn broken(text: String) -> CliError {
    CliError::Refused(Refusal::new(ErrorCode::Internal, text))
}

/// Passes the bytes of a file on in pieces.
fn copy(file: &mut std::fs::File, each: &mut dyn FnMut(&[u8]) -> Result<(), CliError>) -> Result<(), CliError> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match io::Read::read(file, &mut buffer).map_err(CliError::machine("read a temporary file"))? {
            0 => return Ok(()),
            count => each(&buffer[..count])?,
        }
    }
}
