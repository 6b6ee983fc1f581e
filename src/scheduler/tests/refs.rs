//! Stories of refs: the first look at tags and pull requests, tags that move, and refs that are deleted.

use super::*;

fn app() -> RepoName {
    RepoName::new("app").unwrap()
}

/// The first look at some patterns finds these refs.
fn look(story: &mut Story, refs: &[(&str, u8)], patterns: &[&str]) -> Vec<String> {
    let refs = refs.iter().map(|(name, at)| (RefName::new(name), commit(*at))).collect();
    let patterns = patterns.iter().map(|pattern| (*pattern).into()).collect();
    story.tell(Event::RefsNoted { request: RequestId(9), repo: app(), refs, patterns })
}

/// A ref has moved.
fn moved(story: &mut Story, name: &str, before: Option<u8>, at: u8, tasks: Vec<TaskSpec>) -> Vec<String> {
    let trigger = Trigger::of_move(RefName::new(name), before.map(commit), Vec::new(), Some(0));
    let source = Box::new(BuildSource { trigger, ..source("app", None, at) });
    story.tell(Event::CommitObserved { request: RequestId(9), source, plan: Ok(Plan::of(tasks)), seen: None })
}

fn gone(story: &mut Story, name: &str, before: u8) -> Vec<String> {
    let (request, reference) = (RequestId(9), RefName::new(name));
    story.tell(Event::RefGone { request, repo: app(), reference, before: commit(before), seen: None })
}

#[test]
fn what_is_there_at_the_first_look_is_not_built_and_every_later_move_is() {
    let mut story = Story::new();
    assert_eq!(
        look(&mut story, &[("refs/tags/v1", 1), ("refs/tags/v2", 2)], &["refs/tags/*"]),
        ["2 refs noted", "> noted"]
    );
    assert_eq!(moved(&mut story, "refs/tags/v1", None, 1, vec![task("a")]), ["> accepted"], "it is known");
    let made = |n: u64| vec![format!("build b{n} added with 1 jobs"), format!("> accepted as b{n}")];
    assert_eq!(moved(&mut story, "refs/tags/v1", Some(1), 3, vec![task("a")]), made(1), "a tag that moves");
    assert_eq!(moved(&mut story, "refs/tags/v3", None, 3, vec![task("a")]), made(2), "a new tag");
    assert_eq!(moved(&mut story, "refs/tags/v1", Some(1), 3, vec![task("a")]), ["> accepted as b1"], "again");
    assert_eq!(gone(&mut story, "refs/tags/v2", 2), ["head dropped", "> accepted"]);
    assert_eq!(moved(&mut story, "refs/tags/v2", None, 2, vec![task("a")]), made(3), "a tag that comes back");
    let patterns = |text: &str| story.scheduler.unseen(&app(), vec![text.into()]).len();
    assert_eq!((patterns("refs/tags/*"), patterns("refs/tags/v*")), (0, 1));
}

/// Two observers look at the same time, and a tag is pushed between the two looks. What the second one found must not
/// hide it.
#[test]
fn a_second_first_look_notes_nothing() {
    let mut story = Story::new();
    look(&mut story, &[("refs/tags/v1", 1)], &["refs/tags/*"]);
    let again = look(&mut story, &[("refs/tags/v1", 1), ("refs/tags/v2", 2)], &["refs/tags/*"]);
    assert_eq!(again, ["> noted"]);
    let mixed = look(&mut story, &[("refs/tags/v2", 2)], &["refs/tags/*", "refs/pull/*"]);
    assert_eq!(mixed, ["> noted"]);
    let heads = story.scheduler.heads(&app());
    assert_eq!(heads.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["refs/tags/v1"]);
}

#[test]
fn a_first_look_changes_no_head_that_is_there() {
    let mut story = Story::new();
    moved(&mut story, "refs/tags/v1", None, 1, vec![task("a")]);
    assert_eq!(look(&mut story, &[("refs/tags/v1", 2)], &["refs/tags/*"]), ["0 refs noted", "> noted"]);
    assert_eq!(moved(&mut story, "refs/tags/v1", None, 1, vec![task("a")]), ["> accepted as b1"]);
}

