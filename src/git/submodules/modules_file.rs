//! Reads a `.gitmodules` by the rules of git-config(1). Nothing of it is followed: no `include`, and no other section
//! than those of submodules. Pure.

/// A submodule as the file describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) path: Option<String>,
    pub(super) url: Option<String>,
}

/// The most submodules of one file.
pub(super) const MODULES_MAX: usize = 1_000;

/// The characters that git takes for blanks, beside the end of a line.
const BLANKS: [char; 3] = [' ', '\t', '\r'];

/// Returns the submodules of a file; `None` if git would not read it.
pub(super) fn parse(content: &[u8]) -> Option<Vec<Described>> {
    let text = str::from_utf8(content).ok()?.replace("\r\n", "\n");
    let mut found: Vec<Described> = Vec::new();
    let mut current: Option<usize> = None;
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(&text);
    loop {
        rest = rest.trim_start_matches(|c| c == '\n' || BLANKS.contains(&c));
        let Some(first) = rest.chars().next() else { return Some(found) };
        match first {
            '#' | ';' => rest = rest.split_once('\n').map_or("", |(_, after)| after),
            '[' => {
                let (name, after) = section(&rest[1..])?;
                rest = after;
                current = match name {
                    Some(name) => {
                        let known = found.iter().position(|it| it.name == name);
                        if known.is_none() && found.len() == MODULES_MAX {
                            return None;
                        }
                        Some(known.unwrap_or_else(|| {
                            found.push(Described { name, ..Described::default() });
                            found.len() - 1
                        }))
                    }
                    None => None,
                };
            }
            first if first.is_ascii_alphabetic() => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                let after = after.trim_start_matches([' ', '\t']);
                let (value, after) = match after.strip_prefix('=') {
                    Some(after) => value(after)?,
                    None if after.is_empty() => (String::new(), after),
                    None => (String::new(), after.strip_prefix('\n')?),
                };
                rest = after;
                let Some(module) = current.map(|at| &mut found[at]) else { continue };
                match key.to_ascii_lowercase().as_str() {
                    "path" => module.path = Some(value),
                    "url" => module.url = Some(value),
                    _ => {}
                }
            }
            _ => return None,
        }
    }
}

/// Reads the head of a section behind its bracket. Returns the name of a submodule, and the text behind the head.
fn section(text: &str) -> Option<(Option<String>, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.'))?;
    let (kind, after) = text.split_at(end);
    if let Some(after) = after.strip_prefix(']') {
        return Some((None, after));
    }
    let mut rest = after.trim_start_matches(BLANKS).strip_prefix('"')?.chars();
    let mut name = String::new();
    loop {
        match rest.next()? {
            '"' => break,
            '\n' => return None,
            '\\' => name.push(rest.next().filter(|c| *c != '\n')?),
            c => name.push(c),
        }
    }
    let after = rest.as_str().strip_prefix(']')?;
    Some((kind.eq_ignore_ascii_case("submodule").then_some(name), after))
}

/// Reads a value behind its equals sign, and returns the text of the lines behind it.
fn value(text: &str) -> Option<(String, &str)> {
    let mut rest = text.trim_start_matches(BLANKS).chars();
    let (mut value, mut is_quoted) = (String::new(), false);
    // Blanks at the end do not count, unless they are quoted.
    let mut kept = 0;
    loop {
        match rest.next() {
            None | Some('\n') if is_quoted => return None,
            None | Some('\n') => break,
            Some('\\') => {
                match rest.next()? {
                    '\n' => continue,
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'b' => value.push('\u{8}'),
                    c @ ('\\' | '"') => value.push(c),
                    _ => return None,
                }
                kept = value.len();
            }
            Some('"') => is_quoted = !is_quoted,
            Some('#' | ';') if !is_quoted => {
                let after = rest.as_str().split_once('\n').map_or("", |(_, after)| after);
                value.truncate(kept);
                return Some((value, after));
            }
            Some(c) => {
                value.push(c);
                if is_quoted || !BLANKS.contains(&c) {
                    kept = value.len();
                }
            }
        }
    }
    value.truncate(kept);
    Some((value, rest.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::git::tests::support::Repo;

    const PARTS: [&str; 24] = [
        "[submodule \"a\"]\n",
        "[submodule \"a b\"] ",
        "[Submodule \"q\\\"x\\\\\"]\n",
        "[core]\n",
        "\tpath = lib/a\n",
        "path=b # comment\n",
        " url = https://h/x.git ; c\n",
        "URL = \" ../x \"\n",
        "url = a\\\n b\n",
        "url = \"a#b\"c\n",
        "url = a\\tb\n",
        "url\n",
        "# comment\n",
        "\n",
        "  update = none\n",
        "path = \n",
        "url = a\\qb\n",
        "[submodule x]\n",
        "= 3\n",
        "path = \"open\n",
        "path = c\r\n",
        "url = \"d\" \r\n\r\n",
        "url = e\u{a0}\n",
        "url f\n",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_file_is_read_as_git_reads_it(parts in prop::collection::vec(select(&PARTS[..]), 1..8)) {
            let (repo, text) = (Repo::new(), parts.concat());
            repo.write("modules", &text);
            let listed = repo.git_with(&["config", "--file", "modules", "--list", "--null"], b"");
            let is_read = repo.git_with(&["config", "--file", "modules", "--get-regexp", "--null", "^no\\.such$"], b"");
            prop_assert!(is_read.is_empty());
            let by_git = String::from_utf8(listed).unwrap();
            let ours = parse(text.as_bytes());
            let mut expected: Vec<(String, String)> = Vec::new();
            for entry in by_git.split('\0').filter(|entry| !entry.is_empty()) {
                let (key, value) = entry.split_once('\n').unwrap_or((entry, ""));
                if let Some(key) = key.strip_prefix("submodule.")
                    && let Some((name, key @ ("path" | "url"))) = key.rsplit_once('.')
                {
                    let key = format!("{name}.{key}");
                    expected.retain(|(known, _)| *known != key);
                    expected.push((key, value.to_owned()));
                }
            }
            if let Some(ours) = ours {
                let of = |module: &Described| {
                    let path = module.path.clone().map(|path| (format!("{}.path", module.name), path));
                    let url = module.url.clone().map(|url| (format!("{}.url", module.name), url));
                    path.into_iter().chain(url).collect::<Vec<_>>()
                };
                let mut ours: Vec<_> = ours.iter().flat_map(of).collect();
                ours.sort();
                expected.sort();
                prop_assert_eq!(ours, expected, "{:?}", text);
            } else {
                prop_assert!(parts.iter().any(|part| ["url = a\\qb\n", "[submodule x]\n", "= 3\n", "path = \"open\n", "url f\n"].contains(part)), "{:?}", text);
            }
        }
    }
}
