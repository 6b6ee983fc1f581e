//! A writer that is killed at any moment: every acknowledged batch is recorded (S1), and every recorded batch is whole.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

const CHILD_STORE: &str = "SURVEIL_TEST_STORE";
const ROUNDS: u64 = 6;

/// Not a test by itself: commits and acknowledges without end in the process that another test starts and kills.
#[test]
fn a_child_that_commits_and_acknowledges() {
    let Ok(path) = std::env::var(CHILD_STORE) else { return };
    let mut store = Writer::open(path.as_ref()).unwrap();
    let mut next = store.snapshot().unwrap().last_build + 1;
    loop {
        let batch: Vec<_> = (next..next + 3).flat_map(passed_build).collect();
        store.commit(&batch).unwrap();
        next += 3;
        // Fails when the test that reads it is gone, which ends this process too.
        writeln!(std::io::stdout(), "acknowledged {}", next - 1).unwrap();
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    let place = Place::new();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite::tests::crash::a_child_that_commits_and_acknowledges", "--nocapture"])
            .env(CHILD_STORE, place.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The child is killed after a number of acknowledgements. Those that were on their way count as well.
        let enough = acknowledged + 3 * (1 + round * 37 % 90);
        while acknowledged < enough {
            note(&mut acknowledged, &lines.next().unwrap().unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The last line may be cut short.
        lines.map_while(Result::ok).for_each(|line| note(&mut acknowledged, &line));

        let store = place.store();
        let reader = place.reader();
        reader.check(&mut drop).unwrap();
        let recorded = store.snapshot().unwrap().last_build;
        assert!(recorded >= acknowledged, "{recorded} recorded, {acknowledged} acknowledged");
        assert!(recorded.is_multiple_of(3), "half a batch is recorded");
        assert_eq!(reader.newest(&store::Scope::default()).unwrap(), Some(BuildId(recorded)));
        assert_eq!(reader.finished_builds(None, 1_000_000).unwrap().len() as u64, recorded);
        assert!(reader.attempts(BuildId(recorded)).unwrap()[0].outcome.is_some());
    }
}

fn note(acknowledged: &mut u64, line: &str) {
    // The test program writes a text of its own before, which may share the first line.
    if let Some((_, number)) = line.split_once("acknowledged ") {
        *acknowledged = number.parse().unwrap_or(0).max(*acknowledged);
    }
}
