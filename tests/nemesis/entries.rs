//! Entries of the tool cache: a client that tasks run, the evidence that it leaves, and the content of every entry,
//! which follows from its name and its writer.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use surveil::model::AttemptId;

use crate::promises::history::CacheAnswer;

/// Bytes of the entry of each round of a task. The dispatcher sends at most 256 KiB in a piece.
const BYTES: [usize; 4] = [700, 40_000, 300_000, 600_000];

/// A client that speaks plain HTTP. It looks an entry up, stores it after a miss, and looks it up once more. An entry
/// has numbered lines with its writer and its name, so that no two pieces of entries are equal.
const CLIENT: &str = r#"
generation=$1 round=$2 evidence=$3 answers=$4
sizes=("${@:5}")
bytes=${sizes[$round]} name=g$generation/r$round
address=${SURVEIL_TOOL_CACHE#http://}
host=${address%%:*} rest=${address#*:}
exec 2>/dev/null

# Sends a request whose body is on the standard input, and keeps the whole answer.
request() {
  exec 3<>"/dev/tcp/$host/${rest%%/*}" || exit
  printf '%s /%s/ccache/%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' \
    "$2" "${rest#*/}" "$name" "$3" >&3
  cat >&3
  cat <&3 >"$answers/$SURVEIL_ATTEMPT_ID.$round.$1"
}

ask() {
  local begun=$(date +%s%3N)
  (request "$@")
  echo "asked $SURVEIL_ATTEMPT_ID $generation $round $1 $begun $(date +%s%3N)" >>"$evidence"
}

ask look GET 0 </dev/null
if ! head -c 12 "$answers/$SURVEIL_ATTEMPT_ID.$round.look" | grep -q '^HTTP/1.1 200'; then
  seq -f "$SURVEIL_ATTEMPT_ID $name %g" 99999 | head -c $bytes | ask store PUT $bytes
fi
ask again GET 0 </dev/null
"#;

/// The client, and the place where it leaves the answers.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    program: PathBuf,
    answers: PathBuf,
}

/// A request of the client that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) verb: Verb,
    generation: u32,
    round: usize,
    /// When it began and when it ended, in milliseconds of the wall clock.
    pub(crate) begun: i64,
    pub(crate) ended: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Look,
    Store,
    /// A second look, after which the entry must be there.
    Again,
}

impl Client {
    pub(crate) fn new(directory: &Path) -> Self {
        let client = Self { program: directory.join("client"), answers: directory.join("answers") };
        fs::create_dir(&client.answers).unwrap();
        fs::write(&client.program, CLIENT).unwrap();
        client
    }

    /// The command that asks for the entry of the shell's `$round`.
    pub(crate) fn command(&self, generation: u32, evidence: &Path) -> String {
        let sizes = BYTES.map(|bytes| bytes.to_string()).join(" ");
        let [program, evidence, answers] = [&*self.program, evidence, &*self.answers].map(|path| path.display());
        format!("bash {program} {generation} $round {evidence} {answers} {sizes}")
    }

    /// Reads the answer to a request of this attempt.
    pub(crate) fn answer(&self, attempt: AttemptId, asked: Asked) -> CacheAnswer {
        let Asked { verb, generation, round, .. } = asked;
        let file = format!("{}.{round}.{}", attempt.0, verb.word());
        let answer = fs::read(self.answers.join(file)).unwrap_or_default();
        let Some((status, body)) = whole(&answer) else { return CacheAnswer::Nothing };
        match (status, verb) {
            (200, Verb::Store) => CacheAnswer::Stored,
            (200, Verb::Look | Verb::Again) => {
                let text = str::from_utf8(&body[..body.len().min(20)]).unwrap_or_default();
                let by = text.split(' ').next().and_then(|number| number.parse().ok()).map(AttemptId);
                match by.filter(|by| *body == content(*by, generation, round)) {
                    Some(by) => CacheAnswer::Entry { by },
                    None => CacheAnswer::Damaged,
                }
            }
            (404, Verb::Look | Verb::Again) => CacheAnswer::Missing,
            _ => CacheAnswer::Nothing,
        }
    }
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Store => "store",
            Self::Again => "again",
        }
    }
}

impl Asked {
    /// Reads the words of a line of evidence behind the attempt.
    pub(crate) fn read(words: &[&str]) -> Option<Self> {
        let [generation, round, verb, begun, ended] = words else { return None };
        let verb = [Verb::Look, Verb::Store, Verb::Again].into_iter().find(|known| known.word() == *verb)?;
        let (generation, round) = (generation.parse().ok()?, round.parse().ok()?);
        Some(Self { verb, generation, round, begun: begun.parse().ok()?, ended: ended.parse().ok()? })
    }
}

/// The bytes that an attempt stores.
fn content(by: AttemptId, generation: u32, round: usize) -> Vec<u8> {
    let lines = (1..).flat_map(|line| format!("{} g{generation}/r{round} {line}\n", by.0).into_bytes());
    lines.take(BYTES[round]).collect()
}

/// Returns the status and the body of an answer that is whole.
fn whole(answer: &[u8]) -> Option<(u16, &[u8])> {
    let head = Range { start: 0, end: answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4 };
    let text = str::from_utf8(&answer[head.clone()]).ok()?;
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse::<usize>().ok()?;
    let body = &answer[head.end..];
    (body.len() == length).then_some((status, body))
}
