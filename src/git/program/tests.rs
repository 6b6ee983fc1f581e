use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::git::fixture::Repo;
use crate::git::{BranchSelection, Watched};

fn url_of(repo: &Repo) -> String {
    format!("file://{}", repo.path().display())
}

#[test]
fn a_mirror_is_made_and_then_follows() {
    let repo = Repo::new();
    let first = repo.write("file", "1").commit("first");
    repo.git(&["branch", "topic"]);
    let mirror = repo.beside("mirrors/app.git");
    fetch_mirror(&url_of(&repo), &mirror).unwrap();
    let watched = Watched::open(&mirror).unwrap();
    assert_eq!(watched.heads(&BranchSelection::Main).unwrap()[0].commit, first);
    let second = repo.write("file", "2").commit("second");
    repo.git(&["branch", "--delete", "--force", "topic"]);
    fetch_mirror(&url_of(&repo), &mirror).unwrap();
    let all = watched.heads(&BranchSelection::Matching(vec!["*".into()])).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].commit, second);
    let third = repo.write("file", "3").commit("third");
    watched.fetch().unwrap();
    assert_eq!(watched.heads(&BranchSelection::Main).unwrap()[0].commit, third);
    assert_eq!(watched.remote_url().unwrap(), url_of(&repo));
}

#[test]
fn a_mirror_follows_when_the_main_branch_gets_another_name() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    let mirror = repo.beside("mirror.git");
    fetch_mirror(&url_of(&repo), &mirror).unwrap();
    repo.git(&["branch", "--move", "main", "trunk"]);
    let second = repo.write("file", "2").commit("second");
    fetch_mirror(&url_of(&repo), &mirror).unwrap();
    let heads = Watched::open(&mirror).unwrap().heads(&BranchSelection::Main).unwrap();
    assert_eq!((heads[0].branch.as_str(), heads[0].commit), ("trunk", second));
}

#[test]
fn a_remote_that_refuses_is_an_error_with_its_words() {
    let repo = Repo::new();
    let mirror = repo.beside("mirror.git");
    let error = fetch_mirror(&format!("file://{}/absent", repo.path().display()), &mirror).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, GitError::Program { .. }), "{text}");
    assert!(text.contains("could not clone") && text.contains("does not"), "{text}");
    assert!(!mirror.exists());
}

#[test]
fn a_url_is_never_an_option_nor_a_program() {
    let repo = Repo::new();
    let mark = repo.beside("executed");
    for url in [
        format!("--upload-pack=touch {}", mark.display()),
        format!("ext::sh -c touch% {}", mark.display()),
        format!("-c core.sshCommand=touch {}", mark.display()),
    ] {
        assert!(fetch_mirror(&url, &repo.beside("mirror.git")).is_err(), "{url}");
    }
    assert!(!mark.exists());
}

// Promise S29. Fails without `core.hooksPath`, `users_own_settings`, `--upload-pack` or `GIT_PROXY_COMMAND`.
#[test]
fn a_fetch_executes_nothing_that_the_repository_configures() {
    let origin = Repo::new();
    origin.write("file", "1").commit("first");
    let repo = Repo::new();
    let mark = repo.beside("executed");
    let trap = repo.beside("trap");
    fs::write(&trap, format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
    for hook in ["reference-transaction", "post-fetch", "pre-auto-gc", "post-merge"] {
        fs::copy(&trap, repo.path().join(".git/hooks").join(hook)).unwrap();
    }
    let trap = trap.to_str().unwrap();
    repo.git(&["remote", "add", "origin", &url_of(&origin)]);
    let keys = ["core.sshCommand", "core.gitProxy", "core.fsmonitor", "remote.origin.uploadpack", "core.askPass"];
    for key in keys.iter().chain(&["core.alternateRefsCommand", "gc.recentObjectsHook", "credential.helper"]) {
        repo.git(&["config", key, trap]);
    }
    repo.watched().fetch().unwrap();
    assert!(!mark.exists());
    for url in [format!("ext::{trap}"), "ssh://127.0.0.1:1/x".to_owned(), "git://127.0.0.1:1/x".to_owned()] {
        repo.git(&["config", "remote.origin.url", &url]);
        assert!(repo.watched().fetch().is_err(), "{url}");
        assert!(!mark.exists(), "{url}");
    }
}

#[test]
fn a_program_that_hangs_is_ended_with_what_it_started() {
    let repo = Repo::new();
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000 & echo $! ; sleep 1000"]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let error = finish(command, "wait", Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, GitError::TooLong { .. }), "{error}");
    drop(repo);
}

#[test]
fn a_missing_program_is_said_to_be_missing() {
    let mut command = Command::new("/nonexistent/git");
    command.stdin(Stdio::null());
    let error = finish(command, "fetch x", Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.to_string(), "could not fetch x: the git program could not be started");
}

#[test]
fn output_on_both_streams_is_read_whole() {
    let mut command = Command::new("sh");
    command.args(["-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; exit 3"]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (status, output, errors) = finish(command, "read", Duration::from_secs(30)).unwrap();
    assert_eq!((status.code(), output.len(), errors.len()), (Some(3), 300_000, 300_000));
}
