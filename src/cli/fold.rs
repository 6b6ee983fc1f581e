//! Folds the cells of a matrix into one row for people. The JSON form has all of them.

use super::report::job_word;
use crate::model::{EndingKind, JobStateKind};
use crate::protocol::operator::JobReport;

/// One row of a list of jobs.
pub(crate) enum Row<'b> {
    Job(&'b JobReport),
    Matrix(Cells<'b>),
}

/// The cells of one matrix, in their order.
pub(crate) struct Cells<'b>(Vec<&'b JobReport>);

/// Returns the name of a task as the task file has it: for a cell, that of its matrix.
pub(crate) fn written(task: &str) -> &str {
    task.split('@').next().unwrap_or(task)
}

/// Whether a typed name means a task: its own name, or that of its matrix.
pub(crate) fn is_meant(typed: &str, task: &str) -> bool {
    typed == task || task.strip_prefix(typed).is_some_and(|cell| cell.starts_with('@'))
}

/// Returns the rows of jobs. A matrix with one cell is no row of its own.
pub(crate) fn rows(jobs: &[JobReport]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for alike in jobs.chunk_by(|one, next| next.task.contains('@') && written(&one.task) == written(&next.task)) {
        rows.push(match alike {
            [job] => Row::Job(job),
            cells => Row::Matrix(Cells(cells.iter().collect())),
        });
    }
    rows
}

/// Names the services of a task, with their images: `beside db (postgres:16), web`. `None` if there are none.
pub(crate) fn beside<'n>(services: impl Iterator<Item = (&'n str, Option<&'n str>)>) -> Option<String> {
    let named = services.map(|(name, image)| match image {
        Some(image) => format!("{name} ({image})"),
        None => name.to_owned(),
    });
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| format!("beside {}", named.join(", ")))
}

/// Names tasks, and the cells of a matrix once: `build@…, lint`.
pub(crate) fn names<'n>(tasks: impl IntoIterator<Item = &'n str>) -> String {
    let tasks: Vec<&str> = tasks.into_iter().collect();
    let alike = tasks.chunk_by(|one, next| next.contains('@') && written(one) == written(next));
    let name = |tasks: &[&str]| match tasks {
        [task] => (*task).to_owned(),
        cells => format!("{}@…", written(cells[0])),
    };
    alike.map(name).collect::<Vec<_>>().join(", ")
}

impl<'b> Cells<'b> {
    /// Returns the cells of this job's matrix in a build, if it is one.
    pub(crate) fn of(jobs: &'b [JobReport], job: &JobReport) -> Option<Self> {
        let cells: Vec<&JobReport> = jobs.iter().filter(|other| written(&other.task) == written(&job.task)).collect();
        (job.task.contains('@') && cells.len() > 1).then_some(Self(cells))
    }

    /// The number of cells.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The name of the row: `test@…`.
    pub(crate) fn name(&self) -> String {
        format!("{}@…", written(&self.0[0].task))
    }

    /// The number of cells in each state, those that passed first: `5 passed, 1 failed`.
    pub(crate) fn counts(&self) -> String {
        let mut counts: Vec<(String, usize)> = vec![("passed".to_owned(), 0)];
        for word in self.0.iter().map(|cell| job_word(cell)) {
            match counts.iter_mut().find(|(known, _)| *known == word) {
                Some((_, count)) => *count += 1,
                None => counts.push((word, 1)),
            }
        }
        let told = counts.iter().filter(|(_, count)| *count > 0).map(|(word, count)| format!("{count} {word}"));
        told.collect::<Vec<_>>().join(", ")
    }

    /// The state of the row: the first cell's that went wrong, else of one that is not finished, else of the first.
    pub(crate) fn word(&self) -> String {
        let counts = |job: &&&JobReport| is_bad(job) && !job.allow_failure;
        let is_open = |job: &&&JobReport| !matches!(kind(job), Some(JobStateKind::Finished(_)));
        let is_running = |job: &&&JobReport| kind(job) == Some(JobStateKind::Running);
        let is_passed = |job: &&&JobReport| kind(job) == Some(JobStateKind::Finished(EndingKind::Passed));
        let cells = || self.0.iter();
        let found = cells().find(counts).or_else(|| cells().find(is_running)).or_else(|| cells().find(is_open));
        job_word(found.or_else(|| cells().find(is_passed)).unwrap_or(&self.0[0]))
    }

    /// The cells that deserve a row of their own: those that went wrong, are flaky, or run.
    pub(crate) fn told(&self) -> impl Iterator<Item = &'b JobReport> {
        self.0.iter().copied().filter(|job| is_bad(job) || job.flaky || kind(job) == Some(JobStateKind::Running))
    }
}

fn kind(job: &JobReport) -> Option<JobStateKind> {
    JobStateKind::of_word(&job.state)
}

fn is_bad(job: &JobReport) -> bool {
    kind(job).is_some_and(JobStateKind::is_bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::job;

    fn jobs(states: &[(&str, &str)]) -> Vec<JobReport> {
        states.iter().map(|(task, state)| job(task, state, vec![])).collect()
    }

    /// Each row as `name: word, counts, told`.
    fn shown(states: &[(&str, &str)]) -> Vec<String> {
        let jobs = jobs(states);
        let line = |row: Row<'_>| match row {
            Row::Job(job) => job.task.clone(),
            Row::Matrix(cells) => {
                let told: Vec<&str> = cells.told().map(|job| &*job.task).collect();
                format!("{}: {}, {}, {told:?}", cells.name(), cells.word(), cells.counts())
            }
        };
        rows(&jobs).into_iter().map(line).collect()
    }

    #[test]
    fn the_cells_of_a_matrix_are_one_row_with_their_counts() {
        assert_eq!(
            shown(&[("a", "passed"), ("t@1", "passed"), ("t@2", "failed"), ("t@3", "passed"), ("u@1", "passed")]),
            ["a", "t@…: failed, 2 passed, 1 failed, [\"t@2\"]", "u@1"]
        );
        assert_eq!(
            shown(&[("t@1", "passed"), ("t@2", "running"), ("t@3", "queued"), ("u@1", "queued"), ("u@2", "left_out")]),
            ["t@…: running, 1 passed, 1 running, 1 queued, [\"t@2\"]", "u@…: queued, 1 queued, 1 left out, []"]
        );
        assert_eq!(shown(&[("t@1", "passed"), ("t@2", "left_out")]), ["t@…: passed, 1 passed, 1 left out, []"]);
    }

    #[test]
    fn a_failure_that_is_allowed_is_told_but_is_not_the_state_of_the_row() {
        let mut jobs = jobs(&[("t@1", "passed"), ("t@2", "failed")]);
        jobs[1].allow_failure = true;
        let Row::Matrix(cells) = &rows(&jobs)[0] else { panic!("a job") };
        assert_eq!((cells.word(), cells.told().count()), ("passed".to_owned(), 1));
    }

    #[test]
    fn a_typed_name_means_a_task_or_all_cells_of_a_matrix() {
        assert!(is_meant("t", "t") && is_meant("t", "t@a,b") && is_meant("t@a,b", "t@a,b"));
        assert!(!is_meant("t", "tt") && !is_meant("t@a", "t@a,b") && !is_meant("t@a", "t"));
        assert_eq!(names(["a", "b@1", "b@2", "c@1", "d"]), "a, b@…, c@1, d");
    }
}
