//! A first task file for a directory, by the files that build tools and package managers leave at its root. Pure: the
//! caller lists the directory and writes the file.

use super::tasks::TASK_FILE;

/// A first task file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starter {
    /// The files that were found, each as `FILE (LANGUAGE)`.
    pub found: Vec<String>,
    pub text: String,
}

/// Tasks, each with its name and the lines of its script.
type Scripts = Vec<(&'static str, Vec<String>)>;

/// A kind of project.
struct Kind {
    /// One of these files says that the project is of this kind. The first that is there is named.
    markers: &'static [&'static str],
    language: &'static str,
    /// The name of the task, or its prefix if there are several kinds.
    name: &'static str,
    tasks: fn(&Files<'_>) -> Scripts,
    /// Directories that make the next attempt faster.
    keep: &'static [&'static str],
}

/// The names at the root of the directory, and the text of its makefile.
struct Files<'a> {
    names: &'a [String],
    makefile: &'a str,
}

impl Files<'_> {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|other| other == name)
    }

    /// The first of these words whose file is there, else the last word.
    fn choose(&self, choices: &[(&str, &'static str)], otherwise: &'static str) -> &'static str {
        choices.iter().find(|(file, _)| self.has(file)).map_or(otherwise, |(_, word)| word)
    }

    fn has_target(&self, target: &str) -> bool {
        self.makefile
            .lines()
            .any(|line| line.strip_prefix(target).is_some_and(|rest| rest.trim_start().starts_with(':')))
    }
}

fn lines(script: &[&str]) -> Vec<String> {
    script.iter().map(|line| (*line).to_owned()).collect()
}

fn one(script: &[&str]) -> Scripts {
    vec![("test", lines(script))]
}

/// The names of makefiles, in the order in which make looks for them.
pub const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

const KINDS: [Kind; 14] = [
    Kind {
        markers: &["Cargo.toml"],
        language: "Rust",
        name: "rust",
        tasks: |files| {
            let test = files.choose(&[("Cargo.lock", "cargo test --workspace --locked")], "cargo test --workspace");
            vec![("fmt", lines(&["cargo fmt --all --check"])), ("test", lines(&[test]))]
        },
        keep: &["target"],
    },
    Kind {
        markers: &["package.json"],
        language: "Node",
        name: "node",
        tasks: |files| {
            let locks = [
                ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
                ("yarn.lock", "yarn install --frozen-lockfile"),
                ("package-lock.json", "npm ci"),
                ("npm-shrinkwrap.json", "npm ci"),
            ];
            let test = files.choose(&[("pnpm-lock.yaml", "pnpm test"), ("yarn.lock", "yarn test")], "npm test");
            one(&[files.choose(&locks, "npm install"), test])
        },
        keep: &[],
    },
    Kind {
        markers: &["deno.json", "deno.jsonc"],
        language: "Deno",
        name: "deno",
        tasks: |_| one(&["deno test"]),
        keep: &[],
    },
    Kind {
        markers: &["go.mod"],
        language: "Go",
        name: "go",
        tasks: |_| one(&["go vet ./...", "go test ./..."]),
        keep: &[],
    },
    Kind {
        markers: &["pyproject.toml", "setup.py", "requirements.txt"],
        language: "Python",
        name: "python",
        tasks: |files| {
            let package = [("pyproject.toml", "."), ("setup.py", ".")];
            let what = files.choose(&package, "-r requirements.txt");
            let install = format!(".venv/bin/python -m pip install --quiet {what} pytest");
            one(&["test -x .venv/bin/python || python3 -m venv .venv", &install, ".venv/bin/python -m pytest"])
        },
        keep: &[".venv"],
    },
    Kind {
        markers: &["pom.xml"],
        language: "Java, Maven",
        name: "maven",
        tasks: |files| one(&[files.choose(&[("mvnw", "./mvnw -B verify")], "mvn -B verify")]),
        keep: &[],
    },
    Kind {
        markers: &["gradlew", "build.gradle", "build.gradle.kts"],
        language: "Gradle",
        name: "gradle",
        tasks: |files| one(&[files.choose(&[("gradlew", "./gradlew --no-daemon check")], "gradle --no-daemon check")]),
        keep: &[".gradle"],
    },
    Kind {
        markers: &["CMakeLists.txt"],
        language: "CMake",
        name: "cmake",
        tasks: |_| one(&["cmake -B build", "cmake --build build", "ctest --test-dir build --output-on-failure"]),
        keep: &[],
    },
    Kind {
        markers: &["meson.build"],
        language: "Meson",
        name: "meson",
        tasks: |_| one(&["meson setup build", "meson test -C build --print-errorlogs"]),
        keep: &[],
    },
    Kind {
        markers: &["mix.exs"],
        language: "Elixir",
        name: "elixir",
        tasks: |_| one(&["mix local.hex --force --if-missing", "mix deps.get", "mix test"]),
        keep: &[],
    },
    Kind {
        markers: &["Gemfile"],
        language: "Ruby",
        name: "ruby",
        tasks: |files| {
            let test = files.choose(&[("Rakefile", "bundle exec rake")], "bundle exec rspec");
            one(&["bundle install", test])
        },
        keep: &[],
    },
    Kind {
        markers: &["composer.json"],
        language: "PHP",
        name: "php",
        tasks: |_| one(&["composer install --no-interaction", "vendor/bin/phpunit"]),
        keep: &[],
    },
    Kind { markers: &["Package.swift"], language: "Swift", name: "swift", tasks: |_| one(&["swift test"]), keep: &[] },
    Kind {
        markers: &MAKEFILES,
        language: "make",
        name: "make",
        tasks: |files| match ["test", "check"].into_iter().find(|target| files.has_target(target)) {
            Some(target) => one(&["make", &format!("make {target}")]),
            None => vec![("build", lines(&["make"]))],
        },
        keep: &[],
    },
];

