//! C2: connections that break in every way, for less and for more than the timeout; messages that come torn, twice,
//! and again after everything has ended.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use surveil::protocol::operator::{AttemptReport, BuildReport};
use surveil::store::sqlite;

use super::blobs::{ARTIFACTS, is_as_it_was_left, leave};
use crate::harness::{Process, Repository, Tally, World, job, now, text, until};
use crate::proxy::{Cut, Frame, Link, Tap, Verdict, Way};
use crate::wait;

const TIMEOUT_MS: u64 = 3_000;

/// A cut with its name, made for a given end of the cut.
type Named = (&'static str, fn(Instant) -> Cut);

/// A tap that lets everything pass.
struct Nobody;

impl Tap for Nobody {}

/// A dispatcher, an observer, and a runner behind a link.
struct Line<'a> {
    world: &'a World,
    repository: Repository<'a>,
    begun: Tally,
    link: Link,
    dispatcher: Process,
    runner: Process,
    _observer: Process,
}

impl<'a> Line<'a> {
    fn new(world: &'a World, window: &str, tap: Arc<dyn Tap>) -> Self {
        let timeout = format!("--heartbeat-timeout={TIMEOUT_MS}ms");
        let dispatcher = world.dispatcher(&["--heartbeat-interval=250ms", &timeout, window]);
        let repository = world.repository("app");
        repository.commit_script("true");
        let observer = world.observer(&[&repository], &[]);
        let link = Link::open("w1", world, tap);
        let runner = world.runner("w1", &["--slots=1", &link.flag()]);
        let line =
            Self { begun: world.tally("begun"), world, repository, link, dispatcher, runner, _observer: observer };
        line.world.finished(&line.repository.head());
        line
    }

    /// A commit whose task writes until a file is there, with the number that each of its attempts had.
    fn commit(&self, go: &str) -> String {
        let (begin, go) = (self.begun.add("$SURVEIL_COMMIT $SURVEIL_ATTEMPT_ID"), self.world.path(go));
        self.repository.commit_script(&format!(
            "{begin}\nline=0\n{{\n  until [ -e {} ]; do\n    echo \"line $line\"\n    line=$((line + 1))\n    \
             sleep 0.02\n  done\n  seq 1 3000\n}} | tee {}.$SURVEIL_ATTEMPT_ID",
            text(&go),
            text(&self.world.path("copy")),
        ))
    }

    fn executions(&self, commit: &str) -> usize {
        self.begun.lines().iter().filter(|line| line.starts_with(commit)).count()
    }

    /// The attempts of a commit that has passed; the last one's log is what it wrote, the others' a beginning of that.
    fn passed(&self, commit: &str) -> (BuildReport, Vec<AttemptReport>) {
        let build = self.world.expect(commit, "passed");
        let attempts = job(&build, "test").attempts.clone();
        for (at, attempt) in attempts.iter().enumerate() {
            let wrote = fs::read(self.world.path(&format!("copy.{}", attempt.attempt))).unwrap_or_default();
            let kept = fs::read(&attempt.log_path).unwrap_or_default();
            assert!(wrote.starts_with(&kept), "the log of {attempt:#?}");
            assert!(at + 1 < attempts.len() || wrote == kept, "the log of {attempt:#?}");
        }
        (build, attempts)
    }
}

/// S12, S15: a cut that is shorter than the timeout changes nothing, whatever its kind.
#[test]
fn a_cut_that_is_shorter_than_the_timeout_changes_no_attempt() {
    let world = World::new();
    let line = Line::new(&world, "--reconnect-window=3s", Arc::new(Nobody));
    let until_then = || now() + Duration::from_millis(TIMEOUT_MS * 2 / 5);
    let cuts: [Named; 6] = [
        ("nothing passes", Cut::Hole),
        ("nothing goes up", |until| Cut::OneWay(Way::Up, until)),
        ("nothing comes down", |until| Cut::OneWay(Way::Down, until)),
        ("an end", |_| Cut::Close),
        ("a reset", |_| Cut::Reset),
        ("a torn line", |_| Cut::MidLine(Way::Up, 20)),
    ];
    let commit = line.commit("go");
    line.begun.reaches(1);
    for (what, cut) in cuts {
        let until_then = until_then();
        assert_eq!(line.link.cut(cut(until_then)), 1, "{what}");
        let log = world.data().join("logs/app/b2/test.1.log");
        let len = || fs::metadata(&log).map_or(0, |log| log.len());
        let before = len();
        until("the hole is over and the log goes on", || len() > before + 10 && now() > until_then);
    }
    fs::write(world.path("go"), "").unwrap();
    let (_, attempts) = line.passed(&commit);
    assert_eq!((attempts.len(), line.executions(&commit)), (1, 1), "{attempts:#?}");
}

