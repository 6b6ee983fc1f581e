//! What anybody may cost anybody else: strangers, slow and stalled peers, crowds, floods, and a machine with little
//! room.

mod crowd;
mod flood;
mod links;
mod shortage;
mod strangers;
