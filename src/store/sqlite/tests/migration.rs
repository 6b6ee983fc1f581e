//! Migrations from older versions of the tables: nothing is lost, and a kill at any moment changes nothing (S1, S4).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use rusqlite::Connection;

use super::super::{schema, wal};
use super::*;
use crate::model::reason::{DecisionKind, LossReason, SkipReason};

const CHILD_STORES: &str = "SURVEIL_TEST_STORES";
/// Number of stores that one child migrates, one after the other, until it is killed.
const STORES: usize = 16;
const ROUNDS: usize = 3;

/// A store as the program with schema version 2 left it, as SQL. Later versions get a file of their own beside it.
const SCHEMA_2: &str = include_str!("schema-2.sql");
/// Makes of it a store of version 1.
const BACK_TO_1: &str = "DROP TABLE forgotten; PRAGMA user_version = 1";
/// Makes of a store without drained runners and schedules one of version 5. A branch's name must not meet that of
/// another on the way.
const BACK_TO_5: &str = "ALTER TABLE runners DROP COLUMN drained; ALTER TABLE runners DROP COLUMN ending;
ALTER TABLE runners DROP COLUMN ordered_by; ALTER TABLE runners DROP COLUMN ordered_at;
DROP TABLE executions; DROP TABLE outputs; DROP TABLE artifacts;
DROP TABLE secrets; DROP TABLE caches; DROP TABLE short_logs; DROP TABLE tool_entries;
DROP TABLE schedules; DROP TABLE credentials; DROP TABLE joined; DROP TABLE steps; DROP TABLE patterns;
ALTER TABLE heads DROP COLUMN noted;
ALTER TABLE builds DROP COLUMN asked_by;
ALTER TABLE builds DROP COLUMN settings; ALTER TABLE repos DROP COLUMN default_branch;
ALTER TABLE repos DROP COLUMN named;
ALTER TABLE heads RENAME COLUMN reference TO branch; UPDATE heads SET branch = '~' || branch;
UPDATE heads SET branch = substr(branch, 13);
PRAGMA user_version = 5";

/// Makes one of version 15, in which no order had a name.
const BACK_TO_15: &str = "ALTER TABLE builds DROP COLUMN asked_by; DROP TABLE outputs; DROP TABLE artifacts;
DROP TABLE secrets; DROP TABLE caches; DROP TABLE short_logs; DROP TABLE tool_entries;
ALTER TABLE runners DROP COLUMN ordered_by; ALTER TABLE runners DROP COLUMN ordered_at;
ALTER TABLE credentials DROP COLUMN created_by; ALTER TABLE credentials DROP COLUMN revoked_by;
PRAGMA user_version = 15";

/// Makes a store as the program with that schema version left it.
fn old_store(place: &Place, version: i64) {
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch(SCHEMA_2).unwrap();
    if version == 1 {
        conn.execute_batch(BACK_TO_1).unwrap();
    }
    assert_eq!(schema::version(&conn).unwrap(), version);
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
}

