//! Tests of command lines: from typed words to each command's settings.

pub(super) mod support;

use super::arguments::{Arguments, NAMES, Subcommand};
use super::*;
use crate::config::RepoLocation;
use crate::model::Address;

fn parse(typed: &str) -> Result<Arguments, clap::Error> {
    parse_words(typed.split_whitespace().map(OsString::from).collect())
}

fn parse_words(words: Vec<OsString>) -> Result<Arguments, clap::Error> {
    let words = std::iter::once("surveil".into()).chain(words).collect();
    let words = implicit_observer::with_command(words, NAMES);
    Arguments::read(&without_variables().try_get_matches_from(words)?)
}

/// The command line, for which no variable of the machine counts.
fn without_variables() -> clap::Command {
    let sealed = |command: clap::Command| command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    arguments::command().mut_subcommands(sealed)
}

#[track_caller]
fn parsed(typed: &str) -> Subcommand {
    parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}")).command
}

#[track_caller]
fn refused(typed: &str) -> String {
    parse(typed).expect_err(typed).to_string()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    arguments::command().debug_assert();
}

#[test]
fn the_original_programs_command_lines_are_valid() {
    let repository = tempfile::tempdir().unwrap();
    for part in ["objects", "refs"] {
        std::fs::create_dir(repository.path().join(part)).unwrap();
    }
    std::fs::write(repository.path().join("HEAD"), "ref: refs/heads/main\n").unwrap();
    let words = vec!["--dispatch=localhost:9000".into(), repository.path().into()];
    let Subcommand::Observer(flags) = parse_words(words).unwrap().command else { panic!("not an observer") };
    let settings = flags.settings(None, NAMES).unwrap();
    assert_eq!(settings.dispatch, [address("localhost:9000")]);
    assert!(matches!(settings.repos[0].location, RepoLocation::Path(_)));

    let Subcommand::Dispatcher(flags) = parsed("dispatcher --host=10.0.0.5 --port=9001") else {
        panic!("not a dispatcher")
    };
    assert_eq!(flags.settings().unwrap().listen, address("10.0.0.5:9001"));

    let Subcommand::Runner(flags) = parsed("runner --host=h --port=1 --dispatch=h:2 /repo") else {
        panic!("not a runner")
    };
    let settings = flags.settings(None).unwrap();
    assert_eq!(settings.listen, Some(address("h:1")));
    assert_eq!(settings.dispatch, [address("h:2")]);
    assert_eq!(settings.local_source, Some("/repo".into()));
}

#[test]
fn the_roles_have_their_defaults() {
    let Subcommand::Dispatcher(flags) = parsed("dispatcher") else { panic!("not a dispatcher") };
    let settings = flags.settings().unwrap();
    assert_eq!(settings.listen, address("127.0.0.1:9000"));
    assert_eq!(settings.spawn, 1);

    let Subcommand::Runner(flags) = parsed("runner") else { panic!("not a runner") };
    let settings = flags.settings(None).unwrap();
    assert_eq!(settings.dispatch, [address("localhost:9000")]);
    assert_eq!(settings.listen, None);
    assert!(settings.slots >= 1 && !settings.name.is_empty() && settings.spawn.is_none());
}

#[test]
fn several_dispatchers_are_tried_in_the_order_typed() {
    let Subcommand::Runner(flags) = parsed("runner --dispatch a:1,b:2") else { panic!("not a runner") };
    assert_eq!(flags.settings(None).unwrap().dispatch, [address("a:1"), address("b:2")]);
}

#[test]
fn a_token_is_looked_for_where_it_was_said_to_be() {
    let token = |typed: &str| {
        let Subcommand::Runner(flags) = parsed(typed) else { panic!("not a runner") };
        flags.settings(None).unwrap().token.path().to_owned()
    };
    assert_eq!(token("runner --token-file t --data /d"), std::path::Path::new("t"));
    assert_eq!(token("runner --data /d"), std::path::Path::new("/d/tokens/runner"));
}

#[test]
fn global_flags_go_before_and_behind_the_command() {
    for typed in ["-v observer .", "-v .", "observer . -v", "--verbose --dispatch h:1 ."] {
        let arguments = parse(typed).unwrap();
        assert_eq!(arguments.verbosity.verbose, 1, "{typed}");
        assert!(matches!(arguments.command, Subcommand::Observer(_)), "{typed}");
    }
    assert_eq!(parse("-vv status").unwrap().verbosity.verbose, 2);
    assert_eq!(parse("status -q").unwrap().verbosity.quiet, 1);
}

