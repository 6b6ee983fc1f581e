//! Commands that cannot be started, and whether the task or the machine is at fault.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use surveil::model::{Isolation, Script};
use surveil::process::{Exit, ProcessError, ProgressCallbacks, Supervisor, detect_isolation};

use crate::harness::{Slot, in_both_tiers, program};

fn write(slot: &Slot, name: &str, bytes: &[u8], mode: u32) {
    let path = slot.place.path().join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn why(slot: &mut Slot, words: &[&str]) -> String {
    let (ended, output) = slot.run(&slot.program(words));
    assert_eq!((ended.duration_ms, ended.leftovers, output.as_str()), (0, 0, ""));
    let Exit::CouldNotStart(why) = ended.exit else { panic!("{words:?} ended with {:?}", ended.exit) };
    why
}

in_both_tiers! {
    fn a_missing_program_says_where_it_was_looked_for(slot) {
        let said = why(slot, &["no-such-program"]);
        assert!(said.starts_with("there is no program no-such-program (looked in /"), "{said}");
        assert_eq!(why(slot, &["./none"]), "there is no program ./none");
    }

    fn a_file_without_permission_is_not_executable(slot) {
        write(slot, "plain", b"#!/bin/sh\n", 0o644);
        assert_eq!(why(slot, &["./plain"]), "./plain is not executable");
        assert_eq!(why(slot, &["/"]), "/ is a directory");
    }

    fn a_missing_interpreter_is_named(slot) {
        write(slot, "script", b"#!/nowhere/python -u\nprint()\n", 0o755);
        let expected = "./script asks for the interpreter /nowhere/python, which does not exist";
        assert_eq!(why(slot, &["./script"]), expected);
        let mut command = slot.program(&["script"]);
        command.env = vec![("PATH".into(), slot.place.path().into())];
        let expected = "script asks for the interpreter /nowhere/python, which does not exist";
        assert_eq!(slot.run(&command).0.exit, Exit::CouldNotStart(expected.into()));
    }

    fn a_program_for_another_machine_is_not_handed_to_the_shell(slot) {
        write(slot, "foreign", b"\x7fELF\x02\x01\x01\0 nothing like it", 0o755);
        write(slot, "bare", b"echo hello\n", 0o755);
        write(slot, "empty", b"", 0o755);
        for name in ["./foreign", "./bare", "./empty"] {
            assert!(why(slot, &[name]).contains("neither a program for this machine nor a script"));
        }
    }

    fn an_empty_command_is_refused(slot) {
        assert_eq!(why(slot, &[]), "the command is empty");
        assert_eq!(why(slot, &[""]), "the command is empty");
        assert_eq!(slot.run_shell(" ").0.exit, Exit::CouldNotStart("the command is empty".into()));
    }

    fn a_missing_directory_is_named(slot) {
        let mut command = slot.shell("true");
        command.directory = slot.place.path().join("gone");
        let expected = format!("there is no directory {}", command.directory.display());
        assert_eq!(slot.run(&command).0.exit, Exit::CouldNotStart(expected));
        write(slot, "file", b"", 0o644);
        command.directory = slot.place.path().join("file");
        let expected = format!("{} is not a directory", command.directory.display());
        assert_eq!(slot.run(&command).0.exit, Exit::CouldNotStart(expected));
    }

    fn too_long_a_command_is_refused(slot) {
        let Exit::CouldNotStart(said) = slot.run_shell(&"# long\n".repeat(100_000)).0.exit else { panic!() };
        assert_eq!(said, "the arguments and the environment are too long for this system");
        let Exit::CouldNotStart(said) = slot.run_shell(&"# long\n".repeat(2_000_000)).0.exit else { panic!() };
        assert_eq!(said, "the command and its environment are too long");
        slot.check_next();
    }

    fn what_the_shell_cannot_find_is_the_shells_own_exit_code(slot) {
        let (ended, output) = slot.run_shell("no-such-program");
        assert_eq!(ended.exit, Exit::Code(127));
        assert!(output.contains("no-such-program"), "{output}");
        write(slot, "plain", b"", 0o644);
        assert_eq!(slot.run_shell("./plain").0.exit, Exit::Code(126));
    }

    fn a_program_is_found_in_the_commands_own_path(slot) {
        write(slot, "tool", b"#!/bin/sh\necho found\n", 0o755);
        let mut command = slot.program(&["tool"]);
        command.env.retain(|(name, _)| name != "PATH");
        command.env.push(("PATH".into(), "/nowhere::/bin".into()));
        assert_eq!(slot.run(&command).1, "found\n");
        command.env.retain(|(name, _)| name != "PATH");
        command.script = Script::Program(vec!["true".into()]);
        assert_eq!(slot.run(&command).0.exit, Exit::Code(0));
    }

    fn a_file_that_is_being_written_is_tried_again(slot) {
        fs::copy("/bin/true", slot.place.path().join("busy")).unwrap();
        let writer = fs::File::options().append(true).open(slot.place.path().join("busy")).unwrap();
        assert_eq!(why(slot, &["./busy"]), "./busy is being written by another process");
        drop(writer);
        assert_eq!(slot.run(&slot.program(&["./busy"])).0.exit, Exit::Code(0));
    }

    fn want_of_memory_is_not_the_commands_fault(slot) {
        slot.check_next();
        let pid = rustix::process::Pid::from_raw(slot.supervisor.pid().unwrap().cast_signed());
// Enough descriptors for the supervisor, but not for the start of a process.
        let statm = fs::read_to_string(format!("/proc/{}/statm", slot.supervisor.pid().unwrap())).unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        let own = rustix::process::getrlimit(rustix::process::Resource::As);
        let size = pages * rustix::param::page_size() as u64;
        let limit = rustix::process::Rlimit { current: Some(size), ..own };
        let before = rustix::process::prlimit(pid, rustix::process::Resource::As, limit).unwrap();
        let (result, _) = slot.try_run(&slot.shell("true"));
        assert!(matches!(result, Err(ProcessError::StartCommand(_))), "{result:?}");
        rustix::process::prlimit(pid, rustix::process::Resource::As, before).unwrap();
        slot.check_next();
        assert_eq!(slot.supervisor.pid(), pid.map(|pid| pid.as_raw_nonzero().get().cast_unsigned()));
    }

    fn a_command_starts_with_the_last_descriptor_and_want_of_that_is_not_its_fault(slot) {
        slot.check_next();
        let pid = rustix::process::Pid::from_raw(slot.supervisor.pid().unwrap().cast_signed());
        let open = format!("/proc/{}/fd", slot.supervisor.pid().unwrap());
        let free = (0..).find(|number| fs::symlink_metadata(format!("{open}/{number}")).is_err()).unwrap();
        let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let limit = |current| rustix::process::Rlimit { current: Some(current), ..own };
        rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit(free + 1)).unwrap();
        assert_eq!(slot.run(&slot.shell("true")).0.exit, Exit::Code(0));
        rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit(free)).unwrap();
        let (result, _) = slot.try_run(&slot.shell("true"));
        assert!(result.is_err(), "{result:?}");
// A supervisor that got a command without its output pipe ends; the next command starts a new one.
        slot.check_next();
    }
}

