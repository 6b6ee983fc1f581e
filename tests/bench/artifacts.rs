//! An artifact of 1 GB in 1,000 files, from a runner to its dispatcher: from the end of the task's script to the
//! durable verdict, which comes after each byte of the artifact is durable. Beside it `cp -r` of the same files on the
//! same disk, with the sync that makes the copy durable, in turns. Then the same files once more, in another commit:
//! nothing of them is sent. The most memory of either role meanwhile.
//!
//! The files hold random bytes, so that compression saves nothing, and are hard links to files that are there before:
//! the script ends at once. The attempt is not guarded, because no hard link leads out of a guarded one's mount. One
//! round of files that compress as source code does is told, too.
//!
//! `cargo bench --bench artifacts`; `SURVEIL_BENCH_FILES` changes the number of files of 1 MB,
//! `SURVEIL_BENCH_ROUNDS` the rounds. It needs five times the room of the artifact.

mod stage;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stage::figures::{Sample, peak_memory, reset_peak_memory, say};
use stage::project::path;
use stage::repo::Repo;
use stage::{Stage, finished_every, is_measuring, ms_since, pause, setting};
use surveil::clock;

/// The least speed, of that of the copy.
const LEAST_SHARE: f64 = 0.6;
/// The longest time for what the dispatcher has already.
const UNCHANGED_MS: f64 = 500.0;
/// The most memory of either role.
const MOST_MIB: f64 = 40.0;
/// Bytes of a file.
const FILE_BYTES: usize = 1_000_000;

fn main() {
    let files = if is_measuring() { setting("SURVEIL_BENCH_FILES", 1000) } else { 10 };
    let rounds = if is_measuring() { setting("SURVEIL_BENCH_ROUNDS", 3) } else { 1 };
    let mut stage = Stage::with_dispatcher(&[]);
    let (fifo, mut signals) = stage.fifo();
    let repo = Repo::new(&stage.path("app"));
    let source = stage.path("source");
    let tasks = format!(
        "[task.build]\nrun = \"cp -rl {} out; echo > {}\"\nisolation = \"shared\"\nartifacts = [\"out/**\"]\n",
        path(&source),
        fifo.display()
    );
    let commits = repo.chain(2 * (rounds + 1) + 1, &tasks);
    let mut next = commits.iter();
    make_files(&source, 1, &mut |_| Vec::new());
    let runner = stage.start_runner("r1", &["--slots", "1"]);
    stage.start_observer(&repo.path);
    let (dispatcher, runner) = (stage.pid(0), stage.pid(runner));
    let reader = stage.reader();
    let mut send = || {
        let commit = next.next().expect("a commit for each round");
        repo.move_main(*commit);
        signals.read_exact(&mut [0]).expect("a signal");
        let begun = clock::instant();
        let build = finished_every(Duration::from_millis(2), &*reader, commit);
        assert_eq!(build.verdict, Some(surveil::model::Verdict::Passed));
        ms_since(begun)
    };
    // The first build finds cold caches, and one empty file.
    send();
    let mib = |pid: u32| peak_memory(pid) as f64 / 1024.0;
    let (mut sent, mut same, mut copied, mut plain) = <(Sample, Sample, Sample, Sample)>::default();
    let (mut of_dispatcher, mut of_runner) = (0.0_f64, 0.0_f64);
    for round in 0..=rounds {
        let is_random = round < rounds;
        let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ (round as u64 + 1);
        make_files(&source, files, &mut |at| if is_random { random(&mut state) } else { words(at) });
        [dispatcher, runner].into_iter().for_each(reset_peak_memory);
        let (first, again) = (send(), send());
        let (by_dispatcher, by_runner) = (mib(dispatcher), mib(runner));
        (of_dispatcher, of_runner) = (of_dispatcher.max(by_dispatcher), of_runner.max(by_runner));
        if !is_random {
            say(&format!("files that compress as source code does: {first:.0} ms, and again {again:.0} ms"));
            continue;
        }
        let copy = stage.path("copy");
        let begun = clock::instant();
        run("cp", &["-r", path(&source), path(&copy)]);
        plain.add(ms_since(begun));
        run("sync", &["-f", path(&copy)]);
        copied.add(ms_since(begun));
        fs::remove_dir_all(&copy).expect("the copy is ours");
        sent.add(first);
        same.add(again);
    }
    say(&format!("an artifact of {files} files, {} MB:", files * FILE_BYTES / 1_000_000));
    sent.print("  the script ends -> durable at the dispatcher", "ms");
    copied.print("  `cp -r` and `sync -f` of the same", "ms");
    plain.print("  of that, `cp -r`", "ms");
    same.print("  the same again, unchanged", "ms");
    let share = copied.median() / sent.median();
    say(&format!("  speed, of that of the synced copy: {:.0} %", share * 100.0));
    say(&format!("  most memory resident: dispatcher {of_dispatcher:.1} MiB, runner {of_runner:.1} MiB"));
    if is_measuring() {
        assert!(share >= LEAST_SHARE, "{:.0} % of the speed of the copy", share * 100.0);
        assert!(same.median() <= UNCHANGED_MS, "{:.0} ms for an artifact that is there", same.median());
        assert!(of_dispatcher.max(of_runner) <= MOST_MIB, "more than {MOST_MIB} MiB");
    }
}

/// Makes the directory anew, with so many files, and writes it to the disk.
fn make_files(directory: &Path, files: usize, content: &mut dyn FnMut(usize) -> Vec<u8>) {
    // The first time it is not there.
    drop(fs::remove_dir_all(directory));
    fs::create_dir(directory).expect("a directory");
    for at in 0..files {
        let below = directory.join(format!("d{}", at % 20));
        fs::create_dir_all(&below).expect("a directory");
        fs::write(below.join(format!("f{at}")), content(at)).expect("there is room");
    }
    run("sync", &["-f", path(directory)]);
    pause(Duration::from_millis(if is_measuring() { 1000 } else { 1 }));
}

fn random(state: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    while bytes.len() < FILE_BYTES {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Text that compresses about as source code does.
fn words(seed: usize) -> Vec<u8> {
    stage::project::content(seed as u64, FILE_BYTES)
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).status().expect("it is there");
    assert!(status.success(), "{program} {arguments:?}");
}
