//! Outputs: variables that a task hands to the tasks that need it. Which names they may have, and how many and how long
//! they may be. Runner and dispatcher both check them.

/// Variables with their values, each name once, in the order in which they were first set.
pub type Outputs = Vec<(String, String)>;

/// The most outputs of one task.
pub const MAX_OUTPUTS: usize = 64;
/// The length of one task's outputs, names and values together. They are held in the store's records and in every lease
/// of a task that needs this one; a file is the place for more.
pub const MAX_OUTPUT_BYTES: usize = 16 * 1024;
/// The length of all outputs that one task gets. Even if every character is escaped, they fit into a message.
pub const MAX_NEEDED_OUTPUT_BYTES: usize = 64 * 1024;

/// Variables by which shells, loaders, interpreters and tools are made to run other code than the task names. An output
/// is often text from outside, such as a title, so it must never become one of these.
const STARTS_PROGRAMS: &[&str] = &[
    "PATH",
    "HOME",
    "PWD",
    "SHELL",
    "TMPDIR",
    "ENV",
    "BASH_ENV",
    "BASHOPTS",
    "SHELLOPTS",
    "IFS",
    "CDPATH",
    "PS4",
    "PROMPT_COMMAND",
    "ZDOTDIR",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "BROWSER",
    "LESSOPEN",
    "LESSCLOSE",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "HOSTALIASES",
    "RESOLV_HOST_CONF",
    "PERL5LIB",
    "PERLLIB",
    "PERL5OPT",
    "PERL5DB",
    "RUBYLIB",
    "RUBYOPT",
    "LUA_INIT",
    "LUA_PATH",
    "LUA_CPATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "CLASSPATH",
    "JAVA_HOME",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "MAVEN_OPTS",
    "GRADLE_OPTS",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTUP_TOOLCHAIN",
    "GOFLAGS",
    "GOROOT",
    "MAKEFLAGS",
    "MFLAGS",
    "GNUMAKEFLAGS",
    "MAKEFILES",
    "GREP_OPTIONS",
    "TAR_OPTIONS",
];

/// Beginnings of further such variables, and of those that only the runner sets.
const STARTS_PROGRAMS_WITH: &[&str] =
    &["SURVEIL", "LD_", "DYLD_", "MALLOC_", "GLIBC_", "GIT_", "SSH_", "BASH_FUNC_", "PYTHON", "CARGO_", "NPM_CONFIG_"];

/// Whether a name is that of a variable: letters, digits and `_`, and no digit at first.
#[must_use]
pub fn is_variable_name(name: &[u8]) -> bool {
    name.first().is_some_and(|first| !first.is_ascii_digit())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether a variable of this name changes which programs start, or what else they execute. No output has such a name.
#[must_use]
pub fn starts_programs(name: &[u8]) -> bool {
    let begins = |prefix: &&str| name.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix.as_bytes()));
    STARTS_PROGRAMS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || STARTS_PROGRAMS_WITH.iter().any(begins)
}

/// Returns why these cannot be the outputs of a task, for people; `None` if they can.
#[must_use]
pub fn wrong_outputs(outputs: &[(String, String)]) -> Option<String> {
    if outputs.len() > MAX_OUTPUTS {
        return Some(format!("a task has at most {MAX_OUTPUTS} outputs, and these are {}", outputs.len()));
    }
    let bytes: usize = outputs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_OUTPUT_BYTES {
        return Some(format!(
            "the outputs of a task are at most {} KiB together, and these are {bytes} bytes",
            MAX_OUTPUT_BYTES >> 10
        ));
    }
    let is_wrong = |(name, value): &&(String, String)| {
        !is_variable_name(name.as_bytes()) || starts_programs(name.as_bytes()) || value.contains('\0')
    };
    let (name, _) = outputs.iter().find(is_wrong)?;
    Some(format!("`{}` cannot be an output", name.escape_debug()))
}

/// Adds outputs to others: a later value takes the place of an earlier one.
pub fn add_outputs(all: &mut Outputs, more: Outputs) {
    for (name, value) in more {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => all.push((name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(pairs: &[(&str, &str)]) -> Outputs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn names_that_change_how_programs_start_are_refused_in_any_case_of_letters() {
        for name in ["PATH", "Path", "LD_PRELOAD", "ld_library_path", "BASH_ENV", "ENV", "IFS", "GIT_SSH_COMMAND"] {
            assert!(starts_programs(name.as_bytes()), "{name}");
            assert!(wrong_outputs(&outputs(&[(name, "x")])).unwrap().contains(name));
        }
        for name in ["SURVEIL_BUILD", "PYTHONPATH", "NODE_OPTIONS", "CARGO_TARGET_DIR", "PERL5OPT"] {
            assert!(starts_programs(name.as_bytes()), "{name}");
        }
        for name in ["VERSION", "MY_PATH", "PATHS", "ENVIRONMENT", "GIT", "_", "a1", "TAG"] {
            assert!(is_variable_name(name.as_bytes()) && !starts_programs(name.as_bytes()), "{name}");
            assert_eq!(wrong_outputs(&outputs(&[(name, "")])), None, "{name}");
        }
    }

    #[test]
    fn outputs_are_bounded_in_number_and_length() {
        let many = |count: usize| (0..count).map(|n| (format!("N{n}"), String::new())).collect::<Outputs>();
        assert_eq!(wrong_outputs(&many(MAX_OUTPUTS)), None);
        assert!(wrong_outputs(&many(MAX_OUTPUTS + 1)).unwrap().contains("at most 64 outputs"));
        let long = |bytes: usize| outputs(&[("N", &"x".repeat(bytes - 1))]);
        assert_eq!(wrong_outputs(&long(MAX_OUTPUT_BYTES)), None);
        assert!(wrong_outputs(&long(MAX_OUTPUT_BYTES + 1)).unwrap().contains("at most 16 KiB together"));
        for (name, value) in [("", "x"), ("1A", "x"), ("A-B", "x"), ("A", "a\0b")] {
            assert!(wrong_outputs(&outputs(&[(name, value)])).is_some(), "{name}={value}");
        }
    }

    #[test]
    fn a_later_output_takes_the_place_of_an_earlier_one() {
        let mut all = outputs(&[("A", "1"), ("B", "2")]);
        add_outputs(&mut all, outputs(&[("B", "3"), ("C", "4")]));
        assert_eq!(all, outputs(&[("A", "1"), ("B", "3"), ("C", "4")]));
    }
}
