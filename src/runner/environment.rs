//! The environment of an attempt. It is the same under a dispatcher and under `surveil run`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::limits::TEXT_BYTES;
use crate::git::{CommitText, is_local_variable, without_secrets};
use crate::model::{RefName, visible};

/// The variable by which tools that make the same product each time learn the time of its source.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The facts that an attempt is told, in variables. A variable whose fact is not known is not set.
#[derive(Debug, Clone, Copy)]
pub struct AttemptFacts<'a> {
    pub build: u64,
    pub task: &'a str,
    /// The id, which its dispatcher never uses again: `SURVEIL_ATTEMPT_ID`.
    pub id: u64,
    /// Counted from 1 within the job: `SURVEIL_ATTEMPT`, the number that people see and type.
    pub number: u32,
    pub repo: &'a str,
    /// The place from which the repository is observed: `SURVEIL_URL`.
    pub url: Option<&'a str>,
    /// The ref that the build concerns: `SURVEIL_REF`, and `SURVEIL_BRANCH` or `SURVEIL_TAG`. [`RefName::detached`]
    /// stands for none.
    pub reference: Option<&'a RefName>,
    /// The event that caused the build: `SURVEIL_EVENT`.
    pub event: Option<&'a str>,
    /// Whether the build is trusted: `SURVEIL_TRUSTED`.
    pub is_trusted: Option<bool>,
    /// The repository's default branch: `SURVEIL_DEFAULT_BRANCH`.
    pub default_branch: Option<&'a str>,
    /// The full id of the commit that the branch was at before.
    pub before: Option<&'a str>,
    /// The full id.
    pub commit: &'a str,
    /// The commit's subject and time.
    pub text: Option<&'a CommitText>,
    pub runner: &'a str,
    /// Counted from 0.
    pub slot: usize,
    /// The number of slots that it takes, this one included: `SURVEIL_SLOTS`.
    pub slots: u32,
}

/// The directories of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct AttemptPlaces<'a> {
    /// The root of the work tree: `SURVEIL_ROOT`.
    pub root: &'a Path,
    /// The directory in which the task starts: `PWD`.
    pub directory: &'a Path,
    /// A directory above the work tree, at which git stops to look for a repository.
    pub ceiling: &'a Path,
    /// The attempt's own temporary directory.
    pub temporary: &'a Path,
}

/// Returns the variables of this process that an attempt inherits: all but `SURVEIL_…`, which may hold secrets of the
/// runner, the time of another source, and git's own for one repository, which a runner that was started by a hook has.
pub fn inherited(own: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let is_foreign =
        |name: &OsStr| name.as_bytes().starts_with(b"SURVEIL_") || name == SOURCE_DATE_EPOCH || is_local_variable(name);
    own.into_iter().filter(|(name, _)| !is_foreign(name)).collect()
}

/// Returns the attempt's environment, each name once: the inherited variables, then Surveil's own, then those of
/// `given`: the outputs of needed tasks, and the task's own. A later value wins.
pub fn attempt_environment(
    inherited: &[(OsString, OsString)],
    facts: &AttemptFacts<'_>,
    places: &AttemptPlaces<'_>,
    given: [&[(String, String)]; 2],
) -> Vec<(OsString, OsString)> {
    let mut environment = inherited.to_vec();
    let mut set = |name: &str, value: &OsStr| match environment.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => value.clone_into(old),
        None => environment.push((name.into(), value.to_owned())),
    };
    let number = facts.number.to_string();
    let reference = facts.reference.filter(|reference| **reference != RefName::detached());
    let own = [
        ("CI", Some("true".into())),
        ("SURVEIL", Some("true".into())),
        ("SURVEIL_BUILD", Some(facts.build.to_string())),
        ("SURVEIL_TASK", Some(facts.task.into())),
        ("SURVEIL_ATTEMPT", Some(number.clone())),
        // The older name of the same number.
        ("SURVEIL_TRY", Some(number)),
        ("SURVEIL_ATTEMPT_ID", Some(facts.id.to_string())),
        ("SURVEIL_REPO", Some(facts.repo.into())),
        ("SURVEIL_URL", facts.url.and_then(told_url)),
        ("SURVEIL_EVENT", facts.event.map(str::to_owned)),
        ("SURVEIL_REF", reference.map(RefName::to_string)),
        ("SURVEIL_BRANCH", reference.and_then(RefName::branch).map(str::to_owned)),
        ("SURVEIL_TAG", reference.and_then(RefName::tag).map(str::to_owned)),
        ("SURVEIL_DEFAULT_BRANCH", facts.default_branch.map(str::to_owned)),
        ("SURVEIL_TRUSTED", facts.is_trusted.map(|is_trusted| is_trusted.to_string())),
        ("SURVEIL_BEFORE", facts.before.map(str::to_owned)),
        ("SURVEIL_COMMIT", Some(facts.commit.into())),
        ("SURVEIL_SUBJECT", facts.text.map(|text| told_text(&text.subject))),
        ("SURVEIL_AUTHOR", facts.text.map(|text| told_text(&text.author))),
        ("SURVEIL_RUNNER", Some(facts.runner.into())),
        ("SURVEIL_SLOT", Some(facts.slot.to_string())),
        ("SURVEIL_SLOTS", Some(facts.slots.to_string())),
        (SOURCE_DATE_EPOCH, facts.text.and_then(|text| text.committed_s).map(|seconds| seconds.to_string())),
    ];
    for (name, value) in own.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        set(name, OsStr::new(&value));
    }
    set("GIT_CEILING_DIRECTORIES", places.ceiling.as_os_str());
    set("SURVEIL_ROOT", places.root.as_os_str());
    set("PWD", places.directory.as_os_str());
    set("TMPDIR", places.temporary.as_os_str());
    for (name, value) in given.into_iter().flatten() {
        set(name, OsStr::new(value));
    }
    environment
}

