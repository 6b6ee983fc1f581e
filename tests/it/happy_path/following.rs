//! `surveil logs` of a whole build: every task's lines with its name.

use crate::harness::{self, Gate, Process, World, text, until};

/// Point 26 of the faults from the field. The tasks write in turn, the first one half a line at a time.
#[test]
fn all_tasks_of_a_build_are_followed_line_by_line_until_it_is_finished() {
    let world = World::new();
    let gates = ["one", "two", "three"].map(|name| world.gate(name));
    let repository = world.repository("app");
    let tasks = format!(
        "[task.build]\nrun = '''\nprintf half\necho >> {at}\n{one}\necho ' and half'\n{two}\n\
         printf open\n'''\n\
         [task.unit-test]\nretries = 1\nrun = '''\necho try $SURVEIL_TRY\n\
         [ $SURVEIL_TRY = 1 ] && exit 1\n{three}\n'''\n\
         [task.after]\nneeds = ['build', 'unit-test']\nrun = 'echo last'\n",
        at = text(&world.path("half")),
        one = gates[0].wait(),
        two = gates[1].wait(),
        three = gates[2].wait(),
    );
    let commit = repository.commit_tasks(&tasks);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("is queued", |build| build.commit == commit);
    let follower = world.start("logs -f", &["logs", "-f", "b1"]);
    follower.says("queued for ");
    let _runner = world.runner("w1", &["--slots=2"]);
    world.tally("half").reaches(1);
    follower.says("unit-test.2 | try 2\n");
    gates[0].open();
    follower.says("half and half\n");
    gates[1].open();
    gates[2].open();
    let lines = finished(follower);
    let of = |prefix: &str| lines.iter().filter(|line| line.starts_with(prefix)).cloned().collect::<Vec<_>>();
    assert_eq!(of("unit-test"), ["unit-test | try 1", "unit-test.2 | try 2"], "{lines:?}");
    let build: Vec<String> = of("build").iter().map(|line| line.split(" | ").nth(1).unwrap().to_owned()).collect();
    assert_eq!(build, ["half and half", "open"], "{lines:?}");
    assert_eq!(lines.last().unwrap().trim_start_matches("after").trim_start(), "| last", "{lines:?}");
    assert_eq!(lines.len(), 5, "{lines:?}");

    // Long after: the newest attempt of each task, in the order of their beginnings.
    for arguments in [&["logs", "latest"][..], &["logs", "-f", "latest"]] {
        let text = world.surveil(arguments).ok();
        for line in ["build       | half and half\n", "build       | open\n", "unit-test.2 | try 2\n"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(text.ends_with("after       | last\n") && !text.contains("try 1"), "{text}");
    }
    let error = world.surveil(&["logs", "b1", "--attempt", "1"]).error(6);
    assert!(error.contains("build, unit-test, after"), "{error}");
}

/// The lines that a follower printed, which ended with 0.
fn finished(follower: Process) -> Vec<String> {
    let (code, said) = follower.finish();
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// S15, for those who follow a build: nothing is missed and nothing seen twice, whatever the dispatcher does.
#[test]
fn a_follower_of_a_build_goes_on_after_a_restart_and_reads_without_a_dispatcher() {
    let world = World::new();
    let gates = ["a", "b"].map(|name| world.gate(name));
    let repository = world.repository("app");
    let task = |name: &str, at: usize| {
        format!("[task.{name}]\nrun = '''\nseq 20000; printf ha\n{}\necho lf\n'''\n", gates[at].wait())
    };
    let commit = repository.commit_tasks(&[task("a", 0), task("b", 1)].concat());
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--slots=2"]);
    world.build_that("is there", |build| build.commit == commit);
    let follower = world.start("logs -f", &["logs", "-f", "latest"]);
    follower.says("a | 20000\n");
    follower.says("b | 20000\n");
    dispatcher.kill();
    follower.says("trying to reconnect");
    let dispatcher = world.dispatcher(&[]);
    follower.says("connected again");
    gates.iter().for_each(Gate::open);
    let mut lines = finished(follower);
    let expected = |name: &str| {
        let numbers = (1..=20_000).map(|number: u32| number.to_string());
        numbers.chain(["half".to_owned()]).map(|line| format!("{name} | {line}")).collect::<Vec<_>>()
    };
    lines.sort_by_key(|line| line.starts_with('b'));
    let expected = [expected("a"), expected("b")].concat();
    let differs = lines.iter().zip(&expected).position(|(line, other)| line != other);
    assert!(lines == expected, "{} lines, and number {differs:?} differs", lines.len());
    dispatcher.kill();
    let offline = world.surveil(&["logs", "-f", "b1"]);
    assert!(offline.stderr.contains("no dispatcher runs"), "{offline:?}");
    assert_eq!(offline.ok().lines().count(), 40_002);
}

/// The line `two` is written while the dispatcher is away, so the time of its arrival is not its time.
#[test]
fn a_line_has_the_time_at_which_it_was_written_whenever_it_arrived() {
    let world = World::new();
    let (first, second) = (world.gate("first"), world.gate("second"));
    let repository = world.repository("app");
    let script = format!("echo one; printf t\n{}\necho wo\necho half\n{}\necho three", first.wait(), second.wait());
    let commit = repository.commit_script(&script);
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    until("the first line is there", || world.surveil(&["logs", "1"]).stdout == b"one\nt");
    dispatcher.kill();
    first.open();
    let spool = world.path("work-w1/spool");
    let spooled = || std::fs::read_dir(&spool).into_iter().flatten().flatten().map(|entry| std::fs::read(entry.path()));
    until("it is spooled", || spooled().flatten().any(|text| text.ends_with(b"two\nhalf\n")));
    // A file has the time of the same clock.
    let mark = world.path("mark");
    std::fs::write(&mark, "").unwrap();
    let mark = jiff::Timestamp::try_from(std::fs::metadata(&mark).unwrap().modified().unwrap()).unwrap();
    let _dispatcher = world.dispatcher(&[]);
    second.open();
    world.expect(&commit, "passed");

    let text = world.surveil(&["logs", "--timestamps", "1"]).ok();
    let lines: Vec<(jiff::Timestamp, &str)> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .inspect(|(time, _)| assert!(time.len() == "2026-11-23T14:05:10.250Z".len(), "{time}"))
        .map(|(time, line)| (time.parse().unwrap(), line))
        .collect();
    let [(one, _), (two, _), (half, _), (three, _)] = lines[..] else { panic!("{text}") };
    assert_eq!(lines.iter().map(|(_, line)| *line).collect::<Vec<_>>(), ["one", "two", "half", "three"]);
    assert!(one <= two && two <= half && half <= mark, "{mark}: {text}");
    // A line within 0.1 s of the one before may have that one's time.
    assert!(mark <= three + jiff::SignedDuration::from_millis(100), "{mark}: {text}");
    assert_eq!(world.surveil(&["logs", "-f", "-t", "latest"]).ok(), text);

    // The log of a build of before has no such file.
    let backup = world.path("backup");
    world.surveil(&["backup", harness::text(&backup)]).ok();
    assert!(backup.join("logs/app/b1/test.1.times").is_file());
    std::fs::remove_file(world.path("data/logs/app/b1/test.1.times")).unwrap();
    let old = world.surveil(&["logs", "-t", "latest"]);
    assert_eq!(old.stderr.matches("have no time").count(), 1, "{old:?}");
    assert_eq!(old.ok(), "- one\n- two\n- half\n- three\n");
}
