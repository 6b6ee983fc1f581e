//! Whole observers over TCP, with real repositories and a scripted dispatcher.

mod announcing;
mod failing;
mod stories;
pub(super) mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use tempfile::TempDir;

use super::*;
use crate::clock;
use crate::config::{ObservedRepo, ObserverSettings, RepoLocation, TokenSource};
use crate::git::{PackStore, Watched};
use crate::model::{Address, RepoName};
use crate::protocol::hello::ErrorCode;
use crate::protocol::observer::{FromObserver, ToObserver};
use crate::shutdown::Stop;
use crate::threads::{self, Thread};
use crate::transport::Listener;
use support::{Announced, Scripted};

/// A poll interval that no test can wait for: the change must be found by notification.
const HARDLY_EVER_MS: u64 = 3_600_000;
/// A short poll interval, for tests in which the poll must find something.
const OFTEN_MS: u64 = 20;

/// A repository made by the git program, in a directory of its own.
struct Repository {
    dir: TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(repository.path()).unwrap();
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    /// Makes a repository with one commit.
    fn with_commit() -> (Self, String) {
        let repository = Self::new();
        let commit = repository.commit("first");
        (repository, commit)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    fn git(&self, args: &[&str]) -> String {
        self.git_at(None, args)
    }

    /// Calls git, whose commits and tags then have this time, in seconds since 1970.
    fn git_at(&self, seconds: Option<i64>, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.org")])
            .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.org")])
            .envs(seconds.map(|seconds| ("GIT_COMMITTER_DATE", format!("{seconds} +0000"))))
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits a file of that name to the branch that is checked out.
    fn commit(&self, name: &str) -> String {
        fs::write(self.path().join(name), name.repeat(100)).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", name]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// An observer in a thread, and the listener of its dispatcher.
struct Stage {
    listener: Listener,
    stop: Option<Sender<Stop>>,
    observer: Option<Thread<Result<(), ObserverError>>>,
    data: TempDir,
}

impl Stage {
    fn settings(repos: &[(&str, &Path)]) -> (Self, ObserverSettings) {
        let listener = Listener::bind(&Address { host: "127.0.0.1".into(), port: 0 }).unwrap();
        let data = tempfile::tempdir().unwrap();
        let token = data.path().join("token");
        fs::write(&token, "secret\n").unwrap();
        let repos = repos
            .iter()
            .map(|(name, path)| ObservedRepo {
                name: RepoName::new(name).unwrap(),
                location: RepoLocation::Path(path.to_path_buf()),
                source: format!("here:{}", path.display()),
            })
            .collect();
        let settings = ObserverSettings {
            dispatch: vec![Address { host: "127.0.0.1".into(), port: listener.local_addr().port() }],
            pins: Vec::new(),
            token: TokenSource::new(token),
            repos,
            branches: Vec::new(),
            refs: Vec::new(),
            backlog: 0,
            interval_ms: HARDLY_EVER_MS,
            work: data.path().join("work"),
        };
        (Self { listener, stop: None, observer: None, data }, settings)
    }

    fn start(mut self, settings: ObserverSettings) -> Self {
        let (stop, stopped) = bounded(1);
        self.stop = Some(stop);
        self.observer = Some(threads::spawn("observer", move || run(settings, &stopped)).unwrap());
        self
    }

    /// Observes the main branch of one repository.
    fn of(repository: &Repository) -> Self {
        let (stage, settings) = Self::settings(&[("app", &repository.path())]);
        stage.start(settings)
    }

    /// Observes all branches of one repository.
    fn of_all_branches(repository: &Repository, interval_ms: u64) -> Self {
        let (stage, mut settings) = Self::settings(&[("app", &repository.path())]);
        settings.branches = vec!["*".into()];
        settings.interval_ms = interval_ms;
        stage.start(settings)
    }

    /// Accepts the next connection, without a welcome.
    fn call(&self) -> Scripted {
        Scripted::new(self.listener.accept().unwrap().unwrap())
    }

    /// Accepts the next session, as a dispatcher that has accepted these heads.
    fn session(&self, heads: &[(&str, &str)]) -> Scripted {
        let mut dispatcher = self.call();
        dispatcher.welcome();
        dispatcher.tell_heads(heads);
        dispatcher
    }

    /// Returns how the observer ended by itself.
    fn end(mut self) -> Result<(), ObserverError> {
        self.observer.take().unwrap().join().unwrap()
    }

    /// Stops the observer. It must end quickly.
    fn stop(mut self) {
        let began = clock::instant();
        self.stop.take().unwrap().send(Stop::Now).unwrap();
        self.end().unwrap();
        assert!(clock::instant() - began < Duration::from_secs(3));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.listener.close();
        // A closed channel stops it, so that a failed test does not wait for its thread.
        self.stop = None;
    }
}

/// Checks that the announced commit is complete in a store that received these packs.
fn check_source(packs: &[&Announced]) {
    let dir = tempfile::tempdir().unwrap();
    for announced in packs {
        let FromObserver::Dispatch { commit, .. } = &announced.message else { panic!("{announced:?}") };
        let commit = commit.parse().unwrap();
        let store = PackStore::open(&dir.path().join("store"), commit).unwrap();
        let mut receiver = store.receive().unwrap();
        receiver.write(&announced.pack).unwrap();
        receiver.finish(commit, false).unwrap();
    }
}
