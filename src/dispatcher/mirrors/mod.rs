//! The mirrors: copies of the commits that observers have sent. Packs are received into them, task files are read from
//! them, and runners get their packs from them.
//!
//! A damaged mirror is set aside as a whole and begun anew; the observer is asked again for the commits that are needed
//! (see [`MissingSources`]). So is a mirror that is gone. Other repositories do not notice.

mod intake;
mod missing_sources;
mod pool;
mod upkeep;

pub(crate) use intake::{ArrivingPack, Coming, Intake, Taken, TaskPlan, with_facts};
pub(crate) use missing_sources::MissingSources;
pub(crate) use pool::{Mirror, Mirrors};
pub(crate) use upkeep::Upkeep;
