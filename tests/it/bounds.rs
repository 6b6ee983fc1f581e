//! Bounds of what one peer can cost another: unauthenticated, slow and stalled peers, crowds, floods, and a machine
//! with little room.

mod crowd;
mod flood;
mod links;
mod long_queue;
mod pieces;
mod shortage;
mod unauthenticated;
