//! Surveil without faults.

mod asking;
mod clean_run;
mod conditions;
mod first_start;
mod following;
mod git_as_it_is;
mod groups;
mod history;
mod local;
mod matrix;
mod orders;
mod repositories;
mod runners;
mod schedules;
mod settings;
mod sources;
mod steps;
mod stored;
mod subdirectories;
mod submitting;
mod tasks;
mod telling;
mod three_shells;
mod trees;
mod trying;
mod variables;
