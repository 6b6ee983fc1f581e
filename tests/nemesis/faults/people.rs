//! Actions of people: pushes, cancels and reruns.

use super::*;

/// The branch whose builds are trusted now and then, so that their tasks get no secret.
pub(crate) const DOUBTFUL: &str = "topic";
/// Commits of which all tasks ask their tool caches for the same entries.
const GENERATION: usize = 3;
/// With this many unfinished builds nobody pushes more, because the remaining work would take too long at the end.
const BACKLOG: usize = 25;

impl Nemesis<'_> {
    /// An operator cancels some build.
    pub(super) fn cancel(&mut self) -> bool {
        let unfinished = self.witness.unfinished();
        let Some(build) = self.people.pick(&unfinished) else { return false };
        let request = self.witness.cancel_asked(build);
        self.ask(request, json!({"type": "cancel", "build": build.0.to_string()}))
    }

    /// An operator runs a finished build again.
    pub(super) fn rerun(&mut self) -> bool {
        if self.witness.unfinished().len() > BACKLOG {
            return false;
        }
        let Some(build) = self.people.pick(&self.witness.finished()) else { return false };
        let failed = self.people.percent(40);
        let Some(request) = self.witness.rerun_asked(build, failed) else { return false };
        self.ask(request, json!({"type": "rerun", "build": build.0.to_string(), "failed": failed}))
    }

    /// Whether an answer confirmed it.
    fn ask(&self, request: RequestId, question: Value) -> bool {
        let is_done = echo::operate(self.world, question).is_some_and(|answer| answer["type"] == "ok");
        if is_done {
            self.witness.done(request);
        }
        is_done
    }

    pub(super) fn push(&mut self, kind: Fault) -> bool {
        if self.witness.unfinished().len() > BACKLOG {
            return false;
        }
        let at = self.people.below(2);
        let branches: Vec<String> = self.heads[at].keys().cloned().collect();
        let branch = self.people.pick(&branches).unwrap_or_else(|| "main".into());
        match kind {
            Fault::ForcePush => {
                let old = self.people.pick(&self.commits[at]);
                self.push_to(at, &branch, old);
            }
            Fault::NewBranch => {
                let name = [DOUBTFUL, "fix", "try"][self.people.below(3)];
                let old = if self.people.percent(50) { self.people.pick(&self.commits[at]) } else { None };
                self.push_to(at, name, old);
            }
            Fault::DeleteBranch if branch != "main" => {
                self.repositories[at].git(&["update-ref", "-d", &format!("refs/heads/{branch}")]);
                self.heads[at].remove(&branch);
                self.witness.note(Fact::Pushed { repo: repo(at), reference: RefName::of_branch(&branch), head: None });
            }
            _ => self.push_to(at, &branch, None),
        }
        true
    }

    /// Lets a branch name an old commit, or a new one.
    pub(super) fn push_to(&mut self, at: usize, branch: &str, old: Option<CommitId>) {
        let old = old.filter(|old| branch != DOUBTFUL || !self.witness.tells(*old));
        if branch == DOUBTFUL {
            trust(self.world, self.people.percent(50));
        }
        let head = old.unwrap_or_else(|| self.new_commit(at, branch));
        self.heads[at].insert(branch.to_owned(), head);
        self.witness.note(Fact::Pushed { repo: repo(at), reference: RefName::of_branch(branch), head: Some(head) });
        self.repositories[at].git(&["update-ref", &format!("refs/heads/{branch}"), &head.to_string()]);
    }

    /// A commit that no branch names yet, with known tasks.
    fn new_commit(&mut self, at: usize, branch: &str) -> CommitId {
        let mut tasks = tasks(&mut self.people, self.commits[at].len() / GENERATION);
        tasks.iter_mut().for_each(|task| task.tells &= branch != DOUBTFUL);
        let sections: String = tasks.iter().map(|task| task.section(&self.place)).collect();
        let repository = &self.repositories[at];
        let number = self.commits[at].len();
        repository.write(".surveil.toml", &sections);
        repository.write("number", &number.to_string());
        repository.git(&["add", "--all"]);
        let tree = repository.git(&["write-tree"]);
        let message = format!("Number {number}");
        let mut commit = vec!["commit-tree", &tree, "-m", &message];
        let parent = self.heads[at].get(branch).map(CommitId::to_string);
        if let Some(parent) = &parent {
            commit.extend(["-p", parent]);
        }
        let commit: CommitId = repository.git(&commit).parse().unwrap();
        self.witness.plan(commit, tasks);
        self.commits[at].push(commit);
        commit
    }
}

/// The operator says which branches are trusted: all, or all but one.
pub(super) fn trust(world: &World, all: bool) {
    let branches = if all { "'*'" } else { "'main', 'fix', 'try'" };
    let [file, new] = ["surveil.toml", "surveil.toml.new"].map(|name| world.data().join(name));
    fs::write(&new, format!("[trust]\nbranches = [{branches}]\n")).unwrap();
    fs::rename(new, file).unwrap();
}

/// The tasks of one commit.
fn tasks(dice: &mut Dice, generation: usize) -> Vec<KnownTask> {
    let generation = u32::try_from(generation).ok();
    let quick = KnownTask {
        name: "quick",
        rounds: 1,
        lines: 40,
        rest_ms: 20,
        leaves: false,
        exclusive: false,
        code: 0,
        file_bytes: 1_000,
        tells: false,
        generation: None,
    };
    let slow = KnownTask {
        name: "slow",
        rounds: 4,
        lines: 400,
        rest_ms: dice.ms(50, 500),
        leaves: true,
        file_bytes: 150_000,
        generation,
        ..quick
    };
    let quick = KnownTask { tells: true, generation, ..quick };
    let deploy = KnownTask {
        name: "deploy",
        rounds: 3,
        rest_ms: dice.ms(50, 400),
        exclusive: true,
        file_bytes: 0,
        generation: None,
        ..quick
    };
    let red = KnownTask { name: "red", code: 3, file_bytes: 0, tells: false, generation: None, ..quick };
    let mut tasks = vec![slow];
    for (task, chance) in [(quick, 50), (deploy, 40), (red, 25)] {
        if dice.percent(chance) {
            tasks.push(task);
        }
    }
    tasks
}
