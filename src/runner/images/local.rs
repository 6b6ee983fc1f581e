//! The container tool of `surveil run`, which has no work directory of its own. The label of its containers is the path
//! of a file that it keeps locked, so that a later run finds the containers of one that was killed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::leftovers::remove_all;
use super::tool::{ContainerTool, Images, TellFetch};
use crate::config::ImageTools;
use crate::locked::Locked;
use crate::model::Isolation;
use crate::process::Supervisor;
use crate::runner::layout::is_at;

/// The directory of the locked files, below the directory for work.
const PLACES: &str = "run-containers";
/// The directory for images that are files.
const FILES: &str = "images";
/// The most runs at a time that have containers.
const MAX_PLACES: u32 = 1000;

/// The container tool of a local run.
pub struct LocalTool {
    tool: ContainerTool,
    /// Tells other processes that the containers with this label are in use.
    _lock: Locked,
}

impl LocalTool {
    /// Finds the first of the tools that can be used here. Removes the containers of runs that were killed. `work` is
    /// the directory for work, and `program` this program. `tell` gets a line before an image is fetched. Returns
    /// `None` if a message on `cancel` ended that. An error is for people.
    pub fn find(
        tools: &ImageTools,
        (work, program): (&Path, PathBuf),
        tell: Box<TellFetch>,
        cancel: &Receiver<()>,
    ) -> Result<Option<Self>, String> {
        let parent = work.join(PLACES);
        let taken = take_place(&parent);
        let (path, lock) = taken.map_err(|error| format!("could not lock a file in {}: {error}", parent.display()))?;
        let images = Images::find(tools, &path, work.join(FILES))?.map(|images| Arc::new(images.telling(tell)));
        if let Some(images) = &images {
            let remove = |instance: &Path| {
                remove_all(images, &instance.display().to_string(), "a `surveil run` that was killed", cancel)
            };
            if remove(&path).and_then(|_| remove_abandoned(&parent, &path, remove)).is_none() {
                return Ok(None);
            }
        }
        // A tool keeps the pids of its containers for later calls, so they must be those of the machine.
        let make = move || {
            let mut supervisor = Supervisor::new(program.clone(), Isolation::Subreaper);
            let execute: Box<crate::runner::executor::Execute> =
                Box::new(move |command, output, cancel, progress| supervisor.run(command, output, cancel, progress));
            execute
        };
        Ok(Some(Self { tool: ContainerTool::new(images, Arc::new(make)), _lock: lock }))
    }

    /// The means for containers.
    #[must_use]
    pub fn containers(&self) -> &ContainerTool {
        &self.tool
    }
}

/// Locks the first file that no process has locked.
fn take_place(parent: &Path) -> io::Result<(PathBuf, Locked)> {
    fs::create_dir_all(parent)?;
    // The label has no symbolic link in it, however the directory was named.
    let parent = parent.canonicalize()?;
    for number in 0..MAX_PLACES {
        let path = parent.join(number.to_string());
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        if let Some(lock) = lock(file, &path)? {
            return Ok((path, lock));
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Removes the containers of each other file that no process has locked, and then the file. `remove` returns whether
/// that worked, or `None` if everything is to end.
fn remove_abandoned(parent: &Path, own: &Path, remove: impl Fn(&Path) -> Option<bool>) -> Option<()> {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let Some(path) = own.parent().map(|parent| parent.join(entry.file_name())).filter(|path| path != own) else {
            continue;
        };
        let locked = File::open(&path).and_then(|file| lock(file, &path));
        if let Ok(Some(lock)) = locked {
            // A later run finds what is left by the file.
            if remove(&path)? {
                // Locked until it is gone, so that no process takes it meanwhile.
                drop(fs::remove_file(&path));
            }
            drop(lock);
        }
    }
    Some(())
}

/// Locks a file, unless another process has locked or removed it.
fn lock(file: File, path: &Path) -> io::Result<Option<Locked>> {
    match file.try_lock() {
        Ok(()) if is_at(&file, path) => Ok(Some(Locked::new(file))),
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn each_run_has_a_label_of_its_own_and_a_later_one_finds_those_of_the_killed() {
        let place = tempfile::tempdir().unwrap();
        let parent = place.path().canonicalize().unwrap().join(PLACES);
        let (first, first_lock) = take_place(&parent).unwrap();
        let (second, second_lock) = take_place(&parent).unwrap();
        let (third, third_lock) = take_place(&parent).unwrap();
        assert_eq!([&first, &second, &third], [&parent.join("0"), &parent.join("1"), &parent.join("2")]);
        drop((first_lock, third_lock));
        let (again, _again_lock) = take_place(&parent).unwrap();
        assert_eq!(again, first);
        let removed = RefCell::new(Vec::new());
        let remove = |answer: Option<bool>| {
            let ended = remove_abandoned(&parent, &again, |path| {
                removed.borrow_mut().push(path.to_owned());
                answer
            });
            assert_eq!(removed.take(), std::slice::from_ref(&third), "the second is in use");
            ended
        };
        assert_eq!(remove(None), None);
        assert_eq!(remove(Some(false)), Some(()));
        assert!(third.exists(), "a later run finds its containers");
        assert_eq!(remove(Some(true)), Some(()));
        assert!(!third.exists() && second.exists() && again.exists());
        drop(second_lock);
    }

    #[test]
    fn a_file_that_another_process_has_removed_is_not_taken() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("0");
        let (opened, again) = (File::create(&path).unwrap(), || File::create(&path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(lock(opened, &path).unwrap().is_none());
        assert!(lock(again(), &path).unwrap().is_some());
    }
}
