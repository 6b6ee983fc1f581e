//! The text of one build for people: a headline, and lines for its jobs, attempts and steps. Asks nobody.

use crate::cli::fold::{self, Row};
use crate::cli::hints::Hints;
use crate::cli::output::{bold, dim, painted};
use crate::cli::report::{begun_ms, first_lease_ms, job_kind, job_word, lasted, took, verdict_note};
use crate::cli::table::{first_line, one_line};
use crate::cli::{CliError, Output, human};
use crate::model::{EndingKind, JobStateKind, ServiceFailure};
use crate::protocol::execution::{Execution, ServiceFailureEnd};
use crate::protocol::operator::{AttemptReport, BuildReport, JobReport, StepReport};

/// Characters of an output that are shown.
const OUTPUT_CHARS: usize = 60;

/// Whether the cells of a matrix are one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folding {
    /// One line with counts, and a line for each cell that went wrong or runs.
    Matrices,
    /// A line for each cell.
    None,
}

/// Prints one build for people.
pub(crate) fn print(
    build: &BuildReport,
    (folding, now_ms): (Folding, i64),
    hints: &Hints,
    out: &mut Output,
) -> Result<(), CliError> {
    out.line(headline(build, now_ms))?;
    out.line(format_args!("  {}", one_line(&build.subject)))?;
    let (author, repo, branch) = (one_line(&build.author), one_line(&build.repo), one_line(&build.branch));
    let priority = if build.priority == 0 { String::new() } else { format!(", priority {:+}", build.priority) };
    // A dispatcher of before tells no trust.
    let trust = if build.trust.is_empty() { String::new() } else { format!(", {}", one_line(&build.trust)) };
    out.line(dim(format_args!("  {} by {author}, {repo} {branch}{trust}{priority}", build.commit)))?;
    if let Some(by) = &build.asked_by {
        let asked = if build.trigger == "try" { "tried" } else { "submitted" };
        out.line(dim(format_args!("  {asked} by {}", one_line(by))))?;
    }
    for order in &build.orders {
        out.line(dim(format_args!("  {}, {}", one_line(&order.text), human::ago(order.at_ms, now_ms))))?;
    }
    if let Some(problem) = &build.problem {
        out.line("")?;
        for line in problem.lines() {
            out.line(format_args!("  {}", one_line(line)))?;
        }
    }
    if !build.jobs.is_empty() {
        out.line("")?;
    }
    let rows = match folding {
        Folding::Matrices => fold::rows(&build.jobs),
        Folding::None => build.jobs.iter().map(Row::Job).collect(),
    };
    let width = |row: &Row<'_>| match row {
        Row::Job(job) => job.task.chars().count(),
        Row::Matrix(cells) => {
            let told = cells.told().map(|job| job.task.chars().count());
            told.chain([cells.name().chars().count()]).max().unwrap_or(0)
        }
    };
    let widest = rows.iter().map(width).max().unwrap_or(0);
    for row in &rows {
        match row {
            Row::Job(job) => print_job(build, job, (widest, now_ms), hints, out)?,
            Row::Matrix(cells) => {
                out.line(format_args!("  {}  {:widest$}  {}", state(&cells.word()), cells.name(), cells.counts()))?;
                cells.told().try_for_each(|job| print_job(build, job, (widest, now_ms), hints, out))?;
            }
        }
    }
    Ok(())
}

/// Formats the word for a state, as wide as the widest of them.
fn state(word: &str) -> String {
    format!("{}{:pad$}", painted(word), "", pad = "cancelled".len().saturating_sub(word.len()))
}

/// Formats `b12 passed in 12 s, 3 min ago`.
fn headline(build: &BuildReport, now_ms: i64) -> String {
    let name = bold(format_args!("b{}", build.build));
    let state = painted(&build.state);
    let note = verdict_note(build);
    match build.finished_ms {
        Some(end) => format!("{name} {state}{note} in {}, {}", lasted(build), human::ago(end, now_ms)),
        None => {
            let lasts = first_lease_ms(build).map(|since| format!(" for {}", took(since, now_ms)));
            let asked = if build.rerun_ms.is_some() { "run again" } else { "seen" };
            let ago = human::ago(begun_ms(build), now_ms);
            format!("{name} {state}{}{note}, {asked} {ago}", lasts.unwrap_or_default())
        }
    }
}

