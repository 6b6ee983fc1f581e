//! Tasks in container images, by podman of this machine, with an image that is made here of a static busybox.
//!
//! The machines that build and test Surveil are containers themselves more often than not. So the templates of the test
//! are the built-in ones with a few words more: a runtime, limits and a network that work there, and a store of images
//! of the test's own.

mod artifacts;
mod local;
mod local_tasks;
mod services;
mod stand_in;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use surveil::config::BUILT_IN_IMAGE_TOOLS;
use surveil::protocol::operator::BuildReport;

use crate::harness::{Process, Repository, World, job, text, until};

/// Set by `.ci/run`, which installs podman: its absence is an error then.
const NEEDED: &str = "SURVEIL_TEST_IMAGES";

/// The image of the tests.
const IMAGE: &str = "surveil-test:1";

/// A world with a store of images.
struct Podman {
    world: World,
    store: tempfile::TempDir,
    /// Whether containers have networks of their own; else they have that of the machine.
    has_networks: bool,
}

impl Podman {
    /// `None` if this machine has no podman that works, which is an error if the machine should have one.
    fn new() -> Option<Self> {
        let podman = Self { world: World::new(), store: tempfile::tempdir().unwrap(), has_networks: false };
        let made = podman.import(&[], IMAGE).and_then(|()| podman.run(&["run", "--rm", IMAGE, "true"]).map(drop));
        let Err(why) = made else { return Some(podman) };
        assert!(std::env::var_os(NEEDED).is_none(), "podman does not work, and {NEEDED} is set: {why}");
        let warning = format!("\nNOT SHOWN: tasks in container images: podman does not work: {why}\n");
        std::io::stderr().write_all(warning.as_bytes()).unwrap();
        None
    }

    /// Like `new`, but containers have networks of their own if podman can give them some here.
    fn with_networks() -> Option<Self> {
        let mut podman = Self::new()?;
        let tried = podman.run(&["run", "--rm", "--publish=127.0.0.1::1", IMAGE, "true"]);
        if let Err(why) = &tried {
            let warning = format!("\nNOT SHOWN: containers with networks of their own: {why}\n");
            std::io::stderr().write_all(warning.as_bytes()).unwrap();
        }
        podman.has_networks = tried.is_ok();
        Some(podman)
    }

    /// The words between `podman` and its command, and those behind `run`.
    fn words(&self) -> (Vec<String>, Vec<String>) {
        let store = self.store.path();
        let own = [
            format!("--root={}", store.join("root").display()),
            format!("--runroot={}", store.join("run").display()),
            "--storage-driver=vfs".into(),
            "--cgroup-manager=cgroupfs".into(),
            "--runtime=runc".into(),
        ];
        let run = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"].map(String::from);
        (own.into(), run.into())
    }

