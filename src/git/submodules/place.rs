//! The places from which submodules are fetched: what a URL in `.gitmodules` means, and which of them are refused.

use crate::git::credentials::without_secrets;

/// Returns the URL that `.gitmodules` means, given the URL of the repository that it is in; or why it is never given to
/// git.
pub(super) fn resolve(base: &str, url: &str) -> Result<String, &'static str> {
    if let Some(why) = fault(url) {
        return Err(why);
    }
    let url = absolute(base, url).ok_or("its URL leads above that of the repository")?;
    // `../:x` beside `host:y` would name a program.
    fault(&url).map_or(Ok(url), Err)
}

/// Follows git's rules for `./` and `../`. `None` for a URL that leads above the repository's.
fn absolute(base: &str, url: &str) -> Option<String> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return Some(url.to_owned());
    }
    let mut base = base.trim_end_matches('/').to_owned();
    let (mut rest, mut separator) = (url, '/');
    loop {
        if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            match base.rfind('/') {
                Some(at) if !base[..at].ends_with('/') && at > 0 => {
                    base.truncate(at);
                    separator = '/';
                }
                Some(_) => return None,
                None => {
                    // `host:path` has nothing above the host.
                    let at = base.rfind(':')?;
                    base.truncate(at);
                    separator = ':';
                }
            }
        } else if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else {
            break;
        }
    }
    Some(format!("{base}{separator}{}", rest.trim_end_matches('/')))
}

/// Why a URL is never given to git; `None` if it may be.
fn fault(url: &str) -> Option<&'static str> {
    let lower = url.to_ascii_lowercase();
    if url.is_empty() {
        return Some("it has no URL");
    }
    if url.starts_with('-') {
        return Some("its URL would be taken for an option");
    }
    if names_program(url) {
        return Some("its URL names a program to be executed");
    }
    if url.chars().any(char::is_control) || ["%0a", "%0d", "%00"].iter().any(|it| lower.contains(it)) {
        return Some("its URL has control characters");
    }
    if url.len() > 4096 {
        return Some("its URL is longer than 4,096 bytes");
    }
    None
}

/// Whether git would execute a program by the name before the `::` of this URL (gitremote-helpers(7)).
fn names_program(url: &str) -> bool {
    url.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+-.".contains(c)).starts_with("::")
}

/// Returns a URL as people are shown it: its host, or the path, without credentials.
pub(super) fn shown(url: &str) -> String {
    without_secrets(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::facts::path_fault;

    #[test]
    fn a_relative_url_counts_from_the_url_of_the_repository() {
        for (base, url, expected) in [
            ("https://h/team/app.git", "../lib.git", Some("https://h/team/lib.git")),
            ("https://h/team/app.git/", "../../other/lib", Some("https://h/other/lib")),
            ("https://h/team/app.git", "./sub", Some("https://h/team/app.git/sub")),
            ("git@h:team/app.git", "../lib.git", Some("git@h:team/lib.git")),
            ("git@h:app.git", "../lib.git", Some("git@h:lib.git")),
            ("/srv/git/app.git", "../lib/", Some("/srv/git/lib")),
            ("https://h/app", "https://other/x", Some("https://other/x")),
            ("https://h", "../../x", None),
        ] {
            assert_eq!(resolve(base, url).ok().as_deref(), expected, "{base} {url}");
        }
    }

    #[test]
    fn urls_and_paths_that_do_harm_are_refused() {
        for url in ["", "-uevil", "ext::sh -c x", "fd::3", "https://h/a\nb", "https://h/%0ahost=x", &"x".repeat(5000)] {
            assert!(fault(url).is_some(), "{url}");
        }
        for url in ["https://h/x", "ssh://[::1]:22/x", "git@h:x.git", "../x", "/srv/x", "file:///srv/a::b", "../:x"] {
            assert_eq!(fault(url), None, "{url}");
        }
        // The text before it makes the last one the name of a program.
        assert!(resolve("host:app", "../:x").is_err() && resolve("https://h/app", "../:x").is_ok());
        for path in ["", "/a", "../a", "a/../b", "a//b", ".", "a/.git", "a/.GIT/b", "a\nb"] {
            assert!(path_fault(path).is_some(), "{path}");
        }
        assert_eq!(path_fault("lib/a b"), None);
    }
}
