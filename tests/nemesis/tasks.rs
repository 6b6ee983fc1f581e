//! The tasks of these tests, and the evidence that they leave outside of Surveil's own files:
//! a line when they begin and one when they end, a lock that is held as long as any process of the attempt lives, a
//! log of which every byte is known beforehand, and a copy of the files that are their artifact. Some get a secret and
//! print it in every form that is masked. Some ask their tool cache for entries, and keep the answers.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use surveil::model::{AttemptId, Outcome, Script, TaskName, TaskSpec};

use crate::canary;
use crate::entries::{Asked, Client};
use crate::harness::text;

/// Files of random bytes in an artifact. Beside them it has an executable that all attempts have alike, a link to that,
/// and an empty directory.
const RANDOM_FILES: usize = 2;
/// The bytes of the file that is the same in all artifacts.
const SAME: &str = "the same in each attempt";
/// The beginning of the last line of the log of an attempt that asked its tool cache.
const CACHE_LINE: &str = "surveil: tool cache: ";

/// A task whose behaviour is known in advance.
#[derive(Debug, Clone)]
pub(crate) struct KnownTask {
    pub(crate) name: &'static str,
    /// Number of times that it writes its lines and pauses.
    pub(crate) rounds: u32,
    pub(crate) lines: u32,
    pub(crate) rest_ms: u64,
    /// It starts a process that leaves its session and goes on without it.
    pub(crate) leaves: bool,
    pub(crate) exclusive: bool,
    pub(crate) code: i32,
    /// Bytes of each of the files that it leaves as an artifact; 0 if it leaves none.
    pub(crate) file_bytes: usize,
    /// It gets the canary, and prints it.
    pub(crate) tells: bool,
    /// It asks its tool cache for entries of this generation, one in each round.
    pub(crate) generation: Option<u32>,
}

/// The directory of the evidence.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    evidence: PathBuf,
    locks: PathBuf,
    files: PathBuf,
    client: Client,
}

/// One line of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Begin,
    End(i32),
    /// Another execution of the same exclusive job was running.
    Overlap,
    /// It asked its tool cache.
    Asked(Asked),
}

impl KnownTask {
    pub(crate) fn outcome(&self) -> Outcome {
        if self.code == 0 { Outcome::Passed } else { Outcome::Failed(self.code) }
    }

    /// The task for the checkers, which use only its name and whether it is exclusive.
    pub(crate) fn spec(&self) -> TaskSpec {
        let mut task = TaskSpec::new(TaskName::new(self.name).unwrap(), Script::Shell(String::new()));
        task.recipe_mut().exclusive = self.exclusive;
        task
    }

    /// The whole output of an attempt, and the text that its runner adds. The line about the tool cache is taken from
    /// the log that was kept, because its numbers are not known beforehand.
    pub(crate) fn log(&self, attempt: AttemptId, kept: &[u8]) -> Vec<u8> {
        let mut log = String::new();
        for round in 0..self.rounds {
            for line in 0..self.lines {
                writeln!(log, "{} {round} {line} the quick brown fox jumps over the lazy dog", attempt.0).unwrap();
            }
        }
        if self.tells {
            log.push_str(canary::MASKED);
        }
        if self.leaves {
            log.push_str("surveil: ended 1 process that the task left behind\n");
        }
        if self.file_bytes > 0 {
            let bytes = RANDOM_FILES * self.file_bytes + SAME.len();
            writeln!(log, "surveil: kept artifact `files`: {} entries, {bytes} bytes", RANDOM_FILES + 3).unwrap();
        }
        let mut log = log.into_bytes();
        if self.generation.is_some() {
            // It is the last line of a log that was kept whole, and of that of an attempt that was cancelled.
            let same = kept.iter().zip(&log).take_while(|(kept, due)| kept == due).count();
            let at = kept[..same].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let (rest, line) = (&kept[at..], CACHE_LINE.as_bytes());
            if rest.starts_with(line) || line.starts_with(rest) {
                log.splice(at..at, rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default().to_vec());
            }
        }
        log
    }

