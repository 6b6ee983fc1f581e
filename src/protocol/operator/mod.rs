//! Messages between an operator's command and the dispatcher: the questions and orders with their fields, and the
//! answers. The longer answers are the reports of `reports`.

mod reports;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::blobs::ArtifactsReport;
use super::caches::{CacheSelection, CachesReport};
use super::hello::Refusal;

pub use reports::{
    AttemptReport, BuildReport, CountersReport, JobReport, NetworkReport, OrderReport, PassReport, PassesReport,
    RotationReport, RunnerReport, RunnersReport, ScheduleReport, SecretReport, SecretsReport, StatusReport, StepReport,
    TokenReport, TokensReport, WhyLine, WhyReport,
};

/// The reason code of the answer to a `cancel` of what is finished already. A command takes it as done.
pub const NOTHING_TO_CANCEL: &str = "nothing_to_cancel";

/// Operator to dispatcher. A `build` is a number, a commit prefix of at least 4 digits, or `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromOperator {
    /// Asks for builds and runners, of one repository if `repo` is given. Answer: `status`.
    Status {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repo: Option<String>,
        /// The number of finished builds to list.
        limit: u32,
    },
    /// Asks for one build, of this repository and branch if they are given. Answer: `build`.
    Show {
        build: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repo: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
    },
    /// Asks why a build, or one of its jobs, is in its state. Answer: `why`.
    Why {
        build: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<String>,
    },
    /// Asks for all runners. Answer: `runners`.
    Runners,
    /// Asks for the log of a task's newest attempt, or of attempt `number`, from the byte at `offset` (default 0). With
    /// `follow`, the log is followed until the attempt is finished. Answer: `log` pieces, then `log_end`.
    Logs(LogQuestion),
    /// Asks for the artifacts of a build, or of one task of it. Answer: `artifacts`.
    Artifacts {
        build: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<String>,
    },
    /// Asks for a blob, such as the manifest of an artifact. Answer: `blob` pieces.
    Fetch { blob: String },
    /// Asks in which build each of these tasks passed last, as a build of a commit would be compared with, and how long
    /// the tasks take. Answer: `passes`.
    Passes(PassQuestion),
    /// Cancels the unfinished jobs of a build, or one of them. Answer: `ok`.
    Cancel {
        build: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<String>,
    },
    /// Runs a finished build's jobs again, or only those that did not pass, or one task with what needs it. Answer:
    /// `ok`.
    Rerun {
        build: String,
        failed: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<String>,
    },
    /// Starts a held task of a build. Answer: `ok`.
    Start {
        build: String,
        task: String,
        /// Who asks for it, as `USER@HOST`. It is recorded as it is, and proves nothing.
        #[serde(default)]
        by: String,
        /// Also if the build is not the newest of its ref.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
        /// Values for inputs of the tasks that start, by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        inputs: BTreeMap<String, String>,
    },
    /// Gives a runner no more jobs, over all restarts, until `resume`. Its present process finishes the attempts that
    /// it holds and then ends. Answer: `ok`.
    Drain { runner: String },
    /// Lets a drained runner take jobs again. Answer: `ok`.
    Resume { runner: String },
    /// Creates a join token. Answer: `token`.
    CreateToken(TokenOrder),
    /// Asks for all join tokens and credentials. Answer: `tokens`.
    Tokens,
    /// Revokes a join token or a credential, and ends the sessions of the credential. Answer: `ok`.
    RevokeToken { id: String },
    /// Replaces the certificate authority of the dispatcher: makes the next one, or with `finish` makes that the only
    /// one, with `force` also if peers have to join again. Answer: `ok`.
    RotateAuthority {
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        finish: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// Sets a secret, in place of one of that name for the same repository: the value follows as raw bytes. Answer:
    /// `ok`.
    SetSecret(SecretOrder),
    /// Asks for the names and rules of all secrets. Answer: `secrets`.
    Secrets,
    /// Removes a secret: the one of this repository, or that of all. Answer: `ok`.
    RemoveSecret {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repo: Option<String>,
    },
    /// Asks for the caches that are meant. Answer: `caches`.
    Caches(CacheSelection),
    /// Removes the caches that are meant. Answer: `ok`.
    RemoveCaches(CacheSelection),
    /// Revokes the credential with which this session was opened. Answer: `ok`, then the session ends.
    LogOut,
    /// Has the observers of a repository look at it at once. Answer: `ok` once they are told.
    Wake { repo: String },
    /// Asks for a `build` for every build that changes from now on, until the session ends.
    Watch,
    /// Asks of which of these commits the dispatcher has the source, and how large a file of a commit may be. At most
    /// [`super::limits::MAX_HAVES`] count. Answer: `haves`.
    Haves { repo: String, commits: Vec<String> },
    /// Carries a piece of a pack, for the `submit` that follows the last piece: `bytes` raw bytes follow this line. No
    /// answer of its own.
    Pack { repo: String, last: bool, bytes: u64 },
    /// Asks for a build of a commit. The pack before has its source, or the dispatcher has it already. Answer:
    /// `submitted` or `need_source`.
    Submit(Box<SubmitOrder>),
    /// Shows that an operator that waits is alive, every `ping_interval_ms`. Answer: `ack`.
    Ping,
}

