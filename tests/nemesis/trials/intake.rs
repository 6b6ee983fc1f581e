//! A1 and A3: the dispatcher dies under observers that announce as fast as they are answered, and between its record
//! and its acknowledgement.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};
use surveil::model::{Build, BuildId, CommitId, RepoName};
use surveil::store::{Scope, sqlite};
use surveil::threads;

use crate::dice::Dice;
use crate::harness::{Process, World, hello, job, until};
use crate::promises::history::{Announcement, Fact, History};
use crate::proxy::{Frame, Link, Tap, Verdict, Way};
use crate::{echo, judge, number, wait};

const OBSERVERS: usize = 8;
const ROUNDS: u64 = 4;
/// Settings under which no build is removed, so that a missing build was lost.
const KEEP: &[&str] = &["--keep-builds=1000000000"];
/// Commits of each observer. After it has announced all, it begins again with another branch.
const COMMITS: usize = 200;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An announcement that was acknowledged.
type Accepted = (Announcement, BuildId);

/// An observer that consists of a connection only.
struct Announcer {
    repo: String,
    chain: Arc<Vec<CommitId>>,
    pack: Arc<Vec<u8>>,
    hello: Value,
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    /// Number of answers to all announcers.
    answered: Arc<AtomicUsize>,
    accepted: Vec<Accepted>,
}

impl Announcer {
    /// Announces until the test ends, whatever happens to the dispatcher.
    fn run(mut self) -> Vec<Accepted> {
        while !self.is_over.load(Ordering::Acquire) {
            // The connection breaks whenever the dispatcher dies; the next one goes on with unanswered announcements.
            if self.session().is_none() {
                wait(2);
            }
        }
        self.accepted
    }

    fn session(&mut self) -> Option<()> {
        let stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).ok()?;
        stream.set_nodelay(true).ok()?;
        let mut reader = BufReader::new(&stream);
        ask(&mut reader, &self.hello, &[])?;
        ask(&mut reader, &json!({"type": "status", "repo": self.repo, "source": format!("here:/{}", self.repo)}), &[])?;
        while !self.is_over.load(Ordering::Acquire) {
            let announcement = self.next();
            let message = json!({
                "type": "dispatch", "repo": self.repo, "branch": announcement.reference.short(),
                "before": announcement.before.map(|id| id.to_string()), "commit": announcement.after.to_string(),
            });
            let mut answer = ask(&mut reader, &message, &[])?;
            if answer["type"] == "need_source" {
                answer = ask(&mut reader, &message, &self.pack)?;
            }
            assert_eq!(answer["type"], "ok", "{answer} to {message}");
            self.answered.fetch_add(1, Ordering::AcqRel);
            self.accepted.push((announcement, BuildId(answer["build"].as_u64().unwrap())));
        }
        Some(())
    }

    /// Announcements without an answer. They may have been recorded all the same.
    fn next(&self) -> Announcement {
        let (round, at) = (self.accepted.len() / COMMITS, self.accepted.len() % COMMITS);
        Announcement {
            repo: RepoName::new(&self.repo).unwrap(),
            reference: surveil::model::RefName::of_branch(format!("branch-{round}")),
            before: at.checked_sub(1).map(|before| self.chain[before]),
            after: self.chain[at],
        }
    }
}

/// Sends a message, with a pack before it if there is one, and waits for the answer. Returns `None` if the connection
/// breaks.
fn ask(reader: &mut BufReader<&TcpStream>, message: &Value, pack: &[u8]) -> Option<Value> {
    let mut bytes = Vec::new();
    if !pack.is_empty() {
        let announced = json!({"type": "pack", "repo": message["repo"], "last": true, "bytes": pack.len()});
        bytes.extend(format!("{announced}\n").bytes());
        bytes.extend(pack);
    }
    bytes.extend(format!("{message}\n").bytes());
    reader.get_mut().write_all(&bytes).ok()?;
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 || !line.ends_with('\n') {
        return None;
    }
    Some(serde_json::from_str(&line).unwrap())
}

