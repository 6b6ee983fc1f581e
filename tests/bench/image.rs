//! The start of a task in a container image, beside `podman run` itself, in turns: the same image, runtime and network.
//! The clock of `podman run` starts before the tool does. That of a task starts before the ref is written, so it
//! includes all of Surveil: the build, the lease, the work tree, and the tool's answer whether the image is there. Both
//! stop at the first line that is executed in the container, which is a byte in a FIFO that this process reads, and
//! once more when the container is removed.
//!
//! The image is made of a static busybox. The flags suit a machine that is a container itself, as in the tests.
//!
//! `cargo bench --bench image`; `SURVEIL_BENCH_ROUNDS` changes the number of rounds.

mod stage;

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stage::figures::{Sample, say};
use stage::project::path;
use stage::repo::Repo;
use stage::{Stage, finished, is_measuring, ms_since, pause, setting};
use surveil::clock;
use surveil::config::BUILT_IN_IMAGE_TOOLS;

const IMAGE: &str = "surveil-bench:1";
/// Rounds in which stores and work trees are created.
const WARM_UP: usize = 2;

fn main() {
    let rounds = if is_measuring() { setting("SURVEIL_BENCH_ROUNDS", 30) } else { 1 };
    let mut stage = Stage::with_dispatcher(&[]);
    let podman = Podman::new(&stage);
    if let Err(why) = podman.import(&stage) {
        say(&format!(
            "nothing is measured: podman, with runc, tar and a static busybox, is missing or does not work: {why}"
        ));
        return;
    }
    let (fifo, mut signals) = stage.fifo();
    // A container sees the work tree and its temporary directory only, so the FIFO is in a volume of its own.
    let script = format!("echo > {}", fifo.display());
    let repo = Repo::new(&stage.path("app"));
    let commits = repo.chain(rounds + WARM_UP, &format!("[task.test]\nimage = \"{IMAGE}\"\nrun = \"{script}\"\n"));
    let templates = podman.templates(&stage, &fifo);
    stage.start_runner("r1", &["--slots", "1", "--image-tool", "podman", "--image-templates", path(&templates)]);
    stage.start_observer(&repo.path);
    let reader = stage.reader();

    let [mut start, mut end, mut task_start, mut task_end] = [(); 4].map(|()| Sample::default());
    for (n, commit) in commits.iter().enumerate() {
        pause(Duration::from_millis(if is_measuring() { 100 } else { 1 }));
        let begun = clock::instant();
        let mut child = podman.alone(&stage, &fifo, &script).spawn().expect("podman starts");
        signals.read_exact(&mut [0]).expect("a signal");
        let started = ms_since(begun);
        assert!(child.wait().expect("it ends").success());
        let ended = ms_since(begun);
        pause(Duration::from_millis(if is_measuring() { 100 } else { 1 }));
        let begun = clock::instant();
        repo.move_main(*commit);
        signals.read_exact(&mut [0]).expect("a signal");
        let task_started = ms_since(begun);
        finished(&*reader, commit);
        if n >= WARM_UP {
            start.add(started);
            end.add(ended);
            task_start.add(task_started);
            task_end.add(ms_since(begun));
        }
    }
    start.print("`podman run --rm` -> the first line executes", "ms");
    end.print("`podman run --rm`, the whole command", "ms");
    task_start.print("ref update -> the task's first line executes", "ms");
    task_end.print("ref update -> verdict durable, container removed", "ms");
}

/// podman with a store of images of its own.
struct Podman {
    own: Vec<String>,
    run: Vec<String>,
}

impl Podman {
    fn new(stage: &Stage) -> Self {
        let own = [
            format!("--root={}", stage.path("images").display()),
            format!("--runroot={}", stage.path("images-run").display()),
            "--storage-driver=vfs".into(),
            "--cgroup-manager=cgroupfs".into(),
            "--runtime=runc".into(),
        ];
        let run = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--network=host"].map(String::from);
        Self { own: own.into(), run: run.into() }
    }

    fn command(&self, stage: &Stage) -> Command {
        let mut command = Command::new("podman");
        command.args(&self.own).env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("HOME", stage.path("."));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Makes the image. An error is what failed.
    fn import(&self, stage: &Stage) -> Result<(), String> {
        let known = [Path::new("/bin/busybox"), Path::new("/usr/bin/busybox")];
        let busybox = known.into_iter().find(|file| file.exists()).ok_or("there is no busybox")?;
        let root = stage.path("root");
        for directory in ["bin", "etc", "tmp"] {
            fs::create_dir_all(root.join(directory)).expect("the directory can be written");
        }
        fs::copy(busybox, root.join("bin/busybox")).expect("the directory can be written");
        symlink("busybox", root.join("bin/sh")).expect("the directory can be written");
        let archive = stage.path("root.tar");
        let mut pack = Command::new("tar");
        done(pack.arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."))?;
        done(self.command(stage).args(["import", path(&archive), IMAGE]))?;
        done(self.command(stage).arg("run").args(&self.run).args(["--rm", IMAGE, "/bin/sh", "-c", ":"]))
    }

    /// The built-in templates for this store, with the FIFO.
    fn templates(&self, stage: &Stage, fifo: &Path) -> std::path::PathBuf {
        let quoted = |words: &[String]| words.iter().map(|word| format!("{word:?}, ")).collect::<String>();
        let (own, run) = (quoted(&self.own), quoted(&self.run));
        let volume = format!("\"--volume={0}:{0}\", ", fifo.display());
        let text = BUILT_IN_IMAGE_TOOLS
            .replace("[\"podman\", ", &format!("[\"podman\", {own}"))
            .replace("  \"podman\", \"run\", ", &format!("  \"podman\", {own}\"run\", {run}{volume}"));
        let file = stage.path("images.toml");
        fs::write(&file, text).expect("the directory can be written");
        file
    }

    /// `podman run` as a person would type it.
    fn alone(&self, stage: &Stage, fifo: &Path, script: &str) -> Command {
        let mut command = self.command(stage);
        command.arg("run").args(&self.run).args(["--rm", "--pull=never", "--log-driver=none"]);
        command.arg(format!("--volume={0}:{0}", fifo.display())).args([IMAGE, "/bin/sh", "-c", script]);
        command
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    let output = command.stdout(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
