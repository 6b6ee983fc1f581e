//! The plan of a build of 1,000 jobs: the task file is read and checked, matrices are unfolded, conditions are judged
//! against 1,000 changed paths.
//!
//! `cargo bench --bench plan`; `SURVEIL_BENCH_JOBS` changes the number of jobs.

mod stage;

use std::sync::Arc;

use stage::figures::Sample;
use stage::{is_measuring, ms_since, setting};
use surveil::clock;
use surveil::config::{PlanContext, parse_tasks};
use surveil::model::{
    BranchName, BuildId, BuildSource, ChangeJudge, Changes, CommitId, RepoName, Trigger, TriggerEvent,
};

/// The most that it may take, in the median.
const MOST_MS: f64 = 10.0;
/// The cells of each matrix.
const CELLS: usize = 100;

fn main() {
    let jobs = if is_measuring() { setting("SURVEIL_BENCH_JOBS", 1000) } else { 200 };
    let rounds = if is_measuring() { setting("SURVEIL_BENCH_ROUNDS", 100) } else { 1 };
    let text = task_file(jobs / CELLS);
    let commit: CommitId = "a9993e364706816aba3e25717850c26c9cd0d89d".parse().expect("an id of a commit");
    let branch = BranchName::new("main");
    let source = BuildSource {
        repo: RepoName::new("app").expect("a name"),
        commit,
        trigger: Trigger::push(&branch, Some(commit), vec![commit]),
        subject: String::new(),
        author: String::new(),
    };
    let paths: Arc<[String]> = (0..1000).map(|n| format!("crates/part{}/src/file{n}.rs", n % 7)).collect();
    let changes = Changes::Paths { since: commit, build: BuildId(1), paths };
    let mut sample = Sample::default();
    for _ in 0..rounds {
        let begun = clock::instant();
        let mut plan =
            parse_tasks(".surveil.toml", text.as_bytes(), PlanContext::Build(&source)).expect("a good task file");
        let event = TriggerEvent::of(&source.trigger);
        let mut judge = ChangeJudge::default();
        for at in plan.leave_out_unmet(event, &source.trigger.reference) {
            plan.judge(at, &changes, &mut judge);
        }
        sample.add(ms_since(begun));
        let left_out = plan.tasks.iter().filter(|task| task.left_out.is_some()).count();
        assert_eq!((plan.tasks.len(), left_out), (jobs, (jobs / CELLS / 2) * CELLS));
    }
    sample.print(&format!("the plan of {jobs} jobs"), "ms");
    assert!(!is_measuring() || sample.median() <= MOST_MS, "more than {MOST_MS} ms");
}

/// A file with so many matrices. No path of every second one has changed.
fn task_file(matrices: usize) -> String {
    let mut text = String::from("[defaults]\ntimeout = \"30m\"\n\n[template.common]\nlabels = [\"linux\"]\n");
    let axis = |count: usize| (0..count).map(|n| format!("\"v{n}\"")).collect::<Vec<_>>().join(", ");
    for n in 0..matrices {
        let axes = axis(CELLS / 10);
        text.push_str(&format!(
            "\n[task.test{n}]\nextends = [\"common\"]\nmatrix = {{ version = [{axes}], system = [{axes}] }}\n\
             run = \"./test $MATRIX_VERSION\"\nenv = {{ SYSTEM = \"${{matrix.system}}\" }}\n\
             when = {{ branches = [\"main\", \"release/*\"], changed = [\"crates/part{}/**\", \"!**/*.md\"] }}\n",
            if n % 2 == 0 { n % 7 } else { 100 + n }
        ));
        if n > 0 {
            text.push_str(&format!("needs = [\"test{}@v0,v0\"]\n", n - 1));
        }
    }
    text
}