/// The fields of `create_token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenOrder {
    /// The role of the peers that join: `observer`, `runner`, `reader`, `member` or `admin`.
    pub role: String,
    /// The name that the peer gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The labels that a runner may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The repositories that an observer may announce.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// How long the token lets peers join, in milliseconds.
    pub ttl_ms: u64,
    /// How many peers may join with it.
    pub uses: u32,
}

/// The fields of `set_secret`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretOrder {
    pub name: String,
    /// The repository whose tasks may have it; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Globs for the branches whose builds may have it, and for full names of refs; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<String>,
    /// Globs for the names of the tasks that may have it; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// Labels that the credential of the runner must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Whether the value may be shorter than 8 bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub short: bool,
    /// The length of the value.
    pub bytes: u64,
}

/// The fields of `logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuestion {
    pub build: String,
    /// May be absent if the build has a single task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    #[serde(default)]
    pub offset: u64,
    #[serde(default)]
    pub follow: bool,
    /// Whether pieces are cut where another time begins, and have `at_ms`. False by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub times: bool,
    /// The service of the task whose log is asked for, in place of the task's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl LogQuestion {
    /// The question for the log of one attempt.
    #[must_use]
    pub fn of_attempt(build: u64, task: &str, number: u32, offset: u64, follow: bool) -> Self {
        Self {
            build: build.to_string(),
            task: Some(task.to_owned()),
            number: Some(number),
            offset,
            follow,
            times: false,
            service: None,
        }
    }
}

/// The fields of `submit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitOrder {
    /// 32 hexadecimal digits, drawn at random. The same order with the same id makes no second build.
    pub id: String,
    /// The kind of the trigger, `manual` by default.
    #[serde(default = "manual", skip_serializing_if = "is_manual")]
    pub trigger: String,
    pub repo: String,
    /// The place of the repository, as an observer tells it. It is kept if no place of the repository is known.
    pub source: String,
    /// The full name of the ref that the build is for; absent for a commit that no ref stands for.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    pub commit: String,
    /// The tasks to run, with those that they need. Empty, the default, stands for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// Values for inputs of the tasks, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// It is added to the priority of each task of the build, which stays from -100 to 100. 0 by default.
    #[serde(default, skip_serializing_if = "reports::is_zero")]
    pub priority: i32,
    #[serde(default)]
    pub subject: String,
    #[serde(default)]
    pub author: String,
    /// The id of the facts of the commit's source, as an observer tells it in `dispatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<String>,
}

/// The trigger of an order that names none.
fn manual() -> String {
    "manual".to_owned()
}

fn is_manual(trigger: &String) -> bool {
    trigger == "manual"
}

/// The fields of `passes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassQuestion {
    pub repo: String,
    /// The full name of the ref.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commit, and before it its first parents, the nearest first: for a ref that has had no build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commits: Vec<String>,
    pub tasks: Vec<String>,
}

/// Dispatcher to operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToOperator {
    /// Answers `status`.
    Status(StatusReport),
    /// Answers `show`, or tells of a build to `watch`.
    Build(Box<BuildReport>),
    /// Answers `why`.
    Why(WhyReport),
    /// Answers `runners`.
    Runners(RunnersReport),
    /// Answers `artifacts`.
    Artifacts(ArtifactsReport),
    /// Carries a piece of a blob: `bytes` raw bytes follow. Together the pieces are the blob, or its `zstd` form. They
    /// are as they were stored, so the operator checks whether their hash is the blob's name.
    Blob {
        blob: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        zstd: bool,
        last: bool,
        bytes: u64,
    },
    /// Answers `passes`.
    Passes(PassesReport),
    /// Carries a piece of a log: `bytes` raw bytes follow, which belong at `offset`.
    Log {
        build: u64,
        task: String,
        number: u32,
        offset: u64,
        bytes: u64,
        /// The time of the first byte, if times were asked for and are known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_ms: Option<i64>,
    },
    /// States that the log ends here: for good, or for now if the attempt is executing.
    LogEnd {
        build: u64,
        task: String,
        number: u32,
        /// The attempt's outcome; absent while it is executing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<String>,
        /// The reason why output is missing, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<String>,
    },
    /// Answers `create_token`: the token, which the dispatcher cannot tell again, and when it expires.
    Token { id: String, token: String, expires_ms: i64 },
    /// Answers `tokens`.
    Tokens(TokensReport),
    /// Answers `secrets`.
    Secrets(SecretsReport),
    /// Answers `caches`.
    Caches(CachesReport),
    /// Confirms that the order is durable.
    Ok { text: String },
    /// Answers `haves`: those of the commits that the dispatcher has.
    Haves {
        repo: String,
        commits: Vec<String>,
        /// The most bytes of a file in a commit that is built; absent for no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_file: Option<u64>,
    },
    /// Answers `submit`: this build is durable, made now or when the order came first.
    Submitted { build: u64 },
    /// Answers `submit`: asks for a pack of the whole commit, then the same `submit` again. The dispatcher lacks
    /// objects of it.
    NeedSource { repo: String, commit: String },
    /// Answers `ping`.
    Ack,
    /// Refuses a message, or ends the session.
    Error(Refusal),
}
