//! Decides which refs are trusted: by the operator's file in the data directory, and by what observers tell of the
//! repositories. The sessions and the schedules ask before the core hears of a build, and the answer is recorded with
//! the build: a later change of the file changes no build that exists.
//!
//! The file is read for each decision, so a change holds for the next build, without a restart. While it cannot be
//! used, the rules hold that were read last.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::DispatcherError;
use super::data_dir::DataDir;
use super::warnings::Warnings;
use crate::config::{MAX_TASK_FILE_BYTES, ServerSettings, parse_server};
use crate::model::{ObservedRefs, RefName, RepoName, Trust};
use crate::store::{Reader, StoreError};
use crate::threads;

/// The name of the warning in `surveil status`.
const WARNING: &str = "operator's file";

/// Decides which refs are trusted. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TrustJudge {
    path: PathBuf,
    warnings: Warnings,
    known: Arc<Mutex<Known>>,
}

/// The file as it was read last. The lock is held for a comparison only, and never while the file is read.
#[derive(Default)]
struct Known {
    /// `None` if there was no file, or if it could not be read.
    text: Option<Vec<u8>>,
    /// Those of the last file that could be used.
    settings: Arc<ServerSettings>,
}

/// Checks the operator's file before a dispatcher starts. No file is a good one.
pub(super) fn check(data: &DataDir) -> Result<(), DispatcherError> {
    let path = data.settings();
    let text = read(&path).map_err(|source| DispatcherError::ReadSettings { path: path.clone(), source })?;
    if let Some(text) = text {
        parse_server(&path.to_string_lossy(), &text).map_err(DispatcherError::Settings)?;
    }
    Ok(())
}

impl TrustJudge {
    pub(crate) fn new(data: &DataDir, warnings: Warnings) -> Self {
        Self { path: data.settings(), warnings, known: Arc::default() }
    }

    /// Returns the trust in a ref of a repository of which an observer told this.
    pub(crate) fn judge(&self, repo: &RepoName, reference: &RefName, observed: &ObservedRefs) -> Trust {
        self.settings().trust_of(repo).judge(reference, observed)
    }

    /// Like [`TrustJudge::judge`], by what the store knows of the repository.
    pub(crate) fn judge_stored(
        &self,
        repo: &RepoName,
        reference: &RefName,
        reader: &dyn Reader,
    ) -> Result<Trust, StoreError> {
        Ok(self.judge(repo, reference, &reader.observed_refs(repo)?))
    }

    fn settings(&self) -> Arc<ServerSettings> {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) => {
                self.warn(&format!("could not read {}: {error}", self.path.display()));
                return threads::lock(&self.known).settings.clone();
            }
        };
        {
            let known = threads::lock(&self.known);
            if known.text == text {
                return known.settings.clone();
            }
        }
        let parsed = parse_server(&self.path.to_string_lossy(), text.as_deref().unwrap_or_default());
        let mut known = threads::lock(&self.known);
        if let Ok(settings) = &parsed {
            known.settings = Arc::new(settings.clone());
        }
        // Another thread may have read the same file meanwhile, and has told it.
        let is_told = std::mem::replace(&mut known.text, text) == known.text;
        let settings = known.settings.clone();
        drop(known);
        match parsed {
            Ok(_) => {
                self.warnings.set(WARNING, None);
                if !is_told {
                    log::info!("the rules of {} are in force", self.path.display());
                }
            }
            Err(mistake) => self.warn(&mistake.text),
        }
        settings
    }

    /// Tells a problem with the file, once for each.
    fn warn(&self, problem: &str) {
        let first = problem.lines().next().unwrap_or_default();
        let sentence = format!("{first}: the rules of before are in force; `surveil check --server` tells more");
        if !self.warnings.list().contains(&sentence) {
            log::error!("{sentence}");
            self.warnings.set(WARNING, Some(sentence));
        }
    }
}

/// Reads the file, and no more of it than is too much; `None` if there is none.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_TASK_FILE_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_of_the_file_holds_for_the_next_decision_and_a_mistake_in_it_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let data = DataDir::at(place.path());
        let warnings = Warnings::default();
        let judge = TrustJudge::new(&data, warnings.clone());
        let write = |text: &str| fs::write(data.settings(), text).unwrap();
        let (app, observed) = (RepoName::new("app").unwrap(), ObservedRefs::default());
        let trusts = |branch: &str| judge.judge(&app, &RefName::of_branch(branch), &observed) == Trust::Trusted;
        assert!(trusts("main") && !trusts("release/1"));
        check(&data).unwrap();
        write("[trust]\nbranches = ['release/*']");
        assert!(trusts("main") && trusts("release/1"));
        check(&data).unwrap();
        assert_eq!(warnings.list(), Vec::<String>::new());
        write("[trust]\nbranchs = []");
        assert!(trusts("main") && trusts("release/1"));
        let list = warnings.list();
        assert!(list.len() == 1 && list[0].contains("surveil.toml:2:1: unknown key `branchs`"), "{list:?}");
        assert!(check(&data).unwrap_err().to_string().contains("write `branches`"));
        write("[trust]\ndefault_branch = false");
        assert!(!trusts("main") && !trusts("release/1"));
        assert_eq!(warnings.list(), Vec::<String>::new());
        fs::remove_file(data.settings()).unwrap();
        assert!(trusts("main"));
        // A directory cannot be read.
        fs::create_dir(data.settings()).unwrap();
        assert!(trusts("main") && warnings.list().len() == 1 && check(&data).is_err());
    }
}
