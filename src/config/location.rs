//! Locations: Surveil's own directories, and repositories as people name them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::model::RepoName;

/// The longest name of a mirror's directory. The usual file systems accept 255 bytes, and git needs a few of them for
/// the names of its files beside a mirror.
pub(super) const MAX_MIRROR_NAME_BYTES: usize = 240;

/// Returns the dispatcher's data directory: `given`, else `$XDG_STATE_HOME/surveil`, else `~/.local/state/surveil`. For
/// a user without a home directory, such as a service's, it is `/var/lib/surveil`.
#[must_use]
pub fn data_dir(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| own_directory(env::var_os("XDG_STATE_HOME"), ".local/state", env::home_dir(), "/var/lib"))
}

/// Returns a runner's work directory: `given`, else `$XDG_CACHE_HOME/surveil`, else `~/.cache/surveil`. For a user
/// without a home directory it is `/var/cache/surveil`.
#[must_use]
pub fn work_dir(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| own_directory(env::var_os("XDG_CACHE_HOME"), ".cache", env::home_dir(), "/var/cache"))
}

/// Returns this user's configuration directory: `$XDG_CONFIG_HOME/surveil`, else `~/.config/surveil`. For a user
/// without a home directory it is `/etc/surveil`.
pub(super) fn config_dir(xdg: Option<OsString>) -> PathBuf {
    own_directory(xdg, ".config", env::home_dir(), "/etc")
}

/// Whether a repository's location is a URL: `scheme://…`, or `host:path` as ssh accepts it. The rule for colons is
/// git's: a colon behind a slash belongs to a path, and so does any colon if such a path exists on this machine.
#[must_use]
pub fn is_url(location: &str) -> bool {
    is_url_unless(location, |path| path.exists())
}

/// Makes a name for the repository at `location`: its last component without `.git`, with every character replaced that
/// a name may not have. Returns `repo` if nothing is left.
#[must_use]
pub fn repo_name_from(location: &str) -> RepoName {
    let place = if is_url(location) {
        // A URL without a path is named after its host. The text before the host may be a password.
        without_credentials(location)
    } else {
        // `.` and `..` have a name only when they are resolved. A path that does not exist is named as it was typed.
        let resolved = std::fs::canonicalize(location).unwrap_or_else(|_| location.into());
        resolved.to_string_lossy().into_owned()
    };
    let path = place.trim_end_matches('/');
    let path = path.strip_suffix("/.git").unwrap_or(path).trim_end_matches('/');
    let last = path.rsplit(['/', ':']).next().unwrap_or(path);
    let last = last.strip_suffix(".git").unwrap_or(last);
    let safe: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    let name: String = safe.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(100).collect();
    RepoName::new(&name).unwrap_or_else(|_| RepoName::new("repo").expect("the fallback is letters only"))
}

/// Returns the URL as it may be shown and stored: without password, query and fragment. The user name stays only for
/// ssh, for which it is part of the address and not a secret.
#[must_use]
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://").filter(|_| has_scheme(url)) else { return url.to_owned() };
    let rest = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((who, host)) = authority.rsplit_once('@') else { return format!("{scheme}://{rest}") };
    let user = who.split_once(':').map_or(who, |(user, _)| user);
    if scheme.contains("ssh") { format!("{scheme}://{user}@{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

/// Returns the name of a mirror's directory: the URL with every unsafe character percent-encoded, so that two URLs
/// never share a directory.
pub(super) fn mirror_name(url: &str) -> String {
    use std::fmt::Write;

    let mut name = String::new();
    for byte in url.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-@".contains(&byte) {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02x}").expect("writing to a string cannot fail");
        }
    }
    name
}

fn is_url_unless(location: &str, is_there: impl Fn(&Path) -> bool) -> bool {
    let host = location.split_once(':').map_or("", |(host, _)| host);
    let is_scp_like = !host.is_empty() && !host.contains('/') && !host.starts_with('-');
    has_scheme(location) || (is_scp_like && !is_there(Path::new(location)))
}

/// Chooses one of Surveil's own directories. Ignores relative values of XDG variables, as their specification demands.
fn own_directory(xdg: Option<OsString>, below_home: &str, home: Option<PathBuf>, without_home: &str) -> PathBuf {
    let absolute = |path: &PathBuf| path.is_absolute();
    xdg.map(PathBuf::from)
        .filter(absolute)
        .or_else(|| home.filter(absolute).map(|home| home.join(below_home)))
        .unwrap_or_else(|| without_home.into())
        .join("surveil")
}

