//! How long the loss of a runner costs its job: from the moment at which the busy runner is killed with -9, or stopped
//! so that it falls silent, to the moment at which the job's next attempt executes on another runner. Real
//! processes with default settings; the task's process writes who executes it into a FIFO that this process reads.
//!
//! `cargo bench --bench elsewhere`; `SURVEIL_BENCH_ROUNDS` changes the number of kills, `SURVEIL_BENCH_STOPS` that of
//! stops.

mod stage;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use stage::figures::Sample;
use stage::repo::Repo;
use stage::{Stage, finished, is_measuring, ms_since, pause, setting};
use surveil::clock;

const RUNNERS: [&str; 2] = ["r1", "r2"];

#[derive(Clone, Copy)]
enum Loss {
    Killed,
    Stopped,
}

fn main() {
    let (kills, stops) =
        if is_measuring() { (setting("SURVEIL_BENCH_ROUNDS", 20), setting("SURVEIL_BENCH_STOPS", 3)) } else { (1, 0) };
    measure(Loss::Killed, kills, "runner killed -> its job executes elsewhere");
    measure(Loss::Stopped, stops, "runner stopped -> its job executes elsewhere");
}

fn measure(loss: Loss, rounds: usize, what: &str) {
    if rounds == 0 {
        return;
    }
    let mut took = Sample::default();
    // A runner that is lost repeatedly gets a rest, so each round has new runners and processes.
    (0..rounds).for_each(|_| took.add(round(loss)));
    took.print(what, "ms");
}

fn round(loss: Loss) -> f64 {
    let mut stage = Stage::with_dispatcher(&[]);
    let (fifo, signals) = stage.fifo();
    let mut signals = BufReader::new(signals);
    let repo = Repo::new(&stage.path("app"));
    let task = |name: &str, then: &str| {
        format!("[task.{name}]\nrun = \"echo $SURVEIL_RUNNER > {}; {then}\"\n", fifo.display())
    };
    // Both runners have executed a task of the repository before.
    let both = repo.chain(1, &(task("one", "sleep 0.2") + &task("two", "sleep 0.2")))[0];
    let one = repo.commit(Some(both), "the one", &task("test", "exec sleep 600"), &[]);
    let runners: Vec<usize> = RUNNERS.iter().map(|name| stage.start_runner(name, &["--slots", "1"])).collect();
    stage.start_observer(&repo.path);
    repo.move_main(both);
    let mut warm = [next_line(&mut signals), next_line(&mut signals)];
    warm.sort();
    assert_eq!(warm, RUNNERS);
    finished(&*stage.reader(), &both);

    repo.move_main(one);
    let busy = next_line(&mut signals);
    // The report of its start has been delivered.
    pause(Duration::from_millis(100));
    let at = runners[RUNNERS.iter().position(|name| *name == busy).expect("one of them")];
    let begun = clock::instant();
    match loss {
        Loss::Killed => stage.kill(at),
        Loss::Stopped => stage.freeze(at),
    }
    let heir = next_line(&mut signals);
    let took = ms_since(begun);
    assert_ne!(heir, busy, "there is another one");
    took
}

fn next_line(signals: &mut BufReader<File>) -> String {
    let mut line = String::new();
    signals.read_line(&mut line).expect("the fifo can be read");
    line.trim().to_owned()
}
