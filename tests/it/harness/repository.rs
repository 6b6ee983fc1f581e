//! Repositories, scripted with the `git` program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::{World, text};

/// The `git` program in some directory, with an identity and without the machine's configuration.
pub(crate) struct Git<'a> {
    world: &'a World,
    directory: PathBuf,
}

/// A repository with a work tree.
pub(crate) struct Repository<'a> {
    pub(crate) path: PathBuf,
    git: Git<'a>,
}

impl World {
    /// A new repository whose branch is `main`.
    pub(crate) fn repository(&self, name: &str) -> Repository<'_> {
        self.repository_with(name, &[])
    }

    /// A new repository, made with these options of `git init`.
    pub(crate) fn repository_with(&self, name: &str, options: &[&str]) -> Repository<'_> {
        let path = self.path(name);
        let arguments = [&["init", "--quiet", "--initial-branch=main"], options, &[text(&path)]].concat();
        self.git().run(&arguments);
        Repository { git: Git { world: self, directory: path.clone() }, path }
    }

    /// A repository that is there already.
    pub(crate) fn repository_at(&self, path: PathBuf) -> Repository<'_> {
        Repository { git: Git { world: self, directory: path.clone() }, path }
    }

    pub(crate) fn git(&self) -> Git<'_> {
        Git { world: self, directory: self.path("home") }
    }
}

impl Git<'_> {
    /// Runs `git …`; its output without the last line feed.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.world.run(self.command(arguments)).ok().trim_end().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.sealed("git");
        command.current_dir(&self.directory).args(arguments).envs([
            ("GIT_AUTHOR_NAME", "Ada"),
            ("GIT_AUTHOR_EMAIL", "ada@example.org"),
            ("GIT_COMMITTER_NAME", "Ada"),
            ("GIT_COMMITTER_EMAIL", "ada@example.org"),
        ]);
        command
    }
}

impl Repository<'_> {
    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git.run(arguments)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn write_executable(&self, path: &str, content: &str) {
        self.write(path, content);
        fs::set_permissions(self.path.join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Commits all files; returns the commit's full id.
    #[track_caller]
    pub(crate) fn commit(&self, subject: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]);
        self.head()
    }

    /// Commits this task file; returns the commit's full id.
    #[track_caller]
    pub(crate) fn commit_tasks(&self, tasks: &str) -> String {
        self.write(".surveil.toml", tasks);
        self.commit("Change the tasks")
    }

    /// Commits a single task with this script; returns the commit's full id.
    #[track_caller]
    pub(crate) fn commit_script(&self, script: &str) -> String {
        self.commit_tasks(&format!("[task.test]\nrun = '''\n{script}\n'''\n"))
    }

    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }
}