#[test]
fn a_mistyped_command_gets_a_suggestion() {
    assert!(refused("staus").contains("'status'"), "{}", refused("staus"));
    assert!(refused("dispacher --port 1").contains("'dispatcher'"));
}

#[test]
fn wrong_values_are_refused_with_what_to_write() {
    for (typed, hint) in [
        ("runner --dispatch nowhere", "HOST:PORT"),
        ("runner --slots 0", "1..="),
        ("runner --label two=words=", "is not a label"),
        ("runner --grace soon", "is not a duration"),
        ("runner --log-limit much", "is not a size"),
        ("dispatcher --port 70000", "70000"),
        ("observer", "REPO"),
        ("status --format xml", "json"),
        ("completions tcsh", "bash"),
    ] {
        let text = refused(typed);
        assert!(text.contains(hint), "{typed}: {text}");
    }
}

#[test]
fn settings_that_make_no_sense_together_are_refused() {
    let usage = |result: Result<(), CliError>| {
        let error = result.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Usage, "{error}");
        error.to_string()
    };
    for names in ["--name x", "--name x --name y --name z"] {
        let Subcommand::Observer(flags) = parsed(&format!("observer . src {names}")) else { panic!("not an observer") };
        let text = usage(flags.settings(None, NAMES).map(drop));
        assert!(text.contains("one --name for each REPO, in their order"), "{text}");
    }
    let Subcommand::Observer(flags) = parsed("--dispatch h:1 status") else { panic!("not an observer") };
    assert!(usage(flags.settings(None, NAMES).map(drop)).contains("surveil status"));
    let Subcommand::Dispatcher(flags) = parsed("dispatcher --heartbeat-interval 5s --heartbeat-timeout 6s") else {
        panic!("not a dispatcher")
    };
    assert!(usage(flags.settings().map(drop)).contains("four times"));
    let Subcommand::Runner(flags) = parsed("runner --name a/b") else { panic!("not a runner") };
    assert!(usage(flags.settings(None).map(drop)).contains("cannot name a runner"));
}

/// Two repositories of one name would share a mirror and a history.
#[test]
fn repositories_of_one_name_are_refused_in_one_command_unless_each_is_given_a_name() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["one/app", "two/app", "three/App", "four/my app", "four/my-app", "five/app.git"] {
        // As much of a bare repository as is looked for.
        for part in ["objects", "refs"] {
            std::fs::create_dir_all(dir.path().join(path).join(part)).unwrap();
        }
        std::fs::write(dir.path().join(path).join("HEAD"), "ref: refs/heads/main\n").unwrap();
    }
    let settings = |repos: &[&str], names: &[&str]| {
        let mut words: Vec<OsString> = vec!["surveil".into(), "observer".into()];
        let path = |repo: &&str| if repo.contains("://") { (*repo).into() } else { dir.path().join(repo).into() };
        words.extend(repos.iter().map(path));
        words.extend(names.iter().map(|name| OsString::from(format!("--name={name}"))));
        let Subcommand::Observer(flags) =
            Arguments::read(&arguments::command().get_matches_from(words)).unwrap().command
        else {
            unreachable!()
        };
        flags.settings(None, NAMES)
    };
    let twins = [
        ["one/app", "two/app", "`app`"],
        ["one/app", "five/app.git", "`app`"],
        ["one/app", "https://h/team/app.git", "`app`"],
        ["one/app", "three/App", "`app` and `App`"],
        ["four/my app", "four/my-app", "`my-app`"],
    ];
    for [one, two, name] in twins {
        let error = settings(&[one, two], &[]).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Usage);
        let text = error.to_string();
        assert!([one, two, name, "--name"].iter().all(|part| text.contains(part)), "{text}");
        let named = settings(&[one, two], &["first", "second"]).unwrap();
        assert_eq!(named.repos.iter().map(|repo| repo.name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
        assert!(settings(&[one, two], &["same", "same"]).is_err());
    }
    for (one, two) in [("one/app", "one/../one/app"), ("https://a:b@h/x", "https://h/x")] {
        let text = settings(&[one, two], &["first", "second"]).unwrap_err().to_string();
        assert!(text.contains("one repository: leave one out") && !text.contains("a:b"), "{text}");
    }
}

