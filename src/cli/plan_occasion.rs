//! The build that `surveil plan` is asked about: its event and its ref.

use std::path::Path;

use super::error::CliError;
use super::typed_place::place_of;
use crate::config::{CheckedSchedule, repo_name_from};
use crate::git::{Local, Watched};
use crate::model::{CommitId, RefName, TriggerEvent};

/// The options that name the build.
pub(crate) struct Asked<'a> {
    pub(crate) branch: Option<&'a str>,
    pub(crate) tag: Option<&'a str>,
    pub(crate) event: Option<TriggerEvent>,
    pub(crate) schedule: Option<&'a CheckedSchedule>,
}

/// Reads an event as it is typed.
pub(crate) fn event(text: &str) -> Result<TriggerEvent, String> {
    TriggerEvent::of_word(text)
        .ok_or_else(|| format!("the events are {}", TriggerEvent::ALL.map(|event| event.word()).join(", ")))
}

/// Returns the schedule of this name.
pub(crate) fn named_schedule<'a>(all: &'a [CheckedSchedule], name: &str) -> Result<&'a CheckedSchedule, CliError> {
    all.iter().find(|schedule| schedule.name == name).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|schedule| &*schedule.name).collect();
        let known = if known.is_empty() { "the file has none".to_owned() } else { known.join(", ") };
        CliError::Usage(format!("there is no schedule `{name}` (schedules: {known})"))
    })
}

/// The repository in which the command is typed.
pub(crate) struct Repository {
    pub(crate) watched: Watched,
    /// Names by which a dispatcher may know it.
    pub(crate) names: Vec<String>,
    branch: Option<String>,
    pub(crate) head: Option<CommitId>,
}

impl Repository {
    pub(crate) fn of(typed: &Path) -> Result<Option<Self>, CliError> {
        let Some(place) = place_of(typed) else { return Ok(None) };
        let watched = Watched::open(place.location())?;
        let names = Local::open(place)?.places().iter().map(|place| repo_name_from(place).to_string()).collect();
        let (branch, head) = match watched.head_commit()? {
            Some((branch, head)) => (branch.map(|branch| branch.to_string()), Some(head)),
            None => (None, None),
        };
        Ok(Some(Self { watched, names, branch, head }))
    }

    fn default_branch(&self) -> Result<Option<String>, CliError> {
        Ok(self.watched.default_branch()?.map(|branch| branch.to_string()))
    }
}

/// Returns the event and the ref of the build.
pub(crate) fn occasion(
    asked: &Asked<'_>,
    repository: Option<&Repository>,
) -> Result<(TriggerEvent, RefName), CliError> {
    if let Some(tag) = asked.tag {
        let tag = tag.strip_prefix("refs/tags/").unwrap_or(tag);
        return Ok((asked.event.unwrap_or(TriggerEvent::Tag), RefName::new(&format!("refs/tags/{tag}"))));
    }
    let default = if asked.schedule.is_some() { TriggerEvent::Schedule } else { TriggerEvent::Push };
    let event = asked.event.unwrap_or(default);
    let typed = asked.branch.map(|branch| branch.strip_prefix("refs/heads/").unwrap_or(branch));
    let of_schedule = match asked.schedule {
        Some(CheckedSchedule { branch: Some(branch), .. }) => Some(branch.clone()),
        Some(_) => repository.map(Repository::default_branch).transpose()?.flatten(),
        None => None,
    };
    let reference = match event {
        TriggerEvent::Tag => return Err(CliError::Usage("the event tag needs a tag: write --tag TAG".into())),
        // The number of the pull request makes no difference.
        TriggerEvent::Pull => "refs/pull/0/head".to_owned(),
        TriggerEvent::Ref => "refs/other".to_owned(),
        TriggerEvent::Push | TriggerEvent::Schedule | TriggerEvent::Manual | TriggerEvent::Try => {
            let current = repository.and_then(|it| it.branch.as_deref());
            let Some(branch) = typed.or(of_schedule.as_deref()).or(current) else {
                return Err(CliError::Usage("there is no current branch here: name one with --branch".into()));
            };
            format!("refs/heads/{branch}")
        }
    };
    Ok((event, RefName::new(&reference)))
}
