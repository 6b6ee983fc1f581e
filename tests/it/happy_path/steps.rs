//! Tasks of several commands.

use rustix::process::Signal;

use crate::harness::{World, job, text, until};

const FOUR: &str = r#"
[task.test]
steps = [
    { name = "build", run = '''
echo built > made
echo "WORD=it is $(cat made)" >> "$SURVEIL_ENV"
printf "N<<E\na\nb\nE\n" >> "$SURVEIL_ENV"
sleep 1000 &
cd /''' },
    { name = "test", run = '''
echo "$WORD|$N|$SURVEIL_STEP" | tr "\n" " "
[ "$PWD" = "$SURVEIL_ROOT" ]
echo to stderr >&2
exit 4''' },
    "echo never",
    { name = "logs", run = 'echo "the logs: $WORD"', always = true },
]
"#;

#[test]
fn steps_run_one_after_the_other_and_each_has_its_time_its_exit_code_and_its_section_of_the_log() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(FOUR);
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "failed");
    let attempt = &job(&build, "test").attempts[0];
    assert_eq!(attempt.detail.as_deref(), Some("exit code 4 in step `test`"));
    let steps: Vec<_> =
        attempt.steps.iter().map(|it| (it.name.as_str(), it.outcome.as_deref(), it.detail.as_deref())).collect();
    let wanted = [
        ("build", Some("passed"), None),
        ("test", Some("failed"), Some("exit code 4")),
        ("echo never", None, None),
        ("logs", Some("passed"), None),
    ];
    assert_eq!(steps, wanted);
    assert!(attempt.steps.iter().all(|it| it.duration_ms.is_some() == it.outcome.is_some()), "{attempt:?}");
    let log = world.log_of(&build, "test");
    let section = |at: usize| &log[attempt.steps[at].log_start as usize..attempt.steps[at].log_end as usize];
    assert_eq!(section(0), "");
    assert!(section(1).starts_with("it is built|a b|test") && section(1).ends_with("to stderr\n"), "{log}");
    assert_eq!((section(2), section(3)), ("", "the logs: it is built\n"));
    assert!(
        log.starts_with("surveil: step 1 of 4: build\nsurveil: ended 1 process that the step left behind\n"),
        "{log}"
    );
    assert!(log.contains("\nsurveil: step 4 of 4: logs\nthe logs: "), "{log}");

    for (step, printed) in [("logs", "the logs: it is built\n"), ("4", "the logs: it is built\n"), ("echo never", "")] {
        assert_eq!(world.surveil(&["logs", "latest", "test", "--step", step]).ok(), printed, "{step}");
    }
    let none = world.surveil(&["logs", "latest", "test", "--step", "lint"]).error(6);
    assert!(none.contains("has no step `lint`; it has `build`, `test`, `echo never`, `logs`"), "{none}");
    let shown = world.surveil(&["show", "latest"]).ok();
    for line in ["passed     build", "failed     test", "left out   echo never", "passed     logs"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let json = world.surveil(&["show", "latest", "--json"]).ok();
    assert!(json.contains(r#""name":"test","outcome":"failed","detail":"exit code 4""#), "{json}");
    until("nothing is left", || world.processes(&["SURVEIL=true"]).is_empty());

    let by_hand = world.surveil_in(&repository.path, &["run"]).with_code(1);
    for line in [
        "--> step 2 of 4: test",
        "test: failed in",
        "echo never: left out",
        "the logs: it is built",
        "(exit code 4 in step `test`)",
    ] {
        assert!(by_hand.contains(line), "{line}: {by_hand}");
    }
    assert!(!by_hand.contains("\nnever"), "{by_hand}");
}

#[test]
fn a_line_that_sets_no_variable_fails_its_step_and_a_step_has_a_time_of_its_own() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.wrong]\nsteps = [{ name = 'set', run = 'echo oops >> \"$SURVEIL_ENV\"' }, 'echo never']\n\
         [task.slow]\nsteps = [{ name = 'hang', run = 'sleep 99', timeout = '300ms' }, { run = ':', always = true }]\n\
         [task.absent]\nsteps = ['true', { run = ['./none'] }]\n\
         [task.over]\ntimeout = '300ms'\nsteps = ['sleep 1000', { run = 'echo never', always = true }]\n",
    );
    let _roles = world.roles(&[&repository]);

    let build = world.finished(&commit);
    let attempt = |task: &str| &job(&build, task).attempts[0];
    let outcomes =
        |task: &str| -> Vec<Option<String>> { attempt(task).steps.iter().map(|step| step.outcome.clone()).collect() };
    let some = |word: &str| Some(word.to_owned());
    assert_eq!(outcomes("wrong"), [some("failed"), None]);
    let log = world.log_of(&build, "wrong");
    assert!(
        log.contains("surveil: line 1 of SURVEIL_ENV is neither NAME=VALUE nor NAME<<WORD: `oops`; so the step"),
        "{log}"
    );
    assert_eq!(outcomes("slow"), [some("timed_out"), some("passed")]);
    assert_eq!(attempt("slow").detail.as_deref(), Some("step `hang` reached its timeout"));
    assert_eq!(attempt("slow").reason_code.as_deref(), Some("step_timeout"));
    assert_eq!(
        (outcomes("absent"), job(&build, "absent").state.as_str()),
        (vec![some("passed"), some("could_not_start")], "errored")
    );
    assert_eq!(outcomes("over"), [some("timed_out"), None], "no time is left after that of the task");
}