/// Opens the store, which migrates it, and checks everything that was in it.
fn is_whole(place: &Place) {
    let snapshot = place.store().snapshot().unwrap();
    let last = (snapshot.last_build, snapshot.last_job, snapshot.last_attempt, snapshot.last_runner);
    assert_eq!(last, (4, 12, 11, 2));
    // A head from before moves were numbered has the build that is the newest of its commit on the branch.
    let heads = snapshot.heads.iter().map(|(_, reference, head)| (reference.as_str(), head.number, head.build));
    assert_eq!(
        heads.collect::<Vec<_>>(),
        [("refs/heads/broken", 0, Some(BuildId(3))), ("refs/heads/main", 0, Some(BuildId(4)))]
    );
    assert_eq!(snapshot.ends, []);
    assert_eq!(snapshot.runners.iter().map(|runner| runner.name.as_str()).collect::<Vec<_>>(), ["w1", "w2"]);
    let recorded: Vec<_> = snapshot.recorded.iter().map(|(attempt, _)| attempt.0).collect();
    assert_eq!(recorded, [2, 3, 4, 5, 6, 7, 9, 11]);
    let [WholeBuild { build: open, jobs, attempts }] = snapshot.builds.as_slice() else { panic!("{snapshot:?}") };
    assert_eq!((open.id, open.source.commit), (BuildId(4), commit_id(4)));
    // A build of before triggers is the push that it was.
    let range = vec![commit_id(104), commit_id(4)];
    assert_eq!(open.source.trigger, Trigger::push(&BranchName::new("main"), Some(commit_id(3)), range));
    let states: Vec<_> = jobs.iter().map(|job| (job.state.word(), job.attempts, job.failures)).collect();
    assert_eq!(states, [("running", 1, 0), ("queued", 1, 1), ("waiting", 0, 0)]);
    let deploy = &jobs[2].task;
    assert!(deploy.recipe.exclusive && deploy.placement.retries == 2 && deploy.recipe.timeout_ms == 60_000);
    let running: Vec<_> = attempts.iter().map(|a| (a.id, a.job, a.runner, a.reason.to_string())).collect();
    assert_eq!(running, [(AttemptId(10), JobId(10), RunnerId(1), "the first free runner".into())]);

    let reader = place.reader();
    reader.check(&mut drop).unwrap();
    let finished = reader.finished_builds(None, 9).unwrap();
    let verdicts: Vec<_> = finished.iter().map(|b| (b.id.0, b.verdict, b.problem.is_some())).collect();
    assert_eq!(verdicts, [(3, Some(Verdict::Errored), true), (2, Some(Verdict::Failed), false)]);
    let endings: Vec<_> = reader.jobs(BuildId(2)).unwrap().iter().map(|job| job.state.word()).collect();
    assert_eq!(endings, ["passed", "failed", "failed", "failed", "cancelled", "errored", "passed", "skipped"]);
    let attempts = reader.attempts(BuildId(2)).unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome.as_ref().unwrap().word()).collect();
    let expected = ["passed", "failed", "killed", "timed_out", "cancelled", "could_not_start", "lost", "passed"];
    assert_eq!(outcomes, expected);
    assert_eq!((attempts[1].outcome.as_ref(), attempts[1].log.bytes), (Some(&Outcome::Failed(3)), 1003));
    assert_eq!(reader.late_results(BuildId(2)).unwrap().len(), 1);
    // Rows of the older program have texts, and neither codes nor an order.
    let decisions = reader.decisions(BuildId(2)).unwrap();
    let [(None, decision)] = decisions.as_slice() else { panic!("{decisions:?}") };
    assert!(matches!(&decision.kind, DecisionKind::Recorded(it) if it.code.is_none() && !it.text.is_empty()));
    assert!(matches!(&attempts[6].outcome, Some(Outcome::Lost(LossReason::Recorded(it))) if !it.text.is_empty()));
    let jobs = reader.jobs(BuildId(2)).unwrap();
    let JobState::Finished(Ending::Skipped(reason)) = &jobs[7].state else { panic!("{:?}", jobs[7].state) };
    assert!(matches!(**reason, SkipReason::Recorded(_)));
    assert_eq!(reader.sequence(BuildId(2)).unwrap().attempts[&AttemptId(3)], [None, None]);
}

#[test]
fn a_store_of_each_older_version_goes_on_as_one_of_this() {
    for version in [1, 2] {
        let place = Place::new();
        old_store(&place, version);
        if version < schema::VERSION {
            let refused = place.readers().open();
            assert!(matches!(refused, Err(StoreError::Foreign { .. })), "nobody reads it before its writer");
        }
        is_whole(&place);
        is_whole(&place);
        let forgotten = place.reader().forgotten(BuildId(1)).unwrap();
        assert_eq!(forgotten.is_some(), version >= 2, "version 1 remembered none");
        go_on(&place);
    }
}

fn runner() -> Runner {
    let name = RunnerName::new("w1").unwrap();
    Runner { id: RunnerId(4), name, first_seen: WallTime(7), drain: None, ordered: None }
}