    /// Runs podman. An error is what it said.
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let (own, more) = self.words();
        let mut command = self.world.sealed("podman");
        command.args(own).args(&arguments[..1]);
        if arguments[0] == "run" {
            let has_own = arguments.iter().any(|word| word.starts_with("--publish="));
            command.args(more).args((!has_own).then_some("--network=host"));
        }
        let output = command.args(&arguments[1..]).output().map_err(|error| error.to_string())?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }

    /// Makes an image of busybox with its programs, and with these settings of its own.
    fn import(&self, changes: &[&str], name: &str) -> Result<(), String> {
        let busybox = [Path::new("/bin/busybox"), Path::new("/usr/bin/busybox")];
        let busybox = busybox.iter().find(|path| path.exists()).ok_or("no busybox (Debian: busybox-static)")?;
        let root = self.world.path(&format!("root-{}", name.replace(':', "-")));
        for directory in ["bin", "etc", "tmp"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nother:x:1234:1234::/:/bin/sh\n").unwrap();
        fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for program in
            ["sh", "cat", "echo", "env", "id", "kill", "ls", "mkdir", "nc", "seq", "sleep", "test", "true", "false"]
        {
            symlink("busybox", root.join("bin").join(program)).unwrap();
        }
        if name.starts_with("no-shell") {
            fs::remove_file(root.join("bin/sh")).unwrap();
        }
        let archive = root.with_extension("tar");
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(packed.success());
        let mut arguments = vec!["import"];
        arguments.extend(changes);
        arguments.extend([text(&archive), name]);
        self.run(&arguments).map(drop)
    }

    /// Writes the templates for this store. Returns the flag that names them.
    fn templates(&self) -> String {
        let (own, run) = self.words();
        let quoted = |words: &[String]| words.iter().map(|word| format!("{word:?}, ")).collect::<String>();
        let of_task = "\"--network={network}\", \"--network={host}\", ";
        assert!(BUILT_IN_IMAGE_TOOLS.contains(of_task));
        let network = if self.has_networks { of_task } else { "\"--network=host\", " };
        let text = BUILT_IN_IMAGE_TOOLS
            .replace(of_task, network)
            .replace("[\"podman\", ", &format!("[\"podman\", {}", quoted(&own)))
            .replace("  \"podman\", \"run\", ", &format!("  \"podman\", {}\"run\", {}", quoted(&own), quoted(&run)));
        let file = self.world.path("images.toml");
        fs::write(&file, text).unwrap();
        format!("--image-templates={}", file.display())
    }

    /// A repository, a dispatcher with these flags, an observer and the runner.
    fn stage(&self, flags: &[&str]) -> (Repository<'_>, [Process; 3]) {
        let repository = self.world.repository("app");
        let (dispatcher, observer) = (self.world.dispatcher(flags), self.world.observer(&[&repository], &[]));
        (repository, [dispatcher, observer, self.runner()])
    }

    fn runner(&self) -> Process {
        self.world.runner("w1", &["--image-tool=podman", &self.templates(), "--slots=2", "--grace=300ms"])
    }

    /// The names of all containers.
    fn containers(&self) -> String {
        self.run(&["ps", "--all", "--format={{.Names}}"]).unwrap()
    }

    fn has_no_containers(&self) {
        until("no container is left", || self.containers().is_empty());
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.run(&["rm", "--all", "--force", "--time=0"]));
    }
}

/// A task file in which each task has the image.
fn in_image(tasks: &[(&str, &str)]) -> String {
    let task = |(name, keys): &(&str, &str)| format!("[task.{name}]\nimage = \"{IMAGE}\"\n{keys}\n");
    tasks.iter().map(task).collect()
}

fn outcomes<'a>(build: &'a BuildReport, task: &str) -> Vec<&'a str> {
    let attempts = &job(build, task).attempts;
    attempts.iter().map(|attempt| attempt.outcome.as_deref().unwrap_or("none")).collect()
}

