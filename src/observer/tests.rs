//! Whole observers over TCP: real repositories, a scripted dispatcher.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crossbeam_channel::Sender;
use tempfile::TempDir;

use super::scripted::{Announced, Scripted};
use super::*;
use crate::config::{ObservedRepo, TokenSource};
use crate::git::Store;
use crate::protocol::hello::ErrorCode;
use crate::protocol::observer::{FromObserver, ToObserver};
use crate::threads::Thread;
use crate::transport::Listener;

/// Not a poll that a test could wait for: what it expects must come by notification.
const HARDLY_EVER_MS: u64 = 3_600_000;
/// Often, where it is the poll that must find something.
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

    /// With a first commit.
    fn with_commit() -> (Self, String) {
        let repository = Self::new();
        let commit = repository.commit("first");
        (repository, commit)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    fn git(&self, args: &[&str]) -> String {
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
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits a file of that name on the branch that is checked out.
    fn commit(&self, name: &str) -> String {
        fs::write(self.path().join(name), name.repeat(100)).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", name]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// An observer in a thread, and the place where its dispatcher listens.
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
            token: TokenSource(token),
            repos,
            branches: Vec::new(),
            fetch: false,
            interval_ms: HARDLY_EVER_MS,
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

    /// The next connection, not yet welcomed.
    fn call(&self) -> Scripted {
        Scripted::new(self.listener.accept().unwrap().unwrap())
    }

    /// The next session, in which the dispatcher has these heads.
    fn session(&self, heads: &[(&str, &str)]) -> Scripted {
        let mut dispatcher = self.call();
        dispatcher.welcome();
        dispatcher.tell_heads(heads);
        dispatcher
    }

    /// How the observer ended by itself.
    fn end(mut self) -> Result<(), ObserverError> {
        self.observer.take().unwrap().join().unwrap()
    }

    /// Stops the observer, which must be quick.
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

/// Checks that the announced commit is complete in a store that got these packs.
fn check_source(packs: &[&Announced]) {
    let dir = tempfile::tempdir().unwrap();
    for announced in packs {
        let FromObserver::Dispatch { commit, .. } = &announced.message else { panic!("{announced:?}") };
        let commit = commit.parse().unwrap();
        let store = Store::open(&dir.path().join("store"), commit).unwrap();
        let mut receiver = store.receive().unwrap();
        receiver.write(&announced.pack).unwrap();
        receiver.finish(commit, false).unwrap();
    }
}

#[test]
fn a_first_commit_and_then_the_next_are_announced_with_their_source() {
    let (repository, first) = Repository::with_commit();
    let stage = Stage::of(&repository);
    let mut dispatcher = stage.session(&[]);
    let one = dispatcher.announced();
    assert_eq!(one.show(), format!("main -..{first}"));
    dispatcher.accept(&one, 1);

    fs::write(repository.path().join("large"), (0..=255u8).cycle().take(100_000).collect::<Vec<_>>()).unwrap();
    let second = repository.commit("second");
    let two = dispatcher.announced();
    assert_eq!(two.show(), format!("main {first}..{second}"));
    dispatcher.accept(&two, 2);
    let third = repository.commit("third");
    let three = dispatcher.announced();
    assert_eq!(three.show(), format!("main {second}..{third}"));
    let FromObserver::Dispatch { repo, range, subject, author, .. } = &three.message else { panic!() };
    assert_eq!((repo.as_str(), range.as_slice()), ("app", &[third][..]));
    assert_eq!((subject.as_str(), author.as_str()), ("third", "Ada <ada@example.org>"));
    assert!(three.pack.len() < two.pack.len() && three.pack.len() < 1000, "{} bytes", three.pack.len());
    check_source(&[&one, &two, &three]);
    stage.stop();
}

#[test]
fn commits_made_while_nobody_observed_are_one_announcement_with_all_of_them() {
    let (repository, first) = Repository::with_commit();
    let commits = ["a", "b", "c"].map(|name| repository.commit(name));
    let stage = Stage::of(&repository);
    let mut dispatcher = stage.session(&[("main", &first)]);
    let announced = dispatcher.announced();
    assert_eq!(announced.show(), format!("main {first}..{}", commits[2]));
    let FromObserver::Dispatch { range, .. } = &announced.message else { panic!() };
    assert_eq!(range.as_slice(), &commits);
}

#[test]
fn what_the_dispatcher_has_is_not_announced_and_packing_refs_changes_nothing() {
    let (repository, first) = Repository::with_commit();
    let stage = Stage::of(&repository);
    let mut dispatcher = stage.session(&[("main", &first)]);
    repository.git(&["pack-refs", "--all"]);
    repository.git(&["gc", "-q"]);
    let second = repository.commit("second");
    assert_eq!(dispatcher.announced().show(), format!("main {first}..{second}"));
}

#[test]
fn a_force_push_is_announced_from_the_accepted_head_with_the_new_head_alone() {
    let (repository, first) = Repository::with_commit();
    let second = repository.commit("second");
    let stage = Stage::of(&repository);
    let mut dispatcher = stage.session(&[("main", &second)]);
    repository.git(&["commit", "-q", "--amend", "-m", "other"]);
    let other = repository.git(&["rev-parse", "HEAD"]);
    let announced = dispatcher.announced();
    assert_eq!(announced.show(), format!("main {second}..{other}"));
    let FromObserver::Dispatch { range, .. } = &announced.message else { panic!() };
    assert_eq!(range.as_slice(), std::slice::from_ref(&other));
    dispatcher.accept(&announced, 2);
    repository.git(&["reset", "-q", "--hard", &first]);
    assert_eq!(dispatcher.announced().show(), format!("main {other}..{first}"));
}

#[test]
fn a_head_the_repository_never_had_is_announced_over_with_a_whole_pack() {
    let (repository, first) = Repository::with_commit();
    let stage = Stage::of(&repository);
    let unknown = "ab".repeat(20);
    let mut dispatcher = stage.session(&[("main", &unknown)]);
    let announced = dispatcher.announced();
    assert_eq!(announced.show(), format!("main {unknown}..{first}"));
    check_source(&[&announced]);
}

#[test]
fn branches_are_announced_when_they_come_and_when_they_go() {
    let (repository, first) = Repository::with_commit();
    let stage = Stage::of_all_branches(&repository, HARDLY_EVER_MS);
    let mut dispatcher = stage.session(&[("main", &first)]);
    repository.git(&["switch", "-q", "-c", "topic/deep/x"]);
    let created = dispatcher.announced();
    assert_eq!(created.show(), format!("topic/deep/x -..{first}"));
    assert!(created.pack.is_empty(), "the dispatcher has this commit");
    dispatcher.accept(&created, 2);
    let second = repository.commit("second");
    let moved = dispatcher.announced();
    assert_eq!(moved.show(), format!("topic/deep/x {first}..{second}"));
    dispatcher.accept(&moved, 3);
    repository.git(&["switch", "-q", "main"]);
    repository.git(&["branch", "-q", "-D", "topic/deep/x"]);
    let gone = dispatcher.announced();
    assert_eq!(gone.show(), format!("topic/deep/x {second} gone"));
    dispatcher.accept(&gone, 0);
    repository.git(&["branch", "topic/deep/x", &second]);
    assert_eq!(dispatcher.announced().show(), format!("topic/deep/x -..{second}"));
}

#[test]
fn an_unborn_head_is_waited_for() {
    let repository = Repository::new();
    let stage = Stage::of(&repository);
    let mut dispatcher = stage.session(&[]);
    let first = repository.commit("first");
    assert_eq!(dispatcher.announced().show(), format!("main -..{first}"));
}

#[test]
fn names_that_a_shell_would_trip_over_are_just_names() {
    let (repository, first) = Repository::with_commit();
    for name in ["refs/heads/-x", "refs/heads/a;b", "refs/heads/$(x)", "refs/heads/\u{1f980}"] {
        repository.git(&["update-ref", name, &first]);
    }
    let stage = Stage::of_all_branches(&repository, HARDLY_EVER_MS);
    let mut dispatcher = stage.session(&[("main", &first)]);
    for name in ["$(x)", "-x", "a;b", "\u{1f980}"] {
        let announced = dispatcher.announced();
        assert_eq!(announced.show(), format!("{name} -..{first}"));
        dispatcher.accept(&announced, 1);
    }
}

#[test]
fn a_commit_whose_answer_never_came_is_announced_again_in_the_next_session() {
    let (repository, first) = Repository::with_commit();
    let stage = Stage::of(&repository);
    let mut dispatcher = stage.session(&[]);
    dispatcher.announced();
    dispatcher.stream.close();
    let mut dispatcher = stage.session(&[]);
    assert_eq!(dispatcher.announced().show(), format!("main -..{first}"));
    dispatcher.stream.close();
    // This time it had been accepted, and only the answer was lost.
    let mut dispatcher = stage.session(&[("main", &first)]);
    let second = repository.commit("second");
    assert_eq!(dispatcher.announced().show(), format!("main {first}..{second}"));
}

#[test]
fn a_stale_announcement_follows_the_head_that_the_dispatcher_names() {
    let (repository, first) = Repository::with_commit();
    let second = repository.commit("second");
    let stage = Stage::of(&repository);
    let mut dispatcher = stage.session(&[]);
    dispatcher.announced();
    dispatcher.say(&ToObserver::Stale { repo: "app".into(), branch: "main".into(), head: Some(first.clone()) });
    assert_eq!(dispatcher.announced().show(), format!("main {first}..{second}"));
}

#[test]
fn a_dispatcher_that_lost_its_mirror_gets_everything() {
    let (repository, first) = Repository::with_commit();
    let second = repository.commit("second");
    let stage = Stage::of(&repository);
    let mut dispatcher = stage.session(&[("main", &first)]);
    let difference = dispatcher.announced();
    dispatcher.say(&ToObserver::NeedSource { repo: "app".into(), branch: "main".into(), commit: second.clone() });
    let whole = dispatcher.announced();
    assert_eq!(whole.show(), difference.show());
    assert!(whole.pack.len() > difference.pack.len());
    check_source(&[&whole]);
    dispatcher.accept(&whole, 2);
    let third = repository.commit("third");
    let next = dispatcher.announced();
    assert_eq!(next.show(), format!("main {second}..{third}"));
    check_source(&[&whole, &next]);
}

#[test]
fn a_refused_commit_is_tried_again_at_a_later_poll_and_holds_up_no_other_branch() {
    let (repository, first) = Repository::with_commit();
    repository.git(&["branch", "another"]);
    let stage = Stage::of_all_branches(&repository, OFTEN_MS);
    let mut dispatcher = stage.session(&[]);
    assert_eq!(dispatcher.announced().show(), format!("another -..{first}"));
    dispatcher.refuse(ErrorCode::BrokenSource, "the pack is broken");
    let main = dispatcher.announced();
    assert_eq!(main.show(), format!("main -..{first}"));
    dispatcher.accept(&main, 1);
    assert_eq!(dispatcher.announced().show(), format!("another -..{first}"));
}

#[test]
fn a_repository_that_vanishes_has_no_branch_gone_and_is_taken_up_when_it_is_back() {
    let (repository, first) = Repository::with_commit();
    let stage = Stage::of_all_branches(&repository, OFTEN_MS);
    let mut dispatcher = stage.session(&[("main", &first)]);
    let away = repository.dir.path().join("away");
    fs::rename(repository.path(), &away).unwrap();
    // An empty directory is what an unmounted file system leaves.
    fs::create_dir(repository.path()).unwrap();
    assert!(dispatcher.hears_nothing_for(Duration::from_millis(200)));
    fs::remove_dir(repository.path()).unwrap();
    fs::rename(&away, repository.path()).unwrap();
    let second = repository.commit("second");
    assert_eq!(dispatcher.announced().show(), format!("main {first}..{second}"));
}

#[test]
fn a_broken_branch_is_an_error_and_not_a_deletion() {
    let (repository, first) = Repository::with_commit();
    let stage = Stage::of_all_branches(&repository, OFTEN_MS);
    let mut dispatcher = stage.session(&[("main", &first)]);
    let file = repository.path().join(".git/refs/heads/main");
    fs::write(&file, "").unwrap();
    assert!(dispatcher.hears_nothing_for(Duration::from_millis(200)));
    fs::write(&file, format!("{first}\n")).unwrap();
    let second = repository.commit("second");
    assert_eq!(dispatcher.announced().show(), format!("main {first}..{second}"));
}

#[test]
fn a_broken_repository_does_not_hold_up_another() {
    let (broken, _) = Repository::with_commit();
    let (fine, first) = Repository::with_commit();
    let (stage, settings) = Stage::settings(&[("broken", &broken.path()), ("fine", &fine.path())]);
    fs::write(broken.path().join(".git/refs/heads/main"), "rubbish").unwrap();
    let stage = stage.start(settings);
    let mut dispatcher = stage.session(&[]);
    // The question about the other repository comes before the announcement or after it.
    let announced = loop {
        let announced = dispatcher.announced();
        let FromObserver::Status { repo, .. } = &announced.message else { break announced };
        dispatcher.say(&ToObserver::Heads { repo: repo.clone(), heads: Vec::new() });
    };
    assert_eq!(announced.show(), format!("main -..{first}"));
    stage.stop();
}

#[test]
fn a_thousand_branches_at_once_are_all_announced() {
    let (repository, first) = Repository::with_commit();
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted\n");
    for number in 0..1000 {
        packed.push_str(&format!("{first} refs/heads/b{number:04}\n"));
    }
    fs::write(repository.path().join(".git/packed-refs"), packed).unwrap();
    let stage = Stage::of_all_branches(&repository, HARDLY_EVER_MS);
    let mut dispatcher = stage.session(&[("main", &first)]);
    for number in 0..1000 {
        let announced = dispatcher.announced();
        assert_eq!(announced.show(), format!("b{number:04} -..{first}"));
        dispatcher.accept(&announced, number);
    }
}

#[test]
fn a_path_that_is_no_repository_is_told_before_anyone_is_dialled() {
    let dir = tempfile::tempdir().unwrap();
    let (stage, settings) = Stage::settings(&[("app", dir.path())]);
    let error = stage.start(settings).end().unwrap_err();
    assert!(matches!(error, ObserverError::Open { .. }));
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
}

#[test]
fn a_name_that_another_repository_has_ends_the_observer_with_what_to_do() {
    let (repository, _) = Repository::with_commit();
    let stage = Stage::of(&repository);
    let mut dispatcher = stage.call();
    dispatcher.welcome();
    dispatcher.hear();
    dispatcher.refuse(ErrorCode::NameTaken, "app is there:/other");
    dispatcher.stream.close();
    let text = stage.end().unwrap_err().to_string();
    assert!(text.contains("app is there:/other") && text.contains("--name"), "{text}");
}

#[test]
fn one_repository_with_a_taken_name_does_not_end_the_others() {
    let (taken, _) = Repository::with_commit();
    let (fine, first) = Repository::with_commit();
    let (stage, settings) = Stage::settings(&[("taken", &taken.path()), ("fine", &fine.path())]);
    let stage = stage.start(settings);
    loop {
        let mut dispatcher = stage.call();
        dispatcher.welcome();
        let FromObserver::Status { repo, .. } = dispatcher.hear() else { panic!("not a status") };
        if repo == "taken" {
            dispatcher.refuse(ErrorCode::NameTaken, "taken is there:/other");
            dispatcher.stream.close();
            continue;
        }
        dispatcher.say(&ToObserver::Heads { repo, heads: Vec::new() });
        let announced = dispatcher.announced();
        if matches!(announced.message, FromObserver::Status { .. }) {
            dispatcher.refuse(ErrorCode::NameTaken, "taken is there:/other");
            dispatcher.stream.close();
            continue;
        }
        assert_eq!(announced.show(), format!("main -..{first}"));
        break;
    }
    stage.stop();
}

#[test]
fn a_wrong_token_ends_an_observer_that_never_had_a_session() {
    let (repository, _) = Repository::with_commit();
    let stage = Stage::of(&repository);
    stage.call().turn_away(ErrorCode::Token, "no");
    let error = stage.end().unwrap_err();
    assert!(matches!(error, ObserverError::Dial(DialError::WrongToken { .. })), "{error}");
}

#[test]
fn a_dispatcher_that_comes_late_and_whose_token_comes_later_is_waited_for() {
    let (repository, first) = Repository::with_commit();
    let (stage, settings) = Stage::settings(&[("app", &repository.path())]);
    let token = stage.data.path().join("token");
    fs::rename(&token, stage.data.path().join("later")).unwrap();
    let stage = stage.start(settings);
    fs::rename(stage.data.path().join("later"), &token).unwrap();
    stage.call().stream.close();
    let mut dispatcher = stage.session(&[]);
    assert_eq!(dispatcher.announced().show(), format!("main -..{first}"));
}

#[test]
fn an_observer_stops_while_its_dispatcher_is_away() {
    let (repository, _) = Repository::with_commit();
    let (stage, settings) = Stage::settings(&[("app", &repository.path())]);
    stage.listener.close();
    stage.start(settings).stop();
}

#[test]
fn an_observer_stops_while_its_dispatcher_says_nothing() {
    let (repository, _) = Repository::with_commit();
    let stage = Stage::of(&repository);
    let dispatcher = stage.call();
    stage.stop();
    drop(dispatcher);
}

#[test]
fn an_observer_stops_in_the_middle_of_a_pack_that_nobody_reads() {
    let (repository, _) = Repository::with_commit();
    let mut noise = 1u64;
    let bytes: Vec<u8> = (0..24_000_000)
        .map(|_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 56) as u8
        })
        .collect();
    fs::write(repository.path().join("noise"), bytes).unwrap();
    repository.commit("large");
    let stage = Stage::of(&repository);
    let mut dispatcher = stage.session(&[]);
    let FromObserver::Pack { last, bytes, .. } = dispatcher.hear() else { panic!("not a pack") };
    assert!(!last);
    dispatcher.payload(bytes);
    stage.stop();
}

#[test]
fn the_observer_leaves_the_repository_as_it_was() {
    let (repository, first) = Repository::with_commit();
    let listing = || {
        let output = Command::new("find").arg(repository.path()).args(["-printf", "%p %s %T@ %C@\n"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let before = listing();
    let stage = Stage::of_all_branches(&repository, OFTEN_MS);
    let mut dispatcher = stage.session(&[]);
    let announced = dispatcher.announced();
    assert_eq!(announced.show(), format!("main -..{first}"));
    dispatcher.accept(&announced, 1);
    assert!(dispatcher.hears_nothing_for(Duration::from_millis(100)));
    stage.stop();
    assert_eq!(listing(), before);
}
