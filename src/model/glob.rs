//! Globs: patterns for the names of refs, and for the paths of files in a commit. Both take time in proportion to the
//! lengths of the pattern and of the text at most, whoever wrote the pattern.

use wildmatch::WildMatch;

use super::BranchName;

/// Whether a glob matches the name of a branch or of another ref: `*` stands for any number of characters, slashes
/// included, and `?` for one character.
#[must_use]
pub fn matches_name(glob: &str, name: &str) -> bool {
    WildMatch::new(glob).matches(name)
}

/// Returns why a glob can match no name of a branch and no full name of a ref: git allows no such name, or the glob has
/// what only globs of other programs have. The text continues the glob, and `kind` is what the name would be of. `None`
/// if the glob may match a name.
#[must_use]
pub fn matches_no_ref(glob: &str, kind: &str) -> Option<String> {
    let text = if glob.contains(['[', ']']) {
        "has a class of characters: `?` is one character, `*` any number of them"
    } else if glob.starts_with('!') {
        "takes back with `!`, which globs for names of refs do not"
    } else if glob.split_once('{').is_some_and(|(_, rest)| rest.contains(',') && rest.contains('}')) {
        "has alternatives in braces: write one glob for each of them"
    } else if !BranchName::is_allowed(&glob.replace(['*', '?'], "x")) {
        // Whatever a wildcard stands for, what is wrong with a letter in its place stays wrong.
        return Some(format!("matches no {kind}"));
    } else {
        return None;
    };
    Some(text.to_owned())
}

/// Globs for paths, of which the last one that matches a path decides. A glob after `!` takes back what globs before it
/// match.
#[derive(Debug, Clone)]
pub struct PathGlobs {
    /// The glob, and whether it takes back.
    globs: Vec<(PathGlob, bool)>,
}

/// A glob for the paths of files below the root of a repository, without a slash at its beginning. `*` and `?` match
/// within one name, `**` in place of a name matches any number of directories, and at the end everything below. A glob
/// whose last name has no wildcard also covers everything below a directory of that name.
#[derive(Debug, Clone)]
struct PathGlob {
    parts: Vec<Part>,
    covers_below: bool,
}

#[derive(Debug, Clone)]
enum Part {
    /// `**`
    AnyDirectories,
    Plain(String),
    Pattern(WildMatch),
}

impl PathGlobs {
    /// Takes globs that were checked when their task file was read.
    #[must_use]
    pub fn new(globs: &[String]) -> Self {
        let of = |text: &String| match text.strip_prefix('!') {
            Some(rest) => (PathGlob::new(rest), true),
            None => (PathGlob::new(text), false),
        };
        Self { globs: globs.iter().map(of).collect() }
    }

    /// Whether the globs match this path.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').collect();
        let last = self.globs.iter().rev().find(|(glob, _)| glob.matches(&names));
        last.is_some_and(|(_, takes_back)| !takes_back)
    }
}

impl PathGlob {
    fn new(text: &str) -> Self {
        // `docs/` is the directory with all that is in it.
        let (text, is_directory) = text.strip_suffix('/').map_or((text, false), |rest| (rest, true));
        let part = |name: &str| match name {
            "**" => Part::AnyDirectories,
            _ if name.contains(['*', '?']) => Part::Pattern(WildMatch::new(name)),
            _ => Part::Plain(name.to_owned()),
        };
        let mut parts: Vec<Part> = text.split('/').map(part).collect();
        let covers_below = matches!(parts.last(), Some(Part::Plain(_)));
        if is_directory && !covers_below {
            parts.push(Part::AnyDirectories);
        }
        Self { parts, covers_below }
    }

