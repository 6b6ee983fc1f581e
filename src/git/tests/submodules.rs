//! Submodules on their way from a watched repository over a store into a work tree, compared with what git makes of a
//! clone.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::{Repo, git_in};
use crate::git::{Facts, PackStore, SourcePlaces, TreeSource, WorkTree};
use crate::model::{CommitId, SourceNeeds, Submodules};

/// Allows git to clone from paths.
const ALLOW: [&str; 2] = ["-c", "protocol.file.allow=always"];

fn git(at: &Path, arguments: &[&str]) -> String {
    git_in(at, &[&ALLOW, arguments].concat())
}

/// Repositories side by side, of which one is watched.
struct Scene {
    repo: Repo,
    store: PackStore,
    tree: WorkTree,
    place: PathBuf,
    told: Option<Facts>,
}

/// Makes a repository beside the watched one, with one file.
fn library(repo: &Repo, name: &str) -> PathBuf {
    let path = repo.beside(name);
    fs::create_dir(&path).unwrap();
    git(&path, &["init", "--quiet", "--initial-branch=main"]);
    change(&path, "file", &format!("{name}\n"));
    path
}

/// Commits a file.
fn change(repository: &Path, file: &str, content: &str) {
    fs::write(repository.join(file), content).unwrap();
    git(repository, &["add", "--all"]);
    git(repository, &["commit", "--quiet", "--message", "change"]);
}

fn scene(repo: Repo) -> Scene {
    let store = repo.store(repo.head());
    let place = repo.beside("slots/tree");
    let tree = WorkTree::open(&repo.beside("store"), &place).unwrap();
    Scene { repo, store, tree, place, told: None }
}

fn needs(submodules: Submodules) -> SourceNeeds {
    SourceNeeds { submodules, ..SourceNeeds::NOTHING }
}

impl Scene {
    fn facts(&self, commit: CommitId, submodules: Submodules) -> Facts {
        let cache = self.repo.beside("cache");
        let places = SourcePlaces { work: &cache, base: None };
        self.repo.watched().facts(commit, needs(submodules), places).unwrap().unwrap()
    }

    /// Sends the present commit and checks it out. Returns the size of its pack.
    fn send(&mut self, submodules: Submodules) -> usize {
        let (commit, haves) = (self.repo.head(), Vec::from_iter(self.tree.commit()));
        if submodules == Submodules::No {
            let source = TreeSource { needs: needs(submodules), facts: self.told.as_ref().map(|told| told.id) };
            self.tree.check_out_with(commit, &[], source).unwrap();
            return 0;
        }
        let facts = self.facts(commit, submodules);
        assert_eq!(facts.facts.problems, Vec::<String>::new());
        let mut pack = Vec::new();
        let mut sink = |piece: &[u8]| {
            pack.extend_from_slice(piece);
            true
        };
        self.repo.watched().pack_with_facts(&[commit], &haves, (&facts, self.told.as_ref()), &mut sink).unwrap();
        let mut receiver = self.store.receive().unwrap();
        receiver.write(&pack).unwrap();
        receiver.finish(commit, false).unwrap();
        self.store.note_facts(commit, facts.id).unwrap();
        let source = TreeSource { needs: needs(submodules), facts: Some(facts.id) };
        self.tree.check_out_with(commit, &[], source).unwrap();
        self.told = Some(facts);
        pack.len()
    }

