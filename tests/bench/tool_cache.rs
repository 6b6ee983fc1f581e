//! Hits of a tool cache a second: clients of one attempt read entries of 10 KB over loopback, each on a connection of
//! its own. The clock runs while all of them read; a round is a second.
//!
//! Then clients of an attempt on a second runner read the same entries, which that runner does not have: each comes
//! from the dispatcher, over loopback, and is kept on the runner's disk. A round reads each entry once, and the disk is
//! emptied before the next one.
//!
//! `cargo bench --bench tool_cache`; `SURVEIL_BENCH_CLIENTS` changes the number of clients, `SURVEIL_BENCH_BYTES` the
//! size of an entry.

mod stage;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::scope;
use std::time::Duration;

use stage::figures::{Sample, cpu_seconds, say};
use stage::repo::Repo;
use stage::{Stage, finished, is_measuring, pause, setting, wait_for};
use surveil::clock;
use surveil::model::ToolFilter;

/// Entries that are read in turns.
const ENTRIES: usize = 1000;
const ROUNDS: usize = 10;

fn main() {
    let (clients, rounds) = (setting("SURVEIL_BENCH_CLIENTS", 8), if is_measuring() { ROUNDS } else { 1 });
    let (bytes, entries) = (setting("SURVEIL_BENCH_BYTES", 10_000), if is_measuring() { ENTRIES } else { 10 });
    let mut stage = Stage::with_dispatcher(&[]);
    let (fifo, signals) = stage.fifo();
    let stop = stage.path("stop");
    let script = format!(
        "echo \"$SURVEIL_TOOL_CACHE\" > {}\nuntil [ -e {} ]; do sleep 0.05; done",
        fifo.display(),
        stop.display()
    );
    let repo = Repo::new(&stage.path("app"));
    let emptied = stage.path("work-r2/tool-cache/trusted");
    let tasks = format!("[task.test]\ntool_cache = true\nisolation = \"shared\"\nrun = '''\n{script}\n'''\n");
    let commits = repo.chain(2, &tasks);
    let runner = stage.start_runner("r1", &["--slots", "1"]);
    stage.start_observer(&repo.path);
    let mut signals = BufReader::new(signals);
    let mut address_of = |commit| {
        let mut url = String::new();
        repo.move_main(commit);
        signals.read_line(&mut url).expect("the task tells the address");
        url
    };
    let url = address_of(commits[0]);
    let mut client = Client::connect(url.trim());
    (0..entries).for_each(|number| client.put(number, &vec![b'a'; bytes]));

    let (hits, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut rates, mut cpu) = (Sample::default(), Sample::default());
    scope(|threads| {
        for first in 0..clients {
            let (hits, is_over, url) = (&hits, &is_over, url.trim());
            threads.spawn(move || {
                let mut client = Client::connect(url);
                for number in (0..entries).cycle().skip(first * entries / clients) {
                    assert_eq!(client.get(number), bytes);
                    hits.fetch_add(1, Ordering::Relaxed);
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        for _ in 0..rounds {
            let (before, used, begun) =
                (hits.load(Ordering::Relaxed), cpu_seconds(stage.pid(runner)), clock::instant());
            pause(Duration::from_millis(if is_measuring() { 1000 } else { 20 }));
            let count = (hits.load(Ordering::Relaxed) - before) as f64;
            rates.add(count / begun.elapsed().as_secs_f64());
            cpu.add((cpu_seconds(stage.pid(runner)) - used) * 1e6 / count);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    rates.print(&format!("{clients} clients, entries of {bytes} bytes"), "hits/s");
    say(&format!("    CPU of the runner for a hit: {:.0} us", cpu.median()));

    let reader = stage.reader();
    wait_for("the dispatcher to have all entries", || {
        let totals = reader.tool_totals(ToolFilter::default()).expect("the store can be read");
        (totals.iter().map(|total| total.entries).sum::<u64>() == entries as u64).then_some(())
    });
    // The first runner has no slot left.
    let second = stage.start_runner("r2", &["--slots", "1"]);
    let url = address_of(commits[1]);
    let processes = [0, second].map(|process| stage.pid(process));
    let (mut rates, mut speeds, mut cpu) = (Sample::default(), Sample::default(), [(); 2].map(|()| Sample::default()));
    for _ in 0..rounds {
        // It need not be there.
        drop(fs::remove_dir_all(&emptied));
        let (used, begun) = (processes.map(cpu_seconds), clock::instant());
        scope(|threads| {
            for first in 0..clients {
                let url = url.trim();
                threads.spawn(move || {
                    let mut client = Client::connect(url);
                    (first..entries).step_by(clients).for_each(|number| assert_eq!(client.get(number), bytes));
                });
            }
        });
        let (count, seconds) = (entries as f64, begun.elapsed().as_secs_f64());
        rates.add(count / seconds);
        speeds.add(count * bytes as f64 / 1e6 / seconds);
        for ((cpu, pid), used) in cpu.iter_mut().zip(processes).zip(used) {
            cpu.add((cpu_seconds(pid) - used) * 1e6 / count);
        }
        assert_eq!(files(&emptied), entries, "the runner has what came, and had nothing before");
    }
    rates.print("    the same by way of the dispatcher", "hits/s");
    speeds.print("    the same", "MB/s");
    let [dispatcher, runner] = cpu.map(|cpu| cpu.median());
    say(&format!("    CPU for a hit: {dispatcher:.0} us of the dispatcher, {runner:.0} us of the runner"));
    fs::write(stop, "").expect("the directory can be written");
    commits.iter().for_each(|commit| drop(finished(&*reader, commit)));
}

/// Returns the number of files in the directories of a directory.
fn files(directory: &Path) -> usize {
    let list = |path: &Path| fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    list(directory).map(|part| list(&part).count()).sum()
}

/// A connection, as a tool has one.
struct Client {
    stream: BufReader<TcpStream>,
    path: String,
}

impl Client {
    fn connect(url: &str) -> Self {
        let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an address");
        let stream = TcpStream::connect(host).expect("the runner listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream: BufReader::new(stream), path: path.to_owned() }
    }

    fn put(&mut self, number: usize, bytes: &[u8]) {
        let (path, length) = (&self.path, bytes.len());
        let head = format!("PUT /{path}/ccache/{number} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        self.stream.get_mut().write_all(&[head.as_bytes(), bytes].concat()).expect("the runner reads");
        assert_eq!(self.answer(), 0);
    }

    /// Returns the number of bytes of an entry.
    fn get(&mut self, number: usize) -> usize {
        let head = format!("GET /{}/ccache/{number} HTTP/1.1\r\nHost: h\r\n\r\n", self.path);
        self.stream.get_mut().write_all(head.as_bytes()).expect("the runner reads");
        self.answer()
    }

    fn answer(&mut self) -> usize {
        let mut length = 0;
        for number in 0.. {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("the runner answers");
            assert!(number > 0 || line.starts_with("HTTP/1.1 200 "), "{line}");
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the runner answers");
        length
    }
}