/// S7, S12: a longer cut loses the attempt. Its late result is kept and changes nothing. Sabotage tried: a late
/// result that is recorded as the attempt's outcome; this test fails.
#[test]
fn a_cut_that_is_longer_than_the_timeout_loses_the_attempt_and_fences_its_result() {
    let world = World::new();
    let line = Line::new(&world, "--reconnect-window=500ms", Arc::new(Nobody));
    let commit = line.commit("go.1");
    line.begun.reaches(1);
    let other = world.runner("w2", &["--slots=1"]);
    world.connected("w2");
    // No end, no reset, and each new connection is silent as well.
    line.link.block(now() + Duration::from_secs(3_600));
    line.begun.reaches(2);
    fs::write(world.path("go.1"), "").unwrap();
    let (build, attempts) = line.passed(&commit);
    let outcomes: Vec<_> = attempts.iter().map(|it| (it.runner.as_str(), it.outcome.as_deref())).collect();
    assert_eq!(outcomes, [("w1", Some("lost")), ("w2", Some("passed"))]);

    line.link.heal();
    world.runner_that("w1", |runner| runner.state == "connected" && runner.silent_ms < 1_000);
    let after = world.builds().into_iter().find(|it| it.build == build.build).unwrap();
    assert_eq!(after, build, "what is final stays so");
    drop(other);
}

/// S11, S12: a runner that hears nothing dials again, and the dispatcher, which has heard it all the while, lets it go
/// on.
#[test]
fn a_runner_that_hears_nothing_for_longer_than_the_timeout_keeps_its_attempt() {
    let world = World::new();
    let line = Line::new(&world, "--reconnect-window=500ms", Arc::new(Nobody));
    let commit = line.commit("go");
    line.begun.reaches(1);
    line.link.cut(Cut::OneWay(Way::Down, now() + Duration::from_secs(3_600)));
    until("the runner is back", || line.dispatcher.log().matches("runner w1 joined").count() >= 2);
    fs::write(world.path("go"), "").unwrap();
    let (_, attempts) = line.passed(&commit);
    assert_eq!((attempts.len(), line.executions(&commit)), (1, 1), "{attempts:#?}");
    assert!(!line.runner.log().contains("lost:"), "{}", line.runner.log());
}

