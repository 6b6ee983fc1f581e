//! The files of a commit that are in Git LFS: finds their pointers, and the contents, in the storage of the watched
//! repository or fetched by the user's `git lfs` into a directory of our own. Each content is verified by size and
//! hash before anything is told of it.
//!
//! Nothing that the commit says chooses a place: neither its `.lfsconfig` nor anything else of it is followed. An
//! object that cannot be had is no error of the repository: it is told in a sentence, without credentials.

mod storage;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use git2::{Config, ObjectFormat, ObjectType, Oid};

use super::attributes::{Attributes, attributes_in};
use super::database::Database;
use super::error::{GitError, shown_path};
use super::hash::id_of;
use super::objects::{EntryKind, Objects, entries, of_its_type};
use super::pointer::{LfsId, Pointer, PointerFile, pointer_file};
use super::program::{LfsRemote, fetch_lfs};
use crate::model::CommitId;
use storage::{Fault, Stamp};

pub(super) use storage::FileContent;

/// The most objects of a commit, and their most bytes together.
const OBJECTS_MAX: usize = 20_000;
const BYTES_MAX: u64 = 16 << 30;

/// The most bytes of one object. A pack is received only if no entry of it has 4 GiB, and a content that does not
/// shrink takes a little more than its own size.
const OBJECT_BYTES_MAX: u64 = 4000 << 20;

/// The most entries of the trees of a commit that are looked at. A few small trees can name one another so often that
/// nobody could go through them.
const ENTRIES_MAX: usize = 5_000_000;

/// The most objects that are named when they cannot be had.
const NAMED_MAX: usize = 8;

/// The most objects that are remembered as verified.
const VERIFIED_MAX: usize = 4 * OBJECTS_MAX;

/// The file by which a commit would say from where objects are fetched.
const LFS_CONFIG: &[u8] = b".lfsconfig";

/// The repository of a commit whose LFS objects are looked for.
pub(super) struct Place<'a> {
    /// The path of a submodule, with a slash at the end; empty for the repository itself.
    pub(super) prefix: &'a str,
    pub(super) database: &'a Database,
    pub(super) commit: CommitId,
    /// The attributes of the repository that count before those of the commit: the blob and its content.
    pub(super) attributes: Option<(Oid, &'a [u8])>,
    /// The directory with its configuration and its storage.
    pub(super) git_dir: &'a Path,
    /// The URL of its remote, or the reason why there is none.
    pub(super) remote: Result<String, String>,
    /// The directory into which objects are fetched.
    pub(super) cache: &'a Path,
}

/// The LFS objects of a commit.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The contents, by the blobs of their pointers.
    pub(super) contents: BTreeMap<Oid, FileContent>,
    /// Why others cannot be had, a sentence each.
    pub(super) problems: Vec<String>,
}

/// Objects that were verified, and the ids that their contents have as blobs. An object that was not touched since is
/// not read again.
#[derive(Default)]
pub(super) struct Verified(RefCell<HashMap<Pointer, (Stamp, Oid)>>);

/// The pointers of a commit.
#[derive(Default)]
struct Listed {
    /// By their blobs, each with the path of a file that it is the content of.
    pointers: BTreeMap<Oid, (Pointer, String)>,
    problems: Vec<String>,
    has_config: bool,
}

/// A content that is not in the storage.
struct Missing {
    pointer: Pointer,
    blob: Oid,
    path: String,
    /// The content that is there in its place.
    wrong: Option<String>,
}

