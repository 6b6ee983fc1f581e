//! The search for the secret finds it wherever it is, and it is in no byte of an encrypted connection (S47).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use surveil::threads::{self, Thread};

use crate::canary::{Canary, MASKED, NAME, SCRIPT};
use crate::harness::World;

/// A way to the dispatcher on which every byte is recorded, both ways, as it is on the wire.
struct Recorder {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    is_over: Arc<AtomicBool>,
    accepting: Option<Thread<()>>,
}

impl Recorder {
    fn new(world: &World) -> Self {
        let far = world.address();
        let listener = TcpListener::bind((*far.ip(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, is_over): (Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>) = Default::default();
        let (all, over) = (heard.clone(), is_over.clone());
        let accept = move || {
            for near in listener.incoming().map_while(Result::ok).take_while(|_| !over.load(Ordering::Acquire)) {
                let far = TcpStream::connect(far).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to, all) = (from.try_clone().unwrap(), to.try_clone().unwrap(), all.clone());
                    threads::spawn("record", move || record(&from, &to, &all)).unwrap().detach();
                }
            }
        };
        let accepting = Some(threads::spawn("record-accept", accept).unwrap());
        Self { address, heard, is_over, accepting }
    }

    fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        drop(self.accepting.take());
    }
}

/// Forwards and records until either side ends.
fn record(mut from: &TcpStream, mut to: &TcpStream, heard: &Mutex<Vec<u8>>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        heard.lock().unwrap().extend_from_slice(&piece[..count]);
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    drop(to.shutdown(std::net::Shutdown::Both));
}

#[test]
fn a_secret_is_in_the_one_message_that_brings_it_and_in_no_byte_of_an_encrypted_connection() {
    let world = World::new();
    let canary = Canary::new(2);
    let _dispatcher = world.dispatcher(&[]);
    canary.plant(&world);
    let repository = world.repository("app");
    let _observer = world.observer(&[&repository], &[]);
    let pin = format!("--pin={}", world.pin().unwrap());
    for (name, more) in [("plain", None), ("encrypted", Some(&*pin))] {
        let recorder = Recorder::new(&world);
        let dispatch = format!("--dispatch={}", recorder.address);
        let flags: Vec<&str> = [&*dispatch].into_iter().chain(more).collect();
        let mut command = world.command(&["runner", &format!("--name={name}"), "--min-free=1MiB", "--slots=1"]);
        command.args(flags).arg(format!("--work={}", world.path(&format!("work-{name}")).display()));
        // This test is about both kinds of connection.
        command.env_remove("SURVEIL_PIN");
        let runner = world.start_command(name, command);
        let commit = repository
            .commit_tasks(&format!("[task.test]\n# {name}\nsecrets = ['{NAME}']\nrun = '''\n{SCRIPT}\n'''\n"));
        let build = world.expect(&commit, "passed");
        assert_eq!(world.log_of(&build, "test"), MASKED);
        let heard = recorder.heard();
        let value = canary.value().as_bytes();
        let count = heard.windows(value.len()).filter(|part| *part == value).count();
        assert_eq!(count, usize::from(more.is_none()), "on a {name} connection");
        let encoded = canary.forms().iter().filter(|(form, _)| !["plain"].contains(form));
        for (form, bytes) in encoded {
            assert!(!heard.windows(bytes.len()).any(|part| part == bytes), "{form} on a {name} connection");
        }
        drop(runner);
    }
    assert_eq!(canary.in_files(&world.path("")), []);
}

#[test]
fn a_canary_is_found_in_files_and_processes_in_each_of_its_forms() {
    let world = World::new();
    let canary = Canary::new(3);
    for (at, (name, bytes)) in canary.forms().iter().enumerate() {
        let path = world.path(&format!("file{at}"));
        std::fs::write(&path, [b"before ", &**bytes, b" after"].concat()).unwrap();
        assert_eq!(canary.in_files(&world.path("")), [(path.clone(), *name)]);
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(canary.in_processes(), [] as [String; 0]);
    let waits = |command: &mut Command| command.arg("300").stdout(Stdio::null()).spawn().unwrap();
    let mut in_command = Command::new("sh");
    in_command.args(["-c", "read line", canary.value()]).stdin(Stdio::piped());
    let mut in_environment = Command::new("sleep");
    in_environment.env_clear().env("INHERITED", canary.value());
    let mut children = [in_command.spawn().unwrap(), waits(&mut in_environment)];
    let found = canary.in_processes();
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let expected =
        [format!("/proc/{}: cmdline, plain", children[0].id()), format!("/proc/{}: environ, plain", children[1].id())];
    assert!(found.len() == 2 && expected.iter().all(|line| found.contains(line)), "{found:?}");
}