/// Returns a first task file for a directory with these files, or `None` if none of them is known. `makefile` is the
/// text of its makefile, if there is one.
#[must_use]
pub fn starter(names: &[String], makefile: &str) -> Option<Starter> {
    let files = Files { names, makefile };
    let kinds: Vec<(&Kind, &str)> =
        KINDS.iter().filter_map(|kind| Some((kind, *kind.markers.iter().find(|marker| files.has(marker))?))).collect();
    if kinds.is_empty() {
        return None;
    }
    let found: Vec<String> = kinds.iter().map(|(kind, marker)| format!("{marker} ({})", kind.language)).collect();
    // All tasks keep the same paths, because each removes what it does not keep.
    let keep: Vec<String> = kinds.iter().flat_map(|(kind, _)| kind.keep).map(|path| format!("\"{path}\"")).collect();
    let mut text = format!(
        "# A first {TASK_FILE}, made by `surveil init` for {}. Change what does not fit; `surveil check` tells\n\
         # whether it is right, `surveil run` executes it here and now. All keys: docs/tasks.md of Surveil.\n",
        found.join(", ")
    );
    for (kind, _) in &kinds {
        for (name, script) in (kind.tasks)(&files) {
            let name = if kinds.len() == 1 { name.to_owned() } else { format!("{}-{name}", kind.name) };
            let run = match &script[..] {
                [line] => format!("\"{line}\""),
                lines => format!("\"\"\"\n{}\n\"\"\"", lines.join("\n")),
            };
            text += &format!("\n[task.{name}]\nrun = {run}\n");
            if !keep.is_empty() {
                text += &format!("keep = [{}]\n", keep.join(", "));
            }
        }
    }
    Some(Starter { found, text })
}

#[cfg(test)]
mod tests {
    use super::super::tasks::check_directory;
    use super::*;

    fn of(names: &[&str], makefile: &str) -> Option<Starter> {
        starter(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), makefile)
    }

    /// The tasks of the file; it must have no mistake, and nothing to warn of.
    fn tasks(text: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(TASK_FILE), text).unwrap();
        let checked = check_directory(directory.path()).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert_eq!(checked.warnings, Vec::<String>::new(), "{text}");
        checked.tasks.iter().map(|task| task.name.to_string()).collect()
    }

    #[test]
    fn every_kind_gives_a_file_without_mistakes_and_warnings_alone_and_with_all_others() {
        for kind in &KINDS {
            for marker in kind.markers {
                let made = of(&[marker], "").unwrap();
                assert_eq!(made.found, [format!("{marker} ({})", kind.language)]);
                assert!(!tasks(&made.text).is_empty());
            }
        }
        let all: Vec<&str> = KINDS.iter().flat_map(|kind| kind.markers).copied().collect();
        let made = of(&all, "test:\n").unwrap();
        assert_eq!(made.found.len(), KINDS.len());
        assert_eq!(tasks(&made.text).len(), KINDS.len() + 1, "Rust has two");
    }

    #[test]
    fn lock_files_and_targets_choose_the_commands() {
        assert!(of(&["Cargo.toml", "Cargo.lock"], "").unwrap().text.contains("cargo test --workspace --locked"));
        assert!(
            of(&["package.json", "yarn.lock"], "").unwrap().text.contains("yarn install --frozen-lockfile\nyarn test")
        );
        assert!(of(&["package.json"], "").unwrap().text.contains("npm install\nnpm test"));
        assert!(of(&["Makefile"], "all:\n\ttrue\ncheck: all\n").unwrap().text.contains("make\nmake check\n"));
        assert!(of(&["Makefile"], "tests:\n").unwrap().text.contains("run = \"make\"\n"));
        assert_eq!(tasks(&of(&["go.mod", "Makefile"], "test :\n").unwrap().text), ["go-test", "make-test"]);
    }

    #[test]
    fn nothing_known_gives_no_file() {
        assert_eq!(of(&["README.md", "src"], ""), None);
    }
}
