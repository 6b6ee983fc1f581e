//! The build that `surveil run` makes of tasks: what becomes of each, in the order in which they run. It decides as a
//! dispatcher would. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::CliError;
use super::task_order::{in_order, left_out_of_push, to_run};
use crate::model::reason::{CancelReason, LeftOutReason};
use crate::model::{Condition, Ending, EndingKind, Readiness, RefName, TaskName, TaskSpec};

/// The tasks of a local run, and what became of those whose turn has come.
pub(crate) struct LocalBuild<'a> {
    /// The names that were typed. What they name runs whatever its own conditions say.
    wanted: &'a [String],
    /// The branch by which `when` is judged.
    reference: Option<RefName>,
    fail_fast: bool,
    queue: VecDeque<Arc<TaskSpec>>,
    left_out: HashMap<TaskName, LeftOutReason>,
    done: Vec<Done>,
    held: Vec<HeldTask>,
}

/// A task that has ended.
pub(crate) struct Done {
    pub(crate) task: Arc<TaskSpec>,
    pub(crate) ending: Ending,
    /// The word that tells the ending best.
    pub(crate) word: &'static str,
}

/// A task that waits for a person.
pub(crate) struct HeldTask {
    pub(crate) task: Arc<TaskSpec>,
    /// The held tasks that it needs.
    pub(crate) needs: Vec<TaskName>,
}

impl<'a> LocalBuild<'a> {
    /// Chooses the tasks of these names and those that they need, else all that a push to `reference` would choose.
    pub(crate) fn new(
        tasks: &[TaskSpec],
        wanted: &'a [String],
        reference: Option<RefName>,
        fail_fast: bool,
    ) -> Result<Self, CliError> {
        let queue = to_run(tasks, wanted)?.into_iter().map(|task| Arc::new(task.clone())).collect();
        let reference = reference.filter(|_| wanted.is_empty());
        let mut build =
            Self { wanted, reference, fail_fast, queue, left_out: HashMap::new(), done: Vec::new(), held: Vec::new() };
        build.leave_out(tasks);
        Ok(build)
    }

    fn leave_out(&mut self, tasks: &[TaskSpec]) {
        if let Some(reference) = &self.reference {
            self.left_out.extend(left_out_of_push(tasks, reference));
        }
    }

    /// Returns the tasks that may run: all but those that are left out, and those that wait for a person.
    pub(crate) fn may_run(&self) -> Vec<Arc<TaskSpec>> {
        let (mut may_run, mut held) = (Vec::new(), HashSet::new());
        for task in self.queue.iter().filter(|task| !self.left_out.contains_key(&task.name)) {
            let needs_held = task.placement.needs.iter().any(|need| held.contains(&need.task));
            if self.is_manual(task) || needs_held {
                held.insert(&task.name);
            } else {
                may_run.push(task.clone());
            }
        }
        may_run
    }

    /// Takes the tasks that a task wrote. They run behind all others.
    pub(crate) fn join(&mut self, tasks: &[TaskSpec]) -> Result<(), CliError> {
        self.leave_out(tasks);
        self.queue.extend(in_order(tasks, &[])?.into_iter().map(|task| Arc::new(task.clone())));
        Ok(())
    }

    /// Returns the next task that runs. Those before it that do not run have their endings, or are held.
    pub(crate) fn next(&mut self) -> Option<Arc<TaskSpec>> {
        while let Some(task) = self.queue.pop_front() {
            let readiness = self.readiness(&task);
            // The tasks that it needs have had their turn: those that have not ended are held.
            let is_held = readiness == Readiness::NotYet || readiness == Readiness::Ready && self.is_manual(&task);
            let ending = match (self.left_out.get(&task.name), readiness) {
                (Some(reason), _) => Ending::LeftOut(Box::new(reason.clone())),
                (None, _) if is_held => {
                    let is_needed = |held: &&HeldTask| task.placement.needs.iter().any(|it| it.task == held.task.name);
                    let needs = self.held.iter().filter(is_needed).map(|held| held.task.name.clone()).collect();
                    self.held.push(HeldTask { task, needs });
                    continue;
                }
                // After a Ctrl-C no further task starts.
                _ if self.is_interrupted() => Ending::Cancelled(None),
                (None, Readiness::Never(ending)) => ending,
                (None, Readiness::Ready | Readiness::NotYet) => match self.stopped_by(&task) {
                    Some(reason) => Ending::Cancelled(Some(Box::new(reason))),
                    None => return Some(task),
                },
            };
            let word = if ending.kind() == EndingKind::LeftOut { "left out" } else { ending.word() };
            self.end(task, ending, word);
        }
        None
    }

    /// Notes how a task ended.
    pub(crate) fn end(&mut self, task: Arc<TaskSpec>, ending: Ending, word: &'static str) {
        self.done.push(Done { task, ending, word });
    }

    /// Returns the tasks that have ended, in that order.
    pub(crate) fn done(&self) -> &[Done] {
        &self.done
    }

    pub(crate) fn held(&self) -> &[HeldTask] {
        &self.held
    }

