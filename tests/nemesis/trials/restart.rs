//! A4: the dispatcher dies while twenty attempts run and write.

use std::fs;
use std::path::PathBuf;

use crate::harness::{Process, Tally, World, job, text, until};
use crate::wait;

/// Attempts at once.
const ATTEMPTS: usize = 20;
/// Time for which the dispatcher is away. It is longer than the short timeout that some dispatchers here are given,
/// which in turn is long enough for forty attempts on a busy machine.
const AWAY_MS: u64 = 7_000;

/// Twenty tasks that note their attempt, write all the time until they are let go, and keep a copy of what they wrote.
/// Each line costs a process, so there are four a second: the machine must have time left for the threads that send
/// pings.
fn tasks(world: &World, begun: &Tally) -> String {
    let (begin, go) = (begun.add("$SURVEIL_TASK $SURVEIL_ATTEMPT_ID"), world.path("go"));
    let task = |number: usize| {
        format!(
            "[task.t{number}]\nrun = '''\n{begin}\nline=0\n{{\n  until [ -e {} ]; do\n    echo \"line $line\"\n    \
             line=$((line + 1))\n    sleep 0.25\n  done\n  seq 1 2000\n}} | tee {}.$SURVEIL_ATTEMPT\n'''\n",
            text(&go),
            text(&copy(world, &format!("t{number}"))),
        )
    };
    (0..ATTEMPTS).map(task).collect()
}

fn copy(world: &World, task: &str) -> PathBuf {
    world.path(&format!("copy.{task}"))
}

/// A dispatcher with twenty attempts.
struct Fleet<'a> {
    world: &'a World,
    settings: &'static [&'static str],
    begun: Tally,
    commit: String,
    dispatcher: Option<Process>,
    _others: [Process; 3],
}

impl<'a> Fleet<'a> {
    /// Everything runs, and every log has begun to arrive.
    fn new(world: &'a World, settings: &'static [&'static str]) -> Self {
        let begun = world.tally("begun");
        let repository = world.repository("app");
        let dispatcher = Some(world.dispatcher(settings));
        let [w1, w2] = ["w1", "w2"].map(|name| world.runner(name, &["--slots=10"]));
        let commit = repository.commit_tasks(&tasks(world, &begun));
        let _others = [w1, w2, world.observer(&[&repository], &[])];
        begun.reaches(ATTEMPTS);
        let fleet = Self { world, settings, begun, commit, dispatcher, _others };
        until("every log has begun to arrive", || fleet.lengths().iter().all(|length| *length > 30));
        fleet
    }

    fn log(&self, number: usize) -> PathBuf {
        self.world.data().join(format!("logs/app/b1/t{number}.1.log"))
    }

    fn lengths(&self) -> Vec<u64> {
        (0..ATTEMPTS).map(|number| fs::metadata(self.log(number)).map_or(0, |log| log.len())).collect()
    }

    /// Length of each log that the dead dispatcher leaves.
    fn kill(&mut self) -> Vec<u64> {
        self.dispatcher.take().unwrap().kill();
        self.lengths()
    }

    /// Lets all attempts go on and end, and checks them.
    fn go_on(mut self, kept: &[u64]) {
        self.dispatcher = Some(self.world.dispatcher(self.settings));
        until("every log goes on", || self.lengths().iter().zip(kept).all(|(now, then)| now > then));
        fs::write(self.world.path("go"), "").unwrap();
        let build = self.world.expect(&self.commit, "passed");
        let mut due = self.begun.lines();
        assert_eq!(due.len(), ATTEMPTS, "nothing was executed again");
        due.sort();
        let tried = |number: usize| {
            let name = format!("t{number}");
            let job = job(&build, &name);
            assert_eq!(job.attempts.len(), 1, "{job:#?}");
            let wrote = fs::read(self.world.path(&format!("copy.{name}.1"))).unwrap();
            assert!(fs::read(self.log(number)).unwrap() == wrote, "the log of {name} is what it wrote");
            format!("{name} {}", job.attempts[0].attempt)
        };
        let mut found: Vec<String> = (0..ATTEMPTS).map(tried).collect();
        found.sort();
        assert_eq!(found, due, "each is the attempt that it was");
    }
}

/// A4, S11, S15: nothing runs twice, and no byte is missing or there two times. The grace counts from the start, so a
/// dispatcher may also be away for longer than it would wait for a runner.
///
/// Sabotage tried: a restart that restores no leases; this test fails. The test cannot notice a log that begins anew
/// when its file is opened: the runner has all bytes until its result is answered, and sends them again.
#[test]
fn twenty_attempts_survive_their_dispatcher_also_where_it_is_away_for_longer_than_the_timeout() {
    let worlds = [World::new(), World::new()];
    let mut within = Fleet::new(&worlds[0], &[]);
    let mut beyond = Fleet::new(&worlds[1], &["--heartbeat-interval=500ms", "--heartbeat-timeout=5s"]);
    let kept = [within.kill(), beyond.kill()];
    // The test needs the dispatcher to be absent for this long; there is no event to wait for.
    wait(AWAY_MS);
    within.go_on(&kept[0]);
    beyond.go_on(&kept[1]);
}