    /// Compares the tree with what git makes of a clone.
    fn assert_is_a_clone(&self, submodules: Submodules) {
        let clone = self.repo.beside("clone");
        fs::remove_dir_all(&clone).ok();
        git(Path::new("/"), &["clone", "--quiet", text(self.repo.path()), text(&clone)]);
        let recursive: &[&str] = if submodules == Submodules::Recursive { &["--recursive"] } else { &[] };
        if submodules != Submodules::No {
            git(&clone, &[&["submodule", "--quiet", "update", "--init"], recursive].concat());
        }
        assert_eq!(files_in(&self.place), files_in(&clone));
        let status = [&["submodule", "status", "--cached"], recursive].concat();
        // A clone tells the name of a branch too.
        let first_words = |text: String| {
            let words = |line: &str| line.split(" (").next().unwrap_or_default().to_owned();
            text.lines().map(words).collect::<Vec<_>>()
        };
        if submodules != Submodules::No {
            assert_eq!(first_words(git(&self.place, &status)), first_words(git(&clone, &status)));
        }
        assert_eq!(git(&self.place, &["status", "--porcelain", "--ignored"]), "");
        assert_eq!(git(&self.place, &["diff", "--submodule=diff", "HEAD"]), "");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The files of a tree without its repositories, with their contents.
fn files_in(directory: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let (mut found, mut pending) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).unwrap().map(Result::unwrap) {
            let (path, is_directory) = (entry.path(), entry.file_type().unwrap().is_dir());
            if entry.file_name() == ".git" {
                continue;
            }
            let content = (!is_directory).then(|| fs::read(&path).unwrap());
            found.push((path.strip_prefix(directory).unwrap().to_owned(), content));
            pending.extend(is_directory.then_some(path));
        }
    }
    found.sort();
    found
}

/// A repository with a submodule that has another one, if it is `nested`.
fn with_submodules(nested: bool) -> Repo {
    let repo = Repo::new();
    let inner = library(&repo, "inner");
    let outer = library(&repo, "outer");
    if nested {
        git(&outer, &["submodule", "--quiet", "add", text(&inner), "deep/inner"]);
    }
    change(&outer, ".gitattributes", "[attr]windows eol=crlf\nfile windows\n");
    repo.write("own", "own\n").write(".gitattributes", "* ident\n").commit("first");
    git(repo.path(), &["submodule", "--quiet", "add", text(&outer), "lib/outer x"]);
    git(repo.path(), &["submodule", "--quiet", "update", "--init", "--recursive"]);
    repo.commit("with a submodule");
    repo
}

#[test]
fn a_tree_has_the_submodules_of_a_clone() {
    let mut scene = scene(with_submodules(true));
    for submodules in [Submodules::Direct, Submodules::Recursive, Submodules::No, Submodules::Recursive] {
        scene.send(submodules);
        scene.assert_is_a_clone(submodules);
    }
    // A task's changes in a submodule are undone.
    let inner = scene.place.join("lib/outer x/deep/inner");
    fs::write(inner.join("left"), "").unwrap();
    fs::write(inner.join(".git/hooks/post-checkout"), "").unwrap();
    fs::write(scene.place.join("lib/outer x/file"), "changed").unwrap();
    git(&inner, &["commit", "--quiet", "--allow-empty", "--message", "of the task"]);
    scene.send(Submodules::Recursive);
    scene.assert_is_a_clone(Submodules::Recursive);
    assert!(!inner.join(".git/hooks/post-checkout").exists());
    // After a restart as well.
    scene.tree = WorkTree::open(&scene.repo.beside("store"), &scene.place).unwrap();
    scene.send(Submodules::Recursive);
    scene.assert_is_a_clone(Submodules::Recursive);
}

#[test]
fn a_submodule_moves_and_becomes_a_directory_and_back() {
    let repo = with_submodules(false);
    let outer = repo.path().join("lib/outer x");
    let mut scene = scene(repo);
    let noise: String = (0..60_000_u64).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    change(&outer, "large", &noise);
    scene.repo.commit("a large submodule");
    let first = scene.send(Submodules::Recursive);
    change(&outer, "file", "changed\n");
    scene.repo.commit("moved");
    let second = scene.send(Submodules::Recursive);
    assert!(first > 200_000 && second < 4_000, "{first} {second}");
    scene.assert_is_a_clone_of(&outer);
    let with_module = scene.repo.head();
    scene.repo.git(&["rm", "--quiet", "--cached", "lib/outer x"]);
    fs::rename(outer.join(".git"), scene.repo.beside("gitfile")).unwrap();
    scene.repo.commit("a directory");
    scene.send(Submodules::Recursive);
    assert_eq!(files_in(&scene.place), files_in(scene.repo.path()));
    scene.repo.git(&["rm", "--quiet", "-r", "--cached", "lib/outer x"]);
    fs::rename(scene.repo.beside("gitfile"), outer.join(".git")).unwrap();
    scene.repo.git(&["read-tree", &with_module.to_string()]);
    scene.repo.git(&["commit", "--quiet", "--message", "back"]);
    scene.send(Submodules::Recursive);
    assert_eq!(git(&scene.place, &["status", "--porcelain"]), "");
    assert_eq!(fs::read_to_string(scene.place.join("lib/outer x/file")).unwrap(), "changed\r\n");
}

