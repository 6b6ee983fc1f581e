//! Tests of the git program and its messages, on real repositories.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::git::tests::support::{Repo, git_in};
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
}

#[test]
fn a_mirror_shares_no_file_with_a_repository_on_this_machine() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    let mirror = repo.beside("mirror.git");
    fetch_mirror(repo.path().to_str().unwrap(), &mirror).unwrap();
    repo.write("file", "2").commit("second");
    fetch_mirror(repo.path().to_str().unwrap(), &mirror).unwrap();
    let mut pending = vec![mirror];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            match meta.is_dir() {
                true => pending.push(entry.path()),
                false => assert_eq!(meta.nlink(), 1, "{}", entry.path().display()),
            }
        }
    }
}

#[test]
fn a_mirror_keeps_no_url_and_follows_the_one_it_is_given() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    let mirror = repo.beside("mirror.git");
    fetch_mirror(&url_of(&repo), &mirror).unwrap();
    assert!(!fs::read_to_string(mirror.join("config")).unwrap().contains("url"));
    let moved = repo.beside("moved");
    fs::rename(repo.path(), &moved).unwrap();
    git_in(&moved, &["commit", "--quiet", "--allow-empty", "--message", "second"]);
    fetch_mirror(&format!("file://{}", moved.display()), &mirror).unwrap();
    let heads = Watched::open(&mirror).unwrap().heads(&BranchSelection::Main).unwrap();
    assert_eq!(heads[0].commit.to_string(), git_in(&moved, &["rev-parse", "HEAD"]));
}

#[test]
fn no_error_of_a_fetch_shows_the_credentials_in_its_url() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    let (mirror, absent) = (repo.beside("mirror.git"), repo.beside("absent.git"));
    fetch_mirror(&url_of(&repo), &mirror).unwrap();
    for url in [
        // Nobody listens at port 1. git does not know the scheme of the last URL and quotes it.
        "https://user:secret@127.0.0.1:1/x?token=secret",
        "http://secret@127.0.0.1:1/x",
        "ssh://user:secret@127.0.0.1:1/x",
        "nonsense://user:secret@127.0.0.1:1/x",
    ] {
        for mirror in [&mirror, &absent] {
            let error = fetch_mirror(url, mirror).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("127.0.0.1") && !text.contains("secret"), "{text}");
        }
    }
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
    assert_eq!((heads[0].reference.short(), heads[0].commit), ("trunk", second));
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

