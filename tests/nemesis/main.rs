//! Real processes under faults: a dispatcher, observers, runners and their tasks, which are
//! killed, stopped and started again, and a network that cuts, delays, tears and repeats. Their actions are written
//! down as a history, from evidence, and judged by the checkers that judge the simulation.
//!
//! - `SURVEIL_NEMESIS_SECONDS=300 cargo test --release --test nemesis` runs for five minutes.
//! - `SURVEIL_SEED=n` repeats the faults, which are all decided by dice.
//! - `SURVEIL_TEST_TLS=1` encrypts the connections of all processes, and changes bytes on their way.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::wildcard_enum_match_arm, reason = "each part looks at few kinds of facts and messages")]

mod canary;
mod cast;
#[path = "../simulation/dice.rs"]
mod dice;
mod echo;
mod entries;
mod faults;
#[path = "../it/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "it serves other tests too")]
mod harness;
#[path = "../promises/mod.rs"]
#[expect(dead_code, reason = "it judges the simulation too")]
mod promises;
mod proxy;
mod tasks;
mod trials;
mod witness;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::never;
use surveil::model::{Record, RepoName};

use cast::TERMS;
use faults::Nemesis;
use harness::World;
use promises::checkers;
use promises::history::{Broken, History};

/// Duration of the faults unless the environment says otherwise.
const SECONDS: u64 = 20;
/// Time within which every build must end after faults have stopped.
const CALM: Duration = Duration::from_secs(120);
/// Lines of the story that are printed if a promise is broken.
const TAIL_LINES: usize = 80;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Lets time pass.
fn wait(ms: u64) {
    // Nothing ever arrives on this channel: the timeout is the pause.
    let _ = never::<()>().recv_timeout(Duration::from_millis(ms));
}

#[test]
#[expect(clippy::print_stdout, reason = "the seed and what it came to are worth reading")]
fn no_promise_is_broken_whatever_happens_to_real_processes() {
    let seconds = number("SURVEIL_NEMESIS_SECONDS");
    // A new seed for long searches, and the same seed for the check of a change.
    let usual = || seconds.map_or(1, |_| u64::try_from(surveil::clock::wall().0).unwrap() % 1_000_000);
    let seed = number("SURVEIL_SEED").unwrap_or_else(usual);
    let seconds = seconds.unwrap_or(SECONDS);
    println!("SURVEIL_SEED={seed} SURVEIL_NEMESIS_SECONDS={seconds}");
    let world = World::new();
    let mut nemesis = Nemesis::new(&world, seed);
    nemesis.rage(Duration::from_secs(seconds));
    let is_settled = nemesis.calm(CALM);
    let witness = nemesis.witness().clone();
    // Everything that the roles, the tasks and the operators of this world left.
    nemesis.look_for_canary(&[""]);
    let accepted: Vec<Record> = nemesis.accepted().unwrap().into_iter().map(head).collect();
    let history = witness.close(nemesis.heads(), &accepted);
    println!("faults: {:?}, {} bytes changed", nemesis.struck, nemesis.flipped());
    println!(
        "{:?}, {} builds, outcomes {:?}, {} late",
        witness.tally(),
        witness.builds(),
        witness.outcomes(),
        witness.late()
    );
    judge(&history);
    assert!(witness.tally().secrets > 0, "some task got the secret");
    assert!(witness.tally().fetched > 0, "some entry of the tool cache came from the dispatcher");
    assert!(is_settled, "all promises hold, but it took too long");
}

fn head((repo, reference, head): (RepoName, surveil::model::RefName, surveil::model::CommitId)) -> Record {
    Record::HeadMoved { repo, reference, head: Some(head), number: 0 }
}

/// Fails with every promise that is broken, and the story up to there.
#[track_caller]
fn judge(history: &History) {
    let broken = checkers::check_from_outside(history, &TERMS);
    let mut said = BTreeMap::new();
    for Broken { promise, text, after } in &broken {
        said.insert(*promise, format!("{promise:?}: {text}\n{}\n", history.tail(*after, TAIL_LINES)));
    }
    let said: Vec<String> = said.into_values().collect();
    if !broken.is_empty() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nemesis.story");
        fs::write(&path, history.tail(usize::MAX, usize::MAX)).unwrap();
        panic!("{}\nthe whole story is in {}", said.join("\n"), path.display());
    }
}