    /// Its section of a task file.
    pub(crate) fn section(&self, place: &Place) -> String {
        let Self { name, rounds, lines, rest_ms, leaves, exclusive, code, file_bytes, tells, generation } = self;
        let (evidence, locks, files) = (text(&place.evidence), text(&place.locks), text(&place.files));
        let once =
            "exec 8>>\"$L/$SURVEIL_BUILD.$SURVEIL_TASK\"; flock -n 8 || echo \"overlap $SURVEIL_ATTEMPT_ID\" >>$E";
        let once = if *exclusive { once } else { "" };
        let leaves = if *leaves { "setsid sleep 300 &" } else { "" };
        let rest = format!("sleep {}.{:03}", rest_ms / 1000, rest_ms % 1000);
        let artifacts = if *file_bytes > 0 { "artifacts = ['out/**']\n" } else { "" };
        let secrets = if *tells { format!("secrets = ['{}']\n", canary::NAME) } else { String::new() };
        let (tool_cache, entries) = match generation {
            Some(generation) => ("tool_cache = true\n", place.client.command(*generation, &place.evidence)),
            None => ("", String::new()),
        };
        let tell = if *tells { canary::SCRIPT } else { "" };
        // The copy is whole before the task ends, so that it is there before the artifact can be.
        let files = if *file_bytes == 0 {
            String::new()
        } else {
            format!(
                "mkdir -p out/empty\nfor n in $(seq {RANDOM_FILES}); do head -c {file_bytes} /dev/urandom >out/f$n; done\n\
                 printf '%s' '{SAME}' >out/same\nchmod +x out/same\nln -s same out/link\n\
                 cp -a out {files}/a$SURVEIL_ATTEMPT_ID"
            )
        };
        format!(
            "[task.{name}]\nexclusive = {exclusive}\n{artifacts}{secrets}{tool_cache}run = '''\nE={evidence}\nL={locks}\n\
             exec 9>>\"$L/a$SURVEIL_ATTEMPT_ID\"; flock 9\n\
             echo \"begin $SURVEIL_ATTEMPT_ID\" >>$E\n{once}\n{leaves}\nround=0\n\
             while [ $round -lt {rounds} ]; do\n  line=0\n  while [ $line -lt {lines} ]; do\n\
             \x20   echo \"$SURVEIL_ATTEMPT_ID $round $line the quick brown fox jumps over the lazy dog\"\n\
             \x20   line=$((line + 1))\n  done\n  {entries}\n  {rest}\n  round=$((round + 1))\ndone\n{tell}\n{files}\n\
             echo \"end $SURVEIL_ATTEMPT_ID {code}\" >>$E\nexit {code}\n'''\n"
        )
    }
}

impl Place {
    pub(crate) fn new(directory: &Path) -> Self {
        let [evidence, locks, files] = ["evidence", "locks", "files"].map(|name| directory.join(name));
        let place = Self { evidence, locks, files, client: Client::new(directory) };
        fs::create_dir(&place.locks).unwrap();
        fs::create_dir(&place.files).unwrap();
        fs::write(&place.evidence, "").unwrap();
        place
    }

    /// The lines, in the order in which they were written.
    pub(crate) fn lines(&self) -> Vec<(AttemptId, Sign)> {
        fs::read_to_string(&self.evidence).unwrap().lines().filter_map(sign).collect()
    }

    /// The copy of what an attempt left as an artifact, as its directory `out`.
    pub(crate) fn copy(&self, attempt: AttemptId) -> PathBuf {
        self.files.join(attempt.to_string())
    }

    /// The client by which attempts ask their tool cache.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether any process of this attempt is alive.
    pub(crate) fn is_alive(&self, attempt: AttemptId) -> bool {
        // Without a lock file it has never begun.
        File::open(self.locks.join(attempt.to_string())).is_ok_and(|lock| lock.try_lock_shared().is_err())
    }
}

fn sign(line: &str) -> Option<(AttemptId, Sign)> {
    let mut words = line.split(' ');
    let word = words.next()?;
    let attempt = AttemptId(words.next()?.parse().ok()?);
    let sign = match word {
        "begin" => Sign::Begin,
        "end" => Sign::End(words.next()?.parse().ok()?),
        "overlap" => Sign::Overlap,
        "asked" => Sign::Asked(Asked::read(&words.collect::<Vec<_>>())?),
        _ => return None,
    };
    Some((attempt, sign))
}
