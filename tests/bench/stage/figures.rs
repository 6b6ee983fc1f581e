//! Figures: summaries of samples, and the kernel's counters of a process.
#![expect(clippy::print_stdout, reason = "figures go to stdout")]

use std::fs;

/// A sample of measurements in one unit.
#[derive(Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub(crate) fn most(&self) -> f64 {
        self.at(1.0)
    }

    /// The value that this share of the sample does not exceed.
    fn at(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * part).round() as usize]
    }

    /// Prints one line: name, median, 99th percentile, extremes, number of rounds.
    pub(crate) fn print(&self, what: &str, unit: &str) {
        let n = self.0.len();
        let show = |value: f64| match value {
            large if large >= 1000.0 => format!("{large:.0}"),
            middling if middling >= 10.0 => format!("{middling:.1}"),
            small => format!("{small:.2}"),
        };
        let (median, p99) = (show(self.median()), show(self.at(0.99)));
        let (least, most) = (show(self.at(0.0)), show(self.at(1.0)));
        println!("{what:<52} median {median:>8} {unit}, p99 {p99}, {least} to {most}, {n} rounds");
    }
}

/// A line of its own.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Memory of a process, in KiB.
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
    /// Memory that would be freed if the process ended.
    pub(crate) private: u64,
}

pub(crate) fn memory(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process lives");
    let of = |name: &str| field(&text, name);
    Memory { resident: of("Rss:"), proportional: of("Pss:"), private: of("Private_Clean:") + of("Private_Dirty:") }
}

impl Memory {
    pub(crate) fn print(&self, what: &str) {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let (resident, proportional, private) = (mib(self.resident), mib(self.proportional), mib(self.private));
        println!("{what:<52} {resident:.2} MiB resident, {proportional:.2} proportional, {private:.2} private");
    }
}

/// The most that a process ever had resident, in KiB.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives"), "VmHWM:")
}

/// Resets the peak.
pub(crate) fn reset_peak_memory(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the process is ours");
}

/// The first number behind a name, on the line that begins with it.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Seconds of CPU that a process has used.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let fields = stat(pid);
    // Fields 14 and 15, of which the first two are cut off, in ticks of 10 ms.
    (fields[11] + fields[12]) as f64 / 100.0
}

/// The processes whose parent is this one.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("a process table").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|candidate| *candidate != pid && stat(*candidate).get(1) == Some(&i64::from(pid))).collect()
}

/// The fields of /proc/PID/stat behind the name, the state as 0; none if the process has ended.
fn stat(pid: u32) -> Vec<i64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0)).collect()
}

/// The number of threads of a process.
pub(crate) fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}
