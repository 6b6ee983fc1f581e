//! Tests of the entries of the tool cache, over a store and a directory of their own.

use std::fs;
use std::path::PathBuf;

use crossbeam_channel::{Receiver, bounded};

use crate::blobs::sum_of;
use crate::dispatcher::caches::tools::{ToolEntries, key_of};
use crate::dispatcher::core::{CoreHandle, ToCore};
use crate::model::{
    AttemptId, BranchName, BuildId, BuildSource, CacheScopes, CommitId, RepoName, TaskName, ToolEntry, Trigger,
    WallTime,
};
use crate::store::sqlite;
use crate::threads::{self, Thread};

/// A dispatcher's store with the entries beside it. Dropping it is a crash: what waits to be committed is lost.
struct Place {
    directory: tempfile::TempDir,
}

struct Running {
    tools: ToolEntries,
    /// Stands for the core. It ends when `tools`, which is declared first, is gone.
    _core: Thread<()>,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn start(&self) -> Running {
        let mut store = sqlite::open(&self.directory.path().join("surveil.db")).unwrap();
        let readers = store.readers();
        let (core, inbox): (_, Receiver<ToCore>) = bounded(1);
        let core_thread = threads::spawn("core", move || {
            while let Ok(message) = inbox.recv() {
                let ToCore::Store(change) = message else { panic!("the entries change the store and nothing else") };
                change(&mut *store).unwrap();
            }
        });
        let tools = ToolEntries::open(readers, CoreHandle::new(core), self.directory.path().join("tool-cache"));
        Running { tools: tools.unwrap(), _core: core_thread.unwrap() }
    }

    /// The files of entries, and of those that are being written.
    fn files(&self) -> Vec<PathBuf> {
        let list = |path: PathBuf| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        list(self.directory.path().join("tool-cache")).flat_map(list).collect()
    }
}

fn source(branch: &str) -> BuildSource {
    let trigger = Trigger::push(&BranchName::new(branch), None, vec![]);
    let (repo, commit) = (RepoName::new("app").unwrap(), CommitId::from_bytes(&[7; 20]).unwrap());
    BuildSource { repo, commit, trigger, subject: String::new(), author: String::new() }
}

impl Running {
    /// Keeps this content under a name of a tool, as a build of this branch does.
    fn keep(&self, branch: &str, name: &str, content: &[u8]) {
        let source = source(branch);
        let scope = CacheScopes::own(&source.trigger);
        let entry = ToolEntry {
            key: key_of(&source.repo, &scope, "nx", name),
            repo: source.repo,
            scope,
            tool: "nx".into(),
            name: name.into(),
            headers: Vec::new(),
            blob: sum_of(content),
            bytes: content.len() as u64,
            attempt: AttemptId(1),
            build: BuildId(1),
            task: TaskName::new("test").unwrap(),
            number: 1,
            saved_at: WallTime(1),
            used_at: WallTime(1),
        };
        let mut file = self.tools.begin(entry.bytes).unwrap();
        file.take(content).unwrap();
        assert_eq!(file.finish().unwrap(), (entry.blob, entry.bytes));
        self.tools.keep(entry, &file).unwrap();
    }

    fn find(&self, branch: &str, name: &str) -> Option<Vec<u8>> {
        let mut found = self.tools.find(&source(branch), ("nx", name), true).unwrap()?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut found.file, &mut bytes).unwrap();
        Some(bytes)
    }
}

#[test]
fn an_entry_is_found_at_once_and_durable_once_it_is_committed() {
    let place = Place::new();
    let running = place.start();
    running.keep("main", "a", b"first");
    running.keep("main", "a", b"second");
    assert_eq!(running.find("main", "a").unwrap(), b"first", "it is written once");
    assert_eq!(running.find("topic", "a").unwrap(), b"first", "every branch reads the default one");
    running.keep("topic", "a", b"third");
    assert_eq!(running.find("topic", "a").unwrap(), b"third");
    assert_eq!(running.find("main", "a").unwrap(), b"first");
    assert_eq!(running.find("main", "b"), None);
    assert!(running.tools.commit().unwrap() && !running.tools.commit().unwrap());
    running.keep("main", "a", b"second");
    running.keep("main", "late", b"lost");
    drop(running);
    let running = place.start();
    assert_eq!(running.find("main", "a").unwrap(), b"first");
    assert_eq!(running.find("topic", "a").unwrap(), b"third");
    assert_eq!(running.find("main", "late"), None, "a crash came before its record");
    // Its file is no entry's, and goes.
    assert_eq!((place.files().len(), running.tools.sweep().unwrap()), (3, 1));
    running.keep("main", "late", b"again");
    assert_eq!(running.tools.sweep().unwrap(), 0, "neither has a record, and one is an entry");
    assert_eq!(running.find("main", "late").unwrap(), b"again");
}

/// S43.
#[test]
fn a_damaged_file_is_no_entry_and_another_one_takes_its_place() {
    let place = Place::new();
    let running = place.start();
    for (at, harm) in [b"evil!".to_vec(), b"goo".to_vec(), Vec::new()].into_iter().enumerate() {
        for is_committed in [false, true] {
            let name = format!("{at}{is_committed}");
            running.keep("main", &name, b"good!");
            assert!(running.tools.commit().unwrap());
            if !is_committed {
                running.tools.forget(vec![key("main", &name)]).unwrap();
                running.keep("main", &name, b"good!");
            }
            let files = place.files();
            let [file] = files.as_slice() else { panic!("{files:?}") };
            fs::write(file, &harm).unwrap();
            assert_eq!(running.find("main", &name), None);
            assert_eq!(place.files(), [] as [PathBuf; 0]);
            running.keep("main", &name, b"fine!");
            assert_eq!(running.find("main", &name).unwrap(), b"fine!");
            running.tools.forget(vec![key("main", &name)]).unwrap();
            assert_eq!((running.find("main", &name), place.files().len()), (None, 0));
        }
    }
}

fn key(branch: &str, name: &str) -> crate::model::CacheKey {
    let source = source(branch);
    key_of(&source.repo, &CacheScopes::own(&source.trigger), "nx", name)
}

#[test]
fn entries_whose_records_cannot_be_committed_are_lost_with_their_files() {
    let place = Place::new();
    let running = place.start();
    let tools = ToolEntries::open(
        sqlite::readers(&place.directory.path().join("surveil.db")),
        CoreHandle::new(bounded(1).0),
        place.directory.path().join("tool-cache"),
    );
    let without_core = Running { tools: tools.unwrap(), _core: threads::spawn("core", || {}).unwrap() };
    without_core.keep("main", "a", b"a");
    assert_eq!(place.files().len(), 1);
    assert!(without_core.tools.commit().is_err());
    assert_eq!((without_core.find("main", "a"), place.files().len()), (None, 0));
    assert_eq!(running.find("main", "a"), None);
}