    /// Compares name by name, as the usual comparison with `*` does character by character: after a mismatch the last
    /// `**` takes one more name. What an earlier `**` took need not be tried again.
    fn matches(&self, path: &[&str]) -> bool {
        let (mut part, mut name) = (0, 0);
        // The last `**`, and the first name that it does not take.
        let mut open: Option<(usize, usize)> = None;
        while name < path.len() {
            let is_match = match self.parts.get(part) {
                Some(Part::AnyDirectories) if part + 1 == self.parts.len() => return true,
                Some(Part::AnyDirectories) => {
                    open = Some((part, name));
                    part += 1;
                    continue;
                }
                Some(Part::Plain(text)) => text == path[name],
                Some(Part::Pattern(pattern)) => pattern.matches(path[name]),
                None if self.covers_below => return true,
                None => false,
            };
            match (is_match, open) {
                (true, _) => (part, name) = (part + 1, name + 1),
                (false, Some((at, taken))) => {
                    open = Some((at, taken + 1));
                    (part, name) = (at + 1, taken + 1);
                }
                (false, None) => return false,
            }
        }
        part == self.parts.len()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    fn matching(globs: &[&str], paths: &[&'static str]) -> Vec<&'static str> {
        let globs = PathGlobs::new(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>());
        paths.iter().copied().filter(|path| globs.matches(path)).collect()
    }

    const PATHS: [&str; 9] = [
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "docs/a/b.md",
        "docs/index.html",
        "src/lib.rs",
        "src/model/mod.rs",
        "srcs",
        "tests/src/x.rs",
    ];

    #[test]
    fn a_glob_begins_at_the_root_and_a_star_stays_within_a_name() {
        assert_eq!(matching(&["*.md"], &PATHS), ["README.md"]);
        assert_eq!(matching(&["Cargo.*"], &PATHS), ["Cargo.lock", "Cargo.toml"]);
        assert_eq!(matching(&["src/*"], &PATHS), ["src/lib.rs"]);
        assert_eq!(matching(&["src/**"], &PATHS), ["src/lib.rs", "src/model/mod.rs"]);
        assert_eq!(matching(&["**/*.md"], &PATHS), ["README.md", "docs/a/b.md"]);
        assert_eq!(matching(&["**/src/**"], &PATHS), ["src/lib.rs", "src/model/mod.rs", "tests/src/x.rs"]);
        assert_eq!(
            matching(&["docs/**/b.md", "src/**/*.rs"], &PATHS),
            ["docs/a/b.md", "src/lib.rs", "src/model/mod.rs"]
        );
        assert_eq!(matching(&["**"], &PATHS), PATHS);
        assert_eq!(matching(&["s?cs"], &PATHS), ["srcs"]);
    }

    #[test]
    fn a_plain_name_covers_a_directory_with_all_that_is_in_it() {
        let below = ["src/lib.rs", "src/model/mod.rs"];
        assert_eq!(matching(&["src"], &PATHS), below);
        assert_eq!(matching(&["src/"], &PATHS), below);
        assert_eq!(matching(&["**/model"], &PATHS), ["src/model/mod.rs"]);
        assert_eq!(matching(&["*/model/"], &PATHS), ["src/model/mod.rs"]);
        assert_eq!(matching(&["d*/"], &PATHS), ["docs/a/b.md", "docs/index.html"]);
        assert_eq!(matching(&["srcs"], &PATHS), ["srcs"]);
    }

    #[test]
    fn the_last_glob_that_matches_decides() {
        assert_eq!(matching(&["docs/**", "!**/*.md"], &PATHS), ["docs/index.html"]);
        assert_eq!(matching(&["!**/*.md", "docs/**"], &PATHS), ["docs/a/b.md", "docs/index.html"]);
        assert_eq!(matching(&["**", "!docs", "docs/a"], &PATHS).len(), PATHS.len() - 1);
        assert_eq!(matching(&["!docs"], &PATHS), [""; 0]);
        assert_eq!(matching(&[], &PATHS), [""; 0]);
    }

    #[test]
    fn names_of_refs_are_matched_as_branches_are_watched() {
        assert!(matches_name("release/*", "release/1/x") && matches_name("main", "main") && matches_name("v?", "v1"));
        assert!(!matches_name("main", "Main") && !matches_name("v?", "v10") && !matches_name("", "main"));
    }

    #[test]
    fn a_glob_that_can_match_no_ref_is_told_with_the_reason() {
        for glob in ["main", "release/*", "v?.*", "*", "**", "feature/{id}", "-x", "@", "refs/pull/*/head", "größe"] {
            assert_eq!(matches_no_ref(glob, "branch"), None, "{glob}");
        }
        let none = "matches no branch";
        for (glob, why) in [
            ("release/[0-9]*", "has a class"),
            ("!main", "takes back"),
            ("{main,topic}", "has alternatives"),
            ("v{1,2}.*", "has alternatives"),
            ("", none),
            ("main ", none),
            ("a..b", none),
            ("a*..*b", none),
            ("^main", none),
            ("main~1", none),
            ("+main:main", none),
            ("a\\*", none),
            ("/main", none),
            ("release/", none),
            ("*/.x", none),
            ("*.lock", none),
            ("v?.", none),
            ("x@{1}", none),
            ("HEAD", none),
            ("a\tb", none),
        ] {
            let told = matches_no_ref(glob, "branch").unwrap_or_else(|| panic!("{glob:?}"));
            assert!(told.starts_with(why), "{glob:?}: {told}");
        }
    }

    /// A glob with many wildcards, and a long path that matches at the very end only: with backtracking over all of
    /// them this test would not end.
    #[test]
    fn a_hostile_glob_takes_little_time() {
        let glob = format!("{}x", "**/a*a*a*/".repeat(40));
        let path = format!("{}y", format!("{}/", "a".repeat(50)).repeat(80));
        assert!(!PathGlobs::new(&[glob]).matches(&path));
    }

    /// Git's own answer for each of these globs: the paths that it matches, by the pathspec magic `glob`.
    #[test]
    fn paths_are_matched_as_git_matches_them() {
        let names = ["a", "ab", "b", "a.md", ".c"];
        let mut paths: Vec<String> = Vec::new();
        for x in names {
            paths.push(format!("{x}.f"));
            for y in names {
                paths.push(format!("{x}/{y}.f"));
                paths.extend(names.map(|z| format!("{x}/{y}/{z}")).into_iter().filter(|path| path.len() % 2 == 0));
            }
        }
        let tree = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str], input: &str| {
            let mut command = Command::new("git");
            command.args(arguments).current_dir(tree.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
            command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{arguments:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        git(&["init", "-q"], "");
        let entry = |path: &String| format!("100644 {} 0\t{path}\n", "1".repeat(40));
        git(&["update-index", "--index-info"], &paths.iter().map(entry).collect::<String>());
        let parts = ["a", "*", "**", "a*", "?", "*.md", "*.f", "?b"];
        for (at, one) in parts.iter().enumerate() {
            for two in [&parts[..], &[""]].concat() {
                let three = parts[(at * 3 + two.len()) % parts.len()];
                let glob = [*one, two, three].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
                let (it, below) = (format!(":(glob){glob}"), format!(":(glob){glob}/**"));
                let mut question = vec!["ls-files", "--cached", "--", it.as_str()];
                // For git, only a glob without any wildcard covers a directory.
                if three == "a" {
                    question.push(&below);
                }
                let expected = git(&question, "");
                let globs = PathGlobs::new(std::slice::from_ref(&glob));
                let mut found: Vec<&str> =
                    paths.iter().map(String::as_str).filter(|path| globs.matches(path)).collect();
                found.sort_unstable();
                assert_eq!(found, expected.lines().collect::<Vec<_>>(), "{glob}");
            }
        }
    }
}