/// Returns the place of a repository as tasks are told it: without credentials. `None` if no variable can hold it.
fn told_url(url: &str) -> Option<String> {
    Some(without_secrets(url)).filter(|url| !url.contains(char::is_control))
}

/// Returns a text of a commit as tasks are told it: on one line, and no longer than a variable may be.
fn told_text(text: &str) -> String {
    let mut text = visible(text);
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: AttemptFacts<'static> = AttemptFacts {
        build: 3,
        task: "test",
        id: 12,
        number: 2,
        repo: "app",
        url: None,
        reference: None,
        event: None,
        is_trusted: None,
        default_branch: None,
        before: None,
        commit: "abcd",
        text: None,
        runner: "w1",
        slot: 0,
        slots: 1,
    };

    fn environment(facts: &AttemptFacts<'_>, task: &[(String, String)]) -> Vec<(OsString, OsString)> {
        let own = [
            ("PATH", "/bin"),
            ("SURVEIL_DISPATCH", "h:1"),
            ("SURVEIL_URL", "https://me:secret@h/other"),
            ("GIT_DIR", "/x"),
            ("CI", "old"),
            ("GIT_AUTHOR", "a"),
            ("GIT_QUARANTINE_PATH", "/q"),
            ("TMPDIR", "/var/tmp"),
            ("TMP", "/var/tmp"),
            ("SOURCE_DATE_EPOCH", "7"),
        ];
        let inherited = inherited(own.map(|(name, value)| (name.into(), value.into())));
        let [root, directory, ceiling, temporary] = ["/w/t", "/w/t/a", "/w", "/w/tmp/0"].map(Path::new);
        attempt_environment(&inherited, facts, &AttemptPlaces { root, directory, ceiling, temporary }, [&[], task])
    }

    #[track_caller]
    fn assert_values(environment: &[(OsString, OsString)], wanted: &[(&str, &[&str])]) {
        for (name, values) in wanted {
            let found = environment.iter().filter(|(n, _)| n == name).map(|(_, v)| v.to_str().unwrap());
            assert_eq!(found.collect::<Vec<_>>(), *values, "{name}");
        }
    }

    #[test]
    fn an_attempt_inherits_what_is_not_surveils_and_its_task_has_the_last_word() {
        let task = [("PATH", "/usr/bin"), ("MODE", "fast"), ("GIT_CEILING_DIRECTORIES", "/")];
        let environment = environment(&FACTS, &task.map(|(name, value)| (name.into(), value.into())));
        assert_values(
            &environment,
            &[
                ("PATH", &["/usr/bin"]),
                ("CI", &["true"]),
                ("MODE", &["fast"]),
                ("SURVEIL_DISPATCH", &[]),
                ("GIT_DIR", &[]),
                ("GIT_QUARANTINE_PATH", &[]),
                ("GIT_AUTHOR", &["a"]),
                ("GIT_CEILING_DIRECTORIES", &["/"]),
                ("SURVEIL_ROOT", &["/w/t"]),
                ("PWD", &["/w/t/a"]),
                ("TMPDIR", &["/w/tmp/0"]),
                ("TMP", &["/var/tmp"]),
            ],
        );
    }

    /// The number is the one of `surveil show` and `logs --attempt`; the id has another name.
    #[test]
    fn an_attempt_is_told_one_number_and_an_id() {
        let wanted: &[(&str, &[&str])] =
            &[("SURVEIL_ATTEMPT", &["2"]), ("SURVEIL_TRY", &["2"]), ("SURVEIL_ATTEMPT_ID", &["12"])];
        assert_values(&environment(&FACTS, &[]), wanted);
    }

    #[test]
    fn what_is_not_known_of_a_commit_is_not_set_and_not_inherited() {
        let environment = environment(&FACTS, &[]);
        for name in ["SURVEIL_URL", "SURVEIL_BEFORE", "SURVEIL_SUBJECT", "SURVEIL_AUTHOR", "SOURCE_DATE_EPOCH"] {
            assert_values(&environment, &[(name, &[])]);
        }
    }

    #[test]
    fn an_attempt_is_told_its_commits_text_in_a_form_that_a_variable_can_hold() {
        let text =
            CommitText { subject: "a\tb\rc\0d\ne".into(), author: String::new(), committed_s: Some(1_767_322_800) };
        let facts = AttemptFacts { before: Some("ef01"), text: Some(&text), ..FACTS };
        let told = environment(&facts, &[("SOURCE_DATE_EPOCH".into(), "0".into())]);
        assert_values(&told, &[("SURVEIL_BEFORE", &["ef01"]), ("SOURCE_DATE_EPOCH", &["0"])]);
        let (_, subject) = told.iter().find(|(name, _)| name == "SURVEIL_SUBJECT").unwrap();
        assert!(!subject.to_str().unwrap().contains(char::is_control), "{subject:?}");
        assert_values(&environment(&facts, &[]), &[("SOURCE_DATE_EPOCH", &["1767322800"])]);

        let text = CommitText { subject: "\u{1f980}".repeat(1 << 18), ..CommitText::default() };
        let told = environment(&AttemptFacts { text: Some(&text), ..FACTS }, &[]);
        assert_values(&told, &[("SURVEIL_SUBJECT", &[&"\u{1f980}".repeat(256)]), ("SOURCE_DATE_EPOCH", &[])]);
    }

    /// A tag has no branch, and a commit that no ref was named for has neither.
    #[test]
    fn an_attempt_is_told_its_event_its_ref_and_its_trust() {
        let told = |reference: &str, event, is_trusted| {
            let reference = RefName::new(reference);
            environment(&AttemptFacts { reference: Some(&reference), event, is_trusted, ..FACTS }, &[])
        };
        type Wanted<'a> = &'a [(&'a str, &'a [&'a str])];
        let wanted: Wanted<'_> = &[
            ("SURVEIL_EVENT", &["push"]),
            ("SURVEIL_REF", &["refs/heads/release/1"]),
            ("SURVEIL_BRANCH", &["release/1"]),
            ("SURVEIL_TAG", &[]),
            ("SURVEIL_TRUSTED", &["true"]),
        ];
        assert_values(&told("refs/heads/release/1", Some("push"), Some(true)), wanted);
        let wanted: Wanted<'_> = &[
            ("SURVEIL_EVENT", &["tag"]),
            ("SURVEIL_REF", &["refs/tags/v1"]),
            ("SURVEIL_BRANCH", &[]),
            ("SURVEIL_TAG", &["v1"]),
            ("SURVEIL_TRUSTED", &["false"]),
        ];
        assert_values(&told("refs/tags/v1", Some("tag"), Some(false)), wanted);
        let wanted: Wanted<'_> =
            &[("SURVEIL_REF", &["refs/pull/1/head"]), ("SURVEIL_BRANCH", &[]), ("SURVEIL_TAG", &[])];
        assert_values(&told("refs/pull/1/head", Some("pull"), Some(false)), wanted);
        let none: Wanted<'_> = &[
            ("SURVEIL_EVENT", &[]),
            ("SURVEIL_REF", &[]),
            ("SURVEIL_BRANCH", &[]),
            ("SURVEIL_TAG", &[]),
            ("SURVEIL_TRUSTED", &[]),
        ];
        assert_values(&told("HEAD", None, None), none);
        assert_values(&environment(&FACTS, &[]), none);
    }

    /// Whoever may commit chooses the author's name and mail.
    #[test]
    fn the_author_is_told_on_one_line_and_is_no_longer_than_a_variable_may_be() {
        let told = |author: String| {
            let text = CommitText { author, ..CommitText::default() };
            environment(&AttemptFacts { text: Some(&text), ..FACTS }, &[])
        };
        let author = "Ada\n\u{1b}[2J\0 <ada@example.org>";
        let wanted = "Ada \u{fffd}[2J\u{fffd} <ada@example.org>";
        assert_values(&told(author.into()), &[("SURVEIL_AUTHOR", &[wanted])]);
        assert_values(&told("x".repeat(1 << 18)), &[("SURVEIL_AUTHOR", &[&"x".repeat(1024)])]);
    }

    /// A secret in the address of a repository is told to no task.
    #[test]
    fn no_credentials_of_a_url_reach_a_task() {
        for (url, told) in [
            ("https://user:token@host/x", &["https://host/x"][..]),
            ("https://token@host/x?key=secret", &["https://host/x"]),
            ("ssh://git:secret@h/x", &["ssh://git@h/x"]),
            ("git@h:x.git", &["git@h:x.git"]),
            ("box:/srv/app", &["box:/srv/app"]),
            ("https://h/a\0b", &[]),
            ("box:/srv/a\nb", &[]),
        ] {
            assert_values(&environment(&AttemptFacts { url: Some(url), ..FACTS }, &[]), &[("SURVEIL_URL", told)]);
        }
    }
}