/// Tears the next message of one kind, once, or changes one of its bytes.
struct Tear {
    harm: Harm,
    next: Mutex<Option<(Way, &'static str, usize)>>,
    torn: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Harm {
    Tear,
    Flip,
}

impl Tap for Tear {
    fn passes(&self, _: u64, _: &str, way: Way, frame: &Frame) -> Verdict {
        let mut next = self.next.lock().unwrap();
        match *next {
            Some((its, kind, part)) if its == way && kind == frame.kind() => {
                *next = None;
                self.torn.fetch_add(1, Ordering::Release);
                let len = frame.bytes.len();
                match self.harm {
                    // At its first byte, in the middle, before its last.
                    Harm::Tear => Verdict::Tear([0, len / 2, len - 1][part]),
                    // At its first byte, in the middle of at most a record, at the checksum.
                    Harm::Flip => Verdict::Flip(2 + [0, len.min(RECORD_BYTES) / 2, len.min(RECORD_BYTES) + 1][part]),
                }
            }
            _ => Verdict::Pass,
        }
    }
}

/// The most bytes of a message in a TLS record. A byte that tells the kind and a checksum of 16 bytes follow.
const RECORD_BYTES: usize = 16_384;

/// Messages that are torn, each by a runner of that name.
const TORN: &[(Way, &str)] = &[
    (Way::Up, "register"),
    (Way::Up, "source"),
    (Way::Up, "started"),
    (Way::Up, "log"),
    (Way::Up, "results"),
    (Way::Up, "ping"),
    (Way::Down, "registered"),
    (Way::Down, "runtask"),
    (Way::Down, "pack"),
    (Way::Down, "log_ack"),
    (Way::Down, "ok"),
    (Way::Down, "ack"),
];

/// Messages about blobs that are torn, by runners whose tasks leave an artifact.
const TORN_BLOBS: &[(Way, &str)] = &[
    (Way::Up, "have"),
    (Way::Up, "blob"),
    (Way::Up, "settle"),
    (Way::Down, "lacks"),
    (Way::Down, "blob_ack"),
    (Way::Down, "settled"),
];

/// S43, S44: each kind of message about blobs is torn. The upload goes on, and what is fetched is what was left.
#[test]
fn a_reset_in_the_middle_of_an_upload_neither_loses_nor_changes_a_file() {
    resets(TORN_BLOBS, 1, Harm::Tear);
}

/// S38, S43: the same with a changed byte.
#[test]
fn a_changed_byte_in_an_upload_ends_the_encrypted_connection_and_changes_no_file() {
    resets(TORN_BLOBS, 1, Harm::Flip);
}

/// S7, S11, S12, S15: each kind of message is torn, in either direction.
#[test]
fn a_reset_in_the_middle_of_any_message_neither_loses_nor_repeats_anything() {
    // Larger than source ahead may be, so that runners ask for it.
    resets(TORN, 40_000, Harm::Tear);
}

/// S38: each kind of message has a changed byte, in either direction. An encrypted connection ends with it.
#[test]
fn a_changed_byte_of_any_message_ends_the_encrypted_connection_and_neither_loses_nor_repeats_anything() {
    resets(TORN, 40_000, Harm::Flip);
}

/// The same for source that comes unasked.
#[test]
fn a_reset_in_the_middle_of_source_that_comes_ahead_neither_loses_nor_repeats_anything() {
    resets(&[(Way::Down, "source_ahead")], 1, Harm::Tear);
}

fn resets(torn: &'static [(Way, &'static str)], noise: u32, harm: Harm) {
    let is_of_blobs = torn == TORN_BLOBS;
    let world = World::new();
    let _dispatcher = world.dispatcher(&["--heartbeat-interval=250ms", "--reconnect-window=1h"]);
    let repository = world.repository("app");
    let _observer = world.observer(&[&repository], &[]);
    let begun = world.tally("begun");
    let (pin, is_flip) = (format!("--pin={}", world.pin().unwrap()), harm == Harm::Flip);
    let lines = torn.iter().map(|(_, kind)| {
        let tear = Arc::new(Tear { harm, next: Mutex::default(), torn: AtomicUsize::new(0) });
        let link = Link::open(kind, &world, tear.clone());
        let (label, dispatch) = (format!("--label={kind}"), link.flag());
        // Without encryption nobody notices a changed byte.
        let flags = ["--slots=1", &label, &dispatch].into_iter().chain(is_flip.then_some(&*pin));
        let runner = world.runner(kind, &flags.collect::<Vec<&str>>());
        (tear, link, runner)
    });
    let lines: Vec<_> = lines.collect();
    let task = |(_, kind): &(Way, &str)| {
        let (begin, copy) = (begun.add("$SURVEIL_BUILD $SURVEIL_TASK"), world.path("copy"));
        let write = format!("{{ seq 1 1000; sleep 0.3; seq 1001 2000; }} | tee {}.$SURVEIL_ATTEMPT_ID", text(&copy));
        let (artifacts, leave) = if is_of_blobs { (ARTIFACTS, leave(&world)) } else { ("", String::new()) };
        format!("[task.{kind}]\nlabels = ['{kind}']\n{artifacts}run = '''\n{begin}\n{write}\n{leave}\n'''\n")
    };
    let tasks: String = torn.iter().map(task).collect();
    // From here on the dispatcher knows what the runners have.
    let first = repository.commit_tasks(&tasks);
    world.expect(&first, "passed");
    for part in 0..3 {
        for ((way, kind), (tear, link, _)) in torn.iter().zip(&lines) {
            *tear.next.lock().unwrap() = Some((*way, *kind, part));
            if kind.starts_with("register") {
                link.cut(Cut::Close);
            }
        }
        let noise = (0..noise).map(|n| format!("{:x}", (n + part as u32).wrapping_mul(2_654_435_761)));
        repository.write("part", &noise.collect::<String>());
        let commit = repository.commit_tasks(&tasks);
        for ((_, kind), (tear, link, _)) in torn.iter().zip(&lines) {
            until(kind, || tear.torn.load(Ordering::Acquire) == part + 1);
            until("the connection is over", || link.flipped() == Some(if is_flip { part + 1 } else { 0 }));
        }
        let build = world.expect(&commit, "passed");
        for (_, kind) in torn {
            // An attempt whose lease or source did not arrive was not begun, and the job is tried again as another.
            let attempts = &job(&build, kind).attempts;
            let mark = format!("{} {kind}", build.build);
            let executions = begun.lines().iter().filter(|line| **line == mark).count();
            let passed: Vec<_> = attempts.iter().filter(|it| it.outcome.as_deref() == Some("passed")).collect();
            assert_eq!((executions, passed.len()), (1, 1), "{kind} {part}: {attempts:#?}");
            let wrote = fs::read(world.path(&format!("copy.{}", passed[0].attempt))).unwrap();
            let kept = fs::read(&passed[0].log_path).unwrap();
            assert!(if is_of_blobs { kept.starts_with(&wrote) } else { kept == wrote }, "the log of {kind} {part}");
            if is_of_blobs {
                is_as_it_was_left(&world, &build, kind);
            }
        }
    }
}

