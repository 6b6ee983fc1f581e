//! Schedules: builds that the clock asks for.

use std::sync::Arc;

use super::{RefName, RepoName, WallTime};

/// When a schedule fires, in the words of the task file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleRule {
    /// A cron line of five fields.
    pub cron: Arc<str>,
    /// The name of the time zone in which the line is read.
    pub timezone: Arc<str>,
}

/// A schedule as the task file of a branch's head has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSchedule {
    /// Unique within the file.
    pub name: Arc<str>,
    pub rule: ScheduleRule,
    /// Whether it names its tasks. They run whatever their own conditions say.
    pub names_tasks: bool,
}

/// A schedule as the dispatcher remembers it. The branch of the schedule is part of its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub repo: RepoName,
    pub reference: RefName,
    pub name: Arc<str>,
    /// `None` if the head of the branch has it no longer. It is remembered, so that no time fires twice if the schedule
    /// comes back.
    pub rule: Option<ScheduleRule>,
    /// Times up to this one are over: the last one that fired, or the time at which the rule was accepted.
    pub last_due: WallTime,
}
