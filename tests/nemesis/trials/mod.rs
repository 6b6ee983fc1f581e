//! Single faults at the worst moment, which the nemesis meets only by chance.

mod blobs;
mod canary;
mod cuts;
mod intake;
mod restart;