/// Commits without tasks, oldest first, and a pack of them all. (Their builds are over as soon as they are there.)
fn chain(world: &World) -> (Vec<CommitId>, Vec<u8>) {
    let repository = world.repository("chain");
    repository.write("README", "no tasks\n");
    repository.commit("Begin");
    let script = format!(
        "for n in $(seq 2 {COMMITS}); do git commit --quiet --allow-empty --message \"Number $n\"; done\n\
         git rev-list HEAD | git pack-objects --revs --stdout --quiet --delta-base-offset > ../pack"
    );
    let mut command: Command = world.sealed("sh");
    command.args(["-ec", &script]).current_dir(&repository.path).envs([
        ("GIT_AUTHOR_NAME", "Ada"),
        ("GIT_AUTHOR_EMAIL", "ada@example.org"),
        ("GIT_COMMITTER_NAME", "Ada"),
        ("GIT_COMMITTER_EMAIL", "ada@example.org"),
    ]);
    world.run(command).ok();
    let list = repository.git(&["rev-list", "--reverse", "HEAD"]);
    (list.lines().map(|id| id.parse().unwrap()).collect(), std::fs::read(world.path("pack")).unwrap())
}

/// All builds in the store.
fn builds(world: &World) -> Vec<Build> {
    let reader = sqlite::readers(&world.data().join("surveil.db")).open().unwrap();
    reader.check(&mut drop).unwrap();
    let latest = reader.newest(&Scope::default()).unwrap().map_or(0, |id| id.0);
    (1..=latest).filter_map(|id| reader.build(BuildId(id)).unwrap()).collect()
}

