//! The variables and files by which tools find the tool cache of their attempt.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::runner::attempt_file::AttemptFile;

/// The variable with the address, for everything that has no variable of its own.
pub(super) const ADDRESS: &str = "SURVEIL_TOOL_CACHE";
/// The variables with the paths of the files for Bazel and Gradle, which read no variable.
const BAZELRC: &str = "SURVEIL_BAZELRC";
const GRADLE_INIT: &str = "SURVEIL_GRADLE_INIT";
/// A token, for tools that do not talk to a server without one. It opens nothing: the path does.
const TOKEN: &str = "surveil";

/// The files of one attempt. They are gone with it.
#[derive(Debug)]
pub(super) struct Files {
    bazelrc: AttemptFile,
    gradle: AttemptFile,
}

impl Files {
    /// Writes the files beside this path, for the cache at this address.
    pub(super) fn write(beside: &Path, url: &str) -> io::Result<Self> {
        let bazelrc = AttemptFile::beside(beside, "bazelrc", BAZELRC);
        let gradle = AttemptFile::beside(beside, "gradle", GRADLE_INIT);
        bazelrc.write_private(bazel_options(url).as_bytes())?;
        gradle.write_private(gradle_script(url).as_bytes())?;
        Ok(Self { bazelrc, gradle })
    }
}

/// The facts on which the variables depend, besides the address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means<'a> {
    /// This very program, for Go's helper.
    pub(super) program: Option<&'a Path>,
    /// The directory that the task has as `TMPDIR`.
    pub(super) temporary: &'a Path,
    /// The variables that the task inherits.
    pub(super) inherited: &'a [(OsString, OsString)],
}

