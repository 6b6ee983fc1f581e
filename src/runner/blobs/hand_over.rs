//! Artifacts between the tasks of `surveil run --clean`, each of which has a tree of the commit alone. They are kept in
//! a directory that goes with the run.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crossbeam_channel::Receiver;

use super::collect::{ArtifactLimits, Collected, KeptTree};
use super::hashing::CollectError;
use super::keeping::{Collecting, collect_all};
use super::placing::{InTheWay, arrange, place_others, sizes};
use super::repositories::Repositories;
use crate::blobs::{Entry, EntryKind, TreeDirectory};
use crate::config::defaults;
use crate::model::{BlobId, Outcome, TaskName, TaskSpec};

/// The artifacts that the tasks of a local run have left so far.
#[derive(Debug)]
pub struct HandOver {
    directory: PathBuf,
    /// Those of the newest attempt of each task, by name.
    left: HashMap<TaskName, Vec<(String, Vec<Entry>)>>,
}

impl HandOver {
    /// Keeps files in this directory, which is made when it is needed.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, left: HashMap::new() }
    }

    /// Keeps what a task has left in a tree with submodules at these paths. Returns the outcome that counts: as on a
    /// runner, a task that passed has failed if a required artifact is not there. `say` gets lines for people.
    pub fn keep(
        &mut self,
        task: &TaskSpec,
        (tree, submodules): (&Path, &[String]),
        outcome: Outcome,
        cancelled: &Receiver<()>,
        say: &mut dyn FnMut(&str),
    ) -> Outcome {
        self.left.remove(&task.name);
        let limits = ArtifactLimits { files: defaults::ARTIFACT_FILES, bytes: defaults::ARTIFACT_BYTES };
        let repositories = Repositories::of(submodules.iter().map(String::as_str));
        let kept = KeptTree { path: tree, repositories: &repositories };
        let collecting = Collecting { rules: &task.recipe.artifacts, tree: kept, limits, cancelled };
        let (outcome, collected) = match collect_all(&collecting, outcome, say) {
            Ok(found) => found,
            Err(CollectError::Cancelled) => return Outcome::Cancelled,
            Err(CollectError::Problem(_)) => return Outcome::Failed(1),
        };
        let mut left = Vec::with_capacity(collected.len());
        for (rule, Collected { entries, .. }) in collected {
            if let Err(error) = self.store(tree, &entries) {
                say(&format!("surveil: artifact `{}` could not be kept: {error}", rule.name));
                return Outcome::Lost(format!("could not keep artifact `{}`: {error}", rule.name).into());
            }
            left.push((rule.name.clone(), entries));
        }
        self.left.insert(task.name.clone(), left);
        outcome
    }

    fn store(&self, tree: &Path, entries: &[Entry]) -> io::Result<()> {
        let root = TreeDirectory::open(tree)?;
        fs::create_dir_all(&self.directory)?;
        for Entry { path, kind, .. } in entries {
            let EntryKind::File { blob, .. } = kind else { continue };
            let place = self.place(*blob);
            if !place.exists() {
                io::copy(&mut root.file(path)?.0, &mut File::create(place)?)?;
            }
        }
        Ok(())
    }

    /// Puts the artifacts that a task takes into its tree. Returns lines for people, or the reason why it cannot start.
    pub fn hand_on(&self, task: &TaskSpec, tree: &Path, in_the_way: InTheWay<'_>) -> Result<Vec<String>, String> {
        let (mut names, mut manifests) = (Vec::new(), Vec::new());
        for need in &task.placement.needs {
            let left = self.left.get(&need.task).into_iter().flatten();
            for (name, entries) in left.filter(|(name, _)| need.take.covers(name)) {
                names.push(format!("artifact `{name}` of task `{}`", need.task));
                manifests.push(entries.clone());
            }
        }
        let line = |(name, entries): (&String, &Vec<Entry>)| format!("surveil: took {name}: {}", sizes(entries));
        let lines = names.iter().zip(&manifests).map(line).collect();
        let arranged = arrange(&names, manifests, in_the_way)?;
        let failed = |path: &str, error: io::Error| format!("could not write `{path}` of an artifact: {error}");
        let root = TreeDirectory::open_replacing(tree).map_err(|error| failed(".", error))?;
        for (entry, _) in &arranged {
            let EntryKind::File { blob, executable, .. } = entry.kind else { continue };
            let write = || -> io::Result<()> {
                let mut placing = root.begin_file(&entry.path, executable)?;
                io::copy(&mut File::open(self.place(blob))?, &mut placing)?;
                placing.finish(entry.mtime_ns)
            };
            write().map_err(|error| failed(&entry.path, error))?;
        }
        place_others(&root, &arranged).map_err(|(path, error)| failed(&path, error))?;
        Ok(lines)
    }

    fn place(&self, blob: BlobId) -> PathBuf {
        self.directory.join(blob.to_string())
    }
}
