//! The operator's file, `surveil.toml` in the data directory: what the operator of a dispatcher decides for all
//! repositories. It is read and checked like a task file, and its errors have the same form.

use std::collections::BTreeMap;

use super::tasks::{
    BRANCHES, Findings, MAX_GLOB_BYTES, MAX_GLOBS, MAX_SHOWN_MISTAKES, Mistake, Placed, RefKind, TAGS, TableEntry,
    TaskFileError, document, entries, name_glob, nearest, quote, readable,
};
use crate::model::glob::matches_no_ref;
use crate::model::{RepoName, TrustRule};

/// The name of the file in the data directory.
pub const SERVER_FILE: &str = "surveil.toml";

const TOP_KEYS: [&str; 2] = ["trust", "repo"];
const REPO_KEYS: [&str; 1] = ["trust"];
const TRUST_KEYS: [&str; 4] = ["default_branch", "branches", "tags", "refs"];
const TRUST_HELP: &str = "write a table, such as\n[trust]\nbranches = [\"release/*\"]\ntags = [\"v*\"]";
const REPO_HELP: &str = "write a table for each repository, such as\n[repo.app.trust]\nbranches = [\"release/*\"]";
const REFS_HELP: &str = "give the full name of a ref, or a glob of full names, such as `refs = [\"refs/changes/*\"]`";

/// The settings of the operator's file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// The rule for repositories that have none of their own, and for what theirs leaves open.
    pub trust: TrustRule,
    /// The rules of single repositories.
    pub repos: BTreeMap<RepoName, TrustRule>,
}

impl ServerSettings {
    /// Returns the whole rule of a repository.
    #[must_use]
    pub fn trust_of(&self, repo: &RepoName) -> TrustRule {
        self.repos.get(repo).map_or_else(|| self.trust.clone(), |rule| rule.or(&self.trust))
    }
}

/// Reads the operator's file, which is called `name` in errors.
pub fn parse_server(name: &str, text: &[u8]) -> Result<ServerSettings, TaskFileError> {
    let text = &*readable(name, text)?;
    let mut found = Findings::default();
    let mut settings = ServerSettings::default();
    if let Some(document) = document(text, &mut found) {
        for top in entries(&document) {
            match top.key {
                "trust" => settings.trust = read_trust(&top, &mut found),
                "repo" => read_repos(&top, &mut settings, &mut found),
                _ => found.mistake(unknown(&top, "this file", &TOP_KEYS)),
            }
        }
    }
    if found.has_mistakes() { Err(found.error(name, text, MAX_SHOWN_MISTAKES)) } else { Ok(settings) }
}

fn read_repos(top: &TableEntry<'_, '_>, settings: &mut ServerSettings, found: &mut Findings) {
    let Some(table) = found.unless_wrong(top.table(REPO_HELP)) else { return };
    for repo in entries(table) {
        let name = RepoName::new(repo.key).map_err(|error| {
            Mistake::new(repo.key_place.clone(), error.to_string(), "give the name that `surveil status` shows")
        });
        let keys = found.unless_wrong(repo.table(REPO_HELP));
        let (Some(name), Some(keys)) = (found.unless_wrong(name), keys) else { continue };
        for key in entries(keys) {
            match key.key {
                "trust" => drop(settings.repos.insert(name.clone(), read_trust(&key, found))),
                _ => found.mistake(unknown(&key, "a repository", &REPO_KEYS)),
            }
        }
    }
}

fn read_trust(top: &TableEntry<'_, '_>, found: &mut Findings) -> TrustRule {
    let mut rule = TrustRule::default();
    let Some(table) = found.unless_wrong(top.table(TRUST_HELP)) else { return rule };
    for key in entries(table) {
        match key.key {
            "default_branch" => rule.default_branch = found.unless_wrong(key.flag()),
            "branches" => rule.branches = read_globs(&key, found, |text| name_glob(text, BRANCHES)),
            "tags" => rule.tags = read_globs(&key, found, |text| name_glob(text, TAGS)),
            "refs" => rule.refs = read_globs(&key, found, ref_glob),
            _ => found.mistake(unknown(&key, "`trust`", &TRUST_KEYS)),
        }
    }
    rule
}

/// Reads a list of globs. An empty one names no ref.
fn read_globs(
    list: &TableEntry<'_, '_>,
    found: &mut Findings,
    check: impl Fn(&Placed<&str>) -> Result<String, Mistake>,
) -> Option<Vec<String>> {
    let help = format!("list names or globs, such as `{} = [\"v*\"]`", list.key);
    let texts = list.texts(&help, found);
    let texts = found.unless_wrong(texts)?;
    if texts.len() > MAX_GLOBS {
        let message = format!("`{}` has at most {MAX_GLOBS} entries", list.key);
        found.mistake(list.wrong(message, "let one glob stand for several names: `*` is any text"));
        return None;
    }
    Some(texts.iter().filter_map(|text| found.unless_wrong(check(text))).collect())
}

