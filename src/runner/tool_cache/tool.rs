//! Reads what a request asks for. Each tool has its own paths and methods for the same few things; this is where they
//! become one. Pure.

use subtle::ConstantTimeEq;

use super::limits::NAME_BYTES;

/// A tool whose cache is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Ccache,
    /// By WebDAV.
    Sccache,
    Bazel,
    Gradle,
    Turborepo,
    Nx,
    /// By `surveil cacheprog`.
    Go,
}

impl Tool {
    const ALL: [Self; 7] =
        [Self::Ccache, Self::Sccache, Self::Bazel, Self::Gradle, Self::Turborepo, Self::Nx, Self::Go];

    /// The first part of its paths.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ccache => "ccache",
            Self::Sccache => "sccache",
            Self::Bazel => "bazel",
            Self::Gradle => "gradle",
            Self::Turborepo => "turborepo",
            Self::Nx => "nx",
            Self::Go => "go",
        }
    }

    /// The headers of a `PUT` that a `GET` gets back.
    pub(super) fn kept_headers(self) -> &'static [&'static str] {
        match self {
            Self::Turborepo => &["x-artifact-tag", "x-artifact-duration"],
            Self::Ccache | Self::Sccache | Self::Bazel | Self::Gradle | Self::Nx | Self::Go => &[],
        }
    }

    /// Returns the status of a `PUT` that the cache does not keep. A cache may forget what it has, so tools are told
    /// that all is well: at anything but 200 Nx fails the build, and Gradle uses the cache no more. Bazel has to know,
    /// because it stores actions that name other entries, and only warns.
    pub(super) fn not_kept(self) -> Status {
        match self {
            Self::Bazel => Status::TooLarge,
            Self::Ccache | Self::Sccache | Self::Gradle | Self::Turborepo | Self::Nx | Self::Go => Status::Ok,
        }
    }
}

/// The name of an entry, as its tool gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) tool: Tool,
    pub(super) text: String,
    /// Whether the text ends with the SHA-256 of the bytes.
    pub(super) is_of_content: bool,
}

/// The thing that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// The bytes of an entry.
    Read(Name),
    /// Whether there is such an entry.
    Look(Name),
    /// To keep the body under this name.
    Write(Name),
    /// The properties of an entry, as WebDAV has them.
    Properties(Name),
    /// The properties of a directory. Each that is asked for is there.
    DirectoryProperties,
    /// To make a directory.
    MakeDirectory,
    /// A question or a notice of Turborepo's, with the answer.
    Told(&'static str),
    /// Something that there is not.
    Nothing,
}

/// The status of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Created,
    Several,
    BadRequest,
    NotFound,
    TooLarge,
}

impl Status {
    /// The status line without the version.
    pub(super) fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::Created => "201 Created",
            Self::Several => "207 Multi-Status",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::TooLarge => "413 Content Too Large",
        }
    }
}

