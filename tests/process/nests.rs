//! Commands that run side by side: each ends alone, and all end with their nest.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;

use crossbeam_channel::{bounded, never};
use surveil::process::{Command, Exit, NestedSupervisor, ProgressCallbacks};
use surveil::threads;

use crate::harness::{in_both_tiers, survivors, wait_for_line};

fn run(nested: &mut NestedSupervisor, command: &Command) -> Exit {
    let output = File::options().write(true).open("/dev/null").unwrap();
    nested.run(command, output, &never(), ProgressCallbacks::default()).unwrap().exit
}

in_both_tiers! {
    fn a_command_ends_with_its_own_processes_and_its_neighbours_go_on_until_the_nest_ends(slot) {
        let (nest, mut nested) = slot.supervisor.nest(None, 2).unwrap();
        let (mut task, mut service) = (nested.pop().unwrap(), nested.pop().unwrap());
        // It ignores TERM, and a part of it leaves its session.
        let serve = slot.shell("trap '' TERM; setsid sh -c \"trap '' TERM; echo ready; exec sleep 1000\" & wait");
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (tell, told) = bounded(1);
        let serving = threads::spawn("service", move || {
            let output = File::from(OwnedFd::from(writer));
            drop(tell.send(service.run(&serve, output, &never(), ProgressCallbacks::default())));
        })
        .unwrap();
        wait_for_line(&mut reader, "ready");
        let before = survivors(&slot.mark).len();
        assert!(before >= 2, "{before}");
        // Processes that the task leaves are ended with it, and nothing else.
        assert_eq!(run(&mut task, &slot.shell("setsid sleep 1000 & sleep 1000 & exit 3")), Exit::Code(3));
        assert_eq!(survivors(&slot.mark).len(), before);
        assert_eq!(run(&mut task, &slot.shell("exit 0")), Exit::Code(0), "one command after the other");
        assert!(told.try_recv().is_err(), "it goes on");
        nest.end().unwrap();
        assert_eq!(survivors(&slot.mark), Vec::<String>::new());
        serving.join().unwrap();
        assert!(told.recv().unwrap().is_err(), "its supervisor has ended");
        slot.check_next();
    }

    /// In the namespace of a nest no supervisor is out of reach of the commands, as everywhere in the weaker tier.
    fn a_command_that_kills_every_supervisor_leaves_nothing_behind_the_nest(slot) {
        let (nest, mut nested) = slot.supervisor.nest(None, 2).unwrap();
        let (mut task, mut service) = (nested.pop().unwrap(), nested.pop().unwrap());
        let (mut reader, writer) = std::io::pipe().unwrap();
        let serve = slot.shell("echo ready; sleep 1000");
        let serving = threads::spawn("service", move || {
            let output = File::from(OwnedFd::from(writer));
            service.run(&serve, output, &never(), ProgressCallbacks::default()).is_err()
        })
        .unwrap();
        wait_for_line(&mut reader, "ready");
        // Each is a child of the nest, as this shell's own is. The variable is none of theirs.
        let kill = "mine=$PPID; nest=$(sed 's/.*) . //; s/ .*//' /proc/$mine/stat); setsid sleep 1000 & \
                    for p in $(cat /proc/$nest/task/$nest/children); do kill -9 $p; done; sleep 1000";
        let output = File::options().write(true).open("/dev/null").unwrap();
        let killed = task.run(&slot.shell(kill), output, &never(), ProgressCallbacks::default());
        assert!(killed.is_err(), "{killed:?}");
        assert!(serving.join().unwrap());
        drop(nest);
        assert_eq!(survivors(&slot.mark), Vec::<String>::new());
        slot.check_next();
    }

    fn a_port_is_open_once_something_listens_on_it(slot) {
        let (_nest, mut nested) = slot.supervisor.nest(None, 1).unwrap();
        let mut task = nested.pop().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(task.accepts(port).unwrap());
        drop(listener);
        assert!(!task.accepts(port).unwrap());
    }
}
