//! Submodules in the work tree of a task: `submodules`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{AUTHORITY, Process, Repository, WebServer, World, text};

const TASKS: &str = "[task.with]\nrun = 'cat lib/file; git submodule status; git status --porcelain'\nsubmodules = true\n\
                     [task.without]\nrun = 'ls lib; git status --porcelain'\n";

/// A repository with a submodule at a relative URL, whose objects it does not have itself.
fn with_submodule(world: &World) -> (Repository<'_>, Repository<'_>) {
    let library = world.repository("lib");
    library.write("file", "of the library\n");
    library.commit("first");
    // git fetches submodules from paths only if a person has said so.
    fs::write(world.path("home").join(".gitconfig"), "[protocol \"file\"]\n\tallow = always\n").unwrap();
    let repository = world.repository("app");
    repository.git(&["submodule", "--quiet", "add", "../lib", "lib"]);
    (repository, library)
}

#[test]
fn a_task_has_the_submodules_at_the_commits_that_its_commit_names() {
    let world = World::new();
    let (repository, library) = with_submodule(&world);
    let commit = repository.commit_tasks(TASKS);
    fs::remove_dir_all(repository.path.join(".git/modules")).unwrap();
    let roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    let id = library.head();
    let log = world.log_of(&build, "with");
    assert!(log.starts_with(&format!("of the library\n {id} lib")) && log.lines().count() == 2, "{log}");
    assert_eq!(world.log_of(&build, "without"), "");

    // Nobody is there to send it again, and another runner gets it from the dispatcher.
    let [_dispatcher, observer, runner] = roles;
    observer.kill();
    runner.kill();
    fs::remove_dir_all(world.path("work")).unwrap();
    let _runner = world.runner("w2", &[]);
    world.surveil(&["rerun", "b1"]).ok();
    let again = world.build_that("has run again", |build| {
        build.finished_ms.is_some() && build.jobs.iter().all(|job| job.attempts.len() >= 2)
    });
    assert!(world.log_of(&again, "with").starts_with("of the library\n"));
}

/// The repository of a submodule is made anew for each attempt, whatever a task did in it and keeps of it.
#[test]
fn an_artifact_or_a_cache_with_a_submodule_has_its_files_and_nothing_of_its_repository() {
    let world = World::new();
    let (repository, _library) = with_submodule(&world);
    let cached = "submodules = true\ncache = [{ key = ['lib/file'], paths = ['lib'] }]";
    let commit = repository.commit_tasks(&format!(
        "[task.make]\n{cached}\nartifacts = ['lib/**']\n\
         run = 'echo x > lib/.git/hooks/post-checkout; echo made > lib/made'\n\
         [task.use]\n{cached}\nneeds = ['make']\nrun = 'ls lib/.git/hooks; cat lib/made'\n\
         [task.cached]\n{cached}\nneeds = ['make']\ntake = []\nrun = 'ls lib/.git/hooks; cat lib/made'\n"
    ));
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    for task in ["use", "cached"] {
        let log = world.log_of(&build, task);
        assert!(log.contains("surveil: restored cache") && log.ends_with(" received\nmade\n"), "{log}");
    }
    let said = world.surveil_in(&repository.path, &["run", "--clean", "use"]).ok();
    assert!(said.contains("made\n") && !said.contains("post-checkout"), "{said}");
}

#[test]
fn a_submodule_that_cannot_be_fetched_makes_an_errored_build_that_says_why() {
    let world = World::new();
    let (repository, _library) = with_submodule(&world);
    repository.git(&["config", "--file", ".gitmodules", "submodule.lib.url", "https://ada:secret@127.0.0.1:1/lib"]);
    repository.git(&["config", "--unset", "submodule.lib.url"]);
    let commit = repository.commit_tasks(TASKS);
    fs::remove_dir_all(repository.path.join(".git/modules")).unwrap();
    let _roles = world.roles(&[&repository]);
    let problem = world.expect(&commit, "errored").problem.unwrap();
    assert!(problem.contains("submodule lib") && problem.contains("127.0.0.1"), "{problem}");
    assert!(!problem.contains("secret"), "{problem}");
}

