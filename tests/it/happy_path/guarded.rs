//! What a task of a real runner sees of its machine. Whether the runner guards its attempts is what its probe says; the
//! tests then check what is in force.

use std::fs;

use crate::harness::{World, until};

/// What the runner's log says if the kernel lets it guard nothing.
const NOT_GUARDED: &str = "its attempts are not guarded";

/// Shows every file of Surveil that can be reached, and what temporary directories hold.
fn script(world: &World) -> String {
    let (data, work) = (world.data(), world.path("work-w1"));
    format!(
        "for f in {data}/surveil.db {data}/tokens/runner {work}/journal {work}/stores/app.git/HEAD {work}/spool; do
           test -e $f && echo \"seen ${{f##*/}}\"
         done
         echo \"$(ls -A /tmp | grep -c left) in /tmp, $(ls -A /var/tmp | grep -c left) in /var/tmp\"
         test \"$(cat in-tree)\" = ours && echo own > written && test -w \"$HOME\" && test -d \"$TMPDIR\" && echo works",
        data = data.display(),
        work = work.display(),
    )
}

/// S41, S42.
#[test]
fn a_task_sees_its_tree_but_no_file_of_surveil_and_what_it_leaves_in_tmp_is_gone() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("in-tree", "ours");
    let [_dispatcher, _observer, runner] = world.roles(&[&repository]);
    let fill = |count: u32| {
        format!("cd /tmp; seq -f left%.0f {count} | xargs touch; cd /var/tmp; seq -f left%.0f 1000 | xargs touch")
    };
    runner.says("its attempts are");
    let is_guarded = !runner.log().contains(NOT_GUARDED);
    let tiers = if is_guarded { &[("guarded", 100_000), ("sealed", 1000)][..] } else { &[("shared", 0)] };
    for (tier, count) in tiers {
        let left = if is_guarded { fill(*count) } else { "true".to_owned() };
        let task = |text: &str| {
            let keys = format!("isolation = '{tier}'");
            repository.commit_tasks(&format!("[task.test]\n{keys}\nrun = '''\n{}\n{text}\n'''\n", script(&world)))
        };
        let first = task(&left);
        let log = world.log_of(&world.expect(&first, "passed"), "test");
        let second = task("true # again");
        let again = world.log_of(&world.expect(&second, "passed"), "test");
        if is_guarded {
            assert_eq!([&*log, &*again], ["0 in /tmp, 0 in /var/tmp\nworks\n"; 2], "{tier}");
        } else {
            let all = "seen surveil.db\nseen runner\nseen journal\nseen HEAD\nseen spool\n";
            assert!(log.starts_with(all) && again.starts_with(all), "{log}{again}");
        }
        let files = |name: &str| fs::read_dir(world.path("work-w1/tmp").join(name)).map_or(0, Iterator::count);
        assert_eq!([files("0.tmp"), files("0.var")], [0, 0], "before the end is told");
    }
}

/// S42. The task's own files are all that fills the disk, so the next attempt finds it empty again.
#[test]
fn a_task_that_fills_the_disk_by_way_of_tmp_puts_its_runner_out_of_service_no_longer_than_it_runs() {
    let world = World::new();
    let Some(volume) = world.volume("work-w1", "24m") else { return };
    let repository = world.repository("app");
    let _others = (world.dispatcher(&[]), world.observer(&[&repository], &[]));
    if !world.can_guard() {
        return;
    }
    let work = format!("--work={}", volume.place().display());
    let command = world.command(&["runner", "--name=w1", "--slots=1", "--min-free=0", &work]);
    let _runner = world.start_command("w1", volume.inside(&command));
    let fill = "for place in /tmp /var/tmp; do head -c 100m /dev/zero 2>&1 >$place/a | grep -q space; done";
    let first = repository.commit_tasks(&format!("[task.test]\nrun = '''\n{fill}\n'''\n"));
    world.expect(&first, "passed");
    let second = repository.commit_tasks("[task.test]\nrun = 'head -c 8m /dev/zero >/tmp/a'\n");
    world.expect(&second, "passed");
}

/// The files by which a task tells its runner something, and steps one another.
#[test]
fn a_guarded_task_tells_its_steps_variables_and_its_runner_further_tasks() {
    let world = World::new();
    let repository = world.repository("app");
    let file = "[task.plan]\nexpand = true\nsteps = ['echo A=told >> $SURVEIL_ENV; echo kept > /tmp/a', \
                'echo $A $(cat /tmp/a); printf \"[task.more]\\nrun = \\\"echo more\\\"\\n\" > $SURVEIL_TASKS']\n";
    let commit = repository.commit_tasks(file);
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    let log = world.log_of(&build, "plan");
    assert!(log.contains("told kept\n"), "{log}");
    assert_eq!(world.log_of(&build, "plan/more"), "more\n");
}

