//! Files in Git LFS on their way from the storage of a watched repository over stores into a work tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::support::{Repo, git_in};
use crate::git::history::Facts;
use crate::git::pointer::{LfsId, Pointer};
use crate::git::{GitError, PackStore, SourcePlaces, TreeSource, WorkTree};
use crate::model::{CommitId, FactsId, SourceNeeds, Submodules};

const LFS: SourceNeeds = SourceNeeds { lfs: true, ..SourceNeeds::NOTHING };

const ATTRIBUTES: &str = "*.bin filter=lfs diff=lfs merge=lfs -text\n";

/// A watched repository, a mirror, and a work tree.
struct Scene {
    repo: Repo,
    store: PackStore,
    tree: WorkTree,
    place: PathBuf,
    told: Option<Facts>,
}

fn scene(repo: Repo) -> Scene {
    let store = repo.store(repo.head());
    let place = repo.beside("slots/tree");
    let tree = WorkTree::open(&repo.beside("store"), &place).unwrap();
    Scene { repo, store, tree, place, told: None }
}

/// Returns the pointer to a content.
fn pointer(content: &[u8]) -> Pointer {
    Pointer { oid: LfsId(Sha256::digest(content).into()), size: content.len() as u64 }
}

/// Returns the path of an object in the repository's storage, and makes its directory.
fn object(repo: &Repo, content: &[u8]) -> PathBuf {
    object_in(&repo.path().join(".git"), content)
}

fn object_in(git_dir: &Path, content: &[u8]) -> PathBuf {
    let name = pointer(content).oid.to_string();
    let directory = git_dir.join("lfs/objects").join(&name[..2]).join(&name[2..4]);
    fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

/// Writes a pointer, and its content into the storage, as `git lfs` does.
fn put(repo: &Repo, path: &str, content: &[u8]) {
    fs::write(object(repo, content), content).unwrap();
    repo.write(path, pointer(content).to_string());
}

/// A repository with one file in Git LFS.
fn with_file(content: &[u8]) -> Repo {
    let repo = Repo::new();
    repo.write(".gitattributes", ATTRIBUTES).write("plain", "plain\n");
    put(&repo, "a.bin", content);
    repo.commit("first");
    repo
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8 + 1)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).to_le_bytes())
        .take(bytes)
        .collect()
}

/// Returns everything of a pack.
fn whole(build: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool) -> Result<(), GitError>) -> Result<Vec<u8>, GitError> {
    let mut pack = Vec::new();
    build(&mut |piece| {
        pack.extend_from_slice(piece);
        true
    })?;
    Ok(pack)
}

fn receive(store: &PackStore, pack: &[u8], commit: CommitId) {
    let mut receiver = store.receive().unwrap();
    receiver.write(pack).unwrap();
    receiver.finish(commit, false).unwrap();
}

fn facts_of(repo: &Repo) -> Facts {
    let work = repo.beside("work");
    repo.watched().facts(repo.head(), LFS, SourcePlaces { work: &work, base: None }).unwrap().unwrap()
}

fn problems_of(repo: &Repo) -> String {
    facts_of(repo).facts.lfs_problems.join("\n")
}

impl Scene {
    /// Sends the present commit, and checks it out with the contents. Returns the size of its pack.
    fn send(&mut self) -> usize {
        let (commit, haves) = (self.repo.head(), Vec::from_iter(self.tree.commit()));
        let facts = facts_of(&self.repo);
        assert_eq!(facts.facts.lfs_problems, Vec::<String>::new());
        let watched = self.repo.watched();
        let pack =
            whole(|sink| watched.pack_with_facts(&[commit], &haves, (&facts, self.told.as_ref()), sink)).unwrap();
        receive(&self.store, &pack, commit);
        self.store.note_facts(commit, facts.id).unwrap();
        self.told = Some(facts);
        self.bring(LFS);
        pack.len()
    }

    fn bring(&mut self, needs: SourceNeeds) {
        let facts = self.told.as_ref().map(|told| told.id).filter(|_| needs != SourceNeeds::NOTHING);
        self.tree.check_out_with(self.repo.head(), &[], TreeSource { needs, facts }).unwrap();
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.place.join(path)).unwrap()
    }

    #[track_caller]
    fn assert_is_clean(&self) {
        // Twice: git may write the index anew.
        for _ in 0..2 {
            assert_eq!(git_in(&self.place, &["status", "--porcelain", "--ignored"]), "");
        }
        git_in(&self.place, &["diff", "--exit-code", "HEAD"]);
    }
}

