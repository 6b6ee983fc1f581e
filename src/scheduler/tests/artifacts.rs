//! Stories of artifacts.

use super::*;
use crate::model::{ArtifactRecord, BlobId};

impl Story {
    fn leaves(&mut self, session: u64, attempt: u64) -> Vec<String> {
        let manifest = BlobId([1; 32]);
        let (keep_ms, removed) = (None, None);
        let artifacts = vec![ArtifactRecord { name: "files".into(), manifest, files: 1, bytes: 2, keep_ms, removed }];
        self.tell(Event::ArtifactsLeft { session: SessionId(session), attempt: AttemptId(attempt), artifacts })
    }
}

#[test]
fn artifacts_are_recorded_with_the_result_of_the_attempt_that_left_them() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("test")]);
    assert!(story.leaves(1, 1).is_empty(), "nothing counts before the result");
    assert!(story.leaves(1, 1).is_empty(), "a result may be sent again");
    let lines = story.finish(1, 1, Outcome::Failed(1));
    assert_eq!(lines[..2], ["a1 left 1 artifacts", "a1 failed"], "those of a failure, too");
    assert!(story.leaves(1, 1).is_empty());
}

#[test]
fn artifacts_of_an_attempt_that_is_lost_or_of_another_runner_count_nowhere() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("test")]);
    story.join(2, "w2", 1);
    assert!(story.leaves(2, 1).is_empty());
    story.leaves(1, 1);
    let lost = story.finish(1, 1, Outcome::Lost("no disk".into()));
    assert!(!lost.iter().any(|line| line.contains("artifacts")), "{lost:?}");
    let again = story.finish(2, 2, Outcome::Passed);
    assert_eq!(again[0], "a2 passed", "those of the attempt before do not count: {again:?}");
}
