//! A cache of 1 GB in 20,000 files on its way into a work tree: from the update of a ref to the first line of a task
//! whose cache is restored before. First from the runner's own copies, then over loopback from the dispatcher, which
//! makes the copies anew. Beside it `cp -r` of the same files on the same disk, in turns. The time in which the cache
//! is saved, and the most memory of either role, are told, too.
//!
//! The files hold random bytes, so that compression saves nothing; with `SURVEIL_BENCH_WORDS=1` they compress as source
//! code does. Nothing is removed between the rounds, because some file systems are slow to give out inodes that were
//! used before: what a round leaves is put aside. The attempt is not guarded, so that its task can do that.
//!
//! `cargo bench --bench caches`; `SURVEIL_BENCH_FILES` changes the number of files of 50 kB, `SURVEIL_BENCH_ROUNDS` the
//! rounds. It needs three times the room of the cache, and for each round three times more.

mod stage;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stage::figures::{Sample, peak_memory, reset_peak_memory, say};
use stage::project::{content, path};
use stage::repo::Repo;
use stage::{Stage, finished_every, is_measuring, ms_since, pause, setting};
use surveil::clock;
use surveil::model::Verdict;

/// The least speed of a restore from the runner's own copies, of that of the copy.
const LEAST_OWN: f64 = 0.8;
/// The least speed of a restore from the dispatcher.
const LEAST_LOOPBACK: f64 = 0.5;
/// The most memory of either role.
const MOST_MIB: f64 = 40.0;
/// Files of a directory.
const BESIDE: usize = 100;

fn main() {
    let files = if is_measuring() { setting("SURVEIL_BENCH_FILES", 20_000) } else { 300 };
    let rounds = if is_measuring() { setting("SURVEIL_BENCH_ROUNDS", 3) } else { 1 };
    let bytes = if is_measuring() { 50_000 } else { 500 };
    let mut stage = Stage::with_dispatcher(&[]);
    let (fifo, mut signals) = stage.fifo();
    let repo = Repo::new(&stage.path("app"));
    let (source, aside, caches) = (stage.path("source"), stage.path("aside"), stage.path("work-r1/caches"));
    fs::create_dir(&aside).expect("a directory");
    let (fifo, of, put) = (fifo.display(), path(&source), path(&aside));
    let tasks = format!(
        "[task.build]\nisolation = \"shared\"\ncache = [{{ key = [\"README.md\"], paths = [\"cached\"] }}]\nrun = \"\"\"\n\
         if test -e cached; then echo > {fifo}; mv cached $(mktemp -d -p {put})\n\
         else cp -rl {of} cached; echo > {fifo}; fi\n\"\"\"\n"
    );
    make_files(&source, files, bytes);
    let commits = repo.chain(2 * rounds + 1, &tasks);
    let mut next = commits.iter();
    let runner = stage.start_runner("r1", &["--slots", "1"]);
    stage.start_observer(&repo.path);
    let roles = [stage.pid(0), stage.pid(runner)];
    let reader = stage.reader();
    let mut memory = [0.0_f64; 2];
    // Returns the times until the task has begun and until its end is durable, and the bytes that were received.
    let mut build = || {
        settle(&aside);
        let commit = next.next().expect("a commit for each round");
        roles.into_iter().for_each(reset_peak_memory);
        let begun = clock::instant();
        repo.move_main(*commit);
        signals.read_exact(&mut [0]).expect("a signal");
        let started = (ms_since(begun), clock::instant());
        let build = finished_every(Duration::from_millis(2), &*reader, commit);
        assert_eq!(build.verdict, Some(Verdict::Passed));
        let ended = ms_since(started.1);
        for (most, pid) in memory.iter_mut().zip(roles) {
            *most = most.max(peak_memory(pid) as f64 / 1024.0);
        }
        (started.0, ended, received(&stage))
    };
    let (_, saved, none) = build();
    assert_eq!(none, None, "there was no cache yet");
    let (mut own, mut loopback, mut copied) = <(Sample, Sample, Sample)>::default();
    for round in 0..rounds {
        settle(&aside);
        let begun = clock::instant();
        run("cp", &["-r", of, path(&aside.join(format!("copy{round}")))]);
        copied.add(ms_since(begun));
        let (took, _, received) = build();
        assert_eq!(received, Some(0), "the runner has copies of what it saved or received");
        own.add(took);
        // Its task moves the files away before they can be copied.
        let complete = stage.path("complete");
        fs::rename(&caches, &complete).expect("the runner has copies");
        let (took, _, received) = build();
        fs::rename(&caches, aside.join(format!("caches{round}"))).expect("the runner has begun with copies");
        fs::rename(&complete, &caches).expect("nothing is there");
        assert_eq!(received, Some((files * bytes) as u64));
        loopback.add(took);
    }
    say(&format!("a cache of {files} files, {} MB:", files * bytes / 1_000_000));
    say(&format!("  its task ends -> it is saved, and the outcome durable: {saved:.0} ms"));
    copied.print("  `cp -r` of the same", "ms");
    own.print("  a ref is updated -> restored from own copies", "ms");
    loopback.print("  a ref is updated -> restored over loopback", "ms");
    let of_copy = |sample: &Sample| copied.median() / sample.median();
    let (own, loopback) = (of_copy(&own), of_copy(&loopback));
    let percent = |share: f64| share * 100.0;
    say(&format!("  speed, of that of `cp -r`: {:.0} and {:.0} %", percent(own), percent(loopback)));
    let [of_dispatcher, of_runner] = memory;
    say(&format!("  most memory resident: dispatcher {of_dispatcher:.1} MiB, runner {of_runner:.1} MiB"));
    if is_measuring() {
        assert!(own >= LEAST_OWN, "{:.0} % of the speed of the copy, from own copies", percent(own));
        assert!(loopback >= LEAST_LOOPBACK, "{:.0} % of the speed of the copy, over loopback", percent(loopback));
        assert!(of_dispatcher.max(of_runner) <= MOST_MIB, "more than {MOST_MIB} MiB");
    }
}

/// Returns the bytes that the newest build received for its cache; `None` if it restored none.
fn received(stage: &Stage) -> Option<u64> {
    let address = stage.address().to_string();
    let output = stage.command(&["logs", "latest", "build", "--dispatch", &address]).output().expect("surveil starts");
    assert!(output.status.success(), "{output:?}");
    let log = String::from_utf8(output.stdout).expect("a log of plain letters");
    let (_, restored) = log.split_once("surveil: restored cache ")?;
    let (before, _) = restored.split_once(" of them received")?;
    Some(before.rsplit_once(' ')?.1.parse().expect("a number"))
}

/// Makes the directory, with so many files.
fn make_files(directory: &Path, files: usize, bytes: usize) {
    let is_text = setting("SURVEIL_BENCH_WORDS", 0) > 0;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for at in 0..files {
        let below = directory.join(format!("d{}", at / BESIDE));
        fs::create_dir_all(&below).expect("a directory");
        let mut text = if is_text { content(at as u64, bytes) } else { random(&mut state, bytes) };
        text.truncate(bytes);
        fs::write(below.join(format!("f{at}")), text).expect("there is room");
    }
}

fn random(state: &mut u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Writes everything to the disk, and lets the machine come to rest.
fn settle(place: &Path) {
    run("sync", &["-f", path(place)]);
    pause(Duration::from_millis(if is_measuring() { 1000 } else { 1 }));
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).status().expect("it is there");
    assert!(status.success(), "{program} {arguments:?}");
}
