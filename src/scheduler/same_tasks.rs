//! One value for equal tasks: a hundred queued commits of a repository have the tasks of one.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::TaskSpec;

/// The tasks that are remembered. With more the memory starts anew, to bound its size and to let go of tasks that are
/// in use no more.
const REMEMBERED_MAX: usize = 2048;

/// Tasks that builds had lately.
#[derive(Debug, Default)]
pub(super) struct SameTasks(HashSet<Arc<TaskSpec>>);

impl SameTasks {
    /// Returns the value that an equal task has already, or this one.
    pub(super) fn share(&mut self, task: TaskSpec) -> Arc<TaskSpec> {
        if let Some(known) = self.0.get(&task) {
            return Arc::clone(known);
        }
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        let task = Arc::new(task);
        self.0.insert(Arc::clone(&task));
        task
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Placement, Script, TaskName};

    fn task(name: &str) -> TaskSpec {
        TaskSpec::new(TaskName::new(name).unwrap(), Script::Shell("make".to_owned()))
    }

    fn retried(task: TaskSpec) -> TaskSpec {
        TaskSpec { placement: Placement { retries: 1, ..task.placement }, ..task }
    }

    #[test]
    fn equal_tasks_have_one_value_and_others_have_not() {
        let mut tasks = SameTasks::default();
        let first = tasks.share(task("test"));
        assert!(Arc::ptr_eq(&first, &tasks.share(task("test"))));
        assert_eq!(*tasks.share(retried(task("test"))), retried(task("test")));
        assert_eq!(*tasks.share(task("lint")), task("lint"));
        assert!(Arc::ptr_eq(&first, &tasks.share(task("test"))));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut tasks = SameTasks::default();
        for number in 0..=REMEMBERED_MAX {
            tasks.share(task(&format!("t{number}")));
        }
        assert_eq!(tasks.0.len(), 1);
    }
}