fn print_job(
    build: &BuildReport,
    job: &JobReport,
    (widest, now_ms): (usize, i64),
    hints: &Hints,
    out: &mut Output,
) -> Result<(), CliError> {
    let state = state(&job_word(job));
    let mut facts = Vec::new();
    // A waiting job is on no runner, even if earlier attempts were.
    let kind = JobStateKind::of_word(&job.state);
    let is_waiting = matches!(kind, Some(JobStateKind::Waiting | JobStateKind::Held | JobStateKind::Queued));
    if let Some(last) = job.attempts.last().filter(|_| !is_waiting) {
        facts.extend(last.duration_ms.map(human::duration));
        if last.outcome.is_none() {
            facts.push(format!("for {}", took(last.leased_ms, now_ms)));
        }
        facts.push(format!("on {}", one_line(&last.runner)));
    }
    let is_held = |job: &JobReport| job_kind(job) == Some(JobStateKind::Held);
    // A job that is held because of another one is not what is to be started.
    let held_needs: Vec<&str> = build
        .jobs
        .iter()
        .filter(|other| is_held(other) && job.needs.contains(&other.task))
        .map(|it| &*it.task)
        .collect();
    if is_held(job) && !held_needs.is_empty() {
        facts.push(format!("needs {}", held_needs.join(", ")));
    }
    if kind == Some(JobStateKind::Waiting) && !job.needs.is_empty() {
        facts.push(format!("needs {}", fold::names(job.needs.iter().map(String::as_str))));
    }
    let (detail, more_detail) = job.detail.as_deref().map(first_line).unzip();
    facts.extend(detail);
    facts.extend(job.slots.map(|slots| format!("takes {slots} slots")));
    if job.flaky {
        facts.push(painted("flaky"));
    }
    if job.allow_failure && kind.is_some_and(JobStateKind::is_bad) {
        facts.push("allowed to fail".into());
    }
    out.line(format!("  {state}  {:widest$}  {}", job.task, facts.join(", ")).trim_end())?;
    more_detail.into_iter().flatten().try_for_each(|line| out.line(format!("      {line}").trim_end()))?;
    if !job.inputs.is_empty() {
        let given = job.inputs.iter().map(|(name, value)| format!("{}={}", one_line(name), one_line(value)));
        out.line(format_args!("    with {}", given.collect::<Vec<_>>().join(", ")))?;
    }
    // The only attempt of a job that passed has nothing to add.
    if job.attempts.len() > 1 || kind != Some(JobStateKind::Finished(EndingKind::Passed)) {
        for attempt in &job.attempts {
            out.line(format_args!("    {}", attempt_line(attempt)))?;
            let more = step_lines(attempt).into_iter().chain(output_lines(attempt));
            more.into_iter().try_for_each(|line| out.line(format_args!("      {line}")))?;
        }
    } else if let [only] = job.attempts.as_slice() {
        let more = step_lines(only).into_iter().chain(output_lines(only));
        more.into_iter().try_for_each(|line| out.line(format_args!("    {line}")))?;
    }
    if is_held(job) && held_needs.is_empty() {
        out.line(format_args!("    {}", hints.of_held(build, job)))?;
    }
    if kind.is_some_and(JobStateKind::is_bad) {
        for hint in hints.of_job(build, job) {
            out.line(format_args!("    {hint}"))?;
        }
    }
    Ok(())
}

/// Formats `attempt 2: failed (exit code 1) after 3.2 s on w1, 12 KiB in /…/b12/test.2.log`.
fn attempt_line(attempt: &AttemptReport) -> String {
    let outcome = attempt.outcome.as_deref().unwrap_or("running");
    let (log, size) = (one_line(&attempt.log_path), human::bytes(attempt.log_bytes));
    let (ended, place) = (ending(outcome, attempt, "after"), dim(format_args!("{size} in {log}")));
    let facts = attempt.execution.iter().flat_map(execution_facts).map(|fact| format!(", {fact}"));
    let (number, runner, facts) = (attempt.number, one_line(&attempt.runner), facts.collect::<String>());
    format!("attempt {number}: {ended} on {runner}{facts}, {place}")
}

/// Formats `guarded (mount namespace)`, `203 MiB of memory`, `1.9 s of processor time`.
fn execution_facts(execution: &Execution) -> Vec<String> {
    let means = if execution.means.is_empty() { String::new() } else { format!(" ({})", one_line(&execution.means)) };
    let tier = Some(format!("{}{means}", one_line(&execution.tier))).filter(|_| !execution.tier.is_empty());
    let memory = execution.memory_bytes.map(|bytes| format!("{} of memory", human::bytes(bytes)));
    let time = execution.cpu_ms.map(|ms| format!("{} of processor time", human::duration(ms)));
    let exceeded = Some(one_line(&execution.exceeded)).filter(|text| !text.is_empty());
    let gaps = execution.not_enforced.iter().map(|gap| format!("not enforced: {}", one_line(gap)));
    let failed = execution.services.iter().filter_map(|service| {
        let ServiceFailureEnd { code, number, text, timeout_ms } = service.failure.clone()?;
        let failure = ServiceFailure::of_parts(&code, (number, text, timeout_ms));
        let how = failure.map_or(code, |failure| failure.to_string());
        Some(format!("service {} {}", one_line(&service.name), one_line(&how)))
    });
    let in_images = execution.services.iter().filter(|service| !service.means.is_empty());
    let in_images =
        in_images.map(|service| format!("service {} in {}", one_line(&service.name), one_line(&service.means)));
    exceeded.into_iter().chain(failed).chain(tier).chain(memory).chain(time).chain(gaps).chain(in_images).collect()
}