#[test]
fn with_fetch_the_remote_of_a_local_repository_is_observed_under_the_local_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app");
    let git = |args: &[&str]| {
        crate::git::tests::support::git_in(dir.path(), args);
    };
    let settings = |typed: &str| {
        let typed = format!("observer {} --work /w {typed}", path.display());
        let Subcommand::Observer(flags) = parsed(&typed) else { panic!("not an observer") };
        flags.settings(None, NAMES)
    };
    std::fs::create_dir(&path).unwrap();
    let error = settings("--fetch").unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Usage, "{error}");
    git(&["init", "-q", "app"]);
    let error = settings("--fetch").unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Usage, "{error}");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("git remote add origin"), "{text}");

    git(&["-C", "app", "remote", "add", "upstream", "https://me:secret@h/team/other.git"]);
    let followed = settings("--fetch").unwrap();
    assert_eq!(followed.interval_ms, crate::config::defaults::REMOTE_INTERVAL_MS);
    let repo = &followed.repos[0];
    assert_eq!((repo.name.as_str(), repo.source.as_str()), ("app", "https://h/team/other.git"));
    let RepoLocation::Url { url, mirror } = &repo.location else { panic!("not a mirror") };
    assert_eq!(url, "https://me:secret@h/team/other.git");
    assert!(mirror.starts_with("/w"), "{}", mirror.display());
    let in_place = settings("").unwrap();
    assert!(matches!(in_place.repos[0].location, RepoLocation::Path(_)));
    let Subcommand::Observer(flags) = parsed("observer --fetch https://h/x.git") else { panic!("not an observer") };
    assert_eq!(flags.settings(None, NAMES).unwrap().repos[0].name.as_str(), "x");
}

#[test]
fn every_command_has_a_help_page_with_examples() {
    for command in arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name}");
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains("Examples:\n  "), "{name}: {after}");
        for line in after.lines().filter(|line| line.starts_with("  ")) {
            assert!(line.len() < 80, "{name}: {line}");
        }
    }
}

/// The description of one command alone says the same of it as that of all.
#[test]
fn a_command_is_parsed_by_its_own_description_alone() {
    let all = arguments::command();
    let names: Vec<&str> = all.get_subcommands().map(clap::Command::get_name).collect();
    assert_eq!(names, NAMES);
    for name in NAMES {
        let help = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let mut command = arguments::command_for(&words);
            command.build();
            let count = command.get_subcommands().filter(|it| it.get_name() != "help").count();
            (command.find_subcommand_mut(name).unwrap().render_long_help().to_string(), count)
        };
        let ((alone, one), (of_all, many)) = (help(&["surveil", "-v", name]), help(&["surveil", "help", name]));
        assert_eq!(alone, of_all);
        assert_eq!((one, many), (1, NAMES.len()));
    }
}

#[test]
fn the_help_of_a_command_within_a_command_is_short_or_whole_like_any_other() {
    let help = |words: &[&str]| {
        let refused = arguments::command_for(&words.iter().map(OsString::from).collect::<Vec<_>>());
        refused.try_get_matches_from(words).unwrap_err().to_string()
    };
    for words in [["token", "create"], ["secret", "set"], ["cache", "list"], ["artifacts", "get"]] {
        let [short, whole] = ["-h", "--help"].map(|flag| help(&["program", words[0], words[1], flag]));
        assert!(short.contains(&format!("Usage: surveil {} {} ", words[0], words[1])), "{short}");
        assert!(!short.contains("Examples:") && short.lines().count() < whole.lines().count(), "{short}");
    }
    assert!(help(&["program", "secret", "set", "--help"]).contains("Examples:\n  "));
}

#[test]
fn help_lines_fit_a_terminal() {
    for command in arguments::command().get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        let widest = help.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= 100, "{}: {widest}", command.get_name());
    }
}

#[test]
fn the_supervisor_is_recognised_before_anything_else() {
    let words = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
    assert!(is_supervise(&words("surveil supervise")));
    assert!(!is_supervise(&words("surveil -v supervise")));
    assert!(!is_supervise(&words("surveil")));
}