/// The task's own codes are failures, whatever they are, and a code of the tool is a loss.
#[test]
fn a_task_in_an_image_ends_as_its_own_commands_do() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    let (repository, _roles) = podman.stage(&["--max-losses=2"]);
    world.connected("w1");
    repository.write("given", "from the commit\n");
    repository.write_executable("script", "#!/bin/sh\necho \"as a program\"\n");
    podman.import(&["--change=USER other"], "other:1").unwrap();
    podman.import(&[], "no-shell:1").unwrap();
    let tasks = in_image(&[
        (
            "passes",
            "env = { TEXT = \"two\\nlines\" }\ndir = \"sub\"\nrun = '''\ncat ../given\nid -u\npwd\necho \"$TEXT\"\n\
             echo \"tmp $TMPDIR\"; echo kept > $TMPDIR/file; echo made > made\nenv\n'''",
        ),
        ("seven", "run = \"exit 7\""),
        ("tool-code", "run = \"exit 125\""),
        ("no-entry", "run = \"exit 126\""),
        ("no-command", "run = \"no-such-program\""),
        ("no-permission", "run = [\"./sub/keep\"]"),
        ("killed", "run = \"kill -KILL $$\""),
        ("program", "run = [\"./script\"]"),
        ("no-program", "run = [\"no-such-program\"]"),
        ("never", "pull = \"never\"\nrun = \"true\""),
    ]) + "[task.missing]\nimage = \"localhost/no-such:1\"\npull = \"never\"\nrun = \"true\"\n\
          [task.other]\nimage = \"other:1\"\nrun = \"id -u; echo x > mine\"\n\
          [task.no-shell]\nimage = \"no-shell:1\"\nrun = \"true\"\n";
    repository.write("sub/keep", "");
    let commit = repository.commit_tasks(&tasks);
    let build = world.finished(&commit);
    let log = |task: &str| world.log_of(&build, task);
    let root = world.path("work-w1").join("trees").join("app");
    let passes = log("passes");
    assert_eq!(outcomes(&build, "passes"), ["passed"], "{passes}");
    let (first, rest) = passes.split_once('\n').unwrap();
    let digest = first.strip_prefix("surveil: image surveil-test:1 (sha256:").unwrap();
    let digest = digest.strip_suffix("), by podman").unwrap();
    assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    let execution = job(&build, "passes").attempts[0].execution.as_ref().unwrap();
    assert_eq!((&*execution.tier, &*execution.means), ("image", &*format!("podman, sha256:{digest}")));
    assert!(rest.starts_with("from the commit\n0\n"), "{passes}");
    assert!(rest.contains("\ntwo\nlines\ntmp /"), "{passes}");
    assert!(rest.contains("SURVEIL_TASK=passes\n") && rest.contains(&format!("{}/slot", root.display())), "{passes}");
    // The runner's own variables are its host's.
    assert!(!rest.contains("XDG_") && !rest.contains("SURVEIL_WORK="), "{passes}");
    assert_eq!(job(&build, "seven").attempts[0].detail.as_deref(), Some("exit code 7"));
    assert_eq!(job(&build, "tool-code").attempts[0].detail.as_deref(), Some("exit code 125"));
    assert_eq!(job(&build, "killed").attempts[0].detail.as_deref(), Some("exit code 137"));
    // podman exits with 126 and 127 for failures of its own.
    for (task, code) in [("no-entry", 126), ("no-command", 127), ("no-permission", 126)] {
        assert_eq!(outcomes(&build, task), ["failed"], "{task}: {}", log(task));
        assert_eq!(job(&build, task).attempts[0].detail.as_deref(), Some(&*format!("exit code {code}")), "{task}");
    }
    let shown = world.surveil(&["show", &build.build.to_string()]).ok();
    assert!(shown.contains(&format!("(podman, sha256:{digest})")), "{shown}");
    let shown = world.surveil(&["show", &build.build.to_string(), "--json"]).ok();
    let shown: BuildReport = serde_json::from_str(&shown).unwrap();
    assert_eq!(job(&shown, "passes").attempts[0].execution.as_ref(), Some(execution));
    assert_eq!(log("program").lines().last(), Some("as a program"));
    assert_eq!(outcomes(&build, "no-program"), ["could_not_start"]);
    assert_eq!(outcomes(&build, "never"), ["passed"]);
    assert!(log("other").ends_with("\n0\n"), "the image's user is not asked for");
    let why = |task: &str| world.surveil(&["why", &format!("{}/{task}", build.build)]).ok();
    assert_eq!(outcomes(&build, "missing"), ["lost", "lost"]);
    assert!(why("missing").contains("the image localhost/no-such:1 is not on this machine"), "{}", why("missing"));
    assert_eq!(outcomes(&build, "no-shell"), ["lost", "lost"]);
    assert!(why("no-shell").contains("an image needs a program /bin/sh"), "{}", why("no-shell"));
    for tree in fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
        let mine = tree.join("mine");
        if let Ok(meta) = mine.metadata() {
            assert_eq!(meta.uid(), fs::metadata(&tree).unwrap().uid(), "{}", mine.display());
        }
    }
    podman.has_no_containers();
}