/// S40. The task, and the operator, choose whether attempts are guarded; the operator has the last word.
#[test]
fn a_task_that_asks_for_less_is_shared_unless_the_operator_wants_all_guarded() {
    let world = World::new();
    let repository = world.repository("app");
    let _others = (world.dispatcher(&[]), world.observer(&[&repository], &[]));
    let task = |isolation: &str, text: &str| {
        let seen = format!("test -e {} && echo seen || echo not seen", world.data().join("surveil.db").display());
        repository.commit_tasks(&format!("[task.test]\n{isolation}\nrun = '{seen}'\n# {text}\n"))
    };
    let can_guard = world.can_guard();
    let asks_for_less = "isolation = 'shared'";
    let cases = [
        ("", ["not seen\n", "seen\n"]),
        ("shared", ["seen\n"; 2]),
        ("guarded", ["not seen\n"; 2]),
        ("shared..guarded", ["not seen\n", "seen\n"]),
    ];
    for (flag, wanted) in cases {
        let flags = if flag.is_empty() { vec![] } else { vec![format!("--isolation={flag}")] };
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut runner = world.runner("w1", &flags);
        if flag == "guarded" && !can_guard {
            assert_eq!(runner.exit_code(), 7);
            assert!(runner.log().contains("every attempt shall be guarded"), "{}", runner.log());
            continue;
        }
        let wanted = if can_guard { wanted } else { ["seen\n"; 2] };
        for (isolation, wanted) in ["", asks_for_less].into_iter().zip(wanted) {
            let commit = task(isolation, flag);
            assert_eq!(world.log_of(&world.expect(&commit, "passed"), "test"), wanted, "{flag} {isolation}");
        }
        let shown = world.surveil(&["runners"]).ok();
        let most = if can_guard { "guarded" } else { "shared" };
        let tiers = match flag {
            "" if can_guard => "shared..sealed",
            "shared..guarded" if can_guard => flag,
            "shared" => flag,
            _ => most,
        };
        assert!(shown.lines().nth(1).is_some_and(|line| line.contains(&format!(" {tiers} "))), "{flag}: {shown}");
        assert_eq!(shown.contains("guarded by mounts"), can_guard && flag != "shared", "{flag}: {shown}");
        if flag == "shared..guarded" && can_guard {
            repository.commit_tasks("[task.test]\nisolation = 'sealed'\nrun = 'true'\n");
            let told =
                "it asks for isolation `sealed`, and no connected runner that fits offers more than `guarded` (w1)";
            until("the job waits", || world.surveil(&["why", "latest/test"]).ok().contains(told));
        }
        runner.kill();
    }
}

/// S40.
#[test]
fn a_sealed_task_keeps_a_home_directory_and_its_log_says_why_a_write_elsewhere_failed() {
    let world = World::new();
    let repository = world.repository("app");
    if !world.can_guard() {
        let _others = (world.dispatcher(&[]), world.observer(&[&repository], &[]), world.runner("w1", &[]));
        repository.commit_tasks("[task.test]\nisolation = 'sealed'\nrun = 'true'\n");
        until("the job waits", || world.surveil(&["why", "b1", "test"]).ok().contains("isolation `sealed`"));
        return;
    }
    let _roles = world.roles(&[&repository]);
    let elsewhere = world.path("elsewhere");
    let task = |run: &str| {
        let keys = "isolation = 'sealed'\nnetwork = false";
        repository.commit_tasks(&format!("[task.test]\n{keys}\nrun = '''\n{run}\n'''\n"))
    };
    let first = task("echo kept > ~/kept; echo x > in-tree; grep -c : /proc/net/dev");
    assert_eq!(world.log_of(&world.expect(&first, "passed"), "test"), "1\n");
    let second = task(&format!("cat ~/kept; echo x > {}", elsewhere.display()));
    let log = world.log_of(&world.expect(&second, "failed"), "test");
    assert!(log.starts_with("kept\n") && log.contains("Read-only file system"), "{log}");
    assert!(log.ends_with("and to its own home directory\n"), "{log}");
    assert!(!elsewhere.exists() && !world.path("home/kept").exists());
    let third = repository.commit_tasks("[task.test]\nrun = 'echo x > ~/of-the-user; ls ~'\n");
    assert_eq!(
        world.log_of(&world.expect(&third, "passed"), "test"),
        "of-the-user\n",
        "guarded ones have the usual one"
    );
}

#[test]
fn a_task_has_its_limits_and_its_record_says_which_were_exceeded_and_which_not_enforced() {
    let world = World::new();
    let repository = world.repository("app");
    let _roles = world.roles(&[&repository]);
    let hoard = "for n in 1 2 3 4 5 6; do (a=$(head -c 30000000 /dev/zero | tr '\\0' a); sleep 1000; true) & done";
    let commit = repository.commit_tasks(&format!(
        "[task.all]\nmemory = '400MiB'\nprocesses = 100\ncpus = 1\nrun = 'nproc'\n\
         [task.greedy]\nmemory = '100MiB'\nrun = '''\n{hoard}\nwait\n'''\n"
    ));
    let build = world.expect(&commit, "failed");
    assert_eq!(world.log_of(&build, "all"), "1\n");
    let exceeded = "used more than `memory = \"100MiB\"`";
    let log = world.log_of(&build, "greedy");
    assert!(log.ends_with(&format!("surveil: the task {exceeded}, so its processes were ended\n")), "{log}");
    let shown = world.surveil(&["show", "b1"]).ok();
    assert!(shown.contains(exceeded), "{shown}");
    let execution = |job: usize| build.jobs[job].attempts[0].execution.clone().unwrap();
    assert_eq!([execution(0).exceeded, execution(1).exceeded], ["", exceeded]);
    // A runner with a control group for its attempts enforces everything.
    let keys = ["memory (", "processes (", "cpus ("];
    let is_told = |gap: &String| keys.iter().any(|key| gap.starts_with(key));
    assert!(execution(0).not_enforced.iter().all(is_told), "{:?}", execution(0));
}

impl World {
    /// Whether a runner can guard its attempts here, as its own log says.
    pub(crate) fn can_guard(&self) -> bool {
        let runner = self.runner("probe", &["--idle-exit=1ms"]);
        runner.says("its attempts are");
        !runner.log().contains(NOT_GUARDED)
    }
}
