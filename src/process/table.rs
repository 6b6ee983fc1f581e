//! The system's process table, read from /proc, and the descendants of a process.
//!
//! An entry may be outdated when it is used, so a process is identified by its id and its time of birth, and [`signal`]
//! checks both. Never waits. Used by `sweep`, and by `supervisor` for a time of birth.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};

use rustix::process::{Pid, PidfdFlags, Signal};

/// One process, as the table showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ProcessEntry {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// Whether it has ended and its parent has not waited for it yet. (Or its first thread has ended, and others go
    /// on.)
    pub is_zombie: bool,
    /// Its time of birth, in clock ticks since the machine started. Ids are reused; pairs of id and birth are not.
    pub born: u64,
}

/// Returns every visible process.
pub(super) fn read_all() -> io::Result<Vec<ProcessEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ended after it was listed has no entry.
        entries.extend(read(pid));
    }
    Ok(entries)
}

/// Returns one process, if it still exists.
pub(super) fn read(pid: i32) -> Option<ProcessEntry> {
    // All needed fields are in the first 512 bytes, and the kernel returns them in one read.
    let mut stat = [0; 512];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    parse(&stat[..length])
}

/// Returns the children of a process from the kernel's own list (proc_pid_task_tid_children(5)). A child that starts or
/// ends meanwhile may be missing. All are missing if the kernel is built without these lists.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(listed.split_ascii_whitespace().filter_map(|child| child.parse::<i32>().ok()));
    }
    children
}

/// Returns the memory that the descendants of a process have together: their resident pages. What two of them share
/// counts twice.
pub(super) fn resident_below(pid: i32) -> u64 {
    sum_below(pid, resident)
}

/// Returns the memory that the descendants of a process have together, without counting anything twice: their shares
/// (proc_pid_smaps_rollup(5)), and all that a process has if it may not be looked at.
pub(super) fn shares_below(pid: i32) -> u64 {
    sum_below(pid, |pid| share(pid).unwrap_or_else(|| resident(pid)))
}

fn sum_below(pid: i32, of: impl Fn(i32) -> u64) -> u64 {
    let (mut open, mut sum, mut seen) = (children(pid), 0, HashSet::new());
    while let Some(child) = open.pop() {
        if seen.insert(child) {
            sum += of(child);
            open.extend(children(child));
        }
    }
    sum
}

/// Returns the resident memory of a process (proc_pid_statm(5)).
fn resident(pid: i32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Returns the memory of a process with its part of what it shares.
fn share(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Parses a line of /proc/PID/stat (proc_pid_stat(5)). The second field is the program's name in parentheses. The name
/// may contain any byte, so the later fields are counted from the last parenthesis.
fn parse(stat: &[u8]) -> Option<ProcessEntry> {
    let stat = String::from_utf8_lossy(stat);
    let (head, rest) = stat.rsplit_once(") ")?;
    let pid = head.split_once(' ')?.0.parse().ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let born = fields.nth(15)?.parse().ok()?;
    Some(ProcessEntry { pid, parent, group, session, is_zombie, born })
}

/// Returns the children of these processes, their children, and so on, without the processes themselves.
pub(super) fn descendants(table: &[ProcessEntry], of: impl IntoIterator<Item = i32>) -> Vec<ProcessEntry> {
    let mut children: HashMap<i32, Vec<ProcessEntry>> = HashMap::new();
    for entry in table {
        children.entry(entry.parent).or_default().push(*entry);
    }
    let mut open: Vec<i32> = of.into_iter().collect();
    let mut found = HashSet::new();
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            open.push(child.pid);
            found.insert(child);
        }
    }
    found.into_iter().collect()
}

/// Sends a signal to exactly this process. If it is gone or the signal is refused, the next scan shows it.
pub(super) fn signal(entry: &ProcessEntry, signal: Signal) {
    let Some(pid) = Pid::from_raw(entry.pid) else { return };
    let Ok(descriptor) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
    // The descriptor belongs to the process that has the id now, and keeps belonging to it. So the check of its birth
    // cannot be outdated when the signal is sent.
    if read(entry.pid).is_some_and(|now| now.born == entry.born) {
        let _ = rustix::process::pidfd_send_signal(&descriptor, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: i32, parent: i32) -> ProcessEntry {
        ProcessEntry { pid, parent, group: 1, session: 1, is_zombie: false, born: 0 }
    }

    fn pids(found: Vec<ProcessEntry>) -> Vec<i32> {
        let mut pids: Vec<i32> = found.into_iter().map(|entry| entry.pid).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn a_line_is_read_whatever_the_program_is_called() {
        let rest = "S 7 9 11 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 0 0";
        for name in ["sleep", "a b", ") S 1 1 1", "((", ""] {
            let stat = format!("42 ({name}) {rest}\n");
            let expected = ProcessEntry { pid: 42, parent: 7, group: 9, session: 11, is_zombie: false, born: 98_765 };
            assert_eq!(parse(stat.as_bytes()), Some(expected), "{name}");
        }
        assert!(parse(format!("42 (sleep) {}", rest.replace('S', "Z")).as_bytes()).unwrap().is_zombie);
        assert_eq!(parse(b"42 (sleep) S 7"), None);
        assert_eq!(parse(b""), None);
        assert!(parse(b"42 (\xff\xfe) S 7 9 11 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 0 0").is_some());
    }

    #[test]
    fn descendants_are_found_through_any_depth_and_nobody_else() {
        let table = [entry(1, 0), entry(2, 1), entry(3, 2), entry(4, 3), entry(5, 1), entry(6, 5)];
        assert_eq!(pids(descendants(&table, [2])), [3, 4]);
        assert_eq!(pids(descendants(&table, [2, 5])), [3, 4, 6]);
        assert_eq!(pids(descendants(&table, [4])), [] as [i32; 0]);
    }

    #[test]
    fn a_table_that_changed_while_it_was_read_ends_the_search_all_the_same() {
        let table = [entry(2, 3), entry(3, 2), entry(4, 4)];
        assert_eq!(pids(descendants(&table, [2, 4])), [2, 3, 4]);
    }

    #[test]
    fn children_are_listed() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let listed = children(std::process::id().try_into().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(listed.contains(&i32::try_from(child.id()).unwrap()), "{listed:?}");
        assert_eq!(children(i32::MAX), [] as [i32; 0]);
    }

    #[test]
    fn the_share_of_a_process_is_a_part_of_its_memory() {
        let own = std::process::id().try_into().unwrap();
        let (share, resident) = (share(own).unwrap(), resident(own));
        assert!(share > 100_000 && share <= resident * 11 / 10, "{share} of {resident}");
    }

    #[test]
    fn this_process_is_in_the_table() {
        let own = std::process::id().try_into().unwrap();
        assert!(read_all().unwrap().iter().any(|entry| entry.pid == own));
        assert!(read(own).unwrap().born > 0);
    }
}