/// A1: every acknowledged announcement is recorded, nothing is recorded twice, and the store is whole. Sabotage tried:
/// an acknowledgement that leaves before its record is committed. A kill has to come in between, so four of them showed
/// it in one run of two; the nemesis, which looks at the store before each acknowledgement, shows it in every run.
#[test]
#[expect(clippy::print_stdout, reason = "the seed and the count are worth reading")]
fn what_eight_observers_were_told_is_there_however_often_the_dispatcher_is_killed() {
    let rounds = number("SURVEIL_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("SURVEIL_SEED").unwrap_or_else(|| surveil::clock::wall().0.cast_unsigned() % 1_000_000);
    let (world, mut dice) = (World::new(), Dice::new(seed));
    let mut dispatcher: Process = world.dispatcher(KEEP);
    let (chain, pack) = chain(&world);
    let (chain, pack, is_over) = (Arc::new(chain), Arc::new(pack), Arc::new(AtomicBool::new(false)));
    let answered = Arc::new(AtomicUsize::new(0));
    let announcer = |number: usize| Announcer {
        repo: format!("app{number}"),
        chain: chain.clone(),
        pack: pack.clone(),
        hello: hello(&world, "observer", "announcer"),
        address: world.address().into(),
        is_over: is_over.clone(),
        answered: answered.clone(),
        accepted: Vec::new(),
    };
    let announcers: Vec<_> = (0..OBSERVERS).map(announcer).collect();
    let announcers: Vec<_> =
        announcers.into_iter().map(|it| threads::spawn("announcer", move || it.run()).unwrap()).collect();
    for _ in 0..rounds {
        // Some dispatchers die during their start; others in between make progress.
        if dice.percent(75) {
            let before = answered.load(Ordering::Acquire);
            until("something is acknowledged", || answered.load(Ordering::Acquire) > before);
        }
        wait(dice.ms(0, 300));
        dispatcher.kill();
        dispatcher = world.dispatcher(KEEP);
    }
    let before = answered.load(Ordering::Acquire);
    until("something is acknowledged", || answered.load(Ordering::Acquire) > before + OBSERVERS);
    is_over.store(true, Ordering::Release);
    let accepted: Vec<Accepted> = announcers.into_iter().flat_map(|it| it.join().unwrap()).collect();
    drop(dispatcher);

    let (mut history, builds) = (History::default(), builds(&world));
    println!("SURVEIL_SEED={seed}: {rounds} kills, {} acknowledged, {} recorded", accepted.len(), builds.len());
    assert!(accepted.len() > OBSERVERS, "they got somewhere");
    let kept: BTreeSet<BuildId> = builds.iter().map(|build| build.id).collect();
    for build in builds {
        history
            .note(0, Fact::Committed(surveil::model::Record::BuildAdded { build: Box::new(build), jobs: Vec::new() }));
    }
    let mut answers: BTreeMap<Announcement, BuildId> = BTreeMap::new();
    for (announcement, build) in accepted {
        assert_eq!(*answers.entry(announcement.clone()).or_insert(build), build, "the same again is the same build");
        history.note(0, Fact::Acknowledged { announcement, build });
    }
    history.note(0, Fact::Kept { builds: kept });
    judge(&history);
}

/// Withholds acknowledgements while it is switched on.
struct Thief {
    kind: &'static str,
    is_armed: AtomicBool,
    stolen: Sender<Frame>,
    /// The last messages: the repository's place, and the announcement.
    status: Mutex<Option<Frame>>,
    dispatch: Mutex<Option<Frame>>,
}

impl Thief {
    fn new(kind: &'static str) -> (Arc<Self>, Receiver<Frame>) {
        let (stolen, loot) = bounded(64);
        let (status, dispatch) = Default::default();
        (Arc::new(Self { kind, is_armed: AtomicBool::new(false), stolen, status, dispatch }), loot)
    }
}

impl Tap for Thief {
    fn passes(&self, _: u64, _: &str, way: Way, frame: &Frame) -> Verdict {
        match (way, frame.kind()) {
            (Way::Up, "status") => *self.status.lock().unwrap() = Some(frame.clone()),
            (Way::Up, "dispatch") => *self.dispatch.lock().unwrap() = Some(frame.clone()),
            _ => {}
        }
        let is_wanted = way == Way::Down && frame.kind() == "ok" && frame.number(self.kind).is_some();
        if is_wanted && self.is_armed.swap(false, Ordering::AcqRel) {
            self.stolen.send(frame.clone()).unwrap();
            return Verdict::Lose;
        }
        Verdict::Pass
    }
}

/// A3: an announcement is recorded, and the dispatcher dies before its observer hears of it: it is announced again, and
/// is one build. Sabotage tried: the accepted head is no answer to its own announcement, and that is `stale` then.
#[test]
fn an_announcement_whose_acknowledgement_died_with_the_dispatcher_is_one_build() {
    let world = World::new();
    let (thief, loot) = Thief::new("build");
    let mut dispatcher = world.dispatcher(&[]);
    let repository = world.repository("app");
    let link = Link::open("o1", &world, thief.clone());
    let mut commits = vec![repository.commit_script("true")];
    let observer = world.observer(&[&repository], &[&link.flag()]);
    observer.says(&format!("{} accepted", &commits[0][..7]));
    for n in 0..6 {
        thief.is_armed.store(true, Ordering::Release);
        commits.push(repository.commit(&format!("Number {n}")));
        let stolen = loot.recv_timeout(ANSWER_TIMEOUT).unwrap();
        dispatcher.kill();
        dispatcher = world.dispatcher(&[]);
        // The observer compares heads and finds that its announcement is accepted. A repeated announcement gets the
        // same answer.
        until("the observer is back", || observer.log().matches(" reached,").count() >= n + 2);
        let source = thief.status.lock().unwrap().as_ref().unwrap().text("source").unwrap().to_owned();
        let announced = thief.dispatch.lock().unwrap().clone().unwrap();
        let again = echo::say(&world, world.address().into(), &source, &announced).unwrap();
        assert_eq!(again["build"].as_u64(), stolen.number("build"), "the same as was recorded: {again}");
    }
    assert_eq!(world.builds().len(), commits.len(), "each once");
}

/// The same for a result: it counts once. Sabotage tried: a restart does not read the recorded outcomes, and does not
/// tell runners which attempts are over; each result is then kept as a late one. One of the two changes alone is not
/// noticed, because the other protection is enough.
#[test]
fn a_result_whose_acknowledgement_died_with_the_dispatcher_counts_once() {
    let world = World::new();
    let (thief, loot) = Thief::new("attempt");
    let mut dispatcher = world.dispatcher(&[]);
    let repository = world.repository("app");
    let link = Link::open("w1", &world, thief.clone());
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--slots=1", &link.flag()]);
    let begun = world.tally("begun");
    for n in 0..4 {
        thief.is_armed.store(true, Ordering::Release);
        let commit = repository.commit_script(&format!("{}\necho {n}; exit {n}", begun.add("$SURVEIL_ATTEMPT_ID")));
        let stolen = loot.recv_timeout(ANSWER_TIMEOUT).unwrap();
        dispatcher.kill();
        dispatcher = world.dispatcher(&[]);
        let build = world.finished(&commit);
        let attempts = &job(&build, "test").attempts;
        assert_eq!((attempts.len(), Some(attempts[0].attempt)), (1, stolen.number("attempt")), "{build:#?}");
        until("the runner is free again", || world.status().runners.iter().all(|runner| runner.busy == 0));
    }
    assert_eq!(begun.lines().len(), 4, "nothing was executed again");
    let reader = sqlite::readers(&world.data().join("surveil.db")).open().unwrap();
    for build in world.builds() {
        assert!(reader.late_results(BuildId(build.build)).unwrap().is_empty(), "what is recorded is no late result");
    }
}
