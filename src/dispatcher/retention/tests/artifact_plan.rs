//! The decision about artifacts: each limit alone, all of them together, and clocks that jump.

use std::collections::HashSet;
use std::convert::Infallible;

use proptest::prelude::*;

use crate::config::Retention;
use crate::dispatcher::retention::artifact_plan::*;
use crate::model::{ArtifactRecord, AttemptId, BlobId, BuildId, ExpiryRule, RefName, RepoName, WallTime};
use crate::store::Surveyed;

const DAY: i64 = 24 * 60 * 60 * 1000;
const NEVER: Retention = Retention {
    keep_ms: None,
    keep_builds: None,
    keep_logs: None,
    keep_artifacts_ms: None,
    keep_artifact_builds: None,
    keep_artifacts: None,
};

/// A build that failed on the day of its number, on a branch that is there.
fn failed(id: u64) -> Surveyed {
    Surveyed {
        id: BuildId(id),
        repo: RepoName::new("app").unwrap(),
        reference: RefName::of_branch("main"),
        lives: true,
        is_head: false,
        finished_at: Some(WallTime(id as i64 * DAY)),
        passed: false,
    }
}

fn passed(id: u64) -> Surveyed {
    Surveyed { passed: true, ..failed(id) }
}

fn unfinished(id: u64) -> Surveyed {
    Surveyed { finished_at: None, ..failed(id) }
}

/// An artifact of a build whose attempt ended with it, with one blob, which is called as the manifest is.
fn left(build: u64, name: &str, blob: u8) -> Left {
    let manifest = BlobId([blob; 32]);
    let record = ArtifactRecord { name: name.into(), manifest, files: 1, bytes: 1, keep_ms: None, removed: None };
    Left { attempt: AttemptId(build), ended: Some(WallTime(build as i64 * DAY)), record }
}

fn files(build: &Surveyed) -> Vec<Left> {
    vec![left(build.id.0, "files", build.id.0 as u8)]
}

/// Returns what goes on day 100, as builds, names and rules, if each blob has ten bytes.
fn going(limits: Retention, builds: Vec<(Surveyed, Vec<Left>)>) -> Vec<(u64, String, ExpiryRule)> {
    decide(limits, 100, builds, &|_| 10).going.into_iter().map(|one| (one.build.0, one.name, one.rule)).collect()
}

fn decide(
    limits: Retention,
    day: i64,
    builds: Vec<(Surveyed, Vec<Left>)>,
    size: &dyn Fn(BlobId) -> u64,
) -> ArtifactDecision {
    let mut plan = ArtifactPlan::new(limits, WallTime(day * DAY));
    builds.into_iter().for_each(|(build, artifacts)| plan.add(build, artifacts));
    let decided = plan.decide::<Infallible>(&mut |manifest, each| {
        each(manifest, size(manifest));
        Ok(())
    });
    decided.unwrap()
}

fn each_with_files(builds: impl IntoIterator<Item = Surveyed>) -> Vec<(Surveyed, Vec<Left>)> {
    builds.into_iter().map(|build| (build.clone(), files(&build))).collect()
}

fn of(rule: ExpiryRule, builds: impl IntoIterator<Item = u64>) -> Vec<(u64, String, ExpiryRule)> {
    builds.into_iter().map(|build| (build, "files".into(), rule)).collect()
}

#[test]
fn without_a_limit_nothing_goes_and_the_blobs_of_all_builds_are_marked() {
    let builds = each_with_files([unfinished(3), passed(2), failed(1)]);
    let decided = decide(NEVER, 100, builds, &|_| 10);
    let marked = [1, 2, 3].map(|blob| BlobId([blob; 32])).into();
    assert_eq!(decided, ArtifactDecision { going: vec![], marked });
}

