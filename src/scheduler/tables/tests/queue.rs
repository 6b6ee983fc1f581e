//! The queue: its order, and that the quick search finds what the whole list has first.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::model::{JobId, Label, Moment, RepoName};
use crate::scheduler::tables::demands::Demand;
use crate::scheduler::tables::queue::{Queue, Standing};
use crate::scheduler::tables::waiting::OVERDUE_AFTER;

const NONE: Demand<'static> = Demand { labels: &[], slots: 1 };

fn order(queue: &Queue) -> Vec<u64> {
    queue.candidates().into_iter().map(|(job, _)| job.0).collect()
}

#[test]
fn the_repository_with_fewer_leases_comes_first_then_the_older_job() {
    let (a, b) = (RepoName::new("a").unwrap(), RepoName::new("b").unwrap());
    let mut queue = Queue::default();
    queue.push(JobId(1), (&a, NONE, Standing::default()));
    queue.push(JobId(2), (&a, NONE, Standing::default()));
    queue.push(JobId(3), (&b, NONE, Standing::default()));
    assert_eq!(order(&queue), [1, 3]);
    queue.remove(JobId(1), (&a, NONE, Standing::default()));
    queue.add_leased(&a);
    assert_eq!(order(&queue), [3, 2]);
}

/// Takes the first candidate, as a slot that becomes free does, and ends its lease.
fn serve(queue: &mut Queue, repos: &[(&RepoName, std::ops::Range<u64>)]) -> u64 {
    let (job, _) = queue.candidates()[0];
    let (repo, _) = repos.iter().find(|(_, jobs)| jobs.contains(&job.0)).unwrap();
    queue.remove(job, (repo, NONE, Standing::default()));
    queue.add_leased(repo);
    queue.serve(repo);
    queue.remove_leased(repo);
    job.0
}

#[test]
fn with_one_slot_repositories_take_turns_and_a_newcomer_is_next() {
    let names = ["a", "b", "c"].map(|name| RepoName::new(name).unwrap());
    let repos = [(&names[0], 0..20), (&names[1], 20..40), (&names[2], 40..60)];
    let mut queue = Queue::default();
    (0..10).for_each(|job| queue.push(JobId(job), (&names[0], NONE, Standing::default())));
    (20..30).for_each(|job| queue.push(JobId(job), (&names[1], NONE, Standing::default())));
    let order: Vec<u64> = (0..4).map(|_| serve(&mut queue, &repos)).collect();
    assert_eq!(order, [0, 20, 1, 21]);
    queue.push(JobId(40), (&names[2], NONE, Standing::default()));
    let place = |queue: &Queue, job, repo| {
        queue.position(JobId(job), (repo, Standing::default()), std::iter::empty(), |_| true)
    };
    assert_eq!([place(&queue, 40, &names[2]), place(&queue, 2, &names[0]), place(&queue, 23, &names[1])], [0, 1, 4]);
    assert_eq!(serve(&mut queue, &repos), 40);
    // It saved up nothing while it was idle, and is not first again.
    queue.push(JobId(41), (&names[2], NONE, Standing::default()));
    let order: Vec<u64> = (0..4).map(|_| serve(&mut queue, &repos)).collect();
    assert_eq!(order, [2, 22, 41, 3]);
}

#[test]
fn a_repository_that_has_leases_elsewhere_is_overdue_in_the_end() {
    let (a, b) = (RepoName::new("a").unwrap(), RepoName::new("b").unwrap());
    let mut queue = Queue::default();
    queue.add_leased(&a);
    queue.push(JobId(1), (&a, NONE, Standing::default()));
    (100..200).for_each(|job| queue.push(JobId(job), (&b, NONE, Standing::default())));
    let passed = (0..50).take_while(|_| serve(&mut queue, &[(&a, 0..100), (&b, 100..200)]) != 1).count();
    assert_eq!(passed as u64, OVERDUE_AFTER * 2, "two repositories wait");
}

#[test]
fn a_position_counts_the_jobs_that_really_come_first() {
    let (a, b) = (RepoName::new("a").unwrap(), RepoName::new("b").unwrap());
    let mut queue = Queue::default();
    let gpu = [Label::new("gpu").unwrap()];
    (1..=3).for_each(|job| queue.push(JobId(job), (&a, NONE, Standing::default())));
    (11..=13).for_each(|job| queue.push(JobId(job), (&b, NONE, Standing::default())));
    queue.push(JobId(10), (&b, Demand { labels: &gpu, slots: 1 }, Standing::default()));
    // Both slots are of a: the first two that become free go to b.
    (0..2).for_each(|_| queue.add_leased(&a));
    let place = |job, repo| {
        queue.position(JobId(job), (repo, Standing::default()), [&a, &a].into_iter(), |demand| demand == NONE)
    };
    assert_eq!([place(11, &b), place(12, &b), place(1, &a)], [0, 2, 1]);
}