/// Doubles every message that may come twice.
struct Twice;

impl Tap for Twice {
    fn passes(&self, _: u64, _: &str, _: Way, frame: &Frame) -> Verdict {
        match frame.kind() {
            "started" | "log" | "results" | "runtask" | "ok" | "stale" | "log_ack" | "cancel" => Verdict::Twice,
            _ => Verdict::Pass,
        }
    }
}

/// S6, S7, S15: a message that comes twice, or again when all is over, is applied once. Sabotage tried: a piece of a
/// log is appended whatever its offset says; this test fails.
#[test]
fn messages_that_are_doubled_and_replayed_are_applied_once() {
    let world = World::new();
    let line = Line::new(&world, "--reconnect-window=3s", Arc::new(Twice));
    let mut commits = Vec::new();
    for round in 0..4 {
        let go = format!("go.{round}");
        commits.push(line.commit(&go));
        line.begun.reaches(round + 1);
        fs::write(world.path(&go), "").unwrap();
        world.finished(&commits[round]);
        // All messages about finished attempts are repeated while the next one runs.
        for back in 0..30 {
            line.link.say_again(|said| said.len().checked_sub(back + 1).map(|at| said[at].clone()).filter(is_old));
        }
        wait(50);
    }
    for commit in &commits {
        let (_, attempts) = line.passed(commit);
        assert_eq!((attempts.len(), line.executions(commit)), (1, 1), "{attempts:#?}");
    }
    let reader = sqlite::readers(&world.data().join("surveil.db")).open().unwrap();
    let late = |build: &BuildReport| reader.late_results(surveil::model::BuildId(build.build)).unwrap().len();
    assert_eq!(world.builds().iter().map(late).sum::<usize>(), 0, "a replay is no late result");
    assert_eq!(line.runner.log().matches("session s").count(), 1, "nobody was offended: {}", line.runner.log());
}

fn is_old(frame: &Frame) -> bool {
    matches!(frame.kind(), "started" | "log" | "results")
}
