//! Uploads of artifacts whose runner or dispatcher dies at each step (S43, S44).

use std::fs;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Sender, bounded};
use surveil::protocol::operator::BuildReport;

use crate::harness::{PATIENCE, Process, World, job, text};
use crate::proxy::{Frame, Link, Tap, Verdict, Way};

/// The keys of a task that leaves an artifact.
pub(super) const ARTIFACTS: &str = "artifacts = ['out']\n";

/// A script that leaves an artifact of several pieces, the same to the last byte in no two attempts, and a copy of it.
pub(super) fn leave(world: &World) -> String {
    format!("head -c 700000 /dev/urandom >out\ncp out {}.$SURVEIL_ATTEMPT_ID", text(&world.path("left")))
}

/// Checks that the artifact of the passed attempt of a task is there, and is what the attempt left.
#[track_caller]
pub(super) fn is_as_it_was_left(world: &World, build: &BuildReport, task: &str) {
    let attempts = &job(build, task).attempts;
    let passed = attempts.iter().find(|attempt| attempt.outcome.as_deref() == Some("passed")).unwrap();
    let left = fs::read(world.path(&format!("left.{}", passed.attempt))).unwrap();
    let got = world.surveil(&["artifacts", "get", &format!("b{}", build.build), task, "out"]);
    assert!(got.code == 0 && got.stdout == left, "{task} of b{}: {}", build.build, got.stderr);
}

/// Loses the next message of one kind with its connection, and tells so.
#[derive(Default)]
struct Snare {
    next: Mutex<Option<(&'static str, Sender<()>)>>,
}

impl Tap for Snare {
    fn passes(&self, _: u64, _: &str, _: Way, frame: &Frame) -> Verdict {
        let mut next = self.next.lock().unwrap();
        let is_it = next.as_ref().is_some_and(|(kind, _)| *kind == frame.kind());
        if !is_it {
            return Verdict::Pass;
        }
        let (_, caught) = next.take().unwrap();
        caught.send(()).unwrap();
        Verdict::Lose
    }
}

/// The steps of an upload: the next process dies before this message arrives.
const STEPS: [&str; 8] = ["have", "lacks", "blob", "blob_ack", "settle", "settled", "results", "ok"];

/// An attempt that passed has its artifact, whatever died meanwhile, and keeps it.
#[test]
fn whichever_role_dies_at_whichever_step_of_an_upload_the_artifact_of_the_attempt_that_passes_is_whole() {
    let world = World::new();
    let mut dispatcher = Some(world.dispatcher(FLAGS));
    let repository = world.repository("app");
    let _observer = world.observer(&[&repository], &[]);
    let snare = Arc::new(Snare::default());
    let link = Link::open("w1", &world, snare.clone());
    let start = || world.runner("w1", &["--slots=1", &link.flag()]);
    let mut runner: Option<Process> = Some(start());
    let mut builds = Vec::new();
    for step in STEPS {
        for is_dispatcher in [true, false] {
            let (caught, is_caught) = bounded(1);
            *snare.next.lock().unwrap() = Some((step, caught));
            let task = format!("[task.test]\n{ARTIFACTS}run = '''\n# {step} {is_dispatcher}\n{}\n'''\n", leave(&world));
            let commit = repository.commit_tasks(&task);
            is_caught.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {step} is sent"));
            if is_dispatcher {
                dispatcher.take().unwrap().kill();
                dispatcher = Some(world.dispatcher(FLAGS));
            } else {
                runner.take().unwrap().kill();
                runner = Some(start());
            }
            let build = world.expect(&commit, "passed");
            let outcomes: Vec<_> = job(&build, "test").attempts.iter().map(|it| it.outcome.as_deref()).collect();
            // The upload goes on with a dispatcher that comes back; a runner that died has nothing to go on with.
            let most = if is_dispatcher { 1 } else { 2 };
            assert!(outcomes.len() <= most && outcomes.last() == Some(&Some("passed")), "{step}: {outcomes:?}");
            is_as_it_was_left(&world, &build, "test");
            builds.push(build);
        }
    }
    // Everything that was readable once is as it was.
    builds.iter().for_each(|build| is_as_it_was_left(&world, build, "test"));
    // The last upload has left nothing on its way.
    let arriving = fs::read_dir(world.data().join("blobs/arriving")).unwrap().count();
    assert!(arriving <= STEPS.len(), "{arriving} attempts that were lost have left parts, and no others");
}

/// A dispatcher that waits for runners as long as it takes.
const FLAGS: &[&str] = &["--heartbeat-interval=250ms", "--reconnect-window=1h"];