#[test]
fn jobs_with_other_labels_do_not_hide_behind_each_other() {
    let a = RepoName::new("a").unwrap();
    let mut queue = Queue::default();
    queue.push(JobId(1), (&a, Demand { labels: &[Label::new("gpu").unwrap()], slots: 1 }, Standing::default()));
    queue.push(JobId(2), (&a, NONE, Standing::default()));
    assert_eq!(order(&queue), [1, 2]);
}

#[test]
fn a_higher_priority_comes_first_within_its_repository_and_waiting_makes_up_for_a_lower_one() {
    let (a, b) = (RepoName::new("a").unwrap(), RepoName::new("b").unwrap());
    let mut queue = Queue::default();
    let turn = |minutes: u64, priority| Standing::of(Moment(minutes * 60_000), priority);
    queue.push(JobId(1), (&b, NONE, turn(0, -100)));
    queue.push(JobId(2), (&a, NONE, turn(0, 0)));
    queue.push(JobId(3), (&a, NONE, turn(1, 10)));
    queue.push(JobId(4), (&a, NONE, turn(12, 10)));
    queue.push(JobId(5), (&a, NONE, turn(9, 10)));
    queue.push(JobId(6), (&a, NONE, turn(0, -1)));
    queue.push(JobId(7), (&a, Demand { labels: &[Label::new("gpu").unwrap()], slots: 1 }, turn(2, 100)));
    assert_eq!(order(&queue), [1, 7, 3], "of other repositories the priority does not count");
    let place = |job, turn| queue.position(JobId(job), (&a, turn), std::iter::empty(), |demand| demand == NONE);
    assert_eq!([place(3, turn(1, 10)), place(6, turn(0, -1))], [1, 4], "one of b is before it, too");
    queue.remove(JobId(1), (&b, NONE, turn(0, -100)));
    let mut left = Vec::new();
    for (job, at) in [(3, turn(1, 10)), (5, turn(9, 10)), (2, turn(0, 0)), (6, turn(0, -1)), (4, turn(12, 10))] {
        left.push(order(&queue)[1]);
        queue.remove(JobId(job), (&a, NONE, at));
    }
    assert_eq!(left, [3, 5, 2, 6, 4], "waiting for twelve minutes makes up for eleven");
}

/// A change of the queue. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Change {
    Push {
        repo: usize,
        labels: usize,
        priority: i32,
        stage: u8,
    },
    Remove(usize),
    LetIn(usize),
    HoldBack(usize),
    Resume {
        at: usize,
        has_line: bool,
    },
    /// The first candidate is leased.
    Lease,
    EndLease(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<usize>();
    prop_oneof![
        6 => (0..7_usize, 0..4_usize, -3..3_i32, 0..5_u8)
            .prop_map(|(repo, labels, priority, stage)| Change::Push { repo, labels, priority, stage }),
        1 => at().prop_map(Change::Remove),
        2 => at().prop_map(Change::LetIn),
        1 => at().prop_map(Change::HoldBack),
        1 => (at(), any::<bool>()).prop_map(|(at, has_line)| Change::Resume { at, has_line }),
        5 => Just(Change::Lease),
        3 => at().prop_map(Change::EndLease),
    ]
}

/// A job as the plain list has it.
struct Plain {
    repo: RepoName,
    labels: Vec<Label>,
    slots: u32,
    turn: Standing,
    /// 0: it has no line; 1: it pauses; 2: it is held; 3: it was let in.
    stage: u8,
}

