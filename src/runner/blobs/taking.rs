//! Puts the artifacts that an attempt takes into its work tree, before it starts: first their manifests are read, then
//! their files are written. Files of which the runner has copies are not received again. An artifact that cannot be had
//! is no fault of the runner: the attempt could not start, and says why.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::slot_common::{Common, SlotWork};
use super::copying::Copying;
use super::download::DownloadError;
use super::fetch::{BlobSource, Fetch};
use super::placing::{InTheWay, arrange, place_others, sizes, total_bytes};
use super::wanted_file::WantedFile;
use crate::blobs::{Entry, EntryKind, TreeDirectory, read_manifest};
use crate::error_chain::chain;
use crate::model::reason::LossReason;
use crate::model::{BlobId, Outcome, TakenArtifact};

/// Artifacts that have a line of their own in the log.
const MAX_LINES: usize = 20;

/// Puts the artifacts that an attempt takes into its work tree. Returns lines about them for its log.
pub(crate) fn take_artifacts(
    common: &Common,
    copying: &Copying,
    work: &SlotWork,
    tree: &Path,
    in_the_way: InTheWay<'_>,
) -> Result<Vec<String>, Outcome> {
    let taken = work.assignment.taken.as_ref().map_err(|why| Outcome::CouldNotStart(why.clone()))?;
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let taking = Taking { common, copying, work, names: taken.iter().map(name).collect() };
    let manifests = taking.manifests(taken)?;
    let line = |(name, entries): (&String, &Vec<Entry>)| format!("surveil: took {name}: {}", sizes(entries));
    let mut lines: Vec<String> = taking.names.iter().zip(&manifests).take(MAX_LINES).map(line).collect();
    if taken.len() > MAX_LINES {
        lines.push(format!("surveil: took {} more artifacts", taken.len() - MAX_LINES));
    }
    let arranged = arrange(&taking.names, manifests, in_the_way).map_err(Outcome::CouldNotStart)?;
    let room = taking.room(&arranged)?;
    // Files that a kept path has left in the way give way: the commit and the artifacts decide what is there.
    let root = TreeDirectory::open_replacing(tree).map(Arc::new).map_err(|error| not_written(".", &error))?;
    taking.files(&root, &arranged, room)?;
    place_others(&root, &arranged).map_err(|(path, error)| not_written(&path, &error))?;
    Ok(lines)
}

fn name(TakenArtifact { task, name, .. }: &TakenArtifact) -> String {
    format!("artifact `{name}` of task `{task}`")
}

fn not_written(path: &str, error: &io::Error) -> Outcome {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return Outcome::Lost(LossReason::disk_full());
    }
    Outcome::Lost(format!("could not write `{path}` of an artifact into the work tree: {error}").into())
}

/// An attempt that takes artifacts.
struct Taking<'a> {
    common: &'a Common,
    copying: &'a Copying,
    work: &'a SlotWork,
    /// The artifacts, for people.
    names: Vec<String>,
}

impl Taking<'_> {
    /// Returns the entries of each artifact.
    fn manifests(&self, taken: &[TakenArtifact]) -> Result<Vec<Vec<Entry>>, Outcome> {
        let ids: Vec<BlobId> = taken.iter().map(|artifact| artifact.manifest).collect();
        let texts = self.source().manifests(&self.common.copies, &ids);
        let texts = texts.map_err(|error| self.outcome(error, &|at| at, &|at| self.names[at].as_str()))?;
        let read = |(text, name): (Vec<u8>, &String)| {
            let mut entries = Vec::new();
            let read = read_manifest(text.as_slice(), &mut |entry| {
                entries.push(entry);
                Ok(())
            });
            read.map_err(|error| Outcome::CouldNotStart(format!("{name} cannot be read: {}", chain(&error))))?;
            Ok(entries)
        };
        texts.into_iter().zip(&self.names).map(read).collect()
    }

    fn source(&self) -> BlobSource<'_> {
        let (attempt, reports) = (self.work.assignment.attempt, &self.common.reports);
        BlobSource { attempt, reports, cancelled: &self.work.cancelled, patience: None }
    }

    /// Returns the bytes that the disk has room for beside the files.
    fn room(&self, arranged: &[(Entry, usize)]) -> Result<u64, Outcome> {
        let bytes = total_bytes(arranged.iter().map(|(entry, _)| entry));
        let Ok(free) = self.common.layout.free() else {
            // If it cannot be told, writing tells it.
            return Ok(0);
        };
        free.saturating_sub(self.common.min_free).checked_sub(bytes).ok_or_else(|| {
            let (wanted, free, kept) = (bytes >> 20, free >> 20, self.common.min_free >> 20);
            let text = format!(
                "the artifacts that it takes have {wanted} MiB, and free disk space is {free} MiB, of which {kept} MiB \
                 are kept free"
            );
            Outcome::Lost(LossReason::DiskFull { text })
        })
    }

    /// Writes the files.
    fn files(&self, root: &Arc<TreeDirectory>, arranged: &[(Entry, usize)], room: u64) -> Result<(), Outcome> {
        let (mut files, mut artifacts) = (Vec::new(), Vec::new());
        for (Entry { path, mtime_ns, kind }, artifact) in arranged {
            let EntryKind::File { blob, bytes, executable } = *kind else { continue };
            files.push(WantedFile { root, path, blob, bytes, executable, mtime_ns: *mtime_ns, is_passing: false });
            artifacts.push(*artifact);
        }
        let fetch = Fetch { source: self.source(), copying: self.copying, files: &files, room };
        let fetched = fetch.run();
        fetched.map(drop).map_err(|error| self.outcome(error, &|at| artifacts[at], &|at| files[at].path))
    }

    /// Returns the outcome of an attempt whose artifacts could not be had. `of` has the artifact of each place that the
    /// error may name, and `path` its path.
    fn outcome<'p>(
        &self,
        error: DownloadError,
        of: &dyn Fn(usize) -> usize,
        path: &dyn Fn(usize) -> &'p str,
    ) -> Outcome {
        match error {
            DownloadError::Cancelled => Outcome::Cancelled,
            DownloadError::Lost(reason) => Outcome::Lost(reason),
            DownloadError::Write { at, error } => not_written(path(at), &error),
            DownloadError::Missing { at, reason } => {
                let name = &self.names[of(at)];
                Outcome::CouldNotStart(format!(
                    "{name} is not there any more: {reason}; a rerun of that task makes it anew"
                ))
            }
        }
    }
}