/// Adds the LFS objects of a commit to those that were found, and fetches those that are not here.
pub(super) fn find(of: &Place<'_>, verified: &Verified, found: &mut Found) -> Result<(), GitError> {
    let listed = of.database.with(|objects| list(objects, of, OBJECTS_MAX.saturating_sub(found.contents.len())))?;
    let is_sound = listed.problems.is_empty();
    found.problems.extend(listed.problems);
    let sizes = listed.pointers.values().map(|(pointer, _)| pointer.size);
    let sizes = sizes.chain(found.contents.values().map(|content| content.size as u64));
    let bytes = sizes.fold(0_u64, u64::saturating_add);
    if bytes > BYTES_MAX {
        let count = listed.pointers.len() + found.contents.len();
        found.problems.push(format!(
            "its {count} LFS objects have {bytes} bytes together, and at most {BYTES_MAX} bytes go along with a commit"
        ));
    }
    let large = listed.pointers.values().find(|(pointer, _)| pointer.size > OBJECT_BYTES_MAX);
    if let Some((Pointer { oid, size }, path)) = large {
        found.problems.push(format!(
            "{path}: LFS object {oid} has {size} bytes, and at most {OBJECT_BYTES_MAX} bytes of an object go along with a \
             commit"
        ));
    }
    if !is_sound || bytes > BYTES_MAX || large.is_some() || listed.pointers.is_empty() {
        return Ok(());
    }
    let (own, remote) = (own_storage(of.git_dir), remote_of(of));
    let fetched = remote.as_ref().map(|remote| of.cache.join(key_of(remote))).ok();
    let storages: Vec<&Path> = [Some(&*own), fetched.as_deref()].into_iter().flatten().collect();
    let format = of.database.format();
    let needed: HashSet<LfsId> = listed.pointers.values().map(|(pointer, _)| pointer.oid).collect();
    let mut missing = Vec::new();
    for (blob, (pointer, path)) in listed.pointers {
        match verified.look(&storages, pointer, format) {
            Ok(content) => drop(found.contents.insert(blob, content)),
            Err(wrong) => missing.push(Missing { pointer, blob, path, wrong }),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let why = match (&remote, &fetched) {
        (Ok(remote), Some(place)) => {
            let texts: Vec<String> = missing.iter().map(|missing| missing.pointer.to_string()).collect();
            let failed = fetch_lfs(remote, place, &texts).err().map(|error| error.to_string());
            storage::trim(place, &needed);
            failed
        }
        (Err(why), _) => Some(why.clone()),
        (Ok(_), None) => None,
    };
    let mut left = Vec::new();
    for mut at in missing {
        match verified.look(&storages, at.pointer, format) {
            Ok(content) => drop(found.contents.insert(at.blob, content)),
            Err(wrong) => {
                at.wrong = wrong.or(at.wrong);
                left.push(at);
            }
        }
    }
    found.problems.extend(told(&left, &own, why, listed.has_config));
    Ok(())
}

/// Tells of objects that cannot be had.
fn told(left: &[Missing], own: &Path, why: Option<String>, has_config: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for Missing { pointer: Pointer { oid, size }, path, wrong, .. } in left.iter().take(NAMED_MAX) {
        let is_not = match wrong {
            Some(wrong) => format!("cannot be used: {wrong}"),
            None => format!("is not in {}", own.display()),
        };
        problems.push(format!("{path}: LFS object {oid} of {size} bytes {is_not}"));
    }
    if left.len() > NAMED_MAX {
        problems.push(format!("and {} more LFS objects", left.len() - NAMED_MAX));
    }
    if !left.is_empty() {
        problems.extend(why);
        if has_config {
            problems.push(
                "the .lfsconfig of the commit is not followed: `git config lfs.url URL` in the watched repository says \
                 from where objects are fetched"
                    .to_owned(),
            );
        }
    }
    problems
}

impl Verified {
    /// Looks for an object in these storages, and verifies it. Without one that can be used, tells what is there.
    fn look(&self, storages: &[&Path], pointer: Pointer, format: ObjectFormat) -> Result<FileContent, Option<String>> {
        let mut wrong = None;
        for storage in storages {
            let path = storage::path_in(storage, pointer.oid);
            match self.verify(&path, pointer, format) {
                Ok((id, size)) => return Ok(FileContent { id, size, path }),
                Err(Fault::Absent) => {}
                Err(Fault::Wrong(why)) => wrong = Some(format!("{} {why}", path.display())),
            }
        }
        Err(wrong)
    }

    fn verify(&self, path: &Path, pointer: Pointer, format: ObjectFormat) -> Result<(Oid, usize), Fault> {
        let size = usize::try_from(pointer.size).map_err(|_| Fault::Wrong("is too large".to_owned()))?;
        let (file, stamp) = storage::open(path, pointer)?;
        let known = self.0.borrow().get(&pointer).filter(|(seen, _)| *seen == stamp).map(|(_, id)| *id);
        if let Some(id) = known {
            return Ok((id, size));
        }
        let id = storage::verify(file, pointer, format)?;
        let mut known = self.0.borrow_mut();
        if known.len() >= VERIFIED_MAX {
            known.clear();
        }
        known.insert(pointer, (stamp, id));
        Ok((id, size))
    }
}

/// Finds the pointers of a commit: files for which the filter of Git LFS is, and that are pointers.
fn list(objects: &Objects, of: &Place<'_>, most: usize) -> Result<Listed, GitError> {
    let odb = objects.odb()?;
    let mut listed = Listed::default();
    let first = of.attributes.map(|(blob, text)| Attributes::of_repository(blob, text)).unwrap_or_default();
    let mut pending = vec![(Vec::new(), objects.commit(of.commit)?.tree_id(), first)];
    let mut left = ENTRIES_MAX;
    while let Some((path, tree, inherited)) = pending.pop() {
        let Some(data) = of_its_type(objects.tree(&odb, tree))? else { continue };
        let found = entries(tree, data.data())?;
        let attributes = attributes_in((objects, &odb), &found, &inherited, (path.len(), path.is_empty()))?;
        for entry in found {
            let Some(less) = left.checked_sub(1) else {
                listed.problems.push(format!("its trees have more than {ENTRIES_MAX} entries"));
                return Ok(listed);
            };
            left = less;
            let below = || [&path, entry.name].concat();
            let shown = || shown_path(&[of.prefix.as_bytes(), &path, entry.name].concat());
            match entry.kind {
                EntryKind::Tree => pending.push(([&path, entry.name, b"/"].concat(), entry.id, attributes.clone())),
                EntryKind::File | EntryKind::Executable => {
                    listed.has_config |= path.is_empty() && entry.name == LFS_CONFIG;
                    if attributes.is_empty()
                        || listed.pointers.contains_key(&entry.id)
                        || !attributes.treatment(&below()).is_lfs
                    {
                        continue;
                    }
                    match pointer_file(objects, &odb, entry.id)? {
                        Some(PointerFile::Plain(pointer)) => {
                            if listed.pointers.len() >= most {
                                listed.problems.push(format!("it has more than {OBJECTS_MAX} LFS objects"));
                                return Ok(listed);
                            }
                            listed.pointers.insert(entry.id, (pointer, shown()));
                        }
                        Some(PointerFile::Extended) if listed.problems.len() < NAMED_MAX => {
                            let path = shown();
                            listed.problems.push(format!(
                                "{path}: its pointer has an extension, a program that changes the content, and none is run"
                            ));
                        }
                        Some(PointerFile::Extended) | None => {}
                    }
                }
                EntryKind::Link | EntryKind::Submodule => {}
            }
        }
    }
    Ok(listed)
}

/// The storage of a repository, which its own configuration may move.
fn own_storage(git_dir: &Path) -> PathBuf {
    let config = Config::open(&git_dir.join("config"));
    let moved = config.and_then(|config| config.get_path("lfs.storage")).ok();
    git_dir.join(moved.unwrap_or_else(|| "lfs".into()))
}

/// Returns the place from which a repository's objects are fetched: its remote, or what its own configuration says.
fn remote_of(of: &Place<'_>) -> Result<LfsRemote, String> {
    let setting = |name| Config::open(&of.git_dir.join("config")).ok()?.get_string(name).ok();
    let endpoint = setting("lfs.url").or_else(|| setting("remote.origin.lfsurl"));
    match (&of.remote, endpoint) {
        (Ok(url), endpoint) => Ok(LfsRemote { url: url.clone(), endpoint }),
        (Err(_), Some(endpoint)) => Ok(LfsRemote { url: endpoint.clone(), endpoint: Some(endpoint) }),
        (Err(why), None) => Err(why.clone()),
    }
}

/// The name of the directory for what is fetched from a place.
fn key_of(remote: &LfsRemote) -> String {
    let place = remote.endpoint.as_ref().unwrap_or(&remote.url);
    id_of(ObjectFormat::Sha1, ObjectType::Blob, place.as_bytes()).to_string()
}
