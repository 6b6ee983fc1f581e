//! Names that people give: each kind has a type of its own, which is checked once, when the text enters the program.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::visible;

/// The longest name and the longest label: a table still shows them in one line.
const MAX_NAME_BYTES: usize = 100;

/// Makes types for checked text. `$check` decides which texts are allowed; `$rule` says it in words.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $error:ident, $check:path, $rule:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        #[doc = concat!("A text that is no [`", stringify!($name), "`].")]
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[error("`{0}` {rule}", rule = $rule)]
        pub struct $error(pub String);

        impl $name {
            /// Makes a name of the text, if the text is allowed.
            pub fn new(text: &str) -> Result<Self, $error> {
                if $check(text) { Ok(Self(text.into())) } else { Err($error(text.chars().take(120).collect())) }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )+};
}

names! {
    /// The name under which a dispatcher knows a repository. Safe as a file name: 1 to 100 of `A-Z a-z 0-9 . _ -`,
    /// starting with a letter or digit.
    RepoName, RepoNameError, is_plain,
    "cannot name a repository: use 1 to 100 of A-Z a-z 0-9 . _ - and start with a letter or digit";
    /// A task's name, unique within its commit. Safe as a file name, and as a word of a shell: 1 to 100 of
    /// `A-Z a-z 0-9 . _ -`, starting with a letter or digit; or `NAME@CELL`, at most 100 bytes, for a cell of a matrix,
    /// whose values stand behind the `@` with commas between them. A task that another one wrote has the name of that
    /// one before its own, with a slash between the two; in file names [`TaskName::file_stem`] stands for it.
    TaskName, TaskNameError, is_task,
    "cannot name a task: use 1 to 100 of A-Z a-z 0-9 . _ - and start with a letter or digit";
    /// A runner's name, unique at a dispatcher. Safe as a file name: 1 to 100 of `A-Z a-z 0-9 . _ -`, starting with a
    /// letter or digit.
    RunnerName, RunnerNameError, is_plain,
    "cannot name a runner: use 1 to 100 of A-Z a-z 0-9 . _ - and start with a letter or digit";
    /// A fact that a runner offers, or that a task asks for: `WORD` or `KEY=VALUE`, of letters, digits and
    /// `. _ - + : @ /`, each part starting with a letter or digit; at most 100 bytes.
    Label, LabelError, is_label,
    "is not a label: write WORD or KEY=VALUE, with letters, digits and . _ - + : @ / only, such as gpu or os=linux";
    /// The name of a group of tasks within a repository: 1 to 100 bytes of one line, without characters that a terminal
    /// does not show, and without blanks at its ends.
    GroupName, GroupNameError, is_line,
    "cannot name a group: use 1 to 100 visible characters, without blanks at the ends";
}

impl RunnerName {
    /// Makes a runner's name from a host's name: replaces every character that is not allowed. Returns `runner` if
    /// nothing is left. The name is short enough for the label `hostname=NAME`.
    #[must_use]
    pub fn from_host(host: &str) -> Self {
        let replaced: String =
            host.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
        let name = replaced.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let name = &name[..name.len().min(MAX_NAME_BYTES - "hostname=".len())];
        Self(if name.is_empty() { "runner".into() } else { name.into() })
    }
}

impl TaskName {
    /// Makes the name of a task that is no cell of a matrix.
    pub fn plain(text: &str) -> Result<Self, TaskNameError> {
        if is_plain(text) { Self::new(text) } else { Err(TaskNameError(text.chars().take(120).collect())) }
    }

    /// Makes the name of a task that another one wrote.
    pub fn written_by(parent: &Self, own: &Self) -> Result<Self, TaskNameError> {
        Self::new(&format!("{parent}/{own}"))
    }

    /// The name as a part of a file's name.
    #[must_use]
    pub fn file_stem(&self) -> String {
        self.0.replace('/', "%")
    }

    /// The name that stands in the task file: for a cell, that of its matrix.
    #[must_use]
    pub fn written(&self) -> &str {
        self.0.split('@').next().unwrap_or(&self.0)
    }

    /// Whether a typed name means this task: its own name, or that of its matrix.
    #[must_use]
    pub fn is_meant_by(&self, typed: &str) -> bool {
        &*self.0 == typed || self.written() == typed
    }

    /// The cell's part of the name, `stable,all` of `test@stable,all`. None for a task without a matrix.
    #[must_use]
    pub fn cell(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, cell)| cell)
    }
}

/// Makes the constructor for texts that come from the store.
macro_rules! recorded {
    ($($name:ident)+) => {$(
        impl $name {
            /// Makes a name from a stored text without a check: earlier versions allowed more (a runner's name could
            /// start with a dot or a dash), and a record is never refused.
            #[must_use]
            pub fn recorded(text: &str) -> Self {
                Self(text.into())
            }
        }
    )+};
}

recorded!(TaskName RunnerName Label GroupName);

fn is_plain(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && is_part(text, b"._-")
}

