//! Single faults, at the moment that is worst: what the nemesis meets by chance is provoked here.

mod cuts;
mod intake;
mod restart;
