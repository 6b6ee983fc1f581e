//! S1, over the trace of a dispatcher: between reading a request and writing its acknowledgement, the write-ahead log
//! was written to and then synced with success; and before that the data that came with the request was synced: a pack
//! by the session that received it, as a note or with its index and their directory, and a log by the thread that
//! writes logs, unless it is short: then its bytes are in the write-ahead log. A plain function over text.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use surveil::model::ShortLog;

use super::trace::{self, Call, Moment};

/// Findings of a trace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) submissions: usize,
    pub(crate) results: usize,
    pub(crate) packs: usize,
    /// Those with a sync of their own.
    pub(crate) logs: usize,
    /// Those that are in the store.
    pub(crate) short_logs: usize,
    /// Successful syncs of the write-ahead log.
    pub(crate) syncs: usize,
    /// Early acknowledgements, and other faults.
    pub(crate) broken: Vec<String>,
}

/// The thing that a request asks to be made durable: a commit of a repository, or an attempt's result.
type Key = (String, String);

/// A request that was read and is not acknowledged yet, by how far it has come.
#[derive(Debug)]
struct Request {
    read: usize,
    session: String,
    waits_for: Companion,
    /// The first write of a frame after all that.
    written: Option<usize>,
    /// The end of the first sync that began after that.
    durable: Option<usize>,
}

/// Data that came with a request and must be synced before the store is written.
#[derive(Debug, PartialEq, Eq)]
enum Companion {
    None,
    /// Any log, by any thread.
    Log,
    /// No sync of its own: these bytes are in the frames of the write-ahead log.
    ShortLog(Vec<u8>),
    /// By the session's own thread: a note of the pack, or these files, the last one first.
    Pack(Vec<&'static str>),
}

/// One connection, with the received bytes that are not a whole message yet.
#[derive(Debug, Default)]
struct Connection {
    unread: Vec<u8>,
    /// Payload that is yet to come.
    skip: usize,
    has_pack: bool,
    /// The output of each attempt, as far as the trace has it, and its length.
    logged: HashMap<u64, (Vec<u8>, usize)>,
    /// The attempt to which the payload belongs that is to come.
    logs: Option<u64>,
}

/// The pack and its index before the directory in which they are found from then on; the last is the first.
const PACK: [&str; 3] = ["objects/pack", ".idx", ".pack"];

#[derive(Default)]
struct Checker {
    shown: Shown,
    connections: HashMap<String, Connection>,
    requests: BTreeMap<Key, Request>,
}

/// Looks through a trace of `recvfrom`, `sendto`, `sendmsg`, `writev`, `pwrite64`, `fsync` and `fdatasync`.
pub(crate) fn check(text: &str) -> Shown {
    let calls = trace::read(text);
    let mut checker = Checker::default();
    for moment in trace::moments(&calls) {
        match moment {
            Moment::Begins(call) if matches!(&*call.name, "sendto" | "sendmsg" | "writev") => checker.sends(call),
            Moment::Ends(call) if call.name == "recvfrom" => checker.received(call),
            Moment::Ends(call) if call.name == "pwrite64" && is_log(call) => checker.written(call),
            Moment::Ends(call) if matches!(&*call.name, "fsync" | "fdatasync") && call.result == Some(0) => {
                checker.synced(call);
            }
            Moment::Begins(_) | Moment::Ends(_) => {}
        }
    }
    let never: Vec<_> = checker.requests.keys().map(|key| format!("{key:?} was never acknowledged")).collect();
    checker.shown.broken.extend(never);
    checker.shown
}

fn is_log(call: &Call) -> bool {
    call.on.ends_with(".db-wal")
}

impl Checker {
    fn received(&mut self, call: &Call) {
        let mut connection = self.connections.remove(&call.on).unwrap_or_default();
        let length = usize::try_from(call.result.unwrap_or(0)).unwrap();
        let mut bytes = call.data.clone();
        // Only payload may be missing from the trace.
        bytes.resize(length, 0);
        connection.unread.extend(bytes);
        loop {
            let payload = connection.skip.min(connection.unread.len());
            let passed: Vec<u8> = connection.unread.drain(..payload).collect();
            connection.skip -= payload;
            if let Some(output) = connection.logs.and_then(|attempt| connection.logged.get_mut(&attempt)) {
                output.0.extend(passed);
            }
            let Some(end) = connection.unread.iter().position(|byte| *byte == b'\n') else { break };
            let line: Vec<u8> = connection.unread.drain(..=end).collect();
            match serde_json::from_slice::<Value>(&line) {
                Ok(message) => self.heard(&mut connection, &message, call),
                Err(error) => {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    self.shown.broken.push(format!("the trace is cut, or no message was sent: {error} in {line}"));
                }
            }
        }
        self.connections.insert(call.on.clone(), connection);
    }