/// Point 9 of the faults from the field: git's own last line says nothing about the cause.
#[test]
fn the_cause_of_a_failed_fetch_is_the_transports_own_line() {
    let advice = "\nPlease make sure you have the correct access rights\nand the repository exists.\n";
    let fatal = "fatal: Could not read from remote repository.";
    for (said, told) in [
        (
            format!("ssh: Could not resolve hostname nohost.example: Name or service not known\n{fatal}\n{advice}"),
            format!("ssh: Could not resolve hostname nohost.example: Name or service not known; {fatal}"),
        ),
        (
            format!("git@h: Permission denied (publickey).\r\n{fatal}\n{advice}"),
            format!("git@h: Permission denied (publickey).; {fatal}"),
        ),
        (
            format!(
                "@@@@@@@@@@@@\n@ WARNING: CHANGED! @\n@@@@@@@@@@@@\nHost key verification failed.\n{fatal}\n{advice}"
            ),
            format!("@ WARNING: CHANGED! @; Host key verification failed.; {fatal}"),
        ),
        (
            "remote: Repository not found.\nfatal: repository 'https://h/x/' not found\n".into(),
            "remote: Repository not found.; fatal: repository 'https://h/x/' not found".into(),
        ),
        (
            "remote: Counting objects: 100% (9/9), done.\rReceiving objects:  12% (1/9)\rfatal: early EOF\n".into(),
            "fatal: early EOF".into(),
        ),
        ("hint: one\nerror: bad ref\nfatal: gone\nhint: two\n".into(), "error: bad ref; fatal: gone".into()),
        ((0..9).map(|n| format!("line {n}\n")).collect(), "line 5; line 6; line 7; line 8".into()),
        ("ü".repeat(400), format!("{}…", "ü".repeat(300))),
    ] {
        assert_eq!(reason(&said).unwrap(), told);
    }
    assert_eq!(reason("\n \n"), None);
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

// Promise S29. The repository that configures all this is never the one that a fetch writes to, and git ignores such
// configuration in the one that is fetched from.
#[test]
fn following_a_remote_executes_nothing_that_either_repository_configures() {
    let (origin, repo) = (Repo::new(), Repo::new());
    let first = origin.write("file", "1").commit("first");
    let mark = repo.beside("executed");
    let trap = repo.beside("trap");
    fs::write(&trap, format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
    let keys = ["core.sshCommand", "core.gitProxy", "core.fsmonitor", "remote.origin.uploadpack", "core.askPass"];
    let more = ["core.alternateRefsCommand", "gc.recentObjectsHook", "credential.helper", "uploadpack.packObjectsHook"];
    repo.git(&["remote", "add", "origin", origin.path().to_str().unwrap()]);
    for either in [&origin, &repo] {
        for hook in ["reference-transaction", "post-fetch", "pre-auto-gc", "post-merge", "post-checkout"] {
            fs::copy(&trap, either.path().join(".git/hooks").join(hook)).unwrap();
        }
        for key in keys.iter().chain(&more) {
            either.git(&["config", key, trap.to_str().unwrap()]);
        }
    }
    let mirror = repo.beside("mirror.git");
    for _ in ["made", "updated"] {
        fetch_mirror(&repo.watched().remote_url().unwrap(), &mirror).unwrap();
        assert!(!mark.exists());
    }
    assert_eq!(Watched::open(&mirror).unwrap().heads(&BranchSelection::Main).unwrap()[0].commit, first);
    for url in [format!("ext::{}", trap.display()), "ssh://127.0.0.1:1/x".into(), "git://127.0.0.1:1/x".into()] {
        repo.git(&["config", "remote.origin.url", &url]);
        assert!(fetch_mirror(&repo.watched().remote_url().unwrap(), &mirror).is_err(), "{url}");
        assert!(!mark.exists(), "{url}");
    }
}

/// A command for the shell, which ends with this process.
fn shell(script: &str) -> Command {
    let mut command = guarded("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn a_program_that_hangs_is_ended_with_what_it_started() {
    let limits =
        |whole, silence| Limits { whole: Duration::from_millis(whole), silence: Duration::from_millis(silence) };
    let error = finish(shell("sleep 1000 & sleep 1000"), "wait", limits(100, 60_000)).err().unwrap();
    assert!(matches!(error, GitError::TooLong { .. }), "{error}");
    // Output shows that something moves; without it the program is ended much earlier than at its whole limit.
    let talking = "for it in 1 2 3 4 5 6 7 8; do echo $it >&2; sleep 0.1; done; sleep 1000";
    let began = crate::clock::instant();
    let error = finish(shell(talking), "fetch x", limits(60_000, 700)).err().unwrap();
    assert!(crate::clock::instant() - began >= Duration::from_millis(1_300), "it was ended while it talked");
    assert_eq!(error.to_string(), "could not fetch x: nothing moved for 0 s, so the git program was ended");
}

/// Point 20 of the faults from the field: nothing outlives the process that started it. A closed standard input is all
/// that the guard sees of its end, whatever ended it.
#[test]
fn a_program_ends_with_the_process_that_started_it() {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::process::CommandExt;

    let mut child = shell("sleep 1000 & echo started; sleep 1000").process_group(0).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    drop(child.stdin.take());
    // The pipe closes only when every process that holds it has ended.
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
}

#[test]
fn a_missing_program_is_said_to_be_missing() {
    let error = finish(guarded("/nonexistent/git"), "fetch x", within(Duration::from_secs(60))).err().unwrap();
    assert_eq!(error.to_string(), "could not fetch x: the git program could not be started");
}

#[test]
fn output_on_both_streams_is_read_whole() {
    let script = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; exit 3";
    let ended = finish(shell(script), "read", within(Duration::from_secs(60))).unwrap();
    assert_eq!((ended.status.code(), ended.output.len(), ended.errors.len()), (Some(3), 300_000, 300_000));
}

/// Point 20: packs and objects of a mirror after many force pushes.
#[test]
fn a_mirror_stays_small_after_many_force_pushes() {
    let repo = Repo::new();
    let mirror = repo.beside("mirror.git");
    for round in 0..30 {
        for file in 0..20 {
            repo.write(&format!("file{file}"), format!("{round} {file} {}", "x".repeat(500)));
        }
        repo.git(&["add", "--all"]);
        if round == 0 {
            repo.git(&["commit", "--quiet", "--message", "first"]);
        } else {
            repo.git(&["commit", "--quiet", "--amend", "--message", &format!("round {round}")]);
        }
        repo.git(&["branch", "--force", &format!("branch{}", round % 3)]);
        fetch_mirror(&url_of(&repo), &mirror).unwrap();
    }
    let counts = git_in(&mirror, &["count-objects", "-v"]);
    let count = |name: &str| -> usize {
        counts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap().parse().unwrap()
    };
    let reachable = git_in(&mirror, &["rev-list", "--objects", "--all"]).lines().count();
    assert!(count("packs") <= 10, "{counts}");
    assert_eq!(count("count"), 0, "no loose objects: {counts}");
    assert!(count("in-pack") <= 4 * reachable, "{reachable} of {counts}");
    git_in(&mirror, &["fsck", "--no-dangling"]);
    let heads = Watched::open(&mirror).unwrap().heads(&BranchSelection::Matching(vec!["*".into()])).unwrap();
    assert_eq!(heads.len(), 4);
}

/// Point 20: both branches are there before and after; only the remote's HEAD changes.
#[test]
fn a_mirror_follows_the_remotes_head_though_no_branch_moves() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    repo.git(&["branch", "trunk"]);
    let mirror = repo.beside("mirror.git");
    fetch_mirror(&url_of(&repo), &mirror).unwrap();
    let main =
        || Watched::open(&mirror).unwrap().heads(&BranchSelection::Main).unwrap()[0].reference.short().to_owned();
    assert_eq!(main(), "main");
    repo.git(&["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    fetch_mirror(&url_of(&repo), &mirror).unwrap();
    assert_eq!(main(), "trunk");
    // A remote whose HEAD names no branch, for now, changes nothing.
    repo.git(&["symbolic-ref", "HEAD", "refs/heads/unborn"]);
    fetch_mirror(&url_of(&repo), &mirror).unwrap();
    assert_eq!(main(), "trunk");
    repo.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
    fetch_mirror(&url_of(&repo), &mirror).unwrap();
    assert_eq!(main(), "main");
}

#[test]
fn two_observers_may_fetch_into_one_mirror() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    let (mirror, url) = (repo.beside("mirror.git"), url_of(&repo));
    for round in 0..3 {
        let second = repo.write("file", format!("{round}")).commit("another");
        std::thread::scope(|scope| {
            let fetches: Vec<_> = (0..3).map(|_| scope.spawn(|| fetch_mirror(&url, &mirror))).collect();
            fetches.into_iter().for_each(|fetch| fetch.join().unwrap().unwrap());
        });
        let heads = Watched::open(&mirror).unwrap().heads(&BranchSelection::Main).unwrap();
        assert_eq!(heads[0].commit, second);
    }
}