/// Returns the variables of a task.
pub(super) fn variables(url: &str, files: &Files, means: Means<'_>) -> Vec<(OsString, OsString)> {
    let Means { program, temporary, inherited } = means;
    let at = |path: &str| OsString::from(format!("{url}/{path}"));
    let mut variables: Vec<(&str, OsString)> = vec![
        (ADDRESS, url.into()),
        ("CCACHE_REMOTE_STORAGE", at("ccache")),
        ("SCCACHE_WEBDAV_ENDPOINT", at("sccache")),
        // Its daemon serves whoever connects, so each attempt has its own.
        ("SCCACHE_SERVER_UDS", temporary.join("sccache.sock").into()),
        (BAZELRC, files.bazelrc.path().into()),
        (GRADLE_INIT, files.gradle.path().into()),
        ("TURBO_API", at("turborepo")),
        ("TURBO_TOKEN", TOKEN.into()),
        ("TURBO_TEAM", TOKEN.into()),
        ("NX_SELF_HOSTED_REMOTE_CACHE_SERVER", at("nx")),
        ("NX_SELF_HOSTED_REMOTE_CACHE_ACCESS_TOKEN", TOKEN.into()),
    ];
    // For versions of sccache that know no socket. Whoever takes the port first has it, as with its usual port.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
    variables.extend(port.ok().map(|free| ("SCCACHE_SERVER_PORT", free.port().to_string().into())));
    variables.extend(program.and_then(go_helper).map(|words| ("GOCACHEPROG", words)));
    variables.extend(without_proxy(inherited));
    variables.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// Returns the variables by which tools that know a proxy reach this machine without it. None if there is no proxy.
fn without_proxy(inherited: &[(OsString, OsString)]) -> Vec<(&'static str, OsString)> {
    let value = |wanted: &str| inherited.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    if !["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].iter().any(|name| value(name).is_some()) {
        return Vec::new();
    }
    let mut hosts = value("no_proxy").or(value("NO_PROXY")).cloned().unwrap_or_default();
    if !hosts.is_empty() {
        hosts.push(",");
    }
    hosts.push(Ipv4Addr::LOCALHOST.to_string());
    vec![("no_proxy", hosts.clone()), ("NO_PROXY", hosts)]
}

/// Returns the words by which Go starts its helper. Go splits them at blanks, except within quotes.
fn go_helper(program: &Path) -> Option<OsString> {
    let path = program.as_os_str().as_bytes();
    let quote: &[u8] = match (path.iter().any(u8::is_ascii_whitespace), path.contains(&b'\''), path.contains(&b'"')) {
        (false, false, false) => b"",
        (_, false, _) => b"'",
        (_, true, false) => b"\"",
        (_, true, true) => return None,
    };
    Some(OsStr::from_bytes(&[quote, path, quote, b" cacheprog"].concat()).to_owned())
}

fn bazel_options(url: &str) -> String {
    format!(
        "common --remote_cache={url}/bazel\ncommon --remote_upload_local_results=true\ncommon --remote_timeout=30\n"
    )
}

/// Gradle before 6 has no `allowInsecureProtocol`, and needs none.
fn gradle_script(url: &str) -> String {
    format!(
        "gradle.settingsEvaluated {{ settings ->
    settings.buildCache {{
        remote(HttpBuildCache) {{ cache ->
            cache.url = '{url}/gradle/'
            cache.push = true
            if (cache.hasProperty('allowInsecureProtocol')) {{
                cache.allowInsecureProtocol = true
            }}
        }}
    }}
}}
gradle.startParameter.buildCacheEnabled = true
"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_tool_is_told_its_part_of_the_address() {
        let place = tempfile::tempdir().unwrap();
        let files = Files::write(&place.path().join("0"), "http://h:1/s").unwrap();
        let (program, temporary) = (Some("/usr/bin/surveil".as_ref()), "/t".as_ref());
        let told = variables("http://h:1/s", &files, Means { program, temporary, inherited: &[] });
        let told =
            |name: &str| told.iter().find(|(n, _)| n == name).map(|(_, value)| value.to_str().unwrap().to_owned());
        for (name, value) in [
            ("SURVEIL_TOOL_CACHE", "http://h:1/s"),
            ("CCACHE_REMOTE_STORAGE", "http://h:1/s/ccache"),
            ("SCCACHE_WEBDAV_ENDPOINT", "http://h:1/s/sccache"),
            ("SCCACHE_SERVER_UDS", "/t/sccache.sock"),
            ("TURBO_API", "http://h:1/s/turborepo"),
            ("NX_SELF_HOSTED_REMOTE_CACHE_SERVER", "http://h:1/s/nx"),
            ("GOCACHEPROG", "/usr/bin/surveil cacheprog"),
        ] {
            assert_eq!(told(name).as_deref(), Some(value), "{name}");
        }
        let read = |name: &str| fs::read_to_string(told(name).unwrap()).unwrap();
        assert!(read("SURVEIL_BAZELRC").contains("--remote_cache=http://h:1/s/bazel\n"));
        assert!(read("SURVEIL_GRADLE_INIT").contains("cache.url = 'http://h:1/s/gradle/'\n"));
        let paths = ["SURVEIL_BAZELRC", "SURVEIL_GRADLE_INIT"].map(|name| told(name).unwrap());
        drop(files);
        assert!(paths.iter().all(|path| !Path::new(path).exists()));
    }

    #[test]
    fn a_proxy_is_passed_by_on_the_way_to_this_machine() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
        };
        assert!(without_proxy(&pairs(&[("no_proxy", "a")])).is_empty());
        let told = without_proxy(&pairs(&[("HTTP_PROXY", "http://p"), ("NO_PROXY", "a.org")]));
        assert_eq!(told, [("no_proxy", "a.org,127.0.0.1".into()), ("NO_PROXY", "a.org,127.0.0.1".into())]);
        assert_eq!(without_proxy(&pairs(&[("http_proxy", "http://p")]))[0].1, "127.0.0.1");
    }

    #[test]
    fn gos_helper_is_quoted_as_go_splits_it() {
        let words = |path: &str| go_helper(path.as_ref()).map(|words| words.into_string().unwrap());
        assert_eq!(words("/a/b").unwrap(), "/a/b cacheprog");
        assert_eq!(words("/a b").unwrap(), "'/a b' cacheprog");
        assert_eq!(words("/a'b").unwrap(), "\"/a'b\" cacheprog");
        assert_eq!(words("/a\"b").unwrap(), "'/a\"b' cacheprog");
        assert_eq!(words("/a'\"b"), None);
    }
}