/// A step finds the programs that the one before installed, and `SURVEIL_ENV` and `SURVEIL_TASKS` work.
#[test]
fn the_steps_of_a_task_share_one_container() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    let (repository, _roles) = podman.stage(&[]);
    let tasks = in_image(&[(
        "test",
        "expand = true\nsteps = [\n\
         { name = \"one\", run = \"echo installed > /installed; echo A=told >> $SURVEIL_ENV; sleep 1000 &\" },\n\
         \"cat /installed; echo A is $A\",\n\
         \"printf '[task.more]\\\\nrun = \\\"echo written\\\"\\\\n' > $SURVEIL_TASKS\",\n]\n",
    )]) + &in_image(&[(
        "slow",
        "steps = [\n\"echo installed > /installed\",\n\
         { name = \"slow\", timeout = \"500ms\", run = \"trap 'echo asked' TERM; sleep 1000 & wait || echo behind\" },\n\
         { name = \"last\", always = true, run = \"ls /installed; echo at last\" },\n]\n",
    )]);
    let commit = repository.commit_tasks(&tasks);
    let build = world.finished(&commit);
    let log = world.log_of(&build, "test");
    for line in ["installed", "A is told"] {
        assert!(log.lines().any(|it| it == line), "{line} in {log}");
    }
    assert_eq!(outcomes(&build, "test"), ["passed"], "{log}");
    assert_eq!(world.log_of(&build, "test/more"), "written\n");
    // A container ends with the step that took too long, and the next step gets a new one.
    let log = world.log_of(&build, "slow");
    assert_eq!(outcomes(&build, "slow"), ["timed_out"], "{log}");
    assert!(log.contains("asked\nbehind\n"), "{log}");
    assert!(log.contains("step 3 of 3") && !log.contains("\n/installed\n"), "{log}");
    podman.has_no_containers();
}

/// The container ends before the tool's processes are swept, so that the tool knows no ghost afterwards.
#[test]
fn a_container_ends_with_its_timeout_its_silence_and_its_cancel() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    let (repository, _roles) = podman.stage(&[]);
    let waits = "sleep 1000";
    let commit = repository.commit_tasks(&in_image(&[
        ("slow", &format!("timeout = \"4s\"\nrun = \"trap 'echo asked' TERM; {waits} & wait || echo behind\"")),
        ("stubborn", "timeout = \"1s\"\nrun = \"trap '' TERM; while :; do sleep 1000; done\""),
        ("quiet", &format!("quiet_timeout = \"1s\"\nrun = \"{waits}\"")),
    ]));
    let build = world.finished(&commit);
    for task in ["slow", "stubborn", "quiet"] {
        assert_eq!(outcomes(&build, task), ["timed_out"], "{task}: {}", world.log_of(&build, task));
    }
    assert!(world.log_of(&build, "slow").contains("asked\nbehind\n"), "{}", world.log_of(&build, "slow"));
    podman.has_no_containers();

    let gate = world.path("work-w1").join("trees/app");
    let commit = repository.commit_tasks(&in_image(&[("test", &format!("run = \"echo x > begun; {waits}\""))]));
    let begun =
        || fs::read_dir(&gate).is_ok_and(|mut slots| slots.any(|slot| slot.unwrap().path().join("begun").exists()));
    until("the task runs", begun);
    assert!(podman.containers().starts_with("surveil-"), "{}", podman.containers());
    world.surveil(&["cancel", &commit[..10]]).ok();
    let build = world.finished(&commit);
    assert_eq!(build.state, "cancelled");
    podman.has_no_containers();
}

