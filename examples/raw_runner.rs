//! A complete small runner, written from docs/protocol.md alone: nothing but the standard library, nothing of
//! Surveil's.
//!
//! It shows what a runner in any language has to do, and a test runs it against a real dispatcher. It has one slot,
//! keeps output in memory, and does NOT fetch the commit's source: tasks run in an empty directory.
//!
//! ```sh
//! cargo run --example raw_runner -- --dispatch 127.0.0.1:9000 --token-file ~/.local/state/surveil/tokens/runner
//! ```
#![expect(clippy::disallowed_methods, clippy::print_stderr, reason = "std alone, as someone else would write it")]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::TcpStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use json::Json;

#[path = "raw_runner/json.rs"]
mod json;

const MAX_LINE: u64 = 1 << 20;
const LOG_PIECE: usize = 64 * 1024;
const GRACE: Duration = Duration::from_secs(5);
/// Results without an answer for this long are sent again, with the log from what is known to have arrived.
const REPEAT: Duration = Duration::from_secs(5);

/// The attempt in our single slot, from `runtask` to `ok`, `stale` or `gone`. It outlives sessions.
struct Held {
    attempt: u64,
    log: Vec<u8>,
    /// How much of the log was sent, and how much of it is known to be durable.
    sent: usize,
    acked: usize,
    /// The `results` line once the attempt has ended, and when it was last sent.
    results: Option<String>,
    results_sent: Option<Instant>,
    /// Asks for the end of its processes, naming the outcome that this makes.
    events: mpsc::Sender<Event>,
}

