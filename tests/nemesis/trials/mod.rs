//! Single faults at the worst moment, which the nemesis meets only by chance.

mod cuts;
mod intake;
mod restart;