/// Checks a glob for full names of refs that are neither branches nor tags.
fn ref_glob(text: &Placed<&str>) -> Result<String, Mistake> {
    let wrong = |why: String, help: &str| Err(Mistake::new(text.place.clone(), why, help));
    let quoted = quote(text.value);
    for (kind, namespace, example) in [BRANCHES, TAGS] {
        let kind: RefKind = (kind, namespace, example);
        if text.value.starts_with(kind.1) {
            return wrong(format!("{quoted} is a {}", kind.0), &format!("write {}", kind.2));
        }
    }
    if text.value.len() > MAX_GLOB_BYTES {
        return wrong(format!("{quoted} is too long for a glob"), REFS_HELP);
    }
    if let Some(why) = matches_no_ref(text.value, "ref") {
        return wrong(format!("{quoted} {why}"), REFS_HELP);
    }
    if !text.value.starts_with("refs/") {
        return wrong(format!("{quoted} is no full name of a ref"), REFS_HELP);
    }
    Ok(text.value.to_owned())
}

fn unknown(entry: &TableEntry<'_, '_>, place: &str, known: &'static [&'static str]) -> Mistake {
    let all = match known {
        [only] => format!("the only key here is `{only}`"),
        _ => format!("the keys here are {}", known.join(", ")),
    };
    let help = match nearest(entry.key, known.iter().copied()) {
        Some(near) => format!("write `{near}`; {all}"),
        None => all,
    };
    Mistake::new(entry.key_place.clone(), format!("unknown key {} in {place}", quote(entry.key)), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        parse_server("surveil.toml", text.as_bytes()).unwrap_err().text
    }

    #[test]
    fn a_repository_has_the_general_rule_where_it_has_none_of_its_own() {
        let text = "[trust]\nbranches = ['release/*']\ntags = ['v*']\n\n[repo.app.trust]\ntags = []\n\
                    default_branch = false\n[repo.lib]\n";
        let settings = parse_server("f", text.as_bytes()).unwrap();
        let rule = |name: &str| settings.trust_of(&RepoName::new(name).unwrap());
        let list = |globs: &[&str]| Some(globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>());
        let branches = list(&["release/*"]);
        let general = TrustRule { branches: branches.clone(), tags: list(&["v*"]), ..TrustRule::default() };
        assert_eq!([rule("lib"), rule("other")], [general.clone(), general]);
        let own = TrustRule { default_branch: Some(false), branches, tags: list(&[]), refs: None };
        assert_eq!(rule("app"), own);
        assert_eq!(parse_server("f", b"").unwrap(), ServerSettings::default());
        let full = parse_server("f", b"trust.branches = ['refs/heads/main']").unwrap();
        assert_eq!(full.trust.branches, list(&["main"]), "a full name is the same");
    }

    #[test]
    fn a_mistake_is_shown_with_its_place_and_what_to_write_instead() {
        let text = "[trust]\nbranch = ['main']\n";
        assert_eq!(
            wrong(text),
            "surveil.toml:2:1: unknown key `branch` in `trust`\n  |\n2 | branch = ['main']\n  | ^^^^^^\n  = help: write \
             `branches`; the keys here are default_branch, branches, tags, refs"
        );
        for (text, told) in [
            ("[trusted]", "1:2: unknown key `trusted` in this file"),
            ("trust = 'main'", "1:9: `trust` must be a table, this is a string"),
            ("[trust]\nbranches = 'main'", "2:12: `branches` must be a list of strings, this is a string"),
            ("[trust]\ndefault_branch = 'main'", "2:18: `default_branch` must be true or false"),
            ("[trust]\nbranches = ['refs/tags/v1']", "2:13: `refs/tags/v1` is no branch"),
            ("[trust]\nbranches = ['v[0-9]']", "2:13: `v[0-9]` has a class of characters"),
            ("[trust]\ntags = ['!v1']", "2:9: `!v1` takes back"),
            ("[trust]\nrefs = ['refs/heads/x']", "2:9: `refs/heads/x` is a branch"),
            ("[trust]\nrefs = ['refs/tags/*']", "2:9: `refs/tags/*` is a tag"),
            ("[trust]\nrefs = ['main']", "2:9: `main` is no full name of a ref"),
            ("[trust]\nrefs = ['refs/changes/[0-9]*']", "2:9: `refs/changes/[0-9]*` has a class of characters"),
            ("[trust]\nrefs = ['refs/a..b']", "2:9: `refs/a..b` matches no ref"),
            ("[repo.app]\ntags = ['v1']", "2:1: unknown key `tags` in a repository"),
            ("[repo.'../x'.trust]\n", "1:7: "),
            ("repo = 1", "1:8: `repo` must be a table"),
            ("[trust\n", "1:7: "),
            ("[trust]\ntags = []\ntags = []", "3:1: duplicate key"),
        ] {
            let error = wrong(text);
            assert!(error.starts_with(&format!("surveil.toml:{told}")), "{text}: {error}");
            assert!(error.contains("= help: "), "{error}");
        }
        let both = wrong("[trust]\nx = 1\n[repos]\n");
        assert!(both.contains(":2:1: ") && both.contains(":3:2: ") && both.contains("write `repo`"), "{both}");
        assert!(parse_server("f", b"\xff").is_err() && parse_server("f", &vec![b' '; 2 << 20]).is_err());
    }
}
