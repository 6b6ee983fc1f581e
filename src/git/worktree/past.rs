//! Reads from the facts of a source what a tree shows: the history that its repository shows, as the file `shallow`,
//! which says where history ends, and as tags; and the attributes of the watched repository. The objects themselves are
//! those of the store.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;

use git2::Oid;

use crate::git::error::GitError;
use crate::git::facts::Module;
use crate::git::history::walk;
use crate::git::objects::{Objects, commit_id, of_its_type};
use crate::git::pack_store::facts_notes;
use crate::model::{CommitId, Depth, FactsId, SourceNeeds, Submodules};

/// Things that a tree gets beside the files of its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeSource {
    pub needs: SourceNeeds,
    /// The facts of the commit's source; `None` if the commit alone is in the store.
    pub facts: Option<FactsId>,
}

/// The filter by which the task's own git compares a content with its pointer: it makes the pointer of the content, as
/// git-lfs does, without git-lfs. git needs it for a file whose metadata tells nothing, such as one that was written in
/// the same second as the index.
const FILTER: &str = concat!(
    "[filter \"lfs\"]\n\tclean = \"",
    // A pointer stays as it is, and so does an empty file.
    r#"t=$(mktemp) && cat >\"$t\" && "#,
    r#"if [ ! -s \"$t\" ] || head -c 42 \"$t\" | grep -qxF 'version https://git-lfs.github.com/spec/v1'; "#,
    r#"then cat \"$t\"; "#,
    r#"else printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\nsize %s\\n' "#,
    r#"\"$(sha256sum <\"$t\" | cut -c1-64)\" \"$(wc -c <\"$t\" | tr -d ' ')\"; fi; rm -f \"$t\""#,
    "\"\n",
);

/// The files of a `.git` that tell of history, and further attributes.
#[derive(Debug, Default)]
pub(super) struct PastFiles {
    pub(super) shallow: Option<Vec<u8>>,
    pub(super) packed_refs: Option<Vec<u8>>,
    /// The attributes that count before those of the commit: the blob and its content.
    pub(super) attributes: Option<(Oid, Vec<u8>)>,
    /// The submodules that the tree gets, by their paths.
    pub(super) modules: BTreeMap<String, Module>,
    /// The blobs with the contents that the tree gets in place of pointers, by the blobs of those.
    pub(super) lfs: BTreeMap<Oid, Oid>,
    /// Whether the watched repository has less history than the task asks for.
    pub(super) is_cut: bool,
}

impl TreeSource {
    /// The commit alone.
    pub const ALONE: Self = Self { needs: SourceNeeds::NOTHING, facts: None };
}

impl PastFiles {
    /// Those of a commit alone.
    pub(super) fn alone(objects: &Objects, commit: CommitId) -> Result<Self, GitError> {
        let has_parents = !objects.commit(commit)?.parents().is_empty();
        let tip = objects.id(commit)?;
        Ok(Self { shallow: has_parents.then(|| shallow_file(&[tip].into())), ..Self::default() })
    }

    /// Returns the lines of a configuration for the submodules in the repository at this path of the tree: git looks
    /// only at submodules that it knows.
    pub(super) fn modules_in(&self, prefix: &str) -> String {
        let mut text = String::new();
        let below =
            |path: &str| path.strip_prefix(prefix).is_some_and(|rest| prefix.is_empty() || rest.starts_with('/'));
        for (path, module) in self.modules.iter().filter(|(path, _)| below(path)) {
            let is_deeper = |other: &String| {
                other.len() > prefix.len()
                    && below(other)
                    && path.strip_prefix(other.as_str()).is_some_and(|it| it.starts_with('/'))
            };
            if !self.modules.keys().any(is_deeper) {
                let (name, url) = (quoted(&module.name), quoted(&module.url));
                let _ = writeln!(text, "[submodule {name}]\n\tactive = true\n\turl = {url}");
            }
        }
        text
    }

    /// Returns the lines of a configuration for contents that are in the tree in place of pointers.
    pub(super) fn filter(&self) -> String {
        if self.lfs.is_empty() { String::new() } else { FILTER.to_owned() }
    }

    pub(super) fn of(objects: &Objects, commit: CommitId, source: TreeSource) -> Result<Self, GitError> {
        let tip = objects.id(commit)?;
        let TreeSource { needs, facts: Some(id) } = source else { return Self::alone(objects, commit) };
        let facts = facts_notes::read(objects, id)?.ok_or_else(|| GitError::Incomplete {
            commit,
            path: objects.directory().to_owned(),
            missing: format!("blob {id} with its facts"),
        })?;
        // Things that go with the whole history were found when it was sent.
        let is_whole = (needs.history, facts.history) == (Depth::FULL, Depth::FULL);
        let (ends, is_cut, commits) = if is_whole {
            let is_cut = !facts.shallow.is_empty();
            (facts.shallow, is_cut, None)
        } else {
            let past = walk(objects, &[tip], needs.history, &facts.shallow)?;
            let is_cut = !past.cut.is_empty();
            let commits: HashSet<Oid> = past.commits.into_iter().collect();
            (past.edge.into_iter().chain(past.cut).collect(), is_cut, Some(commits))
        };
        let mut refs = String::new();
        for (name, object) in facts.tags.iter().filter(|_| needs.tags) {
            let is_there = match &commits {
                None => true,
                Some(commits) => {
                    let peeled = objects.peel(commit_id(*object))?;
                    peeled.is_some_and(|peeled| objects.id(peeled.commit).is_ok_and(|id| commits.contains(&id)))
                }
            };
            if is_there {
                let _ = writeln!(refs, "{object} refs/tags/{name}");
            }
        }
        let shallow = (!ends.is_empty()).then(|| shallow_file(&ends));
        let packed_refs = (!refs.is_empty()).then(|| refs.into_bytes());
        let attributes = match facts.attributes {
            Some(blob) => {
                let odb = objects.odb()?;
                of_its_type(objects.blob(&odb, blob))?.map(|content| (blob, content.data().to_vec()))
            }
            None => None,
        };
        let mut modules = facts.submodules;
        match needs.submodules {
            Submodules::No => modules.clear(),
            Submodules::Direct => {
                let paths: Vec<String> = modules.keys().map(|path| format!("{path}/")).collect();
                modules.retain(|path, _| !paths.iter().any(|other| path.starts_with(other)));
            }
            Submodules::Recursive => {}
        }
        let lfs = if needs.lfs { facts.lfs } else { BTreeMap::new() };
        Ok(Self { shallow, packed_refs, attributes, modules, lfs, is_cut })
    }
}

/// Returns a text in the quotes of git-config(1). It has no control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn shallow_file(commits: &BTreeSet<Oid>) -> Vec<u8> {
    commits
        .iter()
        .fold(String::new(), |mut text, id| {
            let _ = writeln!(text, "{id}");
            text
        })
        .into_bytes()
}
