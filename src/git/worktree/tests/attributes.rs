//! Files are written as git writes them, whatever attributes the commit has.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::git::SourcePlaces;
use crate::model::SourceNeeds;

const PATTERNS: [&str; 30] = [
    "*",
    "*.txt",
    "a*",
    "/a.txt",
    "a.txt",
    "sub/*.txt",
    "sub/**",
    "**/x.txt",
    "*.t?t",
    "[a-b].txt",
    "[!a].txt",
    "sub/deep/x.txt",
    "\"a.txt\"",
    "\"\\141.txt\"",
    "**",
    "a.txt/",
    "!a.txt",
    "/*",
    "sub/",
    "*.[t]xt",
    "[[:lower:]].txt",
    "\\a.txt",
    "su*/x.txt",
    "s**/x.txt",
    "sub/**/x.txt",
    "deep/*",
    "**/deep/**",
    "[attr]m",
    "[attr]n",
    "#a.txt",
];

const STATES: [&str; 30] = [
    "text",
    "-text",
    "!text",
    "text=auto",
    "text=input",
    "text=other",
    "eol=crlf",
    "eol=lf",
    "!eol",
    "-eol",
    "ident",
    "-ident",
    "binary",
    "-binary",
    "crlf",
    "-crlf",
    "crlf=input",
    "m",
    "n",
    "-m",
    "a$b",
    "diff",
    "eol=crlf ident",
    "working-tree-encoding=UTF-16",
    "working-tree-encoding=UTF-16LE",
    "working-tree-encoding=utf-16be",
    "working-tree-encoding=UTF-32",
    "working-tree-encoding=ISO-8859-1",
    "working-tree-encoding=UTF-16LE-BOM",
    "working-tree-encoding=UTF8",
];

const CONTENTS: [&[u8]; 22] = [
    b"",
    b"\n",
    b"a\nb\n",
    b"a\r\nb\n",
    b"a\r\nb\r\n",
    b"a\rb\n",
    b"a\nb",
    b"$Id$\n",
    b"$Id: old $\n$Id:$ $Id: a b $\n$Id: \n$Id$",
    b"$Id",
    b"$Idx$Id: y $\n$Id$",
    b"$Id\0$Id$\n$Id: a\tb$\n",
    b"$$Id$$Id:",
    b"a\0b\n",
    "Gr\u{fc}\u{df}e\n".as_bytes(),
    "\u{65e5}\u{672c}\n".as_bytes(),
    b"\xff\n",
    b"\x01\n",
    b"text\n\x1a",
    b"\x7f\x1b\t\n",
    "\u{1f980}\n".as_bytes(),
    b"\xef\xbb\xbfmark\n",
];

const FILES: [&str; 8] = ["a.txt", "b.txt", "x.txt", "A.TXT", "sub/a.txt", "sub/x.txt", "sub/deep/x.txt", "sub/deep/b"];

/// The text of a `.gitattributes`.
fn attributes() -> impl Strategy<Value = String> {
    let states = prop::collection::vec(select(&STATES[..]), 1..4);
    let lines = prop::collection::vec((select(&PATTERNS[..]), states), 0..5);
    lines.prop_map(|lines| {
        lines.into_iter().map(|(pattern, states)| format!("{pattern}\t{}\n", states.join(" "))).collect()
    })
}

/// The files of a commit.
fn tree() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let contents = prop::collection::vec(select(&CONTENTS[..]), FILES.len());
    (contents, prop::collection::vec(attributes(), 3)).prop_map(|(contents, attributes)| {
        let files = FILES.iter().zip(contents).map(|(path, content)| ((*path).to_owned(), content.to_vec()));
        let directories = ["", "sub/", "sub/deep/"].into_iter().zip(attributes).filter(|(_, text)| !text.is_empty());
        let more = directories.map(|(directory, text)| (format!("{directory}.gitattributes"), text.into_bytes()));
        files.chain(more).collect()
    })
}