#[test]
fn a_supervisor_that_cannot_be_executed_is_an_error() {
    for tier in [Isolation::Subreaper, detect_isolation()] {
        let slot = Slot::new(tier);
        let mut supervisor = Supervisor::new("/nowhere/surveil".into(), tier);
        let output = fs::File::options().write(true).open("/dev/null").unwrap();
        let result =
            supervisor.run(&slot.shell("true"), output, &crossbeam_channel::never(), ProgressCallbacks::default());
        assert!(matches!(result, Err(ProcessError::StartSupervisor { .. })), "{result:?}");
    }
}

#[test]
fn a_program_that_is_no_supervisor_is_an_error() {
    let slot = Slot::new(Isolation::Subreaper);
    let mut supervisor = Supervisor::new("/bin/true".into(), Isolation::Subreaper);
    let output = fs::File::options().write(true).open("/dev/null").unwrap();
    let result = supervisor.run(&slot.shell("true"), output, &crossbeam_channel::never(), ProgressCallbacks::default());
    let is_fit = matches!(result, Err(ProcessError::SupervisorEnded { .. } | ProcessError::Talk(_)));
    assert!(is_fit, "{result:?}");
}

#[test]
fn the_hidden_subcommand_refuses_to_serve_without_a_socket() {
    let status = std::process::Command::new(program())
        .arg("supervise")
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
}