/// Returns what a request for this target asks for, if the target begins with the attempt's own part `/SECRET`. All
/// others ask for nothing, so that a stranger learns nothing.
pub(super) fn asked(method: &str, target: &str, secret: &str) -> Asked {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let inside =
        path.strip_prefix('/').and_then(|path| path.split_once('/')).filter(|(first, _)| is_equal(first, secret));
    let Some((tool, rest)) = inside.and_then(|(_, path)| path.split_once('/').or(Some((path, "")))) else {
        return Asked::Nothing;
    };
    let Some(tool) = Tool::ALL.into_iter().find(|known| known.word() == tool) else { return Asked::Nothing };
    if tool == Tool::Sccache && (rest.is_empty() || rest.ends_with('/')) {
        return match method {
            "PROPFIND" => Asked::DirectoryProperties,
            "MKCOL" => Asked::MakeDirectory,
            _ => Asked::Nothing,
        };
    }
    if tool == Tool::Turborepo {
        match (method, rest) {
            ("GET", "v8/artifacts/status") => return Asked::Told(r#"{"status":"enabled"}"#),
            ("POST", "v8/artifacts/events") => return Asked::Told("{}"),
            _ => {}
        }
    }
    let Some(name) = name(tool, rest) else { return Asked::Nothing };
    match method {
        "GET" => Asked::Read(name),
        "HEAD" => Asked::Look(name),
        "PUT" => Asked::Write(name),
        "PROPFIND" if tool == Tool::Sccache => Asked::Properties(name),
        "MKCOL" if tool == Tool::Sccache => Asked::MakeDirectory,
        _ => Asked::Nothing,
    }
}

/// Returns the name of an entry at this path below the tool's own part.
fn name(tool: Tool, rest: &str) -> Option<Name> {
    let is_word =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_name = match tool {
        // A path of parts of a hash.
        Tool::Ccache | Tool::Sccache => !rest.is_empty(),
        Tool::Bazel => rest.split_once('/').is_some_and(|(kind, hash)| ["ac", "cas"].contains(&kind) && is_hash(hash)),
        Tool::Gradle | Tool::Go => is_word(rest),
        Tool::Turborepo => rest.strip_prefix("v8/artifacts/").is_some_and(is_word),
        Tool::Nx => rest.strip_prefix("v1/cache/").is_some_and(is_word),
    };
    let is_of_content = tool == Tool::Bazel && rest.starts_with("cas/");
    (is_name && rest.len() <= NAME_BYTES).then(|| Name { tool, text: rest.to_owned(), is_of_content })
}

/// Compares a secret in a time that does not depend on it.
fn is_equal(given: &str, secret: &str) -> bool {
    given.as_bytes().ct_eq(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    fn ask(method: &str, path: &str) -> Asked {
        asked(method, &format!("/secret/{path}"), "secret")
    }

    fn named(tool: Tool, text: &str) -> Name {
        Name { tool, text: text.to_owned(), is_of_content: text.starts_with("cas/") }
    }

    #[test]
    fn each_tools_paths_name_entries() {
        let cas = format!("cas/{HASH}");
        for (tool, text) in [
            (Tool::Ccache, "ab/cdef0123"),
            (Tool::Sccache, "a/b/c/abcdef"),
            (Tool::Sccache, ".sccache_check"),
            (Tool::Bazel, &format!("ac/{HASH}")),
            (Tool::Bazel, &cas),
            (Tool::Gradle, "0123abcd"),
            (Tool::Turborepo, "v8/artifacts/0123abcd"),
            (Tool::Nx, "v1/cache/0123abcd"),
            (Tool::Go, HASH),
        ] {
            let path = format!("{}/{text}", tool.word());
            assert_eq!(ask("GET", &path), Asked::Read(named(tool, text)), "{path}");
            assert_eq!(ask("HEAD", &format!("{path}?teamId=x&slug=y")), Asked::Look(named(tool, text)), "{path}");
            assert_eq!(ask("PUT", &path), Asked::Write(named(tool, text)), "{path}");
            assert_eq!(ask("DELETE", &path), Asked::Nothing, "an entry is written once");
        }
    }

    #[test]
    fn webdav_finds_each_directory_and_turborepo_an_enabled_cache() {
        assert_eq!(ask("PROPFIND", "sccache/"), Asked::DirectoryProperties);
        assert_eq!(ask("PROPFIND", "sccache"), Asked::DirectoryProperties);
        assert_eq!(ask("PROPFIND", "sccache/a/b/"), Asked::DirectoryProperties);
        assert_eq!(ask("PROPFIND", "sccache/a/b"), Asked::Properties(named(Tool::Sccache, "a/b")));
        assert_eq!(ask("MKCOL", "sccache/a/"), Asked::MakeDirectory);
        assert_eq!(ask("PROPFIND", "ccache/"), Asked::Nothing);
        assert!(matches!(ask("GET", "turborepo/v8/artifacts/status"), Asked::Told(text) if text.contains("enabled")));
        assert_eq!(ask("POST", "turborepo/v8/artifacts/events"), Asked::Told("{}"));
    }

    #[test]
    fn everything_else_asks_for_nothing() {
        let long = format!("ccache/{}", "a".repeat(NAME_BYTES + 1));
        for path in [
            "",
            "ccache",
            "ccache/",
            "gradle/",
            "gradle/a/b",
            "bazel/cas/abc",
            "bazel/x/y",
            "nx/v1/cache/",
            "nx/0123",
            "turborepo/v8/artifacts/",
            "go/a.b",
            "other/a",
            long.as_str(),
        ] {
            assert_eq!(ask("GET", path), Asked::Nothing, "{path}");
        }
        for target in [
            "/wrong/ccache/ab",
            "/secret2/ccache/ab",
            "/secre/ccache/ab",
            "/secret",
            "",
            "*",
            "secret/ccache/ab",
            "http://h/secret/ccache/ab",
        ] {
            assert_eq!(asked("GET", target, "secret"), Asked::Nothing, "{target}");
        }
    }
}
