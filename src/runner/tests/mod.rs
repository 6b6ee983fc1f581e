//! Tests of the runner as a whole: stories of its decisions, and conversations of a running one with a scripted
//! dispatcher.

mod conversations;
mod scene;
mod stories;
mod workspaces;