/// Formats a line for each step of an attempt: `passed     build  3.2 s`.
fn step_lines(attempt: &AttemptReport) -> Vec<String> {
    let widest = attempt.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0);
    let line = |step: &StepReport| {
        let word = step.outcome.as_deref().map_or_else(|| "left out".to_owned(), human::words);
        let state = format!("{}{:pad$}", painted(&word), "", pad = "timed out ".len().saturating_sub(word.len()));
        let facts: Vec<String> =
            step.duration_ms.map(human::duration).into_iter().chain(step.detail.as_deref().map(one_line)).collect();
        format!("{state} {:widest$}  {}", one_line(&step.name), facts.join(", ")).trim_end().to_owned()
    };
    attempt.steps.iter().map(line).collect()
}

/// Formats a line for each output of an attempt: `output VERSION=1.2.3`. Long values are cut: JSON has all of them.
fn output_lines(attempt: &AttemptReport) -> Vec<String> {
    let line = |(name, value): &(String, String)| {
        let value = one_line(value);
        let shown = match value.char_indices().nth(OUTPUT_CHARS) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value,
        };
        format!("output {}={shown}", one_line(name))
    };
    attempt.outputs.iter().map(line).collect()
}

/// Formats the ending's word, its reason, and the duration behind `preposition`.
pub(crate) fn ending(word: &str, attempt: &AttemptReport, preposition: &str) -> String {
    let mut text = painted(&human::words(word));
    if let Some(detail) = &attempt.detail {
        text.push_str(&format!(" ({})", one_line(detail)));
    }
    // The time of an attempt that ran out of it is a limit, and not what its work took.
    let preposition = if word.starts_with("timed") { "after" } else { preposition };
    if let Some(ms) = attempt.duration_ms {
        text.push_str(&format!(" {preposition} {}", human::duration(ms)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::{Collected, attempt, build, job};

    fn shown(build: &BuildReport) -> String {
        let collected = Collected::default();
        print(build, (Folding::Matrices, 1_192_000), &Hints::default(), &mut collected.output()).unwrap();
        collected.text()
    }

    #[test]
    fn a_green_build_is_short() {
        let build =
            build(12, "passed", vec![job("build", "passed", vec![attempt(1)]), job("t", "passed", vec![attempt(1)])]);
        assert_eq!(
            shown(&build),
            "\
b12 passed in 12 s, 3 min ago
  Fix the thing
  4f2a91c04f2a91c04f2a91c04f2a91c04f2a91c0 by Ann <ann@example.org>, app main, trusted

  passed     build  3.2 s, on w1
  passed     t      3.2 s, on w1
"
        );
    }

    #[test]
    fn a_failed_job_says_how_to_see_it_fail_again() {
        let failed = AttemptReport { outcome: Some("failed".into()), detail: Some("exit code 1".into()), ..attempt(1) };
        let build = build(12, "failed", vec![job("test", "failed", vec![failed])]);
        let text = shown(&build);
        let jobs = text.split("\n\n").nth(1).unwrap();
        assert_eq!(
            jobs,
            "  failed     test  3.2 s, on w1
    attempt 1: failed (exit code 1) after 3.2 s on w1, 10 B in /d/logs/b12/test.1.log
    the whole log: surveil logs b12 test
    reproduce, in a clone of app: surveil run --clean --commit 4f2a91c04f2a test
"
        );
    }

    #[test]
    fn an_attempt_says_how_it_was_executed_and_what_it_used() {
        let execution = Execution {
            tier: "guarded".into(),
            means: "mount namespace".into(),
            memory_bytes: Some(203 << 20),
            cpu_ms: Some(1900),
            ..Execution::default()
        };
        let shown_of = |execution| {
            let failed = AttemptReport { outcome: Some("failed".into()), execution: Some(execution), ..attempt(1) };
            shown(&build(12, "failed", vec![job("test", "failed", vec![failed])]))
        };
        let text = shown_of(execution.clone());
        let line = "attempt 1: failed after 3.2 s on w1, guarded (mount namespace), 203 MiB of memory, 1.9 s of \
                    processor time, 10 B in /d/logs/b12/test.1.log\n";
        assert!(text.contains(line), "{text}");
        let exceeded = "used more than `memory = \"1GiB\"`".to_owned();
        let text = shown_of(Execution { exceeded, not_enforced: vec!["cpus (x)".into()], ..execution });
        let line = "on w1, used more than `memory = \"1GiB\"`, guarded (mount namespace), 203 MiB of memory, 1.9 s of \
                    processor time, not enforced: cpus (x), 10 B in";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn outputs_of_an_attempt_stand_below_it_each_on_one_line() {
        let outputs = vec![("VERSION".into(), "1.2.3".into()), ("NOTES".into(), format!("a\nb{}", "x".repeat(200)))];
        let text = shown(&build(12, "passed", vec![job("t", "passed", vec![AttemptReport { outputs, ..attempt(1) }])]));
        let lines: Vec<&str> = text.lines().skip_while(|line| !line.contains("3.2 s, on w1")).skip(1).collect();
        assert_eq!(lines, ["    output VERSION=1.2.3", &format!("    output NOTES=a b{}…", "x".repeat(57))], "{text}");
    }

    #[test]
    fn a_matrix_is_one_line_with_counts_and_a_line_for_each_cell_that_failed() {
        let failed = AttemptReport { outcome: Some("failed".into()), ..attempt(1) };
        let of = |cell: &str, state: &str, last: AttemptReport| job(&format!("test@{cell}"), state, vec![last]);
        let mut report = build(
            12,
            "failed",
            vec![
                of("1.85,all", "passed", attempt(1)),
                of("stable,all", "failed", failed),
                of("nightly,all", "passed", attempt(1)),
                job("deploy", "waiting", vec![]),
            ],
        );
        report.jobs[3].needs = ["test@1.85,all", "test@stable,all", "test@nightly,all"].map(str::to_owned).into();
        let text = shown(&report);
        let jobs: Vec<&str> = text.split("\n\n").nth(1).unwrap().lines().collect();
        assert_eq!(
            jobs[..2],
            ["  failed     test@…           2 passed, 1 failed", "  failed     test@stable,all  3.2 s, on w1"]
        );
        assert!(jobs[2].starts_with("    attempt 1: failed"), "{text}");
        assert_eq!(jobs.last(), Some(&"  waiting    deploy           needs test@…"));
    }

    #[test]
    fn a_flaky_job_shows_all_its_attempts() {
        let first = AttemptReport { outcome: Some("timed_out".into()), ..attempt(1) };
        let mut flaky = job("test", "passed", vec![first, attempt(2)]);
        flaky.flaky = true;
        let text = shown(&build(12, "passed", vec![flaky]));
        assert!(text.contains("passed     test  3.2 s, on w1, flaky\n"), "{text}");
        assert!(text.contains("attempt 1: timed out after 3.2 s on w1"), "{text}");
        assert!(text.contains("attempt 2: passed"), "{text}");
    }

    #[test]
    fn a_held_job_says_how_to_start_it_and_what_is_left_out_says_why() {
        let mut verify = job("verify", "held", vec![]);
        verify.needs = vec!["deploy".into(), "test".into()];
        let mut docs = job("docs", "left_out", vec![]);
        docs.detail = Some("it does not run for branch main".into());
        let jobs = vec![job("test", "passed", vec![attempt(1)]), job("deploy", "held", vec![]), verify, docs];
        let text = shown(&build(12, "passed", jobs));
        assert_eq!(
            text.split("\n\n").nth(1).unwrap(),
            "  passed     test    3.2 s, on w1
  held       deploy
    to start it: surveil start b12 deploy
  held       verify  needs deploy
  left out   docs    it does not run for branch main
"
        );
        let mut alone = job("docs", "left_out", vec![]);
        alone.detail = Some("nobody asked for it".into());
        let text = shown(&build(12, "passed", vec![alone]));
        assert!(text.starts_with("b12 passed (every task is left out) in 12 s"), "{text}");
    }

    #[test]
    fn a_build_without_jobs_says_why() {
        let mut build = build(12, "errored", vec![]);
        build.problem = Some(".surveil.toml:1:1: unknown key `rum`\n = help: did you mean `run`?".into());
        let text = shown(&build);
        assert!(
            text.ends_with("\n\n  .surveil.toml:1:1: unknown key `rum`\n   = help: did you mean `run`?\n"),
            "{text}"
        );
    }

    #[test]
    fn text_from_outside_cannot_move_the_cursor() {
        let mut build = build(12, "passed", vec![]);
        build.subject = "a\x1b[2Jb\rc".into();
        assert!(shown(&build).contains("  a\u{fffd}[2Jb c\n"));
    }
}
