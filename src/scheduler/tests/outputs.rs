//! Stories of outputs.

use super::*;

impl Story {
    fn tells(&mut self, session: u64, attempt: u64) -> Vec<String> {
        let outputs = vec![("A".to_owned(), "1".to_owned())];
        self.tell(Event::OutputsWritten { session: SessionId(session), attempt: AttemptId(attempt), outputs })
    }
}

#[test]
fn outputs_are_recorded_with_the_result_of_the_attempt_that_wrote_them() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("test")]);
    assert!(story.tells(1, 1).is_empty(), "nothing counts before the result");
    let lines = story.finish(1, 1, Outcome::Failed(1));
    assert_eq!(lines[..2], ["a1 has 1 outputs", "a1 failed"], "those of a failure, too");
}

#[test]
fn outputs_of_an_attempt_that_is_lost_or_of_another_runner_count_nowhere() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("test")]);
    story.join(2, "w2", 1);
    assert!(story.tells(2, 1).is_empty());
    assert!(!story.finish(1, 1, Outcome::Lost("no disk".into())).iter().any(|line| line.contains("outputs")));

    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("test")]);
    story.join(2, "w2", 1);
    story.tells(1, 1);
    let lost = story.finish(1, 1, Outcome::Lost("no disk".into()));
    assert!(!lost.iter().any(|line| line.contains("outputs")), "{lost:?}");
    let again = story.finish(2, 2, Outcome::Passed);
    assert_eq!(again[0], "a2 passed");
    assert!(!again.iter().any(|line| line.contains("outputs")), "of the attempt before: {again:?}");
}

#[test]
fn a_job_whose_attempt_may_not_have_its_secrets_is_errored_with_the_rule() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("deploy")]);
    let reason = ErrorReason::SecretDenied { secret: "KEY".into(), denial: SecretDenial::Untrusted };
    let denied = |session| Event::SecretsDenied {
        session: SessionId(session),
        attempt: AttemptId(1),
        reason: Box::new(reason.clone()),
    };
    story.join(2, "w2", 1);
    assert!(story.tell(denied(2)).is_empty() && story.tell(denied(1)).is_empty());
    let lines = story.finish(1, 1, Outcome::CouldNotStart("no".into()));
    assert!(lines.contains(&"j1 errored (secret_denied)".to_owned()), "{lines:?}");
}

/// The service is told apart from the task's own fault, and is not retried.
#[test]
fn a_job_whose_service_was_never_ready_is_errored_with_the_service() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let mut retried = task("test");
    retried.placement.retries = 2;
    story.observe("app", None, 1, vec![retried]);
    let failure = Some(ServiceFailure::ExitCode { exit_code: 3 });
    let ready = ServiceRecord { name: "mq".into(), ready_ms: Some(1), failure: failure.clone(), ..Default::default() };
    let broken = ServiceRecord { name: "db".into(), failure, ..Default::default() };
    let finished = |outcome, services| Event::AttemptFinished {
        session: SessionId(1),
        attempt: AttemptId(1),
        outcome,
        log: LogSummary::default(),
        duration_ms: None,
        steps: vec![],
        execution: Some(Box::new(ExecutionRecord { services, ..ExecutionRecord::default() })),
    };
    let lines = story.tell(finished(Outcome::CouldNotStart("text".into()), vec![ready.clone(), broken]));
    assert!(lines.contains(&"j1 errored (service_not_ready)".to_owned()), "{lines:?}");

    // A service that ended while the task ran changes nothing.
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("test")]);
    let lines = story.tell(finished(Outcome::Passed, vec![ready]));
    assert!(lines.contains(&"a1 passed".to_owned()), "{lines:?}");
}
