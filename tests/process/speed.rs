//! How many commands a second go through supervisors. Run with `--ignored --nocapture` to see it.

use std::io::Write;

use surveil::model::Isolation;

use crate::harness::{Slot, now};

const COMMANDS: u32 = 2_000;

fn run_many(slot: &mut Slot, command: &surveil::process::Command) {
    let never = crossbeam_channel::never();
    for _ in 0..COMMANDS {
        let output = std::fs::File::options().write(true).open("/dev/null").unwrap();
        slot.supervisor.run(command, output, &never, &mut || ()).unwrap();
    }
}

#[test]
#[ignore = "a measurement"]
fn commands_per_second() {
    for tier in [Isolation::PidNamespace, Isolation::Subreaper] {
        for slots in [1, 2] {
            for (name, words) in [("true", &["/bin/true"][..]), ("sh -c :", &["/bin/sh", "-c", ":"])] {
                let mut all: Vec<Slot> = (0..slots).map(|_| Slot::new(tier)).collect();
                all.iter_mut().for_each(Slot::check_next);
                let begin = now();
                std::thread::scope(|scope| {
                    for slot in &mut all {
                        let command = slot.program(words);
                        scope.spawn(move || run_many(slot, &command));
                    }
                });
                let each = begin.elapsed().as_secs_f64() / f64::from(COMMANDS * slots);
                let pid = all[0].supervisor.pid().unwrap();
                let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
                let memory: Vec<&str> = status.lines().filter(|line| line.starts_with("Rss")).collect();
                writeln!(std::io::stdout(), "{} slots {slots} {name}: {:.0}/s; {memory:?}", tier.word(), 1.0 / each)
                    .unwrap();
            }
        }
    }
}