/// Repositories `srv/team/app.git` and `srv/team/lib.git`, the first with the second one as its submodule at this URL.
/// Returns the commit of `app`.
fn served(world: &World, url: &str) -> String {
    let library = world.repository("lib");
    library.write("file", "of the library\n");
    let commit = library.commit("first");
    let app = world.repository("app");
    app.write(".gitmodules", &format!("[submodule \"lib\"]\n\tpath = lib\n\turl = {url}\n"));
    fs::create_dir(app.path.join("lib")).unwrap();
    app.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},lib")]);
    let head = app.commit_tasks(TASKS);
    for name in ["app", "lib"] {
        let bare = world.path(&format!("srv/team/{name}.git"));
        world.git().run(&["clone", "--quiet", "--bare", text(&world.path(name)), text(&bare)]);
    }
    head
}

/// A dispatcher, a runner, and an observer of a repository by its URL, with these variables.
fn roles_of(world: &World, url: &str, variables: &[(&str, &str)]) -> [Process; 3] {
    let dispatcher = world.dispatcher(&[]);
    let mut command = world.command(&["observer", url]);
    command.envs(variables.iter().copied());
    [dispatcher, world.start_command("observer", command), world.runner("w1", &[])]
}

#[test]
fn submodules_come_by_http_also_from_a_relative_url_and_from_one_that_has_moved() {
    for (url, requested) in
        [("../lib.git", "GET /team/lib.git/"), ("HOST/moved/team/lib.git", "GET /moved/team/lib.git/")]
    {
        let world = World::new();
        let Some(server) = WebServer::new(&world, &world.path("srv")) else { return };
        let host = format!("http://{}", server.address);
        let commit = served(&world, &url.replace("HOST", &host));
        let _roles = roles_of(&world, &format!("{host}/team/app.git"), &[]);
        let build = world.expect(&commit, "passed");
        assert!(world.log_of(&build, "with").starts_with("of the library\n"));
        let requests = server.requests();
        assert!(requests.iter().any(|line| line.starts_with(requested)), "{requests:?}");
    }
}

#[test]
fn nobody_is_shown_the_password_of_a_submodule_that_comes_by_http() {
    for (password, verdict) in [("secret", "passed"), ("wrongsecret", "errored")] {
        let world = World::new();
        let Some(server) = WebServer::new(&world, &world.path("srv")) else { return };
        let host = &server.address;
        let url = format!("http://ada:{password}@{host}/private/team/lib.git");
        let commit = served(&world, &url);
        let _roles = roles_of(&world, &format!("http://ada:secret@{host}/private/team/app.git"), &[]);
        let build = world.expect(&commit, verdict);
        match verdict {
            "passed" => assert!(world.log_of(&build, "with").starts_with("of the library\n")),
            _ => {
                let problem = build.problem.unwrap();
                assert!(problem.contains("submodule lib") && problem.contains(host), "{problem}");
                assert!(!problem.contains(password), "{problem}");
            }
        }
        for (name, said) in world.said() {
            let said = String::from_utf8_lossy(&said);
            assert!(!said.contains("secret"), "{name}: {said}");
        }
    }
}

/// A person's git: it knows the authority of the world's web server, if it is to, and it has the password of `ada` from
/// a program.
fn configure_git(world: &World, knows_authority: bool, password: &str) {
    let (home, helper) = (world.path("home"), world.path("home/password-of-ada"));
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\ncase $1 in get) printf 'username=ada\\npassword=%s\\n' '{password}';; esac\n"
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let mut config = format!("[credential]\n\thelper = {}\n", text(&helper));
    if knows_authority {
        config += &format!("[http]\n\tsslCAInfo = {}\n", text(&world.path(AUTHORITY)));
    }
    fs::write(home.join(".gitconfig"), config).unwrap();
}

/// Checks that no process, no answer and no file of a role has the password of `ada`, in any form in which git takes or
/// sends it. Ends the roles, so that no file changes meanwhile.
fn nothing_tells(world: &World, roles: [Process; 3], password: &str) {
    let answers = [&["status", "--json"][..], &["why", "b1"], &["show", "b1"]];
    let answers = answers.map(|typed| (typed.join(" "), world.surveil(typed).ok().into_bytes()));
    for (name, said) in world.said().into_iter().chain(answers) {
        // Besides a label of each runner.
        let said = String::from_utf8_lossy(&said).replace("can=secrets", "");
        assert!(!said.contains(password) && !said.contains("YWRhO"), "{name}: {said}");
    }
    drop(roles);
    let mut open = ["data", "work", "work-w1"].map(|name| world.path(name)).to_vec();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                // The password behind its user or its key, and the beginning of both in base64.
                for form in [format!("ada:{password}"), format!("password={password}"), "YWRhO".to_owned()] {
                    let has = bytes.windows(form.len()).any(|window| window == form.as_bytes());
                    assert!(!has, "{} has {form}", path.display());
                }
            }
        }
    }
}

