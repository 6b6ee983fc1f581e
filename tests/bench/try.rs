//! `surveil try` of a tree of 5,000 files in which one was changed: from Enter to the task's process, on a warm runner
//! and a dispatcher that has the commit that the work follows. That is the start of the program, the comparison of the
//! tree with its index, the upload, the plan, the lease and the checkout. The time of the whole command, to its exit
//! with the verdict, is told as well.
//!
//! `cargo bench --bench try`; `SURVEIL_BENCH_FILES` changes the number of files.

mod stage;

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use stage::figures::{Sample, say};
use stage::project::{git, history, path};
use stage::repo::Repo;
use stage::{Stage, is_measuring, ms_since, pause, setting};
use surveil::clock;

/// The most that it may take, in the median.
const MOST_MS: f64 = 150.0;

fn main() {
    let files = if is_measuring() { setting("SURVEIL_BENCH_FILES", 5000) } else { 100 };
    let rounds = if is_measuring() { setting("SURVEIL_BENCH_ROUNDS", 20) } else { 1 };
    let mut stage = Stage::with_dispatcher(&[]);
    let (fifo, mut signals) = stage.fifo();
    let origin = Repo::new(&stage.path("origin.git"));
    let tasks = format!("[task.test]\nrun = \"echo > {}\"\n", fifo.display());
    origin.move_main(history(&origin, (files, 0), 1, &tasks)[0]);
    let work = stage.path("app");
    git(&stage.path("."), &["clone", "-q", path(&origin.path), path(&work)]);
    stage.start_runner("r1", &["--slots", "1"]);
    // The dispatcher has HEAD, as it has what a person's work follows.
    stage.start_observer(&work);
    signals.read_exact(&mut [0]).expect("a signal");
    let address = stage.address().to_string();
    let (mut starts, mut ends) = (Sample::default(), Sample::default());
    for round in 0..=rounds {
        fs::write(work.join(format!("d7/file{}.c", 7 + 50 * (round % 2))), format!("// try {round}\n"))
            .expect("the tree can be written");
        pause(Duration::from_millis(if is_measuring() { 100 } else { 1 }));
        let begun = clock::instant();
        let mut command = stage.command(&["try", "--dispatch", &address]);
        let mut child = command
            .current_dir(&work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("surveil starts");
        signals.read_exact(&mut [0]).expect("a signal");
        let started = ms_since(begun);
        assert!(child.wait().expect("it ends").success());
        // The first round finds cold caches.
        if round > 0 {
            starts.add(started);
            ends.add(ms_since(begun));
        }
    }
    say(&format!("1 of {files} files changed:"));
    starts.print("  `surveil try` -> the task's process executes", "ms");
    ends.print("  `surveil try`, the whole command", "ms");
    assert!(!is_measuring() || starts.median() <= MOST_MS, "more than {MOST_MS} ms");
}
