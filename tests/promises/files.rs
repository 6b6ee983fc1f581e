//! Artifacts that were read, and a secret that was searched for.

use std::collections::BTreeSet;

use surveil::model::AttemptId;

use super::checkers::{demand, facts};
use super::history::{Entry, Fact, FilesFound};
use super::terms::Terms;

/// An attempt that passed has its artifact, and no other attempt has one. What was readable once stays readable and as
/// the task left it, until retention says that it removed it (S43, S44).
pub(super) fn s44(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut removed: BTreeSet<AttemptId> = BTreeSet::new();
    for fact in facts(story) {
        let Fact::FilesRead { attempt, is_due, found } = fact else { continue };
        match found {
            FilesFound::Nothing => demand(!is_due, || format!("{attempt} passed, and its artifact is not there"))?,
            FilesFound::Other => return Err(format!("the artifact of {attempt} is not what its task left")),
            FilesFound::Same => {
                demand(*is_due, || format!("{attempt} did not pass, and has an artifact"))?;
                demand(!removed.contains(attempt), || format!("the artifact of {attempt} was removed, and is there"))?;
            }
            FilesFound::Removed => drop(removed.insert(*attempt)),
        }
    }
    Ok(())
}

/// The value of a secret is nowhere but in the processes of the attempt that got it (S47).
pub(super) fn s47(story: &[Entry], _: &Terms) -> Result<(), String> {
    let seen = facts(story).find_map(|fact| if let Fact::SecretSeen { place } = fact { Some(place) } else { None });
    seen.map_or(Ok(()), |place| Err(format!("the secret is {place}")))
}
