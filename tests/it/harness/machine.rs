//! A second machine: a network namespace with a cable to that of the world's dispatcher, and a reader of everything
//! that passes at the dispatcher's end. No process here speaks to it over loopback.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketType, eth, recv, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use surveil::threads::{self, Thread};

use super::namespace::Namespace;
use super::{Process, World};

/// The machine. It lasts as long as the process that holds its namespace.
pub(crate) struct Machine {
    namespace: Namespace,
}

/// Reads all packets of a network until it is asked for them.
pub(crate) struct Capture {
    is_over: Arc<AtomicBool>,
    reading: Thread<Vec<u8>>,
}

impl World {
    /// A world whose dispatcher listens at an address that a second machine reaches. Returns `None`, and says so, if
    /// this machine does not permit it.
    pub(crate) fn with_second_machine() -> Option<(Self, Machine)> {
        let world = Self::beyond_loopback()?;
        let first = world.network.as_ref()?;
        let mut command = world.sealed("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 3600"]);
        let namespace = first.beside(&command);
        let cable = format!(
            "ip link add left type veth peer name right netns {} && ip address add 10.77.1.1/24 dev left && \
             ip link set left up",
            namespace.pid()
        );
        for (place, script) in
            [(first, cable.as_str()), (&namespace, "ip address add 10.77.1.2/24 dev right && ip link set right up")]
        {
            let mut command = world.sealed("sh");
            command.args(["-c", script]);
            let output = place.inside(&command).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        world.host.set(Ipv4Addr::new(10, 77, 1, 1));
        Some((world, Machine { namespace }))
    }

    /// Starts a `surveil` on the second machine, which has nothing of the dispatcher's but these arguments.
    pub(crate) fn start_on(&self, machine: &Machine, name: &str, arguments: &[&str]) -> Process {
        let mut command = self.command(arguments);
        command.env("SURVEIL_DATA", self.path("far-data")).env("SURVEIL_WORK", self.path("far-work"));
        for variable in ["SURVEIL_DISPATCH", "SURVEIL_PIN"] {
            command.env_remove(variable);
        }
        let process = Process::start(name, machine.inside(&command));
        self.records.borrow_mut().push(process.record());
        process
    }

    /// Begins to read all packets at the dispatcher's machine. Returns `None`, and says so, if that takes rights that
    /// this user does not have.
    #[expect(clippy::print_stderr, reason = "a part of a test that could not be made says why")]
    pub(crate) fn capture(&self) -> Option<Capture> {
        let network = File::open(format!("/proc/{}/ns/net", self.network.as_ref()?.pid())).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, (begun, has_begun)) = (is_over.clone(), crossbeam_channel::bounded(1));
        // The namespace is the thread's own.
        let reading = threads::spawn("capture", move || {
            let moved = move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(LinkNameSpaceType::Network));
            let opened = moved.and_then(|()| socket(AddressFamily::PACKET, SocketType::RAW, Some(eth::ALL)));
            begun.send(opened.as_ref().map(drop).map_err(ToString::to_string)).unwrap();
            let mut all = Vec::new();
            let Ok(packets) = opened else { return all };
            // The kernel drops packets for which there is no room.
            set_socket_recv_buffer_size(&packets, 16 << 20).unwrap();
            set_socket_timeout(&packets, Timeout::Recv, Some(Duration::from_millis(50))).unwrap();
            let mut packet = vec![0; 128 << 10];
            while !over.load(Ordering::Acquire) {
                // A wait that was too short is no error.
                if let Ok((count, _)) = recv(&packets, packet.as_mut_slice(), RecvFlags::empty()) {
                    all.extend_from_slice(&packet[..count]);
                }
            }
            all
        });
        let reading = reading.unwrap();
        if let Err(why) = has_begun.recv().unwrap() {
            eprintln!("the wire is not read on this machine: {why}");
            return None;
        }
        Some(Capture { is_over, reading })
    }
}

impl Machine {
    fn inside(&self, command: &Command) -> Command {
        self.namespace.inside(command)
    }
}

impl Capture {
    /// Ends the reading, and returns the bytes of all packets.
    pub(crate) fn end(self) -> Vec<u8> {
        self.is_over.store(true, Ordering::Release);
        self.reading.join().unwrap()
    }
}