fn is_task(text: &str) -> bool {
    let is_value = |value: &str| !value.is_empty() && value.chars().all(is_of_cell);
    let (parent, own) = text.split_once('/').map_or((None, text), |(parent, own)| (Some(parent), own));
    if parent.is_some_and(|parent| text.len() > MAX_NAME_BYTES || !is_plain(parent)) {
        return false;
    }
    match own.split_once('@') {
        None => is_plain(own),
        Some((name, cell)) => text.len() <= MAX_NAME_BYTES && is_plain(name) && cell.split(',').all(is_value),
    }
}

/// Whether a character of a matrix' value stands in the names of its cells as it is.
#[must_use]
pub fn is_of_cell(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-+=:".contains(c)
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.trim() == text && visible(text) == text
}

fn is_label(text: &str) -> bool {
    let is_part = |part| is_part(part, b"._-+:@/");
    text.len() <= MAX_NAME_BYTES
        && match text.split_once('=') {
            Some((key, value)) => is_part(key) && is_part(value),
            None => is_part(text),
        }
}

/// Whether the text starts with a letter or digit, and has only those and the bytes of `others` behind it.
fn is_part(text: &str, others: &[u8]) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_as_a_file_name() {
        for name in ["app", "a.b-c_d", "7z"] {
            assert!(
                RepoName::new(name).is_ok() && TaskName::new(name).is_ok() && RunnerName::new(name).is_ok(),
                "{name}"
            );
        }
        for name in ["", ".", "..", ".git", "-x", "a b", "é", "a\n", &"a".repeat(101)] {
            assert!(RepoName::new(name).is_err() && TaskName::new(name).is_err(), "{name}");
            assert!(RunnerName::new(name).is_err(), "{name}");
        }
        assert!(RepoName::new("a/b").is_err() && RunnerName::new("a/b").is_err() && TaskName::plain("a/b").is_err());
        assert_eq!(
            TaskName::new("a b").unwrap_err().to_string(),
            "`a b` cannot name a task: use 1 to 100 of A-Z a-z 0-9 . _ - and start with a letter or digit"
        );
    }

    #[test]
    fn a_cell_of_a_matrix_has_the_name_of_its_task_and_its_values() {
        for name in ["test@stable", "test@1.85,all", "t@a=b:c,_,--x", "t@+"] {
            assert_eq!(TaskName::new(name).unwrap().written(), name.split('@').next().unwrap());
            assert!(TaskName::plain(name).is_err() && RepoName::new(name).is_err() && RunnerName::new(name).is_err());
        }
        for name in
            ["@a", "t@", "t@a,", "t@,a", "t@a@b", "t,a", "t@a b", "t@a/b", "t@é", &format!("t@{}", "a".repeat(99))]
        {
            assert!(TaskName::new(name).is_err(), "{name}");
        }
        let (cell, task) = (TaskName::new("test@1.85,all").unwrap(), TaskName::plain("test").unwrap());
        assert!(cell.is_meant_by("test") && cell.is_meant_by("test@1.85,all") && !cell.is_meant_by("test@1.85"));
        assert_eq!((cell.written(), cell.cell()), ("test", Some("1.85,all")));
        assert_eq!((task.written(), task.cell()), ("test", None));
    }

    #[test]
    fn a_task_that_another_one_wrote_has_both_names() {
        let (parent, own) = (TaskName::plain("plan").unwrap(), TaskName::new("test@1.85,all").unwrap());
        let name = TaskName::written_by(&parent, &own).unwrap();
        assert_eq!((name.as_str(), name.written()), ("plan/test@1.85,all", "plan/test"));
        assert_eq!((name.cell(), &*name.file_stem()), (Some("1.85,all"), "plan%test@1.85,all"));
        let long = TaskName::new(&"a".repeat(96)).unwrap();
        assert!(TaskName::written_by(&parent, &long).is_err());
        for name in ["/a", "a/", "a/b/c", "a@b/c", "../a", "a/..", "a/.b", "a//b"] {
            assert!(TaskName::new(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_label_is_a_word_or_a_key_with_a_value() {
        for text in ["gpu", "os=linux", "cuda=12.4", "image=ghcr.io/a/b:1", "7z", "c++", "zone=eu-1"] {
            assert_eq!(Label::new(text).unwrap().as_str(), text);
        }
        for text in ["", "=", "a=", "=b", "a=b=c", "a b", "a,b", "-x", "é", "a\nb", &"a".repeat(101)] {
            assert!(Label::new(text).is_err(), "{text}");
        }
        assert_eq!(
            Label::new("two words").unwrap_err().to_string(),
            "`two words` is not a label: write WORD or KEY=VALUE, with letters, digits and . _ - + : @ / only, \
             such as gpu or os=linux"
        );
    }

    #[test]
    fn a_hosts_name_is_made_safe() {
        for (host, name) in [
            ("w1", "w1"),
            ("build.example.org", "build.example.org"),
            ("-odd host/ü", "odd-host--"),
            ("", "runner"),
            ("...", "runner"),
        ] {
            assert_eq!(RunnerName::from_host(host).as_str(), name);
        }
        assert_eq!(RunnerName::from_host(&"a".repeat(300)).len(), 91);
    }
}