    /// Whether a task was ended by Ctrl-C.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.done.iter().any(|done| done.ending == Ending::Cancelled(None))
    }

    fn is_manual(&self, task: &TaskSpec) -> bool {
        task.placement.manual && !self.wanted.iter().any(|name| task.name.is_meant_by(name))
    }

    /// Whether a task may start. The tasks that it needs have had their turn, and those that have not ended are held.
    fn readiness(&self, task: &TaskSpec) -> Readiness {
        Readiness::of(task.placement.needs.iter().filter_map(|need| {
            let ended = self.done.iter().find(|done| done.task.name == need.task);
            let ended = ended.map(|done| (&*done.task, Some(done.ending.kind())));
            let is_it = |held: &&HeldTask| held.task.name == need.task;
            let held = || self.held.iter().find(is_it).map(|held| (&*held.task, None));
            let (needed, ending) = ended.or_else(held)?;
            Some((need.condition, ending, needed))
        }))
    }

    /// Why a task is cancelled in a build that stops at its first failure, if it is. Tasks that run after the end of
    /// others clean up, and run.
    fn stopped_by(&self, task: &TaskSpec) -> Option<CancelReason> {
        let comes_after = task.placement.needs.iter().any(|need| need.condition != Condition::Passed);
        let is_failure = |done: &&Done| {
            matches!(done.ending, Ending::Failed | Ending::Errored(_)) && !done.task.placement.allow_failure
        };
        let failed = self.done.iter().find(is_failure).filter(|_| self.fail_fast && !comes_after)?;
        Some(CancelReason::FailFast { task: failed.task.name.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Need, Script, When};

    fn task(name: &str, needs: &[&str], condition: Condition) -> TaskSpec {
        let mut task = TaskSpec::new(TaskName::recorded(name), Script::Shell("true".into()));
        let need = |need: &&str| Need { condition, ..Need::passed(TaskName::recorded(need)) };
        task.placement.needs = needs.iter().map(need).collect();
        task
    }

    fn manual(mut task: TaskSpec) -> TaskSpec {
        task.placement.manual = true;
        task
    }

    fn of_tags(mut task: TaskSpec) -> TaskSpec {
        task.placement.when = Some(Box::new(When { tags: vec!["v*".into()], ..When::default() }));
        task
    }

    /// Runs a build in which the named tasks fail. Returns a word for each task, and what is held.
    fn run(tasks: &[TaskSpec], failing: &[&str], joined: &[TaskSpec]) -> (Vec<String>, Vec<String>) {
        let reference = Some(RefName::new("refs/heads/main"));
        let mut build = LocalBuild::new(tasks, &[], reference, false).unwrap();
        while let Some(task) = build.next() {
            let has_failed = failing.contains(&&*task.name);
            if &*task.name == "plan" {
                build.join(joined).unwrap();
            }
            let ending = if has_failed { Ending::Failed } else { Ending::Passed };
            build.end(task, ending.clone(), ending.word());
        }
        let held = build.held().iter().map(|held| {
            let needs: Vec<&str> = held.needs.iter().map(|name| &**name).collect();
            format!("{}: {}", held.task.name, needs.join(" "))
        });
        let done = build.done().iter().map(|done| format!("{} {}", done.task.name, done.word));
        (done.collect(), held.collect())
    }

    #[test]
    fn a_manual_task_holds_what_needs_it_and_one_that_is_left_out_holds_nothing() {
        let passed = Condition::Passed;
        let tasks = |deploy: TaskSpec| {
            [deploy, task("verify", &["deploy"], passed), task("tell", &["verify"], passed), task("test", &[], passed)]
        };
        let may_run = |deploy: TaskSpec| {
            let build = LocalBuild::new(&tasks(deploy), &[], Some(RefName::new("refs/heads/main")), false).unwrap();
            build.may_run().iter().map(|task| task.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(may_run(manual(task("deploy", &[], passed))), ["test"]);
        assert_eq!(may_run(of_tags(task("deploy", &[], passed))), ["verify", "tell", "test"]);
        let (done, held) = run(&tasks(manual(task("deploy", &[], passed))), &[], &[]);
        assert_eq!(done, ["test passed"]);
        assert_eq!(held, ["deploy: ", "verify: deploy", "tell: verify"]);
        let (done, held) = run(&tasks(of_tags(manual(task("deploy", &[], passed)))), &[], &[]);
        assert_eq!(done, ["deploy left out", "verify passed", "tell passed", "test passed"]);
        assert!(held.is_empty(), "{held:?}");
    }

    #[test]
    fn a_manual_task_that_can_never_start_ends_and_lets_the_rest_go() {
        let tasks = [
            task("deploy", &[], Condition::Passed),
            manual(task("roll-back", &["deploy"], Condition::Failed)),
            task("tell", &["roll-back"], Condition::Passed),
            manual(task("publish", &["deploy"], Condition::Passed)),
            task("clean", &["publish"], Condition::Finished),
        ];
        let (done, held) = run(&tasks, &[], &[]);
        assert_eq!(done, ["deploy passed", "roll-back left out", "tell passed"]);
        assert_eq!(held, ["publish: ", "clean: publish"]);
        let (done, held) = run(&tasks, &["deploy"], &[]);
        assert_eq!(done, ["deploy failed", "publish skipped", "clean passed"]);
        assert_eq!(held, ["roll-back: ", "tell: roll-back"]);
    }

    #[test]
    fn tasks_that_a_task_wrote_are_held_likewise() {
        let joined = [
            task("plan/tell", &["plan", "plan/deploy"], Condition::Passed),
            manual(task("plan/deploy", &["plan"], Condition::Passed)),
            of_tags(manual(task("plan/publish", &["plan"], Condition::Passed))),
            task("plan/after", &["plan", "plan/publish"], Condition::Passed),
        ];
        let (done, held) = run(&[task("plan", &[], Condition::Passed)], &[], &joined);
        assert_eq!(done, ["plan passed", "plan/publish left out", "plan/after passed"]);
        assert_eq!(held, ["plan/deploy: ", "plan/tell: plan/deploy"]);
    }
}
