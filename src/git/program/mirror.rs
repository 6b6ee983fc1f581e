//! A local bare mirror of a remote: made by a clone, then kept equal to the remote, HEAD included, and kept small.
//! Written by one fetch at a time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::child::Limits;
use super::{network_git, read, read_within, run};
use crate::clock;
use crate::git::credentials::masked_word;
use crate::git::error::GitError;
use crate::locked::Locked;
use crate::model::CommitId;

/// Time without a byte or a line about progress after which a fetch hangs.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(2 * 60);

/// Time limit of a fetch. A first mirror of a large repository over a slow line takes hours, and moves all the time.
pub(super) const FETCH_LIMIT: Duration = Duration::from_secs(12 * 60 * 60);

/// Time limit for packing a mirror, which prints nothing meanwhile.
const PACK_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Number of packs at which a mirror is packed anew. Each fetch brings one, and each lookup asks all of them.
const PACKS_MAX: usize = 10;

/// The file with the size that a mirror had when it was last packed whole.
const PACKED_BYTES: &str = "surveil-packed-bytes";

/// Age of temporary files that no fetch can be using any more.
const LEFTOVER_AGE_SECONDS: i64 = 24 * 60 * 60;

/// Makes or updates a local bare mirror of a remote URL, or of a repository at an absolute path, with the hardened
/// `git` program. Open the mirror with [`Watched::open`](crate::git::Watched::open).
pub fn fetch_mirror(url: &str, mirror: &Path) -> Result<(), GitError> {
    let _lock = lock(mirror)?;
    if mirror.join("HEAD").exists() {
        return update(url, mirror);
    }
    let action = format!("clone {} into {}", masked_word(url), mirror.display());
    // Cloned into a directory beside the mirror's place, so that an existing mirror is whole.
    let partial = beside(mirror, ".partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(GitError::io("remove", &partial))?;
    }
    let mut command = network_git()?;
    // `--no-local`: the mirror shares no files even with a repository on this machine.
    command.args(["-c", "clone.defaultRemoteName=origin"]);
    command.args(["clone", "--quiet", "--progress", "--mirror", "--no-local", "--end-of-options", url]).arg(&partial);
    run(command, &action, Limits { whole: FETCH_LIMIT, silence: SILENCE_LIMIT })?;
    // Each fetch is given the URL, whose credentials may have changed by then, so none need be kept in a file.
    read(&partial, &["config", "--remove-section", "remote.origin"])?;
    note_packed(&partial)?;
    fs::rename(&partial, mirror).map_err(GitError::io("move into place", mirror))
}

/// Fetches a commit with everything of its tree into the bare repository at `place`, which is made if it is not there.
/// The URL is one that a commit names, so git allows only the transports that it allows for submodules.
pub(in crate::git) fn fetch_commit(url: &str, place: &Path, commit: CommitId) -> Result<(), GitError> {
    let _lock = lock(place)?;
    let shown = masked_word(url);
    if !place.join("HEAD").exists() {
        let format = if commit.as_bytes().len() == 32 { "sha256" } else { "sha1" };
        let mut command = network_git()?;
        command.args(["init", "--quiet", "--bare", "--template=", &format!("--object-format={format}")]).arg(place);
        run(command, &format!("make {}", place.display()), Limits { whole: FETCH_LIMIT, silence: SILENCE_LIMIT })?;
    }
    let fetch = |what: &[&str]| {
        let mut command = network_git()?;
        command.env("GIT_PROTOCOL_FROM_USER", "0");
        command.args(["-c", "fetch.unpackLimit=1"]).arg("--git-dir").arg(place);
        command.args([
            "fetch",
            "--quiet",
            "--progress",
            "--no-tags",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
        ]);
        command.args(["--no-write-fetch-head"]).args(what);
        let action = format!("fetch submodule from {shown}");
        run(command, &action, Limits { whole: FETCH_LIMIT, silence: SILENCE_LIMIT }).map(drop)
    };
    let id = commit.to_string();
    // A server that gives only what its refs name gives all of that.
    fetch(&["--depth=1", "--end-of-options", url, &id])
        .or_else(|_| fetch(&["--update-shallow", "--end-of-options", url, "+refs/*:refs/*"]))
}

/// Waits until no other observer of this user fetches into the mirror, and keeps others from it.
pub(super) fn lock(mirror: &Path) -> Result<Locked, GitError> {
    if let Some(parent) = mirror.parent() {
        fs::create_dir_all(parent).map_err(GitError::io("make directory", parent))?;
    }
    let path = beside(mirror, ".lock");
    let file = File::create(&path).map_err(GitError::io("make", &path))?;
    file.lock().map_err(GitError::io("lock", &path))?;
    Ok(Locked::new(file))
}

fn beside(mirror: &Path, ending: &str) -> PathBuf {
    let mut path = OsString::from(mirror);
    path.push(ending);
    path.into()
}

/// Makes the refs and HEAD of a mirror equal to those of the remote. Fetches only if a ref differs, so that a look at
/// an unchanged remote is one short question.
fn update(url: &str, mirror: &Path) -> Result<(), GitError> {
    let remote = ask(url, mirror)?;
    if remote.refs != refs_of(mirror)? {
        let mut command = network_git()?;
        // Every fetch brings a pack, whatever its size: loose objects would have to be packed one by one later.
        command.args(["-c", "fetch.unpackLimit=1"]).arg("--git-dir").arg(mirror);
        command.args(["fetch", "--quiet", "--progress", "--prune", "--no-auto-maintenance", "--no-recurse-submodules"]);
        command.args(["--no-write-fetch-head", "--end-of-options", url, "+refs/*:refs/*"]);
        let action = format!("fetch {} into {}", masked_word(url), mirror.display());
        run(command, &action, Limits { whole: FETCH_LIMIT, silence: SILENCE_LIMIT })?;
        keep_small(mirror)?;
    }
    follow_head(remote.head.as_deref(), mirror)
}

