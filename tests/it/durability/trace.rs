//! Reads the output of strace as system calls. It knows the form of the lines, and nothing about the meaning of the
//! calls.
//!
//! As `strace -f -Y -yy` writes them: `PID<thread> name(FD<what it is>, …) = result`, in two lines if another thread
//! did something in between. The order of the lines is that of causes: a thread goes on only after its line is written.

use std::collections::HashMap;

/// One system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) thread: String,
    pub(crate) name: String,
    /// The file behind its descriptor: a path, or `TCP:[here->there]`.
    pub(crate) on: String,
    /// Its strings, one after the other, as far as the trace has them.
    pub(crate) data: Vec<u8>,
    /// The numbers that its arguments end with.
    pub(crate) numbers: Vec<u64>,
    /// `None` if it failed or did not return.
    pub(crate) result: Option<u64>,
    /// The lines on which it began and ended.
    pub(crate) begun: usize,
    pub(crate) ended: usize,
}

/// A call's beginning or end; both of the same call are told, in the order of the trace.
pub(crate) enum Moment<'a> {
    Begins(&'a Call),
    Ends(&'a Call),
}

/// The calls of a trace that have a descriptor, in the order in which they ended.
pub(crate) fn read(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    // By thread: its call that has begun.
    let mut open: HashMap<&str, (usize, &str)> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let Some((process, said)) = line.split_once(' ') else { continue };
        let said = said.trim_start();
        let whole = if let Some(begin) = said.strip_suffix("<unfinished ...>") {
            open.insert(process, (number, begin.trim_end()));
            continue;
        } else if let Some(resumed) = said.strip_prefix("<... ") {
            let Some((_, end)) = resumed.split_once(" resumed>") else { continue };
            let Some((begun, begin)) = open.remove(process) else { continue };
            call(process, &format!("{begin}{end}"), begun, number)
        } else {
            call(process, said, number, number)
        };
        calls.extend(whole);
    }
    calls
}

/// Goes through beginnings and ends in their order.
pub(crate) fn moments(calls: &[Call]) -> Vec<Moment<'_>> {
    let mut all: Vec<(usize, bool, &Call)> =
        calls.iter().flat_map(|call| [(call.begun, false, call), (call.ended, true, call)]).collect();
    all.sort_by_key(|(line, is_end, _)| (*line, *is_end));
    all.into_iter().map(|(_, is_end, call)| if is_end { Moment::Ends(call) } else { Moment::Begins(call) }).collect()
}

fn call(process: &str, text: &str, begun: usize, ended: usize) -> Option<Call> {
    let thread = process.split_once('<')?.1.strip_suffix('>')?;
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let (_, described) = arguments.split_once('<')?;
    let end = described.find(">,").or_else(|| described.strip_suffix('>').map(str::len))?;
    let rest = &described[end + 1..];
    let words = rest.rsplit('"').next().unwrap_or(rest).split(", ");
    Some(Call {
        thread: thread.into(),
        name: name.into(),
        on: described[..end].into(),
        data: strings(rest),
        numbers: words.filter_map(|word| word.trim().parse().ok()).collect(),
        // A result that strace invented does not count.
        result: (!result.contains("INJECTED")).then(|| result.split(' ').next()?.parse().ok()).flatten(),
        begun,
        ended,
    })
}

/// The text between quotes, as the program had it.
fn strings(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes().peekable();
    while rest.any(|byte| byte == b'"') {
        while let Some(byte) = rest.next().filter(|byte| *byte != b'"') {
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            match rest.next() {
                Some(b'n') => bytes.push(b'\n'),
                Some(b'r') => bytes.push(b'\r'),
                Some(b't') => bytes.push(b'\t'),
                Some(b'v') => bytes.push(0x0b),
                Some(b'f') => bytes.push(0x0c),
                Some(digit @ b'0'..=b'7') => {
                    let mut value = u32::from(digit - b'0');
                    for _ in 0..2 {
                        let Some(next) = rest.next_if(|next| matches!(next, b'0'..=b'7')) else { break };
                        value = value * 8 + u32::from(next - b'0');
                    }
                    bytes.push(value.to_le_bytes()[0]);
                }
                other => bytes.extend(other),
            }
        }
    }
    bytes
}

#[test]
fn a_trace_is_read_as_strace_writes_it() {
    let text = r#"10<core> fdatasync(7</d/surveil.db-wal>) = 0
11<s1-read> recvfrom(16<TCP:[127.0.0.1:1->127.0.0.1:2]>,  <unfinished ...>
10<core> sendto(16<TCP:[127.0.0.1:1->127.0.0.1:2]>, "{\"a\":\"\303\0019\\\"}\n", 9, MSG_DONTWAIT, NULL, 0 <unfinished ...>
11<s1-read> <... recvfrom resumed>"x = y\n"..., 4096, 0, NULL, NULL) = 94
10<core> <... sendto resumed>)       = 9
12<s-write> writev(7<TCP:[127.0.0.1:2->127.0.0.1:1]>, [{iov_base="ab", iov_len=2}, {iov_base="c", iov_len=1}], 2) = 3
10<core> pwrite64(7</d/surveil.db-wal>, "\0\1"..., 4096, 32) = 4096
10<core> fdatasync(7</d/surveil.db-wal>) = -1 EIO (Input/output error)
10<core> fdatasync(7</d/surveil.db-wal>) = 0 (INJECTED)
12<s-write> +++ exited with 0 +++"#;
    let calls = read(text);
    let short: Vec<_> =
        calls.iter().map(|call| (&*call.name, &*call.data, call.result, call.begun, call.ended)).collect();
    assert_eq!(
        short,
        [
            ("fdatasync", &b""[..], Some(0), 0, 0),
            ("recvfrom", b"x = y\n", Some(94), 1, 3),
            ("sendto", b"{\"a\":\"\xc3\x019\\\"}\n", Some(9), 2, 4),
            ("writev", b"abc", Some(3), 5, 5),
            ("pwrite64", b"\0\x01", Some(4096), 6, 6),
            ("fdatasync", b"", None, 7, 7),
            ("fdatasync", b"", None, 8, 8),
        ]
    );
    assert_eq!((&*calls[1].thread, &*calls[1].on), ("s1-read", "TCP:[127.0.0.1:1->127.0.0.1:2]"));
    assert_eq!(calls[4].numbers, [4096, 32]);
}
