//! Chooses the tasks of a plan by their conditions. The same rules hold in the dispatcher and in `surveil plan`.

use std::collections::HashMap;
use std::sync::Arc;

use super::glob::PathGlobs;
use super::reason::{ChangeReason, LeftOutReason};
use super::{BuildId, CommitId, Plan, RefName, TriggerEvent, Unmet, When};

/// What has changed since a task passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// The paths that differ from the commit at which it passed, in this build.
    Paths { since: CommitId, build: BuildId, paths: Arc<[String]> },
    /// Paths cannot tell, or need not: the task runs.
    Runs(ChangeReason),
}

/// Judges the changes of many tasks, of which many have the same globs, as the cells of a matrix do.
#[derive(Debug, Default)]
pub struct ChangeJudge {
    /// The first path that matches, by the build that is compared with and the globs.
    known: HashMap<(BuildId, Vec<String>), Option<String>>,
}

impl Plan {
    /// Leaves out the tasks that a build of this event and ref does not have. Returns the places of the tasks about
    /// which changed paths decide.
    pub fn leave_out_unmet(&mut self, event: TriggerEvent, reference: &RefName) -> Vec<usize> {
        let mut to_judge = Vec::new();
        for (at, task) in self.tasks.iter_mut().enumerate() {
            let Some(when) = task.spec.placement.when.as_deref().filter(|_| task.left_out.is_none()) else { continue };
            match when.unmet(event, reference) {
                Some(unmet) => task.left_out = Some(left_out(unmet, event, reference)),
                None if !when.changed.is_empty() && event.judges_changes() => to_judge.push(at),
                None => {}
            }
        }
        to_judge
    }

    /// Leaves out the task at this place if none of its paths has changed, and notes why it runs otherwise.
    pub fn judge(&mut self, at: usize, changes: &Changes, judge: &mut ChangeJudge) {
        let task = &mut self.tasks[at];
        let Some(when) = &task.spec.placement.when else { return };
        match changes {
            Changes::Runs(reason) => task.because = Some(reason.clone()),
            Changes::Paths { since, build, paths } => {
                let (since, build) = (since.to_string(), *build);
                match judge.first_match(when, build, paths) {
                    Some(path) => task.because = Some(ChangeReason::PathChanged { path, since, build }),
                    None => {
                        let globs = when.changed.clone();
                        task.left_out = Some(LeftOutReason::NothingChanged { since, build, globs });
                    }
                }
            }
        }
    }
}

impl ChangeJudge {
    fn first_match(&mut self, when: &When, build: BuildId, paths: &[String]) -> Option<String> {
        let find = || {
            let globs = PathGlobs::new(&when.changed);
            paths.iter().find(|path| globs.matches(path)).cloned()
        };
        self.known.entry((build, when.changed.clone())).or_insert_with(find).clone()
    }
}

fn left_out(unmet: Unmet, event: TriggerEvent, reference: &RefName) -> LeftOutReason {
    match (unmet, reference.branch(), reference.tag()) {
        (Unmet::Event, ..) => LeftOutReason::NotForEvent { event: event.word().to_owned() },
        (Unmet::Ref, Some(branch), _) => LeftOutReason::NotOnRef { what: format!("branch {branch}") },
        (Unmet::Ref, None, Some(tag)) => LeftOutReason::NotOnRef { what: format!("tag {tag}") },
        (Unmet::Ref, None, None) => LeftOutReason::NotOnRef { what: reference.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Script, TaskName, TaskSpec};

    fn plan(conditions: &[When]) -> Plan {
        let task = |(at, when): (usize, &When)| {
            let name = TaskName::new(&format!("t{at}")).unwrap();
            let mut spec = TaskSpec::new(name, Script::Shell("true".into()));
            spec.placement.when = (*when != When::default()).then(|| Box::new(when.clone()));
            spec
        };
        Plan::of(conditions.iter().enumerate().map(task).collect())
    }

    fn on(branches: &[&str], changed: &[&str]) -> When {
        let list = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
        When { branches: list(branches), changed: list(changed), ..When::default() }
    }

    #[test]
    fn tasks_for_other_refs_and_events_are_left_out_with_the_reason() {
        let tags = When { events: vec![TriggerEvent::Tag], ..When::default() };
        let mut plan = plan(&[When::default(), on(&["main"], &[]), tags]);
        let to_judge = plan.leave_out_unmet(TriggerEvent::Push, &RefName::new("refs/heads/topic"));
        assert_eq!(to_judge, [0; 0]);
        let reasons: Vec<_> = plan.tasks.iter().map(|task| task.left_out.clone()).collect();
        let (what, event) = ("branch topic".to_owned(), "push".to_owned());
        let expected = [None, Some(LeftOutReason::NotOnRef { what }), Some(LeftOutReason::NotForEvent { event })];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn what_was_left_out_before_keeps_its_reason() {
        let mut plan = plan(&[on(&["main"], &["src"])]);
        plan.tasks[0].left_out = Some(LeftOutReason::NotAsked);
        assert_eq!(plan.leave_out_unmet(TriggerEvent::Push, &RefName::new("refs/heads/main")), [0; 0]);
        assert_eq!(plan.tasks[0].left_out, Some(LeftOutReason::NotAsked));
    }

    #[test]
    fn a_task_of_which_no_path_changed_is_left_out_and_another_says_which_path_did() {
        let mut plan = plan(&[on(&[], &["src/**"]), on(&[], &["docs/**", "!**/*.txt"]), on(&[], &["src/**"])]);
        let main = RefName::new("refs/heads/main");
        assert_eq!(plan.leave_out_unmet(TriggerEvent::Tag, &main), [0; 0], "a tag is judged by no path");
        assert_eq!(plan.leave_out_unmet(TriggerEvent::Push, &main), [0, 1, 2]);
        let (since, build) = (CommitId::from_bytes(&[0x4f; 20]).unwrap(), BuildId(12));
        let paths = ["docs/a.txt", "docs/b.md", "docs/c.md"].map(String::from);
        let changes = Changes::Paths { since, build, paths: paths.into() };
        let mut judge = ChangeJudge::default();
        plan.judge(0, &changes, &mut judge);
        plan.judge(1, &changes, &mut judge);
        plan.judge(2, &Changes::Runs(ChangeReason::NoPass), &mut judge);
        let (since, globs) = (since.to_string(), vec!["src/**".to_owned()]);
        let reason = LeftOutReason::NothingChanged { since: since.clone(), build, globs };
        assert_eq!((plan.tasks[0].left_out.clone(), plan.tasks[0].because.clone()), (Some(reason), None));
        let path = "docs/b.md".to_owned();
        let because = ChangeReason::PathChanged { path, since, build };
        assert_eq!((plan.tasks[1].left_out.clone(), plan.tasks[1].because.clone()), (None, Some(because)));
        assert_eq!((plan.tasks[2].left_out.clone(), plan.tasks[2].because.clone()), (None, Some(ChangeReason::NoPass)));
    }
}
