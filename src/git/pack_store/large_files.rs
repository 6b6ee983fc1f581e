//! The files of a store that are larger than a limit. The size of a file is in its entry in a pack, so each pack is
//! gone through once, when it is first met.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use git2::{ObjectType, Odb, Oid};

use crate::git::error::GitError;
use crate::git::objects::{EntryKind, Objects, entries, of_its_type};
use crate::git::stored::StoredPack;
use crate::model::CommitId;
use crate::threads;

/// The packs that were gone through, and their files that are larger than the limit. Locked for a moment only.
#[derive(Default)]
pub(super) struct LargeFiles(Mutex<Scanned>);

#[derive(Default, Clone)]
struct Scanned {
    limit: u64,
    packs: Arc<HashMap<OsString, Sizes>>,
}

type Sizes = Vec<(Oid, u64)>;

impl LargeFiles {
    /// Returns the path and the size of a file of the commit that is larger than the limit, or whose content in Git LFS
    /// is.
    pub(super) fn find(
        &self,
        objects: &Objects,
        odb: &Odb<'_>,
        (commit, lfs): (CommitId, &BTreeMap<Oid, Oid>),
        limit: u64,
    ) -> Result<Option<(Vec<u8>, u64)>, GitError> {
        let mut large = self.of_store(objects, odb, limit)?;
        // As a rule there are none, and no tree needs to be read.
        if large.is_empty() {
            return Ok(None);
        }
        // A pointer counts as its content.
        let of_pointers = lfs.iter().filter_map(|(pointer, content)| Some((*pointer, *large.get(content)?)));
        large.extend(of_pointers.collect::<Vec<_>>());
        let mut seen = HashSet::new();
        let mut pending = vec![(Vec::new(), objects.commit(commit)?.tree_id())];
        while let Some((path, tree)) = pending.pop() {
            if !seen.insert(tree) {
                continue;
            }
            let Some(data) = of_its_type(objects.tree(odb, tree))? else { continue };
            for entry in entries(tree, data.data())? {
                let below = || if path.is_empty() { entry.name.to_vec() } else { [&path, entry.name].join(&b'/') };
                match entry.kind {
                    EntryKind::Tree => pending.push((below(), entry.id)),
                    EntryKind::File | EntryKind::Executable | EntryKind::Link => {
                        if let Some(size) = large.get(&entry.id) {
                            return Ok(Some((below(), *size)));
                        }
                    }
                    EntryKind::Submodule => {}
                }
            }
        }
        Ok(None)
    }

    /// Returns the sizes of all files in the store that are larger than the limit.
    fn of_store(&self, objects: &Objects, odb: &Odb<'_>, limit: u64) -> Result<HashMap<Oid, u64>, GitError> {
        let known = threads::lock(&self.0).clone();
        let known = if known.limit == limit { known.packs } else { Arc::default() };
        let directory = objects.directory().join("pack");
        let mut packs = HashMap::new();
        let mut is_new = false;
        for entry in fs::read_dir(&directory).map_err(GitError::io("read", &directory))? {
            let index = entry.map_err(GitError::io("read", &directory))?.path();
            let Some(name) = index.file_name().filter(|_| index.extension().is_some_and(|ending| ending == "idx"))
            else {
                continue;
            };
            if let Some(sizes) = known.get(name) {
                packs.insert(name.to_owned(), sizes.clone());
            // A pack that cannot be opened was merged into another one a moment ago.
            } else if let Ok(sizes) = scan(&index, objects, odb, limit) {
                is_new = true;
                packs.insert(name.to_owned(), sizes);
            }
        }
        let all = packs.values().flatten().copied().collect();
        if is_new || packs.len() != known.len() {
            *threads::lock(&self.0) = Scanned { limit, packs: Arc::new(packs) };
        }
        Ok(all)
    }
}

/// Returns the files in a pack that are larger than the limit.
fn scan(index: &Path, objects: &Objects, odb: &Odb<'_>, limit: u64) -> Result<Sizes, GitError> {
    let mut found = Vec::new();
    for (id, header) in StoredPack::open(index, objects.format())?.headers() {
        let (kind, size) = match header {
            Some(header) => header,
            // Only the object that comes of a delta has a type and a size.
            None => objects.header(odb, id).map(|(size, kind)| (kind, size as u64))?,
        };
        if kind == ObjectType::Blob && size > limit {
            found.push((id, size));
        }
    }
    Ok(found)
}