proptest! {
    #[test]
    fn the_search_finds_the_first_of_the_list_and_the_counts_are_those_of_the_list(
        changes in prop::collection::vec(change(), 1..120),
        asked in 0..16_usize,
    ) {
        let names: Vec<RepoName> = (0..7).map(|n| RepoName::new(&format!("r{n}")).unwrap()).collect();
        let sets: Vec<Vec<Label>> = [&[][..], &["gpu"], &["big"], &["big", "gpu"]].map(|set: &[&str]| {
            set.iter().map(|label| Label::new(label).unwrap()).collect()
        }).into();
        let (mut queue, mut plain, mut leased) = (Queue::default(), BTreeMap::<JobId, Plain>::new(), Vec::new());
        for (number, change) in changes.into_iter().enumerate() {
            let pick = |plain: &BTreeMap<JobId, Plain>, at: usize, stage: Option<u8>| {
                let wanted = plain.iter().filter(|(_, it)| stage.is_none_or(|stage| it.stage == stage));
                let of: Vec<JobId> = wanted.map(|(id, _)| *id).collect();
                (!of.is_empty()).then(|| of[at % of.len()])
            };
            let remove = |queue: &mut Queue, plain: &mut BTreeMap<JobId, Plain>, id| {
                let it = plain.remove(&id).unwrap();
                let paused = queue.remove(id, (&it.repo, Demand { labels: &it.labels, slots: it.slots }, it.turn));
                assert_eq!(paused, it.stage == 1);
                it.repo
            };
            match change {
                Change::Push { repo, labels, priority, stage } => {
                    let id = JobId(number as u64 % 50 * 7 + number as u64);
                    let turn = Standing::of(Moment(number as u64 * 20_000), priority);
                    let (repo, labels) = (names[repo].clone(), sets[labels].clone());
                    let slots = 1 + number as u32 % 2;
                    let it = Plain { repo, labels, slots, turn, stage: stage.min(2) };
                    let key = (&it.repo, Demand { labels: &it.labels, slots: it.slots }, turn);
                    if plain.contains_key(&id) {
                        continue;
                    }
                    match it.stage {
                        0 => queue.push(id, key),
                        1 => queue.pause(id, key),
                        _ => queue.hold(id, key),
                    }
                    plain.insert(id, it);
                }
                Change::Remove(at) => {
                    if let Some(id) = pick(&plain, at, None) {
                        remove(&mut queue, &mut plain, id);
                    }
                }
                Change::LetIn(at) => {
                    if let Some(id) = pick(&plain, at, Some(2)) {
                        prop_assert!(queue.let_in(id));
                        plain.get_mut(&id).unwrap().stage = 3;
                    }
                }
                Change::HoldBack(at) => {
                    if let Some(id) = pick(&plain, at, Some(3)) {
                        queue.hold_back(id);
                        plain.get_mut(&id).unwrap().stage = 2;
                    }
                }
                Change::Resume { at, has_line } => {
                    if let Some(id) = pick(&plain, at, Some(1)) {
                        prop_assert!(queue.resume(id, has_line));
                        plain.get_mut(&id).unwrap().stage = if has_line { 2 } else { 0 };
                    }
                }
                Change::Lease => {
                    if let Some(id) = queue.first(|_, _, _| true) {
                        let repo = remove(&mut queue, &mut plain, id);
                        queue.serve(&repo);
                        queue.add_leased(&repo);
                        leased.push(repo);
                    }
                }
                Change::EndLease(at) => {
                    if !leased.is_empty() {
                        queue.remove_leased(&leased.swap_remove(at % leased.len()));
                    }
                }
            }
            let candidates = queue.candidates();
            // Each set of demands that fit, as the bits of a number.
            let fits = |demand: Demand<'_>| {
                let at = sets.iter().position(|set| *set == demand.labels).unwrap();
                asked & 1 << at != 0 && demand.slots <= 1 + asked as u32 % 2
            };
            let first = candidates.iter().find(|(_, demand)| fits(*demand)).map(|(job, _)| *job);
            prop_assert_eq!(queue.first(|_, _, demand| fits(demand)), first);
            prop_assert_eq!(queue.first(|_, _, _| true), candidates.first().map(|(job, _)| *job));
            prop_assert_eq!(queue.len(), plain.len());
            let mut heads: BTreeMap<(&RepoName, &[Label], u32), (Standing, JobId)> = BTreeMap::new();
            for (id, it) in &plain {
                let key = (&it.repo, Demand { labels: &it.labels, slots: it.slots }, it.turn);
                prop_assert!(queue.contains(*id, key));
                if it.stage == 0 || it.stage == 3 {
                    let head = heads.entry((&it.repo, &it.labels, it.slots)).or_insert((it.turn, *id));
                    *head = (*head).min((it.turn, *id));
                }
            }
            let mut heads: Vec<JobId> = heads.into_values().map(|(_, id)| id).collect();
            heads.sort_unstable();
            let mut listed: Vec<JobId> = candidates.into_iter().map(|(job, _)| job).collect();
            listed.sort_unstable();
            prop_assert_eq!(listed, heads);
        }
    }
}
