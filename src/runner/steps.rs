//! The commands of an attempt, one after the other: which is next, how long it may take, and what the attempt amounts
//! to. Pure. A task without steps has one command. It is the same under a dispatcher and under `surveil run`.

use std::ops::Range;

use crate::model::reason::TimeoutReason;
use crate::model::{Outcome, Recipe, Script, Step, StepRecord};
use crate::process::Exit;

/// The commands of one attempt.
#[derive(Debug)]
pub struct StepRun<'r> {
    recipe: &'r Recipe,
    /// The number of commands that have ended or were left out.
    done: usize,
    /// The outcome of the first command that did not pass.
    failed: Option<Outcome>,
    /// No further command is executed, whatever it is: the time is over, or the attempt was cancelled.
    is_over: bool,
    records: Vec<StepRecord>,
}

/// A command that is to be executed now.
#[derive(Debug)]
pub struct NextCommand<'r> {
    /// `None` for the script of a task without steps.
    pub step: Option<&'r Step>,
    pub script: &'r Script,
    pub dir: Option<&'r str>,
    /// The time that it has, which is never longer than that of the attempt.
    pub timeout_ms: u64,
    /// The time is the step's own, and not the rest of the attempt's.
    has_own_timeout: bool,
}

/// Returns the outcome of a command's end. `quiet` is there if the command was cancelled because it printed nothing.
#[must_use]
pub fn outcome_of(exit: Exit, quiet: Option<TimeoutReason>) -> Outcome {
    match exit {
        Exit::Code(0) => Outcome::Passed,
        Exit::Code(code) => Outcome::Failed(code),
        Exit::Signal(signal) => Outcome::Killed(signal),
        Exit::TimedOut => Outcome::TimedOut(TimeoutReason::Whole),
        Exit::Cancelled => quiet.map_or(Outcome::Cancelled, Outcome::TimedOut),
        Exit::CouldNotStart(why) => Outcome::CouldNotStart(why),
    }
}

impl<'r> StepRun<'r> {
    /// The commands of a recipe.
    #[must_use]
    pub fn new(recipe: &'r Recipe) -> Self {
        Self { recipe, done: 0, failed: None, is_over: false, records: Vec::new() }
    }