/// A runner has the checksum of the older program as long as it is not drained.
#[test]
fn runners_of_a_store_from_before_drains_take_jobs_and_can_be_drained() {
    let place = Place::new();
    let runner = runner();
    place.store().commit(&[Record::RunnerSaved(runner.clone())]).unwrap();
    Connection::open(place.path()).unwrap().execute_batch(BACK_TO_5).unwrap();
    let mut store = place.store();
    assert_eq!(store.snapshot().unwrap().runners.as_slice(), std::slice::from_ref(&runner));
    let drained = Runner { drain: Some(DrainOrder { ending: None }), ..runner };
    store.commit(&[Record::RunnerSaved(drained.clone())]).unwrap();
    drop(store);
    assert_eq!(place.store().snapshot().unwrap().runners, [drained]);
}

/// Builds, runners and tokens of before have the checksums of then, and read back without names. New orders have some.
#[test]
fn a_store_from_before_orders_had_names_is_read_without_names() {
    let place = Place::new();
    let drained = Runner { drain: Some(DrainOrder { ending: None }), ..runner() };
    let token = Credential {
        id: CredentialId::new("7f3k").unwrap(),
        kind: CredentialKind::JoinToken { expires_at: WallTime(90), uses_left: 1 },
        role: AccessRole::Runner,
        name: None,
        labels: vec![],
        repos: vec![],
        hash: [7; 32],
        created_at: WallTime(1),
        created_by: None,
        last_used: WallTime(1),
        revoked_at: Some(WallTime(5)),
        revoked_by: None,
    };
    let asked = |id: u64, by: Option<&str>| {
        let mut build = build(id);
        build.source.trigger.kind = TriggerKind::Manual { id: TriggerId([id as u8; 16]), by: by.map(Into::into) };
        Record::BuildAdded { build: Box::new(build), jobs: vec![job(id, id)] }
    };
    let mut store = place.store();
    store.commit(&[Record::RunnerSaved(drained.clone()), asked(1, None)]).unwrap();
    store.save_credentials(std::slice::from_ref(&token), &[]).unwrap();
    drop(store);
    Connection::open(place.path()).unwrap().execute_batch(BACK_TO_15).unwrap();
    let mut store = place.store();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.runners.as_slice(), std::slice::from_ref(&drained));
    assert_eq!(snapshot.builds[0].build.source.trigger.asked_by(), None);
    assert_eq!(store.credentials().unwrap().as_slice(), std::slice::from_ref(&token));
    place.reader().check(&mut drop).unwrap();

    let ordered = Some(Ordered { by: Some("alice".into()), at: WallTime(9) });
    let resumed = Runner { drain: None, ordered, ..drained };
    let revoked = Credential { revoked_by: Some("bob".into()), ..token };
    store.commit(&[Record::RunnerSaved(resumed.clone()), asked(2, Some("carol"))]).unwrap();
    store.save_credentials(std::slice::from_ref(&revoked), &[]).unwrap();
    drop(store);
    let store = place.store();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.runners, [resumed]);
    assert_eq!(snapshot.builds[1].build.source.trigger.asked_by().map(|by| &**by), Some("carol"));
    assert_eq!(store.credentials().unwrap(), [revoked]);
}

