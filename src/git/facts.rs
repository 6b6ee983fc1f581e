//! The facts of a commit's source that no object of it tells: how much of its history was sent, where the watched
//! repository's own history ends, the tags of that history, the attributes of files, the submodules, and the contents
//! of files in Git LFS. They travel and are kept as a blob, so that they are named by a hash, verified, and sent only
//! once. Pure.
//!
//! The blob is text, a line for each fact: `history N` or `history full`; then `shallow ID` for each commit whose
//! parents the watched repository lacks; then `tags` if the tags were asked for, and `tag ID NAME` for each of them,
//! with the id of its object and its name without `refs/tags/`; then `attributes ID` for the blob with the repository's
//! own `info/attributes`; then `submodules direct` or `submodules recursive` if those were asked for, `submodule ID
//! NAME TAB URL TAB PATH` for each that was sent, and `problem TEXT` for each that was not; then `lfs` if contents in
//! Git LFS were asked for, `lfs POINTER CONTENT` with the blob of each pointer and the blob with the content that it
//! stands for, and `lfs-problem TEXT` for those that were not sent. Lines of another form are those of a newer program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use git2::Oid;

use crate::model::{BranchName, CommitId, Depth, Submodules};

/// The largest blob that is read: some hundred thousand tags.
pub(super) const FACTS_BYTES_MAX: usize = 32 << 20;

/// The facts of a commit's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceFacts {
    pub(super) history: Depth,
    /// The commits whose parents the watched repository lacks.
    pub(super) shallow: BTreeSet<Oid>,
    /// Whether the tags were asked for.
    pub(super) has_tags: bool,
    /// The objects of tags, by their names without `refs/tags/`.
    pub(super) tags: BTreeMap<String, Oid>,
    /// The blob with the `info/attributes` of the watched repository.
    pub(super) attributes: Option<Oid>,
    /// Which submodules were asked for.
    pub(super) has_submodules: Submodules,
    /// The submodules whose commits were sent, by their paths from the root of the repository.
    pub(super) submodules: BTreeMap<String, Module>,
    /// Why others could not be had, a sentence each.
    pub(super) problems: Vec<String>,
    /// Whether the contents of files in Git LFS were asked for.
    pub(super) has_lfs: bool,
    /// The blobs with those that were sent, by the blobs of their pointers.
    pub(super) lfs: BTreeMap<Oid, Oid>,
    /// Why others could not be had, a sentence each.
    pub(super) lfs_problems: Vec<String>,
}

/// A submodule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) commit: Oid,
    pub(super) name: String,
    /// Its URL without credentials.
    pub(super) url: String,
}

