//! Commit objects, read as git itself reads them. git needs a tree and parents, and takes whatever the lines of author
//! and committer hold. libgit2 refuses such commits (an author without an email, a date out of range), so its parser is
//! not used.
//!
//! An object is a header, an empty line and a message: `tree <id>`, any number of `parent <id>`, then `author …`,
//! `committer …` and others. A line that starts with a blank continues the header before it.

use git2::Oid;

use super::error::GitError;

/// A commit object: its tree and parents, and the bytes of the rest.
#[derive(Debug, Clone)]
pub(crate) struct CommitObject {
    id: Oid,
    tree: Oid,
    parents: Vec<Oid>,
    /// The object without the lines of the tree and the parents.
    rest: Vec<u8>,
}

impl CommitObject {
    /// Parses the content of a commit object by the rules of git's `parse_commit_buffer`.
    pub(crate) fn parse(id: Oid, data: &[u8]) -> Result<Self, GitError> {
        let broken = |why| GitError::BrokenCommit { id: id.to_string(), why };
        let digits = 2 * id.as_bytes().len();
        let (tree, mut rest) =
            id_line(data, b"tree ", digits).ok_or_else(|| broken("it does not begin with a tree"))?;
        let tree = tree.ok_or_else(|| broken("it names no tree"))?;
        // git takes no commit that ends with the line of its tree.
        if rest.is_empty() {
            return Err(broken("it ends after its tree"));
        }
        let mut parents = Vec::new();
        // git looks no further for parents where the rest is too short for one.
        while rest.len() > PARENT.len() + digits && rest.starts_with(PARENT) {
            let (parent, after) = id_line(rest, PARENT, digits).ok_or_else(|| broken("it has a broken parent"))?;
            parents.push(parent.ok_or_else(|| broken("it has a broken parent"))?);
            rest = after;
        }
        Ok(Self { id, tree, parents, rest: rest.to_vec() })
    }

    pub(crate) fn id(&self) -> Oid {
        self.id
    }

    pub(crate) fn tree_id(&self) -> Oid {
        self.tree
    }

    pub(crate) fn parents(&self) -> &[Oid] {
        &self.parents
    }

    pub(crate) fn first_parent(&self) -> Option<Oid> {
        self.parents.first().copied()
    }

    /// Returns the values of a header, as their bytes are. Continued lines are left out.
    pub(crate) fn headers(&self, name: &'static str) -> impl DoubleEndedIterator<Item = &[u8]> {
        let lines = self.rest[..self.message_start()].split(|byte| *byte == b'\n');
        lines.filter_map(move |line| line.strip_prefix(name.as_bytes())?.strip_prefix(b" "))
    }

    /// Returns the author's name and email, each empty if the commit does not tell it. git takes the last author if
    /// there are several.
    pub(crate) fn author(&self) -> (&[u8], &[u8]) {
        let line = self.headers("author").next_back().unwrap_or_default();
        let Some(open) = line.iter().position(|byte| *byte == b'<') else { return (trim_end(line), b"") };
        let email = &line[open + 1..];
        let close = email.iter().position(|byte| *byte == b'>').unwrap_or(email.len());
        (trim_end(&line[..open]), &email[..close])
    }

    /// Returns the subject as git's `%s` shows it: the lines of the message's first paragraph, joined by blanks.
    pub(crate) fn subject(&self) -> Vec<u8> {
        let lines = self.message().split(|byte| *byte == b'\n').map(trim_end);
        let paragraph = lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
        paragraph.collect::<Vec<_>>().join(&b' ')
    }

    /// Returns the committer's time in seconds since 1970, by the rules of git's `split_ident_line`: the digits behind
    /// the last `>`, if a zone follows them. `None` if there are none, or too many for a program to read.
    pub(crate) fn committed_s(&self) -> Option<i64> {
        let line = self.headers("committer").next_back()?;
        let open = line.iter().position(|byte| *byte == b'<')?;
        let close = line[open..].iter().rposition(|byte| *byte == b'>')?;
        let date = trim_start(&line[open + close + 1..]);
        let (digits, zone) = date.split_at(date.iter().take_while(|byte| byte.is_ascii_digit()).count());
        let has_zone = matches!(trim_start(zone), [b'+' | b'-', digit, ..] if digit.is_ascii_digit());
        std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| has_zone)
    }

    /// Returns the message, which ends at a NUL byte for git.
    fn message(&self) -> &[u8] {
        &self.text()[self.message_start()..]
    }

    fn text(&self) -> &[u8] {
        let end = self.rest.iter().position(|byte| *byte == 0).unwrap_or(self.rest.len());
        &self.rest[..end]
    }

    /// Returns the offset of the empty line that ends the header, or the end of the text.
    fn message_start(&self) -> usize {
        let text = self.text();
        if text.starts_with(b"\n") {
            return 0;
        }
        text.windows(2).position(|two| two == b"\n\n").map_or(text.len(), |at| at + 1)
    }
}