#[test]
fn a_ref_that_is_deleted_cancels_what_no_runner_has() {
    for (name, what) in
        [("refs/tags/v1", "tag v1"), ("refs/heads/topic", "branch topic"), ("refs/pull/1/head", "refs/pull/1/head")]
    {
        let mut story = Story::new();
        story.join(1, "w1", 1);
        // A build of another ref, which stays.
        moved(&mut story, "refs/heads/other", None, 2, vec![task("x"), task("y")]);
        story.finish(1, 1, Outcome::Passed);
        moved(&mut story, name, None, 1, vec![task("a"), task("b"), needing("c", &["a"])]);
        story.finish(1, 2, Outcome::Passed);
        // a runs, b is queued, c waits.
        let cancelled = gone(&mut story, name, 1);
        let expected = ["head dropped", "j4 cancelled (ref_deleted)", "j5 cancelled (ref_deleted)", "> accepted"];
        assert_eq!(cancelled, expected, "{name}");
        let decided: Vec<_> = story.decided.iter().map(ToString::to_string).collect();
        let expected = format!("cancelled: {what} was deleted");
        assert_eq!(decided, [expected.clone(), expected]);
        let ended = story.finish(1, 3, Outcome::Passed);
        assert_eq!(ended, ["a3 passed", "j3 passed", "b2 cancelled", "> s1 recorded a3"]);
        // A restart in between changes nothing: what is cancelled stays so.
        assert_eq!(gone(&mut story, name, 1), ["> accepted"]);
    }
}

/// A person had the tag's commit built by hand before the tag was deleted.
#[test]
fn a_deleted_ref_leaves_what_a_person_asked_for() {
    let name = "refs/tags/v1";
    let kind = TriggerKind::Manual { id: TriggerId([1; 16]), by: None };
    let trigger = Trigger { kind, ..Trigger::of_move(RefName::new(name), None, Vec::new(), None) };
    let build = stored_build(1, None);
    let build = Build { source: BuildSource { trigger, ..build.source }, ..build };
    let task = Arc::new(task("a"));
    let job =
        Job { id: JobId(1), build: BuildId(1), task, state: JobState::Queued, attempts: 0, failures: 0, losses: 0 };
    let head = AcceptedHead { commit: commit(1), number: 1, build: None, is_noted: false };
    let snapshot = Snapshot {
        builds: vec![WholeBuild { build, jobs: vec![job], attempts: Vec::new() }],
        heads: vec![(app(), RefName::new(name), head)],
        last_build: 1,
        last_job: 1,
        ..Snapshot::default()
    };
    let mut story = Story::new();
    story.scheduler = Scheduler::restore(policy(), story.now, snapshot);
    assert_eq!(gone(&mut story, name, 1), ["head dropped", "> accepted"]);
    assert_eq!(story.scheduler.counts().queued, 1);
}

#[test]
fn noted_refs_and_patterns_are_there_after_a_restart() {
    let head = AcceptedHead { commit: commit(1), number: 3, build: None, is_noted: true };
    let snapshot = Snapshot {
        heads: vec![(app(), RefName::new("refs/tags/v1"), head)],
        patterns: vec![(app(), "refs/tags/*".into())],
        ..Snapshot::default()
    };
    let mut story = Story::new();
    story.scheduler = Scheduler::restore(policy(), story.now, snapshot);
    assert_eq!(look(&mut story, &[("refs/tags/v2", 2)], &["refs/tags/*"]), ["> noted"]);
    assert_eq!(moved(&mut story, "refs/tags/v1", None, 1, vec![task("a")]), ["> accepted"]);
    assert_eq!(moved(&mut story, "refs/tags/v2", None, 2, vec![task("a")]).len(), 2);
}