/// S22: nothing of a killed runner goes on, and its next start removes what podman still knows.
#[test]
fn containers_of_a_killed_runner_are_removed_at_its_next_start() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    let (repository, [_dispatcher, _observer, runner]) = podman.stage(&[]);
    let trees: PathBuf = world.path("work-w1").join("trees/app");
    let commit = repository.commit_tasks(&in_image(&[(
        "test",
        "run = \"if [ $SURVEIL_ATTEMPT = 1 ]; then echo x > begun; sleep 1000; fi; echo again\"",
    )]));
    let begun =
        || fs::read_dir(&trees).is_ok_and(|mut slots| slots.any(|slot| slot.unwrap().path().join("begun").exists()));
    until("the task runs", begun);
    let left = podman.containers();
    assert!(left.starts_with("surveil-") && left.lines().count() == 1, "{left}");
    // A container of somebody else stays.
    podman.run(&["create", "--name=foreign", IMAGE, "true"]).unwrap();
    runner.kill();
    until("nothing of it goes on", || world.processes(&["SURVEIL_RUNNER=w1"]).is_empty());
    let again = podman.runner();
    again.says(&format!("removed the container {left}, which an earlier process of this runner left"));
    let build = world.expect(&commit, "passed");
    assert!(world.log_of(&build, "test").ends_with("again\n"));
    assert_eq!(podman.containers(), "foreign");
}

/// An attempt in a container and a guarded one run at the same time, and the record of each has its own isolation.
#[test]
fn a_task_in_an_image_and_a_guarded_one_run_side_by_side() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    if !world.can_guard() {
        return;
    }
    let (repository, _roles) = podman.stage(&[]);
    // A file of Surveil's own, and a program of the machine that the image does not have.
    let journal = world.path("work-w1").join("journal");
    let sees = format!(
        "if test -e {}; then echo sees the journal; fi\nif command -v git >/dev/null; then echo has git; fi",
        journal.display()
    );
    // A container reaches no file of the test, so each task has its signs in its own work tree.
    let both = "echo x > begun; until test -e go; do sleep 0.05; done; echo went on";
    let commit = repository.commit_tasks(
        &(in_image(&[("image", &format!("run = '''\n{sees}\n{both}\n'''"))])
            + &format!("[task.guarded]\nisolation = 'guarded'\nrun = '''\n{sees}\n{both}\n'''\n")),
    );
    let trees = world.path("work-w1").join("trees/app");
    let begun = || -> Vec<PathBuf> {
        let slots = fs::read_dir(&trees).into_iter().flatten().map(|slot| slot.unwrap().path());
        slots.filter(|slot| slot.join("begun").exists()).collect()
    };
    until("both run", || begun().len() == 2);
    assert_eq!(podman.containers().lines().count(), 1, "{}", podman.containers());
    let running = world.status().runners[0].running.clone();
    assert_eq!(running.len(), 2, "{running:?}");
    begun().iter().for_each(|slot| fs::write(slot.join("go"), "").unwrap());
    let build = world.expect(&commit, "passed");
    let [image, guarded] = ["image", "guarded"].map(|task| world.log_of(&build, task));
    assert!(image.starts_with("surveil: image ") && image.ends_with(", by podman\nwent on\n"), "{image}");
    assert_eq!(guarded, "has git\nwent on\n");

    let shown = world.surveil(&["show", "latest", "--json"]).ok();
    let shown: BuildReport = serde_json::from_str(&shown).unwrap();
    let execution = |task: &str| job(&shown, task).attempts[0].execution.clone().unwrap();
    let [in_image, guarded] = ["image", "guarded"].map(execution);
    assert_eq!(in_image.tier, "image");
    assert!(in_image.means.starts_with("podman, sha256:"), "{in_image:?}");
    assert_eq!(guarded.tier, "guarded");
    assert!(!guarded.means.is_empty() && !guarded.means.contains("podman"), "{guarded:?}");
    assert!(guarded.cpu_ms.is_some() && in_image.cpu_ms.is_none(), "{guarded:?}, {in_image:?}");
    podman.has_no_containers();
}