impl Scene {
    /// Compares the tree with the watched repository's own, whose submodule has commits that nobody else has.
    fn assert_is_a_clone_of(&self, outer: &Path) {
        let own = |path: &Path| git(path, &["rev-parse", "HEAD"]);
        assert_eq!(own(&self.place.join("lib/outer x")), own(outer));
        assert_eq!(git(&self.place, &["status", "--porcelain"]), "");
    }
}

#[test]
fn a_submodule_that_cannot_be_had_is_told_without_credentials() {
    let problems = |modules: &str, path: &str| {
        let repo = Repo::new();
        repo.write(".gitmodules", modules);
        let id = "1".repeat(40);
        repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},{path}")]);
        repo.git(&["add", ".gitmodules"]);
        repo.git(&["commit", "--quiet", "--message", "first"]);
        let scene = scene(repo);
        scene.facts(scene.repo.head(), Submodules::Recursive).facts.problems.join("\n")
    };
    let of = |url: &str| problems(&format!("[submodule \"lib\"]\n\tpath = lib\n\turl = {url}\n"), "lib");
    assert!(problems("", "lib").contains("submodule lib: .gitmodules does not describe it"));
    assert!(problems("[submodule \"x", "lib").contains(".gitmodules cannot be read"));
    assert!(problems("[submodule \"../x\"]\n\tpath = lib\n\turl = https://h/x\n", "lib").contains("leads out"));
    assert!(of("-uevil").contains("taken for an option"));
    assert!(of("\"ext::sh -c 'touch evil'\"").contains("names a program"));
    assert!(of("../../../../../../../../x").contains("leads above"), "{}", of("../../../../../../../../x"));
    let refused = of("https://ada:secret@127.0.0.1:1/x.git");
    assert!(refused.contains("127.0.0.1") && !refused.contains("secret"), "{refused}");
    let local = of("/srv/nosuch");
    assert!(local.contains("transport 'file' not allowed"), "{local}");
}

#[test]
fn a_submodule_that_contains_itself_ends() {
    let repo = Repo::new();
    repo.write("file", "x").commit("first");
    let url = text(repo.path()).to_owned();
    repo.write(".gitmodules", format!("[submodule \"me\"]\n\tpath = me\n\turl = {url}\n"));
    // The commit that names itself cannot be made, so the module's repository gets one that has the same entry.
    let modules = repo.path().join(".git/modules/me");
    fs::create_dir_all(modules.parent().unwrap()).unwrap();
    git(Path::new("/"), &["init", "--quiet", "--bare", text(&modules)]);
    let blob = repo.git(&["hash-object", "-w", ".gitmodules"]);
    let mut inner = repo.head();
    let mut chain = Vec::new();
    for _ in 0..14 {
        inner = repo.raw_commit(&[("100644", b".gitmodules", &blob), ("160000", b"me", &inner.to_string())]);
        chain.push(inner);
    }
    repo.git(&["update-ref", "refs/heads/main", &inner.to_string()]);
    // Every repository in the chain has the one below it, as if it had been cloned.
    let mut at = repo.path().join(".git");
    for _ in 0..13 {
        let below = at.join("modules/me");
        fs::create_dir_all(below.join("objects/info")).unwrap();
        let line = format!("{}\n", repo.path().join(".git/objects").display());
        fs::write(below.join("objects/info/alternates"), line).unwrap();
        fs::create_dir_all(below.join("objects/pack")).unwrap();
        at = below;
    }
    let scene = scene(repo);
    let facts = scene.facts(inner, Submodules::Recursive);
    assert!(facts.facts.problems.join("\n").contains("it is in more than 10 others"), "{:?}", facts.facts.problems);
    assert_eq!(facts.facts.submodules.len(), 10);
}