#[test]
fn submodules_come_by_https_with_the_certificates_and_the_passwords_of_the_users_git() {
    for (url, watches_url) in [("HOST/private/team/lib.git", false), ("../lib.git", false), ("../lib.git", true)] {
        let world = World::new();
        let Some(server) = WebServer::encrypted(&world, &world.path("srv")) else { return };
        let host = format!("https://{}", server.address);
        let commit = served(&world, &url.replace("HOST", &host));
        configure_git(&world, true, "secret");
        let (path, remote) = (world.path("app"), format!("{host}/private/team/app.git"));
        world.repository_at(path.clone()).git(&["remote", "add", "origin", &remote]);
        let watched = if watches_url { &*remote } else { text(&path) };
        let roles = roles_of(&world, watched, &[("RUST_LOG", "debug")]);
        let build = world.expect(&commit, "passed");
        assert!(world.log_of(&build, "with").starts_with("of the library\n"), "{url} of {watched}");
        let requests = server.requests();
        assert!(requests.iter().any(|line| line.starts_with("GET /private/team/lib.git/")), "{requests:?}");
        nothing_tells(&world, roles, "secret");
    }
}

#[test]
fn a_submodule_by_https_from_an_unknown_authority_or_with_a_wrong_password_makes_an_errored_build() {
    for (knows_authority, password, reason) in
        [(false, "secret", "certificate"), (true, "wrongsecret", "Authentication failed")]
    {
        let world = World::new();
        let Some(server) = WebServer::encrypted(&world, &world.path("srv")) else { return };
        let commit = served(&world, &format!("https://{}/private/team/lib.git", server.address));
        configure_git(&world, knows_authority, password);
        let roles = roles_of(&world, text(&world.path("app")), &[("RUST_LOG", "debug")]);
        let problem = world.expect(&commit, "errored").problem.unwrap();
        for part in ["submodule lib", &server.address, reason] {
            assert!(problem.contains(part), "{part}: {problem}");
        }
        assert_eq!(server.requests().is_empty(), !knows_authority, "{:?}", server.requests());
        nothing_tells(&world, roles, password);
    }
}

/// A stand-in for ssh: it says how it was called, and executes the command here.
const SSH: &str = "#!/bin/sh
echo \"$*\" >>\"$0.calls\"
for word in \"$@\"; do last=$word; done
case \"$*\" in *gone.example*) echo 'ssh: Could not resolve hostname gone.example: Name or service not known' >&2; exit 255;; esac
exec sh -c \"$last\"
";

#[test]
fn submodules_come_by_ssh_and_a_host_that_is_not_there_is_told_with_the_reason() {
    let world = World::new();
    let ssh = world.path("ssh");
    fs::write(&ssh, SSH).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let variables = [("GIT_SSH", text(&ssh)), ("GIT_SSH_VARIANT", "ssh")];
    let app = format!("git@git.example:{}", text(&world.path("srv/team/app.git")));
    let commit = served(&world, "../lib.git");
    let roles = roles_of(&world, &app, &variables);
    let build = world.expect(&commit, "passed");
    assert!(world.log_of(&build, "with").starts_with("of the library\n"));
    let calls = fs::read_to_string(world.path("ssh.calls")).unwrap();
    assert!(
        calls.lines().any(|call| call.contains(" git@git.example ") && call.contains("/srv/team/lib.git")),
        "{calls}"
    );
    drop(roles);

    let world = World::new();
    let commit = served(&world, "ssh://git:secret@gone.example/team/lib.git");
    let app = format!("git@git.example:{}", text(&world.path("srv/team/app.git")));
    let _roles = roles_of(&world, &app, &variables);
    let problem = world.expect(&commit, "errored").problem.unwrap();
    assert!(
        problem.contains("submodule lib") && problem.contains("Could not resolve hostname gone.example"),
        "{problem}"
    );
    assert!(!problem.contains("secret"), "{problem}");
}