#[test]
fn a_tree_has_the_contents_and_its_git_finds_no_change() {
    let content = noise(300_000);
    let repo = with_file(&content);
    put(&repo, "deep/dir/b.bin", b"small\n");
    repo.write("c.txt", pointer(b"small\n").to_string());
    repo.write("deep/own/.gitattributes", "*.bin -filter\n*.dat filter=lfs\n");
    repo.write("deep/own/d.bin", pointer(b"small\n").to_string());
    put(&repo, "deep/own/e.dat", b"line\nline\n");
    fs::set_permissions(repo.path().join("deep/own/e.dat"), fs::Permissions::from_mode(0o755)).unwrap();
    repo.write("no-pointer.bin", "committed as it is\n");
    repo.commit("more");
    let mut scene = scene(repo);
    scene.send();
    assert!(scene.read("a.bin") == content);
    assert_eq!(scene.read("deep/dir/b.bin"), b"small\n");
    assert_eq!(scene.read("deep/own/e.dat"), b"line\nline\n");
    let mode = fs::metadata(scene.place.join("deep/own/e.dat")).unwrap().permissions().mode();
    assert_eq!(mode & 0o100, 0o100);
    // The filter of Git LFS is not for these, or they are no pointers.
    assert_eq!(scene.read("c.txt"), pointer(b"small\n").to_string().as_bytes());
    assert_eq!(scene.read("deep/own/d.bin"), pointer(b"small\n").to_string().as_bytes());
    assert_eq!(scene.read("no-pointer.bin"), b"committed as it is\n");
    assert!(!scene.tree.has_pointers());

    // A change is a change, and is undone.
    fs::write(scene.place.join("deep/dir/b.bin"), "large\n").unwrap();
    assert!(git_in(&scene.place, &["status", "--porcelain"]).contains("M deep/dir/b.bin"));
    git_in(&scene.place, &["add", "deep/dir/b.bin"]);
    let staged = git_in(&scene.place, &["cat-file", "blob", ":deep/dir/b.bin"]);
    assert_eq!(format!("{staged}\n"), pointer(b"large\n").to_string());
    scene.bring(LFS);
    assert_eq!(scene.read("deep/dir/b.bin"), b"small\n");
    // After a restart every file is compared.
    scene.tree = WorkTree::open(&scene.repo.beside("store"), &scene.place).unwrap();
    fs::write(scene.place.join("a.bin"), pointer(&content).to_string()).unwrap();
    scene.bring(LFS);
    assert!(scene.read("a.bin") == content);
}