fn has_scheme(location: &str) -> bool {
    location.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_directory_that_was_given_is_taken() {
        assert_eq!(data_dir(Some("/d".into())), PathBuf::from("/d"));
        assert_eq!(work_dir(Some("w".into())), PathBuf::from("w"));
        assert!(data_dir(None).is_absolute() && work_dir(None).ends_with("surveil"));
    }

    #[test]
    fn own_directories_follow_xdg_then_home_then_the_system() {
        let own = |xdg: Option<&str>, home: Option<&str>| {
            let path = own_directory(xdg.map(Into::into), ".local/state", home.map(Into::into), "/var/lib");
            path.to_str().unwrap().to_owned()
        };
        assert_eq!(own(Some("/x"), Some("/home/u")), "/x/surveil");
        assert_eq!(own(Some("relative"), Some("/home/u")), "/home/u/.local/state/surveil");
        assert_eq!(own(Some(""), Some("/home/u")), "/home/u/.local/state/surveil");
        assert_eq!(own(None, Some("/home/u")), "/home/u/.local/state/surveil");
        assert_eq!(own(None, Some("")), "/var/lib/surveil");
        assert_eq!(own(None, None), "/var/lib/surveil");
    }

    #[test]
    fn a_url_is_told_from_a_path() {
        for url in [
            "https://h/x.git",
            "ssh://git@h/x",
            "file:///x",
            "git+ssh://h/x",
            "git@h:x.git",
            "h:x",
            "[::1]:x",
            "h:/x/y",
        ] {
            assert!(is_url(url), "{url}");
        }
        for path in ["/repo", ".", "repo", "./h:x", "/a/b:c", "../x", "a/b://c", "", ":x", "-oProxyCommand=x:y"] {
            assert!(!is_url(path), "{path}");
        }
    }

    #[test]
    fn a_path_with_a_colon_that_is_there_is_a_path() {
        assert!(is_url_unless("host:x", |_| false));
        assert!(!is_url_unless("host:x", |_| true));
        assert!(is_url_unless("https://host/x", |_| true));
    }

    #[test]
    fn a_repository_is_named_after_its_last_component() {
        for (location, name) in [
            ("/nowhere/app", "app"),
            ("/nowhere/app/", "app"),
            ("/nowhere/app.git", "app"),
            ("/nowhere/app/.git", "app"),
            ("/nowhere/app/.git/", "app"),
            ("https://h/team/app.git/", "app"),
            ("https://h/app?token=x/y", "app"),
            ("https://example.com/", "example.com"),
            ("https://user:secret@example.com/", "example.com"),
            ("git@h:app.git", "app"),
            ("git@h:team/app", "app"),
            ("/nowhere/.dot files", "dot-files"),
            ("/nowhere/naïve", "na-ve"),
            ("/", "repo"),
            ("", "repo"),
            ("/nowhere/日本", "repo"),
        ] {
            assert_eq!(repo_name_from(location).as_str(), name, "{location}");
        }
        assert_eq!(repo_name_from(&format!("/nowhere/{}", "a".repeat(300))).as_str().len(), 100);
    }

    #[test]
    fn a_dot_is_named_after_where_it_is() {
        // Tests run in the package's directory, whatever that is called.
        let here = std::env::current_dir().unwrap();
        assert_eq!(repo_name_from("."), repo_name_from(&here.to_string_lossy()));
        for location in ["src/.", "src/model/..", "./src/", "tests/../src"] {
            assert_eq!(repo_name_from(location).as_str(), "src", "{location}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("https://h/x.git", "https://h/x.git"),
            ("https://user:secret@h/x.git", "https://h/x.git"),
            ("https://token@h:8443/x?access=secret#y", "https://h:8443/x"),
            ("https://h/x?token=a@b", "https://h/x"),
            ("ssh://git@h:22/x", "ssh://git@h:22/x"),
            ("ssh://git:secret@h/x", "ssh://git@h/x"),
            ("https://a:p@ss@h/x", "https://h/x"),
            ("git@h:x.git", "git@h:x.git"),
            ("/repo", "/repo"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }

    #[test]
    fn mirrors_of_two_urls_never_share_a_directory() {
        assert_eq!(mirror_name("https://h/a/b.git"), "https%3a%2f%2fh%2fa%2fb.git");
        assert_ne!(mirror_name("https://h/a/b"), mirror_name("https://h/a%2fb"));
    }

    proptest! {
        #[test]
        fn no_location_makes_the_readers_panic(location in any::<String>()) {
            let seen = (is_url(&location), repo_name_from(&location), without_credentials(&location));
            drop(seen);
        }
    }
}
