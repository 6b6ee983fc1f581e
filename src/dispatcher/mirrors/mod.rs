//! The mirrors: what of the watched repositories has been received. Packs come in here, task files are read from here,
//! and runners get their packs from here.
//!
//! A mirror that turns out to be damaged is set aside whole, and begun anew; what is needed of it is asked of the
//! observer again (see [`MissingSources`]). One that is gone is begun anew too. Other repositories do not notice.

mod intake;
mod missing_sources;
mod plan;
mod pool;
mod upkeep;

pub(crate) use intake::{ArrivingPack, Intake, Taken};
pub(crate) use missing_sources::MissingSources;
pub(crate) use plan::TaskPlan;
pub(crate) use pool::Mirrors;
pub(crate) use upkeep::Upkeep;