#[test]
fn a_tree_whose_git_has_only_pointers_and_their_contents_is_clean() {
    let repo = with_file(&noise(100_000));
    put(&repo, "b.bin", b"\0binary\n");
    repo.commit("more");
    let mut scene = scene(repo);
    scene.send();
    scene.assert_is_clean();
    // The metadata of the files tells nothing now.
    git_in(&scene.place, &["update-index", "--refresh"]);
    fs::File::options()
        .write(true)
        .open(scene.place.join("a.bin"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    scene.assert_is_clean();
}

#[test]
fn one_tree_has_contents_and_pointers_in_turns() {
    let content = noise(5_000_000);
    let mut scene = scene(with_file(&content));
    scene.send();
    let pointer = pointer(&content).to_string().into_bytes();
    for _ in 0..2 {
        scene.bring(SourceNeeds::NOTHING);
        assert!(scene.read("a.bin") == pointer && scene.tree.has_pointers());
        scene.assert_is_clean();
        scene.bring(LFS);
        assert!(scene.read("a.bin") == content && !scene.tree.has_pointers());
        scene.assert_is_clean();
    }
    // Another commit of the same file.
    put(&scene.repo, "a.bin", b"another content\n");
    scene.repo.commit("second");
    scene.send();
    assert_eq!(scene.read("a.bin"), b"another content\n");
}

#[test]
fn contents_travel_once_and_in_pieces_from_store_to_store() {
    let (first, second) = (noise(9_000_000), noise(40_000));
    let repo = with_file(&first);
    // The same content is in the commit too, and a pack has each object once.
    repo.write("copy", &first).commit("with a copy");
    let mut scene = scene(repo);
    assert!(scene.send() > first.len());
    put(&scene.repo, "b.bin", &second);
    let commit = scene.repo.commit("second");
    let bytes = scene.send();
    assert!((second.len()..100_000).contains(&bytes), "{bytes}");
    scene.repo.write("plain", "changed\n").commit("third");
    assert!(scene.send() < 1_000);

    let runner = PackStore::open(&scene.repo.beside("runner"), commit).unwrap();
    let third = scene.repo.head();
    let id = scene.told.as_ref().unwrap().id;
    let known = scene.store.newest_facts(commit).unwrap();
    assert!(known.enough_for.lfs);
    let pack = whole(|sink| scene.store.pack_with_facts((commit, known.id), &[], &[], sink)).unwrap();
    receive(&runner, &pack, commit);
    runner.note_facts(commit, known.id).unwrap();
    let held = [(commit, known.id)];
    let pack = whole(|sink| scene.store.pack_with_facts((third, id), &[commit], &held, sink)).unwrap();
    assert!(pack.len() < 1_000, "{}", pack.len());
    receive(&runner, &pack, third);
    runner.note_facts(third, id).unwrap();
    // Pruning keeps what the notes of a commit name.
    runner.prune(&[third]).unwrap();
    let place = scene.repo.beside("slots/other");
    let mut tree = WorkTree::open(&scene.repo.beside("runner"), &place).unwrap();
    tree.check_out_with(third, &[], TreeSource { needs: LFS, facts: Some(id) }).unwrap();
    assert!(fs::read(place.join("a.bin")).unwrap() == first && fs::read(place.join("b.bin")).unwrap() == second);
}

#[test]
fn a_receiver_takes_no_other_content_than_the_pointer_names() {
    let repo = with_file(b"the content\n");
    put(&repo, "b.bin", b"other words\n");
    let commit = repo.commit("second");
    let store = repo.store(commit);
    let mut facts = facts_of(&repo);
    let pack =
        |facts: &Facts| whole(|sink| repo.watched().pack_with_facts(&[commit], &[], (facts, None), sink)).unwrap();
    receive(&store, &pack(&facts), commit);
    store.note_facts(commit, facts.id).unwrap();
    let honest = facts.id;
    // Each pointer with the content of the other.
    let blobs: Vec<_> = facts.facts.lfs.iter().map(|(pointer, content)| (*pointer, *content)).collect();
    facts.facts.lfs = [(blobs[0].0, blobs[1].1), (blobs[1].0, blobs[0].1)].into();
    facts.bytes = facts.facts.encode();
    facts.id = id_of(&facts.bytes);
    receive(&store, &pack(&facts), commit);
    let refused = store.note_facts(commit, facts.id).unwrap_err();
    let GitError::BrokenPack { source, .. } = &refused else { panic!("{refused}") };
    assert!(source.message().contains("is not the one that its pointer names"), "{source}");
    assert_eq!(store.newest_facts(commit).unwrap().id, honest);
    // Content that was not sent is asked for.
    let lone = repo.beside("lone");
    let lone = PackStore::open(&lone, commit).unwrap();
    facts.contents.clear();
    receive(&lone, &pack(&facts), commit);
    assert!(matches!(lone.note_facts(commit, facts.id), Err(GitError::Incomplete { .. })));
}

fn id_of(bytes: &[u8]) -> FactsId {
    use git2::{ObjectFormat, ObjectType};
    FactsId(crate::git::objects::commit_id(crate::git::hash::id_of(ObjectFormat::Sha1, ObjectType::Blob, bytes)))
}

#[test]
fn an_object_that_is_not_its_pointers_is_told() {
    let repo = with_file(b"the content\n");
    let path = object(&repo, b"the content\n");
    let id = pointer(b"the content\n").oid;
    fs::remove_file(&path).unwrap();
    let problems = problems_of(&repo);
    assert!(problems.starts_with(&format!("a.bin: LFS object {id} of 12 bytes is not in ")), "{problems}");
    assert!(problems.contains("has no remote from which"), "{problems}");
    assert!(!problems.contains(".lfsconfig"), "{problems}");
    fs::write(&path, "another one\n").unwrap();
    assert!(problems_of(&repo).contains("has another content than its name says"));
    fs::write(&path, "longer than it\n").unwrap();
    assert!(problems_of(&repo).contains("has 15 bytes"));
    fs::remove_file(&path).unwrap();
    fs::write(repo.beside("secret"), "the content\n").unwrap();
    symlink(repo.beside("secret"), &path).unwrap();
    let problems = problems_of(&repo);
    assert!(problems.contains("cannot be used") && problems.contains("cannot be read"), "{problems}");
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert!(problems_of(&repo).contains("no regular file"));
    // A verified object is read again if it has changed.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "the content\n").unwrap();
    let (watched, work) = (repo.watched(), repo.beside("work"));
    let ask = || watched.facts(repo.head(), LFS, SourcePlaces { work: &work, base: None }).unwrap().unwrap();
    assert_eq!(ask().facts.lfs_problems, Vec::<String>::new());
    let facts = ask();
    fs::write(&path, "The Content\n").unwrap();
    assert!(ask().facts.lfs_problems[0].contains("has another content"));
    let sent = whole(|sink| watched.pack_with_facts(&[repo.head()], &[], (&facts, None), sink));
    assert!(matches!(sent, Err(GitError::Io { .. })), "it is not what the facts say");
}

#[test]
fn files_of_a_submodule_have_their_contents_too() {
    let repo = with_file(b"of the repository\n");
    let library = repo.beside("library");
    fs::create_dir(&library).unwrap();
    git_in(&library, &["init", "--quiet", "--initial-branch=main"]);
    fs::write(library.join(".gitattributes"), ATTRIBUTES).unwrap();
    fs::write(library.join("l.bin"), pointer(b"of the library\n").to_string()).unwrap();
    git_in(&library, &["add", "--all"]);
    git_in(&library, &["commit", "--quiet", "--message", "first"]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", library.to_str().unwrap(), "lib"];
    repo.git(&add);
    let commit = repo.commit("with a submodule");
    let needs = SourceNeeds { submodules: Submodules::Direct, ..LFS };
    let work = repo.beside("work");
    let ask = || repo.watched().facts(commit, needs, SourcePlaces { work: &work, base: None }).unwrap().unwrap();
    // Neither the storage of the repository nor that of the library is the submodule's.
    let path = object_in(&repo.path().join(".git/modules/lib"), b"of the library\n");
    let problems = ask().facts.lfs_problems;
    assert!(problems[0].starts_with("lib/l.bin: LFS object"), "{problems:?}");
    fs::write(path, "of the library\n").unwrap();
    let facts = ask();
    assert_eq!(facts.facts.lfs_problems, Vec::<String>::new());
    let store = repo.store(commit);
    let pack = whole(|sink| repo.watched().pack_with_facts(&[commit], &[], (&facts, None), sink)).unwrap();
    receive(&store, &pack, commit);
    store.note_facts(commit, facts.id).unwrap();
    let place = repo.beside("slots/tree");
    let mut tree = WorkTree::open(&repo.beside("store"), &place).unwrap();
    tree.check_out_with(commit, &[], TreeSource { needs, facts: Some(facts.id) }).unwrap();
    assert_eq!(fs::read(place.join("a.bin")).unwrap(), b"of the repository\n");
    assert_eq!(fs::read(place.join("lib/l.bin")).unwrap(), b"of the library\n");
    for at in [&place, &place.join("lib")] {
        assert_eq!(git_in(at, &["status", "--porcelain", "--ignored"]), "");
    }
}

#[test]
fn a_commit_chooses_no_place_and_no_program() {
    let repo = with_file(b"the content\n");
    fs::remove_file(object(&repo, b"the content\n")).unwrap();
    let elsewhere = repo.beside("elsewhere");
    repo.write(".lfsconfig", format!("[lfs]\n\turl = https://127.0.0.1:1/x\n\tstorage = {}\n", elsewhere.display()));
    repo.commit("with a configuration");
    let problems = problems_of(&repo);
    assert!(problems.contains("the .lfsconfig of the commit is not followed: `git config lfs.url URL`"), "{problems}");
    // The repository's own configuration moves the storage.
    fs::write(object(&repo, b"the content\n"), "the content\n").unwrap();
    fs::rename(repo.path().join(".git/lfs"), &elsewhere).unwrap();
    repo.git(&["config", "lfs.storage", elsewhere.to_str().unwrap()]);
    assert_eq!(problems_of(&repo), "");
    let id = "a".repeat(64);
    let extended =
        format!("version https://git-lfs.github.com/spec/v1\next-0-x sha256:{id}\noid sha256:{id}\nsize 5\n");
    repo.write("x.bin", extended).commit("with an extension");
    assert!(problems_of(&repo).starts_with("x.bin: its pointer has an extension"));
}

#[test]
fn a_commit_with_too_much_in_lfs_is_refused_before_anything_is_read() {
    let repo = with_file(b"the content\n");
    let id = "b".repeat(64);
    for (at, size) in [("c.bin", 1_u64 << 62), ("d.bin", i64::MAX as u64)] {
        repo.write(at, format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize {size}\n"));
    }
    repo.commit("huge");
    let problems = problems_of(&repo);
    assert!(problems.starts_with("its 3 LFS objects have ") && problems.contains("at most 17179869184"), "{problems}");
    let facts = facts_of(&repo);
    assert!(facts.contents.is_empty() && facts.facts.lfs.is_empty());

    // One object alone.
    fs::remove_file(repo.path().join("d.bin")).unwrap();
    let large = |size: u64| {
        repo.write("c.bin", format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize {size}\n"));
        repo.commit("large");
        problems_of(&repo)
    };
    let limit = 4000 << 20;
    let problems = large(limit + 1);
    let told = format!("c.bin: LFS object {id} has {} bytes, and at most {limit} bytes of an object", limit + 1);
    assert!(problems.starts_with(&told), "{problems}");
    assert!(large(limit).starts_with(&format!("c.bin: LFS object {id} of {limit} bytes is not in ")));
}

#[test]
fn a_commit_without_files_in_lfs_needs_nothing() {
    let repo = Repo::new();
    repo.write("plain", "plain\n").commit("first");
    let facts = facts_of(&repo);
    assert!(facts.facts.has_lfs && facts.contents.is_empty() && facts.facts.lfs_problems.is_empty());
    assert!(!Path::new(&repo.beside("work")).exists());
}