/// What a remote says of itself.
struct Remote {
    /// The branch that its HEAD names. `None` if HEAD is detached, or names a branch that does not exist.
    head: Option<String>,
    /// The object ids of all refs, by full name.
    refs: BTreeMap<String, String>,
}

/// Asks a remote for its refs and its HEAD.
fn ask(url: &str, mirror: &Path) -> Result<Remote, GitError> {
    let mut command = network_git()?;
    // Without a directory, git would read the configuration of the repository that this process was started in.
    command.arg("--git-dir").arg(mirror);
    command.args(["ls-remote", "--quiet", "--symref", "--end-of-options", url]);
    let action = format!("list the refs of {}", masked_word(url));
    let answer = run(command, &action, Limits { whole: FETCH_LIMIT, silence: SILENCE_LIMIT })?;
    let answer = String::from_utf8_lossy(&answer);
    let mut remote = Remote { head: None, refs: BTreeMap::new() };
    for (value, name) in answer.lines().filter_map(|line| line.split_once('\t')) {
        match value.strip_prefix("ref: ") {
            Some(named) if name == "HEAD" => {
                remote.head = Some(named).filter(|named| named.starts_with("refs/heads/")).map(str::to_owned);
            }
            Some(_) => {}
            // `^{}` follows the name of a tag in the line of the tagged object.
            None if name.starts_with("refs/") && !name.ends_with("^{}") => {
                remote.refs.insert(name.to_owned(), value.to_owned());
            }
            None => {}
        }
    }
    Ok(remote)
}

/// Returns the refs of a mirror, in the form of [`Remote::refs`].
fn refs_of(mirror: &Path) -> Result<BTreeMap<String, String>, GitError> {
    let listed = read(mirror, &["for-each-ref", "--format=%(objectname)%09%(refname)"])?.unwrap_or_default();
    let lines = String::from_utf8_lossy(&listed).into_owned();
    let pairs = lines.lines().filter_map(|line| line.split_once('\t'));
    Ok(pairs.map(|(id, name)| (name.to_owned(), id.to_owned())).collect())
}

/// Points HEAD of a mirror at the branch that the remote's HEAD names, because a fetch leaves HEAD as it was.
fn follow_head(named: Option<&str>, mirror: &Path) -> Result<(), GitError> {
    let Some(named) = named else { return Ok(()) };
    let present = read(mirror, &["symbolic-ref", "--quiet", "HEAD"])?.unwrap_or_default();
    if String::from_utf8_lossy(&present).trim_end() != named {
        read(mirror, &["symbolic-ref", "HEAD", named])?;
    }
    Ok(())
}

/// Packs a mirror if it has many packs, and drops what no ref needs if that may be half of it: after force pushes most
/// objects are of no use to anybody. The work is in proportion to what has arrived since the last time.
fn keep_small(mirror: &Path) -> Result<(), GitError> {
    let directory = mirror.join("objects").join("pack");
    remove_leftovers(&directory);
    let (packs, bytes) = packs_in(&directory)?;
    let pack = |arguments: &[&str]| read_within(mirror, arguments, PACK_LIMIT);
    // The file is missing in a mirror of an earlier version, which was never packed.
    let last = fs::read_to_string(mirror.join(PACKED_BYTES)).ok().and_then(|text| text.trim().parse::<u64>().ok());
    if last.is_some_and(|last| bytes <= last.saturating_mul(2)) {
        if packs > PACKS_MAX {
            // Merges the small packs only, so that a large one is rewritten seldom.
            pack(&["-c", "repack.writeBitmaps=false", "repack", "-d", "--geometric=2", "--quiet"])?;
        }
        return Ok(());
    }
    // The lock on the mirror keeps new objects away, which no ref names before the end of their fetch.
    pack(&["-c", "repack.writeBitmaps=false", "repack", "-a", "-d", "--quiet"])?;
    pack(&["prune", "--expire=now"])?;
    pack(&["pack-refs", "--all"])?;
    note_packed(mirror)
}

/// Notes the size of a mirror that has just been packed whole.
fn note_packed(mirror: &Path) -> Result<(), GitError> {
    let (_, bytes) = packs_in(&mirror.join("objects").join("pack"))?;
    let file = mirror.join(PACKED_BYTES);
    fs::write(&file, bytes.to_string()).map_err(GitError::io("write", &file))
}

/// Returns the number of packs and their size.
fn packs_in(directory: &Path) -> Result<(usize, u64), GitError> {
    let (mut packs, mut bytes) = (0, 0);
    for entry in fs::read_dir(directory).map_err(GitError::io("read", directory))? {
        let entry = entry.map_err(GitError::io("read", directory))?;
        if entry.path().extension().is_some_and(|ending| ending == "pack") {
            packs += 1;
            bytes += entry.metadata().map_or(0, |meta| meta.len());
        }
    }
    Ok((packs, bytes))
}

/// Removes what fetches that were killed have left.
fn remove_leftovers(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let is_temporary = entry.file_name().to_str().is_some_and(|name| name.starts_with("tmp_"));
        let is_old = entry.metadata().is_ok_and(|meta| meta.mtime() < clock::wall().0 / 1000 - LEFTOVER_AGE_SECONDS);
        if is_temporary && is_old {
            // It only takes room; the next fetch tries again.
            fs::remove_file(entry.path()).ok();
        }
    }
}
