//! Commits of odd content. A bad one harms itself only (S42), and one that git takes is built.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Repository, World, job};

/// Stores an object unchanged and returns its id.
fn object(world: &World, repository: &Repository, kind: &str, content: &[u8]) -> String {
    fs::write(world.path("object"), content).unwrap();
    let path = world.path("object").display().to_string();
    repository.git(&["hash-object", "--literally", "-w", "-t", kind, &path]).trim().to_owned()
}

/// The content cannot be put on a disk: each job is errored at once, without a loss, and the only runner goes on.
/// Before, each of these took three attempts for each task, and then the runner was in quarantine.
#[test]
fn a_link_that_cannot_exist_errors_its_build_at_once_and_keeps_nobody_from_the_runner() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "content");
    let tasks = "[task.one]\nrun = 'cat file'\n[task.two]\nrun = 'cat file'\n";
    let first = repository.commit_tasks(tasks);
    let _roles = world.roles(&[&repository]);
    world.expect(&first, "passed");
    for (target, why) in [
        (Vec::new(), "\"dir/link\" is a symbolic link without a target"),
        (b"a\0b".to_vec(), "\"dir/link\" is a symbolic link to a path with a NUL byte"),
        (vec![b'x'; 5_000], "\"dir/link\" is a symbolic link to a path of 5000 bytes"),
    ] {
        let blob = object(&world, &repository, "blob", &target);
        repository.git(&["update-index", "--add", "--cacheinfo", &format!("120000,{blob},dir/link")]);
        repository.git(&["commit", "--quiet", "--message", "a bad link"]);
        let build = world.expect(&repository.head(), "errored");
        for task in ["one", "two"] {
            let job = job(&build, task);
            assert_eq!(job.attempts.len(), 1, "{build:#?}");
            assert!(job.detail.as_deref().unwrap().contains(why), "{build:#?}");
        }
    }
    let runners = world.surveil(&["runners"]).ok();
    assert!(runners.contains("connected"), "{runners}");
    repository.git(&["update-index", "--force-remove", "dir/link"]);
    symlink("file", repository.path.join("link")).unwrap();
    world.expect(&repository.commit("a good link"), "passed");
}

/// git shows and checks out such commits. libgit2 refuses to parse them.
#[test]
fn a_commit_is_built_whatever_its_author_and_date_are() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_tasks("[task.test]\nrun = 'echo built'\n");
    let _roles = world.roles(&[&repository]);
    world.expect(&first, "passed");
    let tree = repository.git(&["rev-parse", "HEAD^{tree}"]).trim().to_owned();
    for lines in [
        "author No Email 1700000000 +0000\ncommitter C <c@m> 1700000000 +0000\n\nno email\n",
        "author N <n@d>\ncommitter C <c@m> -99999999999999999999 +9999\n\nno date\n",
        "author \ncommitter \n\nnobody\n",
        "\nno author at all\n",
    ] {
        let parent = repository.head();
        let content = format!("tree {tree}\nparent {parent}\n{lines}");
        let commit = object(&world, &repository, "commit", content.as_bytes());
        repository.git(&["update-ref", "refs/heads/main", &commit]);
        let build = world.expect(&commit, "passed");
        assert_eq!(build.before.as_deref(), Some(&*parent), "{lines}");
        assert_eq!(build.subject, lines.trim_end().rsplit('\n').next().unwrap());
    }
}

/// S42: only the commits that have the file are errored, whoever else is at work. Sabotage tried: a pack is asked for
/// its large files only when it is new; the second commit passes.
#[test]
fn a_file_beyond_the_limit_errors_the_commits_that_have_it_and_no_other() {
    let world = World::new();
    let (app, other) = (world.repository("app"), world.repository("other"));
    let first = app.commit_script("true");
    let dispatcher = world.dispatcher(&["--max-file=5MiB"]);
    let _observer = world.observer(&[&app, &other], &[]);
    let runner = world.runner("w1", &[]);
    world.expect(&first, "passed");
    // Zeros: five kilobytes on their way.
    let bomb = fs::File::create(app.path.join("data.bin")).unwrap();
    bomb.set_len((5 << 20) + (1 << 19)).unwrap();
    let with = app.commit("a large file");
    app.write("more", "");
    let still = app.commit("the file is still there");
    for commit in [&with, &still] {
        let build = world.expect(commit, "errored");
        let problem = build.problem.as_deref().unwrap();
        assert!(problem.starts_with("data.bin has 5.5 MiB") && problem.contains("at most 5.0 MiB"), "{problem}");
        assert!(build.jobs.is_empty(), "{build:#?}");
    }
    world.expect(&other.commit_script("true"), "passed");
    app.git(&["checkout", "--quiet", "-b", "side", &first]);
    app.git(&["checkout", "--quiet", "main"]);
    fs::remove_file(app.path.join("data.bin")).unwrap();
    world.expect(&app.commit("the file is only in the history"), "passed");
    for process in [&dispatcher, &runner] {
        assert!(process.peak_mib() < 100, "{} MiB", process.peak_mib());
    }
}