    fn heard(&mut self, connection: &mut Connection, message: &Value, call: &Call) {
        match message["type"].as_str() {
            Some("pack") => {
                connection.skip = number(&message["bytes"]);
                connection.has_pack = true;
                connection.logs = None;
            }
            Some("log") => {
                connection.skip = number(&message["bytes"]);
                let attempt = message["attempt"].as_u64().unwrap();
                connection.logs = Some(attempt);
                connection.logged.entry(attempt).or_default().1 += connection.skip;
            }
            Some("dispatch") => {
                let has_pack = std::mem::take(&mut connection.has_pack);
                self.shown.packs += usize::from(has_pack);
                let waits_for = if has_pack { Companion::Pack(PACK.to_vec()) } else { Companion::None };
                self.ask(commit_key(message), call, waits_for);
            }
            Some("results") => {
                let output = message["attempt"].as_u64().and_then(|attempt| connection.logged.remove(&attempt));
                let waits_for = match output {
                    None => Companion::None,
                    Some((bytes, length)) if length <= ShortLog::MAX_BYTES => Companion::ShortLog(bytes),
                    Some(_) => Companion::Log,
                };
                match &waits_for {
                    Companion::ShortLog(_) => self.shown.short_logs += 1,
                    Companion::Log => self.shown.logs += 1,
                    Companion::None | Companion::Pack(_) => {}
                }
                self.ask(attempt_key(message), call, waits_for);
            }
            _ => {}
        }
    }

    fn ask(&mut self, key: Key, call: &Call, waits_for: Companion) {
        let session = call.thread.split('-').next().unwrap_or_default().to_owned();
        let request = Request { read: call.ended, session, waits_for, written: None, durable: None };
        self.requests.insert(key, request);
    }

    fn synced(&mut self, call: &Call) {
        if is_log(call) {
            self.shown.syncs += 1;
            for request in self.requests.values_mut() {
                if request.durable.is_none() && request.written.is_some_and(|written| written < call.begun) {
                    request.durable = Some(call.ended);
                }
            }
            return;
        }
        for request in self.requests.values_mut().filter(|request| request.read < call.begun) {
            match &mut request.waits_for {
                Companion::None | Companion::ShortLog(_) => {}
                Companion::Log => {
                    if call.on.ends_with(".log") {
                        request.waits_for = Companion::None;
                    }
                }
                Companion::Pack(files) => {
                    // Files that are already in place belong to an earlier pack.
                    let is_new = call.on.contains("/incoming-") || files.len() == 1;
                    let is_note = call.name == "fdatasync" && call.on.ends_with("/notes");
                    if call.thread != format!("{}-work", request.session) {
                        continue;
                    }
                    if is_new && files.last().is_some_and(|file| call.on.ends_with(file)) {
                        files.pop();
                    }
                    if is_note || files.is_empty() {
                        request.waits_for = Companion::None;
                    }
                }
            }
        }
    }

    fn written(&mut self, call: &Call) {
        // The header of the write-ahead log belongs to no request.
        if call.numbers.last() == Some(&0) {
            return;
        }
        for request in self.requests.values_mut().filter(|request| request.read < call.begun) {
            if let Companion::ShortLog(bytes) = &request.waits_for
                && call.data.windows(bytes.len()).any(|frame| frame == bytes)
            {
                request.waits_for = Companion::None;
            }
            if request.waits_for == Companion::None {
                request.written.get_or_insert(call.ended);
            }
        }
    }

    fn sends(&mut self, call: &Call) {
        if !self.connections.contains_key(&call.on) {
            return;
        }
        for line in call.data.split_inclusive(|byte| *byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<Value>(line) else {
                let line = String::from_utf8_lossy(line).into_owned();
                self.shown.broken.push(format!("line {}: the trace is cut in what was sent: {line}", call.begun + 1));
                continue;
            };
            let key = if message["attempt"].is_u64() { attempt_key(&message) } else { commit_key(&message) };
            if message["type"] == "ok" {
                self.acknowledged(key, call);
            }
        }
    }

    fn acknowledged(&mut self, key: Key, call: &Call) {
        let line = call.begun + 1;
        let Some(request) = self.requests.remove(&key) else {
            return self.shown.broken.push(format!("line {line}: {key:?} is acknowledged and was not asked for"));
        };
        if key.0 == "attempt" {
            self.shown.results += 1
        } else {
            self.shown.submissions += 1
        }
        if request.waits_for != Companion::None {
            let what = request.waits_for;
            self.shown.broken.push(format!("line {line}: {key:?} is acknowledged and {what:?} is not synced"));
        } else if request.durable.is_none_or(|durable| durable >= call.begun) {
            self.shown.broken.push(format!("line {line}: {key:?} is acknowledged and the store is not synced"));
        }
    }
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn commit_key(message: &Value) -> Key {
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    (text("repo"), text("commit"))
}

fn attempt_key(message: &Value) -> Key {
    ("attempt".into(), message["attempt"].to_string())
}
