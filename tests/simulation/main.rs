//! The production scheduler in a simulated world: one thread, a seed, virtual time. Messages arrive late and are lost
//! with their connections, all processes are killed and restarted, the disk fills up. Then faults stop, and every
//! promise that can be judged from outside is checked against the history, by its number.
//!
//! - `SURVEIL_SEED=n cargo test --test simulation` runs one world and prints its story.
//! - `SURVEIL_SABOTAGE=name cargo test --test simulation sabotage` tries the sabotages with that in their name, in 500
//!   worlds each; without it, a sabotage is tried until a world shows it.
//! - `SURVEIL_SEEDS=n cargo test --test simulation` runs n worlds instead of 10,000.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each checker and sabotage looks at few kinds of facts and must not have to name all others"
)]

mod attempts;
mod dice;
mod dispatcher;
mod faults;
mod fold;
mod leavings;
mod network;
mod observer;
mod plans;
#[path = "../promises/mod.rs"]
#[expect(dead_code, reason = "some facts can be seen of real processes only")]
mod promises;
mod realstore;
mod requests;
mod runner;
mod sabotage;
mod schedules;
mod shares;
mod twists;
mod world;
mod written_tasks;

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use promises::history::{Broken, Fact, Promise};
use promises::{checkers, history};
use sabotage::Sabotage;
use surveil::threads;
use world::{Setting, Story, live};

const SEEDS: u64 = 10_000;
/// Lines of a story that are printed when a promise was broken.
const TAIL_LINES: usize = 60;
/// Failures that are printed in full; further ones are only counted.
const REPORTS: usize = 5;
/// One world in this many has the real store beside the fold.
const REAL_STORE_EVERY: u64 = 100;
/// Worlds in which a sabotage is tried at a time, until one of them shows it; the last number is the limit.
const SABOTAGE_SEEDS: u64 = 50;
/// Worlds in which a sabotage that was asked for is tried at first.
const SABOTAGE_SEEDS_NAMED: u64 = 500;
const SABOTAGE_SEEDS_MAX: u64 = 5_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn setting(seed: u64) -> Setting {
    Setting { seed, real_store: seed.is_multiple_of(REAL_STORE_EVERY), wall: seed, ..Setting::default() }
}

/// The report of a failure, with all that is needed to see its cause.
fn report(seed: u64, story: &Story) -> String {
    let said: Vec<String> =
        story.broken.iter().map(|Broken { promise, text, .. }| format!("{promise:?}: {text}")).collect();
    let first = story.broken.iter().map(|broken| broken.after).min().unwrap_or(usize::MAX);
    format!("seed {seed} breaks {}\n{}", said.join("\n  and "), story.history.tail(first, TAIL_LINES))
}

/// Runs a function for each seed, on every core; returns the results in no order.
fn for_each_seed<T: Send + 'static>(
    seeds: Range<u64>,
    work: impl Fn(u64) -> Option<T> + Send + Sync + 'static,
) -> Vec<T> {
    let (next, work) = (Arc::new(AtomicU64::new(seeds.start)), Arc::new(work));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let start = |at| {
        let (next, work) = (next.clone(), work.clone());
        let body = move || {
            let mine =
                std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|seed| *seed < seeds.end);
            mine.filter_map(|seed| work(seed)).collect::<Vec<T>>()
        };
        threads::spawn_large(&format!("seeds-{at}"), body).expect("a thread starts")
    };
    let workers: Vec<_> = (0..cores).map(start).collect();
    workers.into_iter().flat_map(|worker| worker.join().expect("a world does not panic")).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "a story that was asked for is printed")]
fn every_promise_is_kept_in_every_world() {
    if let Some(seed) = number("SURVEIL_SEED") {
        let story = live(setting(seed));
        println!("{}", story.history.tail(usize::MAX, usize::MAX));
        assert!(story.broken.is_empty(), "{}", report(seed, &story));
        return;
    }
    let bad =
        for_each_seed(0..number("SURVEIL_SEEDS").unwrap_or(SEEDS), |seed| match catch_unwind(|| live(setting(seed))) {
            Ok(story) => (!story.broken.is_empty()).then(|| report(seed, &story)),
            Err(_) => Some(format!("seed {seed} ends in a panic, which is printed above")),
        });
    let first: Vec<&str> = bad.iter().take(REPORTS).map(String::as_str).collect();
    assert!(bad.is_empty(), "{} worlds end badly\n{}", bad.len(), first.join("\n\n"));
}

#[test]
#[expect(clippy::print_stdout, reason = "in how many worlds each sabotage shows is worth reading")]
fn every_sabotage_is_caught_by_the_promise_that_it_breaks() {
    let mut missed = Vec::new();
    let wanted = std::env::var("SURVEIL_SABOTAGE");
    let at_first = if wanted.is_ok() { SABOTAGE_SEEDS_NAMED } else { SABOTAGE_SEEDS };
    let wanted = wanted.unwrap_or_default();
    for (sabotage, promise) in Sabotage::ALL.iter().filter(|(sabotage, _)| format!("{sabotage:?}").contains(&wanted)) {
        let try_in = |seeds| {
            for_each_seed(seeds, |seed| {
                let story = live(Setting { seed, sabotage: Some(*sabotage), ..Setting::default() });
                Some(story.broken.iter().map(|broken| broken.promise).collect::<BTreeSet<Promise>>())
            })
        };
        let mut found = try_in(0..at_first);
        while !found.iter().any(|found| found.contains(promise)) && (found.len() as u64) < SABOTAGE_SEEDS_MAX {
            let tried = found.len() as u64;
            found.extend(try_in(tried..tried + SABOTAGE_SEEDS));
        }
        let caught = found.iter().filter(|found| found.contains(promise)).count();
        let all: BTreeSet<&Promise> = found.iter().flatten().collect();
        println!(
            "{:<22} {:<6} {caught:>5} of {:>5}   all that showed: {all:?}",
            format!("{sabotage:?}"),
            format!("{promise:?}"),
            found.len()
        );
        if caught == 0 {
            missed.push(format!("{sabotage:?} is not caught by {promise:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 0..20 {
        let setting = Setting { real_store: false, ..setting(seed) };
        assert_eq!(live(setting).history.entries, live(setting).history.entries, "seed {seed}");
    }
}

/// The effects that left the dispatcher in a world with these jumps of the wall clocks.
fn told(seed: u64, wall: u64, sabotage: Option<Sabotage>) -> Vec<(u64, Fact)> {
    let story = live(Setting { seed, wall, sabotage, ..Setting::default() });
    assert!(story.broken.is_empty() || sabotage.is_some(), "{}", report(seed, &story));
    let released = story.history.entries.into_iter().filter(|entry| entry.fact.is_released());
    released.map(|entry| (entry.at, entry.fact)).collect()
}

/// S31.
#[test]
fn wall_clocks_that_jump_change_no_decision() {
    for seed in 0..50 {
        assert_eq!(told(seed, 1, None), told(seed, 2, None), "seed {seed}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "in how many worlds each sabotage shows is worth reading")]
fn the_sabotage_of_reading_the_wall_clock_is_caught() {
    let sabotage = Some(Sabotage::ReadsTheWallClock);
    let caught = (0..50).filter(|seed| told(*seed, 1, sabotage) != told(*seed, 2, sabotage)).count();
    println!("{:<22} {:<6} {caught:>5} of {:>5}", format!("{:?}", Sabotage::ReadsTheWallClock), "S31", 50);
    assert!(caught > 0);
}