impl SourceFacts {
    /// Facts that tell of nothing but a depth.
    pub(super) fn of(history: Depth) -> Self {
        Self {
            history,
            shallow: BTreeSet::new(),
            has_tags: false,
            tags: BTreeMap::new(),
            attributes: None,
            has_submodules: Submodules::No,
            submodules: BTreeMap::new(),
            problems: Vec::new(),
            has_lfs: false,
            lfs: BTreeMap::new(),
            lfs_problems: Vec::new(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = format!("history {}\n", self.history);
        for id in &self.shallow {
            let _ = writeln!(text, "shallow {id}");
        }
        if self.has_tags {
            text.push_str("tags\n");
        }
        for (name, id) in &self.tags {
            let _ = writeln!(text, "tag {id} {name}");
        }
        if let Some(id) = &self.attributes {
            let _ = writeln!(text, "attributes {id}");
        }
        match self.has_submodules {
            Submodules::No => {}
            Submodules::Direct => text.push_str("submodules direct\n"),
            Submodules::Recursive => text.push_str("submodules recursive\n"),
        }
        for (path, Module { commit, name, url }) in &self.submodules {
            let _ = writeln!(text, "submodule {commit} {name}\t{url}\t{path}");
        }
        for problem in &self.problems {
            let _ = writeln!(text, "problem {}", problem.replace(char::is_control, " "));
        }
        if self.has_lfs {
            text.push_str("lfs\n");
        }
        for (pointer, content) in &self.lfs {
            let _ = writeln!(text, "lfs {pointer} {content}");
        }
        for problem in &self.lfs_problems {
            let _ = writeln!(text, "lfs-problem {}", problem.replace(char::is_control, " "));
        }
        text.into_bytes()
    }

    /// Reads the content of a blob. `None` if it holds no facts.
    pub(super) fn parse(content: &[u8]) -> Option<Self> {
        let text = str::from_utf8(content).ok()?;
        let mut lines = text.lines();
        let history = lines.next()?.strip_prefix("history ")?.parse().ok()?;
        let mut facts = Self::of(history);
        for line in lines {
            match line.split_once(' ') {
                Some(("shallow", id)) => drop(facts.shallow.insert(object(id)?)),
                Some(("submodules", which)) => {
                    facts.has_submodules = if which == "direct" { Submodules::Direct } else { Submodules::Recursive };
                }
                Some(("submodule", module)) => {
                    let (commit, module) = module.split_once(' ')?;
                    let [name, url, path] = module.split('\t').collect::<Vec<_>>().try_into().ok()?;
                    // Name and path go into a file of configuration, and the path into the tree.
                    if path_fault(path).is_some() || path_fault(name).is_some() || url.contains(char::is_control) {
                        return None;
                    }
                    let module = Module { commit: object(commit)?, name: name.to_owned(), url: url.to_owned() };
                    facts.submodules.insert(path.to_owned(), module);
                }
                Some(("problem", text)) => facts.problems.push(text.to_owned()),
                Some(("lfs", blobs)) => {
                    let (pointer, content) = blobs.split_once(' ')?;
                    facts.lfs.insert(object(pointer)?, object(content)?);
                }
                Some(("lfs-problem", text)) => facts.lfs_problems.push(text.to_owned()),
                Some(("attributes", id)) => facts.attributes = Some(object(id)?),
                Some(("tag", tag)) => {
                    let (id, name) = tag.split_once(' ')?;
                    // The name goes into a file of refs.
                    if !is_tag_name(name) {
                        return None;
                    }
                    facts.tags.insert(name.to_owned(), object(id)?);
                }
                None if line == "tags" => facts.has_tags = true,
                None if line == "lfs" => facts.has_lfs = true,
                _ => {}
            }
        }
        Some(facts)
    }
}

/// Why a name or a path of a submodule is refused; `None` if it may be used.
pub(super) fn path_fault(path: &str) -> Option<&'static str> {
    let parts = || path.split('/');
    if path.is_empty() || path.starts_with('/') || parts().any(|part| matches!(part, "" | "." | "..")) {
        return Some("its name or path leads out of the repository");
    }
    if parts().any(|part| part.eq_ignore_ascii_case(".git")) {
        return Some("its name or path has a part `.git`");
    }
    path.chars().any(char::is_control).then_some("its name or path has control characters")
}

/// Reads a whole id. libgit2 would take the beginning of one.
fn object(text: &str) -> Option<Oid> {
    Oid::from_bytes(text.parse::<CommitId>().ok()?.as_bytes()).ok()
}

/// Whether a tag may have this name.
pub(super) fn is_tag_name(name: &str) -> bool {
    BranchName::is_allowed(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_as_they_were_written() {
        let id = |digit: &str| Oid::from_str(&digit.repeat(40)).unwrap();
        let alone = SourceFacts::of(Depth(50));
        let module = Module { commit: id("f"), name: "a b".to_owned(), url: "https://h/x".to_owned() };
        let many = SourceFacts {
            history: Depth::FULL,
            shallow: [id("a"), id("b")].into(),
            has_tags: true,
            tags: [("v1".to_owned(), id("c")), ("a/ü".to_owned(), id("d"))].into(),
            attributes: Some(id("e")),
            has_submodules: Submodules::Recursive,
            submodules: [("lib/a b".to_owned(), module)].into(),
            problems: vec!["submodule x: it is gone".to_owned()],
            has_lfs: true,
            lfs: [(id("1"), id("2"))].into(),
            lfs_problems: vec!["a.bin: it is gone".to_owned()],
        };
        for facts in [alone.clone(), many] {
            assert_eq!(SourceFacts::parse(&facts.encode()), Some(facts));
        }
        let newer = [&alone.encode()[..], b"else of a kind\nand more\n"].concat();
        assert_eq!(SourceFacts::parse(&newer), Some(alone));
    }

    #[test]
    fn what_holds_no_facts_is_refused() {
        let id = "a".repeat(40);
        for path in ["../a", "a/.git", "/a", "a//b"] {
            let text = format!("history 5\nsubmodule {id} a\thttps://h/x\t{path}\n");
            assert_eq!(SourceFacts::parse(text.as_bytes()), None, "{path}");
        }
        for text in [
            "",
            "tag",
            "history 0\n",
            "history 5\nlfs x\n",
            "history 5\nlfs a b\n",
            "history 5 6\n",
            "history 5\nshallow x\n",
        ] {
            assert_eq!(SourceFacts::parse(text.as_bytes()), None, "{text}");
        }
        for name in ["a b", "../a", "a..b", "a\u{7f}", "", "a.lock", "-\\"] {
            let text = format!("history 5\ntag {id} {name}\n");
            assert_eq!(SourceFacts::parse(text.as_bytes()), None, "{name}");
        }
        assert_eq!(SourceFacts::parse(b"history 5\n\xff"), None);
    }
}