#[test]
fn a_cancel_ends_the_step_and_lets_no_other_begin() {
    let world = World::new();
    let (begun, never) = (world.tally("begun"), world.tally("never"));
    let repository = world.repository("app");
    repository.commit_tasks(&format!(
        "[task.test]\nsteps = ['true', '''{}\nsleep 1000''', {{ run = '''{}''', always = true }}]\n",
        begun.add("begun"),
        never.add("never")
    ));
    let _roles = world.roles(&[&repository]);
    begun.reaches(1);
    world.surveil(&["cancel", "latest"]).ok();
    until("nothing is left", || world.processes(&["SURVEIL=true"]).is_empty());
    let reported = || world.surveil(&["show", "latest", "--json"]).ok();
    until("its steps are known", || reported().contains(r#""outcome":"cancelled","detail":null,"duration_ms""#));
    assert_eq!(never.lines(), Vec::<String>::new());
    let shown = world.surveil(&["show", "latest"]).ok();
    assert!(shown.contains("left out"), "{shown}");
}

/// The steps travel with the result, which a runner keeps until it is taken.
#[test]
fn steps_are_known_after_a_restart_of_the_dispatcher_and_lost_with_a_killed_runner() {
    let world = World::new();
    let (begun, gate) = (world.tally("begun"), world.gate("gate"));
    let repository = world.repository("app");
    let commit = repository.commit_tasks(&format!(
        "[task.test]\nsteps = [\"true\", '''{}\n{}\nexit 3''']\n",
        begun.add("begun"),
        gate.wait()
    ));
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let runner = world.runner("w1", &[]);
    begun.reaches(1);
    runner.signal(Signal::KILL);
    drop(runner);
    until("nothing is left", || world.processes(&["SURVEIL=true"]).is_empty());
    let _runner = world.runner("w1", &[]);
    begun.reaches(2);
    dispatcher.kill();
    gate.open();
    let _dispatcher = world.dispatcher(&[]);

    let build = world.expect(&commit, "failed");
    let attempts = &job(&build, "test").attempts;
    assert_eq!(attempts[0].outcome.as_deref(), Some("lost"));
    assert!(attempts[0].steps.is_empty(), "{attempts:?}");
    let ended: Vec<_> = attempts[1].steps.iter().map(|step| step.outcome.as_deref()).collect();
    assert_eq!(ended, [Some("passed"), Some("failed")], "{}", text(&repository.path));
}
