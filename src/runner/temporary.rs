//! The temporary directories of attempts. Each attempt gets an empty one of its own, which is removed with everything
//! in it when the attempt has ended, if the attempt left anything. Symbolic links are removed and never followed. A
//! directory that cannot be removed stays, and the next attempt gets one of another name. The slots and `surveil run`
//! call this.

use std::fs::{self, DirBuilder, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::stamp::{Checked, Stamp};
use crate::git::remove_directory;

/// The longest path of the directory above the temporary ones, in bytes. Tools make Unix sockets some names below
/// `TMPDIR`, and the path of a socket has at most 107 bytes.
const PARENT_BYTES: usize = 44;

/// The names that a directory may get, if things that cannot be removed have the names before.
const NAMES_MAX: u32 = 100;

/// The temporary directory of one attempt after the other. A directory that an attempt did not use is kept for the next
/// one: making and removing directories is slow on some file systems, and most attempts use none.
#[derive(Debug)]
pub(super) struct Temporary {
    parent: PathBuf,
    name: String,
    /// Permissions of the directory, with the sticky bit.
    mode: u32,
    /// The directory of the current attempt, or of the last one if that did not use it.
    made: Option<Made>,
}

#[derive(Debug)]
struct Made {
    path: PathBuf,
    /// Set when an attempt has ended and left nothing. By the stamp, a process of another attempt is noticed that
    /// changed the directory in between.
    unused: Option<Checked>,
}

impl Temporary {
    /// A directory of that name in `parent`, which belongs to this user alone. Nothing is made yet.
    pub(super) fn new(parent: PathBuf, name: String) -> Self {
        Self { parent, name, mode: 0o700, made: None }
    }

    /// Lets every user that reaches the directory work in it, as in `/tmp`.
    pub(super) fn for_everybody(mut self) -> Self {
        self.mode = 0o1777;
        self
    }

    /// Makes a new directory, or takes the unused one, and returns its path.
    pub(super) fn make(&mut self) -> io::Result<PathBuf> {
        make_private(&self.parent)?;
        self.make_beside()
    }

    /// Likewise, right after another one was made in the same directory.
    pub(super) fn make_beside(&mut self) -> io::Result<PathBuf> {
        self.make_with(&remove)
    }

    fn make_with(&mut self, remove: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
        if let Some(Made { path, unused: Some(unused) }) = &self.made
            && fs::symlink_metadata(path).is_ok_and(|meta| unused.is_of(Stamp::of(&meta)))
        {
            return Ok(path.clone());
        }
        self.remove();
        let mut failure = io::Error::from(ErrorKind::AlreadyExists);
        for number in 0..NAMES_MAX {
            let name = if number > 0 { format!("{}.{number}", self.name) } else { self.name.clone() };
            let path = self.parent.join(name);
            match remove(&path).and_then(|()| make_directory(&path, self.mode)) {
                Ok(()) => return Ok(self.made.insert(Made { path, unused: None }).path.clone()),
                Err(error) if error.kind() == ErrorKind::StorageFull => return Err(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Removes the directory with everything in it, unless it is as it was made.
    pub(super) fn clear(&mut self) {
        let Some(Made { path, unused }) = &mut self.made else { return };
        let stamp = fs::symlink_metadata(path.as_path()).map(|meta| Stamp::of(&meta));
        match stamp {
            Ok(stamp) if unused.as_ref().is_some_and(|unused| unused.is_unchanged(stamp)) => {}
            Ok(stamp) if is_as_made(path, self.mode) => Checked::note(unused, stamp),
            _ => self.remove(),
        }
    }

    fn remove(&mut self) {
        let Some(Made { path, .. }) = self.made.take() else { return };
        if let Err(error) = remove(&path) {
            log::warn!("the temporary directory {} of an attempt cannot be removed and stays: {error}", path.display());
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Returns the directory for the temporary directories of a runner whose work directory is `root`: `tmp` in it, or a
/// private directory in `system` if that makes shorter paths. It has the same name each time, so that the next start
/// finds it after a crash.
pub(super) fn parent_of(root: &Path, system: &Path) -> PathBuf {
    let usual = usual_parent(root);
    if is_short(&usual) {
        return usual;
    }
    let mut hasher = DefaultHasher::new();
    // Two machines may share a path and the system's temporary directory, but no inode then.
    (root, fs::metadata(root).map(|meta| meta.ino()).ok()).hash(&mut hasher);
    let short = system.join(format!("surveil-{:016x}", hasher.finish()));
    // Another user may have taken the name.
    if is_short(&short) && make_private(&short).is_ok() { short } else { usual }
}

/// Returns the directory in a runner's work directory for temporary directories.
pub(super) fn usual_parent(root: &Path) -> PathBuf {
    root.join("tmp")
}

/// Whether sockets fit into the temporary directories in this one.
pub(super) fn is_short(parent: &Path) -> bool {
    parent.as_os_str().len() <= PARENT_BYTES
}

/// Removes what attempts of an earlier process left in `parent`. What is large is only moved, to a free name that
/// `aside` gives, and somebody else deletes it.
pub(super) fn clear_leftovers(parent: &Path, aside: impl Fn(&str) -> PathBuf) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        // A directory cannot be moved without permissions of its own, nor to another file system.
        let is_moved = || fs::rename(&path, aside("tmp")).is_ok();
        if !is_moved()
            && let Err(error) = remove(&path)
        {
            log::warn!("the temporary directory {} of an attempt cannot be removed and stays: {error}", path.display());
        }
    }
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    // The mask of this process does not count.
    if mode == 0o700 { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(mode)) }
}

/// Makes a directory that only this user may enter, or takes the one that is there if it is this user's. A file or a
/// link in its place is removed: the place belongs to the runner.
fn make_private(path: &Path) -> io::Result<()> {
    let make = || DirBuilder::new().mode(0o700).create(path);
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match make() {
            // Another slot made it just now.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => fs::symlink_metadata(path)?,
            made => return made,
        },
        found => found?,
    };
    if !meta.is_dir() {
        fs::remove_file(path)?;
        return make();
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    if meta.mode() & 0o777 != 0o700 { fs::set_permissions(path, Permissions::from_mode(0o700)) } else { Ok(()) }
}

/// Whether this is an empty directory of this user with these permissions. Extended attributes (which can be access
/// control lists, xattr(7)) must not outlive an attempt either.
fn is_as_made(path: &Path, mode: u32) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let is_private = |meta: fs::Metadata| meta.is_dir() && meta.uid() == user && meta.mode() & 0o7777 == mode;
    fs::symlink_metadata(path).is_ok_and(is_private)
        && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
        && matches!(rustix::fs::llistxattr_query(path), Ok(0) | Err(Errno::OPNOTSUPP))
}

/// Removes whatever is at that path, if anything.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => remove_directory(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    if removed.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) { Ok(()) } else { removed }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn entries(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    /// S41, S42. Each of these makes a removal fail that trusts names, permissions, stack or descriptors.
    #[test]
    fn whatever_an_attempt_leaves_is_gone_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "kept").unwrap();
        let mut temporary = Temporary::new(place.path().join("tmp"), "0".into());
        let leave: [&dyn Fn(&Path); 6] = [
            &|at| (0..2_000).for_each(|n| fs::write(at.join(n.to_string()), "").unwrap()),
            &|at| {
                fs::create_dir_all(at.join("a/b")).unwrap();
                fs::write(at.join("a/b/c"), "").unwrap();
                ["a/b/c", "a/b", "a", ""]
                    .iter()
                    .for_each(|name| fs::set_permissions(at.join(name), Permissions::from_mode(0o000)).unwrap());
            },
            &|at| {
                for _ in 0..5_000 {
                    fs::create_dir(at.with_extension("above")).unwrap();
                    fs::rename(at, at.with_extension("above").join("d")).unwrap();
                    fs::rename(at.with_extension("above"), at).unwrap();
                }
            },
            &|at| symlink(&outside, at.join("link")).unwrap(),
            &|at| fs::remove_dir(at).and_then(|()| symlink(&outside, at)).unwrap(),
            &|at| fs::remove_dir(at).and_then(|()| fs::write(at, "a file")).unwrap(),
        ];
        for (number, leave) in leave.iter().enumerate() {
            let path = temporary.make().unwrap();
            assert_eq!(path, place.path().join("tmp/0"));
            assert_eq!(entries(&path), 0, "{number}");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
            leave(&path);
            if number % 2 == 0 {
                temporary.clear();
                assert_eq!(entries(&place.path().join("tmp")), 0, "{number}");
            }
        }
        temporary.make().unwrap();
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "kept");
        drop(temporary);
        assert_eq!(entries(&place.path().join("tmp")), 0);
    }

    #[test]
    fn a_directory_that_nobody_used_serves_the_next_attempt() {
        let place = tempfile::tempdir().unwrap();
        let mut temporary = Temporary::new(place.path().join("tmp"), "0".into());
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let path = temporary.make().unwrap();
        let first = inode(&path);
        temporary.clear();
        // It would get the inode of a removed directory.
        fs::create_dir(place.path().join("other")).unwrap();
        assert_eq!(inode(&temporary.make().unwrap()), first);
        let uses: [(&str, &dyn Fn()); 3] = [
            ("file", &|| fs::write(path.join("file"), "").unwrap()),
            ("mode", &|| fs::set_permissions(&path, Permissions::from_mode(0o1700)).unwrap()),
            ("attribute", &|| {
                let set = rustix::fs::lsetxattr(&path, "user.note", b"x", rustix::fs::XattrFlags::empty());
                // Some file systems have no such attributes, and then nothing can be left in them.
                if set.is_err() {
                    fs::write(path.join("file"), "").unwrap();
                }
            }),
        ];
        for (name, used) in uses {
            used();
            temporary.clear();
            assert!(!path.exists(), "{name}");
            assert_eq!(fs::metadata(temporary.make().unwrap()).unwrap().mode() & 0o7777, 0o700, "{name}");
        }
        drop(temporary);
        assert_eq!(entries(&place.path().join("tmp")), 0);
    }

    /// A task may reach the directory above, too.
    #[test]
    fn the_directory_above_is_made_anew_and_private() {
        let place = tempfile::tempdir().unwrap();
        let parent = place.path().join("tmp");
        let mut temporary = Temporary::new(parent.clone(), "0".into());
        let harms: [&dyn Fn(); 4] = [
            &|| {},
            &|| fs::remove_dir_all(&parent).unwrap(),
            &|| fs::remove_dir_all(&parent).and_then(|()| symlink(place.path(), &parent)).unwrap(),
            &|| fs::set_permissions(&parent, Permissions::from_mode(0o777)).unwrap(),
        ];
        for harm in harms {
            temporary.make().unwrap();
            harm();
            assert_eq!(entries(&temporary.make().unwrap()), 0);
            let meta = fs::symlink_metadata(&parent).unwrap();
            assert!(meta.is_dir() && meta.mode() & 0o7777 == 0o700, "{meta:?}");
        }
    }

    /// Such as a directory with files of another user, which a container left.
    #[test]
    fn what_cannot_be_removed_costs_the_next_attempt_its_name_only() {
        let place = tempfile::tempdir().unwrap();
        let mut temporary = Temporary::new(place.path().join("tmp"), "0".into());
        let stays = temporary.make().unwrap();
        temporary.made = None;
        let fails = |path: &Path| if path == stays { Err(ErrorKind::PermissionDenied.into()) } else { remove(path) };
        let path = temporary.make_with(&fails).unwrap();
        assert_eq!(path, place.path().join("tmp/0.1"));
        fs::write(path.join("file"), "").unwrap();
        temporary.clear();
        assert_eq!(temporary.make().unwrap(), stays, "it can be removed again");
        fs::write(stays.join("file"), "").unwrap();
        temporary.clear();
        let failed = temporary.make_with(&|_| Err(ErrorKind::ResourceBusy.into()));
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::ResourceBusy);
    }

    #[test]
    fn what_an_earlier_process_left_is_moved_aside() {
        let place = tempfile::tempdir().unwrap();
        let (parent, aside) = (place.path().join("tmp"), place.path().join("aside"));
        fs::create_dir_all(parent.join("0/deep")).unwrap();
        fs::write(parent.join("file"), "").unwrap();
        fs::create_dir(&aside).unwrap();
        clear_leftovers(&parent, |what| {
            (0..).map(|n| aside.join(format!("{what}.{n}"))).find(|path| !path.exists()).unwrap()
        });
        assert_eq!((entries(&parent), entries(&aside)), (0, 2));
        // If nothing can be moved, it is removed.
        fs::create_dir_all(parent.join("0/deep")).unwrap();
        clear_leftovers(&parent, |_| place.path().join("missing/place"));
        assert_eq!(entries(&parent), 0);
    }

    #[test]
    fn a_long_path_gives_way_to_a_private_directory_of_the_system() {
        let place = tempfile::Builder::new().prefix("t").rand_bytes(4).tempdir_in("/tmp").unwrap();
        let root = |name: &str| {
            let root = place.path().join(name);
            fs::create_dir_all(&root).unwrap();
            root
        };
        let (short, long) = (root("w"), root(&"w".repeat(60)));
        assert_eq!(parent_of(&short, place.path()), short.join("tmp"));
        let parent = parent_of(&long, place.path());
        assert_eq!(parent.parent(), Some(place.path()));
        assert_eq!(fs::metadata(&parent).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(parent_of(&long, place.path()), parent, "it is found again");
        assert_ne!(parent_of(&root(&"v".repeat(60)), place.path()), parent);
        assert_eq!(parent_of(&long, &root(&"s".repeat(60))), long.join("tmp"), "no shorter place");
        assert_eq!(parent_of(&long, Path::new("/proc")), long.join("tmp"), "nothing can be made there");
    }
}