/// A branch may be called like the ref of another one.
#[test]
fn heads_of_branches_are_those_of_their_refs_and_keep_their_checksums() {
    let place = Place::new();
    let heads = ["refs/heads/x", "refs/heads/refs/heads/x", "refs/heads/y"].map(RefName::new);
    let moved = |(reference, number): (&RefName, u64)| Record::HeadMoved {
        repo: RepoName::new("app").unwrap(),
        reference: reference.clone(),
        head: Some(commit_id(number)),
        number,
    };
    place.store().commit(&heads.iter().zip(0..).map(moved).collect::<Vec<_>>()).unwrap();
    Connection::open(place.path()).unwrap().execute_batch(BACK_TO_5).unwrap();
    let found = place.store().snapshot().unwrap().heads;
    let found = found.iter().map(|(_, reference, head)| (reference.as_str(), head.number, head.commit));
    let expected =
        [(heads[1].as_str(), 1, commit_id(1)), ("refs/heads/x", 0, commit_id(0)), ("refs/heads/y", 2, commit_id(2))];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

/// Finishes what was unfinished, in rows whose checksums are carried on from those that the older program computed.
fn go_on(place: &Place) {
    let mut store = place.store();
    let attempt = |id, job, number| Record::AttemptLeased(attempt(id, job, 4, number));
    let passed = |job| Record::JobFinished { job: JobId(job), ending: Ending::Passed };
    store.commit(&[finished(10, Outcome::Passed), passed(10), attempt(12, 11, 2)]).unwrap();
    store.commit(&[finished(12, Outcome::Passed), passed(11), attempt(13, 12, 1)]).unwrap();
    store.commit(&[finished(13, Outcome::Passed), passed(12)]).unwrap();
    let at = WallTime(1_700_000_010_000);
    store.commit(&[Record::BuildFinished { build: BuildId(4), verdict: Verdict::Passed, at }]).unwrap();
    // Removal reads and deletes all of a build's rows.
    assert_eq!(store.forget(&[BuildId(2), BuildId(4)], Rule::Count, at).unwrap(), [BuildId(2)]);
    assert_eq!(store.snapshot().unwrap().builds, []);
    let reader = place.reader();
    reader.check(&mut drop).unwrap();
    assert_eq!(reader.attempts(BuildId(4)).unwrap().len(), 4);
    // Rows written since have an order, over starts and tables.
    let store::Sequence { end, attempts } = reader.sequence(BuildId(4)).unwrap();
    let order: Vec<_> = [attempts[&AttemptId(10)][1], attempts[&AttemptId(12)][0], attempts[&AttemptId(12)][1], end]
        .into_iter()
        .map(Option::unwrap)
        .collect();
    assert!(order.is_sorted_by(|a, b| a < b) && attempts[&AttemptId(10)][0].is_none(), "{order:?}");
}

/// Not a test by itself: migrates stores in the process that another test starts and kills.
#[test]
fn a_child_that_migrates() {
    let Ok(directory) = std::env::var(CHILD_STORES) else { return };
    for number in 0..STORES {
        writeln!(std::io::stdout(), "begins {number}").unwrap();
        drop(Writer::open(&std::path::Path::new(&directory).join(number.to_string()).join("surveil.db")).unwrap());
    }
}

/// S4: a migration is all or nothing, wherever it is cut off. Each part of its log that can have reached the disk makes
/// a store that the next start takes. Sabotage tried: with the version set in a transaction of its own, a store that
/// was cut off after the first transaction cannot be opened any more.
#[test]
fn whichever_part_of_a_migration_reached_the_disk_the_next_start_takes_it() {
    let old = Place::new();
    old_store(&old, 1);
    let main = fs::read(old.path()).unwrap();
    let mut conn = Connection::open(old.path()).unwrap();
    schema::migrate(&mut conn, &old.path()).unwrap();
    let log = fs::read(wal::beside(&old.path(), "-wal")).unwrap();
    drop(conn);
    // After the log's header of 32 bytes come frames, each with 24 bytes before its page.
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let frames = (log.len() - 32) / (24 + page);
    assert!(frames > 1, "there is something to cut");
    for cut in (0..=2 * frames).map(|halves| 32 + halves * (24 + page) / 2) {
        let place = Place::new();
        fs::write(place.path(), &main).unwrap();
        fs::write(wal::beside(&place.path(), "-wal"), &log[..cut]).unwrap();
        is_whole(&place);
    }
}

/// The kill comes at a random moment; the test before this one tries every moment.
#[test]
fn a_migration_that_is_killed_at_any_moment_leaves_a_store_that_the_next_start_takes() {
    let old = Place::new();
    old_store(&old, 1);
    for round in 0..ROUNDS {
        let stores: Vec<Place> = (0..STORES).map(|_| Place::new()).collect();
        let names = tempfile::tempdir().unwrap();
        for (number, place) in stores.iter().enumerate() {
            fs::copy(old.path(), place.path()).unwrap();
            std::os::unix::fs::symlink(place.directory.path(), names.path().join(number.to_string())).unwrap();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite::tests::migration::a_child_that_migrates", "--nocapture"])
            .env(CHILD_STORES, names.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let enough = format!("begins {}", 3 + round * 4);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().ends_with(&enough) {}
        // The kill comes during this store's migration, at another moment in each round.
        (0..round * 20_000).for_each(|n| _ = std::hint::black_box(n));
        child.kill().unwrap();
        child.wait().unwrap();
        stores.iter().for_each(is_whole);
    }
}