/// What the thread that watches over a process has to know.
enum Event {
    Stop(&'static str),
    Ended,
}

#[derive(Default)]
struct State {
    connection: Option<TcpStream>,
    held: Option<Held>,
    /// Attempts whose processes are not gone yet; may be one more than is held.
    executing: u64,
    /// Attempts that are over and done with.
    done: u64,
    draining: bool,
}

struct Runner {
    dispatch: String,
    token_file: String,
    name: String,
    /// End after so many attempts.
    attempts: u64,
    incarnation: u64,
    state: Mutex<State>,
}

fn main() -> Result<()> {
    let incarnation = RandomState::new().build_hasher().finish();
    let mut runner = Runner {
        dispatch: "127.0.0.1:9000".to_owned(),
        token_file: String::new(),
        name: format!("raw-{}", std::process::id()),
        attempts: u64::MAX,
        incarnation,
        state: Mutex::default(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| Error::other(format!("{flag} needs a value")))?;
        match flag.as_str() {
            "--dispatch" => runner.dispatch = value,
            "--token-file" => runner.token_file = value,
            "--name" => runner.name = value,
            "--attempts" => runner.attempts = value.parse().map_err(Error::other)?,
            _ => return Err(Error::other(format!("unknown flag {flag}"))),
        }
    }
    let runner = Arc::new(runner);
    let mut pause_ms = 100;
    loop {
        match runner.session() {
            Ok(true) => return Ok(()),
            Ok(false) => pause_ms = 100,
            Err(error) => eprintln!("session: {error}"),
        }
        // Section 6: processes go on meanwhile; dial again with growing pauses, each varied so that not all come at
        // once.
        runner.state().connection = None;
        let jitter = RandomState::new().build_hasher().finish() % pause_ms;
        thread::sleep(Duration::from_millis(pause_ms / 2 + jitter / 2));
        pause_ms = (pause_ms * 2).min(3000);
    }
}

impl Runner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One session, from dialling to its end. True when there is nothing left to do.
    fn session(self: &Arc<Self>) -> Result<bool> {
        let mut stream = TcpStream::connect(&self.dispatch)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        let mut input = BufReader::new(stream.try_clone()?);

        let token = std::fs::read_to_string(&self.token_file)?;
        let hello = format!(
            r#"{{"type":"hello","version":1,"min_version":1,"role":"runner","name":{},"incarnation":{},"token":{},"program":"raw_runner"}}"#,
            json::quote(&self.name),
            self.incarnation,
            json::quote(token.trim())
        );
        send(&mut stream, &hello, &[])?;
        let welcome = read_message(&mut input)?.ok_or_else(|| Error::other("closed instead of welcome"))?;
        if welcome.text("type") != "welcome" || welcome.number("version") != 1 {
            return Err(Error::other(format!("refused: {} {}", welcome.text("code"), welcome.text("text"))));
        }
        stream.set_read_timeout(Some(Duration::from_millis(welcome.number("timeout_ms"))))?;

        let mut state = self.state();
        let holding = holding(&state);
        send(
            &mut stream,
            &format!(r#"{{"type":"register","slots":1,"isolation":"subreaper","holding":{holding}}}"#),
            &[],
        )?;
        state.connection = Some(stream);
        drop(state);

        // The pinger ends when this sender is dropped, with the session.
        let (_session, over) = mpsc::channel();
        let interval = Duration::from_millis(welcome.number("ping_interval_ms").max(1));
        let pinger = Arc::clone(self);
        thread::spawn(move || pinger.ping(interval, &over));

        while let Some(message) = read_message(&mut input)? {
            self.handle(&message)?;
            let state = self.state();
            let is_idle = state.held.is_none() && state.executing == 0;
            if is_idle && (state.draining || state.done >= self.attempts) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Keeps our leases alive, whatever else goes on.
    fn ping(&self, interval: Duration, session: &mpsc::Receiver<()>) {
        while session.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            let mut state = self.state();
            let ping = format!(r#"{{"type":"ping","holding":{}}}"#, holding(&state));
            state.send(&ping, &[]);
            if let Some(held) = &mut state.held
                && held.results_sent.is_some_and(|at| at.elapsed() >= REPEAT)
            {
                (held.sent, held.results_sent) = (held.acked, None);
            }
            state.deliver();
        }
    }

    fn handle(self: &Arc<Self>, message: &Json) -> Result<()> {
        let kind = message.text("type");
        let attempt = message.number("attempt");
        let mut state = self.state();
        match kind {
            "registered" => {
                state.forget_all(message.list("gone"));
                if let Some(held) = &mut state.held {
                    let has = message.list("logs").iter().find(|log| log.number("attempt") == held.attempt);
                    held.acked = has.map_or(0, |log| log.number("offset") as usize).min(held.log.len());
                    (held.sent, held.results_sent) = (held.acked, None);
                }
                state.deliver();
            }
            "ack" => state.forget_all(message.list("gone")),
            "runtask" if state.held.is_none() => {
                let (events, inbox) = mpsc::channel();
                let (log, ended) = (Vec::new(), events.clone());
                let held = Held { attempt, log, sent: 0, acked: 0, results: None, results_sent: None, events };
                state.held = Some(held);
                state.executing += 1;
                if state.done + 1 >= self.attempts {
                    state.send(r#"{"type":"draining"}"#, &[]);
                }
                let (runner, message) = (Arc::clone(self), message.clone());
                thread::spawn(move || runner.execute(attempt, &message, ended, inbox));
            }
            "log_ack" => {
                if let Some(held) = state.held.as_mut().filter(|held| held.attempt == attempt) {
                    held.acked = held.acked.max(message.number("offset") as usize).min(held.log.len());
                }
            }
            "ok" | "stale" => state.forget(attempt),
            "cancel" => {
                if let Some(held) = state.held.as_ref().filter(|held| held.attempt == attempt) {
                    // It fails where the attempt has ended already; then its true outcome is on the way.
                    held.events.send(Event::Stop("cancelled")).unwrap_or_default();
                }
            }
            "drain" => state.draining = true,
            "error" => eprintln!("the dispatcher says: {} {}", message.text("code"), message.text("text")),
            // Unknown types are passed over; so are packs, since this runner asks for none.
            _ => {}
        }
        Ok(())
    }

    /// Runs one attempt to its end and leaves its results to be delivered.
    fn execute(
        self: Arc<Self>,
        attempt: u64,
        message: &Json,
        ended: mpsc::Sender<Event>,
        inbox: mpsc::Receiver<Event>,
    ) {
        let started = Instant::now();
        let directory = std::env::temp_dir().join(format!("raw-runner-{}-{attempt}", self.incarnation));
        let ending = self.run(attempt, message.get("task"), &directory, ended, inbox).unwrap_or_else(|error| {
            format!(r#""outcome":"could_not_start","reason":{}"#, json::quote(&error.to_string()))
        });
        std::fs::remove_dir_all(&directory).unwrap_or_default();
        let mut state = self.state();
        state.executing -= 1;
        let Some(held) = state.held.as_mut().filter(|held| held.attempt == attempt) else { return };
        let (duration, bytes, crc) = (started.elapsed().as_millis(), held.log.len(), crc32(&held.log));
        held.results = Some(format!(
            r#"{{"type":"results","attempt":{attempt},{ending},"duration_ms":{duration},"log_bytes":{bytes},"log_crc32":{crc}}}"#
        ));
        state.deliver();
    }

    /// The fields of `results` that say how it ended.
    fn run(
        self: &Arc<Self>,
        attempt: u64,
        task: &Json,
        directory: &std::path::Path,
        ended: mpsc::Sender<Event>,
        inbox: mpsc::Receiver<Event>,
    ) -> Result<String> {
        std::fs::create_dir_all(directory)?;
        // The text says itself that it ends at the first command that fails.
        let program: Vec<&str> = match task.list("program") {
            [] => vec!["/bin/sh", "-c", task.text("shell")],
            words => words.iter().map(Json::as_text).collect(),
        };
        let (mut output, write_end) = std::io::pipe()?;
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).current_dir(directory).process_group(0).env("CI", "true");
        command.envs(task.list("env").iter().map(|pair| (pair.item(0).as_text(), pair.item(1).as_text())));
        command.stdin(Stdio::null()).stdout(write_end.try_clone()?).stderr(write_end);
        let mut child = command.spawn()?;
        // It holds our copies of the pipe's writing end; with them open the output would have no end.
        drop(command);
        self.state().send(&format!(r#"{{"type":"started","attempt":{attempt}}}"#), &[]);

        let group = child.id();
        let timeout = Duration::from_millis(task.number("timeout_ms"));
        let keeper = thread::spawn(move || keep_time(group, timeout, &inbox));
        let (closed, is_closed) = mpsc::channel::<()>();
        let runner = Arc::clone(self);
        thread::spawn(move || {
            let _closed = closed;
            let mut piece = vec![0; LOG_PIECE];
            while let Ok(count @ 1..) = output.read(&mut piece) {
                runner.state().append(attempt, &piece[..count]);
            }
        });
        let status = child.wait()?;
        ended.send(Event::Ended).unwrap_or_default();
        let cause = keeper.join().unwrap_or_default();
        // What it left behind in its group ends now; what escaped from it may hold the pipe, but not us.
        kill(group, "KILL");
        is_closed.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
        Ok(match (cause, status.code(), status.signal()) {
            (Some(cause), ..) => format!(r#""outcome":"{cause}""#),
            (None, Some(0), _) => r#""outcome":"passed""#.to_owned(),
            (None, Some(code), _) => format!(r#""outcome":"failed","code":{code}"#),
            (None, None, signal) => format!(r#""outcome":"killed","code":{}"#, signal.unwrap_or(0)),
        })
    }
}

impl State {
    /// Sends if there is a session. A failure shows at the reader too, which ends the session.
    fn send(&mut self, line: &str, payload: &[u8]) {
        if let Some(connection) = &mut self.connection
            && send(connection, line, payload).is_err()
        {
            connection.shutdown(std::net::Shutdown::Both).unwrap_or_default();
            self.connection = None;
        }
    }

    fn append(&mut self, attempt: u64, piece: &[u8]) {
        if let Some(held) = self.held.as_mut().filter(|held| held.attempt == attempt && held.results.is_none()) {
            held.log.extend_from_slice(piece);
            self.deliver();
        }
    }

    /// Sends what was not sent yet: log pieces, then results.
    fn deliver(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        while self.connection.is_some() && held.sent < held.log.len() {
            let piece = &held.log[held.sent..held.log.len().min(held.sent + LOG_PIECE)];
            let (attempt, offset, bytes) = (held.attempt, held.sent, piece.len());
            let line = format!(r#"{{"type":"log","attempt":{attempt},"offset":{offset},"bytes":{bytes}}}"#);
            self.send(&line, piece);
            held.sent += bytes;
        }
        if let (Some(results), None, true) = (&held.results, held.results_sent, self.connection.is_some()) {
            self.send(results, &[]);
            held.results_sent = Some(Instant::now());
        }
        self.held = Some(held);
    }

    fn forget_all(&mut self, attempts: &[Json]) {
        attempts.iter().for_each(|attempt| self.forget(attempt.as_number()));
    }

    fn forget(&mut self, attempt: u64) {
        if let Some(held) = self.held.take_if(|held| held.attempt == attempt) {
            held.events.send(Event::Stop("cancelled")).unwrap_or_default();
            self.done += 1;
        }
    }
}

fn holding(state: &State) -> String {
    format!("[{}]", state.held.as_ref().map(|held| held.attempt.to_string()).unwrap_or_default())
}

/// Ends the process group when asked to or when its time is up: politely, then firmly. Returns what it was ended for.
fn keep_time(group: u32, timeout: Duration, inbox: &mpsc::Receiver<Event>) -> Option<&'static str> {
    let cause = match inbox.recv_timeout(timeout) {
        Ok(Event::Ended) => return None,
        Ok(Event::Stop(cause)) => cause,
        Err(_) => "timed_out",
    };
    kill(group, "TERM");
    let firmly = Instant::now() + GRACE;
    while let Ok(Event::Stop(_)) = inbox.recv_timeout(firmly.saturating_duration_since(Instant::now())) {}
    kill(group, "KILL");
    Some(cause)
}

/// The standard library has no kill(2) for groups; every shell has.
fn kill(group: u32, signal: &str) {
    let script = format!("kill -s {signal} -- -{group} 2>/dev/null");
    Command::new("/bin/sh").args(["-c", &script]).status().map(drop).unwrap_or_default();
}

/// One message and its payload.
fn send(stream: &mut TcpStream, line: &str, payload: &[u8]) -> Result<()> {
    let mut bytes = Vec::with_capacity(line.len() + 1 + payload.len());
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(payload);
    stream.write_all(&bytes)
}

/// The next message, its payload passed over; `None` at the end.
fn read_message(input: &mut BufReader<TcpStream>) -> Result<Option<Json>> {
    let mut line = Vec::new();
    input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let message = json::parse(&line).ok_or_else(|| Error::other("the dispatcher sent no message"))?;
    let payload = message.number("bytes");
    std::io::copy(&mut input.by_ref().take(payload), &mut std::io::sink())?;
    Ok(Some(message))
}

/// CRC-32 as in zlib: polynomial 0xEDB88320, bits reflected, inverted at both ends.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}
