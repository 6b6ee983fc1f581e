//! The notes of a store that tell which contents were verified by their LFS pointers. One file for each pointer in the
//! directory `lfs`, named by the pointer's blob, with the id of the content's blob. They only save time: a content
//! without a note is verified again.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid};
use sha2::{Digest, Sha256};

use crate::git::error::GitError;
use crate::git::large::{LARGE_BYTES, LargeObject};
use crate::git::objects::Objects;
use crate::git::pointer::{LfsId, Pointer, PointerFile, pointer_file};

fn directory(store: &Path) -> PathBuf {
    store.join("lfs")
}

/// Checks that the store has a pointer and its content. Returns false if the content is missing. A content that is
/// not the pointer's is an error: its sender has not told the truth.
pub(super) fn check((store, objects): (&Path, &Objects), pointer: Oid, content: Oid) -> Result<bool, GitError> {
    let odb = objects.odb()?;
    if !odb.exists(content) {
        return Ok(false);
    }
    let note = directory(store).join(pointer.to_string());
    let id = content.to_string();
    if fs::read_to_string(&note).is_ok_and(|noted| noted == id) {
        return Ok(true);
    }
    let refuse = |why: &str| {
        let source = git2::Error::from_str(&format!("{why}: pointer {pointer}, content {content}"));
        GitError::BrokenPack { path: store.to_owned(), source }
    };
    let Some(PointerFile::Plain(Pointer { oid, size })) = pointer_file(objects, &odb, pointer)? else {
        return Err(refuse("a content in Git LFS has no pointer"));
    };
    let (bytes, kind) = objects.header(&odb, content)?;
    let has_size = kind == ObjectType::Blob && bytes as u64 == size;
    if !has_size || sha256_of(objects, content, bytes)? != oid {
        return Err(refuse("a content in Git LFS is not the one that its pointer names"));
    }
    // Without the note it is verified again.
    if fs::create_dir_all(directory(store)).and_then(|()| fs::write(&note, id)).is_err() {
        log::debug!("{} cannot be written", note.display());
    }
    Ok(true)
}

fn sha256_of(objects: &Objects, blob: Oid, bytes: usize) -> Result<LfsId, GitError> {
    let mut hash = Sha256::new();
    let is_large = bytes > LARGE_BYTES;
    let large = is_large.then(|| LargeObject::find(objects.directory(), blob, ObjectType::Blob, bytes)).flatten();
    match large {
        Some(large) => large.read(&mut |_, piece| {
            hash.update(piece);
            Ok(())
        })?,
        None => hash.update(objects.blob(&objects.odb()?, blob)?.data()),
    }
    Ok(LfsId(hash.finalize().into()))
}

/// Removes the notes of contents that are none of these objects.
pub(in crate::git) fn keep_only(store: &Path, kept: &[Oid]) -> Result<(), GitError> {
    let directory = directory(store);
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.map_err(GitError::io("read", &directory))?,
    };
    let kept: HashSet<&Oid> = kept.iter().collect();
    for entry in entries.flatten().map(|entry| entry.path()) {
        let noted = fs::read_to_string(&entry).ok().and_then(|text| Oid::from_str(&text).ok());
        if noted.is_none_or(|noted| !kept.contains(&noted)) {
            fs::remove_file(&entry).map_err(GitError::io("remove", &entry))?;
        }
    }
    Ok(())
}