const PARENT: &[u8] = b"parent ";

/// Takes a line `<word><id>` off the data. Returns `None` if the line has another form, and no id if its digits are
/// wrong.
fn id_line<'a>(data: &'a [u8], word: &[u8], digits: usize) -> Option<(Option<Oid>, &'a [u8])> {
    let after = data.strip_prefix(word)?;
    let (hex, rest) = after.split_at_checked(digits)?;
    let rest = rest.strip_prefix(b"\n")?;
    Some((std::str::from_utf8(hex).ok().and_then(|hex| parse_id(hex, digits)), rest))
}

fn parse_id(hex: &str, digits: usize) -> Option<Oid> {
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let is_hex = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    let bytes: Option<Vec<u8>> = (0..digits).step_by(2).map(byte).collect();
    Oid::from_bytes(&bytes.filter(|_| is_hex)?).ok()
}

/// Removes what git takes for blanks from the start.
fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Removes what git takes for blanks from the end.
fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\n' | b'\r'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::git::tests::support::Repo;

    /// Commit objects that a test makes at once, so that git is started a few times only.
    const COMMITS: usize = 1_500;

    /// Lines that stand, or do not stand, in the headers of commits in the world.
    const HEADERS: [&[u8]; 36] = [
        b"author A U Thor <author@example.com> 1767322800 +0000",
        b"author A U Thor <author@example.com> 1767322800 +0000",
        b"author Without Email 1767322800 +0000",
        b"author Without Email",
        b"author ",
        b"author",
        b"author <>",
        b"author  <only@email>  12 -0700",
        b"author Two <a@b> <c@d> 1 +0000",
        b"author Open <a@b 1 +0000",
        b"author Close a@b> 1 +0000",
        b"author Negative <n@e> -1 +0000",
        b"author Huge <h@u> 99999999999999999999999999 +9999",
        b"author No Date <n@d>",
        b"author Bad Zone <b@z> 12 zone",
        b"author Gr\xfc\xdfe <g@r> 12 +0100",
        b"author \xe4\xbd\xa0\xe5\xa5\xbd <\xff@x> 12 +0800",
        b"author \t Blanks \t\x0c  <  b @ c  > 12 +0000",
        b"committer C O Mitter <c@m> 1767322800 +0000",
        b"committer C O Mitter <c@m> 1767322800 +0000",
        b"committer",
        b"committer C O Mitter <c@m> 1767322800",
        b"committer C > O <c@m> <d@e> \t1767322801\t-0100 ",
        b"committer Zone <z@z> 12 zone",
        b"committer Negative <n@e> -1 +0000",
        b"committer Open <c@m 5 +0000",
        b"committer Close c@m> 5 +0000",
        b"committer \xff<> 7 +0",
        b"encoding ISO-8859-1",
        b"encoding ",
        b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n author Forged <f@f> 1 +0000\n -----END PGP SIGNATURE-----",
        b"mergetag object 1111111111111111111111111111111111111111\n type commit\n tag v1\n \n text",
        b"parent 2222222222222222222222222222222222222222",
        b"tree 3333333333333333333333333333333333333333",
        b"change-id abc\r",
        b"author Twice <t@w> 3 +0000",
    ];

    /// Pieces of messages.
    const TEXT: [&[u8]; 12] = [
        b"subject",
        b"subject",
        b" ",
        b"\n",
        b"\n",
        b"\n\n",
        b"\t",
        b"\x00",
        b"\r\n",
        b"\xff\xfe",
        b"\xc3\xbc",
        b"\x0c",
    ];

    fn commit(tree: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
        let right = format!("tree {tree}\n");
        let wrong = [
            format!("tree {}\n", tree.to_uppercase()),
            format!("tree {}\n", &tree[1..]),
            format!("tree {tree}"),
            format!("tree {tree} \n"),
            format!("tree {}g\n", &tree[1..]),
            "\n".to_owned(),
            String::new(),
        ];
        let first = prop_oneof![9 => Just(right), 1 => select(wrong.to_vec())];
        let id = |digit: &str| digit.repeat(40);
        let parents = [
            format!("parent {}\n", id("4")),
            format!("parent {}\n", id("A")),
            format!("parent {}\n", id("5")),
            format!("parent {}\n", id("6")),
            format!("parent {}\n", id("7")),
            format!("parent {}\n", id("8")),
            format!("parent {}", id("9")),
            format!("parent {}g\n", &id("4")[1..]),
            "parent \n".to_owned(),
            "parent".to_owned(),
        ];
        let parents = prop::collection::vec(select(parents.to_vec()), 0..3);
        let headers = prop::collection::vec(select(HEADERS.to_vec()), 0..7);
        let ends = select(vec![&b""[..], b"\n", b"\n", b"\n\n", b" \n\n"]);
        let text = prop::collection::vec(select(TEXT.to_vec()), 0..9);
        (first, parents, headers, ends, text).prop_map(|(first, parents, headers, end, text)| {
            let mut object = first.into_bytes();
            object.extend(parents.concat().bytes());
            object.extend(headers.join(&b'\n'));
            object.extend(end);
            let mut text = text.concat();
            // A fault of git: it reads on after a NUL in the header, and after a header that does not end.
            if !object.windows(2).any(|two| two == b"\n\n") {
                text.retain(|byte| *byte != 0);
                text.push(b'\n');
            }
            object.extend(text);
            object
        })
    }

    /// Returns what git reads of these commits: `None` if it refuses one.
    fn as_git_reads(repo: &Repo, ids: &[String]) -> Vec<Option<Vec<u8>>> {
        let names: String = ids.iter().map(|id| format!("{id}^{{commit}}\n")).collect();
        let answers = repo.git_with(&["cat-file", "--batch-check"], names.as_bytes());
        let answers = String::from_utf8(answers).unwrap();
        let accepted: Vec<_> = answers.lines().map(|line| !line.ends_with("missing")).collect();
        let named: String = ids.iter().zip(&accepted).filter(|(_, is)| **is).map(|(id, _)| format!("{id}\n")).collect();
        let format = "--format=%T|%P|%an <%ae>|%ct|%s";
        let log = ["log", "--no-walk=unsorted", "--stdin", "-z", "--no-color", "--encoding=none", format];
        let output = repo.git_with(&log, named.as_bytes());
        let mut texts = output.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let read = accepted.iter().map(|is| is.then(|| texts.next().unwrap())).collect();
        assert_eq!(texts.next(), None);
        read
    }

    /// git shows these digits, and no program can read them as a number.
    #[test]
    fn a_time_that_no_program_can_read_is_none() {
        let time = |date: &str| {
            let object = format!("tree {}\ncommitter c <c> {date} +0000\n\ntext", "4".repeat(40));
            CommitObject::parse(Oid::from_bytes(&[1; 20]).unwrap(), object.as_bytes()).unwrap().committed_s()
        };
        assert_eq!((time("0"), time("9223372036854775807")), (Some(0), Some(i64::MAX)));
        assert_eq!((time("9223372036854775808"), time("99999999999999999999999999"), time("-1")), (None, None, None));
    }

    /// Fails if libgit2 parses the commits: it refuses an author without an email, which git log shows.
    #[test]
    fn a_commit_is_read_as_git_reads_it_whatever_its_lines_hold() {
        let repo = Repo::new();
        let tree = repo.raw_tree(&[]);
        let mut runner = TestRunner::deterministic();
        let objects: std::collections::BTreeSet<Vec<u8>> =
            (0..COMMITS).map(|_| commit(&tree).new_tree(&mut runner).unwrap().current()).collect();
        let objects: Vec<_> = objects.into_iter().collect();
        std::fs::create_dir(repo.beside("raw")).unwrap();
        let paths: String =
            (0..objects.len()).map(|at| format!("{}\n", repo.beside(&format!("raw/{at}")).display())).collect();
        for (object, path) in objects.iter().zip(paths.lines()) {
            std::fs::write(path, object).unwrap();
        }
        let ids =
            repo.git_with(&["hash-object", "--literally", "-w", "-t", "commit", "--stdin-paths"], paths.as_bytes());
        let ids: Vec<_> = String::from_utf8(ids).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(ids.len(), objects.len());
        let read = as_git_reads(&repo, &ids);
        assert!(read.iter().flatten().count() > COMMITS / 2);
        for ((object, id), by_git) in objects.iter().zip(&ids).zip(read) {
            let shown = String::from_utf8_lossy(object);
            let found = CommitObject::parse(Oid::from_str(id).unwrap(), object);
            assert_eq!(found.is_ok(), by_git.is_some(), "{shown:?}: {found:?}");
            let (Ok(found), Some(by_git)) = (found, by_git) else { continue };
            let parents: Vec<_> = found.parents.iter().map(Oid::to_string).collect();
            let (name, email) = match found.author() {
                // git shows nothing of a line without an email, and people get to see what there is.
                _ if by_git.windows(5).any(|five| five == b"| <>|") => Default::default(),
                author => author,
            };
            let mut ours = format!("{}|{}|", found.tree_id(), parents.join(" ")).into_bytes();
            let time = found.committed_s().map(|seconds| seconds.to_string()).unwrap_or_default();
            ours.extend([name, b" <", email, b">|", time.as_bytes(), b"|", &found.subject()].concat());
            if found.headers("encoding").next().is_some_and(|name| name.trim_ascii_end() == b"ISO-8859-1") {
                ours = ours.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes();
            }
            assert!(ours == by_git, "{shown:?}: {} {}", ours.escape_ascii(), by_git.escape_ascii());
        }
    }
}
