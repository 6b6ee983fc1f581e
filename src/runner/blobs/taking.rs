//! Puts the artifacts that an attempt takes into its work tree, before it starts: receives their manifests, then their
//! files. An artifact that cannot be had is no fault of the runner: the attempt could not start, and says why.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::super::slot_common::{Common, SlotWork};
use super::download::{Download, DownloadError, Places, WantedBlob};
use super::placing::{InTheWay, arrange, bytes_of, place_copy, place_others, sizes};
use crate::blobs::{Entry, EntryKind, Placing, TreeDirectory, read_manifest};
use crate::error_chain::chain;
use crate::model::reason::LossReason;
use crate::model::{BlobId, Outcome, TakenArtifact};

/// The longest manifest that is read.
const MANIFEST_BYTES: u64 = 256 << 20;
/// Artifacts that have a line of their own in the log.
const MAX_LINES: usize = 20;

/// Puts the artifacts that an attempt takes into its work tree. Returns lines about them for its log.
pub(crate) fn take_artifacts(
    common: &Common,
    work: &SlotWork,
    tree: &Path,
    in_the_way: InTheWay<'_>,
) -> Result<Vec<String>, Outcome> {
    let taken = work.assignment.taken.as_ref().map_err(|why| Outcome::CouldNotStart(why.clone()))?;
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let taking = Taking { common, work, names: taken.iter().map(name).collect() };
    let manifests = taking.manifests(taken)?;
    let line = |(name, entries): (&String, &Vec<Entry>)| format!("surveil: took {name}: {}", sizes(entries));
    let mut lines: Vec<String> = taking.names.iter().zip(&manifests).take(MAX_LINES).map(line).collect();
    if taken.len() > MAX_LINES {
        lines.push(format!("surveil: took {} more artifacts", taken.len() - MAX_LINES));
    }
    let arranged = arrange(&taking.names, manifests, in_the_way).map_err(Outcome::CouldNotStart)?;
    taking.check_room(&arranged)?;
    // Files that a kept path has left in the way give way: the commit and the artifacts decide what is there.
    let root = TreeDirectory::open_replacing(tree).map_err(|error| not_written(".", &error))?;
    taking.files(&root, &arranged)?;
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
    work: &'a SlotWork,
    /// The artifacts, for people.
    names: Vec<String>,
}

impl Taking<'_> {
    /// Receives the manifests, and returns the entries of each artifact.
    fn manifests(&self, taken: &[TakenArtifact]) -> Result<Vec<Vec<Entry>>, Outcome> {
        let wanted =
            |artifact: &TakenArtifact| WantedBlob { blob: artifact.manifest, bytes: None, limit: MANIFEST_BYTES };
        let wanted: Vec<WantedBlob> = taken.iter().map(wanted).collect();
        let places = Texts(vec![Vec::new(); taken.len()]);
        let Texts(texts) = self.download(&wanted, places, &|at| at, &|at| self.names[at].clone())?;
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

    /// Whether the disk has room for the files.
    fn check_room(&self, arranged: &[(Entry, usize)]) -> Result<(), Outcome> {
        let bytes: u64 = arranged.iter().map(|(entry, _)| bytes_of(entry)).sum();
        match self.common.layout.free() {
            Ok(free) if free.saturating_sub(self.common.min_free) < bytes => {
                let (wanted, free, kept) = (bytes >> 20, free >> 20, self.common.min_free >> 20);
                let text = format!(
                    "the artifacts that it takes have {wanted} MiB, and free disk space is {free} MiB, of which {kept} MiB \
                     are kept free"
                );
                Err(Outcome::Lost(LossReason::DiskFull { text }))
            }
            // If it cannot be told, writing tells it.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Receives the files, each content once.
    fn files(&self, root: &TreeDirectory, arranged: &[(Entry, usize)]) -> Result<(), Outcome> {
        let mut of_blob: HashMap<BlobId, usize> = HashMap::new();
        // The first entry of each content, and the others with the place of the first.
        let (mut firsts, mut copies): (Vec<usize>, Vec<(usize, usize)>) = (Vec::new(), Vec::new());
        let mut wanted = Vec::new();
        for (at, (entry, _)) in arranged.iter().enumerate() {
            let EntryKind::File { blob, bytes, .. } = entry.kind else { continue };
            if let Some(first) = of_blob.get(&blob) {
                copies.push((*first, at));
                continue;
            }
            of_blob.insert(blob, at);
            firsts.push(at);
            wanted.push(WantedBlob { blob, bytes: Some(bytes), limit: bytes });
        }
        drop(of_blob);
        let (of, path) = (|at: usize| arranged[firsts[at]].1, |at: usize| arranged[firsts[at]].0.path.clone());
        self.download(&wanted, Files { root, arranged, firsts: &firsts }, &of, &path)?;
        for (from, to) in copies {
            let (from, to) = (&arranged[from].0, &arranged[to].0);
            place_copy(root, &from.path, to).map_err(|error| not_written(&to.path, &error))?;
        }
        Ok(())
    }

    /// Receives blobs. `of` has the artifact of each, and `path` its path.
    fn download<P: Places>(
        &self,
        wanted: &[WantedBlob],
        places: P,
        of: &dyn Fn(usize) -> usize,
        path: &dyn Fn(usize) -> String,
    ) -> Result<P, Outcome> {
        let lines = (&self.common.reports, &self.work.cancelled);
        let download = Download::new(self.work.assignment.attempt, lines, wanted, places);
        download.run().map_err(|error| match error {
            DownloadError::Cancelled => Outcome::Cancelled,
            DownloadError::Lost(reason) => Outcome::Lost(reason),
            DownloadError::Write { at, error } => not_written(&path(at), &error),
            DownloadError::Missing { at, reason } => {
                let name = &self.names[of(at)];
                Outcome::CouldNotStart(format!(
                    "{name} is not there any more: {reason}; a rerun of that task makes it anew"
                ))
            }
        })
    }
}

/// Manifests that are received into memory.
struct Texts(Vec<Vec<u8>>);

impl Places for Texts {
    type Writer = Vec<u8>;

    fn begin(&mut self, _at: usize) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn end(&mut self, at: usize, text: Vec<u8>) -> io::Result<()> {
        self.0[at] = text;
        Ok(())
    }
}

/// Files that are received into the work tree.
struct Files<'a> {
    root: &'a TreeDirectory,
    arranged: &'a [(Entry, usize)],
    firsts: &'a [usize],
}

impl Places for Files<'_> {
    type Writer = Placing;

    fn begin(&mut self, at: usize) -> io::Result<Placing> {
        let entry = &self.arranged[self.firsts[at]].0;
        let executable = matches!(entry.kind, EntryKind::File { executable: true, .. });
        self.root.begin_file(&entry.path, executable)
    }

    fn end(&mut self, at: usize, placing: Placing) -> io::Result<()> {
        placing.finish(self.arranged[self.firsts[at]].0.mtime_ns)
    }
}