/// Makes commits of these trees, whose blobs are exactly these contents.
fn commits_of(repo: &Repo, trees: &[Vec<(String, Vec<u8>)>]) -> Vec<CommitId> {
    let mut stream = Vec::new();
    for (at, files) in trees.iter().enumerate() {
        stream.extend(format!("commit refs/heads/c{at}\ncommitter A <a@b> 1 +0000\ndata 0\ndeleteall\n").into_bytes());
        for (path, content) in files {
            stream.extend(format!("M 100644 inline {path}\ndata {}\n", content.len()).into_bytes());
            stream.extend(content);
            stream.push(b'\n');
        }
    }
    repo.git_with(&["fast-import", "--quiet"], &stream);
    (0..trees.len()).map(|at| repo.git(&["rev-parse", &format!("refs/heads/c{at}")]).parse().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// One after the other in one tree, so that a file also changes if only its attributes do.
    #[test]
    fn files_are_written_as_git_writes_them(trees in prop::collection::vec(tree(), 12)) {
        let mut fixture = Fixture::of(Repo::new(), |repo| commits_of(repo, &trees));
        for at in (0..trees.len()).chain([0]) {
            fixture.tree.check_out(fixture.commits[at], &[]).unwrap();
            fixture.assert_is(at);
        }
    }
}

#[test]
fn a_file_is_written_anew_when_only_its_attributes_change() {
    let files = |attributes: &str| {
        let text = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
        vec![text("file", "a\n"), text("sub/file", "b\n"), text(".gitattributes", attributes)]
    };
    let trees = [files("* eol=crlf\n"), files("* eol=lf\n"), files("/file eol=crlf\n")];
    let mut fixture = Fixture::of(Repo::new(), |repo| commits_of(repo, &trees));
    for (at, wanted) in [(0, ["a\r\n", "b\r\n"]), (1, ["a\n", "b\n"]), (2, ["a\r\n", "b\n"]), (0, ["a\r\n", "b\r\n"])] {
        fixture.check_out(at);
        assert_eq!(["file", "sub/file"].map(|path| fs::read_to_string(fixture.at(path)).unwrap()), wanted);
        // A task's changes of it are undone to the same bytes.
        fs::write(fixture.at("file"), "a").unwrap();
        fixture.check_out(at);
    }
    fixture.tree = WorkTree::open(&fixture.repo.beside("store"), &fixture.place).unwrap();
    let before = fs::metadata(fixture.at("file")).unwrap().ino();
    fixture.check_out(0);
    assert_eq!(fs::metadata(fixture.at("file")).unwrap().ino(), before, "it was right");
}

/// For a repository without submodules.
fn nowhere() -> SourcePlaces<'static> {
    SourcePlaces { work: Path::new("/nonexistent"), base: None }
}

impl Fixture {
    /// Gives the watched repository these attributes, sends the facts of a commit, and checks it out with them.
    fn check_out_with_info(&mut self, at: usize, info: &str) {
        let path = self.repo.path().join(".git/info/attributes");
        fs::write(&path, info).unwrap();
        let commit = self.commits[at];
        let facts = self.repo.watched().facts(commit, SourceNeeds::NOTHING, nowhere()).unwrap();
        let id = facts.as_ref().map(|facts| facts.id);
        if let Some(facts) = facts {
            let store = PackStore::open(&self.repo.beside("store"), commit).unwrap();
            store.take_facts_from(&self.repo.watched(), commit, &facts).unwrap();
        }
        self.tree.check_out_with(commit, &[], TreeSource { needs: SourceNeeds::NOTHING, facts: id }).unwrap();
        self.assert_is(at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// The attributes of the repository itself decide before those of the commit.
    #[test]
    fn the_info_attributes_of_the_watched_repository_count_as_for_git(
        trees in prop::collection::vec(tree(), 3),
        infos in prop::collection::vec((0..3_usize, attributes()), 8),
    ) {
        let mut fixture = Fixture::of(Repo::new(), |repo| commits_of(repo, &trees));
        for (at, info) in infos {
            fixture.check_out_with_info(at, &info);
        }
    }
}

/// Only the attributes change, not the commit.
#[test]
fn a_tree_follows_the_info_attributes_and_nothing_else_of_the_machine() {
    let files = vec![("file".to_owned(), b"a\n".to_vec()), ("binary".to_owned(), b"b\n".to_vec())];
    let mut fixture = Fixture::of(Repo::new(), |repo| commits_of(repo, &[files]));
    let everywhere = fixture.repo.beside("attributes");
    fs::write(&everywhere, "* eol=crlf\n").unwrap();
    for (info, wanted) in [
        ("* eol=crlf\nbinary -text\n", "a\r\n"),
        ("# nothing\n\n", "a\n"),
        ("[attr]windows eol=crlf\nfile windows\n", "a\r\n"),
        ("", "a\n"),
    ] {
        fixture.check_out_with_info(0, info);
        assert_eq!(fs::read_to_string(fixture.at("file")).unwrap(), wanted, "{info}");
        assert_eq!(fs::read_to_string(fixture.at("binary")).unwrap(), "b\n");
        fixture.assert_is_clean(0);
    }
    fixture.repo.git(&["config", "core.attributesFile", everywhere.to_str().unwrap()]);
    let watched = fixture.repo.watched();
    assert!(watched.facts(fixture.commits[0], SourceNeeds::NOTHING, nowhere()).unwrap().is_none());
    // git reads no larger file either.
    let file = fs::File::create(fixture.repo.path().join(".git/info/attributes")).unwrap();
    file.set_len((100 << 20) + 1).unwrap();
    assert!(watched.facts(fixture.commits[0], SourceNeeds::NOTHING, nowhere()).unwrap().is_none());
}