#[test]
fn an_artifact_goes_when_its_own_time_is_over_whatever_its_build_is() {
    let mut short = left(60, "short", 1);
    short.record.keep_ms = Some(40 * DAY as u64);
    let mut longer = left(60, "longer", 2);
    longer.record.keep_ms = Some(40 * DAY as u64 + 1);
    let both = vec![short, longer];
    let gone = vec![(60, "short".to_owned(), ExpiryRule::KeepFor)];
    assert_eq!(going(NEVER, vec![(failed(60), both.clone())]), gone);
    assert_eq!(going(NEVER, vec![(passed(60), both.clone())]), gone, "the newest passed build, too");
    assert_eq!(going(NEVER, vec![(unfinished(60), both.clone())]), [], "its tasks may need it");
    // The time counts from the end of the attempt, and from that of the build if that is not known.
    let later: Vec<Left> = both.iter().cloned().map(|one| Left { ended: Some(WallTime(61 * DAY)), ..one }).collect();
    assert_eq!(going(NEVER, vec![(failed(60), later)]), []);
    let unknown: Vec<Left> = both.into_iter().map(|one| Left { ended: None, ..one }).collect();
    assert_eq!(going(NEVER, vec![(failed(60), unknown)]), gone);
}

#[test]
fn old_artifacts_go_except_for_those_of_the_newest_passed_build_of_each_ref_that_is_there() {
    let limits = Retention { keep_artifacts_ms: Some(50 * DAY as u64), ..NEVER };
    let on = |build: Surveyed, reference: &str| Surveyed { reference: RefName::new(reference), ..build };
    let builds = each_with_files([
        failed(51),
        passed(50),
        failed(49),
        on(passed(48), "refs/heads/topic"),
        passed(47),
        on(passed(46), "refs/tags/v1"),
        Surveyed { lives: false, ..on(passed(45), "refs/heads/gone") },
        Surveyed { repo: RepoName::new("lib").unwrap(), ..passed(44) },
        unfinished(43),
    ]);
    assert_eq!(going(limits, builds), of(ExpiryRule::Age, [49, 47, 45]));
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_old_and_one_that_was_set_forward_leaves_the_newest() {
    let limits = Retention { keep_artifacts_ms: Some(10 * DAY as u64), ..NEVER };
    let mut timed = left(90, "timed", 1);
    timed.record.keep_ms = Some(DAY as u64);
    let mut builds = each_with_files([failed(95), passed(92), passed(91)]);
    builds.push((passed(90), vec![timed]));
    assert_eq!(decide(limits, 10, builds.clone(), &|_| 10).going, []);
    let gone: Vec<u64> = decide(limits, 1_000_000, builds, &|_| 10).going.iter().map(|one| one.build.0).collect();
    assert_eq!(gone, [95, 91, 90]);
    // A build that finished "before" an older one is still the newer one.
    let odd = Surveyed { finished_at: Some(WallTime(0)), ..passed(96) };
    assert_eq!(going(limits, each_with_files([odd, passed(95)])), []);
    let odd = Surveyed { finished_at: Some(WallTime(i64::MIN)), ..failed(96) };
    assert_eq!(going(limits, each_with_files([odd, passed(95)])), of(ExpiryRule::Age, [96]));
}

#[test]
fn so_many_builds_of_each_repository_keep_artifacts() {
    let limits = Retention { keep_artifact_builds: Some(2), ..NEVER };
    let lib = |id| Surveyed { repo: RepoName::new("lib").unwrap(), ..failed(id) };
    let builds = each_with_files([unfinished(99), failed(98), failed(97), lib(96), failed(95), passed(94), passed(93)]);
    assert_eq!(going(limits, builds), of(ExpiryRule::Count, [95, 93]));
    // Builds that left nothing, or nothing any more, are not counted.
    let mut over = left(98, "over", 1);
    over.record.keep_ms = Some(1);
    let mut builds = vec![(failed(98), vec![over])];
    builds.extend(each_with_files([failed(97), failed(96), failed(95)]));
    let mut expected = vec![(98, "over".to_owned(), ExpiryRule::KeepFor)];
    expected.extend(of(ExpiryRule::Count, [95]));
    assert_eq!(going(limits, builds), expected);
}

#[test]
fn beyond_the_size_the_oldest_go_first_and_the_newest_passed_last() {
    let limit = |bytes| Retention { keep_artifacts: Some(bytes), ..NEVER };
    let builds = || each_with_files([unfinished(9), failed(8), failed(7), passed(6), failed(5), passed(4)]);
    assert_eq!(going(limit(60), builds()), []);
    assert_eq!(going(limit(59), builds()), of(ExpiryRule::Size, [4]));
    assert_eq!(going(limit(40), builds()), of(ExpiryRule::Size, [5, 4]));
    assert_eq!(going(limit(20), builds()), of(ExpiryRule::Size, [8, 7, 5, 4]));
    assert_eq!(going(limit(10), builds()), of(ExpiryRule::Size, [6, 8, 7, 5, 4]), "only the unfinished build is left");
    assert_eq!(going(limit(0), builds()).len(), 5);
}

#[test]
fn a_blob_counts_once_and_stays_as_long_as_one_artifact_has_it() {
    let limits = Retention { keep_artifacts: Some(20), ..NEVER };
    // Three builds with the same file, and one with another.
    let builds = vec![
        (failed(4), vec![left(4, "files", 1)]),
        (failed(3), vec![left(3, "files", 1), left(3, "more", 2)]),
        (failed(2), vec![left(2, "files", 1)]),
        (failed(1), vec![left(1, "files", 3)]),
    ];
    let decided = decide(limits, 100, builds, &|_| 10);
    assert_eq!(decided.going.iter().map(|one| one.build.0).collect::<Vec<_>>(), [1]);
    assert_eq!(decided.marked, [1, 2].map(|blob| BlobId([blob; 32])).into());
}

#[test]
fn a_build_that_is_larger_than_the_limit_goes_alone() {
    let limits = Retention { keep_artifacts: Some(30), ..NEVER };
    let size = |blob: BlobId| if blob.0[0] == 8 { 31 } else { 10 };
    let builds = each_with_files([failed(9), passed(8), failed(7), failed(6), failed(5)]);
    let gone: Vec<u64> = decide(limits, 100, builds, &size).going.iter().map(|one| one.build.0).collect();
    assert_eq!(gone, [8, 5]);
}

#[test]
fn an_error_about_a_blob_removes_nothing() {
    let mut plan = ArtifactPlan::new(Retention { keep_artifacts: Some(0), ..NEVER }, WallTime(0));
    plan.add(failed(1), files(&failed(1)));
    assert_eq!(plan.decide(&mut |_, _| Err("unreadable")), Err("unreadable"));
}

/// A build for the property: whether it is finished and passed, its ref, the blobs of its artifacts, and `keep_for`.
type Sketch = (bool, bool, u8, Vec<(u8, Option<u64>)>);

fn drawn(sketches: &[Sketch]) -> Vec<(Surveyed, Vec<Left>)> {
    let build = |(id, (is_finished, passed, reference, blobs)): (u64, &Sketch)| {
        let build = Surveyed {
            reference: RefName::of_branch(format!("r{reference}")),
            // Some builds finish at the same time, and some before older ones.
            finished_at: is_finished.then_some(WallTime((id * 7 % 13) as i64 * DAY)),
            passed: *passed && *is_finished,
            lives: *reference > 0,
            ..failed(id)
        };
        let artifacts = blobs.iter().enumerate().map(|(at, (blob, keep))| {
            let mut left = left(id, &format!("n{at}"), *blob);
            left.record.keep_ms = keep.map(|days| days * DAY as u64);
            left
        });
        (build, artifacts.collect())
    };
    let oldest_first: Vec<_> = (1..).zip(sketches).map(build).collect();
    oldest_first.into_iter().rev().collect()
}

proptest! {
    #[test]
    fn what_is_decided_keeps_to_the_limits_and_a_second_look_removes_nothing_more(
        sketches in prop::collection::vec(
            (
                any::<bool>(),
                any::<bool>(),
                0..3_u8,
                prop::collection::vec((1..20_u8, prop::option::of(0..9_u64)), 1..4),
            ),
            0..14,
        ),
        days in prop::option::of(0..14_u64),
        builds in prop::option::of(0..6_u32),
        bytes in prop::option::of(0..120_u64),
        day in 0..16_i64,
    ) {
        let limits = Retention {
            keep_artifacts_ms: days.map(|days| days * DAY as u64),
            keep_artifact_builds: builds,
            keep_artifacts: bytes,
            ..NEVER
        };
        let size = |blob: BlobId| u64::from(blob.0[0]);
        let before = drawn(&sketches);
        let decided = decide(limits, day, before.clone(), &size);
        let is_gone = |left: &Left| {
            decided.going.iter().any(|one| (one.attempt, &one.name) == (left.attempt, &left.record.name))
        };
        let after: Vec<_> = before.iter().cloned().map(|(build, artifacts)| {
            (build, artifacts.into_iter().filter(|left| !is_gone(left)).collect::<Vec<_>>())
        }).filter(|(_, artifacts)| !artifacts.is_empty()).collect();
        // Nothing is named twice, and nothing of an unfinished build.
        let mut named: Vec<_> = decided.going.iter().map(|one| (one.attempt, one.name.clone())).collect();
        let count = named.len();
        named.sort();
        named.dedup();
        prop_assert_eq!(named.len(), count);
        let is_finished = |id: BuildId| before.iter().any(|(build, _)| build.id == id && build.finished_at.is_some());
        prop_assert!(decided.going.iter().all(|one| is_finished(one.build)));
        // The blobs that stay are exactly those of the artifacts that stay, and are not too many.
        let marked: HashSet<BlobId> =
            after.iter().flat_map(|(_, artifacts)| artifacts).map(|left| left.record.manifest).collect();
        prop_assert_eq!(&decided.marked, &marked);
        let unfinished: HashSet<BlobId> = before
            .iter()
            .filter(|(build, _)| build.finished_at.is_none())
            .flat_map(|(_, artifacts)| artifacts)
            .map(|left| left.record.manifest)
            .collect();
        let total: u64 = marked.iter().map(|blob| size(*blob)).sum();
        let needed: u64 = unfinished.iter().map(|blob| size(*blob)).sum();
        prop_assert!(bytes.is_none_or(|limit| total <= limit.max(needed)));
        // The newest passed builds go neither by age nor by number, and make room only when nothing else can.
        let rule_of = |left: &Left| {
            let is_it = |one: &&Going| (one.attempt, &one.name) == (left.attempt, &left.record.name);
            decided.going.iter().find(is_it).map(|one| one.rule)
        };
        let mut newest: Vec<(&RefName, BuildId, Vec<&Left>)> = Vec::new();
        for (build, artifacts) in before.iter().filter(|(build, _)| build.passed && build.lives) {
            let unexpired: Vec<&Left> =
                artifacts.iter().filter(|left| rule_of(left) != Some(ExpiryRule::KeepFor)).collect();
            if !unexpired.is_empty() && newest.iter().all(|(reference, ..)| *reference != &build.reference) {
                newest.push((&build.reference, build.id, unexpired));
            }
        }
        for (_, _, artifacts) in &newest {
            prop_assert!(artifacts.iter().all(|left| matches!(rule_of(left), None | Some(ExpiryRule::Size))));
            let own: HashSet<BlobId> = artifacts.iter().map(|left| left.record.manifest).collect();
            let own: u64 = own.iter().map(|blob| size(*blob)).sum();
            let is_gone = artifacts.iter().any(|left| rule_of(left).is_some());
            let had_to_go = is_gone && bytes.is_some_and(|limit| own <= limit);
            let is_newest = |id: BuildId| newest.iter().any(|(_, other, _)| *other == id);
            let are_others_gone = after.iter().all(|(build, _)| build.finished_at.is_none() || is_newest(build.id));
            prop_assert!(!had_to_go || are_others_gone);
        }
        prop_assert_eq!(decide(limits, day, after, &size).going, []);
    }
}