    /// Returns the next command to execute, if there is one. `elapsed_ms` is the time since the first one started.
    pub fn next(&mut self, elapsed_ms: u64) -> Option<NextCommand<'r>> {
        let left_ms = self.recipe.timeout_ms.saturating_sub(elapsed_ms);
        if self.recipe.steps.is_empty() {
            let Recipe { script, dir, .. } = self.recipe;
            let is_first = self.done == 0 && !self.is_over;
            let (timeout_ms, dir) = (left_ms, dir.as_deref());
            return is_first.then_some(NextCommand { step: None, script, dir, timeout_ms, has_own_timeout: false });
        }
        while let Some(step) = self.recipe.steps.get(self.done) {
            if left_ms == 0 && !self.is_over {
                self.is_over = true;
                self.failed.get_or_insert(Outcome::TimedOut(TimeoutReason::Whole));
            }
            if self.is_over || self.failed.is_some() && !step.always {
                self.leave_out(step);
                continue;
            }
            let own_ms = step.timeout_ms.filter(|own_ms| *own_ms < left_ms);
            return Some(NextCommand {
                step: Some(step),
                script: &step.script,
                dir: step.dir.as_deref().or(self.recipe.dir.as_deref()),
                timeout_ms: own_ms.unwrap_or(left_ms),
                has_own_timeout: own_ms.is_some(),
            });
        }
        None
    }

    /// Returns the words that announce the step which is to be executed now.
    #[must_use]
    pub fn heading(&self) -> Option<String> {
        let step = self.recipe.steps.get(self.done)?;
        Some(format!("step {} of {}: {}", self.done + 1, self.recipe.steps.len(), step.name))
    }

    fn leave_out(&mut self, step: &Step) {
        let at = self.records.last().map_or(0, |before| before.log.end);
        self.records.push(StepRecord { name: step.name.clone(), outcome: None, duration_ms: None, log: at..at });
        self.done += 1;
    }

    /// Takes the end of the command that was executed, with its section of the output.
    pub fn ended(&mut self, command: &NextCommand<'_>, outcome: Outcome, duration_ms: u64, log: Range<u64>) {
        let is_whole = outcome == Outcome::TimedOut(TimeoutReason::Whole);
        let own = command.step.filter(|_| is_whole && command.has_own_timeout);
        let outcome = own.map_or(outcome, |step| Outcome::TimedOut(TimeoutReason::step(&step.name)));
        // A cancel ends everything at once: there is only the grace for it. Nothing has time after the attempt's own.
        self.is_over |= outcome == Outcome::Cancelled || is_whole && own.is_none();
        if outcome == Outcome::Cancelled {
            self.failed = Some(Outcome::Cancelled);
        } else if outcome != Outcome::Passed {
            self.failed.get_or_insert_with(|| outcome.clone());
        }
        self.done += 1;
        if let Some(step) = command.step {
            let (name, duration_ms) = (step.name.clone(), Some(duration_ms));
            self.records.push(StepRecord { name, outcome: Some(outcome), duration_ms, log });
        }
    }

    /// Returns the outcome of the attempt, and its steps.
    #[must_use]
    pub fn finish(mut self) -> (Outcome, Vec<StepRecord>) {
        while let Some(step) = self.recipe.steps.get(self.done) {
            self.leave_out(step);
        }
        (self.failed.unwrap_or(Outcome::Passed), self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str) -> Step {
        Step::new(name.into(), Script::Shell(name.into()))
    }

    fn recipe(steps: Vec<Step>) -> Recipe {
        Recipe { steps, timeout_ms: 1000, ..Recipe::new(Script::of_steps()) }
    }

    /// Executes the steps, each of which takes 100 ms and ends as `end` says. Returns the names and times of those
    /// that were executed, the outcome, and the number of those that were left out.
    fn run(recipe: &Recipe, end: impl Fn(&str) -> Outcome) -> (Vec<(String, u64)>, Outcome, usize) {
        let (mut run, mut executed, mut elapsed) = (StepRun::new(recipe), Vec::new(), 0);
        while let Some(command) = run.next(elapsed) {
            let name = command.step.map_or("", |step| &step.name);
            executed.push((name.to_owned(), command.timeout_ms));
            run.ended(&command, end(name), 100, elapsed..elapsed + 10);
            elapsed += 100;
        }
        let (outcome, records) = run.finish();
        assert!(records.is_sorted_by_key(|record| record.log.start), "{records:?}");
        assert_eq!(records.len(), recipe.steps.len());
        let left_out = records.iter().filter(|record| record.outcome.is_none()).count();
        (executed, outcome, left_out)
    }

    fn names(executed: &[(String, u64)]) -> Vec<&str> {
        executed.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_task_without_steps_has_one_command_and_no_records() {
        let plain = Recipe { dir: Some("a".into()), ..Recipe::new(Script::Shell("x".into())) };
        let mut run = StepRun::new(&plain);
        let command = run.next(0).unwrap();
        assert_eq!((command.script, command.dir, command.timeout_ms), (&plain.script, Some("a"), plain.timeout_ms));
        run.ended(&command, Outcome::Failed(3), 1, 0..0);
        assert!(run.next(0).is_none());
        assert_eq!(run.finish(), (Outcome::Failed(3), vec![]));
    }

    #[test]
    fn the_first_failure_leaves_out_all_but_the_steps_that_always_run_and_decides() {
        let always = |name: &str| Step { always: true, ..step(name) };
        let four = recipe(vec![step("build"), step("test"), step("deploy"), always("logs")]);
        let (executed, outcome, left_out) = run(&four, |_| Outcome::Passed);
        assert_eq!((names(&executed).len(), outcome, left_out), (4, Outcome::Passed, 0));
        let fails = |name: &str| match name {
            "test" => Outcome::Failed(4),
            "logs" => Outcome::Failed(1),
            _ => Outcome::Passed,
        };
        let (executed, outcome, left_out) = run(&four, fails);
        assert_eq!((names(&executed), outcome, left_out), (vec!["build", "test", "logs"], Outcome::Failed(4), 1));
        let (_, outcome, _) = run(&four, |name| if name == "logs" { Outcome::Failed(1) } else { Outcome::Passed });
        assert_eq!(outcome, Outcome::Failed(1), "a step that always runs is a step");
    }

    #[test]
    fn a_step_has_its_own_time_within_that_of_the_attempt() {
        let short = Step { timeout_ms: Some(50), ..step("short") };
        let long = Step { timeout_ms: Some(5000), always: true, ..step("long") };
        let both = recipe(vec![short, long]);
        let ends = |name: &str| match name {
            "short" => Outcome::TimedOut(TimeoutReason::Whole),
            _ => Outcome::Passed,
        };
        let (executed, outcome, _) = run(&both, ends);
        assert_eq!(executed, [("short".to_owned(), 50), ("long".to_owned(), 900)]);
        assert_eq!(outcome, Outcome::TimedOut(TimeoutReason::step("short")));
    }

    #[test]
    fn nothing_runs_after_the_attempts_time_or_after_a_cancel() {
        let always = |name: &str| Step { always: true, ..step(name) };
        let three = recipe(vec![step("a"), always("b"), always("c")]);
        for end in [Outcome::TimedOut(TimeoutReason::Whole), Outcome::Cancelled] {
            let (executed, outcome, left_out) = run(&three, |_| end.clone());
            assert_eq!((names(&executed), outcome, left_out), (vec!["a"], end, 2));
        }
        let many: Vec<Step> = (0..12).map(|n| always(&n.to_string())).collect();
        let (executed, outcome, left_out) = run(&recipe(many), |_| Outcome::Passed);
        assert_eq!((executed.len(), left_out), (10, 2), "ten of them take all of the time");
        assert_eq!(outcome, Outcome::TimedOut(TimeoutReason::Whole));
        let quiet = Outcome::TimedOut(TimeoutReason::quiet(5));
        let (executed, outcome, _) = run(&three, |name| if name == "a" { quiet.clone() } else { Outcome::Passed });
        assert_eq!((executed.len(), outcome), (3, quiet), "a quiet step leaves time for others");
        let (_, outcome, _) = run(&three, |name| if name == "a" { Outcome::Failed(1) } else { Outcome::Cancelled });
        assert_eq!(outcome, Outcome::Cancelled);
    }
}
