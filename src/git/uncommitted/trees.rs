//! Trees of a list of paths. A tree that the person's repository has is not written again.

use std::collections::BTreeMap;

use git2::{ObjectFormat, ObjectType, Odb, OdbLookupFlags, Oid};

use crate::git::hash::id_of;
use crate::git::objects::Objects;

/// Mode and id of a path.
pub(super) type Entry = (u32, Oid);

/// The mode of a tree's entry that is a tree itself.
const TREE: u32 = 0o040_000;

/// Writes trees.
pub(super) struct Trees<'a> {
    pub(super) format: ObjectFormat,
    /// The objects that are there already.
    pub(super) known: Objects,
    /// The database that takes the others.
    pub(super) written: &'a Odb<'a>,
}

impl Trees<'_> {
    /// Writes the tree with these entries, by path, and returns its id.
    pub(super) fn write(&self, entries: &BTreeMap<Vec<u8>, Entry>) -> Result<Oid, git2::Error> {
        let entries: Vec<(&[u8], Entry)> = entries.iter().map(|(path, entry)| (path.as_slice(), *entry)).collect();
        self.write_below(&entries, 0)
    }

    /// Writes the tree of entries that all begin with the same `depth` bytes. They are sorted by their paths, so those
    /// of one directory stand together.
    fn write_below(&self, entries: &[(&[u8], Entry)], depth: usize) -> Result<Oid, git2::Error> {
        let mut children: Vec<(Vec<u8>, Entry)> = Vec::new();
        let mut rest = entries;
        while let Some((path, entry)) = rest.first() {
            let name = &path[depth..];
            let Some(slash) = name.iter().position(|byte| *byte == b'/') else {
                children.push((name.to_vec(), *entry));
                rest = &rest[1..];
                continue;
            };
            let directory = &path[..=depth + slash];
            let count = rest.iter().take_while(|(path, _)| path.starts_with(directory)).count();
            let tree = self.write_below(&rest[..count], directory.len())?;
            children.push((name[..slash].to_vec(), (TREE, tree)));
            rest = &rest[count..];
        }
        // git sorts a directory as if its name ended with a slash.
        children.sort_by_cached_key(|(name, (mode, _))| {
            let mut key = name.clone();
            key.extend((*mode == TREE).then_some(b'/'));
            key
        });
        let mut data = Vec::new();
        for (name, (mode, id)) in &children {
            data.extend_from_slice(format!("{mode:o} ").as_bytes());
            data.extend_from_slice(name);
            data.push(0);
            data.extend_from_slice(id.as_bytes());
        }
        let id = id_of(self.format, ObjectType::Tree, &data);
        let is_known = self.known.odb().is_ok_and(|odb| odb.exists_ext(id, OdbLookupFlags::NO_REFRESH));
        if is_known { Ok(id) } else { self.written.write(ObjectType::Tree, &data) }
    }
}
